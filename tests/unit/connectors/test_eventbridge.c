/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/support/fakesource.h"

extern const struct sb_connector sb_connector_eventbridge;

#define JSON "Content-Type: application/json\r\n"
#define LINES "Content-Type: application/x-ndjson\r\n"
#define LENIENT "Prefer: handling=lenient\r\n"
#define GOOD(id) "{\"id\":\"" id "\",\"source\":\"com.shop\",\"detail-type\":\"T\",\"detail\":{}}"
#define EVENT(more) "{\"source\":\"s\",\"detail-type\":\"T\",\"detail\":{}" more "}"

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

static void expect(const char *haystack, const char *needle)
{
	if (!strstr(haystack, needle))
		fail_msg("no %s in %s", needle, haystack);
}

static void one_event(void **state)
{
	(void)state;
	sb_fake_post(&f, "/v1/events", JSON,
		"{\"detail\": {\"n\": 1.50},\"source\":\"com.\\u0073hop\",\"detail-type\":\"Order Placed\",\"id\":\"a-1\","
		"\"time\":\"2026-11-24T08:00:00+01:00\",\"resources\":[\"r:1\",\"r:2\"],\"bus\":\"audit\",\"account\":\"1\",\"region\":\"x\","
		"\"version\":\"0\"}",
		&a);
	assert_int_equal(a.status, 202);
	assert_string_equal(a.body, "{\"ids\":[\"a-1\"]}\n");
	assert_int_equal(f.n, 1);
	assert_string_equal(json(f.ev[0]),
		"{\"version\":\"0\",\"id\":\"a-1\",\"source\":\"com.\\u0073hop\",\"detail-type\":\"Order Placed\","
		"\"account\":\"000000000000\",\"region\":\"local\",\"time\":\"2026-11-24T08:00:00+01:00\",\"resources\":[\"r:1\",\"r:2\"],"
		"\"detail\":{\"n\": 1.50}}");
	assert_string_equal(f.ev[0]->bus, "audit");
}

static void what_is_not_said_is_made(void **state)
{
	char want[128];

	(void)state;
	sb_fake_post(&f, "/v1/events", JSON, EVENT(""), &a);
	assert_int_equal(a.status, 202);
	snprintf(want, sizeof(want), "{\"ids\":[\"%.*s\"]}\n", SB_SLICE_ARG(f.ev[0]->id));
	assert_string_equal(a.body, want);
	assert_int_equal(f.ev[0]->id.n, SB_UUID_TEXT);
	expect(json(f.ev[0]), "\"time\":\"2026-11-24T08:19:53Z\",\"resources\":[]");
	assert_string_equal(f.ev[0]->bus, "default");
}

static void many_events(void **state)
{
	(void)state;
	sb_fake_post(&f, "/v1/events", JSON, "[" GOOD("1") ", " GOOD("2") "," GOOD("3") "]", &a);
	assert_int_equal(a.status, 202);
	assert_string_equal(a.body, "{\"ids\":[\"1\",\"2\",\"3\"]}\n");
	assert_int_equal(f.emits, 1);
	sb_fake_post(&f, "/v1/events", LINES, GOOD("4") "\n\n  \r\n" GOOD("5") "\r\n" GOOD("6"), &a);
	assert_int_equal(a.status, 202);
	assert_string_equal(a.body, "{\"ids\":[\"4\",\"5\",\"6\"]}\n");
	assert_int_equal(f.n, 6);
	sb_fake_post(&f, "/v1/events", "Content-Type: application/vnd.shop+json; v=1\r\n", GOOD("7"), &a);
	assert_int_equal(a.status, 202);
}

static void the_bus_of_the_query_is_a_default(void **state)
{
	(void)state;
	sb_fake_post(&f, "/v1/events?bus=audit", JSON, "[" GOOD("1") "," EVENT(",\"bus\":\"default\"") "]", &a);
	assert_int_equal(a.status, 202);
	assert_string_equal(f.ev[0]->bus, "audit");
	assert_string_equal(f.ev[1]->bus, "default");
	sb_fake_post(&f, "/v1/events?bus=nope", JSON, GOOD("1"), &a);
	assert_int_equal(a.status, 404);
}

static void duplicates_count_last(void **state)
{
	(void)state;
	sb_fake_post(&f, "/v1/events", JSON, EVENT(",\"source\":\"last\",\"bus\":\"nope\",\"bus\":\"\\u0061udit\""), &a);
	assert_int_equal(a.status, 202);
	expect(json(f.ev[0]), "\"source\":\"last\"");
	assert_string_equal(f.ev[0]->bus, "audit");
}

