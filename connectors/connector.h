/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_CONNECTOR_H
#define SB_CONNECTORS_CONNECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/clock.h"
#include "broker/base/err.h"
#include "broker/base/event.h"
#include "broker/base/field.h"
#include "broker/base/rand.h"

/*
 * The contract between the framework and a connector: one folder that brings a source, a target, or both.
 *
 * Threads: an instance belongs to one shard. Every call of the ops comes from that shard's thread, and every call back
 * into the framework (sb_source_*, sb_batch_settle, sb_target_closed) must be made on it. None may block.
 * A connector sees neither rules nor the executor: it emits events and settles batches. Retry, back-off, rate, order,
 * dead letters, metrics and position keeping live once, in the framework.
 */

/* What an instance may use of its shard; borrowed, outlives the instance. */
struct event_base;
struct sb_http_routes;
struct sb_procs;
struct sb_env {
	struct event_base *base;       /* NULL in the simulation */
	const struct sb_clock *clock;
	struct sb_rand *rand;
	struct sb_http_routes *routes; /* paths that this shard's listeners serve; NULL: none */
	struct sb_procs *procs;        /* starts processes (executor/proc.h); connectors without processes ignore it */
	unsigned shard, n_shards;      /* n_shards 0: as 1 */
};

/* ------------------------------------------------------------------------------------------------ outcomes */

enum sb_outcome {
	SB_DELIVERED,   /* the remote side has it: settle */
	SB_RETRY,       /* transient for these events (timeout, 429, crash): back off; counts as an attempt */
	SB_UNREACHABLE, /* no connection, no such command: the target is paused and probed; no attempt is counted */
	SB_REJECTED,    /* will never be accepted: dead letter at once */
	SB_RELEASED,    /* not tried to the end, by no fault of the event (a neighbour killed the worker, shutdown): again, uncounted */
};

/* EventBridge's error codes, as its dead letters carry them, and three of our own at the end. */
enum sb_reason {
	SB_R_NONE, SB_R_CONNECTION_FAILURE, SB_R_ERROR_FROM_TARGET, SB_R_INTERNAL_ERROR, SB_R_INVALID_JSON,
	SB_R_INVALID_PARAMETER, SB_R_NO_PERMISSIONS, SB_R_NO_RESOURCE, SB_R_RESOURCE_LIMIT_EXCEEDED, SB_R_SDK_CLIENT_ERROR,
	SB_R_THROTTLING, SB_R_TIMEOUT, SB_R_UNKNOWN,
	SB_R_LOOP_DETECTED, /* more hops between buses than the limit */
	SB_R_QUEUE_FULL,    /* max_queue with on_full: dead_letter */
	SB_R_TARGET_REMOVED, /* reload --orphans dead-letter */
	SB_R_NREASONS
};

const char *sb_outcome_name(enum sb_outcome o); /* "delivered" */
const char *sb_reason_name(enum sb_reason r);   /* "ERROR_FROM_TARGET"; SB_R_NONE: "" */
int sb_reason_parse(struct sb_slice s, enum sb_reason *ret);

struct sb_result {
	enum sb_outcome outcome;
	enum sb_reason reason;
	uint32_t retry_after_ms;       /* 0: none asked for; else it wins over a shorter back-off */
	struct sb_slice message;       /* why, for people; borrowed for the call; cut at 1 KiB */
	struct sb_slice tail;          /* last output of the worker (stderr), for the dead letter; borrowed; cut at 4 KiB */
	struct sb_slice body;          /* what the target answered; borrowed; cut at 4 KiB */
};

/* ------------------------------------------------------------------------------------------------ targets */

