/* SPDX-License-Identifier: Apache-2.0 */
#include "member.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/log.h"

/* ------------------------------------------------------------------------------------------------ rebalance */

static bool is_cooperative(const struct kafka_source *k)
{
	const char *protocol = rd_kafka_rebalance_protocol(k->rk);

	return protocol && strcmp(protocol, "COOPERATIVE") == 0;
}

static void assign(struct kafka_source *k, const rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_resp_err_t err;

	if (is_cooperative(k)) {
		kafka_note_and_destroy(k, rd_kafka_incremental_assign(k->rk, list));
		return;
	}
	err = rd_kafka_assign(k->rk, list);
	if (err)
		kafka_note_error(k, rd_kafka_err2str(err));
}

static void unassign(struct kafka_source *k, const rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_resp_err_t err;

	if (is_cooperative(k)) {
		kafka_note_and_destroy(k, rd_kafka_incremental_unassign(k->rk, list));
		return;
	}
	err = rd_kafka_assign(k->rk, NULL);
	if (err)
		kafka_note_error(k, rd_kafka_err2str(err));
}

static void begin_part(struct kafka_source *k, rd_kafka_topic_partition_t *at, const struct kafka_asked *asked)
{
	const struct kafka_source_conf *c = k->source->conf;
	uint64_t lost;
	struct part *p;

	at->offset = kafka_begin_at(asked, (enum kafka_from)c->from, (enum kafka_out_of_range)c->out_of_range, &lost);
	kafka_part_add(k, at);
	p = kafka_part_find(k, at->topic, at->partition);
	if (lost) {
		k->counts.lost_by_retention += lost;
		sb_log(SB_LOG_ERROR, "records are gone that were never read: retention was faster", KS("source", k->source->name),
			KS("topic", p->topic), KI("partition", p->number), KI("records", lost));
	}
	if (at->offset == -1) {
		at->offset = RD_KAFKA_OFFSET_END; /* assigned, as the group wants it, and not read */
		kafka_part_stop(k, p, "the position of the group is not in the topic any more; see `out_of_range`");
	} else if (at->offset >= 0) {
		p->window.position = at->offset;
		p->committed = asked->committed == at->offset ? at->offset : -1; /* soon it will be, whatever happens before the first record */
	}
}

/* Nothing is to be fetched for those that are not read. */
static void rest_stopped(struct kafka_source *k)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] && k->part[i]->state == STOPPED)
			rd_kafka_topic_partition_list_add(list, k->part[i]->topic, k->part[i]->number);
	if (list->cnt)
		rd_kafka_pause_partitions(k->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
}

void kafka_on_answer(struct kafka_source *k)
{
	struct kafka_question *q = k->ask.now;
	rd_kafka_topic_partition_list_t *list = q->list;

	if (q->err) {
		kafka_note_error(k, rd_kafka_err2str(q->err));
		k->ask_ns = kafka_now_ns(k) + SB_NS_PER_S;
		return;
	}
	for (int i = 0; i < list->cnt; i++)
		begin_part(k, &list->elems[i], &q->answer[i]);
	assign(k, list);
	rest_stopped(k);
	kafka_ask_drop(&k->ask);
	kafka_again(k);
}

void kafka_ask_again(struct kafka_source *k)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_copy(k->ask.now->list);

	k->ask_ns = 0;
	kafka_ask_drop(&k->ask);
	kafka_ask(&k->ask, k->rk, list, k->wake_fd);
	rd_kafka_topic_partition_list_destroy(list);
}

void kafka_ask_no_more(struct kafka_source *k)
{
	k->ask_ns = 0;
	if (k->ask.now)
		assign(k, k->ask.now->list);
	kafka_ask_drop(&k->ask);
}

static void on_assigned(struct kafka_source *k, const rd_kafka_topic_partition_list_t *list)
{
	k->counts.rebalances++;
	kafka_ask_drop(&k->ask);
	if (list->cnt == 0 || k->life != RUNNING || k->failed) /* whoever leaves takes it, and does not read it */
		assign(k, list);
	else
		kafka_ask(&k->ask, k->rk, list, k->wake_fd);
}

static void drop_parts(struct kafka_source *k, const rd_kafka_topic_partition_list_t *list)
{
	for (int i = 0; i < list->cnt; i++) {
		struct part *p = kafka_part_find(k, list->elems[i].topic, list->elems[i].partition);

		if (p)
			kafka_part_drop(k, p);
	}
}

static bool is_drained(const struct kafka_source *k)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] && k->part[i]->state == REVOKING && kafka_window_held(&k->part[i]->window))
			return false;
	return true;
}

/* Fenced, then given back. */
static void give_back(struct kafka_source *k)
{
	drop_parts(k, k->revoked);
	unassign(k, k->revoked);
	rd_kafka_topic_partition_list_destroy(k->revoked);
	k->revoked = NULL;
}

