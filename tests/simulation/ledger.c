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
	fwrite(l->trace.p + from, 1, l->trace.len - from, stderr);
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
		if (dno && l->delivery[i].dno == dno)
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

static struct ledger_delivery *add_delivery(struct ledger *l)
{
	if (l->n_deliveries == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 256;
		l->delivery = sb_xrealloc(l->delivery, l->cap * sizeof(*l->delivery));
	}
	return &l->delivery[l->n_deliveries++];
}

/* One that is owed by a record. It may have been tried already: then its source holds it. */
static void owe(struct ledger *l, const struct sb_event_view *v, const struct sb_owed_view *o, unsigned ordinal)
{
	char id[SB_UUID_TEXT + 12], receipt[SB_UUID_TEXT + 1];
	struct ledger_delivery *d;

	sb_uuid_format(&v->receipt, receipt);
	snprintf(id, sizeof(id), "%s.%u", receipt, ordinal);
	d = ledger_by_id(l, sb_slice_str(id));
	if (d && d->durable)
		ledger_broken(
			l, "two deliveries have the id %s: to %s and to %.*s", id, d->target, SB_SLICE_ARG(o->target));
	if (d && d->held && (!sb_slice_eq_str(o->target, d->target) || !sb_slice_eq_str(o->rule, d->rule)))
		ledger_broken(l, "%s is recorded as owed to %.*s by %.*s", ledger_label(d), SB_SLICE_ARG(o->target),
			SB_SLICE_ARG(o->rule));
	if (!d || !d->held) {
		d = d ? d : add_delivery(l);
		*d = (struct ledger_delivery){ .ev = event_of(l, v->json),
			.rule = sb_name(o->rule),
			.target = sb_name(o->target),
			.origin = sb_name(v->origin),
			.received_ms = v->received_ms,
			.letter = o->flags & SB_OWED_FINAL };
		memcpy(d->id, id, sizeof(id));
	}
	d->dno = v->first_dno + ordinal;
}

/* The number of a frame that the writer has stamped stands before its payload. */
static uint64_t seq_of(struct sb_slice payload)
{
	uint64_t seq;

	memcpy(&seq, payload.p - sizeof(seq), sizeof(seq));
	return le64toh(seq);
}

static void add_record(struct ledger *l, const struct ledger_record *r, const struct sb_uuid *receipt)
{
	l->record = sb_xrealloc(l->record, (l->n_records + 1) * sizeof(*l->record));
	l->record[l->n_records] = *r;
	sb_uuid_format(receipt, l->record[l->n_records++].receipt);
}

/* With a DIRECT record its deliveries are on the disk for the first time, and have their end. */
static void deliver_direct(struct ledger *l, const struct ledger_record *r)
{
	for (size_t i = 0; i < l->n_deliveries; i++) {
		struct ledger_delivery *d = &l->delivery[i];

		if (strncmp(d->id, r->receipt, SB_UUID_TEXT) == 0) {
			d->durable = true;
			d->end = d->maybe_end = d->durable_end = END_DELIVERED;
		}
	}
}

static void record_durable(struct ledger *l, struct ledger_record *r)
{
	r->durable = r->ev->durable = true;
	l->events++;
	l->unmatched += r->n_owed == 0;
	if (r->direct) {
		deliver_direct(l, r);
		ledger_say(l, "recorded e%u", r->ev->n);
	}
}

static void event_written(struct ledger *l, struct sb_slice payload)
{
	struct sb_event_view v;
	struct sb_owed_view o;
	unsigned ordinal = 0;

	if (sb_event_view(payload, &v) < 0)
		ledger_broken(l, "an EVENT record on the disk cannot be read");
	for (struct sb_slice owed = v.owed; sb_owed_next(&owed, &o) == 1; ordinal++)
		owe(l, &v, &o, ordinal);
	add_record(l,
		&(struct ledger_record){ .ev = event_of(l, v.json),
			.seq = seq_of(payload),
			.first_dno = v.first_dno,
			.n_owed = v.n_owed },
		&v.receipt);
}

