/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_LIST_H
#define SB_CONNECTORS_REDIS_LIST_H

#include "feed.h"

/*
 * What a list has that a stream has not. Its keys in Redis, all in the list's own slot of a cluster:
 *
 *   {NAME}:signalbox:taken:CONSUMER   list: what a reader has taken and not finished; the newest first
 *   {NAME}:signalbox:readers          sorted set: readers by when they were last heard of, in Redis' own milliseconds
 *   {NAME}:signalbox:tries            hash: how often what is in a `taken` list was found there by a reader that began; by hash of the bytes
 */
struct rds_list {
	char *taken, *readers, *tries;
	size_t asked;                /* elements that the reader's connection owes us */
	bool suspect;                /* what is found in our list may have ended a process: ours before this one, or another reader's */
	size_t unseen;               /* as many of the newest in our list, at most, have never been in the window */
	bool plenty;                 /* the last read brought all it asked for */
	uint64_t heard_ns, beat_ns;  /* Redis had us among the readers last; asked for it last */
	uint64_t steady_ns;          /* every beat has been in time since */
	double now_ms;               /* by its clock, at the last beat */
	bool beating;
	unsigned long long serial;   /* of elements: they have no id of their own */
	/* recover.c: a look at what our `taken` has, from its end */
	unsigned round;
	size_t at, page, trying;     /* looked at so far; elements a page; counts that are due */
	size_t total;                /* of unseen ones only: how many there are */
	bool last_page, no_room;
	struct sb_map held;          /* bytes to the entries that hold them and have not been seen */
	size_t skip[RDS_SKIPPED], n_skip; /* places from the end of what is larger than we read */
	/* members.c: a reader that is gone, and what it had is being moved to us */
	char *gone;
	size_t moving;               /* answers that are due */
	bool moved_all;
};

char *rds_list_taken_of(const struct rds_feed *f, struct sb_slice consumer); /* caller frees */
struct rds_id rds_list_next_id(struct rds_feed *f);

/* recover.c */
void rds_look_begin(struct rds_feed *f);
void rds_look_go_on(struct rds_feed *f); /* there may be room again */
void rds_look_stop(struct rds_feed *f, bool flooded);
size_t rds_tries_key(struct sb_slice value, char out[17]); /* its length */

/* members.c */
void rds_beat(struct rds_feed *f);       /* say that we are there; and who is not */
bool rds_beat_is_fresh(const struct rds_feed *f);
void rds_move_go_on(struct rds_feed *f);
void rds_move_stop(struct rds_feed *f);

#endif
