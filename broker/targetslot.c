/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target's slot on its home shard, and the units that come and go in it:
 *
 *   first open ──> unit <──use_next── next (opened beside it; dropped when the reload fails after all)
 *                   │
 *                   ├── another takes its place ──┐
 *                   └── removed, owes nothing ────┴──> leaving ──idle, or out of patience──> close ──closed──> freed
 *
 * The queue is the slot's: what waits is not touched by any of this, what is in flight comes back through its unit.
 */
#include "broker/targetslot.h"

#include <stdlib.h>

#include "broker/base/fault.h"
#include "broker/config.h"

/* ------------------------------------------------------------------------------------------------ units */

static void target_closed(struct sb_target *t)
{
	SB_CONTAINER(t, struct sb_target_unit, target)->closed = true;
}

static void target_reachable(struct sb_target *t)
{
	struct sb_target_slot *slot = t->owner;

	sb_dispatch_reachable(slot->dispatch, t);
}

struct sb_target_unit *sb_target_unit_new(struct sb_target_slot *slot, const struct sb_config *config, const struct sb_target_conf *c)
{
	struct sb_target_unit *u = sb_xcalloc(sizeof(*u));

	u->slot = slot;
	u->connector = c->connector;
	u->config = sb_config_ref(config);
	sb_list_init(&u->link);
	u->target = (struct sb_target){
		.name = slot->name,
		.ops = c->connector->target,
		.state = sb_xcalloc(c->connector->target->state_size),
		.conf = c->conf,
		.env = &slot->env,
		.concurrency = c->policy.concurrency,
		.timeout_ms = c->policy.timeout_ms,
		.closed = target_closed,
		.reachable = target_reachable,
		.owner = slot,
	};
	return u;
}

static void unit_free(struct sb_target_unit *u)
{
	if (!u)
		return;
	sb_list_unlink(&u->link);
	if (u->tried && u->target.ops->free)
		u->target.ops->free(&u->target);
	free(u->target.state);
	sb_config_unref(u->config);
	free(u);
}

static int unit_open(struct sb_target_unit *u, struct sb_err *err)
{
	u->tried = true;
	if (SB_FAULT_ERR("target.open") ? sb_fail(err, SB_E_UNREACHABLE, "injected") : u->target.ops->open(&u->target, err) < 0) {
		sb_wrap(err, "target '%s'", u->slot->name);
		return -1;
	}
	u->opened = true;
	return 0;
}

static void unit_close(struct sb_target_unit *u)
{
	if (u->closing)
		return;
	u->closing = true;
	if (u->opened)
		u->target.ops->close(&u->target);
	else
		u->closed = true;
}

static void unit_leave(struct sb_target_unit *u, uint64_t patience_ms)
{
	u->leave_by_ns = sb_mono_ns(u->slot->core->clock) + patience_ms * SB_NS_PER_MS;
	sb_list_push_back(&u->slot->home->leaving, &u->link);
}

/* ------------------------------------------------------------------------------------------------ slots */

void sb_target_repause(struct sb_target_slot *slot)
{
	bool waits = !slot->abandoned && (!slot->unit || atomic_load(&slot->paused));

	sb_dispatch_pause(slot->dispatch, slot->home->state_held || waits);
}

/*
 * The dispatch exists from the moment the slot does, so that any shard can make deliveries for it; opening the connector
 * is its home shard's work.
 */
void sb_target_prepare(struct sb_target_slot *slot)
{
	struct sb_dispatch_env env;

	sb_list_init(&slot->home_link);
	slot->env = slot->home->env;
	slot->absent.name = slot->name;
	sb_target_env(slot, &env);
	slot->dispatch = sb_dispatch_new(&env, slot->unit ? &slot->unit->target : &slot->absent, &slot->policy);
}

/* Not before the policy is known: what is read from the journal goes into lanes, or not. */
static void recover_once(struct sb_target_slot *slot)
{
	if (slot->recovered)
		return;
	slot->recovered = true;
	sb_dispatch_recover(slot->dispatch, sb_journal_recovery(slot->core->journal));
}

/* Removed ones that have a unit still: while there are any, each turn asks whether they may let it go. */
static unsigned lingers(const struct sb_target_slot *slot)
{
	return slot->removed && slot->unit;
}

static void set_removed(struct sb_target_slot *slot, bool removed)
{
	slot->home->n_lingering -= lingers(slot);
	slot->removed = removed;
	slot->home->n_lingering += lingers(slot);
}

static void set_unit(struct sb_target_slot *slot, struct sb_target_unit *u)
{
	slot->home->n_lingering -= lingers(slot);
	slot->unit = u;
	slot->home->n_lingering += lingers(slot);
}

static void no_unit(struct sb_target_slot *slot)
{
	set_unit(slot, NULL);
	sb_target_repause(slot);
	sb_dispatch_set_target(slot->dispatch, &slot->absent);
}

static void take_in(struct sb_shard *s, struct sb_target_slot *slot)
{
	SB_ASSERT(slot->home == s && !slot->known);
	slot->known = true;
	slot->env = s->env;
	sb_list_push_back(&s->slots, &slot->home_link);
}

static void drop_unit(struct sb_target_slot *slot)
{
	struct sb_target_unit *u = slot->unit;

	set_removed(slot, true);
	no_unit(slot);
	unit_free(u);
}

int sb_shard_open_target(struct sb_shard *s, struct sb_target_slot *slot, struct sb_err *err)
{
	struct sb_target_unit *u = slot->unit;

	take_in(s, slot);
	if (u)
		recover_once(slot);
	sb_target_repause(slot);
	if (!u || unit_open(u, err) == 0)
		return 0;
	drop_unit(slot);
	return -1;
}

