/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include "executor/executor.h"

#define MIN_MS UINT64_C(60000)
#define HOUR_MS (60 * MIN_MS)

static const struct sb_retry_policy standard = { 185, 1000, 16 * MIN_MS, 24 * HOUR_MS, false };

static void the_standard_policy_lasts_a_median_of_23_and_a_half_hours(void **state)
{
	(void)state;
	/* 1 + 2 + ... + 512 s, then 175 times 16 min, halved */
	assert_int_equal(sb_retry_median_ms(&standard), (1023 + 175 * 960) * 1000 / 2);
	assert_in_range(sb_retry_median_ms(&standard), 234 * HOUR_MS / 10, 236 * HOUR_MS / 10);
}

static void medians(void **state)
{
	static const struct {
		struct sb_retry_policy p;
		uint64_t want;
	} cases[] = {
		{ { 0, 1000, 10000, 0, false }, 0 },
		{ { 1, 1000, 10000, 0, false }, 500 },
		{ { 4, 200, 10000, 0, false }, 100 + 200 + 400 + 800 },
		{ { 6, 1000, 4000, 0, false }, 500 + 1000 + 4 * 2000 },
		{ { 5, 0, 4000, 0, false }, 0 },
		{ { UINT32_MAX, 5000, 4000, 0, false }, UINT64_C(2000) * UINT32_MAX },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++)
		if (sb_retry_median_ms(&cases[i].p) != cases[i].want)
			fail_msg("row %zu: %llu", i, (unsigned long long)sb_retry_median_ms(&cases[i].p));
}

static void delays(void **state)
{
	static const uint32_t most = UINT32_MAX, half = UINT32_MAX / 2 + 1;
	static const struct {
		const char *what;
		uint32_t retry;
		uint64_t asked;
		uint32_t rnd;
		uint64_t want;
	} cases[] = {
		{ "the least is nothing", 5, 0, 0, 0 },
		{ "the first goes up to the base", 0, 0, most, 1000 },
		{ "each doubles", 3, 0, most, 8000 },
		{ "up to the cap", 10, 0, most, 960000 },
		{ "and stays there", 63, 0, most, 960000 },
		{ "for ever", 64, 0, most, 960000 },
		{ "and ever", UINT32_MAX, 0, most, 960000 },
		{ "half the chance, half the time", 4, 0, half, 8000 },
		{ "Retry-After wins when it is longer", 0, 30000, most, 30000 },
		{ "not when it is shorter", 3, 3000, most, 8000 },
		{ "and only up to the cap", 0, 7 * HOUR_MS, 0, 960000 },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		uint64_t got = sb_retry_delay_ms(&standard, cases[i].retry, cases[i].asked, cases[i].rnd);

		if (got != cases[i].want)
			fail_msg("row %zu, %s: %llu", i, cases[i].what, (unsigned long long)got);
	}
}

static void extreme_policies_do_not_overflow(void **state)
{
	static const struct sb_retry_policy wide = { 10, UINT64_MAX / 2, UINT64_MAX - 1, UINT64_MAX, false };

	(void)state;
	assert_int_equal(sb_retry_delay_ms(&wide, 0, 0, 0), 0);
	assert_true(sb_retry_delay_ms(&wide, 1, 0, UINT32_MAX) > UINT64_MAX / 4 * 3);
	assert_true(sb_retry_delay_ms(&wide, 9, 0, UINT32_MAX) > UINT64_MAX / 4 * 3);
	assert_int_equal(sb_retry_verdict(&wide, 1, 0, 5, UINT64_MAX - 5), SB_RETRY_AGAIN);
}

/* Ten buckets, 100,000 draws: chi-square with 9 degrees of freedom stays below 27.9 with a chance of 0.999. */
static void jitter_is_uniform(void **state)
{
	struct sb_rand rand;
	unsigned bucket[10] = { 0 };
	double chi = 0;

	(void)state;
	sb_rand_seed(&rand, 7);
	for (int i = 0; i < 100000; i++) {
		uint64_t ms = sb_retry_delay_ms(&standard, 20, 0, sb_rand_u32(&rand));

		assert_true(ms <= standard.cap_ms);
		bucket[ms * 10 / (standard.cap_ms + 1)]++;
	}
	for (int i = 0; i < 10; i++)
		chi += (bucket[i] - 10000.0) * (bucket[i] - 10000.0) / 10000.0;
	assert_true(chi < 27.9);
}

static void verdicts(void **state)
{
	static const struct {
		const char *what;
		struct sb_retry_policy p;
		uint32_t attempts;
		uint64_t received, now, delay;
		enum sb_retry_verdict want;
	} cases[] = {
		{ "first failure", { 3, 1, 1, 1000, false }, 1, 0, 0, 10, SB_RETRY_AGAIN },
		{ "the last retry is still to come", { 3, 1, 1, 1000, false }, 3, 0, 0, 10, SB_RETRY_AGAIN },
		{ "the last retry failed", { 3, 1, 1, 1000, false }, 4, 0, 0, 10, SB_RETRY_EXHAUSTED_COUNT },
		{ "no retries", { 0, 1, 1, 1000, false }, 1, 0, 0, 10, SB_RETRY_EXHAUSTED_COUNT },
		{ "old", { 3, 1, 1, 1000, false }, 1, 500, 1500, 0, SB_RETRY_EXHAUSTED_AGE },
		{ "too old by the time of the retry", { 3, 1, 1, 1000, false }, 1, 500, 1400, 101,
			SB_RETRY_EXHAUSTED_AGE },
		{ "just in time", { 3, 1, 1, 1000, false }, 1, 500, 1400, 100, SB_RETRY_AGAIN },
		{ "the clock went back", { 3, 1, 1, 1000, false }, 1, 5000, 1400, 100, SB_RETRY_AGAIN },
		{ "count comes before age", { 3, 1, 1, 1000, false }, 4, 0, 9000, 0, SB_RETRY_EXHAUSTED_COUNT },
		{ "without end", { 0, 1, 1, 0, true }, UINT32_MAX, 0, 9000, 9000, SB_RETRY_AGAIN },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++)
		if (sb_retry_verdict(&cases[i].p, cases[i].attempts, cases[i].received, cases[i].now, cases[i].delay) !=
			cases[i].want)
			fail_msg("row %zu: %s", i, cases[i].what);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_standard_policy_lasts_a_median_of_23_and_a_half_hours),
		cmocka_unit_test(medians),
		cmocka_unit_test(delays),
		cmocka_unit_test(extreme_policies_do_not_overflow),
		cmocka_unit_test(jitter_is_uniform),
		cmocka_unit_test(verdicts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
