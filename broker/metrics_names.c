/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/metrics_names.h"

#include <stdlib.h>

static unsigned width_of(const struct sb_names *n)
{
	return n->shape->counters + (n->shape->durations ? SB_DURATION_BUCKETS : 0);
}

static uint64_t *counter_of(const struct sb_names *n, struct sb_packed *p, unsigned i)
{
	return i < n->shape->counters ? &p->n[i] : &p->duration[i - n->shape->counters];
}

void sb_names_init(struct sb_names *n, enum sb_part part)
{
	*n = (struct sb_names){ .shape = &sb_part_shapes[part] };
	n->other.word[0] = n->other.word[1] = "-";
}

void sb_names_done(struct sb_names *n)
{
	sb_map_each (&n->map, it) {
		struct sb_name *e = it->value;

		free(e->name);
		free(e);
	}
	sb_map_done(&n->map);
}

static void take_name(struct sb_names *n, struct sb_name *e)
{
	e->named = false;
	n->n_named--;
	memset(e->told, 0, width_of(n) * sizeof(*e->told));
}

bool sb_names_turn(struct sb_names *n, uint64_t now_ms, uint64_t keep_ms)
{
	bool any = false;

	n->turn++;
	n->now_ms = now_ms;
	for (unsigned i = n->shape->counters; i < n->shape->numbers; i++)
		n->other.n[i] = 0;
	sb_map_each (&n->map, it) {
		struct sb_name *e = it->value;

		if (!e->named || e->met_ms + keep_ms >= now_ms)
			continue;
		take_name(n, e);
		any = true;
	}
	return any;
}

void sb_names_meet(struct sb_names *n, const char *name)
{
	struct sb_name *e = sb_map_get(&n->map, sb_slice_str(name));

	if (!e) {
		e = sb_xcalloc(sizeof(*e) + 2 * width_of(n) * sizeof(uint64_t));
		e->name = sb_xstrdup(name);
		e->told = e->seen + width_of(n);
		sb_map_put(&n->map, sb_slice_str(e->name), e);
	}
	if (!e->named && n->n_named < n->shape->max) {
		e->named = true;
		n->n_named++;
	}
	n->others |= !e->named;
	e->turn = n->turn;
	e->met_ms = n->now_ms;
}

bool sb_names_tell(struct sb_names *n, const char *name, struct sb_packed *p)
{
	struct sb_name *e = sb_map_get(&n->map, sb_slice_str(name));
	struct sb_packed more = *p;

	for (unsigned i = 0; i < width_of(n); i++) {
		uint64_t *since = counter_of(n, &more, i);

		*since = sb_less(*since, e->seen[i]);
		e->seen[i] += *since;
		e->told[i] += e->named ? *since : 0;
		*counter_of(n, p, i) = e->told[i];
	}
	if (!e->named)
		sb_packed_merge((enum sb_part)(n->shape - sb_part_shapes), &n->other, &more);
	return e->named;
}

bool sb_names_gone(const struct sb_names *n, const struct sb_name *e, struct sb_packed *ret)
{
	if (!e->named || e->turn == n->turn)
		return false;
	*ret = (struct sb_packed){ .word = { "-", "-" } };
	for (unsigned i = 0; i < width_of(n); i++)
		*counter_of(n, ret, i) = e->told[i];
	return true;
}
