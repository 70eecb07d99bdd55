/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_MEMBER_H
#define SB_CONNECTORS_KAFKA_MEMBER_H

#include <event2/event.h>

#include "broker/base/clock.h"
#include "consumer.h"
#include "overflow.h"
#include "record.h"
#include "window.h"

/*
 * A source from within: source.c (records, the turn of the loop, life; opens with the picture), parts.c (partitions and their
 * positions), group.c (what the group says: rebalances, errors).
 */
enum part_state { READING, REVOKING, STOPPED };

struct part {
	char *topic;
	int32_t number;
	uint32_t epoch;
	enum part_state state;
	rd_kafka_queue_t *queue;
	rd_kafka_event_t *pending; /* a record that was not taken */
	const rd_kafka_message_t *pending_record; /* inside of it */
	struct kafka_window window;
	uint64_t seed;
	uint32_t head_before;      /* the window's head at the last tick */
	int64_t stored;            /* the position that librdkafka has to commit; -1: none */
	int64_t committed;         /* as the group has told us; -1: nothing */
};

enum life { RUNNING, WAITING, COMMITTING, LEAVING, ENDING, CLOSED };

struct kafka_source {
	struct sb_source *source;
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;     /* the main one */
	int wake_fd;
	struct event *wake, *tick;
	struct sb_envelope_reader *envelope;
	struct kafka_record record;
	struct part **part;          /* NULL where there is none; cookies have the index */
	size_t n_parts, turn;
	uint32_t epochs;
	uint64_t held_bytes;
	struct kafka_ask ask;
	rd_kafka_topic_partition_list_t *revoked; /* being drained; NULL: none */
	uint64_t revoke_ns, ask_ns;  /* give up draining; ask again (0: not) */
	uint64_t commit_ns;          /* no commit of our own before */
	uint64_t regular_ns;         /* store what there is */
	uint64_t store_ns;           /* no store before */
	bool commit_out;
	struct kafka_overflow overflow;
	struct kafka_nudge nudge;
	struct kafka_ender ender;
	struct kafka_claim claim;
	enum life life;
	uint64_t leave_ns;
	bool paused, failed;
	bool subscribed;             /* false: its name is still another's */
	bool ended;                  /* the consumer is gone */
	bool joining, kept;          /* kept: librdkafka must not destroy it */
	struct {
		uint64_t records, buried, lost_by_retention, stale, abandoned, rebalances, errors;
	} counts;
	char last_error[256];
};

#define KAFKA_COMMIT_MS 5000 /* for a last commit, when what is under way is done */
#define KAFKA_SPILL_AT_ONCE 256

static inline uint64_t kafka_now_ns(const struct kafka_source *k)
{
	return sb_mono_ns(k->source->env->clock);
}

/* Another turn, soon. */
static inline void kafka_again(struct kafka_source *k)
{
	event_active(k->wake, EV_READ, 0);
}

/* parts.c */
void kafka_note_error(struct kafka_source *k, const char *text);
void kafka_note_and_destroy(struct kafka_source *k, rd_kafka_error_t *err); /* NULL is fine */
struct part *kafka_part_find(const struct kafka_source *k, const char *topic, int32_t number); /* NULL: none */
void kafka_part_add(struct kafka_source *k, const rd_kafka_topic_partition_t *at);
void kafka_part_drop(struct kafka_source *k, struct part *p);  /* fenced: what is settled for it from here on is stale */
void kafka_part_stop(struct kafka_source *k, struct part *p, const char *why);
void kafka_store_positions(struct kafka_source *k);            /* they are committed within KAFKA_COMMIT_EVERY_MS, or after a rebalance */
void kafka_store_due(struct kafka_source *k);                  /* the same, when it is time or a window asks for it */
void kafka_commit_now(struct kafka_source *k);                 /* what is not committed, if no commit is out; only while partitions are given back */
bool kafka_all_committed(const struct kafka_source *k, bool revoking_only);
void kafka_on_committed(struct kafka_source *k, rd_kafka_event_t *ev);

/* group.c */
void kafka_listen(struct kafka_source *k);        /* everything that the main queue has */
void kafka_on_answer(struct kafka_source *k);     /* kafka_ask_done() said so */
void kafka_ask_again(struct kafka_source *k);
void kafka_ask_no_more(struct kafka_source *k);   /* whoever leaves takes what it was given, and does not read it */
void kafka_drain_revoked(struct kafka_source *k); /* and give back what is drained */
void kafka_check_fatal(struct kafka_source *k);   /* has it failed for good? Not every way to that is an event */
void kafka_fail(struct kafka_source *k, const char *why);

#endif
