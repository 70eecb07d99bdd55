/* SPDX-License-Identifier: Apache-2.0 */
/* The journal on a real folder: what went in is there after a restart. Crashes are simulated in test_crash.c. */
#include "tests/support/test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/base/event.h"
#include "broker/journal/segment.h"

static struct {
	char dir[64];
	struct sb_fake_clock clock;
	struct sb_journal *j;
	struct sb_mailbox home;
	struct sb_journal_conf conf;
	unsigned done, delivered;
	uint64_t last_dno;
	enum sb_append_status status;
} t;

static void open_journal(void)
{
	struct sb_err err;

	t.conf.dir = t.dir;
	if (sb_journal_open(&sb_vfs_system, &t.clock.clock, &t.conf, &t.j, &err) < 0)
		fail_msg("%s", err.msg);
}

static int setup(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	snprintf(t.dir, sizeof(t.dir), "/tmp/sb-journal-XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	sb_fake_clock_init(&t.clock, 1795508393000);
	t.conf = SB_JOURNAL_CONF;
	t.conf.segment_bytes = 64 << 10;
	t.conf.min_free_bytes = 0;
	sb_mailbox_init(&t.home, false);
	open_journal();
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
	sb_mailbox_done(&t.home);
	return nftw(t.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void append_done(struct sb_mail *m)
{
	struct sb_append *a = SB_CONTAINER(m, struct sb_append, mail);

	t.done++;
	t.status = a->status;
}

static void delivery_done(struct sb_mail *m)
{
	struct sb_handover *h = SB_CONTAINER(m, struct sb_handover, mail);

	assert_true(h->dno > t.last_dno); /* in the order of the journal */
	t.last_dno = h->dno;
	t.delivered++;
}

static void submit(struct sb_append *a)
{
	a->mail.run = append_done;
	a->home = &t.home;
	sb_journal_submit(t.j, a);
}

static void commit(struct sb_append *a)
{
	unsigned before = t.done;

	submit(a);
	while (sb_journal_pump(t.j))
		;
	sb_mailbox_drain(&t.home);
	assert_int_equal(t.done, before + 1);
}

/* One event owed to `target` under each of n rules. */
static uint64_t put_redrive(const char *letter, const char *target, uint32_t n, struct sb_handover *h)
{
	struct sb_append a = { .frames = SB_BUF(1 << 20) };
	struct sb_event *ev;
	struct sb_err err;
	struct sb_owed owed[8];
	char json[256];

	snprintf(json, sizeof(json), "{\"id\":\"e\",\"source\":\"s\",\"detail-type\":\"t\",\"detail\":{\"n\":%u},\"meta\":{\"k\":1}}", t.done);
	assert_int_equal(sb_event_parse(sb_slice_str(json), sb_name_str("default"), sb_name_str("shop"), &ev, &err), 0);
	ev->received_ms = 1795508393000;
	for (uint32_t i = 0; i < n; i++) {
		owed[i] = (struct sb_owed){ .rule = i ? "r2" : "r1", .target = target, .lane = i, .flags = i ? SB_OWED_INPUT : 0,
			.input = SB_SLICE("{\"in\":1}") };
		h[i] = (struct sb_handover){ .mail.run = delivery_done, .home = &t.home, .next = i + 1 < n ? &h[i + 1] : NULL };
	}
	assert_int_equal(sb_record_event(&a.frames, &(struct sb_event_record){ .ev = ev, .owed = owed, .n_owed = n, .generation = 1,
		.redrive_of = letter ? sb_slice_str(letter) : sb_slice(NULL, 0) }), 0);
	a.deliveries = n ? h : NULL;
	commit(&a);
	assert_int_equal(t.status, SB_APPEND_DURABLE);
	sb_buf_done(&a.frames);
	sb_event_unref(ev);
	return n ? h[0].dno : 0;
}

static uint64_t put_event(const char *target, uint32_t n, struct sb_handover *h)
{
	return put_redrive(NULL, target, n, h);
}

static uint64_t put_result(uint64_t dno, uint32_t route)
{
	struct sb_append a = { .frames = SB_BUF(1 << 20), .state = true };

	assert_int_equal(sb_record_result(&a.frames, &(struct sb_result_record){ .dno = dno, .route = route, .attempts = 1 }), 0);
	commit(&a);
	sb_buf_done(&a.frames);
	return a.seq;
}

static uint64_t put_dead(const struct sb_handover *h, bool forwarded)
{
	struct sb_append a = { .frames = SB_BUF(1 << 20), .state = true };

	assert_int_equal(sb_record_dead(&a.frames, &(struct sb_dead_record){ .dno = h->dno, .route = h->route, .id = SB_SLICE("r.0"),
		.event = SB_SLICE("{}"), .redrive_of = SB_SLICE("letter.0"), .forwarded = forwarded }), 0);
	commit(&a);
	sb_buf_done(&a.frames);
	return a.seq;
}

static void reopen(void)
{
	sb_journal_close(t.j);
	open_journal();
}

static void read_done(struct sb_mail *m)
{
	(void)m;
	t.done++;
}

static void read_backlog(struct sb_journal_read *r)
{
	r->mail.run = read_done;
	r->home = &t.home;
	sb_journal_read(t.j, r);
	sb_journal_reader_pump(t.j);
	sb_mailbox_drain(&t.home);
}

static void drop_items(struct sb_journal_read *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		sb_event_unref(r->item[i].ev);
		sb_pool_free(r->item[i].input);
		sb_pool_free((void *)r->item[i].letter.p);
	}
}

static void an_event_is_numbered_delivered_and_found_again(void **state)
{
	struct sb_handover h[2], h2[1];
	const struct sb_recovered_target *target;
	uint64_t dno;

	(void)state;
	dno = put_event("invoice", 2, h);
	assert_int_equal(h[1].dno, dno + 1);
	assert_int_equal(t.delivered, 2);
	assert_int_equal(h[0].at.segment, h[1].at.segment);
	put_event("trail", 1, h2);
	put_result(h[0].dno, h[0].route);
	reopen();
	assert_true(sb_recovery_done(sb_journal_recovery(t.j), h[0].dno));
	assert_false(sb_recovery_done(sb_journal_recovery(t.j), h[1].dno));
	target = sb_map_get(&sb_journal_recovery(t.j)->targets, SB_SLICE("invoice"));
	assert_non_null(target);
	assert_int_equal(target->n, 1);
	assert_int_equal(target->oldest_ms, 1795508393000);
	assert_int_equal(sb_journal_recovery(t.j)->torn_bytes, 0);
	assert_true(put_event("trail", 1, h) > h2[0].dno);
}

static void backlog_is_read_back_with_its_inputs(void **state)
{
	struct sb_handover h[2];
	struct sb_journal_read r = { .target = "invoice", .max_bytes = 1 << 20 };
	uint64_t first;

	(void)state;
	first = put_event("invoice", 2, h);
	r.from = h[0].at;
	put_event("trail", 1, h);
	put_event("invoice", 1, h);
	for (int restart = 0; restart < 2; restart++) {
		struct sb_position from = r.from;

		read_backlog(&r);
		assert_int_equal(r.n, 3);
		assert_true(r.end);
		assert_int_equal(r.item[0].dno, first);
		assert_null(r.item[0].input);
		assert_int_equal(r.item[1].ordinal, 1);
		assert_int_equal(r.item[1].lane, 1);
		assert_int_not_equal(r.item[1].route, r.item[0].route);
		assert_memory_equal(r.item[1].input, "{\"in\":1}", 8);
		assert_string_equal(r.item[0].rule, "r1");
		assert_true(sb_slice_eq(r.item[0].ev->id, SB_SLICE("e")));
		assert_int_equal(r.horizon, first + 4);
		drop_items(&r);
		r.from = from;
		r.min_dno = first + 1;
		r.until_dno = first + 2;
		read_backlog(&r);
		assert_int_equal(r.n, 1);
		assert_int_equal(r.horizon, first + 2);
		drop_items(&r);
		r.until_dno = 0;
		r.min_dno = 0;
		r.from = from;
		reopen();
	}
}

static void a_reader_that_had_caught_up_sees_what_came_before_the_next_segment(void **state)
{
	struct sb_journal_read r = { .target = "invoice", .max_bytes = 1 << 20 };
	struct sb_journal_stats s;
	struct sb_handover h[1];
	uint64_t next, last;

	(void)state;
	next = put_event("invoice", 1, h);
	r.from = h[0].at;
	read_backlog(&r);
	assert_true(r.end);
	drop_items(&r);
	do {
		last = put_event("invoice", 1, h);
		sb_journal_get_stats(t.j, &s);
	} while (s.segments < 3);
	for (next++; !r.end || next <= last;) {
		r.min_dno = r.horizon;
		read_backlog(&r);
		assert_int_equal(r.damaged, 0);
		for (unsigned i = 0; i < r.n; i++)
			assert_int_equal(r.item[i].dno, next++);
		drop_items(&r);
	}
}

/* `n` MiB of positions, which no read wants, over many segments. */
static void put_ballast(unsigned n)
{
	struct sb_append a = { .frames = SB_BUF(2 << 20), .state = true };
	char *text = calloc(1, 32 << 10);

	for (unsigned i = 0; i < 32; i++)
		sb_record_position(&a.frames, SB_SLICE("ballast"), sb_slice(text, 32 << 10));
	while (n--)
		commit(&a);
	sb_buf_done(&a.frames);
	free(text);
}

/* The one delivery of `rare` is far away. The one of `near` need not wait until it is found. */
static void a_long_search_lets_others_go_first(void **state)
{
	struct sb_journal_read rare = { .target = "rare", .max_bytes = 1 << 20, .home = &t.home, .mail.run = read_done };
	struct sb_journal_read near = { .target = "near", .max_bytes = 1 << 20, .home = &t.home, .mail.run = read_done };
	struct sb_handover h[1];
	unsigned before, turns = 0;
	uint64_t rare_dno;

	(void)state;
	t.conf.segment_bytes = 4 << 20;
	reopen();
	put_event("old", 1, h); /* holds all that follows */
	put_ballast(13);
	rare_dno = put_event("rare", 1, h);
	put_event("near", 1, h);
	near.from = h[0].at;
	before = t.done;
	sb_journal_read(t.j, &rare);
	sb_journal_read(t.j, &near);
	for (; t.done < before + 2; turns++) {
		assert_true(sb_journal_reader_pump(t.j));
		sb_mailbox_drain(&t.home);
		assert_int_equal(near.n, 1);
		assert_int_equal(rare.n, t.done - before - 1);
	}
	assert_int_equal(turns, 4); /* 4 MiB each */
	assert_int_equal(rare.item[0].dno, rare_dno);
	drop_items(&rare);
	drop_items(&near);
}

static void segments_that_owe_nothing_go_and_the_counts_stay(void **state)
{
	struct sb_journal_stats s;
	struct sb_handover h[2], old[1];
	struct sb_audit a;
	struct sb_err err;

	(void)state;
	put_event("late", 1, old);
	for (int i = 0; i < 2000; i++) {
		put_event("invoice", 1, h);
		put_result(h[0].dno, h[0].route);
	}
	sb_journal_get_stats(t.j, &s);
	assert_true(s.segments > 5); /* the oldest owes one delivery and holds the rest */
	assert_int_equal(s.outstanding, 1);
	put_result(old[0].dno, old[0].route);
	sb_journal_get_stats(t.j, &s);
	put_event("", 0, NULL);
	sb_journal_get_stats(t.j, &s);
	assert_true(s.segments <= 2);
	for (int restart = 0; restart < 2; restart++) {
		assert_int_equal(sb_journal_audit(&sb_vfs_system, t.dir, &a, &err), 0);
		if (!a.adds_up)
			fail_msg("%s", a.why_not);
		assert_int_equal(a.accepted, 2001);
		assert_int_equal(a.delivered, 2001);
		assert_int_equal(a.unmatched, 1);
		assert_int_equal(a.events, 2002);
		assert_int_equal(a.in_flight, 0);
		sb_audit_done(&a);
		reopen();
	}
}

static void uncounted(struct sb_mail *m)
{
	assert_int_equal(SB_CONTAINER(m, struct sb_append, mail)->status, SB_APPEND_DURABLE);
}

/* One group: an event delivered without the journal brings a route, then an EVENT brings the next one. */
static void events_delivered_without_the_journal_are_counted(void **state)
{
	const struct sb_direct_done done[] = { { "r1", "direct", 1, 70 }, { "r2", "direct", 2, 80 } };
	struct sb_direct_record rec = { .generation = 1, .origin = SB_SLICE("kafka"), .event_id = SB_SLICE("e1"),
		.position = SB_SLICE("t/0/41"), .done = done, .n = 2 };
	struct sb_append a = { .frames = SB_BUF(1 << 20), .state = true };
	struct sb_handover h[1];
	struct sb_audit au;
	struct sb_err err;

	(void)state;
	assert_int_equal(sb_record_direct(&a.frames, &rec), 0);
	rec.n = 0;
	assert_int_equal(sb_record_direct(&a.frames, &rec), 0);
	a.mail.run = uncounted;
	a.home = &t.home;
	sb_journal_submit(t.j, &a); /* not pumped: the event below joins the group */
	put_event("invoice", 1, h);
	put_result(h[0].dno, h[0].route);
	for (int restart = 0; restart < 3; restart++) {
		assert_int_equal(sb_journal_audit(&sb_vfs_system, t.dir, &au, &err), 0);
		if (!au.adds_up)
			fail_msg("%s", au.why_not);
		assert_int_equal(au.events, 3);
		assert_int_equal(au.accepted, 3);
		assert_int_equal(au.delivered, 3);
		assert_int_equal(au.unmatched, 1);
		for (size_t i = 0; i < au.n; i++)
			assert_int_equal(au.route[i].delivered, au.route[i].target[0] ? 1 : 0);
		sb_audit_done(&au);
		reopen();
	}
	sb_buf_done(&a.frames);
}

static void pauses_positions_attempts_and_generations_survive(void **state)
{
	struct sb_append a = { .frames = SB_BUF(1 << 20), .state = true };
	struct sb_handover h[1];
	const struct sb_recovered_attempt *at;
	const struct sb_slice *pos;
	uint8_t sha[32] = { 7 };

	(void)state;
	put_event("invoice", 1, h);
	sb_record_pause(&a.frames, SB_SLICE("target/invoice"), true);
	sb_record_pause(&a.frames, SB_SLICE("source/shop"), true);
	sb_record_pause(&a.frames, SB_SLICE("source/shop"), false);
	sb_record_position(&a.frames, SB_SLICE("kafka/t/0"), SB_SLICE("41"));
	sb_record_position(&a.frames, SB_SLICE("kafka/t/0"), SB_SLICE("42"));
	sb_record_generation(&a.frames, 3, sha, SB_SLICE("rules: []"));
	sb_record_attempt(&a.frames, &(struct sb_attempt_record){ .dno = h[0].dno, .attempts = 2, .due_wall_ms = 99, .reason = 3,
		.message = SB_SLICE("boom") });
	commit(&a);
	sb_buf_done(&a.frames);
	for (int restart = 0; restart < 3; restart++) {
		reopen();
		assert_non_null(sb_map_get(&sb_journal_recovery(t.j)->pauses, SB_SLICE("target/invoice")));
		assert_int_equal(sb_journal_recovery(t.j)->pauses.n, 1);
		pos = sb_map_get(&sb_journal_recovery(t.j)->positions, SB_SLICE("kafka/t/0"));
		assert_true(sb_slice_eq(*pos, SB_SLICE("42")));
		at = sb_recovery_attempt(sb_journal_recovery(t.j), h[0].dno);
		assert_non_null(at);
		assert_int_equal(at->attempts, 2);
		assert_string_equal(at->message, "boom");
	}
}

static int count_dead(void *arg, const struct sb_dead_record *d, uint64_t seq)
{
	assert_true(seq > 0);
	assert_true(sb_slice_eq(d->message, SB_SLICE("no")));
	(*(unsigned *)arg)++;
	return 0;
}

static void dead_letters_hold_their_segment_until_the_table_has_them(void **state)
{
	struct sb_append a = { .frames = SB_BUF(1 << 20), .state = true };
	struct sb_handover h[1], x[1];
	struct sb_journal_stats s;
	unsigned n = 0;
	struct sb_err err;

	(void)state;
	put_event("invoice", 1, h);
	sb_record_dead(&a.frames, &(struct sb_dead_record){ .dno = h[0].dno, .route = h[0].route, .id = SB_SLICE("d1"),
		.message = SB_SLICE("no"), .event = SB_SLICE("{}") });
	commit(&a);
	for (int i = 0; i < 500; i++) {
		put_event("trail", 1, x);
		put_result(x[0].dno, x[0].route);
	}
	sb_journal_get_stats(t.j, &s);
	assert_true(s.segments > 1);
	reopen();
	assert_int_equal(sb_recovery_dead(t.j, 0, count_dead, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(sb_recovery_dead(t.j, a.seq, count_dead, &n, &err), 0);
	assert_int_equal(n, 1);
	sb_journal_released(t.j, a.seq);
	sb_journal_pump(t.j);
	sb_journal_get_stats(t.j, &s);
	assert_int_equal(s.segments, 1);
	sb_buf_done(&a.frames);
}

/* The last frame of the segment, and how many there are. */
static enum sb_record_type last_frame(uint64_t segment, unsigned *ret_n)
{
	struct sb_segment_reader r;
	struct sb_frame_at f = { 0 };
	struct sb_err err;

	*ret_n = 0;
	assert_int_equal(sb_segment_open(&sb_vfs_system, t.dir, segment, &r, &err), 0);
	while (sb_segment_next(&r, UINT64_MAX, &f) == 1)
		++*ret_n;
	sb_segment_close(&r);
	return f.type;
}

static void a_clean_end_leaves_its_counts(void **state)
{
	struct sb_handover h[1];
	struct sb_audit a;
	struct sb_err err;
	unsigned open, closed;

	(void)state;
	put_event("invoice", 1, h);
	assert_int_equal(last_frame(1, &open), SB_REC_EVENT);
	sb_journal_close(t.j);
	assert_int_equal(last_frame(1, &closed), SB_REC_CHECKPOINT);
	assert_int_equal(closed, open + 2); /* with its GROUP */
	assert_int_equal(sb_journal_audit(&sb_vfs_system, t.dir, &a, &err), 0);
	if (!a.adds_up)
		fail_msg("%s", a.why_not);
	sb_audit_done(&a);
	open_journal();
	assert_int_equal(sb_journal_recovery(t.j)->torn_bytes, 0);
	assert_false(sb_recovery_done(sb_journal_recovery(t.j), h[0].dno));
}

static int is_delivered(void *arg, const struct sb_recovered_redrive *r)
{
	assert_true(sb_slice_eq(r->letter, SB_SLICE("letter.0")));
	assert_int_equal(r->state, SB_REDRIVE_DELIVERED);
	assert_int_equal(r->owed, 1);
	assert_int_equal(r->left, 0);
	(*(unsigned *)arg)++;
	return 0;
}

static void fill_segment(void)
{
	struct sb_handover x[1];
	uint64_t first = 0;

	do {
		put_event("trail", 1, x);
		put_result(x[0].dno, x[0].route);
		first = first ? first : x[0].at.segment;
	} while (x[0].at.segment == first);
}

static int take_fate(void *arg, const struct sb_recovered_redrive *r)
{
	*(struct sb_recovered_redrive *)arg = *r;
	return 0;
}

static void a_restart_knows_what_became_of_each_delivery_of_a_redrive(void **state)
{
	enum { OPEN, DELIVERED, DIED, PASSED_ON };
	static const struct {
		const char *what;
		int end[3];
		uint32_t left;
		enum sb_redrive_state want;
	} cases[] = {
		{ "nothing has ended", { OPEN, OPEN, OPEN }, 3, SB_REDRIVE_PENDING },
		{ "the first is delivered", { DELIVERED, OPEN, OPEN }, 2, SB_REDRIVE_PENDING },
		{ "the last is open", { DELIVERED, DELIVERED, OPEN }, 1, SB_REDRIVE_PENDING },
		{ "all are delivered", { DELIVERED, DELIVERED, DELIVERED }, 0, SB_REDRIVE_DELIVERED },
		{ "the last has died", { DELIVERED, DELIVERED, DIED }, 0, SB_REDRIVE_DEAD },
		{ "one has died, others are open", { OPEN, DIED, OPEN }, 2, SB_REDRIVE_DEAD },
		{ "passed on is as good as delivered", { PASSED_ON, DELIVERED, PASSED_ON }, 0, SB_REDRIVE_DELIVERED },
		{ "passed on, and one open", { PASSED_ON, OPEN, DELIVERED }, 1, SB_REDRIVE_PENDING },
	};
	struct sb_recovered_redrive got;
	struct sb_handover h[3];
	struct sb_err err;

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		put_redrive("letter.0", "invoice", 3, h);
		for (unsigned k = 0; k < 3; k++) {
			if (cases[i].end[k] == DELIVERED)
				put_result(h[k].dno, h[k].route);
			else if (cases[i].end[k] != OPEN)
				put_dead(&h[k], cases[i].end[k] == PASSED_ON);
		}
		reopen();
		assert_int_equal(sb_recovery_redrives(t.j, take_fate, &got, &err), 0); /* the last one stays */
		if (got.state != cases[i].want || got.left != cases[i].left || got.owed != 3 || got.first_dno != h[0].dno)
			fail_msg("row %zu: %s: state %d, %u left", i, cases[i].what, (int)got.state, got.left);
	}
}

static void a_letter_that_was_passed_on_holds_its_segment_too(void **state)
{
	struct sb_recovered_redrive got = { 0 };
	struct sb_handover h[1];
	struct sb_journal_stats s;
	struct sb_err err;
	uint64_t seq;

	(void)state;
	put_redrive("letter.0", "invoice", 1, h);
	fill_segment();
	seq = put_dead(h, true);
	fill_segment();
	sb_journal_released(t.j, seq - 1);
	sb_journal_pump(t.j);
	reopen();
	assert_int_equal(sb_recovery_redrives(t.j, take_fate, &got, &err), 0);
	assert_int_equal(got.owed, 1);
	assert_int_equal(got.state, SB_REDRIVE_DELIVERED);
	sb_journal_released(t.j, seq);
	sb_journal_pump(t.j);
	sb_journal_get_stats(t.j, &s);
	assert_int_equal(s.segments, 1);
}

/* Only its EVENT names the letter: gone too early, a crash would bring the letter back although it was delivered. */
static void a_delivered_redrive_holds_its_segment_until_the_letter_is_gone(void **state)
{
	struct sb_handover h[1];
	struct sb_journal_stats s;
	unsigned n = 0;
	uint64_t seq;
	struct sb_err err;

	(void)state;
	put_redrive("letter.0", "invoice", 1, h);
	fill_segment();
	seq = put_result(h[0].dno, h[0].route); /* in another segment than the EVENT */
	fill_segment();
	sb_journal_released(t.j, seq - 1);
	for (unsigned restart = 0; restart < 2; restart++) {
		sb_journal_pump(t.j);
		reopen();
		assert_int_equal(sb_recovery_redrives(t.j, is_delivered, &n, &err), 0);
		assert_int_equal(n, restart + 1);
	}
	sb_journal_released(t.j, seq);
	sb_journal_pump(t.j);
	sb_journal_get_stats(t.j, &s);
	assert_int_equal(s.segments, 1);
}

static void write_file(const char *path, const char *p, size_t n)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void a_tail_that_was_cut_anywhere_is_cut_back_to_whole_groups(void **state)
{
	struct sb_handover h[2], h2[1];
	char path[128], next[128], *text;
	uint64_t first, second, start, end;
	struct sb_journal_stats s;
	FILE *f;

	(void)state;
	first = put_event("invoice", 2, h);
	second = put_event("invoice", 1, h2);
	sb_journal_get_stats(t.j, &s);
	snprintf(path, sizeof(path), "%s/%020d.seg", t.dir, 1);
	snprintf(next, sizeof(next), "%s/%020d.seg", t.dir, 2);
	text = calloc(1, 64 << 10);
	f = fopen(path, "re");
	assert_int_equal(fread(text, 1, 64 << 10, f), 64 << 10);
	fclose(f);
	start = h2[0].at.offset; /* of the EVENT; its GROUP frame is 48 bytes before */
	end = start + 300;
	for (uint64_t cut = start - 48; cut < end; cut += 3) {
		const struct sb_recovery *r;

		sb_journal_close(t.j);
		remove(next);
		write_file(path, text, cut);
		open_journal();
		r = sb_journal_recovery(t.j);
		assert_int_equal(r->corrupt_records, 0);
		if (r->next_dno != second && r->next_dno != second + 1)
			fail_msg("cut at %d: next dno %d", (int)cut, (int)r->next_dno);
		assert_false(sb_recovery_done(r, first));
	}
	assert_int_equal(sb_journal_recovery(t.j)->next_dno, second + 1);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_event_is_numbered_delivered_and_found_again, setup, teardown),
		cmocka_unit_test_setup_teardown(backlog_is_read_back_with_its_inputs, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reader_that_had_caught_up_sees_what_came_before_the_next_segment, setup, teardown),
		cmocka_unit_test_setup_teardown(a_long_search_lets_others_go_first, setup, teardown),
		cmocka_unit_test_setup_teardown(segments_that_owe_nothing_go_and_the_counts_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(events_delivered_without_the_journal_are_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(pauses_positions_attempts_and_generations_survive, setup, teardown),
		cmocka_unit_test_setup_teardown(dead_letters_hold_their_segment_until_the_table_has_them, setup, teardown),
		cmocka_unit_test_setup_teardown(a_clean_end_leaves_its_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(a_delivered_redrive_holds_its_segment_until_the_letter_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(a_restart_knows_what_became_of_each_delivery_of_a_redrive, setup, teardown),
		cmocka_unit_test_setup_teardown(a_letter_that_was_passed_on_holds_its_segment_too, setup, teardown),
		cmocka_unit_test_setup_teardown(a_tail_that_was_cut_anywhere_is_cut_back_to_whole_groups, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
