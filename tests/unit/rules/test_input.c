/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/base/event.h"
#include "broker/base/node.h"
#include "rules/input.h"

static const char event_text[] =
	"{\"version\":\"0\",\"id\":\"e1\",\"source\":\"com.shop\",\"resources\":[],\"detail\":{\"id\":\"o-1\",\"n\":12.50,"
	"\"say\":\"a \\\"b\\\"\\n\",\"ok\":true,\"nil\":null,\"list\":[1,\n{\"x\":\"y\\\\z\"}],\"\\u00e9\":\"\\u00e9\"},\"meta\":{\"h\":\"v\"}}";
#define BARE                                                                                                          \
	"{\"version\":\"0\",\"id\":\"e1\",\"source\":\"com.shop\",\"resources\":[],\"detail\":{\"id\":\"o-1\",\"n\":12.50,"  \
	"\"say\":\"a \\\"b\\\"\\n\",\"ok\":true,\"nil\":null,\"list\":[1, {\"x\":\"y\\\\z\"}],\"\\u00e9\":\"\\u00e9\"}}"
#define ENVELOPE "{\"version\":\"0\",\"id\":\"e1\",\"source\":\"com.shop\",\"resources\":[]}"

static const struct sb_input_vars vars = { "big-orders", "arn:local:rule/big-orders", 1700000000000 };

/* What stands behind `input...:` in a rule file, rendered; or "error: ..." */
static void render(enum sb_input_kind kind, const char *yaml, size_t cap, struct sb_buf *ret)
{
	struct sb_diags diags = { 0 };
	struct sb_arena arena = { 0 };
	struct sb_event *ev = NULL;
	struct sb_buf out = SB_BUF(cap);
	const struct sb_input *in;
	struct sb_doc doc;
	struct sb_err err;

	sb_buf_clear(ret);
	assert_int_equal(sb_yaml_parse("r.yaml", sb_slice_str(yaml), &doc, &diags), 0);
	assert_int_equal(sb_event_parse(SB_SLICE(event_text), "default", "test", &ev, &err), 0);
	in = sb_input_compile(&arena, kind, doc.root, &diags);
	if (!in)
		sb_buf_addf(ret, "error: %s; %s", diags.item[0].err.msg, diags.item[0].err.hint);
	else if (sb_input_render(in, ev, &vars, &out, &err) < 0)
		sb_buf_addf(ret, "failed: %s", err.msg);
	else
		sb_buf_add(ret, out.p, out.len);
	sb_buf_cstr(ret);
	assert_int_equal(in == NULL, diags.errors > 0);
	sb_buf_done(&out);
	sb_event_unref(ev);
	sb_event_thread_done();
	sb_doc_done(&doc);
	sb_arena_done(&arena);
	sb_diags_done(&diags);
}

struct row {
	const char *yaml, *want;
};

static void check(enum sb_input_kind kind, const struct row *rows, size_t n)
{
	struct sb_buf got = SB_BUF(1u << 16);

	for (size_t i = 0; i < n; i++) {
		render(kind, rows[i].yaml, 1u << 16, &got);
		if (strcmp(got.p, rows[i].want) != 0)
			fail_msg("row %zu: %s\n gave %s\n not  %s", i, rows[i].yaml, got.p, rows[i].want);
	}
	sb_buf_done(&got);
}

static void a_constant_is_json(void **state)
{
	static const struct row rows[] = {
		{ "text", "\"text\"" }, { "'say \"hi\"'", "\"say \\\"hi\\\"\"" }, { "12.50", "12.50" }, { "true", "true" }, { "~", "null" },
		{ "{a: [1, x, null], b: {}}", "{\"a\":[1,\"x\",null],\"b\":{}}" }, { "[]", "[]" }, { "\"two\\nlines\"", "\"two\\nlines\"" },
		{ "{a: .5}", "error: `.5` is not a number as JSON writes it; digits, as in 12, -0.5 or 1e6; quotes for a string" },
		{ "${env:HOME}", "\"${env:HOME}\"" },
	};

	(void)state;
	check(SB_INPUT_CONSTANT, rows, SB_LEN(rows));
}

static void a_path_is_a_part_of_the_event(void **state)
{
	static const struct row rows[] = {
		{ "$.detail.id", "\"o-1\"" }, { "$.detail.n", "12.50" }, { "$.detail.list", "[1, {\"x\":\"y\\\\z\"}]" }, { "$.detail.list[1].x", "\"y\\\\z\"" },
		{ "$.detail.nil", "null" }, { "$.detail.none", "null" }, { "$.detail.\xc3\xa9", "\"\\u00e9\"" }, { "$", BARE }, { "$.meta.h", "\"v\"" },
		{ "$.detail[", "error: path '$.detail[': column 10: expected an index or a quoted key; " },
		{ "5", "error: expected a path, found a number; for example $.detail.id" },
	};

	(void)state;
	check(SB_INPUT_PATH, rows, SB_LEN(rows));
}

#define T(paths, template) "{paths: {" paths "}, template: '" template "'}"

