/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "world.h"

/* One behaviour a test, told by what goes in and what comes out. All orders of everything: test_interleavings.c. */

#define WALL_MS UINT64_C(1764001000000) /* the world's at its beginning */

static uint64_t add(struct world *w, unsigned n)
{
	uint64_t last = 0;

	while (n--)
		last = world_append(w, 0, 0, 100);
	world_flush(w);
	return last;
}

static void pass_ms(struct world *w, uint64_t ms)
{
	uint64_t until = w->clock.mono + ms * SB_NS_PER_MS;

	while (w->armed_ns <= until) {
		world_step_time(w);
		world_flush(w);
	}
	w->clock.mono = until;
}

static void settle_all(struct world *w, enum sb_outcome o)
{
	for (unsigned n = w->n_flight; n; n--)
		world_settle(w, 0, o);
	world_flush(w);
}

static uint64_t in_flight_dno(const struct world *w, unsigned i)
{
	return SB_CONTAINER(w->flight[i], struct sb_delivery, batch)->handover.dno;
}

/* ------------------------------------------------------------------------------------------------ sending */

static void a_delivery_is_sent_and_its_result_recorded(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;
	struct sb_dispatch_stats s;

	(void)state;
	world_init(&w, &p, 1, 10);
	add(&w, 1);
	assert_int_equal(w.n_flight, 1);
	assert_int_equal(world_stats(&w).in_flight, 1);
	assert_int_equal(world_stats(&w).oldest_ms, WALL_MS);
	w.clock.mono += 1234567;
	settle_all(&w, SB_DELIVERED);
	s = world_stats(&w);
	assert_int_equal(s.delivered, 1);
	assert_int_equal(s.duration_ns_sum, 1234567);
	assert_int_equal(s.duration_ns_max, 1234567);
	assert_int_equal(s.in_flight + s.queued + s.retrying + s.held + s.queued_bytes + s.cache_bytes, 0);
	assert_int_equal(w.result.dno, 1);
	assert_int_equal(w.result.attempts, 1);
	assert_int_equal(w.result.duration_us, 1234);
	assert_int_equal(w.result.at_wall_ms, WALL_MS + 1);
	world_done(&w);
}

static void the_connector_sees_what_it_needs(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	const struct sb_item *it;
	struct world w;

	(void)state;
	world_init(&w, &p, 1, 10);
	world_append(&w, 0, 0, 20);             /* 1: has meta, which it must not get */
	world_append(&w, 0, SB_OWED_ALONE, 20); /* 2: none; the event itself is the bare form */
	world_append(&w, 0, SB_OWED_INPUT, 20); /* 3: its own input, with a line end */
	world_append(&w, 0, SB_OWED_FINAL, 20); /* 4: a dead letter */
	world_flush(&w);
	it = w.flight[0]->item;
	assert_true(sb_slice_eq_str(it->input, "{\"n\":1,\"detail\":\"xxxxxxxxxxxxxxxxxxxx\"}"));
	assert_int_equal(it->deadline_wall_ms, WALL_MS + 5000);
	assert_false(it->alone || it->input_newlines || it->transformed || it->letter);
	assert_string_equal(it->rule, "r");
	it = w.flight[1]->item;
	assert_ptr_equal(it->input.p, it->event->json);
	assert_true(it->alone);
	it = w.flight[2]->item;
	assert_true(sb_slice_eq_str(it->input, "in 3\n"));
	assert_true(it->input_newlines && it->transformed);
	it = w.flight[3]->item;
	assert_true(it->letter);
	world_done(&w);
}

static void never_more_in_flight_than_the_concurrency(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	world_init(&w, &p, 1, 100);
	add(&w, 20);
	assert_int_equal(w.n_flight, 4);
	assert_int_equal(world_stats(&w).queued, 16);
	world_settle(&w, 2, SB_DELIVERED);
	assert_int_equal(w.n_flight, 4);
	w.policy.concurrency = p.concurrency = 6;
	sb_dispatch_set_policy(w.d, &p);
	assert_int_equal(w.n_flight, 6);
	w.policy.concurrency = p.concurrency = 2;
	sb_dispatch_set_policy(w.d, &p);
	for (int i = 0; i < 4; i++)
		world_settle(&w, 0, SB_DELIVERED);
	assert_int_equal(w.n_flight, 2);
	world_done(&w);
}

