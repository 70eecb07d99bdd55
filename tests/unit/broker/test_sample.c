/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdlib.h>

#include "broker/sample.h"

static const struct {
	const char *what, *json, *redacted;
	size_t most;
} rows[] = {
	{ "each value is its type", "{\"s\":\"x\",\"n\":-1.5e3,\"t\":true,\"f\":false,\"z\":null}",
		"{\"s\":\"string\",\"n\":\"number\",\"t\":\"boolean\",\"f\":\"boolean\",\"z\":null}", 4096 },
	{ "a value alone", "\"secret\"", "\"string\"", 4096 },
	{ "white space is not kept", " { \"a\" : [ 1 , { } ] } ", "{\"a\":[\"number\",{}]}", 4096 },
	{ "objects in objects", "{\"a\":{\"b\":{\"c\":\"secret\"},\"d\":1}}", "{\"a\":{\"b\":{\"c\":\"string\"},\"d\":\"number\"}}", 4096 },
	{ "three elements of an array", "[1,\"b\",{\"c\":1},4,5]", "[\"number\",\"string\",{\"c\":\"number\"}]", 4096 },
	{ "keys as they were escaped", "{\"a\\\"\\u00e9\":1}", "{\"a\\\"\\u00e9\":\"number\"}", 4096 },
	{ "a key that is no name",
		"{\"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\":1}",
		"{\"...\":\"number\"}", 4096 },
	{ "what does not fit is left out", "{\"a\":1,\"b\":2}", "{\"a\":\"number\"}", 150 },
	{ "deeper, too", "{\"a\":{\"b\":2,\"c\":3},\"d\":4}", "{\"a\":{}}", 150 },
};

static struct sb_event *event(const char *json)
{
	struct sb_event *ev;
	struct sb_err err;

	if (sb_event_parse(sb_slice_str(json), "default", "test", &ev, &err) < 0)
		fail_msg("%s", err.msg);
	return ev;
}

static void test_values_become_types(void **state)
{
	struct sb_buf out = SB_BUF(1 << 20), json = SB_BUF(1 << 20);

	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		struct sb_event *ev;

		sb_buf_clear(&json);
		sb_buf_addf(&json, "{\"detail\":%s}", rows[i].json);
		ev = event(sb_buf_cstr(&json));
		sb_buf_clear(&out);
		sb_redact(&ev->tape, sb_json_member(&ev->tape, 0, SB_SLICE("detail")), &out, rows[i].most);
		if (!sb_slice_eq_str(sb_buf_slice(&out), rows[i].redacted))
			fail_msg("%s: %.*s", rows[i].what, SB_SLICE_ARG(sb_buf_slice(&out)));
		sb_event_unref(ev);
	}
	sb_buf_done(&out);
	sb_buf_done(&json);
}

/* Whatever there is of it, it stays within its bound, and is JSON. */
static void test_huge_events_stay_small(void **state)
{
	struct sb_buf json = SB_BUF(8 << 20);
	struct sb_tape_buf tape = { 0 };
	struct sb_json_fault fault;

	(void)state;
	for (unsigned deep = 0; deep < 2; deep++) {
		struct sb_samples s = { .max = 1 };
		struct sb_event *ev;
		unsigned n = deep ? 400 : 40000;

		sb_buf_clear(&json);
		sb_buf_adds(&json, "{\"id\":\"7\",\"detail\":{\"a\":1");
		for (unsigned i = 0; i < n; i++)
			sb_buf_addf(&json, deep ? ",\"key%u\":{\"a\":1" : ",\"key%u\":\"x\"", i);
		for (unsigned i = 0; i < n && deep; i++)
			sb_buf_addc(&json, '}');
		sb_buf_adds(&json, "}}");
		ev = event(sb_buf_cstr(&json));
		sb_sample(&s, ev, 1, NULL);
		assert_int_equal(s.n[SB_SAMPLE_UNMATCHED], 1);
		assert_in_range(s.first[SB_SAMPLE_UNMATCHED]->detail.n, 100, SB_SAMPLE_DETAIL);
		sb_buf_clear(&json);
		sb_buf_add_slice(&json, s.first[SB_SAMPLE_UNMATCHED]->detail);
		if (sb_json_scan(sb_buf_cstr(&json), json.len, &SB_JSON_LIMITS, &tape, &fault) < 0)
			fail_msg("%s at %zu: %s", deep ? "deep" : "wide", fault.off, sb_buf_cstr(&json));
		sb_samples_drop(&s);
		sb_event_unref(ev);
	}
	sb_tape_buf_done(&tape);
	sb_buf_done(&json);
}

static void test_no_more_than_may_be(void **state)
{
	const struct sb_sample_failure f = { .rule = "r", .target = "t", .what = "dead", .reason = SB_R_QUEUE_FULL, .attempts = 3 };
	struct sb_event *ev = event("{\"id\":\"7\",\"source\":\"com.shop\",\"detail-type\":\"Order\",\"detail\":{\"card\":\"4111\"}}");
	struct sb_samples s = { 0 }, taken = { 0 };
	const struct sb_sample *x;

	(void)state;
	sb_sample(&s, ev, 1, NULL);
	assert_null(s.first[SB_SAMPLE_UNMATCHED]); /* none are wanted */
	s.max = 2;
	for (uint64_t i = 0; i < 5; i++) {
		sb_sample(&s, ev, i, NULL);
		sb_sample(&s, ev, i, &f);
	}
	sb_samples_take(&s, &taken);
	assert_int_equal(taken.n[SB_SAMPLE_UNMATCHED], 2);
	assert_int_equal(taken.n[SB_SAMPLE_ERRORS], 2);
	assert_int_equal(s.n[SB_SAMPLE_ERRORS], 0);
	x = taken.first[SB_SAMPLE_ERRORS];
	assert_int_equal(x->at_ms, 1);
	assert_true(sb_slice_eq_str(x->id, "7") && sb_slice_eq_str(x->source, "com.shop") && sb_slice_eq_str(x->detail_type, "Order"));
	assert_true(sb_slice_eq_str(x->detail, "{\"card\":\"string\"}"));
	assert_string_equal(x->reason, "QUEUE_FULL");
	assert_null(x->next->next);
	sb_samples_drop(&taken);
	sb_event_unref(ev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values_become_types),
		cmocka_unit_test(test_huge_events_stay_small),
		cmocka_unit_test(test_no_more_than_may_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
