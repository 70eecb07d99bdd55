/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "connectors/kafka/message.h"

/* The configuration as a user writes it; NULL when it has errors, which `said` then holds. */
struct world {
	struct sb_doc doc;
	struct sb_arena arena;
	struct sb_diags diags;
	struct kafka_target_conf conf;
	char said[4000];
};

static bool load(struct world *w, const char *yaml)
{
	struct sb_decode d = { .arena = &w->arena, .diags = &w->diags };
	struct sb_buf out = SB_BUF(sizeof(w->said) - 1);

	memset(w, 0, sizeof(*w));
	d.rows = kafka_target_fields;
	if (sb_yaml_parse("t.yaml", sb_slice_str(yaml), &w->doc, &w->diags) == 0 &&
		sb_fields_decode(&d, kafka_target_fields, w->doc.root, &w->conf, NULL) == 0)
		kafka_target_check(&d, w->doc.root, &w->conf);
	sb_diags_format(&w->diags, SB_DIAG_SHORT, false, &out);
	snprintf(w->said, sizeof(w->said), "%.*s", SB_SLICE_ARG(sb_buf_slice(&out)));
	sb_buf_done(&out);
	return w->diags.errors == 0;
}

static void unload(struct world *w)
{
	sb_doc_done(&w->doc);
	sb_diags_done(&w->diags);
	sb_arena_done(&w->arena);
}

/* ------------------------------------------------------------------------------------------------ configuration */

#define BASE "brokers: [127.0.0.1:9092]\ntopic: t\n"

static void configuration_is_checked(void **state)
{
	static const struct {
		const char *yaml, *says; /* says NULL: it is right */
	} cases[] = {
		{ BASE, NULL },
		{ BASE "key: <$.detail.id>\nheaders: {a: x, b: '<$.source>-<meta.http.path>'}\nproperties: {linger.ms: 5, compression.type: lz4}\n", NULL },
		{ BASE "properties: {socket.keepalive.enable: true, 'statistics.interval.ms': \"0\"}\n", NULL },
		{ "topic: t\n", "brokers" },
		{ "brokers: []\ntopic: t\n", "brokers" },
		{ "brokers: ['kafka://h:1']\ntopic: t\n", "t.yaml:1:11: error[E001]: `kafka://h:1` is not the address of a broker" },
		{ "brokers: ['a:1,b:2']\ntopic: t\n", "not the address" },
		{ "brokers: [h]\ntopic: a/b\n", "t.yaml:2:8: error[E001]: not the name of a topic" },
		{ "brokers: [h]\ntopic: ..\n", "not the name of a topic" },
		{ BASE "key: <$.detail\n", "not closed" },
		{ BASE "headers: {a: 'x<>'}\n", "t.yaml:3:14" },
		{ BASE "headers: {signalbox-rule: x}\n", "are ours" },
		{ BASE "envelope: cloudevents\n", "cloudevents-binary" },
		{ BASE "properties: {linger.mss: 5}\n", "has no property `linger.mss`" },
		{ BASE "properties: {linger.ms: soon}\n", "t.yaml:3:25" },
		{ BASE "properties: {acks: 1}\n", "`acks` is not for you to set" },
		{ BASE "properties: {enable.idempotence: false}\n", "every in-sync replica" },
		{ BASE "properties: {message.timeout.ms: 5}\n", "`timeout` of the target" },
		{ BASE "properties: {bootstrap.servers: h}\n", "write it as `brokers`" },
		{ BASE "properties: {plugin.library.paths: /tmp/x.so}\n", "not for you to set" },
		{ BASE "properties: {dr_msg_cb: x}\n", "t.yaml:3" },
	};
	struct world w;

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		bool right = load(&w, cases[i].yaml);

		if (right != !cases[i].says || (cases[i].says && !strstr(w.said, cases[i].says)))
			fail_msg("%s: %s", cases[i].yaml, right ? "accepted" : w.said);
		unload(&w);
	}
}

static void scram_is_warned_of_where_it_cannot_work(void **state)
{
	struct world w;

	(void)state;
	assert_true(load(&w, BASE "properties: {sasl.mechanism: SCRAM-SHA-256}\n"));
	assert_int_equal(w.diags.warnings, rd_kafka_version() < 0x020601ff ? 1 : 0);
	unload(&w);
}

