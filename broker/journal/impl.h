/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_JOURNAL_IMPL_H
#define SB_JOURNAL_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "broker/journal/state.h"

/*
 * The journal's inside. `w` belongs to the writer, `r` to the reader; `shared` is what the writer publishes after each
 * group for the reader and for statistics, under a lock that nobody holds for longer than a copy.
 */
struct sb_redrive {
	struct sb_slice letter;
	uint64_t dno;  /* of its first delivery */
	uint32_t owed;
};

#define SB_READ_TURN (4u << 20) /* bytes a read looks at before others get their turn */
#define SB_ROOM_MS 1000 /* how often a full disk is looked at again */

struct sb_append_queue {
	struct sb_append *first, **tail;
};

struct sb_attempts { /* of outstanding deliveries, from before the restart */
	struct sb_map by_dno; /* key: the 8 bytes of dno inside the value */
};

struct sb_journal {
	struct sb_vfs *vfs;
	const struct sb_clock *clock;
	struct sb_journal_conf conf;
	struct sb_recovery recovery;
	struct {
		uint64_t *bits;           /* done bits of the recovered segments, one array after the other */
		struct sb_seg_state *seg; /* .done points into bits; .bytes is where the segment ends */
		size_t n_segs;
	} recovered;
	struct sb_attempts attempts;
	struct sb_redrive *redrive;
	size_t n_redrives;
	void (*on_fatal)(void *arg, const struct sb_err *err);
	void *on_fatal_arg;

	struct {
		struct sb_mailbox mail;
		pthread_t thread;
		bool started, stopping, failed;
		struct sb_mail stop;
		struct sb_append_queue queue;
		struct sb_append_queue line;     /* state that waits for room, older than all that is queued */
		uint64_t line_since_ns;          /* when room was looked for last */
		struct sb_state state;
		struct sb_file *file;            /* of the newest segment */
		uint64_t end, capacity;          /* where the next group goes; bytes allocated */
		uint64_t number;                 /* of the newest segment file */
		uint32_t salt;
		struct sb_journal_stats stats;
		struct sb_file *spare;           /* allocated ahead: the reserve; NULL: there is none */
		struct sb_buf group;
		bool full;
		bool sealed;                     /* the newest segment has its SEAL */
		bool unlinked;                   /* a segment was, and the folder is not synced */
		uint64_t full_checked_ns;
		uint64_t released;               /* highest DEAD that the table has */
	} w;
	atomic_uint_fast64_t released;
	struct sb_mail release_mail;
	atomic_bool release_posted;

	struct {
		struct sb_mailbox mail;
		pthread_t thread;
		bool started, stopping;
		struct sb_mail stop;
		struct sb_segment_reader segment; /* kept open between reads */
		bool open;
		bool grew;                             /* it was the newest when its window was filled */
	} r;

	pthread_mutex_t lock;
	struct {
		struct sb_position durable; /* end of what may be read */
		uint64_t next_dno, oldest_segment;
		struct sb_journal_stats stats;
	} shared;
};

static inline void sb_append_queue_add(struct sb_append_queue *q, struct sb_append *a)
{
	a->next = NULL;
	*q->tail = a;
	q->tail = &a->next;
}

/* writer.c */
void sb_writer_init(struct sb_journal *j);
int sb_writer_first_segment(struct sb_journal *j, struct sb_err *err); /* after recovery: a segment to write in */
bool sb_writer_commit(struct sb_journal *j);                           /* one group; false: nothing to be done now */
bool sb_writer_waits(const struct sb_journal *j);                      /* for room: to be called every SB_ROOM_MS, mail or not */
void sb_writer_finish(struct sb_journal *j);                           /* commits what is queued; what cannot be goes home failed */
void sb_writer_close(struct sb_journal *j);
void sb_writer_publish(struct sb_journal *j);
void sb_writer_release(struct sb_journal *j);                          /* after sb_journal_released: segments may go */
/* reader.c */
void sb_reader_begin(struct sb_journal_read *r);
bool sb_reader_serve(struct sb_journal *j, struct sb_journal_read *r); /* false: its turn is over, and it is not done */
void sb_reader_close(struct sb_journal *j);
/* recover.c */
int sb_recover(struct sb_journal *j, struct sb_err *err);
void sb_recovery_free(struct sb_journal *j);

#endif
