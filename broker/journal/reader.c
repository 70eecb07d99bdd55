/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backlog reads: from a position on, the outstanding deliveries of one target, up to what was durable when the read began.
 * The writer is never waited for: it publishes where the durable part ends, and everything before that place is immutable.
 * A read that has looked at a few MiB goes behind the others that wait, so that a target with one delivery far away does not keep
 * them.
 */
#include "broker/journal/impl.h"

#include <string.h>

struct limits {
	struct sb_position durable;
	uint64_t next_dno, oldest;
};

static struct limits limits_now(struct sb_journal *j)
{
	struct limits l;

	pthread_mutex_lock(&j->lock);
	l = (struct limits){ j->shared.durable, j->shared.next_dno, j->shared.oldest_segment };
	pthread_mutex_unlock(&j->lock);
	return l;
}

void sb_reader_close(struct sb_journal *j)
{
	if (j->r.open)
		sb_segment_close(&j->r.segment);
	j->r.open = false;
}

/*
 * The segment's reader, at the read's offset. The newest segment grows: its window may be stale, also once another is the newest.
 * 0: it is gone, because it owed nothing; -1: it cannot be read now.
 */
static int enter_segment(struct sb_journal *j, struct sb_journal_read *r, bool newest)
{
	struct sb_err err;

	if (!j->r.open || j->r.segment.header.number != r->from.segment) {
		sb_reader_close(j);
		if (sb_segment_open(j->vfs, j->conf.dir, r->from.segment, &j->r.segment, &err) < 0)
			return err.code == SB_E_MISSING && !newest ? 0 : -1;
		j->r.open = true;
	}
	if (newest || j->r.grew)
		sb_buf_clear(&j->r.segment.window);
	j->r.grew = newest;
	j->r.segment.offset = SB_MAX(r->from.offset, (uint64_t)SB_SEGMENT_HEADER);
	return 1;
}

/* -1: the text cannot be an event any more. */
static int take_item(struct sb_journal_read *r, const struct sb_event_view *ev, const struct sb_owed_view *o, uint64_t dno,
	struct sb_position at)
{
	struct sb_backlog_item *it = &r->item[r->n];
	struct sb_err err;

	*it = (struct sb_backlog_item){ .dno = dno, .at = at, .rule = sb_name(o->rule), .lane = o->lane, .route = o->route, .flags = o->flags };
	if (sb_event_parse(ev->json, sb_name(ev->bus), sb_name(ev->origin), &it->ev, &err) < 0)
		return -1;
	it->ev->receipt = ev->receipt;
	it->ev->received_ms = ev->received_ms;
	it->ev->generation = ev->generation;
	it->ev->hops = ev->hops;
	it->ordinal = (uint32_t)(dno - ev->first_dno);
	if (o->flags & SB_OWED_INPUT) {
		it->input = sb_pool_copy(o->input);
		it->input_n = (uint32_t)o->input.n;
	}
	if (ev->redrive_of.n)
		it->letter = sb_slice(sb_pool_copy(ev->redrive_of), ev->redrive_of.n);
	it->letter_owed = ev->redrive_of.n ? ev->n_owed : 0;
	r->n++;
	return 0;
}

static bool wanted(const struct sb_journal_read *r, const struct sb_owed_view *o, uint64_t dno)
{
	if (r->only_dno)
		return dno == r->only_dno;
	return dno >= r->min_dno && (!r->lane || o->lane == r->lane) && sb_slice_eq_str(o->target, r->target);
}

struct progress {
	size_t bytes;    /* of items */
	uint64_t looked; /* bytes that were looked at in this turn */
	bool stop, turn_over;
};

static void look_at(struct progress *p, uint64_t bytes)
{
	p->looked += bytes;
	if (p->looked >= SB_READ_TURN)
		p->turn_over = true;
}

