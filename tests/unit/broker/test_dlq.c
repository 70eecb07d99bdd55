/* SPDX-License-Identifier: Apache-2.0 */
/* signalbox dlq, with a daemon that answers from a script, and on the table alone. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "broker/deadletter/deadletter.h"
#include "fakedaemon.h"

#define SOCKET "data/control.sock"
#define BIG "123456789012345678901234567890"

static char folder[] = "/tmp/sb-dlq-XXXXXX";

static const struct sb_cli_verb *verbs(void)
{
	static struct sb_cli_verb table[2];

	table[0] = sb_cmd_dlq;
	return table;
}

#define LETTER(id)                                                                                                     \
	"{\"id\":\"" id "\",\"target\":\"invoice\",\"rule\":\"big\",\"state\":\"dead\",\"error_code\":\"TIMEOUT\","    \
	"\"attempts\":5,\"died\":\"2026-01-01T00:00:00.000Z\",\"error\":\"too \\u001b[31mslow\\u0000\"}"
#define PAGE(letters, next) "{\"v\":1,\"letters\":[" letters "],\"next\":" next "}"
#define FULL "{\"id\":\"a.0\",\"stderr_tail\":\"one\\ntwo\",\"event\":{\"detail\":{\"n\":" BIG "}}}"
#define COUNTS                                                                                                         \
	"{\"v\":1,\"counts\":[{\"target\":\"invoice\",\"rule\":\"big\",\"error\":\"TIMEOUT\",\"n\":70,\"bytes\":9000," \
	"\"oldest_ms\":1,\"newest_ms\":2}]}"
#define DONE(n, failed, next) "{\"v\":1,\"redriven\":" n ",\"failed\":" failed ",\"next\":" next ",\"errors\":[]}"
#define HEARD(path, body) "POST /v1/dlq/" path " application/json " body "\n"

struct dlq_case {
	const char *words[8];
	struct fake_answer script[4];
	int code;
	const char *heard;     /* exactly; NULL: nothing */
	const char *out, *err; /* parts of it; NULL: nothing */
};

