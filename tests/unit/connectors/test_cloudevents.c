/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/fakesource.h"

extern const struct sb_connector sb_connector_eventbridge;

#define ONE "Content-Type: application/cloudevents+json; charset=utf-8\r\n"
#define MANY "Content-Type: application/cloudevents-batch+json\r\n"
#define CE "\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/shop\",\"type\":\"com.shop.placed\""
#define BIN "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /shop\r\nce-type: com.shop.placed\r\n"
#define AS_JSON "Content-Type: application/json\r\n"

static struct sb_fake_source f;
static struct sb_fake_answer a;

static int setup(void **state)
{
	(void)state;
	sb_fake_source_init(&f, &sb_connector_eventbridge, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	sb_fake_source_done(&f);
	return 0;
}

static const char *json(const struct sb_event *ev)
{
	static char text[64 << 10];

	snprintf(text, sizeof(text), "%.*s", (int)ev->n, ev->json);
	return text;
}

/* What stands behind resources: detail and meta. */
struct case_of {
	const char *headers, *body, *tail;
};

static void check_taken(const struct case_of *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *tail;

		sb_fake_source_forget(&f);
		sb_fake_post(&f, "/v1/cloudevents", cases[i].headers, cases[i].body, &a);
		if (a.status != 202 || f.n != 1)
			fail_msg("row %zu: %u %s", i, a.status, a.body);
		tail = strstr(json(f.ev[0]), "\"resources\":[],");
		if (!tail || strcmp(tail + strlen("\"resources\":[],"), cases[i].tail) != 0)
			fail_msg("row %zu: %s\nwant %s", i, json(f.ev[0]), cases[i].tail);
	}
}

static void structured(void **state)
{
	static const struct case_of cases[] = {
		{ ONE, "{" CE ",\"data\":{\"n\": 1.0}}", "\"detail\":{\"n\": 1.0},\"meta\":{\"ce\":{\"specversion\":\"1.0\"}}}" },
		{ ONE, "{" CE "}", "\"detail\":null,\"meta\":{\"ce\":{\"specversion\":\"1.0\"}}}" },
		{ ONE, "{" CE ",\"data\":null,\"subject\":null}", "\"detail\":null,\"meta\":{\"ce\":{\"specversion\":\"1.0\"}}}" },
		{ ONE, "{" CE ",\"data\":\"text\",\"datacontenttype\":\"text/plain\"}",
			"\"detail\":\"text\",\"meta\":{\"ce\":{\"specversion\":\"1.0\",\"datacontenttype\":\"text/plain\"}}}" },
		{ ONE, "{" CE ",\"subject\":\"o\\u00e9\",\"dataschema\":\"http://x/s\",\"ext1\":\"e\",\"ext2\":true,\"ext3\":-7,\"data\":[1]}",
			"\"detail\":[1],\"meta\":{\"ce\":{\"specversion\":\"1.0\",\"subject\":\"o\\u00e9\",\"dataschema\":\"http://x/s\","
			"\"ext1\":\"e\",\"ext2\":true,\"ext3\":-7}}}" },
		{ ONE, "{" CE ",\"data_base64\":\"aGk\\/\",\"datacontenttype\":\"image/png\"}",
			"\"detail\":\"aGk\\/\",\"meta\":{\"ce\":{\"specversion\":\"1.0\",\"datacontenttype\":\"image/png\",\"data_base64\":true}}}" },
		{ ONE, "{" CE ",\"ext\":1,\"ext\":\"last\",\"data\":1,\"data\":2}",
			"\"detail\":2,\"meta\":{\"ce\":{\"specversion\":\"1.0\",\"ext\":\"last\"}}}" },
	};

	(void)state;
	check_taken(cases, SB_LEN(cases));
	sb_fake_post(&f, "/v1/cloudevents", ONE, "{" CE ",\"time\":\"2026-11-24T08:00:00.5Z\"}", &a);
	assert_non_null(strstr(json(f.ev[1]), "\"id\":\"1\",\"source\":\"/shop\",\"detail-type\":\"com.shop.placed\""));
	assert_non_null(strstr(json(f.ev[1]), "\"time\":\"2026-11-24T08:00:00.5Z\""));
	assert_string_equal(a.body, "{\"ids\":[\"1\"]}\n");
}

