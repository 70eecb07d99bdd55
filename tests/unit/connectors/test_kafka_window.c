/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include "broker/base/rand.h"
#include "connectors/kafka/window.h"

static void the_position_moves_over_what_is_done_at_the_front(void **state)
{
	struct kafka_window w;
	uint32_t a, b, c;

	(void)state;
	kafka_window_init(&w, 10, 1000);
	assert_int_equal(w.position, -1);
	a = kafka_window_add(&w, 5, 1, 10);
	b = kafka_window_add(&w, 9, 1, 10); /* a gap */
	c = kafka_window_add(&w, 10, 2, 10);
	assert_false(kafka_window_done(&w, b));
	assert_int_equal(w.position, -1);
	assert_true(kafka_window_done(&w, a));
	assert_int_equal(w.position, 10);
	assert_int_equal(w.position_epoch, 1);
	assert_true(kafka_window_done(&w, c));
	assert_int_equal(w.position, 11);
	assert_int_equal(w.position_epoch, 2);
	assert_int_equal(w.bytes, 0);
	assert_int_equal(kafka_window_held(&w), 0);
	kafka_window_free(&w);
}

static void it_is_bounded_by_count_and_by_bytes(void **state)
{
	struct kafka_window w;

	(void)state;
	kafka_window_init(&w, 3, 100);
	for (int i = 0; i < 3; i++) {
		assert_false(kafka_window_full(&w));
		kafka_window_add(&w, i, -1, 1);
	}
	assert_true(kafka_window_full(&w));
	assert_true(kafka_window_stuck(&w));
	kafka_window_done(&w, 0);
	assert_true(kafka_window_full(&w)); /* finished is not committed: it would come again */
	assert_false(kafka_window_stuck(&w));
	kafka_window_committed(&w, 1);
	assert_false(kafka_window_full(&w));
	kafka_window_free(&w);
	kafka_window_init(&w, 3, 100);
	kafka_window_add(&w, 0, -1, 500); /* one is always let in */
	assert_true(kafka_window_full(&w));
	kafka_window_done(&w, 0);
	assert_true(kafka_window_full(&w));
	kafka_window_committed(&w, 1);
	assert_false(kafka_window_full(&w));
	kafka_window_free(&w);
}

/* Of `added` records so many are done, from the front. */
static void a_commit_is_due_when_half_of_the_window_waits_for_it(void **state)
{
	static const struct {
		uint32_t max, added, done;
		uint32_t bytes; /* each */
		bool due;
	} rows[] = {
		{ 10, 10, 0, 1, false }, /* a commit would change nothing */
		{ 10, 9, 4, 1, false },
		{ 10, 9, 5, 1, true },
		{ 10, 10, 1, 1, true }, /* full */
		{ 1, 1, 1, 1, true },
		{ 10, 4, 1, 10, false },
		{ 10, 5, 5, 10, true },
		{ 10, 10, 1, 10, true }, /* full by bytes */
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		struct kafka_window w;

		kafka_window_init(&w, rows[i].max, 100);
		for (uint32_t n = 0; n < rows[i].added; n++)
			kafka_window_add(&w, n, -1, rows[i].bytes);
		for (uint32_t n = 0; n < rows[i].done; n++)
			kafka_window_done(&w, n);
		if (kafka_window_due(&w) != rows[i].due)
			fail_msg("row %zu", i);
		kafka_window_committed(&w, rows[i].done);
		if (kafka_window_due(&w) || kafka_window_finished(&w))
			fail_msg("row %zu: a commit did not help", i);
		kafka_window_free(&w);
	}
}

/* Any order, against a list that is looked through from the beginning each time; numbers wrap around. */
static void any_order(void **state)
{
	static int64_t offset[4096];
	static bool done[4096];
	struct kafka_window w;
	struct sb_rand chance;
	unsigned n = 0, first = 0, committed = 0;
	uint32_t base = 0xffffff00u;

	(void)state;
	sb_rand_seed(&chance, 5);
	kafka_window_init(&w, 200, 1 << 20);
	w.base = w.head = w.tail = base;
	while (first < SB_LEN(offset)) {
		if (n < SB_LEN(offset) && !kafka_window_full(&w) && sb_rand_u32(&chance) % 2) {
			offset[n] = (n ? offset[n - 1] : 100) + 1 + sb_rand_u32(&chance) % 3;
			assert_int_equal(kafka_window_add(&w, offset[n], 0, 1), base + n);
			n++;
		} else if (first && sb_rand_u32(&chance) % 4 == 0) {
			committed += sb_rand_u32(&chance) % (first - committed + 1); /* any position that there has been */
			kafka_window_committed(&w, committed ? offset[committed - 1] + 1 : -1);
			assert_int_equal(kafka_window_finished(&w), first - committed);
			assert_int_equal(w.finished_bytes, first - committed);
			assert_int_equal(kafka_window_full(&w), n - committed >= 200);
		} else if (n > first) {
			unsigned i = first + sb_rand_u32(&chance) % (n - first);
			bool moved = i == first;

			if (done[i])
				continue;
			done[i] = true;
			assert_int_equal(kafka_window_done(&w, base + i), moved);
			while (first < n && done[first])
				first++;
			assert_int_equal(w.position, first ? offset[first - 1] + 1 : -1);
			assert_int_equal(kafka_window_held(&w), n - first);
			assert_int_equal(w.bytes, n - first);
		}
	}
	kafka_window_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_position_moves_over_what_is_done_at_the_front),
		cmocka_unit_test(it_is_bounded_by_count_and_by_bytes),
		cmocka_unit_test(a_commit_is_due_when_half_of_the_window_waits_for_it),
		cmocka_unit_test(any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
