/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger.h"

#include "tests/support/test.h"

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>

#include "play.h"

#define HEADER_BYTES 4096 /* of a segment file, before its first frame */
#define PROMPT_MS 1500    /* a delivery that nothing stands in the way of has begun by then */
#define LATE_MS 2500      /* a retry that is due, at a target that is never busy: a worker starts, a restart spreads */
#define START_PAUSE_MS 35000 /* an attempt that waits for its worker waits no longer */
#define TRACE_SHOWN 4000

/* ------------------------------------------------------------------------------------------------ saying */

void ledger_done(struct ledger *l)
{
	free(l->event);
	free(l->delivery);
	free(l->record);
	sb_buf_done(&l->trace);
}

void ledger_say(struct ledger *l, const char *fmt, ...)
{
	char line[512];
	uint64_t us = (l->clock->mono - l->begin_ns) / 1000;
	va_list ap;

	if (l->deaf)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	sb_buf_addf(&l->trace, "%6" PRIu64 ".%06" PRIu64 " %s\n", us / 1000000, us % 1000000, line);
}

void ledger_broken(struct ledger *l, const char *fmt, ...)
{
	size_t from = l->trace.len > TRACE_SHOWN ? l->trace.len - TRACE_SHOWN : 0;
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	print_error("%.*s\n", (int)(l->trace.len - from), l->trace.p + from);
	fail_msg("%s: %s", l->where, what);
	abort(); /* never reached: cmocka jumps away, but does not say so */
}

const char *ledger_label(const struct ledger_delivery *d)
{
	static char text[2][96];
	static unsigned i;

	i = !i;
	snprintf(text[i], sizeof(text[i]), "e%u/%s", d->ev->n, d->target);
	return text[i];
}

/* ------------------------------------------------------------------------------------------------ finding */

struct ledger_delivery *ledger_by_id(struct ledger *l, struct sb_slice id)
{
	for (size_t i = 0; i < l->n_deliveries; i++)
		if (sb_slice_eq_str(id, l->delivery[i].id))
			return &l->delivery[i];
	return NULL;
}

static struct ledger_delivery *by_number(struct ledger *l, uint64_t dno)
{
	for (size_t i = 0; i < l->n_deliveries; i++)
		if (l->delivery[i].dno == dno)
			return &l->delivery[i];
	ledger_broken(l, "the disk has a record of delivery %" PRIu64 ", which nobody owes", dno);
}

static uint64_t number_behind(struct sb_slice text, const char *key)
{
	const char *p = memmem(text.p, text.n, key, strlen(key));

	return p ? strtoull(p + strlen(key), NULL, 10) : UINT64_MAX;
}

static struct ledger_event *event_of(struct ledger *l, struct sb_slice json)
{
	uint64_t n = number_behind(json, "\"n\":");

	if (n >= l->n_events)
		ledger_broken(l, "an event that was not sent: %.*s", SB_SLICE_ARG(json));
	return &l->event[n];
}

/* An exec command is known by what it was given: one delivery of each event goes to such a target. */
static struct ledger_delivery *by_text(struct ledger *l, struct sb_slice text)
{
	const struct ledger_event *ev = event_of(l, text);

	for (size_t i = 0; i < l->n_deliveries; i++)
		if (l->delivery[i].ev == ev && strcmp(l->delivery[i].target, "shot") == 0)
			return &l->delivery[i];
	return NULL;
}

static const struct sb_target_policy *policy_of(const struct ledger *l, const struct ledger_delivery *d)
{
	return &sb_config_target(l->config, d->target)->policy;
}

/* ------------------------------------------------------------------------------------------------ the disk: events */

static struct ledger_delivery *owe(
	struct ledger *l, const struct sb_event_view *v, const struct sb_owed_view *o, unsigned ordinal)
{
	char id[SB_UUID_TEXT + 12], receipt[SB_UUID_TEXT + 1];
	struct ledger_delivery *d;

