/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/cli/cli.h"

struct seen {
	char *out, *err;
	int code;
};

/* `input` is what stands on standard input. */
static struct seen run(const char *const *arg, const char *input)
{
	char *argv[12] = { (char *)"signalbox", (char *)"match" };
	struct sb_cli_verb table[2] = { sb_cmd_match };
	struct seen s = { 0 };
	size_t out_n, err_n;
	FILE *out = open_memstream(&s.out, &out_n), *err = open_memstream(&s.err, &err_n), *in = tmpfile();
	int argc = 2, kept = dup(STDIN_FILENO);

	while (*arg)
		argv[argc++] = (char *)*arg++;
	assert_non_null(in);
	fputs(input, in);
	rewind(in);
	dup2(fileno(in), STDIN_FILENO);
	clearerr(stdin);
	s.code = sb_cli_main(argc, argv, table, out, err);
	dup2(kept, STDIN_FILENO);
	close(kept);
	fclose(in);
	fclose(out);
	fclose(err);
	return s;
}

static void one_question(void **state)
{
	static const struct {
		const char *arg[8], *in, *out, *err; /* err: a part of it */
		int code;
	} cases[] = {
		{ { "-p", "{\"a\":[1]}", "-e", "{\"a\":1}" }, "", "match\n", "", SB_EXIT_OK },
		{ { "-p", "{\"a\":[1]}", "-e", "{\"a\":2}" }, "", "no match\n", "", SB_EXIT_NO },
		{ { "-p", "{\"a\":[1]}", "-e", "-" }, "{\"a\":1}\n", "match\n", "", SB_EXIT_OK },
		{ { "-p", "-", "-e", " {\"a\":1}" }, "{\"a\":[1]}\n", "match\n", "", SB_EXIT_OK },
		{ { "-p", "{\"a\":1}", "-e", "{\"a\":1}" }, "", "", "`a` must be a list of values or a map, found a number", SB_EXIT_USAGE },
		{ { "-p", "{\"a\":[1]}", "-e", "{\"a\":" }, "", "", "event:1:6", SB_EXIT_USAGE },
		{ { "-p", "{\"a\":[1]}", "-e", "-" }, "[1]", "", "an event is a JSON object", SB_EXIT_USAGE },
		{ { "-p", "{\"a\":[1]}", "-e", "-" }, "", "", "unexpected end", SB_EXIT_USAGE },
		{ { "-p", "/nowhere/p.json", "-e", "{}" }, "", "", "cannot read '/nowhere/p.json'", SB_EXIT_USAGE },
		{ { "-p", "{\"a\":[1]}" }, "", "", "-p PATTERN and -e EVENT are both needed", SB_EXIT_USAGE },
		{ { "-p", "-", "-e", "-" }, "", "", "only one of -p and -e", SB_EXIT_USAGE },
		{ { "--batch", "-e", "{}" }, "", "", "--batch reads", SB_EXIT_USAGE },
		{ { "-o", "json", "-p", "{\"a\":[1]}", "-e", "{\"a\":1}" }, "", "{\"v\":1,\"match\":true,\"errors\":[]}\n", "", SB_EXIT_OK },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct seen s = run(cases[i].arg, cases[i].in);

		if (s.code != cases[i].code || strcmp(s.out, cases[i].out) != 0 || !strstr(s.err, cases[i].err))
			fail_msg("row %zu: %d '%s' '%s'", i, s.code, s.out, s.err);
		free(s.out);
		free(s.err);
	}
}

static void many_questions(void **state)
{
	static const struct {
		const char *arg[4], *in, *out;
		int code;
	} cases[] = {
		{ { "--batch" }, "{\"pattern\":{\"a\":[1]},\"event\":{\"a\":1}}\n\n{\"pattern\":{\"a\":[1]},\"event\":{\"a\":2}}", "true\nfalse\n", SB_EXIT_OK },
		{ { "--batch" }, "{\"pattern\":\"{\\\"a\\\":[\\\"\\u00e9\\\"]}\",\"event\":\"{\\\"a\\\":\\\"\\\\u00e9\\\"}\"}\n", "true\n", SB_EXIT_OK },
		{ { "--batch" },
			"{\"pattern\":{\"a\":[1]}}\n{\n{\"pattern\":{\"a\":1},\"event\":{}}\n{\"pattern\":{\"a\":[1]},\"event\":[]}\n"
			"{\"pattern\":\"{\",\"event\":{}}\n{\"pattern\":{\"a\":[1]},\"event\":{\"a\":1}}\n[]\n",
			"error: \"event\" is missing\nerror: the line is not valid JSON: offset 1: unexpected end\n"
			"error: `a` must be a list of values or a map, found a number\nerror: an event is a JSON object\n"
			"error: this is not valid JSON: unexpected end\ntrue\nerror: \"pattern\" is missing\n",
			SB_EXIT_USAGE },
		{ { "--batch", "-o", "json" }, "{\"pattern\":{\"a\":[1]},\"event\":{\"a\":1}}\n[]\n",
			"{\"match\":true}\n{\"match\":null,\"error\":\"\\\"pattern\\\" is missing\"}\n", SB_EXIT_USAGE },
		{ { "--batch" }, "", "", SB_EXIT_OK },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct seen s = run(cases[i].arg, cases[i].in);

		if (s.code != cases[i].code || strcmp(s.out, cases[i].out) != 0)
			fail_msg("row %zu: %d '%s' '%s'", i, s.code, s.out, s.err);
		free(s.out);
		free(s.err);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(one_question), cmocka_unit_test(many_questions) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
