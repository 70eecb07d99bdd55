/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list as a reliable queue: what is read is moved, in one step, to a list of our own (BLMOVE), and is removed from there (LREM) when it
 * is settled. One element that has waited is followed by as many as there is room for, pipelined, as long as there is plenty.
 *
 * An element has no id, so its bytes must do: LREM takes one with the same bytes, the oldest first, and a look at our list finds the ones that the
 * window does not have by counting equals.
 */
#include "list.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/base/log.h"

#define BATCH 128

/* ------------------------------------------------------------------------------------------------ names */

/* In the slot of the list itself: its own hash tag, or all of it. */
static char *key_of(const struct rds_feed *f, const char *what, struct sb_slice more)
{
	const char *open = strchr(f->key, '{'), *close = open ? strchr(open, '}') : NULL;
	bool tagged = close && close > open + 1;
	char *ret = NULL;

	if (asprintf(&ret, "%s%s%s:signalbox:%s%.*s", tagged ? "" : "{", f->key, tagged ? "" : "}", what, SB_SLICE_ARG(more)) < 0)
		abort();
	return ret;
}

char *rds_list_taken_of(const struct rds_feed *f, struct sb_slice consumer)
{
	return key_of(f, "taken:", consumer);
}

struct rds_id rds_list_next_id(struct rds_feed *f)
{
	return (struct rds_id){ sb_wall_ms(f->s->env->clock), f->list->serial++ };
}

/* ------------------------------------------------------------------------------------------------ reading */

static void add_ends(const struct rds_feed *f, struct rds_command *cmd)
{
	rds_word(cmd, f->key);
	rds_word(cmd, f->list->taken);
	rds_word(cmd, f->conf->take ? "LEFT" : "RIGHT");
	rds_word(cmd, "LEFT");
}

static bool take(struct rds_feed *f, const redisReply *r)
{
	struct rds_message m = { .what = RDS_ELEMENT, .key = f->key, .id = rds_list_next_id(f), .value = rds_text(r) };

	return rds_take_in(f, &m, 1) != NULL;
}

static void on_element(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;
	struct rds_list *l = f->list;

	(void)ac;
	f->reading = --l->asked > 0;
	if (!r) {
		l->unseen++;
		f->own_again = true; /* what it would have brought is in our list */
		l->plenty = false;
		return;
	}
	if (rds_is_error(r)) {
		l->plenty = false;
		rds_feed_refused(f, f->reader, r);
		return;
	}
	if (r->type != REDIS_REPLY_STRING)
		l->plenty = false; /* there is no more */
	else if (f->closing || !take(f, r))
		l->unseen++; /* it stays in our list */
	if (f->reading || f->closing)
		return;
	rds_hand_all(f);
	rds_feed_go_on(f);
}

static void read_many(struct rds_feed *f, size_t n)
{
	struct rds_command cmd;

	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 5, "LMOVE");
	add_ends(f, &cmd);
	rds_end(&cmd);
	for (size_t i = 0; i < n; i++)
		f->list->asked += rds_conn_send(f->reader, sb_buf_slice(&f->command), on_element, f) == 0;
}

static void read_one(struct rds_feed *f)
{
	struct rds_command cmd;

	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 6, "BLMOVE");
	add_ends(f, &cmd);
	rds_number(&cmd, RDS_BLOCK_MS / 1000);
	rds_end(&cmd);
	f->list->asked += rds_conn_send(f->reader, sb_buf_slice(&f->command), on_element, f) == 0;
}

static void list_read(struct rds_feed *f, size_t room)
{
	if (!rds_beat_is_fresh(f)) {
		rds_beat(f); /* others may take us for gone */
		return;
	}
	if (f->list->plenty)
		read_many(f, SB_MIN(room, BATCH));
	else
		read_one(f);
	f->list->plenty = true;
	f->reading = f->list->asked > 0;
	rds_conn_flush(f->reader);
}

/* ------------------------------------------------------------------------------------------------ acknowledging */

static void on_forgotten(redisAsyncContext *ac, void *reply, void *arg)
{
	(void)ac;
	(void)reply;
	(void)arg; /* a count too many does no harm, and the next of these bytes takes it away */
}

