/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>

#include "broker/metrics_names.h"

/* A field as it stands in Redis; what is read of it is written again. */
static const struct {
	const char *what, *text;
	enum sb_part part;
	bool ok;
} packed[] = {
	{ "a rule", "20 0 enabled default", SB_PART_RULES, true },
	{ "a target", "20 1 2 3 4 131779 5:16,9:2,31:2 1 2 3 4 5 6 7 1 function ok", SB_PART_TARGETS, true },
	{ "a target that did nothing", "0 0 0 0 0 0 - 0 0 0 0 0 0 0 0 - paused", SB_PART_TARGETS, true },
	{ "a source", "21 1 2 3 4 0 kafka", SB_PART_SOURCES, true },
	{ "nothing", "", SB_PART_RULES, false },
	{ "too few numbers", "20", SB_PART_RULES, false },
	{ "too few words", "20 0 enabled", SB_PART_RULES, false },
	{ "no number", "20 x enabled default", SB_PART_RULES, false },
	{ "a number too long", "20 12345678901234567890 enabled default", SB_PART_RULES, false },
	{ "a negative number", "20 -1 enabled default", SB_PART_RULES, false },
	{ "two blanks", "20  0 enabled default", SB_PART_RULES, false },
	{ "no such cell", "0 0 0 0 0 0 32:1 0 0 0 0 0 0 0 0 - ok", SB_PART_TARGETS, false },
	{ "a cell without a count", "0 0 0 0 0 0 5 0 0 0 0 0 0 0 0 - ok", SB_PART_TARGETS, false },
	{ "an empty cell", "0 0 0 0 0 0 ,5:1 0 0 0 0 0 0 0 0 - ok", SB_PART_TARGETS, false },
};

static void test_fields_are_read_as_they_are_written(void **state)
{
	struct sb_buf out = SB_BUF(4096);
	char word[SB_PACKED_WORDS][64];
	struct sb_packed p;

	(void)state;
	for (size_t i = 0; i < SB_LEN(packed); i++) {
		if ((sb_unpack(packed[i].part, sb_slice_str(packed[i].text), &p) == 0) != packed[i].ok)
			fail_msg("%s: %s", packed[i].what, packed[i].ok ? "not read" : "read");
		if (!packed[i].ok)
			continue;
		for (size_t k = 0; k < SB_PACKED_WORDS; k++) {
			snprintf(word[k], sizeof(word[k]), "%.*s", SB_SLICE_ARG(p.text[k]));
			p.word[k] = word[k];
		}
		sb_buf_clear(&out);
		sb_pack(packed[i].part, &p, &out);
		if (!sb_slice_eq_str(sb_buf_slice(&out), packed[i].text))
			fail_msg("%s: '%.*s'", packed[i].what, SB_SLICE_ARG(sb_buf_slice(&out)));
	}
	sb_buf_done(&out);
}

static void test_a_later_version_may_append(void **state)
{
	struct sb_packed p;

	(void)state;
	assert_int_equal(sb_unpack(SB_PART_RULES, SB_SLICE("7 1 shadow audit 99 more"), &p), 0);
	assert_int_equal(p.n[SB_RULE_MATCHED], 7);
	assert_true(sb_slice_eq_str(p.text[1], "audit"));
}

static const struct {
	const char *what, *durations;
	unsigned per_mille;
	double ms;
} quantiles[] = {
	{ "of none", "-", 500, 0 },
	{ "the middle of one cell", "1:2", 500, 0.024 },
	{ "all of one cell", "1:2", 1000, 0.032 },
	{ "in the first cell it is counted from zero", "0:10", 500, 0.008 },
	{ "in the second of two", "0:10,3:10", 750, 0.096 },
	{ "where one ends", "0:10,3:10", 500, 0.016 },
	{ "the slowest of many", "0:999,10:1", 1000, 16.384 },
	{ "beyond all cells", "31:1", 1000, 16.0 * 2147483648.0 / 1000 },
};

static void test_quantiles(void **state)
{
	uint64_t d[SB_DURATION_BUCKETS];

	(void)state;
	for (size_t i = 0; i < SB_LEN(quantiles); i++) {
		double ms;

		assert_int_equal(sb_unpack_durations(sb_slice_str(quantiles[i].durations), d), 0);
		ms = sb_duration_quantile(d, quantiles[i].per_mille);
		if (fabs(ms - quantiles[i].ms) > 1e-6)
			fail_msg("%s: %f", quantiles[i].what, ms);
	}
}

static void test_instances_become_one(void **state)
{
	struct sb_packed a, b, before;

	(void)state;
	assert_int_equal(sb_unpack(SB_PART_TARGETS, SB_SLICE("10 0 0 0 0 0 3:5 1 2 0 0 0 500 0 0 function ok"), &a), 0);
	assert_int_equal(sb_unpack(SB_PART_TARGETS, SB_SLICE("7 0 0 0 0 0 3:1,4:1 1 3 0 0 0 400 900 1 function ok"), &b), 0);
	assert_int_equal(sb_unpack(SB_PART_TARGETS, SB_SLICE("4 1 0 0 0 0 3:2 9 9 0 0 0 0 0 0 function ok"), &before), 0);
	sb_packed_since(SB_PART_TARGETS, &a, &before);
	assert_int_equal(a.n[SB_TARGET_DELIVERED], 6);
	assert_int_equal(a.n[SB_TARGET_RETRIED], 0); /* never below zero */
	assert_int_equal(a.n[SB_TARGET_QUEUED], 2);  /* a gauge */
	sb_packed_merge(SB_PART_TARGETS, &a, &b);
	assert_int_equal(a.n[SB_TARGET_DELIVERED], 13);
	assert_int_equal(a.n[SB_TARGET_QUEUED], 5);
	assert_int_equal(a.n[SB_TARGET_OLDEST_MS], 400);
	assert_int_equal(a.n[SB_TARGET_CIRCUIT_MS], 900);
	assert_int_equal(a.n[SB_TARGET_PAUSED], 1);
	assert_int_equal(a.duration[3], 4);
	assert_int_equal(a.duration[4], 1);
}

