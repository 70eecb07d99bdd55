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
	kafka_window_done(&w, 0);
	assert_false(kafka_window_full(&w));
	kafka_window_free(&w);
	kafka_window_init(&w, 3, 100);
	kafka_window_add(&w, 0, -1, 500); /* one is always let in */
	assert_true(kafka_window_full(&w));
	kafka_window_free(&w);
}

/* Any order, against a list that is looked through from the beginning each time; numbers wrap around. */
static void any_order(void **state)
{
	static int64_t offset[4096];
	static bool done[4096];
	struct kafka_window w;
	struct sb_rand chance;
	unsigned n = 0, first = 0;
	uint32_t base = 0xffffff00u;

	(void)state;
	sb_rand_seed(&chance, 5);
	kafka_window_init(&w, 200, 1 << 20);
	w.head = w.tail = base;
	while (first < SB_LEN(offset)) {
		if (n < SB_LEN(offset) && !kafka_window_full(&w) && sb_rand_u32(&chance) % 2) {
			offset[n] = (n ? offset[n - 1] : 100) + 1 + sb_rand_u32(&chance) % 3;
			assert_int_equal(kafka_window_add(&w, offset[n], 0, 1), base + n);
			n++;
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
		cmocka_unit_test(any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
