/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h> /* behind it */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connectors/kafka/conf.h"
#include "connectors/kafka/target.h"

/*
 * The target on librdkafka's own mock cluster, which gives errors that a broker gives only when something is badly wrong with
 * it. Numbers of requests as the protocol has them.
 */
enum { PRODUCE = 0, INIT_PRODUCER_ID = 22 };
#define MOST 200
#define PATIENCE_MS 20000

struct stand {
	rd_kafka_t *rk; /* carries the mock cluster */
	rd_kafka_mock_cluster_t *mock;
	struct event_base *base;
	struct sb_env env;
	struct sb_target target;
	struct kafka_target_conf conf;
	struct kafka_pair pair[8];
	const char *brokers[2];
	struct sb_event *event;
	struct sb_item item[MOST];
	struct sb_batch batch[MOST];
	unsigned settled[MOST], n_settled, closed, reachable;
	enum sb_outcome outcome[MOST];
	enum sb_reason reason[MOST];
	char message[MOST][400];
};

static void on_settle(struct sb_target *t, struct sb_batch *b, size_t i, const struct sb_result *r)
{
	struct stand *s = t->owner;
	size_t at = (size_t)(b - s->batch);

	assert_int_equal(i, 0);
	s->settled[at]++;
	s->n_settled++;
	s->outcome[at] = r->outcome;
	s->reason[at] = r->reason;
	snprintf(s->message[at], sizeof(s->message[at]), "%.*s", SB_SLICE_ARG(r->message));
}

static void on_closed(struct sb_target *t)
{
	((struct stand *)t->owner)->closed++;
}

static void on_reachable(struct sb_target *t)
{
	((struct stand *)t->owner)->reachable++;
}

/* Turns the loop until `*what` has come to `want`. */
static void run_until(struct stand *s, const unsigned *what, unsigned want)
{
	const struct timeval step = { .tv_usec = 10000 };

	for (unsigned ms = 0; *what < want; ms += 10) {
		if (ms > PATIENCE_MS)
			fail_msg("waited in vain: %u of %u", *what, want);
		event_base_loopexit(s->base, &step);
		event_base_dispatch(s->base);
	}
}

static void add_property(struct stand *s, const char *name, const char *value)
{
	s->pair[s->conf.cluster.n_pairs++] = (struct kafka_pair){ name, value };
}

static void prepare(struct stand *s, unsigned n_brokers)
{
	static const char text[] = "{\"id\":\"1\",\"source\":\"s\",\"detail-type\":\"t\",\"detail\":{}}";
	rd_kafka_conf_t *quiet = rd_kafka_conf_new();
	char why[200];

	memset(s, 0, sizeof(*s));
	rd_kafka_conf_set(quiet, "log_level", "0", why, sizeof(why));
	s->rk = rd_kafka_new(RD_KAFKA_PRODUCER, quiet, why, sizeof(why));
	s->mock = rd_kafka_mock_cluster_new(s->rk, (int)n_brokers);
	rd_kafka_mock_topic_create(s->mock, "t", 1, 1);
	s->brokers[0] = rd_kafka_mock_cluster_bootstraps(s->mock);
	s->base = event_base_new();
	s->env = (struct sb_env){ .base = s->base, .clock = &sb_clock_system };
	s->conf = (struct kafka_target_conf){ .cluster = { .brokers = { s->brokers, 1 }, .pair = s->pair }, .topic = "t" };
	s->target = (struct sb_target){ .name = "k", .ops = &kafka_target_ops, .conf = &s->conf, .env = &s->env, .timeout_ms = 10000,
		.settle = on_settle, .closed = on_closed, .reachable = on_reachable, .owner = s };
	s->target.state = sb_xcalloc(kafka_target_ops.state_size);
	assert_int_equal(sb_event_parse(sb_slice(text, sizeof(text) - 1), "default", "events", &s->event, NULL), 0);
	for (size_t i = 0; i < MOST; i++) {
		s->item[i] = (struct sb_item){ .delivery_id = SB_SLICE("d"), .attempt = 1, .rule = "r", .event = s->event,
			.input = SB_SLICE("{\"a\":1}"), .transformed = true };
		s->batch[i] = (struct sb_batch){ .n = 1, .item = &s->item[i] };
	}
	add_property(s, "retry.backoff.ms", "10");
}

