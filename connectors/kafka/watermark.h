/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_WATERMARK_H
#define SB_CONNECTORS_KAFKA_WATERMARK_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Up to where everything of one partition is settled. Records come in the order of their offsets, with gaps, and are settled
 * in any order; the position that may be stored is the offset behind the last one before which nothing is open. Pure.
 *
 * An assignment of the partition is an epoch. What was handed out in an epoch is settled with it; once the partition has been
 * revoked (fence) or assigned anew (begin), such settlements are stale: counted, and without effect on any position.
 *
 * The window bounds what may lie between the position and the newest record: how many records (what may come twice after a
 * crash), and bytes of those that are open (memory). One record always finds room, however large.
 *
 * Memory grows with the window in use, by doubling, up to the limit, and is kept: once warm, nothing is allocated.
 */
struct kafka_watermark_limits {
	uint32_t records; /* at least 1, at most 2^30 */
	uint64_t bytes;
};

struct kafka_watermark_entry {
	int64_t offset;
	uint32_t bytes;
	bool settled;
};

struct kafka_watermark {
	struct kafka_watermark_limits limits;
	struct kafka_watermark_entry *ring; /* by number & (cap - 1) */
	uint32_t cap;                       /* a power of two, or 0 */
	uint32_t first, next;               /* numbers: the oldest in the window, the one to come; they wrap */
	uint32_t epoch;                     /* 0: fenced */
	uint32_t open;                      /* not settled */
	uint64_t bytes;                     /* of those */
	int64_t last;                       /* newest offset of this epoch; -1: none yet */
	int64_t position, stored;           /* next offset to read; -1: not known yet. What moved() has told */
	uint64_t stale;                     /* settlements, since init */
};

void kafka_watermark_init(struct kafka_watermark *w, const struct kafka_watermark_limits *limits);
void kafka_watermark_done(struct kafka_watermark *w);

/* The partition is ours from now on. epoch: not 0, and none that was used for it before. Forgets what was in the window. */
void kafka_watermark_begin(struct kafka_watermark *w, uint32_t epoch);
/* It is no longer ours: no position comes out of here before the next begin(). */
void kafka_watermark_fence(struct kafka_watermark *w);

bool kafka_watermark_has_room(const struct kafka_watermark *w, uint32_t bytes);
/*
 * A record that there is room for. 0: *ret names it in settle(). -1: its offset is not behind the last one (the log was cut, or
 * read again from an earlier place): what is under way belongs to another history, and a new epoch must begin.
 */
int kafka_watermark_add(struct kafka_watermark *w, int64_t offset, uint32_t bytes, uint32_t *ret);

/* Once for each record. True: the position has moved. A stale epoch is counted, and nothing else. */
bool kafka_watermark_settle(struct kafka_watermark *w, uint32_t number, uint32_t epoch);

/* The position, if it has moved since this was last asked: the offset to store, as it is. */
bool kafka_watermark_moved(struct kafka_watermark *w, int64_t *ret);
/* The offset that holds the position; -1: nothing is open. */
int64_t kafka_watermark_held_by(const struct kafka_watermark *w);

/* Records in the window, settled ones behind an open one included. */
static inline uint32_t kafka_watermark_span(const struct kafka_watermark *w)
{
	return w->next - w->first;
}

#endif
