/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/base/log.h"
#include "member.h"
#include "probe.h"

/*
 * One shard's consumer of the group. Every partition has a queue of its own, so that one whose window is full is simply not
 * read, while the group, which speaks through the main queue, is always listened to.
 *
 *   partition queue ──> record.c ──> envelope ──> sb_source_hand ... settled ──> window.c ──> position ──> commit
 *        ^                               │ no event                                  │
 *        │ window or memory full,        └──> sb_source_bury ───────────────────────>┘
 *        └ paused, refused: not read
 *
 * A record that the framework does not take now is kept (`pending`) and offered again; nothing behind it is read meanwhile.
 *
 * Rebalance. Assigned: a thread asks where the group stands, then each partition begins there. Revoked: it is read no more, and
 * waits for what is under way, at most `drain`; then its position is committed, then it is fenced, and only then
 * given back, so that nothing is committed for a partition of somebody else's. Lost: fenced at once, nothing is committed.
 *
 * Fencing: each assignment of a partition has an epoch of its own; what is settled under another one is counted and forgotten.
 */
#define TICK_MS 50
#define RECORDS_MOST 512 /* in one go; then the loop gets its turn */
#define LEAVE_MS 3000    /* for the group to say good-bye */

/* ------------------------------------------------------------------------------------------------ a record */

enum taken { TAKEN, NOT_NOW };

static enum taken bury(struct kafka_source *k, const struct sb_held *held, const char *code, const char *why)
{
	struct sb_unreadable what = { .value = k->record.message.value, .receipt = k->record.receipt,
		.reason = strcmp(code, "invalid_json") == 0 ? SB_R_INVALID_JSON : SB_R_INVALID_PARAMETER, .message = sb_slice_str(why) };

	if (!what.value.p)
		what.value = SB_SLICE("");
	if (sb_source_bury(k->source, held, &what) < 0)
		return NOT_NOW;
	sb_source_rejected(k->source, code, 1);
	k->counts.buried++;
	return TAKEN;
}

static bool for_later(enum sb_refuse why)
{
	return why == SB_REFUSE_FULL || why == SB_REFUSE_STOPPING;
}

/*
 * What a record takes while it is under way: the event, once more as frames on their way into the journal, and what is kept
 * beside it (receipt, delivery, the append).
 */
#define EVENT_BYTES(n) (2 * (n) + 2048)

static enum taken take_record(
	struct kafka_source *k, const struct part *p, const rd_kafka_message_t *m, struct sb_held *held, size_t *ret_bytes)
{
	struct sb_refusal refusal;
	struct sb_event *ev;
	struct sb_err err;
	int rc = kafka_record_read(&k->record, m, p->topic, p->seed);

	held->position = sb_buf_slice(&k->record.position);
	if (rc < 0)
		return bury(k, held, "too_large", "the headers are too many or too large");
	if (sb_envelope_read(k->envelope, &k->record.message, &ev, &err) < 0)
		return bury(k, held, sb_envelope_code(k->envelope), err.msg);
	*ret_bytes = EVENT_BYTES(sb_pool_usable(ev));
	if (sb_source_hand(k->source, ev, held, &refusal) == 0)
		return TAKEN;
	sb_event_unref(ev);
	return for_later(refusal.why) ? NOT_NOW : bury(k, held, "refused", refusal.msg);
}

/* False: it is kept for later. */
static bool on_record(struct kafka_source *k, size_t i, const rd_kafka_message_t *m)
{
	struct part *p = k->part[i];
	struct sb_held held = { .cookie = (uint64_t)i << 32 | p->window.tail, .epoch = p->epoch };
	size_t bytes = EVENT_BYTES(m->len + m->key_len);

	if (take_record(k, p, m, &held, &bytes) == NOT_NOW)
		return false;
	bytes = SB_MIN(bytes, (size_t)UINT32_MAX);
	kafka_window_add(&p->window, m->offset, -1, (uint32_t)bytes);
	k->held_bytes += bytes;
	k->counts.records++;
	return true;
}

