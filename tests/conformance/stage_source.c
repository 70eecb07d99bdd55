/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source's framework. The functions that connectors call stand in for the broker's: the linker wraps them, as the
 * CMakeLists.txt says.
 */
#include "stage_own.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/base/event.h"
#include "broker/base/uuid.h"

static struct stage *stage_of(struct sb_source *s)
{
	return SB_CONTAINER(s, struct stage, source);
}

/* ------------------------------------------------------------------------------------------------ what connectors call */

static void look_at(struct stage *st, const struct sb_event *ev)
{
	if (!ev->bus || strcmp(ev->bus, "default") != 0)
		violated(st, "an event for no bus that there is: %s", ev->bus ? ev->bus : "NULL");
	else if (!ev->origin || strcmp(ev->origin, st->source.name) != 0)
		violated(st, "an event whose origin is not its source: %s", ev->origin ? ev->origin : "NULL");
	else if (ev->n > STAGE_EVENT_MAX)
		violated(st, "an event of %u bytes, sb_source_max_event() is %u", ev->n, STAGE_EVENT_MAX);
	else if (ev->id.n == 0 || ev->source.n == 0 || ev->detail_type.n == 0)
		violated(st, "an event without id, source or detail-type");
}

static struct group *keep(struct stage *st, struct sb_event **ev, size_t n, uint64_t cookie)
{
	struct group *g;

	st->group = sb_xrealloc(st->group, (st->n_groups + 1) * sizeof(*st->group));
	g = &st->group[st->n_groups++];
	*g = (struct group){ .cookie = cookie, .ev = sb_xcalloc(n * sizeof(void *)), .n = n };
	for (size_t i = 0; i < n; i++)
		g->ev[i] = ev[i];
	st->emitted += n;
	return g;
}

/* Is this the time for it? */
static void look_at_offer(struct stage *st, struct sb_event **ev, size_t n)
{
	if (st->phase != PHASE_OPEN)
		violated(st, "it emitted an event while it was not open");
	if (st->paused)
		violated(st, "it emitted an event while it was paused");
	if (n == 0)
		violated(st, "it emitted a group of no events");
	for (size_t i = 0; i < n; i++)
		look_at(st, ev[i]);
}

static int refuse(const struct stage *st, struct sb_refusal *refusal, size_t n)
{
	for (size_t i = 0; i < n; i++)
		refusal[i] = (struct sb_refusal){ .why = st->refuse, .msg = "the suite says no" };
	return -1;
}

int __wrap_sb_source_emit(
	struct sb_source *s, struct sb_event **ev, size_t n, uint64_t cookie, struct sb_refusal *refusal)
{
	struct stage *st = stage_of(s);

	look_at_offer(st, ev, n);
	if (!s->ops->refused)
		violated(st, "it emits events and does not want to hear that they were not stored");
	if (st->refuse != SB_TAKEN)
		return refuse(st, refusal, n);
	keep(st, ev, n, cookie);
	return 0;
}

int __wrap_sb_source_hand(
	struct sb_source *s, struct sb_event *ev, const struct sb_held *held, struct sb_refusal *refusal)
{
	struct stage *st = stage_of(s);
	struct group *g;

	look_at_offer(st, &ev, 1);
	if (held->position.n == 0 || held->position.n > 1024)
		violated(st, "an event was handed over, and nobody can read where it stands");
	if (!s->ops->settled)
		violated(st, "it hands over events and does not want to hear of them");
	if (st->refuse != SB_TAKEN)
		return refuse(st, refusal, 1);
	g = keep(st, &ev, 1, held->cookie);
	g->handed = true;
	g->epoch = held->epoch;
	return 0;
}

int __wrap_sb_source_bury(struct sb_source *s, const struct sb_held *held, const struct sb_unreadable *what)
{
	struct stage *st = stage_of(s);
	struct group *g;

	if (st->phase != PHASE_OPEN)
		violated(st, "it buried a message while it was not open");
	if (held->position.n == 0 || what->reason == SB_R_NONE || what->message.n == 0)
		violated(st, "it buried a message, and does not say where it stood or why");
	if (st->refuse != SB_TAKEN)
		return -1;
	g = keep(st, NULL, 0, held->cookie);
	g->handed = true;
	g->epoch = held->epoch;
	st->rejected++;
	return 0;
}

void __wrap_sb_source_remember(struct sb_source *s, struct sb_slice key, struct sb_slice value)
{
	if (key.n == 0 || key.n > 1024 || value.n > 64 << 10)
		violated(stage_of(s), "it remembers %zu bytes under a key of %zu", value.n, key.n);
}

/* The stage has not been there before. */
int __wrap_sb_source_remembered(struct sb_source *s, struct sb_slice key, struct sb_buf *out)
{
	(void)s;
	(void)key;
	(void)out;
	return -1;
}

void __wrap_sb_source_spill(struct sb_source *s, size_t n)
{
	struct stage *st = stage_of(s);

	for (size_t i = 0; n && i < st->n_groups; i++)
		if (st->group[i].handed && !st->group[i].told && !st->group[i].spilled) {
			st->group[i].spilled = true;
			n--;
		}
}