static void a_transformer_gives_json(void **state)
{
	static const struct row rows[] = {
		{ T("id: $.detail.id", "{\"order\": <id>}"), "{\"order\": \"o-1\"}" }, { T("id: $.detail.id", "\"order <id> came\""), "\"order o-1 came\"" },
		{ T("n: $.detail.n", "[<n>, \"<n>\"]"), "[12.50, \"12.50\"]" }, { T("n: $.detail.n", "<n>"), "12.50" },
		{ T("s: $.detail.say", "{\"s\": <s>, \"t\": \"(<s>)\"}"), "{\"s\": \"a \\\"b\\\"\\n\", \"t\": \"(a \\\"b\\\"\\n)\"}" },
		{ T("l: $.detail.list", "{\"l\": <l>, \"t\": \"<l>\"}"),
			"{\"l\": [1, {\"x\":\"y\\\\z\"}], \"t\": \"[1, {\\\"x\\\":\\\"y\\\\\\\\z\\\"}]\"}" },
		{ T("x: $.detail.none", "{\"x\": <x>, \"y\": \"<x>!\"}"), "{\"x\": null, \"y\": \"!\"}" },
		{ T("x: $.detail.none", "<x>"), "null" }, { T("", "[<$.detail.none.deeper>, \"<$.none>\"]"), "[null, \"\"]" },
		{ T("x: '$.detail.list[7]'", "{\"x\": [<x>]}"), "{\"x\": [null]}" },
		{ T("x: $.detail.nil", "[<x>, \"<x>\"]"), "[null, \"null\"]" }, { T("x: $.detail.ok", "[<x>, \"<x>\"]"), "[true, \"true\"]" },
		{ T("k: $.detail.id", "{\"<k>\": 1, \"a<k>b<k>\": 2}"), "{\"o-1\": 1, \"ao-1bo-1\": 2}" },
		{ T("k: $.detail.id", "\"\\\"<k>\\\" \\\\\""), "\"\\\"o-1\\\" \\\\\"" },
		{ T("", "{\"a\": 1}"), "{\"a\": 1}" }, { "{template: '[<aws.events.rule-name>, \"<aws.events.rule-name>\"]'}", "[\"big-orders\", \"big-orders\"]" },
		{ T("", "<aws.events.rule-arn>"), "\"arn:local:rule/big-orders\"" },
		{ T("", "[<aws.events.event.ingestion-time>]"), "[\"2023-11-14T22:13:20Z\"]" }, { T("", "<aws.events.event.json>"), BARE },
		{ T("", "[<aws.events.event>]"), "[" ENVELOPE "]" }, { T("", "\"<$.detail.id>\""), "\"o-1\"" }, { T("", "[<meta.h>]"), "[\"v\"]" },
		{ T("", "\"a \\<b>\""), "\"a <b>\"" }, { "{template: \"{\\n  \\\"a\\\": 1\\n}\"}", "{   \"a\": 1 }" },
		{ T("id: $.detail.id", "order <id>"), "error: the template is no JSON: expected a value; put text in quotes: '\"order <id> came\"'" },
		{ T("id: $.detail.id", "{<id>: 1}"), "error: the template is no JSON: expected a member name in double quotes; put text in quotes: '\"order <id> came\"'" },
		{ T("id: $.detail.id", "\"<id>"), "error: the template is no JSON: unexpected end; put text in quotes: '\"order <id> came\"'" },
		{ T("id: $.detail.id", "1<id>"), "error: the template is no JSON: text behind the value; put text in quotes: '\"order <id> came\"'" },
		{ T("id: $.detail.id", "\"<idd>\""), "error: template: column 2: unknown name <idd>; " },
		{ T("aws.id: $.detail.id", "1"), "error: `aws.id`: names that begin with `aws.` are predefined; " },
		{ T("id: 5", "1"), "error: expected a path, found a number; for example $.detail.id" },
		{ "{template: {a: 1}}", "error: expected a string, found a map; quotes around the JSON: '{\"order\": <id>}'" },
		{ "{paths: {}}", "error: the key `template` is missing; template: JSON with `<name>` in it." },
	};

	(void)state;
	check(SB_INPUT_TRANSFORMER, rows, SB_LEN(rows));
}

static void a_cap_leaves_the_buffer_as_it_was(void **state)
{
	static const struct {
		enum sb_input_kind kind;
		const char *yaml;
		size_t cap;
		const char *want;
	} cases[] = {
		{ SB_INPUT_CONSTANT, "text", 6, "\"text\"" }, { SB_INPUT_CONSTANT, "text", 5, "failed: the input is larger than 5 bytes" },
		{ SB_INPUT_PATH, "$", 100, "failed: the input is larger than 100 bytes" },
		{ SB_INPUT_TRANSFORMER, T("", "\"<aws.events.event.json>\""), 210, "failed: the input is larger than 210 bytes" },
		{ SB_INPUT_TRANSFORMER, T("", "[<aws.events.event>]"), 60, "failed: the input is larger than 60 bytes" },
		{ SB_INPUT_TRANSFORMER, T("", "[<$.none>]"), 5, "failed: the input is larger than 5 bytes" },
	};
	struct sb_buf got = SB_BUF(1u << 16);

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		render(cases[i].kind, cases[i].yaml, cases[i].cap, &got);
		if (strcmp(got.p, cases[i].want) != 0)
			fail_msg("row %zu: %s", i, got.p);
	}
	sb_buf_done(&got);
}

static void no_input_is_the_whole_event(void **state)
{
	struct sb_buf out = SB_BUF(10);

	(void)state;
	assert_int_equal(sb_input_kind(NULL), SB_INPUT_EVENT);
	assert_int_equal(sb_input_render(NULL, NULL, &vars, &out, NULL), 0);
	assert_int_equal(out.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_constant_is_json), cmocka_unit_test(a_path_is_a_part_of_the_event),
		cmocka_unit_test(a_transformer_gives_json), cmocka_unit_test(a_cap_leaves_the_buffer_as_it_was),
		cmocka_unit_test(no_input_is_the_whole_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
