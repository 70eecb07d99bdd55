/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_CORE_H
#define SB_BROKER_CORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/base/clock.h"
#include "broker/base/heap.h"
#include "broker/base/list.h"
#include "broker/base/mailbox.h"
#include "broker/base/map.h"
#include "broker/journal/journal.h"
#include "connectors/connector.h"
#include "executor/executor.h"
#include "rules/rules.h"

/*
 * What the parts of the daemon share: the core (fixed from start to stop), the plan (one generation of rules, sources and
 * targets, immutable, reference-counted), and the slots of targets and sources, which outlive generations.
 *
 * Owners: the control thread makes plans and slots. A target slot's dispatch belongs to its home shard; other shards touch
 * only its constant fields and its atomics. A source slot has one instance on every shard, each owned by that shard.
 */
struct sb_shard;
struct sb_deadbox;
struct sb_config;

/* A number that shards add to and anybody may read. */
typedef atomic_uint_fast64_t sb_counter;

static inline void sb_count(sb_counter *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed); /* a statistic: nothing is ordered by it */
}

static inline uint64_t sb_counted(const sb_counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

struct sb_core {
	const struct sb_clock *clock;
	struct sb_journal *journal;
	struct sb_deadbox *deadbox;
	struct sb_shard **shard;
	unsigned n_shards;
	const char *account, *region, *default_bus;
	uint64_t max_event_bytes;
	uint32_t max_hops, json_depth;
	unsigned max_samples; /* of each kind a shard takes between two flushes of the metrics; 0: none */
	atomic_bool stopping; /* intake is closed: every emit is refused, retryable */
	atomic_bool settled;  /* targets are closed, outcomes durable: no source will hear of a settlement any more */
	atomic_bool no_reads; /* the last steps of stopping: no backlog is read any more */
	atomic_bool ready;    /* every listener is open and recovery is over */
	uint64_t started_ms;  /* wall time */
	struct {
		pthread_mutex_t lock; /* never on an event's way */
		struct sb_map value;  /* what sources have remembered since the start: key -> struct sb_slice *, one block with its key */
	} memory;
	const char *listeners_json; /* {"main":"127.0.0.1:8480"} */
	struct {
		sb_counter lost_letters;         /* dead letters expired by `keep` */
		sb_counter spawner_restarts;
		sb_counter reload_ok, reload_ms; /* of the last reload: 1 or 0; of the last good one: wall time */
		sb_counter redis_flushes, redis_flushes_dropped; /* of metrics */
		sb_counter redis_up, redis_leads;                /* 1: connected; this one writes the cluster's numbers */
	} counts;
};

/* ------------------------------------------------------------------------------------------------ slots */

struct sb_target_slot;
/* One instance of its connector. A reload may put another in its place: this one finishes what it was sent, then goes. */
struct sb_target_unit {
	struct sb_target target;        /* first: connectors hold its address */
	struct sb_target_slot *slot;
	const struct sb_connector *connector;
	const struct sb_config *config; /* keeps target.conf alive: one reference */
	struct sb_link link;            /* in the home shard's list of those that leave */
	uint64_t leave_by_ns;           /* what it has not settled by then it must release */
	bool tried, opened, closing, closed; /* tried: open() was called, with whatever success */
};

/*
 * One a name, for as long as the process lives: there must never be two queues of one name. It stays when the target leaves
 * the configuration, with what is owed to it, and is the same when the target comes back.
 */
struct sb_target_slot {
	const char *name; /* interned */
	struct sb_core *core;
	struct sb_shard *home;
	struct sb_env env;              /* of the home shard */
	struct sb_target_policy policy;
	struct sb_dispatch *dispatch;
	atomic_bool paused;
	/* the home shard's: */
	struct sb_target_unit *unit;    /* who delivers; NULL: nobody, what is owed waits */
	struct sb_target_unit *next;    /* opened by a reload that is not decided yet */
	struct sb_target absent;        /* what the dispatch has for a target when there is no unit */
	struct sb_target_slot *dead_letter; /* NULL: the table */
	struct sb_link home_link;       /* in its list */
	struct sb_heap_node wish;       /* in its heap: when the dispatch wants a tick */
	bool known;                     /* it has been told of us; the control thread may ask, having waited for that */
	bool recovered;                 /* the dispatch has what the journal owed at the start */
	bool removed;                   /* not configured any more: the unit goes when nothing is owed */
	bool abandoned;                 /* nor will anybody come back for what is owed: it dies */
};

struct sb_source_slot;
/* One shard's instance. */
struct sb_source_unit {
	struct sb_source source; /* first: connectors hold its address */
	struct sb_source_slot *slot;
	struct sb_shard *shard;
	struct sb_link link;                 /* in the shard's list, while open */
	/* Receipts: in memory only, oldest first; for which the journal had no room; that are on their way to the journal. */
	struct sb_link held, waiting, leaving;
	bool opened, closing, closed;
};

#define SB_REJECT_REASONS 24
/* What a source keeps over all its instances: one a name, for as long as the process lives. */
struct sb_source_stat {
	const char *name; /* interned */
	atomic_bool paused;
	sb_counter received, refused;
	sb_counter spilled; /* written to the journal after all */
	sb_counter overflowed; /* sent on by the source, with what was still owed */
	struct {
		_Atomic(const char *) reason; /* constant text; NULL: free */
		sb_counter n;
	} rejected[SB_REJECT_REASONS];
};

/* A source under one configuration; when that changes, another one takes its place, and this one goes when it is closed. */
struct sb_source_slot {
	const char *name; /* interned */
	const struct sb_connector *connector;
	const struct sb_config *config;
	const struct sb_config *adopted; /* that of its connector's own, when it has taken over a later one; else NULL */
	struct sb_core *core;
	struct sb_source_stat *stat;
	const char *const *tokens; /* bearer tokens of this source alone; NULL: none needed */
	size_t n_tokens;
	struct sb_source_unit *unit; /* one a shard */
	atomic_uint refs;            /* of the registry, and of every plan that has it */
	bool retired;                /* control thread: another one has its name, or none */
	uint64_t spill_after_ns;     /* an event that its source holds goes to the journal when it is not done by then; UINT64_MAX: waits */
	const char *overflow;        /* interned, "overflow:TOPIC"; NULL: what is stuck goes to the journal, or waits */
	sb_counter held;             /* handed and not yet settled, now */
};

/* ------------------------------------------------------------------------------------------------ plan */

struct sb_rule_stat {
	const char *name, *bus; /* interned; outlives generations */
	sb_counter matched, shadowed;
};

/* From a rule to one of its targets. `conf` is this generation's, for every shard to read; the slot's policy is its home's. */
struct sb_way {
	struct sb_target_slot *slot;
	const struct sb_target_conf *conf;
};

/* One generation. */
struct sb_plan {
	atomic_uint refs;
	uint64_t generation;
	struct sb_ruleset *rules;
	struct sb_way **way;                  /* [rule index][target index] */
	struct sb_rule_stat **rule_stat;      /* [rule index] */
	struct sb_map buses;                  /* name -> interned name (the same pointer) */
	struct sb_map targets;                /* name -> struct sb_target_slot * */
	struct sb_target_slot **gone;         /* those there are that are not configured: what they are owed is not forgotten */
	size_t n_gone;
	struct sb_map sources;                /* name -> struct sb_source_slot * */
	const struct sb_config *config;
};

struct sb_plan *sb_plan_ref(struct sb_plan *p);
void sb_plan_unref(struct sb_plan *p);

#endif