static void what_is_fixed_wins_over_what_is_set(void **state)
{
	static const char *const want[][2] = { { "acks", "-1" }, { "enable.idempotence", "true" }, { "message.timeout.ms", "1234" },
		{ "linger.ms", "7" }, { "batch.num.messages", "1" }, { "bootstrap.servers", "127.0.0.1:9092" } };
	struct world w;
	struct sb_err err;
	rd_kafka_conf_t *conf;

	(void)state;
	assert_true(load(&w, BASE "properties: {linger.ms: 7, batch.num.messages: 100}\n"));
	conf = kafka_target_rdkafka(&w.conf, 1234, true, &err);
	assert_non_null(conf);
	for (size_t i = 0; i < SB_LEN(want); i++) {
		char have[200] = "";
		size_t n = sizeof(have);

		rd_kafka_conf_get(conf, want[i][0], have, &n);
		if (strcmp(have, want[i][1]) != 0)
			fail_msg("%s is '%s'", want[i][0], have);
	}
	rd_kafka_conf_destroy(conf);
	unload(&w);
}

/* ------------------------------------------------------------------------------------------------ records */

#define EVENT                                                                                                                  \
	"{\"version\":\"0\",\"id\":\"e\\u00e9-1\",\"source\":\"com.shop\",\"detail-type\":\"Order\",\"account\":\"0\",\"region\":\"r\","       \
	"\"time\":\"2026-11-24T08:00:00Z\",\"resources\":[],\"detail\":{\"id\": 7, \"s\":\"a\\\"b\"}"
#define PLAIN EVENT "}"
#define CE(detail, meta)                                                                                                       \
	"{\"version\":\"0\",\"id\":\"1\",\"source\":\"/s\",\"detail-type\":\"T\",\"time\":\"2026-11-24T08:00:00Z\",\"detail\":" detail ",\"meta\":{\"ce\":" meta "}}"
#define LETTER                                                                                                                 \
	"{\"RULE_ARN\":\"arn:aws:events:l:0:rule/b/r\",\"TARGET_ARN\":\"arn:t\",\"ERROR_CODE\":\"TIMEOUT\",\"ERROR_MESSAGE\":\"no \\\"answer\\\"\"," \
	"\"EXHAUSTED_RETRY_CONDITION\":\"MaximumRetryAttempts\",\"RETRY_ATTEMPTS\":3,\"delivery_id\":\"d.0\",\"input\":{\"a\": [1]}}"
#define YOUNG_LETTER                                                                                                           \
	"{\"ERROR_CODE\":\"NO_RESOURCE\",\"ERROR_MESSAGE\":\"\",\"EXHAUSTED_RETRY_CONDITION\":\"\",\"RETRY_ATTEMPTS\":0,\"delivery_id\":\"d.9\",\"input\":\"text\"}"
#define OURS "signalbox-delivery-id=d.1;signalbox-event-id=eé-1;signalbox-rule=r;signalbox-attempt=2;"
#define OURS1 "signalbox-delivery-id=d.1;signalbox-event-id=1;signalbox-rule=r;signalbox-attempt=2;"

