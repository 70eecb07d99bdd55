/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "broker/base/log.h"
#include "consumer.h"
#include "record.h"
#include "window.h"

/*
 * One shard's consumer of the group. Every partition has a queue of its own, so that one whose window is full is simply not
 * read, while the group, which speaks through the main queue, is always listened to.
 *
 *   partition queue ──> record.c ──> envelope ──> sb_source_hand ... settled ──> window.c ──> stored position ──> commit
 *        ^                               │ no event                                  │
 *        │ window or memory full,        └──> sb_source_bury ───────────────────────>┘
 *        └ paused, refused: not read
 *
 * A record that the framework does not take now is kept (`pending`) and offered again; nothing behind it is read meanwhile.
 *
 * Rebalance. Assigned: a thread asks where the group stands, then each partition begins there. Revoked: it is read no more, and
 * waits for what is under way, at most `drain`; then its position is stored, then it is fenced, and only then given
 * back, so that nothing is stored for a partition of somebody else's. Lost: fenced at once, nothing is stored.
 *
 * Fencing: each assignment of a partition has an epoch of its own; what is settled under another one is counted and forgotten.
 */
#define TICK_MS 50
#define RECORDS_MOST 512 /* in one go; then the loop gets its turn */
#define SPILL_AT_ONCE 256
#define COMMIT_MS 5000   /* for a last commit, when what is under way is done */
#define COMMIT_AGAIN_MS 100
#define LEAVE_MS 3000    /* for the group to say good-bye */

enum part_state { READING, REVOKING, STOPPED };

struct part {
	char *topic;
	int32_t number;
	uint32_t epoch;
	enum part_state state;
	rd_kafka_queue_t *queue;
	rd_kafka_event_t *pending; /* a record that was not taken */
	const rd_kafka_message_t *pending_record; /* inside of it */
	struct kafka_window window;
	uint64_t seed;
	bool dirty;                /* the position has moved since it was stored */
	uint32_t head_before;      /* the window's head at the last tick */
	int64_t committed;         /* as the group has told us; -1: nothing */
};

enum life { RUNNING, WAITING, COMMITTING, LEAVING, ENDING, CLOSED };

struct kafka_source {
	struct sb_source *source;
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;
	int wake_fd;
	struct event *wake, *tick;
	struct sb_envelope_reader *envelope;
	struct kafka_record record;
	struct part **part; /* NULL where there is none; cookies have the index */
	size_t n_parts, turn;
	uint32_t epochs;
	uint64_t held_bytes;
	struct kafka_ask ask;
	rd_kafka_topic_partition_list_t *revoked; /* being drained; NULL: none */
	uint64_t revoke_ns, ask_ns;  /* give up draining; ask again (0: not) */
	uint64_t commit_ns;          /* no commit of our own before */
	bool commit_out;
	struct kafka_ender ender;
	enum life life;
	uint64_t leave_ns;
	bool paused, failed, hard;
	struct {
		uint64_t records, buried, lost_by_retention, stale, abandoned, rebalances, errors;
	} counts;
	char last_error[256];
};

static uint64_t now_ns(const struct kafka_source *k)
{
	return sb_mono_ns(k->source->env->clock);
}

static void again(struct kafka_source *k)
{
	event_active(k->wake, EV_READ, 0);
}

static void note_error(struct kafka_source *k, const char *text)
{
	k->counts.errors++;
	snprintf(k->last_error, sizeof(k->last_error), "%s", text ? text : "");
}

/* ------------------------------------------------------------------------------------------------ partitions */

static size_t free_place(struct kafka_source *k)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (!k->part[i])
			return i;
	k->part = sb_xrealloc(k->part, (k->n_parts + 1) * sizeof(struct part *));
	k->part[k->n_parts] = NULL;
	return k->n_parts++;
}

static struct part *find(const struct kafka_source *k, const char *topic, int32_t number)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] && k->part[i]->number == number && strcmp(k->part[i]->topic, topic) == 0)
			return k->part[i];
	return NULL;
}

