/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that refuses, lies, or is full: nothing that came back DURABLE is lost, and what can go on goes on. */
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>

#include "tests/unit/journal/compare.h"

static void reopen(struct ledger *l)
{
	if (ledger_open(l) < 0)
		fail_msg("%s: cannot be opened", l->where);
}

struct failure {
	const char *name;
	enum sim_call call;
	bool stops; /* a single failure while running may end the process: there is nothing to fall back to */
};

static const struct failure failures[] = {
	{ "open", SIM_OPEN, false },
	{ "pread", SIM_READ, false },
	{ "pwrite", SIM_WRITE, false },
	{ "fdatasync", SIM_SYNC, false },
	{ "truncate", SIM_TRUNCATE, false },
	{ "allocate", SIM_ALLOCATE, false },
	{ "size", SIM_SIZE, false },
	{ "rename", SIM_RENAME, true },
	{ "unlink", SIM_UNLINK, false },
	{ "sync_dir", SIM_SYNC_DIR, true },
	{ "list", SIM_LIST, false },
	{ "mkdir", SIM_MKDIR, false },
};

/* false: the play was over before the nth call. */
static bool play_with_failure(const struct failure *f, uint64_t nth, bool persistent, uint64_t seed)
{
	struct ledger l;
	bool reached;

	ledger_init(&l, seed);
	snprintf(l.where, sizeof(l.where), "seed %u, %s%s fails at call %u", (unsigned)seed, f->name, persistent ? " always" : "",
		(unsigned)nth);
	reopen(&l); /* something to recover */
	ledger_play(&l, 6);
	ledger_crash(&l, nth, false);
	simdisk_fail(l.disk, f->call, nth, EIO, persistent);
	if (ledger_open(&l) == 0) {
		ledger_play(&l, 12);
		if (l.fatal && !persistent && !f->stops)
			fail_msg("%s: one failure ended it", l.where);
	}
	reached = l.disk->calls[f->call] >= l.disk->fault[0].at;
	if (nth % 2)
		ledger_crash(&l, nth, false);
	else
		ledger_kill(&l);
	simdisk_heal(l.disk);
	reopen(&l);
	ledger_play(&l, 3);
	ledger_crash(&l, nth + 1, false);
	reopen(&l);
	ledger_done(&l);
	return reached;
}

static void test_every_call_fails_once_or_from_then_on(void **state)
{
	(void)state;
	for (size_t i = 0; i < SB_LEN(failures); i++)
		for (unsigned persistent = 0; persistent < 2; persistent++)
			for (uint64_t nth = 1; play_with_failure(&failures[i], nth, persistent, 1 + nth % 5) && nth < 200; nth++)
				;
}

/* The fdatasync after the one that failed says that all is well. It is not. */
static void test_a_failed_sync_is_never_believed_again(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct ledger l;
		struct put *p;

		ledger_init(&l, seed);
		snprintf(l.where, sizeof(l.where), "seed %u, a sync fails", (unsigned)seed);
		reopen(&l);
		ledger_put_events(&l, 2, 3, 500);
		ledger_commit(&l);
		simdisk_fail(l.disk, SIM_SYNC, 1, EIO, false);
		p = ledger_put_events(&l, 2, 3, 500);
		ledger_commit(&l);
		assert_int_equal(p->fate, DURABLE);
		assert_false(l.fatal);
		assert_int_equal(p->ev[0].due[0].h.at.segment, l.first->ev[0].due[0].h.at.segment + 1); /* in another file */
		ledger_put_events(&l, 1, 3, 500);
		ledger_commit(&l);
		ledger_crash(&l, seed, seed % 2);
		reopen(&l);
		ledger_done(&l);
	}
}

/* One delivery is open and the newest segment has no room for 6 kB of events. */
static struct due *fill_segment(struct ledger *l, uint64_t seed, const char *what)
{
	uint64_t used = 0;

	ledger_init(l, seed);
	snprintf(l->where, sizeof(l->where), "seed %u, %s", (unsigned)seed, what);
	reopen(l);
	while (used < l->conf.segment_bytes - 6000) {
		struct put *p = ledger_put_events(l, 1, 1, 900);

		ledger_commit(l);
		assert_int_equal(p->ev[0].due[0].h.at.segment, 1);
		used = p->ev[0].due[0].h.at.offset + p->a.frames.len;
	}
	return l->open[0];
}

/* 6 kB of events, one group; returns one of them. */
static struct put *put_many(struct ledger *l)
{
	struct put *p = NULL;

