/* SPDX-License-Identifier: Apache-2.0 */
#include "dispatch.h"

#include <stdlib.h>

#include "delivery.h"

/*
 * Reading the backlog, for three purposes that never wait for each other: the cursor (what was let go on arrival), the load
 * (the payload of a retry that is due), the lane (the range of a lane whose turn it is).
 *
 * Memory. The cursor reads only when a quarter of the cache is free, so that a read is worth its while; to get there it
 * lets go of payloads that wait, and, when nothing else could be sent, of what stands behind in lanes. Loads and lanes may
 * pass the limit, by one piece each, when else nothing would move: a lane's own deliveries must not be kept out by others'.
 */

#define REST_NS (10 * SB_NS_PER_MS)

/* A delivery costs this many times what the journal spends on a small one; a bound on bytes read keeps room for it. */
#define COST_FACTOR 4

static void on_read(struct sb_mail *m)
{
	struct sb_reader *rd = SB_CONTAINER(m, struct sb_reader, r.mail);
	struct sb_dispatch *d = rd->d;

	rd->out = false;
	if (d) {
		rd->done(d, &rd->r);
		sb_dispatch_pump(d);
		return;
	}
	for (unsigned i = 0; i < rd->r.n; i++)
		sb_backlog_item_drop(&rd->r.item[i]);
	free(rd);
}

/* The reader of a purpose, cleared for a new read; its last one has come back. */
static struct sb_journal_read *prepare(
	struct sb_dispatch *d, struct sb_reader **rd, void (*done)(struct sb_dispatch *d, struct sb_journal_read *r))
{
	struct sb_journal_read *r;

	if (!*rd) {
		*rd = sb_xcalloc(sizeof(**rd));
		(*rd)->d = d;
		(*rd)->done = done;
	}
	SB_ASSERT(!(*rd)->out);
	(*rd)->out = true;
	r = &(*rd)->r;
	r->mail.run = on_read;
	r->home = d->env.home;
	r->target = d->target->name;
	r->min_dno = r->until_dno = r->only_dno = r->horizon = r->damaged = 0;
	r->lane = 0;
	r->n = 0;
	r->end = false;
	return r;
}

void sb_dispatch_readers_free(struct sb_dispatch *d)
{
	struct sb_reader *const all[] = { d->cursor, d->load, d->lane_read };

	for (size_t i = 0; i < SB_LEN(all); i++) {
		if (all[i] && all[i]->out)
			all[i]->d = NULL; /* freed when its mail comes */
		else
			free(all[i]);
	}
}

/* ------------------------------------------------------------------------------------------------ recovery */

static bool recovered(const struct sb_dispatch *d, uint64_t dno)
{
	return d->rec && dno < d->rec->next_dno;
}

/*
 * How long a wait that was recorded in wall time goes on. The wall clock may have jumped meanwhile: never longer than the
 * longest wait there is, and what seems overdue is spread over the shortest, lest everything fires at once.
 */
static uint64_t rest_ms(struct sb_dispatch *d, uint64_t due_wall_ms)
{
	uint64_t wall = sb_dispatch_wall(d);
	const struct sb_retry_policy *p = &d->policy.retry;

	if (due_wall_ms > wall)
		return SB_MIN(due_wall_ms - wall, p->cap_ms);
	return sb_retry_delay_ms(p, 0, 0, sb_rand_u32(d->env.rand));
}

static void restore(struct sb_dispatch *d, struct sb_delivery *dl)
{
	const struct sb_recovered_attempt *a = NULL;

	if (recovered(d, dl->handover.dno))
		a = sb_recovery_attempt(d->rec, dl->handover.dno);
	if (!a)
		return;
	dl->attempts = a->attempts;
	dl->begun = true;
	dl->first_attempt_ms = a->first_wall_ms;
	dl->alone = dl->alone || a->alone;
	dl->reason = (enum sb_reason)a->reason;
	if (a->message)
		sb_delivery_say(dl, sb_slice_str(a->message));
	dl->due.key = sb_dispatch_now(d) + rest_ms(d, a->due_wall_ms) * SB_NS_PER_MS;
	sb_delivery_recharge(dl);
}

/* NULL: it was finished before the restart. */
static struct sb_delivery *from_item(struct sb_dispatch *d, struct sb_backlog_item *it)
{
	struct sb_delivery *dl;

	if (recovered(d, it->dno) && sb_recovery_done(d->rec, it->dno)) {
		sb_backlog_item_drop(it);
		return NULL;
	}
	dl = sb_delivery_from_item(d, it);
	restore(d, dl);
	return dl;
}

/* Everything below was looked at. What was read is certain; the horizon tells of what was skipped. */
static uint64_t horizon_of(const struct sb_journal_read *r)
{
	return r->n ? SB_MAX(r->horizon, r->item[r->n - 1].dno + 1) : r->horizon;
}

/* The disk did not answer, or what was let go is not to be seen yet. */
static void rest_if_idle(struct sb_dispatch *d, const struct sb_journal_read *r, uint64_t horizon)
{
	if (r->n == 0 && horizon <= r->min_dno)
		d->rest_until_ns = sb_dispatch_now(d) + REST_NS;
}

/* ------------------------------------------------------------------------------------------------ cursor */

void sb_dispatch_turn_to_backlog(struct sb_dispatch *d, struct sb_position from)
{
	d->backlog = true;
	d->from = from;
}

