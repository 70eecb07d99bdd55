/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EXECUTOR_TIMER_H
#define SB_EXECUTOR_TIMER_H

#include <stdint.h>

#include "broker/base/clock.h"
#include "broker/base/heap.h"
#include "broker/base/list.h"

/*
 * Timers and end-of-turn work of one shard, the same on libevent and on the fake clock. The owner of a sb_timers drives
 * it: sb_timers_init_loop arms its own event on a libevent base and needs nothing else; in the simulation `wish` tells
 * when sb_timers_run should be called next, and the test moves the clock there. Callbacks run from sb_timers_run only,
 * never from within the call that armed them. Not thread-safe: everything happens on the shard's thread.
 */
struct sb_timer { /* zero-initialise, set fn */
	struct sb_heap_node node; /* key: monotonic ns */
	void (*fn)(struct sb_timer *t);
};

/* Once, after what is running now: writes gathered for a whole loop turn, callbacks that must not be nested. */
struct sb_deferred { /* sb_deferred_init before use */
	struct sb_link link;
	void (*fn)(struct sb_deferred *d);
};

struct event;
struct event_base;
struct sb_timers {
	const struct sb_clock *clock;
	struct sb_heap heap;
	struct sb_link soon;
	/* sb_timers_run should be called at mono_ns (0: as soon as the current callback is over). The earliest wish counts;
	 * NULL: the owner asks sb_timers_next itself. */
	void (*wish)(struct sb_timers *ts, uint64_t mono_ns);
	uint64_t wished;
	struct event *ev; /* of sb_timers_init_loop */
};

#define SB_TIMERS_MAX 1000000 /* armed at once; beyond it sb_timer_set fails an assert: every owner is capped itself */

void sb_timers_init(struct sb_timers *ts, const struct sb_clock *clock, void (*wish)(struct sb_timers *, uint64_t));
void sb_timers_init_loop(struct sb_timers *ts, const struct sb_clock *clock, struct event_base *base);
void sb_timers_done(struct sb_timers *ts);
/* What was deferred before the call, in order; then every timer that is due, earliest first. */
void sb_timers_run(struct sb_timers *ts);
/* When to run next: 0 now, UINT64_MAX never. */
uint64_t sb_timers_next(const struct sb_timers *ts);

void sb_timer_set(struct sb_timers *ts, struct sb_timer *t, uint64_t mono_ns); /* armed already: moves it */
void sb_timer_cancel(struct sb_timers *ts, struct sb_timer *t);                /* not armed: nothing happens */

static inline int sb_timer_armed(const struct sb_timer *t)
{
	return t->node.slot != 0;
}

static inline void sb_deferred_init(struct sb_deferred *d, void (*fn)(struct sb_deferred *d))
{
	sb_list_init(&d->link);
	d->fn = fn;
}

void sb_defer(struct sb_timers *ts, struct sb_deferred *d); /* already deferred: once is enough */

static inline void sb_defer_cancel(struct sb_deferred *d)
{
	sb_list_unlink(&d->link);
}

#endif
