/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power cuts on a simulated disk, with a ledger beside it. Whatever was reported durable must be there after any crash that the
 * disk could have had, whole and once; numbers that were reported are never given again. A journal that skips fdatasync, or
 * reports before it writes, must fail here: tests/fault/mutant runs this program on both.
 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/base/event.h"
#include "broker/journal/journal.h"
#include "tests/support/simdisk.h"

#define MAX_DELIVERIES 4096
#define LIVES 4
#define SEEDS 400

enum fate { FREE, OWED, ASKED, DONE }; /* ASKED: a result was submitted, and not reported */

static struct {
	struct simdisk *disk;
	struct sb_fake_clock clock;
	struct sb_mailbox home;
	struct sb_journal *j;
	struct sb_rand rand;
	enum fate fate[MAX_DELIVERIES];
	uint32_t route[MAX_DELIVERIES];
	uint64_t highest;
	bool broken;
	uint64_t seed;
} t;

struct entry {
	struct sb_append append;
	struct sb_handover h[3];
	unsigned n;
	uint64_t result; /* dno; 0: an event */
};

static void on_delivery(struct sb_mail *m)
{
	(void)m;
}

static void on_append(struct sb_mail *m)
{
	struct sb_append *a = SB_CONTAINER(m, struct sb_append, mail);
	struct entry *e = SB_CONTAINER(a, struct entry, append);

	if (a->status != SB_APPEND_DURABLE) {
		t.broken = true;
	} else if (e->result) {
		t.fate[e->result] = DONE;
	} else {
		for (unsigned i = 0; i < e->n; i++) {
			if (e->h[i].dno >= MAX_DELIVERIES || t.fate[e->h[i].dno] != FREE)
				fail_msg("seed %d: delivery number %d was given before", (int)t.seed, (int)e->h[i].dno);
			t.fate[e->h[i].dno] = OWED;
			t.route[e->h[i].dno] = e->h[i].route;
			t.highest = SB_MAX(t.highest, e->h[i].dno);
		}
	}
	sb_buf_done(&a->frames);
}

static void submit(struct entry *e)
{
	e->append.mail.run = on_append;
	e->append.home = &t.home;
	sb_journal_submit(t.j, &e->append);
}

