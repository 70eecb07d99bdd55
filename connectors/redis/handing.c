/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what came to an event in the framework's hands, and from its settlement to its acknowledgement. What the framework does
 * not take now is offered again, in order, and nothing new is read meanwhile. What no event can be made of, or what has been
 * delivered too often without an end, becomes a dead letter with its bytes.
 */
#include "feed.h"

#include <event2/event.h>
#include <stdio.h>

#include "broker/base/log.h"

#define REFUSED_MS_MAX 1000

/* ------------------------------------------------------------------------------------------------ handing over */

static uint64_t cookie_of(const struct rds_feed *f, const struct rds_entry *e)
{
	return (uint64_t)f->index << 56 | (uint64_t)rds_window_place(&f->win, e) << 32 | e->serial;
}

/* No event: these bytes, for the dead letters. */
static void make_unreadable(struct rds_feed *f, struct rds_entry *e, struct sb_slice raw, enum sb_reason reason, const char *why)
{
	size_t why_n = strlen(why) + 1;
	char *copy = sb_pool_alloc(raw.n + why_n);

	memcpy(copy, raw.p ? raw.p : "", raw.n);
	memcpy(copy + raw.n, why, why_n);
	rds_window_lighten(&f->win, e);
	e->raw = copy;
	e->raw_n = raw.n;
	e->why = copy + raw.n;
	e->reason = reason;
	rds_window_weigh(&f->win, e, raw.n + e->held_n + sizeof(*e));
	f->counts.unreadable++;
	sb_log(SB_LOG_ERROR, "what came becomes a dead letter", KS("source", f->s->name), KS("key", f->key),
		KI("entry_ms", e->id.ms), KI("entry_seq", e->id.seq), KS("error", e->why));
}

static int hand_unreadable(struct rds_feed *f, struct rds_entry *e, const struct sb_held *held)
{
	const struct sb_unreadable what = { .value = sb_slice(e->raw, e->raw_n), .reason = e->reason, .message = sb_slice_str(e->why),
		.receipt = rds_id_receipt(f->s->name, f->key, e->id) };

	return sb_source_bury(f->s, held, &what);
}

/* The framework will never take it. */
static bool is_final(enum sb_refuse why)
{
	return why == SB_REFUSE_UNKNOWN_BUS || why == SB_REFUSE_TOO_LARGE || why == SB_REFUSE_INVALID;
}

static int hand_event(struct rds_feed *f, struct rds_entry *e, const struct sb_held *held)
{
	struct sb_refusal why = { 0 };

	if (sb_source_hand(f->s, sb_event_ref(e->ev), held, &why) == 0)
		return 0;
	sb_event_unref(e->ev);
	if (!is_final(why.why))
		return -1;
	make_unreadable(f, e, sb_slice(e->ev->json, e->ev->n), SB_R_INVALID_PARAMETER, why.msg);
	return hand_unreadable(f, e, held);
}

/* -1: not now. */
static int hand(struct rds_feed *f, struct rds_entry *e)
{
	char position[RDS_KEY_SHOWN + 1 + RDS_ID_TEXT];
	struct sb_held held = { .cookie = cookie_of(f, e) };
	size_t n = SB_MIN(f->key_n, RDS_KEY_SHOWN);

	memcpy(position, f->key, n);
	position[n++] = '/';
	held.position = sb_slice(position, n + rds_id_format(e->id, position + n));
	if ((e->ev ? hand_event(f, e, &held) : hand_unreadable(f, e, &held)) < 0)
		return -1;
	rds_window_move(&f->win, e, RDS_HANDED);
	return 0;
}

void rds_hand_all(struct rds_feed *f)
{
	struct rds_window *w = &f->win;

	if (f->paused || f->closing)
		return;
	while (!sb_list_empty(&w->again)) {
		if (hand(f, SB_CONTAINER(w->again.next, struct rds_entry, link)) < 0) {
			uint64_t wait_ms = SB_MIN(REFUSED_MS_MAX, 10u << SB_MIN(f->refusals, 7u));

			f->refusals++;
			f->counts.again++;
			f->hand_after_ns = sb_mono_ns(f->s->env->clock) + wait_ms * SB_NS_PER_MS;
			rds_feed_hurry(f);
			return;
		}
		f->refusals = 0;
	}
}

