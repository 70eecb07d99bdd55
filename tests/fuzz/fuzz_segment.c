/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>

#include "broker/base/event.h"
#include "broker/journal/segment.h"
#include "tests/support/simdisk.h"

/*
 * What stands in a journal's files. The first byte says how the rest is meant: 0, one file as it is; else records (type u8, flags
 * u8, length u16, payload; type 255 begins another file) that get frames with right checksums, since chance finds none.
 *   - a journal opens, or a later version wrote it, and then audit says so, too;
 *   - where nothing is damaged, what recovery says is outstanding is what its own marks say, and what a backlog read gives back;
 *   - another start finds the same.
 */
#define CHECK(x) ((x) ? (void)0 : abort())
#define NEW_FILE 255

static const char dir[] = "/j";

/* ------------------------------------------------------------------------------------------------ files */

static void put_file(struct simdisk *d, uint64_t number, struct sb_slice text)
{
	char path[SB_SEGMENT_PATH_MAX];
	struct sb_file *f;

	sb_segment_path(dir, number, path);
	f = d->vfs.ops->open(&d->vfs, path, O_RDWR | O_CREAT);
	CHECK(f && sb_file_write_all(f, text.p, text.n, 0) == 0);
	d->vfs.ops->close(f);
}

struct pen {
	struct simdisk *d;
	struct sb_buf file;
	struct sb_segment_header h;
	uint64_t seq;
};

static void begin_file(struct pen *p, uint64_t prev_end)
{
	char head[SB_SEGMENT_HEADER];

	p->h.number++;
	p->h.first_seq = p->seq;
	p->h.prev_end = prev_end;
	sb_segment_header_write(&p->h, head);
	sb_buf_clear(&p->file);
	sb_buf_add(&p->file, head, sizeof(head));
}

static void add_frame(struct pen *p, uint8_t type, uint8_t flags, struct sb_slice payload)
{
	size_t at = p->file.len;

	sb_frame_begin(&p->file, (enum sb_record_type)type, flags);
	sb_buf_add_slice(&p->file, payload);
	sb_frame_end(&p->file, at, 0);
	p->seq = sb_frames_stamp(&p->file, at, p->seq, p->h.salt);
}

static void write_records(struct simdisk *d, const uint8_t *in, size_t n)
{
	struct pen p = { .d = d, .file = SB_BUF(16u << 20), .h = { .version = SB_SEGMENT_VERSION, .salt = 7, .first_dno = 1 }, .seq = 1 };

	begin_file(&p, 0);
	while (n >= 4) {
		size_t len = SB_MIN((size_t)in[2] | (size_t)in[3] << 8, n - 4);

		if (in[0] == NEW_FILE) {
			put_file(d, p.h.number, sb_buf_slice(&p.file));
			p.h.first_dno += in[1];
			begin_file(&p, p.file.len);
			len = 0;
		} else {
			add_frame(&p, in[0], in[1], sb_slice((const char *)in + 4, len));
		}
		in += 4 + len;
		n -= 4 + len;
	}
	put_file(d, p.h.number, sb_buf_slice(&p.file));
	sb_buf_done(&p.file);
}

/* ------------------------------------------------------------------------------------------------ what must hold */

static void read_done(struct sb_mail *m)
{
	(void)m;
}

static uint64_t give_back(struct sb_journal *j, struct sb_journal_read *r)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < r->n; i++) {
		CHECK(r->item[i].dno >= r->min_dno);
		n += !sb_recovery_done(sb_journal_recovery(j), r->item[i].dno);
		sb_event_unref(r->item[i].ev);
		sb_pool_free(r->item[i].input);
		sb_pool_free((void *)r->item[i].letter.p);
	}
	return n;
}

/* How many are owed to the target. */
static uint64_t read_backlog(struct sb_journal *j, const char *target)
{
	struct sb_mailbox home;
	struct sb_journal_read *r = sb_xcalloc(sizeof(*r));
	uint64_t n = 0;

	sb_mailbox_init(&home, false);
	*r = (struct sb_journal_read){ .home = &home, .target = target, .max_bytes = 1 << 20 };
	while (!r->end) {
		r->mail.run = read_done;
		sb_journal_read(j, r);
		while (sb_journal_reader_pump(j))
			;
		sb_mailbox_drain(&home);
		n += give_back(j, r);
		r->min_dno = r->horizon;
	}
	free(r);
	return n;
}

static uint64_t outstanding(struct sb_journal *j)
{
	bool damaged = sb_journal_recovery(j)->corrupt_records > 0; /* a record may be nonsense although its checksum holds */
	struct sb_journal_stats s;
	uint64_t n = 0;

	sb_map_each (&sb_journal_recovery(j)->targets, it) {
		const struct sb_recovered_target *t = it->value;
		uint64_t read = read_backlog(j, t->name);

		CHECK(read <= t->n || damaged); /* less: an event may be no JSON */
		n += t->n;
	}
	sb_journal_get_stats(j, &s);
	CHECK(s.outstanding == n || damaged);
	return n;
}

static void check(struct simdisk *d)
{
	struct sb_journal_conf conf = SB_JOURNAL_CONF;
	struct sb_fake_clock clock;
	uint64_t first = 0;
	struct sb_audit a;
	struct sb_err err;
	int readable;

	conf.dir = dir;
	conf.segment_bytes = 64 << 10;
	conf.min_free_bytes = 0;
	sb_fake_clock_init(&clock, 1795508393000);
	readable = sb_journal_audit(&d->vfs, dir, &a, &err);
	CHECK(readable == 0 || err.code == SB_E_VERSION);
	if (readable == 0)
		sb_audit_done(&a);
	for (unsigned life = 0; life < 2; life++) {
		struct sb_journal *j;

		if (sb_journal_open(&d->vfs, &clock.clock, &conf, &j, &err) < 0) {
			CHECK(life == 0 && readable < 0 && err.code == SB_E_VERSION);
			return;
		}
		CHECK(readable == 0);
		if (life == 0)
			first = outstanding(j);
		else
			CHECK(outstanding(j) == first);
		sb_journal_close(j);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct simdisk *d = simdisk_new(1);

	CHECK(sb_make_folder(&d->vfs, dir) == 0);
	if (n && data[0] == 0)
		put_file(d, 1, sb_slice((const char *)data + 1, n - 1));
	else if (n)
		write_records(d, data + 1, n - 1);
	check(d);
	simdisk_free(d);
	return 0;
}