/* Its queue is taken out of the main one before it is assigned: what is fetched can only come to us here. */
static void add_part(struct kafka_source *k, const rd_kafka_topic_partition_t *at)
{
	static const uint64_t one = 1;
	const struct kafka_source_conf *c = k->source->conf;
	struct part *p = sb_xcalloc(sizeof(*p));
	size_t i = free_place(k);

	p->topic = sb_xstrdup(at->topic);
	p->number = at->partition;
	p->epoch = ++k->epochs;
	p->seed = kafka_record_seed(k->source->name, p->topic, p->number);
	p->committed = -1;
	kafka_window_init(&p->window, (uint32_t)c->window.records, c->window.bytes);
	p->queue = rd_kafka_queue_get_partition(k->rk, p->topic, p->number);
	if (p->queue) {
		rd_kafka_queue_forward(p->queue, NULL);
		rd_kafka_queue_io_event_enable(p->queue, k->wake_fd, &one, sizeof(one));
	} else {
		p->state = STOPPED;
	}
	k->part[i] = p;
}

/* From here on what is settled for it is stale. */
static void drop_part(struct kafka_source *k, struct part *p)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] == p)
			k->part[i] = NULL;
	k->counts.abandoned += kafka_window_held(&p->window);
	k->held_bytes -= p->window.bytes;
	if (p->pending)
		rd_kafka_event_destroy(p->pending);
	if (p->queue) {
		rd_kafka_queue_io_event_enable(p->queue, -1, NULL, 0);
		rd_kafka_queue_destroy(p->queue);
	}
	kafka_window_free(&p->window);
	free(p->topic);
	free(p);
}

static void stop_part(struct kafka_source *k, struct part *p, const char *why)
{
	p->state = STOPPED;
	note_error(k, why);
	sb_log(SB_LOG_ERROR, "partition stopped: somebody must look", KS("source", k->source->name), KS("topic", p->topic),
		KI("partition", p->number), KS("why", why));
}

/* ------------------------------------------------------------------------------------------------ positions */

/* Only what moved; a position that is refused because the partition is no longer ours is lost with it. */
static void store_positions(struct kafka_source *k)
{
	rd_kafka_topic_partition_list_t *list = NULL;

	for (size_t i = 0; i < k->n_parts; i++) {
		struct part *p = k->part[i];

		if (!p || !p->dirty)
			continue;
		if (!list)
			list = rd_kafka_topic_partition_list_new(16);
		rd_kafka_topic_partition_list_add(list, p->topic, p->number)->offset = p->window.position;
		p->dirty = false;
	}
	if (!list)
		return;
	if (rd_kafka_offsets_store(k->rk, list) != RD_KAFKA_RESP_ERR_NO_ERROR)
		for (int i = 0; i < list->cnt; i++)
			k->counts.stale += list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR;
	rd_kafka_topic_partition_list_destroy(list);
}

/*
 * Before a partition is given back its position is committed, and the answer waited for: while the group is being rebalanced
 * a commit can fail, and the next owner would begin where the last one that worked has left it.
 */
static bool is_committed(const struct part *p)
{
	return p->window.position < 0 || p->committed >= p->window.position;
}

static bool all_committed(const struct kafka_source *k, bool revoking_only)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] && !is_committed(k->part[i]) && (!revoking_only || k->part[i]->state == REVOKING))
			return false;
	return true;
}

static void commit_now(struct kafka_source *k)
{
	rd_kafka_topic_partition_list_t *list;

	if (k->commit_out || now_ns(k) < k->commit_ns)
		return;
	list = rd_kafka_topic_partition_list_new(16);
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] && !is_committed(k->part[i]))
			rd_kafka_topic_partition_list_add(list, k->part[i]->topic, k->part[i]->number)->offset = k->part[i]->window.position;
	k->commit_out = list->cnt && rd_kafka_commit_queue(k->rk, list, k->queue, NULL, k) == RD_KAFKA_RESP_ERR_NO_ERROR;
	k->commit_ns = now_ns(k) + COMMIT_AGAIN_MS * SB_NS_PER_MS;
	rd_kafka_topic_partition_list_destroy(list);
}