static void a_target_that_settles_at_once_gets_thousands_without_recursion(void **state)
{
	static const enum sb_outcome always[] = { SB_DELIVERED };
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	world_init(&w, &p, 1, 5000);
	w.table = always;
	w.table_n = 1;
	world_pause(&w, true);
	add(&w, 3000);
	world_pause(&w, false);
	assert_int_equal(w.delivered, 256); /* then the loop gets its turn */
	pass_ms(&w, 1);
	assert_int_equal(w.delivered, 3000);
	world_done(&w);
}

static void a_warm_dispatch_allocates_nothing(void **state)
{
	static const enum sb_outcome mix[] = { SB_DELIVERED, SB_RETRY, SB_DELIVERED, SB_RELEASED };
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;
	uint64_t misses = 0;

	(void)state;
	p.lanes = 8;
	world_init(&w, &p, 1, 5000);
	w.table = mix;
	w.table_n = 4;
	for (int i = 0; i < 2000; i++) {
		if (i == 1000)
			misses = sb_pool_misses();
		world_append(&w, 1 + (uint32_t)i % 8, 0, 300);
		world_flush(&w);
		pass_ms(&w, 20000);
	}
	assert_int_equal(sb_pool_misses(), misses);
	world_done(&w);
}

/* ------------------------------------------------------------------------------------------------ retry, death */

static void a_retry_is_counted_recorded_and_waits(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	world_init(&w, &p, 1, 10);
	add(&w, 1);
	w.answer = (struct sb_result){ .reason = SB_R_TIMEOUT, .message = SB_SLICE("slow"), .retry_after_ms = 7000 };
	settle_all(&w, SB_RETRY);
	assert_int_equal(w.attempt.dno, 1);
	assert_int_equal(w.attempt.attempts, 1);
	assert_int_equal(w.attempt.reason, SB_R_TIMEOUT);
	assert_int_equal(w.attempt.due_wall_ms, WALL_MS + 7000); /* asked for; the jitter is at most 1 s here */
	assert_int_equal(w.attempt.first_wall_ms, WALL_MS);
	assert_string_equal(w.attempt_message, "slow");
	assert_int_equal(world_stats(&w).retrying, 1);
	assert_int_equal(world_stats(&w).retries, 1);
	pass_ms(&w, 6999);
	assert_int_equal(w.n_flight, 0);
	pass_ms(&w, 1);
	assert_int_equal(w.n_flight, 1);
	assert_int_equal(w.flight[0]->item->attempt, 2);
	settle_all(&w, SB_DELIVERED);
	assert_int_equal(w.result.attempts, 2);
	world_done(&w);
}

static void what_ends_a_delivery(void **state)
{
	static const struct {
		const char *what;
		enum sb_outcome outcome;
		uint32_t max_retries;
		uint64_t max_age_ms;
		uint32_t want_attempts;
		uint8_t want_exhausted;
	} cases[] = {
		{ "rejected", SB_REJECTED, 5, 3600000, 1, 0 },
		{ "no retries", SB_RETRY, 0, 3600000, 1, 1 },
		{ "retries used up", SB_RETRY, 3, 3600000, 4, 1 },
		{ "too old", SB_RETRY, 1000000, 1, 1, 2 },
		{ "unreachable for too long", SB_UNREACHABLE, 0, 30000, 0, 2 },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_target_policy p = WORLD_POLICY;
		struct world w;

		p.retry.max_retries = cases[i].max_retries;
		p.retry.max_age_ms = cases[i].max_age_ms;
		world_init(&w, &p, i + 2, 10);
		w.answer.reason = SB_R_ERROR_FROM_TARGET;
		add(&w, 1);
		for (int n = 0; n < 100 && !w.dead; n++) {
			settle_all(&w, cases[i].outcome);
			world_step_time(&w);
			world_flush(&w);
		}
		if (w.dead != 1 || w.letter.attempts != cases[i].want_attempts ||
			w.item[0].exhausted != cases[i].want_exhausted || w.item[0].reason != SB_R_ERROR_FROM_TARGET ||
			world_stats(&w).dead != 1)
			fail_msg(
				"%s: attempts %u, exhausted %u", cases[i].what, w.letter.attempts, w.item[0].exhausted);
		world_done(&w);
	}
}