static void binary(void **state)
{
	static const struct case_of cases[] = {
		{ BIN AS_JSON, " {\"n\": 1.0} ",
			"\"detail\":{\"n\": 1.0},\"meta\":{\"ce\":{\"datacontenttype\":\"application/json\",\"specversion\":\"1.0\"}}}" },
		{ BIN, "", "\"detail\":null,\"meta\":{\"ce\":{\"specversion\":\"1.0\"}}}" },
		{ BIN, "[1]", "\"detail\":[1],\"meta\":{\"ce\":{\"specversion\":\"1.0\"}}}" },
		{ BIN "Content-Type: text/plain\r\n", "say \"hi\"\n",
			"\"detail\":\"say \\\"hi\\\"\\n\",\"meta\":{\"ce\":{\"datacontenttype\":\"text/plain\",\"specversion\":\"1.0\"}}}" },
		{ BIN "Content-Type: image/png\r\n", "\xff\xfe\xfd\xfc",
			"\"detail\":\"//79/A==\",\"meta\":{\"ce\":{\"datacontenttype\":\"image/png\",\"specversion\":\"1.0\",\"data_base64\":true}}}" },
		{ BIN AS_JSON "CE-Subject: caf%C3%A9%20%22x%22 50%\r\nce-ext1: \"quo\\\"ted\"\r\nce-dataschema: s\r\n", "1",
			"\"detail\":1,\"meta\":{\"ce\":{\"datacontenttype\":\"application/json\",\"specversion\":\"1.0\","
			"\"subject\":\"caf\xc3\xa9 \\\"x\\\" 50%\",\"ext1\":\"quo\\\"ted\",\"dataschema\":\"s\"}}}" },
	};

	(void)state;
	check_taken(cases, SB_LEN(cases));
	sb_fake_post(&f, "/v1/cloudevents?bus=audit", BIN "ce-time: 2026-11-24T08:00:00Z\r\n", "1", &a);
	assert_int_equal(a.status, 202);
	assert_string_equal(f.ev[1]->bus, "audit");
	assert_non_null(strstr(json(f.ev[1]), "\"time\":\"2026-11-24T08:00:00Z\""));
}

static void batched(void **state)
{
	(void)state;
	sb_fake_post(&f, "/v1/cloudevents", MANY, "[{" CE ",\"data\":1},{" CE ",\"data\":{\"a\":[2]}}]", &a);
	assert_int_equal(a.status, 202);
	assert_int_equal(f.n, 2);
	assert_int_equal(f.emits, 1);
	assert_string_equal(a.body, "{\"ids\":[\"1\",\"1\"]}\n");
	sb_fake_post(&f, "/v1/cloudevents", MANY, "[{" CE "},{\"specversion\":\"1.0\"}]", &a);
	assert_int_equal(a.status, 400);
	assert_non_null(strstr(a.body, "\"results\":[{\"code\":\"not_stored\""));
	sb_fake_post(&f, "/v1/cloudevents", MANY "Prefer: handling=lenient\r\n", "[{" CE "},{\"specversion\":\"1.0\"}]", &a);
	assert_int_equal(a.status, 207);
	assert_int_equal(f.n, 3);
}

