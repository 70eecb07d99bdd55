/* SPDX-License-Identifier: Apache-2.0 */
#include "member.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/log.h"

#define COMMIT_AGAIN_MS 100

void kafka_note_error(struct kafka_source *k, const char *text)
{
	k->counts.errors++;
	if (k->failed)
		return; /* what comes after it says less */
	snprintf(k->last_error, sizeof(k->last_error), "%s", text ? text : "");
}

void kafka_note_and_destroy(struct kafka_source *k, rd_kafka_error_t *err)
{
	if (!err)
		return;
	kafka_note_error(k, rd_kafka_error_string(err));
	rd_kafka_error_destroy(err);
}

/* ------------------------------------------------------------------------------------------------ partitions */

static size_t free_place(struct kafka_source *k)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (!k->part[i])
			return i;
	k->part = sb_xrealloc(k->part, (k->n_parts + 1) * sizeof(struct part *));
	k->part[k->n_parts] = NULL;
	return k->n_parts++;
}

struct part *kafka_part_find(const struct kafka_source *k, const char *topic, int32_t number)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] && k->part[i]->number == number && strcmp(k->part[i]->topic, topic) == 0)
			return k->part[i];
	return NULL;
}

/* Its queue is taken out of the main one before it is assigned: what is fetched can only come to us here. */
void kafka_part_add(struct kafka_source *k, const rd_kafka_topic_partition_t *at)
{
	static const uint64_t one = 1;
	const struct kafka_source_conf *c = k->source->conf;
	struct part *p = sb_xcalloc(sizeof(*p));
	size_t i = free_place(k);

	p->topic = sb_xstrdup(at->topic);
	p->number = at->partition;
	p->epoch = ++k->epochs;
	p->seed = kafka_record_seed(k->source->name, p->topic, p->number);
	p->stored = p->committed = -1;
	kafka_window_init(&p->window, (uint32_t)c->window.records, c->window.bytes);
	p->queue = rd_kafka_queue_get_partition(k->rk, p->topic, p->number);
	if (p->queue) {
		rd_kafka_queue_forward(p->queue, NULL);
		rd_kafka_queue_io_event_enable(p->queue, k->wake_fd, &one, sizeof(one));
	} else {
		p->state = STOPPED;
	}
	k->part[i] = p;
}

/* From here on what is settled for it is stale. */
void kafka_part_drop(struct kafka_source *k, struct part *p)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] == p)
			k->part[i] = NULL;
	k->counts.abandoned += kafka_window_held(&p->window);
	k->held_bytes -= p->window.bytes;
	if (p->pending)
		rd_kafka_event_destroy(p->pending);
	if (p->queue) {
		rd_kafka_queue_io_event_enable(p->queue, -1, NULL, 0);
		rd_kafka_queue_destroy(p->queue);
	}
	kafka_window_free(&p->window);
	free(p->topic);
	free(p);
}

void kafka_part_stop(struct kafka_source *k, struct part *p, const char *why)
{
	p->state = STOPPED;
	kafka_note_error(k, why);
	sb_log(SB_LOG_ERROR, "partition stopped: somebody must look", KS("source", k->source->name), KS("topic", p->topic),
		KI("partition", p->number), KS("why", why));
}

/* ------------------------------------------------------------------------------------------------ positions */

/*
 * What is stored is committed by librdkafka soon after, but not while the group is being rebalanced: until this member knows
 * the new generation a commit would be refused, and with it everything that it has taken away. So the commits are
 * librdkafka's, and when they are due is ours to say: every so often, and at once when a window asks, because what is not
 * committed takes up its room. A position that is refused because the partition is no longer ours is lost with it.
 *
 * Before a partition is given back its position is committed, and the answer waited for: a commit can fail then too, and the next
 * owner would begin where the last one that worked has left it. Then the generation is known, and the commit is ours.
 */
#define STORE_MS 10 /* while windows ask */

