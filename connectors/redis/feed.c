/* SPDX-License-Identifier: Apache-2.0 */
#include "feed.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/base/log.h"

/*
 * Two connections a feed: a read that waits keeps its own for itself, everything else is said on the other, in the order
 * in which it is to happen.
 *
 *   APART ──talk is up, no predecessor──> LOOKING, CREATING: the kind's ──> READY: what is kept under our name, then what is new
 *     ^                                                                       │
 *     └── talk is down ───────────────────────────────────────────────────────┘
 *
 * New messages are read only when what is kept under our name is in the window, nothing waits to be offered again, and there
 * is room; the number asked for fits. So the window is the only memory that a feed can take, and a framework that does not keep up
 * is felt by Redis as a slow reader and by nobody else.
 *
 * A reload closes an instance and opens the next with the same name at once. What the first has in its hands is kept under
 * that name, so the next waits until the first has let go, also of what its last read may still bring.
 */
#define READ_MAX 500
#define TICK_MS 1000
#define WORKING_TICK_MS 250 /* entries are being acknowledged */
#define BUSY_TICK_MS 50     /* something waits for us */
#define CLOSE_MS 3000
#define STUCK_MS 500

static pthread_mutex_t alive_lock = PTHREAD_MUTEX_INITIALIZER; /* taken at open and close only */
static struct sb_link alive = { &alive, &alive };

static bool same(const struct rds_feed *a, const struct rds_feed *b)
{
	return a->s->env->shard == b->s->env->shard && a->s->name == b->s->name && strcmp(a->key, b->key) == 0 &&
	       a->kind == b->kind && strcmp(a->conf->group ? a->conf->group : "", b->conf->group ? b->conf->group : "") == 0 &&
	       strcmp(a->consumer, b->consumer) == 0;
}

/* Somebody older reads this stream under our name, and is about to let go. */
static bool has_predecessor(const struct rds_feed *f)
{
	bool found = false;

	pthread_mutex_lock(&alive_lock);
	for (struct sb_link *l = alive.next; l != &f->alive && l != &alive && !found; l = l->next)
		found = same(SB_CONTAINER(l, struct rds_feed, alive), f);
	pthread_mutex_unlock(&alive_lock);
	return found;
}

static void join_alive(struct rds_feed *f)
{
	pthread_mutex_lock(&alive_lock);
	sb_list_push_back(&alive, &f->alive);
	pthread_mutex_unlock(&alive_lock);
}

static void leave_alive(struct rds_feed *f)
{
	pthread_mutex_lock(&alive_lock);
	sb_list_unlink(&f->alive);
	pthread_mutex_unlock(&alive_lock);
}

/* ------------------------------------------------------------------------------------------------ talking */

int rds_feed_tell(struct rds_feed *f, redisCallbackFn *fn, void *arg)
{
	return rds_conn_send(f->talk, sb_buf_slice(&f->command), fn, arg);
}

void rds_feed_heed(struct rds_feed *f, struct rds_conn *c, const redisReply *r)
{
	struct rds_verdict v = rds_verdict_of(rds_text(r));

	sb_log(SB_LOG_WARN, "Redis refuses a command", KS("source", f->s->name), KS("key", f->key), KS("redis", rds_conn_where(c)),
		KS("error", r->str));
	if (v.then == RDS_MOVED)
		rds_conn_moved(c, rds_text(r));
	else if (v.then == RDS_RECONNECT)
		rds_conn_fail(c, r->str);
}

static void set_tick(struct rds_feed *f, uint64_t ms)
{
	struct timeval tv = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };

	event_add(f->tick, &tv);
}

void rds_feed_refused(struct rds_feed *f, struct rds_conn *c, const redisReply *r)
{
	rds_feed_heed(f, c, r);
	rds_conn_fail(c, r->str);
}

void rds_feed_hurry(struct rds_feed *f)
{
	set_tick(f, BUSY_TICK_MS);
}

/* ------------------------------------------------------------------------------------------------ reading */

static bool may_read(const struct rds_feed *f)
{
	return f->phase == RDS_READY && !f->reading && !f->paused && !f->closing && f->own == RDS_OWN_REST && !f->own_again &&
	       sb_list_empty(&f->win.again) && rds_conn_is_up(f->reader);
}

void rds_feed_go_on(struct rds_feed *f)
{
	size_t room;

	f->kind->go_on(f);
	room = may_read(f) ? SB_MIN(rds_window_room(&f->win, f->each), READ_MAX) : 0;
	if (room)
		f->kind->read(f, room);
	if (f->win.n == f->win.cap)
		rds_feed_hurry(f);
}