#define SD "{\"source\":\"s\",\"detail-type\":\"T\","
#define X64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void one_event_can_be_wrong_in_many_ways(void **state)
{
	static const struct {
		const char *body, *code;
		unsigned status;
		int offset;
	} cases[] = {
		{ "", "invalid_json", 400, 0 },
		{ "{", "invalid_json", 400, 1 },
		{ "nope", "invalid_json", 400, -1 },
		{ GOOD("1") GOOD("2"), "invalid_json", 400, (int)sizeof(GOOD("1")) - 1 },
		{ SD "\"detail\":{\"a\":\"\xc3(\"}}", "invalid_json", 400, -1 },
		{ "[]", "no_events", 400, -1 },
		{ "1", "invalid_event", 400, 0 },
		{ "\"x\"", "invalid_event", 400, -1 },
		{ "{}", "missing_member", 400, 0 },
		{ "{\"detail-type\":\"T\",\"detail\":{}}", "missing_member", 400, 0 },
		{ "{\"source\":\"s\",\"detail\":{}}", "missing_member", 400, 0 },
		{ "{\"source\":\"s\",\"detail-type\":\"T\"}", "missing_member", 400, 0 },
		{ "{\"source\":1,\"detail-type\":\"T\",\"detail\":{}}", "invalid_member", 400, 10 },
		{ "{\"source\":\"\",\"detail-type\":\"T\",\"detail\":{}}", "invalid_member", 400, -1 },
		{ "{\"source\":null,\"detail-type\":\"T\",\"detail\":{}}", "invalid_member", 400, -1 },
		{ "{\"source\":\"s\",\"detail-type\":[],\"detail\":{}}", "invalid_member", 400, -1 },
		{ "{\"source\":\"" X64 X64 X64 X64 "x\",\"detail-type\":\"T\",\"detail\":{}}", "invalid_member", 400, -1 },
		{ SD "\"detail\":\"text\"}", "invalid_member", 400, -1 },
		{ SD "\"detail\":[]}", "invalid_member", 400, -1 },
		{ SD "\"detail\":null}", "invalid_member", 400, -1 },
		{ EVENT(",\"id\":7"), "invalid_member", 400, -1 },
		{ EVENT(",\"id\":\"\""), "invalid_member", 400, -1 },
		{ EVENT(",\"time\":\"yesterday\""), "invalid_member", 400, -1 },
		{ EVENT(",\"time\":1795508393"), "invalid_member", 400, -1 },
		{ EVENT(",\"time\":\"2026-11-24\""), "invalid_member", 400, -1 },
		{ EVENT(",\"resources\":\"r\""), "invalid_member", 400, -1 },
		{ EVENT(",\"resources\":[1]"), "invalid_member", 400, -1 },
		{ EVENT(",\"resources\":{}"), "invalid_member", 400, -1 },
		{ EVENT(",\"bus\":1"), "invalid_member", 400, -1 },
		{ EVENT(",\"detail_type\":\"T\""), "unknown_member", 400, -1 },
		{ EVENT(",\"meta\":{}"), "unknown_member", 400, -1 },
		{ EVENT(",\"bus\":\"nope\""), "unknown_bus", 404, -1 },
		{ EVENT(",\"bus\":\"def\\u0000ault\""), "unknown_bus", 404, -1 },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		char code[64], offset[32];

		snprintf(code, sizeof(code), "\"code\":\"%s\"", cases[i].code);
		snprintf(offset, sizeof(offset), "\"offset\":%d}", cases[i].offset);
		sb_fake_post(&f, "/v1/events", JSON, cases[i].body, &a);
		if (a.status != cases[i].status || !strstr(a.body, code) || !strstr(a.body, "\"retryable\":false") || f.n)
			fail_msg("row %zu: %s: %u %s", i, cases[i].body, a.status, a.body);
		if (cases[i].offset >= 0 && !strstr(a.body, offset))
			fail_msg("row %zu: no %s in %s", i, offset, a.body);
		if (!strstr(f.rejected, cases[i].code))
			fail_msg("row %zu is not counted: '%s'", i, f.rejected);
		f.rejected[0] = '\0';
	}
}

