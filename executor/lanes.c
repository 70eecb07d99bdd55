/* SPDX-License-Identifier: Apache-2.0 */
#include "lanes.h"

/*
 * A lane, oldest on the left:
 *
 *     head  │  fifo, in memory  │  range, in the journal only  │  the target's cursor or mail
 *
 * Whatever arrives joins at the right end of what there is: while there is a range it joins the range, else the fifo. When
 * memory is short a whole fifo goes into the range, at its left end, so that the range stays one piece: a position, a first
 * and a last number. When the fifo has run empty and the head is through, the range is read again, a piece at a time; that
 * is the only way out of it, so every delivery of a range comes back once, in order.
 */

void sb_lanes_init(struct sb_lanes *ls)
{
	*ls = (struct sb_lanes){ 0 };
	sb_list_init(&ls->stored);
	sb_list_init(&ls->hungry);
}

void sb_lanes_done(struct sb_lanes *ls)
{
	sb_map_each(&ls->by_id, it) sb_pool_free(it->value);
	sb_map_done(&ls->by_id);
}

static struct sb_slice key_of(const uint32_t *id)
{
	return sb_slice((const char *)id, sizeof(*id));
}

static struct sb_lane *lane_new(struct sb_lanes *ls, uint32_t id)
{
	struct sb_lane *l = sb_pool_alloc(sizeof(*l));

	*l = (struct sb_lane){ .id = id };
	sb_list_init(&l->fifo);
	sb_list_init(&l->link);
	sb_map_put(&ls->by_id, key_of(&l->id), l);
	return l;
}

static void lane_free(struct sb_lanes *ls, struct sb_lane *l)
{
	SB_ASSERT(!l->head && !l->ranged && !l->blocked && sb_list_empty(&l->fifo));
	sb_list_unlink(&l->link);
	sb_map_del(&ls->by_id, key_of(&l->id));
	sb_pool_free(l);
}

static void fifo_push(struct sb_lanes *ls, struct sb_lane *l, struct sb_delivery *dl)
{
	dl->state = SB_DL_LANE;
	dl->in_lane = l;
	if (sb_list_empty(&l->fifo) && l->blocked)
		sb_list_push_front(&ls->stored, &l->link);
	else if (sb_list_empty(&l->fifo))
		sb_list_push_back(&ls->stored, &l->link);
	sb_list_push_back(&l->fifo, &dl->link);
}

static struct sb_delivery *fifo_pop(struct sb_lane *l)
{
	struct sb_link *link = sb_list_pop_front(&l->fifo);

	if (sb_list_empty(&l->fifo))
		sb_list_unlink(&l->link);
	return link ? SB_CONTAINER(link, struct sb_delivery, link) : NULL;
}

static void set_ranged(struct sb_lanes *ls, struct sb_lane *l, bool on)
{
	ls->ranged += on && !l->ranged;
	ls->ranged -= !on && l->ranged;
	l->ranged = on;
}

enum sb_lane_place sb_lanes_put(struct sb_lanes *ls, struct sb_delivery *dl)
{
	struct sb_lane *l = sb_map_get(&ls->by_id, key_of(&dl->lane));

	if (!l)
		l = lane_new(ls, dl->lane);
	if (l->ranged) {
		l->last_dno = dl->handover.dno;
		return SB_LANE_RANGE;
	}
	if (l->head) {
		fifo_push(ls, l, dl);
		return SB_LANE_BEHIND;
	}
	l->head = dl;
	dl->in_lane = l;
	return SB_LANE_TURN;
}

struct sb_delivery *sb_lanes_next(struct sb_lanes *ls, struct sb_lane *l)
{
	sb_lanes_block(ls, l, false);
	l->head = fifo_pop(l);
	if (!l->head && l->ranged)
		sb_list_push_back(&ls->hungry, &l->link);
	else if (!l->head)
		lane_free(ls, l);
	else
		return l->head;
	return NULL;
}

void sb_lanes_block(struct sb_lanes *ls, struct sb_lane *l, bool on)
{
	ls->blocked += on && !l->blocked;
	ls->blocked -= !on && l->blocked;
	l->blocked = on;
	if (on && !sb_list_empty(&l->fifo)) {
		sb_list_unlink(&l->link);
		sb_list_push_front(&ls->stored, &l->link);
	}
}

struct sb_lane *sb_lanes_stored(struct sb_lanes *ls)
{
	return sb_list_empty(&ls->stored) ? NULL : SB_CONTAINER(ls->stored.next, struct sb_lane, link);
}

void sb_lanes_store_away(struct sb_lanes *ls, struct sb_lane *l)
{
	const struct sb_delivery *first = SB_CONTAINER(l->fifo.next, struct sb_delivery, link);
	const struct sb_delivery *last = SB_CONTAINER(l->fifo.prev, struct sb_delivery, link);

	l->from = first->handover.at;
	l->min_dno = first->handover.dno;
	if (!l->ranged)
		l->last_dno = last->handover.dno;
	set_ranged(ls, l, true);
	sb_list_unlink(&l->link);
}

struct sb_lane *sb_lanes_hungry(struct sb_lanes *ls)
{
	return sb_list_empty(&ls->hungry) ? NULL : SB_CONTAINER(ls->hungry.next, struct sb_lane, link);
}

void sb_lanes_feed(struct sb_lanes *ls, struct sb_lane *l, struct sb_delivery *dl)
{
	dl->in_lane = l;
	if (l->head) {
		fifo_push(ls, l, dl);
	} else {
		sb_list_unlink(&l->link); /* no longer hungry */
		l->head = dl;
	}
}

struct sb_delivery *sb_lanes_fed(struct sb_lanes *ls, struct sb_lane *l, struct sb_position from, uint64_t horizon)
{
	l->from = from;
	l->min_dno = SB_MAX(l->min_dno, horizon);
	if (l->min_dno > l->last_dno)
		set_ranged(ls, l, false);
	if (l->head)
		return l->head;
	sb_list_unlink(&l->link);
	if (l->ranged)
		sb_list_push_back(&ls->hungry, &l->link); /* others first */
	else
		lane_free(ls, l);
	return NULL;
}
