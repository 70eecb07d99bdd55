/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "world.h"

/*
 * A seeded scheduler lets mail, reads, outcomes, time, restarts and what operators do happen in any order; the world's
 * oracle watches. At the end everything heals, and then every delivery must have had its one outcome. A seed that fails is
 * run alone with SEED=n, and tells its story with WORLD_TRACE=1.
 */

#ifdef __SANITIZE_THREAD__ /* there is one thread here: it finds nothing, slowly */
#define DEFAULT_SEEDS 200
#else
#define DEFAULT_SEEDS 4000
#endif
#define MOST 400
#define LANES 6

struct mood { /* of one run */
	unsigned deliveries, restarts;
	unsigned fail_pct, unreachable_pct, released_pct, rejected_pct;
	uint32_t sick_lane; /* fails always; 0: none */
	uint32_t size;
	bool lanes, odd_flags, operators, large_events;
};

static unsigned upto(struct world *w, unsigned n)
{
	return (unsigned)sb_rand_below(&w->chance, n + 1);
}

static bool percent(struct world *w, unsigned pct)
{
	return upto(w, 99) < pct;
}

static struct mood mood_of(struct sb_rand *r)
{
	struct mood m = { .deliveries = 20 + (unsigned)sb_rand_below(r, MOST - 20) };

	m.restarts = sb_rand_below(r, 3) ? 0 : (unsigned)sb_rand_below(r, 4);
	m.fail_pct = (unsigned[]){ 0, 10, 60, 95 }[sb_rand_below(r, 4)];
	m.unreachable_pct = (unsigned[]){ 0, 0, 20, 90 }[sb_rand_below(r, 4)];
	m.released_pct = (unsigned[]){ 0, 0, 20 }[sb_rand_below(r, 3)];
	m.rejected_pct = (unsigned[]){ 0, 5 }[sb_rand_below(r, 2)];
	m.size = (unsigned[]){ 20, 400, 2000 }[sb_rand_below(r, 3)];
	m.lanes = sb_rand_below(r, 2);
	m.sick_lane = sb_rand_below(r, 2) ? 1 : 0;
	m.odd_flags = sb_rand_below(r, 2);
	m.operators = sb_rand_below(r, 2);
	m.large_events = sb_rand_below(r, 2);
	return m;
}

static struct sb_target_policy policy_of(struct sb_rand *r, const struct mood *m)
{
	struct sb_target_policy p = WORLD_POLICY;

	p.retry.max_retries = (uint32_t)sb_rand_below(r, 6);
	p.retry.base_ms = 100;
	p.retry.cap_ms = 2000;
	p.retry.max_age_ms = sb_rand_below(r, 2) ? 3600000 : 10000;
	p.concurrency = 1 + (uint32_t)sb_rand_below(r, 8);
	p.lanes = m->lanes ? LANES : 0;
	p.max_retrying = 1 + (uint32_t)sb_rand_below(r, 40);
	p.cache_bytes = (uint64_t[]){ 100, 6000, 30000, 8 << 20 }[sb_rand_below(r, 4)];
	p.max_queue_age_ms = sb_rand_below(r, 4) ? 0 : 20000;
	return p;
}

static void append(struct world *w, struct mood *m)
{
	static const uint8_t odd[] = { SB_OWED_INPUT, SB_OWED_ALONE, SB_OWED_FINAL, SB_OWED_STILLBORN };

	for (unsigned n = 1 + upto(w, 15); n && m->deliveries; n--, m->deliveries--) {
		w->event_first = m->large_events && percent(w, 70) ? w->event_first : 0;
		if (percent(w, 20))
			world_append_other(w);
		world_append(w, m->lanes ? 1 + upto(w, LANES - 1) : 0,
			m->odd_flags && percent(w, 20) ? odd[upto(w, 3)] : 0, 1 + upto(w, m->size));
		if (!w->event_first)
			w->event_first = w->n;
	}
	w->event_first = 0; /* what is durable is whole */
}

static void settle_one(struct world *w, const struct mood *m)
{
	unsigned i;
	const struct sb_delivery *dl;
	enum sb_outcome o = SB_DELIVERED;

	if (!w->n_flight)
		return;
	i = upto(w, w->n_flight - 1);
	dl = SB_CONTAINER(w->flight[i], struct sb_delivery, batch);
	if (percent(w, m->unreachable_pct))
		o = SB_UNREACHABLE;
	else if (percent(w, m->released_pct))
		o = SB_RELEASED;
	else if (percent(w, m->rejected_pct))
		o = SB_REJECTED;
	else if ((m->sick_lane && dl->lane == m->sick_lane) || percent(w, m->fail_pct))
		o = SB_RETRY;
	world_settle(w, i, o);
}