static const struct dlq_case cases[] = {
	{ { "list" }, { { "/v1/dlq/list", 200, PAGE(LETTER("a.0"), "0") } }, 0, HEARD("list", "{\"limit\":1000}"),
		"a.0  invoice  big   TIMEOUT         5  ", NULL },
	{ { "list" }, { { "/v1/dlq/list", 200, PAGE(LETTER("a.0"), "0") } }, 0, HEARD("list", "{\"limit\":1000}"),
		"d  too  [31mslow\n", NULL },
	{ { "list", "--limit", "2" },
		{ { "/v1/dlq/list", 200, PAGE(LETTER("a.0"), "7") },
			{ "/v1/dlq/list", 200, PAGE(LETTER("b.0"), "9") } },
		0, HEARD("list", "{\"limit\":2}") HEARD("list", "{\"limit\":1,\"after\":7}"), "b.0  invoice",
		"there are more: --after 9 goes on\n" },
	{ { "list", "--bus" }, { { 0 } }, 2, NULL, NULL, "option --bus needs a value" },
	{ { "list", "--after=9", "--target=t", "--rule=r", "--error=E", "--bus=b", "--older-than=1h",
		  "--newer-than=2d" },
		{ { "/v1/dlq/list", 200, PAGE("", "0") } }, 0,
		HEARD("list", "{\"target\":\"t\",\"rule\":\"r\",\"error\":\"E\",\"bus\":\"b\",\"older_than_"
			      "ms\":3600000,"
			      "\"newer_than_ms\":172800000,\"limit\":1000,\"after\":9}"),
		"ID  TARGET", NULL },
	{ { "list", "-o", "json" },
		{ { "/v1/dlq/list", 200, PAGE(FULL, "3") }, { "/v1/dlq/list", 200, PAGE("", "0") } }, 0,
		HEARD("list", "{\"limit\":1000}") HEARD("list", "{\"limit\":999,\"after\":3}"), "\"n\": " BIG "\n",
		NULL },
	{ { "list" }, { { "/v1/dlq/list", 200, "[" } }, 4, HEARD("list", "{\"limit\":1000}"), NULL, "cannot be read" },
	{ { "show", "a.0" }, { { "/v1/dlq/list", 200, PAGE(FULL, "0") } }, 0,
		HEARD("list", "{\"id\":\"a.0\",\"full\":true,\"limit\":1}"),
		"stderr_tail    one\n               two\nevent ", NULL },
	{ { "show", "a.0", "-o", "json" }, { { "/v1/dlq/list", 200, PAGE(FULL, "0") } }, 0,
		HEARD("list", "{\"id\":\"a.0\",\"full\":true,\"limit\":1}"), "{\n  \"v\": 1,\n  \"id\": \"a.0\"",
		NULL },
	{ { "show", "x" }, { { "/v1/dlq/list", 200, PAGE("", "0") } }, 1,
		HEARD("list", "{\"id\":\"x\",\"full\":true,\"limit\":1}"), NULL, "there is no dead letter `x`" },
	{ { "show" }, { { 0 } }, 2, NULL, NULL, "show needs the id of a letter" },
	{ { "count" }, { { "/v1/dlq/count", 200, COUNTS } }, 0, HEARD("count", "{}"),
		"invoice  big   TIMEOUT       70   9000", NULL },
	{ { "count", "--yes" }, { { 0 } }, 2, NULL, NULL, "count has no option --yes" },
	{ { "count", "x" }, { { 0 } }, 2, NULL, NULL, "count takes no `x`" },
	{ { "redrive", "--dry-run" }, { { "/v1/dlq/count", 200, COUNTS } }, 0, HEARD("count", "{}"), "TIMEOUT       70",
		NULL },
	{ { "redrive", "--limit", "70" },
		{ { "/v1/dlq/redrive", 200, DONE("60", "4", "64") }, { "/v1/dlq/redrive", 200, DONE("6", "0", "70") } },
		6, HEARD("redrive", "{\"limit\":64}") HEARD("redrive", "{\"limit\":6,\"after\":64}"),
		"FAILED 66 letters redriven\n", "4 could not be redriven and stay dead" },
	{ { "redrive", "--rematch", "--rate", "1000/s", "a.0" }, { { "/v1/dlq/redrive", 200, DONE("1", "0", "0") } }, 0,
		HEARD("redrive", "{\"id\":\"a.0\",\"limit\":64,\"rematch\":true}"), "ok 1 letter redriven\n", NULL },
	{ { "redrive", "x" }, { { "/v1/dlq/redrive", 200, DONE("0", "0", "0") } }, 1,
		HEARD("redrive", "{\"id\":\"x\",\"limit\":64}"), NULL, "there is no dead letter `x`" },
	{ { "redrive" },
		{ { "/v1/dlq/redrive", 200, DONE("64", "0", "64") },
			{ "/v1/dlq/redrive", 503,
				"{\"error\":{\"code\":\"stopping\",\"message\":\"the daemon is "
				"stopping\"}}" } },
		5, HEARD("redrive", "{\"limit\":64}") HEARD("redrive", "{\"limit\":64,\"after\":64}"),
		"FAILED 64 letters redriven\n", "the daemon is stopping" },
	{ { "redrive", "-o", "json" }, { { "/v1/dlq/redrive", 200, DONE("2", "0", "0") } }, 0,
		HEARD("redrive", "{\"limit\":64}"), "{\"v\":1,\"redriven\":2,\"failed\":0}\n", NULL },
	{ { "redrive", "--rate", "fast" }, { { 0 } }, 2, NULL, NULL, "--rate takes a number from 1, not `fast`" },
	{ { "redrive", "--rate", "0" }, { { 0 } }, 2, NULL, NULL, "--rate takes a number" },
	{ { "list", "--limit", "-5" }, { { 0 } }, 2, NULL, NULL, "--limit takes a number from 1, not `-5`" },
	{ { "list", "--newer-than", "0s" }, { { 0 } }, 2, NULL, NULL, "--newer-than takes a duration" },
	{ { "purge" }, { { 0 } }, 2, NULL, NULL, "--yes says that this is meant" },
	{ { "purge", "--dry-run" }, { { "/v1/dlq/count", 200, COUNTS } }, 0, HEARD("count", "{}"), "invoice", NULL },
	{ { "purge", "--yes" }, { { "/v1/dlq/purge", 200, "{\"v\":1,\"purged\":1200}" } }, 0, HEARD("purge", "{}"),
		"ok 1200 letters deleted\n", NULL },
	{ { "purge", "--yes", "--limit", "1500" },
		{ { "/v1/dlq/purge", 200, "{\"v\":1,\"purged\":1000}" },
			{ "/v1/dlq/purge", 200, "{\"v\":1,\"purged\":200}" },
			{ "/v1/dlq/purge", 200, "{\"v\":1,\"purged\":0}" } },
		0,
		HEARD("purge", "{\"limit\":1500}") HEARD("purge", "{\"limit\":500}") HEARD("purge", "{\"limit\":300}"),
		"ok 1200 letters deleted\n", NULL },
	{ { "purge", "--yes", "x" }, { { "/v1/dlq/purge", 200, "{\"v\":1,\"purged\":0}" } }, 1,
		HEARD("purge", "{\"id\":\"x\"}"), NULL, "there is no dead letter `x`" },
	{ { "lsit" }, { { 0 } }, 2, NULL, NULL, "unknown word `lsit`; did you mean `list`?" },
};

