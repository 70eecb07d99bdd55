/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/base/log.h"

/*
 * Two connections a stream: a blocked XREADGROUP keeps its own for itself, everything else is said on the other, in the order
 * in which it is to happen.
 *
 *   APART ──talk is up, no predecessor──> LOOKING <──> CREATING
 *     ^                                     │   ^
 *     └── talk is down                      v   └── NOGROUP
 *                                         READY: our own pending entries, then new ones
 *
 * New entries are read only when what is pending under our name is in the window, nothing waits to be offered again, and there
 * is room; the number asked for fits. So the window is the only memory that a stream can take, and a framework that does not keep up
 * is felt by Redis as a slow reader and by nobody else.
 *
 * A reload closes an instance and opens the next with the same name in the group at once. What the first has in its hands is pending under
 * that name, so the next waits until the first has let go, also of what its last read may still bring.
 */
#define READ_MAX 500
#define BLOCK_MS 1000
#define TICK_MS 1000
#define WORKING_TICK_MS 250 /* entries are being acknowledged */
#define BUSY_TICK_MS 50     /* something waits for us */
#define CLOSE_MS 3000
#define STUCK_MS 500
#define SURVEY_MS 200
#define FORGET_MS 3600000
#define OWN_IDLE_MS 2000 /* of a round that is only made to be sure: what comes right now is not meant */

static pthread_mutex_t alive_lock = PTHREAD_MUTEX_INITIALIZER; /* taken at open and close only */
static struct sb_link alive = { &alive, &alive };

static bool same(const struct rds_stream *a, const struct rds_stream *b)
{
	return a->s->env->shard == b->s->env->shard && a->s->name == b->s->name && strcmp(a->key, b->key) == 0 &&
	       strcmp(a->conf->group, b->conf->group) == 0 && strcmp(a->consumer, b->consumer) == 0;
}

/* Somebody older reads this stream under our name, and is about to let go. */
static bool has_predecessor(const struct rds_stream *st)
{
	bool found = false;

	pthread_mutex_lock(&alive_lock);
	for (struct sb_link *l = alive.next; l != &st->alive && l != &alive && !found; l = l->next)
		found = same(SB_CONTAINER(l, struct rds_stream, alive), st);
	pthread_mutex_unlock(&alive_lock);
	return found;
}

static void join_alive(struct rds_stream *st)
{
	pthread_mutex_lock(&alive_lock);
	sb_list_push_back(&alive, &st->alive);
	pthread_mutex_unlock(&alive_lock);
}

static void leave_alive(struct rds_stream *st)
{
	pthread_mutex_lock(&alive_lock);
	sb_list_unlink(&st->alive);
	pthread_mutex_unlock(&alive_lock);
}

/* ------------------------------------------------------------------------------------------------ talking */

int rds_stream_tell(struct rds_stream *st, redisCallbackFn *fn, void *arg)
{
	return rds_conn_send(st->talk, sb_buf_slice(&st->command), fn, arg);
}

void rds_stream_heed(struct rds_stream *st, struct rds_conn *c, const redisReply *r)
{
	struct rds_verdict v = rds_verdict_of(rds_text(r));

	sb_log(SB_LOG_WARN, "Redis refuses a command", KS("source", st->s->name), KS("stream", st->key), KS("redis", rds_conn_where(c)),
		KS("error", r->str));
	if (v.then == RDS_MOVED)
		rds_conn_moved(c, rds_text(r));
	else if (v.then == RDS_RECONNECT)
		rds_conn_fail(c, r->str);
}

static void set_tick(struct rds_stream *st, uint64_t ms)
{
	struct timeval tv = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };

	event_add(st->tick, &tv);
}

void rds_stream_hurry(struct rds_stream *st)
{
	set_tick(st, BUSY_TICK_MS);
}

/* ------------------------------------------------------------------------------------------------ reading */

static void on_read(redisAsyncContext *ac, void *reply, void *arg);

