/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was read before and is not acknowledged.
 *
 * Our own (after a restart, a lost reply, a failover): listed with XPENDING, which also tells how often each was delivered, and
 * what the window does not have is claimed from ourselves, which delivers it once more. Nothing new is read before that is through.
 * Others' (a member that is gone): XAUTOCLAIM moves to our name what nobody has touched for `claim_after`, and then it is our own. What
 * we work on is kept fresh, so that nobody takes it from us while we do.
 */
#include "feed.h"

#include <stdlib.h>

#include "broker/base/log.h"

#define CLAIM_IDS 100
#define FRESH_IDS 500

static void list_own(struct rds_feed *f);
static void claim_own(struct rds_feed *f);

static void add_id(struct rds_command *cmd, struct rds_id id)
{
	char text[RDS_ID_TEXT];

	rds_bytes(cmd, sb_slice(text, rds_id_format(id, text)));
}

static void begin(struct rds_feed *f, struct rds_command *cmd, unsigned words, const char *verb)
{
	sb_buf_clear(&f->command);
	rds_begin(cmd, &f->command, words, verb);
	rds_word(cmd, f->key);
	rds_word(cmd, f->conf->group);
}

static int end(struct rds_feed *f, struct rds_command *cmd, redisCallbackFn *fn, void *arg)
{
	rds_end(cmd);
	return rds_feed_tell(f, fn, arg);
}

/* ------------------------------------------------------------------------------------------------ our own */

static void own_done(struct rds_feed *f)
{
	f->own = RDS_OWN_REST;
	rds_feed_go_on(f);
}

/* An error ends the round; what it says decides whether there is another. */
static void own_failed(struct rds_feed *f, const redisReply *r)
{
	f->own = RDS_OWN_REST;
	f->own_again = true;
	if (rds_verdict_of(rds_text(r)).then == RDS_NO_GROUP)
		f->phase = RDS_LOOKING;
	else
		rds_feed_heed(f, f->talk, r);
	if (f->phase == RDS_LOOKING)
		rds_group_survey(f);
}

struct missing {
	struct rds_feed *f;
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
		(rds_is_array(r->element[0], 4) && sb_slice_eq_str(rds_text(r->element[0]->element[1]), m.f->consumer)))
		rds_lost(m.f, m.id);
}

static void ask_for_missing(struct rds_feed *f, struct rds_id id)
{
	struct missing *m = sb_pool_alloc(sizeof(*m));
	struct rds_command cmd;

	*m = (struct missing){ f, id };
	begin(f, &cmd, 6, "XPENDING");
	add_id(&cmd, id);
	add_id(&cmd, id);
	rds_number(&cmd, 1);
	if (end(f, &cmd, on_missing, m) < 0)
		sb_pool_free(m);
}

static struct rds_wanted *wanted_of(struct rds_feed *f, const redisReply *entry)
{
	struct rds_id id;

	if (!rds_is_array(entry, 2) || rds_id_parse(rds_text(entry->element[0]), &id) < 0)
		return NULL;
	for (size_t i = f->at_wanted; i < f->at_wanted + f->asked_wanted; i++)
		if (rds_id_cmp(f->wanted[i].id, id) == 0)
			return &f->wanted[i];
	return NULL;
}

static void on_claimed(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;

	(void)ac;
	if (!r || f->own != RDS_OWN_CLAIMING)
		return;
	if (rds_is_error(r)) {
		own_failed(f, r);
		return;
	}
	for (size_t i = 0; i < r->elements; i++) {
		struct rds_wanted *w = wanted_of(f, r->element[i]);

		if (!w)
			continue;
		w->seen = true;
		rds_accept(f, r->element[i], w->deliveries + 1);
	}
	for (size_t i = f->at_wanted; i < f->at_wanted + f->asked_wanted; i++)
		if (!f->wanted[i].seen)
			ask_for_missing(f, f->wanted[i].id);
	f->at_wanted += f->asked_wanted;
	rds_hand_all(f);
	claim_own(f);
}

