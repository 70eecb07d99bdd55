/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are not as they were written: cut anywhere, or with a bit changed. Only what is damaged is lost, and it is counted. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/journal/segment.h"
#include "tests/unit/journal/compare.h"

#define GROUP_BYTES 48 /* of a GROUP frame */
#ifdef __SANITIZE_ADDRESS__
#define FLIPS 100 /* it looks for other things, and slowly */
#else
#define FLIPS 400
#endif

/* A journal with a history, and its last group: where it lies, and which appends are in it. */
struct tale {
	struct ledger l;
	struct put *last;
	uint64_t segment, start, end;
	uint64_t last_dno, last_seq; /* before it */
};

static void path_of(uint64_t segment, char path[64])
{
	snprintf(path, 64, "/j/%020" PRIu64 ".seg", segment);
}

/* Its outcome lets no segment go: a cut that takes the outcome could not have happened after that. */
static struct due *youngest_open(const struct ledger *l)
{
	struct due *d = l->open[0];

	for (size_t i = 1; i < l->n_open; i++)
		if (l->open[i]->dno > d->dno)
			d = l->open[i];
	return d;
}

static void tale_tell(struct tale *t, uint64_t seed)
{
	struct ledger *l = &t->l;

	ledger_init(l, seed);
	snprintf(l->where, sizeof(l->where), "seed %u", (unsigned)seed);
	assert_int_equal(ledger_open(l), 0);
	ledger_play(l, 40);
	t->last_dno = l->last_dno;
	t->last_seq = l->last_seq;
	t->last = ledger_put_events(l, 2, 3, 200);
	ledger_put_outcome(l, youngest_open(l), true);
	ledger_put_outcome(l, youngest_open(l), false);
	ledger_commit(l);
	t->segment = t->last->ev[0].due[0].h.at.segment;
	t->start = t->last->ev[0].due[0].h.at.offset - GROUP_BYTES;
	t->end = t->start + GROUP_BYTES;
	for (const struct put *p = t->last; p; p = p->next)
		t->end += p->a.frames.len;
}

/* ------------------------------------------------------------------------------------------------ cut */

/* Whether the last group is there is to be found out. */
static void doubt_last_group(struct tale *t)
{
	t->l.last_dno = t->last_dno;
	t->l.last_seq = t->last_seq;
	for (struct put *p = t->last; p; p = p->next) {
		p->fate = MAYBE;
		if (p->finishes)
			p->finishes->finish = p;
	}
}

static void open_cut(struct tale *t, uint64_t cut, bool zeros)
{
	struct ledger *l = &t->l;
	struct simdisk *whole = l->disk;
	char path[64];

	path_of(t->segment, path);
	snprintf(l->where, sizeof(l->where), "cut at %u of %u%s", (unsigned)(cut - t->start), (unsigned)(t->end - t->start),
		zeros ? ", zeros behind it" : "");
	l->disk = simdisk_clone(whole);
	simdisk_cut(l->disk, path, cut);
	if (zeros)
		simdisk_cut(l->disk, path, (uint64_t)simdisk_file_size(whole, path));
	doubt_last_group(t);
	if (ledger_open(l) < 0)
		fail_msg("%s: cannot be opened", l->where);
	/* the last record ends in zeros: cut there and filled up again, it is whole */
	for (const struct put *p = t->last; p; p = p->next)
		if (p->fate != t->last->fate || (p->fate == DURABLE && cut < t->end - (zeros ? 64 : 0)) ||
		    (p->fate == ABSENT && cut == t->end))
			ledger_broken(l, "the last group is there although it was cut, or the other way round", p->number);
	ledger_close(l);
	simdisk_free(l->disk);
	l->disk = whole;
}

static void test_cut_at_every_byte_of_the_last_group(void **state)
{
	struct tale t;

	(void)state;
	tale_tell(&t, 1);
	ledger_kill(&t.l);
	for (uint64_t cut = t.start; cut <= t.end; cut++)
		for (unsigned zeros = 0; zeros < 2; zeros++)
			open_cut(&t, cut, zeros);
	ledger_done(&t.l);
}