static void run_case(size_t i)
{
	const char *words[10] = { "signalbox", "dlq" }, *heard;
	struct fakedaemon f;
	struct ran r;
	int n = 2;

	for (size_t k = 0; k < 8 && cases[i].words[k]; k++)
		words[n++] = cases[i].words[k];
	fakedaemon_start(&f, "unix:" SOCKET, cases[i].script);
	r = run_words(verbs(), n, words);
	fakedaemon_stop(&f);
	heard = sb_buf_cstr(&f.heard);
	if (r.code != cases[i].code || (cases[i].out ? !strstr(r.out, cases[i].out) : *r.out != 0) ||
		(cases[i].err ? !strstr(r.err, cases[i].err) : *r.err != 0))
		fail_msg("row %zu: dlq %s gave %d\n%s%s", i, words[2], r.code, r.out, r.err);
	if (strcmp(heard, cases[i].heard ? cases[i].heard : "") != 0)
		fail_msg("row %zu: dlq %s: the daemon heard\n%s", i, words[2], heard);
	fakedaemon_done(&f);
	unlink(SOCKET);
	ran_done(&r);
}

static void words_ask_and_print(void **state)
{
	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++)
		run_case(i);
}

static void a_rate_holds_between_pages(void **state)
{
	static const struct fake_answer script[] = { { "/v1/dlq/redrive", 200, DONE("10", "0", "10") },
		{ "/v1/dlq/redrive", 200, DONE("10", "0", "20") }, { "/v1/dlq/redrive", 200, DONE("1", "0", "0") },
		{ 0 } };
	uint64_t began = sb_mono_ns(&sb_clock_system), took_ms;
	struct fakedaemon f;
	struct ran r;

	(void)state;
	fakedaemon_start(&f, "unix:" SOCKET, script);
	r = RUN(verbs(), "dlq", "redrive", "--rate", "100");
	took_ms = (sb_mono_ns(&sb_clock_system) - began) / SB_NS_PER_MS;
	fakedaemon_stop(&f);
	assert_string_equal(r.out, "ok 21 letters redriven\n");
	assert_true(took_ms >= 200); /* the third page may not go before 20 letters' time is over */
	ran_done(&r);
	fakedaemon_done(&f);
	unlink(SOCKET);
}

/* ------------------------------------------------------------------------------------------------ without a daemon */

