/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/base/arena.h"
#include "broker/base/buf.h"
#include "broker/base/clock.h"
#include "broker/base/crc32c.h"
#include "broker/base/heap.h"
#include "broker/base/list.h"
#include "broker/base/mailbox.h"
#include "broker/base/map.h"
#include "broker/base/rand.h"
#include "broker/base/uuid.h"

static void err_wraps_from_the_inside_out(void **state)
{
	struct sb_err err;

	(void)state;
	assert_int_equal(sb_fail(&err, SB_E_INVALID, "rate must be > 0, got %d", -1), -1);
	sb_wrap(&err, "target '%s'", "invoice");
	assert_string_equal(err.msg, "target 'invoice': rate must be > 0, got -1");
	assert_string_equal(sb_code_id(err.code), "E001");
	assert_int_equal(sb_fail(NULL, SB_E_INVALID, "nobody asks"), -1);
}

static void buf_never_passes_its_cap(void **state)
{
	struct sb_buf b = SB_BUF(8);

	(void)state;
	assert_int_equal(sb_buf_add(&b, "12345", 5), 0);
	assert_int_equal(sb_buf_add(&b, "6789", 4), -1);
	assert_int_equal(b.len, 5);
	assert_int_equal(sb_buf_add(&b, "678", 3), 0);
	assert_memory_equal(b.p, "12345678", 8);
	sb_buf_eat(&b, 6);
	assert_memory_equal(b.p, "78", 2);
	sb_buf_done(&b);
}

static void pool_reuses_blocks_and_counts_misses(void **state)
{
	uint64_t before;
	void *p = sb_pool_alloc(400);

	(void)state;
	assert_true(sb_pool_usable(p) >= 400);
	sb_pool_free(p);
	before = sb_pool_misses();
	for (int i = 0; i < 100; i++)
		sb_pool_free(sb_pool_alloc((size_t)(300 + i)));
	assert_int_equal(sb_pool_misses(), before);
	p = sb_pool_alloc(1 << 20);
	memset(p, 1, 1 << 20);
	assert_true(sb_pool_usable(p) >= 1 << 20);
	sb_pool_free(p);
	sb_pool_thread_done();
}

static void arena_gives_zeroed_memory_up_to_its_cap(void **state)
{
	struct sb_arena a = { .max = 100000 };
	char *p = sb_arena_alloc(&a, 50000);

	(void)state;
	assert_non_null(p);
	assert_int_equal(p[0] | p[49999], 0);
	assert_null(sb_arena_alloc(&a, 60000));
	assert_string_equal(sb_arena_strndup(&a, "abcdef", 3), "abc");
	sb_arena_done(&a);
}

static void heap_comes_out_in_order_and_equal_keys_in_the_order_of_pushing(void **state)
{
	struct sb_heap h = { .max = 1000 };
	struct sb_heap_node node[1000] = { 0 };
	struct sb_heap_node one_too_many = { 0 };
	struct sb_rand r;
	const struct sb_heap_node *last = NULL;

	(void)state;
	sb_rand_seed(&r, 1);
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(sb_heap_push(&h, &node[i], sb_rand_below(&r, 50)), 0);
	assert_int_equal(sb_heap_push(&h, &one_too_many, 1), -1);
	for (size_t i = 0; i < 1000; i += 3)
		sb_heap_remove(&h, &node[i]);
	for (struct sb_heap_node *x; (x = sb_heap_pop(&h)); last = x)
		assert_true(!last || last->key < x->key || (last->key == x->key && last->seq < x->seq));
	sb_heap_done(&h);
}

static void map_survives_random_puts_and_deletes(void **state)
{
	struct sb_map m = { 0 };
	static char keys[500][8];
	int present[500] = { 0 };
	struct sb_rand r;

	(void)state;
	sb_rand_seed(&r, 7);
	for (int i = 0; i < 500; i++)
		snprintf(keys[i], sizeof(keys[i]), "k%d", i);
	for (int n = 0; n < 20000; n++) {
		size_t i = sb_rand_below(&r, 500);
		struct sb_slice key = sb_slice_str(keys[i]);

		if (sb_rand_below(&r, 2)) {
			assert_int_equal(sb_map_put(&m, key, keys[i]), present[i]);
			present[i] = 1;
		} else {
			assert_ptr_equal(sb_map_del(&m, key), present[i] ? keys[i] : NULL);
			present[i] = 0;
		}
		assert_ptr_equal(sb_map_get(&m, key), present[i] ? keys[i] : NULL);
	}
	for (int i = 0; i < 500; i++)
		assert_ptr_equal(sb_map_get(&m, sb_slice_str(keys[i])), present[i] ? keys[i] : NULL);
	sb_map_done(&m);
}

static void crc32c_agrees_with_its_check_value_and_its_table(void **state)
{
	char data[1000];

	(void)state;
	assert_int_equal(sb_crc32c(0, "123456789", 9), 0xe3069283); /* the catalogue's check value of CRC-32/ISCSI */
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7);
	for (size_t n = 0; n < sizeof(data); n += 13)
		assert_int_equal(sb_crc32c(5, data, n), sb_crc32c_table(5, data, n));
	assert_int_equal(sb_crc32c(sb_crc32c(0, data, 100), data + 100, 900), sb_crc32c(0, data, 1000));
}

