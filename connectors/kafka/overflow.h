/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_OVERFLOW_H
#define SB_CONNECTORS_KAFKA_OVERFLOW_H

#include "broker/base/list.h"
#include "consumer.h"
#include "producer.h"

/*
 * The way out of a source for events that are stuck: a producer of its own to `overflow: {topic: T}`, opened when it is first needed. An
 * event is there when every in-sync replica has it, says the delivery report; what is refused is sent again every second. Bounded
 * by the windows of the source, which holds all of it. Called by the shard's thread; nothing blocks.
 */
enum kafka_overflow_state { KAFKA_OVERFLOW_SHUT, KAFKA_OVERFLOW_OPEN, KAFKA_OVERFLOW_LEAVING, KAFKA_OVERFLOW_ENDING };

struct kafka_overflow {
	struct sb_source *source;
	int wake_fd;
	struct kafka_producer producer;
	enum kafka_overflow_state state;
	struct sb_link waiting, sent;
	unsigned under_way;
	uint64_t again_ns;          /* nothing is sent before */
	bool told, closing;
	bool alone;                 /* what is under way may be too large, and goes without company */
	struct sb_buf value, key, text;
	uint64_t n, refused;        /* there; refused by the topic, each time */
	char last_error[256];
};

void kafka_overflow_init(struct kafka_overflow *o, struct sb_source *s, int wake_fd);
void kafka_overflow_take(struct kafka_overflow *o, const struct sb_overflow *what);
void kafka_overflow_turn(struct kafka_overflow *o);
void kafka_overflow_close(struct kafka_overflow *o);        /* what is not there is given up */
void kafka_overflow_forget(struct kafka_overflow *o);       /* nobody waits for an answer any more: none is given */
bool kafka_overflow_closed(const struct kafka_overflow *o); /* turn() gets it there */
void kafka_overflow_free(struct kafka_overflow *o);         /* waits for the producer, if nobody has */

/* -1: it may not overflow into this topic. */
int kafka_overflow_check(const void *conf, const char *topic, struct sb_err *err);
/* What is sent: for tests. Borrows from `o` and the event. -1: larger than a record may be. */
int kafka_overflow_encode(struct kafka_overflow *o, const struct sb_overflow *what, struct kafka_message *ret);

#endif
