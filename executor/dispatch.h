/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EXECUTOR_DISPATCH_H
#define SB_EXECUTOR_DISPATCH_H

#include <stdatomic.h>

#include "executor/executor.h"

#include "breaker.h"
#include "lanes.h"

/*
 * The dispatch from within: dispatch.c (life, arrival, stats), dispatch_turn.c (who is next, and sending), dispatch_settle.c
 * (outcomes), dispatch_read.c (the backlog). dispatch_turn.c opens with the picture of the queues.
 */

/* A backlog read; one for each purpose, so that no two of the same are under way. Outlives the dispatch if it must. */
struct sb_reader {
	struct sb_journal_read r;
	struct sb_dispatch *d;  /* NULL: the dispatch is gone, forget what comes */
	void (*done)(struct sb_dispatch *d, struct sb_journal_read *r);
	bool out;
};

struct sb_dispatch {
	struct sb_dispatch_env env;
	struct sb_target *target;
	struct sb_target_policy policy;
	const struct sb_recovery *rec; /* NULL: nothing was recovered */
	struct sb_breaker breaker;
	struct sb_lanes lanes;

	/* Those in memory, by state. All of them are in `ages`. */
	struct sb_link fresh;   /* QUEUED: never begun, in order */
	struct sb_link again;   /* QUEUED: begun before, and due */
	struct sb_link doomed;  /* QUEUED: stillborn, to be buried */
	struct sb_link loading; /* LOADING */
	struct sb_link loaded;  /* WAITING, payload in memory: may be let go */
	struct sb_link held;    /* HELD */
	struct sb_heap due;     /* WAITING */
	struct sb_heap ages;
	uint64_t held_rest_ns;  /* how long they wait before they ask again */
	uint32_t in_flight, n_fresh, n_again, n_loading, n_held, n_dying;
	uint64_t retrying;      /* failed at least once; in any state */
	uint64_t mem_bytes;     /* what they cost */
	uint64_t mem_queued;    /* their bytes, as in max_queue_bytes */

	/* Those that only the journal has. */
	bool backlog;
	struct sb_position from;     /* where the cursor goes on */
	uint64_t taken;              /* every delivery of the target below this number was taken to memory or into a lane's range */
	uint64_t counted;            /* the highest number that was counted as outstanding */
	uint64_t released;           /* the highest number that was let go on arrival */
	uint64_t oldest_ms;         /* of what recovery found, until the first of it is in memory; 0: not known */
	uint64_t journal_n, journal_bytes;
	uint64_t rest_until_ns;      /* a read brought nothing new: not at once again */
	struct sb_reader *cursor, *load, *lane_read; /* made on first use */
	struct sb_delivery *load_for; /* whose payload `load` is reading */
	struct sb_lane *lane_for;     /* whose range `lane_read` is reading */

	atomic_uint_fast64_t reserved, max_reserved; /* bytes; any thread */
	atomic_uint_fast64_t busy_until_ns;          /* 0: not busy. Written here, read by any thread */
	atomic_uint_fast64_t oldest_fresh_ms, refuse_age_ms; /* since when the first in the queue waits; 0: none. Any thread */
	bool paused, draining, abandoned, pumping, again_next;
	uint64_t armed_ns;           /* the earliest wish since the last tick; UINT64_MAX: none */
	struct sb_dispatch_stats stats; /* only the sums since start live here */
};

static inline uint64_t sb_dispatch_now(const struct sb_dispatch *d)
{
	return sb_mono_ns(d->env.clock);
}

static inline uint64_t sb_dispatch_wall(const struct sb_dispatch *d)
{
	return sb_wall_ms(d->env.clock);
}

/* Its event is not in the journal: it leaves no records. */
static inline bool sb_dispatch_unnumbered(const struct sb_delivery *dl)
{
	return dl->handover.dno == 0;
}

static inline bool sb_dispatch_never_dies(const struct sb_dispatch *d, const struct sb_delivery *dl)
{
	return d->policy.retry.endless || (dl->flags & SB_OWED_FINAL);
}

/* By the wall clock: it counts across restarts. */
static inline uint64_t sb_dispatch_age_ms(const struct sb_dispatch *d, const struct sb_delivery *dl)
{
	uint64_t wall = sb_dispatch_wall(d);

	return wall > dl->received_ms ? wall - dl->received_ms : 0;
}

/* dispatch.c: memory. */
void sb_dispatch_counted(struct sb_dispatch *d, uint64_t dno, uint64_t bytes); /* seen first: it is outstanding, in the journal */
void sb_dispatch_enter(struct sb_dispatch *d, struct sb_delivery *dl);  /* from the journal's account into memory's */
void sb_dispatch_evict(struct sb_dispatch *d, struct sb_delivery *dl);  /* back; frees it. It must be on no list and have no lane */
void sb_dispatch_forget(struct sb_dispatch *d, struct sb_delivery *dl); /* it had its outcome; frees it, turns its lane */
void sb_dispatch_recharge(struct sb_dispatch *d, struct sb_delivery *dl);
/* Lets go of waiting payloads, with `lanes` of blocked lanes too, until `need` more bytes fit. False: they do not. */
bool sb_dispatch_make_room(struct sb_dispatch *d, uint64_t need, bool lanes);
/* Into its lane or the queue. It has been counted. */
void sb_dispatch_take(struct sb_dispatch *d, struct sb_delivery *dl);
/* Nothing is left in the journal alone: what is still counted there was damaged. */
void sb_dispatch_resync(struct sb_dispatch *d);

/* How full and how far behind: after anything that changes it. */
void sb_dispatch_note_busy(struct sb_dispatch *d);

/* dispatch_turn.c */
void sb_dispatch_ready(struct sb_dispatch *d, struct sb_delivery *dl); /* on no list; its lane lets it */
void sb_dispatch_wait(struct sb_dispatch *d, struct sb_delivery *dl, uint64_t due_ns);
void sb_dispatch_die(struct sb_dispatch *d, struct sb_delivery *dl);   /* of dl->reason and dl->exhausted; on no list */
void sb_dispatch_pump(struct sb_dispatch *d);
bool sb_dispatch_open(const struct sb_dispatch *d);  /* nothing but the number in flight keeps us from sending */
bool sb_dispatch_idling(const struct sb_dispatch *d); /* more could be in flight than there is to send */
bool sb_dispatch_at_max_retrying(const struct sb_dispatch *d);

/* dispatch_settle.c */
void sb_dispatch_record_attempt(struct sb_dispatch *d, const struct sb_delivery *dl, uint64_t delay_ms);
void sb_dispatch_settle(struct sb_target *t, struct sb_batch *b, size_t i, const struct sb_result *r);

/* dispatch_read.c */
void sb_dispatch_read(struct sb_dispatch *d); /* starts what is needed and fits */
void sb_dispatch_turn_to_backlog(struct sb_dispatch *d, struct sb_position from);
void sb_dispatch_readers_free(struct sb_dispatch *d);

#endif
