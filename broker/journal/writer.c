/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group commit. What is queued becomes one group: a GROUP frame, then every append's frames, numbered and check-summed, in
 * one buffer; one write, one fdatasync; then the state takes them in, and the appends and their deliveries go home. A group
 * that cannot be made durable leaves nothing behind: its numbers are used again.
 *
 * Room. The newest segment is allocated in full, and so is the one after it, the spare. New events are refused when there
 * is no spare or the disk is nearly full; outcomes go on into what is left of the segment and then into the spare. When that
 * is used up, too, they stand in line, in their order, and room is looked for once a second.
 *
 * A failed write or sync is never tried again on the same file: the group goes into the spare, whose header says where the
 * segment before ended. When that fails too, the process must end and recover.
 */
#include "broker/journal/impl.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/crc32c.h"
#include "broker/base/fault.h"

#define GROUP_FRAME (SB_FRAME_HEADER + 28) /* already a multiple of 8 */
#define ROOM_NS (SB_ROOM_MS * SB_NS_PER_MS)

static void spare_path(const struct sb_journal *j, char out[SB_SEGMENT_PATH_MAX])
{
	snprintf(out, SB_SEGMENT_PATH_MAX, "%s/spare", j->conf.dir);
}

void sb_writer_init(struct sb_journal *j)
{
	j->w.queue.tail = &j->w.queue.first;
	j->w.line.tail = &j->w.line.first;
	sb_buf_init(&j->w.group, (size_t)1 << 31);
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

static void refill_spare(struct sb_journal *j)
{
	if (!j->w.spare)
		j->w.spare = make_spare(j, j->conf.segment_bytes);
}

/* May new events come in? The disk is looked at again at most once a second. */
static bool check_full(struct sb_journal *j)
{
	uint64_t now = sb_mono_ns(j->clock);

	if (j->w.full_checked_ns && now - j->w.full_checked_ns < ROOM_NS)
		return j->w.full || !j->w.spare;
	j->w.full_checked_ns = now ? now : 1;
	refill_spare(j);
	j->w.full = !j->w.spare || !disk_has_room(j);
	return j->w.full;
}

static void fatal(struct sb_journal *j, const char *what)
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

static int write_at(struct sb_journal *j, struct sb_file *f, const void *p, size_t n, uint64_t off)
{
	SB_FAULT("journal.before_write");
	(void)j;
	if (SB_FAULT_ERR("journal.write")) {
		errno = EIO;
		return -1;
	}
	return sb_file_write_all(f, p, n, off);
}

static int sync_file(struct sb_journal *j, struct sb_file *f)
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

/* Gives a frame its number and checksum. */
static void stamp(char *frame, uint64_t seq, uint32_t salt)
{
	uint32_t len, crc;

	memcpy(&len, frame, 4);
	seq = htole64(seq);
	memcpy(frame + 12, &seq, 8);
	crc = htole32(sb_frame_crc(salt, frame, le32toh(len)));
	memcpy(frame + 4, &crc, 4);
}

/* Stamps every frame from `from` on; returns the next number. */
static uint64_t stamp_all(struct sb_buf *b, size_t from, uint64_t seq, uint32_t salt)
{
	while (from < b->len) {
		uint32_t len;

		memcpy(&len, b->p + from, 4);
		stamp(b->p + from, seq++, salt);
		from += sb_frame_size(le32toh(len));
	}
	return seq;
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
	s->next_seq = stamp_all(&b, SB_SEGMENT_HEADER, s->next_seq, h.salt);
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
	if (ret->file && write_at(j, ret->file, b.p, b.len, 0) < 0) {
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
	if (sync_file(j, f->file) < 0) {
		close_keeping_errno(f->file);
		return -1;
	}
	if (j->vfs->ops->rename(j->vfs, from, to) < 0 || j->vfs->ops->sync_dir(j->vfs, j->conf.dir) < 0) {
		/* A restart may find this segment or not. With it, nothing counts that comes behind the end of the one before. */
		fatal(j, "a journal segment could not be given its name");
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
	stamp(b.p, j->w.state.next_seq, j->w.salt);
	if (write_at(j, j->w.file, b.p, b.len, j->w.end) == 0 && sync_file(j, j->w.file) == 0) {
		j->w.end += b.len;
		j->w.state.next_seq++;
		j->w.sealed = true;
	}
	sb_buf_done(&b);
	return j->w.sealed ? 0 : -1;
}

/* Close the newest segment with a SEAL and go on in a new one with room for `extra` bytes. -1: errno says why. */
static int roll(struct sb_journal *j, uint64_t extra)
{
	struct fresh f;

	refill_spare(j);
	if (!j->w.spare)
		return -1;
	if (j->w.file && !j->w.sealed && j->w.end + 64 <= j->w.capacity && seal(j) < 0)
		j->w.capacity = j->w.end; /* what is there is durable; nothing more is written behind it */
	return fresh_begin(j, j->w.number + 1, j->w.end, extra, &f) == 0 ? fresh_finish(j, &f) : -1;
}

int sb_writer_first_segment(struct sb_journal *j, struct sb_err *err)
{
	refill_spare(j);
	if (roll(j, 0) < 0)
		return sb_fail_errno(err, "cannot begin a journal segment in '%s'", j->conf.dir);
	refill_spare(j);
	sb_writer_publish(j);
	return 0;
}

static bool sync_unlinked(struct sb_journal *j)
{
	if (j->w.unlinked && j->vfs->ops->sync_dir(j->vfs, j->conf.dir) == 0)
		j->w.unlinked = false;
	return !j->w.unlinked;
}

/*
 * Segments that owe nothing go, oldest first. What made them so is durable, and so is the segment after. Each is gone for good
 * before the next one goes: outcomes of what an older segment owed stand in younger ones.
 */
static void unlink_finished(struct sb_journal *j)
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

/* ------------------------------------------------------------------------------------------------ the group */

static void send_home(struct sb_append *a, enum sb_append_status status)
{
	a->status = status;
	a->mail.run = a->run;
	sb_mailbox_post(a->home, &a->mail);
}

static struct sb_append *queue_pop(struct sb_append_queue *q)
{
	struct sb_append *a = q->first;

	if (!a)
		return NULL;
	q->first = a->next;
	if (!q->first)
		q->tail = &q->first;
	return a;
}

/* All of `from` behind all of `to`. */
static void queue_move(struct sb_append_queue *to, struct sb_append_queue *from)
{
	if (!from->first)
		return;
	*to->tail = from->first;
	to->tail = from->tail;
	from->first = NULL;
	from->tail = &from->first;
}

static void queue_move_to_front(struct sb_append_queue *to, struct sb_append_queue *from)
{
	queue_move(from, to);
	queue_move(to, from);
}

static uint64_t queue_bytes(const struct sb_append_queue *q)
{
	uint64_t n = 0;

	for (const struct sb_append *a = q->first; a; a = a->next)
		n += a->frames.len;
	return n;
}

static void refuse(struct sb_journal *j, struct sb_append *a)
{
	j->w.stats.refused_full++;
	send_home(a, SB_APPEND_FULL);
}

/* The appends of the next group, chained; those refused for want of room have gone home. */
static struct sb_append *take_group(struct sb_journal *j, uint64_t *ret_bytes)
{
	struct sb_append *first = NULL, **tail = &first, *a;
	uint64_t bytes = 0;

	while ((a = j->w.queue.first) && (bytes == 0 || bytes + a->frames.len <= j->conf.group_bytes)) {
		queue_pop(&j->w.queue);
		if (!a->state && check_full(j)) {
			refuse(j, a);
			continue;
		}
		bytes += a->frames.len;
		a->next = NULL;
		*tail = a;
		tail = &a->next;
	}
	*ret_bytes = bytes;
	return first;
}

static void put_group_frame(struct sb_journal *j, struct sb_buf *b, uint64_t bytes, uint32_t n)
{
	size_t start = b->len;
	int bad = sb_frame_begin(b, SB_REC_GROUP, 0);

	bad |= sb_put_u64(b, j->w.number);
	bad |= sb_put_u64(b, j->w.end); /* everything before this place is durable */
	bad |= sb_put_u64(b, bytes);
	bad |= sb_put_u32(b, n);
	sb_frame_end(b, start, bad);
}

static void number_owed(struct sb_journal *j, char *owed, uint32_t route, struct sb_position at, struct sb_handover **h)
{
	struct sb_handover *d = *h;
	uint32_t le = htole32(route);

	memcpy(owed + SB_OWED_ROUTE_AT, &le, 4);
	if (d) { /* NULL: owed, but nobody waits here: it will be read back */
		d->dno = j->w.state.next_dno;
		d->route = route;
		d->at = at;
		*h = d->next;
	}
	j->w.state.next_dno++;
}

/* Numbers the deliveries that a copied EVENT frame owes. */
static void number_event(struct sb_journal *j, char *frame, struct sb_position at, struct sb_handover **h)
{
	uint64_t dno = htole64(j->w.state.next_dno);
	struct sb_event_view ev;
	struct sb_owed_view o;
	struct sb_slice owed;
	uint32_t len;

	memcpy(&len, frame, 4);
	memcpy(frame + SB_FRAME_HEADER, &dno, 8);
	SB_ASSERT(sb_event_view(sb_slice(frame + SB_FRAME_HEADER, le32toh(len) - SB_FRAME_HEADER), &ev) == 0);
	if (ev.n_owed == 0)
		sb_state_route(&j->w.state, ev.origin, SB_SLICE(""), SB_SLICE(""));
	for (owed = ev.owed; owed.n;) {
		char *entry = (char *)owed.p;

		SB_ASSERT(sb_owed_next(&owed, &o) == 1);
		number_owed(j, entry, sb_state_route(&j->w.state, ev.origin, o.rule, o.target), at, h);
	}
}

/* Routes are numbered in the order of their first appearance in the file, whatever record it is in. */
static void route_direct(struct sb_journal *j, const char *frame, uint32_t len)
{
	struct sb_direct_view ev;
	struct sb_direct_done_view d;

	SB_ASSERT(sb_direct_view(sb_slice(frame + SB_FRAME_HEADER, len - SB_FRAME_HEADER), &ev) == 0);
	if (ev.n == 0)
		sb_state_route(&j->w.state, ev.origin, SB_SLICE(""), SB_SLICE(""));
	while (sb_direct_next(&ev.done, &d) == 1)
		sb_state_route(&j->w.state, ev.origin, d.rule, d.target);
}

/* Copies the appends behind the GROUP frame and numbers everything. */
static void fill_group(struct sb_journal *j, struct sb_append *group, uint64_t bytes)
{
	struct sb_buf *b = &j->w.group;
	uint64_t seq = j->w.state.next_seq;
	uint32_t n = 0;

	sb_buf_clear(b);
	for (struct sb_append *a = group; a; a = a->next)
		n++;
	put_group_frame(j, b, bytes, n);
	stamp(b->p, seq++, j->w.salt);
	for (struct sb_append *a = group; a; a = a->next) {
		size_t at = b->len;
		struct sb_handover *h = a->deliveries;

		sb_buf_add_slice(b, sb_buf_slice(&a->frames));
		a->seq = seq;
		while (at < b->len) {
			char *frame = b->p + at;
			uint32_t len;

			memcpy(&len, frame, 4);
			if (frame[8] == SB_REC_EVENT)
				number_event(j, frame, (struct sb_position){ j->w.number, j->w.end + at }, &h);
			else if (frame[8] == SB_REC_DIRECT)
				route_direct(j, frame, le32toh(len));
			stamp(frame, seq++, j->w.salt);
			at += sb_frame_size(le32toh(len));
		}
	}
}

static int write_group(struct sb_journal *j)
{
	const struct sb_buf *b = &j->w.group;

	if (write_at(j, j->w.file, b->p, b->len, j->w.end) < 0)
		return -1;
	SB_FAULT("journal.after_write");
	return sync_file(j, j->w.file);
}

/* Once durable: the state takes the frames in. */
static void apply_group(struct sb_journal *j)
{
	struct sb_frame_iter it = { .rest = sb_buf_slice(&j->w.group) };
	struct sb_frame frame;

	while (sb_frame_next(&it, &frame) == 1) {
		uint64_t seq;

		memcpy(&seq, frame.payload.p - 8, 8);
		SB_ASSERT(sb_state_apply(&j->w.state, frame.type, le64toh(seq), frame.payload, NULL) == 0);
		j->w.stats.frames++;
	}
	j->w.end += j->w.group.len;
	j->w.state.seg[j->w.state.n_segs - 1].bytes = j->w.end;
	j->w.stats.groups++;
	j->w.stats.bytes += j->w.group.len;
}

static void deliver_group(struct sb_append *group, enum sb_append_status status)
{
	struct sb_append *a, *next;

	SB_FAULT("journal.before_ack");
	for (a = group; a; a = next) {
		struct sb_handover *h = a->deliveries, *next_h;

		next = a->next;
		if (status == SB_APPEND_DURABLE) {
			a->deliveries = NULL; /* they are their shards' now */
			for (; h; h = next_h) {
				next_h = h->next;
				sb_mailbox_post(h->home, &h->mail);
			}
		}
		send_home(a, status);
	}
}

struct numbers {
	uint64_t seq, dno;
};

/* The group could not be written or synced: once more, in a file that has not failed. */
static int rescue_group(struct sb_journal *j, struct sb_append *group, uint64_t bytes, const struct numbers *before)
{
	struct fresh f;

	j->w.stats.failed_groups++;
	j->w.state.next_seq = before->seq;
	j->w.state.next_dno = before->dno;
	if (fresh_begin(j, j->w.number + 1, j->w.end, bytes + GROUP_FRAME, &f) < 0 || fresh_finish(j, &f) < 0)
		return -1;
	fill_group(j, group, bytes);
	return write_group(j);
}

static bool has_events(const struct sb_append *group)
{
	while (group && group->state)
		group = group->next;
	return group != NULL;
}

/*
 * Room in the newest segment, or a new one. -1: none to be had now. Beside events there must be room for outcomes: what follows
 * a group that fills a segment, or is larger than one, may find no other.
 */
static int make_room(struct sb_journal *j, const struct sb_append *group, uint64_t bytes)
{
	uint64_t reserve = has_events(group) ? j->conf.segment_bytes / 2 : 0;

	bytes += GROUP_FRAME;
	if (j->w.end + bytes + 64 <= j->w.capacity)
		return 0;
	if (roll(j, bytes + reserve) == 0)
		return 0;
	return j->w.failed ? -1 : roll(j, bytes + reserve); /* a spare that failed was replaced */
}

/* Room may be made, descriptors be closed. Other errors are the disk's own: who starts us anew reads what is left of it. */
static bool may_pass(int error)
{
	return error == ENOSPC || error == EDQUOT || error == ENOMEM || error == EMFILE || error == ENFILE;
}

/* What can wait goes into `states`, in order; the rest is refused. false: all can wait. */
static bool refuse_impatient(struct sb_journal *j, struct sb_append *a, struct sb_append_queue *states)
{
	bool refused = false;
	struct sb_append *next;

	for (; a; a = next) {
		next = a->next;
		if (a->state && !a->no_wait) {
			sb_append_queue_add(states, a);
		} else {
			refuse(j, a);
			refused = true;
		}
	}
	return refused;
}

/* No room. State that came with what is refused is tried again without it; alone it waits. */
static void refuse_group(struct sb_journal *j, struct sb_append *group, int error)
{
	struct sb_append_queue states = { .tail = &states.first };

	j->w.full = true;
	j->w.full_checked_ns = sb_mono_ns(j->clock);
	if (refuse_impatient(j, group, &states)) {
		queue_move_to_front(&j->w.queue, &states);
		return;
	}
	if (!may_pass(error))
		fatal(j, "the journal cannot begin another file");
	j->w.stats.waiting = queue_bytes(&states);
	j->w.line_since_ns = j->w.full_checked_ns;
	queue_move(&j->w.line, &states);
}

/* What waits goes first again, if it is time; otherwise what came meanwhile stands behind it. */
static void look_at_line(struct sb_journal *j)
{
	struct sb_append_queue states = { .tail = &states.first };

	if (!j->w.line.first)
		return;
	if (j->w.failed || sb_mono_ns(j->clock) - j->w.line_since_ns >= ROOM_NS) {
		queue_move_to_front(&j->w.queue, &j->w.line);
		j->w.stats.waiting = 0;
	} else if (j->w.queue.first) {
		refuse_impatient(j, j->w.queue.first, &states);
		j->w.queue = (struct sb_append_queue){ .tail = &j->w.queue.first };
		j->w.stats.waiting += queue_bytes(&states);
		queue_move(&j->w.line, &states);
		sb_writer_publish(j);
	}
}

bool sb_writer_waits(const struct sb_journal *j)
{
	return j->w.line.first || j->w.full;
}

/* Whether there is room again must not wait for an event: who asks first sends none while there is not. */
static void look_for_room(struct sb_journal *j)
{
	if (j->w.full && !j->w.line.first && !check_full(j))
		sb_writer_publish(j);
}

bool sb_writer_commit(struct sb_journal *j)
{
	uint64_t bytes;
	struct sb_append *group;
	struct numbers before;

	look_at_line(j);
	if (!j->w.queue.first) {
		look_for_room(j);
		return false;
	}
	group = take_group(j, &bytes);
	if (j->w.failed) {
		deliver_group(group, SB_APPEND_FAILED);
		return true;
	}
	if (!group || make_room(j, group, bytes) < 0) {
		if (group)
			refuse_group(j, group, errno);
		sb_writer_publish(j);
		return true;
	}
	before = (struct numbers){ j->w.state.next_seq, j->w.state.next_dno };
	fill_group(j, group, bytes);
#ifdef SB_MUTANT_ACK_EARLY
	deliver_group(group, SB_APPEND_DURABLE);
	group = NULL;
#endif
	if (write_group(j) < 0 && rescue_group(j, group, bytes, &before) < 0) {
		fatal(j, "the journal cannot be written");
		deliver_group(group, SB_APPEND_FAILED);
		return true;
	}
	j->w.state.next_dno = before.dno; /* applying counts them again */
	apply_group(j);
	sb_writer_publish(j);
	deliver_group(group, SB_APPEND_DURABLE);
	unlink_finished(j);
	refill_spare(j);
	return true;
}

void sb_writer_release(struct sb_journal *j)
{
	j->w.released = SB_MAX(j->w.released, atomic_load(&j->released));
	if (!j->w.failed)
		unlink_finished(j);
	sb_writer_publish(j);
}

void sb_writer_publish(struct sb_journal *j)
{
	const struct sb_state *s = &j->w.state;

	j->w.stats.segments = s->n_segs;
	j->w.stats.outstanding = s->open;
	j->w.stats.disk_bytes = (s->n_segs + (j->w.spare != NULL)) * j->conf.segment_bytes;
	j->w.stats.full = j->w.full;
	pthread_mutex_lock(&j->lock);
	j->shared.durable = (struct sb_position){ j->w.number, j->w.end };
	j->shared.next_dno = s->next_dno;
	j->shared.oldest_segment = s->n_segs ? s->seg[0].number : 0;
	j->shared.stats = j->w.stats;
	pthread_mutex_unlock(&j->lock);
}

void sb_writer_finish(struct sb_journal *j)
{
	struct sb_append *a;

	while (sb_writer_commit(j))
		;
	j->w.line_since_ns = sb_mono_ns(j->clock) - ROOM_NS; /* what waits for room: one last time */
	while (sb_writer_commit(j))
		;
	while ((a = queue_pop(&j->w.line)))
		send_home(a, SB_APPEND_FAILED);
	j->w.stats.waiting = 0;
}

/* The last group of a clean end: what is recounted later can be held against it. It may be missing. */
static void write_last_checkpoint(struct sb_journal *j)
{
	struct sb_buf *b = &j->w.group, frame;

	if (j->w.failed || !j->w.file)
		return;
	sb_buf_init(&frame, b->max);
	sb_buf_clear(b);
	if (sb_state_checkpoint(&j->w.state, sb_wall_ms(j->clock), &frame) == 0) {
		put_group_frame(j, b, frame.len, 1);
		sb_buf_add_slice(b, sb_buf_slice(&frame));
		stamp_all(b, 0, j->w.state.next_seq, j->w.salt);
		if (j->w.end + b->len <= j->w.capacity)
			write_group(j);
	}
	sb_buf_done(&frame);
}

void sb_writer_close(struct sb_journal *j)
{
	char path[SB_SEGMENT_PATH_MAX];

	sb_writer_release(j);
	write_last_checkpoint(j);
	if (j->w.file)
		j->vfs->ops->close(j->w.file);
	if (j->w.spare) {
		j->vfs->ops->close(j->w.spare);
		spare_path(j, path);
		j->vfs->ops->unlink(j->vfs, path);
	}
	sb_buf_done(&j->w.group);
	sb_state_done(&j->w.state);
}
