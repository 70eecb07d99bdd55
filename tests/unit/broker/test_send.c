/* SPDX-License-Identifier: Apache-2.0 */
/* signalbox send, to a listener that answers from a script. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fakedaemon.h"

static char folder[] = "/tmp/sb-send-XXXXXX";

static const struct sb_cli_verb *verbs(void)
{
	static struct sb_cli_verb table[2];

	table[0] = sb_cmd_send;
	return table;
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "we");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

#define E1 "{\"source\":\"a\",\"detail-type\":\"b\",\"detail\":{}}"
#define E2 "{\"source\":\"a\",\"detail\":{\"n\":123456789012345678901234567890}}"
#define POST(body) "POST /v1/events application/json " body
#define REFUSED(code, message) "{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\",\"retryable\":false}}"

struct send_case {
	const char *words[8];
	unsigned long status;
	const char *body;
	long code;
	const char *heard;     /* what it begins with; NULL: nothing */
	const char *out, *err; /* parts of it; NULL: nothing */
};

static const struct send_case cases[] = {
	{ { E1 }, 202, "{\"ids\":[\"e-1\"]}", 0, POST(E1) "\n", "e-1\n", NULL },
	{ { E1, E2 }, 202, "{\"ids\":[\"e-1\",\"e-2\"]}", 0, POST("[" E1 "," E2 "]\n"), "e-1\ne-2\n", NULL },
	{ { "[" E1 "," E2 "]" }, 202, "{\"ids\":[\"e-1\",\"e-2\"]}", 0, POST("[" E1 "," E2 "]\n"), "e-1\ne-2\n", NULL },
	{ { "lines.ndjson" }, 202, "{\"ids\":[\"e-1\",\"e-2\"]}", 0, POST("[" E1 "," E2 "]\n"), "e-1\ne-2\n", NULL },
	{ { "pretty.json" }, 202, "{\"ids\":[\"e-1\"]}", 0, POST("{\n \"source\": \"a\"\n}\n"), "e-1\n", NULL },
	{ { "broken.json" }, 202, "{}", 2, NULL, NULL, "signalbox send: broken.json:2:12: " },
	{ { E1, "broken.json" }, 202, "{}", 2, NULL, NULL, "broken.json:2:12: " },
	{ { "missing.json" }, 202, "{}", 2, NULL, NULL, "cannot read 'missing.json'" },
	{ { "-" }, 202, "{}", 2, NULL, NULL, "there is no event in what was given" },
	{ { "[]" }, 202, "{}", 2, NULL, NULL, "there is no event in what was given" },
	{ { "--source", "a\"b", "--detail-type", "t", "--detail", "{\"n\":1}", "--bus=audit" }, 202,
		"{\"ids\":[\"e-1\"]}", 0,
		POST("{\"source\":\"a\\\"b\",\"detail-type\":\"t\",\"bus\":\"audit\",\"detail\":{\"n\":1}}\n"), "e-1\n",
		NULL },
	{ { "--source", "a", "--detail-type", "t", "--detail", "{n:1}" }, 202, "{}", 2, NULL, NULL,
		"--detail is no JSON: " },
	{ { "--detail", "{}", "--bus", "x" }, 202, "{}", 2, NULL, NULL, "--source, --detail-type and --detail" },
	{ { "--bus", "audit", E1 }, 202, "{}", 2, NULL, NULL, "either an event to build, or `" },
	{ { "-o", "json", E1 }, 202, "{\"ids\":[\"e-1\"]}", 0, POST(E1), "\"ids\": [\n    \"e-1\"\n  ]", NULL },
	{ { "--token", "s3cret", E1 }, 202, "{\"ids\":[\"e-1\"]}", 0, POST(E1) " [Bearer s3cret]\n", "e-1\n", NULL },
	{ { E1 }, 404, REFUSED("unknown_bus", "there is no bus 'x'"), 1, POST(E1), NULL,
		"signalbox send: there is no bus 'x' (404)\n" },
	{ { E1 }, 401, REFUSED("unauthorized", "a token is needed"), 5, POST(E1), NULL, "a token is needed (401)\n" },
	{ { E1 }, 503, REFUSED("full", "no room"), 5, POST(E1), NULL, "no room (503)\n0 of 1 event stored\n" },
	{ { E1 }, 502, "<html>", 1, POST(E1), NULL, "refused (502)" },
	{ { E1, E2 }, 400,
		"{\"error\":{\"code\":\"invalid_event\",\"message\":\"1 of 2 events are "
		"refused\"},\"results\":[{\"code\":\"not_stored\","
		"\"message\":\"fine\"},{\"code\":\"invalid_event\",\"message\":\"detail-type is missing\"}]}",
		1, POST("["), NULL,
		"1 of 2 events are refused (400)\nevent 2: invalid_event: detail-type is missing\n0 of 2 events "
		"stored\n" },
	{ { "--lenient", E1, E2 }, 207,
		"{\"results\":[{\"id\":\"e-1\"},{\"code\":\"invalid_event\",\"message\":\"no\"}]}", 6, POST("["),
		"e-1\n", "event 2: invalid_event: no\n1 of 2 events stored\n" },
};

