/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who reads a list. Each reader says every quarter of `claim_after` that it is there, by Redis' own clock; what one that has not been heard of
 * for longer has taken is moved to us, the oldest first and each element in one step, so two that do the same share it. One that
 * wakes up says that it is there before it reads again. Nobody judges others before it has itself been heard of in time for as long: after Redis was away
 * all would be taken for gone.
 */
#include <stdlib.h>

#include "broker/base/log.h"
#include "list.h"

#define MOVE_MAX 128

static void begin(struct rds_feed *f, struct rds_command *cmd, unsigned words, const char *verb, const char *key)
{
	sb_buf_clear(&f->command);
	rds_begin(cmd, &f->command, words, verb);
	if (key)
		rds_word(cmd, key);
}

static int end(struct rds_feed *f, struct rds_command *cmd, redisCallbackFn *fn, void *arg)
{
	return rds_end(cmd) < 0 ? -1 : rds_feed_tell(f, fn, arg);
}

/* ------------------------------------------------------------------------------------------------ those that are gone */

/* One of them, while its list is asked for. */
struct missed {
	struct rds_feed *f;
	bool forget; /* when it has nothing */
	char name[160];
};

static void on_ignored(redisAsyncContext *ac, void *reply, void *arg)
{
	(void)ac;
	(void)reply;
	(void)arg; /* it is found again */
}

static void forget(struct rds_feed *f, const char *name)
{
	struct rds_command cmd;

	sb_log(SB_LOG_INFO, "reader of the list is gone and has taken nothing: forgotten", KS("source", f->s->name), KS("key", f->key),
		KS("reader", name));
	begin(f, &cmd, 3, "ZREM", f->list->readers);
	rds_word(&cmd, name);
	end(f, &cmd, on_ignored, NULL);
}

static void on_its_length(redisAsyncContext *ac, void *reply, void *arg)
{
	struct missed m = *(struct missed *)arg;
	const redisReply *r = reply;
	struct rds_list *l = m.f->list;

	(void)ac;
	sb_pool_free(arg);
	if (!r || r->type != REDIS_REPLY_INTEGER || m.f->closing)
		return;
	if (r->integer == 0 && m.forget) {
		forget(m.f, m.name);
	} else if (r->integer && !l->gone) {
		sb_log(SB_LOG_WARN, "reader of the list is gone: what it had taken is taken over", KS("source", m.f->s->name),
			KS("key", m.f->key), KS("reader", m.name), KI("elements", r->integer));
		l->gone = rds_list_taken_of(m.f, sb_slice_str(m.name));
		l->moved_all = false;
		rds_feed_go_on(m.f);
	}
}

static void ask_for(struct rds_feed *f, struct sb_slice name, bool may_forget)
{
	struct missed *m;
	struct rds_command cmd;
	char *key;

	if (name.n == 0 || name.n >= sizeof(m->name) || sb_slice_eq_str(name, f->consumer))
		return;
	m = sb_pool_alloc(sizeof(*m));
	*m = (struct missed){ .f = f, .forget = may_forget };
	memcpy(m->name, name.p, name.n);
	key = rds_list_taken_of(f, name);
	begin(f, &cmd, 2, "LLEN", key);
	free(key);
	if (end(f, &cmd, on_its_length, m) < 0)
		sb_pool_free(m);
}

/* Who was last heard of when: names and times, the oldest first. */
static void on_gone(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;
	const struct rds_source_conf *c = f->conf;

	(void)ac;
	for (size_t i = 0; r && r->type == REDIS_REPLY_ARRAY && i + 1 < r->elements; i += 2) {
		double heard = r->element[i + 1]->str ? strtod(r->element[i + 1]->str, NULL) : 0;
		double silent = f->list->now_ms - heard;

		ask_for(f, rds_text(r->element[i]), c->forget_after && silent > (double)c->forget_after);
	}
}

static void ask_who_is_gone(struct rds_feed *f)
{
	uint64_t silent_since = (uint64_t)f->list->now_ms - f->conf->claim_after;
	struct rds_command cmd;

	begin(f, &cmd, 5, "ZRANGEBYSCORE", f->list->readers);
	rds_word(&cmd, "-inf");
	rds_number(&cmd, silent_since);
	rds_word(&cmd, "WITHSCORES");
	end(f, &cmd, on_gone, f);
}

