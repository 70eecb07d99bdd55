/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files for the writer. The newest segment is allocated in full, and so is the one after it, the spare: together the reserve, in
 * which outcomes go on when the disk is full. Segments that owe nothing go, oldest first.
 */
#include "broker/journal/roll.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "broker/base/crc32c.h"
#include "broker/base/fault.h"

#define ROOM_NS (SB_ROOM_MS * SB_NS_PER_MS)

static void spare_path(const struct sb_journal *j, char out[SB_SEGMENT_PATH_MAX])
{
	snprintf(out, SB_SEGMENT_PATH_MAX, "%s/spare", j->conf.dir);
}

/* ------------------------------------------------------------------------------------------------ room */

static bool disk_has_room(struct sb_journal *j)
{
	int64_t free_bytes = j->vfs->ops->free_bytes(j->vfs, j->conf.dir);

	return free_bytes < 0 || (uint64_t)free_bytes >= j->conf.min_free_bytes;
}

/* A file with real blocks, ready to become the next segment. NULL: errno says why. */
static struct sb_file *make_spare(struct sb_journal *j, uint64_t bytes)
{
	char path[SB_SEGMENT_PATH_MAX];
	struct sb_file *f;
	int error;

	spare_path(j, path);
	j->vfs->ops->unlink(j->vfs, path); /* it may be one that failed */
	f = j->vfs->ops->open(j->vfs, path, O_RDWR | O_CREAT | O_EXCL);
	if (!f)
		return NULL;
	if (j->vfs->ops->allocate(f, bytes) == 0)
		return f;
	error = errno;
	j->vfs->ops->close(f);
	j->vfs->ops->unlink(j->vfs, path); /* a part of the room is nobody's */
	errno = error;
	return NULL;
}

void sb_roll_refill(struct sb_journal *j)
{
	if (!j->w.spare)
		j->w.spare = make_spare(j, j->conf.segment_bytes);
}

bool sb_roll_is_full(struct sb_journal *j)
{
	uint64_t now = sb_mono_ns(j->clock);

	if (j->w.full_checked_ns && now - j->w.full_checked_ns < ROOM_NS)
		return j->w.full || !j->w.spare;
	j->w.full_checked_ns = now ? now : 1;
	sb_roll_refill(j);
	j->w.full = !j->w.spare || !disk_has_room(j);
	return j->w.full;
}

void sb_roll_fatal(struct sb_journal *j, const char *what)
{
	struct sb_err err;

	if (j->w.failed)
		return;
	sb_fail_errno(&err, "%s", what);
	j->w.failed = true;
	if (j->on_fatal)
		j->on_fatal(j->on_fatal_arg, &err);
}

/* ------------------------------------------------------------------------------------------------ segments */

int sb_roll_write(struct sb_journal *j, struct sb_file *f, const void *p, size_t n, uint64_t off)
{
	SB_FAULT("journal.before_write");
	(void)j;
	if (SB_FAULT_ERR("journal.write")) {
		errno = EIO;
		return -1;
	}
	return sb_file_write_all(f, p, n, off);
}

int sb_roll_sync(struct sb_journal *j, struct sb_file *f)
{
	uint64_t before = sb_mono_ns(j->clock), took;
	int r;

	SB_FAULT("journal.before_sync");
#ifdef SB_MUTANT_NO_SYNC
	(void)f;
	r = 0;
#else
	r = j->vfs->ops->fdatasync(f);
#endif
	if (SB_FAULT_ERR("journal.sync")) {
		errno = EIO;
		r = -1;
	}
	took = sb_mono_ns(j->clock) - before;
	j->w.stats.syncs++;
	j->w.stats.sync_ns_sum += took;
	j->w.stats.sync_ns_max = SB_MAX(j->w.stats.sync_ns_max, took);
	SB_FAULT("journal.after_sync");
	return r;
}

static void seal_frame(struct sb_journal *j, struct sb_buf *b)
{
	const struct sb_seg_state *seg = &j->w.state.seg[j->w.state.n_segs - 1];
	size_t start = b->len;
	int bad = sb_frame_begin(b, SB_REC_SEAL, SB_FRAME_IGNORABLE);

	bad |= sb_put_u64(b, sb_wall_ms(j->clock));
	bad |= sb_put_u64(b, seg->n);
	sb_frame_end(b, start, bad);
}

static void close_keeping_errno(struct sb_file *f)
{
	int error = errno;

	f->vfs->ops->close(f);
	errno = error;
}

struct fresh {
	struct sb_file *file;
	uint64_t number, prev_end, capacity, end;
	uint32_t salt;
};