/* ------------------------------------------------------------------------------------------------ bits */

struct harm {
	const struct ledger *l;
	uint64_t segment;
	unsigned missing, again, elsewhere; /* owed and not there; there although it was finished; missing from other segments */
};

static void see_item(void *arg, const struct sb_backlog_item *it, unsigned target)
{
	struct harm *h = arg;
	const struct happening *e = event_of_item(h->l, it);

	if (!e || e->due[it->ordinal].target != target || e->due[it->ordinal].dno != it->dno)
		ledger_broken(h->l, "a delivery is not as it was", it->dno);
	e->due[it->ordinal].seen = true;
	h->again += e->due[it->ordinal].finish != NULL;
}

static void count_harm(struct harm *h, struct sb_journal *j)
{
	for (unsigned i = 0; i < h->l->n_events; i++)
		for (uint32_t k = 0; k < h->l->event[i]->n_owed; k++)
			h->l->event[i]->due[k].seen = false;
	each_owed(j, see_item, h);
	for (unsigned i = 0; i < h->l->n_events; i++)
		for (uint32_t k = 0; k < h->l->event[i]->n_owed; k++) {
			const struct due *d = &h->l->event[i]->due[k];

			if (d->put->fate == DURABLE && !d->finish && !d->seen) {
				h->missing++;
				h->elsewhere += d->h.at.segment != h->segment;
			}
		}
}

static uint64_t counted(const struct ledger *l, struct sb_journal *j)
{
	const struct sb_recovery *r = sb_journal_recovery(j);
	struct sb_audit a;
	struct sb_err err;

	if (sb_journal_audit(&l->disk->vfs, l->conf.dir, &a, &err) == 0)
		sb_audit_done(&a);
	return r->corrupt_records + r->torn_bytes;
}

/* Opens a copy of the disk with one bit changed. */
static void open_flipped(struct tale *t, uint64_t segment, uint64_t bit)
{
	struct harm h = { .l = &t->l, .segment = segment };
	bool header = bit / 8 < SB_SEGMENT_HEADER, last = segment == t->segment && bit / 8 >= t->start;
	struct simdisk *d = simdisk_clone(t->l.disk);
	struct sb_journal *j;
	struct sb_err err;
	char path[64];

	snprintf(t->l.where, sizeof(t->l.where), "segment %u, bit %u of byte %u", (unsigned)segment, (unsigned)bit % 8,
		(unsigned)(bit / 8));
	path_of(segment, path);
	simdisk_flip(d, path, bit);
	if (sb_journal_open(&d->vfs, &t->l.clock.clock, &t->l.conf, &j, &err) < 0)
		ledger_broken(&t->l, err.msg, 0);
	count_harm(&h, j);
	if (h.elsewhere || (!last && (h.missing > 4 || h.again > 1)) || (header && h.missing + h.again))
		ledger_broken(&t->l, "more is lost than what is damaged", h.missing + h.again);
	if ((header || h.missing || h.again) && !counted(&t->l, j))
		ledger_broken(&t->l, "damage was not counted", h.missing + h.again);
	sb_journal_close(j);
	simdisk_free(d);
}

/* A segment that is there, and a byte in it that matters. */
static void open_flipped_somewhere(struct tale *t, struct sb_rand *rand, bool in_header)
{
	uint64_t segment, end;
	char path[64];

	do {
		segment = 1 + sb_rand_below(rand, t->segment);
		path_of(segment, path);
	} while (simdisk_file_size(t->l.disk, path) < 0);
	end = segment == t->segment ? t->end : (uint64_t)simdisk_file_size(t->l.disk, path);
	open_flipped(t, segment,
		in_header ? sb_rand_below(rand, (uint64_t)SB_SEGMENT_HEADER * 8) : (SB_SEGMENT_HEADER + sb_rand_below(rand, end - SB_SEGMENT_HEADER)) * 8 +
								  sb_rand_below(rand, 8));
}

