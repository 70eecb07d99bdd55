/* SPDX-License-Identifier: Apache-2.0 */
/* Bounds on connections hold exactly, for one thread and for several at once, and what is given back is there again. */
#include "broker/net/crowd.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "tests/support/test.h"

#define THREADS 3
#define ROUNDS 20000
#define MOST 5
#define MOST_BY_ADDRESS 2
#define ADDRESSES 4
#define TOGETHER 2

static uint8_t key_of[ADDRESSES][CROWD_KEY];

static void make_keys(void)
{
	for (unsigned i = 0; i < ADDRESSES; i++)
		key_of[i][CROWD_KEY - 1] = (uint8_t)(i + 1);
}

static void the_bounds_are_exact(void **state)
{
	static const struct {
		const char *what;
		int address; /* -1: none, -2: what came first leaves */
		bool let_in;
	} steps[] = {
		{ "the first of an address", 0, true },
		{ "the second", 0, true },
		{ "one too many of an address", 0, false },
		{ "again", 0, false },
		{ "another address", 1, true },
		{ "who has no address", -1, true },
		{ "the last place", -1, true },
		{ "no place, whoever it is", -1, false },
		{ "no place, and its address is not counted", 1, false },
		{ "the first leaves", -2, true },
		{ "its address has room, and there is a place", 0, true },
		{ "once", 1, false },
	};
	struct sb_http_crowd *c = sb_http_crowd_new(MOST, MOST_BY_ADDRESS);
	struct crowd_addr *in[SB_LEN(steps)], *a;
	size_t n = 0, first = 0;

	(void)state;
	make_keys();
	for (size_t i = 0; i < SB_LEN(steps); i++) {
		if (steps[i].address == -2) {
			crowd_leave(c, in[first++]);
			continue;
		}
		if (crowd_enter(c, steps[i].address < 0 ? NULL : key_of[steps[i].address], &a) != steps[i].let_in)
			fail_msg("row %zu: %s", i, steps[i].what);
		if (steps[i].let_in)
			in[n++] = a;
	}
	while (first < n)
		crowd_leave(c, in[first++]);
	for (n = 0; n < MOST; n++)
		assert_true(crowd_enter(c, key_of[n / MOST_BY_ADDRESS], &in[n])); /* all of it is there again */
	while (n)
		crowd_leave(c, in[--n]);
	sb_http_crowd_free(c);
}

struct shard {
	struct sb_http_crowd *crowd;
	atomic_uint *now, *of_address;
	unsigned number, let_in, turned_away, wrong;
};

/* Counts from outside: up after it was let in and down before it leaves, so never above what the crowd counts. */
static void visit(struct shard *s, unsigned address)
{
	struct crowd_addr *a;

	if (!crowd_enter(s->crowd, key_of[address], &a)) {
		s->turned_away++;
		return;
	}
	s->let_in++;
	s->wrong += atomic_fetch_add(s->now, 1) >= TOGETHER;
	s->wrong += atomic_fetch_add(&s->of_address[address], 1) >= 1;
	sched_yield();
	atomic_fetch_sub(&s->of_address[address], 1);
	atomic_fetch_sub(s->now, 1);
	crowd_leave(s->crowd, a);
}

static void *come_and_go(void *arg)
{
	struct shard *s = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		visit(s, (i + s->number) % ADDRESSES);
		visit(s, 0);
	}
	sb_pool_thread_done();
	return NULL;
}

static void shards_share_them(void **state)
{
	struct sb_http_crowd *c = sb_http_crowd_new(TOGETHER, 1); /* fewer than there are threads */
	atomic_uint now = 0, of_address[ADDRESSES] = { 0 };
	struct shard s[THREADS] = { 0 };
	pthread_t t[THREADS];
	struct crowd_addr *a;
	unsigned let_in = 0, turned_away = 0;

	(void)state;
	make_keys();
	for (unsigned i = 0; i < THREADS; i++) {
		s[i] = (struct shard){ .crowd = c, .now = &now, .of_address = of_address, .number = i };
		assert_int_equal(pthread_create(&t[i], NULL, come_and_go, &s[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(s[i].wrong, 0);
		let_in += s[i].let_in;
		turned_away += s[i].turned_away;
	}
	assert_int_equal(let_in + turned_away, THREADS * ROUNDS * 2);
	assert_true(let_in > 0);
	assert_true(crowd_enter(c, key_of[0], &a)); /* all have left */
	crowd_leave(c, a);
	sb_http_crowd_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bounds_are_exact),
		cmocka_unit_test(shards_share_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