static void open_target(struct stand *s)
{
	struct sb_err err;

	if (s->target.ops->open(&s->target, &err) < 0)
		fail_msg("not opened: %s", err.msg);
}

static void begin(struct stand *s)
{
	prepare(s, 1);
	open_target(s);
}

static void send_some(struct stand *s, size_t from, size_t n)
{
	for (size_t i = from; i < from + n; i++)
		s->target.ops->send(&s->target, &s->batch[i]);
}

static void send_and_wait(struct stand *s, size_t from, size_t n)
{
	unsigned want = s->n_settled + (unsigned)n;

	send_some(s, from, n);
	run_until(s, &s->n_settled, want);
}

static void close_target(struct stand *s)
{
	s->target.ops->close(&s->target);
	s->target.ops->close(&s->target);
	run_until(s, &s->closed, 1);
	s->target.ops->close(&s->target);
	assert_int_equal(s->closed, 1);
}

static void dispose(struct stand *s)
{
	s->target.ops->free(&s->target);
	free(s->target.state);
	event_base_free(s->base);
	sb_event_unref(s->event);
	rd_kafka_mock_cluster_destroy(s->mock);
	rd_kafka_destroy(s->rk);
}

static void end_stand(struct stand *s)
{
	close_target(s);
	dispose(s);
}

static void expect(const struct stand *s, size_t i, enum sb_outcome outcome, enum sb_reason reason)
{
	if (s->settled[i] != 1 || s->outcome[i] != outcome || s->reason[i] != reason)
		fail_msg("delivery %zu: %u times, %s %s '%s', wanted %s %s", i, s->settled[i], sb_outcome_name(s->outcome[i]),
			sb_reason_name(s->reason[i]), s->message[i], sb_outcome_name(outcome), sb_reason_name(reason));
}

static void forget(struct stand *s)
{
	memset(s->settled, 0, sizeof(s->settled));
}

static unsigned number_in_status(struct stand *s, const char *name)
{
	struct sb_buf out = SB_BUF(4096);
	const char *at;
	unsigned n;

	s->target.ops->status(&s->target, &out);
	at = strstr(sb_buf_cstr(&out), name);
	assert_non_null(at);
	n = (unsigned)strtoul(at + strlen(name) + 1, NULL, 10);
	sb_buf_done(&out);
	return n;
}

/* ------------------------------------------------------------------------------------------------ success */

static void what_is_reported_is_delivered(void **state)
{
	struct stand s;

	(void)state;
	begin(&s);
	send_and_wait(&s, 0, MOST);
	for (size_t i = 0; i < MOST; i++)
		expect(&s, i, SB_DELIVERED, SB_R_NONE);
	end_stand(&s);
}

static void a_passing_error_is_the_librarys_to_retry(void **state)
{
	struct stand s;

	(void)state;
	begin(&s);
	rd_kafka_mock_push_request_errors(s.mock, PRODUCE, 2, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT);
	send_and_wait(&s, 0, 5);
	for (size_t i = 0; i < 5; i++)
		expect(&s, i, SB_DELIVERED, SB_R_NONE);
	end_stand(&s);
}

static void a_full_queue_makes_them_wait(void **state)
{
	struct stand s;

	(void)state;
	prepare(&s, 1);
	add_property(&s, "queue.buffering.max.messages", "7");
	open_target(&s);
	send_and_wait(&s, 0, MOST);
	for (size_t i = 0; i < MOST; i++)
		expect(&s, i, SB_DELIVERED, SB_R_NONE);
	assert_true(number_in_status(&s, "\"queue_full\"") > 0);
	end_stand(&s);
}

/* ------------------------------------------------------------------------------------------------ refusals */