	sb_uuid_format(&v->receipt, receipt);
	snprintf(id, sizeof(id), "%s.%u", receipt, ordinal);
	d = ledger_by_id(l, sb_slice_str(id));
	if (!d && l->n_deliveries == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 256;
		l->delivery = sb_xrealloc(l->delivery, l->cap * sizeof(*d));
	}
	if (!d)
		d = &l->delivery[l->n_deliveries++];
	else if (d->durable)
		ledger_broken(
			l, "two deliveries have the id %s: to %s and to %.*s", id, d->target, SB_SLICE_ARG(o->target));
	*d = (struct ledger_delivery){ .ev = event_of(l, v->json),
		.rule = sb_name(o->rule),
		.target = sb_name(o->target),
		.origin = sb_name(v->origin),
		.received_ms = v->received_ms,
		.letter = o->flags & SB_OWED_FINAL };
	memcpy(d->id, id, sizeof(id));
	return d;
}

/* The number of a frame that the writer has stamped stands before its payload. */
static uint64_t seq_of(struct sb_slice payload)
{
	uint64_t seq;

	memcpy(&seq, payload.p - sizeof(seq), sizeof(seq));
	return le64toh(seq);
}

static void record_durable(struct ledger *l, struct ledger_record *r)
{
	r->durable = r->ev->durable = true;
	l->events++;
	l->unmatched += r->n_owed == 0;
}

static void event_written(struct ledger *l, struct sb_slice payload)
{
	struct sb_event_view v;
	struct sb_owed_view o;
	unsigned ordinal = 0;

	if (sb_event_view(payload, &v) < 0)
		ledger_broken(l, "an EVENT record on the disk cannot be read");
	for (struct sb_slice owed = v.owed; sb_owed_next(&owed, &o) == 1; ordinal++)
		owe(l, &v, &o, ordinal)->dno = v.first_dno + ordinal;
	l->record = sb_xrealloc(l->record, (l->n_records + 1) * sizeof(*l->record));
	l->record[l->n_records++] =
		(struct ledger_record){ event_of(l, v.json), seq_of(payload), v.first_dno, v.n_owed, false };
}

static void event_durable(struct ledger *l, struct sb_slice payload)
{
	uint64_t seq = seq_of(payload);
	struct sb_event_view v;

	sb_event_view(payload, &v);
	for (uint32_t i = 0; i < v.n_owed; i++) {
		struct ledger_delivery *d = by_number(l, v.first_dno + i);

		d->durable = true;
		d->durable_ns = l->clock->mono;
		ledger_say(l, "owed %s by rule %s", ledger_label(d), d->rule);
	}
	for (size_t i = 0; i < l->n_records; i++)
		if (l->record[i].seq == seq)
			record_durable(l, &l->record[i]);
}

/* ------------------------------------------------------------------------------------------------ the disk: outcomes */

/* A retry is uniform in 0 .. min(cap, base * 2^n), and never begins before it is due. */
static void check_backoff(struct ledger *l, const struct ledger_delivery *d, const struct sb_attempt_record *r)
{
	const struct sb_retry_policy *p = &policy_of(l, d)->retry;
	uint64_t top = r->attempts > 40 || d->letter ? p->cap_ms : SB_MIN(p->cap_ms, p->base_ms << (r->attempts - 1));
	uint64_t wait = r->due_wall_ms - r->at_wall_ms;

	if (r->due_wall_ms < r->at_wall_ms || wait > top)
		ledger_broken(l, "%s waits %" PRIu64 " ms after attempt %u, at most %" PRIu64 " were right",
			ledger_label(d), wait, r->attempts, top);
	if (d->asked_attempt == r->attempts + 1 && d->asked_ms < r->due_wall_ms)
		ledger_broken(l, "%s: attempt %u began %" PRIu64 " ms early", ledger_label(d), d->asked_attempt,
			r->due_wall_ms - d->asked_ms);
	if (top != p->cap_ms || d->letter) /* a letter that is rejected waits for the whole of it */
		return;
	l->capped++;
	l->capped_low += wait < top / 2;
	l->capped_high += wait > top - top / 8;
}

static void attempt_written(struct ledger *l, struct sb_slice payload, bool durable)
{
	struct sb_attempt_record r;
	struct ledger_delivery *d;

	if (sb_attempt_view(payload, &r) < 0)
		ledger_broken(l, "an ATTEMPT record on the disk cannot be read");
	d = by_number(l, r.dno);
	if (r.attempts != (durable ? d->durable_tries : d->maybe_tries) + 1)
		ledger_broken(
			l, "%s: attempt %u was recorded after attempt %u", ledger_label(d), r.attempts, d->maybe_tries);
	if (!durable) {
		d->maybe_tries = r.attempts;
		return;
	}
	d->durable_tries = r.attempts;
	d->due_ms = r.due_wall_ms;
	check_backoff(l, d, &r);
}

