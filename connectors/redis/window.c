/* SPDX-License-Identifier: Apache-2.0 */
#include "window.h"

#include <stdlib.h>

void rds_window_init(struct rds_window *w, size_t cap, uint64_t max_bytes)
{
	*w = (struct rds_window){ .cap = cap, .max_bytes = max_bytes };
	w->entry = sb_xcalloc(cap * sizeof(*w->entry));
	sb_list_init(&w->free);
	sb_list_init(&w->again);
	sb_list_init(&w->handed);
	sb_list_init(&w->settled);
	sb_list_init(&w->acking);
	sb_list_init(&w->unsure);
	for (size_t i = 0; i < cap; i++)
		sb_list_push_back(&w->free, &w->entry[i].link);
}

void rds_window_done(struct rds_window *w)
{
	for (size_t i = 0; i < w->cap && w->entry; i++)
		if (w->entry[i].state != RDS_FREE)
			rds_window_drop(w, &w->entry[i]);
	sb_map_done(&w->by_id);
	free(w->entry);
	w->entry = NULL;
}

static struct sb_slice key_of(const struct rds_id *id)
{
	return sb_slice((const char *)id, sizeof(*id));
}

struct rds_entry *rds_window_find(const struct rds_window *w, struct rds_id id)
{
	return sb_map_get(&w->by_id, key_of(&id));
}

static struct sb_link *list_of(struct rds_window *w, enum rds_entry_state s)
{
	switch (s) {
	case RDS_FREE:    return &w->free;
	case RDS_AGAIN:   return &w->again;
	case RDS_HANDED:  return &w->handed;
	case RDS_SETTLED: return &w->settled;
	case RDS_ACKING:  return &w->acking;
	case RDS_UNSURE:  return &w->unsure;
	}
	abort();
}

void rds_window_move(struct rds_window *w, struct rds_entry *e, enum rds_entry_state to)
{
	e->state = to;
	sb_list_unlink(&e->link);
	sb_list_push_back(list_of(w, to), &e->link);
	w->moved += to == RDS_SETTLED;
}

struct rds_entry *rds_window_take(struct rds_window *w, struct rds_id id)
{
	struct rds_entry *e;

	if (sb_list_empty(&w->free))
		return NULL;
	e = SB_CONTAINER(w->free.next, struct rds_entry, link);
	e->id = id;
	e->serial++;
	w->n++;
	sb_map_put(&w->by_id, key_of(&e->id), e);
	rds_window_move(w, e, RDS_AGAIN);
	return e;
}

void rds_window_weigh(struct rds_window *w, struct rds_entry *e, size_t bytes)
{
	w->bytes += bytes - e->bytes;
	e->bytes = (uint32_t)bytes;
}

void rds_window_lighten(struct rds_window *w, struct rds_entry *e)
{
	sb_event_unref(e->ev);
	sb_pool_free(e->raw);
	e->ev = NULL;
	e->raw = NULL;
	rds_window_weigh(w, e, e->held_n);
}

void rds_window_drop(struct rds_window *w, struct rds_entry *e)
{
	sb_pool_free(e->held);
	e->held = NULL;
	e->held_n = 0;
	e->tried = false;
	rds_window_lighten(w, e);
	sb_map_del(&w->by_id, key_of(&e->id));
	w->n--;
	rds_window_move(w, e, RDS_FREE);
}

size_t rds_window_room(const struct rds_window *w, size_t each)
{
	if (w->bytes >= w->max_bytes)
		return 0;
	return SB_MIN(w->cap - w->n, (w->max_bytes - w->bytes) / SB_MAX(each, 64) + 1);
}

bool rds_window_lowest(const struct rds_window *w, struct rds_id *ret)
{
	bool any = false;

	for (size_t i = 0; i < w->cap; i++) {
		const struct rds_entry *e = &w->entry[i];

		if (e->state == RDS_FREE || (any && rds_id_cmp(e->id, *ret) >= 0))
			continue;
		*ret = e->id;
		any = true;
	}
	return any;
}

size_t rds_window_place(const struct rds_window *w, const struct rds_entry *e)
{
	return (size_t)(e - w->entry);
}

struct rds_entry *rds_window_at(struct rds_window *w, size_t place, uint32_t serial)
{
	struct rds_entry *e = place < w->cap ? &w->entry[place] : NULL;

	return e && e->state != RDS_FREE && e->serial == serial ? e : NULL;
}