static void on_committed(struct kafka_source *k, rd_kafka_event_t *ev)
{
	const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);
	rd_kafka_resp_err_t err = rd_kafka_event_error(ev);

	if (rd_kafka_event_opaque(ev) == k)
		k->commit_out = false;
	if (err && err != RD_KAFKA_RESP_ERR__NO_OFFSET)
		note_error(k, rd_kafka_event_error_string(ev));
	for (int i = 0; list && i < list->cnt; i++) {
		const rd_kafka_topic_partition_t *at = &list->elems[i];
		struct part *p = find(k, at->topic, at->partition);

		if (p && !err && !at->err && at->offset > p->committed)
			p->committed = at->offset;
	}
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
	if (kafka_window_done(&p->window, (uint32_t)cookie))
		p->dirty = true;
	k->held_bytes -= bytes - p->window.bytes;
	if (was_full || p->state == REVOKING)
		again(k);
}

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

static enum taken take_record(struct kafka_source *k, const struct part *p, const rd_kafka_message_t *m, const struct sb_held *held)
{
	struct sb_refusal refusal;
	struct sb_event *ev;
	struct sb_err err;

	if (kafka_record_read(&k->record, m, p->topic, p->seed) < 0)
		return bury(k, held, "too_large", "the headers are too many or too large");
	if (sb_envelope_read(k->envelope, &k->record.message, &ev, &err) < 0)
		return bury(k, held, sb_envelope_code(k->envelope), err.msg);
	if (sb_source_hand(k->source, ev, held, &refusal) == 0)
		return TAKEN;
	sb_event_unref(ev);
	return for_later(refusal.why) ? NOT_NOW : bury(k, held, "refused", refusal.msg);
}

/* False: it is kept for later. */
static bool on_record(struct kafka_source *k, size_t i, const rd_kafka_message_t *m)
{
	struct part *p = k->part[i];
	uint32_t bytes = (uint32_t)SB_MIN(m->len + m->key_len + 256, UINT32_MAX);
	struct sb_held held = { .cookie = (uint64_t)i << 32 | p->window.tail, .epoch = p->epoch,
		.position = { k->record.position, 0 } };

	snprintf(k->record.position, sizeof(k->record.position), "%s/%" PRId32 "/%" PRId64, p->topic, m->partition, m->offset);
	held.position.n = strlen(k->record.position);
	if (take_record(k, p, m, &held) == NOT_NOW)
		return false;
	kafka_window_add(&p->window, m->offset, -1, bytes);
	k->held_bytes += bytes;
	k->counts.records++;
	return true;
}

