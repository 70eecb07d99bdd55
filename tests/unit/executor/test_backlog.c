/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>

#include "world.h"

/* What does not fit in memory, what a restart finds, and lanes that are longer than memory. */

#ifdef __SANITIZE_THREAD__
#define MILLION 100000
#else
#define MILLION 1000000
#endif
#define SMALL_CACHE (16 << 10)

static const enum sb_outcome delivered[] = { SB_DELIVERED }, retry[] = { SB_RETRY }, unreachable[] = { SB_UNREACHABLE };

static void answer(struct world *w, const enum sb_outcome *always)
{
	w->table = always;
	w->table_n = 1;
}

static void add(struct world *w, unsigned n, uint32_t lane)
{
	while (n--)
		world_append(w, lane, 0, 300);
	world_flush(w);
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

static void run_down(struct world *w)
{
	answer(w, delivered);
	while (w->n_flight)
		world_settle(w, 0, SB_DELIVERED);
	for (int i = 0; i < 100000 && world_open(w); i++) {
		world_flush(w);
		world_step_time(w);
	}
	world_flush(w);
	assert_int_equal(world_open(w), 0);
}

static uint64_t outstanding(const struct world *w)
{
	struct sb_dispatch_stats s = world_stats(w);

	return s.in_flight + s.queued + s.retrying + s.held;
}

/* ------------------------------------------------------------------------------------------------ backlog */

static void what_does_not_fit_is_read_again_in_order(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.cache_bytes = SMALL_CACHE;
	world_init(&w, &p, 1, 2000);
	add(&w, 1000, 0);
	assert_true(world_stats(&w).backlog);
	assert_int_equal(outstanding(&w), 1000);
	assert_true(world_stats(&w).queued_bytes > 300 * 1000);
	run_down(&w); /* the oracle checks the order */
	assert_int_equal(w.delivered, 1000);
	assert_false(world_stats(&w).backlog);
	assert_true(w.reads > 20 && w.reads < 500);
	assert_in_range(w.scanned, 900, 1000); /* each was looked at once */
	w.reads = 0;
	add(&w, 3, 0);
	assert_int_equal(w.delivered, 1003);
	assert_int_equal(w.reads, 0);
	world_done(&w);
}

static void one_that_is_larger_than_the_cache_is_let_in_alone(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.cache_bytes = 1000;
	world_init(&w, &p, 1, 10);
	world_append(&w, 0, 0, 20000);
	world_flush(&w);
	assert_false(world_stats(&w).backlog);
	assert_int_equal(w.n_flight, 1);
	assert_int_equal(w.reads, 0);
	world_append(&w, 0, 0, 20000);
	world_flush(&w);
	assert_true(world_stats(&w).backlog);
	run_down(&w);
	assert_int_equal(w.delivered, 2);
	world_done(&w);
}

static void mail_that_a_read_overtook_is_dropped(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.cache_bytes = SMALL_CACHE;
	world_init(&w, &p, 1, 2000);
	add(&w, 100, 0);
	for (int i = 0; i < 50; i++)
		world_append(&w, 0, 0, 300); /* durable; the mail is late */
	answer(&w, delivered);
	while (w.n_flight)
		world_settle(&w, 0, SB_DELIVERED);
	for (int i = 0; i < 100 && (w.n_reading || w.n_served || !sb_mailbox_empty(&w.home)); i++) {
		if (w.n_reading)
			world_serve(&w, 0);
		if (w.n_served)
			world_post(&w, 0);
		world_run_mail(&w);
	}
	assert_int_equal(w.delivered, 150);
	assert_int_equal(outstanding(&w), 0);
	world_flush(&w); /* now it comes */
	assert_int_equal(w.delivered, 150);
	assert_int_equal(outstanding(&w), 0);
	world_done(&w);
}

/* Ten times as many for a dead target cost no more memory, once the first have failed. */
static void memory_stays_flat_with_a_million_for_a_dead_target(void **state)
{
	static const enum sb_outcome *const dead[] = { retry, unreachable };
	struct sb_target_policy p = WORLD_POLICY;

	(void)state;
	for (size_t i = 0; i < SB_LEN(dead); i++) {
		struct world w;
		uint64_t at_10000;

		world_init(&w, &p, 1, MILLION);
		answer(&w, dead[i]);
		add(&w, 10000, 0);
		at_10000 = world_stats(&w).cache_bytes;
		while (w.n < w.most)
			add(&w, 10000, 0);
		pass_ms(&w, 600000);
		assert_int_equal(outstanding(&w), MILLION);
		assert_true(w.max_cache <= p.cache_bytes + w.slack);
		assert_true(w.max_cache <= at_10000 + (8 << 20));
		assert_true(world_stats(&w).queued_bytes > UINT64_C(300) * MILLION);
		if (dead[i] == retry)
			assert_true(world_stats(&w).at_max_retrying || world_stats(&w).cache_bytes > p.cache_bytes / 2);
		world_done(&w);
	}
}

static void waiting_payloads_make_room_and_are_loaded_when_due(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.cache_bytes = SMALL_CACHE;
	world_init(&w, &p, 1, 2000);
	answer(&w, retry);
	add(&w, 20, 0); /* 20 structs fit, 20 payloads do not */
	assert_false(world_stats(&w).backlog);
	assert_int_equal(world_stats(&w).retrying, 20);
	assert_true(world_stats(&w).cache_bytes <= p.cache_bytes);
	assert_int_equal(w.reads, 0);
	answer(&w, delivered);
	pass_ms(&w, 1000);
	assert_int_equal(w.delivered, 20);
	assert_in_range(w.reads, 5, 20);
	world_done(&w);
}

static void the_cache_can_be_full_of_retries(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.cache_bytes = SMALL_CACHE;
	p.retry.max_retries = 30;
	world_init(&w, &p, 1, 2000);
	answer(&w, retry);
	add(&w, 500, 0);
	assert_true(world_stats(&w).backlog);
	assert_true(world_stats(&w).retrying < 60);
	pass_ms(&w, 3600 * 1000 * 4);
	assert_true(w.dead > 0); /* it goes on */
	run_down(&w);
	world_done(&w);
}

/* An event that owes us many is one frame: reading stops within it, and goes on there. */
static void one_event_may_be_longer_than_memory(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.cache_bytes = SMALL_CACHE;
	world_init(&w, &p, 1, 2000);
	add(&w, 5, 0);
	w.event_first = 6;
	add(&w, 500, 0);
	w.event_first = 0;
	add(&w, 5, 0);
	run_down(&w);
	assert_int_equal(w.delivered, 510);
	world_done(&w);
}

static void a_disk_that_does_not_answer_is_not_asked_in_a_hurry(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;
	uint64_t before;

	(void)state;
	p.cache_bytes = SMALL_CACHE;
	world_init(&w, &p, 1, 2000);
	add(&w, 100, 0);
	w.disk_dead = true;
	answer(&w, delivered);
	while (w.n_flight)
		world_settle(&w, 0, SB_DELIVERED);
	world_flush(&w); /* comes to an end */
	before = w.reads;
	pass_ms(&w, 1000);
	assert_in_range(w.reads - before, 50, 100);
	w.disk_dead = false;
	pass_ms(&w, 10);
	assert_int_equal(w.delivered, 100);
	world_done(&w);
}

/* ------------------------------------------------------------------------------------------------ damage */

static void damaged_frames_do_not_stop_the_others(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.cache_bytes = SMALL_CACHE;
	world_init(&w, &p, 1, 2000);
	add(&w, 100, 0);
	for (uint64_t i = 60; i < 70; i++)
		w.item[i].damaged = w.item[i].settled = true;
	run_down(&w);
	assert_int_equal(w.delivered, 90);
	assert_int_equal(outstanding(&w), 0);
	assert_int_equal(world_stats(&w).queued_bytes, 0);
	assert_int_equal(world_stats(&w).unreadable, 10);
	world_done(&w);
}

static void a_payload_that_cannot_be_read_again_is_given_up(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.cache_bytes = 1; /* nothing is kept that waits */
	p.lanes = 8;
	world_init(&w, &p, 1, 2000);
	answer(&w, retry);
	add(&w, 1, 1);
	assert_int_equal(world_stats(&w).retrying, 1);
	add(&w, 1, 1);
	w.disk_dead = true;
	answer(&w, delivered);
	pass_ms(&w, 5000);
	assert_int_equal(world_stats(&w).retrying, 1); /* the disk may come back */
	w.disk_dead = false;
	w.item[0].damaged = w.item[0].settled = true;
	pass_ms(&w, 5000);
	assert_int_equal(world_stats(&w).unreadable, 1);
	assert_int_equal(w.delivered, 1); /* and its lane goes on */
	world_done(&w);
}

/* ------------------------------------------------------------------------------------------------ restart */

static void a_restart_goes_on_where_it_stopped(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	world_init(&w, &p, 1, 2000);
	add(&w, 10, 0);
	world_settle(&w, 0, SB_DELIVERED); /* 1 */
	w.answer.retry_after_ms = 30000;
	world_settle(&w, 0, SB_RETRY); /* in flight: 5 4 3 2 or so */
	world_commit(&w);
	world_append(&w, 0, 0, 300); /* durable, but its mail never arrives */
	world_restart(&w);
	assert_int_equal(outstanding(&w), 10);
	assert_int_equal(world_stats(&w).oldest_ms, w.item[1].received_ms);
	pass_ms(&w, 0);
	assert_int_equal(w.n_flight, 4);
	assert_int_equal(world_stats(&w).retrying, 1);
	assert_int_equal(world_stats(&w).queued, 5);
	pass_ms(&w, 29999);
	answer(&w, delivered);
	while (w.n_flight)
		world_settle(&w, 0, SB_DELIVERED);
	assert_int_equal(w.delivered, 10);
	pass_ms(&w, 1);
	assert_int_equal(w.delivered, 11);
	assert_int_equal(w.result.attempts, 2);
	assert_int_equal(outstanding(&w), 0);
	world_done(&w);
}

static void a_restart_remembers_what_failed(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.retry.max_retries = 1;
	world_init(&w, &p, 1, 10);
	w.set_alone = true;
	add(&w, 1, 0);
	world_settle(&w, 0, SB_RELEASED);
	pass_ms(&w, 1);
	w.answer = (struct sb_result){ .reason = SB_R_TIMEOUT, .message = SB_SLICE("slow") };
	world_settle(&w, 0, SB_RETRY);
	world_commit(&w);
	world_restart(&w);
	pass_ms(&w, 2000);
	assert_true(w.flight[0]->item->alone);
	w.answer = (struct sb_result){ .reason = SB_R_INTERNAL_ERROR, .message = SB_SLICE("worse") };
	world_settle(&w, 0, SB_RETRY);
	assert_int_equal(w.dead, 1);
	assert_int_equal(w.letter.attempts, 2);
	assert_string_equal(w.letter.first, "before the restart"); /* what the world's journal says */
	assert_string_equal(w.letter.last, "worse");
	assert_int_equal(w.letter.first_ms, w.item[0].received_ms);
	world_done(&w);
}

/* How long those that wait go on waiting, when the wall clock was moved while the daemon was down. */
static void a_jump_of_the_wall_clock_neither_fires_nor_stalls(void **state)
{
	static const struct {
		const char *what;
		int64_t jump_ms;
		uint64_t none_before_ms, all_within_ms;
	} cases[] = {
		{ "none", 0, 600000, 600000 },
		{ "a day back", -86400000, 960000, 960000 },
		{ "a minute back", -60000, 660000, 660000 },
		{ "a day ahead", 86400000, 1, 1000 },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_target_policy p = WORLD_POLICY;
		struct world w;

		p.retry.max_age_ms *= 10;
		world_init(&w, &p, 1, 2000);
		w.answer.retry_after_ms = 600000;
		answer(&w, retry);
		add(&w, 50, 0);
		w.clock.wall += (uint64_t)cases[i].jump_ms;
		world_restart(&w);
		answer(&w, delivered);
		pass_ms(&w, cases[i].none_before_ms - 1);
		if (w.delivered > 5) /* of the spread ones, a few may be at once */
			fail_msg("%s: %u too early", cases[i].what, (unsigned)w.delivered);
		pass_ms(&w, cases[i].all_within_ms - cases[i].none_before_ms + 1);
		if (w.delivered != 50)
			fail_msg("%s: only %u in time", cases[i].what, (unsigned)w.delivered);
		world_done(&w);
	}
}

static void a_jump_while_running_changes_no_wait(void **state)
{
	static const int64_t jumps[] = { -86400000, 86400000 - 3600000 };

	(void)state;
	for (size_t i = 0; i < SB_LEN(jumps); i++) {
		struct sb_target_policy p = WORLD_POLICY;
		struct world w;

		world_init(&w, &p, 1, 2000);
		w.answer.retry_after_ms = 600000;
		answer(&w, retry);
		add(&w, 1, 0);
		w.clock.wall += (uint64_t)jumps[i];
		w.item[0].due_ns = 0;
		answer(&w, delivered);
		pass_ms(&w, 599999);
		assert_int_equal(w.delivered, 0);
		pass_ms(&w, 1);
		assert_int_equal(w.delivered, 1);
		world_done(&w);
	}
}

/* ------------------------------------------------------------------------------------------------ lanes */

static void a_failing_lane_blocks_only_itself(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.lanes = 8;
	p.retry.max_retries = 2;
	world_init(&w, &p, 1, 2000);
	for (uint32_t lane = 1; lane <= 4; lane++)
		add(&w, 3, lane);
	assert_int_equal(w.n_flight, 4); /* one of each */
	world_settle(&w, 0, SB_RETRY);   /* lane 1 */
	assert_int_equal(world_stats(&w).blocked_lanes, 1);
	while (w.n_flight)
		world_settle(&w, 0, SB_DELIVERED);
	assert_int_equal(w.delivered, 9);
	assert_int_equal(world_stats(&w).blocked_lanes, 1);
	pass_ms(&w, 1000);
	assert_int_equal(world_stats(&w).blocked_lanes, 0); /* its retry is in flight */
	world_settle(&w, 0, SB_RETRY);
	pass_ms(&w, 2000);
	w.no_room = true;
	world_settle(&w, 0, SB_RETRY);
	assert_int_equal(world_stats(&w).blocked_lanes, 1);
	w.no_room = false;
	pass_ms(&w, 10); /* it dies, and the lane opens */
	assert_int_equal(w.dead, 1);
	assert_int_equal(world_stats(&w).blocked_lanes, 0);
	run_down(&w);
	assert_int_equal(w.delivered, 11);
	world_done(&w);
}

/* The lane at the head is blocked and far longer than memory; all others keep every slot busy meanwhile. */
static void a_blocked_lane_longer_than_memory_lies_in_the_journal(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.lanes = 8;
	p.cache_bytes = SMALL_CACHE;
	world_init(&w, &p, 1, 2000);
	add(&w, 500, 1);
	w.answer.retry_after_ms = 600000;
	world_settle(&w, 0, SB_RETRY);
	world_flush(&w);
	for (int i = 0; i < 50; i++)
		for (uint32_t lane = 2; lane <= 7; lane++)
			add(&w, 1, lane);
	pass_ms(&w, 1000);
	assert_int_equal(w.n_flight, 4);
	assert_int_equal(outstanding(&w), 800);
	for (int i = 0; i < 280; i++) {
		world_settle(&w, (unsigned)i % w.n_flight, SB_DELIVERED);
		world_flush(&w);
		if (w.n_flight != 4)
			fail_msg("only %u in flight after %d", w.n_flight, i);
	}
	while (w.n_flight) {
		world_settle(&w, 0, SB_DELIVERED);
		world_flush(&w);
		pass_ms(&w, 10);
	}
	assert_int_equal(w.delivered, 300);
	assert_int_equal(outstanding(&w), 500);
	run_down(&w); /* the oracle checks the order */
	assert_int_equal(w.delivered, 800);
	assert_int_equal(outstanding(&w), 0);
	world_done(&w);
}

/* A lane whose turn it is goes on although the retries of others have used up the memory. */
static void a_lane_is_read_even_when_others_fill_the_memory(void **state)
{
	static char text[1024];
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	memset(text, 'm', sizeof(text));
	p.lanes = p.concurrency = 8;
	p.cache_bytes = 12000;
	world_init(&w, &p, 1, 100);
	w.answer = (struct sb_result){ .message = { text, sizeof(text) }, .retry_after_ms = 600000 };
	add(&w, 5, 6);
	for (uint32_t lane = 1; lane <= 5; lane++)
		add(&w, 1, lane);
	assert_int_equal(w.n_flight, 6);
	for (int i = 0; i < 5; i++)
		world_settle(&w, 1, SB_RETRY);
	world_flush(&w);
	assert_true(world_stats(&w).cache_bytes > p.cache_bytes);
	answer(&w, delivered);
	w.disk_dead = true;
	world_settle(&w, 0, SB_DELIVERED);
	world_flush(&w); /* comes to an end: what brought nothing is not tried again at once */
	assert_int_equal(w.delivered, 1);
	w.disk_dead = false;
	pass_ms(&w, 10);
	assert_int_equal(w.delivered, 5);
	assert_int_equal(world_stats(&w).retrying, 5);
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_does_not_fit_is_read_again_in_order),
		cmocka_unit_test(one_that_is_larger_than_the_cache_is_let_in_alone),
		cmocka_unit_test(mail_that_a_read_overtook_is_dropped),
		cmocka_unit_test(memory_stays_flat_with_a_million_for_a_dead_target),
		cmocka_unit_test(waiting_payloads_make_room_and_are_loaded_when_due),
		cmocka_unit_test(the_cache_can_be_full_of_retries),
		cmocka_unit_test(one_event_may_be_longer_than_memory),
		cmocka_unit_test(a_disk_that_does_not_answer_is_not_asked_in_a_hurry),
		cmocka_unit_test(damaged_frames_do_not_stop_the_others),
		cmocka_unit_test(a_payload_that_cannot_be_read_again_is_given_up),
		cmocka_unit_test(a_restart_goes_on_where_it_stopped),
		cmocka_unit_test(a_restart_remembers_what_failed),
		cmocka_unit_test(a_jump_of_the_wall_clock_neither_fires_nor_stalls),
		cmocka_unit_test(a_jump_while_running_changes_no_wait),
		cmocka_unit_test(a_failing_lane_blocks_only_itself),
		cmocka_unit_test(a_blocked_lane_longer_than_memory_lies_in_the_journal),
		cmocka_unit_test(a_lane_is_read_even_when_others_fill_the_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
