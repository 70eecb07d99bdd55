/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdlib.h>

#include "broker/base/json.h"

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
	{ "\"abc", 4 }, { "\"a\nb\"", 2 }, { "\"a\tb\"", 2 }, { "\"\\x\"", 2 }, { "\"\\u12g4\"", 5 }, { "\"\\u12", 5 },
	{ "\"\\ud800\"", 1 }, { "\"\\udc00\"", 1 }, { "\"\\ud800\\u0041\"", 1 }, { "\"\\ud800\\ud800\"", 1 },
	{ "\"\\", 2 }, { "\"\x80\"", 1 }, { "\"\xc3\"", 1 }, { "\"\xc0\xaf\"", 1 }, { "\"\xe0\x80\x80\"", 1 },
	{ "\"\xed\xa0\x80\"", 1 }, { "\"\xf4\x90\x80\x80\"", 1 }, { "\"\xff\"", 1 }, { "\xef\xbb\xbf{}", 0 },
	{ "{} {}", 3 }, { "{}x", 2 }, { "[] //c", 3 }, { "1 1", 2 }, { "/**/1", 0 },
	{ "\"\\ud800\\u12\"", 11 }, { "\"\\ud800x\"", 1 }, { "\"\\u\"", 3 }, { "\"\\U0041\"", 2 }, { "\"\\\n\"", 2 },
	{ "\"\\uDBFF\\uDFFF\\u0000\"", -1 }, { "\"\\uFFFE\\ufffF\"", -1 }, { "\"\xef\xbf\xbf\xf4\x8f\xbf\xbf\"", -1 },
	{ "\"\xf0\x8f\xbf\xbf\"", 1 }, { "\"\xe2\x82\"", 1 }, { "\"\xf0\x9f\x98\"", 1 }, { "\"\xed\x9f\xbf\xee\x80\x80\"", -1 },
	{ "\"\xe2\x82", 3 }, { "\"\xf0\x9f", 3 }, { "\"a\xe2\x28\xa1\"", 2 }, { "\"\xc3\xa9\xc3(\"", 3 }, { "\x80", 0 },
	{ "[\"a\",\n4\n,1,", 11 }, { "[1,,2]", 3 }, { "[1:2]", 2 }, { "[\"a\":1]", 4 }, { "[\"x\"]]", 5 }, { "[]]", 2 }, { "]", 0 },
	{ "{\"a\":\"b\"}#", 9 }, { "{\"a\" \"b\"}", 5 }, { "{\"a\",1}", 4 }, { "{,\"a\":1}", 1 }, { "{\"a\":1,,\"b\":2}", 7 },
	{ "{1:1}", 1 }, { "{null:1}", 1 }, { "{\"a\"::1}", 5 }, { "{\"a\":1}}", 7 }, { "{[", 1 }, { "}", 0 }, { "[{\"a\":[}]", 7 },
	{ "-01", 2 }, { "00", 1 }, { "-a", 1 }, { "--1", 1 }, { "1.e1", 2 }, { "1.5e+-1", 5 }, { "0e", 2 }, { "0E+", 3 }, { "1e1.5", 3 },
	{ "-.1", 1 }, { "1,", 1 }, { "1_000", 1 }, { "-Infinity", 1 }, { "Infinity", 0 }, { "1e999999", -1 }, { "-1e-0", -1 },
	{ "0.00000000000000000000000000000000000000001", -1 }, { "truetrue", 4 }, { "nulll", 4 }, { "fals\n", 4 }, { "TRUE", 0 },
	{ "'a'", 0 }, { "\f1", 0 }, { "\v[]", 0 }, { "\xc2\xa0[]", 0 }, { "[\f]", 1 }, { "[1\xc2\x85]", 2 }, { "\xe2\x81\xa0", 0 },
	{ "\xff\xfe[", 0 }, { "[\"\x1f\"]", 2 }, { "[\"\x7f\"]", -1 }, { "[\"\\/\"]", -1 }, { "[\"\\a\"]", 3 }, { "[\"\\", 3 },
	{ "[\"\\\"]", 5 }, { "\"\"x", 2 }, { "\"a\" \"b\"", 4 }, { "{\"\":0}", -1 }, { "{\"a\":/**/1}", 5 }, { "<.>", 0 }, { "[<null>]", 1 },
	{ TEN("[") TEN("]"), -1 }, { TEN("[") TEN("}"), 10 }, { TEN("{\"a\":") "1" TEN("}"), -1 },
	{ "\"aaaaaaaaaaaaaaaaaaaaa\x01\"", 22 }, { "\"aaaaaaaaaaaaaaaaaaaaa\xc3\xa9 aaaaaaaaaaa\\q\"", 37 },
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
		if (f.off != n || strcmp(f.msg, "unexpected end") != 0)
			fail_msg("%zu bytes: offset %zu: %s", n, f.off, f.msg);
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
	for (int fresh = 0; fresh < 2; fresh++) { /* the limit is that of the call, not of the memory that is there */
		assert_int_equal(sb_json_scan("[1,2]", 5, &(struct sb_json_limits){ 10, 3 }, &t, &f), 0);
		assert_int_equal(sb_json_scan("[1,2,3]", 7, &(struct sb_json_limits){ 10, 3 }, &t, &f), -1);
		assert_int_equal(f.code, SB_E_LIMIT);
		assert_int_equal(f.off, 5);
		sb_tape_buf_done(&t);
	}
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

