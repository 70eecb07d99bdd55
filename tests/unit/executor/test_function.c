/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/base/event.h"
#include "executor/pool.h"

/* The function target on real processes: tests/support/workers/worker.py, and the shell. */

#define N_MAX 512
#define PATIENCE_NS (15 * SB_NS_PER_S)

struct shot { /* one delivery and how it ended */
	struct sb_item item;
	struct sb_batch batch;
	char id[24], input[128];
	unsigned settled;
	enum sb_outcome outcome;
	enum sb_reason reason;
	char message[256], body[512], tail[512];
	size_t body_n;
};

static struct {
	struct event_base *base;
	struct sb_procs *procs;
	pid_t spawner;
	struct sb_rand rand;
	struct sb_env env;
	struct sb_target target;
	struct sb_function state;
	struct sb_function_conf conf;
	struct sb_event event;
	struct shot shot[N_MAX];
	size_t n, settled;
	bool closed;
} t;

static const char *const python_worker[] = { "python3", "tests/support/workers/worker.py", NULL };

static void copy(char *to, size_t size, struct sb_slice s)
{
	snprintf(to, size, "%.*s", (int)SB_MIN(s.n, size - 1), s.p);
}

static void settle(struct sb_target *target, struct sb_batch *b, size_t i, const struct sb_result *r)
{
	struct shot *s = SB_CONTAINER(b, struct shot, batch);

	(void)target;
	assert_int_equal(i, 0);
	assert_int_equal(s->settled++, 0);
	s->outcome = r->outcome;
	s->reason = r->reason;
	copy(s->message, sizeof(s->message), r->message);
	copy(s->body, sizeof(s->body), r->body);
	copy(s->tail, sizeof(s->tail), r->tail);
	s->body_n = r->body.n;
	t.settled++;
	event_base_loopbreak(t.base);
}

static void closed(struct sb_target *target)
{
	(void)target;
	t.closed = true;
	event_base_loopbreak(t.base);
}

static int setup(void **state)
{
	struct sb_err err;
	int sock;

	(void)state;
	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.spawner = sb_spawner_start(1, -1, &sock, &err);
	assert_true(t.spawner > 0);
	t.procs = sb_procs_new(t.base, sock);
	sb_rand_seed(&t.rand, 1);
	t.env = (struct sb_env){ .base = t.base, .clock = &sb_clock_system, .rand = &t.rand, .procs = t.procs };
	t.conf = (struct sb_function_conf){
		.command = { .v = (const char **)python_worker, .n = 2 },
		.workers = { .max = 4, .in_flight = 1 },
		.idle_timeout = 60000,
		.init_timeout = 10000,
		.kill_grace = 100,
		.max_line = 1 << 20,
		.max_request = 4 << 20,
		.log_rate = 1 << 20,
	};
	t.target = (struct sb_target){ .name = "t",
		.ops = &sb_function_ops,
		.state = &t.state,
		.conf = &t.conf,
		.env = &t.env,
		.concurrency = 4,
		.timeout_ms = 500,
		.settle = settle,
		.closed = closed };
	t.event.id = SB_SLICE("event-1");
	return 0;
}

static void open_target(void)
{
	struct sb_err err;

	assert_int_equal(t.target.ops->open(&t.target, &err), 0);
}

static struct shot *prepare(const char *input)
{
	struct shot *s = &t.shot[t.n];

	snprintf(s->id, sizeof(s->id), "%zu.0", t.n++);
	snprintf(s->input, sizeof(s->input), "%s", input);
	s->item = (struct sb_item){ .delivery_id = sb_slice_str(s->id),
		.attempt = 1,
		.event = &t.event,
		.input = sb_slice_str(s->input),
		.input_newlines = true };
	s->batch = (struct sb_batch){ .n = 1, .item = &s->item };
	return s;
}

static struct shot *shoot(const char *input)
{
	struct shot *s = prepare(input);

	t.target.ops->send(&t.target, &s->batch);
	return s;
}

static void turn(void)
{
	struct timeval tick = { 0, 20000 };

	event_base_loopexit(t.base, &tick);
	event_base_loop(t.base, EVLOOP_ONCE);
}