static bool may_read(const struct rds_stream *st)
{
	return st->phase == RDS_READY && !st->reading && !st->paused && !st->closing && st->own == RDS_OWN_REST && !st->own_again &&
	       sb_list_empty(&st->win.again) && rds_conn_is_up(st->reader);
}

static void read_new(struct rds_stream *st)
{
	size_t room = SB_MIN(rds_window_room(&st->win, st->each), READ_MAX);
	struct rds_command cmd;

	if (room == 0)
		return;
	sb_buf_clear(&st->command);
	rds_begin(&cmd, &st->command, 11, "XREADGROUP");
	rds_word(&cmd, "GROUP");
	rds_word(&cmd, st->conf->group);
	rds_word(&cmd, st->consumer);
	rds_word(&cmd, "COUNT");
	rds_number(&cmd, room);
	rds_word(&cmd, "BLOCK");
	rds_number(&cmd, BLOCK_MS);
	rds_word(&cmd, "STREAMS");
	rds_word(&cmd, st->key);
	rds_word(&cmd, ">");
	rds_end(&cmd);
	st->reading = rds_conn_send(st->reader, sb_buf_slice(&st->command), on_read, st) == 0;
	rds_conn_flush(st->reader);
}

void rds_stream_go_on(struct rds_stream *st)
{
	rds_own_go_on(st);
	if (st->phase == RDS_READY && st->own_again && st->own == RDS_OWN_REST && !st->reading)
		rds_own_begin(st, 0);
	if (may_read(st))
		read_new(st);
	if (st->win.n == st->win.cap)
		rds_stream_hurry(st);
}

static void read_failed(struct rds_stream *st, const redisReply *r)
{
	if (rds_verdict_of(rds_text(r)).then != RDS_NO_GROUP) {
		rds_stream_heed(st, st->reader, r);
		rds_conn_fail(st->reader, r->str); /* a pause, and whatever it was is asked for again */
		return;
	}
	if (st->phase == RDS_READY) {
		st->phase = RDS_LOOKING;
		rds_group_survey(st);
	}
}

static void on_read(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_stream *st = arg;
	const redisReply *r = reply, *entries;

	(void)ac;
	st->reading = false;
	if (!r) {
		st->own_again = true; /* what it would have brought is pending */
		return;
	}
	if (rds_is_error(r)) {
		read_failed(st, r);
		return;
	}
	if (st->closing)
		return; /* what it has brought stays pending */
	entries = rds_is_array(r, 1) && rds_is_array(r->element[0], 2) ? r->element[0]->element[1] : NULL;
	for (size_t i = 0; entries && i < entries->elements; i++)
		rds_accept(st, entries->element[i], 1);
	rds_hand_all(st);
	rds_stream_go_on(st);
}

/* ------------------------------------------------------------------------------------------------ the connections */

static void look(struct rds_stream *st)
{
	if (st->phase != RDS_APART || !rds_conn_is_up(st->talk) || has_predecessor(st))
		return;
	st->phase = RDS_LOOKING;
	rds_ack_all(st);
	rds_group_survey(st);
}

static void on_talk_up(void *arg)
{
	look(arg);
}

static void on_reader_up(void *arg)
{
	rds_stream_go_on(arg);
}

static void log_down(struct rds_stream *st, const char *why)
{
	sb_log(SB_LOG_WARN, "stream is not connected, tries again", KS("source", st->s->name), KS("stream", st->key), KS("error", why));
}

/* Entries are suddenly so large that an answer is too much: until their average is known. */
static void read_singly(struct rds_stream *st)
{
	st->each = 2 * st->conf->window.bytes;
}

static void on_talk_down(void *arg, const char *why)
{
	struct rds_stream *st = arg;

	if (rds_conn_was_flooded(st->talk)) {
		rds_own_flooded(st);
		read_singly(st);
	}
	st->phase = RDS_APART;
	st->surveying = false;
	rds_own_reset(st);
	log_down(st, why);
}

static void on_reader_down(void *arg, const char *why)
{
	struct rds_stream *st = arg;

	if (rds_conn_was_flooded(st->reader))
		read_singly(st);
	st->reading = false;
	log_down(st, why);
}