/*
 * Only what has been idle for about as long as it was when it was listed: whatever somebody has taken over since is his. Half of
 * it, since the clocks of the two commands are not one.
 */
static uint64_t least_idle(const struct rds_feed *f, size_t n)
{
	uint64_t least = UINT64_MAX;

	for (size_t i = f->at_wanted; i < f->at_wanted + n; i++)
		least = SB_MIN(least, f->wanted[i].idle_ms);
	return least / 2;
}

static void claim_own(struct rds_feed *f)
{
	size_t n = SB_MIN(f->n_wanted - f->at_wanted, CLAIM_IDS);
	struct rds_command cmd;

	if (n == 0) {
		if (f->own_more)
			list_own(f);
		else
			own_done(f);
		return;
	}
	n = SB_MIN(n, rds_window_room(&f->win, f->each));
	if (n == 0 || !sb_list_empty(&f->win.again)) {
		f->own = RDS_OWN_NO_ROOM;
		return;
	}
	f->own = RDS_OWN_CLAIMING;
	f->asked_wanted = n;
	begin(f, &cmd, (unsigned)(5 + n), "XCLAIM");
	rds_word(&cmd, f->consumer);
	rds_number(&cmd, least_idle(f, n));
	for (size_t i = f->at_wanted; i < f->at_wanted + n; i++)
		add_id(&cmd, f->wanted[i].id);
	end(f, &cmd, on_claimed, f);
}

static bool is_skipped(const struct rds_feed *f, struct rds_id id)
{
	for (size_t i = 0; i < SB_MIN(f->n_skipped, RDS_SKIPPED); i++)
		if (rds_id_cmp(f->skipped[i], id) == 0)
			return true;
	return false;
}

static void want(struct rds_feed *f, const redisReply *row)
{
	struct rds_id id;

	if (!rds_is_array(row, 4) || rds_id_parse(rds_text(row->element[0]), &id) < 0)
		return;
	f->own_from[0] = '(';
	rds_id_format(id, f->own_from + 1);
	if (rds_window_find(&f->win, id) || is_skipped(f, id))
		return;
	f->wanted[f->n_wanted++] = (struct rds_wanted){ .id = id, .idle_ms = (uint64_t)row->element[2]->integer,
		.deliveries = (uint64_t)row->element[3]->integer };
}

static void on_listed(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;

	(void)ac;
	if (!r || f->own != RDS_OWN_LISTING)
		return;
	if (rds_is_error(r)) {
		own_failed(f, r);
		return;
	}
	f->n_wanted = f->at_wanted = f->asked_wanted = 0;
	for (size_t i = 0; i < r->elements && i < RDS_WANTED_MAX; i++)
		want(f, r->element[i]);
	f->own_more = r->elements >= RDS_WANTED_MAX;
	claim_own(f);
}

static void list_own(struct rds_feed *f)
{
	struct rds_command cmd;

	f->own = RDS_OWN_LISTING;
	begin(f, &cmd, 9, "XPENDING");
	rds_word(&cmd, "IDLE");
	rds_number(&cmd, f->own_idle_ms);
	rds_word(&cmd, f->own_from);
	rds_word(&cmd, "+");
	rds_number(&cmd, RDS_WANTED_MAX);
	rds_word(&cmd, f->consumer);
	end(f, &cmd, on_listed, f);
}

void rds_own_begin(struct rds_feed *f, uint64_t idle_ms)
{
	if (f->own != RDS_OWN_REST || f->closing)
		return;
	f->own_again &= idle_ms > 0; /* a round that passes over what is fresh finds nothing that was just taken over */
	f->own_idle_ms = idle_ms;
	memcpy(f->own_from, "-", 2);
	list_own(f);
}

void rds_own_go_on(struct rds_feed *f)
{
	if (f->own == RDS_OWN_NO_ROOM && !f->closing)
		claim_own(f);
}

