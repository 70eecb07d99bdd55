/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group commit. What is queued becomes one group: a GROUP frame, then every append's frames, numbered and check-summed, in
 * one buffer; one write, one fdatasync; then the state takes them in, and the appends and their deliveries go home. A group
 * that cannot be made durable leaves nothing behind: its numbers are used again.
 *
 * Room (roll.c). New events are refused when there is none beside the reserve; outcomes go on into the reserve. When that is used
 * up, too, they stand in line, in their order, and room is looked for once a second.
 *
 * A failed write or sync is never tried again on the same file: the group goes into the spare, whose header says where the
 * segment before ended. When that fails too, the process must end and recover.
 */
#include "broker/journal/roll.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "broker/base/fault.h"

#define GROUP_FRAME (SB_FRAME_HEADER + 28) /* already a multiple of 8 */
#define ROOM_NS (SB_ROOM_MS * SB_NS_PER_MS)

void sb_writer_init(struct sb_journal *j)
{
	j->w.queue.tail = &j->w.queue.first;
	j->w.line.tail = &j->w.line.first;
	sb_buf_init(&j->w.group, (size_t)1 << 31);
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
		if (!a->state && sb_roll_is_full(j)) {
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
	sb_frame_stamp(b->p, seq++, j->w.salt);
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
			sb_frame_stamp(frame, seq++, j->w.salt);
			at += sb_frame_size(le32toh(len));
		}
	}
}

static int write_group(struct sb_journal *j)
{
	const struct sb_buf *b = &j->w.group;

	if (sb_roll_write(j, j->w.file, b->p, b->len, j->w.end) < 0)
		return -1;
	SB_FAULT("journal.after_write");
	return sb_roll_sync(j, j->w.file);
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
	j->w.stats.failed_groups++;
	j->w.state.next_seq = before->seq;
	j->w.state.next_dno = before->dno;
	if (sb_roll_away(j, bytes + GROUP_FRAME) < 0)
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
	if (sb_roll(j, bytes + reserve) == 0)
		return 0;
	return j->w.failed ? -1 : sb_roll(j, bytes + reserve); /* a spare that failed was replaced */
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
		sb_roll_fatal(j, "the journal cannot begin another file");
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
	if (j->w.full && !j->w.line.first && !sb_roll_is_full(j))
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
		sb_roll_fatal(j, "the journal cannot be written");
		deliver_group(group, SB_APPEND_FAILED);
		return true;
	}
	j->w.state.next_dno = before.dno; /* applying counts them again */
	apply_group(j);
	sb_writer_publish(j);
	deliver_group(group, SB_APPEND_DURABLE);
	sb_roll_unlink_finished(j);
	sb_roll_refill(j);
	return true;
}

void sb_writer_release(struct sb_journal *j)
{
	j->w.released = SB_MAX(j->w.released, atomic_load(&j->released));
	if (!j->w.failed)
		sb_roll_unlink_finished(j);
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
		sb_frames_stamp(b, 0, j->w.state.next_seq, j->w.salt);
		if (j->w.end + b->len <= j->w.capacity)
			write_group(j);
	}
	sb_buf_done(&frame);
}

void sb_writer_close(struct sb_journal *j)
{
	sb_writer_release(j);
	write_last_checkpoint(j);
	sb_roll_close(j);
	sb_buf_done(&j->w.group);
	sb_state_done(&j->w.state);
}
