/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_CONSUMER_H
#define SB_CONNECTORS_KAFKA_CONSUMER_H

#include <pthread.h>
#include <stdatomic.h>

#include "cluster.h"
#include "nudge.h"
#include "broker/base/err.h"

/*
 * What a source asks of librdkafka, so that its shard never blocks: what must wait for an answer runs on a thread of its
 * own and writes to `wake_fd` when it is over.
 */
enum kafka_from { KAFKA_FROM_EARLIEST, KAFKA_FROM_LATEST };
enum kafka_out_of_range { KAFKA_RANGE_STOP, KAFKA_RANGE_EARLIEST, KAFKA_RANGE_LATEST };

struct kafka_source_conf {
	struct kafka_cluster cluster;
	struct sb_strs topics;
	const char *group;
	int from, out_of_range;
	struct {
		int64_t records;
		uint64_t bytes;
	} window;
	uint64_t memory, drain;
	/* by kafka_source_check */
	uint64_t commit_every_ms; /* 0: only when a window asks for it */
};

#define KAFKA_COMMIT_EVERY_MS "50" /* librdkafka: what is stored */

extern const struct sb_field kafka_source_fields[];
int kafka_source_check(struct sb_decode *d, const struct sb_node *at, void *conf);
bool kafka_source_reads(const struct kafka_source_conf *c, const char *topic); /* not for every record: it may be a regular expression */
/* They differ in their topics alone: a consumer can go over to the others as it is. */
bool kafka_source_adopts(const void *conf, const void *next);
/* NULL: err says why. The caller owns it. `shard` > 0 gives a static member a name of its own. */
rd_kafka_conf_t *kafka_source_rdkafka(const struct kafka_source_conf *c, unsigned shard, struct sb_err *err);
/* The member's name in the whole world, on the heap; NULL: it is no static member, and has none. */
char *kafka_source_identity(const struct kafka_source_conf *c, unsigned shard);

/* ------------------------------------------------------------------------------------------------ positions */

/* Where each partition of an assignment begins. */
struct kafka_asked {
	int64_t committed; /* -1: the group has none */
	int64_t low, high; /* what the broker has: low .. high - 1; -1: unknown, and then `committed` is known */
};

/* The offset to begin at; -1: the partition must not be read. *ret_lost: records that are gone, unread. Pure. */
int64_t kafka_begin_at(const struct kafka_asked *a, enum kafka_from from, enum kafka_out_of_range policy, uint64_t *ret_lost);

/*
 * One question at a time; a thread of its own waits for the answer. What is dropped meanwhile is not waited for: its thread ends when
 * the broker, or its patience, lets it. With KAFKA_ASKS_DROPPED such threads about, a question is not put, and answered with an error.
 */
#define KAFKA_ASKS_DROPPED 4

struct kafka_question {
	pthread_t thread;
	bool has_thread;
	rd_kafka_t *rk;
	rd_kafka_topic_partition_list_t *list;
	struct kafka_asked *answer; /* one for each */
	rd_kafka_resp_err_t err;    /* also when nobody could tell where to begin */
	int wake_fd;
	atomic_bool done, dropped;
	struct kafka_question *next;
};

struct kafka_ask {
	struct kafka_question *now;     /* NULL: nothing is asked */
	struct kafka_question *dropped; /* whose threads are not known to have ended */
	unsigned n_dropped;
};

/* The one before must be dropped. */
void kafka_ask(struct kafka_ask *a, rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *list, int wake_fd);
bool kafka_ask_done(struct kafka_ask *a);  /* once for each question; then a->now has the answer, until it is dropped */
void kafka_ask_drop(struct kafka_ask *a);  /* nobody wants to know any more; does not wait */
bool kafka_ask_idle(struct kafka_ask *a);  /* no thread is about */
void kafka_ask_wait(struct kafka_ask *a);  /* drops, and waits for all threads */

/* ------------------------------------------------------------------------------------------------ who we are */

/*
 * A group takes a static member of a name for the latest that says so, and fails the one before for good. A reload has both for a
 * while, so the next one waits for the name. Any thread.
 */
struct kafka_claim {
	char *name; /* ours; NULL: claims nothing, and always may */
	struct kafka_claim *next;
	bool held;
};

bool kafka_claim(struct kafka_claim *c);   /* true: it is ours, from before or now */
void kafka_unclaim(struct kafka_claim *c); /* and forgets it */

/* ------------------------------------------------------------------------------------------------ the end */

struct kafka_ender {
	pthread_t thread;
	rd_kafka_t *rk;
	struct kafka_nudge *nudge;
	int wake_fd;
	bool out, hard;
	atomic_bool done;
};

/* Takes the consumer down, and its nudge before; `hard`: without waiting for its group. Queues that came from it are gone already. */
void kafka_end(struct kafka_ender *e, rd_kafka_t *rk, struct kafka_nudge *nudge, bool hard, int wake_fd);
bool kafka_ended(struct kafka_ender *e); /* once */
void kafka_end_wait(struct kafka_ender *e);

#endif
