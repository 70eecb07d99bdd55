/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_TARGETSLOT_H
#define SB_BROKER_TARGETSLOT_H

#include "broker/shard.h"

/* A target's slot on its home shard, and the units that come and go in it; targetslot.c has the picture. */
struct sb_target_conf;

/* Control thread, before anybody else knows the slot: makes its dispatch. Name, core, policy, home, unit are set. */
void sb_target_prepare(struct sb_target_slot *slot);
struct sb_target_unit *sb_target_unit_new(struct sb_target_slot *slot, const struct sb_config *config,
	const struct sb_target_conf *c); /* not open */
void sb_target_free(struct sb_target_slot *slot); /* when its shard no longer runs */
void sb_targets_free_leaving(struct sb_shard *s); /* likewise */

/*
 * On the home shard. The first of all calls: takes the slot in, and opens its unit if it has one; -1: it has none any more.
 * Without a unit, deliveries wait.
 */
int sb_shard_open_target(struct sb_shard *s, struct sb_target_slot *slot, struct sb_err *err);
/* Instead of it, when the reload that brought the slot has failed before: takes it in without a unit, as one that was removed. */
void sb_shard_forgo_target(struct sb_shard *s, struct sb_target_slot *slot);
/* Its policy is known: what the journal owes it is its backlog, and what comes from now on stands behind that. Once. */
void sb_shard_recover_target(struct sb_target_slot *slot);
/* Opens another unit beside the one there is. On -1 it has been freed and nothing has changed. Then use it, or drop it. */
int sb_shard_open_next(struct sb_target_slot *slot, struct sb_target_unit *u, struct sb_err *err);
/* The one before may finish what it has been sent; after `patience_ms` it must let go of it. */
void sb_shard_use_next(struct sb_target_slot *slot, uint64_t patience_ms);
void sb_shard_drop_next(struct sb_target_slot *slot);
/* It has left the configuration: its unit goes when nothing is owed. */
void sb_shard_remove_target(struct sb_target_slot *slot);
/* Nor is anybody to deliver what is owed: it becomes dead letters. */
void sb_shard_abandon_target(struct sb_target_slot *slot, uint64_t patience_ms);
/* What is owed to it, also when nobody has read that from the journal yet. */
uint64_t sb_target_owed(const struct sb_target_slot *slot, struct sb_dispatch_stats *ret);
void sb_target_repause(struct sb_target_slot *slot); /* what it hangs on has changed */
void sb_target_hold_all(struct sb_shard *s);
/* Lets go of units that are done. */
void sb_targets_turn(struct sb_shard *s);
uint64_t sb_targets_next_due(const struct sb_shard *s);
void sb_shard_close_target(struct sb_shard *s, struct sb_target_slot *slot); /* the end: starts */
void sb_shard_close_leaving(struct sb_shard *s);
bool sb_target_is_closed(const struct sb_target_slot *slot);

#endif
