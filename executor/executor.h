/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EXECUTOR_EXECUTOR_H
#define SB_EXECUTOR_EXECUTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/clock.h"
#include "broker/base/event.h"
#include "broker/base/heap.h"
#include "broker/base/list.h"
#include "broker/base/rand.h"
#include "broker/journal/journal.h"
#include "connectors/connector.h"

/*
 * Dispatch to one target: its queue, lanes, concurrency, retries, breaker. Owned by the target's home shard, so that every
 * limit is exact and nothing is locked. It reads no clock but the given one, does no I/O of its own, and knows the world
 * only through sb_dispatch_env: the whole of it runs under a fake clock.
 *
 * The queue is the journal. In `cached` mode every outstanding delivery of the target is in memory; when one does not fit
 * (cache_bytes), the target turns to `backlog` mode: arriving deliveries are let go and read back from the journal when
 * there is room, until the reader has caught up. Deliveries of a target arrive in the order of their numbers.
 *
 * A delivery is queued, in flight, waiting for its retry, blocked in its lane, or held; then it has its one outcome.
 * One that is SB_OWED_STILLBORN (an input that cannot be rendered, a full queue) goes to env->dead as soon as it arrives, with
 * the reason and message its input carries, and then with the input behind them, if any; env->dead always gets a delivery with
 * its payload in memory. One that is SB_OWED_FINAL never dies: neither count nor age nor a rejection ends it, it is retried at the cap.
 *
 * A delivery may also be offered before its event is in the journal (sb_dispatch_offer), because its source still holds it. It
 * has no number then, leaves no record, never leaves memory and cannot die. When it is delivered, env->delivered is all
 * that happens. When it is not, env->stuck says so; sb_dispatch_number makes an ordinary one of it.
 */

/* ------------------------------------------------------------------------------------------------ retry: pure */

struct sb_retry_policy {
	uint32_t max_retries;  /* the first try not counted; default 185 */
	uint64_t base_ms;      /* default 1 s */
	uint64_t cap_ms;       /* default 16 min */
	uint64_t max_age_ms;   /* since intake; default 24 h */
	bool endless;          /* a dead-letter target: neither count nor age ends it */
};

/* Full jitter: uniform in [0, min(cap, base * 2^retry)], retry 0 being the first. AWS Architecture Blog, "Exponential
 * Backoff And Jitter". `asked_ms` is the target's Retry-After: it wins upward only, up to the cap. */
uint64_t sb_retry_delay_ms(const struct sb_retry_policy *p, uint32_t retry, uint64_t asked_ms, uint32_t rnd);
/* The median time from the first failure until max_retries are used up, age not regarded: sum of half the ceilings. */
uint64_t sb_retry_median_ms(const struct sb_retry_policy *p);

enum sb_retry_verdict { SB_RETRY_AGAIN, SB_RETRY_EXHAUSTED_COUNT, SB_RETRY_EXHAUSTED_AGE };
/* `attempts` counted so far (at least 1), `received_ms` and `now_ms` wall times, `delay_ms` the wait that would follow. */
enum sb_retry_verdict sb_retry_verdict(const struct sb_retry_policy *p, uint32_t attempts, uint64_t received_ms,
	uint64_t now_ms, uint64_t delay_ms);

/* ------------------------------------------------------------------------------------------------ deliveries */

struct sb_dispatch;

enum sb_delivery_state {
	SB_DL_NEW, SB_DL_QUEUED, SB_DL_LANE, SB_DL_INFLIGHT, SB_DL_WAITING, SB_DL_LOADING, SB_DL_HELD,
	SB_DL_DYING, /* to be buried as soon as it has a number */
};

/* From the pool (sb_pool_alloc). Made by the intake or from a backlog item; freed by the dispatch. */
struct sb_delivery {
	struct sb_handover handover; /* first: the journal's mail carries us to our shard */
	struct sb_dispatch *dispatch;
	struct sb_link link;
	struct sb_heap_node due;     /* key: monotonic ns, the earliest time of the next attempt */
	struct sb_heap_node age;     /* key: received_ms; among all that are in memory */
	struct sb_lane *in_lane;     /* the lane that orders it; NULL: none */
	void *ticket;                /* of who holds its event while it has no number */
	enum sb_delivery_state state;
	uint8_t flags;               /* SB_OWED_* */
	bool alone;                  /* must not share a worker; a connector may set it in the item, with SB_RELEASED or SB_RETRY */
	bool begun;                  /* was sent at least once since it came to memory, or before the restart */
	uint8_t exhausted;           /* as in sb_dead_record */
	uint16_t unreachable;        /* times in a row the target could not be reached for it */
	uint32_t attempts;           /* counted */
	uint32_t lane;
	uint32_t cost;               /* bytes it keeps in memory, counted against cache_bytes */
	uint32_t bytes;              /* counted against max_queue_bytes: sb_delivery_bytes */
	const char *rule;            /* interned */
	struct sb_event *ev;         /* NULL while the payload is not in memory */
	struct sb_slice input;       /* n 0: the event's bare form. Pool memory, ours */
	struct sb_slice letter;      /* redrive of this dead letter; pool memory, ours */
	uint32_t letter_owed;        /* how many deliveries that redrive made; this is one of them */
	uint64_t received_ms;
	uint64_t first_attempt_ms, last_attempt_ms;
	uint64_t started_ns;         /* of the attempt in flight */
	uint32_t took_us;            /* of the one that delivered it */
	char *first_message, *last_message, *tail; /* pool memory or NULL; the first two are one when they say the same */
	char *bare;                  /* the event's bare form while in flight; NULL: not needed */
	enum sb_reason reason;
	struct sb_item item;         /* what the connector sees */
	struct sb_batch batch;       /* of one, unless batching says otherwise */
	char id[SB_UUID_TEXT + 12];  /* receipt "." ordinal */
};