void rds_own_reset(struct rds_feed *f)
{
	f->own = RDS_OWN_REST;
	f->own_again = true;
	f->taking_over = false;
}

/* One by one from here on; and one that cannot come even so must not hold up the others. */
void rds_own_flooded(struct rds_feed *f)
{
	struct rds_id id;

	if (f->own != RDS_OWN_CLAIMING || f->asked_wanted != 1)
		return;
	id = f->wanted[f->at_wanted].id;
	f->skipped[f->n_skipped++ % RDS_SKIPPED] = id;
	sb_source_rejected(f->s, "too_large", 1);
	sb_log(SB_LOG_ERROR, "entry of a stream is larger than is read: it stays pending", KS("source", f->s->name), KS("stream", f->key),
		KI("entry_ms", id.ms), KI("entry_seq", id.seq));
}

/* ------------------------------------------------------------------------------------------------ others' */

static void take_over_from(struct rds_feed *f, const char *cursor);

static void on_taken_over(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;
	struct rds_id id;

	(void)ac;
	f->taking_over = false;
	if (!r || !rds_is_array(r, 2))
		return;
	f->counts.taken_over += r->element[1]->elements;
	f->own_again |= r->element[1]->elements > 0;
	for (size_t i = 0; rds_is_array(r, 3) && i < r->element[2]->elements; i++)
		if (rds_id_parse(rds_text(r->element[2]->element[i]), &id) == 0)
			rds_lost(f, id);
	if (!sb_slice_eq_str(rds_text(r->element[0]), "0-0") && rds_window_room(&f->win, f->each))
		take_over_from(f, r->element[0]->str);
	else
		rds_feed_go_on(f);
}

static void take_over_from(struct rds_feed *f, const char *cursor)
{
	struct rds_command cmd;

	begin(f, &cmd, 9, "XAUTOCLAIM");
	rds_word(&cmd, f->consumer);
	rds_number(&cmd, f->conf->claim_after);
	rds_word(&cmd, cursor);
	rds_word(&cmd, "COUNT");
	rds_number(&cmd, SB_MIN(rds_window_room(&f->win, f->each), CLAIM_IDS));
	rds_word(&cmd, "JUSTID");
	f->taking_over = end(f, &cmd, on_taken_over, f) == 0;
}

void rds_take_over(struct rds_feed *f)
{
	if (!f->taking_over && !f->closing && rds_window_room(&f->win, f->each))
		take_over_from(f, "0-0");
}

static void on_fresh(redisAsyncContext *ac, void *reply, void *arg)
{
	(void)ac;
	(void)reply;
	(void)arg; /* there is a next time */
}

/* JUSTID: idle time begins anew, and it does not count as a delivery. */
static void say_fresh(struct rds_feed *f, struct rds_entry *const *e, size_t n)
{
	struct rds_command cmd;

	begin(f, &cmd, (unsigned)(6 + n), "XCLAIM");
	rds_word(&cmd, f->consumer);
	rds_number(&cmd, 0);
	for (size_t i = 0; i < n; i++)
		add_id(&cmd, e[i]->id);
	rds_word(&cmd, "JUSTID");
	end(f, &cmd, on_fresh, NULL);
}

void rds_keep_fresh(struct rds_feed *f)
{
	uint64_t now = sb_mono_ns(f->s->env->clock), old = f->conf->claim_after * SB_NS_PER_MS / 4;
	struct rds_entry *stale[FRESH_IDS];
	size_t n = 0;

	for (size_t i = 0; i < f->win.cap; i++) {
		struct rds_entry *e = &f->win.entry[i];

		if (e->state == RDS_FREE || now - e->fresh_ns < old)
			continue;
		e->fresh_ns = now;
		stale[n++] = e;
		if (n == FRESH_IDS) {
			say_fresh(f, stale, n);
			n = 0;
		}
	}
	if (n)
		say_fresh(f, stale, n);
}