/* One delivery of a batch, borrowed by the connector until it is settled. */
struct sb_item {
	struct sb_slice delivery_id;  /* the same on every attempt */
	unsigned attempt;             /* 1: first try */
	bool alone;                   /* suspected of killing its worker: must not share one with other deliveries */
	uint64_t deadline_mono_ns;    /* 0: the connector has no time limit of the framework's */
	uint64_t deadline_wall_ms;
	const struct sb_event *event;
	struct sb_slice input;        /* JSON text to send */
	bool input_newlines;          /* input holds raw line ends */
	const char *rule;             /* interned name; "" for a redrive without a rule */
	bool transformed;             /* input is the rule's own, not the event without `meta` */
	bool letter;                  /* a dead letter: input is {"RULE_ARN":…,"ERROR_CODE":…,…,"input":…}, event what it was made of */
};

struct sb_batch {
	size_t n;
	struct sb_item *item;
	void *cookie;                 /* the connector's, free to use until the last item is settled */
};

struct sb_probe;
struct sb_target;
struct sb_target_ops {
	size_t state_size;             /* zeroed instance state, allocated by the framework: t->state */
	size_t conf_size;
	const struct sb_field *fields; /* rows of the connector's own key (`function:`), decoded into t->conf */
	uint32_t concurrency;          /* where the configuration names none; 0: the framework's own default */
	/* What rows cannot say. Adds its findings to d->diags; -1 when it added errors. May be NULL. */
	int (*check)(struct sb_decode *d, const struct sb_node *at, void *conf);
	/* Is what `conf` names there, and does it let us in? Not on a shard, may block: connectors/probe.h. NULL: nothing to ask. */
	void (*probe)(const void *conf, struct sb_probe *p);

	/* Start connecting. On -1 `err` is filled and close() is not called, but free() is. */
	int (*open)(struct sb_target *t, struct sb_err *err);
	/*
	 * Borrows `b` until each item i had its sb_batch_settle(t, b, i, &result): exactly once, here or later, any order.
	 * Never called with more items outstanding than the target's concurrency.
	 */
	void (*send)(struct sb_target *t, struct sb_batch *b);
	/* No new work. Settle what is outstanding (SB_RELEASED if unsure), then sb_target_closed(t). Idempotent. */
	void (*close)(struct sb_target *t);
	/* Last call, after sb_target_closed. Also correct after a failed open(). */
	void (*free)(struct sb_target *t);
	/* Facts for `status`, as members of a JSON object ("\"workers\":3,\"warm\":2"). May be NULL. */
	void (*status)(struct sb_target *t, struct sb_buf *out);
};

struct sb_target {
	const char *name;              /* interned */
	const struct sb_target_ops *ops;
	void *state, *conf;
	const struct sb_env *env;
	uint32_t concurrency;          /* most items outstanding at once */
	uint64_t timeout_ms;
	/* The framework's side; connectors call the functions below. */
	uint32_t outstanding;          /* sent and not yet settled */
	void (*settle)(struct sb_target *t, struct sb_batch *b, size_t i, const struct sb_result *r);
	void (*closed)(struct sb_target *t);
	void (*reachable)(struct sb_target *t); /* NULL: nobody wants to know */
	void *owner;
};

static inline void sb_batch_settle(struct sb_target *t, struct sb_batch *b, size_t i, const struct sb_result *r)
{
	t->settle(t, b, i, r);
}

static inline void sb_target_closed(struct sb_target *t)
{
	t->closed(t);
}

/* It was unreachable, and its other side is there again: it is probed now, not when the pause is over. A hint; never from send(). */
static inline void sb_target_reachable(struct sb_target *t)
{
	if (t->reachable)
		t->reachable(t);
}

/* ------------------------------------------------------------------------------------------------ sources */

/* Why the framework does not take an event. */
enum sb_refuse {
	SB_TAKEN = 0,
	SB_REFUSE_UNKNOWN_BUS, /* 404 */
	SB_REFUSE_TOO_LARGE,   /* 413 */
	SB_REFUSE_INVALID,     /* 400 */
	SB_REFUSE_FULL,        /* no room: disk, or a target's max_queue with on_full: refuse. 503, retryable */
	SB_REFUSE_STOPPING,    /* shutting down or paused. 503, retryable */
	SB_REFUSE_WITH_OTHERS, /* nothing wrong with this one: its batch is all or nothing */
};

