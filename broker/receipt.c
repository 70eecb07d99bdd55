/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/receipt.h"

#include "broker/deadbox.h"
#include "broker/shard.h"

/*
 * The states of a receipt:
 *
 *   OPEN ──> all delivered ─────────────────────> RECORDED (its DIRECT record is in the turn's frames) ──> settled
 *     └───> stuck, old, asked, in order ──> SPILLING (its EVENT record is with the journal) ──durable──> settled
 *     ^                                         │
 *     └─────── no room: in a second again ──────┘   (`overflow: pause` and turned away: offered again in a second)
 *
 *   With an overflow topic what is stuck goes another way:
 *
 *   OPEN ──> WITHDRAWING (its deliveries are called back) ──> OVERFLOWING (its source sends it on) ──> RECORDED
 *                 └──> one is to die: SPILLING                     └──> its source is closed: SPILLING
 *
 * References: one of the source's shard until it is settled, one for each note that the journal has, one for each mail
 * there or back that is under way. Whoever lets go last frees it.
 */
#define AGAIN_NS SB_NS_PER_S

enum receipt_state { BUILDING, OPEN, WITHDRAWING, OVERFLOWING, RECORDED, SPILLING, SETTLED };

enum { /* what a ticket tells the source's shard */
	SAID_DELIVERED = 1,
	SAID_STUCK = 2,
	SAID_BOUNCED = 4, /* its target takes it only with a number, or has given it back */
	SAID_DYING = 8,
	SAID_CALLED = 16, /* the call to give it back has been there */
};

struct ticket {
	struct sb_handover note;  /* the journal writes its number in here, and mails it to the target's shard */
	struct sb_mail back, call;
	struct sb_receipt *receipt;
	struct sb_target_slot *slot;
	const char *rule;
	uint32_t lane;            /* 0: none; else it is bounced from the beginning */
	struct sb_slice input;    /* a copy of our own: the delivery may be gone when it is needed */
	uint8_t flags;            /* SB_OWED_* */
	bool as_begun;            /* as the EVENT record says */
	atomic_uint said;         /* SAID_*: not yet heard */
	/* the target's shard: */
	struct sb_delivery *dl;   /* in memory, without a number */
	bool delivered;
	/* written there before SAID_DELIVERED, then read here: */
	uint32_t attempts, took_us;
	/* the source's shard: */
	bool done, bounced, calling;
};

struct sb_receipt {
	atomic_uint refs;
	enum receipt_state state;
	bool wants_spill, wants_wait; /* said while it was being built */
	bool dying;               /* one of its deliveries has failed for good */
	bool to_journal;          /* it was on its way there, or must go: else it waits for its targets */
	struct sb_source_unit *unit;
	struct sb_link link;      /* in unit->held or unit->leaving; in the turn's records */
	struct sb_event *ev;
	uint64_t cookie, generation, since_ns;
	uint32_t epoch, n, left;
	struct sb_slice position; /* behind the tickets */
	struct ticket ticket[];
};

struct sb_link *sb_receipt_link(struct sb_receipt *r)
{
	return &r->link;
}

struct sb_receipt *sb_receipt_of_link(struct sb_link *l)
{
	return SB_CONTAINER(l, struct sb_receipt, link);
}

static void ref(struct sb_receipt *r, unsigned n)
{
	atomic_fetch_add_explicit(&r->refs, n, memory_order_relaxed); /* we hold one */
}

static void unref(struct sb_receipt *r)
{
	if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (uint32_t i = 0; i < r->n; i++)
		sb_pool_free((char *)r->ticket[i].input.p);
	sb_event_unref(r->ev);
	sb_pool_free(r);
}

/* Sources have heard their last, no more records are taken: what is left stays with its source. */
static bool too_late(const struct sb_core *core)
{
	return atomic_load_explicit(&core->settled, memory_order_relaxed);
}

static struct sb_shard *shard_of(const struct sb_receipt *r)
{
	return r->unit->shard;
}

/* ------------------------------------------------------------------------------------------------ settled */

static void settle(struct sb_receipt *r)
{
	struct sb_source_unit *u = r->unit;

	r->state = SETTLED;
	sb_list_unlink(&r->link);
	sb_count(&u->slot->held, (uint64_t)-1);
	if (!u->closed)
		u->source.ops->settled(&u->source, r->cookie, r->epoch);
	unref(r);
}

