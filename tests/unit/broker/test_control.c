/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that ask a running daemon, against one that answers from a script. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fakedaemon.h"

static char folder[] = "/tmp/sb-control-XXXXXX";

static const struct sb_cli_verb *verbs(void)
{
	static struct sb_cli_verb table[6];

	table[0] = sb_cmd_status;
	table[1] = sb_cmd_reload;
	table[2] = sb_cmd_pause;
	table[3] = sb_cmd_resume;
	table[4] = sb_cmd_audit;
	return table;
}

#define STATUS                                                                                                         \
	"{\"v\":1,\"version\":\"0.1.0\",\"pid\":7,\"generation\":3,\"uptime_ms\":7300000,\"ready\":true,\"stopping\":" \
	"false,"                                                                                                       \
	"\"sources\":[{\"name\":\"shop\",\"type\":\"hook\",\"received\":12,\"refused\":1,\"paused\":true}],"           \
	"\"targets\":[{\"name\":\"invoice\",\"type\":\"run\",\"in_flight\":4,\"queued\":9,\"retrying\":2,"             \
	"\"delivered\":8,"                                                                                             \
	"\"dead\":1,\"oldest_ms\":61000,\"paused\":false,\"unreachable_for_ms\":500},"                                 \
	"{\"name\":\"trail\",\"type\":\"log\",\"in_flight\":0,\"queued\":0,\"retrying\":0,\"delivered\":11,\"dead\":"  \
	"0,"                                                                                                           \
	"\"oldest_ms\":0,\"paused\":false,\"unreachable_for_ms\":0}],"                                                 \
	"\"dead_letters\":{\"letters\":1},\"journal\":{\"segments\":2,\"outstanding\":15,\"full\":false},"             \
	"\"counts\":{\"events\":12,\"unmatched\":3}}"

#define REMOVED                                                                                                        \
	"{\"v\":1,\"targets\":[{\"name\":\"a\",\"type\":\"\",\"queued\":2,\"removed\":true},{\"name\":\"b\",\"type\":\"log\"," \
	"\"in_flight\":1,\"queued\":2,\"removed\":true,\"paused\":true},{\"name\":\"c\",\"type\":\"\",\"queued\":2,"         \
	"\"removed\":true,\"abandoned\":true}]}"

#define NOT_FOUND "{\"error\":{\"code\":\"not_found\",\"message\":\"there is no target 'invoce'\",\"retryable\":false}}"

