/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer group: whether it is there, and how far it is. Every second two questions tell the group's position, the id up to which
 * everything is done by whichever member; it is remembered in the journal. When the group is gone (XGROUP DESTROY, a stream that was
 * deleted, a failover to a replica that never had it) it is made anew there: what was done since is done twice, and nothing is
 * skipped. When this is the only member it knows better: its own window says to the entry what is not done yet.
 */
#include "stream.h"

#include <stdlib.h>

#include "broker/base/log.h"

/* Ids that a new incarnation of the stream gives may be smaller than any we have seen. */
static const struct rds_id nowhere = { 0, 0 };

static struct sb_slice memory_key(struct rds_stream *st)
{
	sb_buf_clear(&st->meta);
	sb_buf_addf(&st->meta, "%s/position", st->key);
	return sb_buf_slice(&st->meta);
}

void rds_group_recall(struct rds_stream *st)
{
	sb_buf_clear(&st->value);
	st->positioned = sb_source_remembered(st->s, memory_key(st), &st->value) == 0 &&
			 rds_id_parse(sb_buf_slice(&st->value), &st->position) == 0;
}

static void set_position(struct rds_stream *st, struct rds_id id)
{
	char text[RDS_ID_TEXT];

	if (st->positioned && rds_id_cmp(id, st->position) == 0)
		return;
	st->position = id;
	st->positioned = true;
	sb_source_remember(st->s, memory_key(st), sb_slice(text, rds_id_format(id, text)));
}

/* ------------------------------------------------------------------------------------------------ making it */

static void on_created(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_stream *st = arg;
	const redisReply *r = reply;

	(void)ac;
	if (!r)
		return;
	if (rds_is_error(r) && strncmp(r->str, "BUSYGROUP", 9) != 0) {
		rds_stream_heed(st, st->talk, r);
		rds_conn_fail(st->talk, "the consumer group cannot be made");
		return;
	}
	st->phase = RDS_LOOKING;
	rds_group_survey(st); /* and remember where it is */
}

static void make_at(struct rds_stream *st, const char *start)
{
	struct rds_command cmd;

	sb_log(SB_LOG_WARN, "consumer group is made", KS("source", st->s->name), KS("stream", st->key), KS("group", st->conf->group),
		KS("at", start));
	sb_buf_clear(&st->command);
	rds_begin(&cmd, &st->command, 6, "XGROUP");
	rds_word(&cmd, "CREATE");
	rds_word(&cmd, st->key);
	rds_word(&cmd, st->conf->group);
	rds_word(&cmd, start);
	rds_word(&cmd, "MKSTREAM");
	rds_end(&cmd);
	rds_stream_tell(st, on_created, st);
}

static void make_at_id(struct rds_stream *st, struct rds_id id)
{
	char text[RDS_ID_TEXT];

	rds_id_format(id, text);
	make_at(st, text);
}

/* Everything up to here is done. */
static struct rds_id safe_start(const struct rds_stream *st)
{
	struct rds_id low = st->last_read;

	if (!st->alone || st->own != RDS_OWN_REST || st->own_again)
		return st->position;
	if (rds_window_lowest(&st->win, &low))
		low = rds_id_before(low);
	return rds_id_cmp(low, st->position) > 0 ? low : st->position;
}

static void on_stream(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_stream *st = arg;
	const redisReply *r = reply, *last;
	struct rds_id start = safe_start(st), top;

	(void)ac;
	if (!r)
		return;
	if (rds_is_error(r)) {
		if (rds_verdict_of(rds_text(r)).then == RDS_NO_GROUP)
			make_at_id(st, nowhere);
		else
			rds_conn_fail(st->talk, r->str);
		return;
	}
	last = rds_member(r, "last-generated-id");
	if (last && rds_id_parse(rds_text(last), &top) == 0 && rds_id_cmp(top, start) < 0)
		start = nowhere; /* it has been deleted and begun anew since */
	make_at_id(st, start);
}

static void make_for_the_first_time(struct rds_stream *st)
{
	switch (st->conf->from_kind) {
	case RDS_FROM_NEW: make_at(st, "$"); return;
	case RDS_FROM_ID:  make_at_id(st, st->conf->from_id); return;
	default:           make_at_id(st, nowhere); return;
	}
}

static void make(struct rds_stream *st)
{
	struct rds_command cmd;

	st->phase = RDS_CREATING;
	if (!st->positioned) {
		make_for_the_first_time(st);
		return;
	}
	sb_buf_clear(&st->command);
	rds_begin(&cmd, &st->command, 3, "XINFO");
	rds_word(&cmd, "STREAM");
	rds_word(&cmd, st->key);
	rds_end(&cmd);
	rds_stream_tell(st, on_stream, st);
}

/* ------------------------------------------------------------------------------------------------ the survey */

static void read_group(struct rds_stream *st, const redisReply *g)
{
	const redisReply *name = rds_member(g, "name"), *consumers = rds_member(g, "consumers"), *last = rds_member(g, "last-delivered-id");

	if (!name || !consumers || !last || !sb_slice_eq_str(rds_text(name), st->conf->group))
		return;
	st->found = rds_id_parse(rds_text(last), &st->last_delivered) == 0;
	st->alone = consumers->integer <= 1;
}

/* First this, then what is pending: whatever was delivered in between is pending, and bounds the position. */
static void on_groups(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_stream *st = arg;
	const redisReply *r = reply;

	(void)ac;
	if (!r)
		return;
	st->found = false;
	if (rds_is_error(r) && rds_verdict_of(rds_text(r)).then != RDS_NO_GROUP) {
		rds_stream_heed(st, st->talk, r);
		rds_conn_fail(st->talk, r->str);
		return;
	}
	for (size_t i = 0; !rds_is_error(r) && i < r->elements; i++)
		read_group(st, r->element[i]);
}

static void on_summary(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_stream *st = arg;
	const redisReply *r = reply;

	(void)ac;
	st->surveying = false;
	if (!r || st->phase == RDS_APART || st->phase == RDS_CREATING)
		return;
	if (!st->found || rds_is_error(r)) {
		make(st);
		return;
	}
	st->pending = rds_is_array(r, 2) ? (uint64_t)r->element[0]->integer : 0;
	if (!st->pending)
		set_position(st, st->last_delivered);
	else if (rds_id_parse(rds_text(r->element[1]), &st->lowest_pending) == 0)
		set_position(st, rds_id_before(st->lowest_pending));
	if (st->phase == RDS_LOOKING) {
		st->phase = RDS_READY;
		rds_own_begin(st, 0);
	}
}

void rds_group_survey(struct rds_stream *st)
{
	struct rds_command cmd;

	if (st->surveying)
		return;
	sb_buf_clear(&st->command);
	rds_begin(&cmd, &st->command, 3, "XINFO");
	rds_word(&cmd, "GROUPS");
	rds_word(&cmd, st->key);
	rds_end(&cmd);
	if (rds_stream_tell(st, on_groups, st) < 0)
		return;
	st->surveying = true;
	sb_buf_clear(&st->command);
	rds_begin(&cmd, &st->command, 3, "XPENDING");
	rds_word(&cmd, st->key);
	rds_word(&cmd, st->conf->group);
	rds_end(&cmd);
	if (rds_stream_tell(st, on_summary, st) < 0)
		st->surveying = false;
}