static void on_part_error(struct kafka_source *k, struct part *p, rd_kafka_resp_err_t err, const char *text)
{
	if (err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
		stop_part(k, p, text ? text : rd_kafka_err2str(err));
	else
		note_error(k, text ? text : rd_kafka_err2str(err));
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
		again(k);
}

/* A window that is full and does not move: its oldest go to the journal, so that the others are not held up. */
static void spill_stuck(struct kafka_source *k)
{
	for (size_t i = 0; i < k->n_parts; i++) {
		struct part *p = k->part[i];

		if (!p)
			continue;
		if (kafka_window_full(&p->window) && p->window.head == p->head_before)
			sb_source_spill(k->source, SPILL_AT_ONCE);
		p->head_before = p->window.head;
	}
}

/* ------------------------------------------------------------------------------------------------ rebalance */

static bool is_cooperative(const struct kafka_source *k)
{
	const char *protocol = rd_kafka_rebalance_protocol(k->rk);

	return protocol && strcmp(protocol, "COOPERATIVE") == 0;
}

static void note_and_destroy(struct kafka_source *k, rd_kafka_error_t *err)
{
	if (!err)
		return;
	note_error(k, rd_kafka_error_string(err));
	rd_kafka_error_destroy(err);
}

static void assign(struct kafka_source *k, const rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_resp_err_t err;

	if (is_cooperative(k)) {
		note_and_destroy(k, rd_kafka_incremental_assign(k->rk, list));
		return;
	}
	err = rd_kafka_assign(k->rk, list);
	if (err)
		note_error(k, rd_kafka_err2str(err));
}

static void unassign(struct kafka_source *k, const rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_resp_err_t err;

	if (is_cooperative(k)) {
		note_and_destroy(k, rd_kafka_incremental_unassign(k->rk, list));
		return;
	}
	err = rd_kafka_assign(k->rk, NULL);
	if (err)
		note_error(k, rd_kafka_err2str(err));
}

static void begin_part(struct kafka_source *k, rd_kafka_topic_partition_t *at, const struct kafka_asked *asked)
{
	const struct kafka_source_conf *c = k->source->conf;
	uint64_t lost;
	struct part *p;

	at->offset = kafka_begin_at(asked, (enum kafka_from)c->from, (enum kafka_out_of_range)c->out_of_range, &lost);
	add_part(k, at);
	p = find(k, at->topic, at->partition);
	if (lost) {
		k->counts.lost_by_retention += lost;
		sb_log(SB_LOG_ERROR, "records are gone that were never read: retention was faster", KS("source", k->source->name),
			KS("topic", p->topic), KI("partition", p->number), KI("records", lost));
	}
	if (at->offset == -1) {
		at->offset = RD_KAFKA_OFFSET_END; /* assigned, as the group wants it, and not read */
		stop_part(k, p, "the position of the group is not in the topic any more; see `out_of_range`");
	} else if (at->offset >= 0) {
		p->window.position = at->offset;
		p->committed = asked->committed;
		p->dirty = asked->committed != at->offset; /* now the group has one, whatever happens before the first record */
	}
}

/* Nothing is to be fetched for those that are not read. */
static void rest_stopped(struct kafka_source *k)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] && k->part[i]->state == STOPPED)
			rd_kafka_topic_partition_list_add(list, k->part[i]->topic, k->part[i]->number);
	if (list->cnt)
		rd_kafka_pause_partitions(k->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
}

static void on_answer(struct kafka_source *k)
{
	rd_kafka_topic_partition_list_t *list = k->ask.list;

	if (k->ask.err) {
		note_error(k, rd_kafka_err2str(k->ask.err));
		k->ask_ns = now_ns(k) + SB_NS_PER_S;
		return;
	}
	for (int i = 0; i < list->cnt; i++)
		begin_part(k, &list->elems[i], &k->ask.answer[i]);
	assign(k, list);
	rest_stopped(k);
	kafka_ask_free(&k->ask);
	store_positions(k);
	again(k);
}

static void ask_again(struct kafka_source *k)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_copy(k->ask.list);

	k->ask_ns = 0;
	kafka_ask_free(&k->ask);
	kafka_ask(&k->ask, k->rk, list, k->wake_fd);
	rd_kafka_topic_partition_list_destroy(list);
}

static void on_assigned(struct kafka_source *k, const rd_kafka_topic_partition_list_t *list)
{
	k->counts.rebalances++;
	kafka_ask_free(&k->ask);
	if (list->cnt == 0 || k->life != RUNNING) /* whoever leaves takes it, and does not read it */
		assign(k, list);
	else
		kafka_ask(&k->ask, k->rk, list, k->wake_fd);
}

static void drop_parts(struct kafka_source *k, const rd_kafka_topic_partition_list_t *list)
{
	for (int i = 0; i < list->cnt; i++) {
		struct part *p = find(k, list->elems[i].topic, list->elems[i].partition);

		if (p)
			drop_part(k, p);
	}
}

static bool is_drained(const struct kafka_source *k)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] && k->part[i]->state == REVOKING && kafka_window_held(&k->part[i]->window))
			return false;
	return true;
}

/* Stored, then fenced, then given back. */
static void give_back(struct kafka_source *k)
{
	store_positions(k);
	drop_parts(k, k->revoked);
	unassign(k, k->revoked);
	rd_kafka_topic_partition_list_destroy(k->revoked);
	k->revoked = NULL;
}

