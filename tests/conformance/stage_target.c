/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target's framework. A batch and its items are gone with the settlement of the last one, as in the real framework; the
 * memory is kept and poisoned, so that who looks at it again falls on his face.
 */
#include "stage_own.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/base/event.h"

#define POISON 0xdb
#define SHIPMENT_BYTES(n) (sizeof(struct shipment) + (n) * sizeof(struct sb_item))

struct shipment {
	struct shipment *next; /* all of the stage, the last first */
	size_t first, n, left; /* of st->sent */
	struct {               /* what is poisoned */
		struct sb_batch batch;
	} * lent;
	struct sb_item *item;
};

static struct stage *stage_of(struct sb_target *t)
{
	return t->owner;
}

static struct shipment *shipment_of(struct stage *st, const struct sb_batch *b)
{
	struct shipment *s = st->shipments;

	while (s && &s->lent->batch != b)
		s = s->next;
	return s;
}

static void send_some(struct stage *st, struct shipment *s)
{
	struct watch w = watch_begin();

	st->sending = true;
	st->target->ops->send(st->target, &s->lent->batch);
	st->sending = false;
	watch_end(st, &w, "send()");
}

/* ------------------------------------------------------------------------------------------------ settlement */

static bool known(struct stage *st, const struct shipment *s, const struct sb_batch *b, size_t i)
{
	if (!s)
		violated(st, "it settled a batch %p that it was never given", (const void *)b);
	else if (st->phase == PHASE_CLOSED || st->phase == PHASE_SHUT)
		violated(st, "it settled an item after it had said closed");
	else if (i >= s->n)
		violated(st, "it settled item %zu of a batch of %zu", i, s->n);
	else if (st->sent[s->first + i].settled)
		violated(st, "it settled item %s twice", st->sent[s->first + i].id);
	else
		return true;
	return false;
}

/* People read it, and programs look at the reason. */
static void judge(struct stage *st, const struct sent *x, const struct sb_result *r)
{
	bool good = r->outcome == SB_DELIVERED;

	if ((unsigned)r->outcome > SB_RELEASED || (unsigned)r->reason >= SB_R_NREASONS)
		violated(st, "item %s: outcome %d, reason %d", x->id, (int)r->outcome, (int)r->reason);
	else if (good && r->reason != SB_R_NONE)
		violated(st, "item %s was delivered, but for the reason %s", x->id, sb_reason_name(r->reason));
	else if (!good && r->outcome != SB_RELEASED && (r->reason == SB_R_NONE || r->message.n == 0))
		violated(st, "item %s: %s, and it does not say why", x->id, sb_outcome_name(r->outcome));
	else if (r->message.n > 1024 || sb_utf8_check(r->message.p, r->message.n) != r->message.n)
		violated(st, "item %s: the message is longer than 1 KiB, or no UTF-8", x->id);
	else if ((r->tail.n && !r->tail.p) || (r->body.n && !r->body.p))
		violated(st, "item %s: a tail or a body of nothing", x->id);
}

/* Settling may send, but not from within send(): whoever called that goes on. */
static void feed(struct stage *st)
{
	while (!st->sending && st->to_feed && st->phase == PHASE_OPEN && st->outstanding < st->target->concurrency) {
		st->to_feed--;
		stage_send(st, 1, sb_slice(NULL, 0));
	}
}

static void on_settle(struct sb_target *t, struct sb_batch *b, size_t i, const struct sb_result *r)
{
	struct stage *st = stage_of(t);
	struct shipment *s = shipment_of(st, b);
	struct sent *x;

	if (!known(st, s, b, i))
		return;
	x = &st->sent[s->first + i];
	judge(st, x, r);
	x->settled = 1;
	x->outcome = r->outcome;
	x->reason = r->reason;
	snprintf(x->message, sizeof(x->message), "%.*s", (int)SB_MIN(r->message.n, sizeof(x->message) - 1),
		r->message.p);
	st->settled++;
	st->outstanding--;
	if (--s->left == 0) {
		memset(s->lent, POISON, sizeof(*s->lent));
		memset(s->item, POISON, s->n * sizeof(*s->item));
	}
	feed(st);
}

static void on_closed(struct sb_target *t)
{
	said_closed(stage_of(t));
}

static void on_reachable(struct sb_target *t)
{
	struct stage *st = stage_of(t);

	if (st->sending)
		violated(st, "it said that it can be reached from within send()");
	else if (st->phase != PHASE_OPEN)
		violated(st, "it said that it can be reached while it was not open");
}

/* ------------------------------------------------------------------------------------------------ sending */

/* An event around the detail; what targets get is its text. */
static struct sb_event *make_event(const char *id, struct sb_slice detail)
{
	struct sb_buf text = SB_BUF(STAGE_EVENT_MAX + 4096);
	struct sb_event *ev;
	struct sb_err err;

	sb_buf_addf(
		&text, "{\"version\":\"0\",\"id\":\"%s\",\"source\":\"suite\",\"detail-type\":\"t\",\"detail\":", id);
	sb_buf_add_slice(&text, detail.n ? detail : SB_SLICE("{}"));
	sb_buf_addc(&text, '}');
	if (sb_event_parse(sb_buf_slice(&text), "default", "suite", &ev, &err) < 0) {
		fprintf(stderr, "the suite's own event: %s\n", err.msg);
		abort();
	}
	sb_buf_done(&text);
	return ev;
}