static void wait_all(void)
{
	uint64_t until = sb_mono_ns(&sb_clock_system) + PATIENCE_NS;

	while (t.settled < t.n && sb_mono_ns(&sb_clock_system) < until)
		turn();
	if (t.settled < t.n)
		fail_msg("%zu of %zu were settled", t.settled, t.n);
}

static struct shot *one(const char *input)
{
	struct shot *s = shoot(input);

	wait_all();
	return s;
}

/* Between two rows of a table whose commands differ; the last is left to teardown. */
static void reopen(bool more)
{
	t.target.ops->close(&t.target);
	for (unsigned k = 0; k < 500 && !t.closed; k++)
		turn();
	if (more)
		t.target.ops->free(&t.target);
}

static int teardown(void **state)
{
	uint64_t until = sb_mono_ns(&sb_clock_system) + PATIENCE_NS;
	int status;

	(void)state;
	t.target.ops->close(&t.target);
	while (!t.closed && sb_mono_ns(&sb_clock_system) < until)
		turn();
	assert_true(t.closed);
	t.target.ops->free(&t.target);
	sb_procs_free(t.procs);
	event_base_free(t.base);
	assert_int_equal(waitpid(t.spawner, &status, 0), t.spawner);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ jsonl */

static void a_warm_python_worker_answers_again_and_again(void **state)
{
	char pid[64];

	(void)state;
	open_target();
	copy(pid, sizeof(pid), sb_slice_str(one("{\"do\":\"pid\"}")->body));
	for (unsigned i = 0; i < 50; i++) {
		struct shot *s = one("{\"do\":\n\"pid\"}");

		assert_int_equal(s->outcome, SB_DELIVERED);
		assert_string_equal(s->body, pid);
	}
	assert_int_equal(t.state.stats.started, 1);
}

static void several_in_flight_are_answered(void **state)
{
	(void)state;
	t.conf.workers.in_flight = 8;
	t.conf.workers.max = 2;
	t.target.concurrency = N_MAX;
	t.target.timeout_ms = 10000;
	open_target();
	for (unsigned i = 0; i < N_MAX; i++)
		shoot("{\"do\":\"ok\",\"deep\":[1,{\"a\":null}]}");
	wait_all();
	for (unsigned i = 0; i < N_MAX; i++) {
		assert_int_equal(t.shot[i].outcome, SB_DELIVERED);
		assert_string_equal(t.shot[i].body, "{\"do\": \"ok\", \"deep\": [1, {\"a\": null}]}");
	}
	assert_int_equal(t.state.stats.started, 2);
}

static void the_pool_heals_from(void **state)
{
	static const struct {
		const char *input;
		enum sb_outcome outcome;
		enum sb_reason reason;
		const char *message, *tail;
	} cases[] = {
		{ "{\"do\":\"ok\"}", SB_DELIVERED, SB_R_NONE, "", "" },
		{ "{\"do\":\"noise\"}", SB_DELIVERED, SB_R_NONE, "", "" },
		{ "{\"do\":\"fail\"}", SB_RETRY, SB_R_ERROR_FROM_TARGET, "out of stock", "" },
		{ "{\"do\":\"reject\"}", SB_REJECTED, SB_R_ERROR_FROM_TARGET, "no such order", "" },
		{ "{\"do\":\"hang\"}", SB_RETRY, SB_R_TIMEOUT, "no answer within the timeout (500ms)", "" },
		{ "{\"do\":\"stop\"}", SB_RETRY, SB_R_TIMEOUT, "no answer within the timeout (500ms)", "" },
		{ "{\"do\":\"ignore_term\"}", SB_RETRY, SB_R_TIMEOUT, "no answer within the timeout (500ms)", "" },
		{ "{\"do\":\"flood\"}", SB_RETRY, SB_R_TIMEOUT, "no answer within the timeout (500ms)", "xxxxx" },
		{ "{\"do\":\"die\"}", SB_RETRY, SB_R_ERROR_FROM_TARGET,
			"the worker was killed by signal 11 (Segmentation fault)", "about to crash\n" },
		{ "{\"do\":\"exit\"}", SB_RETRY, SB_R_ERROR_FROM_TARGET, "the worker exited with status 3", "" },
		{ "{\"do\":\"half\"}", SB_RETRY, SB_R_ERROR_FROM_TARGET, "the worker exited with status 9", "" },
		{ "{\"do\":\"garbage\"}", SB_RETRY, SB_R_ERROR_FROM_TARGET,
			"the worker broke the protocol: its answer is not JSON", "" },
		{ "{\"do\":\"wrong_id\"}", SB_RETRY, SB_R_ERROR_FROM_TARGET,
			"the worker broke the protocol: it answered for an id that it was not given", "" },
		{ "{\"do\":\"close\"}", SB_RETRY, SB_R_ERROR_FROM_TARGET, "the worker closed its answer channel", "" },
		{ "{\"do\":\"large\",\"n\":1000000}", SB_DELIVERED, SB_R_NONE, "", "" },
		{ "{\"do\":\"large\",\"n\":1100000}", SB_RETRY, SB_R_ERROR_FROM_TARGET,
			"the worker broke the protocol: its answer is longer than max_line", "" },
		{ "{\"do\":\"endless\"}", SB_RETRY, SB_R_ERROR_FROM_TARGET,
			"the worker broke the protocol: its answer is longer than max_line", "" },
	};

	(void)state;
	open_target();
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct shot *s = one(cases[i].input);

		if (s->outcome != cases[i].outcome || s->reason != cases[i].reason ||
			strcmp(s->message, cases[i].message) != 0 ||
			strncmp(s->tail, cases[i].tail, strlen(cases[i].tail)) != 0)
			fail_msg("row %zu (%s): %s '%s' '%s'", i, cases[i].input, sb_outcome_name(s->outcome),
				s->message, s->tail);
		s = one("{\"do\":\"ok\"}");
		if (s->outcome != SB_DELIVERED)
			fail_msg("after row %zu: %s", i, s->message);
	}
	assert_true(t.state.stats.throttled > 0); /* the one that floods */
	assert_true(t.state.stats.output_bytes < 4u << 20);
}