void sb_shard_forgo_target(struct sb_shard *s, struct sb_target_slot *slot)
{
	take_in(s, slot);
	drop_unit(slot);
}

void sb_shard_recover_target(struct sb_target_slot *slot)
{
	recover_once(slot);
}

int sb_shard_open_next(struct sb_target_slot *slot, struct sb_target_unit *u, struct sb_err *err)
{
	SB_ASSERT(!slot->next);
	if (unit_open(u, err) < 0) {
		unit_free(u);
		return -1;
	}
	slot->next = u;
	return 0;
}

static void detach(struct sb_target_slot *slot, uint64_t patience_ms)
{
	struct sb_target_unit *old = slot->unit;

	if (!old)
		return;
	no_unit(slot);
	unit_leave(old, patience_ms);
}

void sb_shard_use_next(struct sb_target_slot *slot, uint64_t patience_ms)
{
	struct sb_target_unit *old = slot->unit;

	set_removed(slot, false);
	set_unit(slot, slot->next);
	slot->next = NULL;
	slot->abandoned = false;
	recover_once(slot);
	sb_dispatch_pause(slot->dispatch, true);
	sb_dispatch_set_target(slot->dispatch, &slot->unit->target);
	sb_target_repause(slot);
	if (old)
		unit_leave(old, patience_ms);
}

void sb_shard_drop_next(struct sb_target_slot *slot)
{
	if (slot->next)
		unit_leave(slot->next, 0);
	slot->next = NULL;
}

void sb_shard_remove_target(struct sb_target_slot *slot)
{
	set_removed(slot, true);
}

void sb_shard_abandon_target(struct sb_target_slot *slot, uint64_t patience_ms)
{
	set_removed(slot, true);
	detach(slot, patience_ms);
	recover_once(slot);
	slot->abandoned = true;
	sb_dispatch_abandon(slot->dispatch);
	sb_target_repause(slot);
}

uint64_t sb_target_owed(const struct sb_target_slot *slot, struct sb_dispatch_stats *ret)
{
	const struct sb_recovered_target *t;

	sb_dispatch_get_stats(slot->dispatch, ret);
	if (!slot->recovered) {
		t = sb_map_get(&sb_journal_recovery(slot->core->journal)->targets, sb_slice_str(slot->name));
		if (t) {
			ret->queued += t->n;
			ret->queued_bytes += t->bytes;
			ret->oldest_ms = t->oldest_ms;
		}
	}
	return ret->in_flight + ret->queued + ret->retrying + ret->held;
}

/* ------------------------------------------------------------------------------------------------ leaving */

static void leave_step(struct sb_target_unit *u, uint64_t now_ns)
{
	if (u->target.outstanding == 0 || now_ns >= u->leave_by_ns)
		unit_close(u);
	if (u->closed)
		unit_free(u);
}

void sb_targets_turn(struct sb_shard *s)
{
	struct sb_link *l, *next;

	for (l = s->leaving.next; l != &s->leaving; l = next) {
		next = l->next;
		leave_step(SB_CONTAINER(l, struct sb_target_unit, link), sb_mono_ns(s->core->clock));
	}
	for (l = s->slots.next; s->n_lingering && l != &s->slots; l = l->next) {
		struct sb_target_slot *slot = SB_CONTAINER(l, struct sb_target_slot, home_link);

		if (slot->removed && slot->unit && sb_dispatch_owes_nothing(slot->dispatch))
			detach(slot, 0);
	}
}

uint64_t sb_targets_next_due(const struct sb_shard *s)
{
	uint64_t due = UINT64_MAX;

	for (const struct sb_link *l = s->leaving.next; l != &s->leaving; l = l->next) {
		const struct sb_target_unit *u = SB_CONTAINER(l, struct sb_target_unit, link);

		due = SB_MIN(due, u->closing ? UINT64_MAX : u->leave_by_ns);
	}
	return due;
}

void sb_shard_close_target(struct sb_shard *s, struct sb_target_slot *slot)
{
	(void)s;
	sb_dispatch_drain(slot->dispatch);
	if (slot->unit && slot->unit->opened)
		unit_close(slot->unit);
}

void sb_shard_close_leaving(struct sb_shard *s)
{
	struct sb_link *l, *next;

	for (l = s->leaving.next; l != &s->leaving; l = next) {
		next = l->next;
		unit_close(SB_CONTAINER(l, struct sb_target_unit, link));
	}
}

bool sb_target_is_closed(const struct sb_target_slot *slot)
{
	return !slot->unit || !slot->unit->opened || slot->unit->closed;
}

void sb_target_free(struct sb_target_slot *slot)
{
	if (!slot)
		return;
	sb_heap_remove(&slot->home->wishes, &slot->wish);
	sb_list_unlink(&slot->home_link);
	sb_dispatch_free(slot->dispatch);
	unit_free(slot->unit);
	free(slot);
}

void sb_targets_free_leaving(struct sb_shard *s)
{
	struct sb_link *l;

	while ((l = sb_list_pop_front(&s->leaving)))
		unit_free(SB_CONTAINER(l, struct sb_target_unit, link));
}

void sb_target_hold_all(struct sb_shard *s)
{
	for (struct sb_link *l = s->slots.next; l != &s->slots; l = l->next)
		sb_target_repause(SB_CONTAINER(l, struct sb_target_slot, home_link));
}