static const struct {
	const char *words[6];
	struct fake_answer script[3];
	int code;
	const char *heard, *out, *err; /* parts of it; NULL: nothing */
} cases[] = {
	{ { "status" }, { { "/v1/status", 200, STATUS } }, 0, "GET /v1/status ",
		"signalbox 0.1.0, pid 7, up 2h, generation 3\n\n"
		"SOURCE  TYPE  RECEIVED  REFUSED  STATE\n"
		"shop    hook        12        1  paused\n\n"
		"TARGET   TYPE  INFLIGHT  QUEUED  RETRYING  DELIVERED  DEAD  OLDEST  STATE\n"
		"invoice  run          4       9         2          8     1     61s  unreachable\n"
		"trail    log          0       0         0         11     0       -  ok\n\n"
		"events: 12, unmatched: 3, outstanding deliveries: 15, journal segments: 2, dead letters: 1\n",
		NULL },
	{ { "status", "-o", "json" }, { { "/v1/status", 200, STATUS } }, 0, NULL, "\"oldest_ms\": 61000",
		NULL },
	{ { "status" }, { { "/v1/status", 200, REMOVED } }, 0, NULL,
		"a       -            0       2         0          0     0       -  removed, waits\n"
		"b       log          1       2         0          0     0       -  removed, paused\n"
		"c       -            0       2         0          0     0       -  removed, becomes dead letters\n", NULL },
	{ { "status", "-q" }, { { "/v1/status", 200, STATUS } }, 0, NULL, NULL, NULL },
	{ { "status" }, { { "/v1/status", 200, "hello" } }, 4, NULL, NULL, "is no Signalbox of ours" },
	{ { "status" }, { { "/v1/status", 500, "hello" } }, 5, NULL, NULL, "answered with status 500" },
	{ { "reload" },
		{ { "/v1/reload", 200,
			"{\"v\":1,\"generation\":4,\"rules\":2,\"changes\":[{\"what\":\"target\",\"name\":"
			"\"trail\",\"kind\":\"added\"}]}" } },
		0, "POST /v1/reload application/json {}\n",
		"added   target trail\nok generation 4, 2 rules, 1 change\n", NULL },
	{ { "reload", "--orphans", "drain" },
		{ { "/v1/reload", 200, "{\"v\":1,\"generation\":4,\"rules\":2,\"changes\":[]}" } }, 0,
		"{\"orphans\":\"drain\"}", "ok generation 4, 2 rules, 0 changes\n", NULL },
	{ { "reload" },
		{ { "/v1/reload", 200,
			"{\"v\":1,\"generation\":4,\"rules\":2,\"changes\":[],\"orphans\":["
			"{\"target\":\"a\",\"owed\":2,\"fate\":\"wait\"},{\"target\":\"b\",\"owed\":1,\"fate\":\"drain\"},"
			"{\"target\":\"c\",\"owed\":3,\"fate\":\"dead-letter\"}]}" } },
		0, NULL,
		"removed target a: 2 deliveries owed, they wait: configure it again, or reload --orphans dead-letter\n"
		"removed target b: 1 deliveries owed, it goes when they are delivered\n"
		"removed target c: 3 deliveries owed, they become dead letters\n", NULL },
	{ { "reload", "--orphans", "keep" }, { { 0 } }, 2, NULL, NULL,
		"--orphans is drain or dead-letter, not 'keep'" },
	{ { "reload" },
		{ { "/v1/reload", 422,
			"{\"v\":1,\"error\":{\"code\":\"invalid\",\"message\":\"the configuration has 1 "
			"errors\"},"
			"\"text\":\"error[E004]: unknown key\\n\",\"diagnostics\":[]}" } },
		3, NULL, NULL, "error[E004]: unknown key\nsignalbox reload: the configuration has 1 errors\n" },
	{ { "reload" },
		{ { "/v1/reload", 409,
			"{\"v\":1,\"error\":{\"code\":\"busy\",\"message\":\"3 deliveries are "
			"owed\",\"hint\":\"--orphans\"}}" } },
		5, NULL, NULL, "signalbox reload: 3 deliveries are owed\n--orphans\n" },
	{ { "pause", "target", "invoice" }, { { "/v1/pause", 200, "{\"v\":1,\"paused\":true}" } }, 0,
		"POST /v1/pause application/json {\"kind\":\"target\",\"name\":\"invoice\"}\n",
		"ok target invoice is paused\n", NULL },
	{ { "resume", "source", "shop" }, { { "/v1/resume", 200, "{\"v\":1,\"paused\":false}" } }, 0,
		"POST /v1/resume application/json {\"kind\":\"source\",\"name\":\"shop\"}\n",
		"ok source shop is running\n", NULL },
	{ { "pause", "target", "invoce" }, { { "/v1/pause", 404, NOT_FOUND }, { "/v1/status", 200, STATUS } },
		1, NULL, NULL, "signalbox pause: there is no target 'invoce'\ndid you mean `invoice`?\n" },
	{ { "pause", "target", "zzz" }, { { "/v1/pause", 404, NOT_FOUND }, { "/v1/status", 200, STATUS } }, 1,
		NULL, NULL, "there are: invoice trail\n" },
	{ { "pause", "rule", "x" }, { { 0 } }, 2, NULL, NULL,
		"first `source` or `target`, then its name; found `rule`" },
};

static void verbs_print_what_the_daemon_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		const char *words[8] = { "signalbox" };
		struct fakedaemon f;
		struct ran r;
		int n = 1;

		for (size_t k = 0; k < 6 && cases[i].words[k]; k++)
			words[n++] = cases[i].words[k];
		fakedaemon_start(&f, "unix:data/control.sock", cases[i].script);
		r = run_words(verbs(), n, words);
		fakedaemon_stop(&f);
		if (r.code != cases[i].code || (cases[i].out ? !strstr(r.out, cases[i].out) : *r.out != 0) ||
			(cases[i].err ? !strstr(r.err, cases[i].err) : *r.err != 0))
			fail_msg("row %zu: %s gave %d\n%s%s", i, words[1], r.code, r.out, r.err);
		if (cases[i].heard && !strstr(sb_buf_cstr(&f.heard), cases[i].heard))
			fail_msg("row %zu: the daemon heard\n%s", i, sb_buf_cstr(&f.heard));
		fakedaemon_done(&f);
		unlink("data/control.sock");
		ran_done(&r);
	}
}