/* ------------------------------------------------------------------------------------------------ the connections */

static void look(struct rds_feed *f)
{
	if (f->phase != RDS_APART || !rds_conn_is_up(f->talk) || has_predecessor(f))
		return;
	f->phase = RDS_LOOKING;
	rds_ack_all(f);
	f->kind->begin(f);
}

static void on_talk_up(void *arg)
{
	look(arg);
}

static void on_reader_up(void *arg)
{
	rds_feed_go_on(arg);
}

static void log_down(struct rds_feed *f, const char *why)
{
	sb_log(SB_LOG_WARN, "not connected, tries again", KS("source", f->s->name), KS("key", f->key), KS("error", why));
}

/* Messages are suddenly so large that an answer is too much: until their average is known. */
static void read_singly(struct rds_feed *f)
{
	f->each = 2 * f->conf->window.bytes;
}

static void on_talk_down(void *arg, const char *why)
{
	struct rds_feed *f = arg;

	f->kind->down(f, rds_conn_was_flooded(f->talk));
	if (rds_conn_was_flooded(f->talk))
		read_singly(f);
	f->phase = RDS_APART;
	log_down(f, why);
}

static void on_reader_down(void *arg, const char *why)
{
	struct rds_feed *f = arg;

	if (rds_conn_was_flooded(f->reader))
		read_singly(f);
	f->reading = false;
	log_down(f, why);
}

static const struct rds_conn_ops talk_ops = { on_talk_up, on_talk_down }, reader_ops = { on_reader_up, on_reader_down };

/* ------------------------------------------------------------------------------------------------ closing */

/* What is not settled by now stays pending. */
static void drop_list(struct rds_window *w, struct sb_link *list)
{
	while (!sb_list_empty(list))
		rds_window_drop(w, SB_CONTAINER(list->next, struct rds_entry, link));
}

static void finish(struct rds_feed *f)
{
	f->closed = true;
	event_del(f->tick);
	event_del(f->acker);
	rds_conn_stop(f->reader);
	rds_conn_stop(f->talk);
	leave_alive(f);
	rds_source_feed_closed(f->s);
}

static void close_step(struct rds_feed *f)
{
	struct rds_window *w = &f->win;
	bool waits_for_redis;

	if (f->closed)
		return;
	if (f->kind->looks && f->kind->looks(f) && sb_mono_ns(f->s->env->clock) < f->close_by_ns) {
		rds_feed_hurry(f);
		return;
	}
	drop_list(w, &w->again);
	if (!sb_source_may_settle(f->s))
		drop_list(w, &w->handed);
	rds_ack_all(f);
	waits_for_redis = !sb_list_empty(&w->settled) || !sb_list_empty(&w->acking) || !sb_list_empty(&w->unsure);
	waits_for_redis |= f->reading;
	if ((sb_list_empty(&w->handed) && !waits_for_redis) || sb_mono_ns(f->s->env->clock) >= f->close_by_ns)
		finish(f);
	else
		rds_feed_hurry(f);
}

void rds_feed_close(struct rds_feed *f)
{
	if (f->closing)
		return;
	f->closing = true;
	f->close_by_ns = sb_mono_ns(f->s->env->clock) + CLOSE_MS * SB_NS_PER_MS;
	if (sb_source_may_settle(f->s))
		sb_source_spill(f->s, f->win.n);
	else
		rds_conn_stop(f->reader);
	close_step(f);
}

void rds_feed_pause(struct rds_feed *f, bool on)
{
	f->paused = on;
	if (on)
		return;
	rds_hand_all(f);
	rds_feed_go_on(f);
}

/* ------------------------------------------------------------------------------------------------ time passes */

static bool is_full(const struct rds_feed *f)
{
	return rds_window_room(&f->win, f->each) == 0;
}

/* Nothing can be read, and nothing has been settled for a while: make room. */
static void spill_when_stuck(struct rds_feed *f, uint64_t now)
{
	if (!is_full(f) || f->win.moved != f->moved_before)
		f->stuck_ns = now;
	else if (now - f->stuck_ns >= STUCK_MS * SB_NS_PER_MS)
		sb_source_spill(f->s, f->win.n / 4 + 1);
	f->moved_before = f->win.moved;
}

