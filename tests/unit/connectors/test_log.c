/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connectors/connector.h"
#include "connectors/log/log.h"
#include "connectors/log/outlet.h"

extern const struct sb_connector sb_connector_log, sb_connector_null;

static void lines(void **state)
{
	struct sb_item item = { .delivery_id = SB_SLICE("d-1"), .attempt = 2, .input = SB_SLICE("{\"a\":\n 1}"), .input_newlines = true,
		.rule = "big \"orders\"" };
	struct sb_buf out = SB_BUF(1024), tiny = SB_BUF(16);

	(void)state;
	assert_int_equal(log_line(&item, "trail", 1795508393123, true, &out), 0);
	assert_true(sb_slice_eq_str(sb_buf_slice(&out), "{\"time\":\"2026-11-24T08:19:53.123Z\",\"target\":\"trail\","
							"\"rule\":\"big \\\"orders\\\"\",\"delivery\":\"d-1\",\"attempt\":2,\"input\":{\"a\":  1}}\n"));
	sb_buf_clear(&out);
	assert_int_equal(log_line(&item, "trail", 0, false, &out), 0);
	assert_true(sb_slice_eq_str(sb_buf_slice(&out), "{\"a\":  1}\n"));
	assert_true(log_line(&item, "trail", 0, true, &tiny) < 0);
	sb_buf_done(&out);
	sb_buf_done(&tiny);
}

static size_t drain(int fd, char *into, size_t size)
{
	size_t have = 0;
	ssize_t n;

	while (have < size && (n = read(fd, into + have, size - have)) > 0)
		have += (size_t)n;
	return have;
}

static void a_full_pipe_never_waits_and_lines_stay_whole(void **state)
{
	static char big[200000], got[600000];
	struct outlet o;
	size_t have;
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	assert_int_equal(fcntl(p[0], F_SETFL, O_NONBLOCK), 0);
	outlet_open(&o, p[1]);
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\n';
	assert_int_equal(outlet_write(&o, SB_SLICE("first\n")), OUTLET_WRITTEN);
	assert_int_equal(outlet_write(&o, sb_slice(big, sizeof(big))), OUTLET_PART); /* a pipe holds 64 KiB */
	assert_int_equal(outlet_write(&o, SB_SLICE("between\n")), OUTLET_FULL);
	assert_int_equal(outlet_finish(&o), OUTLET_PART);
	have = drain(p[0], got, sizeof(got));
	while (outlet_finish(&o) == OUTLET_PART)
		have += drain(p[0], got + have, sizeof(got) - have);
	assert_int_equal(outlet_write(&o, SB_SLICE("last\n")), OUTLET_WRITTEN);
	have += drain(p[0], got + have, sizeof(got) - have);
	assert_int_equal(have, 6 + sizeof(big) + 5);
	assert_memory_equal(got, "first\n", 6);
	assert_memory_equal(got + 6, big, sizeof(big));
	assert_memory_equal(got + 6 + sizeof(big), "last\n", 5);
	assert_int_equal(fcntl(p[1], F_GETFL) & O_NONBLOCK, 0); /* what others share is as it was */
	outlet_close(&o);
	close(p[0]);
	close(p[1]);
}

static void a_reader_that_is_gone_is_told(void **state)
{
	static char big[200000];
	struct outlet o;
	int p[2], s[2];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(p), 0);
	outlet_open(&o, p[1]);
	assert_int_equal(outlet_write(&o, sb_slice(big, sizeof(big))), OUTLET_PART);
	close(p[0]);
	assert_int_equal(outlet_write(&o, SB_SLICE("x\n")), OUTLET_GONE);
	assert_int_equal(outlet_finish(&o), OUTLET_GONE); /* also to him whose line was cut */
	outlet_close(&o);
	close(p[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	outlet_open(&o, s[1]);
	assert_int_equal(outlet_write(&o, SB_SLICE("x\n")), OUTLET_WRITTEN);
	while (outlet_write(&o, sb_slice(big, 1000)) == OUTLET_WRITTEN)
		;
	close(s[0]);
	assert_int_equal(outlet_write(&o, SB_SLICE("x\n")), OUTLET_GONE);
	outlet_close(&o);
	close(s[1]);
}

static void a_file_takes_all(void **state)
{
	char path[] = "/tmp/sb-outlet-XXXXXX";
	static char big[300000];
	int fd = mkstemp(path);
	struct outlet o;

	(void)state;
	outlet_open(&o, fd);
	assert_int_equal(outlet_write(&o, sb_slice(big, sizeof(big))), OUTLET_WRITTEN);
	assert_int_equal(outlet_write(&o, SB_SLICE("x\n")), OUTLET_WRITTEN);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), sizeof(big) + 2);
	outlet_close(&o);
	close(fd);
	unlink(path);
}

