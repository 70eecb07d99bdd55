/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SIMULATION_SIM_H
#define SB_TESTS_SIMULATION_SIM_H

#include "broker/plan.h"
#include "broker/shard.h"
#include "play.h"
#include "tests/support/simdisk.h"
#include "tests/support/watchdisk.h"

/*
 * The whole broker without a machine: source, intake, rules, journal, dispatch, worker pools, dead letters, put together from the
 * same parts as the daemon's, in one thread, on a simulated disk and with fake processes, under a clock that jumps from one
 * moment at which something is due to the next. The seed decides everything: what comes, what workers do, how long the disk
 * takes, and in which order shards, journal and table get their turns.
 */
#define SIM_SHARDS 3

/* Sent together, taken in together or not at all. */
struct sim_group {
	size_t first, n;
	uint64_t at_ns;
	unsigned shard; /* of one that is held: its partition */
	bool held, sent;
};

/* A shard's processes and timers, and whether anything was called back since its last turn. */
struct sim_station {
	struct sb_fakeprocs procs;
	struct sim *sim;
	bool touched;
};

struct sim {
	struct sb_core core; /* of this life */
	struct sb_slots slots;
	struct sb_plan *plan;
	struct sb_shard *shard[SIM_SHARDS];
	struct sim_station station[SIM_SHARDS];
	void (*settle)(struct sb_target *t, struct sb_batch *b, size_t i, const struct sb_result *r); /* the dispatch's */
	struct ledger ledger;          /* over all lives, like everything below */
	struct play play;
	struct sb_rand chance;
	struct sb_fake_clock clock;
	struct simdisk *disk;
	struct sb_watchdisk watch;
	const struct sb_config *config;
	uint64_t disk_busy_until_ns, steps;
	uint64_t backlogs;             /* attempts that ended while their target's backlog did not fit in memory */
	unsigned n_shards;
	struct sim_group *group;
	size_t n_groups;
};

/* `play` decides which events come, `seed` everything else. */
struct sim *sim_new(uint64_t seed, uint64_t play, unsigned n_shards);
void sim_end(struct sim *s); /* stops the broker; the ledger can be looked at. Only one simulation may be between new and end. */
void sim_free(struct sim *s);
/* Sends what is to be sent and runs until then; until nothing is left to send and nothing is owed; until the power has gone. */
enum sim_stop { SIM_UNTIL, SIM_ENDED, SIM_POWER_GONE };
enum sim_stop sim_run(struct sim *s, uint64_t until_ns);
/* The power goes: what was not synced is lost in some way that the seed decides, and the next life begins at the same moment. */
void sim_crash(struct sim *s);
/* A clean stop, as at SIGTERM, and a new start. */
void sim_restart(struct sim *s);
static inline uint64_t sim_now_ns(const struct sim *s)
{
	return s->clock.mono;
}

/* sim_source.c */
void sim_make_groups(struct sim *s);
struct sim_group *sim_next_group(const struct sim *s); /* NULL: none is left */
void sim_send_group(struct sim *s, struct sim_group *g); /* to some shard; what is refused is sent again later */
/* A new life: what got no answer, unless the disk has it; what was handed over and is not settled, in any case. */
void sim_send_lost_again(struct sim *s);

/* Recounts from the disk, and from the table. */
void sim_audit(struct sim *s);
void sim_check_letters(struct sim *s);

#endif
