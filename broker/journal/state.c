/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/journal/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUTES_MAX 65536u
#define GENERATION_MAX (64u << 20)
#define CHECKPOINT_FORMAT 1
/* Deliveries whose EVENTs are damaged, between two that are not: more than a segment's bytes can owe is nonsense. */
#define LOST_MAX (1u << 26)

void sb_state_init(struct sb_state *s)
{
	*s = (struct sb_state){ .next_seq = 1, .next_dno = 1 };
	sb_buf_init(&s->generation_text, GENERATION_MAX);
}

static void free_bits(struct sb_seg_state *seg)
{
	free(seg->done);
	free(seg->redrive);
}

static void free_values(struct sb_map *m)
{
	sb_map_each (m, it)
		free(it->value);
	sb_map_done(m);
}

void sb_state_done(struct sb_state *s)
{
	for (size_t i = 0; i < s->n_segs; i++)
		free_bits(&s->seg[i]);
	free(s->seg);
	free(s->route);
	sb_map_done(&s->route_index);
	sb_arena_done(&s->route_keys);
	free_values(&s->pauses);
	free_values(&s->positions);
	sb_buf_done(&s->generation_text);
}

struct sb_seg_state *sb_state_add_segment(struct sb_state *s, uint64_t number, uint64_t first_dno)
{
	if (s->n_segs == s->cap_segs) {
		s->cap_segs = s->cap_segs ? s->cap_segs * 2 : 16;
		s->seg = sb_xrealloc(s->seg, s->cap_segs * sizeof(*s->seg));
	}
	if (!s->base_dno)
		s->base_dno = first_dno;
	else
		first_dno = SB_MAX(first_dno, s->next_dno); /* numbers never go back */
	s->seg[s->n_segs] = (struct sb_seg_state){ .number = number, .first_dno = first_dno };
	return &s->seg[s->n_segs++];
}

void sb_state_drop_oldest(struct sb_state *s)
{
	SB_ASSERT(s->n_segs > 1);
	free_bits(&s->seg[0]);
	memmove(s->seg, s->seg + 1, --s->n_segs * sizeof(*s->seg));
}

/* ------------------------------------------------------------------------------------------------ routes */

static uint32_t route_add(struct sb_state *s, struct sb_slice key, const char *source, const char *rule, const char *target)
{
	struct sb_slice own = sb_arena_slice(&s->route_keys, key);

	if (s->n_routes == s->cap_routes) {
		s->cap_routes = s->cap_routes ? s->cap_routes * 2 : 64;
		s->route = sb_xrealloc(s->route, s->cap_routes * sizeof(*s->route));
	}
	s->route[s->n_routes] = (struct sb_route){ .source = source, .rule = rule, .target = target };
	sb_map_put(&s->route_index, own, (void *)(uintptr_t)(s->n_routes + 1));
	return s->n_routes++;
}

uint32_t sb_state_route(struct sb_state *s, struct sb_slice source, struct sb_slice rule, struct sb_slice target)
{
	char text[1024];
	struct sb_buf key = { .p = text, .cap = sizeof(text), .max = sizeof(text) };
	uintptr_t found;

	if (sb_buf_add_slice(&key, source) < 0 || sb_buf_addc(&key, '\0') < 0 || sb_buf_add_slice(&key, rule) < 0 ||
	    sb_buf_addc(&key, '\0') < 0 || sb_buf_add_slice(&key, target) < 0)
		return sb_state_route(s, SB_SLICE("_other"), SB_SLICE("_other"), SB_SLICE("_other"));
	found = (uintptr_t)sb_map_get(&s->route_index, sb_buf_slice(&key));
	if (found)
		return (uint32_t)found - 1;
	if (s->n_routes >= ROUTES_MAX - 1 && !sb_slice_eq_str(source, "_other"))
		return sb_state_route(s, SB_SLICE("_other"), SB_SLICE("_other"), SB_SLICE("_other"));
	return route_add(s, sb_buf_slice(&key), sb_name(source), sb_name(rule), sb_name(target));
}

