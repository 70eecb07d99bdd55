/* SPDX-License-Identifier: Apache-2.0 */
#include "dispatch.h"

#include <stdlib.h>
#include <string.h>

#include "delivery.h"

/*
 * The life of a dispatch, arrival of deliveries, and its accounts.
 *
 * Every delivery that is outstanding stands in exactly one account: memory's (`ages`, mem_bytes, mem_queued) or the
 * journal's (journal_n, journal_bytes). It is counted into the journal's when its number is seen first, by mail or by a
 * read, whichever is earlier; it changes account when it enters memory or is evicted; and leaves with its outcome.
 *
 * `taken` parts what has been taken, to memory or into the range of a lane, from what is still to come. In cached mode mail
 * moves it. In backlog mode reads do, and mail is let go: below `taken` because a read was faster, above because the cursor
 * will come there. Mode goes back to cached when a read has seen the end and nothing was let go beyond it.
 */

/* ------------------------------------------------------------------------------------------------ life */

static void reserve_limit(struct sb_dispatch *d)
{
	uint64_t age = d->policy.on_full == SB_ON_FULL_REFUSE ? d->policy.max_queue_age_ms : 0;

	atomic_store_explicit(&d->max_reserved, d->policy.max_queue_bytes, memory_order_relaxed); /* a lone number */
	atomic_store_explicit(&d->refuse_age_ms, age, memory_order_relaxed);                       /* likewise */
}

struct sb_dispatch *sb_dispatch_new(
	const struct sb_dispatch_env *env, struct sb_target *t, const struct sb_target_policy *p)
{
	struct sb_dispatch *d = sb_xcalloc(sizeof(*d));
	struct sb_link *const lists[] = { &d->fresh, &d->again, &d->doomed, &d->loading, &d->loaded, &d->held };

	d->env = *env;
	d->target = t;
	d->policy = *p;
	for (size_t i = 0; i < SB_LEN(lists); i++)
		sb_list_init(lists[i]);
	sb_lanes_init(&d->lanes);
	d->due.max = d->ages.max = SIZE_MAX; /* bounded by cache_bytes and max_retrying */
	d->armed_ns = UINT64_MAX;
	reserve_limit(d);
	t->settle = sb_dispatch_settle;
	return d;
}

void sb_dispatch_free(struct sb_dispatch *d)
{
	struct sb_heap_node *x;

	if (!d)
		return;
	SB_ASSERT(d->in_flight == 0);
	while ((x = sb_heap_pop(&d->ages)))
		sb_delivery_free(SB_CONTAINER(x, struct sb_delivery, age));
	sb_heap_done(&d->ages);
	sb_heap_done(&d->due);
	sb_lanes_done(&d->lanes);
	sb_dispatch_readers_free(d);
	free(d);
}

void sb_dispatch_recover(struct sb_dispatch *d, const struct sb_recovery *rec)
{
	const struct sb_recovered_target *t = sb_map_get(&rec->targets, sb_slice_str(d->target->name));

	SB_ASSERT(d->counted == 0 && d->ages.n == 0);
	d->rec = rec;
	d->counted = rec->next_dno ? rec->next_dno - 1 : 0;
	if (!t || t->n == 0)
		return;
	d->journal_n = t->n;
	d->journal_bytes = t->bytes;
	d->oldest_ms = t->oldest_ms;
	sb_dispatch_reserve_always(d, t->bytes);
	d->backlog = true;
	d->from = t->from;
	d->armed_ns = sb_dispatch_now(d);
	d->env.arm(d->env.arg, d, d->armed_ns);
}

/* ------------------------------------------------------------------------------------------------ accounts */

void sb_dispatch_counted(struct sb_dispatch *d, uint64_t dno, uint64_t bytes)
{
	if (dno <= d->counted)
		return;
	d->counted = dno;
	d->journal_n++;
	d->journal_bytes += bytes;
}

void sb_dispatch_enter(struct sb_dispatch *d, struct sb_delivery *dl)
{
	uint64_t known = SB_MIN(dl->bytes, d->journal_bytes);

	if (known < dl->bytes) /* recovery estimated too low */
		sb_dispatch_reserve_always(d, dl->bytes - known);
	d->journal_bytes -= known;
	d->journal_n -= d->journal_n > 0;
	d->mem_queued += dl->bytes;
	d->mem_bytes += dl->cost;
	d->retrying += dl->attempts > 0;
	sb_heap_push(&d->ages, &dl->age, dl->received_ms);
}