/* The stage never has anything sent on. */
void __wrap_sb_source_overflowed(struct sb_source *s, void *token, bool there)
{
	violated(stage_of(s), "it answers for %p, %d, which nobody gave it", token, there);
}

bool __wrap_sb_source_may_settle(struct sb_source *s)
{
	(void)s;
	return true;
}

void __wrap_sb_source_rejected(struct sb_source *s, const char *reason, uint64_t n)
{
	struct stage *st = stage_of(s);

	if (!reason || !*reason || strspn(reason, "abcdefghijklmnopqrstuvwxyz_0123456789") != strlen(reason))
		violated(st, "a reason that is no name of a counter: '%s'", reason ? reason : "NULL");
	st->rejected += n;
}

const char *__wrap_sb_source_bus(struct sb_source *s, struct sb_slice name)
{
	(void)s;
	return name.n == 0 || sb_slice_eq_str(name, "default") ? "default" : NULL;
}

void __wrap_sb_source_spec(struct sb_source *s, struct sb_event_spec *ret)
{
	struct stage *st = stage_of(s);
	struct sb_uuid_gen uuids = { .rand = &st->rand };

	*ret = (struct sb_event_spec){
		.account = { SB_SLICE("000000000000"), false },
		.region = { SB_SLICE("local"), false },
		.received_ms = sb_wall_ms(st->env.clock),
		.bus = "default",
		.origin = s->name,
	};
	ret->receipt = sb_uuid_next(&uuids, ret->received_ms);
}

size_t __wrap_sb_source_max_event(struct sb_source *s)
{
	(void)s;
	return STAGE_EVENT_MAX;
}

bool __wrap_sb_source_authorized(struct sb_source *s, const struct sb_http_req *req)
{
	(void)s;
	(void)req;
	return true;
}

bool __wrap_sb_source_has_tokens(struct sb_source *s)
{
	(void)s;
	return false;
}

/* ------------------------------------------------------------------------------------------------ what becomes of groups */

static void call_back(struct stage *st, const struct group *g)
{
	static const struct sb_refusal why = { .why = SB_REFUSE_FULL, .msg = "the suite's disk is full" };
	const struct sb_source_ops *ops = st->source.ops;
	uint64_t cookie = g->cookie;

	if (g->handed)
		ops->settled(&st->source, cookie, g->epoch);
	else if (st->fail)
		ops->refused(&st->source, cookie, &why);
	else if (ops->accepted)
		ops->accepted(&st->source, cookie);
}

void stage_tell(struct stage *st, size_t group)
{
	struct group *g = &st->group[group];
	struct watch w;

	SB_ASSERT(!g->told);
	g->told = true;
	if (g->handed && st->phase == PHASE_CLOSED)
		return; /* it no longer waits for it */
	w = watch_begin();
	call_back(st, g);
	watch_end(st, &w, "accepted(), settled() or refused()");
}

/* In a later turn, as the journal would. */
void source_turn(struct stage *st)
{
	for (size_t i = 0; !st->target && i < st->n_groups; i++)
		if (!st->group[i].told && (!st->hold || st->group[i].spilled))
			stage_tell(st, i);
}

/* Who has emitted a group will be told of it, so he must be there. */
bool source_waits(const struct stage *st)
{
	for (size_t i = 0; i < st->n_groups; i++)
		if (!st->group[i].told && !st->group[i].handed)
			return true;
	return false;
}

void stage_offer(struct stage *st, unsigned k, struct sb_slice detail)
{
	struct sb_buf text = SB_BUF(2 * STAGE_EVENT_MAX);

	SB_ASSERT(k < STAGE_SENDERS);
	for (const char *c = st->row->source->wrap; *c; c++)
		if (*c == '@')
			sb_buf_add_slice(&text, detail);
		else
			sb_buf_addc(&text, *c);
	st->row->source->offer(st, k, sb_buf_slice(&text));
	sb_buf_done(&text);
}

void stage_waited(struct stage *st)
{
	st->row_waited = true;
}

void stage_heard(struct stage *st, unsigned k, bool yes)
{
	struct sender *x = &st->sender[k];

	if (yes)
		x->yes++;
	else
		x->no++;
	st->heard++;
	if (x->yes + x->no > 1)
		violated(st, "sender %u was answered %u times", k, x->yes + x->no);
}

/* ------------------------------------------------------------------------------------------------ life */

static void on_closed(struct sb_source *s)
{
	said_closed(stage_of(s));
}

void source_prepare(struct stage *st)
{
	free(st->source.state);
	st->source = (struct sb_source){
		.name = "s",
		.ops = st->row->connector->source,
		.conf = st->conf,
		.env = &st->env,
		.closed = on_closed,
		.owner = st,
		.bus = "default",
		.state = sb_xcalloc(st->row->connector->source->state_size + 1),
	};
}

void source_done(struct stage *st)
{
	for (size_t g = 0; g < st->n_groups; g++) {
		for (size_t i = 0; i < st->group[g].n; i++)
			sb_event_unref(st->group[g].ev[i]);
		free(st->group[g].ev);
	}
	free(st->group);
	free(st->source.state);
}
