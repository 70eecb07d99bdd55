/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/journal/mend.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/mem.h"

#define CHUNK (1u << 20)

void sb_mend_note(struct sb_mend *m, enum sb_mend_what what, uint64_t number)
{
	m->item = sb_xrealloc(m->item, (m->n + 1) * sizeof(*m->item));
	m->item[m->n++] = (struct sb_mend_item){ what, number };
}

void sb_mend_cut(struct sb_mend *m, uint64_t number, uint64_t end)
{
	m->cut_number = number;
	m->cut_at = end;
}

void sb_mend_done(struct sb_mend *m)
{
	free(m->item);
}

/* ------------------------------------------------------------------------------------------------ quarantine */

/* Behind the last byte that is not zero: the rest is room that was reserved and never written. -1: it cannot be read. */
static int64_t written_end(struct sb_file *f, char *chunk)
{
	uint64_t off = 0, end = 0;
	ssize_t n;

	while ((n = sb_file_read_full(f, chunk, CHUNK, off)) > 0) {
		ssize_t last = n;

		while (last > 0 && chunk[last - 1] == 0)
			last--;
		if (last > 0)
			end = off + (uint64_t)last;
		off += (uint64_t)n;
	}
	return n == 0 ? (int64_t)end : -1;
}

/* What is kept takes the room of what is in it: many segments may be set aside, on a disk that loses what it was given. */
static void cut_reserve(struct sb_vfs *vfs, const char *path)
{
	struct sb_file *f = vfs->ops->open(vfs, path, O_RDWR);
	char *chunk = sb_xmalloc(CHUNK);
	int64_t end = f ? written_end(f, chunk) : -1;

	if (end >= 0 && vfs->ops->truncate(f, (uint64_t)end) == 0)
		vfs->ops->fdatasync(f);
	if (f)
		vfs->ops->close(f);
	free(chunk);
}

static int copy_file(struct sb_vfs *vfs, struct sb_file *from, struct sb_file *to)
{
	char *chunk = sb_xmalloc(CHUNK);
	int64_t end = written_end(from, chunk);
	uint64_t off = 0;
	ssize_t n = 0;

	while (end >= 0 && off < (uint64_t)end) {
		n = sb_file_read_full(from, chunk, SB_MIN(CHUNK, (uint64_t)end - off), off);
		if (n <= 0 || sb_file_write_all(to, chunk, (size_t)n, off) < 0)
			break;
		off += (uint64_t)n;
	}
	free(chunk);
	return end >= 0 && off == (uint64_t)end ? vfs->ops->fdatasync(to) : -1;
}

/* A full disk must not stop recovery: the original stays until it owes nothing. */
static void keep_copy(struct sb_vfs *vfs, const char *path, const char *to)
{
	struct sb_file *in = vfs->ops->open(vfs, path, O_RDONLY), *out = in ? vfs->ops->open(vfs, to, O_RDWR | O_CREAT) : NULL;

	if (out && copy_file(vfs, in, out) < 0)
		vfs->ops->unlink(vfs, to); /* half a copy is in the way of those who need the room */
	if (out)
		vfs->ops->close(out);
	if (in)
		vfs->ops->close(in);
}

static int to_quarantine(struct sb_vfs *vfs, const char *dir, const struct sb_mend_item *it, struct sb_err *err)
{
	char folder[SB_SEGMENT_PATH_MAX], from[SB_SEGMENT_PATH_MAX], to[SB_SEGMENT_PATH_MAX];
	bool moves = it->what == SB_MEND_SET_ASIDE;

	snprintf(folder, sizeof(folder), "%s/quarantine", dir);
	sb_segment_path(dir, it->number, from);
	sb_segment_path(folder, it->number, to);
	if (vfs->ops->mkdir(vfs, folder) < 0 && moves)
		return sb_fail_errno(err, "cannot make '%s'", folder);
	if (!moves)
		keep_copy(vfs, from, to);
	else if (vfs->ops->rename(vfs, from, to) < 0)
		return sb_fail_errno(err, "cannot quarantine '%s'", from);
	else
		cut_reserve(vfs, to);
	vfs->ops->sync_dir(vfs, folder);
	if (moves && vfs->ops->sync_dir(vfs, dir) < 0)
		return sb_fail_errno(err, "cannot quarantine '%s'", from);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ in place */

/* The copy that is whole is not touched: the power may go meanwhile. */
static void write_copies(struct sb_file *f, const struct sb_segment_reader *r)
{
	char head[SB_SEGMENT_HEADER];

	sb_segment_header_write(&r->header, head);
	for (unsigned i = 0; i < SB_SEGMENT_COPIES; i++) {
		size_t at = (size_t)i * SB_SEGMENT_BLOCK;

		if (r->damaged_copies >> i & 1 && sb_file_write_all(f, head + at, SB_SEGMENT_BLOCK, at) < 0)
			return;
	}
	f->vfs->ops->fdatasync(f);
}

static void mend_header(struct sb_vfs *vfs, const char *dir, uint64_t number)
{
	char path[SB_SEGMENT_PATH_MAX];
	struct sb_segment_reader r;
	struct sb_file *f;
	struct sb_err err;

	sb_segment_path(dir, number, path);
	if (sb_segment_open(vfs, dir, number, &r, &err) < 0)
		return;
	f = vfs->ops->open(vfs, path, O_RDWR);
	if (f) {
		write_copies(f, &r);
		vfs->ops->close(f);
	}
	sb_segment_close(&r);
}

/* Physically, so that a shorter write after it can never bring old bytes back. */
static int cut_tail(struct sb_vfs *vfs, const char *dir, const struct sb_mend *m, struct sb_err *err)
{
	char path[SB_SEGMENT_PATH_MAX];
	struct sb_file *f;
	int bad;

	sb_segment_path(dir, m->cut_number, path);
	f = vfs->ops->open(vfs, path, O_RDWR);
	bad = !f || vfs->ops->truncate(f, m->cut_at) < 0 || vfs->ops->fdatasync(f) < 0;
	if (bad)
		sb_fail_errno(err, "cannot cut the tail of '%s'", path);
	if (f)
		vfs->ops->close(f);
	return bad ? -1 : 0;
}

int sb_mend_all(struct sb_vfs *vfs, const char *dir, const struct sb_mend *m, struct sb_err *err)
{
	for (size_t i = 0; i < m->n; i++) {
		if (m->item[i].what == SB_MEND_HEADER)
			mend_header(vfs, dir, m->item[i].number);
		else if (to_quarantine(vfs, dir, &m->item[i], err) < 0)
			return -1;
	}
	return m->cut_at ? cut_tail(vfs, dir, m, err) : 0;
}