static const struct rds_conn_ops talk_ops = { on_talk_up, on_talk_down }, reader_ops = { on_reader_up, on_reader_down };

/* ------------------------------------------------------------------------------------------------ closing */

/* What is not settled by now stays pending. */
static void drop_list(struct rds_window *w, struct sb_link *list)
{
	while (!sb_list_empty(list))
		rds_window_drop(w, SB_CONTAINER(list->next, struct rds_entry, link));
}

static void finish(struct rds_stream *st)
{
	st->closed = true;
	event_del(st->tick);
	event_del(st->acker);
	rds_conn_stop(st->reader);
	rds_conn_stop(st->talk);
	leave_alive(st);
	rds_source_stream_closed(st->s);
}

static void close_step(struct rds_stream *st)
{
	struct rds_window *w = &st->win;
	bool waits_for_redis;

	if (st->closed)
		return;
	if (!sb_source_may_settle(st->s))
		drop_list(w, &w->handed);
	rds_ack_all(st);
	waits_for_redis = !sb_list_empty(&w->settled) || !sb_list_empty(&w->acking);
	waits_for_redis |= st->reading;
	if ((sb_list_empty(&w->handed) && !waits_for_redis) || sb_mono_ns(st->s->env->clock) >= st->close_by_ns)
		finish(st);
	else
		rds_stream_hurry(st);
}

void rds_stream_close(struct rds_stream *st)
{
	if (st->closing)
		return;
	st->closing = true;
	st->close_by_ns = sb_mono_ns(st->s->env->clock) + CLOSE_MS * SB_NS_PER_MS;
	drop_list(&st->win, &st->win.again);
	if (sb_source_may_settle(st->s))
		sb_source_spill(st->s, st->win.n);
	else
		rds_conn_stop(st->reader);
	close_step(st);
}

void rds_stream_pause(struct rds_stream *st, bool on)
{
	st->paused = on;
	if (on)
		return;
	rds_hand_all(st);
	rds_stream_go_on(st);
}

/* ------------------------------------------------------------------------------------------------ time passes */

static bool is_full(const struct rds_stream *st)
{
	return rds_window_room(&st->win, st->each) == 0;
}

/* Nothing can be read, and nothing has been settled for a while: make room. */
static void spill_when_stuck(struct rds_stream *st, uint64_t now)
{
	if (!is_full(st) || st->win.moved != st->moved_before)
		st->stuck_ns = now;
	else if (now - st->stuck_ns >= STUCK_MS * SB_NS_PER_MS)
		sb_source_spill(st->s, st->win.n / 4 + 1);
	st->moved_before = st->win.moved;
}

static bool is_due(uint64_t *at_ns, uint64_t now, uint64_t every_ms)
{
	if (now < *at_ns)
		return false;
	*at_ns = now + every_ms * SB_NS_PER_MS;
	return true;
}

static void take_care(struct rds_stream *st, uint64_t now)
{
	if (is_due(&st->survey_ns, now, SURVEY_MS))
		rds_group_survey(st);
	if (!is_due(&st->care_ns, now, st->conf->claim_after / 4))
		return;
	rds_keep_fresh(st);
	rds_take_over(st);
	rds_own_begin(st, OWN_IDLE_MS);
	rds_look_at_oldest(st);
	if (st->conf->forget_after && is_due(&st->forget_ns, now, SB_MIN(st->conf->forget_after, FORGET_MS)))
		rds_forget_members(st);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct rds_stream *st = arg;
	uint64_t now = sb_mono_ns(st->s->env->clock);
	bool busy, working = st->win.moved != st->moved_before;

	(void)fd;
	(void)what;
	if (st->closing) {
		close_step(st);
		return;
	}
	look(st);
	if (now >= st->hand_after_ns)
		rds_hand_all(st);
	rds_ack_all(st);
	spill_when_stuck(st, now);
	if (st->phase == RDS_READY)
		take_care(st, now);
	rds_stream_go_on(st);
	busy = is_full(st) || !sb_list_empty(&st->win.again) || !sb_list_empty(&st->win.settled) ||
	       (st->phase == RDS_APART && rds_conn_is_up(st->talk));
	set_tick(st, busy ? BUSY_TICK_MS : working ? WORKING_TICK_MS : TICK_MS);
}