/* One that floods, hangs and dies, while three others do their work. */
static void neighbours_of_the_nasty_are_served(void **state)
{
	static const char *const nasty[] = { "{\"do\":\"flood\"}", "{\"do\":\"die\"}", "{\"do\":\"ignore_term\"}" };

	(void)state;
	open_target();
	for (size_t i = 0; i < SB_LEN(nasty); i++) {
		size_t before = t.settled;

		shoot(nasty[i]);
		for (unsigned k = 0; k < 60; k++) {
			struct shot *s = shoot("{\"do\":\"ok\"}");
			uint64_t until = sb_mono_ns(&sb_clock_system) + PATIENCE_NS;

			while (!s->settled && sb_mono_ns(&sb_clock_system) < until)
				turn();
			assert_int_equal(s->settled, 1);
			assert_int_equal(s->outcome, SB_DELIVERED);
		}
		assert_true(t.settled >= before + 60);
		wait_all();
	}
}

static void the_environment_is_what_was_asked_for(void **state)
{
	static const char *env[] = { "COLOR=blue", "TZ=Europe/Paris", NULL };
	struct shot *s;

	(void)state;
	setenv("SECRET_OF_THE_DAEMON", "x", 1);
	setenv("HOME", "/tmp", 1);
	unsetenv("LANG");
	t.conf.env = (struct sb_strs){ env, 2 };
	open_target();
	s = one("{\"do\":\"env\"}");
	/* LC_CTYPE is Python's own doing where no locale is set */
	if (strcmp(s->body, "[\"COLOR\", \"HOME\", \"LC_CTYPE\", \"PATH\", \"SIGNALBOX_FD\", \"TZ\"]") != 0)
		assert_string_equal(s->body, "[\"COLOR\", \"HOME\", \"PATH\", \"SIGNALBOX_FD\", \"TZ\"]");
}

