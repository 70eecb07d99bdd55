/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/mem.h"
#include "broker/base/rand.h"
#include "connectors/kafka/watermark.h"

static const struct kafka_watermark_limits roomy = { 1000, 1 << 20 };

static uint32_t add(struct kafka_watermark *w, int64_t offset)
{
	uint32_t number;

	assert_int_equal(kafka_watermark_add(w, offset, 10, &number), 0);
	return number;
}

/* -1: it has not moved. */
static int64_t moved(struct kafka_watermark *w)
{
	int64_t at;

	return kafka_watermark_moved(w, &at) ? at : -1;
}

/* ------------------------------------------------------------------------------------------------ in every order */

#define N 6

/* After every step the position is behind the longest settled run, whatever the order; offsets have gaps. */
static void check_order(const unsigned *order)
{
	static const int64_t offset[N] = { 3, 4, 7, 100, 101, 5000000000 };
	struct kafka_watermark w;
	bool settled[N] = { false };
	uint32_t number[N];
	unsigned run = 0;

	kafka_watermark_init(&w, &roomy);
	kafka_watermark_begin(&w, 7);
	for (unsigned i = 0; i < N; i++)
		number[i] = add(&w, offset[i]);
	for (unsigned i = 0; i < N; i++) {
		unsigned before = run;

		settled[order[i]] = true;
		while (run < N && settled[run])
			run++;
		assert_int_equal(kafka_watermark_settle(&w, number[order[i]], 7), run != before);
		assert_int_equal(moved(&w), run != before ? offset[run - 1] + 1 : -1);
		assert_int_equal(kafka_watermark_held_by(&w), run == N ? -1 : offset[run]);
		assert_int_equal(kafka_watermark_span(&w), N - run);
	}
	kafka_watermark_done(&w);
}

static unsigned permute(unsigned *order, unsigned from)
{
	unsigned n = 0;

	if (from == N) {
		check_order(order);
		return 1;
	}
	for (unsigned i = from; i < N; i++) {
		unsigned keep = order[from];

		order[from] = order[i];
		order[i] = keep;
		n += permute(order, from + 1);
		order[i] = order[from];
		order[from] = keep;
	}
	return n;
}

static void the_position_follows_every_order(void **state)
{
	unsigned order[N];

	(void)state;
	for (unsigned i = 0; i < N; i++)
		order[i] = i;
	assert_int_equal(permute(order, 0), 720);
}

/* ------------------------------------------------------------------------------------------------ epochs */

static void what_is_stale_moves_nothing(void **state)
{
	struct kafka_watermark w;
	uint32_t a, b;

	(void)state;
	kafka_watermark_init(&w, &roomy);
	kafka_watermark_begin(&w, 1);
	a = add(&w, 10);
	b = add(&w, 11);
	assert_true(kafka_watermark_settle(&w, a, 1));
	kafka_watermark_fence(&w); /* with a position that nobody has stored */
	assert_int_equal(moved(&w), -1);
	assert_false(kafka_watermark_settle(&w, b, 1));
	assert_int_equal(w.stale, 1);
	assert_false(kafka_watermark_settle(&w, b, 0)); /* a fence has no epoch that one could name */
	kafka_watermark_begin(&w, 2);
	assert_int_equal(moved(&w), -1);
	a = add(&w, 10); /* read again */
	assert_false(kafka_watermark_settle(&w, b, 1));
	assert_int_equal(moved(&w), -1);
	assert_int_equal(kafka_watermark_held_by(&w), 10);
	assert_true(kafka_watermark_settle(&w, a, 2));
	assert_int_equal(moved(&w), 11);
	assert_int_equal(w.stale, 3);
	kafka_watermark_done(&w);
}

static void an_offset_that_goes_back_needs_a_new_epoch(void **state)
{
	struct kafka_watermark w;
	uint32_t number;

	(void)state;
	kafka_watermark_init(&w, &roomy);
	kafka_watermark_begin(&w, 1);
	add(&w, 10);
	assert_int_equal(kafka_watermark_add(&w, 10, 1, &number), -1);
	assert_int_equal(kafka_watermark_add(&w, 3, 1, &number), -1);
	assert_int_equal(kafka_watermark_span(&w), 1);
	kafka_watermark_begin(&w, 2);
	assert_int_equal(kafka_watermark_add(&w, 3, 1, &number), 0);
	kafka_watermark_done(&w);
}