/* ------------------------------------------------------------------------------------------------ we are there */

/*
 * A Redis without memory does not take our name, nor move anything to us; but what we have taken can be looked at and acknowledged, which
 * is what gives memory back. Nothing is read before it knows us.
 */
static void heard(struct rds_feed *f)
{
	struct rds_list *l = f->list;

	if (!rds_beat_is_fresh(f))
		l->steady_ns = l->beat_ns;
	l->heard_ns = l->beat_ns;
	if (l->beat_ns - l->steady_ns >= f->conf->claim_after * SB_NS_PER_MS)
		ask_who_is_gone(f);
}

static void on_registered(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;

	(void)ac;
	f->list->beating = false;
	if (!r)
		return;
	if (rds_is_error(r))
		rds_feed_heed(f, f->talk, r);
	else
		heard(f);
	if (!rds_conn_is_up(f->talk))
		return;
	if (f->phase == RDS_LOOKING)
		f->phase = RDS_READY;
	if (!rds_is_error(r))
		rds_feed_go_on(f);
	else if (f->own_again && !f->reading && sb_list_empty(&f->win.acking))
		rds_look_begin(f); /* not reading, which would ask again at once */
}

static void on_time(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;
	struct rds_command cmd;

	(void)ac;
	if (!r || f->closing || !rds_is_array(r, 2)) {
		f->list->beating = false;
		if (r && rds_is_error(r))
			rds_feed_refused(f, f->talk, r);
		return;
	}
	f->list->now_ms = strtod(r->element[0]->str, NULL) * 1000 + strtod(r->element[1]->str, NULL) / 1000;
	begin(f, &cmd, 4, "ZADD", f->list->readers);
	rds_number(&cmd, (uint64_t)f->list->now_ms);
	rds_word(&cmd, f->consumer);
	f->list->beating = end(f, &cmd, on_registered, f) == 0;
}

void rds_beat(struct rds_feed *f)
{
	struct rds_command cmd;

	if (f->list->beating || f->closing)
		return;
	begin(f, &cmd, 1, "TIME", NULL);
	f->list->beat_ns = sb_mono_ns(f->s->env->clock);
	f->list->beating = end(f, &cmd, on_time, f) == 0;
}

bool rds_beat_is_fresh(const struct rds_feed *f)
{
	return sb_mono_ns(f->s->env->clock) - f->list->heard_ns < f->conf->claim_after * SB_NS_PER_MS / 2;
}

/* ------------------------------------------------------------------------------------------------ moving it to us */

static void moved_all(struct rds_feed *f)
{
	free(f->list->gone);
	f->list->gone = NULL;
}

/* What has been moved is in our list, and found there. */
static void on_moved(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;
	struct rds_list *l = f->list;

	(void)ac;
	l->moving--;
	l->unseen += !r || r->type == REDIS_REPLY_STRING;
	l->suspect |= !r || r->type == REDIS_REPLY_STRING;
	if (r && r->type == REDIS_REPLY_STRING) {
		f->counts.taken_over++;
		f->own_again = true;
	} else {
		l->moved_all = true; /* or an error: whoever is gone is found again */
	}
	if (l->moving)
		return;
	if (l->moved_all)
		moved_all(f);
	if (r)
		rds_feed_go_on(f);
}

void rds_move_go_on(struct rds_feed *f)
{
	struct rds_list *l = f->list;
	struct rds_command cmd;
	size_t room;

	if (!l->gone || l->moving || f->closing || f->own != RDS_OWN_REST || f->own_again || !sb_list_empty(&f->win.again))
		return;
	room = SB_MIN(rds_window_room(&f->win, f->each), MOVE_MAX);
	begin(f, &cmd, 5, "LMOVE", l->gone);
	rds_word(&cmd, l->taken);
	rds_word(&cmd, "RIGHT");
	rds_word(&cmd, "LEFT");
	rds_end(&cmd);
	for (size_t i = 0; i < room; i++)
		l->moving += rds_feed_tell(f, on_moved, f) == 0;
}

void rds_move_stop(struct rds_feed *f)
{
	if (!f->list->moving)
		moved_all(f);
}