/* `ev` and the input move in. handover.home and mail.run are set so that the journal delivers it to `d`. */
struct sb_delivery *sb_delivery_new(struct sb_dispatch *d, struct sb_event *ev, const char *rule, uint32_t ordinal,
	uint32_t lane, uint8_t flags, char *input, uint32_t input_n);
void sb_delivery_free(struct sb_delivery *dl); /* NULL is fine */
/* What a delivery counts against max_queue_bytes: its event, and its own input if it has one. Reserve just this much. */
uint64_t sb_delivery_bytes(const struct sb_event *ev, uint32_t input_n);

/* ------------------------------------------------------------------------------------------------ dispatch */

enum sb_on_full { SB_ON_FULL_DEAD_LETTER, SB_ON_FULL_REFUSE };

struct sb_target_policy {
	struct sb_retry_policy retry;
	uint32_t concurrency;       /* most attempts in flight */
	uint64_t timeout_ms;        /* of one attempt */
	uint32_t lanes;             /* 0: no order */
	uint64_t max_queue_bytes;   /* 0: no bound but the disk */
	uint64_t max_queue_age_ms;  /* 0: none */
	enum sb_on_full on_full;
	uint32_t max_retrying;      /* default 10,000; at the cap no new delivery is begun */
	uint64_t cache_bytes;       /* default 8 MiB */
};

struct sb_death {
	enum sb_reason reason;
	uint8_t exhausted;          /* as in sb_dead_record */
};

/* Why a delivery without a number will not be done soon. */
enum sb_stuck {
	SB_STUCK_TRYING, /* it failed, or the target is not to be reached: it will be tried again */
	SB_STUCK_DYING,  /* it has failed for good, and waits for its number */
};

#define SB_DISPATCH_FRAME 2048 /* the largest record a dispatch writes fits in this */

/* The world, as the dispatch sees it. All calls come from and return on the home shard. */
struct sb_dispatch_env {
	void *arg;
	const struct sb_clock *clock;
	struct sb_rand *rand;
	struct sb_mailbox *home;
	/* Where ATTEMPT and RESULT records go: a buffer with room for one more (SB_DISPATCH_FRAME). Submitted once per loop turn. */
	struct sb_buf *(*frames)(void *arg);
	/* Start a backlog read; it comes back by r->mail on `home`. */
	void (*read)(void *arg, struct sb_journal_read *r);
	/*
	 * A delivery has died: record it. True: taken care of, the dispatch frees it. False: there is no room for dead letters
	 * now; the dispatch holds the target and asks again from tick().
	 */
	bool (*dead)(void *arg, struct sb_dispatch *d, struct sb_delivery *dl, const struct sb_death *why);
	/* It has been delivered; its RESULT is in frames, if it has a number. For receipts and redrives. */
	void (*delivered)(void *arg, struct sb_dispatch *d, struct sb_delivery *dl);
	/* An attempt has failed, and there will be another. NULL: nobody wants to know. */
	void (*failed)(void *arg, const struct sb_delivery *dl);
	/* Of deliveries without a number; may be said again. Must not call back into the dispatch. */
	void (*stuck)(void *arg, struct sb_dispatch *d, struct sb_delivery *dl, enum sb_stuck why);
	/* Call sb_dispatch_tick no later than this. The earliest wish counts. */
	void (*arm)(void *arg, struct sb_dispatch *d, uint64_t mono_ns);
};

#define SB_DURATION_BUCKETS 32
#define SB_DURATION_US(i) (UINT64_C(16) << (i))

struct sb_dispatch_stats {
	/* Outstanding = in_flight + queued + retrying + held. queued: for its turn, in memory or in the journal. */
	uint64_t in_flight, queued, retrying, held;
	uint64_t queued_bytes;     /* of all that is outstanding: sb_delivery_bytes */
	uint64_t cache_bytes;      /* memory in use */
	uint64_t blocked_lanes;    /* their first delivery waits for a retry or is held */
	uint64_t delivered, retries, dead, released, unreachable; /* since start */
	uint64_t unreadable;       /* given up because their record in the journal is damaged; the journal counts it too */
	uint64_t oldest_ms;        /* received_ms of the oldest outstanding; 0: none */
	uint64_t unreachable_until_ms; /* wall time of the next probe; 0: reachable */
	bool backlog, paused, at_max_retrying;
	uint64_t duration_ns_sum, duration_ns_max;
	/* Attempts by how long they took: [i] less than SB_DURATION_US(i), the last one all the rest. */
	uint64_t duration[SB_DURATION_BUCKETS];
};