/* ------------------------------------------------------------------------------------------------ the window */

static void the_window_is_bounded_by_count(void **state)
{
	const struct kafka_watermark_limits three = { 3, 1 << 20 };
	struct kafka_watermark w;
	uint32_t n[4];

	(void)state;
	kafka_watermark_init(&w, &three);
	kafka_watermark_begin(&w, 1);
	for (unsigned i = 0; i < 3; i++)
		n[i] = add(&w, i);
	assert_false(kafka_watermark_has_room(&w, 1));
	kafka_watermark_settle(&w, n[2], 1); /* settled, but the position waits for the first: as many may come twice */
	assert_false(kafka_watermark_has_room(&w, 1));
	kafka_watermark_settle(&w, n[0], 1);
	assert_true(kafka_watermark_has_room(&w, 1));
	kafka_watermark_done(&w);
}

static void the_window_is_bounded_by_the_bytes_that_are_open(void **state)
{
	const struct kafka_watermark_limits hundred = { 1000, 100 };
	struct kafka_watermark w;
	uint32_t big, a, b;

	(void)state;
	kafka_watermark_init(&w, &hundred);
	kafka_watermark_begin(&w, 1);
	assert_true(kafka_watermark_has_room(&w, UINT32_MAX)); /* one always */
	assert_int_equal(kafka_watermark_add(&w, 0, 5000, &big), 0);
	assert_false(kafka_watermark_has_room(&w, 0));
	kafka_watermark_settle(&w, big, 1);
	assert_int_equal(kafka_watermark_add(&w, 1, 60, &a), 0);
	assert_false(kafka_watermark_has_room(&w, 41));
	assert_true(kafka_watermark_has_room(&w, 40));
	assert_int_equal(kafka_watermark_add(&w, 2, 40, &b), 0);
	kafka_watermark_settle(&w, b, 1); /* behind an open one, but its memory is free */
	assert_true(kafka_watermark_has_room(&w, 40));
	kafka_watermark_done(&w);
}

/* ------------------------------------------------------------------------------------------------ at random */

/* Everything of one epoch, in a list, looked through from the beginning each time. */
struct model {
	struct {
		int64_t offset;
		uint32_t number, bytes;
		bool settled;
	} record[4000];
	unsigned n;
	uint32_t epoch;
	int64_t told;
};

static int64_t model_position(const struct model *m)
{
	int64_t at = -1;

	for (unsigned i = 0; i < m->n && m->record[i].settled; i++)
		at = m->record[i].offset + 1;
	return at;
}

static unsigned model_first_open(const struct model *m)
{
	unsigned i = 0;

	while (i < m->n && m->record[i].settled)
		i++;
	return i;
}

static uint64_t model_open_bytes(const struct model *m, unsigned *open)
{
	uint64_t bytes = 0;

	*open = 0;
	for (unsigned i = 0; i < m->n; i++)
		if (!m->record[i].settled) {
			bytes += m->record[i].bytes;
			++*open;
		}
	return bytes;
}

static void model_compare(const struct model *m, struct kafka_watermark *w, struct sb_rand *r)
{
	unsigned first = model_first_open(m), open;
	uint64_t bytes = model_open_bytes(m, &open);
	uint32_t more = sb_rand_u32(r) % 200;
	bool room = m->n - first < w->limits.records && (open == 0 || bytes + more <= w->limits.bytes);

	assert_int_equal(kafka_watermark_span(w), m->n - first);
	assert_int_equal(w->open, open);
	assert_int_equal(w->bytes, bytes);
	assert_int_equal(kafka_watermark_held_by(w), first == m->n ? -1 : m->record[first].offset);
	assert_int_equal(kafka_watermark_has_room(w, more), room);
}

static void model_add(struct model *m, struct kafka_watermark *w, struct sb_rand *r)
{
	int64_t offset = (m->n ? m->record[m->n - 1].offset : -1) + 1 + (sb_rand_u32(r) % 4 ? 0 : sb_rand_u32(r) % 1000);
	uint32_t bytes = sb_rand_u32(r) % 200;

	if (m->n == SB_LEN(m->record) || !kafka_watermark_has_room(w, bytes))
		return;
	m->record[m->n].offset = offset;
	m->record[m->n].bytes = bytes;
	m->record[m->n].settled = false;
	assert_int_equal(kafka_watermark_add(w, offset, bytes, &m->record[m->n].number), 0);
	m->n++;
}