bool rds_feed_is_due(uint64_t *at_ns, uint64_t now, uint64_t every_ms)
{
	if (now < *at_ns)
		return false;
	*at_ns = now + every_ms * SB_NS_PER_MS;
	return true;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct rds_feed *f = arg;
	uint64_t now = sb_mono_ns(f->s->env->clock);
	bool busy, working = f->win.moved != f->moved_before;

	(void)fd;
	(void)what;
	if (f->closing) {
		f->kind->go_on(f);
		close_step(f);
		return;
	}
	look(f);
	if (now >= f->hand_after_ns)
		rds_hand_all(f);
	rds_ack_all(f);
	spill_when_stuck(f, now);
	if (f->phase == RDS_READY)
		f->kind->care(f, now);
	rds_feed_go_on(f);
	busy = is_full(f) || !sb_list_empty(&f->win.again) || !sb_list_empty(&f->win.settled) ||
	       (f->phase == RDS_APART && rds_conn_is_up(f->talk));
	set_tick(f, busy ? BUSY_TICK_MS : SB_MIN(working ? WORKING_TICK_MS : TICK_MS, f->conf->claim_after / 4));
}

static void on_acker(evutil_socket_t fd, short what, void *arg)
{
	struct rds_feed *f = arg;

	(void)fd;
	(void)what;
	if (f->phase != RDS_APART)
		rds_ack_all(f);
	if (f->closing)
		close_step(f);
}

/* ------------------------------------------------------------------------------------------------ life */

/* Its name among the readers is the same after a restart, and nobody else's. */
static void name_consumer(struct rds_feed *f)
{
	struct sb_buf was = { .p = f->consumer, .cap = sizeof(f->consumer) - 1, .max = sizeof(f->consumer) - 1 };
	struct sb_slice key;
	char host[64] = "";

	if (f->conf->consumer) {
		snprintf(f->consumer, sizeof(f->consumer), "%s", f->conf->consumer);
		return;
	}
	sb_buf_clear(&f->in.meta);
	sb_buf_addf(&f->in.meta, "%s/consumer", f->key);
	key = sb_buf_slice(&f->in.meta);
	if (sb_source_remembered(f->s, key, &was) == 0)
		return; /* with its NUL: the struct was zeroed */
	gethostname(host, sizeof(host) - 1);
	snprintf(f->consumer, sizeof(f->consumer), "%s-%08x", *host ? host : "signalbox", sb_rand_u32(f->s->env->rand));
	sb_source_remember(f->s, key, sb_slice_str(f->consumer));
}

static int make_connections(struct rds_feed *f, struct sb_err *err)
{
	const struct rds_source_conf *c = f->conf;
	struct rds_conn_conf conf = rds_settings_conn(&c->at);

	conf.name = f->s->name;
	conf.command_timeout_ms = c->timeout;
	if (rds_conn_new(f->s->env, &conf, &talk_ops, f, &f->talk, err) < 0)
		return -1;
	conf.command_timeout_ms += RDS_BLOCK_MS;
	return rds_conn_new(f->s->env, &conf, &reader_ops, f, &f->reader, err);
}

int rds_feed_new(struct sb_source *s, struct sb_envelope_reader *envelope, unsigned index, struct rds_feed **ret, struct sb_err *err)
{
	const struct rds_source_conf *c = s->conf;
	struct rds_feed *f = sb_xcalloc(sizeof(*f));

	f->s = s;
	f->conf = c;
	f->kind = c->list ? &rds_list_kind : &rds_stream_kind;
	f->index = index;
	f->key = c->list ? c->list : c->streams.v[index];
	f->key_n = strlen(f->key);
	f->each = 1024;
	sb_list_init(&f->alive);
	sb_buf_init(&f->command, 1u << 20);
	rds_reader_init(&f->in, s, envelope, c->field);
	rds_window_init(&f->win, (size_t)c->window.entries, c->window.bytes);
	if (make_connections(f, err) < 0) {
		rds_feed_free(f);
		return -1;
	}
	f->tick = evtimer_new(s->env->base, on_tick, f);
	f->acker = evtimer_new(s->env->base, on_acker, f);
	name_consumer(f);
	f->own_again = true;
	f->kind->open(f);
	join_alive(f);
	rds_conn_start(f->talk);
	rds_conn_start(f->reader);
	set_tick(f, BUSY_TICK_MS);
	*ret = f;
	return 0;
}

void rds_feed_free(struct rds_feed *f)
{
	if (!f)
		return;
	leave_alive(f);
	rds_conn_free(f->reader);
	rds_conn_free(f->talk);
	if (f->tick)
		event_free(f->tick);
	if (f->acker)
		event_free(f->acker);
	if (f->kind->done)
		f->kind->done(f);
	rds_window_done(&f->win);
	sb_buf_done(&f->command);
	rds_reader_done(&f->in);
	free(f);
}