void sb_receipt_recorded(struct sb_receipt *r)
{
	settle(r);
}

void sb_receipt_unrecorded(struct sb_receipt *r)
{
	sb_list_push_back(&r->unit->leaving, &r->link);
}

static struct sb_direct_done *done_list(struct sb_receipt *r)
{
	struct sb_shard *s = shard_of(r);

	if (r->n > s->done_cap) {
		s->done_cap = SB_MAX(r->n, 16);
		s->done = sb_xrealloc(s->done, s->done_cap * sizeof(*s->done));
	}
	for (uint32_t i = 0; i < r->n; i++) {
		const struct ticket *t = &r->ticket[i];

		if (t->done)
			s->done[i] = (struct sb_direct_done){ t->rule, t->slot->name, t->attempts, t->took_us };
		else
			s->done[i] = (struct sb_direct_done){ t->rule, r->unit->slot->overflow, 0, 0 };
	}
	return s->done;
}

/* Everything is delivered, or sent on: this, and the source may forget the event. */
static void record(struct sb_receipt *r)
{
	struct sb_shard *s = shard_of(r);
	struct sb_direct_record rec = {
		.generation = r->generation,
		.at_wall_ms = sb_wall_ms(s->core->clock),
		.receipt = r->ev->receipt,
		.origin = sb_slice_str(r->ev->origin),
		.event_id = r->ev->id,
		.position = r->position,
		.done = done_list(r),
		.n = r->n,
	};
	int rc = sb_record_direct(sb_shard_frames_buf(s), &rec);

	SB_ASSERT(rc == 0); /* a shard flushes long before its buffer's end */
	r->state = RECORDED;
	sb_list_unlink(&r->link);
	sb_shard_frames_settle(s, r);
}

/* ------------------------------------------------------------------------------------------------ to the journal */

/* On the target's shard, in the order of the journal. */
static void on_note(struct sb_mail *m)
{
	struct ticket *t = SB_CONTAINER(m, struct ticket, note.mail);
	struct sb_dispatch *d = t->slot->dispatch;
	struct sb_receipt *r = t->receipt;
	struct sb_delivery *dl = t->dl;

	if (too_late(t->slot->core)) {
		unref(r);
		return;
	}
	if (t->delivered) {
		struct sb_result_record rec = { .dno = t->note.dno, .route = t->note.route, .attempts = t->attempts,
			.at_wall_ms = sb_wall_ms(t->slot->core->clock), .duration_us = t->took_us, .receipt = r->ev->receipt };
		int rc = sb_record_result(sb_shard_frames_buf(t->slot->home), &rec);

		SB_ASSERT(rc == 0);
		unref(r);
		return;
	}
	if (!dl) {
		dl = sb_delivery_new(d, sb_event_ref(r->ev), t->rule, t->note.ordinal, t->lane, t->flags, (char *)t->input.p,
			(uint32_t)t->input.n);
		t->input = (struct sb_slice){ 0 }; /* moved */
	}
	t->dl = NULL;
	dl->ticket = NULL;
	dl->handover.dno = t->note.dno;
	dl->handover.route = t->note.route;
	dl->handover.at = t->note.at;
	if (t->as_begun)
		sb_dispatch_number(d, dl);
	else
		sb_dispatch_deliver(d, dl);
	unref(r);
}

static void wait_in_line(struct sb_receipt *r)
{
	r->since_ns = sb_mono_ns(shard_of(r)->core->clock);
	sb_list_unlink(&r->link);
	sb_list_push_back(&r->unit->waiting, &r->link);
}

static void spilled(struct sb_intake_group *g, bool durable, const struct sb_refusal *why)
{
	struct sb_receipt *r = g->arg;

	(void)why;
	if (durable) {
		sb_count(&r->unit->slot->stat->spilled, 1);
		settle(r);
		return;
	}
	for (uint32_t i = 0; i < r->n; i++)
		unref(r); /* the notes' */
	r->state = OPEN;
	wait_in_line(r);
	if (r->left == 0 && !too_late(shard_of(r)->core))
		record(r);
}

static void owe_ticket(struct sb_shard *s, struct ticket *t, uint32_t ordinal, struct sb_handover *next)
{
	t->as_begun = !t->bounced;
	t->note = (struct sb_handover){ .mail.run = on_note, .home = &t->slot->home->mail, .ordinal = ordinal, .next = next };
	s->owed[ordinal] = (struct sb_owed){ .rule = t->rule, .target = t->slot->name, .lane = t->lane, .input = t->input,
		.flags = (uint8_t)(t->flags | (t->as_begun ? SB_OWED_BEGUN : 0)) };
}