static void forget_tries(struct rds_feed *f, struct sb_slice value)
{
	struct rds_command cmd;
	char hash[17];

	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 3, "HDEL");
	rds_word(&cmd, f->list->tries);
	rds_bytes(&cmd, sb_slice(hash, rds_tries_key(value, hash)));
	rds_end(&cmd);
	rds_feed_tell(f, on_forgotten, NULL);
}

static bool list_looks(const struct rds_feed *f)
{
	return f->own == RDS_OWN_LISTING || f->own == RDS_OWN_CLAIMING;
}

/* Not during a look, which would miss what moves up, nor before one that must tell what is acknowledged already. */
static bool list_ack(struct rds_feed *f)
{
	struct rds_entry *e = SB_CONTAINER(f->win.settled.next, struct rds_entry, link);
	struct rds_command cmd;

	if (f->phase != RDS_READY || list_looks(f) || (f->own_again && f->own == RDS_OWN_REST))
		return false;
	if (e->tried)
		forget_tries(f, sb_slice(e->held, e->held_n));
	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 4, "LREM");
	rds_word(&cmd, f->list->taken);
	rds_word(&cmd, "-1"); /* from the end, where the oldest is */
	rds_bytes(&cmd, sb_slice(e->held, e->held_n));
	if (rds_end(&cmd) < 0)
		return false;
	return rds_ack_by(f, 1);
}

/* ------------------------------------------------------------------------------------------------ its part of the feed */

static void list_open(struct rds_feed *f)
{
	struct rds_list *l = f->list = sb_xcalloc(sizeof(*l));

	l->taken = rds_list_taken_of(f, sb_slice_str(f->consumer));
	l->readers = key_of(f, "readers", sb_slice_str(""));
	l->tries = key_of(f, "tries", sb_slice_str(""));
	l->serial = sb_rand_u32(f->s->env->rand);
	l->suspect = true;
	sb_buf_init(&f->command, RDS_REPLY_MAX + 65536); /* what can be read can be named */
}

static void list_done(struct rds_feed *f)
{
	struct rds_list *l = f->list;

	if (!l)
		return;
	sb_map_done(&l->held);
	free(l->taken);
	free(l->readers);
	free(l->tries);
	free(l->gone);
	free(l);
}

static void list_down(struct rds_feed *f, bool flooded)
{
	f->list->beating = false;
	rds_look_stop(f, flooded);
	rds_move_stop(f);
}

static void list_go_on(struct rds_feed *f)
{
	if (f->phase != RDS_READY)
		return;
	rds_look_go_on(f);
	if (f->own_again && f->own == RDS_OWN_REST && !f->reading && sb_list_empty(&f->win.acking))
		rds_look_begin(f);
	rds_move_go_on(f);
}

static void on_length(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;

	(void)ac;
	/* What is on its way to us is there already. */
	if (r && r->type == REDIS_REPLY_INTEGER && (uint64_t)r->integer > f->win.n + f->list->asked + f->list->n_skip)
		f->own_again = true;
}

static void list_care(struct rds_feed *f, uint64_t now)
{
	struct rds_command cmd;

	if (!rds_feed_is_due(&f->care_ns, now, f->conf->claim_after / 4))
		return;
	rds_beat(f);
	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 2, "LLEN");
	rds_word(&cmd, f->list->taken);
	rds_end(&cmd);
	rds_feed_tell(f, on_length, f);
}

static void list_status(const struct rds_feed *f, struct sb_buf *out)
{
	sb_buf_addf(out, ",\"taken_away\":%llu,\"in_doubt\":%llu", (unsigned long long)f->counts.taken_away,
		(unsigned long long)f->counts.in_doubt);
}

const struct rds_kind rds_list_kind = {
	.open = list_open,
	.begin = rds_beat,
	.down = list_down,
	.go_on = list_go_on,
	.read = list_read,
	.ack = list_ack,
	.looks = list_looks,
	.care = list_care,
	.done = list_done,
	.status = list_status,
};