static void result_written(struct ledger *l, struct sb_slice payload, bool durable)
{
	struct sb_result_record r;
	struct ledger_delivery *d;

	if (sb_result_view(payload, &r) < 0)
		ledger_broken(l, "a RESULT record on the disk cannot be read");
	d = by_number(l, r.dno);
	if (!durable) {
		d->maybe_end = END_DELIVERED;
		return;
	}
	if (d->durable_end != END_OPEN)
		ledger_broken(l, "%s has a second outcome", ledger_label(d));
	if (r.attempts != d->ev->times + 1)
		ledger_broken(
			l, "%s was delivered after %u attempts, not %u", ledger_label(d), r.attempts, d->ev->times + 1);
	d->durable_end = END_DELIVERED;
}

static void check_exhausted(struct ledger *l, const struct ledger_delivery *d, const struct sb_dead_record *r)
{
	const struct sb_target_policy *p = policy_of(l, d);
	uint64_t age = r->dead_ms - r->received_ms, max_age = p->retry.max_age_ms;
	enum ledger_fate fate = play_fate(d->target);

	if (r->reason != SB_R_ERROR_FROM_TARGET || r->attempts != d->tries)
		ledger_broken(l, "%s died of %s after %u attempts, %u were made", ledger_label(d),
			sb_reason_name(r->reason), r->attempts, d->tries);
	if (r->exhausted == 1 && fate != FATE_AGE && r->attempts == p->retry.max_retries + 1 && age <= max_age)
		return;
	if (r->exhausted == 2 && fate != FATE_COUNT && r->attempts <= p->retry.max_retries &&
		age + p->retry.cap_ms >= max_age && age <= max_age + p->timeout_ms)
		return;
	ledger_broken(l, "%s died after %u attempts at the age of %" PRIu64 " ms: exhausted %u", ledger_label(d),
		r->attempts, age, r->exhausted);
}

static void check_death(struct ledger *l, const struct ledger_delivery *d, const struct sb_dead_record *r)
{
	uint64_t age = r->dead_ms - r->received_ms;
	const struct sb_retry_policy *p = &policy_of(l, d)->retry;
	bool right = false;

	switch (play_fate(d->target)) {
	case FATE_DELIVERED: break;
	case FATE_REJECTED: right = r->reason == SB_R_ERROR_FROM_TARGET && r->attempts == 1 && r->exhausted == 0; break;
	case FATE_EXHAUSTED:
	case FATE_COUNT:
	case FATE_AGE: check_exhausted(l, d, r); return;
	case FATE_UNREACHED:
		right = (r->reason == SB_R_CONNECTION_FAILURE || r->reason == SB_R_NO_RESOURCE) && r->attempts == 0 &&
			r->exhausted == 2 && age >= p->max_age_ms && age <= p->max_age_ms + START_PAUSE_MS;
		break;
	case FATE_NO_ROOM: right = r->reason == SB_R_QUEUE_FULL && r->attempts == 0; break;
	}
	if (!right)
		ledger_broken(l, "%s died of %s after %u attempts at the age of %" PRIu64 " ms", ledger_label(d),
			sb_reason_name(r->reason), r->attempts, age);
}

static void dead_written(struct ledger *l, struct sb_slice payload, bool durable)
{
	struct sb_dead_record r;
	struct ledger_delivery *d;

	if (sb_dead_view(payload, &r) < 0)
		ledger_broken(l, "a DEAD record on the disk cannot be read");
	d = by_number(l, r.dno);
	if (!durable) {
		d->maybe_end = END_DEAD;
		return;
	}
	if (d->durable_end != END_OPEN || d->end != END_OPEN)
		ledger_broken(l, "%s has a second outcome", ledger_label(d));
	if (!sb_slice_eq_str(r.id, d->id) || !sb_slice_eq_str(r.target, d->target) ||
		!sb_slice_eq_str(r.rule, d->rule) || r.received_ms != d->received_ms ||
		r.first_attempt_ms > r.last_attempt_ms || r.last_attempt_ms > r.dead_ms)
		ledger_broken(l, "%s: its DEAD record does not tell its story", ledger_label(d));
	check_death(l, d, &r);
	d->durable_end = d->end = END_DEAD;
	l->life.dead++;
	l->letters_kept += !r.forwarded;
	ledger_say(l, "dead %s %s attempts %u exhausted %u%s", ledger_label(d), sb_reason_name(r.reason), r.attempts,
		r.exhausted, r.forwarded ? " forwarded" : "");
}