static void on_revoked(struct kafka_source *k, const rd_kafka_topic_partition_list_t *list)
{
	const struct kafka_source_conf *c = k->source->conf;

	k->counts.rebalances++;
	kafka_ask_free(&k->ask); /* what was being assigned is not any more */
	k->ask_ns = 0;
	if (rd_kafka_assignment_lost(k->rk)) {
		drop_parts(k, list);
		unassign(k, list);
		return;
	}
	k->revoked = rd_kafka_topic_partition_list_copy(list);
	for (int i = 0; i < list->cnt; i++) {
		struct part *p = find(k, list->elems[i].topic, list->elems[i].partition);

		if (p)
			p->state = REVOKING;
	}
	k->revoke_ns = now_ns(k) + (k->life == RUNNING ? c->drain * SB_NS_PER_MS : 0);
}

static void on_rebalance(struct kafka_source *k, rd_kafka_event_t *ev)
{
	const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);
	rd_kafka_resp_err_t err = rd_kafka_event_error(ev);

	if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
		on_assigned(k, list);
	} else if (err == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
		on_revoked(k, list);
	} else {
		note_error(k, rd_kafka_event_error_string(ev));
		rd_kafka_assign(k->rk, NULL);
	}
}

/* What is being given back waits no longer than half of `drain` for its targets; then the journal takes it. */
static void drain_revoked(struct kafka_source *k)
{
	const struct kafka_source_conf *c = k->source->conf;
	uint64_t now = now_ns(k);

	if (!k->revoked)
		return;
	if (is_drained(k) || now >= k->revoke_ns) {
		commit_now(k);
		if (all_committed(k, true) || now >= k->revoke_ns + COMMIT_MS * SB_NS_PER_MS)
			give_back(k);
	} else if (now + c->drain * SB_NS_PER_MS / 2 >= k->revoke_ns) {
		sb_source_spill(k->source, SPILL_AT_ONCE);
	}
}

/* ------------------------------------------------------------------------------------------------ events */

static void on_error(struct kafka_source *k, rd_kafka_resp_err_t err, const char *text)
{
	char why[256];

	if (err == RD_KAFKA_RESP_ERR__FATAL) {
		rd_kafka_fatal_error(k->rk, why, sizeof(why));
		note_error(k, why);
		if (!k->failed)
			sb_log(SB_LOG_ERROR, "the consumer has failed for good: the source reads no more", KS("source", k->source->name), KS("why", why));
		k->failed = true;
		return;
	}
	note_error(k, text);
}

static void on_event(struct kafka_source *k, rd_kafka_event_t *ev)
{
	switch (rd_kafka_event_type(ev)) {
	case RD_KAFKA_EVENT_REBALANCE: on_rebalance(k, ev); break;
	case RD_KAFKA_EVENT_ERROR: on_error(k, rd_kafka_event_error(ev), rd_kafka_event_error_string(ev)); break;
	case RD_KAFKA_EVENT_OFFSET_COMMIT: on_committed(k, ev); break;
	default: break;
	}
	rd_kafka_event_destroy(ev);
}

static void listen_to_group(struct kafka_source *k)
{
	rd_kafka_event_t *ev;

	while (k->queue && (ev = rd_kafka_queue_poll(k->queue, 0)))
		on_event(k, ev);
}

/* ------------------------------------------------------------------------------------------------ life */

static bool holds_any(const struct kafka_source *k)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] && kafka_window_held(&k->part[i]->window))
			return true;
	return false;
}

/* What is done is committed; then good-bye. */
static void try_to_leave(struct kafka_source *k, uint64_t now)
{
	if (k->revoked)
		return; /* first things first */
	commit_now(k);
	if (!all_committed(k, false) && now < k->leave_ns)
		return;
	store_positions(k);
	k->life = LEAVING;
	k->leave_ns = now + LEAVE_MS * SB_NS_PER_MS;
	note_and_destroy(k, rd_kafka_consumer_close_queue(k->rk, k->queue));
}

