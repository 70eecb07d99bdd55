/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/journal/segment.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/crc32c.h"

#define WINDOW_BYTES (256u << 10)
#define WINDOW_MAX (1u << 30)

static const char magic[8] = { 'S', 'B', 'J', 'R', 'N', 'L', '\r', '\n' };

void sb_segment_path(const char *dir, uint64_t number, char out[SB_SEGMENT_PATH_MAX])
{
	snprintf(out, SB_SEGMENT_PATH_MAX, "%s/%020" PRIu64 ".seg", dir, number);
}

int sb_segment_number(const char *name, uint64_t *ret)
{
	char *end;

	if (strspn(name, "0123456789") != 20 || strcmp(name + 20, ".seg") != 0)
		return -1;
	errno = 0;
	*ret = strtoull(name, &end, 10);
	return errno ? -1 : 0;
}

/* ------------------------------------------------------------------------------------------------ header */

/* Magic, version and checksum stand where they stand in every version, and the checksum covers the block. */
#define CRC_AT 12

static uint32_t block_crc(const char *block)
{
	static const char none[4];

	return sb_crc32c(sb_crc32c(sb_crc32c(0, block, CRC_AT), none, 4), block + CRC_AT + 4, SB_SEGMENT_BLOCK - CRC_AT - 4);
}

void sb_segment_header_write(const struct sb_segment_header *h, char out[SB_SEGMENT_HEADER])
{
	struct sb_buf b = { .p = out, .cap = SB_SEGMENT_BLOCK, .max = SB_SEGMENT_BLOCK };
	uint32_t crc;

	memset(out, 0, SB_SEGMENT_BLOCK);
	sb_buf_add(&b, magic, sizeof(magic));
	sb_put_u32(&b, h->version);
	sb_put_u32(&b, 0);
	sb_put_u32(&b, h->salt);
	sb_put_u64(&b, h->number);
	sb_put_u64(&b, h->first_seq);
	sb_put_u64(&b, h->first_dno);
	sb_put_u64(&b, h->prev_end);
	sb_put_u64(&b, h->wall_ms);
	crc = htole32(block_crc(out));
	memcpy(out + CRC_AT, &crc, 4);
	for (unsigned i = 1; i < SB_SEGMENT_COPIES; i++)
		memcpy(out + (size_t)i * SB_SEGMENT_BLOCK, out, SB_SEGMENT_BLOCK);
}

static bool block_is_whole(const char *block)
{
	uint32_t crc;

	memcpy(&crc, block + CRC_AT, 4);
	return memcmp(block, magic, sizeof(magic)) == 0 && le32toh(crc) == block_crc(block);
}

static int read_block(const char *block, struct sb_segment_header *ret, struct sb_err *err)
{
	struct sb_cursor c = sb_cursor_of(sb_slice(block + sizeof(magic), SB_SEGMENT_BLOCK - sizeof(magic)));

	*ret = (struct sb_segment_header){ .version = sb_get_u32(&c) };
	if (ret->version != SB_SEGMENT_VERSION)
		return sb_fail(err, SB_E_VERSION, "the segment has format version %u, this program knows %u", ret->version,
			SB_SEGMENT_VERSION);
	sb_get_u32(&c);
	ret->salt = sb_get_u32(&c);
	ret->number = sb_get_u64(&c);
	ret->first_seq = sb_get_u64(&c);
	ret->first_dno = sb_get_u64(&c);
	ret->prev_end = sb_get_u64(&c);
	ret->wall_ms = sb_get_u64(&c);
	return 0;
}

int sb_segment_header_read(
	const char in[SB_SEGMENT_HEADER], struct sb_segment_header *ret, unsigned *ret_damaged, struct sb_err *err)
{
	const char *whole = NULL;

	*ret_damaged = 0;
	for (unsigned i = SB_SEGMENT_COPIES; i-- > 0;) {
		const char *block = in + (size_t)i * SB_SEGMENT_BLOCK;

		if (block_is_whole(block))
			whole = block;
		else
			*ret_damaged |= 1u << i;
	}
	return whole ? read_block(whole, ret, err) : sb_fail(err, SB_E_CORRUPT, "no copy of the segment's header is whole");
}

/* ------------------------------------------------------------------------------------------------ frames */