struct sb_refusal {
	enum sb_refuse why;
	char msg[120];
};

struct sb_source;
/*
 * Offer n events as one group: all are taken, or none. Returns 0: taken; the references move to the framework, and
 * ops->accepted(cookie) follows when the group is durable, or ops->refused(cookie) when the disk failed it. -1: not
 * taken; refusal[i] says why for each, and the caller keeps its references. refusal has n entries.
 */
int sb_source_emit(struct sb_source *s, struct sb_event **ev, size_t n, uint64_t cookie, struct sb_refusal *refusal);
/*
 * Hand over one event that the source itself keeps until it is settled (a Kafka record, a pending Redis entry). 0: taken, the
 * reference moves, and ops->settled(cookie, epoch) follows once, never from within this call; unless the source is closed
 * before. Settled: every delivery is finished and recorded, or the event is in the
 * journal; the source may let go of it. -1: not taken, as for emit; SB_REFUSE_FULL and _STOPPING: offer it again later.
 */
struct sb_held {
	uint64_t cookie;
	uint32_t epoch;           /* the source's: comes back, so that it can tell what is stale */
	struct sb_slice position; /* where the source has it, for people: "topic/3/41"; copied */
};
int sb_source_hand(struct sb_source *s, struct sb_event *ev, const struct sb_held *held, struct sb_refusal *refusal);
/*
 * The same for a message of which no event can be made: it becomes a dead letter with its bytes and the reason, never silently
 * passed over; ops->settled follows once that is durable. -1: there is no room for dead letters, or the daemon is stopping:
 * offer it again later.
 */
struct sb_unreadable {
	struct sb_slice value;     /* as it came */
	struct sb_uuid receipt;    /* the same for the same message: it is stored once, however often it is read */
	enum sb_reason reason;
	struct sb_slice message;
};
int sb_source_bury(struct sb_source *s, const struct sb_held *held, const struct sb_unreadable *what);
/*
 * `overflow: {topic: T}`: an event that is stuck is given back to its source, which sends it on with the names of those it is still owed
 * to. Nobody else tries to deliver it any more. The source answers by sb_source_overflowed(s, token, there), once, never from within
 * overflow(): true when T has it for good, and settled() follows; false when the source is closing, and gives it up. From free() none.
 */
struct sb_overflow {
	void *token;
	const struct sb_event *event; /* until the answer */
	struct sb_slice position;     /* as handed; until the answer */
	struct sb_slice owed;         /* JSON: [{"rule":"r","target":"t"}]; for the call */
};
void sb_source_overflowed(struct sb_source *s, void *token, bool there);
/* The source wants its place back: the n oldest events that only memory has go to the journal, and are settled by that. */
void sb_source_spill(struct sb_source *s, size_t n);
/*
 * What a source must know after a restart or a reload (how far it was, who it was), kept in the journal: the last value of each key
 * counts, and is durable soon. Keys are the source's own. remembered() appends the value to `out`; -1: there is none, or no room.
 */
void sb_source_remember(struct sb_source *s, struct sb_slice key, struct sb_slice value);
int sb_source_remembered(struct sb_source *s, struct sb_slice key, struct sb_buf *out);
/* False: the daemon is stopping, targets are closed and their outcomes recorded: nothing more will be settled. */
bool sb_source_may_settle(struct sb_source *s);
/*
 * A refusal that the framework did not speak itself (bad JSON, wrong signature, right but given up with its batch), for the
 * counters: `reason` is a constant.
 */
void sb_source_rejected(struct sb_source *s, const char *reason, uint64_t n);
/* Interned name of a bus, NULL: there is no such bus. n 0: the default bus. */
const char *sb_source_bus(struct sb_source *s, struct sb_slice name);
/* Envelope facts that every built event needs: account, region, receipt, received_ms, origin, bus of the source. */
void sb_source_spec(struct sb_source *s, struct sb_event_spec *ret);
size_t sb_source_max_event(struct sb_source *s); /* bytes */
/*
 * May this HTTP request speak for the source? Its own bearer tokens count where it has some, else the listener's; true when
 * neither asks for one. A source that verifies a signature over the body does that instead of what the listener asks for, but
 * beside what it asks for itself.
 */