/* Looks at one EVENT; on a full read, `from` stays at this frame and the horizon says how far it got. */
static void read_event(struct sb_journal *j, struct sb_journal_read *r, const struct sb_frame_at *f, struct progress *p)
{
	struct sb_event_view ev;
	struct sb_owed_view o;
	uint64_t dno;

	if (sb_event_view(f->payload, &ev) < 0) {
		r->damaged++;
		return;
	}
	dno = ev.first_dno;
	for (struct sb_slice owed = ev.owed; sb_owed_next(&owed, &o) == 1; dno++) {
		if (r->until_dno && dno >= r->until_dno) {
			p->stop = true;
			return;
		}
		if (wanted(r, &o, dno)) {
			if (r->n == SB_READ_ITEMS || (r->n && p->bytes >= r->max_bytes)) {
				p->stop = true;
				return;
			}
			if (take_item(r, &ev, &o, dno, (struct sb_position){ j->r.segment.header.number, f->offset }) < 0)
				r->damaged++;
			else
				p->bytes += ev.json.n + o.input.n;
		}
		r->horizon = SB_MAX(r->horizon, dno + 1);
	}
}

/* One segment up to `end`; r->from moves along. */
static void read_segment(struct sb_journal *j, struct sb_journal_read *r, uint64_t end, struct progress *p)
{
	struct sb_segment_reader *seg = &j->r.segment;
	struct sb_frame_at f;

	while (!p->stop && !p->turn_over && seg->offset < end) {
		int got = sb_segment_next(seg, end, &f);

		if (seg->failed) {
			sb_reader_close(j); /* asked again later: nothing is skipped */
			p->stop = true;
			return;
		}
		if (got == 0 && end == UINT64_MAX)
			break;
		if (got != 1) {
			r->damaged++;
			if (!sb_segment_resync(seg, end, (enum sb_record_type)0) && !seg->failed)
				seg->offset = end;
			continue;
		}
		if (f.type == SB_REC_EVENT)
			read_event(j, r, &f, p);
		r->from.offset = p->stop ? f.offset : seg->offset;
		look_at(p, f.size);
		if (r->only_dno)
			p->stop = true;
	}
	if (!p->stop && !p->turn_over)
		r->from.offset = end;
}

/* Where a finished segment ends: the next one's header says so; 0: it cannot be asked now. */
static uint64_t segment_end(struct sb_journal *j, uint64_t number)
{
	struct sb_segment_reader next;
	struct sb_err err;
	uint64_t end;

	if (sb_segment_open(j->vfs, j->conf.dir, number + 1, &next, &err) < 0)
		return err.code == SB_E_MISSING ? UINT64_MAX : 0; /* missing: it was set aside */
	end = next.header.prev_end;
	sb_segment_close(&next);
	return end;
}

void sb_reader_begin(struct sb_journal_read *r)
{
	r->n = 0;
	r->end = false;
	r->damaged = 0;
	r->horizon = r->min_dno;
}

bool sb_reader_serve(struct sb_journal *j, struct sb_journal_read *r)
{
	struct limits l = limits_now(j);
	struct progress p = { 0 };

	if (r->from.segment < l.oldest && !r->only_dno)
		r->from = (struct sb_position){ l.oldest, 0 };
	while (!p.stop && !p.turn_over) {
		bool newest = r->from.segment == l.durable.segment;
		uint64_t end = l.durable.offset;
		int entered;

		if (r->from.segment > l.durable.segment || (newest && r->from.offset >= l.durable.offset)) {
			r->end = true;
			break;
		}
		entered = enter_segment(j, r, newest);
		if (entered > 0 && !newest)
			end = segment_end(j, r->from.segment);
		if (entered < 0 || end == 0 || (entered == 0 && r->only_dno))
			break; /* asked again later: nothing is skipped */
		if (entered > 0)
			read_segment(j, r, end, &p);
		if (!p.stop && !p.turn_over && !newest)
			r->from = (struct sb_position){ r->from.segment + 1, 0 };
	}
	if (p.turn_over && !p.stop && r->n == 0)
		return false;
	if (r->end)
		r->horizon = SB_MAX(r->horizon, l.next_dno);
	if (r->until_dno)
		r->horizon = SB_MIN(r->horizon, SB_MAX(r->until_dno, r->min_dno));
	return true;
}
