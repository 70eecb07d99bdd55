/* SPDX-License-Identifier: Apache-2.0 */
#include "dispatch.h"

#include "delivery.h"

/*
 * Outcomes. Each is recorded by one frame: RESULT here, ATTEMPT here, DEAD by env->dead. Unreachable and released are no
 * attempts and leave none: after a crash the delivery is simply tried again.
 */

static void measure(struct sb_dispatch *d, uint64_t ns)
{
	uint64_t sixteenths = ns / (1000 * SB_DURATION_US(0));
	unsigned bucket = sixteenths ? 64 - (unsigned)__builtin_clzll(sixteenths) : 0;

	d->stats.duration[SB_MIN(bucket, SB_DURATION_BUCKETS - 1u)]++;
	d->stats.duration_ns_sum += ns;
	d->stats.duration_ns_max = SB_MAX(d->stats.duration_ns_max, ns);
}

static void count_attempt(struct sb_dispatch *d, struct sb_delivery *dl)
{
	d->retrying += dl->attempts == 0;
	dl->attempts++;
	dl->unreachable = 0;
	if (!dl->first_attempt_ms)
		dl->first_attempt_ms = dl->last_attempt_ms;
}

static uint32_t us(uint64_t ns)
{
	return (uint32_t)SB_MIN(ns / 1000, UINT32_MAX);
}

static void record_result(struct sb_dispatch *d, const struct sb_delivery *dl)
{
	struct sb_result_record rec = {
		.dno = dl->handover.dno,
		.route = dl->handover.route,
		.attempts = dl->attempts,
		.at_wall_ms = sb_dispatch_wall(d),
		.duration_us = dl->took_us,
		.receipt = dl->ev->receipt,
	};
	int rc = sb_record_result(d->env.frames(d->env.arg), &rec);

	SB_ASSERT(rc == 0); /* frames() promised room */
}

static void on_delivered(struct sb_dispatch *d, struct sb_delivery *dl, uint64_t took_ns)
{
	count_attempt(d, dl);
	dl->took_us = us(took_ns);
	if (!sb_dispatch_unnumbered(dl))
		record_result(d, dl);
	d->stats.delivered++;
	d->env.delivered(d->env.arg, d, dl);
	sb_dispatch_forget(d, dl);
}

void sb_dispatch_record_attempt(struct sb_dispatch *d, const struct sb_delivery *dl, uint64_t delay_ms)
{
	uint64_t wall = sb_dispatch_wall(d);
	struct sb_attempt_record rec = {
		.dno = dl->handover.dno,
		.attempts = dl->attempts,
		.due_wall_ms = wall + delay_ms,
		.first_wall_ms = dl->first_attempt_ms,
		.at_wall_ms = wall,
		.outcome = SB_RETRY,
		.reason = (uint8_t)dl->reason,
		.alone = dl->alone,
		.message = sb_slice_str(dl->last_message),
	};
	int rc = sb_record_attempt(d->env.frames(d->env.arg), &rec);

	SB_ASSERT(rc == 0);
}

static void keep_trying(struct sb_dispatch *d, struct sb_delivery *dl, uint64_t delay_ms)
{
	if (sb_dispatch_unnumbered(dl))
		d->env.stuck(d->env.arg, d, dl, SB_STUCK_TRYING);
	else
		sb_dispatch_record_attempt(d, dl, delay_ms);
	sb_dispatch_wait(d, dl, sb_dispatch_now(d) + delay_ms * SB_NS_PER_MS);
}

static void on_retry(struct sb_dispatch *d, struct sb_delivery *dl, uint64_t asked_ms)
{
	struct sb_retry_policy p = d->policy.retry;
	uint64_t delay;

	p.endless = sb_dispatch_never_dies(d, dl);
	count_attempt(d, dl);
	delay = sb_retry_delay_ms(&p, dl->attempts - 1, asked_ms, sb_rand_u32(d->env.rand));
	switch (sb_retry_verdict(&p, dl->attempts, dl->received_ms, sb_dispatch_wall(d), delay)) {
	case SB_RETRY_AGAIN:
		d->stats.retries++;
		if (d->env.failed)
			d->env.failed(d->env.arg, dl);
		keep_trying(d, dl, delay);
		return;
	case SB_RETRY_EXHAUSTED_COUNT: dl->exhausted = 1; break;
	case SB_RETRY_EXHAUSTED_AGE: dl->exhausted = 2; break;
	}
	sb_dispatch_die(d, dl);
}