static void a_letter_tells_the_first_and_the_last_error(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.retry.max_retries = 2;
	world_init(&w, &p, 1, 10);
	add(&w, 1);
	w.answer = (struct sb_result){ .message = SB_SLICE("one"), .tail = SB_SLICE("tail one") };
	settle_all(&w, SB_RETRY);
	pass_ms(&w, 10000);
	w.answer = (struct sb_result){ .message = SB_SLICE("two") };
	settle_all(&w, SB_RETRY);
	pass_ms(&w, 10000);
	w.answer = (struct sb_result){ .message = SB_SLICE("three"), .tail = SB_SLICE("tail three") };
	settle_all(&w, SB_RETRY);
	assert_int_equal(w.dead, 1);
	assert_string_equal(w.letter.first, "one");
	assert_string_equal(w.letter.last, "three");
	assert_string_equal(w.letter.tail, "tail three");
	assert_int_equal(w.letter.attempts, 3);
	assert_int_equal(w.letter.first_ms, WALL_MS);
	assert_in_range(w.letter.last_ms, WALL_MS + 1, WALL_MS + 20000);
	world_done(&w);
}

/* A tail keeps its end, a message its beginning, and neither is cut within a character. */
static void long_messages_are_cut(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	static char text[6000];
	struct world w;

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 2 ? '\xa4' : '\xc3';
	world_init(&w, &p, 1, 10);
	add(&w, 1);
	w.answer = (struct sb_result){ .message = { text, 1025 + 2 }, .tail = { text, sizeof(text) } };
	settle_all(&w, SB_RETRY);
	assert_int_equal(w.attempt.message.n, 1024);
	w.answer.message = sb_slice(text + 1, 1500); /* begins within one: the cut at 1024 would too */
	pass_ms(&w, 10000);
	settle_all(&w, SB_RETRY);
	assert_int_equal(w.attempt.message.n, 1023);
	w.answer.tail.n--; /* ends within one; the cut falls within another */
	pass_ms(&w, 10000);
	settle_all(&w, SB_REJECTED);
	assert_int_equal((unsigned char)w.letter.tail[0], 0xc3);
	world_done(&w);
}

static void a_dead_letter_waits_for_room_and_holds_the_target(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	world_init(&w, &p, 1, 100);
	add(&w, 10);
	w.no_room = true;
	world_settle(&w, 0, SB_REJECTED);
	world_settle(&w, 0, SB_REJECTED);
	assert_int_equal(world_stats(&w).held, 2);
	assert_int_equal(w.n_flight, 2); /* nothing new is begun */
	settle_all(&w, SB_DELIVERED);
	pass_ms(&w, 60000);
	assert_int_equal(w.n_flight, 0);
	assert_int_equal(world_stats(&w).held, 2);
	w.no_room = false;
	pass_ms(&w, 1000);
	assert_int_equal(w.dead, 2);
	assert_int_equal(w.n_flight, 4);
	world_done(&w);
}

static void stillborn_ones_are_buried_with_what_they_bring(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	world_init(&w, &p, 1, 100);
	world_pause(&w, true);
	world_append(&w, 0, SB_OWED_STILLBORN, 10);
	world_flush(&w);
	assert_int_equal(w.dead, 1);
	assert_int_equal(w.item[0].reason, SB_R_INVALID_JSON);
	assert_string_equal(w.letter.last, "born dead");
	assert_string_equal(w.letter.input, "");
	assert_int_equal(w.letter.attempts, 0);
	world_append(&w, 0, SB_OWED_STILLBORN, 10);
	world_flush(&w);
	assert_string_equal(w.letter.last, "born dead");
	assert_string_equal(w.letter.input, "in 2");
	world_done(&w);
}