/*
 * `t` is opened by the caller and settles into us (t->settle is set here). Nothing is sent before the first delivery or tick.
 * Settling may send: t->ops->send is called again before sb_batch_settle returns, unless it was called inside send.
 */
struct sb_dispatch *sb_dispatch_new(const struct sb_dispatch_env *env, struct sb_target *t, const struct sb_target_policy *p);
/* Outstanding deliveries from before the restart: begin in backlog mode at `from`. Call before the first delivery. */
void sb_dispatch_recover(struct sb_dispatch *d, const struct sb_recovery *rec);
void sb_dispatch_deliver(struct sb_dispatch *d, struct sb_delivery *dl); /* from its mail; dl moves in */
/*
 * A delivery without a number: takes it when it can be begun from memory. False: it cannot (a backlog, no room, the end is
 * near): dl stays the caller's, and its event belongs into the journal. Its room is reserved, as always. It has no lane.
 */
bool sb_dispatch_offer(struct sb_dispatch *d, struct sb_delivery *dl);
/*
 * Its memory is full, and it gets on: whoever can wait should, instead of making a backlog of what is delivered in a moment. Not so
 * when what it has is older than SB_OFFER_PATIENCE_MS, or it is paused, or not to be reached: nobody waits for that. Any thread.
 */
bool sb_dispatch_busy(const struct sb_dispatch *d);
#define SB_OFFER_PATIENCE_MS 2000
/*
 * Its event is durable in a record that owes it as SB_OWED_BEGUN: dl->handover has number, route and place. Called in the order
 * of numbers, as mail is. One that was never offered is taken now, room or not.
 */
void sb_dispatch_number(struct sb_dispatch *d, struct sb_delivery *dl);
/*
 * A delivery without a number that is offered, and not in flight or dying, is taken back: true, and it is gone; its room stays
 * reserved. False: it is being tried; what becomes of that is told as always.
 */
bool sb_dispatch_withdraw(struct sb_dispatch *d, struct sb_delivery *dl);
void sb_dispatch_tick(struct sb_dispatch *d);
void sb_dispatch_pause(struct sb_dispatch *d, bool on);
/* The connector says that `t` can be reached again: the next probe goes now. Nothing, when d has another target by now. */
void sb_dispatch_reachable(struct sb_dispatch *d, const struct sb_target *t);
/*
 * From now on attempts go to `t` (opened, of the same name; t->settle is set here), which may be tried at once, whatever the one
 * before did. What is in flight comes back through the target it was sent to, and stays counted: concurrency is of both.
 */
void sb_dispatch_set_target(struct sb_dispatch *d, struct sb_target *t);
/* Nobody will deliver this any more: all of it dies with SB_R_TARGET_REMOVED, final or not. Until sb_dispatch_set_target. */
void sb_dispatch_abandon(struct sb_dispatch *d);
/* At once; but `lanes` orders what arrives from now on. */
void sb_dispatch_set_policy(struct sb_dispatch *d, const struct sb_target_policy *p);
/*
 * Admission, asked by an intake before it journals: is there room for a delivery of this many bytes? Any thread (atomics).
 * True takes the room; it is given back by the outcome, or by sb_dispatch_unreserve when the event was not stored.
 */
bool sb_dispatch_reserve(struct sb_dispatch *d, uint64_t bytes);
void sb_dispatch_reserve_always(struct sb_dispatch *d, uint64_t bytes); /* over the limit if need be: dead letters, stillborn ones */
void sb_dispatch_unreserve(struct sb_dispatch *d, uint64_t bytes);
/* No new attempts; those in flight may finish. Idle when none is in flight. */
void sb_dispatch_drain(struct sb_dispatch *d);
bool sb_dispatch_idle(const struct sb_dispatch *d);
/* Must be idle. Forgets what is queued: the journal still has it. No mail of a delivery may be under way to it. */
void sb_dispatch_free(struct sb_dispatch *d);
/* Nothing is outstanding, nor on its way through the journal. Any thread. */
bool sb_dispatch_owes_nothing(const struct sb_dispatch *d);
void sb_dispatch_get_stats(const struct sb_dispatch *d, struct sb_dispatch_stats *ret);
const struct sb_target_policy *sb_dispatch_policy(const struct sb_dispatch *d);
struct sb_target *sb_dispatch_target(const struct sb_dispatch *d);

/* The `function` target: a pool of warm worker processes (pool.c, protocol_jsonl.c, protocol_exec.c). */
extern const struct sb_connector sb_connector_function;

#endif
