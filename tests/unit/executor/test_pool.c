/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "poolbench.h"

/* The pool, one behaviour a test. */

/* ------------------------------------------------------------------------------------------------ workers */

static void the_first_event_starts_a_worker_and_the_next_finds_it_warm(void **state)
{
	struct bench *b = bench_opened(100);

	(void)state;
	b->next_start.after_ns = 50 * SB_NS_PER_MS;
	bench_advance(b, 1000);
	assert_int_equal(b->procs.spawned, 0); /* min: 0 */
	for (size_t i = 0; i < 100; i++) {
		bench_submit(b, i);
		bench_advance(b, 100);
		assert_int_equal(b->item[i].settled[SB_DELIVERED], 1);
		assert_string_equal(b->item[i].body, "[1, 2]");
	}
	assert_int_equal(b->procs.spawned, 1);
	bench_close(b);
}

static void load_starts_workers_up_to_max_and_uses_each_again(void **state)
{
	struct bench *b = bench_opened(1000);

	(void)state;
	b->target.concurrency = 10;
	b->sends_again = true;
	bench_send_more(b);
	bench_advance(b, 10000);
	assert_int_equal(b->unfinished, 0);
	assert_int_equal(b->procs.spawned, 4);
	assert_int_equal(b->procs.most_alive, 4);
	assert_int_equal(b->procs.most_in_flight, 1);
	assert_int_equal(b->most_outstanding, 10);
	bench_close(b);
}

static void the_last_used_goes_first_so_that_the_others_can_end(void **state)
{
	struct bench *b = bench_opened(200);

	(void)state;
	for (size_t i = 0; i < 4; i++)
		bench_submit(b, i);
	bench_advance(b, 100);
	assert_int_equal(b->procs.alive, 4);
	for (size_t i = 4; i < 104; i++) { /* one at a time, for 100 s */
		bench_submit(b, i);
		bench_advance(b, 1000);
	}
	assert_int_equal(b->procs.alive, 1);
	assert_int_equal(b->procs.spawned, 4);
	bench_advance(b, 61000);
	assert_int_equal(b->procs.alive, 0);
	assert_int_equal(b->state.stats.ended_idle, 4);
	bench_submit(b, 104);
	bench_advance(b, 100);
	assert_int_equal(b->item[104].settled[SB_DELIVERED], 1);
	bench_close(b);
}

static void min_workers_are_there_before_the_first_event_and_stay(void **state)
{
	struct bench *b = bench_new(1);

	(void)state;
	b->conf.workers.min = 2;
	bench_open(b, 10);
	bench_advance(b, 100);
	assert_int_equal(b->procs.alive, 2);
	for (size_t i = 0; i < 8; i++) { /* twice, so that all become idle at the same moment */
		bench_submit(b, i);
		if (i % 4 == 3)
			bench_advance(b, 10);
	}
	assert_int_equal(b->procs.alive, 4);
	bench_advance(b, 200000);
	assert_int_equal(b->procs.alive, 2);
	assert_int_equal(b->procs.spawned, 4);
	bench_close(b);
}

static void a_worker_is_replaced_after_max_requests(void **state)
{
	struct bench *b = bench_new(1);

	(void)state;
	b->conf.max_requests = 10;
	b->conf.workers.max = 1;
	bench_open(b, 100);
	b->sends_again = true;
	bench_send_more(b);
	bench_advance(b, 10000);
	assert_int_equal(b->unfinished, 0);
	assert_int_equal(b->procs.spawned, 10);
	assert_int_equal(b->procs.most_alive, 1);
	bench_close(b);
}

/* ------------------------------------------------------------------------------------------------ starting */