static void a_batch_is_all_or_nothing(void **state)
{
	(void)state;
	sb_fake_post(&f, "/v1/events", JSON, "[" GOOD("1") ",{}," EVENT(",\"bus\":\"nope\"") "]", &a);
	assert_int_equal(a.status, 400);
	assert_int_equal(f.emits, 0);
	expect(a.body, "{\"error\":{\"code\":\"invalid_batch\",\"message\":\"2 of 3 events are refused, nothing is stored\"");
	expect(a.body, "\"results\":[{\"code\":\"not_stored\"");
	expect(a.body, "{\"code\":\"missing_member\",\"message\":\"'source' is missing\",\"retryable\":false,\"offset\":");
	expect(a.body, "{\"code\":\"unknown_bus\"");
	assert_string_equal(f.rejected, "missing_member unknown_bus not_stored ");
	sb_fake_post(&f, "/v1/events", JSON, "[" GOOD("1") "," EVENT(",\"bus\":\"nope\"") "," EVENT(",\"bus\":\"none\"") "]", &a);
	assert_int_equal(a.status, 404); /* all that are wrong are wrong in the same way */
}

static void a_lenient_sender_gets_the_good_ones_stored(void **state)
{
	(void)state;
	sb_fake_post(&f, "/v1/events", JSON LENIENT, "[" GOOD("1") ",{}," GOOD("3") "]", &a);
	assert_int_equal(a.status, 207);
	assert_int_equal(f.n, 2);
	expect(a.body, "{\"results\":[{\"id\":\"1\"},{\"code\":\"missing_member\"");
	expect(a.body, "},{\"id\":\"3\"}]}\n");
	assert_string_equal(f.rejected, "missing_member ");
	sb_fake_post(&f, "/v1/events", JSON "Prefer: respond-async, Handling=Lenient; x=y\r\n", "[" GOOD("4") "]", &a);
	assert_int_equal(a.status, 202);
	sb_fake_post(&f, "/v1/events", JSON "Prefer: handling=lenient2\r\n", "[" GOOD("5") ",{}]", &a);
	assert_int_equal(a.status, 400);
	sb_fake_post(&f, "/v1/events", JSON LENIENT, "[{},{}]", &a);
	assert_int_equal(a.status, 400);
	expect(a.body, "missing_member");
}

static void a_broken_line_is_one_broken_event(void **state)
{
	(void)state;
	sb_fake_post(&f, "/v1/events", LINES LENIENT, GOOD("1") "\n{\"a\":}\n" GOOD("3") " x\n" GOOD("4") "\n", &a);
	assert_int_equal(a.status, 207);
	assert_int_equal(f.n, 2);
	expect(a.body, "{\"results\":[{\"id\":\"1\"},{\"code\":\"invalid_json\"");
	expect(a.body, "\"offset\":66}"); /* of the brace, in the whole body */
	expect(a.body, "{\"id\":\"4\"}]");
	sb_fake_post(&f, "/v1/events", LINES, GOOD("1") "\n{\"a\":\n1}\n", &a);
	assert_int_equal(a.status, 400);
}

static void what_the_framework_refuses_becomes_a_result(void **state)
{
	(void)state;
	f.refuse_source = "s";
	f.refuse_why = SB_REFUSE_TOO_LARGE;
	sb_fake_post(&f, "/v1/events", JSON, "[" GOOD("1") "," EVENT("") "]", &a);
	assert_int_equal(a.status, 413);
	assert_int_equal(f.n, 0);
	expect(a.body, "[{\"code\":\"not_stored\"");
	expect(a.body, "{\"code\":\"too_large\"");
	assert_string_equal(f.rejected, "not_stored "); /* the framework counts what it refused itself */
	f.rejected[0] = '\0';
	f.emits = 0;
	sb_fake_post(&f, "/v1/events", JSON LENIENT, "[" GOOD("1") "," EVENT("") "]", &a);
	assert_int_equal(a.status, 207);
	assert_int_equal(f.emits, 2);
	assert_int_equal(f.n, 1);
	assert_string_equal(f.rejected, "");
	f.refuse_source = "com.shop";
	f.refuse_why = SB_REFUSE_FULL;
	sb_fake_post(&f, "/v1/events", JSON LENIENT, "[" GOOD("1") "]", &a);
	assert_int_equal(a.status, 503);
	expect(a.head, "Retry-After: 1");
	expect(a.body, "\"retryable\":true");
}

