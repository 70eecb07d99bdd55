/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other side of a source is librdkafka's mock cluster too: whoever offers writes a record into a topic of one partition,
 * and hears yes when the group has committed past it. Nobody hears no: what is no event is buried, and passed.
 */
#include <event2/event.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h> /* behind it */
#include <stdio.h>
#include <stdlib.h>

#include "tests/conformance/stage.h"

extern const struct sb_connector sb_connector_kafka;

#define LOOK_MS 20
#define ANSWER_MS 40

struct side {
	rd_kafka_t *writer, *asker;
	rd_kafka_mock_cluster_t *mock;
	struct event *look;
	struct stage *stage;
	unsigned sender[STAGE_SENDERS]; /* by offset */
	size_t written, heard;
};

static rd_kafka_t *client(rd_kafka_type_t type, const char *brokers)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[200];

	rd_kafka_conf_set(conf, "log_level", "0", why, sizeof(why));
	rd_kafka_conf_set(conf, "message.max.bytes", "4000000", why, sizeof(why));
	if (brokers)
		rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof(why));
	else
		rd_kafka_conf_set(conf, "linger.ms", "0", why, sizeof(why));
	if (type == RD_KAFKA_CONSUMER)
		rd_kafka_conf_set(conf, "group.id", "suite", why, sizeof(why));
	return rd_kafka_new(type, conf, why, sizeof(why));
}

static void look(evutil_socket_t fd, short what, void *arg)
{
	struct side *s = arg;
	rd_kafka_topic_partition_list_t *at = rd_kafka_topic_partition_list_new(1);

	(void)fd;
	(void)what;
	stage_waited(s->stage);
	rd_kafka_poll(s->writer, 0);
	rd_kafka_topic_partition_list_add(at, "t", 0);
	if (rd_kafka_committed(s->asker, at, ANSWER_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
		while (s->heard < s->written && at->elems[0].offset > (int64_t)s->heard)
			stage_heard(s->stage, s->sender[s->heard++], true);
	rd_kafka_topic_partition_list_destroy(at);
}

static int make(struct stage *st, struct sb_err *err)
{
	struct side *s = sb_xcalloc(sizeof(*s));
	const struct timeval tick = { .tv_usec = LOOK_MS * 1000 };
	char path[96];
	FILE *f;

	st->far = s;
	s->stage = st;
	s->writer = client(RD_KAFKA_PRODUCER, NULL);
	s->mock = rd_kafka_mock_cluster_new(s->writer, 1);
	rd_kafka_brokers_add(s->writer, rd_kafka_mock_cluster_bootstraps(s->mock));
	rd_kafka_mock_topic_create(s->mock, "t", 1, 1);
	s->asker = client(RD_KAFKA_CONSUMER, rd_kafka_mock_cluster_bootstraps(s->mock));
	s->look = event_new(st->env.base, -1, EV_PERSIST, look, s);
	event_add(s->look, &tick);
	snprintf(path, sizeof(path), "%s/brokers", st->dir);
	f = fopen(path, "w");
	if (!f)
		return sb_fail_errno(err, "%s", path);
	fputs(rd_kafka_mock_cluster_bootstraps(s->mock), f);
	fclose(f);
	return 0;
}

static void unmake(struct stage *st)
{
	struct side *s = st->far;

	event_free(s->look);
	rd_kafka_destroy(s->asker);
	rd_kafka_mock_cluster_destroy(s->mock);
	rd_kafka_destroy(s->writer);
	free(s);
}

static void offer(struct stage *st, unsigned k, struct sb_slice text)
{
	struct side *s = st->far;

	s->sender[s->written++] = k;
	rd_kafka_producev(s->writer, RD_KAFKA_V_TOPIC("t"), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
		RD_KAFKA_V_VALUE((void *)text.p, text.n), RD_KAFKA_V_END);
}

static const char *const wrong[] = { "{}", "{brokers: [h], topics: [t]}", "{brokers: [h], topics: [], group: g}",
	"{brokers: [h], topics: [a/b], group: g}", "{brokers: [h], topics: ['^('], group: g}",
	"{brokers: [h], topics: [t], group: g, from: middle}",
	"{brokers: [h], topics: [t], group: g, properties: {enable.auto.commit: true}}", NULL };
static const char *const bad[] = { "{", "", "{\"a\":tru}", "1 2", "\"\xff\"", "HUGE", NULL };

const struct row row_kafka_source = {
	.name = "kafka_source",
	.connector = &sb_connector_kafka,
	.conf = "{brokers: ['${file:DIR/brokers}'], topics: [t], group: suite, properties: {auto.commit.interval.ms: 20,"
		" fetch.wait.max.ms: 10, reconnect.backoff.max.ms: 100, partition.assignment.strategy: range}}",
	.wrong = wrong,
	.make = make,
	.unmake = unmake,
	.slow_successor = true, /* on the mock cluster only after 45 s, the default of session.timeout.ms */
	.source = &(const struct source_row){ .wrap = "@", .bad = bad, .waits = true, .offer = offer },
};
