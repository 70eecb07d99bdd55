/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the group needs now and then: members that are gone and own nothing are removed, as each installation reads under a name of its
 * own and Redis keeps every name for ever; and producers that trim what is still pending are told on.
 */
#include "feed.h"

#include "broker/base/log.h"

static void begin(struct rds_feed *f, struct rds_command *cmd, unsigned words, const char *verb, const char *sub)
{
	sb_buf_clear(&f->command);
	rds_begin(cmd, &f->command, words, verb);
	if (sub)
		rds_word(cmd, sub);
	rds_word(cmd, f->key);
}

/* ------------------------------------------------------------------------------------------------ members */

/* Redis says how many were pending for it. We have seen none; one that woke up in this very moment has lost them to nobody. */
static void on_removed(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;

	(void)ac;
	if (r && r->type == REDIS_REPLY_INTEGER && r->integer > 0)
		sb_log(SB_LOG_ERROR, "a member of the group was removed while it was waking up", KS("source", f->s->name),
			KS("stream", f->key), KI("entries", r->integer));
}

static void remove_member(struct rds_feed *f, struct sb_slice name)
{
	struct rds_command cmd;

	sb_log(SB_LOG_INFO, "member of the group is gone and owns nothing: removed", KS("source", f->s->name), KS("stream", f->key),
		KSL("member", name));
	begin(f, &cmd, 5, "XGROUP", "DELCONSUMER");
	rds_word(&cmd, f->conf->group);
	rds_bytes(&cmd, name);
	rds_end(&cmd);
	rds_feed_tell(f, on_removed, f);
}

static void on_members(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;

	(void)ac;
	for (size_t i = 0; r && r->type == REDIS_REPLY_ARRAY && i < r->elements; i++) {
		const redisReply *m = r->element[i], *name = rds_member(m, "name"), *pending = rds_member(m, "pending"), *idle = rds_member(m, "idle");

		if (!name || !pending || !idle || pending->integer || (uint64_t)idle->integer < f->conf->forget_after)
			continue;
		if (!sb_slice_eq_str(rds_text(name), f->consumer))
			remove_member(f, rds_text(name));
	}
}

void rds_forget_members(struct rds_feed *f)
{
	struct rds_command cmd;

	begin(f, &cmd, 4, "XINFO", "CONSUMERS");
	rds_word(&cmd, f->conf->group);
	rds_end(&cmd);
	rds_feed_tell(f, on_members, f);
}

/* ------------------------------------------------------------------------------------------------ trimming */

static void on_oldest(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;

	(void)ac;
	if (!r || r->type != REDIS_REPLY_ARRAY || r->elements)
		return;
	f->counts.trimmed_early++;
	sb_log(SB_LOG_WARN, "the stream is trimmed faster than it is processed: a pending entry is gone from it", KS("source", f->s->name),
		KS("stream", f->key), KI("entry_ms", f->lowest_pending.ms), KS("hint", "producers need a larger MAXLEN"));
}

/* What is in somebody's hands is not lost by it. But it would be by a crash. */
void rds_look_at_oldest(struct rds_feed *f)
{
	char text[RDS_ID_TEXT];
	struct rds_command cmd;

	if (!f->pending)
		return;
	rds_id_format(f->lowest_pending, text);
	begin(f, &cmd, 6, "XRANGE", NULL);
	rds_word(&cmd, text);
	rds_word(&cmd, text);
	rds_word(&cmd, "COUNT");
	rds_number(&cmd, 1);
	rds_end(&cmd);
	rds_feed_tell(f, on_oldest, f);
}
