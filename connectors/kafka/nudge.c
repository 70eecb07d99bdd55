/* SPDX-License-Identifier: Apache-2.0 */
#include "nudge.h"

#include "broker/base/err.h"

#define ANSWER_MS 1000

bool kafka_rest_can_be_set(void)
{
	return rd_kafka_version() >= 0x020200ff;
}

/* What comes back does not matter, nor whether it does. */
static void ask(rd_kafka_t *rk)
{
	rd_kafka_topic_partition_list_t *list;

	if (rd_kafka_assignment(rk, &list) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	for (int i = 0; i < list->cnt; i++)
		list->elems[i].offset = RD_KAFKA_OFFSET_END;
	if (list->cnt)
		rd_kafka_offsets_for_times(rk, list, ANSWER_MS);
	rd_kafka_topic_partition_list_destroy(list);
}

static void *work(void *arg)
{
	struct kafka_nudge *n = arg;

	pthread_mutex_lock(&n->lock);
	for (;;) {
		while (!n->due && !n->stop)
			pthread_cond_wait(&n->cond, &n->lock);
		if (n->stop)
			break;
		n->due = false;
		pthread_mutex_unlock(&n->lock);
		ask(n->rk);
		pthread_mutex_lock(&n->lock);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

void kafka_nudge_start(struct kafka_nudge *n, rd_kafka_t *rk)
{
	if (kafka_rest_can_be_set())
		return;
	*n = (struct kafka_nudge){ .rk = rk };
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->cond, NULL);
	n->running = pthread_create(&n->thread, NULL, work, n) == 0;
	SB_ASSERT(n->running);
}

static void tell(struct kafka_nudge *n, bool *what)
{
	pthread_mutex_lock(&n->lock);
	*what = true;
	pthread_cond_signal(&n->cond);
	pthread_mutex_unlock(&n->lock);
}

void kafka_nudge(struct kafka_nudge *n, uint64_t records)
{
	if (!n->running || records == n->seen)
		return;
	n->seen = records;
	tell(n, &n->due);
}

void kafka_nudge_stop(struct kafka_nudge *n)
{
	if (n->running)
		tell(n, &n->stop);
}

void kafka_nudge_join(struct kafka_nudge *n)
{
	if (!n->running)
		return;
	kafka_nudge_stop(n);
	pthread_join(n->thread, NULL);
	pthread_mutex_destroy(&n->lock);
	pthread_cond_destroy(&n->cond);
	n->running = false;
}
