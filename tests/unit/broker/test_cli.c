/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/cli/cli.h"
#include "world.h"

/* ------------------------------------------------------------------------------------------------ a terminal to look at */

struct seen {
	char *out, *err;
	size_t out_n, err_n;
	int code;
};

static struct seen run(const struct sb_cli_verb *verbs, const char *line)
{
	char text[512], self[] = "signalbox", *argv[32] = { self };
	struct seen s = { 0 };
	FILE *out = open_memstream(&s.out, &s.out_n), *err = open_memstream(&s.err, &s.err_n);
	int argc = 1;

	snprintf(text, sizeof(text), "%s", line);
	for (char *save = NULL, *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	s.code = sb_cli_main(argc, argv, verbs, out, err);
	fclose(out);
	fclose(err);
	return s;
}

static void done(struct seen *s)
{
	free(s->out);
	free(s->err);
}

/* ------------------------------------------------------------------------------------------------ the parser */

static int show(struct sb_cli *cli)
{
	fprintf(cli->out, "config=%s format=%s quiet=%d limit=%s dry=%d", cli->config, cli->format, cli->quiet,
		sb_cli_has(cli, "limit") ? sb_cli_get(cli, "limit") : "-", sb_cli_has(cli, "dry-run"));
	for (size_t i = 0; i < cli->n_args; i++)
		fprintf(cli->out, " [%s]", cli->arg[i]);
	return 7;
}

static const struct sb_cli_option show_options[] = {
	{ "limit", 'n', "N", "at most N" },
	{ "dry-run", 0, NULL, "only tell" },
	{ 0 },
};

static const struct sb_cli_verb toy[] = {
	{ .name = "show",
		.summary = "show things",
		.usage = "[WORD]",
		.options = show_options,
		.max_args = 2,
		.run = show },
	{ .name = "spawner", .summary = "not for people", .run = show, .hidden = true },
	{ 0 },
};

static void options_are_read_in_every_usual_form(void **state)
{
	static const struct {
		const char *line;
		int code;
		const char *out, *err; /* what it begins with; NULL: nothing at all */
	} cases[] = {
		{ "show", 7, "config=signalbox.yaml format=table quiet=0 limit=- dry=0", NULL },
		{ "show a -c x.yaml -n5 --dry-run -q -o json b", 7,
			"config=x.yaml format=json quiet=1 limit=5 dry=1 [a] [b]", NULL },
		{ "show --limit=5 --config=x", 7, "config=x format=table quiet=0 limit=5 dry=0", NULL },
		{ "show --limit 5 --limit 6", 7, "config=signalbox.yaml format=table quiet=0 limit=6 dry=0", NULL },
		{ "show -- -n --x", 7, "config=signalbox.yaml format=table quiet=0 limit=- dry=0 [-n] [--x]", NULL },
		{ "show -", 7, "config=signalbox.yaml format=table quiet=0 limit=- dry=0 [-]", NULL },
		{ "show a b c", 2, NULL, "signalbox show: usage: signalbox show [WORD]\n" },
		{ "show --limt 5", 2, NULL, "signalbox show: unknown option --limt; did you mean --limit?\n" },
		{ "show --limt=5", 2, NULL, "signalbox show: unknown option --limt=5; did you mean --limit?\n" },
		{ "show -z", 2, NULL, "signalbox show: unknown option -z\n" },
		{ "show --limit", 2, NULL, "signalbox show: option --limit needs a value: N\n" },
		{ "show --dry-run=yes", 2, NULL, "signalbox show: option --dry-run takes no value\n" },
		{ "show -qx", 2, NULL, "signalbox show: option -q takes no value\n" },
		{ "show -o xml", 2, NULL, "signalbox show: no output format `xml`; one of: table json\n" },
		{ "show --color sometimes", 2, NULL, "signalbox show: --color is auto, always or never\n" },
		{ "shwo", 2, NULL,
			"signalbox: unknown command `shwo`; did you mean `show`?\nsignalbox -h tells how\n" },
		{ "spawnr", 2, NULL, "signalbox: unknown command `spawnr`\n" },
		{ "", 2, NULL, "Signalbox takes events in" },
		{ "-h", 0, "Signalbox takes events in", NULL },
		{ "show --nonsense -h", 2, NULL, "signalbox show: unknown option --nonsense" },
		{ "show -h", 0, "show things\n\nusage: signalbox show [WORD]\n\n  -n, --limit N", NULL },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct seen s = run(toy, cases[i].line);
		const char *out = cases[i].out ? cases[i].out : "", *err = cases[i].err ? cases[i].err : "";

		if (s.code != cases[i].code || strncmp(s.out, out, strlen(out)) != 0 ||
			strncmp(s.err, err, strlen(err)) != 0 || (!cases[i].out && *s.out) || (!cases[i].err && *s.err))
			fail_msg("row %zu: %s\n gave %d\n%s%s", i, cases[i].line, s.code, s.out, s.err);
		done(&s);
	}
}

static void help_fits_a_screen_and_hides_what_is_not_for_people(void **state)
{
	struct seen s = run(toy, "--help"), v = run(toy, "show -h");
	size_t lines = 0;

	(void)state;
	assert_null(strstr(s.out, "spawner"));
	for (const char *p = v.out; *p; p++)
		lines += *p == '\n';
	assert_true(lines <= 24);
	done(&s);
	done(&v);
}

/* ------------------------------------------------------------------------------------------------ check */

static const struct sb_cli_verb *check_only(void)
{
	static struct sb_cli_verb verbs[2];

	verbs[0] = sb_cmd_check;
	return verbs;
}

static char folder[] = "/tmp/sb-cli-XXXXXX";

static int enter_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave_folder(void **state)
{
	(void)state;
	unlink("c.yaml");
	return chdir("/") == 0 ? rmdir(folder) : -1;
}

static void put(const char *text)
{
	FILE *f = fopen("c.yaml", "w");

	fputs(text, f);
	fclose(f);
}

/* The time it took is the one thing that changes. */
static void without_times(char *text)
{
	char *ms = strstr(text, " ms\n"), *from = ms;

	while (from && from > text && from[-1] >= '0' && from[-1] <= '9')
		from--;
	if (from) {
		*from = 'N';
		memmove(from + 1, ms, strlen(ms) + 1);
	}
}

static void check_tells_what_it_found_and_how_long_retries_last(void **state)
{
	static const struct {
		const char *config, *rules, *options;
		int code;
		const char *out;
	} cases[] = {
		{ "targets: {t: {log: {}}, dead: {log: {}}, long: {log: {}, retry: {max_retries: 10000}}, "
		  "one: {log: {}, retry: {max_retries: 1, base: 200ms}, dead_letter: dead}, none: {log: {}, retry: "
		  "{max_retries: 0}}}",
			"default>t", "", 0,
			"ok 1 rule in 1 file, 0 sources, 5 targets, 1 bus, N ms\n"
			"  t     10 at once, 30s each; 185 retries, 1s to 16m apart, over in about 23h29m\n"
			"  dead  10 at once, 30s each; 185 retries, 1s to 16m apart, over in about 23h29m; without end "
			"what is dead elsewhere\n"
			"  long  10 at once, 30s each; retried for 1d (max_age), 1s to 16m apart\n"
			"  one   10 at once, 30s each; 1 retry, 200ms to 16m apart, over in about 100ms; then to dead\n"
			"  none  10 at once, 30s each; not retried\n" },
		{ "targets: {t: {log: {}}}", "default>t default>t", "-o short", 0,
			"ok 2 rules in 1 file, 0 sources, 1 target, 1 bus, N ms\n" },
		{ "targets: {t: {log: {}, lanes: 3}}", "default>t", "-o short", 0,
			"c.yaml:1:31: warning[E001]: `lanes` does nothing without `order_by`\n"
			"ok 1 rule in 1 file, 0 sources, 1 target, 1 bus, 1 warning, N ms\n" },
		{ "targets: {t: {log: {}, lanes: 3}}", "default>t", "-o short --strict", 1,
			"c.yaml:1:31: warning[E001]: `lanes` does nothing without `order_by`\nFAILED 0 errors, 1 "
			"warning\n" },
		{ "targets: {t: {log: {}, lanes: 3}}", "default>t", "-o short --deny-warnings", 1,
			"c.yaml:1:31: warning[E001]: `lanes` does nothing without `order_by`\nFAILED 0 errors, 1 "
			"warning\n" },
		{ "targets: {t: {lgo: {}}}", NULL, "", 3,
			"error[E004]: unknown key `lgo`\n  --> c.yaml:1:15\n  |\n1 | targets: {t: {lgo: {}}}\n"
			"  |               ^^^ did you mean `log`?\n  = at    targets.t.lgo\n  = help  signalbox help "
			"E004\n\n"
			"error[E017]: a rule is wrong\n  --> rules.d:3:5\n  = help  signalbox help E017\n\nFAILED 2 "
			"errors, 0 warnings\n" },
		{ "targets: {t: {log: {}, timeout: '${env:SB_NOT_SET}'}}", "default>t", "-o short", 3,
			"c.yaml:1:33: error[E007]: the environment variable SB_NOT_SET is not set; "
			"`${env:SB_NOT_SET:-default}` gives it a default\n"
			"FAILED 1 error, 0 warnings\n" },
		{ "targets: {t: {log: {}, timeout: '${env:SB_NOT_SET}'}}", "default>t", "-o short --no-env", 0,
			"ok 1 rule in 1 file, 0 sources, 1 target, 1 bus, N ms\n" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		char line[100];
		struct seen s;

		put(cases[i].config);
		world_spec = cases[i].rules;
		snprintf(line, sizeof(line), "check -c c.yaml %s", cases[i].options);
		s = run(check_only(), line);
		without_times(s.out);
		if (s.code != cases[i].code || strcmp(s.out, cases[i].out) != 0 || *s.err)
			fail_msg("row %zu: exit %d\n%s%s", i, s.code, s.out, s.err);
		done(&s);
	}
}

static void check_speaks_json(void **state)
{
	struct seen s;

	(void)state;
	put("targets: {t: {log: {}, lanes: 3}}");
	world_spec = "default>t";
	s = run(check_only(), "check -c c.yaml -o json");
	assert_int_equal(s.code, 0);
	assert_non_null(strstr(s.out, "{\"v\":1,\"ok\":true,\"errors\":0,\"warnings\":1,"));
	assert_non_null(strstr(s.out, "\"rules\":1,\"files\":1,\"sources\":0,\"buses\":1,\"targets\":[{\"name\":\"t\","
				      "\"connector\":\"log\","));
	assert_non_null(strstr(
		s.out, "\"retry\":{\"max_retries\":185,\"base_ms\":1000,\"cap_ms\":960000,\"max_age_ms\":86400000,"));
	assert_non_null(strstr(s.out, "\"findings\":[{\"code\":\"E001\",\"name\":\"invalid-value\",\"severity\":"
				      "\"warning\",\"file\":\"c.yaml\",\"line\":1,"));
	done(&s);
}

static void a_file_that_cannot_be_read_is_no_finding(void **state)
{
	struct seen s = run(check_only(), "check -c none.yaml");

	(void)state;
	assert_int_equal(s.code, 2);
	assert_string_equal(s.out, "");
	assert_string_equal(s.err, "signalbox check: cannot read 'none.yaml': No such file or directory\n-c FILE names "
				   "another configuration\n");
	done(&s);
}

static const struct sb_cli_verb *all(void)
{
	static struct sb_cli_verb verbs[4];

	verbs[0] = sb_cmd_check;
	verbs[1] = sb_cmd_help;
	verbs[2] = sb_cmd_version;
	return verbs;
}

static void help_and_version_answer(void **state)
{
	static const struct {
		const char *line;
		int code;
		const char *out; /* what it begins with */
	} cases[] = {
		{ "help", 0, "Signalbox takes events in" },
		{ "help check", 0, "read configuration and rules" },
		{ "help E004", 0, "E004 unknown-key\n\nNobody knows this key." },
		{ "help unknown-key", 0, "E004 unknown-key\n" },
		{ "help E004 -o json", 0, "{\"v\":1,\"code\":\"E004\",\"name\":\"unknown-key\"," },
		{ "help -o json", 0, "{\"v\":1,\"commands\":[{\"name\":\"check\"," },
		{ "help version -o json", 0, "{\"v\":1,\"commands\":[{\"name\":\"version\"," },
		{ "help E999", 2, "" },
		{ "version", 0, "signalbox " SB_VERSION "\n" },
		{ "--version", 0, "signalbox " SB_VERSION "\n" },
		{ "version -o json", 0, "{\"v\":1,\"version\":\"" SB_VERSION "\",\"libraries\":{" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct seen s = run(all(), cases[i].line);

		if (s.code != cases[i].code || strncmp(s.out, cases[i].out, strlen(cases[i].out)) != 0)
			fail_msg("row %zu: %s\n gave %d\n%s%s", i, cases[i].line, s.code, s.out, s.err);
		done(&s);
	}
}

static void the_page_and_the_schema_know_every_connector(void **state)
{
	struct seen docs = run(check_only(), "check --print-config-docs"),
		    schema = run(check_only(), "check --print-schema");

	(void)state;
	assert_int_equal(docs.code | schema.code, 0);
	assert_non_null(strstr(docs.out, "| `retry.base` | duration | 1ms to 1d; default `1s` |"));
	assert_non_null(strstr(docs.out, "### `hook:`\n\nA source: takes raw JSON on a path.\n\n| key"));
	assert_non_null(strstr(docs.out, "| `max` | number | 1 to 9; default `4` | Workers. |"));
	assert_non_null(strstr(schema.out, "\"$schema\": \"http://json-schema.org/draft-07/schema#\""));
	assert_non_null(strstr(schema.out, "\"command\""));
	done(&docs);
	done(&schema);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_read_in_every_usual_form),
		cmocka_unit_test(help_fits_a_screen_and_hides_what_is_not_for_people),
		cmocka_unit_test(check_tells_what_it_found_and_how_long_retries_last),
		cmocka_unit_test(check_speaks_json),
		cmocka_unit_test(a_file_that_cannot_be_read_is_no_finding),
		cmocka_unit_test(help_and_version_answer),
		cmocka_unit_test(the_page_and_the_schema_know_every_connector),
	};

	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