static void test_any_bit_may_be_wrong(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct tale t;
		struct sb_rand rand;

		tale_tell(&t, seed);
		ledger_kill(&t.l);
		sb_rand_seed(&rand, seed);
		for (unsigned i = 0; i < FLIPS; i++)
			open_flipped_somewhere(&t, &rand, i % 8 == 0);
		ledger_done(&t.l);
	}
}

/* No bit of a block is as it was. */
static void lose_block(struct simdisk *d, const char *path, unsigned copy)
{
	for (uint64_t bit = 0; bit < SB_SEGMENT_BLOCK * 8; bit += 3)
		simdisk_flip(d, path, (uint64_t)copy * SB_SEGMENT_BLOCK * 8 + bit);
}

/* One copy of the header is enough, and makes the other one whole again. */
static void test_a_header_mends_itself(void **state)
{
	struct tale t;

	(void)state;
	tale_tell(&t, 4);
	ledger_kill(&t.l);
	for (unsigned copy = 0; copy < SB_SEGMENT_COPIES; copy++) {
		struct harm h = { .l = &t.l };
		struct simdisk *d = simdisk_clone(t.l.disk);
		struct sb_journal *j;
		struct sb_err err;
		char path[64];

		path_of(t.segment, path);
		for (unsigned i = 0; i < 4; i++) { /* one after the other: both would be too much at once */
			lose_block(d, path, (copy + i) % SB_SEGMENT_COPIES);
			assert_int_equal(sb_journal_open(&d->vfs, &t.l.clock.clock, &t.l.conf, &j, &err), 0);
			count_harm(&h, j);
			assert_int_equal(sb_journal_recovery(j)->corrupt_records, 1);
			assert_int_equal(sb_journal_recovery(j)->quarantined_segments, 0);
			assert_int_equal(h.missing + h.again, 0);
			sb_journal_close(j);
		}
		simdisk_free(d);
	}
	ledger_done(&t.l);
}

static void put_version(struct simdisk *d, const char *path, uint32_t version)
{
	struct sb_file *f = d->vfs.ops->open(&d->vfs, path, O_RDWR);
	char head[SB_SEGMENT_HEADER];
	struct sb_segment_header h;
	struct sb_err err;
	unsigned damaged;

	assert_non_null(f);
	assert_int_equal(sb_file_read_full(f, head, sizeof(head), 0), sizeof(head));
	assert_int_equal(sb_segment_header_read(head, &h, &damaged, &err), 0);
	h.version = version;
	sb_segment_header_write(&h, head);
	assert_int_equal(sb_file_write_all(f, head, sizeof(head), 0), 0);
	d->vfs.ops->close(f);
}

/*
 * A later version wrote the newest segment, or a record into it that may not be skipped: the damage that lies before is not for
 * us to judge. Every file stays as it is.
 */
static void test_a_later_version_leaves_every_file_alone(void **state)
{
	(void)state;
	for (unsigned record = 0; record < 2; record++) {
		static const char *const path[] = { "/j/00000000000000000001.seg", "/j/00000000000000000002.seg",
			"/j/00000000000000000003.seg" };
		static const enum sim_call changes[] = { SIM_WRITE, SIM_TRUNCATE, SIM_ALLOCATE, SIM_RENAME, SIM_UNLINK };
		struct ledger l;
		int64_t size[3];

		ledger_init(&l, 1);
		for (unsigned life = 0; life < 3; life++) {
			assert_int_equal(ledger_open(&l), 0);
			ledger_put_events(&l, 1, 1, 100);
			if (life == 2 && record)
				ledger_put_unknown(&l, 0);
			ledger_commit(&l);
			ledger_kill(&l);
		}
		if (!record)
			put_version(l.disk, path[2], SB_SEGMENT_VERSION + 1);
		for (unsigned copy = 0; copy < SB_SEGMENT_COPIES; copy++)
			lose_block(l.disk, path[0], copy);
		lose_block(l.disk, path[1], 0);
		simdisk_flip(l.disk, path[1], (SB_SEGMENT_HEADER + 30) * 8);
		for (unsigned i = 0; i < 3; i++)
			size[i] = simdisk_file_size(l.disk, path[i]);
		memset(l.disk->calls, 0, sizeof(l.disk->calls));
		assert_int_equal(ledger_open(&l), -1);
		for (size_t i = 0; i < SB_LEN(changes); i++)
			assert_int_equal(l.disk->calls[changes[i]], 0);
		for (unsigned i = 0; i < 3; i++)
			assert_true(size[i] > 0 && simdisk_file_size(l.disk, path[i]) == size[i]);
		ledger_done(&l);
	}
}