static void on_rejected(struct sb_dispatch *d, struct sb_delivery *dl)
{
	if (sb_dispatch_never_dies(d, dl)) {
		on_retry(d, dl, d->policy.retry.cap_ms);
		return;
	}
	count_attempt(d, dl);
	sb_dispatch_die(d, dl);
}

/* Back into the queue, uncounted. There it waits for the breaker, and for its end by age, with everybody else. */
static void on_unreachable(struct sb_dispatch *d, struct sb_delivery *dl, uint64_t asked_ms)
{
	d->stats.unreachable++;
	dl->unreachable += dl->unreachable < UINT16_MAX;
	sb_breaker_unreachable(&d->breaker, dl, &d->policy.retry, asked_ms, sb_dispatch_now(d), sb_rand_u32(d->env.rand));
	if (sb_dispatch_unnumbered(dl))
		d->env.stuck(d->env.arg, d, dl, SB_STUCK_TRYING);
	sb_dispatch_ready(d, dl);
}

/* At once, but not before whoever released it has returned: it may be about to start a worker anew. */
static void on_released(struct sb_dispatch *d, struct sb_delivery *dl)
{
	d->stats.released++;
	sb_breaker_released(&d->breaker, dl);
	sb_dispatch_wait(d, dl, sb_dispatch_now(d) + 1);
}

static void settle_one(struct sb_dispatch *d, struct sb_delivery *dl, const struct sb_result *r)
{
	uint64_t took = sb_dispatch_now(d) - dl->started_ns;

	measure(d, took);
	switch (r->outcome) {
	case SB_DELIVERED:
		on_delivered(d, dl, took);
		return;
	case SB_RETRY:
		sb_delivery_fail(dl, r);
		sb_dispatch_recharge(d, dl);
		on_retry(d, dl, r->retry_after_ms);
		return;
	case SB_REJECTED:
		sb_delivery_fail(dl, r);
		sb_dispatch_recharge(d, dl);
		on_rejected(d, dl);
		return;
	case SB_UNREACHABLE:
		sb_delivery_fail(dl, r);
		sb_dispatch_recharge(d, dl);
		on_unreachable(d, dl, r->retry_after_ms);
		return;
	case SB_RELEASED: on_released(d, dl); return;
	}
	SB_ASSERT(!"an outcome");
}

/* A target that has been replaced says nothing of the one that is there now: neither that it is, nor that it is not. */
static void tell_breaker(struct sb_dispatch *d, const struct sb_target *t, const struct sb_result **r)
{
	static const struct sb_result released = { .outcome = SB_RELEASED };

	if (t == d->target && (*r)->outcome != SB_UNREACHABLE && (*r)->outcome != SB_RELEASED)
		sb_breaker_reached(&d->breaker);
	else if (t != d->target && (*r)->outcome == SB_UNREACHABLE)
		*r = &released;
}

void sb_dispatch_settle(struct sb_target *t, struct sb_batch *b, size_t i, const struct sb_result *r)
{
	struct sb_delivery *dl = SB_CONTAINER(b, struct sb_delivery, batch);
	struct sb_dispatch *d = dl->dispatch;

	SB_ASSERT(i == 0 && dl->state == SB_DL_INFLIGHT); /* settled twice: stop here, not three retries later */
	SB_ASSERT(t->outstanding > 0);
	t->outstanding--;
	d->in_flight--;
	tell_breaker(d, t, &r);
	sb_delivery_unpack(dl);
	sb_dispatch_recharge(d, dl);
	settle_one(d, dl, r);
	sb_dispatch_pump(d);
}
