/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream as a member of a consumer group: XREADGROUP on the connection that waits, XACK on the other. LOOKING: is the group there?
 * CREATING: it was not. NOGROUP, whenever it comes, is LOOKING again.
 */
#include "feed.h"

#include "broker/base/log.h"

#define ACK_IDS 500
#define SURVEY_MS 200
#define FORGET_MS 3600000
#define OWN_IDLE_MS 2000 /* of a round that is only made to be sure: what comes right now is not meant */

static void on_read(redisAsyncContext *ac, void *reply, void *arg);

static void stream_read(struct rds_feed *f, size_t room)
{
	struct rds_command cmd;

	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 11, "XREADGROUP");
	rds_word(&cmd, "GROUP");
	rds_word(&cmd, f->conf->group);
	rds_word(&cmd, f->consumer);
	rds_word(&cmd, "COUNT");
	rds_number(&cmd, room);
	rds_word(&cmd, "BLOCK");
	rds_number(&cmd, RDS_BLOCK_MS);
	rds_word(&cmd, "STREAMS");
	rds_word(&cmd, f->key);
	rds_word(&cmd, ">");
	rds_end(&cmd);
	f->reading = rds_conn_send(f->reader, sb_buf_slice(&f->command), on_read, f) == 0;
	rds_conn_flush(f->reader);
}

static void read_failed(struct rds_feed *f, const redisReply *r)
{
	if (rds_verdict_of(rds_text(r)).then != RDS_NO_GROUP) {
		rds_feed_refused(f, f->reader, r);
		return;
	}
	if (f->phase == RDS_READY) {
		f->phase = RDS_LOOKING;
		rds_group_survey(f);
	}
}

static void on_read(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply, *entries;

	(void)ac;
	f->reading = false;
	if (!r) {
		f->own_again = true; /* what it would have brought is pending */
		return;
	}
	if (rds_is_error(r)) {
		read_failed(f, r);
		return;
	}
	if (f->closing)
		return; /* what it has brought stays pending */
	entries = rds_is_array(r, 1) && rds_is_array(r->element[0], 2) ? r->element[0]->element[1] : NULL;
	for (size_t i = 0; entries && i < entries->elements; i++) {
		bool behind = !sb_list_empty(&f->win.again);

		rds_accept(f, entries->element[i], 1);
		if (!behind)
			rds_hand_all(f); /* at once, while its bytes are at hand */
	}
	rds_hand_all(f);
	rds_feed_go_on(f);
}

void rds_accept(struct rds_feed *f, const redisReply *entry, uint64_t deliveries)
{
	struct rds_message m = { .what = RDS_ENTRY, .key = f->key };

	if (!rds_is_array(entry, 2) || rds_id_parse(rds_text(entry->element[0]), &m.id) < 0)
		return;
	if (rds_id_cmp(m.id, f->last_read) > 0)
		f->last_read = m.id;
	if (rds_window_find(&f->win, m.id))
		return;
	m.fields = entry->element[1];
	if (m.fields->type != REDIS_REPLY_ARRAY)
		rds_lost(f, m.id);
	else
		rds_take_in(f, &m, deliveries);
}

/* ------------------------------------------------------------------------------------------------ acknowledging */

static bool stream_ack(struct rds_feed *f)
{
	size_t n = rds_count_settled(f, ACK_IDS);
	struct sb_link *l = f->win.settled.next;
	struct rds_command cmd;
	char id[RDS_ID_TEXT];

	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, (unsigned)(3 + n), "XACK");
	rds_word(&cmd, f->key);
	rds_word(&cmd, f->conf->group);
	for (size_t i = 0; i < n; i++, l = l->next)
		rds_bytes(&cmd, sb_slice(id, rds_id_format(SB_CONTAINER(l, struct rds_entry, link)->id, id)));
	rds_end(&cmd);
	if (!rds_ack_by(f, n))
		return false;
	f->unsurveyed += n;
	if (f->unsurveyed >= (uint64_t)f->conf->window.entries) /* what a lost group costs is so many, however fast they went */
		rds_group_survey(f);
	return true;
}

static void on_given_up(redisAsyncContext *ac, void *reply, void *arg)
{
	(void)ac;
	(void)reply;
	(void)arg; /* were it not done, the entry would be found lost once more */
}

void rds_lost(struct rds_feed *f, struct rds_id id)
{
	struct rds_command cmd;
	char text[RDS_ID_TEXT];

	f->counts.lost_by_trim++;
	sb_source_rejected(f->s, "lost_by_trim", 1);
	sb_log(SB_LOG_ERROR, "entry of a stream was trimmed or deleted before it was processed", KS("source", f->s->name),
		KS("stream", f->key), KI("entry_ms", id.ms), KI("entry_seq", id.seq));
	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 4, "XACK");
	rds_word(&cmd, f->key);
	rds_word(&cmd, f->conf->group);
	rds_bytes(&cmd, sb_slice(text, rds_id_format(id, text)));
	rds_end(&cmd);
	rds_feed_tell(f, on_given_up, NULL);
}

/* ------------------------------------------------------------------------------------------------ its part of the feed */

static void stream_open(struct rds_feed *f)
{
	rds_group_recall(f);
	rds_own_reset(f);
}

static void stream_down(struct rds_feed *f, bool flooded)
{
	if (flooded)
		rds_own_flooded(f);
	f->surveying = false;
	rds_own_reset(f);
}

static void stream_go_on(struct rds_feed *f)
{
	rds_own_go_on(f);
	if (f->phase == RDS_READY && f->own_again && f->own == RDS_OWN_REST && !f->reading)
		rds_own_begin(f, 0);
}

static void stream_care(struct rds_feed *f, uint64_t now)
{
	if (rds_feed_is_due(&f->survey_ns, now, SURVEY_MS))
		rds_group_survey(f);
	if (!rds_feed_is_due(&f->care_ns, now, f->conf->claim_after / 4))
		return;
	rds_keep_fresh(f);
	rds_take_over(f);
	rds_own_begin(f, OWN_IDLE_MS);
	rds_look_at_oldest(f);
	if (f->conf->forget_after && rds_feed_is_due(&f->forget_ns, now, SB_MIN(f->conf->forget_after, FORGET_MS)))
		rds_forget_members(f);
}

static void stream_status(const struct rds_feed *f, struct sb_buf *out)
{
	char id[RDS_ID_TEXT];

	rds_id_format(f->position, id);
	sb_buf_addf(out, ",\"position\":\"%s\",\"lost_by_trim\":%llu,\"trimmed_early\":%llu,\"pending\":%llu", id,
		(unsigned long long)f->counts.lost_by_trim, (unsigned long long)f->counts.trimmed_early, (unsigned long long)f->pending);
}

const struct rds_kind rds_stream_kind = {
	.open = stream_open,
	.begin = rds_group_survey,
	.down = stream_down,
	.go_on = stream_go_on,
	.read = stream_read,
	.ack = stream_ack,
	.care = stream_care,
	.status = stream_status,
};