	for (size_t bytes = 0; bytes < 6000; bytes += p->a.frames.len)
		p = ledger_put_events(l, 1, 1, 900);
	return p;
}

struct roll_failure {
	uint64_t writes;         /* that fail, from the second on: the first is the SEAL */
	enum fate events, state; /* of one group that needs a new segment */
};

/* A new segment that cannot be written is replaced by another; when that fails, too, only events are refused. */
static void test_a_new_segment_may_fail(void **state)
{
	static const struct roll_failure cases[] = { { 1, DURABLE, DURABLE }, { 2, ABSENT, DURABLE } };

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct ledger l;
		struct due *d = fill_segment(&l, 1, "a new segment fails");
		struct put *outcome, *events;

		for (uint64_t n = 0; n < cases[i].writes; n++)
			simdisk_fail(l.disk, SIM_WRITE, 2 + n, EIO, false);
		outcome = ledger_put_outcome(&l, d, false);
		events = put_many(&l);
		ledger_commit(&l);
		if (l.fatal || outcome->fate != cases[i].state || events->fate != cases[i].events)
			fail_msg("row %zu: %s, outcome %d, events %d", i, l.fatal ? "stopped" : "went on", outcome->fate, events->fate);
		ledger_crash(&l, i, false);
		simdisk_heal(l.disk);
		reopen(&l);
		ledger_done(&l);
	}
}

/* The new segment is there, but perhaps not after a crash: neither it nor the one before may be written. */
static void test_a_name_that_may_not_last_ends_it(void **state)
{
	struct ledger l;

	(void)state;
	fill_segment(&l, 1, "a new segment's name is not synced");
	simdisk_fail(l.disk, SIM_SYNC_DIR, 1, EIO, false);
	simdisk_fail(l.disk, SIM_SYNC_DIR, 2, EIO, false);
	put_many(&l);
	ledger_commit(&l);
	sb_fake_clock_advance(&l.clock, 2 * SB_NS_PER_S);
	ledger_put_events(&l, 1, 1, 100); /* it would fit into the old one */
	ledger_commit(&l);
	assert_true(l.fatal);
	simdisk_heal(l.disk);
	ledger_kill(&l);
	reopen(&l);
	ledger_done(&l);
}

static void count_item(void *arg, const struct sb_backlog_item *it, unsigned target)
{
	(void)it;
	(void)target;
	++*(unsigned *)arg;
}

/* What lies behind a segment's end was written again in the next one, and is not read, even if that cannot be opened now. */
static void test_a_failed_group_is_not_read(void **state)
{
	(void)state;
	for (uint64_t nth = 1; nth <= 8; nth++) {
		struct ledger l;
		unsigned n = 0;

		fill_segment(&l, nth, "a group failed");
		simdisk_fail(l.disk, SIM_SYNC, 1, EIO, false);
		ledger_put_events(&l, 1, 1, 100);
		ledger_commit(&l);
		simdisk_heal(l.disk);
		simdisk_fail(l.disk, SIM_OPEN, nth, EIO, false);
		simdisk_fail(l.disk, SIM_READ, nth, EIO, false);
		each_owed(l.j, count_item, &n);
		if (n != l.n_open)
			fail_msg("open and read %u fail: %u deliveries are read, %zu are owed", (unsigned)nth, n, l.n_open);
		ledger_done(&l);
	}
}

static void test_short_writes_and_reads_go_on(void **state)
{
	struct ledger l;

	(void)state;
	ledger_init(&l, 1);
	snprintf(l.where, sizeof(l.where), "short writes");
	l.disk->write_at_most = 100;
	l.disk->read_at_most = 333;
	for (unsigned life = 0; life < 4; life++) {
		reopen(&l);
		ledger_play(&l, 10);
		assert_false(l.fatal);
		ledger_crash(&l, life, true);
	}
	reopen(&l);
	ledger_done(&l);
}

/* Events until the disk is full; then outcomes of all of them, which must find room; then room again. */
static void fill_and_drain(struct ledger *l, uint64_t capacity)
{
	uint64_t full = l->full, before = l->durable;

	l->disk->capacity = capacity;
	for (unsigned i = 0; i < 500 && l->full == full; i++) {
		ledger_put_events(l, 1, 2, 2000);
		sb_fake_clock_advance(&l->clock, 10 * SB_NS_PER_MS);
		ledger_commit(l);
	}
	assert_true(l->full > full && l->durable > before);
	while (l->n_open) {
		struct put *p = NULL, *e;

		for (unsigned i = 0; i < 16 && l->n_open; i++)
			p = ledger_put_outcome(l, l->open[l->n_open - 1], false);
		e = ledger_put_events(l, 1, 1, 100);
		ledger_commit(l); /* one group asks for both */
		if (p->fate != DURABLE)
			fail_msg("%s: an outcome found no room, %u are open", l->where, (unsigned)l->n_open);
		if (e->fate == DURABLE)
			break; /* segments went, and there is room again */
	}
}