/* One flush: rules `first` to `last` are configured, and each has matched so often since the start. */
static void flush(struct sb_names *n, uint64_t now_ms, unsigned first, unsigned last, uint64_t matched)
{
	struct sb_packed p;
	char name[16];

	sb_names_turn(n, now_ms, 1000);
	for (unsigned i = first; i <= last; i++) {
		snprintf(name, sizeof(name), "r%u", i);
		sb_names_meet(n, name);
	}
	for (unsigned i = first; i <= last; i++) {
		snprintf(name, sizeof(name), "r%u", i);
		p = (struct sb_packed){ .n = { matched } };
		sb_names_tell(n, name, &p);
	}
}

/* What is told of a rule at the moment; -1: nothing. */
static int64_t told(const struct sb_names *n, const char *name)
{
	const struct sb_name *e = sb_map_get(&n->map, sb_slice_str(name));

	return e && e->named ? (int64_t)e->told[SB_RULE_MATCHED] : -1;
}

static const struct {
	const char *what;
	uint64_t now_ms;
	unsigned first, last;
	uint64_t matched;
	int64_t r1, r1001, r1002, other;
} flushes[] = {
	{ "the first thousand have a name", 0, 1, 1001, 5, 5, -1, -1, 5 },
	{ "and keep it when the configuration begins with another", 100, 2, 1001, 7, 5, -1, -1, 7 },
	{ "what is gone has its name for a while", 1000, 2, 1002, 7, 5, -1, -1, 14 },
	{ "and then it is somebody else's, who is told from zero", 1001, 2, 1002, 10, -1, 3, -1, 17 },
	{ "should it return, it is one of the others", 1200, 1, 1002, 10, -1, 3, -1, 22 },
	{ "whose sum does not fall when they go", 2000, 2, 900, 10, -1, 3, -1, 22 },
	{ "until there is a place", 2900, 1, 1002, 11, 1, -1, -1, 24 },
};

static void test_a_name_is_kept_and_only_grows(void **state)
{
	struct sb_names n;

	(void)state;
	sb_names_init(&n, SB_PART_RULES);
	for (size_t i = 0; i < SB_LEN(flushes); i++) {
		int64_t r1, r1001, r1002, other;

		flush(&n, flushes[i].now_ms, flushes[i].first, flushes[i].last, flushes[i].matched);
		r1 = told(&n, "r1");
		r1001 = told(&n, "r1001");
		r1002 = told(&n, "r1002");
		other = (int64_t)n.other.n[SB_RULE_MATCHED];
		if (r1 != flushes[i].r1 || r1001 != flushes[i].r1001 || r1002 != flushes[i].r1002 || other != flushes[i].other)
			fail_msg("%s: r1 %d, r1001 %d, r1002 %d, others %d", flushes[i].what, (int)r1, (int)r1001, (int)r1002, (int)other);
		if (n.n_named > 1000)
			fail_msg("%s: %zu names", flushes[i].what, n.n_named);
	}
	sb_names_done(&n);
}

static void test_what_has_left_the_configuration_is_told_without_gauges(void **state)
{
	struct sb_packed p = { .n = { [SB_SOURCE_IN] = 7, [SB_SOURCE_HELD] = 3 }, .word = { "http" } };
	struct sb_names n;

	(void)state;
	sb_names_init(&n, SB_PART_SOURCES);
	sb_names_turn(&n, 1, 1000);
	sb_names_meet(&n, "in");
	assert_true(sb_names_tell(&n, "in", &p));
	assert_int_equal(p.n[SB_SOURCE_IN], 7);
	assert_int_equal(p.n[SB_SOURCE_HELD], 3);
	assert_false(sb_names_gone(&n, sb_map_get(&n.map, SB_SLICE("in")), &p));
	assert_false(sb_names_turn(&n, 2, 1000));
	assert_true(sb_names_gone(&n, sb_map_get(&n.map, SB_SLICE("in")), &p));
	assert_int_equal(p.n[SB_SOURCE_IN], 7);
	assert_int_equal(p.n[SB_SOURCE_HELD], 0);
	assert_string_equal(p.word[0], "-");
	assert_true(sb_names_turn(&n, 1002, 1000));
	assert_false(sb_names_gone(&n, sb_map_get(&n.map, SB_SLICE("in")), &p));
	sb_names_done(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields_are_read_as_they_are_written),
		cmocka_unit_test(test_a_later_version_may_append),
		cmocka_unit_test(test_quantiles),
		cmocka_unit_test(test_instances_become_one),
		cmocka_unit_test(test_a_name_is_kept_and_only_grows),
		cmocka_unit_test(test_what_has_left_the_configuration_is_told_without_gauges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