/* Runs fn with standard error in a file, and returns what was written there. */
static const char *captured(void (*fn)(void))
{
	static char text[8192];
	char path[] = "/tmp/sb-test-log-XXXXXX";
	int file = mkstemp(path), saved = dup(STDERR_FILENO);
	ssize_t n;

	unlink(path);
	dup2(file, STDERR_FILENO);
	fn();
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = pread(file, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	close(file);
	return text;
}

static void make_noise(void)
{
	one("{\"do\":\"noise\"}");
	for (unsigned i = 0; i < 40; i++)
		one("{\"do\":\"noise\"}");
}

static void what_a_worker_prints_is_logged_with_its_event(void **state)
{
	char want[200];
	const char *log;
	unsigned lines = 0;

	(void)state;
	open_target();
	sb_log_setup(SB_LOG_JSON, SB_LOG_INFO);
	log = captured(make_noise);
	sb_log_setup(SB_LOG_JSON, SB_LOG_ERROR);
	snprintf(want, sizeof(want), "\"msg\":\"worker output\",\"target\":\"t\",\"pid\":");
	if (!strstr(log, want) || !strstr(log, "\"stream\":\"stderr\",\"line\":\"warning\",\"event_id\":\"event-1\","
					       "\"delivery_id\":\"0.0\""))
		fail_msg("%s", log);
	for (const char *p = log; (p = strchr(p, '\n')); p++)
		lines++;
	assert_in_range(lines, 1, SB_LOG_BURST); /* of 82 */
}

/* ------------------------------------------------------------------------------------------------ the document */

/* The first code block of a language in docs/functions.md, as a file. */
static void write_block(const char *language, const char *path)
{
	static char text[65536];
	char fence[32];
	FILE *f = fopen("docs/functions.md", "re");
	char *begin, *end;

	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	snprintf(fence, sizeof(fence), "```%s\n", language);
	begin = strstr(text, fence);
	assert_non_null(begin);
	begin += strlen(fence);
	end = strstr(begin, "```");
	assert_non_null(end);
	f = fopen(path, "we");
	fwrite(begin, 1, (size_t)(end - begin), f);
	fclose(f);
}

static void the_workers_of_the_document_work(void **state)
{
	static const struct {
		const char *language, *program, *result;
	} cases[] = {
		{ "python", "python3", "84" },
		{ "js", "node", "84" },
		{ "sh", "sh", "" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		char path[] = "/tmp/sb-test-worker-XXXXXX";
		const char *argv[] = { cases[i].program, path, NULL };
		struct shot *s;

		close(mkstemp(path));
		write_block(cases[i].language, path);
		t.conf.command = (struct sb_strs){ argv, 2 };
		memset(&t.state, 0, sizeof(t.state));
		t.closed = false;
		open_target();
		s = one("{\"total\":42}");
		if (s->outcome == SB_UNREACHABLE && s->reason == SB_R_NO_RESOURCE)
			print_message("%s is not installed here\n", cases[i].program);
		else if (s->outcome != SB_DELIVERED || strcmp(s->body, cases[i].result) != 0)
			fail_msg("%s: %s '%s' '%s' '%s'", cases[i].language, sb_outcome_name(s->outcome), s->message,
				s->body, s->tail);
		else if (one("{}")->outcome == SB_DELIVERED &&
			 cases[i].language[0] != 'j') /* there, undefined * 2 is a number */
			fail_msg("%s: delivered an event without a total", cases[i].language);
		unlink(path);
		reopen(i + 1 < SB_LEN(cases));
	}
}

static void the_sample_functions_do_what_they_say(void **state)
{
	static const struct {
		const char *file, *input;
		unsigned attempt;
		enum sb_outcome outcome;
		const char *text; /* the result, or the error */
	} cases[] = {
		{ "invoice.py", "{\"order\": 42}", 1, SB_DELIVERED, "{\"invoice\": \"INV-42\"}" },
		{ "invoice.py", "{}", 1, SB_REJECTED, "the input has no 'order'" },
		{ "reserve.py", "{\"detail\": {\"items\": [{\"sku\": \"a-1\"}]}}", 1, SB_DELIVERED,
			"{\"reserved\": 1}" },
		{ "reserve.py", "{\"detail\": {\"items\": [{\"sku\": \"unknown-9\"}]}}", 1, SB_REJECTED,
			"there is no item unknown-9" },
		{ "reserve.py", "{\"detail\": {\"items\": [{\"sku\": \"late-3\"}]}}", 2, SB_RETRY,
			"RuntimeError: late-3 cannot be reserved now" },
		{ "reserve.py", "{\"detail\": {\"items\": [{\"sku\": \"late-3\"}]}}", 3, SB_DELIVERED,
			"{\"reserved\": 1}" },
		{ "reserve.py", "{\"detail\": {\"items\": [{\"sku\": \"broken-1\"}]}}", 9, SB_RETRY,
			"RuntimeError: broken-1 cannot be reserved now" },
	};

	(void)state;
	t.conf.cwd = "deploy/examples/functions";
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		const char *argv[] = { "python3", cases[i].file, NULL };
		struct shot *s;

		t.conf.command = (struct sb_strs){ argv, 2 };
		memset(&t.state, 0, sizeof(t.state));
		t.closed = false;
		open_target();
		s = &t.shot[t.n];
		prepare(cases[i].input)->item.attempt = cases[i].attempt;
		t.target.ops->send(&t.target, &s->batch);
		wait_all();
		if (s->outcome != cases[i].outcome ||
			strcmp(s->outcome == SB_DELIVERED ? s->body : s->message, cases[i].text) != 0)
			fail_msg("row %zu: %s '%s' '%s'", i, sb_outcome_name(s->outcome), s->message, s->body);
		reopen(i + 1 < SB_LEN(cases));
	}
}

static void a_stray_that_has_forked_away_is_killed(void **state)
{
	struct shot *s;
	pid_t stray;

	(void)state;
	open_target();
	s = one("{\"do\":\"fork_away\"}");
	stray = (pid_t)strtol(s->body, NULL, 10);
	assert_true(stray > 1);
	for (unsigned i = 0; i < 1000 && kill(stray, 0) == 0; i++) {
		turn();
		usleep(1000);
	}
	assert_int_equal(kill(stray, 0), -1);
	assert_int_equal(errno, ESRCH);
}

static void a_command_that_is_not_there_is_unreachable(void **state)
{
	static const char *const missing[] = { "no-such-function", NULL };

	(void)state;
	t.conf.command = (struct sb_strs){ (const char **)missing, 1 };
	open_target();
	for (unsigned i = 0; i < 2; i++) {
		struct shot *s = one("{}");

		assert_int_equal(s->outcome, SB_UNREACHABLE);
		assert_string_equal(s->message, "no-such-function: cannot execute it: No such file or directory");
	}
}

/* ------------------------------------------------------------------------------------------------ configuration */

static void the_configuration_is_decoded_and_checked(void **state)
{
	static const struct {
		const char *yaml, *error; /* NULL: it is right */
	} cases[] = {
		{ "command: [python3, a.py]", NULL },
		{ "command: [a]\nprotocol: exec\nworkers: {max: 8}\nenv: {A: b}\nkill_grace: 0\nmax_line: 64KiB",
			NULL },
		{ "command: []", "names no program" },
		{ "protocol: jsonl", "command" },
		{ "command: [a]\nworkers: {min: 5}", "min is larger than max" },
		{ "command: [a]\nprotocol: exec\nworkers: {in_flight: 2}", "in_flight needs the jsonl protocol" },
		{ "command: [a]\nprotocol: exec\nworkers: {min: 1}", "min needs the jsonl protocol" },
		{ "command: [a]\nprotocol: http", "http" },
		{ "command: [a]\nworkers: {max: 0}", "max" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_function_conf c = { 0 };
		struct sb_diags diags = { 0 };
		struct sb_arena arena = { 0 };
		struct sb_decode d = { .arena = &arena, .diags = &diags };
		struct sb_doc doc = { 0 };
		int rc = sb_yaml_parse("etc/signalbox.yaml", sb_slice_str(cases[i].yaml), &doc, &diags);

		assert_int_equal(rc, 0);
		rc = sb_fields_decode(&d, sb_function_fields, doc.root, &c, NULL);
		if (rc == 0)
			rc = sb_function_ops.check(&d, doc.root, &c);
		if ((rc == 0) != (cases[i].error == NULL) || (rc < 0 && !strstr(diags.item[0].err.msg, cases[i].error)))
			fail_msg("row %zu: %d '%s'", i, rc, diags.n ? diags.item[0].err.msg : "");
		if (i == 0 && (c.workers.max != 4 || c.workers.in_flight != 1 || c.idle_timeout != 60000 ||
				      c.max_line != 1 << 20 || strcmp(c.cwd, "etc") != 0))
			fail_msg("defaults: %lld %s", (long long)c.workers.max, c.cwd);
		if (i == 1 && (c.protocol != SB_PROTO_EXEC || c.workers.max != 8 || strcmp(c.env.v[0], "A=b") != 0))
			fail_msg("row 1: %d %s", c.protocol, c.env.v[0]);
		sb_doc_done(&doc);
		sb_diags_done(&diags);
		sb_arena_done(&arena);
	}
}

/* ------------------------------------------------------------------------------------------------ exec */

static void exec_runs_a_shell_command_for_each_event(void **state)
{
	static const struct {
		const char *script;
		enum sb_outcome outcome;
		const char *message, *body, *tail;
	} cases[] = {
		{ "cat", SB_DELIVERED, "", "{\"n\":1}", "" },
		{ "exec >&-; exit 0", SB_DELIVERED, "", "", "" },
		{ "echo who reads this", SB_DELIVERED, "", "who reads this\n", "" },
		{ "echo part; echo why >&2; exit 64", SB_REJECTED, "the command exited with status 64", "part\n",
			"why\n" },
		{ "exit 65", SB_REJECTED, "the command exited with status 65", "", "" },
		{ "exit 1", SB_RETRY, "the command exited with status 1", "", "" },
		{ "kill -9 $$", SB_RETRY, "the command was killed by signal 9 (Killed)", "", "" },
		{ "sleep 100", SB_RETRY, "no answer within the timeout (500ms)", "", "" },
		{ "trap '' TERM; sleep 100; sleep 100", SB_RETRY, "no answer within the timeout (500ms)", "", "" },
		{ "yes", SB_RETRY, "the command wrote more than max_line to its standard output", "y\ny\n", "" },
		{ "sleep 100 & exit 0", SB_DELIVERED, "", "", "" },
		{ "echo ${SIGNALBOX_FD-none}; (echo x >&3) 2>/dev/null || echo closed", SB_DELIVERED, "",
			"none\nclosed\n", "" },
	};

	(void)state;
	t.conf.protocol = SB_PROTO_EXEC;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		const char *argv[] = { "sh", "-c", cases[i].script, NULL };
		struct shot *s;

		t.conf.command = (struct sb_strs){ argv, 3 };
		memset(&t.state, 0, sizeof(t.state));
		t.closed = false;
		open_target();
		s = one("{\"n\":1}");
		if (s->outcome != cases[i].outcome || strcmp(s->message, cases[i].message) != 0 ||
			strncmp(s->body, cases[i].body, strlen(cases[i].body)) != 0 ||
			strcmp(s->tail, cases[i].tail) != 0)
			fail_msg("row %zu (%s): %s '%s' '%s' '%s'", i, cases[i].script, sb_outcome_name(s->outcome),
				s->message, s->body, s->tail);
		reopen(i + 1 < SB_LEN(cases));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_warm_python_worker_answers_again_and_again, setup, teardown),
		cmocka_unit_test_setup_teardown(several_in_flight_are_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(the_pool_heals_from, setup, teardown),
		cmocka_unit_test_setup_teardown(neighbours_of_the_nasty_are_served, setup, teardown),
		cmocka_unit_test_setup_teardown(the_environment_is_what_was_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(what_a_worker_prints_is_logged_with_its_event, setup, teardown),
		cmocka_unit_test_setup_teardown(the_workers_of_the_document_work, setup, teardown),
		cmocka_unit_test_setup_teardown(the_sample_functions_do_what_they_say, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stray_that_has_forked_away_is_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_command_that_is_not_there_is_unreachable, setup, teardown),
		cmocka_unit_test(the_configuration_is_decoded_and_checked),
		cmocka_unit_test_setup_teardown(exec_runs_a_shell_command_for_each_event, setup, teardown),
	};

	if (argc > 1 && strcmp(argv[1], SB_SPAWNER_VERB) == 0)
		return sb_spawner_main(argc, argv);
	setenv("PATH", "/usr/bin:/bin", 1);
	sb_log_setup(SB_LOG_JSON, SB_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
