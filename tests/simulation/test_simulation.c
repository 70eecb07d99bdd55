/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A day in the life of the broker, many times over: some two hundred events into targets that work, fail, hang, die, cannot be
 * reached, have no room, keep order, pass on. What must hold at every step is in ledger.c; here is which days are played.
 * SIMULATION_TRACE=1 prints what happened; SIMULATION_SEED=N plays that seed alone.
 */
#include "tests/support/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/log.h"
#include "sim.h"

#define HOUR_NS (3600 * SB_NS_PER_S)
#define HOURS_MAX 60
#define SEEDS_FOR_ALL 6 /* so many bring up everything that the play has */
#ifdef __SANITIZE_ADDRESS__
#define SEEDS 2
#else
#define SEEDS SEEDS_FOR_ALL
#endif

static const unsigned shard_counts[] = { 1, 3 };

static struct {
	uint64_t first, last;
	bool trace;
} asked = { 1, SEEDS, false };

static void over(struct sim *s)
{
	if (asked.trace)
		fwrite(s->ledger.trace.p, 1, s->ledger.trace.len, stdout);
	sim_free(s);
}

static uint64_t hour(const struct sim *s, unsigned n)
{
	return s->ledger.begin_ns + n * HOUR_NS;
}

static void check_the_end(struct sim *s)
{
	sim_audit(s);
	sim_check_letters(s);
	ledger_check_all_ended(&s->ledger);
	sim_end(s);
}

/* To its end, audited every hour. */
static struct sim *play(uint64_t seed, uint64_t what, unsigned n_shards)
{
	struct sim *s = sim_new(seed, what, n_shards);

	for (unsigned n = 1; sim_run(s, hour(s, n)) != SIM_ENDED; n++) {
		assert_false(s->disk->off);
		assert_true(n < HOURS_MAX);
		sim_audit(s);
	}
	check_the_end(s);
	return s;
}

/* The same, and the power goes `crashes` times, `apart` operations of the disk after each other at most. */
static struct sim *crash_play(uint64_t seed, unsigned n_shards, unsigned crashes, uint64_t apart)
{
	struct sim *s = sim_new(seed, seed, n_shards);
	enum sim_stop why;

	for (unsigned n = 1;;) {
		if (!s->disk->off_at && s->ledger.crashes < crashes)
			s->disk->off_at = s->disk->ops + 1 + sb_rand_below(&s->chance, apart);
		why = sim_run(s, hour(s, n));
		if (why == SIM_ENDED)
			break;
		assert_true(n < HOURS_MAX);
		if (why == SIM_POWER_GONE) {
			sim_crash(s);
			continue;
		}
		sim_audit(s);
		n++;
	}
	check_the_end(s);
	return s;
}

/* ------------------------------------------------------------------------------------------------ tests */

struct seen {
	uint64_t capped, low, high, backlogs, unlinked;
	struct sb_buf traces;
};

/* The play is worth something only if all of this came up in it. */
static void check_seen(struct seen *seen)
{
	static const char *const phrases[] = {
		"no answer within the timeout",
		"killed by signal 11",
		"its answer is not JSON",
		"an id that it was not given",
		"closed its answer channel",
		"the worker exited with status 3",
		"the command exited with status 1",
		"lost with others in flight",
		"No such file or directory",
		"rejected ",
		"refused: ",
		" QUEUE_FULL ",
		"exhausted 1",
		"exhausted 2",
		" forwarded",
		"/graves",
		"by rule shaped",
		"by rule arrived",
		"recorded e",
		"settled e",
	};

	sb_buf_cstr(&seen->traces);
	for (size_t i = 0; i < SB_LEN(phrases); i++)
		if (!strstr(seen->traces.p, phrases[i]))
			fail_msg("it never came to '%s'", phrases[i]);
	assert_true(seen->backlogs > 100);
	assert_true(seen->unlinked > 10);
	/* Uniform in 0 .. cap: a half below the middle, an eighth in the last eighth. */
	assert_true(seen->capped > 5000);
	assert_in_range(1000 * seen->low / seen->capped, 470, 530);
	assert_in_range(1000 * seen->high / seen->capped, 105, 145);
}

static void a_day_keeps_every_promise(void **state)
{
	struct seen seen = { .traces = SB_BUF(256u << 20) };

	(void)state;
	for (uint64_t seed = asked.first; seed <= asked.last; seed++)
		for (size_t i = 0; i < SB_LEN(shard_counts); i++) {
			struct sim *s = play(seed, seed, shard_counts[i]);

			seen.capped += s->ledger.capped;
			seen.low += s->ledger.capped_low;
			seen.high += s->ledger.capped_high;
			seen.backlogs += s->backlogs;
			seen.unlinked += s->disk->calls[SIM_UNLINK];
			sb_buf_add_slice(&seen.traces, sb_buf_slice(&s->ledger.trace));
			over(s);
		}
	if (asked.last - asked.first + 1 >= SEEDS_FOR_ALL)
		check_seen(&seen);
	sb_buf_done(&seen.traces);
}