struct sb_http_req;
bool sb_source_authorized(struct sb_source *s, const struct sb_http_req *req);
bool sb_source_has_tokens(struct sb_source *s); /* of its own */

struct sb_source_ops {
	size_t state_size;
	size_t conf_size;
	const struct sb_field *fields;
	int (*check)(struct sb_decode *d, const struct sb_node *at, void *conf); /* as for targets */
	void (*probe)(const void *conf, struct sb_probe *p);                     /* likewise */
	int (*open)(struct sb_source *s, struct sb_err *err);
	/* Backpressure: after true, sb_source_emit() must not be called until pause(s, false). */
	void (*pause)(struct sb_source *s, bool on);
	/* The group is durable here. HTTP answers 202 now; NULL where nobody waits for it. */
	void (*accepted)(struct sb_source *s, uint64_t cookie);
	/* The group was not stored after all; nothing of it will be delivered. NULL where nothing is emitted. */
	void (*refused)(struct sb_source *s, uint64_t cookie, const struct sb_refusal *why);
	/* An event that was handed over is settled: in any order. A source with positions feeds its watermark. NULL: never hands. */
	void (*settled)(struct sb_source *s, uint64_t cookie, uint32_t epoch);
	/*
	 * Both, or neither. adopts: the two differ in nothing but what a running source can take over. adopt: s->conf is that of the
	 * later one now; the one before is there until the call has returned.
	 */
	bool (*adopts)(const void *conf, const void *next);
	void (*adopt)(struct sb_source *s);
	/* Both, or neither: the source cannot send on. check_overflow: -1, err says why `topic` will not do. */
	void (*overflow)(struct sb_source *s, const struct sb_overflow *o);
	int (*check_overflow)(const void *conf, const char *topic, struct sb_err *err);
	/* No new events; then sb_source_closed, when nothing more is to be settled or the source no longer waits for it. */
	void (*close)(struct sb_source *s);
	void (*free)(struct sb_source *s);
	void (*status)(struct sb_source *s, struct sb_buf *out);
};

/* `envelope:` of a source or target (connectors/envelope.h). */
enum sb_envelope { SB_ENVELOPE_AUTO, SB_ENVELOPE_EVENTBRIDGE, SB_ENVELOPE_CLOUDEVENTS, SB_ENVELOPE_RAW };

struct sb_source {
	const char *name; /* interned */
	const struct sb_source_ops *ops;
	void *state, *conf;
	const struct sb_env *env;
	/* What the framework owns of its configuration, the same for every connector. */
	const char *bus;                          /* interned; NULL: the event says */
	enum sb_envelope envelope;
	const struct sb_template *source_tpl;     /* `source:`; NULL: not set */
	const struct sb_template *detail_type_tpl;
	const char *overflow_topic;               /* NULL: none */
	const char *token_sha256;                 /* unused here; auth lives with the listener */
	void (*closed)(struct sb_source *s);
	void *owner;
};

static inline void sb_source_closed(struct sb_source *s)
{
	s->closed(s);
}

/* ------------------------------------------------------------------------------------------------ registry */

struct sb_connector {
	const char *type;    /* the key in a source's or target's configuration: `webhook:` */
	const char *summary; /* one line for help and docs */
	const struct sb_source_ops *source; /* NULL: cannot be a source */
	const struct sb_target_ops *target; /* NULL: cannot be a target */
	void (*about)(struct sb_buf *out);  /* the library behind it, and what that can do, for `version`; NULL: nothing to say */
};

/* Every connector there is, those of executor/ and broker/ included; NULL behind the last. */
extern const struct sb_connector *const sb_connectors[];
const struct sb_connector *sb_connector_find(const char *type);

#endif