static void without_a_daemon_a_verb_says_what_to_start(void **state)
{
	struct ran r = RUN(verbs(), "status"), p = RUN(verbs(), "pause", "target", "invoice");

	(void)state;
	assert_int_equal(r.code, 4);
	assert_non_null(strstr(r.err, "signalbox status: no daemon is running"));
	assert_non_null(strstr(r.err, "start one: signalbox run -c signalbox.yaml"));
	assert_string_equal(r.out, "");
	assert_int_equal(p.code, 4);
	ran_done(&r);
	ran_done(&p);
}

static void a_data_folder_may_be_named_instead_of_a_configuration(void **state)
{
	static const struct fake_answer script[] = { { "/v1/status", 200, STATUS }, { 0 } };
	struct fakedaemon f;
	struct ran r;

	(void)state;
	fakedaemon_start(&f, "unix:data/control.sock", script);
	r = RUN(verbs(), "status", "-c", "nowhere.yaml", "--data-dir", "data");
	fakedaemon_stop(&f);
	assert_int_equal(r.code, 0);
	ran_done(&r);
	fakedaemon_done(&f);
	unlink("data/control.sock");
	r = RUN(verbs(), "status", "-c", "nowhere.yaml");
	assert_int_equal(r.code, 2);
	assert_non_null(strstr(r.err, "cannot read 'nowhere.yaml'"));
	ran_done(&r);
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "we");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void the_daemons_environment_is_not_needed(void **state)
{
	struct ran r;

	(void)state;
	put("env.yaml", "version: 1\ndata_dir: ./data\nlisteners: {main: {address: 127.0.0.1:0, auth: {tokens: "
			"[\"${env:SB_TEST_NOT_SET}\"]}}}\n");
	r = RUN(verbs(), "status", "-c", "env.yaml");
	assert_int_equal(r.code, 4); /* it found the folder, and nobody there */
	ran_done(&r);
	put("env.yaml", "version: 1\ndata_dir: \"${env:SB_TEST_NOT_SET}\"\n");
	r = RUN(verbs(), "status", "-c", "env.yaml");
	assert_int_equal(r.code, 3);
	assert_non_null(strstr(r.err, "SB_TEST_NOT_SET"));
	ran_done(&r);
}

static void a_configuration_with_errors_still_tells_where_its_daemon_is(void **state)
{
	static const struct fake_answer script[] = { { "/v1/status", 200, STATUS }, { 0 } };
	struct fakedaemon f;
	struct ran r;

	(void)state;
	put("wrong.yaml", "version: 1\ndata_dir: ./data\ntargets: {a: {lag: {}}}\n");
	fakedaemon_start(&f, "unix:data/control.sock", script);
	r = RUN(verbs(), "status", "-c", "wrong.yaml");
	fakedaemon_stop(&f);
	assert_int_equal(r.code, 0);
	assert_string_equal(r.err, "wrong.yaml has errors, which signalbox check tells; asking the daemon in ./data\n");
	ran_done(&r);
	fakedaemon_done(&f);
	unlink("data/control.sock");
	put("wrong.yaml", "data_dir: [");
	r = RUN(verbs(), "status", "-c", "wrong.yaml", "-o", "json");
	assert_int_equal(r.code, 3);
	assert_non_null(strstr(r.err, "wrong.yaml:"));
	assert_non_null(strstr(r.out, "\"diagnostics\":[{\"code\":\"E002\""));
	ran_done(&r);
}

static int enter_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder) || chdir(folder) < 0 || mkdir("data", 0700) < 0)
		return -1;
	put("signalbox.yaml", "version: 1\ndata_dir: ./data\n");
	return 0;
}

static int leave_folder(void **state)
{
	(void)state;
	unlink("signalbox.yaml");
	unlink("env.yaml");
	unlink("wrong.yaml");
	rmdir("data");
	return chdir("/") == 0 ? rmdir(folder) : -1;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(verbs_print_what_the_daemon_says),
		cmocka_unit_test(without_a_daemon_a_verb_says_what_to_start),
		cmocka_unit_test(a_data_folder_may_be_named_instead_of_a_configuration),
		cmocka_unit_test(the_daemons_environment_is_not_needed),
		cmocka_unit_test(a_configuration_with_errors_still_tells_where_its_daemon_is),
	};

	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
