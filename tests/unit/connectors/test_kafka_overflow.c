/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

#include "broker/base/event.h"
#include "connectors/kafka/overflow.h"

/* No framework: what is sent on is looked at before it is sent. */
void sb_source_overflowed(struct sb_source *s, void *token, bool there)
{
	(void)s;
	(void)token;
	fail_msg("answered: %d", there);
}

/* ------------------------------------------------------------------------------------------------ which topic */

static void a_source_does_not_overflow_into_itself(void **state)
{
	static const struct {
		const char *reads, *into, *want; /* NULL: fine */
	} rows[] = {
		{ "orders", "orders-later", NULL },
		{ "orders", "orders", "reads `orders` itself" },
		{ "^orders", "orders-later", "reads `orders-later` itself" },
		{ "^orders$", "orders-later", NULL },
		{ "orders", "a b", "not the name of a topic" },
		{ "orders", "..", "not the name of a topic" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		const char *topics[] = { "other", rows[i].reads, NULL };
		const struct kafka_source_conf c = { .topics = { topics, 2 } };
		struct sb_err err = { 0 };
		int rc = kafka_overflow_check(&c, rows[i].into, &err);

		if (rc != (rows[i].want ? -1 : 0) || (rows[i].want && !strstr(err.msg, rows[i].want)))
			fail_msg("row %zu: %d, %s", i, rc, err.msg);
	}
}

/* ------------------------------------------------------------------------------------------------ which record */

static void add_header(struct sb_buf *out, rd_kafka_headers_t *headers, size_t i)
{
	const char *name;
	const void *value;
	size_t n;

	if (rd_kafka_header_get_all(headers, i, &name, &value, &n) == RD_KAFKA_RESP_ERR_NO_ERROR)
		sb_buf_addf(out, "%s=%.*s\n", name, (int)n, (const char *)value);
}

static void a_record_says_what_it_was_and_who_is_owed(void **state)
{
	static const char head[] = "{\"id\":\"e\\u00e9\",\"source\":\"s\",\"detail-type\":\"t\",\"detail\":{\"n\": 1.0}";
	static const char ours[] = "signalbox-event-id=e\xc3\xa9\nsignalbox-source=in\nsignalbox-topic=orders\n"
				   "signalbox-partition=3\nsignalbox-offset=41\nsignalbox-owed=[]\n";
	static const struct {
		const char *meta, *key, *headers; /* key NULL: none; headers: those before ours */
	} rows[] = {
		{ "", NULL, "" },
		{ ",\"meta\":{\"kafka\":{\"key\":\"a\\\"b\"}}", "a\"b", "" },
		{ ",\"meta\":{\"kafka\":{\"key\":\"\"}}", "", "" },
		{ ",\"meta\":{\"kafka\":{\"key_base64\":\"/w==\"}}", "\xff", "" },
		{ ",\"meta\":{\"kafka\":{\"headers\":{\"a\":\"1\",\"b\":\"\"},\"headers_base64\":{\"c\":\"//4=\"}}}", NULL, "a=1\nb=\nc=\xff\xfe\n" },
		{ ",\"meta\":{\"kafka\":{\"headers\":{\"ce_id\":\"1\",\"content-type\":\"x\",\"signalbox-owed\":\"y\",\"traceparent\":\"z\"}}}", NULL,
			"traceparent=z\n" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		struct sb_source source = { .name = "in" };
		struct kafka_overflow o;
		struct kafka_message m = { 0 };
		struct sb_buf got = SB_BUF(4096);
		struct sb_event *ev;
		struct sb_err err;
		char json[1024], want[1024];
		struct sb_overflow what = { .position = SB_SLICE("orders/3/41"), .owed = SB_SLICE("[]") };

		snprintf(json, sizeof(json), "%s%s}", head, rows[i].meta);
		if (sb_event_parse(sb_slice_str(json), sb_name_str("default"), sb_name_str("in"), &ev, &err) < 0)
			fail_msg("row %zu: %s", i, err.msg);
		what.event = ev;
		kafka_overflow_init(&o, &source, -1);
		assert_int_equal(kafka_overflow_encode(&o, &what, &m), 0);
		for (size_t k = 0; k < rd_kafka_header_cnt(m.headers); k++)
			add_header(&got, m.headers, k);
		snprintf(want, sizeof(want), "%s%s", rows[i].headers, ours);
		if (!sb_slice_eq_str(sb_buf_slice(&got), want))
			fail_msg("row %zu: headers\n%s", i, sb_buf_cstr(&got));
		if (rows[i].key ? !m.key.p || !sb_slice_eq_str(m.key, rows[i].key) : m.key.p != NULL)
			fail_msg("row %zu: key %.*s", i, SB_SLICE_ARG(m.key));
		snprintf(want, sizeof(want), "%s}", head);
		if (!sb_slice_eq_str(m.value, want) || m.borrowed)
			fail_msg("row %zu: value %.*s", i, SB_SLICE_ARG(m.value));
		rd_kafka_headers_destroy(m.headers);
		kafka_overflow_free(&o);
		sb_event_unref(ev);
		sb_buf_done(&got);
	}
	sb_event_thread_done();
}

/* When a source that has not closed in time is freed, those whom it would answer are gone. */
static void what_is_forgotten_is_not_answered(void **state)
{
	static const char text[] = "{\"id\":\"e\",\"source\":\"s\",\"detail-type\":\"t\",\"detail\":{}}";
	struct sb_fake_clock clock;
	struct sb_env env = { .clock = &clock.clock };
	struct sb_source source = { .name = "in", .env = &env, .overflow_topic = "later" };
	struct sb_overflow what = { .token = &source, .position = SB_SLICE("orders/3/41"), .owed = SB_SLICE("[]") };
	struct kafka_overflow o;
	struct sb_event *ev;
	struct sb_err err;

	(void)state;
	sb_fake_clock_init(&clock, 1795508393000);
	assert_int_equal(sb_event_parse(SB_SLICE(text), sb_name_str("default"), sb_name_str("in"), &ev, &err), 0);
	what.event = ev;
	kafka_overflow_init(&o, &source, -1);
	o.again_ns = UINT64_MAX; /* it waits */
	kafka_overflow_take(&o, &what);
	kafka_overflow_forget(&o);
	kafka_overflow_close(&o);
	assert_true(kafka_overflow_closed(&o));
	kafka_overflow_free(&o);
	sb_event_unref(ev);
	sb_event_thread_done();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_does_not_overflow_into_itself),
		cmocka_unit_test(a_record_says_what_it_was_and_who_is_owed),
		cmocka_unit_test(what_is_forgotten_is_not_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