/* ------------------------------------------------------------------------------------------------ the disk */

static void records(struct ledger *l, uint64_t off, struct sb_slice bytes, bool durable)
{
	struct sb_frame_iter it = { .rest = bytes };
	struct sb_frame f;

	if (l->deaf)
		return;
	if (off == 0)
		it.rest = sb_slice(bytes.p + HEADER_BYTES, bytes.n - HEADER_BYTES);
	while (sb_frame_next(&it, &f) == 1) {
		if (f.type == SB_REC_EVENT && durable)
			event_durable(l, f.payload);
		else if (f.type == SB_REC_EVENT)
			event_written(l, f.payload);
		else if (f.type == SB_REC_ATTEMPT)
			attempt_written(l, f.payload, durable);
		else if (f.type == SB_REC_RESULT)
			result_written(l, f.payload, durable);
		else if (f.type == SB_REC_DEAD)
			dead_written(l, f.payload, durable);
	}
}

void ledger_written(void *arg, uint64_t off, struct sb_slice bytes)
{
	records(arg, off, bytes, false);
}

void ledger_durable(void *arg, uint64_t off, struct sb_slice bytes)
{
	records(arg, off, bytes, true);
}

/* ------------------------------------------------------------------------------------------------ sources and workers */

void ledger_accepted(struct ledger *l, struct ledger_event *ev)
{
	if (l->deaf)
		return;
	if (!ev->durable)
		ledger_broken(l, "e%u was acknowledged before it was on the disk", ev->n);
	ev->accepted = true;
	ledger_say(l, "accepted e%u", ev->n);
}

static void check_order(struct ledger *l, const struct ledger_delivery *d)
{
	for (size_t i = 0; i < l->n_deliveries; i++) {
		const struct ledger_delivery *o = &l->delivery[i];

		if (o->target == d->target && o->dno < d->dno && o->end == END_OPEN &&
			strcmp(o->ev->key, d->ev->key) == 0)
			ledger_broken(l, "%s of key %s overtook %s", ledger_label(d), d->ev->key, ledger_label(o));
	}
}

/* When it may begin, and when it must have. */
static void check_moment(struct ledger *l, const struct ledger_delivery *d, unsigned attempt)
{
	uint64_t now = sb_wall_ms(&l->clock->clock);
	enum ledger_fate fate = play_fate(d->target);
	bool free_way =
		strcmp(d->target, "quick") == 0 || (strcmp(d->target, "ordered") == 0 && strcmp(d->ev->key, "b") != 0);

	if (strcmp(d->target, "ordered") == 0)
		check_order(l, d);
	if (attempt > 1 && attempt == d->durable_tries + 1 && now < d->due_ms)
		ledger_broken(
			l, "%s: attempt %u began %" PRIu64 " ms early", ledger_label(d), attempt, d->due_ms - now);
	if (attempt > 1 && attempt == d->durable_tries + 1 && now > d->due_ms + LATE_MS &&
		(fate == FATE_EXHAUSTED || fate == FATE_COUNT || fate == FATE_AGE))
		ledger_broken(l, "%s: attempt %u began %" PRIu64 " ms late", ledger_label(d), attempt, now - d->due_ms);
	if (free_way && attempt == 1 && !l->crashes && !l->restarts &&
		l->clock->mono > d->durable_ns + PROMPT_MS * SB_NS_PER_MS)
		ledger_broken(l, "%s was held up by others for %" PRIu64 " ms", ledger_label(d),
			(l->clock->mono - d->durable_ns) / SB_NS_PER_MS);
}

struct ledger_delivery *ledger_request(
	struct ledger *l, struct sb_slice id, struct sb_slice text, unsigned *ret_attempt)
{
	struct ledger_delivery *d = id.n ? ledger_by_id(l, id) : by_text(l, text);
	unsigned attempt;

