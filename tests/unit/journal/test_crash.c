/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal on a disk that loses power. What the ledger wants of a restart is in compare.c; here are the ways to get there.
 * SB_CRASH_SEEDS=n plays more of them.
 */
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/journal/ledger.h"

static uint64_t seeds(uint64_t usual)
{
	const char *more = getenv("SB_CRASH_SEEDS");

#ifdef __SANITIZE_ADDRESS__
	usual /= 3; /* it looks for other things, and slowly */
#endif
	return more ? strtoull(more, NULL, 10) : usual;
}

static void reopen(struct ledger *l)
{
	if (ledger_open(l) < 0)
		fail_msg("%s: cannot be opened", l->where);
}

/* Recovery is interrupted a few times, then succeeds, and a second one finds the same. */
static void recover_the_hard_way(struct ledger *l, uint64_t seed, bool harsh)
{
	for (uint64_t i = 1; i <= sb_rand_below(&l->rand, 4); i++) {
		l->disk->off_at = l->disk->ops + 1 + sb_rand_below(&l->rand, 12);
		ledger_open(l);
		ledger_crash(l, seed + i, harsh);
	}
	l->disk->off_at = 0;
	reopen(l);
	ledger_close(l);
	reopen(l);
}

/* false: the play was over before the power went. */
static bool play_until_crash(struct ledger *l, uint64_t seed, uint64_t off_at, bool harsh)
{
	bool reached;

	snprintf(l->where, sizeof(l->where), "seed %u, power off at operation %u%s", (unsigned)seed, (unsigned)off_at,
		harsh ? ", harsh" : "");
	l->disk->off_at = off_at;
	if (ledger_open(l) == 0)
		ledger_play(l, 12);
	reached = l->disk->off;
	ledger_crash(l, seed * 1000 + off_at, harsh);
	recover_the_hard_way(l, seed * 7919 + off_at, harsh);
	return reached;
}

static void test_power_off_at_every_operation(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= seeds(6); seed++) {
		bool reached = true;

		for (uint64_t at = 1; reached; at++) {
			struct ledger l;

			ledger_init(&l, seed);
			reached = play_until_crash(&l, seed, at, at % 2);
			ledger_play(&l, 3);
			ledger_crash(&l, at, false);
			reopen(&l);
			ledger_done(&l);
		}
	}
}

/* One long life with many crashes: old segments go, numbers grow, lost appends are tried again. */
static void test_many_crashes_in_a_row(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= seeds(12); seed++) {
		struct ledger l;

		ledger_init(&l, seed);
		for (unsigned life = 0; life < 25; life++) {
			snprintf(l.where, sizeof(l.where), "seed %u, life %u", (unsigned)seed, life);
			if (ledger_open(&l) == 0) {
				l.disk->off_at = l.disk->ops + 1 + sb_rand_below(&l.rand, 120);
				ledger_play(&l, 20);
			}
			if (sb_rand_below(&l.rand, 4))
				ledger_crash(&l, seed * 100 + life, seed % 2);
			else
				ledger_kill(&l);
			if (sb_rand_below(&l.rand, 2))
				recover_the_hard_way(&l, seed * 100 + life, seed % 2);
			ledger_close(&l);
		}
		reopen(&l);
		assert_true(l.durable > 100);
		ledger_done(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power_off_at_every_operation),
		cmocka_unit_test(test_many_crashes_in_a_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
