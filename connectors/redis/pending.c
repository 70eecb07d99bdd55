/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was read before and is not acknowledged.
 *
 * Our own (after a restart, a lost reply, a failover): listed with XPENDING, which also tells how often each was delivered, and
 * what the window does not have is claimed from ourselves, which delivers it once more. Nothing new is read before that is through.
 * Others' (a member that is gone): XAUTOCLAIM moves to our name what nobody has touched for `claim_after`, and then it is our own. What
 * we work on is kept fresh, so that nobody takes it from us while we do.
 */
#include "stream.h"

#include <stdlib.h>

#include "broker/base/log.h"

#define CLAIM_IDS 100
#define FRESH_IDS 500

static void list_own(struct rds_stream *st);
static void claim_own(struct rds_stream *st);

static void add_id(struct rds_command *cmd, struct rds_id id)
{
	char text[RDS_ID_TEXT];

	rds_bytes(cmd, sb_slice(text, rds_id_format(id, text)));
}

static void begin(struct rds_stream *st, struct rds_command *cmd, unsigned words, const char *verb)
{
	sb_buf_clear(&st->command);
	rds_begin(cmd, &st->command, words, verb);
	rds_word(cmd, st->key);
	rds_word(cmd, st->conf->group);
}

static int end(struct rds_stream *st, struct rds_command *cmd, redisCallbackFn *fn, void *arg)
{
	rds_end(cmd);
	return rds_stream_tell(st, fn, arg);
}

/* ------------------------------------------------------------------------------------------------ our own */

static void own_done(struct rds_stream *st)
{
	st->own = RDS_OWN_REST;
	rds_stream_go_on(st);
}

/* An error ends the round; what it says decides whether there is another. */
static void own_failed(struct rds_stream *st, const redisReply *r)
{
	st->own = RDS_OWN_REST;
	st->own_again = true;
	if (rds_verdict_of(rds_text(r)).then == RDS_NO_GROUP)
		st->phase = RDS_LOOKING;
	else
		rds_stream_heed(st, st->talk, r);
	if (st->phase == RDS_LOOKING)
		rds_group_survey(st);
}

struct missing {
	struct rds_stream *st;
	struct rds_id id;
};

/* It was ours and did not come when it was claimed. Either it is no longer in the stream, or somebody was faster. */
static void on_missing(redisAsyncContext *ac, void *reply, void *arg)
{
	struct missing m = *(struct missing *)arg;
	const redisReply *r = reply;

	(void)ac;
	sb_pool_free(arg);
	if (!r || r->type != REDIS_REPLY_ARRAY)
		return;
	if (r->elements == 0 ||
		(rds_is_array(r->element[0], 4) && sb_slice_eq_str(rds_text(r->element[0]->element[1]), m.st->consumer)))
		rds_lost(m.st, m.id);
}

static void ask_for_missing(struct rds_stream *st, struct rds_id id)
{
	struct missing *m = sb_pool_alloc(sizeof(*m));
	struct rds_command cmd;

	*m = (struct missing){ st, id };
	begin(st, &cmd, 6, "XPENDING");
	add_id(&cmd, id);
	add_id(&cmd, id);
	rds_number(&cmd, 1);
	if (end(st, &cmd, on_missing, m) < 0)
		sb_pool_free(m);
}

static struct rds_wanted *wanted_of(struct rds_stream *st, const redisReply *entry)
{
	struct rds_id id;

	if (!rds_is_array(entry, 2) || rds_id_parse(rds_text(entry->element[0]), &id) < 0)
		return NULL;
	for (size_t i = st->at_wanted; i < st->at_wanted + st->asked_wanted; i++)
		if (rds_id_cmp(st->wanted[i].id, id) == 0)
			return &st->wanted[i];
	return NULL;
}