static void leave(struct sb_dispatch *d, struct sb_delivery *dl)
{
	sb_heap_remove(&d->ages, &dl->age);
	d->retrying -= dl->attempts > 0;
	d->mem_bytes -= dl->cost;
	d->mem_queued -= dl->bytes;
}

void sb_dispatch_evict(struct sb_dispatch *d, struct sb_delivery *dl)
{
	leave(d, dl);
	d->journal_n++;
	d->journal_bytes += dl->bytes;
	sb_delivery_free(dl);
}

void sb_dispatch_forget(struct sb_dispatch *d, struct sb_delivery *dl)
{
	struct sb_lane *lane = dl->in_lane;
	struct sb_delivery *next;

	leave(d, dl);
	sb_dispatch_unreserve(d, dl->bytes);
	sb_delivery_free(dl);
	next = lane ? sb_lanes_next(&d->lanes, lane) : NULL;
	if (next)
		sb_dispatch_ready(d, next);
}

void sb_dispatch_recharge(struct sb_dispatch *d, struct sb_delivery *dl)
{
	d->mem_bytes += (uint64_t)sb_delivery_recharge(dl); /* may be negative: unsigned arithmetic wraps back */
}

void sb_dispatch_resync(struct sb_dispatch *d)
{
	if (d->backlog || d->lanes.ranged)
		return;
	sb_dispatch_unreserve(d, d->journal_bytes);
	d->stats.unreadable += d->journal_n;
	d->journal_n = d->journal_bytes = 0;
}

static bool fits(const struct sb_dispatch *d, uint64_t need)
{
	return d->mem_bytes + need <= d->policy.cache_bytes;
}

static void store_lane(struct sb_dispatch *d, struct sb_lane *l)
{
	struct sb_link *link;

	sb_lanes_store_away(&d->lanes, l);
	while ((link = sb_list_pop_front(&l->fifo)))
		sb_dispatch_evict(d, SB_CONTAINER(link, struct sb_delivery, link));
}

bool sb_dispatch_make_room(struct sb_dispatch *d, uint64_t need, bool lanes)
{
	struct sb_link *link;
	struct sb_lane *l;

	while (!fits(d, need) && (link = sb_list_pop_front(&d->loaded))) {
		struct sb_delivery *dl = SB_CONTAINER(link, struct sb_delivery, link);

		sb_delivery_unload(dl);
		sb_dispatch_recharge(d, dl);
	}
	while (lanes && !fits(d, need) && (l = sb_lanes_stored(&d->lanes)))
		store_lane(d, l);
	return fits(d, need);
}

/* With on_full: refuse the age of the queue closes it; nothing in it dies of that. */
static bool too_old(const struct sb_dispatch *d)
{
	uint64_t age = atomic_load_explicit(&d->refuse_age_ms, memory_order_relaxed);
	uint64_t since = age ? atomic_load_explicit(&d->oldest_fresh_ms, memory_order_relaxed) : 0;

	return since && sb_dispatch_wall(d) >= since + age;
}

bool sb_dispatch_reserve(struct sb_dispatch *d, uint64_t bytes)
{
	uint64_t max = atomic_load_explicit(&d->max_reserved, memory_order_relaxed);
	uint_fast64_t have = atomic_load_explicit(&d->reserved, memory_order_relaxed);

	if (too_old(d))
		return false;
	/* relaxed: the sum guards no other memory */
	do
		if (max && (bytes > max || have > max - bytes))
			return false;
	while (!atomic_compare_exchange_weak_explicit(
		&d->reserved, &have, have + bytes, memory_order_relaxed, memory_order_relaxed));
	return true;
}

void sb_dispatch_reserve_always(struct sb_dispatch *d, uint64_t bytes)
{
	atomic_fetch_add_explicit(&d->reserved, bytes, memory_order_relaxed);
}

void sb_dispatch_unreserve(struct sb_dispatch *d, uint64_t bytes)
{
	uint64_t had = atomic_fetch_sub_explicit(&d->reserved, bytes, memory_order_relaxed);

	SB_ASSERT(had >= bytes); /* somebody sent a delivery without room for it */
}

