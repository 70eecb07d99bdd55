/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_PLAN_H
#define SB_BROKER_PLAN_H

#include "broker/config.h"
#include "broker/core.h"

/*
 * From a configuration to a plan: slots for its targets and sources, and rules bound to slots. Control thread only, or while it
 * waits. There is one target slot a name for the life of the process, so their number is bounded by the names that were ever
 * configured or owed something; a source has one for each of its configurations, until the instances of that are closed.
 */
struct sb_slots {
	struct sb_core *core;
	struct sb_target_slot **target;
	struct sb_source_slot **source;
	struct sb_source_stat **stat;
	struct sb_rule_stat **rule;
	size_t n_targets, n_sources, n_stats, n_rules;
	unsigned next_home; /* homes are dealt out in turn */
};

/* Before the first plan: slots for targets that the journal owes something, configured or not. */
void sb_slots_recover(struct sb_slots *s, const struct sb_config *config);
void sb_slots_done(struct sb_slots *s); /* every shard has stopped */
/*
 * On the shard's own thread: closes what is there, of earlier generations too. Targets first; then, when their outcomes are
 * durable, sources, which by then have heard of everything that is settled.
 */
void sb_slots_close_targets(struct sb_slots *s, struct sb_shard *shard);
bool sb_slots_targets_closed(const struct sb_slots *s, const struct sb_shard *shard);
void sb_slots_close_sources(struct sb_slots *s, struct sb_shard *shard);
bool sb_slots_sources_closed(const struct sb_slots *s, const struct sb_shard *shard);
/* What of the configuration is fixed from start to stop. */
void sb_core_init(struct sb_core *core, const struct sb_clock *clock, const struct sb_config *config);
void sb_core_forget(struct sb_core *core); /* what sources have remembered; the journal has it */

/*
 * Makes the plan and the slots it needs that are not there yet; these are not open. Slots there are keep what they have: whoever
 * wants a source's to be replaced retires it before. The configuration gets one more reference.
 */
struct sb_plan *sb_plan_make(struct sb_slots *slots, const struct sb_config *config, uint64_t generation);
struct sb_target_slot *sb_slots_target(const struct sb_slots *s, const char *name); /* NULL: there never was one */
struct sb_source_slot *sb_slots_source(const struct sb_slots *s, const char *name); /* the live one; NULL */
/* Forgets a retired one whose instances are all closed and freed. Plans may still have it. */
void sb_slots_forget_source(struct sb_slots *s, struct sb_source_slot *slot);

#endif
