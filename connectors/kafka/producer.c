/* SPDX-License-Identifier: Apache-2.0 */
#include "producer.h"

#include <unistd.h>

static const uint64_t one = 1;

/* ------------------------------------------------------------------------------------------------ open */

int kafka_producer_open(struct kafka_producer *p, rd_kafka_conf_t *conf, const char *topic, int wake_fd, struct sb_err *err)
{
	char why[512];

	*p = (struct kafka_producer){ .wake_fd = wake_fd };
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS);
	p->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (!p->rk) {
		rd_kafka_conf_destroy(conf);
		return sb_fail(err, SB_E_INVALID, "kafka: %s", why);
	}
	p->topic = rd_kafka_topic_new(p->rk, topic, NULL);
	if (!p->topic) {
		sb_fail(err, SB_E_INVALID, "kafka: topic '%s': %s", topic, rd_kafka_err2str(rd_kafka_last_error()));
		rd_kafka_destroy(p->rk);
		p->rk = NULL;
		return -1;
	}
	p->queue = rd_kafka_queue_get_main(p->rk);
	rd_kafka_queue_io_event_enable(p->queue, wake_fd, &one, sizeof(one));
	return 0;
}

/* ------------------------------------------------------------------------------------------------ use */

rd_kafka_resp_err_t kafka_producer_send(struct kafka_producer *p, const struct kafka_message *m, void *opaque)
{
	return rd_kafka_producev(p->rk, RD_KAFKA_V_RKT(p->topic), RD_KAFKA_V_PARTITION(RD_KAFKA_PARTITION_UA),
		RD_KAFKA_V_MSGFLAGS(m->borrowed ? 0 : RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_VALUE((void *)m->value.p, m->value.n),
		RD_KAFKA_V_KEY(m->key.p, m->key.n), RD_KAFKA_V_HEADERS(m->headers), RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
}

rd_kafka_event_t *kafka_producer_next(struct kafka_producer *p)
{
	return rd_kafka_queue_poll(p->queue, 0);
}

void kafka_producer_purge(struct kafka_producer *p)
{
	rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

/* ------------------------------------------------------------------------------------------------ end */

static void *end(void *arg)
{
	struct kafka_producer *p = arg;
	ssize_t n;

	rd_kafka_destroy(p->rk);
	atomic_store_explicit(&p->ended, true, memory_order_release);
	n = write(p->wake_fd, &one, sizeof(one));
	(void)n; /* full: then it is awake */
	return NULL;
}

void kafka_producer_end(struct kafka_producer *p)
{
	int rc;

	rd_kafka_queue_io_event_enable(p->queue, -1, NULL, 0);
	rd_kafka_queue_destroy(p->queue);
	rd_kafka_topic_destroy(p->topic);
	p->queue = NULL;
	p->topic = NULL;
	rc = pthread_create(&p->ender, NULL, end, p);
	SB_ASSERT(rc == 0);
}

void kafka_producer_join(struct kafka_producer *p)
{
	pthread_join(p->ender, NULL);
	p->rk = NULL;
	atomic_store_explicit(&p->ended, false, memory_order_relaxed);
}

bool kafka_producer_ended(struct kafka_producer *p)
{
	if (!atomic_load_explicit(&p->ended, memory_order_acquire))
		return false;
	kafka_producer_join(p);
	return true;
}
