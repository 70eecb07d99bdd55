/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EXECUTOR_LANES_H
#define SB_EXECUTOR_LANES_H

#include "executor/executor.h"

/*
 * Order within a target: the deliveries of a lane go one at a time. A lane exists while something of it is outstanding in
 * memory or in its range, so there are never more than order keys hash to. lanes.c has the picture.
 */
struct sb_lane {
	uint32_t id;
	bool blocked;               /* its head waits for a retry or is held */
	bool ranged;
	struct sb_delivery *head;   /* whose turn it is; NULL: the range is to be read */
	struct sb_link fifo;        /* those behind it that are in memory, in order */
	struct sb_link link;        /* lanes->stored, lanes->hungry, or none */
	struct sb_position from;    /* range: where the first is to be found ... */
	uint64_t min_dno, last_dno; /* ... and the numbers of the first, at least, and of the last */
};

struct sb_lanes {
	struct sb_map by_id;
	struct sb_link stored; /* with something in their fifo; blocked ones first */
	struct sb_link hungry; /* ready for more, which only the journal has */
	uint64_t blocked, ranged;
};

void sb_lanes_init(struct sb_lanes *ls);
void sb_lanes_done(struct sb_lanes *ls); /* frees the lanes, not their deliveries */

/* Where a delivery has its place. */
enum sb_lane_place {
	SB_LANE_TURN,   /* it is the head: it may go */
	SB_LANE_BEHIND, /* it was put into the fifo (SB_DL_LANE) */
	SB_LANE_RANGE,  /* it lies in the lane's range now: let it go */
};
enum sb_lane_place sb_lanes_put(struct sb_lanes *ls, struct sb_delivery *dl);
/* The head is through. Returns the next head, or NULL: none in memory. */
struct sb_delivery *sb_lanes_next(struct sb_lanes *ls, struct sb_lane *l);
void sb_lanes_block(struct sb_lanes *ls, struct sb_lane *l, bool on);
/* The lane whose fifo may go back to the journal first; NULL: none. Its deliveries are then popped from its fifo. */
struct sb_lane *sb_lanes_stored(struct sb_lanes *ls);
void sb_lanes_store_away(struct sb_lanes *ls, struct sb_lane *l); /* its fifo becomes (part of) its range; pop it after */
struct sb_lane *sb_lanes_hungry(struct sb_lanes *ls); /* NULL: none */
/* What a read of the range brought, in order; the first becomes the head and is returned by sb_lanes_fed. */
void sb_lanes_feed(struct sb_lanes *ls, struct sb_lane *l, struct sb_delivery *dl);
/* The read is over; everything below `horizon` was looked at. Returns the head; NULL: none, and the lane may be gone. */
struct sb_delivery *sb_lanes_fed(struct sb_lanes *ls, struct sb_lane *l, struct sb_position from, uint64_t horizon);

#endif