static void the_answer_waits_for_the_disk(void **state)
{
	int fd;

	(void)state;
	f.hold = true;
	fd = sb_fake_send(&f, "POST /v1/events", JSON, SB_SLICE(GOOD("1")));
	assert_int_equal(recv(fd, a.head, 1, MSG_DONTWAIT), -1);
	sb_fake_accept(&f);
	sb_fake_receive(&f, fd, &a);
	assert_int_equal(a.status, 202);
	fd = sb_fake_send(&f, "POST /v1/events", JSON, SB_SLICE(GOOD("2")));
	f.fail_why = SB_REFUSE_FULL;
	sb_fake_accept(&f);
	sb_fake_receive(&f, fd, &a);
	assert_int_equal(a.status, 503);
	expect(a.body, "the disk said no");
}

static void media_types(void **state)
{
	static const struct {
		const char *headers;
		unsigned status;
	} cases[] = {
		{ JSON, 202 }, { LINES, 202 }, { "Content-Type: APPLICATION/JSON;charset=utf-8\r\n", 202 },
		{ "Content-Type: application/jsonl\r\n", 202 }, { "Content-Type: application/x-amz-json-1.1\r\n", 202 },
		{ "", 415 }, { "Content-Type: text/plain\r\n", 415 }, { "Content-Type: application/x-www-form-urlencoded\r\n", 415 },
		{ "Content-Type: application/xml\r\n", 415 }, { "Content-Type: application/cloudevents+json\r\n", 415 },
		{ "Content-Type: application/jsonx\r\n", 415 }, { JSON "Content-Encoding: br\r\n", 415 },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		sb_fake_post(&f, "/v1/events", cases[i].headers, GOOD("1"), &a);
		if (a.status != cases[i].status)
			fail_msg("row %zu: %s: %u %s", i, cases[i].headers, a.status, a.body);
	}
}

static void large_batches_and_large_events(void **state)
{
	struct sb_buf body = SB_BUF(1 << 20);

	(void)state;
	sb_buf_addc(&body, '[');
	for (int i = 0; i < 500; i++)
		sb_buf_addf(&body, "%s" EVENT(",\"id\":\"%d\""), i ? "," : "", i);
	sb_buf_addc(&body, ']');
	sb_fake_request(&f, "POST /v1/events", JSON, sb_buf_slice(&body), &a);
	assert_int_equal(a.status, 202);
	assert_int_equal(f.n, 500);
	expect(a.body, "\"498\",\"499\"]}");
	sb_buf_clear(&body);
	sb_buf_addc(&body, '[');
	for (int i = 0; i < 10001; i++)
		sb_buf_adds(&body, i ? ",{}" : "{}");
	sb_buf_addc(&body, ']');
	sb_fake_request(&f, "POST /v1/events", JSON, sb_buf_slice(&body), &a);
	assert_int_equal(a.status, 413);
	f.max_event = 1000;
	sb_buf_clear(&body);
	sb_buf_addf(&body, "[" GOOD("1") ",{\"source\":\"s\",\"detail-type\":\"T\",\"detail\":{\"x\":\"%01000d\"}}]", 0);
	sb_fake_request(&f, "POST /v1/events", JSON LENIENT, sb_buf_slice(&body), &a);
	assert_int_equal(a.status, 207);
	expect(a.body, "too_large");
	sb_buf_done(&body);
}

static void nobody_without_credentials(void **state)
{
	(void)state;
	f.unauthorized = true;
	sb_fake_post(&f, "/v1/events", JSON, GOOD("1"), &a);
	assert_int_equal(a.status, 401);
	sb_fake_post(&f, "/v1/cloudevents", JSON, GOOD("1"), &a);
	assert_int_equal(a.status, 401);
	assert_int_equal(f.n, 0);
}

static void nothing_is_allocated_once_warm(void **state)
{
	uint64_t misses = 0;

	(void)state;
	for (int i = 0; i < 60; i++) {
		if (i == 30)
			misses = sb_pool_misses();
		sb_fake_post(&f, "/v1/events", JSON, "[" GOOD("1") "," GOOD("2") "]", &a);
		assert_int_equal(a.status, 202);
		sb_fake_source_forget(&f);
	}
	assert_int_equal(sb_pool_misses(), misses);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(one_event), T(what_is_not_said_is_made), T(many_events), T(the_bus_of_the_query_is_a_default), T(duplicates_count_last),
		T(one_event_can_be_wrong_in_many_ways), T(a_batch_is_all_or_nothing), T(a_lenient_sender_gets_the_good_ones_stored),
		T(a_broken_line_is_one_broken_event), T(what_the_framework_refuses_becomes_a_result), T(the_answer_waits_for_the_disk),
		T(media_types), T(large_batches_and_large_events), T(nobody_without_credentials), T(nothing_is_allocated_once_warm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
