/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/shard.h"

#include <stdlib.h>

#include "broker/base/fault.h"
#include "broker/base/log.h"
#include "broker/config.h"
#include "broker/deadbox.h"
#include "broker/receipt.h"
#include "broker/targetslot.h"

#define FRAMES_BYTES_MAX (256u << 20)
/* Outcomes that the disk has not taken yet. Beyond this no new attempts are begun, so that a stalled disk costs no memory. */
#define STATE_BYTES_HOLD (32u << 20)

/* A delivery of a redrive that has ended, and where the RESULT or DEAD record that says so ends. */
struct redriven {
	struct sb_redrive_end what; /* its letter is pool memory */
	size_t end;
	bool told;
};

/* One turn's state records, and who must be told when they are durable. */
struct sb_shard_frames {
	struct sb_append append;
	struct sb_link link;
	struct sb_shard *shard;
	struct sb_handover **tail;
	bool dead;
	struct sb_link settled; /* receipts whose outcomes these are */
	struct redriven *redriven;
	size_t n_redriven, cap_redriven;
};

static void frames_done(struct sb_mail *m);
static void frames_letters(struct sb_mail *m);

struct sb_shard *sb_shard_new(struct sb_core *core, unsigned index, bool with_fd, uint64_t seed)
{
	struct sb_shard *s = sb_xcalloc(sizeof(*s));

	s->core = core;
	s->index = index;
	if (sb_mailbox_init(&s->mail, with_fd) < 0) {
		free(s);
		return NULL;
	}
	sb_rand_seed(&s->rand, seed);
	s->uuids.rand = &s->rand;
	s->env = (struct sb_env){ .clock = core->clock, .rand = &s->rand, .shard = index, .n_shards = core->n_shards };
	s->wishes.max = SIZE_MAX;
	sb_list_init(&s->free_frames);
	sb_list_init(&s->slots);
	sb_list_init(&s->free_groups);
	sb_list_init(&s->units);
	sb_list_init(&s->leaving);
	sb_buf_init(&s->scratch, 2u << 20);
	s->samples.max = core->max_samples;
	return s;
}

static void frames_free(struct sb_shard_frames *f)
{
	sb_buf_done(&f->append.frames);
	free(f->redriven);
	free(f);
}

void sb_shard_free(struct sb_shard *s)
{
	struct sb_link *l;

	if (!s)
		return;
	SB_ASSERT(sb_shard_quiet(s));
	while ((l = sb_list_pop_front(&s->free_frames)))
		frames_free(SB_CONTAINER(l, struct sb_shard_frames, link));
	while ((l = sb_list_pop_front(&s->free_groups)))
		sb_intake_group_free(SB_CONTAINER(l, struct sb_intake_group, link));
	if (s->frames)
		frames_free(s->frames);
	sb_plan_unref(s->plan);
	sb_heap_done(&s->wishes);
	sb_hits_done(&s->hits);
	sb_buf_done(&s->scratch);
	sb_samples_drop(&s->samples);
	free(s->owed);
	free(s->owed_to);
	free(s->hit_count);
	free(s->done);
	sb_mailbox_done(&s->mail);
	free(s);
}

void sb_shard_set_plan(struct sb_shard *s, struct sb_plan *p)
{
	struct sb_plan *old = s->plan;

	s->plan = p; /* between two events: nobody is in the middle of the old one */
	sb_plan_unref(old);
}