static const struct record {
	const char *what, *yaml, *event, *input; /* input NULL: the event's bare form */
	bool letter;
	const char *key, *value, *headers; /* key NULL: none. value NULL: the bare form */
} records[] = {
	{ "as it is", BASE, PLAIN, NULL, false, NULL, NULL, OURS },
	{ "transformed", BASE, PLAIN, "{\"x\":1}", false, NULL, "{\"x\":1}", OURS },
	{ "key of text", BASE "key: k-<$.detail.s>\n", PLAIN, NULL, false, "k-a\"b", NULL, OURS },
	{ "key of the event, not of the input", BASE "key: <$.detail.id>\n", PLAIN, "{}", false, "7", "{}", OURS },
	{ "a missing value: no key", BASE "key: x<$.detail.zzz>\n", PLAIN, NULL, false, NULL, NULL, OURS },
	{ "headers", BASE "headers: {a: fixed, b: <$.source>, c: <$.nope>}\n", PLAIN, NULL, false, NULL, NULL,
		OURS "a=fixed;b=com.shop;" },
	{ "raw", BASE "envelope: raw\n", PLAIN, NULL, false, NULL, "{\"id\": 7, \"s\":\"a\\\"b\"}", OURS },
	{ "raw, transformed", BASE "envelope: raw\n", PLAIN, "[1]", false, NULL, "[1]", OURS },
	{ "a letter", BASE "key: <$.detail.id>\n", PLAIN, LETTER, true, "7", "{\"a\": [1]}",
		OURS "RULE_ARN=arn:aws:events:l:0:rule/b/r;TARGET_ARN=arn:t;ERROR_CODE=TIMEOUT;ERROR_MESSAGE=no \"answer\";"
		     "EXHAUSTED_RETRY_CONDITION=MaximumRetryAttempts;RETRY_ATTEMPTS=3;signalbox-failed-delivery-id=d.0;" },
	{ "a letter of what was rejected", BASE "envelope: raw\n", PLAIN, YOUNG_LETTER, true, NULL, "\"text\"",
		OURS "ERROR_CODE=NO_RESOURCE;RETRY_ATTEMPTS=0;signalbox-failed-delivery-id=d.9;" },
	{ "a letter that is none", BASE, PLAIN, "nonsense", true, NULL, "nonsense", OURS },
	{ "CloudEvent, binary", BASE "envelope: cloudevents-binary\n", PLAIN, NULL, false, NULL, "{\"id\": 7, \"s\":\"a\\\"b\"}",
		OURS "ce_specversion=1.0;ce_id=eé-1;ce_source=com.shop;ce_type=Order;ce_time=2026-11-24T08:00:00Z;content-type=application/json;" },
	{ "CloudEvent, binary, with extensions", BASE "envelope: cloudevents-binary\n",
		CE("[1]", "{\"specversion\":\"1.0\",\"subject\":\"s\",\"traceparent\":\"00-a\",\"n\":5}"), NULL, false, NULL, "[1]",
		OURS1 "ce_specversion=1.0;ce_id=1;ce_source=/s;ce_type=T;ce_time=2026-11-24T08:00:00Z;ce_subject=s;ce_traceparent=00-a;ce_n=5;"
		      "content-type=application/json;" },
	{ "CloudEvent, binary, text", BASE "envelope: cloudevents-binary\n",
		CE("\"a\\nb\"", "{\"datacontenttype\":\"text/plain; charset=utf-8\"}"), NULL, false, NULL, "a\nb",
		OURS1 "ce_specversion=1.0;ce_id=1;ce_source=/s;ce_type=T;ce_time=2026-11-24T08:00:00Z;content-type=text/plain; charset=utf-8;" },
	{ "CloudEvent, binary, a JSON string", BASE "envelope: cloudevents-binary\n",
		CE("\"a\"", "{\"datacontenttype\":\"application/json; charset=utf-8\"}"), NULL, false, NULL, "\"a\"",
		OURS1 "ce_specversion=1.0;ce_id=1;ce_source=/s;ce_type=T;ce_time=2026-11-24T08:00:00Z;content-type=application/json; charset=utf-8;" },
	{ "CloudEvent, binary, bytes", BASE "envelope: cloudevents-binary\n",
		CE("\"aGVsbG8=\"", "{\"datacontenttype\":\"image/png\",\"data_base64\":true}"), NULL, false, NULL, "hello",
		OURS1 "ce_specversion=1.0;ce_id=1;ce_source=/s;ce_type=T;ce_time=2026-11-24T08:00:00Z;content-type=image/png;" },
	{ "CloudEvent, binary, text, but transformed", BASE "envelope: cloudevents-binary\n",
		CE("\"a\"", "{\"datacontenttype\":\"text/plain\"}"), "{}", false, NULL, "{}",
		OURS1 "ce_specversion=1.0;ce_id=1;ce_source=/s;ce_type=T;ce_time=2026-11-24T08:00:00Z;content-type=application/json;" },
	{ "CloudEvent, structured", BASE "envelope: cloudevents-structured\n", CE("[1]", "{\"subject\":\"s\",\"n\":true}"), NULL, false, NULL,
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"T\",\"time\":\"2026-11-24T08:00:00Z\",\"subject\":\"s\",\"n\":true,"
		"\"datacontenttype\":\"application/json\",\"data\":[1]}",
		OURS1 "content-type=application/cloudevents+json; charset=UTF-8;" },
	{ "CloudEvent, structured, bytes", BASE "envelope: cloudevents-structured\n",
		CE("\"aGVsbG8=\"", "{\"datacontenttype\":\"image/png\",\"data_base64\":true}"), NULL, false, NULL,
		"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"T\",\"time\":\"2026-11-24T08:00:00Z\","
		"\"datacontenttype\":\"image/png\",\"data_base64\":\"aGVsbG8=\"}",
		OURS1 "content-type=application/cloudevents+json; charset=UTF-8;" },
};