static bool is_committed(const struct part *p)
{
	return p->window.position < 0 || p->committed >= p->window.position;
}

bool kafka_all_committed(const struct kafka_source *k, bool revoking_only)
{
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] && !is_committed(k->part[i]) && (!revoking_only || k->part[i]->state == REVOKING))
			return false;
	return true;
}

static void not_stored(struct kafka_source *k, const rd_kafka_topic_partition_t *at)
{
	struct part *p = kafka_part_find(k, at->topic, at->partition);

	k->counts.stale++;
	if (p)
		p->stored = -1;
}

void kafka_store_positions(struct kafka_source *k)
{
	rd_kafka_topic_partition_list_t *list = NULL;

	for (size_t i = 0; i < k->n_parts; i++) {
		struct part *p = k->part[i];

		if (!p || is_committed(p) || p->stored == p->window.position)
			continue;
		if (!list)
			list = rd_kafka_topic_partition_list_new(16);
		rd_kafka_topic_partition_list_add(list, p->topic, p->number)->offset = p->stored = p->window.position;
	}
	if (!list)
		return;
	if (rd_kafka_offsets_store(k->rk, list) != RD_KAFKA_RESP_ERR_NO_ERROR)
		for (int i = 0; i < list->cnt; i++)
			if (list->elems[i].err)
				not_stored(k, &list->elems[i]);
	rd_kafka_topic_partition_list_destroy(list);
}

void kafka_store_due(struct kafka_source *k)
{
	const struct kafka_source_conf *c = k->source->conf;
	uint64_t now = kafka_now_ns(k);
	bool due = c->commit_every_ms && now >= k->regular_ns;

	if (due)
		k->regular_ns = now + c->commit_every_ms * SB_NS_PER_MS;
	for (size_t i = 0; i < k->n_parts && !due && now >= k->store_ns; i++)
		due = k->part[i] && kafka_window_due(&k->part[i]->window);
	if (!due)
		return;
	k->store_ns = now + STORE_MS * SB_NS_PER_MS;
	kafka_store_positions(k);
}

void kafka_commit_now(struct kafka_source *k)
{
	rd_kafka_topic_partition_list_t *list;

	kafka_store_positions(k); /* or an older one could be committed behind it */
	if (k->commit_out || kafka_now_ns(k) < k->commit_ns)
		return;
	list = rd_kafka_topic_partition_list_new(16);
	for (size_t i = 0; i < k->n_parts; i++)
		if (k->part[i] && !is_committed(k->part[i]))
			rd_kafka_topic_partition_list_add(list, k->part[i]->topic, k->part[i]->number)->offset = k->part[i]->window.position;
	k->commit_out = list->cnt && rd_kafka_commit_queue(k->rk, list, k->queue, NULL, k) == RD_KAFKA_RESP_ERR_NO_ERROR;
	k->commit_ns = kafka_now_ns(k) + COMMIT_AGAIN_MS * SB_NS_PER_MS;
	rd_kafka_topic_partition_list_destroy(list);
}

static void committed(struct kafka_source *k, const rd_kafka_topic_partition_t *at)
{
	struct part *p = kafka_part_find(k, at->topic, at->partition);

	if (!p || at->offset <= p->committed)
		return;
	p->committed = at->offset;
	kafka_window_committed(&p->window, at->offset);
}

void kafka_on_committed(struct kafka_source *k, rd_kafka_event_t *ev)
{
	const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);
	rd_kafka_resp_err_t err = rd_kafka_event_error(ev);

	if (rd_kafka_event_opaque(ev) == k) {
		k->commit_out = false;
		if (!err)
			k->commit_ns = 0;
	}
	if (err && err != RD_KAFKA_RESP_ERR__NO_OFFSET)
		kafka_note_error(k, rd_kafka_event_error_string(ev));
	for (int i = 0; list && i < list->cnt && !err; i++)
		if (!list->elems[i].err)
			committed(k, &list->elems[i]);
}
