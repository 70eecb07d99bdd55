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
#define WORLD_FLIGHT 64
#define WORLD_LANES 64

struct world_delivery { /* what the journal and the oracle know of one */
	uint32_t lane, size;
	uint8_t flags, exhausted;
	bool ours;             /* false: another target's */
	bool damaged;          /* its frame cannot be read */
	bool settled, dead;    /* had its outcome in this life of the process */
	bool done;             /* the outcome is durable */
	bool begun, flying;
	uint32_t attempts;     /* counted in this life, on top of those recorded before */
	uint32_t recorded;     /* of the last durable ATTEMPT frame */
	uint64_t first;        /* number of the first delivery of its event: where its frame is */
	bool alone;            /* as recorded */
	uint64_t due_wall_ms, due_ns, received_ms;
	enum sb_reason reason;
};

struct world {
	struct sb_fake_clock clock;
	struct sb_rand rand, chance; /* the dispatch's, the scheduler's */
	struct sb_mailbox home;
	struct sb_target target, other; /* `other` takes its place by sb_dispatch_set_target */
	struct sb_target_ops ops;
	struct sb_target_policy policy;
	struct sb_dispatch *d;

	/* journal; number n stands at item[n - 1], position (1, number of the first of its event) */
	struct world_delivery *item;
	uint64_t n, most;
	struct sb_buf frames;
	uint64_t pending_dead[256];
	unsigned n_pending_dead;
	struct sb_handover *mail_first, **mail_last; /* written, not yet posted */
	struct sb_journal_read *reading[3];          /* asked, not yet served */
	struct sb_journal_read *served[3];           /* served, not yet posted */
	unsigned n_reading, n_served;
	struct sb_recovery rec;
	struct sb_recovered_target rec_target;
	struct sb_recovered_attempt rec_attempt;
	uint64_t event_first; /* what is appended joins this event; 0: begins one */
	uint64_t scanned;     /* numbers that reads have looked at */
	bool skips_done;   /* reads leave out what has its outcome */
	uint64_t scan_most; /* a read gives up after that many numbers without a find; 0: never */
	bool disk_dead;    /* reads bring nothing */
	unsigned estimate_pct; /* how well recovery guesses bytes; 0: 100 */

	/* target */
	struct sb_batch *flight[WORLD_FLIGHT];
	struct sb_target *sent_to[WORLD_FLIGHT];
	unsigned n_flight;
	const enum sb_outcome *table; /* NULL: hold; else outcome after outcome, round and round, at once */
	size_t table_n, table_at;
	struct sb_result answer;      /* reason, message ... of what is settled next */
	bool set_alone;               /* the target suspects those it releases */

	bool no_room; /* for dead letters */
	bool abandoned; /* final ones may die */
	struct { /* the last that died */
		char first[32], last[32], tail[32], input[32];
		uint32_t attempts;
		uint64_t first_ms, last_ms;
	} letter;
	struct sb_result_record result;   /* the last durable ones */
	struct sb_attempt_record attempt;
	char attempt_message[64];
	bool paused;
	uint64_t armed_ns;
	uint64_t first_seen;          /* number of the last first attempt */
	uint64_t lane_low[WORLD_LANES];
	uint64_t sent, delivered, dead, reads, max_cache, max_flight;
	uint64_t trace;  /* hash of all that happened */
	uint64_t slack;  /* bytes that may be used above cache_bytes */
};

#define WORLD_POLICY                                                                                                   \
	((struct sb_target_policy){ .retry = { 185, 1000, 960000, 86400000, false }, .concurrency = 4, .timeout_ms = 5000,  \
		.max_retrying = 10000, .cache_bytes = 8u << 20 })

void world_init(struct world *w, const struct sb_target_policy *p, uint64_t seed, uint64_t most);
void world_done(struct world *w);
/* A delivery of our target: it is durable, its mail is on its way. Returns its number. An event of its own, unless event_first. */
uint64_t world_append(struct world *w, uint32_t lane, uint8_t flags, uint32_t size);
void world_append_other(struct world *w); /* another target's */
bool world_mail(struct world *w);         /* lets the next mail arrive; false: there is none */
void world_serve(struct world *w, unsigned i); /* serves read i as the journal stands now */
void world_post(struct world *w, unsigned i);  /* lets what was served as i arrive */
void world_run_mail(struct world *w);     /* what is posted */
void world_commit(struct world *w);       /* the frames become durable */
void world_flush(struct world *w);        /* all of that, until nothing moves without time or the target */
void world_settle(struct world *w, unsigned i, enum sb_outcome o); /* in flight number i */
void world_pause(struct world *w, bool on);
void world_tick(struct world *w);         /* if it was asked for by now */
bool world_step_time(struct world *w);    /* to the next tick asked for, and tick; false: none is */
struct sb_dispatch_stats world_stats(const struct world *w);
/* The process dies and starts anew on what the journal has. */
void world_restart(struct world *w);
uint64_t world_open(const struct world *w); /* outstanding, as the oracle sees it */

#endif