/* A second recovery after a segment was set aside still finds all the others, whole. */
static void test_a_segment_set_aside_takes_no_other_with_it(void **state)
{
	struct tale t;

	(void)state;
	tale_tell(&t, 2);
	ledger_kill(&t.l);
	for (uint64_t segment = 1; segment <= t.segment; segment++) {
		struct harm h = { .l = &t.l, .segment = segment };
		struct simdisk *d = simdisk_clone(t.l.disk);
		struct sb_journal *j;
		struct sb_err err;
		char path[64];

		snprintf(t.l.where, sizeof(t.l.where), "segment %u is set aside", (unsigned)segment);
		path_of(segment, path);
		if (simdisk_file_size(d, path) > 0) {
			for (unsigned copy = 0; copy < SB_SEGMENT_COPIES; copy++)
				lose_block(d, path, copy);
			for (unsigned i = 0; i < 3; i++) {
				assert_int_equal(sb_journal_open(&d->vfs, &t.l.clock.clock, &t.l.conf, &j, &err), 0);
				count_harm(&h, j);
				if (h.elsewhere)
					ledger_broken(&t.l, "deliveries of other segments are gone", h.elsewhere);
				sb_journal_close(j);
			}
		}
		simdisk_free(d);
	}
	ledger_done(&t.l);
}

/* Room that was reserved and never written is given back, in what is moved as in what is copied; what was written stays. */
static void test_quarantine_takes_only_the_room_of_what_was_written(void **state)
{
	static const struct {
		const char *name;
		bool header; /* lost: the whole segment is moved. Else one bit of the last group but one, and a copy is kept */
	} rows[] = { { "moved", true }, { "copied", false } };

	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		struct tale t;
		struct sb_journal *j;
		struct sb_err err;
		char path[64], kept[64];
		int64_t reserved, left;

		tale_tell(&t, 5);
		ledger_kill(&t.l);
		path_of(t.segment, path);
		snprintf(kept, sizeof(kept), "/j/quarantine/%020" PRIu64 ".seg", t.segment);
		reserved = simdisk_file_size(t.l.disk, path);
		for (unsigned copy = 0; rows[i].header && copy < SB_SEGMENT_COPIES; copy++)
			lose_block(t.l.disk, path, copy);
		if (!rows[i].header)
			simdisk_flip(t.l.disk, path, (t.start - 16) * 8);
		assert_int_equal(sb_journal_open(&t.l.disk->vfs, &t.l.clock.clock, &t.l.conf, &j, &err), 0);
		left = simdisk_file_size(t.l.disk, kept);
		if (left >= reserved || left + 64 < (int64_t)t.end || left > (int64_t)t.end)
			fail_msg("%s: %d bytes kept of %d, written were %d", rows[i].name, (int)left, (int)reserved, (int)t.end);
		sb_journal_close(j);
		ledger_done(&t.l);
	}
}

/* Segments end where they end, not where the one that was set aside ended. */
static void test_a_long_segment_before_a_short_one(void **state)
{
	struct ledger l;
	struct harm h = { .l = &l, .segment = 2 };

	(void)state;
	ledger_init(&l, 1);
	for (unsigned life = 0; life < 3; life++) {
		assert_int_equal(ledger_open(&l), 0);
		ledger_put_events(&l, life ? 1 : PUT_EVENTS, 3, life ? 10 : 2000);
		ledger_commit(&l);
		ledger_close(&l);
	}
	lose_block(l.disk, "/j/00000000000000000002.seg", 0);
	lose_block(l.disk, "/j/00000000000000000002.seg", 1);
	for (unsigned i = 0; i < 2; i++) {
		struct sb_journal *j;
		struct sb_err err;

		assert_int_equal(sb_journal_open(&l.disk->vfs, &l.clock.clock, &l.conf, &j, &err), 0);
		count_harm(&h, j);
		sb_journal_close(j);
		assert_int_equal(h.elsewhere, 0);
		assert_true(h.missing > 0);
	}
	ledger_done(&l);
}