static void on_part_error(struct kafka_source *k, struct part *p, rd_kafka_resp_err_t err, const char *text)
{
	if (err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
		kafka_part_stop(k, p, text ? text : rd_kafka_err2str(err));
	else
		kafka_note_error(k, text ? text : rd_kafka_err2str(err));
}

/* False: the record is pending. */
static bool on_part_event(struct kafka_source *k, size_t i, rd_kafka_event_t *ev)
{
	const rd_kafka_message_t *m;

	if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_ERROR)
		on_part_error(k, k->part[i], rd_kafka_event_error(ev), rd_kafka_event_error_string(ev));
	else if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_FETCH && (m = rd_kafka_event_message_next(ev)) != NULL) {
		if (m->err)
			on_part_error(k, k->part[i], m->err, rd_kafka_message_errstr(m));
		else if (!on_record(k, i, m)) {
			k->part[i]->pending = ev;
			k->part[i]->pending_record = m;
			return false;
		}
	}
	rd_kafka_event_destroy(ev);
	return true;
}

/* False: it is still not taken. */
static bool offer_pending(struct kafka_source *k, size_t i)
{
	struct part *p = k->part[i];

	if (!p->pending)
		return true;
	if (!on_record(k, i, p->pending_record))
		return false;
	rd_kafka_event_destroy(p->pending);
	p->pending = NULL;
	return true;
}

static void kafka_settled(struct sb_source *s, uint64_t cookie, uint32_t epoch)
{
	struct kafka_source *k = s->state;
	size_t i = (size_t)(cookie >> 32);
	struct part *p = i < k->n_parts ? k->part[i] : NULL;
	bool was_full;
	uint64_t bytes;

	if (!p || p->epoch != epoch) {
		k->counts.stale++;
		return;
	}
	was_full = kafka_window_full(&p->window);
	bytes = p->window.bytes;
	kafka_window_done(&p->window, (uint32_t)cookie);
	k->held_bytes -= bytes - p->window.bytes;
	if (was_full || p->pending || p->state == REVOKING || kafka_window_due(&p->window))
		kafka_again(k);
}

/* ------------------------------------------------------------------------------------------------ reading */

static bool may_read(const struct kafka_source *k, const struct part *p)
{
	const struct kafka_source_conf *c = k->source->conf;

	return p && p->state == READING && !kafka_window_full(&p->window) && k->held_bytes < c->memory;
}

/* Some of what the partition has. Returns how many events it gave. */
static unsigned read_part(struct kafka_source *k, size_t i, unsigned most)
{
	unsigned n = 0;

	if (!may_read(k, k->part[i]) || !offer_pending(k, i))
		return 0;
	for (; n < most && may_read(k, k->part[i]); n++) {
		rd_kafka_event_t *ev = rd_kafka_queue_poll(k->part[i]->queue, 0);

		if (!ev || !on_part_event(k, i, ev))
			break;
	}
	return n;
}

/* Everybody in turn, a piece each, until nothing is left or the loop is to have its turn. */
static void read_parts(struct kafka_source *k)
{
	unsigned left = RECORDS_MOST, got = 1;

	while (left && got && !k->paused && !k->failed && k->life == RUNNING) {
		got = 0;
		for (size_t n = 0; n < k->n_parts && left; n++) {
			unsigned one = read_part(k, k->turn++ % k->n_parts, SB_MIN(left, 64));

			got += one;
			left -= one;
		}
	}
	if (!left)
		kafka_again(k);
}

/* A window that is full and does not move: its oldest go to the journal, so that the others are not held up. */
static void spill_stuck(struct kafka_source *k)
{
	for (size_t i = 0; i < k->n_parts; i++) {
		struct part *p = k->part[i];

		if (!p)
			continue;
		if (kafka_window_stuck(&p->window) && p->window.head == p->head_before)
			sb_source_spill(k->source, KAFKA_SPILL_AT_ONCE);
		p->head_before = p->window.head;
	}
}

/* ------------------------------------------------------------------------------------------------ life */

static bool holds_any(const struct kafka_source *k)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] && kafka_window_held(&k->part[i]->window))
			return true;
	return false;
}

static bool has_begun_to_join(const struct kafka_source *k)
{
	char *member = rd_kafka_memberid(k->rk);
	bool begun = member && member[0];

	if (member)
		rd_kafka_mem_free(k->rk, member);
	return begun;
}

/*
 * Before 2.3 librdkafka aborts when it destroys a member that has begun to join and was never given anything, not even nothing
 * (issue 4312). Such a one leaves its group like any other, and is then left alone.
 */
static bool must_be_kept(const struct kafka_source *k)
{
	return rd_kafka_version() < 0x020300ff && k->counts.rebalances == 0 && (k->joining || has_begun_to_join(k));
}