static void escapes_are_read_and_written(void **state)
{
	static const struct {
		const char *escaped, *plain;
	} cases[] = {
		{ "", "" }, { "abc", "abc" }, { "\\\"\\\\\\/", "\"\\/" }, { "\\b\\f\\n\\r\\t", "\b\f\n\r\t" }, { "\\u0041", "A" },
		{ "\\u00e9\\u00DF", "\xc3\xa9\xc3\x9f" }, { "\\u20ac", "\xe2\x82\xac" }, { "\\uffff", "\xef\xbf\xbf" },
		{ "\\ud800\\udc00", "\xf0\x90\x80\x80" }, { "\\uDBFF\\uDFFF", "\xf4\x8f\xbf\xbf" }, { "a\\u007fb", "a\x7f" "b" },
	};
	struct sb_buf quoted = SB_BUF(100), out = SB_BUF(100);
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_slice plain = sb_slice_str(cases[i].plain);
		struct sb_tape t;

		sb_buf_clear(&out);
		sb_buf_clear(&quoted);
		sb_buf_addf(&quoted, "\"%s\"", cases[i].escaped);
		assert_int_equal(sb_json_scan(quoted.p, quoted.len, &SB_JSON_LIMITS, &b, &f), 0);
		t = sb_tape_of(quoted.p, &b);
		assert_int_equal(sb_json_unescape(sb_json_text(&t, 0), &out), 0);
		if (!sb_slice_eq(sb_buf_slice(&out), plain) || !sb_json_string_eq(&t, 0, plain))
			fail_msg("row %zu: %s", i, cases[i].escaped);
		if (plain.n && (sb_json_string_eq(&t, 0, sb_slice(plain.p, plain.n - 1)) || sb_json_string_eq(&t, 0, SB_SLICE("zzz"))))
			fail_msg("row %zu: %s equals what it is not", i, cases[i].escaped);
		sb_buf_clear(&quoted);
		assert_int_equal(sb_json_add_string(&quoted, plain), 0);
		assert_int_equal(sb_json_scan(quoted.p, quoted.len, &SB_JSON_LIMITS, &b, &f), 0);
		t = sb_tape_of(quoted.p, &b);
		if (!sb_json_string_eq(&t, 0, plain))
			fail_msg("row %zu: written as %.*s", i, (int)quoted.len, quoted.p);
	}
	sb_buf_done(&quoted);
	sb_buf_done(&out);
	sb_tape_buf_done(&b);
}

static void what_does_not_fit_leaves_the_buffer_as_it_was(void **state)
{
	(void)state;
	for (size_t max = 0; max < 9; max++) {
		struct sb_buf out = SB_BUF(max);

		assert_int_equal(sb_json_add_string(&out, SB_SLICE("ab\n\x01")), -1);
		assert_int_equal(out.len, 0);
		assert_int_equal(sb_json_unescape(SB_SLICE("ab\\nabc\\u20ac"), &out), -1);
		assert_int_equal(out.len, 0);
		sb_buf_done(&out);
	}
}

static void utf8_is_checked_to_the_first_bad_byte(void **state)
{
	static const char euro[3] = { (char)0xe2, (char)0x82, (char)0xac };
	char text[40];

	(void)state;
	assert_int_equal(sb_utf8_check("", 0), 0);
	for (size_t at = 0; at < 36; at++) {
		memset(text, 'a', sizeof(text));
		memcpy(text + at, euro, sizeof(euro));
		assert_int_equal(sb_utf8_check(text, sizeof(text)), sizeof(text));
		assert_int_equal(sb_utf8_check(text, at + 2), at);
		text[at + 2] = '(';
		assert_int_equal(sb_utf8_check(text, sizeof(text)), at);
	}
}

static void places_count_characters(void **state)
{
	static const char text[] = "{\n \"\xc3\xa9\": x";
	struct sb_loc at = { 0 };

	(void)state;
	sb_json_place(text, sizeof(text) - 1, 9, &at);
	assert_int_equal(at.line, 2);
	assert_int_equal(at.col, 7);
	sb_json_place(text, sizeof(text) - 1, 0, &at);
	assert_int_equal(at.line, 1);
	assert_int_equal(at.col, 1);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_text_has_its_verdict_and_its_offset),
		cmocka_unit_test(nul_is_refused_everywhere),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(limits_are_exact),
		cmocka_unit_test(the_tape_says_what_the_text_says),
		cmocka_unit_test(escapes_are_read_and_written),
		cmocka_unit_test(what_does_not_fit_leaves_the_buffer_as_it_was),
		cmocka_unit_test(utf8_is_checked_to_the_first_bad_byte),
		cmocka_unit_test(places_count_characters),
		cmocka_unit_test(values_in_a_row_are_read_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
