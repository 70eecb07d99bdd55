/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_UNIT_EXECUTOR_WORLD_H
#define SB_TESTS_UNIT_EXECUTOR_WORLD_H

#include "executor/executor.h"

/*
 * The world of one dispatch without a machine: a journal in memory that keeps what was appended and serves reads, mail that
 * arrives when the test says so, a fake clock, and a target that holds what it was sent until it is told the outcome (or
 * answers at once, by a table). It watches over what must always hold, and fails the test when it does not:
 * every delivery has one outcome, no more attempts in flight than allowed, order within lanes, order of first attempts
 * without lanes, ids and attempt numbers that agree, the bound of memory.
 */

#define WORLD_TARGET "t"
#define WORLD_MOST 4096    /* deliveries, or 1 << 20 of a big world */
#define WORLD_FLIGHT 64

struct world_delivery { /* what the journal and the oracle know of one */
	uint32_t lane, size;
	uint8_t flags;
	bool ours;           /* false: another target's */
	bool done, dead;
	bool begun;          /* in this life of the dispatch */
	bool damaged;
	uint32_t attempts, sent;
	uint32_t recorded;   /* attempts of the last ATTEMPT frame */
	uint64_t due_wall_ms, received_ms;
	enum sb_reason reason;
	uint8_t exhausted;
};

struct world {
	struct sb_fake_clock clock;
	struct sb_rand rand, chance; /* the dispatch's, the scheduler's */
	struct sb_mailbox home;
	struct sb_target target;
	struct sb_target_ops ops;
	struct sb_target_policy policy;
	struct sb_dispatch *d;
	struct sb_buf frames;

	/* journal; number n stands at item[n - 1] */
	struct world_delivery *item;
	uint64_t n, most;
	struct sb_handover *mail_first, **mail_last; /* written, not yet posted */
	uint64_t n_mail;
	struct sb_journal_read *reading[8]; /* asked, not yet answered */
	unsigned n_reading;
	struct sb_recovery rec;
	struct sb_recovered_target rec_target;
	struct sb_recovered_attempt rec_attempt;
	uint64_t read_most;  /* bytes a read is stopped after without having found anything; 0: never */
	bool disk_dead;

	/* target */
	struct sb_batch *flight[WORLD_FLIGHT];
	unsigned n_flight;
	const enum sb_outcome *table; /* NULL: hold; else outcome number i of attempts, round and round */
	size_t table_n, table_at;
	enum sb_reason with_reason;
	uint32_t retry_after_ms;

	/* letters */
	bool no_room;
	uint64_t armed_ns;
	uint64_t delivered, dead, reads, max_cache;
	uint64_t trace;      /* hash of all that happened */
	uint64_t slack;      /* bytes above cache_bytes that are allowed */
	bool big;            /* do not check what costs O(n) */
};

#define WORLD_POLICY                                                                                                   \
	((struct sb_target_policy){ .retry = { 185, 1000, 960000, 86400000, false }, .concurrency = 4, .timeout_ms = 5000,  \
		.max_retrying = 10000, .cache_bytes = 8u << 20 })

void world_init(struct world *w, const struct sb_target_policy *p, uint64_t seed);
void world_done(struct world *w);
/* Deliveries of our target and, with `others`, of another in between. They are durable, and their mail is on its way. */
uint64_t world_append(struct world *w, uint32_t lane, uint8_t flags, uint32_t size);
void world_append_other(struct world *w);
unsigned world_mail(struct world *w, unsigned most); /* lets mail arrive */
void world_answer_read(struct world *w, unsigned i); /* serves read i as the journal stands now, and posts it */
void world_run_mail(struct world *w);                /* what is posted */
/* All mail, all reads, until nothing moves without time. */
void world_flush(struct world *w);
void world_settle(struct world *w, unsigned i, enum sb_outcome o); /* in flight number i */
void world_advance(struct world *w, uint64_t ms); /* and tick, if it was asked for by then; mail and reads in between */
bool world_step_time(struct world *w);            /* to the next tick asked for; false: none */
struct sb_dispatch_stats world_stats(const struct world *w);
/* The process dies and starts anew on what the journal has. */
void world_restart(struct world *w);
uint64_t world_open(const struct world *w); /* outstanding, as the oracle sees it */

#endif