/* What is done is committed, by librdkafka, which knows when the group will take it; then good-bye. */
static void try_to_leave(struct kafka_source *k, uint64_t now)
{
	if (k->revoked)
		return; /* first things first */
	kafka_store_positions(k);
	if (!kafka_all_committed(k, false) && now < k->leave_ns)
		return;
	k->joining = has_begun_to_join(k); /* whoever has left is nobody */
	k->life = LEAVING;
	k->leave_ns = now + LEAVE_MS * SB_NS_PER_MS;
	kafka_note_and_destroy(k, rd_kafka_consumer_close_queue(k->rk, k->queue));
}

static void end_consumer(struct kafka_source *k)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i])
			kafka_part_drop(k, k->part[i]);
	if (k->revoked)
		rd_kafka_topic_partition_list_destroy(k->revoked);
	k->revoked = NULL;
	rd_kafka_queue_io_event_enable(k->queue, -1, NULL, 0);
	rd_kafka_queue_destroy(k->queue);
	k->queue = NULL;
	kafka_overflow_close(&k->overflow);
	k->life = ENDING;
	k->kept = must_be_kept(k);
	if (k->kept)
		sb_log(SB_LOG_INFO, "a consumer that had not joined its group yet stays in memory", KS("source", k->source->name));
	else
		kafka_end(&k->ender, k->rk, &k->nudge, !rd_kafka_consumer_closed(k->rk), k->wake_fd);
}

static void close_step(struct kafka_source *k)
{
	uint64_t now = kafka_now_ns(k);

	if (k->life == WAITING && (!holds_any(k) || !sb_source_may_settle(k->source) || now >= k->leave_ns)) {
		k->life = COMMITTING;
		k->leave_ns = now + KAFKA_COMMIT_MS * SB_NS_PER_MS;
	}
	if (k->life == COMMITTING)
		try_to_leave(k, now);
	if (k->life == LEAVING && kafka_ask_idle(&k->ask) && (rd_kafka_consumer_closed(k->rk) || now >= k->leave_ns))
		end_consumer(k);
	if (k->life == ENDING && !k->ended)
		k->ended = k->kept || kafka_ended(&k->ender);
	if (k->life == ENDING && k->ended && kafka_overflow_closed(&k->overflow)) {
		k->life = CLOSED;
		k->rk = NULL;
		kafka_unclaim(&k->claim);
		event_del(k->wake);
		event_del(k->tick);
		k->source->closed(k->source);
	}
}

static void turn(struct kafka_source *k)
{
	kafka_listen(k);
	if (kafka_ask_done(&k->ask))
		kafka_on_answer(k);
	read_parts(k);
	kafka_overflow_turn(&k->overflow);
	kafka_drain_revoked(k);
	if (k->life != RUNNING)
		close_step(k);
	else if (!k->failed)
		kafka_store_due(k);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t n;
	ssize_t got = read(fd, &n, sizeof(n));

	(void)got; /* whoever woke us, the queues tell */
	(void)what;
	turn(arg);
}

/*
 * A group gives a static member that is back what it had, and does not look at what it subscribes to; other topics than before
 * wait for the group's next rebalance. Nobody can tell the group, so somebody is told.
 */
static void mind_the_topics(struct kafka_source *k, bool new_member)
{
	const struct kafka_source_conf *c = k->source->conf;
	struct sb_buf before = SB_BUF(64);
	char key[32], now[32];
	uint64_t sum = 0;

	for (size_t i = 0; i < c->topics.n; i++)
		sum += kafka_record_seed(k->claim.name, c->topics.v[i], 0);
	snprintf(key, sizeof(key), "topics %u", k->source->env->shard);
	snprintf(now, sizeof(now), "%016" PRIx64, sum);
	if (new_member && sb_source_remembered(k->source, sb_slice_str(key), &before) == 0 && !sb_slice_eq_str(sb_buf_slice(&before), now))
		sb_log(SB_LOG_WARN, "the group learns of a static member's other topics at its next rebalance only",
			KS("source", k->source->name));
	sb_source_remember(k->source, sb_slice_str(key), sb_slice_str(now));
	sb_buf_done(&before);
}