static void operate(struct world *w)
{
	switch (upto(w, 3)) {
	case 0: world_pause(w, true); break;
	case 1: world_pause(w, false); break;
	case 2: w->no_room = percent(w, 30); break;
	default: w->disk_dead = percent(w, 30);
	}
}

static void step(struct world *w, struct mood *m)
{
	switch (upto(w, 16)) {
	case 0: append(w, m); break;
	case 1:
	case 2:
	case 3: world_mail(w); break;
	case 4:
	case 5:
		if (w->n_reading)
			world_serve(w, upto(w, w->n_reading - 1));
		break;
	case 6:
	case 15:
		if (w->n_served)
			world_post(w, upto(w, w->n_served - 1));
		break;
	case 7:
	case 8: world_run_mail(w); break;
	case 9: world_commit(w); break;
	case 10:
	case 11:
	case 12: settle_one(w, m); break;
	case 13: world_step_time(w); break;
	case 14:
		if (m->operators && percent(w, 20))
			operate(w);
		break;
	default:
		if (m->restarts && percent(w, 3)) {
			m->restarts--;
			world_restart(w);
		}
	}
}

static void heal(struct world *w)
{
	w->no_room = w->disk_dead = false;
	world_pause(w, false);
	for (unsigned i = 0; world_open(w); i++) {
		if (i > 100000)
			fail_msg("%llu deliveries never came to an end", (unsigned long long)world_open(w));
		world_flush(w);
		while (w->n_flight)
			world_settle(w, upto(w, w->n_flight - 1), SB_DELIVERED);
		if (w->n_reading || w->n_served || !sb_mailbox_empty(&w->home))
			continue;
		world_step_time(w);
	}
	world_flush(w);
}

/* The accounts are empty: nothing is kept, counted or reserved. */
static void check_empty(struct world *w)
{
	struct sb_dispatch_stats s;
	struct sb_target_policy p = w->policy;

	while (world_step_time(w)) /* a cursor may have to see the end */
		world_flush(w);
	s = world_stats(w);
	assert_int_equal(s.queued + s.in_flight + s.retrying + s.held + s.blocked_lanes, 0);
	assert_int_equal(s.queued_bytes, 0);
	assert_int_equal(s.cache_bytes, 0);
	assert_int_equal(s.oldest_ms, 0);
	assert_false(s.backlog);
	p.max_queue_bytes = 1;
	sb_dispatch_set_policy(w->d, &p);
	assert_true(sb_dispatch_reserve(w->d, 1));
	assert_false(sb_dispatch_reserve(w->d, 1));
}

static uint64_t run(uint64_t seed)
{
	struct world w;
	struct sb_rand r;
	struct mood m;
	struct sb_target_policy p;
	uint64_t trace;

	sb_rand_seed(&r, seed);
	m = mood_of(&r);
	p = policy_of(&r, &m);
	world_init(&w, &p, seed, 2 * MOST);
	w.skips_done = sb_rand_below(&r, 2);
	w.scan_most = sb_rand_below(&r, 2) ? 0 : 7;
	w.estimate_pct = (unsigned[]){ 50, 100, 300 }[sb_rand_below(&r, 3)];
	w.slack = (64 + p.concurrency) * (1200 + 4 * (uint64_t)m.size) + p.max_retrying * 1024;
	for (unsigned i = 0; i < 20000 && (m.deliveries || i < 3000); i++)
		step(&w, &m);
	heal(&w);
	check_empty(&w);
	trace = w.trace;
	world_done(&w);
	return trace;
}

static void nothing_is_lost_or_doubled_in_any_order(void **state)
{
	const char *one = getenv("SEED"), *n = getenv("SEEDS");
	uint64_t seeds = n ? strtoull(n, NULL, 10) : DEFAULT_SEEDS;

	(void)state;
	if (one) {
		run(strtoull(one, NULL, 10));
		return; /* for a person who looks for a fault */
	}
	for (uint64_t seed = 1; seed <= seeds; seed++)
		run(seed);
}

static void the_same_seed_tells_the_same_story(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++)
		if (run(seed) != run(seed))
			fail_msg("seed %llu", (unsigned long long)seed);
	assert_true(run(1) != run(2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_or_doubled_in_any_order),
		cmocka_unit_test(the_same_seed_tells_the_same_story),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