static void on_claimed(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_stream *st = arg;
	const redisReply *r = reply;

	(void)ac;
	if (!r || st->own != RDS_OWN_CLAIMING)
		return;
	if (rds_is_error(r)) {
		own_failed(st, r);
		return;
	}
	for (size_t i = 0; i < r->elements; i++) {
		struct rds_wanted *w = wanted_of(st, r->element[i]);

		if (!w)
			continue;
		w->seen = true;
		rds_accept(st, r->element[i], w->deliveries + 1);
	}
	for (size_t i = st->at_wanted; i < st->at_wanted + st->asked_wanted; i++)
		if (!st->wanted[i].seen)
			ask_for_missing(st, st->wanted[i].id);
	st->at_wanted += st->asked_wanted;
	rds_hand_all(st);
	claim_own(st);
}

/*
 * Only what has been idle for about as long as it was when it was listed: whatever somebody has taken over since is his. Half of
 * it, since the clocks of the two commands are not one.
 */
static uint64_t least_idle(const struct rds_stream *st, size_t n)
{
	uint64_t least = UINT64_MAX;

	for (size_t i = st->at_wanted; i < st->at_wanted + n; i++)
		least = SB_MIN(least, st->wanted[i].idle_ms);
	return least / 2;
}

static void claim_own(struct rds_stream *st)
{
	size_t n = SB_MIN(st->n_wanted - st->at_wanted, CLAIM_IDS);
	struct rds_command cmd;

	if (n == 0) {
		if (st->own_more)
			list_own(st);
		else
			own_done(st);
		return;
	}
	n = SB_MIN(n, rds_window_room(&st->win, st->each));
	if (n == 0 || !sb_list_empty(&st->win.again)) {
		st->own = RDS_OWN_NO_ROOM;
		return;
	}
	st->own = RDS_OWN_CLAIMING;
	st->asked_wanted = n;
	begin(st, &cmd, (unsigned)(5 + n), "XCLAIM");
	rds_word(&cmd, st->consumer);
	rds_number(&cmd, least_idle(st, n));
	for (size_t i = st->at_wanted; i < st->at_wanted + n; i++)
		add_id(&cmd, st->wanted[i].id);
	end(st, &cmd, on_claimed, st);
}

static bool is_skipped(const struct rds_stream *st, struct rds_id id)
{
	for (size_t i = 0; i < SB_MIN(st->n_skipped, RDS_SKIPPED); i++)
		if (rds_id_cmp(st->skipped[i], id) == 0)
			return true;
	return false;
}

static void want(struct rds_stream *st, const redisReply *row)
{
	struct rds_id id;

	if (!rds_is_array(row, 4) || rds_id_parse(rds_text(row->element[0]), &id) < 0)
		return;
	st->own_from[0] = '(';
	rds_id_format(id, st->own_from + 1);
	if (rds_window_find(&st->win, id) || is_skipped(st, id))
		return;
	st->wanted[st->n_wanted++] = (struct rds_wanted){ .id = id, .idle_ms = (uint64_t)row->element[2]->integer,
		.deliveries = (uint64_t)row->element[3]->integer };
}

static void on_listed(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_stream *st = arg;
	const redisReply *r = reply;

	(void)ac;
	if (!r || st->own != RDS_OWN_LISTING)
		return;
	if (rds_is_error(r)) {
		own_failed(st, r);
		return;
	}
	st->n_wanted = st->at_wanted = st->asked_wanted = 0;
	for (size_t i = 0; i < r->elements && i < RDS_WANTED_MAX; i++)
		want(st, r->element[i]);
	st->own_more = r->elements >= RDS_WANTED_MAX;
	claim_own(st);
}

static void list_own(struct rds_stream *st)
{
	struct rds_command cmd;

	st->own = RDS_OWN_LISTING;
	begin(st, &cmd, 9, "XPENDING");
	rds_word(&cmd, "IDLE");
	rds_number(&cmd, st->own_idle_ms);
	rds_word(&cmd, st->own_from);
	rds_word(&cmd, "+");
	rds_number(&cmd, RDS_WANTED_MAX);
	rds_word(&cmd, st->consumer);
	end(st, &cmd, on_listed, st);
}

void rds_own_begin(struct rds_stream *st, uint64_t idle_ms)
{
	if (st->own != RDS_OWN_REST || st->closing)
		return;
	st->own_again = false;
	st->own_idle_ms = idle_ms;
	memcpy(st->own_from, "-", 2);
	list_own(st);
}

