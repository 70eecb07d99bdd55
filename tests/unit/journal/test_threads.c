/* SPDX-License-Identifier: Apache-2.0 */
/* The journal with its two threads, on a real folder; whether there is room on the disk is for the test to say. */
#include "tests/support/test.h"

#include <errno.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/base/event.h"
#include "broker/journal/journal.h"

static struct {
	char dir[64];
	struct sb_vfs vfs;
	struct sb_vfs_ops ops;
	atomic_bool no_room;
	struct sb_journal *j;
	struct sb_mailbox home;
	unsigned durable, full, failed, delivered;
} t;

static int allocate(struct sb_file *f, uint64_t size)
{
	if (!atomic_load(&t.no_room))
		return sb_vfs_system.ops->allocate(f, size);
	errno = ENOSPC;
	return -1;
}

static int setup(void **state)
{
	struct sb_journal_conf conf = SB_JOURNAL_CONF;
	struct sb_err err;

	(void)state;
	memset(&t, 0, sizeof(t));
	snprintf(t.dir, sizeof(t.dir), "/tmp/sb-threads-XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	t.ops = *sb_vfs_system.ops;
	t.ops.allocate = allocate;
	t.vfs.ops = &t.ops;
	conf.dir = t.dir;
	conf.segment_bytes = 64 << 10;
	conf.min_free_bytes = 0;
	assert_int_equal(sb_mailbox_init(&t.home, true), 0);
	if (sb_journal_open(&t.vfs, &sb_clock_system, &conf, &t.j, &err) < 0 || sb_journal_start(t.j, &err) < 0)
		fail_msg("%s", err.msg);
	return 0;
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
	sb_journal_close(t.j);
	sb_mailbox_drain(&t.home);
	sb_mailbox_done(&t.home);
	return nftw(t.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ------------------------------------------------------------------------------------------------ appends */

static void came_home(struct sb_mail *m)
{
	switch (SB_CONTAINER(m, struct sb_append, mail)->status) {
	case SB_APPEND_DURABLE: t.durable++; return;
	case SB_APPEND_FULL: t.full++; return;
	case SB_APPEND_FAILED: t.failed++; return;
	}
}

static void delivered(struct sb_mail *m)
{
	(void)m;
	t.delivered++;
}

/* 20 kB of state. */
static void fill_position(struct sb_append *a)
{
	char *text = calloc(1, 20000);

	*a = (struct sb_append){ .frames = SB_BUF(1 << 20), .state = true };
	assert_int_equal(sb_record_position(&a->frames, SB_SLICE("feed"), sb_slice(text, 20000)), 0);
	free(text);
}

static void fill_event(struct sb_append *a, struct sb_handover *h)
{
	struct sb_owed owed = { .rule = "r", .target = "t" };
	struct sb_event *ev;
	struct sb_err err;

	*a = (struct sb_append){ .frames = SB_BUF(1 << 20), .deliveries = h };
	*h = (struct sb_handover){ .mail.run = delivered, .home = &t.home };
	assert_int_equal(sb_event_parse(SB_SLICE("{\"id\":\"e\"}"), sb_name_str("b"), sb_name_str("s"), &ev, &err), 0);
	assert_int_equal(sb_record_event(&a->frames, &(struct sb_event_record){ .ev = ev, .owed = &owed, .n_owed = 1 }), 0);
	sb_event_unref(ev);
}

static void submit(struct sb_append *a)
{
	a->mail.run = came_home;
	a->home = &t.home;
	sb_journal_submit(t.j, a);
}

static void wait_home(const unsigned *count, unsigned until)
{
	while (*count < until) {
		sb_mailbox_wait(&t.home);
		sb_mailbox_drain(&t.home);
	}
}

static bool one_waits(void)
{
	struct sb_journal_stats s;

	sb_journal_get_stats(t.j, &s);
	return s.waiting > 0;
}

/* ------------------------------------------------------------------------------------------------ stories */

static void test_an_event_comes_home_and_is_read_back(void **state)
{
	struct sb_journal_read *r = calloc(1, sizeof(*r));
	struct sb_handover h;
	struct sb_append a;

	(void)state;
	fill_event(&a, &h);
	submit(&a);
	wait_home(&t.durable, 1);
	wait_home(&t.delivered, 1);
	*r = (struct sb_journal_read){ .mail.run = delivered, .home = &t.home, .target = "t", .max_bytes = 1000 };
	sb_journal_read(t.j, r);
	wait_home(&t.delivered, 2);
	assert_int_equal(r->n, 1);
	assert_int_equal(r->item[0].dno, h.dno);
	sb_event_unref(r->item[0].ev);
	free(r);
	sb_buf_done(&a.frames);
}

/* One append at a time until one waits. */
static unsigned use_up_room(struct sb_append *a, unsigned max)
{
	for (unsigned i = 0; i < max; i++) {
		fill_position(&a[i]);
		submit(&a[i]);
		while (t.durable == i) {
			if (one_waits())
				return i + 1;
			sb_mailbox_wait_ms(&t.home, 20);
			sb_mailbox_drain(&t.home);
		}
	}
	fail_msg("there is always room");
	return 0;
}

static void test_the_writer_looks_for_room_by_itself(void **state)
{
	struct sb_append a[16], event;
	struct sb_handover h;
	unsigned n;

	(void)state;
	fill_event(&event, &h);
	submit(&event); /* owed: its segment and all behind it stay */
	wait_home(&t.durable, 1);
	wait_home(&t.delivered, 1);
	t.durable = 0;
	atomic_store(&t.no_room, true);
	n = use_up_room(a, SB_LEN(a));
	atomic_store(&t.no_room, false);
	wait_home(&t.durable, n); /* nobody sends anything */
	assert_int_equal(t.failed + t.full, 0);
	for (unsigned i = 0; i < n; i++)
		sb_buf_done(&a[i].frames);
	sb_buf_done(&event.frames);
}

/* Whoever stops does not wait for room. */
static void test_what_waits_goes_home_at_the_end(void **state)
{
	struct sb_append a[16], event;
	struct sb_handover h;
	unsigned n;

	(void)state;
	fill_event(&event, &h);
	submit(&event);
	wait_home(&t.durable, 1);
	wait_home(&t.delivered, 1);
	t.durable = 0;
	atomic_store(&t.no_room, true);
	n = use_up_room(a, SB_LEN(a));
	sb_journal_stop(t.j);
	sb_journal_released(t.j, 1); /* still heard */
	sb_mailbox_drain(&t.home);
	assert_int_equal(t.failed, 1);
	for (unsigned i = 0; i < n; i++)
		sb_buf_done(&a[i].frames);
	sb_buf_done(&event.frames);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_an_event_comes_home_and_is_read_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_writer_looks_for_room_by_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_waits_goes_home_at_the_end, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