/* ------------------------------------------------------------------------------------------------ an entry comes */

/* A list knows an element by nothing but its bytes. */
static void hold(struct rds_entry *e, struct sb_slice value)
{
	e->held = sb_pool_alloc(value.n + 1);
	memcpy(e->held, value.p ? value.p : "", value.n);
	e->held_n = value.n;
}

struct rds_entry *rds_take_in(struct rds_feed *f, const struct rds_message *m, uint64_t deliveries)
{
	struct rds_entry *e = rds_window_take(&f->win, m->id);
	char why[120];
	struct sb_err err;

	if (!e) {
		f->own_again = true; /* it is kept under our name: there will be room */
		return NULL;
	}
	e->fresh_ns = sb_mono_ns(f->s->env->clock);
	f->counts.read++;
	if (m->what == RDS_ELEMENT)
		hold(e, m->value);
	if (f->conf->max_deliveries && deliveries > (uint64_t)f->conf->max_deliveries) {
		snprintf(why, sizeof(why), "delivered %llu times without an end: it may be what ends the process",
			(unsigned long long)deliveries);
		make_unreadable(f, e, rds_message_bytes(&f->in, m), SB_R_RESOURCE_LIMIT_EXCEEDED, why);
	} else if (rds_message_event(&f->in, m, &e->ev, &err) < 0) {
		make_unreadable(f, e, rds_message_bytes(&f->in, m), rds_message_reason(&f->in), err.msg);
	} else {
		rds_window_weigh(&f->win, e, e->ev->n + e->held_n + sizeof(*e));
	}
	f->each = (f->each * 7 + e->bytes) / 8;
	return e;
}

/* ------------------------------------------------------------------------------------------------ settled, acknowledged */

void rds_settled(struct rds_feed *f, size_t place, uint32_t serial)
{
	struct rds_entry *e = rds_window_at(&f->win, place, serial);

	if (!e || e->state != RDS_HANDED)
		return;
	rds_window_lighten(&f->win, e);
	rds_window_move(&f->win, e, RDS_SETTLED);
	event_active(f->acker, EV_TIMEOUT, 0);
}

/* Answers come in the order of their commands, so those that this one speaks for are the first. */
struct acking {
	struct rds_feed *f;
	size_t n;
};

static void on_acked(redisAsyncContext *ac, void *reply, void *arg)
{
	struct acking a = *(struct acking *)arg;
	struct rds_window *w = &a.f->win;
	const redisReply *r = reply;
	bool good = r && !rds_is_error(r);
	enum rds_entry_state otherwise = r || !a.f->list ? RDS_SETTLED : RDS_UNSURE;

	(void)ac;
	sb_pool_free(arg);
	for (size_t i = 0; i < a.n; i++) {
		struct rds_entry *e = SB_CONTAINER(w->acking.next, struct rds_entry, link);

		if (good)
			rds_window_drop(w, e);
		else
			rds_window_move(w, e, otherwise);
	}
	if (good) {
		a.f->counts.acked += a.n;
		a.f->counts.taken_away += a.f->list && r->integer == 0;
		rds_feed_go_on(a.f);
	} else if (r) {
		rds_feed_heed(a.f, a.f->talk, r);
	}
}

size_t rds_count_settled(const struct rds_feed *f, size_t most)
{
	const struct sb_link *list = &f->win.settled;
	size_t n = 0;

	for (const struct sb_link *l = list->next; l != list && n < most; l = l->next)
		n++;
	return n;
}

bool rds_ack_by(struct rds_feed *f, size_t n)
{
	struct acking *a = sb_pool_alloc(sizeof(*a));
	struct rds_window *w = &f->win;

	*a = (struct acking){ f, n };
	if (rds_feed_tell(f, on_acked, a) < 0) {
		sb_pool_free(a);
		return false;
	}
	for (size_t i = 0; i < n; i++)
		rds_window_move(w, SB_CONTAINER(w->settled.next, struct rds_entry, link), RDS_ACKING);
	return true;
}

void rds_ack_all(struct rds_feed *f)
{
	while (!sb_list_empty(&f->win.settled))
		if (!f->kind->ack(f))
			return;
}