/* ------------------------------------------------------------------------------------------------ as targets */

struct stand {
	struct sb_target target;
	struct sb_env env;
	unsigned settled[8], closed;
	enum sb_outcome outcome[8];
};

static void on_settle(struct sb_target *t, struct sb_batch *b, size_t i, const struct sb_result *r)
{
	struct stand *s = t->owner;

	(void)b;
	s->settled[i]++;
	s->outcome[i] = r->outcome;
}

static void on_closed(struct sb_target *t)
{
	((struct stand *)t->owner)->closed++;
}

static void stand_init(struct stand *s, const struct sb_connector *c, struct event_base *base, void *conf)
{
	struct sb_err err;

	memset(s, 0, sizeof(*s));
	s->env.base = base;
	s->env.clock = &sb_clock_system;
	s->target = (struct sb_target){ .name = "trail", .ops = c->target, .conf = conf, .env = &s->env, .settle = on_settle,
		.closed = on_closed, .owner = s };
	s->target.state = sb_xcalloc(c->target->state_size);
	assert_int_equal(c->target->open(&s->target, &err), 0);
}

static void stand_done(struct stand *s)
{
	s->target.ops->close(&s->target);
	s->target.ops->close(&s->target);
	assert_int_equal(s->closed, 1);
	s->target.ops->free(&s->target);
	free(s->target.state);
}

static void the_null_target_delivers(void **state)
{
	struct sb_item item[3] = { { .attempt = 1 } };
	struct sb_batch b = { .n = 3, .item = item };
	struct stand s;

	(void)state;
	stand_init(&s, &sb_connector_null, NULL, NULL);
	s.target.ops->send(&s.target, &b);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(s.settled[i], 1);
		assert_int_equal(s.outcome[i], SB_DELIVERED);
	}
	stand_done(&s);
}

/* The outlet is the process's standard output: a pipe for this test, which must be the first to open it. */
static void the_log_target_settles_what_it_wrote(void **state)
{
	static char big[200000] = "\"", got[400000];
	struct sb_item item[3] = { { .delivery_id = SB_SLICE("1"), .attempt = 1, .input = SB_SLICE("{}"), .rule = "r" } };
	struct sb_batch b = { .n = 3, .item = item };
	int conf = 0, p[2], keep = dup(STDOUT_FILENO);
	struct event_base *base = event_base_new();
	size_t have = 0;
	struct stand s;

	(void)state;
	fflush(stdout);
	memset(big + 1, 'x', sizeof(big) - 2);
	big[sizeof(big) - 1] = '"';
	item[1] = item[2] = item[0];
	item[1].input = sb_slice(big, sizeof(big));
	assert_int_equal(pipe(p), 0);
	assert_int_equal(fcntl(p[0], F_SETFL, O_NONBLOCK), 0);
	dup2(p[1], STDOUT_FILENO);
	stand_init(&s, &sb_connector_log, base, &conf);
	s.target.ops->send(&s.target, &b);
	for (int i = 0; i < 500 && !s.settled[1]; i++) {
		have += drain(p[0], got + have, sizeof(got) - have);
		event_base_loop(base, EVLOOP_ONCE);
	}
	have += drain(p[0], got + have, sizeof(got) - have);
	dup2(keep, STDOUT_FILENO);
	assert_true(s.settled[0] == 1 && s.settled[1] == 1 && s.settled[2] == 1);
	assert_int_equal(s.outcome[0], SB_DELIVERED);
	assert_int_equal(s.outcome[1], SB_DELIVERED);
	assert_int_equal(s.outcome[2], SB_RETRY);
	assert_non_null(memmem(got, have, "\"input\":{}}\n{\"time\":", 20));
	assert_memory_equal(got + have - 3, "\"}\n", 3);
	memset(s.settled, 0, sizeof(s.settled));
	s.target.ops->send(&s.target, &b); /* the long one goes out in part, and is given back at the end */
	assert_int_equal(s.settled[1], 0);
	s.target.ops->close(&s.target);
	assert_int_equal(s.settled[1], 1);
	assert_int_equal(s.outcome[1], SB_RELEASED);
	stand_done(&s);
	event_base_free(base);
	close(p[0]);
	close(p[1]);
	close(keep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(a_full_pipe_never_waits_and_lines_stay_whole),
		cmocka_unit_test(a_reader_that_is_gone_is_told),
		cmocka_unit_test(a_file_takes_all),
		cmocka_unit_test(the_null_target_delivers),
		cmocka_unit_test(the_log_target_settles_what_it_wrote),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