static void test_a_full_disk_takes_outcomes_and_recovers(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct ledger l;
		uint64_t full;

		ledger_init(&l, seed);
		snprintf(l.where, sizeof(l.where), "seed %u, full disk", (unsigned)seed);
		reopen(&l);
		fill_and_drain(&l, 150000 + seed * 1111);
		assert_false(l.fatal);
		l.disk->capacity = 0;
		sb_fake_clock_advance(&l.clock, 2 * SB_NS_PER_S);
		full = l.full;
		ledger_put_events(&l, 1, 2, 100);
		ledger_commit(&l);
		assert_int_equal(l.full, full);
		ledger_crash(&l, seed, false);
		reopen(&l);
		ledger_done(&l);
	}
}

/* Dead letters until the reserve is used up and the last one waits; the disk has no byte left. */
static struct put *use_up_reserve(struct ledger *l)
{
	struct put *p;

	for (unsigned i = 0; i < 2000; i++) {
		if (!l->n_open)
			break;
		p = ledger_put_outcome(l, l->open[l->n_open - 1], true);
		ledger_commit(l);
		if (p->fate == FLYING)
			return p;
	}
	fail_msg("%s: the reserve has no end", l->where);
	return NULL;
}

static void nothing_moves_without_room(struct ledger *l, struct put *waiting)
{
	struct sb_journal_stats s;

	for (unsigned tick = 0; tick < 50; tick++) {
		struct put *e = ledger_put_events(l, 1, 1, 10);

		sb_fake_clock_advance(&l->clock, 100 * SB_NS_PER_MS);
		ledger_commit(l);
		assert_int_equal(e->fate, ABSENT);
		assert_int_equal(waiting->fate, FLYING);
	}
	sb_journal_get_stats(l->j, &s);
	assert_true(s.full && s.waiting > 0);
	assert_false(l->fatal);
}

/* Outcomes wait, in their order, as long as it takes; whoever must not wait is told so. */
static void wait_for_room(struct ledger *l, uint64_t seed)
{
	struct sb_journal_stats s;
	struct put *first, *second, *impatient;

	reopen(l);
	for (unsigned i = 0; i < 150; i++)
		ledger_put_events(l, 1, 4, 10);
	ledger_commit(l);
	l->disk->capacity = simdisk_used(l->disk);
	first = use_up_reserve(l);
	nothing_moves_without_room(l, first);
	second = ledger_put_outcome(l, l->open[0], false);
	impatient = ledger_put_impatient(l);
	ledger_commit(l);
	assert_int_equal(impatient->a.status, SB_APPEND_FULL);
	assert_int_equal(second->fate, FLYING);
	if (seed % 2) {
		l->disk->capacity = 0;
		sb_fake_clock_advance(&l->clock, SB_NS_PER_S);
		ledger_commit(l);
		assert_int_equal(first->fate, DURABLE);
		assert_int_equal(second->fate, DURABLE);
		assert_true(first->a.seq < second->a.seq);
		sb_journal_get_stats(l->j, &s);
		assert_int_equal(s.waiting, 0);
	}
}

static void test_outcomes_wait_when_the_reserve_is_used_up(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct ledger l;
		struct put *e;

		ledger_init(&l, seed);
		snprintf(l.where, sizeof(l.where), "seed %u, no room for outcomes", (unsigned)seed);
		wait_for_room(&l, seed);
		ledger_crash(&l, seed, false);
		l.disk->capacity = 0;
		reopen(&l);
		e = ledger_put_events(&l, 1, 1, 10);
		ledger_commit(&l);
		assert_int_equal(e->fate, DURABLE);
		ledger_done(&l);
	}
}