/* What the oldest CHECKPOINT knew, the next one knows. */
static void test_a_checkpoint_is_damaged(void **state)
{
	const struct sb_slice *v;
	struct ledger l;
	struct sb_journal *j;
	struct sb_err err;

	(void)state;
	ledger_init(&l, 1);
	for (unsigned life = 0; life < 3; life++) {
		assert_int_equal(ledger_open(&l), 0);
		if (life == 0)
			ledger_put_position(&l);
		else
			ledger_put_events(&l, 1, 1, 100);
		ledger_commit(&l);
		ledger_close(&l);
	}
	assert_int_equal(simdisk_file_size(l.disk, "/j/00000000000000000001.seg"), -1);
	simdisk_flip(l.disk, "/j/00000000000000000002.seg", (SB_SEGMENT_HEADER + 30) * 8);
	assert_int_equal(sb_journal_open(&l.disk->vfs, &l.clock.clock, &l.conf, &j, &err), 0);
	v = sb_map_get(&sb_journal_recovery(j)->positions, SB_SLICE("feed"));
	assert_non_null(v);
	assert_true(sb_slice_eq_str(*v, "1"));
	assert_int_equal(sb_journal_recovery(j)->corrupt_records, 1);
	sb_journal_close(j);
	ledger_done(&l);
}

/* A record that a later version wrote: skipped if it says that it may be, otherwise nothing is touched. */
static void test_a_record_of_a_later_version(void **state)
{
	(void)state;
	for (unsigned flags = 0; flags <= SB_FRAME_IGNORABLE; flags++) {
		struct ledger l;
		int64_t size;

		ledger_init(&l, 1);
		assert_int_equal(ledger_open(&l), 0);
		ledger_put_unknown(&l, (uint8_t)flags);
		ledger_put_events(&l, 1, 2, 100);
		ledger_commit(&l);
		ledger_kill(&l);
		size = simdisk_file_size(l.disk, "/j/00000000000000000001.seg");
		assert_int_equal(ledger_open(&l), flags ? 0 : -1);
		assert_int_equal(simdisk_file_size(l.disk, "/j/00000000000000000001.seg") == size, !flags);
		ledger_done(&l);
	}
}

/* ------------------------------------------------------------------------------------------------ audit */

static struct sb_audit audit(const struct ledger *l)
{
	struct sb_audit a;
	struct sb_err err;

	if (sb_journal_audit(&l->disk->vfs, l->conf.dir, &a, &err) < 0)
		fail_msg("%s", err.msg);
	free(a.route);
	a.route = NULL;
	return a;
}

/* One life, one segment: an event a group. */
static void one_segment(struct ledger *l, struct put *put[8])
{
	ledger_init(l, 1);
	assert_int_equal(ledger_open(l), 0);
	for (unsigned i = 0; i < 8; i++) {
		put[i] = ledger_put_events(l, 1, 1, 100);
		ledger_commit(l);
	}
	ledger_kill(l);
}

/* The newest segment is read on behind what is damaged in it, whatever comes after. */
static void test_audit_says_what_is_damaged(void **state)
{
	struct put *put[8];
	struct sb_audit a;
	struct ledger l;
	uint64_t at;
	char path[64];

	(void)state;
	one_segment(&l, put);
	assert_int_equal(audit(&l).events, 8);
	path_of(1, path);
	at = put[3]->ev[0].due[0].h.at.offset;
	simdisk_flip(l.disk, path, (at + 40) * 8);
	a = audit(&l);
	assert_int_equal(a.events, 7);
	assert_int_equal(a.corrupt_records, 1);
	assert_int_equal(a.damage[0].segment, 1);
	assert_int_equal(a.damage[0].from, at);
	assert_int_equal(a.damage[0].to, at + put[3]->a.frames.len);
	assert_int_equal(a.torn_bytes, 0);
	lose_block(l.disk, path, 1);
	a = audit(&l);
	assert_int_equal(a.events, 7);
	assert_int_equal(a.damage[0].from, SB_SEGMENT_BLOCK);
	ledger_done(&l);
}

