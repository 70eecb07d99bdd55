/* SPDX-License-Identifier: Apache-2.0 */
/* Asking where the group stands never waits, whatever the broker does: on librdkafka's mock cluster. */
#include "tests/support/test.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h> /* behind it */
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "connectors/kafka/consumer.h"

#define SLOW_MS 1500
#define AT_ONCE_NS (SLOW_MS * INT64_C(1000000) / 2)
#define PATIENCE_MS 20000

struct stand {
	rd_kafka_t *carrier, *rk;
	rd_kafka_mock_cluster_t *mock;
	rd_kafka_topic_partition_list_t *list;
	struct kafka_ask ask;
	int wake_fd;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void up(struct stand *s)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[256];

	*s = (struct stand){ .wake_fd = eventfd(0, EFD_NONBLOCK) };
	s->carrier = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why, sizeof(why));
	s->mock = rd_kafka_mock_cluster_new(s->carrier, 1);
	rd_kafka_mock_topic_create(s->mock, "in", 2, 1);
	rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(s->mock), why, sizeof(why));
	rd_kafka_conf_set(conf, "group.id", "g", why, sizeof(why));
	s->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
	assert_non_null(s->rk);
	s->list = rd_kafka_topic_partition_list_new(2);
	rd_kafka_topic_partition_list_add(s->list, "in", 0);
	rd_kafka_topic_partition_list_add(s->list, "in", 1);
}

static void down(struct stand *s)
{
	kafka_ask_wait(&s->ask);
	rd_kafka_topic_partition_list_destroy(s->list);
	rd_kafka_destroy(s->rk);
	rd_kafka_mock_cluster_destroy(s->mock);
	rd_kafka_destroy(s->carrier);
	close(s->wake_fd);
}

static void ask(struct stand *s)
{
	kafka_ask(&s->ask, s->rk, s->list, s->wake_fd);
}

static void wait_answer(struct stand *s)
{
	int64_t end = now_ns() + PATIENCE_MS * INT64_C(1000000);
	struct pollfd p = { .fd = s->wake_fd, .events = POLLIN };
	uint64_t n;

	while (!kafka_ask_done(&s->ask)) {
		assert_true(now_ns() < end);
		poll(&p, 1, 100);
		if (read(s->wake_fd, &n, sizeof(n)) < 0)
			continue;
	}
}

static void an_answer_is_told_once(void **state)
{
	struct stand s;

	(void)state;
	up(&s);
	ask(&s);
	wait_answer(&s);
	assert_false(kafka_ask_done(&s.ask));
	assert_true(kafka_ask_idle(&s.ask));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(s.ask.now->err, RD_KAFKA_RESP_ERR_NO_ERROR);
		assert_int_equal(s.ask.now->answer[i].committed, -1);
		assert_int_equal(s.ask.now->answer[i].low, 0);
		assert_int_equal(s.ask.now->answer[i].high, 0);
	}
	kafka_ask_drop(&s.ask);
	assert_null(s.ask.now);
	down(&s);
}

/* A group that is rebalanced again and again while its broker is slow: no question is waited for, and threads do not pile up. */
static void what_is_dropped_is_not_waited_for(void **state)
{
	struct stand s;
	int64_t began;

	(void)state;
	up(&s);
	ask(&s);
	wait_answer(&s); /* connected */
	kafka_ask_drop(&s.ask);
	rd_kafka_mock_broker_set_rtt(s.mock, 1, SLOW_MS);
	began = now_ns();
	for (unsigned i = 0; i < KAFKA_ASKS_DROPPED; i++) {
		ask(&s);
		kafka_ask_drop(&s.ask);
	}
	assert_false(kafka_ask_idle(&s.ask));
	ask(&s);
	assert_true(kafka_ask_done(&s.ask)); /* not put at all */
	assert_int_equal(s.ask.now->err, RD_KAFKA_RESP_ERR__TIMED_OUT);
	kafka_ask_drop(&s.ask);
	assert_true(now_ns() - began < AT_ONCE_NS);
	rd_kafka_mock_broker_set_rtt(s.mock, 1, 0);
	while (!kafka_ask_idle(&s.ask)) {
		assert_true(now_ns() - began < PATIENCE_MS * INT64_C(1000000));
		poll(NULL, 0, 10);
	}
	ask(&s);
	wait_answer(&s);
	assert_int_equal(s.ask.now->err, RD_KAFKA_RESP_ERR_NO_ERROR);
	down(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_told_once),
		cmocka_unit_test(what_is_dropped_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
