/* SPDX-License-Identifier: Apache-2.0 */
#include "dispatch.h"

#include "delivery.h"

/*
 * Whose turn it is. Where a delivery can be:
 *
 *   mail, cursor ──> lane fifo ──> fresh ──────┐
 *                        │                     ├──> in flight ──> delivered
 *                        │   ┌──> again ───────┘        │
 *                        │   │      ^                   ├──> waiting (due) ──> [loading] ──> again
 *                        │   └──────┼── unreachable, <──┤
 *                        │          │   released        │
 *                        └──> doomed┘ (stillborn) ──────┴──> dead, or held until there is room for dead letters
 *
 * `fresh` are first tries, in the order of their numbers; `again` are those whose retry is due. They take turns, so that
 * neither a storm of retries nor a stream of new ones starves the other.
 */

#define BEGIN_MOST 256 /* in one go; then the loop gets its turn */
#define HELD_FIRST_NS                                                                                                  \
	(10 * SB_NS_PER_MS)      /* a held target asks for room again: soon, it may be just one turn's buffer ... */
#define HELD_LAST_NS SB_NS_PER_S /* ... then ever more seldom */

/* ------------------------------------------------------------------------------------------------ timers */

static void wish(struct sb_dispatch *d, uint64_t at_ns)
{
	if (at_ns >= d->armed_ns)
		return;
	d->armed_ns = at_ns;
	d->env.arm(d->env.arg, d, at_ns);
}

static struct sb_delivery *first_of(const struct sb_link *head)
{
	return sb_list_empty(head) ? NULL : SB_CONTAINER(head->next, struct sb_delivery, link);
}

/* After which it dies in the queue, untried; 0: never. With on_full: refuse it is the sender who hears of it. */
static uint64_t queue_age_ms(const struct sb_dispatch *d)
{
	return d->policy.on_full == SB_ON_FULL_REFUSE ? 0 : d->policy.max_queue_age_ms;
}

/* When the first in the queue gets too old for it. */
static void wish_for_queue_age(struct sb_dispatch *d)
{
	const struct sb_delivery *dl = first_of(&d->fresh);
	uint64_t most = queue_age_ms(d), age;

	if (!most || !dl || sb_dispatch_never_dies(d, dl))
		return;
	age = SB_MIN(sb_dispatch_age_ms(d, dl), most);
	wish(d, sb_dispatch_now(d) + (most - age) * SB_NS_PER_MS);
}

/* For sb_dispatch_reserve, on whatever thread. */
static void tell_queue_age(struct sb_dispatch *d)
{
	const struct sb_delivery *dl = first_of(&d->fresh);

	atomic_store_explicit(&d->oldest_fresh_ms, dl ? dl->received_ms : 0, memory_order_relaxed); /* a lone number */
}

/* The oldest in memory, if it waits for its turn: the others are looked at when they come back to the queue. */
static struct sb_delivery *oldest_queued(const struct sb_dispatch *d)
{
	const struct sb_heap_node *x = sb_heap_min(&d->ages);
	struct sb_delivery *dl = x ? SB_CONTAINER(x, struct sb_delivery, age) : NULL;

	return dl && dl->state == SB_DL_QUEUED && !(dl->flags & SB_OWED_STILLBORN) ? dl : NULL;
}

/* When the first behind a target that cannot be reached gets too old, which may be long before the next probe. */
static void wish_for_max_age(struct sb_dispatch *d)
{
	const struct sb_delivery *dl = d->breaker.failures ? oldest_queued(d) : NULL;
	uint64_t age;

	if (!dl || sb_dispatch_never_dies(d, dl))
		return;
	age = SB_MIN(sb_dispatch_age_ms(d, dl), d->policy.retry.max_age_ms);
	wish(d, sb_dispatch_now(d) + (d->policy.retry.max_age_ms - age) * SB_NS_PER_MS);
}

static void wish_if_to_come(struct sb_dispatch *d, uint64_t at_ns)
{
	if (at_ns && at_ns > sb_dispatch_now(d))
		wish(d, at_ns);
}

static void rearm(struct sb_dispatch *d)
{
	const struct sb_heap_node *x = sb_heap_min(&d->due);

	if (d->draining)
		return;
	if (x)
		wish(d, x->key);
	wish_if_to_come(d, d->rest_until_ns);
	if (d->n_held) {
		wish(d, sb_dispatch_now(d) + d->held_rest_ns);
		return;
	}
	wish_for_queue_age(d);
	wish_for_max_age(d);
	if (d->n_again || d->n_loading || d->n_fresh)
		wish_if_to_come(d, d->breaker.until_ns);
}

/* ------------------------------------------------------------------------------------------------ queues */

