/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_NUDGE_H
#define SB_CONNECTORS_KAFKA_NUDGE_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Makes librdkafka look again whether there is room for more records.
 *
 * Its thread of a broker looks when something happens on its connection. When what was read ahead of every partition is as much as it
 * may be, nothing does, and it rests for up to a second, however soon that was consumed: the reader starves, unless what is read
 * ahead lasts for that long, which is a thousand bytes of memory a record. From 2.2 on the rest can be set
 * (fetch.queue.backoff.ms). Before, each broker is asked a question now and then while records flow: where its partitions end. The
 * question waits for an answer, so a thread of its own asks.
 *
 * The owner's thread calls all of it, but for join, which whoever destroys the consumer calls.
 */
struct kafka_nudge {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	rd_kafka_t *rk;
	uint64_t seen;
	bool running, due, stop;
};

bool kafka_rest_can_be_set(void); /* and no nudge is needed */
void kafka_nudge_start(struct kafka_nudge *n, rd_kafka_t *rk);
void kafka_nudge(struct kafka_nudge *n, uint64_t records); /* so many so far; does not wait */
void kafka_nudge_stop(struct kafka_nudge *n);              /* does not wait either */
void kafka_nudge_join(struct kafka_nudge *n);              /* before its consumer is destroyed; again is fine */

#endif