static void a_final_delivery_never_dies(void **state)
{
	static const enum sb_outcome bad[] = { SB_RETRY, SB_REJECTED, SB_UNREACHABLE };
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.retry.max_retries = 0;
	p.retry.max_age_ms = p.max_queue_age_ms = 1000;
	world_init(&w, &p, 1, 100);
	world_append(&w, 0, SB_OWED_FINAL, 10);
	w.table = bad;
	w.table_n = 3;
	for (int i = 0; i < 300; i++) {
		world_flush(&w);
		world_step_time(&w);
	}
	assert_true(w.sent > 200);
	assert_int_equal(w.dead, 0);
	w.table = NULL;
	pass_ms(&w, 2 * p.retry.cap_ms);
	settle_all(&w, SB_REJECTED);
	assert_int_equal(w.attempt.due_wall_ms - w.attempt.at_wall_ms, p.retry.cap_ms);
	world_done(&w);
}

static void old_ones_die_in_the_queue_even_while_it_is_paused(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.max_queue_age_ms = 60000;
	world_init(&w, &p, 1, 100);
	add(&w, 6);
	world_pause(&w, true);
	pass_ms(&w, 59999);
	assert_int_equal(w.dead, 0);
	pass_ms(&w, 1);
	assert_int_equal(w.dead, 2);
	assert_int_equal(w.item[5].reason, SB_R_QUEUE_FULL);
	assert_string_equal(w.letter.last, "older than max_queue.age before");
	assert_int_equal(w.item[5].exhausted, 2);
	assert_int_equal(w.n_flight, 4); /* those that were begun have left the queue */
	world_done(&w);
}

static void with_refuse_an_old_queue_takes_nothing_more_and_keeps_what_it_has(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.max_queue_age_ms = 60000;
	p.on_full = SB_ON_FULL_REFUSE;
	world_init(&w, &p, 1, 100);
	add(&w, 4);
	pass_ms(&w, 100000); /* those in flight are not in the queue, whatever their age */
	assert_true(sb_dispatch_reserve(w.d, 1));
	add(&w, 2);
	pass_ms(&w, 59999);
	assert_true(sb_dispatch_reserve(w.d, 1));
	pass_ms(&w, 1);
	assert_false(sb_dispatch_reserve(w.d, 1));
	pass_ms(&w, 100000);
	assert_int_equal(w.dead, 0);
	world_settle(&w, 0, SB_DELIVERED);
	assert_false(sb_dispatch_reserve(w.d, 1)); /* the second is as old */
	world_settle(&w, 0, SB_DELIVERED);
	assert_true(sb_dispatch_reserve(w.d, 1));
	settle_all(&w, SB_DELIVERED);
	assert_int_equal(w.dead, 0);
	sb_dispatch_unreserve(w.d, 3);
	world_done(&w);
}

/* ------------------------------------------------------------------------------------------------ breaker, release */

static void an_unreachable_target_is_left_alone_then_probed(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;
	uint64_t pause, longest = 0;

	(void)state;
	world_init(&w, &p, 1, 100);
	add(&w, 10);
	for (int i = 0; i < 4; i++)
		world_settle(&w, 0, SB_UNREACHABLE);
	assert_int_equal(w.n_flight, 0);
	assert_int_equal(world_stats(&w).unreachable_until_ms, WALL_MS + 1000);
	pass_ms(&w, 999);
	assert_int_equal(w.n_flight, 0);
	pass_ms(&w, 1);
	for (int i = 0; i < 30; i++) {
		assert_int_equal(w.n_flight, 1);
		assert_int_equal(w.flight[0]->item->attempt, 1);
		world_settle(&w, 0, SB_UNREACHABLE);
		pause = world_stats(&w).unreachable_until_ms - sb_wall_ms(&w.clock.clock);
		assert_in_range(pause, p.retry.base_ms, p.retry.cap_ms);
		longest = SB_MAX(longest, pause);
		pass_ms(&w, pause);
	}
	assert_true(longest > p.retry.cap_ms / 2);
	assert_int_equal(world_stats(&w).unreachable, 34);
	settle_all(&w, SB_RETRY); /* it answered, if badly */
	assert_int_equal(world_stats(&w).unreachable_until_ms, 0);
	assert_int_equal(w.n_flight, 4);
	world_done(&w);
}