static void check_same_trace(struct sim *a, struct sim *b)
{
	size_t at = 0, n = SB_MIN(a->ledger.trace.len, b->ledger.trace.len);

	while (at < n && a->ledger.trace.p[at] == b->ledger.trace.p[at])
		at++;
	if (at < n || a->ledger.trace.len != b->ledger.trace.len || a->steps != b->steps ||
		a->disk->ops != b->disk->ops)
		fail_msg("%s: they part at byte %zu: '%.80s' and '%.80s'", a->ledger.where, at, a->ledger.trace.p + at,
			b->ledger.trace.p + at);
	over(a);
	over(b);
}

static void the_same_seed_tells_the_same_story(void **state)
{
	(void)state;
	for (size_t i = 0; i < SB_LEN(shard_counts); i++) {
		unsigned n = shard_counts[i];

		check_same_trace(play(asked.first, asked.first, n), play(asked.first, asked.first, n));
		check_same_trace(crash_play(asked.first, n, 6, 800), crash_play(asked.first, n, 6, 800));
	}
}

/* Other waits, other orders, other moments: but each delivery has the end that it must have. */
static void another_seed_tells_another_story_with_the_same_end(void **state)
{
	struct sb_buf first = SB_BUF(1u << 20), other = SB_BUF(1u << 20);
	struct sim *a = play(asked.first, 1, 1), *b = play(asked.first + 1, 1, 3);

	(void)state;
	assert_false(sb_slice_eq(sb_buf_slice(&a->ledger.trace), sb_buf_slice(&b->ledger.trace)));
	ledger_ends(&a->ledger, &first);
	ledger_ends(&b->ledger, &other);
	assert_true(first.len > 1000);
	assert_string_equal(sb_buf_cstr(&first), sb_buf_cstr(&other));
	sb_buf_done(&first);
	sb_buf_done(&other);
	over(a);
	over(b);
}

static void a_crash_loses_nothing_that_was_acknowledged(void **state)
{
	(void)state;
	for (uint64_t seed = asked.first; seed <= asked.last; seed++)
		for (size_t i = 0; i < SB_LEN(shard_counts); i++) {
			struct sim *s = crash_play(seed, shard_counts[i], 10, 900);

			assert_true(s->ledger.crashes >= 3);
			over(s);
		}
}

static void nor_does_crash_upon_crash(void **state)
{
	(void)state;
	for (uint64_t seed = asked.first; seed < asked.first + 2; seed++)
		for (size_t i = 0; i < SB_LEN(shard_counts); i++) {
			struct sim *s = crash_play(seed, shard_counts[i], 60, 80);

			assert_int_equal(s->ledger.crashes, 60);
			over(s);
		}
}

/* At any moment, but often when something has just begun. */
static uint64_t time_to_stop(struct sim *s)
{
	const struct sim_group *g = sim_next_group(s);

	if (g && sb_rand_below(&s->chance, 4))
		return SB_MAX(g->at_ns, sim_now_ns(s)) + sb_rand_below(&s->chance, 300 * SB_NS_PER_MS);
	return sim_now_ns(s) + sb_rand_below(&s->chance, HOUR_NS / 4);
}

static void a_clean_stop_loses_nothing_and_repeats_nothing(void **state)
{
	(void)state;
	for (uint64_t seed = asked.first; seed < asked.first + 2; seed++)
		for (size_t i = 0; i < SB_LEN(shard_counts); i++) {
			struct sim *s = sim_new(seed, seed, shard_counts[i]);

			while (s->ledger.restarts < 40 && sim_run(s, time_to_stop(s)) != SIM_ENDED)
				sim_restart(s);
			assert_true(s->ledger.restarts > 15);
			while (sim_run(s, UINT64_MAX) != SIM_ENDED)
				;
			check_the_end(s);
			over(s);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_day_keeps_every_promise),
		cmocka_unit_test(the_same_seed_tells_the_same_story),
		cmocka_unit_test(another_seed_tells_another_story_with_the_same_end),
		cmocka_unit_test(a_crash_loses_nothing_that_was_acknowledged),
		cmocka_unit_test(nor_does_crash_upon_crash),
		cmocka_unit_test(a_clean_stop_loses_nothing_and_repeats_nothing),
	};
	const char *seed = getenv("SIMULATION_SEED");

	if (seed)
		asked.first = asked.last = strtoull(seed, NULL, 10);
	asked.trace = getenv("SIMULATION_TRACE");
	sb_log_setup(SB_LOG_JSON, (enum sb_log_level)(SB_LOG_ERROR + 1)); /* what fails here is meant to */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