void sb_dispatch_wait(struct sb_dispatch *d, struct sb_delivery *dl, uint64_t due_ns)
{
	dl->state = SB_DL_WAITING;
	sb_heap_push(&d->due, &dl->due, d->abandoned ? 0 : due_ns);
	if (!sb_dispatch_unnumbered(dl))
		sb_list_push_back(&d->loaded, &dl->link); /* its payload can be read again */
	if (dl->in_lane)
		sb_lanes_block(&d->lanes, dl->in_lane, true);
	sb_dispatch_make_room(d, 0, false);
}

static void queue_again(struct sb_dispatch *d, struct sb_delivery *dl)
{
	dl->state = SB_DL_QUEUED;
	sb_list_push_back(&d->again, &dl->link);
	d->n_again++;
	if (dl->in_lane)
		sb_lanes_block(&d->lanes, dl->in_lane, false);
}

void sb_dispatch_ready(struct sb_dispatch *d, struct sb_delivery *dl)
{
	dl->state = SB_DL_QUEUED;
	if (dl->flags & SB_OWED_STILLBORN) {
		sb_list_push_back(&d->doomed, &dl->link);
	} else if (dl->due.key > sb_dispatch_now(d)) {
		sb_dispatch_wait(d, dl, dl->due.key);
	} else if (dl->begun) {
		queue_again(d, dl);
	} else {
		sb_list_push_back(&d->fresh, &dl->link);
		d->n_fresh++;
	}
}

static void unqueue(struct sb_dispatch *d, struct sb_delivery *dl)
{
	sb_list_unlink(&dl->link);
	if (dl->begun)
		d->n_again--;
	else
		d->n_fresh--;
}

static void fall_due(struct sb_dispatch *d)
{
	uint64_t now = sb_dispatch_now(d);
	struct sb_heap_node *x;

	while ((x = sb_heap_min(&d->due)) && (x->key <= now || d->abandoned)) {
		struct sb_delivery *dl = SB_CONTAINER(sb_heap_pop(&d->due), struct sb_delivery, due);

		sb_list_unlink(&dl->link);
		if (dl->ev) {
			queue_again(d, dl);
			continue;
		}
		dl->state = SB_DL_LOADING;
		sb_list_push_back(&d->loading, &dl->link);
		d->n_loading++;
	}
}

bool sb_dispatch_withdraw(struct sb_dispatch *d, struct sb_delivery *dl)
{
	SB_ASSERT(sb_dispatch_unnumbered(dl));
	if (dl->state == SB_DL_QUEUED)
		unqueue(d, dl);
	else if (dl->state == SB_DL_WAITING)
		sb_heap_remove(&d->due, &dl->due);
	else
		return false;
	sb_dispatch_reserve_always(d, dl->bytes); /* forgetting gives it back */
	sb_dispatch_forget(d, dl);
	sb_dispatch_pump(d);
	return true;
}

/* ------------------------------------------------------------------------------------------------ death */

static bool bury(struct sb_dispatch *d, struct sb_delivery *dl)
{
	struct sb_death why = { dl->reason, dl->exhausted };

	if (!d->env.dead(d->env.arg, d, dl, &why))
		return false;
	d->stats.dead++;
	sb_dispatch_forget(d, dl);
	return true;
}

void sb_dispatch_die(struct sb_dispatch *d, struct sb_delivery *dl)
{
	if (sb_dispatch_unnumbered(dl)) {
		dl->state = SB_DL_DYING;
		d->n_dying++;
		d->env.stuck(d->env.arg, d, dl, SB_STUCK_DYING);
		return;
	}
	if (bury(d, dl))
		return;
	if (!d->n_held)
		d->held_rest_ns = HELD_FIRST_NS;
	dl->state = SB_DL_HELD;
	sb_list_push_back(&d->held, &dl->link);
	d->n_held++;
	if (dl->in_lane)
		sb_lanes_block(&d->lanes, dl->in_lane, true);
}

static void bury_held(struct sb_dispatch *d)
{
	struct sb_delivery *dl;

	while ((dl = first_of(&d->held))) {
		sb_list_unlink(&dl->link);
		if (!bury(d, dl)) {
			sb_list_push_front(&d->held, &dl->link);
			d->held_rest_ns = SB_MIN(2 * d->held_rest_ns, HELD_LAST_NS);
			return;
		}
		d->n_held--;
	}
}

static void bury_doomed(struct sb_dispatch *d)
{
	struct sb_delivery *dl;

	while (!d->n_held && !d->draining && (dl = first_of(&d->doomed))) {
		sb_list_unlink(&dl->link);
		sb_delivery_stillborn(dl);
		sb_dispatch_recharge(d, dl);
		sb_dispatch_die(d, dl);
	}
}