	if (!d || !d->durable)
		ledger_broken(l, "a worker got what is not on the disk: %.*s", SB_SLICE_ARG(text));
	attempt = id.n ? (unsigned)number_behind(text, "\"attempt\":") : d->tries + 1;
	if (d->end != END_OPEN)
		ledger_broken(l, "%s: attempt %u after its end", ledger_label(d), attempt);
	if (attempt != d->tries + 1)
		ledger_broken(l, "%s: attempt %u, %u were made", ledger_label(d), attempt, d->tries);
	check_moment(l, d, attempt);
	d->asked_attempt = attempt;
	d->asked_ms = sb_wall_ms(&l->clock->clock);
	*ret_attempt = attempt;
	return d;
}

void ledger_settled(struct ledger *l, const struct sb_delivery *dl, const struct sb_result *r)
{
	struct ledger_delivery *d;

	if (l->deaf)
		return;
	d = ledger_by_id(l, sb_slice_str(dl->id));
	if (!d || !d->durable || d->dno != dl->handover.dno)
		ledger_broken(l, "%s was attempted, but is not on the disk", dl->id);
	if (r->outcome == SB_DELIVERED || r->outcome == SB_RETRY || r->outcome == SB_REJECTED)
		d->tries++;
	if (r->outcome == SB_DELIVERED) {
		d->end = END_DELIVERED;
		d->successes++;
		l->life.delivered++;
	}
	ledger_say(l, "%s %s attempts %u %s %.*s", sb_outcome_name(r->outcome), ledger_label(d), d->tries,
		sb_reason_name(r->reason), SB_SLICE_ARG(r->message));
}

/* ------------------------------------------------------------------------------------------------ the next life */

/* What was written when the power went is there as a whole or not at all; what was synced is there. */
static void recover_delivery(struct ledger *l, struct ledger_delivery *d, const struct sb_recovery *rec)
{
	const struct sb_recovered_attempt *a = sb_recovery_attempt(rec, d->dno);
	unsigned tries = a ? a->attempts : 0;

	if (sb_recovery_done(rec, d->dno)) {
		if (d->durable_end == END_OPEN && d->maybe_end == END_OPEN)
			ledger_broken(l, "%s was lost: it is finished after the restart, and was not before",
				ledger_label(d));
		if (d->durable_end == END_OPEN)
			l->letters_kept += d->maybe_end == END_DEAD && strcmp(d->target, "strict") != 0;
		d->end = d->durable_end = d->durable_end == END_OPEN ? d->maybe_end : d->durable_end;
		return;
	}
	if (d->durable_end != END_OPEN)
		ledger_broken(l, "%s had its outcome on the disk, and is owed again", ledger_label(d));
	if (tries < d->durable_tries || tries > d->maybe_tries)
		ledger_broken(l, "%s goes on after %u attempts; on the disk were %u, perhaps %u", ledger_label(d),
			tries, d->durable_tries, d->maybe_tries);
	if (tries != d->durable_tries)
		d->due_ms = a->due_wall_ms;
	d->tries = d->durable_tries = tries;
	d->end = END_OPEN;
}

/*
 * Which of the records that were on their way are there. One that owes something took delivery numbers; whether others are
 * can only be told by their count: they were in one group.
 */
static void recover_records(struct ledger *l, const struct sb_recovery *rec, uint64_t unmatched)
{
	bool others = unmatched != l->unmatched;
	size_t kept = 0;

	for (size_t i = 0; i < l->n_records; i++) {
		struct ledger_record *r = &l->record[i];

		if (!r->durable && (r->n_owed ? r->first_dno < rec->next_dno : others))
			record_durable(l, r);
		else if (r->durable && r->seq >= rec->next_seq)
			ledger_broken(l, "e%u was lost", r->ev->n);
		if (r->durable)
			l->record[kept++] = *r;
	}
	l->n_records = kept;
}

void ledger_recovered(struct ledger *l, const struct sb_recovery *rec, uint64_t unmatched)
{
	size_t kept = 0;

	recover_records(l, rec, unmatched);
	for (size_t i = 0; i < l->n_deliveries; i++) {
		struct ledger_delivery *d = &l->delivery[i];

		if (!d->durable && d->dno >= rec->next_dno)
			continue; /* written, never acknowledged, gone */
		if (d->dno >= rec->next_dno)
			ledger_broken(l, "%s was lost", ledger_label(d));
		d->durable = true;
		recover_delivery(l, d, rec);
		d->maybe_tries = d->durable_tries;
		d->maybe_end = d->durable_end;
		d->asked_attempt = 0;
		l->delivery[kept++] = *d;
	}
	l->n_deliveries = kept;
	l->life.delivered = l->life.dead = 0;
}