static int subscribe_to_topics(struct kafka_source *k, struct sb_err *err)
{
	const struct kafka_source_conf *c = k->source->conf;
	rd_kafka_topic_partition_list_t *topics;
	rd_kafka_resp_err_t rc;

	topics = rd_kafka_topic_partition_list_new((int)c->topics.n);
	for (size_t i = 0; i < c->topics.n; i++)
		rd_kafka_topic_partition_list_add(topics, c->topics.v[i], RD_KAFKA_PARTITION_UA);
	rc = rd_kafka_subscribe(k->rk, topics);
	rd_kafka_topic_partition_list_destroy(topics);
	if (rc)
		return sb_fail(err, SB_E_INVALID, "kafka: %s", rd_kafka_err2str(rc));
	return 0;
}

/* A static member waits for the instance before it to be gone. */
static int subscribe(struct kafka_source *k, struct sb_err *err)
{
	k->subscribed = kafka_claim(&k->claim);
	if (!k->subscribed)
		return 0;
	if (subscribe_to_topics(k, err) < 0)
		return -1;
	if (k->claim.name)
		mind_the_topics(k, true);
	return 0;
}

/* The member stays; what the topics have in common stays with it, if the protocol lets it. */
static void kafka_adopt(struct sb_source *s)
{
	struct kafka_source *k = s->state;
	struct sb_err err;

	if (k->life != RUNNING || k->failed || !k->subscribed)
		return;
	if (subscribe_to_topics(k, &err) < 0) {
		kafka_fail(k, err.msg);
		return;
	}
	if (k->claim.name)
		mind_the_topics(k, false);
}

static void subscribe_late(struct kafka_source *k)
{
	struct sb_err err;

	if (subscribe(k, &err) < 0)
		kafka_fail(k, err.msg);
}

/* Also for wake-ups that were missed, and so that the group never takes us for dead. */
static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct kafka_source *k = arg;

	(void)fd;
	(void)what;
	if (k->life < ENDING)
		kafka_check_fatal(k);
	if (k->life == RUNNING && !k->subscribed)
		subscribe_late(k);
	if (k->life == RUNNING) {
		kafka_nudge(&k->nudge, k->counts.records);
		spill_stuck(k);
		if (k->ask_ns && kafka_now_ns(k) >= k->ask_ns)
			kafka_ask_again(k);
	}
	turn(k);
}

static int open_consumer(struct kafka_source *k, struct sb_err *err)
{
	static const uint64_t one = 1;
	rd_kafka_conf_t *conf = kafka_source_rdkafka(k->source->conf, k->source->env->shard, err);
	char why[512];

	if (!conf)
		return -1;
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_FETCH | RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT | RD_KAFKA_EVENT_ERROR);
	k->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
	if (!k->rk) {
		rd_kafka_conf_destroy(conf);
		return sb_fail(err, SB_E_INVALID, "kafka: %s", why);
	}
	rd_kafka_poll_set_consumer(k->rk);
	kafka_nudge_start(&k->nudge, k->rk);
	k->queue = rd_kafka_queue_get_consumer(k->rk);
	rd_kafka_queue_io_event_enable(k->queue, k->wake_fd, &one, sizeof(one));
	k->claim.name = kafka_source_identity(k->source->conf, k->source->env->shard);
	return subscribe(k, err);
}

static int kafka_open(struct sb_source *s, struct sb_err *err)
{
	const struct timeval tick = { .tv_usec = TICK_MS * 1000 };
	struct kafka_source *k = s->state;

	k->source = s;
	k->wake_fd = -1;
	kafka_record_init(&k->record);
	k->envelope = sb_envelope_new(s);
	if (!s->env->base)
		return sb_fail(err, SB_E_REFUSED, "kafka: there is no event loop to run in");
	k->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (k->wake_fd < 0)
		return sb_fail_errno(err, "kafka: eventfd");
	kafka_overflow_init(&k->overflow, s, k->wake_fd);
	k->wake = event_new(s->env->base, k->wake_fd, EV_READ | EV_PERSIST, on_wake, k);
	k->tick = event_new(s->env->base, -1, EV_PERSIST, on_tick, k);
	if (open_consumer(k, err) < 0)
		return -1;
	event_add(k->wake, NULL);
	event_add(k->tick, &tick);
	return 0;
}

static void kafka_pause(struct sb_source *s, bool on)
{
	struct kafka_source *k = s->state;

	k->paused = on;
	if (!on)
		kafka_again(k);
}

static void kafka_close(struct sb_source *s)
{
	const struct kafka_source_conf *c = s->conf;
	struct kafka_source *k = s->state;

	if (k->life != RUNNING)
		return;
	k->life = WAITING;
	kafka_nudge_stop(&k->nudge);
	k->leave_ns = kafka_now_ns(k) + c->drain * SB_NS_PER_MS;
	if (!k->failed)
		kafka_ask_no_more(k);
	kafka_again(k);
}

