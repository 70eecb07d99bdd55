/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/redis/window.h"

#include "tests/support/test.h"

#include <stdio.h>

static void test_ids_are_read_and_written(void **state)
{
	static const struct {
		const char *text;
		int rc;
		struct rds_id id;
	} rows[] = {
		{ "0-0", 0, { 0, 0 } },
		{ "12", 0, { 12, 0 } },
		{ "1700000000000-3", 0, { 1700000000000, 3 } },
		{ "18446744073709551615-18446744073709551615", 0, { UINT64_MAX, UINT64_MAX } },
		{ "18446744073709551616-0", -1, { 0, 0 } },
		{ "", -1, { 0, 0 } },
		{ "-1", -1, { 0, 0 } },
		{ "1-", -1, { 0, 0 } },
		{ "1-2-3", -1, { 0, 0 } },
		{ "$", -1, { 0, 0 } },
		{ "1 2", -1, { 0, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		struct rds_id id = { 0, 0 };
		char text[RDS_ID_TEXT];
		int rc = rds_id_parse(sb_slice_str(rows[i].text), &id);

		if (rc != rows[i].rc || (rc == 0 && rds_id_cmp(id, rows[i].id) != 0))
			fail_msg("row %zu: '%s' gave %d", i, rows[i].text, rc);
		rds_id_format(rows[i].id, text);
		if (rc == 0 && strchr(rows[i].text, '-') && strcmp(text, rows[i].text) != 0)
			fail_msg("row %zu: '%s' is written '%s'", i, rows[i].text, text);
	}
}

static void test_the_id_before(void **state)
{
	static const struct {
		struct rds_id of, want;
	} rows[] = {
		{ { 5, 3 }, { 5, 2 } },
		{ { 5, 0 }, { 4, UINT64_MAX } },
		{ { 0, 1 }, { 0, 0 } },
		{ { 0, 0 }, { 0, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++)
		if (rds_id_cmp(rds_id_before(rows[i].of), rows[i].want) != 0)
			fail_msg("row %zu", i);
}

static void test_a_receipt_is_the_same_for_the_same_entry_and_nobody_elses(void **state)
{
	static const struct {
		const char *source, *stream;
		struct rds_id id;
	} rows[] = {
		{ "a", "s", { 1700000000000, 0 } }, { "a", "s", { 1700000000000, 1 } }, { "a", "s", { 1700000000001, 0 } },
		{ "b", "s", { 1700000000000, 0 } }, { "a", "t", { 1700000000000, 0 } }, { "as", "", { 1700000000000, 0 } },
		{ "a", "s", { 1700000000000, 4096 } }, { "a", "s", { 1, 0 } }, { "a", "s", { (UINT64_C(1) << 48) + 1, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++)
		for (size_t k = 0; k < SB_LEN(rows); k++) {
			struct sb_uuid a = rds_id_receipt(rows[i].source, rows[i].stream, rows[i].id);
			struct sb_uuid b = rds_id_receipt(rows[k].source, rows[k].stream, rows[k].id);
			char text[SB_UUID_TEXT + 1];
			struct sb_uuid back;

			if ((memcmp(&a, &b, sizeof(a)) == 0) != (i == k))
				fail_msg("rows %zu and %zu", i, k);
			sb_uuid_format(&a, text);
			if (sb_uuid_parse(text, SB_UUID_TEXT, &back) < 0 || memcmp(&a, &back, sizeof(a)) != 0)
				fail_msg("row %zu: '%s' is no UUID", i, text);
		}
}

static void test_a_window_is_bounded_in_number_and_bytes(void **state)
{
	struct rds_window w;
	struct rds_entry *e[4];
	struct rds_id low;

	(void)state;
	rds_window_init(&w, 4, 1000);
	assert_false(rds_window_lowest(&w, &low));
	assert_int_equal(rds_window_room(&w, 100), 4);
	for (uint64_t i = 0; i < 4; i++) {
		e[i] = rds_window_take(&w, (struct rds_id){ 10 - i, 0 });
		assert_non_null(e[i]);
	}
	assert_null(rds_window_take(&w, (struct rds_id){ 99, 0 }));
	assert_int_equal(rds_window_room(&w, 100), 0);
	assert_true(rds_window_lowest(&w, &low));
	assert_int_equal(low.ms, 7);
	assert_ptr_equal(rds_window_find(&w, (struct rds_id){ 9, 0 }), e[1]);
	assert_null(rds_window_find(&w, (struct rds_id){ 9, 1 }));
	rds_window_drop(&w, e[3]);
	assert_null(rds_window_find(&w, (struct rds_id){ 7, 0 }));
	assert_int_equal(rds_window_room(&w, 100), 1);
	rds_window_weigh(&w, e[0], 600);
	rds_window_weigh(&w, e[0], 999);
	assert_int_equal(rds_window_room(&w, 100), 1); /* a little is always room for one */
	rds_window_weigh(&w, e[1], 1);
	assert_int_equal(rds_window_room(&w, 100), 0);
	rds_window_lighten(&w, e[0]);
	assert_int_equal(w.bytes, 1);
	assert_int_equal(rds_window_room(&w, 1000), 1);
	rds_window_done(&w);
	sb_pool_thread_done();
}

static void test_a_cookie_of_an_earlier_use_finds_nobody(void **state)
{
	struct rds_window w;
	struct rds_entry *e;
	uint32_t serial;
	size_t place;

	(void)state;
	rds_window_init(&w, 1, 1000);
	e = rds_window_take(&w, (struct rds_id){ 1, 1 });
	place = rds_window_place(&w, e);
	serial = e->serial;
	assert_ptr_equal(rds_window_at(&w, place, serial), e);
	rds_window_move(&w, e, RDS_HANDED);
	rds_window_move(&w, e, RDS_SETTLED);
	assert_int_equal(w.moved, 1);
	rds_window_drop(&w, e);
	assert_null(rds_window_at(&w, place, serial));
	e = rds_window_take(&w, (struct rds_id){ 1, 2 });
	assert_null(rds_window_at(&w, place, serial));
	assert_ptr_equal(rds_window_at(&w, place, e->serial), e);
	assert_null(rds_window_at(&w, 7, serial));
	rds_window_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids_are_read_and_written),
		cmocka_unit_test(test_the_id_before),
		cmocka_unit_test(test_a_receipt_is_the_same_for_the_same_entry_and_nobody_elses),
		cmocka_unit_test(test_a_window_is_bounded_in_number_and_bytes),
		cmocka_unit_test(test_a_cookie_of_an_earlier_use_finds_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