/* ------------------------------------------------------------------------------------------------ arrival */

void sb_dispatch_take(struct sb_dispatch *d, struct sb_delivery *dl)
{
	enum sb_lane_place place = SB_LANE_TURN;

	if (d->policy.lanes && dl->lane)
		place = sb_lanes_put(&d->lanes, dl);
	if (place == SB_LANE_RANGE) {
		sb_delivery_free(dl);
		return;
	}
	sb_dispatch_enter(d, dl);
	if (place == SB_LANE_TURN)
		sb_dispatch_ready(d, dl);
}

/* One is always let in: nothing is too large for every cache. */
static bool fits_after_all(struct sb_dispatch *d, const struct sb_delivery *dl)
{
	return d->ages.n == 0 || sb_dispatch_make_room(d, dl->cost, sb_dispatch_idling(d));
}

void sb_dispatch_deliver(struct sb_dispatch *d, struct sb_delivery *dl)
{
	uint64_t dno = dl->handover.dno;

	if (dno < d->taken) { /* a read was faster */
		sb_delivery_free(dl);
		return;
	}
	sb_dispatch_counted(d, dno, dl->bytes);
	if (!d->backlog && !fits_after_all(d, dl))
		sb_dispatch_turn_to_backlog(d, dl->handover.at);
	if (d->backlog) {
		d->released = dno;
		sb_delivery_free(dl);
	} else {
		d->taken = dno + 1;
		sb_dispatch_take(d, dl);
	}
	sb_dispatch_pump(d);
}

/* ------------------------------------------------------------------------------------------------ without a number */

static void enter_uncounted(struct sb_dispatch *d, struct sb_delivery *dl)
{
	d->journal_n++;
	d->journal_bytes += dl->bytes;
	sb_dispatch_enter(d, dl);
	sb_dispatch_ready(d, dl);
}

/* How long those in memory are still young; 0: it does not get on. */
static uint64_t patience_ms(const struct sb_dispatch *d)
{
	const struct sb_heap_node *oldest = sb_heap_min(&d->ages);
	uint64_t age;

	if (d->paused || d->draining || d->breaker.failures)
		return 0;
	age = oldest ? sb_dispatch_wall(d) - SB_MIN(oldest->key, sb_dispatch_wall(d)) : 0;
	return age < SB_OFFER_PATIENCE_MS ? SB_OFFER_PATIENCE_MS - age : 0;
}

/* From full on, until a quarter is free; but no longer than those in memory are young, though nothing may happen till then. */
void sb_dispatch_note_busy(struct sb_dispatch *d)
{
	bool was = atomic_load_explicit(&d->busy_until_ns, memory_order_relaxed) != 0;
	bool full = !d->backlog && d->mem_bytes > (was ? d->policy.cache_bytes / 4 * 3 : d->policy.cache_bytes);
	uint64_t left = full ? patience_ms(d) : 0;

	if (was || left) /* a hint: nothing is ordered by it */
		atomic_store_explicit(&d->busy_until_ns, left ? sb_dispatch_now(d) + left * SB_NS_PER_MS : 0, memory_order_relaxed);
}

bool sb_dispatch_busy(const struct sb_dispatch *d)
{
	uint64_t until = atomic_load_explicit(&d->busy_until_ns, memory_order_relaxed);

	return until && sb_dispatch_now(d) < until;
}

/* Those that were under way when it became busy are let in: as much again as the cache holds. */
static bool may_offer(struct sb_dispatch *d, uint64_t cost)
{
	if (d->backlog || d->draining)
		return false;
	return d->ages.n == 0 || d->mem_bytes + cost <= d->policy.cache_bytes ||
	       (patience_ms(d) && d->mem_bytes + cost <= 2 * d->policy.cache_bytes);
}

bool sb_dispatch_offer(struct sb_dispatch *d, struct sb_delivery *dl)
{
	SB_ASSERT(sb_dispatch_unnumbered(dl) && !dl->lane);
	if (!may_offer(d, dl->cost))
		return false;
	enter_uncounted(d, dl);
	sb_dispatch_pump(d);
	return true;
}

static uint64_t delay_left_ms(const struct sb_dispatch *d, const struct sb_delivery *dl)
{
	uint64_t now = sb_dispatch_now(d);

	return dl->due.key > now ? (dl->due.key - now) / SB_NS_PER_MS : 0;
}