/* Where an event that is larger than a segment leaves no room for outcomes, it is refused. */
static void large_event_on(uint64_t capacity)
{
	struct ledger l;
	struct put *large;
	uint64_t before;

	ledger_init(&l, 1);
	snprintf(l.where, sizeof(l.where), "an event larger than a segment, %u bytes of disk", (unsigned)capacity);
	reopen(&l);
	for (unsigned i = 0; i < 40; i++)
		ledger_put_events(&l, 1, 4, 10);
	ledger_commit(&l);
	l.disk->capacity = simdisk_used(l.disk) + capacity;
	large = ledger_put_large(&l, 3 * l.conf.segment_bytes);
	ledger_commit(&l);
	before = l.durable;
	for (unsigned i = 0; i < 20; i++) {
		struct put *p = ledger_put_outcome(&l, l.open[0], false);

		ledger_commit(&l);
		if (p->fate != DURABLE)
			fail_msg("%s: the event %s, and outcome %u found no room", l.where, large->fate == DURABLE ? "was taken" : "was not taken", i);
	}
	assert_int_equal(l.durable, before + 20);
	ledger_crash(&l, 1, false);
	l.disk->capacity = 0;
	reopen(&l);
	ledger_done(&l);
}

static void test_a_large_event_leaves_room_for_outcomes(void **state)
{
	(void)state;
	for (uint64_t capacity = 0; capacity < 200 << 10; capacity += 2000)
		large_event_on(capacity);
}

/* Nobody sends events while the disk is said to be full: that there is room again shows without one. */
static void test_room_is_found_without_an_event(void **state)
{
	struct sb_journal_stats s;
	struct ledger l;
	struct put *e;

	(void)state;
	ledger_init(&l, 1);
	l.conf.min_free_bytes = 1 << 20;
	reopen(&l);
	l.disk->capacity = 1 << 20;
	sb_fake_clock_advance(&l.clock, 2 * SB_NS_PER_S);
	e = ledger_put_events(&l, 1, 1, 10);
	ledger_commit(&l);
	assert_int_equal(e->fate, ABSENT);
	sb_journal_get_stats(l.j, &s);
	assert_true(s.full);
	l.disk->capacity = 0;
	sb_fake_clock_advance(&l.clock, 2 * SB_NS_PER_S);
	sb_journal_pump(l.j);
	sb_journal_get_stats(l.j, &s);
	assert_false(s.full);
	ledger_done(&l);
}

/* A delivery that nobody finishes holds its segment and all behind it; its outcome lets them go, in order, crash or not. */
static void release_with_crash(uint64_t seed, uint64_t off_after)
{
	struct sb_journal_stats s;
	struct ledger l;
	struct due *straggler;

	ledger_init(&l, seed);
	snprintf(l.where, sizeof(l.where), "seed %u, power off %u after a straggler's outcome", (unsigned)seed, (unsigned)off_after);
	reopen(&l);
	straggler = &ledger_put_events(&l, 1, 1, 100)->ev[0].due[0];
	ledger_commit(&l);
	for (unsigned i = 0; i < 60; i++) {
		ledger_put_events(&l, 1, 2, 3000);
		ledger_commit(&l);
		while (l.n_open > 1)
			ledger_put_outcome(&l, l.open[l.open[0] == straggler], false);
		ledger_commit(&l);
	}
	sb_journal_get_stats(l.j, &s);
	assert_true(s.segments > 5);
	ledger_put_outcome(&l, straggler, false);
	l.disk->off_at = off_after ? l.disk->ops + off_after : 0;
	ledger_commit(&l);
	sb_journal_get_stats(l.j, &s);
	if (!off_after && s.segments > 2)
		fail_msg("%s: %u segments are left, %u deliveries open", l.where, (unsigned)s.segments, (unsigned)s.outstanding);
	ledger_crash(&l, seed * 100 + off_after, false);
	reopen(&l);
	ledger_done(&l);
}

static void test_segments_go_in_order(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 8; seed++)
		for (uint64_t off_after = 0; off_after < 20; off_after++)
			release_with_crash(seed, off_after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_call_fails_once_or_from_then_on),
		cmocka_unit_test(test_a_failed_sync_is_never_believed_again),
		cmocka_unit_test(test_a_new_segment_may_fail),
		cmocka_unit_test(test_a_name_that_may_not_last_ends_it),
		cmocka_unit_test(test_a_failed_group_is_not_read),
		cmocka_unit_test(test_short_writes_and_reads_go_on),
		cmocka_unit_test(test_a_full_disk_takes_outcomes_and_recovers),
		cmocka_unit_test(test_outcomes_wait_when_the_reserve_is_used_up),
		cmocka_unit_test(test_a_large_event_leaves_room_for_outcomes),
		cmocka_unit_test(test_room_is_found_without_an_event),
		cmocka_unit_test(test_segments_go_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