static void times_are_read_and_written(void **state)
{
	static const struct {
		const char *in;
		int64_t ms; /* -1: not a time */
	} cases[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2026-11-24T08:19:53Z", 1795508393000 },
		{ "2026-11-24T08:19:53.25Z", 1795508393250 },
		{ "2026-11-24t09:19:53+01:00", 1795508393000 },
		{ "2024-02-29T00:00:00Z", 1709164800000 },
		{ "2023-02-29T00:00:00Z", -1 },
		{ "2026-13-01T00:00:00Z", -1 },
		{ "2026-11-24T08:19:53", -1 },
		{ "2026-11-24T08:19:53.Z", -1 },
		{ "2026-11-24T08:19:53Zx", -1 },
		{ "", -1 },
	};
	char out[SB_TIME_TEXT];
	uint64_t ms;

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		int r = sb_time_parse(cases[i].in, strlen(cases[i].in), &ms);

		if (r != (cases[i].ms < 0 ? -1 : 0) || (r == 0 && ms != (uint64_t)cases[i].ms))
			fail_msg("row %zu: '%s'", i, cases[i].in);
	}
	sb_time_format(1795508393250, out);
	assert_string_equal(out, "2026-11-24T08:19:53.250Z");
	sb_time_format_s(1709164800000, out);
	assert_string_equal(out, "2024-02-29T00:00:00Z");
	sb_duration_format(84600000, out);
	assert_string_equal(out, "23h30m");
}

static void uuids_sort_in_the_order_of_making_even_when_the_clock_goes_back(void **state)
{
	struct sb_rand r;
	struct sb_uuid_gen g = { .rand = &r };
	struct sb_uuid last = { { 0 } }, back;
	char text[SB_UUID_TEXT + 1];

	(void)state;
	sb_rand_seed(&r, 3);
	for (uint64_t i = 0; i < 10000; i++) {
		struct sb_uuid u = sb_uuid_next(&g, 1795508393000 - i);

		assert_true(memcmp(&last, &u, sizeof(u)) < 0);
		assert_int_equal(u.b[6] >> 4, 7);
		assert_int_equal(u.b[8] >> 6, 2);
		last = u;
	}
	sb_uuid_format(&last, text);
	assert_int_equal(sb_uuid_parse(text, SB_UUID_TEXT, &back), 0);
	assert_memory_equal(&back, &last, sizeof(back));
	assert_int_equal(sb_uuid_parse("not-a-uuid", 10, &back), -1);
}

struct counted_mail {
	struct sb_mail mail;
	int *out, value;
};

static void note(struct sb_mail *m)
{
	struct counted_mail *c = SB_CONTAINER(m, struct counted_mail, mail);

	*c->out = *c->out * 10 + c->value;
}

static void mail_arrives_in_the_order_of_posting(void **state)
{
	struct sb_mailbox mb;
	int seen = 0;
	struct counted_mail m[3] = { { { NULL, note }, &seen, 1 }, { { NULL, note }, &seen, 2 },
		{ { NULL, note }, &seen, 3 } };

	(void)state;
	assert_int_equal(sb_mailbox_init(&mb, true), 0);
	for (int i = 0; i < 3; i++)
		sb_mailbox_post(&mb, &m[i].mail);
	sb_mailbox_wait(&mb);
	assert_int_equal(sb_mailbox_drain(&mb), 3);
	assert_int_equal(seen, 123);
	assert_int_equal(sb_mailbox_drain(&mb), 0);
	sb_mailbox_done(&mb);
}

static void mail_from_before_somebody_slept_wakes_him(void **state)
{
	struct sb_mailbox mb;
	int seen = 0;
	struct counted_mail m[2] = { { { NULL, note }, &seen, 1 }, { { NULL, note }, &seen, 2 } };

	(void)state;
	assert_int_equal(sb_mailbox_init(&mb, false), 0);
	sb_mailbox_post(&mb, &m[0].mail);
	assert_int_equal(sb_mailbox_add_fd(&mb), 0);
	for (int i = 0; i < 2; i++) {
		sb_mailbox_wait(&mb);
		assert_int_equal(sb_mailbox_drain(&mb), 1);
		if (i == 0)
			sb_mailbox_post(&mb, &m[1].mail);
	}
	assert_int_equal(seen, 12);
	sb_mailbox_done(&mb);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(err_wraps_from_the_inside_out),
		cmocka_unit_test(buf_never_passes_its_cap),
		cmocka_unit_test(pool_reuses_blocks_and_counts_misses),
		cmocka_unit_test(arena_gives_zeroed_memory_up_to_its_cap),
		cmocka_unit_test(heap_comes_out_in_order_and_equal_keys_in_the_order_of_pushing),
		cmocka_unit_test(map_survives_random_puts_and_deletes),
		cmocka_unit_test(crc32c_agrees_with_its_check_value_and_its_table),
		cmocka_unit_test(times_are_read_and_written),
		cmocka_unit_test(uuids_sort_in_the_order_of_making_even_when_the_clock_goes_back),
		cmocka_unit_test(mail_arrives_in_the_order_of_posting),
		cmocka_unit_test(mail_from_before_somebody_slept_wakes_him),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