static void refusals(void **state)
{
	static const struct {
		const char *headers, *body;
		unsigned status;
		const char *code;
	} cases[] = {
		{ ONE, "", 400, "invalid_json" },
		{ ONE, "{" CE, 400, "invalid_json" },
		{ ONE, "[{" CE "}]", 400, "invalid_event" },
		{ MANY, "{" CE "}", 400, "invalid_event" },
		{ MANY, "[1]", 400, "invalid_event" },
		{ ONE, "1", 400, "invalid_event" },
		{ ONE, "{}", 400, "missing_attribute" },
		{ ONE, "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\"}", 400, "missing_attribute" },
		{ ONE, "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":null}", 400, "missing_attribute" },
		{ ONE, "{\"specversion\":\"0.3\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"}", 400, "unsupported_specversion" },
		{ ONE, "{" CE ",\"id\":\"\"}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"id\":7}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"time\":\"noon\"}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"Ext\":1}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"my-ext\":1}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"ext\":1.5}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"ext\":{}}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"ext\":[]}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"ext\":123456789012}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"subject\":true}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"data\":1,\"data_base64\":\"aGk=\"}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"data_base64\":\"a\"}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"data_base64\":\"a===\"}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"data_base64\":\"aG k\"}", 400, "invalid_attribute" },
		{ ONE, "{" CE ",\"data_base64\":1}", 400, "invalid_attribute" },
		{ AS_JSON, "{" CE "}", 415, "unsupported_media_type" },
		{ "", "{" CE "}", 415, "unsupported_media_type" },
		{ "Content-Type: application/cloudevents+avro\r\n" BIN, "x", 415, "unsupported_media_type" },
		{ BIN AS_JSON, "{", 400, "invalid_json" },
		{ BIN AS_JSON, "{} {}", 400, "invalid_json" },
		{ "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: s\r\n", "1", 400, "missing_attribute" },
		{ "ce-specversion: 2.0\r\nce-id: 1\r\nce-source: s\r\nce-type: t\r\n", "1", 400, "unsupported_specversion" },
		{ BIN "ce-id: 2\r\n", "1", 400, "invalid_attribute" },
		{ BIN "ce-time: noon\r\n", "1", 400, "invalid_attribute" },
		{ BIN "ce-subject: %ff\r\n", "1", 400, "invalid_attribute" },
		{ BIN "ce-subject:\r\n", "1", 400, "invalid_attribute" },
		{ BIN "ce-datacontenttype: text/plain\r\n", "1", 400, "invalid_attribute" },
		{ BIN "ce-my-ext: 1\r\n", "1", 400, "invalid_attribute" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		sb_fake_post(&f, "/v1/cloudevents", cases[i].headers, cases[i].body, &a);
		if (a.status != cases[i].status || !strstr(a.body, cases[i].code) || f.n)
			fail_msg("row %zu: %s%s: %u %s", i, cases[i].headers, cases[i].body, a.status, a.body);
	}
	sb_fake_post(&f, "/v1/cloudevents?bus=nope", BIN, "1", &a);
	assert_int_equal(a.status, 404);
}

static void attributes_have_a_limit(void **state)
{
	struct sb_buf body = SB_BUF(1 << 20);

	(void)state;
	sb_buf_adds(&body, "{" CE);
	for (int i = 0; i < 61; i++)
		sb_buf_addf(&body, ",\"e%d\":1", i);
	sb_buf_adds(&body, "}");
	sb_fake_request(&f, "POST /v1/cloudevents", ONE, sb_buf_slice(&body), &a);
	assert_int_equal(a.status, 400);
	assert_non_null(strstr(a.body, "more than 64 attributes"));
	sb_buf_clear(&body);
	sb_buf_addf(&body, "{" CE ",\"ext\":\"%0300000d\"}", 0);
	sb_fake_request(&f, "POST /v1/cloudevents", ONE, sb_buf_slice(&body), &a);
	assert_int_equal(a.status, 400);
	assert_non_null(strstr(a.body, "too large"));
	sb_buf_done(&body);
}

static void depth_counts_as_it_will_in_the_event(void **state)
{
	static char body[4096];

	(void)state;
	for (int depth = 998; depth <= 1000; depth++) {
		struct sb_event *again;
		struct sb_err err;

		memset(body, '[', (size_t)depth);
		memset(body + depth, ']', (size_t)depth);
		body[2 * depth] = '\0';
		sb_fake_source_forget(&f);
		sb_fake_post(&f, "/v1/cloudevents", BIN, body, &a);
		if (a.status == 400)
			continue;
		assert_int_equal(a.status, 202); /* then it can be read back from the journal */
		assert_int_equal(sb_event_parse(sb_slice(f.ev[0]->json, f.ev[0]->n), "default", "x", &again, &err), 0);
		sb_event_unref(again);
	}
	assert_int_equal(a.status, 400);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(structured), T(binary), T(batched), T(refusals), T(attributes_have_a_limit), T(depth_counts_as_it_will_in_the_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