static void end_consumer(struct kafka_source *k)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i])
			drop_part(k, k->part[i]);
	if (k->revoked)
		rd_kafka_topic_partition_list_destroy(k->revoked);
	k->revoked = NULL;
	rd_kafka_queue_io_event_enable(k->queue, -1, NULL, 0);
	rd_kafka_queue_destroy(k->queue);
	k->queue = NULL;
	k->life = ENDING;
	kafka_end(&k->ender, k->rk, !rd_kafka_consumer_closed(k->rk), k->wake_fd);
}

static void close_step(struct kafka_source *k)
{
	uint64_t now = now_ns(k);

	if (k->life == WAITING && (!holds_any(k) || !sb_source_may_settle(k->source) || now >= k->leave_ns)) {
		k->life = COMMITTING;
		k->leave_ns = now + COMMIT_MS * SB_NS_PER_MS;
	}
	if (k->life == COMMITTING)
		try_to_leave(k, now);
	if (k->life == LEAVING && !k->ask.out && (rd_kafka_consumer_closed(k->rk) || now >= k->leave_ns))
		end_consumer(k);
	if (k->life == ENDING && kafka_ended(&k->ender)) {
		k->life = CLOSED;
		k->rk = NULL;
		event_del(k->wake);
		event_del(k->tick);
		k->source->closed(k->source);
	}
}

static void turn(struct kafka_source *k)
{
	listen_to_group(k);
	if (kafka_ask_done(&k->ask) && k->life == RUNNING)
		on_answer(k);
	read_parts(k);
	drain_revoked(k);
	if (k->life != RUNNING)
		close_step(k);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t n;
	ssize_t got = read(fd, &n, sizeof(n));

	(void)got; /* whoever woke us, the queues tell */
	(void)what;
	turn(arg);
}

/* Also for wake-ups that were missed, and so that the group never takes us for dead. */
static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct kafka_source *k = arg;

	(void)fd;
	(void)what;
	if (k->life == RUNNING) {
		spill_stuck(k);
		store_positions(k);
		if (k->ask_ns && now_ns(k) >= k->ask_ns)
			ask_again(k);
	}
	turn(k);
}

static int subscribe(struct kafka_source *k, struct sb_err *err)
{
	const struct kafka_source_conf *c = k->source->conf;
	rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new((int)c->topics.n);
	rd_kafka_resp_err_t rc;

	for (size_t i = 0; i < c->topics.n; i++)
		rd_kafka_topic_partition_list_add(topics, c->topics.v[i], RD_KAFKA_PARTITION_UA);
	rc = rd_kafka_subscribe(k->rk, topics);
	rd_kafka_topic_partition_list_destroy(topics);
	return rc ? sb_fail(err, SB_E_INVALID, "kafka: %s", rd_kafka_err2str(rc)) : 0;
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
	k->queue = rd_kafka_queue_get_consumer(k->rk);
	rd_kafka_queue_io_event_enable(k->queue, k->wake_fd, &one, sizeof(one));
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
		again(k);
}

static void kafka_close(struct sb_source *s)
{
	const struct kafka_source_conf *c = s->conf;
	struct kafka_source *k = s->state;

	if (k->life != RUNNING)
		return;
	k->life = WAITING;
	k->leave_ns = now_ns(k) + c->drain * SB_NS_PER_MS;
	again(k);
}

static void kafka_free(struct sb_source *s)
{
	struct kafka_source *k = s->state;

	if (!k->source)
		return;
	kafka_ask_free(&k->ask);
	if (k->queue)
		end_consumer(k);
	kafka_end_wait(&k->ender);
	if (k->wake)
		event_free(k->wake);
	if (k->tick)
		event_free(k->tick);
	if (k->wake_fd >= 0)
		close(k->wake_fd);
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
		",\"under_way\":%u}", p->topic, p->number, states[p->state], p->window.position, lag, kafka_window_held(&p->window));
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
	.open = kafka_open,
	.pause = kafka_pause,
	.settled = kafka_settled,
	.close = kafka_close,
	.free = kafka_free,
	.status = kafka_status,
};
