/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/journal/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A daemon may let segments go between our list and our reading them: then all of it is looked at again. */
#define TRIES 8

struct recount {
	struct sb_state state;
	struct sb_audit *ret;
};

static void note_damage(struct recount *c, uint64_t segment, uint64_t from, uint64_t to)
{
	struct sb_audit *a = c->ret;

	a->corrupt_records++;
	if (a->n_damage < SB_AUDIT_DAMAGE)
		a->damage[a->n_damage++] = (struct sb_audit_damage){ segment, from, to };
}

static int count_frame(struct recount *c, const struct sb_segment_reader *seg, const struct sb_frame_at *f, struct sb_err *err)
{
	if ((f->type < SB_REC_GROUP || f->type > SB_REC_LAST) && !(f->flags & SB_FRAME_IGNORABLE))
		return sb_fail(err, SB_E_VERSION, "segment %" PRIu64 " has a record of type %d, which this program does not know",
			seg->header.number, (int)f->type);
	if (sb_state_apply(&c->state, f->type, f->seq, f->payload, c->ret->why_not) < 0)
		note_damage(c, seg->header.number, f->offset, f->offset + f->size);
	return 0;
}

static void count_header(struct recount *c, const struct sb_segment_reader *seg)
{
	for (unsigned i = 0; i < SB_SEGMENT_COPIES; i++)
		if (seg->damaged_copies >> i & 1)
			note_damage(c, seg->header.number, (uint64_t)i * SB_SEGMENT_BLOCK, (uint64_t)(i + 1) * SB_SEGMENT_BLOCK);
}

/* The next segment's header says where this one ends; without that its last whole group does. */
static uint64_t end_of(struct recount *c, struct sb_segment_reader *seg, const struct sb_segment_header *next)
{
	uint64_t end, torn;

	if (next && next->number == seg->header.number + 1)
		return next->prev_end;
	end = sb_segment_find_end(seg, &torn);
	c->ret->torn_bytes += torn;
	seg->offset = SB_SEGMENT_HEADER;
	sb_buf_clear(&seg->window);
	return end;
}

/* `next`: the header of the segment after it, NULL: there is none. */
static int count_segment(struct recount *c, struct sb_segment_reader *seg, const struct sb_segment_header *next,
	struct sb_err *err)
{
	uint64_t end = end_of(c, seg, next);
	struct sb_frame_at f;

	count_header(c, seg);
	sb_state_add_segment(&c->state, seg->header.number, seg->header.first_dno);
	while (seg->offset < end && !seg->failed) {
		uint64_t from = seg->offset;

		if (sb_segment_next(seg, end, &f) == 1) {
			if (count_frame(c, seg, &f, err) < 0)
				return -1;
		} else if (!seg->failed) {
			sb_segment_resync(seg, end, (enum sb_record_type)0);
			note_damage(c, seg->header.number, from, seg->offset);
		}
	}
	return sb_segment_check(seg, err);
}

struct walk {
	struct sb_vfs *vfs;
	const char *dir;
	struct sb_segment_reader cur;
	bool have;
	uint64_t last; /* number */
};

/* 1: on with it; 0: nothing of it can be read; -1: error. */
static int enter(struct recount *c, struct walk *w, uint64_t number, struct sb_segment_reader *ret, struct sb_err *err)
{
	if (w->last && number > w->last + 1)
		c->ret->missing_segments += number - w->last - 1;
	w->last = number;
	if (sb_segment_open(w->vfs, w->dir, number, ret, err) == 0)
		return 1;
	if (err->code == SB_E_MISSING && !w->have) /* the daemon let it go meanwhile */
		return 0;
	if (err->code != SB_E_CORRUPT)
		return -1;
	note_damage(c, number, 0, 0);
	return 0;
}

static int recount_list(struct recount *c, struct walk *w, const uint64_t *number, size_t n, struct sb_err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct sb_segment_reader next;
		int r = enter(c, w, number[i], &next, err);

		if (r < 0)
			return -1;
		if (r == 0)
			continue;
		if (w->have) {
			r = count_segment(c, &w->cur, &next.header, err);
			sb_segment_close(&w->cur);
		}
		w->cur = next;
		w->have = true;
		if (r < 0)
			return -1;
	}
	return w->have ? count_segment(c, &w->cur, NULL, err) : 0;
}

static int recount_files(struct recount *c, struct sb_vfs *vfs, const char *dir, struct sb_err *err)
{
	struct walk w = { .vfs = vfs, .dir = dir };
	uint64_t *number;
	size_t n;
	int r;

	if (sb_segment_list(vfs, dir, &number, &n, err) < 0)
		return -1;
	r = recount_list(c, &w, number, n, err);
	free(number);
	if (w.have)
		sb_segment_close(&w.cur);
	return r;
}

static void sum_up(struct recount *c)
{
	struct sb_audit *a = c->ret;

	a->n = c->state.n_routes;
	a->route = sb_xcalloc((a->n + 1) * sizeof(*a->route));
	a->events = c->state.events;
	a->unmatched = c->state.unmatched;
	a->double_results = c->state.double_results;
	a->unknown_results = c->state.unknown_results;
	for (size_t i = 0; i < a->n; i++) {
		const struct sb_route *r = &c->state.route[i];

		a->route[i] = (struct sb_route_count){ r->source, r->rule, r->target, r->accepted, r->delivered, r->dead };
		if (!r->target[0])
			continue;
		a->accepted += r->accepted;
		a->delivered += r->delivered;
		a->dead += r->dead;
		a->in_flight += r->accepted - r->delivered - r->dead;
	}
	if (!a->why_not[0] && a->double_results)
		snprintf(a->why_not, sizeof(a->why_not), "%llu outcomes were recorded twice", (unsigned long long)a->double_results);
	if (!a->why_not[0] && a->unknown_results)
		snprintf(a->why_not, sizeof(a->why_not), "%llu outcomes belong to no delivery", (unsigned long long)a->unknown_results);
	if (!a->why_not[0] && a->in_flight != c->state.open)
		snprintf(a->why_not, sizeof(a->why_not), "%llu deliveries are in flight by count, %llu by mark",
			(unsigned long long)a->in_flight, (unsigned long long)c->state.open);
	a->adds_up = !a->why_not[0];
}

int sb_journal_audit(struct sb_vfs *vfs, const char *dir, struct sb_audit *ret, struct sb_err *err)
{
	int r = -1;

	for (unsigned tries = 0; r < 0 && tries < TRIES; tries++) {
		struct recount c = { .ret = ret };

		*ret = (struct sb_audit){ 0 };
		sb_state_init(&c.state);
		r = recount_files(&c, vfs, dir, err);
		if (r == 0)
			sum_up(&c);
		sb_state_done(&c.state);
		if (r < 0 && err->code != SB_E_MISSING)
			break;
	}
	return r;
}

void sb_audit_done(struct sb_audit *a)
{
	free(a->route);
	*a = (struct sb_audit){ 0 };
}