static void records_durable(struct ledger *l, uint64_t seq)
{
	for (size_t i = 0; i < l->n_records; i++)
		if (l->record[i].seq == seq)
			record_durable(l, &l->record[i]);
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
	records_durable(l, seq);
}

/* ------------------------------------------------------------------------------------------------ the disk: direct */

static struct ledger_event *handed_event(struct ledger *l, const char *receipt)
{
	for (size_t i = 0; i < l->n_events; i++)
		if (strcmp(l->event[i].receipt, receipt) == 0)
			return &l->event[i];
	ledger_broken(l, "a DIRECT record of an event that nobody has handed over: %s", receipt);
}

static void check_direct(struct ledger *l, const struct sb_direct_view *v, const char *receipt)
{
	struct sb_direct_done_view done;
	uint32_t n = 0;

	for (struct sb_slice rest = v->done; sb_direct_next(&rest, &done) == 1; n++) {
		char id[SB_UUID_TEXT + 12];
		const struct ledger_delivery *d;

		snprintf(id, sizeof(id), "%s.%u", receipt, n);
		d = ledger_by_id(l, sb_slice_str(id));
		if (!d || d->end != END_DELIVERED || !sb_slice_eq_str(done.target, d->target) ||
			!sb_slice_eq_str(done.rule, d->rule) || done.attempts != d->ev->times + 1)
			ledger_broken(l, "a DIRECT record says that %s was delivered after %u attempts",
				d ? ledger_label(d) : id, done.attempts);
	}
}