/* In backlog mode the cursor is still to come to its record, or was there: it leaves out what was begun before. */
void sb_dispatch_number(struct sb_dispatch *d, struct sb_delivery *dl)
{
	d->counted = SB_MAX(d->counted, dl->handover.dno);
	if (!d->backlog)
		d->taken = SB_MAX(d->taken, dl->handover.dno + 1);
	if (dl->attempts && dl->state != SB_DL_DYING)
		sb_dispatch_record_attempt(d, dl, delay_left_ms(d, dl));
	if (dl->state == SB_DL_NEW) {
		enter_uncounted(d, dl);
	} else if (dl->state == SB_DL_WAITING) {
		sb_list_push_back(&d->loaded, &dl->link);
	} else if (dl->state == SB_DL_DYING) {
		d->n_dying--;
		sb_dispatch_die(d, dl);
	}
	sb_dispatch_pump(d);
}

/* ------------------------------------------------------------------------------------------------ the rest */

void sb_dispatch_pause(struct sb_dispatch *d, bool on)
{
	d->paused = on;
	sb_dispatch_pump(d);
}

void sb_dispatch_set_target(struct sb_dispatch *d, struct sb_target *t)
{
	SB_ASSERT(strcmp(t->name, d->target->name) == 0); /* its deliveries are read back by name */
	t->settle = sb_dispatch_settle;
	d->target = t;
	d->abandoned = false;
	sb_breaker_reached(&d->breaker);
	sb_dispatch_pump(d);
}

void sb_dispatch_reachable(struct sb_dispatch *d, const struct sb_target *t)
{
	if (d->target != t || !d->breaker.failures)
		return;
	sb_breaker_over(&d->breaker, sb_dispatch_now(d));
	sb_dispatch_pump(d);
}

void sb_dispatch_abandon(struct sb_dispatch *d)
{
	d->abandoned = true;
	sb_dispatch_tick(d);
}

void sb_dispatch_set_policy(struct sb_dispatch *d, const struct sb_target_policy *p)
{
	d->policy = *p;
	reserve_limit(d);
	sb_dispatch_pump(d);
}

void sb_dispatch_drain(struct sb_dispatch *d)
{
	d->draining = true;
}

bool sb_dispatch_owes_nothing(const struct sb_dispatch *d)
{
	return atomic_load_explicit(&d->reserved, memory_order_relaxed) == 0;
}

bool sb_dispatch_idle(const struct sb_dispatch *d)
{
	return d->in_flight == 0;
}

static uint64_t oldest_ms(const struct sb_dispatch *d)
{
	const struct sb_heap_node *x = sb_heap_min(&d->ages);

	if (x)
		return x->key;
	return d->journal_n ? d->oldest_ms : 0;
}

static uint64_t unreachable_until_ms(const struct sb_dispatch *d)
{
	uint64_t now = sb_dispatch_now(d), until = d->breaker.until_ns;

	if (!d->breaker.failures)
		return 0;
	return sb_dispatch_wall(d) + (until > now ? (until - now) / SB_NS_PER_MS : 0);
}

void sb_dispatch_get_stats(const struct sb_dispatch *d, struct sb_dispatch_stats *ret)
{
	*ret = d->stats;
	ret->in_flight = d->in_flight;
	ret->held = d->n_held + d->n_dying;
	ret->retrying = d->due.n + d->n_loading;
	ret->queued = d->ages.n - d->in_flight - ret->held - ret->retrying + d->journal_n;
	ret->queued_bytes = d->mem_queued + d->journal_bytes;
	ret->cache_bytes = d->mem_bytes;
	ret->blocked_lanes = d->lanes.blocked;
	ret->oldest_ms = oldest_ms(d);
	ret->unreachable_until_ms = unreachable_until_ms(d);
	ret->backlog = d->backlog;
	ret->paused = d->paused;
	ret->at_max_retrying = sb_dispatch_at_max_retrying(d);
}

const struct sb_target_policy *sb_dispatch_policy(const struct sb_dispatch *d)
{
	return &d->policy;
}

struct sb_target *sb_dispatch_target(const struct sb_dispatch *d)
{
	return d->target;
}

struct sb_mailbox *sb_dispatch_home(const struct sb_dispatch *d)
{
	return d->env.home;
}
