/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_PRODUCER_H
#define SB_CONNECTORS_KAFKA_PRODUCER_H

#include <pthread.h>
#include <stdatomic.h>

#include "message.h"

/*
 * One librdkafka producer and its topic. Everything is called by the shard's thread and nothing blocks: librdkafka's own
 * threads only write to `wake_fd` when its queue is no longer empty, and taking a producer down, which waits for them,
 * happens on a thread of its own.
 */
struct kafka_producer {
	rd_kafka_t *rk; /* NULL: not open */
	rd_kafka_topic_t *topic;
	rd_kafka_queue_t *queue;
	int wake_fd;
	pthread_t ender;
	atomic_bool ended;
};

/* `conf` moves in, also on -1. wake_fd: an eventfd, not blocking. */
int kafka_producer_open(struct kafka_producer *p, rd_kafka_conf_t *conf, const char *topic, int wake_fd, struct sb_err *err);
/*
 * 0: the headers have moved in, and a delivery report with `opaque` follows. Else an error; RD_KAFKA_RESP_ERR__QUEUE_FULL:
 * there is no room before some report has come. The headers are still the caller's then.
 */
rd_kafka_resp_err_t kafka_producer_send(struct kafka_producer *p, const struct kafka_message *m, void *opaque);
/* The next event; NULL: the queue is empty, and wake_fd will tell when it no longer is. rd_kafka_event_destroy() is the caller's. */
rd_kafka_event_t *kafka_producer_next(struct kafka_producer *p);
/* Give everything up that has no report yet: reports with RD_KAFKA_RESP_ERR__PURGE_* follow. */
void kafka_producer_purge(struct kafka_producer *p);
/* There are no reports to come. wake_fd is written to when it is over; then ended() says so once, and it is closed. */
void kafka_producer_end(struct kafka_producer *p);
bool kafka_producer_ended(struct kafka_producer *p);
void kafka_producer_join(struct kafka_producer *p); /* behind end(): waits for it */

#endif