static void a_worker_that_does_not_start_makes_the_target_unreachable(void **state)
{
	static const struct {
		int start;
		enum sb_reason reason;
		uint64_t after_ms, wait_ms;
		const char *message;
	} cases[] = {
		{ SB_FAKE_CANNOT_START, SB_R_NO_RESOURCE, 0, 100, "handler: No such file or directory" },
		{ SB_FAKE_DIES_STARTING, SB_R_CONNECTION_FAILURE, 10, 100, "the worker exited with status 3" },
		{ SB_FAKE_NEVER_READY, SB_R_CONNECTION_FAILURE, 0, 11000,
			"the worker was not ready within init_timeout (10s)" },
		{ SB_FAKE_BABBLES, SB_R_CONNECTION_FAILURE, 10, 1000,
			"the worker broke the protocol: its answer is not JSON" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct bench *b = bench_opened(2);

		b->next_start =
			(struct sb_fake_act){ .what = cases[i].start, .after_ns = cases[i].after_ms * SB_NS_PER_MS };
		bench_submit(b, 0);
		bench_advance(b, cases[i].wait_ms);
		if (b->item[0].settled[SB_UNREACHABLE] != 1 || b->item[0].reason != cases[i].reason ||
			strcmp(b->item[0].message, cases[i].message) != 0)
			fail_msg("row %zu: %s %s", i, sb_reason_name(b->item[0].reason), b->item[0].message);
		b->next_start = (struct sb_fake_act){ 0 };
		bench_submit(b, 0);
		bench_advance(b, 1000);
		assert_int_equal(b->item[0].settled[SB_DELIVERED], 1);
		bench_close(b);
	}
}

static void starts_that_fail_become_rare(void **state)
{
	struct bench *b = bench_new(1);

	(void)state;
	b->conf.workers.min = 1;
	b->next_start = (struct sb_fake_act){ .what = SB_FAKE_DIES_STARTING };
	bench_open(b, 1);
	bench_advance(b, 60000);
	assert_in_range(b->starts, 5, 20);
	b->starts = 0;
	bench_advance(b, 600000);
	assert_in_range(b->starts, 15, 45); /* every 15 to 30 s */
	b->next_start = (struct sb_fake_act){ 0 };
	bench_advance(b, 31000);
	assert_int_equal(b->procs.alive, 1);
	bench_submit(b, 0);
	bench_advance(b, 10);
	assert_int_equal(b->item[0].settled[SB_DELIVERED], 1);
	assert_int_equal(b->state.failures, 0);
	bench_close(b);
}

static void a_worker_that_dies_of_idleness_is_not_restarted_in_a_loop(void **state)
{
	struct bench *b = bench_new(1);

	(void)state;
	b->conf.workers.min = 1;
	b->next_start = (struct sb_fake_act){ .what = SB_FAKE_DIES_READY };
	bench_open(b, 1);
	bench_advance(b, 60000);
	assert_in_range(b->starts, 5, 20);
	bench_close(b);
}

static void a_slow_start_costs_no_attempt_its_timeout(void **state)
{
	struct bench *b = bench_opened(1);

	(void)state;
	b->next_start.after_ns = 9 * SB_NS_PER_S; /* timeout: 5 s, init_timeout: 10 s */
	bench_submit(b, 0);
	bench_advance(b, 9500);
	assert_int_equal(b->item[0].settled[SB_DELIVERED], 1);
	bench_close(b);
}

/* ------------------------------------------------------------------------------------------------ failures */

static void what_a_worker_does_decides_the_outcome(void **state)
{
	static const struct {
		int deed;
		enum sb_outcome outcome;
		enum sb_reason reason;
		const char *message, *tail;
	} cases[] = {
		{ SB_FAKE_OK, SB_DELIVERED, SB_R_NONE, "", "" },
		{ SB_FAKE_FAILS, SB_RETRY, SB_R_ERROR_FROM_TARGET, "no \"luck\"", "" },
		{ SB_FAKE_REJECTS, SB_REJECTED, SB_R_ERROR_FROM_TARGET, "no \"luck\"", "" },
		{ SB_FAKE_HANGS, SB_RETRY, SB_R_TIMEOUT, "no answer within the timeout (5s)", "" },
		{ SB_FAKE_DIES, SB_RETRY, SB_R_ERROR_FROM_TARGET,
			"the worker was killed by signal 11 (Segmentation fault)", "it hurts\n" },
		{ SB_FAKE_GARBAGE, SB_RETRY, SB_R_ERROR_FROM_TARGET,
			"the worker broke the protocol: its answer is not JSON", "" },
		{ SB_FAKE_WRONG_ID, SB_RETRY, SB_R_ERROR_FROM_TARGET,
			"the worker broke the protocol: it answered for an id that it was not given", "" },
		{ SB_FAKE_HANGS_UP, SB_RETRY, SB_R_ERROR_FROM_TARGET, "the worker closed its answer channel", "" },
		{ SB_FAKE_OK_AND_DIES, SB_DELIVERED, SB_R_NONE, "", "" },
		{ SB_FAKE_FLOODS, SB_DELIVERED, SB_R_NONE, "", "" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++)
		for (int stubborn = 0; stubborn < 2; stubborn++) {
			struct bench *b = bench_opened(2);
			struct item *it = &b->item[0];

			b->next_start.ignores_term = stubborn;
			b->next_deed.what = cases[i].deed;
			b->deeds = 1;
			bench_submit(b, 0);
			bench_advance(b, 10000);
			if (it->settled[cases[i].outcome] != 1 || it->reason != cases[i].reason ||
				strcmp(it->message, cases[i].message) != 0 || strcmp(it->tail, cases[i].tail) != 0)
				fail_msg("row %zu: %s '%s' '%s'", i, sb_reason_name(it->reason), it->message, it->tail);
			bench_submit(b, 1); /* the pool heals */
			bench_advance(b, 1000);
			assert_int_equal(b->item[1].settled[SB_DELIVERED], 1);
			bench_close(b);
		}
}

/* Both kinds of line, of one target that fails without end and then of one that fails once. */
static void make_two_fail(const char *loud, const char *quiet)
{
	const char *const name[] = { loud, quiet };

	for (unsigned t = 0; t < 2; t++) {
		unsigned failures = t ? 1 : 2 * SB_LOG_BURST;
		struct bench *b = bench_opened(failures + 1);

		b->target.name = name[t];
		b->next_deed.what = SB_FAKE_DIES;
		for (size_t i = 0; i < failures; i++) {
			bench_submit(b, i);
			bench_advance(b, 60000);
		}
		b->next_start.what = SB_FAKE_CANNOT_START;
		for (unsigned i = 0; i < failures; i++)
			sb_function_start_failed(&b->state, SB_R_CONNECTION_FAILURE, SB_SLICE("no"), SB_SLICE(""));
		bench_close(b);
	}
}

static unsigned count_lines(FILE *log, const char *phrase, const char *target)
{
	char line[4096];
	unsigned n = 0;

	rewind(log);
	while (fgets(line, sizeof(line), log))
		n += strstr(line, phrase) && strstr(line, target);
	return n;
}

static void the_lines_of_one_target_do_not_hide_those_of_another(void **state)
{
	static const char *const phrases[] = { "worker lost", "worker not started" };
	FILE *log = tmpfile();
	int saved = dup(STDERR_FILENO);

	(void)state;
	sb_log_setup(SB_LOG_JSON, SB_LOG_WARN);
	dup2(fileno(log), STDERR_FILENO);
	make_two_fail("loud", "quiet");
	dup2(saved, STDERR_FILENO);
	sb_log_setup(SB_LOG_JSON, SB_LOG_ERROR);
	close(saved);
	for (size_t i = 0; i < SB_LEN(phrases); i++) {
		assert_int_equal(count_lines(log, phrases[i], "\"target\":\"loud\""), SB_LOG_BURST);
		assert_int_equal(count_lines(log, phrases[i], "\"target\":\"quiet\""), 1);
	}
	fclose(log);
}

static void neighbours_notice_nothing(void **state)
{
	struct bench *b = bench_opened(4);

	(void)state;
	b->next_deed.after_ns = SB_NS_PER_S;
	for (size_t i = 0; i < 4; i++)
		bench_submit(b, i);
	bench_advance(b, 10);
	b->next_deed.what = SB_FAKE_OK;
	bench_advance(b, 1000);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(b->item[i].settled[SB_DELIVERED], 1);
	b->item[0].finished = false;
	b->item[1].finished = false;
	b->next_deed.what = SB_FAKE_GARBAGE;
	b->deeds = 1;
	bench_submit(b, 0);
	bench_submit(b, 1);
	bench_advance(b, 2000);
	assert_int_equal(b->item[0].settled[SB_RETRY] + b->item[1].settled[SB_RETRY], 1);
	assert_int_equal(b->item[0].settled[SB_DELIVERED] + b->item[1].settled[SB_DELIVERED], 3);
	assert_int_equal(b->procs.alive, 3);
	bench_close(b);
}

/* The framework may begin another attempt when this one is settled: the old one must not be at work any more. */
static void an_attempt_is_settled_when_its_worker_is_dead(void **state)
{
	struct bench *b = bench_opened(1);

	(void)state;
	b->next_start.ignores_term = true;
	b->next_deed.what = SB_FAKE_HANGS;
	bench_submit(b, 0);
	bench_advance(b, 5400);
	assert_true(b->item[0].outstanding);
	assert_int_equal(b->procs.alive, 1);
	bench_advance(b, 200);
	assert_int_equal(b->item[0].settled[SB_RETRY], 1);
	assert_int_equal(b->procs.alive, 0);
	bench_close(b);
}

/* In the grace between SIGTERM and SIGKILL: too late for the one whose time was up, not for its neighbours. */
static void an_answer_in_the_grace_counts_for_neighbours_only(void **state)
{
	struct bench *b = bench_new(1);

	(void)state;
	b->conf.workers.in_flight = 2;
	b->conf.workers.max = 1;
	b->next_start.ignores_term = true;
	bench_open(b, 2);
	b->next_deed.after_ns = 5200 * SB_NS_PER_MS;
	bench_submit(b, 0);
	bench_advance(b, 1000);
	b->next_deed.after_ns = 4300 * SB_NS_PER_MS;
	bench_submit(b, 1);
	bench_advance(b, 10000);
	assert_int_equal(b->item[0].settled[SB_RETRY], 1);
	assert_int_equal(b->item[0].reason, SB_R_TIMEOUT);
	assert_int_equal(b->item[1].settled[SB_DELIVERED], 1);
	bench_close(b);
}

static void the_tail_is_about_this_attempt(void **state)
{
	struct bench *b = bench_new(1);

	(void)state;
	b->conf.workers.max = 1;
	bench_open(b, 2);
	b->next_deed.what = SB_FAKE_MUTTERS;
	bench_submit(b, 0);
	bench_advance(b, 10);
	b->next_deed.what = SB_FAKE_DIES;
	bench_submit(b, 1);
	bench_advance(b, 10);
	assert_string_equal(b->item[1].tail, "it hurts\n");
	bench_close(b);
}

/* A worker dies while most of what it was given has not been written: nobody can say that those had been tried. */
static void what_was_not_written_yet_goes_to_another_worker(void **state)
{
	static char large[100000];
	struct bench *b = bench_new(1);

	(void)state;
	memset(large, ' ', sizeof(large));
	b->conf.workers.in_flight = 4;
	b->conf.workers.max = 1;
	b->procs.pipe_bytes = 1000;
	bench_open(b, 4);
	b->item[0].item.input = SB_SLICE("{}");
	for (size_t i = 1; i < 4; i++)
		b->item[i].item.input = sb_slice(large, sizeof(large));
	b->next_deed = (struct sb_fake_act){ .what = SB_FAKE_DIES };
	b->deeds = 1;
	for (size_t i = 0; i < 4; i++)
		bench_submit(b, i);
	bench_advance(b, 1000);
	assert_int_equal(b->item[0].settled[SB_RELEASED] + b->item[1].settled[SB_RELEASED], 2);
	for (size_t i = 2; i < 4; i++) {
		assert_int_equal(b->item[i].settled[SB_DELIVERED], 1);
		assert_int_equal(b->item[i].settled[SB_RELEASED], 0);
	}
	bench_close(b);
}

static void only_a_proven_culprit_counts(void **state)
{
	static const int deeds[] = { SB_FAKE_HANGS, SB_FAKE_DIES, SB_FAKE_GARBAGE, SB_FAKE_WRONG_ID, SB_FAKE_HANGS_UP };

	(void)state;
	for (size_t k = 0; k < SB_LEN(deeds); k++) {
		struct bench *b = bench_new(1);
		unsigned counted = 0, released = 0;

		b->conf.workers.in_flight = 8;
		b->conf.workers.max = 1;
		bench_open(b, 8);
		b->target.concurrency = 8;
		b->next_deed = (struct sb_fake_act){ .what = deeds[k], .after_ns = SB_NS_PER_MS };
		b->deeds = 1;
		for (size_t i = 0; i < 8; i++)
			bench_submit(b, i);
		bench_advance(b, 10000);
		for (size_t i = 0; i < 8; i++) {
			counted += b->item[i].settled[SB_RETRY];
			released += b->item[i].settled[SB_RELEASED];
			assert_int_equal(b->item[i].item.alone, b->item[i].settled[SB_RELEASED]);
		}
		if (counted != (deeds[k] == SB_FAKE_HANGS))
			fail_msg("deed %d: %u counted", deeds[k], counted);
		assert_true(released > 0);
		bench_close(b);
	}
}

/* The second answer comes when the next delivery is alone in flight, and is not its fault. */
static void an_answer_that_is_said_twice_counts_once(void **state)
{
	struct bench *b = bench_new(1);

	(void)state;
	b->conf.workers.max = 1;
	bench_open(b, 3);
	b->next_deed = (struct sb_fake_act){ .what = SB_FAKE_REPEATS, .after_ns = SB_NS_PER_MS };
	b->deeds = 1;
	for (size_t k = 0; k < 3; k++)
		bench_submit(b, k);
	bench_advance(b, 10000);
	for (size_t k = 0; k < 3; k++)
		assert_int_equal(b->item[k].settled[SB_DELIVERED], 1);
	assert_int_equal(b->state.stats.repeated, 1);
	assert_int_equal(b->state.stats.broken, 0);
	assert_int_equal(b->procs.spawned, 1);
	bench_close(b);
}

static void a_lonely_item_gets_a_worker_to_itself(void **state)
{
	struct bench *b = bench_new(1);

	(void)state;
	b->conf.workers.in_flight = 8;
	b->conf.workers.max = 2;
	bench_open(b, 40);
	b->target.concurrency = 40;
	b->next_deed.after_ns = 10 * SB_NS_PER_MS;
	for (size_t i = 0; i < 20; i++) /* four more than there is room for */
		bench_submit(b, i);
	b->item[20].item.alone = b->item[21].item.alone = true;
	bench_submit(b, 20);
	bench_submit(b, 21);
	for (size_t i = 22; i < 40; i++)
		bench_submit(b, i);
	b->procs.most_in_flight = 0;
	while (b->unfinished) {
		for (struct sb_link *l = b->state.full.next; l != &b->state.full; l = l->next) {
			struct sb_worker *w = SB_CONTAINER(l, struct sb_worker, link);

			assert_true(!w->alone || w->load == 1);
		}
		sb_fakeprocs_advance(&b->procs, SB_NS_PER_MS / 10);
	}
	assert_int_equal(b->procs.most_in_flight, 8);
	bench_close(b);
}

static void a_lonely_item_does_not_wait_for_a_lull(void **state)
{
	struct bench *b = bench_new(1);

	(void)state;
	b->conf.workers.in_flight = 4;
	b->conf.workers.max = 2;
	bench_open(b, 2000);
	b->target.concurrency = 20; /* more than there is room for: no worker would ever be idle by itself */
	b->sends_again = true;
	b->item[20].item.alone = true;
	bench_send_more(b);
	while (!b->item[20].finished)
		sb_fakeprocs_advance(&b->procs, SB_NS_PER_MS / 10);
	assert_in_range(b->next, 20, 100);
	bench_advance(b, 10000);
	assert_int_equal(b->unfinished, 0);
	bench_close(b);
}

static void an_event_that_is_too_large_is_rejected(void **state)
{
	struct bench *b = bench_new(1);

	(void)state;
	b->conf.max_request = 4;
	bench_open(b, 1);
	bench_submit(b, 0);
	assert_int_equal(b->item[0].settled[SB_REJECTED], 1);
	assert_int_equal(b->item[0].reason, SB_R_RESOURCE_LIMIT_EXCEEDED);
	assert_int_equal(b->procs.spawned, 0);
	bench_close(b);
}

static void a_pipe_that_takes_little_at_a_time_loses_nothing(void **state)
{
	struct bench *b = bench_new(1);

	(void)state;
	b->conf.workers.in_flight = 16;
	b->procs.pipe_bytes = 7;
	bench_open(b, 300);
	b->target.concurrency = 64;
	b->sends_again = true;
	bench_send_more(b);
	bench_advance(b, 10000);
	assert_int_equal(b->unfinished, 0);
	assert_int_equal(b->procs.requests, 300);
	bench_close(b);
}

/* ------------------------------------------------------------------------------------------------ exec */

static void exec_starts_a_process_an_event(void **state)
{
	static const struct {
		int deed;
		enum sb_outcome outcome;
		enum sb_reason reason;
		const char *message;
	} cases[] = {
		{ SB_FAKE_OK, SB_DELIVERED, SB_R_NONE, "" },
		{ SB_FAKE_FAILS, SB_RETRY, SB_R_ERROR_FROM_TARGET, "the command exited with status 1" },
		{ SB_FAKE_REJECTS, SB_REJECTED, SB_R_ERROR_FROM_TARGET, "the command exited with status 65" },
		{ SB_FAKE_HANGS, SB_RETRY, SB_R_TIMEOUT, "no answer within the timeout (5s)" },
		{ SB_FAKE_DIES, SB_RETRY, SB_R_ERROR_FROM_TARGET,
			"the command was killed by signal 11 (Segmentation fault)" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct bench *b = bench_new(1);
		struct item *it = b->item;

		b->conf.protocol = SB_PROTO_EXEC;
		bench_open(b, 9);
		b->target.concurrency = 9;
		b->next_deed.what = cases[i].deed;
		for (size_t k = 0; k < 9; k++)
			bench_submit(b, k);
		bench_advance(b, 20000);
		for (; it < b->item + 9; it++)
			if (it->settled[cases[i].outcome] != 1 || it->reason != cases[i].reason ||
				strcmp(it->message, cases[i].message) != 0)
				fail_msg("row %zu: %s '%s'", i, sb_reason_name(it->reason), it->message);
		assert_int_equal(b->procs.spawned, 9);
		assert_int_equal(b->procs.most_alive, 4);
		bench_close(b);
	}
}

static void exec_without_a_command_is_unreachable(void **state)
{
	struct bench *b = bench_new(1);

	(void)state;
	b->conf.protocol = SB_PROTO_EXEC;
	b->next_start.what = SB_FAKE_CANNOT_START;
	bench_open(b, 6);
	b->target.concurrency = 6;
	for (size_t k = 0; k < 6; k++)
		bench_submit(b, k);
	bench_advance(b, 100);
	for (size_t k = 0; k < 6; k++)
		assert_int_equal(b->item[k].settled[SB_UNREACHABLE], 1);
	bench_close(b);
}

/* ------------------------------------------------------------------------------------------------ ends */

static void closing_releases_what_is_outstanding(void **state)
{
	struct bench *b = bench_opened(10);

	(void)state;
	b->target.concurrency = 10;
	b->next_deed.what = SB_FAKE_HANGS;
	b->next_start.ignores_term = true;
	for (size_t k = 0; k < 10; k++)
		bench_submit(b, k);
	bench_advance(b, 100);
	b->target.ops->close(&b->target);
	for (size_t k = 4; k < 10; k++)
		assert_int_equal(b->item[k].settled[SB_RELEASED], 1);
	bench_advance(b, 3000);
	for (size_t k = 0; k < 4; k++) {
		assert_int_equal(b->item[k].settled[SB_RELEASED], 1);
		assert_false(b->item[k].item.alone);
	}
	bench_free(b);
}

static struct bench *without_a_spawner(void)
{
	struct bench *b = bench_opened(6);

	b->next_deed.what = SB_FAKE_HANGS;
	b->target.concurrency = 6;
	for (size_t k = 0; k < 6; k++)
		bench_submit(b, k);
	bench_advance(b, 100);
	sb_fakeprocs_go_down(&b->procs);
	bench_advance(b, 100);
	for (size_t k = 0; k < 4; k++) {
		assert_int_equal(b->item[k].settled[SB_RELEASED], 1);
		assert_false(b->item[k].item.alone);
	}
	assert_int_equal(b->outstanding, 2);
	return b;
}

static void the_end_of_the_spawner_releases_what_was_in_flight_and_the_next_one_serves_the_others(void **state)
{
	struct bench *b = without_a_spawner();

	(void)state;
	b->next_deed.what = SB_FAKE_OK;
	bench_advance(b, 1000);
	assert_int_equal(b->outstanding, 2);
	sb_fakeprocs_come_back(&b->procs);
	bench_advance(b, 100);
	for (size_t k = 4; k < 6; k++)
		assert_int_equal(b->item[k].settled[SB_DELIVERED], 1);
	assert_int_equal(b->state.stats.start_failures, 0);
	assert_int_equal(b->state.stats.died, 0);
	bench_close(b);
}

static void without_a_spawner_for_long_the_target_is_unreachable(void **state)
{
	struct bench *b = without_a_spawner();

	(void)state;
	bench_advance(b, b->conf.init_timeout + 1000);
	for (size_t k = 4; k < 6; k++)
		assert_int_equal(b->item[k].settled[SB_UNREACHABLE], 1);
	assert_non_null(strstr(b->item[5].message, "the spawner process is gone"));
	bench_close(b);
}

static void a_target_is_closed_without_a_spawner_too(void **state)
{
	struct bench *b = without_a_spawner();

	(void)state;
	bench_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_event_starts_a_worker_and_the_next_finds_it_warm),
		cmocka_unit_test(load_starts_workers_up_to_max_and_uses_each_again),
		cmocka_unit_test(the_last_used_goes_first_so_that_the_others_can_end),
		cmocka_unit_test(min_workers_are_there_before_the_first_event_and_stay),
		cmocka_unit_test(a_worker_is_replaced_after_max_requests),
		cmocka_unit_test(a_worker_that_does_not_start_makes_the_target_unreachable),
		cmocka_unit_test(starts_that_fail_become_rare),
		cmocka_unit_test(the_lines_of_one_target_do_not_hide_those_of_another),
		cmocka_unit_test(a_worker_that_dies_of_idleness_is_not_restarted_in_a_loop),
		cmocka_unit_test(a_slow_start_costs_no_attempt_its_timeout),
		cmocka_unit_test(what_a_worker_does_decides_the_outcome),
		cmocka_unit_test(neighbours_notice_nothing),
		cmocka_unit_test(an_attempt_is_settled_when_its_worker_is_dead),
		cmocka_unit_test(only_a_proven_culprit_counts),
		cmocka_unit_test(an_answer_that_is_said_twice_counts_once),
		cmocka_unit_test(a_lonely_item_gets_a_worker_to_itself),
		cmocka_unit_test(an_answer_in_the_grace_counts_for_neighbours_only),
		cmocka_unit_test(the_tail_is_about_this_attempt),
		cmocka_unit_test(what_was_not_written_yet_goes_to_another_worker),
		cmocka_unit_test(a_lonely_item_does_not_wait_for_a_lull),
		cmocka_unit_test(an_event_that_is_too_large_is_rejected),
		cmocka_unit_test(a_pipe_that_takes_little_at_a_time_loses_nothing),
		cmocka_unit_test(exec_starts_a_process_an_event),
		cmocka_unit_test(exec_without_a_command_is_unreachable),
		cmocka_unit_test(closing_releases_what_is_outstanding),
		cmocka_unit_test(the_end_of_the_spawner_releases_what_was_in_flight_and_the_next_one_serves_the_others),
		cmocka_unit_test(without_a_spawner_for_long_the_target_is_unreachable),
		cmocka_unit_test(a_target_is_closed_without_a_spawner_too),
	};

	sb_log_setup(SB_LOG_JSON, SB_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