static void store(const char *const *ids, size_t n)
{
	struct sb_deadletters_conf conf = { .keep_ms = 86400000, .max_bytes = 1u << 30 };
	struct sb_deadletters *table;
	struct sb_err err = { 0 };

	assert_int_equal(sb_deadletters_open("data/dead-letters.db", false, &conf, &table, &err), 0);
	for (size_t i = 0; i < n; i++) {
		struct sb_dead_record r = { .id = sb_slice_str(ids[i]),
			.bus = SB_SLICE("default"),
			.rule = SB_SLICE("big"),
			.target = SB_SLICE("invoice"),
			.attempts = 3,
			.dead_ms = sb_wall_ms(&sb_clock_system) - 5000,
			.message = SB_SLICE("no"),
			.event = SB_SLICE("{\"id\":\"e\",\"detail\":{\"n\":" BIG "}}") };
		uint64_t seq = i + 1;

		assert_int_equal(sb_deadletters_store(table, &r, &seq, 1, &err), 0);
	}
	sb_deadletters_close(table);
}

static void reading_needs_no_daemon(void **state)
{
	static const char *const ids[] = { "a.0", "b.0", "c.0" };
	struct ran r;

	(void)state;
	r = RUN(verbs(), "dlq", "list");
	assert_int_equal(r.code, 0); /* a folder in which nothing has died */
	assert_string_equal(r.out, "ID  TARGET  RULE  ERROR  ATTEMPTS  DIED  MESSAGE\n");
	ran_done(&r);
	store(ids, 3);
	r = RUN(verbs(), "dlq", "list", "--limit", "2");
	assert_non_null(strstr(r.out, "a.0 "));
	assert_non_null(strstr(r.out, "b.0 "));
	assert_null(strstr(r.out, "c.0 "));
	assert_string_equal(r.err, "there are more: --after 2 goes on\n");
	ran_done(&r);
	r = RUN(verbs(), "dlq", "list", "--after", "2");
	assert_non_null(strstr(r.out, "c.0 "));
	assert_null(strstr(r.out, "b.0 "));
	ran_done(&r);
	r = RUN(verbs(), "dlq", "show", "b.0", "-o", "json");
	assert_int_equal(r.code, 0);
	assert_non_null(strstr(r.out, "\"n\": " BIG "\n"));
	ran_done(&r);
	r = RUN(verbs(), "dlq", "count", "--target", "invoice", "-o", "json");
	assert_non_null(strstr(r.out, "\"n\": 3,"));
	ran_done(&r);
	r = RUN(verbs(), "dlq", "count", "--older-than", "200y");
	assert_int_equal(r.code, 2); /* no such unit */
	ran_done(&r);
	r = RUN(verbs(), "dlq", "count", "--older-than", "40000d");
	assert_int_equal(r.code, 0);
	assert_null(strstr(r.out, "invoice")); /* older than the epoch is nothing, not everything */
	ran_done(&r);
	r = RUN(verbs(), "dlq", "redrive");
	assert_int_equal(r.code, 4);
	ran_done(&r);
	r = RUN(verbs(), "dlq", "list", "--data-dir", "nowhere");
	assert_int_equal(r.code, 4);
	assert_non_null(strstr(r.err, "the data folder 'nowhere' cannot be read"));
	ran_done(&r);
}

static int enter_folder(void **state)
{
	FILE *f;

	(void)state;
	if (!mkdtemp(folder) || chdir(folder) < 0 || mkdir("data", 0700) < 0 || !freopen("/dev/null", "re", stdin))
		return -1;
	f = fopen("signalbox.yaml", "we");
	if (!f)
		return -1;
	fputs("version: 1\ndata_dir: ./data\n", f);
	return fclose(f);
}

static int leave_folder(void **state)
{
	(void)state;
	unlink("signalbox.yaml");
	unlink("data/dead-letters.db");
	unlink("data/dead-letters.db-wal");
	unlink("data/dead-letters.db-shm");
	rmdir("data");
	return chdir("/") == 0 ? rmdir(folder) : -1;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_ask_and_print),
		cmocka_unit_test(a_rate_holds_between_pages),
		cmocka_unit_test(reading_needs_no_daemon),
	};

	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
