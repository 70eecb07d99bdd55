/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/base/event.h"
#include "broker/base/json.h"
#include "broker/base/path.h"
#include "broker/base/rand.h"
#include "broker/base/template.h"

#define TEN(x) x x x x x x x x x x

/* off -1: accepted; else where it stops. */
static const struct {
	const char *in;
	int off;
} verdicts[] = {
	{ "{}", -1 }, { "[]", -1 }, { " \t\r\n{ } \n", -1 }, { "null", -1 }, { "true", -1 }, { "false", -1 },
	{ "\"\"", -1 }, { "0", -1 }, { "-0", -1 }, { "-0.0e+10", -1 }, { "1E5", -1 }, { "123456789012345678901234567890", -1 },
	{ "[1,2,[3,{\"a\":[]}]]", -1 }, { "{\"a\":{\"b\":{\"c\":null}}}", -1 }, { "{\"a\":1,\"a\":2}", -1 },
	{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"", -1 }, { "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"", -1 },
	{ "", 0 }, { "   ", 3 }, { "{", 1 }, { "[", 1 }, { "[1", 2 }, { "[1,", 3 }, { "[1,]", 3 }, { "[,1]", 1 },
	{ "{\"a\"}", 4 }, { "{\"a\":}", 5 }, { "{\"a\":1,}", 7 }, { "{a:1}", 1 }, { "{'a':1}", 1 }, { "[1 2]", 3 },
	{ "[1}", 2 }, { "{\"a\":1]", 6 }, { "tru", 3 }, { "trux", 3 }, { "nul", 3 }, { "True", 0 }, { "NaN", 0 },
	{ "01", 1 }, { "-", 1 }, { "+1", 0 }, { ".5", 0 }, { "1.", 2 }, { "1e", 2 }, { "1e+", 3 }, { "0x1", 1 },
	{ "\"abc", 4 }, { "\"a\nb\"", 2 }, { "\"a\tb\"", 2 }, { "\"\\x\"", 1 }, { "\"\\u12g4\"", 1 }, { "\"\\u12", 1 },
	{ "\"\\ud800\"", 1 }, { "\"\\udc00\"", 1 }, { "\"\\ud800\\u0041\"", 1 }, { "\"\\ud800\\ud800\"", 1 },
	{ "\"\\", 2 }, { "\"\x80\"", 1 }, { "\"\xc3\"", 1 }, { "\"\xc0\xaf\"", 1 }, { "\"\xe0\x80\x80\"", 1 },
	{ "\"\xed\xa0\x80\"", 1 }, { "\"\xf4\x90\x80\x80\"", 1 }, { "\"\xff\"", 1 }, { "\xef\xbb\xbf{}", 0 },
	{ "{} {}", 3 }, { "{}x", 2 }, { "[] //c", 3 }, { "1 1", 2 }, { "/**/1", 0 },
	{ "\"aaaaaaaaaaaaaaaaaaaaa\x01\"", 22 }, { "\"aaaaaaaaaaaaaaaaaaaaa\xc3\xa9 aaaaaaaaaaa\\q\"", 36 },
};

static void every_text_has_its_verdict_and_its_offset(void **state)
{
	struct sb_tape_buf t = { 0 };

	(void)state;
	for (size_t i = 0; i < SB_LEN(verdicts); i++) {
		struct sb_json_fault f = { 0 };
		int r = sb_json_scan(verdicts[i].in, strlen(verdicts[i].in), &SB_JSON_LIMITS, &t, &f);

		if ((r < 0 ? (int)f.off : -1) != verdicts[i].off)
			fail_msg("row %zu: %s: off %d, %s", i, verdicts[i].in, r < 0 ? (int)f.off : -1, r < 0 ? f.msg : "ok");
	}
	sb_tape_buf_done(&t);
}

static void nul_is_refused_everywhere(void **state)
{
	struct sb_tape_buf t = { 0 };
	struct sb_json_fault f;

	(void)state;
	assert_int_equal(sb_json_scan("\"a\0b\"", 5, &SB_JSON_LIMITS, &t, &f), -1);
	assert_int_equal(f.off, 2);
	assert_int_equal(sb_json_scan("{}\0", 3, &SB_JSON_LIMITS, &t, &f), -1);
	sb_tape_buf_done(&t);
}

static const char document[] =
	"{\"a\":[1,-2.5e3,\"x\\u00e9\",{\"b\":null,\"b\":true}],\"caf\\u00e9\":{\"deep\":[[],[{}]]},\"s\":\"\xf0\x9f\x98\x80\"}";

static void every_truncation_is_refused(void **state)
{
	struct sb_tape_buf t = { 0 };
	struct sb_json_fault f;

	(void)state;
	for (size_t n = 0; n < sizeof(document) - 1; n++) {
		char *copy = malloc(n ? n : 1); /* exactly as long, so that a sanitizer sees a read behind it */

		memcpy(copy, document, n);
		if (sb_json_scan(copy, n, &SB_JSON_LIMITS, &t, &f) == 0)
			fail_msg("%zu bytes were accepted", n);
		free(copy);
	}
	assert_int_equal(sb_json_scan(document, sizeof(document) - 1, &SB_JSON_LIMITS, &t, &f), 0);
	sb_tape_buf_done(&t);
}

static void limits_are_exact(void **state)
{
	struct sb_tape_buf t = { 0 };
	struct sb_json_fault f;
	char deep[4001];

	(void)state;
	for (unsigned depth = 999; depth <= 1001; depth++) {
		memset(deep, '[', depth);
		memset(deep + depth, ']', depth);
		assert_int_equal(sb_json_scan(deep, 2 * depth, &SB_JSON_LIMITS, &t, &f), depth > 1000 ? -1 : 0);
	}
	assert_int_equal(f.code, SB_E_LIMIT);
	assert_int_equal(f.off, 1000);
	assert_int_equal(sb_json_scan("[1,2]", 5, &(struct sb_json_limits){ 10, 3 }, &t, &f), 0);
	sb_tape_buf_done(&t);
	assert_int_equal(sb_json_scan("[1,2,3]", 7, &(struct sb_json_limits){ 10, 3 }, &t, &f), -1);
	assert_int_equal(f.code, SB_E_LIMIT);
	sb_tape_buf_done(&t);
}

static void the_tape_says_what_the_text_says(void **state)
{
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;
	struct sb_tape t;
	struct sb_buf out = SB_BUF(100);
	uint32_t a, i;

	(void)state;
	assert_int_equal(sb_json_scan(document, sizeof(document) - 1, &SB_JSON_LIMITS, &b, &f), 0);
	t = sb_tape_of(document, &b);
	assert_int_equal(t.node[0].next, t.n);
	assert_int_equal(t.node[0].len, sizeof(document) - 1);
	a = sb_json_member(&t, 0, SB_SLICE("a"));
	assert_int_equal(t.node[a].kind, SB_JSON_ARRAY);
	i = t.node[a + 1].next; /* -2.5e3 */
	assert_true(sb_slice_eq(sb_json_raw(&t, i), SB_SLICE("-2.5e3")));
	i = t.node[i].next;
	assert_true(sb_json_string_eq(&t, i, SB_SLICE("x\xc3\xa9")));
	assert_false(sb_json_string_eq(&t, i, SB_SLICE("x\xc3")));
	i = t.node[i].next;
	assert_int_equal(t.node[sb_json_member(&t, i, SB_SLICE("b"))].kind, SB_JSON_TRUE); /* the last one counts */
	assert_int_not_equal(sb_json_member(&t, 0, SB_SLICE("caf\xc3\xa9")), UINT32_MAX);
	assert_int_equal(sb_json_member(&t, 0, SB_SLICE("none")), UINT32_MAX);
	assert_int_equal(sb_json_unescape(SB_SLICE("\\ud83d\\ude00\\n\\/"), &out), 0);
	assert_true(sb_slice_eq(sb_buf_slice(&out), SB_SLICE("\xf0\x9f\x98\x80\n/")));
	sb_buf_clear(&out);
	assert_int_equal(sb_json_add_string(&out, sb_slice("a\"\\\n\x01\0z", 7)), 0);
	assert_true(sb_slice_eq(sb_buf_slice(&out), SB_SLICE("\"a\\\"\\\\\\n\\u0001\\u0000z\"")));
	sb_buf_done(&out);
	sb_tape_buf_done(&b);
}

static void values_in_a_row_are_read_one_by_one(void **state)
{
	static const char text[] = "{\"a\":1}\n 2\n\"x\" ";
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;
	size_t end = 0;

	(void)state;
	assert_int_equal(sb_json_scan_at(text, sizeof(text) - 1, 0, &SB_JSON_LIMITS, &b, &end, &f), 0);
	assert_int_equal(end, 7);
	assert_int_equal(sb_json_scan_at(text, sizeof(text) - 1, end, &SB_JSON_LIMITS, &b, &end, &f), 0);
	assert_int_equal(end, 10);
	assert_int_equal(sb_json_scan_at(text, sizeof(text) - 1, end, &SB_JSON_LIMITS, &b, &end, &f), 0);
	assert_int_equal(end, 14);
	assert_int_equal(b.node[0].kind, SB_JSON_STRING);
	sb_tape_buf_done(&b);
}

/* ------------------------------------------------------------------------------------------------ events */

static void random_value(struct sb_rand *r, struct sb_buf *out, int depth)
{
	static const char *const leaves[] = { "1", "-2.50", "true", "null", "\"x\"", "\"\\u00e9\\n\"", "\"\xe2\x82\xac\"", "1e400",
		"[]", "{}", " 7 " };
	uint64_t kind = depth > 4 ? 0 : sb_rand_below(r, 4), n;

	if (kind < 2) {
		sb_buf_adds(out, leaves[sb_rand_below(r, SB_LEN(leaves))]);
		return;
	}
	n = sb_rand_below(r, 4);
	sb_buf_addc(out, kind == 2 ? '[' : '{');
	for (uint64_t i = 0; i < n; i++) {
		if (i)
			sb_buf_adds(out, sb_rand_below(r, 2) ? "," : " ,\n ");
		if (kind == 3)
			sb_buf_addf(out, "\"k%d\": ", (int)sb_rand_below(r, 3));
		random_value(r, out, depth + 1);
	}
	sb_buf_addc(out, kind == 2 ? ']' : '}');
}

static void assert_tape_is_a_fresh_scan(const struct sb_event *ev)
{
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;

	if (sb_json_scan(ev->json, ev->n, &SB_JSON_LIMITS, &b, &f) < 0)
		fail_msg("offset %zu: %s in %.*s", f.off, f.msg, (int)ev->n, ev->json);
	assert_int_equal(b.n, ev->tape.n);
	for (uint32_t i = 0; i < b.n; i++)
		if (memcmp(&b.node[i], &ev->tape.node[i], sizeof(b.node[i])) != 0)
			fail_msg("node %u of %.*s", i, (int)ev->n, ev->json);
	sb_tape_buf_done(&b);
}

static void a_built_event_carries_the_tape_that_a_scan_would_make(void **state)
{
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;
	struct sb_buf text = SB_BUF(1 << 20), bare = SB_BUF(1 << 20);
	struct sb_rand r;
	struct sb_err err;

	(void)state;
	sb_rand_seed(&r, 11);
	for (int round = 0; round < 3000; round++) {
		struct sb_tape t;
		struct sb_event *ev, *again;
		struct sb_event_spec spec = {
			.source = { SB_SLICE("com.\"shop\"\n\x01"), false }, .detail_type = { SB_SLICE("Order\\u0050laced"), true },
			.account = { SB_SLICE("000000000000"), true }, .region = { SB_SLICE("local"), true },
			.received_ms = 1795508393250, .tape = &t, .bus = sb_name_str("default"),
		};

		sb_buf_clear(&text);
		sb_buf_adds(&text, "{\"resources\":[\"a\",\"b\"],\"detail\":");
		random_value(&r, &text, 0);
		sb_buf_adds(&text, "}");
		assert_int_equal(sb_json_scan(text.p, text.len, &SB_JSON_LIMITS, &b, &f), 0);
		t = sb_tape_of(text.p, &b);
		spec.detail = sb_json_member(&t, 0, SB_SLICE("detail"));
		if (round & 1)
			spec.resources = sb_json_member(&t, 0, SB_SLICE("resources"));
		if (round & 2)
			spec.meta = SB_SLICE("{\"http\":{\"path\":\"/hooks/shop\",\"headers\":{\"x-a\":\"b\"}}}");
		assert_int_equal(sb_event_build(&spec, 1 << 20, &ev, &err), 0);
		assert_tape_is_a_fresh_scan(ev);
		assert_true(sb_slice_eq(sb_json_raw(&ev->tape, sb_json_member(&ev->tape, 0, SB_SLICE("detail"))),
			sb_json_raw(&t, spec.detail)));
		for (int i = 0; i < SB_JSON_PAD; i++)
			assert_int_equal(ev->json[ev->n + (uint32_t)i], 0);
		assert_int_equal(sb_event_parse(sb_slice(ev->json, ev->n), ev->bus, NULL, &again, &err), 0);
		assert_int_equal(again->bare_n, ev->bare_n);
		assert_true(sb_slice_eq(again->id, ev->id));
		sb_buf_clear(&bare);
		assert_int_equal(sb_event_add_bare(ev, &bare), 0);
		assert_int_equal(bare.len, sb_event_bare_bytes(ev));
		sb_event_unref(again);
		assert_int_equal(sb_event_parse(sb_buf_slice(&bare), ev->bus, NULL, &again, &err), 0);
		assert_int_equal(sb_json_member(&again->tape, 0, SB_SLICE("meta")), UINT32_MAX);
		sb_event_unref(again);
		sb_event_unref(ev);
	}
	sb_buf_done(&bare);
	sb_buf_done(&text);
	sb_tape_buf_done(&b);
	sb_event_thread_done();
}

static void an_event_that_is_too_large_is_refused(void **state)
{
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;
	struct sb_tape t;
	struct sb_event *ev;
	struct sb_err err;
	struct sb_event_spec spec = { .source = { SB_SLICE("s"), true }, .tape = &t };

	(void)state;
	assert_int_equal(sb_json_scan("[1,2,3]", 7, &SB_JSON_LIMITS, &b, &f), 0);
	t = sb_tape_of("[1,2,3]", &b);
	assert_int_equal(sb_event_build(&spec, 100, &ev, &err), -1);
	assert_int_equal(err.code, SB_E_LIMIT);
	assert_int_equal(sb_event_parse(SB_SLICE("[1]"), NULL, NULL, &ev, &err), -1);
	assert_int_equal(err.code, SB_E_KIND);
	sb_tape_buf_done(&b);
}

static void names_are_interned(void **state)
{
	char copy[] = "orders";

	(void)state;
	assert_ptr_equal(sb_name_str("orders"), sb_name_str(copy));
	assert_ptr_not_equal(sb_name_str("orders"), sb_name_str("order"));
}

/* ------------------------------------------------------------------------------------------------ paths, templates */

static const char sample[] =
	"{\"detail\":{\"id\":\"o-\\u00e9\",\"n\":12.50,\"list\":[1,{\"x\":true}],\"odd.key\":null,\"obj\":{}},\"meta\":{\"h\":\"v\"}}";

static void templates_render_or_say_what_is_missing(void **state)
{
	static const struct {
		const char *tpl, *want; /* NULL: missing; "!": does not compile */
	} cases[] = {
		{ "plain", "plain" }, { "", "" }, { "<$.detail.id>", "o-\xc3\xa9" }, { "a <$.detail.n> b", "a 12.50 b" },
		{ "<$.detail.list[1].x>", "true" }, { "<detail.list[0]>", "1" }, { "<$.detail['odd.key']>", "null" },
		{ "<meta.h>/x", "v/x" }, { "\\<<meta.h>>", "<v>" }, { "<$.detail.none>", NULL }, { "x<$.detail.obj>", NULL },
		{ "<$.detail.list>", NULL }, { "<", "!" }, { "<>", "!" }, { "<$.a", "!" }, { "<$.a[>", "!" }, { "<$x>", "!" },
		{ "<$.a..b>", "!" }, { "<$.a['b]>", "!" },
	};
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;
	struct sb_tape t;
	struct sb_arena a = { 0 };
	struct sb_buf out = SB_BUF(1000);

	(void)state;
	assert_int_equal(sb_json_scan(sample, sizeof(sample) - 1, &SB_JSON_LIMITS, &b, &f), 0);
	t = sb_tape_of(sample, &b);
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_template tpl;
		struct sb_err err;
		int r;

		if (sb_template_compile(&a, sb_slice_str(cases[i].tpl), NULL, NULL, &tpl, &err) < 0) {
			if (!cases[i].want || strcmp(cases[i].want, "!") != 0)
				fail_msg("row %zu: '%s': %s", i, cases[i].tpl, err.msg);
			continue;
		}
		sb_buf_clear(&out);
		r = sb_template_text(&tpl, &t, &out);
		if (r != (cases[i].want ? 0 : 1) || (r == 0 && !sb_slice_eq_str(sb_buf_slice(&out), cases[i].want)))
			fail_msg("row %zu: '%s' gave %d '%.*s'", i, cases[i].tpl, r, (int)out.len, out.p);
	}
	sb_buf_done(&out);
	sb_arena_done(&a);
	sb_tape_buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_text_has_its_verdict_and_its_offset),
		cmocka_unit_test(nul_is_refused_everywhere),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(limits_are_exact),
		cmocka_unit_test(the_tape_says_what_the_text_says),
		cmocka_unit_test(values_in_a_row_are_read_one_by_one),
		cmocka_unit_test(a_built_event_carries_the_tape_that_a_scan_would_make),
		cmocka_unit_test(an_event_that_is_too_large_is_refused),
		cmocka_unit_test(names_are_interned),
		cmocka_unit_test(templates_render_or_say_what_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