uint32_t sb_state_route_at(struct sb_state *s, uint32_t index, struct sb_slice source, struct sb_slice rule, struct sb_slice target)
{
	while (index < ROUTES_MAX && s->n_routes < index) {
		char name[16];

		snprintf(name, sizeof(name), "_lost%u", s->n_routes); /* its first EVENT is damaged: a checkpoint may name it again */
		sb_state_route(s, sb_slice_str(name), SB_SLICE(""), SB_SLICE("_lost"));
	}
	return sb_state_route(s, source, rule, target);
}

/* ------------------------------------------------------------------------------------------------ deliveries */

static struct sb_seg_state *segment_of(const struct sb_state *s, uint64_t dno)
{
	size_t lo = 0, hi = s->n_segs;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (s->seg[mid].first_dno <= dno)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? &s->seg[lo - 1] : NULL;
}

static bool bit_of(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static void set_bit(uint64_t *bits, uint64_t i)
{
	bits[i / 64] |= UINT64_C(1) << (i % 64);
}

bool sb_state_is_done(const struct sb_state *s, uint64_t dno)
{
	const struct sb_seg_state *seg = segment_of(s, dno);
	uint64_t i;

	if (!seg)
		return true; /* its segment owed nothing any more, and went */
	i = dno - seg->first_dno;
	return i < seg->n && bit_of(seg->done, i);
}

static void grow_bits(uint64_t **bits, uint64_t from_words, uint64_t to_words)
{
	*bits = sb_xrealloc(*bits, to_words * 8);
	memset(*bits + from_words, 0, (to_words - from_words) * 8);
}

static void owe(struct sb_state *s, struct sb_seg_state *seg, uint64_t n)
{
	uint64_t words = (seg->n + n + 63) / 64;

	if (words > seg->cap_words) {
		uint64_t cap = SB_MAX(words, seg->cap_words ? seg->cap_words * 2 : 64);

		grow_bits(&seg->done, seg->cap_words, cap);
		if (seg->redrive)
			grow_bits(&seg->redrive, seg->cap_words, cap);
		seg->cap_words = cap;
	}
	seg->n += n;
	seg->open += n;
	s->open += n;
}

/* Numbers whose EVENT cannot be read any more: nobody will ever finish them. */
static void lose(struct sb_state *s, struct sb_seg_state *seg, uint64_t n)
{
	uint64_t from = seg->n;

	owe(s, seg, n);
	for (uint64_t i = from; i < seg->n; i++)
		set_bit(seg->done, i);
	seg->open -= n;
	s->open -= n;
}

/* The newest n are a dead letter's. */
static void note_redrive(struct sb_seg_state *seg, uint64_t n)
{
	if (n && !seg->redrive)
		grow_bits(&seg->redrive, 0, seg->cap_words);
	for (uint64_t i = seg->n - n; i < seg->n; i++)
		set_bit(seg->redrive, i);
}

/* Only the EVENT knows which letter this ends, and how much it owed: its file stays until the table has heard of it. */
static void hold_for_letter(struct sb_state *s, uint64_t dno, uint64_t seq)
{
	struct sb_seg_state *seg = segment_of(s, dno);

	if (seg && seg->redrive && bit_of(seg->redrive, dno - seg->first_dno))
		seg->last_letter = seq;
}

/* 0; -1: it was done before, or was never owed (counted). */
static int finish(struct sb_state *s, uint64_t dno)
{
	struct sb_seg_state *seg = segment_of(s, dno);
	uint64_t i = seg ? dno - seg->first_dno : 0;

	if (dno < s->base_dno)
		return 0; /* the segment that owed it went because of this very outcome */
	if (!seg || i >= seg->n) {
		s->unknown_results += seg != NULL;
		s->double_results += seg == NULL;
		return -1;
	}
	if (bit_of(seg->done, i)) {
		s->double_results++;
		return -1;
	}
	set_bit(seg->done, i);
	seg->open--;
	s->open--;
	return 0;
}

/* ------------------------------------------------------------------------------------------------ records */

static bool owes_what_it_says(const struct sb_event_view *ev)
{
	struct sb_slice owed = ev->owed;
	struct sb_owed_view o;
	uint32_t n = 0;
	int r;

	while ((r = sb_owed_next(&owed, &o)) == 1)
		n++;
	return r == 0 && n == ev->n_owed;
}

static int apply_event(struct sb_state *s, struct sb_slice payload)
{
	struct sb_seg_state *seg = &s->seg[s->n_segs - 1];
	uint64_t expected = seg->first_dno + seg->n, n;
	struct sb_event_view ev;
	struct sb_owed_view o;
	struct sb_slice owed;

	if (sb_event_view(payload, &ev) < 0 || !owes_what_it_says(&ev))
		return -1;
	if (ev.first_dno < expected || ev.first_dno - expected > LOST_MAX)
		return -1;
	if (ev.first_dno != expected)
		lose(s, seg, ev.first_dno - expected); /* a damaged EVENT was between */
	n = ev.n_owed;
	owed = ev.owed;
	while (sb_owed_next(&owed, &o) == 1) {
		uint32_t i = sb_state_route_at(s, o.route, ev.origin, o.rule, o.target);

		s->route[i].accepted++;
	}
	if (n == 0) {
		uint32_t i = sb_state_route(s, ev.origin, SB_SLICE(""), SB_SLICE(""));

		s->route[i].accepted++;
	}
	s->unmatched += n == 0;
	s->events++;
	owe(s, seg, n);
	if (ev.redrive_of.n)
		note_redrive(seg, n);
	if (ev.first_dno + n > s->next_dno)
		s->next_dno = ev.first_dno + n;
	return 0;
}

static int apply_result(struct sb_state *s, uint64_t seq, struct sb_slice payload)
{
	struct sb_result_record r;

	if (sb_result_view(payload, &r) < 0)
		return -1;
	if (r.route >= s->n_routes) {
		s->unknown_results++;
		return 0;
	}
	if (finish(s, r.dno) < 0)
		return 0;
	hold_for_letter(s, r.dno, seq);
	s->route[r.route].delivered++;
	return 0;
}

/* Never journaled: accepted and finished at once. */
static int apply_direct(struct sb_state *s, struct sb_slice payload)
{
	struct sb_direct_view ev;
	struct sb_direct_done_view d;
	uint32_t i, n = 0;
	int r;

	if (sb_direct_view(payload, &ev) < 0)
		return -1;
	while ((r = sb_direct_next(&ev.done, &d)) == 1) {
		i = sb_state_route(s, ev.origin, d.rule, d.target);
		s->route[i].accepted++;
		s->route[i].delivered++;
		n++;
	}
	if (r < 0 || n != ev.n)
		return -1;
	if (n == 0) {
		i = sb_state_route(s, ev.origin, SB_SLICE(""), SB_SLICE(""));
		s->route[i].accepted++;
		s->unmatched++;
	}
	s->events++;
	return 0;
}

static int apply_dead(struct sb_state *s, uint64_t seq, struct sb_slice payload)
{
	struct sb_dead_record r;

	if (sb_dead_view(payload, &r) < 0)
		return -1;
	s->seg[s->n_segs - 1].last_letter = seq;
	if (r.dno == 0)
		return 0; /* invalid input was never accepted */
	if (finish(s, r.dno) < 0)
		return 0;
	hold_for_letter(s, r.dno, seq);
	if (r.route < s->n_routes)
		s->route[r.route].dead++;
	return 0;
}

static int apply_generation(struct sb_state *s, struct sb_slice payload)
{
	struct sb_cursor c = sb_cursor_of(payload);
	uint64_t generation = sb_get_u64(&c);
	const char *sha = c.p;
	struct sb_slice text;

	if (c.bad || c.end - c.p < 32)
		return -1;
	c.p += 32;
	text = sb_get_text(&c);
	if (c.bad)
		return -1;
	s->generation = generation;
	memcpy(s->generation_sha, sha, 32);
	sb_buf_clear(&s->generation_text);
	return sb_buf_add_slice(&s->generation_text, text);
}

static void set_pause(struct sb_state *s, struct sb_slice what, bool paused)
{
	char *old = sb_map_del(&s->pauses, what), *own;

	free(old);
	if (!paused)
		return;
	own = sb_xstrndup(what.p, what.n);
	sb_map_put(&s->pauses, sb_slice(own, what.n), own);
}

static int apply_pause(struct sb_state *s, struct sb_slice payload)
{
	struct sb_cursor c = sb_cursor_of(payload);
	bool paused = sb_get_u32(&c) != 0;
	struct sb_slice what = sb_get_text(&c);

	if (c.bad)
		return -1;
	set_pause(s, what, paused);
	return 0;
}

/* The value's block: the slice, then the key's bytes, then the value's. */
static void set_position(struct sb_state *s, struct sb_slice key, struct sb_slice value)
{
	struct sb_slice *v = sb_xmalloc(sizeof(*v) + key.n + value.n + 1);
	char *p = (char *)(v + 1);

	free(sb_map_del(&s->positions, key));
	memcpy(p, key.p, key.n);
	memcpy(p + key.n, value.p, value.n);
	*v = sb_slice(p + key.n, value.n);
	sb_map_put(&s->positions, sb_slice(p, key.n), v);
}

static int apply_position(struct sb_state *s, struct sb_slice payload)
{
	struct sb_cursor c = sb_cursor_of(payload);
	struct sb_slice key = sb_get_text(&c), value;

	value = sb_get_text(&c);
	if (c.bad)
		return -1;
	set_position(s, key, value);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ checkpoint */

static int put_maps(const struct sb_state *s, struct sb_buf *out)
{
	int bad = sb_put_u32(out, (uint32_t)s->pauses.n);

	sb_map_each (&s->pauses, it)
		bad |= sb_put_text(out, it->key);
	bad |= sb_put_u32(out, (uint32_t)s->positions.n);
	sb_map_each (&s->positions, it) {
		bad |= sb_put_text(out, it->key);
		bad |= sb_put_text(out, *(struct sb_slice *)it->value);
	}
	return bad;
}

int sb_state_checkpoint(const struct sb_state *s, uint64_t wall_ms, struct sb_buf *out)
{
	size_t start = out->len;
	int bad = sb_frame_begin(out, SB_REC_CHECKPOINT, 0);

	bad |= sb_put_u32(out, CHECKPOINT_FORMAT);
	bad |= sb_put_u32(out, s->n_routes);
	bad |= sb_put_u64(out, wall_ms);
	bad |= sb_put_u64(out, s->next_dno);
	bad |= sb_put_u64(out, s->events);
	bad |= sb_put_u64(out, s->unmatched);
	for (uint32_t i = 0; i < s->n_routes && !bad; i++) {
		const struct sb_route *r = &s->route[i];

		bad |= sb_put_text(out, sb_slice_str(r->source));
		bad |= sb_put_text(out, sb_slice_str(r->rule));
		bad |= sb_put_text(out, sb_slice_str(r->target));
		bad |= sb_put_u64(out, r->accepted);
		bad |= sb_put_u64(out, r->delivered);
		bad |= sb_put_u64(out, r->dead);
	}
	bad |= put_maps(s, out);
	return sb_frame_end(out, start, bad);
}

int sb_state_generation(const struct sb_state *s, struct sb_buf *out)
{
	if (!s->generation)
		return 0;
	return sb_record_generation(out, s->generation, s->generation_sha, sb_buf_slice(&s->generation_text));
}

struct checkpoint {
	uint64_t next_dno, events, unmatched;
	uint32_t n_routes;
};

static void disagree(char why_not[200], const char *what, uint64_t recounted, uint64_t noted)
{
	if (why_not && !why_not[0])
		snprintf(why_not, 200, "%s: recounted %" PRIu64 ", a checkpoint says %" PRIu64, what, recounted, noted);
}

static void load_route(struct sb_state *s, const struct sb_route *r, bool first, char why_not[200])
{
	uint32_t i = sb_state_route(s, sb_slice_str(r->source), sb_slice_str(r->rule), sb_slice_str(r->target));
	struct sb_route *have = &s->route[i];

	if (first) {
		have->accepted = r->accepted;
		have->delivered = r->delivered;
		have->dead = r->dead;
		return;
	}
	if (have->accepted != r->accepted)
		disagree(why_not, "accepted", have->accepted, r->accepted);
	if (have->delivered != r->delivered)
		disagree(why_not, "delivered", have->delivered, r->delivered);
	if (have->dead != r->dead)
		disagree(why_not, "dead-lettered", have->dead, r->dead);
}

static void load_maps(struct sb_state *s, struct sb_cursor *c)
{
	uint32_t n = sb_get_u32(c);

	for (; n && !c->bad; n--) {
		struct sb_slice what = sb_get_text(c);

		if (!c->bad)
			set_pause(s, what, true);
	}
	for (n = sb_get_u32(c); n && !c->bad; n--) {
		struct sb_slice key = sb_get_text(c), value;

		value = sb_get_text(c);
		if (!c->bad)
			set_position(s, key, value);
	}
}

static int apply_checkpoint(struct sb_state *s, struct sb_slice payload, char why_not[200])
{
	struct sb_cursor c = sb_cursor_of(payload);
	bool first = !s->loaded;
	struct checkpoint k = { 0 };

	if (sb_get_u32(&c) != CHECKPOINT_FORMAT)
		return -1;
	k.n_routes = sb_get_u32(&c);
	sb_get_u64(&c);
	k.next_dno = sb_get_u64(&c);
	k.events = sb_get_u64(&c);
	k.unmatched = sb_get_u64(&c);
	for (uint32_t i = 0; i < k.n_routes && !c.bad; i++) {
		struct sb_route r = { .source = sb_name(sb_get_text(&c)) };

		r.rule = sb_name(sb_get_text(&c));
		r.target = sb_name(sb_get_text(&c));
		r.accepted = sb_get_u64(&c);
		r.delivered = sb_get_u64(&c);
		r.dead = sb_get_u64(&c);
		if (!c.bad)
			load_route(s, &r, first, why_not);
	}
	if (first) {
		s->loaded = true;
		load_maps(s, &c);
		s->events = k.events;
		s->unmatched = k.unmatched;
		s->next_dno = SB_MAX(s->next_dno, k.next_dno);
	} else if (s->events != k.events) {
		disagree(why_not, "events", s->events, k.events);
	}
	return c.bad ? -1 : 0;
}

int sb_state_apply(struct sb_state *s, enum sb_record_type type, uint64_t seq, struct sb_slice payload, char why_not[200])
{
	s->next_seq = seq + 1;
	switch (type) {
	case SB_REC_EVENT:      return apply_event(s, payload);
	case SB_REC_RESULT:     return apply_result(s, seq, payload);
	case SB_REC_DIRECT:     return apply_direct(s, payload);
	case SB_REC_DEAD:       return apply_dead(s, seq, payload);
	case SB_REC_GENERATION: return apply_generation(s, payload);
	case SB_REC_POSITION:   return apply_position(s, payload);
	case SB_REC_PAUSE:      return apply_pause(s, payload);
	case SB_REC_CHECKPOINT: return apply_checkpoint(s, payload, why_not);
	case SB_REC_GROUP:
	case SB_REC_ATTEMPT:
	case SB_REC_SEAL:
		return 0;
	}
	return 0;
}