static void put_event(struct entry *e)
{
	struct sb_owed owed[3];
	struct sb_event *ev;
	struct sb_err err;
	char json[400];

	*e = (struct entry){ .append.frames = SB_BUF(1 << 20), .n = (unsigned)sb_rand_below(&t.rand, 4) };
	snprintf(json, sizeof(json), "{\"id\":\"e\",\"detail\":{\"pad\":\"%.*s\"}}", (int)sb_rand_below(&t.rand, 300),
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	assert_int_equal(sb_event_parse(sb_slice_str(json), sb_name_str("default"), sb_name_str("s"), &ev, &err), 0);
	for (unsigned i = 0; i < e->n; i++) {
		owed[i] = (struct sb_owed){ .rule = i == 0 ? "a" : i == 1 ? "b" : "c", .target = "t" };
		e->h[i] = (struct sb_handover){ .mail.run = on_delivery, .home = &t.home, .next = i + 1 < e->n ? &e->h[i + 1] : NULL };
	}
	e->append.deliveries = e->n ? e->h : NULL;
	assert_int_equal(sb_record_event(&e->append.frames, &(struct sb_event_record){ .ev = ev, .owed = owed, .n_owed = e->n }), 0);
	sb_event_unref(ev);
	submit(e);
}

static bool put_result(struct entry *e)
{
	uint64_t dno = t.highest ? 1 + sb_rand_below(&t.rand, t.highest) : 0;

	if (!dno || t.fate[dno] != OWED || t.route[dno] == UINT32_MAX)
		return false;
	*e = (struct entry){ .append = { .frames = SB_BUF(1 << 20), .state = true }, .result = dno };
	t.fate[dno] = ASKED;
	assert_int_equal(sb_record_result(&e->append.frames, &(struct sb_result_record){ .dno = dno, .route = t.route[dno] }), 0);
	submit(e);
	return true;
}

/* A few appends in one group. */
static void one_group(void)
{
	struct entry e[4];
	size_t n = 1 + sb_rand_below(&t.rand, SB_LEN(e)), made = 0;

	while (made < n)
		if (sb_rand_below(&t.rand, 2) || !put_result(&e[made]))
			put_event(&e[made++]);
		else
			made++;
	while (sb_journal_pump(t.j))
		;
	sb_mailbox_drain(&t.home);
}

static int open_journal(struct sb_err *err)
{
	struct sb_journal_conf conf = SB_JOURNAL_CONF;

	conf.dir = "/j";
	conf.segment_bytes = 16 << 10;
	conf.min_free_bytes = 0;
	return sb_journal_open(&t.disk->vfs, &t.clock.clock, &conf, &t.j, err);
}

static void on_read(struct sb_mail *m)
{
	(void)m;
}

/* What can be read back is just what is owed. */
static void check_backlog(void)
{
	const struct sb_recovery *r = sb_journal_recovery(t.j);
	struct sb_journal_read read = { .mail.run = on_read, .home = &t.home, .target = "t", .max_bytes = 1 << 20 };
	static bool seen[MAX_DELIVERIES];

	memset(seen, 0, sizeof(seen));
	do {
		read.mail.run = on_read;
		sb_journal_read(t.j, &read);
		sb_journal_reader_pump(t.j);
		sb_mailbox_drain(&t.home);
		for (unsigned i = 0; i < read.n; i++) {
			if (read.item[i].dno >= MAX_DELIVERIES || seen[read.item[i].dno])
				fail_msg("seed %d: delivery %d is read twice", (int)t.seed, (int)read.item[i].dno);
			seen[read.item[i].dno] = true;
			sb_event_unref(read.item[i].ev);
		}
		read.min_dno = read.horizon;
	} while (!read.end && !t.disk->off);
	if (t.disk->off)
		return; /* the power went while we looked */
	for (uint64_t d = 1; d <= t.highest; d++) {
		if (t.fate[d] == OWED && (sb_recovery_done(r, d) || !seen[d]))
			fail_msg("seed %d: delivery %d was acknowledged and is lost", (int)t.seed, (int)d);
		if (t.fate[d] == DONE && !sb_recovery_done(r, d))
			fail_msg("seed %d: the result of delivery %d is lost", (int)t.seed, (int)d);
		if (t.fate[d] == ASKED)
			t.fate[d] = sb_recovery_done(r, d) ? DONE : OWED;
	}
	if (r->next_dno <= t.highest)
		fail_msg("seed %d: number %d would be given again", (int)t.seed, (int)r->next_dno);
	/* Events that were stored and not reported took numbers, too. */
	for (uint64_t d = t.highest + 1; d < r->next_dno && d < MAX_DELIVERIES; d++) {
		t.fate[d] = OWED;
		t.route[d] = UINT32_MAX; /* nobody was told */
	}
	t.highest = SB_MAX(t.highest, r->next_dno - 1);
}

static void check_audit(void)
{
	struct sb_audit a;
	struct sb_err err;

	if (sb_journal_audit(&t.disk->vfs, "/j", &a, &err) < 0 || !a.adds_up || a.corrupt_records)
		fail_msg("seed %d: the audit does not add up: %s", (int)t.seed, a.why_not);
	sb_audit_done(&a);
}

static void one_life(bool last)
{
	struct sb_err err;

	if (open_journal(&err) < 0) {
		if (!t.disk->off)
			fail_msg("seed %d: %s", (int)t.seed, err.msg);
		return;
	}
	if (t.disk->off) {
		sb_journal_close(t.j); /* the power went after the last thing that opening needed */
		return;
	}
	check_backlog();
	if (last)
		check_audit();
	t.broken = false;
	for (int i = 0; i < 40 && !t.broken && t.highest < MAX_DELIVERIES - 64; i++)
		one_group();
	sb_journal_close(t.j);
	sb_mailbox_drain(&t.home);
}

static void one_seed(uint64_t seed)
{
	memset(&t, 0, sizeof(t));
	t.seed = seed;
	sb_rand_seed(&t.rand, seed);
	sb_fake_clock_init(&t.clock, 1795508393000);
	sb_mailbox_init(&t.home, false);
	t.disk = simdisk_new(seed);
	for (int life = 0; life < LIVES; life++) {
		t.disk->off_at = t.disk->ops + 1 + sb_rand_below(&t.rand, 120);
		one_life(false);
		if (!t.disk->off)
			simdisk_power_off(t.disk);
		simdisk_crash(t.disk, seed * 31 + (uint64_t)life, seed & 1);
	}
	t.disk->off_at = 0;
	one_life(true);
	sb_mailbox_drain(&t.home);
	sb_mailbox_done(&t.home);
	t.disk = simdisk_free(t.disk);
}

static void what_was_reported_durable_survives_every_crash(void **state)
{
	const char *only = getenv("SB_SEED");

	(void)state;
	if (only) {
		one_seed(strtoull(only, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		one_seed(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_reported_durable_survives_every_crash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