static void run_case(size_t i)
{
	const struct send_case *c = &cases[i];
	const struct fake_answer script[] = { { "/v1/events", (unsigned)c->status, c->body }, { 0 } };
	const char *words[12] = { "signalbox", "send", "--address" }, *heard;
	struct fakedaemon f;
	struct ran r;
	char address[32];
	int n = 4;

	snprintf(address, sizeof(address), "127.0.0.1:%u", fakedaemon_start(&f, "127.0.0.1:0", script));
	words[3] = address;
	for (size_t k = 0; k < 8 && c->words[k]; k++)
		words[n++] = c->words[k];
	r = run_words(verbs(), n, words);
	fakedaemon_stop(&f);
	heard = sb_buf_cstr(&f.heard);
	if (r.code != c->code || (c->out ? !strstr(r.out, c->out) : *r.out != 0) ||
		(c->err ? !strstr(r.err, c->err) : *r.err != 0))
		fail_msg("row %zu: gave %d\n%s%s", i, r.code, r.out, r.err);
	if (c->heard ? strncmp(heard, c->heard, strlen(c->heard)) != 0 : *heard != 0)
		fail_msg("row %zu: the listener heard\n%s", i, heard);
	fakedaemon_done(&f);
	ran_done(&r);
}

static void events_are_sent_and_answers_told(void **state)
{
	(void)state;
	put("lines.ndjson", E1 "\n\n" E2 "\n");
	put("pretty.json", "{\n \"source\": \"a\"\n}\n");
	put("broken.json", "{\n \"source\": oops\n}\n");
	for (size_t i = 0; i < SB_LEN(cases); i++)
		run_case(i);
}

static void many_events_go_in_several_requests(void **state)
{
	static const struct fake_answer script[] = { { "/v1/events", 202, "{\"ids\":[]}" },
		{ "/v1/events", 400, REFUSED("invalid_batch", "no") }, { "/v1/events", 202, "{\"ids\":[]}" }, { 0 } };
	FILE *f = fopen("many.ndjson", "we");
	struct fakedaemon d;
	char address[32];
	struct ran r;
	size_t posts = 0;

	(void)state;
	assert_non_null(f);
	for (unsigned i = 0; i < 2500; i++)
		fprintf(f, "{\"n\":%u}\n", i);
	fclose(f);
	snprintf(address, sizeof(address), "127.0.0.1:%u", fakedaemon_start(&d, "127.0.0.1:0", script));
	r = RUN(verbs(), "send", "--address", address, "many.ndjson");
	fakedaemon_stop(&d);
	for (const char *p = sb_buf_cstr(&d.heard); (p = strstr(p, "POST ")) != NULL; p++)
		posts++;
	assert_int_equal(posts, 2); /* the second was refused, so the third did not go */
	assert_non_null(strstr(sb_buf_cstr(&d.heard), "{\"n\":999}]\nPOST /v1/events application/json [{\"n\":1000},"));
	assert_int_equal(r.code, 1);
	ran_done(&r);
	fakedaemon_done(&d);
}

static void the_running_daemon_says_where_it_listens(void **state)
{
	static const struct fake_answer script[] = { { "/v1/events", 202, "{\"ids\":[\"e-1\"]}" }, { 0 } };
	struct fakedaemon f;
	char ready[128];
	struct ran r;

	(void)state;
	put("signalbox.yaml", "version: 1\ndata_dir: ./data\nlisteners: {in: {address: 127.0.0.1:0, auth: {tokens: "
			      "[a-token-of-the-file-00]}}}\n");
	snprintf(ready, sizeof(ready), "{\"pid\":1,\"listeners\":{\"in\":\"127.0.0.1:%u\"}}",
		fakedaemon_start(&f, "127.0.0.1:0", script));
	put("data/ready.json", ready);
	r = RUN(verbs(), "send", E1);
	assert_int_equal(r.code, 0);
	assert_non_null(strstr(sb_buf_cstr(&f.heard), "[Bearer a-token-of-the-file-00]"));
	ran_done(&r);
	r = RUN(verbs(), "send", "--data-dir", "data", E1);
	assert_int_equal(r.code, 0);
	ran_done(&r);
	fakedaemon_stop(&f);
	fakedaemon_done(&f);
	r = RUN(verbs(), "send", E1);
	assert_int_equal(r.code, 4);
	assert_non_null(strstr(r.err, "start a daemon: signalbox run -c signalbox.yaml"));
	ran_done(&r);
	unlink("data/ready.json");
	r = RUN(verbs(), "send", "--data-dir", "data", E1);
	assert_int_equal(r.code, 4);
	assert_non_null(strstr(r.err, "no daemon is running in 'data'"));
	ran_done(&r);
}

static int enter_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) && chdir(folder) == 0 && mkdir("data", 0700) == 0 && freopen("/dev/null", "re", stdin)
		       ? 0
		       : -1;
}

static int leave_folder(void **state)
{
	static const char *const files[] = { "lines.ndjson", "pretty.json", "broken.json", "many.ndjson",
		"signalbox.yaml" };

	(void)state;
	for (size_t i = 0; i < SB_LEN(files); i++)
		unlink(files[i]);
	rmdir("data");
	return chdir("/") == 0 ? rmdir(folder) : -1;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_are_sent_and_answers_told),
		cmocka_unit_test(many_events_go_in_several_requests),
		cmocka_unit_test(the_running_daemon_says_where_it_listens),
	};

	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