static void test_audit_counts_what_was_never_acknowledged(void **state)
{
	struct put *put[8];
	struct sb_audit a;
	struct ledger l;
	uint64_t at;
	char path[64];

	(void)state;
	one_segment(&l, put);
	path_of(1, path);
	at = put[7]->ev[0].due[0].h.at.offset;
	simdisk_cut(l.disk, path, at + 20);
	a = audit(&l);
	assert_int_equal(a.events, 7);
	assert_int_equal(a.torn_bytes, GROUP_BYTES);
	assert_int_equal(a.corrupt_records, 0);
	ledger_done(&l);
}

static void test_audit_goes_on_without_a_segment(void **state)
{
	struct ledger l;
	struct sb_audit a;
	struct sb_journal *j;
	struct sb_err err;
	char path[64];

	(void)state;
	ledger_init(&l, 1);
	for (unsigned life = 0; life < 3; life++) {
		assert_int_equal(ledger_open(&l), 0);
		ledger_put_events(&l, 1, 1, 100);
		ledger_commit(&l);
		ledger_kill(&l);
	}
	path_of(2, path);
	for (unsigned copy = 0; copy < SB_SEGMENT_COPIES; copy++)
		lose_block(l.disk, path, copy);
	a = audit(&l);
	assert_int_equal(a.events, 2);
	assert_false(a.adds_up);
	assert_int_equal(a.damage[0].segment, 2);
	assert_int_equal(a.damage[0].to, 0);
	assert_int_equal(a.missing_segments, 0);
	assert_int_equal(sb_journal_open(&l.disk->vfs, &l.clock.clock, &l.conf, &j, &err), 0);
	sb_journal_close(j);
	a = audit(&l);
	assert_int_equal(a.n_damage, 0);
	assert_int_equal(a.missing_segments, 1);
	ledger_done(&l);
}

static void test_an_operator_may_want_to_stop_instead(void **state)
{
	struct sb_journal *j;
	struct sb_err err;
	struct tale t;
	char path[64];

	(void)state;
	tale_tell(&t, 3);
	ledger_kill(&t.l);
	path_of(t.segment, path);
	simdisk_flip(t.l.disk, path, (t.start - 20) * 8); /* in the group before the last */
	t.l.conf.stop_on_corruption = true;
	assert_int_equal(sb_journal_open(&t.l.disk->vfs, &t.l.clock.clock, &t.l.conf, &j, &err), -1);
	assert_int_equal(err.code, SB_E_CORRUPT);
	simdisk_flip(t.l.disk, path, (t.start - 20) * 8);
	assert_int_equal(ledger_open(&t.l), 0); /* nothing was changed */
	ledger_done(&t.l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_at_every_byte_of_the_last_group),
		cmocka_unit_test(test_any_bit_may_be_wrong),
		cmocka_unit_test(test_a_header_mends_itself),
		cmocka_unit_test(test_a_later_version_leaves_every_file_alone),
		cmocka_unit_test(test_a_segment_set_aside_takes_no_other_with_it),
		cmocka_unit_test(test_quarantine_takes_only_the_room_of_what_was_written),
		cmocka_unit_test(test_a_long_segment_before_a_short_one),
		cmocka_unit_test(test_a_checkpoint_is_damaged),
		cmocka_unit_test(test_a_record_of_a_later_version),
		cmocka_unit_test(test_audit_says_what_is_damaged),
		cmocka_unit_test(test_audit_counts_what_was_never_acknowledged),
		cmocka_unit_test(test_audit_goes_on_without_a_segment),
		cmocka_unit_test(test_an_operator_may_want_to_stop_instead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