/*
 * librdkafka also calls lost what this member has just unsubscribed, when it had to look for the other topics first. It is not:
 * the member is in its group, and may commit. Should it be lost as well, then nobody takes that commit.
 */
static bool is_lost(const struct kafka_source *k, const rd_kafka_topic_partition_list_t *list)
{
	if (!rd_kafka_assignment_lost(k->rk))
		return false;
	for (int i = 0; i < list->cnt; i++)
		if (kafka_source_reads(k->source->conf, list->elems[i].topic))
			return true;
	return list->cnt == 0;
}

static void on_revoked(struct kafka_source *k, const rd_kafka_topic_partition_list_t *list)
{
	const struct kafka_source_conf *c = k->source->conf;

	k->counts.rebalances++;
	kafka_ask_drop(&k->ask); /* what was being assigned is not any more */
	k->ask_ns = 0;
	if (is_lost(k, list)) {
		drop_parts(k, list);
		unassign(k, list);
		return;
	}
	k->revoked = rd_kafka_topic_partition_list_copy(list);
	for (int i = 0; i < list->cnt; i++) {
		struct part *p = kafka_part_find(k, list->elems[i].topic, list->elems[i].partition);

		if (p)
			p->state = REVOKING;
	}
	k->revoke_ns = kafka_now_ns(k) + (k->life == RUNNING ? c->drain * SB_NS_PER_MS : 0);
}

static void on_rebalance(struct kafka_source *k, rd_kafka_event_t *ev)
{
	const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);
	rd_kafka_resp_err_t err = rd_kafka_event_error(ev);

	if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
		on_assigned(k, list);
	} else if (err == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
		on_revoked(k, list);
	} else {
		kafka_note_error(k, rd_kafka_event_error_string(ev));
		rd_kafka_assign(k->rk, NULL);
	}
}

/* What is being given back waits no longer than half of `drain` for its targets; then the journal takes it. */
void kafka_drain_revoked(struct kafka_source *k)
{
	const struct kafka_source_conf *c = k->source->conf;
	uint64_t now = kafka_now_ns(k);

	if (!k->revoked)
		return;
	if (is_drained(k) || now >= k->revoke_ns) {
		kafka_commit_now(k);
		if (kafka_all_committed(k, true) || now >= k->revoke_ns + KAFKA_COMMIT_MS * SB_NS_PER_MS)
			give_back(k);
	} else if (now + c->drain * SB_NS_PER_MS / 2 >= k->revoke_ns) {
		sb_source_spill(k->source, KAFKA_SPILL_AT_ONCE);
	}
}

/* ------------------------------------------------------------------------------------------------ the worst */

/* What it has is somebody else's by now: fenced, as when a partition is lost. */
void kafka_fail(struct kafka_source *k, const char *why)
{
	kafka_note_error(k, why);
	k->failed = true;
	k->ask_ns = 0;
	kafka_ask_drop(&k->ask);
	sb_log(SB_LOG_ERROR, "the consumer has failed for good: the source reads no more", KS("source", k->source->name), KS("why", k->last_error));
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i])
			kafka_part_drop(k, k->part[i]);
	if (k->revoked)
		rd_kafka_topic_partition_list_destroy(k->revoked);
	k->revoked = NULL;
	rd_kafka_assign(k->rk, NULL);
}

void kafka_check_fatal(struct kafka_source *k)
{
	char why[256];

	if (k->rk && !k->failed && rd_kafka_fatal_error(k->rk, why, sizeof(why)) != RD_KAFKA_RESP_ERR_NO_ERROR)
		kafka_fail(k, why);
}

/* ------------------------------------------------------------------------------------------------ events */

static void on_error(struct kafka_source *k, rd_kafka_resp_err_t err, const char *text)
{
	kafka_check_fatal(k);
	if (err != RD_KAFKA_RESP_ERR__FATAL)
		kafka_note_error(k, text);
}

static void on_event(struct kafka_source *k, rd_kafka_event_t *ev)
{
	switch (rd_kafka_event_type(ev)) {
	case RD_KAFKA_EVENT_REBALANCE: on_rebalance(k, ev); break;
	case RD_KAFKA_EVENT_ERROR: on_error(k, rd_kafka_event_error(ev), rd_kafka_event_error_string(ev)); break;
	case RD_KAFKA_EVENT_OFFSET_COMMIT: kafka_on_committed(k, ev); break;
	default: break;
	}
	rd_kafka_event_destroy(ev);
}

void kafka_listen(struct kafka_source *k)
{
	rd_kafka_event_t *ev;

	while (k->queue && (ev = rd_kafka_queue_poll(k->queue, 0)))
		on_event(k, ev);
}