/* Is there no use in trying? For an untried one that is too old for the queue; behind a target that is not to be reached. */
static bool outlived(const struct sb_dispatch *d, struct sb_delivery *dl)
{
	uint64_t queue_age = queue_age_ms(d);

	if (d->abandoned) {
		dl->reason = SB_R_TARGET_REMOVED;
		sb_delivery_say(dl, SB_SLICE("the target was removed from the configuration"));
		dl->exhausted = 0;
		return true;
	}
	if (sb_dispatch_never_dies(d, dl))
		return false;
	if (queue_age && !dl->begun && sb_dispatch_age_ms(d, dl) >= queue_age) {
		dl->reason = SB_R_QUEUE_FULL;
		sb_delivery_say(dl, SB_SLICE("older than max_queue.age before its first attempt"));
	} else if (d->breaker.failures && sb_dispatch_age_ms(d, dl) >= d->policy.retry.max_age_ms) {
		if (!dl->begun) {
			dl->reason = SB_R_CONNECTION_FAILURE;
			sb_delivery_say(dl, SB_SLICE("the target could not be reached within max_age"));
		}
	} else {
		return false;
	}
	dl->exhausted = 2;
	return true;
}

/* They die in the queue, whether the target may be sent to or not. */
static void bury_outlived(struct sb_dispatch *d)
{
	struct sb_delivery *dl;

	while (queue_age_ms(d) && !d->n_held && (dl = first_of(&d->fresh)) && outlived(d, dl)) {
		unqueue(d, dl);
		sb_dispatch_die(d, dl);
	}
	while (d->breaker.failures && !d->n_held && (dl = oldest_queued(d)) && outlived(d, dl)) {
		unqueue(d, dl);
		sb_dispatch_die(d, dl);
	}
}

/* ------------------------------------------------------------------------------------------------ turns */

bool sb_dispatch_at_max_retrying(const struct sb_dispatch *d)
{
	return !d->abandoned && d->retrying >= SB_MAX(d->policy.max_retrying, 1);
}

bool sb_dispatch_open(const struct sb_dispatch *d)
{
	if (d->paused || d->draining || d->n_held)
		return false;
	return d->abandoned || !d->breaker.failures || sb_breaker_allows(&d->breaker, sb_dispatch_now(d)); /* the clock costs a call */
}

bool sb_dispatch_idling(const struct sb_dispatch *d)
{
	uint64_t fresh = sb_dispatch_at_max_retrying(d) ? 0 : d->n_fresh;

	return sb_dispatch_open(d) && d->in_flight + d->n_again + fresh < d->policy.concurrency;
}

static struct sb_delivery *next_turn(struct sb_dispatch *d)
{
	struct sb_delivery *again = first_of(&d->again);
	struct sb_delivery *fresh = sb_dispatch_at_max_retrying(d) ? NULL : first_of(&d->fresh);

	if (again && (!fresh || d->again_next)) {
		d->again_next = false;
		return again;
	}
	d->again_next = true;
	return fresh;
}

static void begin(struct sb_dispatch *d, struct sb_delivery *dl)
{
	uint64_t now = sb_dispatch_now(d), wall = sb_dispatch_wall(d), timeout = d->policy.timeout_ms;
	struct sb_batch *b;

	dl->state = SB_DL_INFLIGHT;
	dl->begun = true;
	dl->started_ns = now;
	dl->last_attempt_ms = wall;
	d->in_flight++;
	d->target->outstanding++;
	sb_breaker_begin(&d->breaker, dl);
	b = sb_delivery_pack(dl, timeout ? now + timeout * SB_NS_PER_MS : 0, timeout ? wall + timeout : 0);
	sb_dispatch_recharge(d, dl);
	d->target->ops->send(d->target, b);
}

static bool has_turn(const struct sb_dispatch *d)
{
	return sb_dispatch_open(d) && (d->abandoned || d->in_flight < d->policy.concurrency);
}

static void turns(struct sb_dispatch *d)
{
	struct sb_delivery *dl;

	for (unsigned n = 0; has_turn(d) && (dl = next_turn(d)); n++) {
		if (n == BEGIN_MOST) {
			wish(d, sb_dispatch_now(d) + 1);
			return;
		}
		unqueue(d, dl);
		if (outlived(d, dl))
			sb_dispatch_die(d, dl);
		else
			begin(d, dl);
		bury_doomed(d);
	}
}

/*
 * Everything that changes something ends here. A target that settles inside send() comes back while we are at work: the
 * loop that is running goes on with what it left.
 */
void sb_dispatch_pump(struct sb_dispatch *d)
{
	if (d->pumping)
		return;
	d->pumping = true;
	bury_doomed(d);
	turns(d);
	d->pumping = false;
	if (!d->draining)
		sb_dispatch_read(d);
	tell_queue_age(d);
	sb_dispatch_note_busy(d);
	rearm(d);
}

void sb_dispatch_tick(struct sb_dispatch *d)
{
	d->armed_ns = UINT64_MAX;
	if (!d->draining) {
		fall_due(d);
		bury_held(d);
		bury_outlived(d);
	}
	sb_dispatch_pump(d);
}