static void on_acker(evutil_socket_t fd, short what, void *arg)
{
	struct rds_stream *st = arg;

	(void)fd;
	(void)what;
	if (st->phase != RDS_APART)
		rds_ack_all(st);
	if (st->closing)
		close_step(st);
}

/* ------------------------------------------------------------------------------------------------ life */

/* Its name in the group is the same after a restart, and nobody else's. */
static void name_consumer(struct rds_stream *st)
{
	struct sb_buf was = { .p = st->consumer, .cap = sizeof(st->consumer) - 1, .max = sizeof(st->consumer) - 1 };
	struct sb_slice key;
	char host[64] = "";

	if (st->conf->consumer) {
		snprintf(st->consumer, sizeof(st->consumer), "%s", st->conf->consumer);
		return;
	}
	sb_buf_clear(&st->meta);
	sb_buf_addf(&st->meta, "%s/consumer", st->key);
	key = sb_buf_slice(&st->meta);
	if (sb_source_remembered(st->s, key, &was) == 0)
		return; /* with its NUL: the struct was zeroed */
	gethostname(host, sizeof(host) - 1);
	snprintf(st->consumer, sizeof(st->consumer), "%s-%08x", *host ? host : "signalbox", sb_rand_u32(st->s->env->rand));
	sb_source_remember(st->s, key, sb_slice_str(st->consumer));
}

static int make_connections(struct rds_stream *st, struct sb_err *err)
{
	const struct rds_source_conf *c = st->conf;
	struct rds_conn_conf conf = { .url = c->at.url, .user = c->at.user, .password = c->at.password, .name = st->s->name,
		.connect_timeout_ms = c->at.connect_timeout, .command_timeout_ms = c->timeout };

	if (rds_conn_new(st->s->env, &conf, &talk_ops, st, &st->talk, err) < 0)
		return -1;
	conf.command_timeout_ms += BLOCK_MS;
	return rds_conn_new(st->s->env, &conf, &reader_ops, st, &st->reader, err);
}

int rds_stream_new(struct sb_source *s, struct sb_envelope_reader *envelope, unsigned index, struct rds_stream **ret, struct sb_err *err)
{
	const struct rds_source_conf *c = s->conf;
	struct rds_stream *st = sb_xcalloc(sizeof(*st));
	size_t most = sb_source_max_event(s) * 6 + 65536; /* a byte may take six as JSON */

	st->s = s;
	st->conf = c;
	st->envelope = envelope;
	st->index = index;
	st->key = c->streams.v[index];
	st->key_n = strlen(st->key);
	st->each = 1024;
	sb_list_init(&st->alive);
	sb_buf_init(&st->command, 1u << 20);
	sb_buf_init(&st->value, most);
	sb_buf_init(&st->meta, most);
	rds_window_init(&st->win, (size_t)c->window.entries, c->window.bytes);
	if (make_connections(st, err) < 0) {
		rds_stream_free(st);
		return -1;
	}
	st->tick = evtimer_new(s->env->base, on_tick, st);
	st->acker = evtimer_new(s->env->base, on_acker, st);
	name_consumer(st);
	rds_group_recall(st);
	rds_own_reset(st);
	join_alive(st);
	rds_conn_start(st->talk);
	rds_conn_start(st->reader);
	set_tick(st, BUSY_TICK_MS);
	*ret = st;
	return 0;
}

void rds_stream_free(struct rds_stream *st)
{
	if (!st)
		return;
	leave_alive(st);
	rds_conn_free(st->reader);
	rds_conn_free(st->talk);
	if (st->tick)
		event_free(st->tick);
	if (st->acker)
		event_free(st->acker);
	rds_window_done(&st->win);
	sb_buf_done(&st->command);
	sb_buf_done(&st->value);
	sb_buf_done(&st->meta);
	free(st);
}
