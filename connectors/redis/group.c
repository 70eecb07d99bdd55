/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer group: whether it is there, and how far it is. Every second two questions tell the group's position, the id up to which
 * everything is done by whichever member; it is remembered in the journal. When the group is gone (XGROUP DESTROY, a stream that was
 * deleted, a failover to a replica that never had it) it is made anew there: what was done since is done twice, and nothing is
 * skipped. When this is the only member it knows better: its own window says to the entry what is not done yet.
 */
#include "feed.h"

#include <stdlib.h>

#include "broker/base/log.h"

/* Ids that a new incarnation of the stream gives may be smaller than any we have seen. */
static const struct rds_id nowhere = { 0, 0 };

static struct sb_slice memory_key(struct rds_feed *f)
{
	sb_buf_clear(&f->in.meta);
	sb_buf_addf(&f->in.meta, "%s/position", f->key);
	return sb_buf_slice(&f->in.meta);
}

void rds_group_recall(struct rds_feed *f)
{
	sb_buf_clear(&f->in.value);
	f->positioned = sb_source_remembered(f->s, memory_key(f), &f->in.value) == 0 &&
			 rds_id_parse(sb_buf_slice(&f->in.value), &f->position) == 0;
}

static void set_position(struct rds_feed *f, struct rds_id id)
{
	char text[RDS_ID_TEXT];

	if (f->positioned && rds_id_cmp(id, f->position) == 0)
		return;
	f->position = id;
	f->positioned = true;
	sb_source_remember(f->s, memory_key(f), sb_slice(text, rds_id_format(id, text)));
}

/* ------------------------------------------------------------------------------------------------ making it */

static void on_created(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;

	(void)ac;
	if (!r)
		return;
	if (rds_is_error(r) && strncmp(r->str, "BUSYGROUP", 9) != 0) {
		rds_feed_heed(f, f->talk, r);
		rds_conn_fail(f->talk, "the consumer group cannot be made");
		return;
	}
	f->phase = RDS_LOOKING;
	rds_group_survey(f); /* and remember where it is */
}

static void make_at(struct rds_feed *f, const char *start)
{
	struct rds_command cmd;

	sb_log(SB_LOG_WARN, "consumer group is made", KS("source", f->s->name), KS("stream", f->key), KS("group", f->conf->group),
		KS("at", start));
	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 6, "XGROUP");
	rds_word(&cmd, "CREATE");
	rds_word(&cmd, f->key);
	rds_word(&cmd, f->conf->group);
	rds_word(&cmd, start);
	rds_word(&cmd, "MKSTREAM");
	rds_end(&cmd);
	rds_feed_tell(f, on_created, f);
}

static void make_at_id(struct rds_feed *f, struct rds_id id)
{
	char text[RDS_ID_TEXT];

	rds_id_format(id, text);
	make_at(f, text);
}

/* Everything up to here is done. */
static struct rds_id safe_start(const struct rds_feed *f)
{
	struct rds_id low = f->last_read;

	if (!f->alone || f->own != RDS_OWN_REST || f->own_again)
		return f->position;
	if (rds_window_lowest(&f->win, &low))
		low = rds_id_before(low);
	return rds_id_cmp(low, f->position) > 0 ? low : f->position;
}

static void on_stream(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply, *last;
	struct rds_id start = safe_start(f), top;

	(void)ac;
	if (!r)
		return;
	if (rds_is_error(r)) {
		if (rds_verdict_of(rds_text(r)).then == RDS_NO_GROUP)
			make_at_id(f, nowhere);
		else
			rds_conn_fail(f->talk, r->str);
		return;
	}
	last = rds_member(r, "last-generated-id");
	if (last && rds_id_parse(rds_text(last), &top) == 0 && rds_id_cmp(top, start) < 0)
		start = nowhere; /* it has been deleted and begun anew since */
	make_at_id(f, start);
}

static void make_for_the_first_time(struct rds_feed *f)
{
	switch (f->conf->from_kind) {
	case RDS_FROM_NEW: make_at(f, "$"); return;
	case RDS_FROM_ID:  make_at_id(f, f->conf->from_id); return;
	default:           make_at_id(f, nowhere); return;
	}
}

static void make(struct rds_feed *f)
{
	struct rds_command cmd;

	f->phase = RDS_CREATING;
	if (!f->positioned) {
		make_for_the_first_time(f);
		return;
	}
	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 3, "XINFO");
	rds_word(&cmd, "STREAM");
	rds_word(&cmd, f->key);
	rds_end(&cmd);
	rds_feed_tell(f, on_stream, f);
}

/* ------------------------------------------------------------------------------------------------ the survey */

static void read_group(struct rds_feed *f, const redisReply *g)
{
	const redisReply *name = rds_member(g, "name"), *consumers = rds_member(g, "consumers"), *last = rds_member(g, "last-delivered-id");

	if (!name || !consumers || !last || !sb_slice_eq_str(rds_text(name), f->conf->group))
		return;
	f->found = rds_id_parse(rds_text(last), &f->last_delivered) == 0;
	f->alone = consumers->integer <= 1;
}

/* First this, then what is pending: whatever was delivered in between is pending, and bounds the position. */
static void on_groups(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;

	(void)ac;
	if (!r)
		return;
	f->found = false;
	if (rds_is_error(r) && rds_verdict_of(rds_text(r)).then != RDS_NO_GROUP) {
		rds_feed_heed(f, f->talk, r);
		rds_conn_fail(f->talk, r->str);
		return;
	}
	for (size_t i = 0; !rds_is_error(r) && i < r->elements; i++)
		read_group(f, r->element[i]);
}

static void on_summary(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;

	(void)ac;
	f->surveying = false;
	if (!r || f->phase == RDS_APART || f->phase == RDS_CREATING)
		return;
	if (!f->found || rds_is_error(r)) {
		make(f);
		return;
	}
	f->pending = rds_is_array(r, 2) ? (uint64_t)r->element[0]->integer : 0;
	if (!f->pending)
		set_position(f, f->last_delivered);
	else if (rds_id_parse(rds_text(r->element[1]), &f->lowest_pending) == 0)
		set_position(f, rds_id_before(f->lowest_pending));
	if (f->phase == RDS_LOOKING) {
		f->phase = RDS_READY;
		rds_own_begin(f, 0);
	}
}

void rds_group_survey(struct rds_feed *f)
{
	struct rds_command cmd;

	if (f->surveying)
		return;
	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 3, "XINFO");
	rds_word(&cmd, "GROUPS");
	rds_word(&cmd, f->key);
	rds_end(&cmd);
	if (rds_feed_tell(f, on_groups, f) < 0)
		return;
	f->surveying = true;
	f->unsurveyed = 0;
	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 3, "XPENDING");
	rds_word(&cmd, f->key);
	rds_word(&cmd, f->conf->group);
	rds_end(&cmd);
	if (rds_feed_tell(f, on_summary, f) < 0)
		f->surveying = false;
}
