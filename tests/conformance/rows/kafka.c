/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other side is librdkafka's mock cluster, one broker and one topic of one partition, and a consumer that reads along.
 * A producer needs a second to be let in by a broker, more than an item has here: it gets that before it is sent anything.
 */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h> /* behind it */
#include <stdio.h>
#include <stdlib.h>

#include "tests/conformance/stage.h"

extern const struct sb_connector sb_connector_kafka;

#define PRODUCE 0
#define MANY_ERRORS 2000
#define LET_IN_MS 1500
#define STALL_MS (2 * STAGE_TIMEOUT_MS + 700)
#define LARGEST (1u << 20)

struct side {
	rd_kafka_t *rk, *reader;
	rd_kafka_mock_cluster_t *mock;
	bool stalls;
};

static rd_kafka_t *client(rd_kafka_type_t type, const char *brokers)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[200];

	rd_kafka_conf_set(conf, "log_level", "0", why, sizeof(why));
	if (brokers)
		rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof(why));
	if (type == RD_KAFKA_CONSUMER) {
		rd_kafka_conf_set(conf, "group.id", "suite", why, sizeof(why));
		rd_kafka_conf_set(conf, "fetch.wait.max.ms", "10", why, sizeof(why));
		rd_kafka_conf_set(conf, "reconnect.backoff.max.ms", "100", why, sizeof(why));
	}
	return rd_kafka_new(type, conf, why, sizeof(why));
}

static void read_along(struct side *s)
{
	rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(1);

	rd_kafka_topic_partition_list_add(all, "t", 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_assign(s->reader, all);
	rd_kafka_topic_partition_list_destroy(all);
}

/* Where the configuration finds the cluster. */
static int tell_brokers(struct stage *st, const char *brokers, struct sb_err *err)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/brokers", st->dir);
	f = fopen(path, "w");
	if (!f)
		return sb_fail_errno(err, "%s", path);
	fputs(brokers, f);
	fclose(f);
	return 0;
}

static int make(struct stage *st, struct sb_err *err)
{
	struct side *s = sb_xcalloc(sizeof(*s));
	const char *brokers;

	st->far = s;
	s->rk = client(RD_KAFKA_PRODUCER, NULL);
	s->mock = rd_kafka_mock_cluster_new(s->rk, 1);
	brokers = rd_kafka_mock_cluster_bootstraps(s->mock);
	rd_kafka_mock_topic_create(s->mock, "t", 1, 1);
	s->reader = client(RD_KAFKA_CONSUMER, brokers);
	read_along(s);
	return tell_brokers(st, brokers, err);
}

static void opened(struct stage *st)
{
	const struct side *s = st->far;

	if (!s->stalls)
		stage_rest(st, LET_IN_MS);
}

static void unmake(struct stage *st)
{
	struct side *s = st->far;

	rd_kafka_mock_broker_set_rtt(s->mock, 1, 0);
	rd_kafka_destroy(s->reader);
	rd_kafka_mock_cluster_destroy(s->mock);
	rd_kafka_destroy(s->rk);
	free(s);
}

static void answer(struct side *s, rd_kafka_resp_err_t err)
{
	static rd_kafka_resp_err_t errors[MANY_ERRORS];

	for (size_t i = 0; i < MANY_ERRORS; i++)
		errors[i] = err;
	rd_kafka_mock_push_request_errors_array(s->mock, PRODUCE, MANY_ERRORS, errors);
}

static void act(struct stage *st, enum far f)
{
	struct side *s = st->far;

	rd_kafka_mock_clear_request_errors(s->mock, PRODUCE);
	if (f == FAR_FAILS)
		answer(s, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS);
	else if (f == FAR_REJECTS)
		answer(s, RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION);
	s->stalls = f == FAR_STALLS;
	rd_kafka_mock_broker_set_rtt(s->mock, 1, s->stalls ? STALL_MS : 0);
	if (f == FAR_GONE)
		rd_kafka_mock_broker_set_down(s->mock, 1);
	else
		rd_kafka_mock_broker_set_up(s->mock, 1);
}

static void collect(struct stage *st)
{
	struct side *s = st->far;
	rd_kafka_message_t *m;

	while ((m = rd_kafka_consumer_poll(s->reader, 0))) {
		if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			stage_arrived(st, sb_slice(m->payload, m->len));
		rd_kafka_message_destroy(m);
	}
}

static const char *const wrong[] = { "{}", "[]", "{brokers: [], topic: t}", "{brokers: [h], topic: a/b}",
	"{brokers: [h], topic: t, properties: {acks: 0}}", "{brokers: [h], topic: t, properties: {no.such.thing: 1}}", NULL };

const struct row row_kafka = {
	.name = "kafka",
	.connector = &sb_connector_kafka,
	.conf = "{brokers: ['${file:DIR/brokers}'], topic: t, properties: {retry.backoff.ms: 10, message.max.bytes: 1050000,"
		" reconnect.backoff.max.ms: 100}}",
	.wrong = wrong,
	.make = make,
	.opened = opened,
	.unmake = unmake,
	.target =
		&(const struct target_row){
			.largest = LARGEST,
			.may = {
				[FAR_TAKES] = MAY(SB_RETRY), /* a pause of the machine is longer than an item's time */
				[FAR_FAILS] = MAY(SB_RETRY),
				[FAR_REJECTS] = MAY(SB_REJECTED),
				[FAR_STALLS] = MAY(SB_RETRY),
				[FAR_GONE] = MAY(SB_UNREACHABLE) | MAY(SB_RETRY),
			},
			.act = act,
			.collect = collect,
		},
};
