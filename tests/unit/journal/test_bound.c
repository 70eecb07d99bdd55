/* SPDX-License-Identifier: Apache-2.0 */
/* A backlog is a place in a file: a million deliveries outstanding cost bits, not memory. */
#include "tests/support/test.h"

#include <ftw.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/event.h"
#include "broker/journal/journal.h"

#define EVENTS 1000
#define OWED 1000

static char dir[64];
static struct sb_fake_clock fake_clock;
static struct sb_mailbox home;
static unsigned durable;

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/sb-bound-XXXXXX");
	sb_fake_clock_init(&fake_clock, 1795508393000);
	sb_fake_clock_advance(&fake_clock, SB_NS_PER_S);
	return mkdtemp(dir) ? sb_mailbox_init(&home, false) : -1;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	sb_mailbox_done(&home);
	return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void on_append(struct sb_mail *m)
{
	struct sb_append *a = SB_CONTAINER(m, struct sb_append, mail);

	durable += a->status == SB_APPEND_DURABLE;
	m->run = on_append;
}

static struct sb_journal *open_journal(void)
{
	struct sb_journal_conf conf = SB_JOURNAL_CONF;
	struct sb_journal *j;
	struct sb_err err;

	conf.dir = dir;
	conf.segment_bytes = 8 << 20;
	conf.min_free_bytes = 0;
	if (sb_journal_open(&sb_vfs_system, &fake_clock.clock, &conf, &j, &err) < 0)
		fail_msg("%s", err.msg);
	return j;
}

static size_t memory(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static void fill(struct sb_journal *j, struct sb_append *a)
{
	struct sb_owed *owed = sb_xcalloc(OWED * sizeof(*owed));
	struct sb_event *ev;
	struct sb_err err;

	assert_int_equal(sb_event_parse(SB_SLICE("{\"id\":\"e\"}"), sb_name_str("b"), sb_name_str("s"), &ev, &err), 0);
	for (unsigned i = 0; i < OWED; i++)
		owed[i] = (struct sb_owed){ .rule = "r", .target = "t" };
	assert_int_equal(sb_record_event(&a->frames, &(struct sb_event_record){ .ev = ev, .owed = owed, .n_owed = OWED }), 0);
	for (unsigned i = 0; i < EVENTS; i++) {
		sb_journal_submit(j, a);
		while (sb_journal_pump(j))
			;
		sb_mailbox_drain(&home);
	}
	sb_event_unref(ev);
	free(owed);
}

static void test_a_million_deliveries_are_bits(void **state)
{
	struct sb_append a = { .mail.run = on_append, .home = &home, .frames = SB_BUF(1 << 20) };
	size_t before = memory(), writing, recovered;
	const struct sb_recovered_target *t;
	struct sb_journal *j = open_journal();

	(void)state;
	fill(j, &a);
	assert_int_equal(durable, EVENTS);
	writing = memory() - before;
	sb_journal_close(j);
	sb_buf_done(&a.frames);
	before = memory();
	j = open_journal();
	recovered = memory() - before;
	t = sb_map_get(&sb_journal_recovery(j)->targets, SB_SLICE("t"));
	assert_non_null(t);
	assert_int_equal(t->n, (uint64_t)EVENTS * OWED);
	/* two sets of bits are 250 kB; the rest is the group's buffer and a window */
	if (writing > 2u << 20 || recovered > 2u << 20)
		fail_msg("%zu bytes while writing, %zu after recovery", writing, recovered);
	sb_journal_close(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_million_deliveries_are_bits, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