static struct sent *new_sent(struct stage *st, struct sb_slice detail)
{
	struct sent *x;

	if (st->n_sent == st->cap_sent) {
		st->cap_sent = st->cap_sent ? 2 * st->cap_sent : 64;
		st->sent = sb_xrealloc(st->sent, st->cap_sent * sizeof(*st->sent));
	}
	x = &st->sent[st->n_sent];
	memset(x, 0, sizeof(*x));
	snprintf(x->id, sizeof(x->id), "%u-%zu.0", st->serial, st->n_sent++);
	x->event = make_event(x->id, detail);
	return x;
}

static void fill(struct sb_item *it, const struct stage *st, size_t i)
{
	const struct sb_event *ev = st->sent[i].event;
	uint64_t ms = st->target->timeout_ms;

	*it = (struct sb_item){
		.delivery_id = ev->id, /* the same text, and it stays where it is */
		.attempt = 1,
		.deadline_mono_ns = sb_mono_ns(st->env.clock) + ms * SB_NS_PER_MS,
		.deadline_wall_ms = sb_wall_ms(st->env.clock) + ms,
		.event = ev,
		.input = sb_slice(ev->json, ev->n),
		.input_newlines = ev->newlines,
		.rule = "the-rule",
	};
}

size_t stage_send(struct stage *st, size_t n, struct sb_slice detail)
{
	struct shipment *s = sb_xcalloc(sizeof(*s));

	SB_ASSERT(st->outstanding + n <= st->target->concurrency);
	s->lent = sb_xcalloc(sizeof(*s->lent));
	s->item = sb_xcalloc(n * sizeof(*s->item));
	s->first = st->n_sent;
	s->n = s->left = n;
	s->next = st->shipments;
	st->shipments = s;
	for (size_t i = 0; i < n; i++) {
		new_sent(st, detail);
		fill(&s->item[i], st, s->first + i);
	}
	s->lent->batch = (struct sb_batch){ .n = n, .item = s->item };
	st->outstanding += n;
	n = s->first;
	send_some(st, s);
	return n;
}

void stage_feed(struct stage *st, size_t n)
{
	st->to_feed += n;
	feed(st);
}

/* ------------------------------------------------------------------------------------------------ what has arrived */

static bool same(const struct stage *st, const struct sb_event *ev, struct sb_slice text)
{
	if (ev->n != text.n)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		bool line_end = ev->json[i] == '\n' || ev->json[i] == '\r';

		if (text.p[i] != (line_end && st->row->target->lines ? ' ' : ev->json[i]))
			return false;
	}
	return true;
}

/* From the id that the stage itself has written. */
static bool read_id(struct sb_slice text, unsigned *serial, size_t *i)
{
	static const char before[] = "{\"version\":\"0\",\"id\":\"";
	char id[32] = { 0 }, *end;

	if (text.n < sizeof(before) + sizeof(id) || memcmp(text.p, before, sizeof(before) - 1) != 0)
		return false;
	memcpy(id, text.p + sizeof(before) - 1, sizeof(id) - 1);
	*serial = (unsigned)strtoul(id, &end, 10);
	if (*end != '-')
		return false;
	*i = strtoul(end + 1, NULL, 10);
	return true;
}

/* Its id tells which one it should be, and whether it comes from an earlier stage: standard output outlives them. */
void stage_arrived(struct stage *st, struct sb_slice text)
{
	unsigned serial;
	size_t i;

	if (!read_id(text, &serial, &i)) {
		violated(st, "something arrived that was never sent: %.*s", (int)SB_MIN(text.n, 60u), text.p);
		return;
	}
	if (serial != st->serial)
		return;
	if (i >= st->n_sent || !same(st, st->sent[i].event, text))
		violated(st, "item %zu arrived otherwise than it was sent: %.*s", i, (int)SB_MIN(text.n, 200u), text.p);
	else if (++st->sent[i].arrived > 1 && !st->twice)
		violated(st, "item %zu arrived twice", i);
	else
		st->arrived += st->sent[i].arrived == 1;
}

/* ------------------------------------------------------------------------------------------------ life */

void target_prepare(struct stage *st)
{
	struct sb_target *t = st->target;

	free(t->state);
	*t = (struct sb_target){
		.name = "t",
		.ops = st->row->connector->target,
		.conf = st->conf,
		.env = &st->env,
		.concurrency = STAGE_CONCURRENCY,
		.timeout_ms = STAGE_TIMEOUT_MS,
		.settle = on_settle,
		.closed = on_closed,
		.reachable = on_reachable,
		.owner = st,
		.state = sb_xcalloc(st->row->connector->target->state_size + 1),
	};
}

void target_turn(struct stage *st)
{
	if (st->target && st->row->target->collect)
		st->row->target->collect(st);
}

void target_done(struct stage *st)
{
	struct shipment *s, *next;

	for (s = st->shipments; s; s = next) {
		next = s->next;
		free(s->lent);
		free(s->item);
		free(s);
	}
	for (size_t i = 0; i < st->n_sent; i++)
		sb_event_unref(st->sent[i].event);
	free(st->sent);
	if (st->target)
		free(st->target->state);
}
