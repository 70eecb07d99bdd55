/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "connectors/connector.h"

/* ------------------------------------------------------------------------------------------------ filters */

static void fill(struct sb_deadletters *d)
{
	static const struct {
		const char *id, *target, *rule, *bus;
		enum sb_reason reason;
		uint64_t age;
	} rows[] = {
		{ "a", "invoice", "big", "default", SB_R_TIMEOUT, 30 * DAY },
		{ "b", "invoice", "small", "default", SB_R_TIMEOUT, 10 * DAY },
		{ "c", "trail", "big", "audit", SB_R_ERROR_FROM_TARGET, 5 * DAY },
		{ "d", "trail", "big", "default", SB_R_TIMEOUT, DAY },
		{ "e", "invoice", "big", "default", SB_R_TIMEOUT, 0 },
	};

	for (size_t i = 0; i < SB_LEN(rows); i++) {
		struct sb_dead_record r = record(rows[i].id);

		r.target = sb_slice_str(rows[i].target);
		r.rule = sb_slice_str(rows[i].rule);
		r.bus = sb_slice_str(rows[i].bus);
		r.reason = (uint8_t)rows[i].reason;
		r.dead_ms = NOW - rows[i].age;
		store(d, &r, i + 1);
	}
}

static const struct {
	struct sb_letter_filter f;
	const char *want;
} filters[] = {
	{ { 0 }, "a b c d e" },
	{ { .id = "c" }, "c" },
	{ { .id = "' OR 1=1 --" }, "" },
	{ { .target = "invoice" }, "a b e" },
	{ { .rule = "big" }, "a c d e" },
	{ { .error = "TIMEOUT" }, "a b d e" },
	{ { .bus = "audit" }, "c" },
	{ { .older_than_ms = NOW - 5 * DAY }, "a b" },
	{ { .newer_than_ms = NOW - 5 * DAY }, "c d e" },
	{ { .newer_than_ms = NOW - 10 * DAY, .older_than_ms = NOW }, "b c d" },
	{ { .limit = 2 }, "a b" },
	{ { .after_rowid = 3 }, "d e" },
	{ { .after_rowid = 1, .limit = 2, .error = "TIMEOUT" }, "b d" },
	{ { .target = "invoice", .rule = "big", .error = "TIMEOUT", .bus = "default" }, "a e" },
	{ { .target = "nobody" }, "" },
};

static void filters_find_what_they_say(void **state)
{
	struct sb_deadletters *d = open_table();

	(void)state;
	fill(d);
	for (size_t i = 0; i < SB_LEN(filters); i++) {
		struct sb_buf out = SB_BUF(100);
		struct sb_err err;

		assert_int_equal(sb_deadletters_each(d, &filters[i].f, add_id, &out, &err), 0);
		if (!sb_slice_eq_str(sb_buf_slice(&out), filters[i].want))
			fail_msg("row %zu: found '%.*s'", i, (int)out.len, out.p ? out.p : "");
		sb_buf_done(&out);
	}
	sb_deadletters_close(d);
}

static void a_purge_removes_what_its_filter_finds(void **state)
{
	(void)state;
	for (size_t i = 0; i < SB_LEN(filters); i++) {
		struct sb_deadletters *d;
		struct sb_err err;
		uint64_t n, want = 0;

		clean(NULL);
		scene(NULL);
		d = open_table();
		fill(d);
		for (const char *p = filters[i].want; *p; p++)
			want += *p != ' ';
		assert_int_equal(sb_deadletters_purge(d, &filters[i].f, &n, &err), 0);
		if (n != want)
			fail_msg("row %zu: %d went", i, (int)n);
		if (!filters[i].f.limit)
			assert_found(d, filters[i].f, "");
		assert_totals(d, 5 - want, 0);
		sb_deadletters_close(d);
	}
}

static void counts_are_grouped_and_the_largest_comes_first(void **state)
{
	struct sb_deadletters *d = open_table();
	struct sb_letter_count *c;
	struct sb_err err;
	size_t n;

	(void)state;
	fill(d);
	assert_int_equal(sb_deadletters_count(d, &(struct sb_letter_filter){ 0 }, &c, &n, &err), 0);
	assert_int_equal(n, 4);
	assert_string_equal(c[0].target, "invoice");
	assert_string_equal(c[0].rule, "big");
	assert_string_equal(c[0].error, "TIMEOUT");
	assert_int_equal(c[0].n, 2);
	assert_int_equal(c[0].oldest_ms, NOW - 30 * DAY);
	assert_int_equal(c[0].newest_ms, NOW);
	free(c);
	assert_int_equal(sb_deadletters_count(d, &(struct sb_letter_filter){ .limit = 1 }, &c, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(c[0].n, 1);
	free(c);
	sb_deadletters_close(d);
}

static void old_letters_expire_unless_they_are_being_redriven(void **state)
{
	struct sb_deadletters *d = open_table();
	struct sb_err err;
	uint64_t n;

	(void)state;
	fill(d);
	assert_int_equal(sb_deadletters_expire(d, 1000, &n, &err), 0);
	assert_int_equal(n, 0);
	assert_int_equal(sb_deadletters_expire(d, NOW, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_all(d, "b c d e");
	claim(d, "b");
	assert_int_equal(sb_deadletters_expire(d, NOW + 365 * DAY, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_all(d, "b");
	assert_totals(d, 1, 1);
	sb_deadletters_close(d);
}

static int64_t file_bytes(void)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

static void the_file_shrinks_again_when_letters_go(void **state)
{
	struct sb_deadletters *d = open_table();
	struct sb_dead_record r;
	static char payload[50000];
	int64_t full, rest;
	struct sb_err err;
	uint64_t n;
	char id[16];

	(void)state;
	memset(payload, 'x', sizeof(payload));
	for (unsigned i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "p.%u", i);
		r = record(id);
		r.event = sb_slice(payload, sizeof(payload));
		store(d, &r, i + 1);
	}
	sb_deadletters_close(d); /* writes the WAL back */
	full = file_bytes();
	d = open_table();
	assert_int_equal(sb_deadletters_purge(d, &(struct sb_letter_filter){ 0 }, &n, &err), 0);
	sb_deadletters_close(d);
	rest = file_bytes();
	assert_true(full > 5000000);
	assert_true(rest < 200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE(filters_find_what_they_say),
		SCENE(a_purge_removes_what_its_filter_finds),
		SCENE(counts_are_grouped_and_the_largest_comes_first),
		SCENE(the_file_shrinks_again_when_letters_go),
		SCENE(old_letters_expire_unless_they_are_being_redriven),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