static void kafka_free(struct sb_source *s)
{
	struct kafka_source *k = s->state;

	if (!k->source)
		return;
	kafka_ask_wait(&k->ask);
	kafka_overflow_forget(&k->overflow); /* its receipts are gone */
	if (k->queue)
		end_consumer(k);
	kafka_end_wait(&k->ender);
	kafka_overflow_free(&k->overflow);
	kafka_nudge_join(&k->nudge);
	if (k->wake)
		event_free(k->wake);
	if (k->tick)
		event_free(k->tick);
	if (k->wake_fd >= 0)
		close(k->wake_fd);
	kafka_unclaim(&k->claim);
	sb_envelope_free(k->envelope);
	kafka_record_done(&k->record);
	free(k->part);
}

/* ------------------------------------------------------------------------------------------------ status */

#define STATUS_PARTS 1000

static void status_part(const struct kafka_source *k, const struct part *p, struct sb_buf *out)
{
	static const char *const states[] = { "reading", "revoking", "stopped" };
	int64_t low = -1, high = -1, lag = -1;

	rd_kafka_get_watermark_offsets(k->rk, p->topic, p->number, &low, &high); /* of the last answer: nobody is asked */
	if (high >= 0 && p->window.position >= 0)
		lag = high > p->window.position ? high - p->window.position : 0;
	sb_buf_addf(out, "{\"topic\":\"%s\",\"partition\":%" PRId32 ",\"state\":\"%s\",\"position\":%" PRId64 ",\"lag\":%" PRId64
		",\"under_way\":%u,\"uncommitted\":%u}", p->topic, p->number, states[p->state], p->window.position, lag,
		kafka_window_held(&p->window), kafka_window_finished(&p->window));
}

static void kafka_overflow_source(struct sb_source *s, const struct sb_overflow *what)
{
	struct kafka_source *k = s->state;

	kafka_overflow_take(&k->overflow, what);
}

static void status_overflow(const struct kafka_source *k, struct sb_buf *out)
{
	if (!k->source->overflow_topic)
		return;
	sb_buf_adds(out, ",\"overflow\":{\"topic\":");
	sb_json_add_string(out, sb_slice_str(k->source->overflow_topic));
	sb_buf_addf(out, ",\"sent\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"under_way\":%u,\"last_error\":", k->overflow.n, k->overflow.refused,
		k->overflow.under_way);
	sb_json_add_string(out, sb_slice_str(k->overflow.last_error));
	sb_buf_addc(out, '}');
}

static void kafka_status(struct sb_source *s, struct sb_buf *out)
{
	const struct kafka_source *k = s->state;
	size_t n = 0;

	sb_buf_addf(out, "\"failed\":%s,\"records\":%" PRIu64 ",\"buried\":%" PRIu64 ",\"lost_by_retention\":%" PRIu64
		",\"stale\":%" PRIu64 ",\"abandoned\":%" PRIu64 ",\"rebalances\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"last_error\":",
		k->failed ? "true" : "false", k->counts.records, k->counts.buried, k->counts.lost_by_retention, k->counts.stale,
		k->counts.abandoned, k->counts.rebalances, k->counts.errors);
	sb_json_add_string(out, sb_slice_str(k->last_error));
	status_overflow(k, out);
	sb_buf_adds(out, ",\"partitions\":[");
	for (size_t i = 0; i < k->n_parts && n < STATUS_PARTS && k->rk; i++) {
		if (!k->part[i])
			continue;
		if (n++)
			sb_buf_addc(out, ',');
		status_part(k, k->part[i], out);
	}
	sb_buf_addc(out, ']');
}

const struct sb_source_ops kafka_source_ops = {
	.state_size = sizeof(struct kafka_source),
	.conf_size = sizeof(struct kafka_source_conf),
	.fields = kafka_source_fields,
	.check = kafka_source_check,
	.probe = kafka_source_probe,
	.open = kafka_open,
	.pause = kafka_pause,
	.settled = kafka_settled,
	.adopts = kafka_source_adopts,
	.adopt = kafka_adopt,
	.overflow = kafka_overflow_source,
	.check_overflow = kafka_overflow_check,
	.close = kafka_close,
	.free = kafka_free,
	.status = kafka_status,
};