static void an_unreachable_target_may_ask_for_a_longer_pause(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	const struct {
		uint32_t asked;
		uint64_t pause;
	} cases[] = {
		{ 0, p.retry.base_ms },
		{ 400, p.retry.base_ms }, /* never shorter */
		{ 7000, 7000 },
		{ UINT32_MAX, p.retry.cap_ms },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		uint64_t pause;
		struct world w;

		world_init(&w, &p, 1, 100);
		add(&w, 1);
		w.answer = (struct sb_result){ .retry_after_ms = cases[i].asked };
		world_settle(&w, 0, SB_UNREACHABLE);
		pause = world_stats(&w).unreachable_until_ms - WALL_MS;
		if (pause != cases[i].pause)
			fail_msg("row %zu: a pause of %" PRIu64 " ms", i, pause);
		world_done(&w);
	}
}

static void a_target_that_is_there_again_is_probed_at_once(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct sb_target other = { 0 };
	struct world w;

	(void)state;
	world_init(&w, &p, 1, 100);
	add(&w, 10);
	sb_dispatch_reachable(w.d, &w.target); /* which nobody doubts */
	assert_int_equal(w.n_flight, 4);
	for (int i = 0; i < 4; i++)
		world_settle(&w, 0, SB_UNREACHABLE);
	assert_int_equal(w.n_flight, 0);
	sb_dispatch_reachable(w.d, &other);
	assert_int_equal(w.n_flight, 0);
	sb_dispatch_reachable(w.d, &w.target);
	assert_int_equal(w.n_flight, 1);
	sb_dispatch_reachable(w.d, &w.target); /* one probe at a time, whatever is said */
	assert_int_equal(w.n_flight, 1);
	world_settle(&w, 0, SB_DELIVERED);
	assert_int_equal(w.n_flight, 4);
	world_done(&w);
}

static void those_behind_an_unreachable_target_die_of_age(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.retry.max_age_ms = 3600000;
	world_init(&w, &p, 1, 100);
	add(&w, 20);
	for (int i = 0; i < 200 && world_open(&w); i++) {
		settle_all(&w, SB_UNREACHABLE);
		world_step_time(&w);
		world_flush(&w);
	}
	assert_int_equal(w.dead, 20);
	assert_int_equal(w.item[19].exhausted, 2);
	assert_int_equal(w.item[19].reason, SB_R_CONNECTION_FAILURE);
	assert_true(w.clock.mono < 1000 * SB_NS_PER_S + 3600 * SB_NS_PER_S + 2 * p.retry.cap_ms * SB_NS_PER_MS);
	world_done(&w);
}

/* Each at its own age, however long the next probe is away, and whichever was probed last. */
static void each_of_them_dies_in_time(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.retry.max_age_ms = 3600000;
	world_init(&w, &p, 1, 100);
	for (unsigned second = 0; second < 90 * 60; second++) {
		unsigned minute = second / 60, old = minute < 60 ? 0 : minute - 59;

		if (minute < 30 && second % 60 == 0)
			add(&w, 1);
		settle_all(&w, SB_UNREACHABLE);
		pass_ms(&w, 1000);
		if (second % 60 == 30 && w.dead != old)
			fail_msg("minute %u: %u are dead", minute, (unsigned)w.dead);
	}
	world_done(&w);
}