static bool stopping(const struct sb_shard *s)
{
	return atomic_load_explicit(&s->core->stopping, memory_order_relaxed);
}

/* `overflow: pause`: it waits for its targets, and goes to the journal only to die, or to be ordered. */
static bool pauses(const struct sb_source_unit *u)
{
	return u->slot->spill_after_ns == UINT64_MAX;
}

static void spill(struct sb_receipt *r)
{
	struct sb_shard *s = shard_of(r);
	struct sb_intake_group *g = sb_intake_group_get(s);
	struct sb_event_record rec = { .ev = r->ev, .generation = r->generation, .position = r->position, .n_owed = r->n };
	int rc;

	if (r->n > s->owed_cap) {
		s->owed_cap = r->n;
		s->owed = sb_xrealloc(s->owed, s->owed_cap * sizeof(*s->owed));
		s->owed_to = sb_xrealloc(s->owed_to, s->owed_cap * sizeof(struct sb_target_slot *));
	}
	for (uint32_t i = 0; i < r->n; i++)
		owe_ticket(s, &r->ticket[i], i, i + 1 < r->n ? &r->ticket[i + 1].note : NULL);
	rec.owed = s->owed;
	rc = sb_record_event(&g->append.frames, &rec);
	SB_ASSERT(rc == 0); /* the intake has asked whether it fits a group */
	r->to_journal = true;
	g->append.deliveries = &r->ticket[0].note;
	g->notes = true;
	g->n = 0; /* it is counted already */
	g->done = spilled;
	g->arg = r;
	ref(r, r->n);
	r->state = SPILLING;
	sb_list_unlink(&r->link);
	sb_list_push_back(&r->unit->leaving, &r->link);
	sb_intake_group_submit(g);
}

/* ------------------------------------------------------------------------------------------------ sent on */

static void say(struct ticket *t, unsigned what);

/* On the target's shard. */
static void on_call(struct sb_mail *m)
{
	struct ticket *t = SB_CONTAINER(m, struct ticket, call);
	struct sb_receipt *r = t->receipt;
	unsigned what = SAID_CALLED;

	if (t->dl && !too_late(t->slot->core) && sb_dispatch_withdraw(t->slot->dispatch, t->dl)) {
		t->dl = NULL;
		what |= SAID_BOUNCED;
	}
	say(t, what);
	unref(r);
}

/* By mail, also at home: a target that has just failed is in the middle of it. */
static void call_back(struct ticket *t)
{
	if (t->done || t->bounced || t->calling)
		return;
	t->calling = true;
	ref(t->receipt, 1);
	t->call.run = on_call;
	sb_mailbox_post(&t->slot->home->mail, &t->call);
}

static void call_all_back(struct sb_receipt *r)
{
	for (uint32_t i = 0; i < r->n; i++)
		call_back(&r->ticket[i]);
}

static bool may_overflow(const struct sb_receipt *r)
{
	bool may = r->unit->slot->overflow && !r->unit->closing && !r->dying && !r->to_journal;

	for (uint32_t i = 0; i < r->n && may; i++)
		may = !r->ticket[i].lane && !(r->ticket[i].flags & SB_OWED_STILLBORN);
	return may;
}

static struct sb_slice owed_json(struct sb_receipt *r)
{
	struct sb_buf *out = &shard_of(r)->scratch;
	bool any = false;

	sb_buf_clear(out);
	for (uint32_t i = 0; i < r->n; i++) {
		if (r->ticket[i].done)
			continue;
		sb_buf_adds(out, any ? ",{\"rule\":" : "[{\"rule\":");
		sb_json_add_string(out, sb_slice_str(r->ticket[i].rule));
		sb_buf_addf(out, ",\"target\":\"%s\"}", r->ticket[i].slot->name);
		any = true;
	}
	sb_buf_addc(out, ']');
	return sb_buf_slice(out);
}

static void hand_back(struct sb_receipt *r)
{
	struct sb_source *s = &r->unit->source;
	const struct sb_overflow o = { .token = r, .event = r->ev, .position = r->position, .owed = owed_json(r) };

	r->state = OVERFLOWING;
	sb_list_unlink(&r->link);
	sb_list_push_back(&r->unit->leaving, &r->link);
	s->ops->overflow(s, &o);
}