/* Mostly one of the oldest, as it is in life. */
static void model_settle(struct model *m, struct kafka_watermark *w, struct sb_rand *r)
{
	unsigned first = model_first_open(m), span = m->n - first, i;
	int64_t before = model_position(m);

	if (span == 0)
		return;
	i = first + sb_rand_u32(r) % (sb_rand_u32(r) % 4 ? SB_MIN(span, 8) : span);
	if (m->record[i].settled)
		return;
	m->record[i].settled = true;
	assert_int_equal(kafka_watermark_settle(w, m->record[i].number, m->epoch), model_position(m) != before);
}

static void model_ask(struct model *m, struct kafka_watermark *w)
{
	int64_t want = model_position(m), have = moved(w);

	assert_int_equal(have, want == m->told ? -1 : want);
	m->told = want;
}

static void model_stale(const struct model *m, struct kafka_watermark *w, struct sb_rand *r)
{
	uint64_t before = w->stale;

	if (m->epoch < 2)
		return;
	assert_false(kafka_watermark_settle(w, sb_rand_u32(r), 1 + sb_rand_u32(r) % (m->epoch - 1)));
	assert_int_equal(w->stale, before + 1);
}

static void model_begin(struct model *m, struct kafka_watermark *w, bool fence)
{
	if (fence) {
		kafka_watermark_fence(w);
		assert_int_equal(moved(w), -1);
		assert_int_equal(kafka_watermark_span(w), 0);
	}
	m->epoch++;
	m->n = 0;
	m->told = -1;
	kafka_watermark_begin(w, m->epoch);
}

static void model_step(struct model *m, struct kafka_watermark *w, struct sb_rand *r)
{
	uint32_t dice = sb_rand_u32(r) % 1000;

	if (dice < 480)
		model_add(m, w, r);
	else if (dice < 960)
		model_settle(m, w, r);
	else if (dice < 990)
		model_ask(m, w);
	else if (dice < 998)
		model_stale(m, w, r);
	else
		model_begin(m, w, dice == 998);
}

static void it_is_what_the_obvious_model_is(void **state)
{
	static const struct kafka_watermark_limits limits[] = { { 1, 1000 }, { 5, 300 }, { 64, 1 << 20 }, { 300, 6000 }, { 1000, 1 << 20 } };
	static struct model m;

	(void)state;
	for (unsigned seed = 0; seed < 50; seed++) {
		struct kafka_watermark w;
		struct sb_rand r;

		sb_rand_seed(&r, seed);
		memset(&m, 0, sizeof(m));
		kafka_watermark_init(&w, &limits[seed % SB_LEN(limits)]);
		w.first = w.next = (uint32_t)-20 - seed; /* numbers wrap on the way */
		model_begin(&m, &w, false);
		for (unsigned i = 0; i < 4000; i++) {
			model_step(&m, &w, &r);
			if (i % 8 == 0)
				model_compare(&m, &w, &r);
		}
		kafka_watermark_done(&w);
	}
}

static void a_warm_window_allocates_nothing(void **state)
{
	const struct kafka_watermark_limits limits = { 5000, 1 << 30 };
	struct kafka_watermark w;
	const void *ring;

	(void)state;
	kafka_watermark_init(&w, &limits);
	assert_null(w.ring); /* a partition that is idle costs nothing */
	for (uint32_t epoch = 1; epoch < 20; epoch++) {
		kafka_watermark_begin(&w, epoch);
		for (int64_t i = 0; kafka_watermark_has_room(&w, 10); i++)
			add(&w, i);
		assert_int_equal(kafka_watermark_span(&w), 5000);
		if (epoch == 1)
			ring = w.ring;
		assert_ptr_equal(w.ring, ring);
	}
	kafka_watermark_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_position_follows_every_order),
		cmocka_unit_test(what_is_stale_moves_nothing),
		cmocka_unit_test(an_offset_that_goes_back_needs_a_new_epoch),
		cmocka_unit_test(the_window_is_bounded_by_count),
		cmocka_unit_test(the_window_is_bounded_by_the_bytes_that_are_open),
		cmocka_unit_test(it_is_what_the_obvious_model_is),
		cmocka_unit_test(a_warm_window_allocates_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