/* What was under way when the target went away says nothing about the probe that is out. */
static void there_is_one_probe_at_a_time(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	world_init(&w, &p, 1, 100);
	add(&w, 10);
	world_settle(&w, 3, SB_UNREACHABLE);
	pass_ms(&w, 1000);
	assert_int_equal(w.n_flight, 4); /* three from before, one probe */
	world_settle(&w, 0, SB_RELEASED);
	pass_ms(&w, 1);
	assert_int_equal(w.n_flight, 3);
	world_settle(&w, 1, SB_UNREACHABLE); /* number 0 is the probe now */
	pass_ms(&w, 1);
	assert_int_equal(w.n_flight, 2);
	settle_all(&w, SB_DELIVERED);
	assert_int_equal(w.n_flight, 4);
	world_done(&w);
}

static void a_released_one_goes_again_at_once_uncounted_and_alone(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.concurrency = 1;
	world_init(&w, &p, 1, 100);
	add(&w, 1);
	w.set_alone = true;
	world_settle(&w, 0, SB_RELEASED);
	assert_int_equal(w.n_flight, 0); /* not before the target has returned */
	pass_ms(&w, 1);
	assert_int_equal(w.n_flight, 1);
	assert_int_equal(w.flight[0]->item->attempt, 1);
	assert_true(w.flight[0]->item->alone);
	settle_all(&w, SB_RETRY);
	assert_true(w.attempt.alone);
	assert_int_equal(world_stats(&w).released, 1);
	world_done(&w);
}

/* ------------------------------------------------------------------------------------------------ turns */

static void retries_and_new_ones_take_turns(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;
	unsigned again = 0;

	(void)state;
	p.concurrency = 1;
	p.retry.cap_ms = 1000;
	world_init(&w, &p, 1, 1000);
	add(&w, 20);
	for (int i = 0; i < 10; i++)
		world_settle(&w, 0, SB_RETRY);
	add(&w, 100);
	pass_ms(&w, 5000); /* ten retries are due, a hundred new ones stand in line, one is in flight */
	for (int i = 0; i < 20; i++) {
		world_settle(&w, 0, SB_DELIVERED);
		again += w.flight[0]->item->attempt > 1;
	}
	assert_int_equal(again, 10);
	world_done(&w);
}

static void at_max_retrying_no_new_one_is_begun(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.max_retrying = 3;
	p.concurrency = 1;
	world_init(&w, &p, 1, 100);
	add(&w, 10);
	for (int i = 0; i < 3; i++)
		world_settle(&w, 0, SB_RETRY);
	assert_int_equal(w.n_flight, 0);
	assert_true(world_stats(&w).at_max_retrying);
	pass_ms(&w, 1000);
	assert_true(w.flight[0]->item->attempt == 2);
	world_settle(&w, 0, SB_DELIVERED);
	assert_false(world_stats(&w).at_max_retrying);
	while (w.n_flight && w.flight[0]->item->attempt == 2)
		world_settle(&w, 0, SB_DELIVERED);
	assert_int_equal(in_flight_dno(&w, 0), 4);
	world_done(&w);
}

static void paused_and_draining_targets_finish_but_begin_nothing(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	world_init(&w, &p, 1, 100);
	add(&w, 10);
	world_pause(&w, true);
	settle_all(&w, SB_DELIVERED);
	assert_true(sb_dispatch_idle(w.d));
	assert_true(world_stats(&w).paused);
	world_pause(&w, false);
	assert_int_equal(w.n_flight, 4);
	sb_dispatch_drain(w.d);
	world_settle(&w, 0, SB_DELIVERED);
	world_settle(&w, 0, SB_RETRY);
	assert_false(sb_dispatch_idle(w.d));
	settle_all(&w, SB_DELIVERED);
	pass_ms(&w, 100000);
	assert_true(sb_dispatch_idle(w.d));
	assert_int_equal(w.n_flight, 0);
	assert_int_equal(w.delivered, 7);
	world_done(&w);
}