/* How far are those that were called back? What is being tried is waited for. */
static void withdraw_step(struct sb_receipt *r)
{
	bool calling = false, tried = false;

	for (uint32_t i = 0; i < r->n; i++) {
		calling = calling || r->ticket[i].calling;
		tried = tried || (!r->ticket[i].done && !r->ticket[i].bounced);
	}
	if (calling)
		return;
	if (r->left == 0)
		record(r);
	else if (!may_overflow(r))
		spill(r);
	else if (!tried)
		hand_back(r);
}

static void withdraw(struct sb_receipt *r)
{
	r->state = WITHDRAWING;
	wait_in_line(r);
	call_all_back(r);
	withdraw_step(r);
}

static bool stopping_source(const struct sb_receipt *r)
{
	return stopping(shard_of(r)) || too_late(shard_of(r)->core);
}

void sb_source_overflowed(struct sb_source *s, void *token, bool there)
{
	struct sb_receipt *r = token;

	SB_ASSERT(r->state == OVERFLOWING && &r->unit->source == s);
	if (!there) {
		if (!stopping_source(r))
			spill(r);
		return;
	}
	sb_count(&r->unit->slot->stat->overflowed, 1);
	if (too_late(shard_of(r)->core))
		return;
	for (uint32_t i = 0; i < r->n; i++)
		if (!r->ticket[i].done)
			sb_dispatch_unreserve(r->ticket[i].slot->dispatch, sb_delivery_bytes(r->ev, (uint32_t)r->ticket[i].input.n));
	record(r);
}

/* False: it stays where it is. While stopping the source keeps it. */
static bool spill_if_open(struct sb_receipt *r)
{
	if (r->state == BUILDING)
		r->wants_spill = true;
	if (r->state != OPEN || stopping(shard_of(r)))
		return false;
	if (may_overflow(r))
		withdraw(r);
	else
		spill(r);
	return true;
}

void sb_receipts_spill(struct sb_source_unit *u, size_t n)
{
	while (n-- && !pauses(u) && !sb_list_empty(&u->held))
		if (!spill_if_open(sb_receipt_of_link(u->held.next)))
			return;
}

/* ------------------------------------------------------------------------------------------------ tickets speak */

static void bounced(struct sb_receipt *r)
{
	if (!pauses(r->unit))
		spill_if_open(r);
	else if (r->state == BUILDING)
		r->wants_wait = true;
	else if (r->state == OPEN)
		wait_in_line(r);
}

static void hear(struct ticket *t, unsigned said)
{
	struct sb_receipt *r = t->receipt;

	if (said & SAID_DELIVERED) {
		t->done = true;
		r->left--;
	}
	if (said & SAID_BOUNCED)
		t->bounced = true;
	if (said & SAID_CALLED)
		t->calling = false;
	r->dying = r->dying || said & SAID_DYING;
	if (too_late(t->slot->core))
		return;
	if (r->state == WITHDRAWING) {
		if (said & SAID_STUCK && !r->dying)
			call_back(t);
		withdraw_step(r);
	} else if (r->left == 0 && r->state == OPEN)
		record(r);
	else if (said & SAID_STUCK && !(said & SAID_DELIVERED))
		spill_if_open(r);
	else if (said & SAID_BOUNCED)
		bounced(r);
}

static void on_back(struct sb_mail *m)
{
	struct ticket *t = SB_CONTAINER(m, struct ticket, back);
	struct sb_receipt *r = t->receipt;

	hear(t, atomic_exchange_explicit(&t->said, 0, memory_order_acq_rel));
	unref(r);
}

/* On the target's shard. */
static void say(struct ticket *t, unsigned what)
{
	struct sb_receipt *r = t->receipt;

	if (t->slot->home == shard_of(r)) {
		hear(t, what);
		return;
	}
	if (atomic_fetch_or_explicit(&t->said, what, memory_order_acq_rel))
		return; /* the mail that is under way tells it too */
	ref(r, 1);
	t->back.run = on_back;
	sb_mailbox_post(&shard_of(r)->mail, &t->back);
}

