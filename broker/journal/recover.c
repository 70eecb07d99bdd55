/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery. Segments are read oldest first, each up to the end that the next one's header names. Only the newest can have a
 * torn tail: the last group that was begun is there wholly or not at all, and a group behind it proves that what lies
 * before was durable, so that damage there is damage, not a tear.
 *
 * Nothing is changed before everything was read: a file that a later version wrote must leave all of them as they are.
 *
 * Two passes, so that memory stays bits and not lists: the first applies every record to the state, the second looks only
 * at segments that still owe something, for each target's first outstanding delivery.
 */
#include "broker/journal/impl.h"
#include "broker/journal/mend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct recover {
	struct sb_journal *j;
	struct sb_recovery *rec;
	struct sb_err *err;
	size_t cap_redrives;
	bool quarantined; /* the segment at hand */
	struct sb_mend mend;
};

/* ------------------------------------------------------------------------------------------------ damage */

static int damaged(struct recover *r, struct sb_segment_reader *seg)
{
	r->rec->corrupt_records++;
	if (r->j->conf.stop_on_corruption)
		return sb_fail(r->err, SB_E_CORRUPT, "segment %" PRIu64 " is damaged at offset %" PRIu64, seg->header.number,
			seg->offset);
	if (!r->quarantined) {
		r->quarantined = true;
		r->rec->quarantined_segments++;
		sb_mend_note(&r->mend, SB_MEND_KEEP_COPY, seg->header.number);
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------ first pass */

static void note_redrive(struct recover *r, const struct sb_event_view *ev)
{
	struct sb_journal *j = r->j;

	if (ev->redrive_of.n == 0 || ev->n_owed == 0)
		return;
	if (j->n_redrives == r->cap_redrives) {
		r->cap_redrives = r->cap_redrives ? r->cap_redrives * 2 : 64;
		j->redrive = sb_xrealloc(j->redrive, r->cap_redrives * sizeof(*j->redrive));
	}
	j->redrive[j->n_redrives++] = (struct sb_redrive){
		sb_slice(sb_xstrndup(ev->redrive_of.p, ev->redrive_of.n), ev->redrive_of.n), ev->first_dno, ev->n_owed };
}

static struct sb_slice dno_key(const uint64_t *dno)
{
	return sb_slice((const char *)dno, sizeof(*dno));
}

static void drop_attempt(struct sb_journal *j, uint64_t dno)
{
	struct sb_recovered_attempt *a = sb_map_del(&j->attempts.by_dno, dno_key(&dno));

	if (a) {
		free(a->message);
		free(a);
	}
}

static void note_attempt(struct sb_journal *j, struct sb_slice payload)
{
	struct sb_attempt_record rec;
	struct sb_recovered_attempt *a;

	if (sb_attempt_view(payload, &rec) < 0)
		return;
	drop_attempt(j, rec.dno);
	if (sb_state_is_done(&j->w.state, rec.dno))
		return;
	a = sb_xcalloc(sizeof(*a));
	*a = (struct sb_recovered_attempt){ .dno = rec.dno, .due_wall_ms = rec.due_wall_ms, .first_wall_ms = rec.first_wall_ms,
		.attempts = rec.attempts, .reason = (enum sb_record_reason)rec.reason, .alone = rec.alone,
		.message = sb_xstrndup(rec.message.p, rec.message.n) };
	sb_map_put(&j->attempts.by_dno, dno_key(&a->dno), a);
}

static int apply_frame(struct recover *r, struct sb_segment_reader *seg, const struct sb_frame_at *f)
{
	struct sb_journal *j = r->j;
	struct sb_result_record result;
	struct sb_dead_record dead;
	struct sb_event_view ev;

	if ((f->type < SB_REC_GROUP || f->type > SB_REC_LAST) && !(f->flags & SB_FRAME_IGNORABLE))
		return sb_fail(r->err, SB_E_VERSION, "segment %" PRIu64 " has a record of type %d, which this program does not know",
			seg->header.number, (int)f->type);
	if (sb_state_apply(&j->w.state, f->type, f->seq, f->payload, NULL) < 0)
		return damaged(r, seg);
	r->rec->records++;
	if (f->type == SB_REC_ATTEMPT)
		note_attempt(j, f->payload);
	else if (f->type == SB_REC_RESULT && sb_result_view(f->payload, &result) == 0)
		drop_attempt(j, result.dno);
	else if (f->type == SB_REC_DEAD && sb_dead_view(f->payload, &dead) == 0)
		drop_attempt(j, dead.dno);
	else if (f->type == SB_REC_EVENT && sb_event_view(f->payload, &ev) == 0)
		note_redrive(r, &ev);
	return 0;
}

static int apply_segment(struct recover *r, struct sb_segment_reader *seg, uint64_t end)
{
	struct sb_frame_at f;
	int got;

	seg->offset = SB_SEGMENT_HEADER;
	while (seg->offset < end && !seg->failed) {
		got = sb_segment_next(seg, end, &f);
		if (seg->failed)
			break;
		if (got == 1 ? apply_frame(r, seg, &f) < 0 : damaged(r, seg) < 0)
			return -1;
		if (got != 1 && !sb_segment_resync(seg, end, (enum sb_record_type)0))
			break;
	}
	return sb_segment_check(seg, r->err);
}

/* The header of the segment right behind this one knows where it ended; without that the last whole group says it. */
static int recover_segment(struct recover *r, struct sb_segment_reader *seg, const struct sb_segment_header *next)
{
	uint64_t torn = 0, end;

	r->quarantined = false;
	if (seg->damaged_copies) { /* one is good: nothing is lost */
		r->rec->corrupt_records++;
		sb_mend_note(&r->mend, SB_MEND_HEADER, seg->header.number);
	}
	if (!next)
		r->j->vfs->ops->forget(seg->file); /* its last group may be one whose fdatasync failed before we were restarted */
	end = next && next->number == seg->header.number + 1 ? next->prev_end : sb_segment_find_end(seg, &torn);
	if (sb_segment_check(seg, r->err) < 0)
		return -1;
	r->rec->torn_bytes += torn;
	sb_state_add_segment(&r->j->w.state, seg->header.number, seg->header.first_dno);
	r->j->w.state.next_dno = SB_MAX(r->j->w.state.next_dno, seg->header.first_dno);
	r->j->w.state.next_seq = SB_MAX(r->j->w.state.next_seq, seg->header.first_seq);
	if (apply_segment(r, seg, end) < 0)
		return -1;
	r->rec->segments++;
	r->rec->bytes += end;
	r->j->w.state.seg[r->j->w.state.n_segs - 1].bytes = end;
	r->j->w.end = end;
	if (!next)
		sb_mend_cut(&r->mend, seg->header.number, end);
	return 0;
}

/* A segment whose header cannot be read: nothing in it can be trusted. */
static int set_aside(struct recover *r, uint64_t number)
{
	if (r->err->code != SB_E_CORRUPT || r->j->conf.stop_on_corruption)
		return -1;
	r->rec->corrupt_records++;
	r->rec->quarantined_segments++;
	sb_mend_note(&r->mend, SB_MEND_SET_ASIDE, number);
	return 0;
}

static int first_pass(struct recover *r, const uint64_t *number, size_t n)
{
	struct sb_segment_reader cur, next;
	bool have = false;

	for (size_t i = 0; i < n; i++) {
		int bad;

		r->j->w.number = number[i];
		if (sb_segment_open(r->j->vfs, r->j->conf.dir, number[i], &next, r->err) < 0) {
			if (set_aside(r, number[i]) < 0) {
				if (have)
					sb_segment_close(&cur);
				return -1;
			}
			continue;
		}
		bad = have ? recover_segment(r, &cur, &next.header) : 0;
		if (have)
			sb_segment_close(&cur);
		cur = next;
		have = true;
		if (bad) {
			sb_segment_close(&cur);
			return -1;
		}
	}
	if (have) {
		int bad = recover_segment(r, &cur, NULL);

		sb_segment_close(&cur);
		return bad;
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------ second pass */

static void note_outstanding(struct recover *r, const struct sb_event_view *ev, const struct sb_owed_view *o,
	struct sb_position at)
{
	const char *name = sb_name(o->target);
	struct sb_recovered_target *t = sb_map_get(&r->rec->targets, sb_slice_str(name));

	if (!t) {
		t = sb_xcalloc(sizeof(*t));
		t->name = name;
		t->from = at;
		t->oldest_ms = ev->received_ms;
		sb_map_put(&r->rec->targets, sb_slice_str(name), t);
	}
	t->n++;
	t->bytes += ev->json.n + o->input.n;
	if (ev->received_ms < t->oldest_ms)
		t->oldest_ms = ev->received_ms;
}

static void outstanding_of_event(struct recover *r, struct sb_segment_reader *seg, const struct sb_frame_at *f)
{
	struct sb_event_view ev;
	struct sb_owed_view o;
	uint64_t dno;

	if (f->type != SB_REC_EVENT || sb_event_view(f->payload, &ev) < 0)
		return;
	dno = ev.first_dno;
	for (struct sb_slice owed = ev.owed; sb_owed_next(&owed, &o) == 1; dno++)
		if (!sb_state_is_done(&r->j->w.state, dno))
			note_outstanding(r, &ev, &o, (struct sb_position){ seg->header.number, f->offset });
}

static int second_pass(struct recover *r)
{
	const struct sb_state *s = &r->j->w.state;

	for (size_t i = 0; i < s->n_segs; i++) {
		struct sb_segment_reader seg;
		struct sb_frame_at f;
		int got, bad;

		if (s->seg[i].open == 0)
			continue;
		if (sb_segment_open(r->j->vfs, r->j->conf.dir, s->seg[i].number, &seg, r->err) < 0)
			return -1;
		while (seg.offset < s->seg[i].bytes) {
			got = sb_segment_next(&seg, s->seg[i].bytes, &f);
			if (got == 1)
				outstanding_of_event(r, &seg, &f);
			else if (!sb_segment_resync(&seg, s->seg[i].bytes, (enum sb_record_type)0))
				break;
		}
		bad = sb_segment_check(&seg, r->err);
		sb_segment_close(&seg);
		if (bad)
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------ the result */

/* A copy of the bits: the writer goes on changing its own. */
static void keep_bits(struct sb_journal *j)
{
	const struct sb_state *s = &j->w.state;
	uint64_t words = 0, at = 0;

	for (size_t i = 0; i < s->n_segs; i++)
		words += (s->seg[i].n + 63) / 64;
	j->recovered.bits = sb_xcalloc((words + 1) * 8);
	j->recovered.seg = sb_xcalloc((s->n_segs + 1) * sizeof(*j->recovered.seg));
	j->recovered.n_segs = s->n_segs;
	for (size_t i = 0; i < s->n_segs; i++) {
		uint64_t n = (s->seg[i].n + 63) / 64;

		j->recovered.seg[i] = s->seg[i];
		j->recovered.seg[i].done = j->recovered.bits + at;
		j->recovered.seg[i].redrive = NULL;
		if (n)
			memcpy(j->recovered.bits + at, s->seg[i].done, n * 8);
		at += n;
	}
}

static void keep_maps(struct recover *r)
{
	const struct sb_state *s = &r->j->w.state;

	sb_map_each (&s->pauses, it) {
		char *own = sb_xstrndup(it->key.p, it->key.n);

		sb_map_put(&r->rec->pauses, sb_slice(own, it->key.n), own);
	}
	sb_map_each (&s->positions, it) {
		const struct sb_slice *v = it->value;
		struct sb_slice *own = sb_xmalloc(sizeof(*own) + it->key.n + v->n + 1);
		char *p = (char *)(own + 1);

		memcpy(p, it->key.p, it->key.n);
		memcpy(p + it->key.n, v->p, v->n);
		*own = sb_slice(p + it->key.n, v->n);
		sb_map_put(&r->rec->positions, sb_slice(p, it->key.n), own);
	}
}

int sb_recover(struct sb_journal *j, struct sb_err *err)
{
	struct recover r = { .j = j, .rec = &j->recovery, .err = err };
	uint64_t *number, began = sb_mono_ns(j->clock);
	size_t n;
	int bad;

	if (sb_segment_list(j->vfs, j->conf.dir, &number, &n, err) < 0)
		return -1;
	bad = first_pass(&r, number, n);
	free(number);
	bad = bad || sb_mend_all(j->vfs, j->conf.dir, &r.mend, err) < 0 || second_pass(&r) < 0;
	sb_mend_done(&r.mend);
	if (bad)
		return -1;
	keep_bits(j);
	keep_maps(&r);
	j->recovery.next_seq = j->w.state.next_seq;
	j->recovery.next_dno = j->w.state.next_dno;
	j->w.stats.corrupt_records = j->recovery.corrupt_records;
	j->recovery.took_ms = (sb_mono_ns(j->clock) - began) / SB_NS_PER_MS;
	return 0;
}

void sb_recovery_free(struct sb_journal *j)
{
	struct sb_map *maps[] = { &j->recovery.targets, &j->recovery.pauses, &j->recovery.positions };

	for (size_t i = 0; i < SB_LEN(maps); i++) {
		sb_map_each (maps[i], it)
			free(it->value);
		sb_map_done(maps[i]);
	}
	sb_map_each (&j->attempts.by_dno, it) {
		free(((struct sb_recovered_attempt *)it->value)->message);
		free(it->value);
	}
	sb_map_done(&j->attempts.by_dno);
	for (size_t i = 0; i < j->n_redrives; i++)
		free((void *)j->redrive[i].letter.p);
	free(j->redrive);
	free(j->recovered.bits);
	free(j->recovered.seg);
}

/* ------------------------------------------------------------------------------------------------ asking */

static struct sb_journal *journal_of(const struct sb_recovery *r)
{
	return SB_CONTAINER(r, struct sb_journal, recovery);
}

bool sb_recovery_done(const struct sb_recovery *r, uint64_t dno)
{
	const struct sb_journal *j = journal_of(r);
	struct sb_state view = { .seg = j->recovered.seg, .n_segs = j->recovered.n_segs };

	return dno < r->next_dno && sb_state_is_done(&view, dno);
}

const struct sb_recovered_attempt *sb_recovery_attempt(const struct sb_recovery *r, uint64_t dno)
{
	return sb_map_get(&journal_of(r)->attempts.by_dno, dno_key(&dno));
}

typedef int frame_fn(void *arg, const struct sb_frame_at *f);

static int each_frame(struct sb_journal *j, frame_fn *fn, void *arg, struct sb_err *err)
{
	for (size_t i = 0; i < j->recovered.n_segs; i++) {
		struct sb_segment_reader seg;
		struct sb_frame_at f;
		int got, r = 0;

		if (sb_segment_open(j->vfs, j->conf.dir, j->recovered.seg[i].number, &seg, err) < 0)
			return err->code == SB_E_MISSING ? 0 : -1;
		while (r == 0 && seg.offset < j->recovered.seg[i].bytes) {
			got = sb_segment_next(&seg, j->recovered.seg[i].bytes, &f);
			if (got == 1)
				r = fn(arg, &f);
			else if (!sb_segment_resync(&seg, j->recovered.seg[i].bytes, (enum sb_record_type)0))
				break;
		}
		if (r == 0)
			r = sb_segment_check(&seg, err);
		sb_segment_close(&seg);
		if (r)
			return r;
	}
	return 0;
}

struct dead_walk {
	uint64_t after;
	int (*fn)(void *arg, const struct sb_dead_record *d, uint64_t seq);
	void *arg;
};

static int dead_frame(void *arg, const struct sb_frame_at *f)
{
	struct dead_walk *w = arg;
	struct sb_dead_record d;

	if (f->type != SB_REC_DEAD || f->seq <= w->after || sb_dead_view(f->payload, &d) < 0)
		return 0;
	return w->fn(w->arg, &d, f->seq);
}

int sb_recovery_dead(struct sb_journal *j, uint64_t after, int (*fn)(void *arg, const struct sb_dead_record *d, uint64_t seq),
	void *arg, struct sb_err *err)
{
	struct dead_walk w = { after, fn, arg };

	return each_frame(j, dead_frame, &w, err);
}

struct fates {
	uint64_t *dno; /* of redrives that died again; not of those that were passed on */
	size_t n, cap;
};

static int note_fate(void *arg, const struct sb_frame_at *f)
{
	struct fates *fates = arg;
	struct sb_dead_record d;

	if (f->type != SB_REC_DEAD || sb_dead_view(f->payload, &d) < 0 || d.redrive_of.n == 0 || d.forwarded)
		return 0;
	if (fates->n == fates->cap) {
		fates->cap = fates->cap ? fates->cap * 2 : 64;
		fates->dno = sb_xrealloc(fates->dno, fates->cap * sizeof(*fates->dno));
	}
	fates->dno[fates->n++] = d.dno;
	return 0;
}

static int by_dno(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static struct sb_recovered_redrive fate_of(const struct sb_journal *j, const struct fates *fates, const struct sb_redrive *x)
{
	struct sb_recovered_redrive r = { .letter = x->letter, .first_dno = x->dno, .owed = x->owed };
	bool died = false;

	for (uint64_t dno = x->dno; dno < x->dno + x->owed; dno++) {
		r.left += !sb_recovery_done(&j->recovery, dno);
		died = died || (fates->n && bsearch(&dno, fates->dno, fates->n, sizeof(*fates->dno), by_dno));
	}
	r.state = died ? SB_REDRIVE_DEAD : r.left ? SB_REDRIVE_PENDING : SB_REDRIVE_DELIVERED;
	return r;
}

int sb_recovery_redrives(struct sb_journal *j, int (*fn)(void *arg, const struct sb_recovered_redrive *r), void *arg,
	struct sb_err *err)
{
	struct fates fates = { 0 };
	int r = j->n_redrives ? each_frame(j, note_fate, &fates, err) : 0;

	if (fates.n)
		qsort(fates.dno, fates.n, sizeof(*fates.dno), by_dno);
	for (size_t i = 0; i < j->n_redrives && r == 0; i++) {
		struct sb_recovered_redrive found = fate_of(j, &fates, &j->redrive[i]);

		r = fn(arg, &found);
	}
	free(fates.dno);
	return r;
}
