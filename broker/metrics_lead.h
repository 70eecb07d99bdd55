/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_METRICS_LEAD_H
#define SB_BROKER_METRICS_LEAD_H

#include "metrics_own.h"

/* What the leader has read in a round, and what its two halves share: metrics_lead.c the whole cluster, metrics_entity.c one by one. */
#define SB_ENTITY_S (7 * 86400)

/* Counters, and how long attempts took. */
struct sb_sums {
	uint64_t n[SB_TOTALS];
	uint64_t duration[SB_DURATION_BUCKETS];
};

struct sb_lead_field {
	struct sb_slice name, value;
	bool told; /* of an account: it still is */
};

struct sb_lead_instance {
	char *name;
	bool known; /* it has told its numbers, and they have not expired: it is alive */
	struct sb_sums now, before;
	struct sb_map accounted[SB_PARTS]; /* name -> struct sb_lead_field * */
	struct sb_lead_field *moved[SB_PARTS];     /* what is to be accounted for now */
	size_t n_moved[SB_PARTS];
	size_t n_told[SB_PARTS], n_kept[SB_PARTS]; /* kept: of those accounted for, the ones that are told still */
	bool later[SB_PARTS]; /* accounted for by another roll-up: this one is full */
};

/* One rule, target or source, over all instances. */
struct sb_lead_entity {
	struct sb_lead_entity *next;
	struct sb_slice name;
	struct sb_packed sum;
};

struct sb_lead_part {
	struct sb_map map;
	struct sb_lead_entity *first, **last;
};

struct sb_lead {
	struct sb_lead_instance *instance;
	size_t n_instances;
	struct sb_sums total, minute_before;
	uint64_t at_ms, beat, rollup; /* of what is there: the last stream id, the last beat, the last roll-up */
	struct sb_slice rules;        /* and the hash of the rules of who led */
	uint64_t now_ms, id_ms;
	bool beats, rolls;
	size_t bytes; /* of accounts, read and to be written */
	bool ours;
	struct sb_lead_part part[SB_PARTS];
};

/* XADD under the round's id, with so many pairs to follow. */
void sb_metrics_xadd(struct sb_metrics *m, unsigned fields, uint64_t kept, const char *key);
void sb_metrics_pair(struct sb_metrics *m, const char *name, uint64_t n);
void sb_metrics_quantiles(struct sb_metrics *m, const uint64_t *duration); /* three pairs */
/* metrics_entity.c: rules, targets, sources and the top lists. */
void sb_metrics_entities(struct sb_metrics *m);

#endif
