/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_SHARD_H
#define SB_BROKER_SHARD_H

#include "broker/base/buf.h"
#include "broker/base/heap.h"
#include "broker/base/list.h"
#include "broker/base/uuid.h"
#include "broker/core.h"
#include "broker/sample.h"

/*
 * A shard: one thread that owns connections, source instances, and the targets whose home it is. Here is its state and what
 * it does in one turn; the libevent thread around it is loop.h, and the simulation turns it by hand.
 *
 * A turn: run the mail, tick what is due, then submit the turn's state records (RESULT, ATTEMPT, DEAD) as one append.
 */
struct sb_shard_frames;

struct sb_shard {
	struct sb_core *core;
	unsigned index;
	struct sb_mailbox mail;
	struct sb_rand rand;
	struct sb_uuid_gen uuids;
	struct sb_env env;
	struct sb_plan *plan;           /* one reference */
	struct sb_heap wishes;          /* of sb_target_slot.wish */
	struct sb_shard_frames *frames; /* being filled in this turn; NULL: nothing yet */
	struct sb_link free_frames;
	uint64_t state_bytes;           /* submitted, not yet durable */
	bool state_held;                /* too many of them: targets are paused until the disk has caught up */
	struct sb_link slots;           /* targets at home here, by home_link */
	struct sb_link leaving;         /* units of theirs that finish what they have */
	unsigned n_lingering;           /* removed targets that still have a unit */
	struct sb_hits hits;            /* scratch of the intake */
	struct sb_buf scratch;
	struct sb_owed *owed;           /* of the event at hand; an input is pool memory of ours until somebody takes it */
	struct sb_target_slot **owed_to;
	size_t n_owed, owed_cap;
	sb_counter **hit_count;         /* of the rules that it matched */
	size_t n_hit_counts, cap_hit_counts;
	struct sb_direct_done *done;    /* scratch of receipts */
	size_t done_cap;
	struct sb_link units;           /* source instances open here, by sb_source_unit.link */
	struct sb_link free_groups;
	uint64_t groups_open;           /* emitted, not yet durable */
	sb_counter unmatched, events;   /* that were stored */
	struct sb_samples samples;
};

/* `with_fd` false: the simulation. `env` is copied; its base, routes and procs are the loop's. */
struct sb_shard *sb_shard_new(struct sb_core *core, unsigned index, bool with_fd, uint64_t seed);
void sb_shard_free(struct sb_shard *s);

/* One turn; returns how many mails ran. */
unsigned sb_shard_turn(struct sb_shard *s);
/* Monotonic time of the next wish; UINT64_MAX: none. */
uint64_t sb_shard_next_due(const struct sb_shard *s);
/* Nothing submitted is still on its way. */
bool sb_shard_quiet(const struct sb_shard *s);

/* On the shard's own thread. Takes the reference. */
void sb_shard_set_plan(struct sb_shard *s, struct sb_plan *p);
/* The first plan, or one after a restart: takes it and opens what is at home here. The reference moves in. */
int sb_shard_open_plan(struct sb_shard *s, struct sb_plan *p, struct sb_err *err);
/* No new attempts; drained when none is in flight and what came in is durable. */
void sb_shard_drain(struct sb_shard *s);
bool sb_shard_drained(const struct sb_shard *s);
int sb_shard_open_source(struct sb_shard *s, struct sb_source_unit *u, struct sb_err *err);
void sb_shard_close_source(struct sb_shard *s, struct sb_source_unit *u); /* starts; u->closed when done */
void sb_shard_free_source(struct sb_source_unit *u); /* closed, or its shard no longer runs */

/* ------------------------------------------------------------------------------------------------ intake */

/* Events that entered together. Who emits them is told when they are durable. */
struct sb_intake_group {
	struct sb_append append;
	struct sb_link link;
	struct sb_shard *shard;
	uint64_t cookie;
	bool notes;     /* its handovers are a receipt's, not deliveries */
	size_t n;
	sb_counter **tally; /* what goes up by one when the group is durable: a refused event has matched nothing */
	size_t n_tally, cap_tally;
	void *arg;
	void (*done)(struct sb_intake_group *g, bool durable, const struct sb_refusal *why);
};
void sb_intake_group_free(struct sb_intake_group *g);
/* Deliveries that never went out, because what owes them was not stored: gives their room back. */
void sb_append_drop_deliveries(struct sb_append *a);

struct sb_intake_extra {
	struct sb_slice parent;     /* receipt text of the event it came from */
	struct sb_slice redrive_of; /* dead letter's id */
};

/*
 * Match, reserve, journal: all or none. 0: the events moved in, and done() follows on this shard. -1: refusal[i] says why.
 * `only` names the single (rule, target, input) a redrive owes instead of what today's rules say; NULL: match.
 */
struct sb_intake_only {
	const char *rule;
	struct sb_target_slot *target;
	struct sb_slice input; /* n 0: the event's bare form */
	uint64_t generation;   /* of the match that this repeats; 0: today's */
	uint8_t flags;
};
struct sb_intake_call {
	struct sb_event **ev;
	size_t n;
	const struct sb_intake_extra *extra; /* NULL: none */
	const struct sb_intake_only *only;
	bool must_match;                     /* what would be owed to nobody is refused */
	void (*done)(struct sb_intake_group *g, bool durable, const struct sb_refusal *why);
	void *arg;                           /* comes back as g->arg */
	uint64_t cookie;
};
int sb_intake(struct sb_shard *s, const struct sb_intake_call *call, struct sb_refusal *refusal);
/*
 * What an event becomes when it comes in once more, over a bus, as a dead letter, by a redrive: the same text under the same id,
 * with a receipt of its own, so that no delivery of it can be taken for one of the first.
 */
int sb_intake_again(struct sb_shard *s, struct sb_slice json, const char *bus, const char *origin, struct sb_event **ret,
	struct sb_err *err);
/*
 * One event that its source keeps until it is settled: delivered from memory, and into the journal only when it must. For
 * sb_source_hand. 0: the event moved in; settled follows.
 */
int sb_intake_held(struct sb_source_unit *u, struct sb_event *ev, const struct sb_held *held, struct sb_refusal *refusal);

/* For receipts: a group of their own making, and what is owed that nobody takes. */
struct sb_intake_group *sb_intake_group_get(struct sb_shard *s);
void sb_intake_group_submit(struct sb_intake_group *g);
void sb_intake_forget_owed(struct sb_shard *s, const struct sb_event *ev);

/* ------------------------------------------------------------------------------------------------ state records */

/* The turn's buffer of state records. */
struct sb_buf *sb_shard_frames_buf(struct sb_shard *s);
/* This turn's records contain a DEAD record, or finish a redrive: told to the dead-letter thread once durable. */
void sb_shard_frames_dead(struct sb_shard *s);
void sb_shard_frames_redriven(struct sb_shard *s, const struct sb_delivery *dl, bool died, size_t end); /* end: of its record */
/* A delivery for an EVENT record that was put into the turn's buffer. */
void sb_shard_frames_owe(struct sb_shard *s, struct sb_handover *h);
/* This turn's records hold the outcomes of this receipt: it is settled once they are durable. */
struct sb_receipt;
void sb_shard_frames_settle(struct sb_shard *s, struct sb_receipt *r);
void sb_shard_flush(struct sb_shard *s);

/* The dispatch's view of its shard, for sb_dispatch_new (target.c). arg is the slot. */
void sb_target_env(struct sb_target_slot *slot, struct sb_dispatch_env *ret);

#endif