/* Whoever put it into the journal while it was under way brings it its number (sb_dispatch_number). */
static bool begun_before(const struct sb_dispatch *d, const struct sb_backlog_item *it)
{
	return (it->flags & SB_OWED_BEGUN) && !recovered(d, it->dno);
}

static struct sb_delivery *from_cursor(struct sb_dispatch *d, struct sb_backlog_item *it)
{
	if (!begun_before(d, it))
		return from_item(d, it);
	sb_backlog_item_drop(it);
	return NULL;
}

static void cursor_done(struct sb_dispatch *d, struct sb_journal_read *r)
{
	uint64_t horizon = SB_MAX(d->taken, horizon_of(r));

	rest_if_idle(d, r, horizon);
	d->oldest_ms = 0;
	for (unsigned i = 0; i < r->n; i++) {
		struct sb_delivery *dl = from_cursor(d, &r->item[i]);

		if (!dl)
			continue;
		SB_ASSERT(dl->handover.dno >= d->taken); /* or it would be delivered twice */
		d->taken = dl->handover.dno + 1;
		sb_dispatch_counted(d, dl->handover.dno, dl->bytes);
		sb_dispatch_take(d, dl);
	}
	d->taken = horizon;
	d->from = r->from;
	if (r->end && d->taken > d->released)
		d->backlog = false;
	sb_dispatch_resync(d);
}

static void read_cursor(struct sb_dispatch *d)
{
	uint64_t piece = d->policy.cache_bytes / 4;
	struct sb_journal_read *r;

	if (!d->backlog || (d->cursor && d->cursor->out))
		return;
	if (d->ages.n && !sb_dispatch_make_room(d, piece, sb_dispatch_idling(d)))
		return;
	r = prepare(d, &d->cursor, cursor_done);
	r->from = d->from;
	r->min_dno = d->taken;
	r->max_bytes = piece / COST_FACTOR + 1;
	d->env.read(d->env.arg, r);
}

/* ------------------------------------------------------------------------------------------------ load */

/* Its record cannot be read any more, which the journal has counted and reported; there is nothing left to deliver. */
static void give_up(struct sb_dispatch *d, struct sb_delivery *dl)
{
	d->stats.unreadable++;
	sb_dispatch_forget(d, dl);
}

static void load_done(struct sb_dispatch *d, struct sb_journal_read *r)
{
	struct sb_delivery *dl = d->load_for;

	d->load_for = NULL;
	sb_list_unlink(&dl->link);
	d->n_loading--;
	if (r->n) {
		sb_delivery_load(dl, &r->item[0]);
		sb_dispatch_recharge(d, dl);
		sb_dispatch_ready(d, dl);
	} else if (r->damaged) {
		give_up(d, dl);
	} else { /* the disk did not answer */
		sb_dispatch_wait(d, dl, sb_dispatch_now(d) + SB_NS_PER_S);
	}
}

static void read_load(struct sb_dispatch *d)
{
	struct sb_delivery *dl;
	struct sb_journal_read *r;

	if (!d->n_loading || d->load_for || !sb_dispatch_open(d))
		return;
	dl = SB_CONTAINER(d->loading.next, struct sb_delivery, link);
	if (!sb_dispatch_make_room(d, dl->bytes, false) && !sb_dispatch_idling(d))
		return;
	r = prepare(d, &d->load, load_done);
	r->from = dl->handover.at;
	r->only_dno = dl->handover.dno;
	r->max_bytes = 1;
	d->load_for = dl;
	d->env.read(d->env.arg, r);
}

/* ------------------------------------------------------------------------------------------------ lane */

static void lane_done(struct sb_dispatch *d, struct sb_journal_read *r)
{
	struct sb_lane *l = d->lane_for;
	struct sb_delivery *head;

	d->lane_for = NULL;
	rest_if_idle(d, r, r->horizon);
	for (unsigned i = 0; i < r->n; i++) {
		struct sb_delivery *dl = from_item(d, &r->item[i]);

		if (!dl)
			continue;
		SB_ASSERT(dl->handover.dno >= l->min_dno && dl->handover.dno <= l->last_dno);
		sb_dispatch_enter(d, dl);
		sb_lanes_feed(&d->lanes, l, dl);
	}
	head = sb_lanes_fed(&d->lanes, l, r->from, horizon_of(r));
	if (head)
		sb_dispatch_ready(d, head);
	sb_dispatch_resync(d);
}

static void read_lane(struct sb_dispatch *d)
{
	uint64_t piece = d->policy.cache_bytes / 16;
	struct sb_lane *l = sb_lanes_hungry(&d->lanes);
	struct sb_journal_read *r;

	if (!l || d->lane_for)
		return;
	if (!sb_dispatch_make_room(d, piece, false)) {
		if (!sb_dispatch_idling(d))
			return;
		piece = 0; /* one delivery, to keep the target busy */
	}
	r = prepare(d, &d->lane_read, lane_done);
	r->from = l->from;
	r->min_dno = l->min_dno;
	r->until_dno = l->last_dno + 1;
	r->lane = l->id;
	r->max_bytes = piece / COST_FACTOR + 1;
	d->lane_for = l;
	d->env.read(d->env.arg, r);
}

void sb_dispatch_read(struct sb_dispatch *d)
{
	read_load(d);
	if (d->rest_until_ns && sb_dispatch_now(d) < d->rest_until_ns)
		return;
	d->rest_until_ns = 0;
	read_cursor(d);
	read_lane(d);
}