static void one_too_large_does_not_take_its_batch_along(void **state)
{
	struct stand s;

	(void)state;
	prepare(&s, 1);
	add_property(&s, "linger.ms", "100");
	open_target(&s);
	rd_kafka_mock_push_request_errors(s.mock, PRODUCE, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	send_and_wait(&s, 0, 3);
	for (size_t i = 0; i < 3; i++) {
		expect(&s, i, SB_RELEASED, SB_R_NONE);
		assert_true(s.item[i].alone);
	}
	forget(&s);
	rd_kafka_mock_push_request_errors(s.mock, PRODUCE, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	send_and_wait(&s, 0, 3);
	expect(&s, 0, SB_REJECTED, SB_R_INVALID_PARAMETER);
	expect(&s, 1, SB_DELIVERED, SB_R_NONE);
	expect(&s, 2, SB_DELIVERED, SB_R_NONE);
	assert_int_equal(number_in_status(&s, "\"suspected\""), 3);
	end_stand(&s);
}

static void too_large_for_the_library_is_rejected(void **state)
{
	static char big[4000];
	struct stand s;

	(void)state;
	prepare(&s, 1);
	add_property(&s, "message.max.bytes", "2000");
	open_target(&s);
	memset(big, '1', sizeof(big));
	s.item[0].input = sb_slice(big, sizeof(big));
	send_some(&s, 0, 1);
	expect(&s, 0, SB_REJECTED, SB_R_INVALID_PARAMETER);
	end_stand(&s);
}

static void no_such_topic(void **state)
{
	struct stand s;

	(void)state;
	prepare(&s, 1);
	add_property(&s, "topic.metadata.propagation.max.ms", "300");
	add_property(&s, "topic.metadata.refresh.interval.ms", "200");
	rd_kafka_mock_topic_set_error(s.mock, "t", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
	open_target(&s);
	send_and_wait(&s, 0, 2);
	expect(&s, 0, SB_REJECTED, SB_R_NO_RESOURCE);
	expect(&s, 1, SB_REJECTED, SB_R_NO_RESOURCE);
	end_stand(&s);
}

static void no_right_to_write(void **state)
{
	struct stand s;

	(void)state;
	begin(&s);
	rd_kafka_mock_push_request_errors(s.mock, PRODUCE, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	send_and_wait(&s, 0, 1);
	expect(&s, 0, SB_UNREACHABLE, SB_R_NO_PERMISSIONS);
	end_stand(&s);
}

/* ------------------------------------------------------------------------------------------------ nobody there */

/* A port that refuses: bound, and not listened to. */
static int refusing(char *address, size_t size)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, n), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
	snprintf(address, size, "127.0.0.1:%u", ntohs(in.sin_port));
	return fd;
}

static void a_cluster_that_is_not_there_is_unreachable(void **state)
{
	char address[64];
	int fd = refusing(address, sizeof(address));
	struct stand s;

	(void)state;
	prepare(&s, 1);
	s.brokers[0] = address;
	s.target.timeout_ms = 600;
	open_target(&s);
	send_and_wait(&s, 0, 3);
	for (size_t i = 0; i < 3; i++)
		expect(&s, i, SB_UNREACHABLE, SB_R_CONNECTION_FAILURE);
	if (!strstr(s.message[0], "refused"))
		fail_msg("no cause in '%s'", s.message[0]);
	end_stand(&s);
	close(fd);
}

static void a_cluster_that_comes_back_is_told_without_a_probe(void **state)
{
	struct stand s;

	(void)state;
	prepare(&s, 1);
	s.target.timeout_ms = 600;
	add_property(&s, "statistics.interval.ms", "100");
	add_property(&s, "reconnect.backoff.max.ms", "200");
	rd_kafka_mock_broker_set_down(s.mock, 1);
	open_target(&s);
	send_and_wait(&s, 0, 1);
	expect(&s, 0, SB_UNREACHABLE, SB_R_CONNECTION_FAILURE);
	assert_int_equal(s.reachable, 0);
	rd_kafka_mock_broker_set_up(s.mock, 1);
	run_until(&s, &s.reachable, 1);
	send_and_wait(&s, 1, 1);
	expect(&s, 1, SB_DELIVERED, SB_R_NONE);
	assert_int_equal(s.reachable, 1); /* once */
	end_stand(&s);
}

static void a_broker_that_does_not_answer_costs_an_attempt(void **state)
{
	struct stand s;

	(void)state;
	prepare(&s, 1);
	s.target.timeout_ms = 1000;
	open_target(&s);
	send_and_wait(&s, 0, 1); /* connected */
	rd_kafka_mock_broker_set_rtt(s.mock, 1, 5000);
	send_and_wait(&s, 1, 1);
	expect(&s, 1, SB_RETRY, SB_R_TIMEOUT);
	end_stand(&s);
}

/* ------------------------------------------------------------------------------------------------ life */

static void a_fatal_error_ends_the_producer_and_not_the_target(void **state)
{
	struct stand s;

	(void)state;
	prepare(&s, 1);
	rd_kafka_mock_push_request_errors(s.mock, INIT_PRODUCER_ID, 1, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED);
	open_target(&s);
	send_and_wait(&s, 0, 2);
	expect(&s, 0, SB_UNREACHABLE, SB_R_INTERNAL_ERROR);
	expect(&s, 1, SB_UNREACHABLE, SB_R_INTERNAL_ERROR);
	forget(&s);
	send_and_wait(&s, 0, 2);
	expect(&s, 0, SB_DELIVERED, SB_R_NONE);
	expect(&s, 1, SB_DELIVERED, SB_R_NONE);
	assert_int_equal(number_in_status(&s, "\"renewed\""), 1);
	end_stand(&s);
}

static void another_timeout_is_taken_over_at_once(void **state)
{
	struct stand s;

	(void)state;
	begin(&s);
	send_and_wait(&s, 0, 1);
	s.target.timeout_ms = 700;
	rd_kafka_mock_broker_set_rtt(s.mock, 1, 3000);
	send_and_wait(&s, 1, 1); /* in ten seconds it would be delivered */
	assert_int_equal(s.settled[1], 1);
	assert_int_not_equal(s.outcome[1], SB_DELIVERED);
	end_stand(&s);
}

static void closing_gives_back_what_has_no_answer(void **state)
{
	struct stand s;

	(void)state;
	prepare(&s, 1);
	add_property(&s, "queue.buffering.max.messages", "10");
	open_target(&s);
	send_and_wait(&s, 0, 1);
	rd_kafka_mock_broker_set_rtt(s.mock, 1, 60000);
	send_some(&s, 1, 20);
	close_target(&s);
	assert_int_equal(s.n_settled, 21);
	for (size_t i = 1; i < 21; i++)
		expect(&s, i, SB_RELEASED, SB_R_NONE);
	s.target.ops->send(&s.target, &s.batch[50]); /* one that crossed with close() */
	expect(&s, 50, SB_RELEASED, SB_R_NONE);
	dispose(&s);
}

static void a_target_that_cannot_be_opened_leaves_nothing(void **state)
{
	struct stand s;
	struct sb_err err;

	(void)state;
	prepare(&s, 1);
	add_property(&s, "max.in.flight", "1000"); /* not with idempotence */
	assert_int_equal(s.target.ops->open(&s.target, &err), -1);
	assert_non_null(strstr(err.msg, "max.in.flight"));
	dispose(&s);
}

static int done(void **state)
{
	(void)state;
	sb_event_thread_done();
	sb_pool_thread_done();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_reported_is_delivered),
		cmocka_unit_test(a_passing_error_is_the_librarys_to_retry),
		cmocka_unit_test(a_full_queue_makes_them_wait),
		cmocka_unit_test(one_too_large_does_not_take_its_batch_along),
		cmocka_unit_test(too_large_for_the_library_is_rejected),
		cmocka_unit_test(no_such_topic),
		cmocka_unit_test(no_right_to_write),
		cmocka_unit_test(a_cluster_that_is_not_there_is_unreachable),
		cmocka_unit_test(a_cluster_that_comes_back_is_told_without_a_probe),
		cmocka_unit_test(a_broker_that_does_not_answer_costs_an_attempt),
		cmocka_unit_test(a_fatal_error_ends_the_producer_and_not_the_target),
		cmocka_unit_test(another_timeout_is_taken_over_at_once),
		cmocka_unit_test(closing_gives_back_what_has_no_answer),
		cmocka_unit_test(a_target_that_cannot_be_opened_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, done);
}