static void headers_text(const rd_kafka_headers_t *h, struct sb_buf *out)
{
	const char *name;
	const void *value;
	size_t n;

	for (size_t i = 0; rd_kafka_header_get_all(h, i, &name, &value, &n) == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		sb_buf_addf(out, "%s=%.*s;", name, (int)n, (const char *)value);
}

static void check_record(const struct record *r, struct kafka_encoder *e)
{
	struct sb_buf bare = SB_BUF(65536), headers = SB_BUF(65536);
	struct kafka_message m;
	struct sb_item item = { .delivery_id = SB_SLICE("d.1"), .attempt = 2, .rule = "r", .letter = r->letter, .transformed = r->input };
	struct sb_event *ev;
	struct world w;
	struct sb_err err;

	assert_true(load(&w, r->yaml));
	if (sb_event_parse(sb_slice_str(r->event), "default", "events", &ev, &err) < 0)
		fail_msg("%s: %s", r->what, err.msg);
	assert_int_equal(sb_event_add_bare(ev, &bare), 0);
	item.event = ev;
	item.input = r->input ? sb_slice_str(r->input) : sb_buf_slice(&bare);
	if (kafka_encode(e, &w.conf, &item, &m) < 0)
		fail_msg("%s: not encoded", r->what);
	headers_text(m.headers, &headers);
	if (!sb_slice_eq(m.value, r->value ? sb_slice_str(r->value) : sb_buf_slice(&bare)))
		fail_msg("%s: value %.*s", r->what, SB_SLICE_ARG(m.value));
	if (!r->key ? m.key.p != NULL : !sb_slice_eq_str(m.key, r->key))
		fail_msg("%s: key %.*s", r->what, SB_SLICE_ARG(m.key));
	if (!sb_slice_eq_str(sb_buf_slice(&headers), r->headers))
		fail_msg("%s: headers %.*s", r->what, SB_SLICE_ARG(sb_buf_slice(&headers)));
	if (m.borrowed && (m.value.p == e->value.p || m.value.p == e->text.p))
		fail_msg("%s: the encoder's scratch would be sent without a copy", r->what);
	rd_kafka_headers_destroy(m.headers);
	sb_event_unref(ev);
	sb_buf_done(&bare);
	sb_buf_done(&headers);
	unload(&w);
}

static void records_are_what_was_asked_for(void **state)
{
	struct kafka_encoder e;

	(void)state;
	kafka_encoder_init(&e);
	for (size_t i = 0; i < SB_LEN(records); i++)
		check_record(&records[i], &e);
	kafka_encoder_done(&e);
}

static void a_key_beyond_its_cap_is_refused(void **state)
{
	struct kafka_encoder e;
	struct kafka_message m;
	struct sb_buf text = SB_BUF(1 << 20);
	struct sb_item item = { .delivery_id = SB_SLICE("d.1"), .attempt = 1, .rule = "r", .input = SB_SLICE("{}"), .transformed = true };
	struct sb_event *ev;
	struct world w;

	(void)state;
	kafka_encoder_init(&e);
	sb_buf_addf(&text, "{\"id\":\"1\",\"source\":\"s\",\"detail-type\":\"t\",\"detail\":{\"big\":\"%0100000d\"}}", 1);
	assert_int_equal(sb_event_parse(sb_buf_slice(&text), "default", "events", &ev, NULL), 0);
	item.event = ev;
	assert_true(load(&w, BASE "key: <$.detail.big>\n"));
	assert_int_equal(kafka_encode(&e, &w.conf, &item, &m), -1);
	unload(&w);
	sb_event_unref(ev);
	sb_buf_done(&text);
	kafka_encoder_done(&e);
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
		cmocka_unit_test(configuration_is_checked),
		cmocka_unit_test(scram_is_warned_of_where_it_cannot_work),
		cmocka_unit_test(what_is_fixed_wins_over_what_is_set),
		cmocka_unit_test(records_are_what_was_asked_for),
		cmocka_unit_test(a_key_beyond_its_cap_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, done);
}
