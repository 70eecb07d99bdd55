/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_JOURNAL_STATE_H
#define SB_JOURNAL_STATE_H

#include "broker/base/arena.h"
#include "broker/base/map.h"
#include "broker/journal/segment.h"

/*
 * What the records add up to. The writer applies every group once it is durable; recovery and audit apply what they read:
 * one piece of code, so that a restart knows what the running daemon knew.
 *
 * Outstanding deliveries are one bit each, by the segment that holds their EVENT. Routes are numbered in the order in which
 * they first appear, which a replay repeats.
 */
struct sb_route {
	const char *source, *rule, *target; /* interned */
	uint64_t accepted, delivered, dead;
};

struct sb_seg_state {
	uint64_t number, first_dno;
	uint64_t n;            /* deliveries owed by its EVENT records */
	uint64_t open;         /* of them without outcome */
	uint64_t *done;        /* bits */
	uint64_t *redrive;     /* bits: of a dead letter; NULL: none is */
	uint64_t cap_words;    /* of each */
	uint64_t last_letter;  /* highest record that the table must have heard of before the file may go; 0: none */
	uint64_t bytes;        /* used in the file */
};

struct sb_state {
	uint64_t next_seq, next_dno;
	struct sb_route *route;
	uint32_t n_routes, cap_routes;
	struct sb_map route_index;      /* source \0 rule \0 target -> 1 + index, as pointer */
	struct sb_arena route_keys;
	struct sb_seg_state *seg;       /* oldest first; the last is being written */
	size_t n_segs, cap_segs;
	uint64_t base_dno;              /* what is older was owed by segments that are gone */
	struct sb_map pauses;           /* "target/x" -> its own text */
	struct sb_map positions;        /* key -> struct sb_slice * */
	uint64_t generation;
	uint8_t generation_sha[32];
	struct sb_buf generation_text;
	uint64_t events, unmatched, open, double_results, unknown_results;
	bool loaded;                    /* a CHECKPOINT was */
};

void sb_state_init(struct sb_state *s);
void sb_state_done(struct sb_state *s);
struct sb_seg_state *sb_state_add_segment(struct sb_state *s, uint64_t number, uint64_t first_dno);
void sb_state_drop_oldest(struct sb_state *s);

/* Route of a delivery; made when it is new. */
uint32_t sb_state_route(struct sb_state *s, struct sb_slice source, struct sb_slice rule, struct sb_slice target);
/* The route of a record that carries its index: also right when a damaged record before it made another. */
uint32_t sb_state_route_at(struct sb_state *s, uint32_t index, struct sb_slice source, struct sb_slice rule, struct sb_slice target);
bool sb_state_is_done(const struct sb_state *s, uint64_t dno); /* also true for what is older than every segment */

/*
 * One frame of the newest segment. CHECKPOINT records are loaded when nothing is known yet; otherwise *why_not says where
 * they disagree with the recount (NULL: do not compare). -1: malformed.
 */
int sb_state_apply(struct sb_state *s, enum sb_record_type type, uint64_t seq, struct sb_slice payload, char why_not[200]);

/* CHECKPOINT; and GENERATION, nothing where there is none. A segment starts with both. */
int sb_state_checkpoint(const struct sb_state *s, uint64_t wall_ms, struct sb_buf *out);
int sb_state_generation(const struct sb_state *s, struct sb_buf *out);

#endif