int sb_shard_open_plan(struct sb_shard *s, struct sb_plan *p, struct sb_err *err)
{
	const struct sb_config *c = p->config;

	sb_shard_set_plan(s, p);
	for (size_t i = 0; i < c->n_targets; i++) {
		struct sb_target_slot *slot = sb_map_get(&p->targets, sb_slice_str(c->target[i].name));

		if (slot->home == s && sb_shard_open_target(s, slot, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < p->n_gone; i++)
		if (p->gone[i]->home == s && sb_shard_open_target(s, p->gone[i], err) < 0)
			return -1;
	for (size_t i = 0; i < c->n_sources; i++) {
		struct sb_source_slot *slot = sb_map_get(&p->sources, sb_slice_str(c->source[i].name));

		if (sb_shard_open_source(s, &slot->unit[s->index], err) < 0)
			return -1;
	}
	return 0;
}

void sb_shard_drain(struct sb_shard *s)
{
	for (struct sb_link *l = s->slots.next; l != &s->slots; l = l->next)
		sb_dispatch_drain(SB_CONTAINER(l, struct sb_target_slot, home_link)->dispatch);
}

bool sb_shard_drained(const struct sb_shard *s)
{
	for (const struct sb_link *l = s->slots.next; l != &s->slots; l = l->next)
		if (!sb_dispatch_idle(SB_CONTAINER(l, struct sb_target_slot, home_link)->dispatch))
			return false;
	return s->groups_open == 0;
}

/* ------------------------------------------------------------------------------------------------ turn */

static void tick_due(struct sb_shard *s)
{
	uint64_t now = sb_mono_ns(s->core->clock);
	struct sb_heap_node *x;

	while ((x = sb_heap_min(&s->wishes)) && x->key <= now) {
		sb_heap_pop(&s->wishes);
		sb_dispatch_tick(SB_CONTAINER(x, struct sb_target_slot, wish)->dispatch);
	}
}

unsigned sb_shard_turn(struct sb_shard *s)
{
	unsigned n = sb_mailbox_drain(&s->mail);

	tick_due(s);
	sb_targets_turn(s);
	sb_receipts_tick(s, sb_mono_ns(s->core->clock));
	sb_shard_flush(s);
	return n;
}

uint64_t sb_shard_next_due(const struct sb_shard *s)
{
	const struct sb_heap_node *x = sb_heap_min(&s->wishes);

	return SB_MIN(SB_MIN(x ? x->key : UINT64_MAX, sb_receipts_next_due(s)), sb_targets_next_due(s));
}

bool sb_shard_quiet(const struct sb_shard *s)
{
	return s->groups_open == 0 && s->state_bytes == 0 && (!s->frames || s->frames->append.frames.len == 0);
}

/* ------------------------------------------------------------------------------------------------ state records */

static struct sb_shard_frames *frames(struct sb_shard *s)
{
	struct sb_shard_frames *f;
	struct sb_link *l;

	if (s->frames)
		return s->frames;
	l = sb_list_pop_front(&s->free_frames);
	if (l) {
		f = SB_CONTAINER(l, struct sb_shard_frames, link);
	} else {
		f = sb_xcalloc(sizeof(*f));
		sb_list_init(&f->link);
		sb_list_init(&f->settled);
		f->shard = s;
		sb_buf_init(&f->append.frames, FRAMES_BYTES_MAX);
	}
	f->append.mail.run = frames_done;
	f->append.home = &s->mail;
	f->append.state = true;
	f->append.deliveries = NULL;
	f->tail = &f->append.deliveries;
	f->dead = false;
	f->n_redriven = 0;
	sb_buf_clear(&f->append.frames);
	s->frames = f;
	return f;
}

struct sb_buf *sb_shard_frames_buf(struct sb_shard *s)
{
	return &frames(s)->append.frames;
}

void sb_shard_frames_dead(struct sb_shard *s)
{
	frames(s)->dead = true;
}

void sb_shard_frames_redriven(struct sb_shard *s, const struct sb_delivery *dl, bool died, size_t end)
{
	struct sb_shard_frames *f = frames(s);

	if (f->n_redriven == f->cap_redriven) {
		f->cap_redriven = f->cap_redriven ? f->cap_redriven * 2 : 8;
		f->redriven = sb_xrealloc(f->redriven, f->cap_redriven * sizeof(*f->redriven));
	}
	f->redriven[f->n_redriven++] = (struct redriven){ .end = end, .what = { .letter = sb_slice(sb_pool_copy(dl->letter), dl->letter.n),
		.redrive = dl->handover.dno - dl->handover.ordinal, .owed = dl->letter_owed, .died = died } };
}

void sb_shard_frames_settle(struct sb_shard *s, struct sb_receipt *r)
{
	sb_list_push_back(&frames(s)->settled, sb_receipt_link(r));
}

void sb_shard_frames_owe(struct sb_shard *s, struct sb_handover *h)
{
	struct sb_shard_frames *f = frames(s);

	h->next = NULL;
	*f->tail = h;
	f->tail = &h->next;
}

/* A disk that does not keep up must not cost memory: no new attempts until it has. */
static void hold_targets(struct sb_shard *s, bool hold)
{
	if (s->state_held == hold)
		return;
	s->state_held = hold;
	sb_target_hold_all(s);
}

void sb_shard_flush(struct sb_shard *s)
{
	struct sb_shard_frames *f = s->frames;

	if (!f || f->append.frames.len == 0)
		return;
	s->frames = NULL;
	s->state_bytes += f->append.frames.len;
	if (s->state_bytes > STATE_BYTES_HOLD)
		hold_targets(s, true);
	if (f->dead || f->n_redriven) {
		f->append.home = sb_deadbox_mailbox(s->core->deadbox);
		f->append.mail.run = frames_letters;
	}
	SB_FAULT("shard.before_state");
	sb_journal_submit(s->core->journal, &f->append);
}

/* ------------------------------------------------------------------------------------------------ once durable */

#define LETTERS_BATCH 64

struct letters_batch {
	struct sb_dead_record rec[LETTERS_BATCH];
	uint64_t seq[LETTERS_BATCH];
	size_t n;
};

static int store_batch(struct sb_deadletters *table, struct letters_batch *b, struct sb_err *err)
{
	size_t n = b->n;

	b->n = 0;
	return n ? sb_deadletters_store(table, b->rec, b->seq, n, err) : 0;
}

static int store_dead(const struct sb_append *a, struct sb_deadletters *table, struct sb_err *err)
{
	struct sb_frame_iter it = { .rest = sb_buf_slice(&a->frames), .seq = a->seq };
	struct letters_batch *b = sb_xcalloc(sizeof(*b));
	struct sb_frame frame;
	int r = 0;

	while (r == 0 && sb_frame_next(&it, &frame) == 1) {
		if (frame.type != SB_REC_DEAD)
			continue;
		SB_ASSERT(sb_dead_view(frame.payload, &b->rec[b->n]) == 0);
		b->seq[b->n++] = frame.seq;
		if (b->n == LETTERS_BATCH)
			r = store_batch(table, b, err);
	}
	if (r == 0)
		r = store_batch(table, b, err);
	free(b);
	return r;
}

static int tell_ended(struct sb_deadletters *table, struct redriven *x, uint64_t seq, struct sb_err *err)
{
	if (x->told)
		return 0; /* in a round before that had to wait for others */
	x->what.seq = seq;
	x->told = sb_deadletters_ended(table, &x->what, err) == 0;
	return x->told ? 0 : -1;
}

static int tell_redriven(struct sb_shard_frames *f, struct sb_deadletters *table, struct sb_err *err)
{
	struct sb_frame_iter it = { .rest = sb_buf_slice(&f->append.frames), .seq = f->append.seq };
	struct sb_frame frame;
	int r = 0;

	for (size_t i = 0; i < f->n_redriven && sb_frame_next(&it, &frame) == 1;)
		if ((size_t)(it.rest.p - f->append.frames.p) == f->redriven[i].end)
			r |= tell_ended(table, &f->redriven[i++], frame.seq, err);
	return r;
}

/* Waiting helps against a full disk and a table that somebody holds, not against a disk or a table that is broken. */
static bool may_pass(const struct sb_err *err)
{
	return err->code == SB_E_FULL || err->code == SB_E_BUSY;
}

/*
 * What is not stored stays in the journal, which keeps the segment; if waiting does not help, the next start stores it. -1: it
 * should wait.
 */
static int tell_table(struct sb_shard_frames *f, struct sb_deadbox *box, struct sb_err *err)
{
	struct sb_deadletters *table = sb_deadbox_own_table(box);
	uint64_t last;
	bool failed;

	SB_FAULT("deadbox.before_store");
	failed = store_dead(&f->append, table, err) < 0;
	if (failed && may_pass(err))
		return -1;
	failed |= tell_redriven(f, table, err) < 0; /* each tries: what fails is remembered by its number */
	if (failed && may_pass(err))
		return -1;
	SB_FAULT("deadbox.after_store");
	if (failed)
		sb_log(SB_LOG_ERROR, "dead letter not stored, the journal keeps it", KERR(err));
	if (sb_deadletters_last_seq(table, &last, err) == 0)
		sb_journal_released(f->shard->core->journal, last);
	return 0;
}

/* false: the table took it, or will never. */
static bool letters_wait(struct sb_shard_frames *f)
{
	struct sb_core *core = f->shard->core;
	bool others = sb_deadbox_waits(core->deadbox);
	struct sb_err err;

	if (!others && tell_table(f, core->deadbox, &err) == 0)
		return false;
	f->append.mail.run = frames_letters;
	if (!sb_deadbox_wait(core->deadbox, &f->append.mail, core->clock))
		return false;
	if (!others)
		sb_log(SB_LOG_ERROR, "dead letters cannot be stored now, the journal keeps them meanwhile", KERR(&err));
	return true;
}

/*
 * On the dead-letter thread. The journal's writer posts these appends here itself, so that the table sees dead letters in the
 * order of the journal, whichever shard they died on. Those that wait count for their shard, which begins nothing new when it
 * is too much.
 */
static void frames_letters(struct sb_mail *m)
{
	struct sb_append *a = SB_CONTAINER(m, struct sb_append, mail);
	struct sb_shard_frames *f = SB_CONTAINER(a, struct sb_shard_frames, append);

	if (a->status == SB_APPEND_DURABLE && letters_wait(f))
		return;
	a->mail.run = frames_done;
	sb_mailbox_post(&f->shard->mail, &a->mail);
}

/* A receipt that was not recorded is not settled: its source will hand the event over again. */
static void settle_recorded(struct sb_shard_frames *f)
{
	struct sb_link *l;

	while ((l = sb_list_pop_front(&f->settled)))
		if (f->append.status == SB_APPEND_DURABLE)
			sb_receipt_recorded(sb_receipt_of_link(l));
		else
			sb_receipt_unrecorded(sb_receipt_of_link(l));
}

static void frames_done(struct sb_mail *m)
{
	struct sb_append *a = SB_CONTAINER(m, struct sb_append, mail);
	struct sb_shard_frames *f = SB_CONTAINER(a, struct sb_shard_frames, append);
	struct sb_shard *s = f->shard;

	/* A failed state append has made the journal call its fatal handler: the process ends, recovery reads the rest. */
	s->state_bytes -= a->frames.len;
	if (s->state_held && s->state_bytes < STATE_BYTES_HOLD / 2)
		hold_targets(s, false);
	settle_recorded(f);
	if (a->status != SB_APPEND_DURABLE)
		sb_append_drop_deliveries(a);
	for (size_t i = 0; i < f->n_redriven; i++)
		sb_pool_free((void *)f->redriven[i].what.letter.p);
	f->n_redriven = 0;
	if (f->append.frames.cap > (4u << 20))
		sb_buf_done(&f->append.frames);
	sb_list_push_front(&s->free_frames, &f->link);
}