void sb_receipt_delivered(struct sb_delivery *dl)
{
	struct ticket *t = dl->ticket;

	t->attempts = dl->attempts;
	t->took_us = dl->took_us;
	t->delivered = true;
	t->dl = NULL;
	say(t, SAID_DELIVERED);
}

/* With `overflow: pause` it may try as long as it likes; only what is to die needs a place in the journal. */
void sb_receipt_stuck(struct sb_delivery *dl, enum sb_stuck why)
{
	struct ticket *t = dl->ticket;

	if (why == SB_STUCK_DYING)
		say(t, SAID_STUCK | SAID_DYING);
	else if (!pauses(t->receipt->unit))
		say(t, SAID_STUCK);
}

static void offer(struct ticket *t)
{
	struct sb_delivery *dl = t->dl;

	if (sb_dispatch_offer(t->slot->dispatch, dl))
		return; /* it may be delivered by now */
	t->dl = NULL;
	sb_delivery_free(dl);
	say(t, SAID_BOUNCED);
}

static void on_offer(struct sb_mail *m)
{
	struct sb_delivery *dl = SB_CONTAINER(m, struct sb_delivery, handover.mail);
	struct ticket *t = dl->ticket;
	struct sb_receipt *r = t->receipt;

	offer(t);
	unref(r);
}

/* ------------------------------------------------------------------------------------------------ begin */

static void take_ticket(struct sb_receipt *r, uint32_t i, const struct sb_owed *o, struct sb_target_slot *slot)
{
	struct ticket *t = &r->ticket[i];

	*t = (struct ticket){ .receipt = r, .slot = slot, .rule = o->rule, .flags = o->flags, .lane = o->lane };
	atomic_init(&t->said, 0);
	if (o->flags & SB_OWED_INPUT)
		t->input = o->input;
	/* Order is by the numbers of the journal, and so is what never comes to be tried. */
	t->bounced = o->lane || (o->flags & SB_OWED_STILLBORN);
}

static void make_delivery(struct ticket *t)
{
	const struct sb_receipt *r = t->receipt;
	char *input = t->flags & SB_OWED_INPUT ? sb_pool_copy(t->input) : NULL;

	t->dl = sb_delivery_new(t->slot->dispatch, sb_event_ref(r->ev), t->rule, (uint32_t)(t - r->ticket), 0, t->flags, input,
		(uint32_t)t->input.n);
	t->dl->ticket = t;
}

static void send_out(struct ticket *t)
{
	struct sb_receipt *r = t->receipt;

	make_delivery(t);
	if (t->slot->home == shard_of(r)) {
		offer(t);
		return;
	}
	ref(r, 1);
	t->dl->handover.mail.run = on_offer;
	sb_mailbox_post(&t->slot->home->mail, &t->dl->handover.mail);
}

static struct sb_receipt *receipt_new(struct sb_source_unit *u, struct sb_event *ev, const struct sb_held *held)
{
	struct sb_shard *s = u->shard;
	uint32_t n = (uint32_t)s->n_owed;
	struct sb_receipt *r = sb_pool_alloc(sizeof(*r) + n * sizeof(r->ticket[0]) + held->position.n);
	char *position = (char *)&r->ticket[n];

	*r = (struct sb_receipt){ .unit = u, .ev = ev, .cookie = held->cookie, .epoch = held->epoch, .n = n, .left = n,
		.generation = ev ? ev->generation : 0, .since_ns = sb_mono_ns(s->core->clock) };
	atomic_init(&r->refs, 1);
	sb_list_init(&r->link);
	memcpy(position, held->position.p ? held->position.p : "", held->position.n);
	r->position = sb_slice(position, held->position.n);
	for (uint32_t i = 0; i < n; i++)
		take_ticket(r, i, &s->owed[i], s->owed_to[i]);
	s->n_owed = 0;
	return r;
}

void sb_receipt_begin(struct sb_source_unit *u, struct sb_event *ev, const struct sb_held *held)
{
	struct sb_receipt *r = receipt_new(u, ev, held);
	bool at_once = false; /* to the journal */

	sb_list_push_back(&u->held, &r->link);
	for (uint32_t i = 0; i < r->n; i++)
		at_once = at_once || r->ticket[i].bounced;
	for (uint32_t i = 0; i < r->n; i++) {
		r->ticket[i].bounced = at_once;
		if (!at_once)
			send_out(&r->ticket[i]);
	}
	r->wants_spill = r->wants_spill || at_once;
	r->state = OPEN;
	if (r->left == 0)
		record(r);
	else if (r->wants_spill)
		spill_if_open(r);
	else if (r->wants_wait)
		wait_in_line(r);
}

