/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/timer.h"

#include <event2/event.h>

#include "broker/base/err.h"
#include "broker/base/mem.h"

void sb_timers_init(struct sb_timers *ts, const struct sb_clock *clock, void (*wish)(struct sb_timers *, uint64_t))
{
	*ts = (struct sb_timers){
		.clock = clock, .heap = { .max = SB_TIMERS_MAX }, .wish = wish, .wished = UINT64_MAX
	};
	sb_list_init(&ts->soon);
}

/*
 * One event serves both: activated, it runs after what the loop has already found ready, in the same turn and without
 * a system call; with a time-out, it is the earliest timer.
 */
static void loop_run(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	sb_timers_run(arg);
}

static void loop_wish(struct sb_timers *ts, uint64_t mono_ns)
{
	uint64_t now, wait;
	struct timeval tv;

	if (mono_ns == 0) {
		event_active(ts->ev, EV_TIMEOUT, 0);
		return;
	}
	now = sb_mono_ns(ts->clock);
	wait = mono_ns > now ? mono_ns - now : 0;
	tv.tv_sec = (time_t)(wait / SB_NS_PER_S);
	tv.tv_usec = (suseconds_t)((wait % SB_NS_PER_S + 999) / 1000); /* up: never before it is due */
	event_add(ts->ev, &tv);
}

void sb_timers_init_loop(struct sb_timers *ts, const struct sb_clock *clock, struct event_base *base)
{
	sb_timers_init(ts, clock, loop_wish);
	ts->ev = event_new(base, -1, 0, loop_run, ts);
	SB_ASSERT(ts->ev);
}

void sb_timers_done(struct sb_timers *ts)
{
	if (ts->ev)
		event_free(ts->ev);
	sb_heap_done(&ts->heap);
	ts->ev = NULL;
}

uint64_t sb_timers_next(const struct sb_timers *ts)
{
	struct sb_heap_node *min = sb_heap_min(&ts->heap);

	if (!sb_list_empty(&ts->soon))
		return 0;
	return min ? min->key : UINT64_MAX;
}

static void tell_wish(struct sb_timers *ts)
{
	uint64_t next = sb_timers_next(ts);

	if (next >= ts->wished)
		return;
	ts->wished = next;
	if (ts->wish)
		ts->wish(ts, next);
}

static void run_deferred(struct sb_timers *ts)
{
	struct sb_link now, *l;

	if (sb_list_empty(&ts->soon))
		return;
	now = ts->soon;
	now.next->prev = now.prev->next = &now;
	sb_list_init(&ts->soon);
	while ((l = sb_list_pop_front(&now))) {
		struct sb_deferred *d = SB_CONTAINER(l, struct sb_deferred, link);

		d->fn(d);
	}
}

void sb_timers_run(struct sb_timers *ts)
{
	struct sb_heap_node *min;
	uint64_t now;

	run_deferred(ts);
	now = sb_mono_ns(ts->clock);
	while ((min = sb_heap_min(&ts->heap)) && min->key <= now) {
		struct sb_timer *t = SB_CONTAINER(min, struct sb_timer, node);

		sb_heap_remove(&ts->heap, min);
		t->fn(t);
	}
	ts->wished = UINT64_MAX;
	tell_wish(ts);
}

void sb_timer_set(struct sb_timers *ts, struct sb_timer *t, uint64_t mono_ns)
{
	int full;

	sb_heap_remove(&ts->heap, &t->node);
	full = sb_heap_push(&ts->heap, &t->node, mono_ns ? mono_ns : 1);
	SB_ASSERT(!full);
	tell_wish(ts);
}

void sb_timer_cancel(struct sb_timers *ts, struct sb_timer *t)
{
	sb_heap_remove(&ts->heap, &t->node);
}

void sb_defer(struct sb_timers *ts, struct sb_deferred *d)
{
	if (!sb_list_empty(&d->link))
		return;
	sb_list_push_back(&ts->soon, &d->link);
	tell_wish(ts);
}
