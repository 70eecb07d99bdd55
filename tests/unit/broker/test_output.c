/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/cli/output.h"

static const struct sb_column columns[] = {
	{ "NAME", false, 8 },
	{ "N", true, 0 },
	{ "TEXT", false, 8 },
	{ 0 },
};

static void tables(void **state)
{
	static const struct {
		const char *what;
		unsigned width;
		const char *name;
		uint64_t n;
		const char *text, *want;
	} cases[] = {
		{ "as wide as needed", 0, "a", 100, "b c", "NAME    N  TEXT\na     100  b c\n" },
		{ "nothing is cut in a pipe", 0, "a-name-that-is-long", 1, "and a text that is longer still",
			"NAME                 N  TEXT\na-name-that-is-long  1  and a text that is longer still\n" },
		{ "the widest gives first", 30, "short", 1, "abcdefghijklmnopqrstuvwxyz",
			"NAME   N  TEXT\nshort  1  abcdefghi..rstuvwxyz\n" },
		{ "never below the least", 3, "abcdefghijkl", 1, "abcdefghijkl",
			"NAME      N  TEXT\nabc..jkl  1  abc..jkl\n" },
		{ "characters, not bytes", 0, "\u00e4\u00f6\u00fc", 1, "x",
			"NAME  N  TEXT\n\u00e4\u00f6\u00fc   1  x\n" },
		{ "cut between characters", 3, "\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4", 1, "x",
			"NAME      N  TEXT\n\u00e4\u00e4\u00e4..\u00e4\u00e4\u00e4  1  x\n" },
		{ "an empty cell is a word", 0, "", 0, NULL, "NAME  N  TEXT\n-     0  -\n" },
		{ "control characters stay out", 0, "a\x1b[31mb", 1, "x\ny\xc2\x9bz\x7f",
			"NAME     N  TEXT\na [31mb  1  x y  z \n" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		char *got = NULL;
		size_t n = 0;
		FILE *out = open_memstream(&got, &n);
		struct sb_table t;

		sb_table_init(&t, columns);
		sb_table_text(&t, cases[i].name);
		sb_table_number(&t, cases[i].n);
		sb_table_text(&t, cases[i].text);
		sb_table_print(&t, cases[i].width, out);
		sb_table_done(&t);
		fclose(out);
		if (strcmp(got, cases[i].want) != 0)
			fail_msg("row %zu, %s: got\n%swanted\n%s", i, cases[i].what, got, cases[i].want);
		free(got);
	}
}

static void ages(void **state)
{
	static const struct {
		uint64_t ms;
		const char *want;
	} cases[] = {
		{ 0, "0s" },
		{ 999, "0s" },
		{ 119999, "119s" },
		{ 120000, "2m" },
		{ 7199999, "119m" },
		{ 7200000, "2h" },
		{ 172799999, "47h" },
		{ 172800000, "2d" },
		{ UINT64_C(86400000) * 400, "400d" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		char got[SB_TIME_TEXT];

		if (strcmp(sb_age_text(cases[i].ms, got), cases[i].want) != 0)
			fail_msg("row %zu: got %s, wanted %s", i, got, cases[i].want);
	}
}

static void indented_json_keeps_every_value_as_it_was_written(void **state)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{ "{}", "{}\n" },
		{ " [ ] ", "[]\n" },
		{ "{\"a\":12345678901234567890123,\"b\":1.50e+400}",
			"{\n  \"a\": 12345678901234567890123,\n  \"b\": 1.50e+400\n}\n" },
		{ "{\"a\":[1,{\"b\":[]}],\"c\":null}",
			"{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": null\n}\n" },
		{ "{\"a{[,:\":\"\\\"}],:\\\\\"}", "{\n  \"a{[,:\": \"\\\"}],:\\\\\"\n}\n" },
		{ "[\"\\u0000\"]", "[\n  \"\\u0000\"\n]\n" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		char *got = NULL;
		size_t n = 0;
		FILE *out = open_memstream(&got, &n);

		sb_json_indent(sb_slice_str(cases[i].in), out);
		fclose(out);
		if (strcmp(got, cases[i].want) != 0)
			fail_msg("row %zu: got\n%swanted\n%s", i, got, cases[i].want);
		free(got);
	}
}

static void what_is_no_terminal_has_no_width(void **state)
{
	FILE *f = tmpfile();

	(void)state;
	assert_int_equal(sb_terminal_width(f), 0);
	fclose(f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables),
		cmocka_unit_test(ages),
		cmocka_unit_test(indented_json_keeps_every_value_as_it_was_written),
		cmocka_unit_test(what_is_no_terminal_has_no_width),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