/* ------------------------------------------------------------------------------------------------ time */

static uint64_t due_of(const struct sb_link *head, uint64_t after_ns)
{
	const struct sb_receipt *r = sb_list_empty(head) ? NULL : SB_CONTAINER(head->next, struct sb_receipt, link);

	return r && after_ns < UINT64_MAX - r->since_ns ? r->since_ns + after_ns : UINT64_MAX;
}

static void spill_due(struct sb_source_unit *u, uint64_t now_ns)
{
	while (due_of(&u->held, u->slot->spill_after_ns) <= now_ns)
		if (!spill_if_open(sb_receipt_of_link(u->held.next)))
			return;
}

/* Those that were bounced, once more. */
static void offer_again(struct sb_receipt *r)
{
	sb_list_unlink(&r->link);
	sb_list_push_back(&r->unit->held, &r->link);
	for (uint32_t i = 0; i < r->n && r->state == OPEN; i++)
		if (r->ticket[i].bounced) {
			r->ticket[i].bounced = false;
			send_out(&r->ticket[i]);
		}
}

static void try_waiting(struct sb_source_unit *u, uint64_t now_ns)
{
	while (due_of(&u->waiting, AGAIN_NS) <= now_ns) {
		struct sb_receipt *r = sb_receipt_of_link(u->waiting.next);

		if (r->state == WITHDRAWING) { /* one that was not done with may be waiting again */
			wait_in_line(r);
			call_all_back(r);
		} else if (!r->to_journal)
			offer_again(r); /* what is turned away once more stands behind, and is not due */
		else if (!spill_if_open(r))
			return;
	}
}

void sb_receipts_tick(struct sb_shard *s, uint64_t now_ns)
{
	for (struct sb_link *l = s->units.next; l != &s->units && !stopping(s); l = l->next) {
		struct sb_source_unit *u = SB_CONTAINER(l, struct sb_source_unit, link);

		spill_due(u, now_ns);
		try_waiting(u, now_ns);
	}
}

uint64_t sb_receipts_next_due(const struct sb_shard *s)
{
	uint64_t first = UINT64_MAX;

	for (struct sb_link *l = s->units.next; l != &s->units && !stopping(s); l = l->next) {
		const struct sb_source_unit *u = SB_CONTAINER(l, struct sb_source_unit, link);

		first = SB_MIN(first, due_of(&u->held, u->slot->spill_after_ns));
		first = SB_MIN(first, due_of(&u->waiting, AGAIN_NS));
	}
	return first;
}

/* ------------------------------------------------------------------------------------------------ no event at all */

int sb_receipt_bury(struct sb_source_unit *u, const struct sb_held *held, const struct sb_unreadable *what)
{
	struct sb_shard *s = u->shard;
	const char *bus = u->source.bus ? u->source.bus : s->core->default_bus;
	uint64_t now = sb_wall_ms(s->core->clock);
	struct sb_receipt *r;
	char id[SB_UUID_TEXT + 1];
	struct sb_dead_record rec = {
		.id = { id, SB_UUID_TEXT }, .event_id = held->position, .bus = sb_slice_str(bus),
		.origin = sb_slice_str(u->source.name), .generation = s->plan->generation, .reason = (uint8_t)what->reason,
		.received_ms = now, .dead_ms = now, .message = what->message, .first_message = what->message, .event = what->value,
	};

	if (!sb_deadletters_room(sb_deadbox_table(s->core->deadbox), rec.event.n + rec.message.n))
		return -1;
	sb_uuid_format(&what->receipt, id);
	if (sb_record_dead(sb_shard_frames_buf(s), &rec) < 0)
		return -1;
	s->n_owed = 0;
	r = receipt_new(u, NULL, held);
	r->state = RECORDED;
	sb_count(&u->slot->held, 1);
	sb_shard_frames_dead(s);
	sb_shard_frames_settle(s, r);
	return 0;
}

void sb_receipts_drop(struct sb_source_unit *u)
{
	struct sb_link *l;

	while ((l = sb_list_pop_front(&u->held)) || (l = sb_list_pop_front(&u->waiting)) || (l = sb_list_pop_front(&u->leaving)))
		unref(sb_receipt_of_link(l));
}