static void direct_written(struct ledger *l, struct sb_slice payload)
{
	char receipt[SB_UUID_TEXT + 1];
	struct sb_direct_view v;

	if (sb_direct_view(payload, &v) < 0)
		ledger_broken(l, "a DIRECT record on the disk cannot be read");
	sb_uuid_format(&v.receipt, receipt);
	check_direct(l, &v, receipt);
	add_record(l,
		&(struct ledger_record){
			.ev = handed_event(l, receipt), .seq = seq_of(payload), .n_owed = v.n, .direct = true },
		&v.receipt);
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
	/* attempts that were made before the event was on the disk are told by the first record after it */
	if (d->held ? r.attempts <= d->durable_tries : r.attempts != (durable ? d->durable_tries : d->maybe_tries) + 1)
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
		else if (f.type == SB_REC_DIRECT && durable)
			records_durable(l, seq_of(f.payload));
		else if (f.type == SB_REC_DIRECT)
			direct_written(l, f.payload);
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

void ledger_handed(struct ledger *l, struct ledger_event *ev, const struct sb_uuid *receipt)
{
	const struct play_way *way;
	size_t n = play_ways(ev->to, &way);
	unsigned ordinal = 0;

	sb_uuid_format(receipt, ev->receipt);
	for (size_t i = 0; i < n; i++) {
		struct ledger_delivery *d;

		if (play_comes_later(&way[i]))
			continue;
		d = add_delivery(l);
		*d = (struct ledger_delivery){ .ev = ev,
			.rule = sb_name_str(way[i].rule),
			.target = sb_name_str(way[i].target),
			.origin = sb_name_str("stream"),
			.received_ms = sb_wall_ms(&l->clock->clock),
			.held = true,
			.durable_ns = l->clock->mono };
		snprintf(d->id, sizeof(d->id), "%s.%u", ev->receipt, ordinal++);
	}
}

/* Its source forgets it: by then the disk must have its outcomes, or the event itself. */
void ledger_settled_at_source(struct ledger *l, struct ledger_event *ev)
{
	bool known = false;

	if (l->deaf)
		return;
	for (size_t i = 0; i < l->n_records; i++)
		known = known || (l->record[i].durable && strcmp(l->record[i].receipt, ev->receipt) == 0);
	if (!known || ev->settled)
		ledger_broken(
			l, "e%u was settled at its source %s", ev->n, known ? "twice" : "before it was on the disk");
	ev->settled = true;
	ledger_say(l, "settled e%u", ev->n);
}

static void check_order(struct ledger *l, const struct ledger_delivery *d)
{
	for (size_t i = 0; i < l->n_deliveries; i++) {
		const struct ledger_delivery *o = &l->delivery[i];

		if (o->target == d->target && o->dno && o->dno < d->dno && o->end == END_OPEN &&
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
	if (attempt > 1 && attempt == d->durable_tries + 1 && now > SB_MAX(d->due_ms, l->life.began_ms) + LATE_MS &&
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

	if (!d || !(d->durable || d->held))
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
	if (!d || !(d->durable || d->held) || (dl->handover.dno && d->dno != dl->handover.dno))
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
	if (tries < d->durable_tries || tries > d->maybe_tries || (l->clean && tries != d->tries))
		ledger_broken(l, "%s goes on after %u attempts of %u; on the disk were %u, perhaps %u", ledger_label(d),
			tries, d->tries, d->durable_tries, d->maybe_tries);
	if (l->clean && d->end != END_OPEN)
		ledger_broken(l, "%s had its end before a clean stop, and is owed after it", ledger_label(d));
	if (tries != d->durable_tries)
		d->due_ms = a->due_wall_ms;
	d->tries = d->durable_tries = tries;
	d->end = END_OPEN;
}

/*
 * Which of the records that were on their way are there. One that owes something took delivery numbers. The others can only
 * be told by the count of all: they were in one group.
 */
static void recover_records(struct ledger *l, const struct sb_recovery *rec, uint64_t events)
{
	uint64_t sure = 0;
	size_t kept = 0;
	bool others;

	for (size_t i = 0; i < l->n_records; i++) {
		struct ledger_record *r = &l->record[i];

		if (r->durable && r->seq >= rec->next_seq)
			ledger_broken(l, "e%u was lost", r->ev->n);
		if (!r->durable && r->n_owed && !r->direct && r->first_dno < rec->next_dno)
			record_durable(l, r);
		sure += r->durable;
	}
	others = events != sure;
	for (size_t i = 0; i < l->n_records; i++) {
		struct ledger_record *r = &l->record[i];

		if (!r->durable && others && (r->direct || !r->n_owed))
			record_durable(l, r);
		if (r->durable)
			l->record[kept++] = *r;
	}
	l->n_records = kept;
}

/* One that only memory had: its source has it still, and hands it over again. */
static bool is_forgotten(struct ledger *l, const struct ledger_delivery *d, const struct sb_recovery *rec)
{
	if (d->durable || (d->dno && d->dno < rec->next_dno))
		return false;
	if (l->clean && d->end == END_DELIVERED)
		ledger_broken(l, "%s was delivered, and will be again after a clean stop", ledger_label(d));
	return true; /* perhaps it was written; but never acknowledged */
}

void ledger_recovered(struct ledger *l, const struct sb_recovery *rec, uint64_t events)
{
	size_t kept = 0;

	recover_records(l, rec, events);
	for (size_t i = 0; i < l->n_deliveries; i++) {
		struct ledger_delivery *d = &l->delivery[i];

		if (is_forgotten(l, d, rec))
			continue;
		if (d->dno >= rec->next_dno)
			ledger_broken(l, "%s was lost", ledger_label(d));
		d->durable = true;
		if (d->dno)
			recover_delivery(l, d, rec);
		d->maybe_tries = d->durable_tries;
		d->maybe_end = d->durable_end;
		d->asked_attempt = 0;
		l->delivery[kept++] = *d;
	}
	l->n_deliveries = kept;
	l->life.delivered = l->life.dead = 0;
	l->life.began_ms = sb_wall_ms(&l->clock->clock);
	l->clean = false;
}
