/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_GATHER_H
#define SB_BROKER_GATHER_H

#include "broker/loop.h"
#include "broker/shard.h"

/*
 * One look at everything that shards own, for `status` and /metrics: a mail goes to every shard, each fills in its own part,
 * and the last one sends the whole back to who asked. Nothing is locked, and nobody waits.
 */
struct sb_target_view {
	struct sb_target_slot *slot;
	struct sb_dispatch_stats stats;
	uint64_t owed;
	const char *type;     /* of the connector; "" when there is none */
	bool removed, abandoned;
	struct sb_buf detail; /* members of a JSON object, from the connector */
};

struct sb_source_view {
	struct sb_source_slot *slot;
	struct sb_buf *detail; /* one a shard: members of a JSON object, from the connector's instance there; empty: none */
};

struct sb_gather {
	struct sb_mail back;
	struct sb_mailbox *home;
	void (*done)(struct sb_gather *g); /* on home's thread; frees by sb_gather_free */
	void *arg;
	atomic_uint left;
	struct sb_plan *plan;         /* one reference */
	struct sb_target_view *target; /* sorted by name; removed ones only while they are owed something */
	struct sb_source_view *source;
	size_t n_targets, n_sources;
	struct sb_http_stats *http;   /* one a shard */
	struct sb_loop **loop;
	unsigned n_shards;
	struct sb_gather_part *part;
	struct sb_samples *samples;   /* one a shard: what it had; NULL: not asked for */
};

/* Any thread that holds the plan. */
struct sb_gather *sb_gather_start(struct sb_loop **loop, unsigned n_shards, struct sb_plan *plan, struct sb_mailbox *home,
	void (*done)(struct sb_gather *g), void *arg);
/* The same, and what shards have sampled moves along. */
struct sb_gather *sb_gather_start_sampling(struct sb_loop **loop, unsigned n_shards, struct sb_plan *plan, struct sb_mailbox *home,
	void (*done)(struct sb_gather *g), void *arg);
void sb_gather_free(struct sb_gather *g);

/* What both pages show, once gathered. -1: out's cap. */
int sb_status_json(const struct sb_gather *g, const struct sb_core *core, struct sb_buf *out);
int sb_metrics_text(const struct sb_gather *g, const struct sb_core *core, bool detailed, struct sb_buf *out);

#endif