/* Header, CHECKPOINT and GENERATION of a new segment, and then `extra` bytes of room; -1: no room on the disk. */
static int fresh_begin(struct sb_journal *j, uint64_t number, uint64_t prev_end, uint64_t extra, struct fresh *ret)
{
	struct sb_state *s = &j->w.state;
	struct sb_segment_header h = { .version = SB_SEGMENT_VERSION, .number = number, .first_seq = s->next_seq,
		.first_dno = s->next_dno, .prev_end = prev_end, .wall_ms = sb_wall_ms(j->clock) };
	struct sb_buf b;
	char head[SB_SEGMENT_HEADER];

	sb_buf_init(&b, (size_t)1 << 31);
	h.salt = sb_crc32c((uint32_t)h.wall_ms, &h.first_seq, sizeof(h.first_seq)) ^ (uint32_t)number;
	sb_segment_header_write(&h, head);
	sb_buf_add(&b, head, sizeof(head));
	if (sb_state_checkpoint(s, h.wall_ms, &b) < 0 || sb_state_generation(s, &b) < 0) {
		sb_buf_done(&b);
		errno = ENOMEM;
		return -1;
	}
	s->next_seq = sb_frames_stamp(&b, SB_SEGMENT_HEADER, s->next_seq, h.salt);
	*ret = (struct fresh){ .number = number, .prev_end = prev_end, .salt = h.salt, .end = b.len,
		.capacity = SB_MAX(j->conf.segment_bytes, b.len + extra + 64) };
	ret->file = j->w.spare;
	j->w.spare = NULL;
	if (ret->file && ret->capacity > j->conf.segment_bytes && j->vfs->ops->allocate(ret->file, ret->capacity) < 0) {
		j->w.spare = ret->file;
		ret->file = NULL;
	}
	if (!ret->file && !j->w.spare)
		ret->file = make_spare(j, ret->capacity);
	if (ret->file && sb_roll_write(j, ret->file, b.p, b.len, 0) < 0) {
		close_keeping_errno(ret->file);
		ret->file = NULL;
	}
	sb_buf_done(&b);
	return ret->file ? 0 : -1;
}

/* The new segment is durable under its own name, and from now on the one that is written. */
static int fresh_finish(struct sb_journal *j, struct fresh *f)
{
	char from[SB_SEGMENT_PATH_MAX], to[SB_SEGMENT_PATH_MAX];

	spare_path(j, from);
	sb_segment_path(j->conf.dir, f->number, to);
	SB_FAULT("journal.roll");
	if (sb_roll_sync(j, f->file) < 0) {
		close_keeping_errno(f->file);
		return -1;
	}
	if (j->vfs->ops->rename(j->vfs, from, to) < 0 || j->vfs->ops->sync_dir(j->vfs, j->conf.dir) < 0) {
		/* A restart may find this segment or not. With it, nothing counts that comes behind the end of the one before. */
		sb_roll_fatal(j, "a journal segment could not be given its name");
		j->vfs->ops->close(f->file);
		return -1;
	}
	if (j->w.file)
		j->vfs->ops->close(j->w.file);
	j->w.file = f->file;
	j->w.end = f->end;
	j->w.capacity = f->capacity;
	j->w.salt = f->salt;
	j->w.number = f->number;
	j->w.sealed = false;
	sb_state_add_segment(&j->w.state, f->number, j->w.state.next_dno);
	return 0;
}

static int seal(struct sb_journal *j)
{
	struct sb_buf b = SB_BUF(64);

	seal_frame(j, &b);
	sb_frame_stamp(b.p, j->w.state.next_seq, j->w.salt);
	if (sb_roll_write(j, j->w.file, b.p, b.len, j->w.end) == 0 && sb_roll_sync(j, j->w.file) == 0) {
		j->w.end += b.len;
		j->w.state.next_seq++;
		j->w.sealed = true;
	}
	sb_buf_done(&b);
	return j->w.sealed ? 0 : -1;
}

/* The newest segment is left as it is. */
int sb_roll_away(struct sb_journal *j, uint64_t extra)
{
	struct fresh f;

	return fresh_begin(j, j->w.number + 1, j->w.end, extra, &f) == 0 ? fresh_finish(j, &f) : -1;
}

int sb_roll(struct sb_journal *j, uint64_t extra)
{
	sb_roll_refill(j);
	if (!j->w.spare)
		return -1;
	if (j->w.file && !j->w.sealed && j->w.end + 64 <= j->w.capacity && seal(j) < 0)
		j->w.capacity = j->w.end; /* what is there is durable; nothing more is written behind it */
	return sb_roll_away(j, extra);
}

int sb_writer_first_segment(struct sb_journal *j, struct sb_err *err)
{
	sb_roll_refill(j);
	if (sb_roll(j, 0) < 0)
		return sb_fail_errno(err, "cannot begin a journal segment in '%s'", j->conf.dir);
	sb_roll_refill(j);
	sb_writer_publish(j);
	return 0;
}

static bool sync_unlinked(struct sb_journal *j)
{
	if (j->w.unlinked && j->vfs->ops->sync_dir(j->vfs, j->conf.dir) == 0)
		j->w.unlinked = false;
	return !j->w.unlinked;
}

void sb_roll_unlink_finished(struct sb_journal *j)
{
	struct sb_state *s = &j->w.state;
	size_t before = s->n_segs;

	while (s->n_segs > 1 && s->seg[0].open == 0 && s->seg[0].last_letter <= j->w.released && sync_unlinked(j)) {
		char path[SB_SEGMENT_PATH_MAX];

		sb_segment_path(j->conf.dir, s->seg[0].number, path);
		SB_FAULT("journal.unlink");
		pthread_mutex_lock(&j->lock);
		j->shared.oldest_segment = s->seg[1].number;
		pthread_mutex_unlock(&j->lock);
		if (j->vfs->ops->unlink(j->vfs, path) < 0 && errno != ENOENT)
			break;
		sb_state_drop_oldest(s);
		j->w.unlinked = true;
	}
	sync_unlinked(j);
	if (s->n_segs < before)
		sb_writer_publish(j);
}

void sb_roll_close(struct sb_journal *j)
{
	char path[SB_SEGMENT_PATH_MAX];

	if (j->w.file)
		j->vfs->ops->close(j->w.file);
	if (j->w.spare) {
		j->vfs->ops->close(j->w.spare);
		spare_path(j, path);
		j->vfs->ops->unlink(j->vfs, path);
	}
}
