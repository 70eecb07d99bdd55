/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_WINDOW_H
#define SB_CONNECTORS_KAFKA_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The records of one partition that are read and not committed, in the order of their offsets. They finish in any order; the
 * position moves over those at the front that have, and when the group has that position they are forgotten:
 *
 *        base            head            tail
 *         │   finished    │     held      │
 *
 * What is between base and tail is what comes again after a crash, and that is what is bounded, by count and by bytes. Offsets
 * are a list, not arithmetic: compaction and transactions leave gaps. The memory grows to what was needed, once.
 */
struct kafka_window_slot {
	int64_t offset;
	int32_t leader_epoch; /* -1: unknown */
	uint32_t bytes;
	bool done;
};

struct kafka_window {
	struct kafka_window_slot *slot; /* a ring; cap is a power of two */
	uint32_t cap, max;
	uint32_t base, head, tail; /* they only grow */
	uint64_t bytes;       /* of those that are held */
	uint64_t finished_bytes, max_bytes;
	int64_t position;     /* the next offset to read after a restart; -1: nothing has finished */
	int32_t position_epoch;
};

void kafka_window_init(struct kafka_window *w, uint32_t max, uint64_t max_bytes);
void kafka_window_free(struct kafka_window *w);

/* No record may be added now. One is always let in. */
static inline bool kafka_window_full(const struct kafka_window *w)
{
	return w->tail - w->base >= w->max || (w->tail != w->base && w->bytes + w->finished_bytes >= w->max_bytes);
}

/* Full, and a commit would not change it. */
static inline bool kafka_window_stuck(const struct kafka_window *w)
{
	return w->base == w->head && kafka_window_full(w);
}

static inline uint32_t kafka_window_finished(const struct kafka_window *w)
{
	return w->head - w->base;
}

/* The position is to be committed at once: half of the window, or all of its room, waits for that. */
static inline bool kafka_window_due(const struct kafka_window *w)
{
	uint32_t n = kafka_window_finished(w);

	return n && (n >= w->max - n || w->finished_bytes >= w->max_bytes / 2 || kafka_window_full(w));
}

static inline uint32_t kafka_window_held(const struct kafka_window *w)
{
	return w->tail - w->head;
}

/* Not full. Returns the record's number, for done(). */
uint32_t kafka_window_add(struct kafka_window *w, int64_t offset, int32_t leader_epoch, uint32_t bytes);
/* It has finished, once. True: the position has moved. */
bool kafka_window_done(struct kafka_window *w, uint32_t number);
/* The group has this position now. */
void kafka_window_committed(struct kafka_window *w, int64_t position);

#endif