void rds_own_go_on(struct rds_stream *st)
{
	if (st->own == RDS_OWN_NO_ROOM && !st->closing)
		claim_own(st);
}

void rds_own_reset(struct rds_stream *st)
{
	st->own = RDS_OWN_REST;
	st->own_again = true;
	st->taking_over = false;
}

/* One by one from here on; and one that cannot come even so must not hold up the others. */
void rds_own_flooded(struct rds_stream *st)
{
	struct rds_id id;

	if (st->own != RDS_OWN_CLAIMING || st->asked_wanted != 1)
		return;
	id = st->wanted[st->at_wanted].id;
	st->skipped[st->n_skipped++ % RDS_SKIPPED] = id;
	sb_source_rejected(st->s, "too_large", 1);
	sb_log(SB_LOG_ERROR, "entry of a stream is larger than is read: it stays pending", KS("source", st->s->name), KS("stream", st->key),
		KI("entry_ms", id.ms), KI("entry_seq", id.seq));
}

/* ------------------------------------------------------------------------------------------------ others' */

static void take_over_from(struct rds_stream *st, const char *cursor);

static void on_taken_over(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_stream *st = arg;
	const redisReply *r = reply;
	struct rds_id id;

	(void)ac;
	st->taking_over = false;
	if (!r || !rds_is_array(r, 2))
		return;
	st->counts.taken_over += r->element[1]->elements;
	st->own_again |= r->element[1]->elements > 0;
	for (size_t i = 0; rds_is_array(r, 3) && i < r->element[2]->elements; i++)
		if (rds_id_parse(rds_text(r->element[2]->element[i]), &id) == 0)
			rds_lost(st, id);
	if (!sb_slice_eq_str(rds_text(r->element[0]), "0-0") && rds_window_room(&st->win, st->each))
		take_over_from(st, r->element[0]->str);
	else
		rds_stream_go_on(st);
}

static void take_over_from(struct rds_stream *st, const char *cursor)
{
	struct rds_command cmd;

	begin(st, &cmd, 9, "XAUTOCLAIM");
	rds_word(&cmd, st->consumer);
	rds_number(&cmd, st->conf->claim_after);
	rds_word(&cmd, cursor);
	rds_word(&cmd, "COUNT");
	rds_number(&cmd, SB_MIN(rds_window_room(&st->win, st->each), CLAIM_IDS));
	rds_word(&cmd, "JUSTID");
	st->taking_over = end(st, &cmd, on_taken_over, st) == 0;
}

void rds_take_over(struct rds_stream *st)
{
	if (!st->taking_over && !st->closing && rds_window_room(&st->win, st->each))
		take_over_from(st, "0-0");
}

static void on_fresh(redisAsyncContext *ac, void *reply, void *arg)
{
	(void)ac;
	(void)reply;
	(void)arg; /* there is a next time */
}

/* JUSTID: idle time begins anew, and it does not count as a delivery. */
static void say_fresh(struct rds_stream *st, struct rds_entry *const *e, size_t n)
{
	struct rds_command cmd;

	begin(st, &cmd, (unsigned)(6 + n), "XCLAIM");
	rds_word(&cmd, st->consumer);
	rds_number(&cmd, 0);
	for (size_t i = 0; i < n; i++)
		add_id(&cmd, e[i]->id);
	rds_word(&cmd, "JUSTID");
	end(st, &cmd, on_fresh, NULL);
}

void rds_keep_fresh(struct rds_stream *st)
{
	uint64_t now = sb_mono_ns(st->s->env->clock), old = st->conf->claim_after * SB_NS_PER_MS / 4;
	struct rds_entry *stale[FRESH_IDS];
	size_t n = 0;

	for (size_t i = 0; i < st->win.cap; i++) {
		struct rds_entry *e = &st->win.entry[i];

		if (e->state == RDS_FREE || now - e->fresh_ns < old)
			continue;
		e->fresh_ns = now;
		stale[n++] = e;
		if (n == FRESH_IDS) {
			say_fresh(st, stale, n);
			n = 0;
		}
	}
	if (n)
		say_fresh(st, stale, n);
}