uint32_t sb_frame_crc(uint32_t salt, const char *p, uint32_t len)
{
	return sb_crc32c(sb_crc32c(salt, p, 4), p + 8, len - 8);
}

void sb_frame_stamp(char *frame, uint64_t seq, uint32_t salt)
{
	uint32_t len, crc;

	memcpy(&len, frame, 4);
	seq = htole64(seq);
	memcpy(frame + 12, &seq, 8);
	crc = htole32(sb_frame_crc(salt, frame, le32toh(len)));
	memcpy(frame + 4, &crc, 4);
}

uint64_t sb_frames_stamp(struct sb_buf *b, size_t from, uint64_t seq, uint32_t salt)
{
	while (from < b->len) {
		uint32_t len;

		memcpy(&len, b->p + from, 4);
		sb_frame_stamp(b->p + from, seq++, salt);
		from += sb_frame_size(le32toh(len));
	}
	return seq;
}

int sb_segment_open(struct sb_vfs *vfs, const char *dir, uint64_t number, struct sb_segment_reader *r, struct sb_err *err)
{
	char path[SB_SEGMENT_PATH_MAX], head[SB_SEGMENT_HEADER] = { 0 };
	int64_t size;
	ssize_t got;

	*r = (struct sb_segment_reader){ .offset = SB_SEGMENT_HEADER };
	sb_segment_path(dir, number, path);
	r->file = vfs->ops->open(vfs, path, O_RDONLY);
	if (!r->file && errno == ENOENT)
		return sb_fail(err, SB_E_MISSING, "no segment %" PRIu64, number);
	if (!r->file)
		return sb_fail_errno(err, "cannot open '%s'", path);
	sb_buf_init(&r->window, WINDOW_MAX);
	size = vfs->ops->size(r->file);
	r->size = (uint64_t)size;
	got = size < 0 ? -1 : sb_file_read_full(r->file, head, sizeof(head), 0);
	if (got < 0)
		sb_fail_errno(err, "cannot read '%s'", path);
	else if (sb_segment_header_read(head, &r->header, &r->damaged_copies, err) == 0) {
		if (r->header.number == number)
			return 0;
		sb_fail(err, SB_E_CORRUPT, "'%s' has the header of segment %" PRIu64, path, r->header.number);
	}
	sb_segment_close(r);
	return -1;
}

void sb_segment_close(struct sb_segment_reader *r)
{
	if (r->file)
		r->file->vfs->ops->close(r->file);
	sb_buf_done(&r->window);
	r->file = NULL;
}

int sb_segment_check(const struct sb_segment_reader *r, struct sb_err *err)
{
	if (!r->failed)
		return 0;
	errno = r->failed;
	return sb_fail_errno(err, "cannot read segment %" PRIu64 " behind offset %" PRIu64, r->header.number, r->offset);
}

/* n bytes at off, from the window or read into it; NULL: the file is shorter, or cannot be read. */
static const char *look(struct sb_segment_reader *r, uint64_t off, size_t n)
{
	size_t want = SB_MAX(n, (size_t)WINDOW_BYTES);
	ssize_t got;

	if (off >= r->window_at && off + n <= r->window_at + r->window.len)
		return r->window.p + (off - r->window_at);
	sb_buf_clear(&r->window);
	if (!sb_buf_reserve(&r->window, want))
		return NULL;
	got = sb_file_read_full(r->file, r->window.p, want, off);
	if (got < 0) {
		r->failed = errno;
		return NULL;
	}
	r->window_at = off;
	r->window.len = (size_t)got;
	return (size_t)got >= n ? r->window.p : NULL;
}

static bool known_type(uint8_t type)
{
	return type >= SB_REC_GROUP && type <= SB_REC_LAST;
}

