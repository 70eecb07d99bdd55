/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/journal/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct recount {
	struct sb_state state;
	struct sb_audit *ret;
};

static void count_frame(struct recount *c, const struct sb_frame_at *f)
{
	if (sb_state_apply(&c->state, f->type, f->seq, f->payload, c->ret->why_not) < 0)
		c->ret->corrupt_records++;
}

/* The newest segment may be growing: its last group counts only when it is there to its end. */
static uint64_t whole_groups_end(struct sb_segment_reader *seg)
{
	uint64_t end = seg->offset, group_end = 0;
	struct sb_frame_at f;

	while (sb_segment_next(seg, UINT64_MAX, &f) == 1) {
		if (f.type == SB_REC_GROUP) {
			struct sb_cursor c = sb_cursor_of(f.payload);

			sb_get_u64(&c);
			sb_get_u64(&c);
			group_end = f.offset + f.size + sb_get_u64(&c);
		}
		if (seg->offset >= group_end)
			end = seg->offset;
	}
	return end;
}

/* `next`: the header of the segment after it, NULL: there is none. */
static int count_segment(struct recount *c, struct sb_segment_reader *seg, const struct sb_segment_header *next,
	struct sb_err *err)
{
	uint64_t end = next ? next->prev_end : 0;
	struct sb_frame_at f;

	if (!next || next->number != seg->header.number + 1) {
		end = whole_groups_end(seg);
		seg->offset = SB_SEGMENT_HEADER;
		sb_buf_clear(&seg->window);
	}
	sb_state_add_segment(&c->state, seg->header.number, seg->header.first_dno);
	while (seg->offset < end) {
		if (sb_segment_next(seg, end, &f) == 1) {
			count_frame(c, &f);
			continue;
		}
		if (seg->failed)
			break;
		c->ret->corrupt_records++;
		if (!sb_segment_resync(seg, end, (enum sb_record_type)0))
			break;
	}
	return sb_segment_check(seg, err);
}

static int recount_files(struct recount *c, struct sb_vfs *vfs, const char *dir, struct sb_err *err)
{
	struct sb_segment_reader cur, next;
	uint64_t *number;
	bool have = false;
	int bad = 0;
	size_t n;

	if (sb_segment_list(vfs, dir, &number, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n && !bad; i++) {
		if (sb_segment_open(vfs, dir, number[i], &next, err) < 0) {
			bad = err->code == SB_E_MISSING && !have ? 0 : -1; /* the daemon let it go meanwhile */
			continue;
		}
		if (have) {
			bad = count_segment(c, &cur, &next.header, err);
			sb_segment_close(&cur);
		}
		cur = next;
		have = true;
	}
	free(number);
	if (have && !bad)
		bad = count_segment(c, &cur, NULL, err);
	if (have)
		sb_segment_close(&cur);
	return bad;
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
	struct recount c = { .ret = ret };
	int r;

	*ret = (struct sb_audit){ 0 };
	sb_state_init(&c.state);
	r = recount_files(&c, vfs, dir, err);
	if (r == 0)
		sum_up(&c);
	sb_state_done(&c.state);
	return r;
}

void sb_audit_done(struct sb_audit *a)
{
	free(a->route);
	*a = (struct sb_audit){ 0 };
}