static void room_is_reserved_and_given_back_by_outcomes(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.max_queue_bytes = 1000;
	world_init(&w, &p, 1, 100);
	assert_false(sb_dispatch_reserve(w.d, 1001));
	assert_true(sb_dispatch_reserve(w.d, 1000));
	assert_false(sb_dispatch_reserve(w.d, 1));
	sb_dispatch_unreserve(w.d, 1000);
	add(&w, 2); /* one with meta, one without */
	assert_int_equal(world_stats(&w).queued_bytes, 134 + 119);
	assert_false(sb_dispatch_reserve(w.d, 1000 - 134 - 119 + 1));
	world_settle(&w, 0, SB_DELIVERED);
	world_settle(&w, 0, SB_REJECTED);
	assert_true(sb_dispatch_reserve(w.d, 1000));
	p.max_queue_bytes = 1500;
	sb_dispatch_set_policy(w.d, &p);
	assert_true(sb_dispatch_reserve(w.d, 500));
	assert_false(sb_dispatch_reserve(w.d, 1));
	sb_dispatch_unreserve(w.d, 500);
	sb_dispatch_reserve_always(w.d, 5000);
	sb_dispatch_unreserve(w.d, 6000);
	world_done(&w);
}

struct grab {
	struct world w;
	atomic_uint_fast64_t taken;
};

static void *grab(void *arg)
{
	struct grab *g = arg;

	for (int i = 0; i < 20000; i++) {
		if (!sb_dispatch_reserve(g->w.d, 7))
			continue;
		assert_true(atomic_fetch_add(&g->taken, 7) + 7 <= 10);
		atomic_fetch_sub(&g->taken, 7);
		sb_dispatch_unreserve(g->w.d, 7);
	}
	return NULL;
}

static void two_intakes_never_reserve_more_than_there_is(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct grab g = { .taken = 0 };
	pthread_t other;

	(void)state;
	p.max_queue_bytes = 10;
	world_init(&g.w, &p, 1, 1);
	assert_int_equal(pthread_create(&other, NULL, grab, &g), 0);
	grab(&g);
	pthread_join(other, NULL);
	assert_true(sb_dispatch_reserve(g.w.d, 10));
	sb_dispatch_unreserve(g.w.d, 10);
	world_done(&g.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_delivery_is_sent_and_its_result_recorded),
		cmocka_unit_test(the_connector_sees_what_it_needs),
		cmocka_unit_test(never_more_in_flight_than_the_concurrency),
		cmocka_unit_test(a_target_that_settles_at_once_gets_thousands_without_recursion),
		cmocka_unit_test(a_warm_dispatch_allocates_nothing),
		cmocka_unit_test(a_retry_is_counted_recorded_and_waits),
		cmocka_unit_test(what_ends_a_delivery),
		cmocka_unit_test(a_letter_tells_the_first_and_the_last_error),
		cmocka_unit_test(long_messages_are_cut),
		cmocka_unit_test(a_dead_letter_waits_for_room_and_holds_the_target),
		cmocka_unit_test(stillborn_ones_are_buried_with_what_they_bring),
		cmocka_unit_test(a_final_delivery_never_dies),
		cmocka_unit_test(old_ones_die_in_the_queue_even_while_it_is_paused),
		cmocka_unit_test(with_refuse_an_old_queue_takes_nothing_more_and_keeps_what_it_has),
		cmocka_unit_test(an_unreachable_target_is_left_alone_then_probed),
		cmocka_unit_test(an_unreachable_target_may_ask_for_a_longer_pause),
		cmocka_unit_test(a_target_that_is_there_again_is_probed_at_once),
		cmocka_unit_test(those_behind_an_unreachable_target_die_of_age),
		cmocka_unit_test(each_of_them_dies_in_time),
		cmocka_unit_test(there_is_one_probe_at_a_time),
		cmocka_unit_test(a_released_one_goes_again_at_once_uncounted_and_alone),
		cmocka_unit_test(retries_and_new_ones_take_turns),
		cmocka_unit_test(at_max_retrying_no_new_one_is_begun),
		cmocka_unit_test(paused_and_draining_targets_finish_but_begin_nothing),
		cmocka_unit_test(room_is_reserved_and_given_back_by_outcomes),
		cmocka_unit_test(two_intakes_never_reserve_more_than_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