int sb_segment_next(struct sb_segment_reader *r, uint64_t limit, struct sb_frame_at *ret)
{
	uint64_t end = SB_MIN(limit, r->size);
	const char *p;
	uint32_t len, crc;

	if (r->offset >= end)
		return 0;
	if (end - r->offset < SB_FRAME_HEADER)
		return limit <= r->size ? -1 : 0;
	p = look(r, r->offset, SB_FRAME_HEADER);
	if (!p)
		return -1;
	memcpy(&len, p, 4);
	len = le32toh(len);
	if (len == 0)
		return limit <= r->size && limit != UINT64_MAX ? -1 : 0; /* before a known end there must be frames */
	if (len < SB_FRAME_HEADER || sb_frame_size(len) > end - r->offset)
		return -1;
	p = look(r, r->offset, sb_frame_size(len));
	if (!p)
		return -1;
	memcpy(&crc, p + 4, 4);
	if (le32toh(crc) != sb_frame_crc(r->header.salt, p, len))
		return -1;
	memcpy(&ret->seq, p + 12, 8);
	ret->seq = le64toh(ret->seq);
	ret->type = (enum sb_record_type)(uint8_t)p[8];
	ret->flags = (uint8_t)p[9];
	ret->offset = r->offset;
	ret->size = sb_frame_size(len);
	ret->payload = sb_slice(p + SB_FRAME_HEADER, len - SB_FRAME_HEADER);
	r->offset += ret->size;
	return 1;
}

bool sb_segment_resync(struct sb_segment_reader *r, uint64_t limit, enum sb_record_type only)
{
	uint64_t end = SB_MIN(limit, r->size), at = r->offset;
	struct sb_frame_at frame;

	for (at += 8; at + SB_FRAME_HEADER <= end; at += 8) {
		const char *p = look(r, at, SB_FRAME_HEADER);

		if (!p)
			return false;
		if (!known_type((uint8_t)p[8]) || (only && p[8] != (char)only) || p[10] || p[11])
			continue;
		r->offset = at;
		if (sb_segment_next(r, UINT64_MAX, &frame) == 1) {
			r->offset = at;
			return true;
		}
	}
	r->offset = end;
	return false;
}

/* ------------------------------------------------------------------------------------------------ tail */

/* A GROUP frame behind r->offset says that everything before it was durable. */
static bool group_behind(struct sb_segment_reader *r)
{
	struct sb_segment_reader probe = *r;
	bool found;

	sb_buf_init(&probe.window, WINDOW_MAX);
	probe.window_at = 0;
	found = sb_segment_resync(&probe, UINT64_MAX, SB_REC_GROUP);
	if (probe.failed)
		r->failed = probe.failed;
	sb_buf_done(&probe.window);
	return found;
}

struct extent {
	uint64_t start, end;
};

/* The last group that was begun, as its GROUP frame says. */
static struct extent group_extent(const struct sb_frame_at *f)
{
	struct sb_cursor c = sb_cursor_of(f->payload);

	sb_get_u64(&c);
	sb_get_u64(&c);
	return (struct extent){ f->offset, f->offset + f->size + sb_get_u64(&c) };
}

uint64_t sb_segment_find_end(struct sb_segment_reader *r, uint64_t *ret_torn)
{
	struct extent group = { r->offset, r->offset };
	uint64_t again = 0;
	struct sb_frame_at f;
	int got;

	for (;;) {
		got = sb_segment_next(r, UINT64_MAX, &f);
		if (got == 1) {
			if (f.type == SB_REC_GROUP)
				group = group_extent(&f);
		} else if (!group_behind(r)) {
			break;
		} else if (again != r->offset) {
			again = r->offset; /* it may have been written while we looked */
			sb_buf_clear(&r->window);
		} else {
			sb_segment_resync(r, UINT64_MAX, SB_REC_GROUP);
		}
	}
	*ret_torn = got < 0 || r->offset < group.end ? SB_MAX(r->offset - group.start, (uint64_t)8) : 0;
	return r->offset < group.end ? group.start : r->offset;
}

/* ------------------------------------------------------------------------------------------------ list */

struct numbers {
	uint64_t *v;
	size_t n, cap;
};

static int note_number(void *arg, const char *name)
{
	struct numbers *l = arg;
	uint64_t number;

	if (sb_segment_number(name, &number) < 0)
		return 0;
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->v = sb_xrealloc(l->v, l->cap * sizeof(*l->v));
	}
	l->v[l->n++] = number;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int sb_segment_list(struct sb_vfs *vfs, const char *dir, uint64_t **ret, size_t *n, struct sb_err *err)
{
	struct numbers l = { 0 };

	if (vfs->ops->list(vfs, dir, note_number, &l) < 0) {
		free(l.v);
		return sb_fail_errno(err, "cannot list '%s'", dir);
	}
	if (l.n)
		qsort(l.v, l.n, sizeof(*l.v), by_number);
	*ret = l.v;
	*n = l.n;
	return 0;
}
