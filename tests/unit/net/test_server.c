/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"

#define GET "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define OUT (4u << 20)

static char out[OUT];

static struct sb_http_conf conf_with(void (*change)(struct sb_http_conf *))
{
	struct sb_http_conf c = sb_http_conf_default;

	change(&c);
	return c;
}

static const char *statuses(const char *stream)
{
	static char got[512];

	loop_statuses(stream, strlen(stream), got, sizeof(got));
	return got;
}

static uint64_t refused(struct loop *l, enum sb_http_refusal why)
{
	struct sb_http_stats st;

	sb_http_server_get_stats(l->server, &st);
	return st.refused[why];
}

static uint64_t now_ms(void)
{
	return sb_mono_ns(&sb_clock_system) / SB_NS_PER_MS;
}

/* ------------------------------------------------------------------------------------------------ order */

static void answers_leave_in_the_order_of_the_requests(void **state)
{
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, NULL);
	l.hold = true;
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET GET GET);
	assert_int_equal(l.n_held, 3);
	loop_reply(&l, 2, "third");
	loop_reply(&l, 1, "second");
	assert_false(loop_read(&l, fd, out, OUT, 20));
	assert_string_equal(out, "");
	loop_reply(&l, 0, "first");
	loop_read_until(&l, fd, out, OUT, "third");
	assert_true(strstr(out, "first") < strstr(out, "second") && strstr(out, "second") < strstr(out, "third"));
	close(fd);
	loop_done(&l);
}

static void pipeline_of_4(struct sb_http_conf *c)
{
	c->max_pipelined = 4;
}

static void reading_stops_at_the_pipeline_limit_and_goes_on(void **state)
{
	struct sb_http_conf c = conf_with(pipeline_of_4);
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, &c);
	l.hold = true;
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET GET GET GET GET GET GET GET GET GET);
	assert_int_equal(l.n_held, 4);
	loop_reply(&l, 0, "0");
	loop_turn(&l);
	assert_int_equal(l.n_held, 5);
	for (unsigned i = 1; i < 10; i++) {
		assert_true(i < l.n_held);
		loop_reply(&l, i, i == 9 ? "last" : "more");
		loop_turn(&l);
	}
	loop_read_until(&l, fd, out, OUT, "last");
	assert_string_equal(statuses(out), "200 200 200 200 200 200 200 200 200 200");
	close(fd);
	loop_done(&l);
}

static void a_thousand_pipelined_requests_are_all_answered(void **state)
{
	static char many[1000 * (sizeof(GET) - 1)];
	struct loop l;
	unsigned n = 0;
	int fd;

	(void)state;
	loop_init(&l, NULL);
	fd = loop_connect(&l);
	for (size_t i = 0; i < 1000; i++)
		memcpy(many + i * (sizeof(GET) - 1), GET, sizeof(GET) - 1);
	loop_send(&l, fd, many, sizeof(many));
	shutdown(fd, SHUT_WR);
	assert_true(loop_read(&l, fd, out, OUT, 3000));
	for (const char *p = out; (p = strstr(p, "HTTP/1.1 202")) != NULL; p++)
		n++;
	assert_int_equal(n, 1000);
	close(fd);
	loop_done(&l);
}

/* ------------------------------------------------------------------------------------------------ expectation */

#define HEAD_100 "POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

static void the_body_is_asked_for_once(void **state)
{
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, NULL);
	fd = loop_connect(&l);
	loop_sends(&l, fd, HEAD_100);
	loop_read_until(&l, fd, out, OUT, "\r\n\r\n");
	assert_string_equal(out, "HTTP/1.1 100 Continue\r\n\r\n");
	loop_sends(&l, fd, "hello" HEAD_100 "again");
	loop_read_until(&l, fd, out, OUT, "/p again");
	assert_non_null(strstr(out, "/p hello"));
	assert_string_equal(statuses(out), "202 202"); /* the second body was there: nothing to ask for */
	close(fd);
	loop_done(&l);
}

static void the_body_is_asked_for_behind_earlier_answers(void **state)
{
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, NULL);
	l.hold = true;
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET HEAD_100);
	assert_false(loop_read(&l, fd, out, OUT, 20));
	assert_string_equal(out, "");
	loop_reply(&l, 0, "first");
	loop_read_until(&l, fd, out, OUT, "Continue");
	assert_string_equal(statuses(out), "200 100");
	close(fd);
	loop_done(&l);
}

static void a_body_too_large_is_not_asked_for(void **state)
{
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, NULL);
	fd = loop_connect(&l);
	loop_sends(&l, fd, "POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n");
	assert_true(loop_read(&l, fd, out, OUT, 3000));
	assert_string_equal(statuses(out), "413");
	assert_int_equal(refused(&l, SB_HTTP_BODY_TOO_LARGE), 1);
	close(fd);
	loop_done(&l);
}

/* ------------------------------------------------------------------------------------------------ deadlines */

static void short_deadlines(struct sb_http_conf *c)
{
	c->header_ms = 80;
	c->body_ms = 80;
	c->idle_ms = 80;
	c->write_ms = 80;
}

/* One byte every 5 ms: each arrives in time, all of them together do not. Returns what was answered. */
static const char *drip(struct loop *l, const char *first, char c, uint64_t *ret_ms)
{
	uint64_t begin = now_ms();
	int fd = loop_connect(l);
	bool closed = false;
	size_t have = 0;
	char one[4096];

	loop_sends(l, fd, first);
	while (!closed && now_ms() - begin < 2000) {
		send(fd, &c, 1, MSG_NOSIGNAL);
		closed = loop_read(l, fd, one, sizeof(one), 5);
		memcpy(out + have, one, strlen(one) + 1);
		have += strlen(one);
	}
	*ret_ms = now_ms() - begin;
	close(fd);
	return statuses(out);
}

static void a_slow_header_ends_at_its_deadline(void **state)
{
	struct sb_http_conf c = conf_with(short_deadlines);
	struct loop l;
	uint64_t ms;

	(void)state;
	loop_init(&l, &c);
	assert_string_equal(drip(&l, "GET /a HTTP/1.1\r\nX: ", 'x', &ms), "408");
	assert_in_range(ms, 80, 1900);
	assert_int_equal(refused(&l, SB_HTTP_HEADER_TIMEOUT), 1);
	loop_done(&l);
}

static void a_slow_body_ends_at_its_deadline(void **state)
{
	struct sb_http_conf c = conf_with(short_deadlines);
	struct loop l;
	uint64_t ms;

	(void)state;
	loop_init(&l, &c);
	assert_string_equal(drip(&l, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 'x', &ms), "408");
	assert_in_range(ms, 80, 1900);
	assert_string_equal(drip(&l, "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0", '0', &ms), "408");
	assert_int_equal(refused(&l, SB_HTTP_BODY_TIMEOUT), 2);
	loop_done(&l);
}

static void a_slow_request_behind_a_good_one_ends_too(void **state)
{
	struct sb_http_conf c = conf_with(short_deadlines);
	struct loop l;
	uint64_t ms;

	(void)state;
	loop_init(&l, &c);
	assert_string_equal(drip(&l, GET "GET /b HT", 'x', &ms), "202 408");
	assert_in_range(ms, 80, 1900);
	loop_done(&l);
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
	struct sb_http_conf c = conf_with(short_deadlines);
	struct loop l;
	uint64_t begin;
	int fd, silent;

	(void)state;
	loop_init(&l, &c);
	begin = now_ms();
	silent = loop_connect(&l);
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET);
	assert_true(loop_read(&l, fd, out, OUT, 2000));
	assert_string_equal(statuses(out), "202");
	assert_true(loop_read(&l, silent, out, OUT, 2000));
	assert_string_equal(out, "");
	assert_in_range(now_ms() - begin, 80, 1900);
	close(fd);
	close(silent);
	loop_done(&l);
}

static void a_request_at_its_handler_has_no_deadline(void **state)
{
	struct sb_http_conf c = conf_with(short_deadlines);
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, &c);
	l.hold = true;
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET);
	assert_false(loop_read(&l, fd, out, OUT, 200));
	loop_reply(&l, 0, "late but right");
	loop_read_until(&l, fd, out, OUT, "right");
	assert_string_equal(statuses(out), "200");
	close(fd);
	loop_done(&l);
}

static void answers_that_nobody_takes_end_the_connection(void **state)
{
	struct sb_http_conf c = conf_with(short_deadlines);
	struct sb_http_stats st;
	static char big[3u << 20];
	struct loop l;
	uint64_t begin = now_ms();
	int fd;

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	loop_init(&l, &c);
	l.hold = true;
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET);
	loop_reply(&l, 0, big);
	do {
		loop_turn(&l);
		sb_http_server_get_stats(l.server, &st);
	} while (st.open && now_ms() - begin < 2000);
	assert_int_equal(st.open, 0);
	assert_int_equal(refused(&l, SB_HTTP_WRITE_TIMEOUT), 1);
	close(fd);
	loop_done(&l);
}

/* ------------------------------------------------------------------------------------------------ limits */

static void two_connections(struct sb_http_conf *c)
{
	c->max_connections = 2;
}

static void connections_beyond_the_limit_are_turned_away(void **state)
{
	struct sb_http_conf c = conf_with(two_connections);
	struct sb_http_stats st;
	int a, b, fd;
	struct loop l;

	(void)state;
	loop_init(&l, &c);
	a = loop_connect(&l);
	b = loop_connect(&l);
	fd = loop_connect(&l);
	assert_true(loop_read(&l, fd, out, OUT, 2000));
	assert_string_equal(statuses(out), "503");
	assert_non_null(strstr(out, "Retry-After:"));
	close(fd);
	close(a);
	loop_turn(&l);
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET);
	loop_read_until(&l, fd, out, OUT, "GET /a");
	assert_string_equal(statuses(out), "202");
	sb_http_server_get_stats(l.server, &st);
	assert_int_equal(st.refused_connections, 1);
	assert_int_equal(st.connections, 3);
	close(fd);
	close(b);
	loop_done(&l);
}

static void two_of_an_address(struct sb_http_conf *c)
{
	c->max_per_address = 2;
}

static int tcp_listen(struct loop *l)
{
	struct sb_err err;
	uint16_t port;
	int fd;

	assert_int_equal(sb_listen("127.0.0.1:0", false, &fd, &port, &err), 0);
	assert_int_equal(sb_http_server_listen(l->server, fd, NULL, &err), 0);
	return port;
}

static int tcp_from(struct loop *l, int port, const char *ip)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, ip, &in.sin_addr);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	inet_pton(AF_INET, "127.0.0.1", &in.sin_addr);
	in.sin_port = htons((uint16_t)port);
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	loop_turn(l);
	return fd;
}

static void one_address_cannot_take_all_connections(void **state)
{
	struct sb_http_conf c = conf_with(two_of_an_address);
	int port, a, b, fd, other;
	struct loop l;

	(void)state;
	loop_init(&l, &c);
	port = tcp_listen(&l);
	a = tcp_from(&l, port, "127.0.0.1");
	b = tcp_from(&l, port, "127.0.0.1");
	fd = tcp_from(&l, port, "127.0.0.1");
	assert_true(loop_read(&l, fd, out, OUT, 2000));
	assert_string_equal(statuses(out), "503");
	close(fd);
	other = tcp_from(&l, port, "127.0.0.2");
	loop_sends(&l, other, GET);
	loop_read_until(&l, other, out, OUT, "GET /a");
	assert_string_equal(statuses(out), "202");
	close(a);
	loop_turn(&l);
	fd = tcp_from(&l, port, "127.0.0.1");
	loop_sends(&l, fd, GET);
	loop_read_until(&l, fd, out, OUT, "GET /a");
	assert_string_equal(statuses(out), "202");
	close(fd);
	close(b);
	close(other);
	loop_done(&l);
}

static void without_descriptors_connections_are_shed_and_the_loop_rests(void **state)
{
	struct rlimit before, none;
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sb_http_stats st;
	struct loop l;
	int fd[8], port;

	(void)state;
	loop_init(&l, NULL);
	port = tcp_listen(&l);
	inet_pton(AF_INET, "127.0.0.1", &in.sin_addr);
	in.sin_port = htons((uint16_t)port);
	for (size_t i = 0; i < SB_LEN(fd); i++)
		fd[i] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)fd[SB_LEN(fd) - 1] + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (size_t i = 0; i < SB_LEN(fd); i++) {
		assert_int_equal(connect(fd[i], (struct sockaddr *)&in, sizeof(in)), 0);
		fcntl(fd[i], F_SETFL, O_NONBLOCK);
	}
	for (int i = 0; i < 20; i++)
		loop_turn(&l);
	sb_http_server_get_stats(l.server, &st);
	assert_int_equal(st.refused_connections, SB_LEN(fd));
	assert_int_equal(st.connections, 0);
	assert_true(loop_read(&l, fd[3], out, OUT, 2000));
	assert_string_equal(statuses(out), "503");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (size_t i = 0; i < SB_LEN(fd); i++)
		close(fd[i]);
	fd[0] = tcp_from(&l, port, "127.0.0.1");
	loop_sends(&l, fd[0], GET);
	loop_read_until(&l, fd[0], out, OUT, "GET /a");
	assert_string_equal(statuses(out), "202");
	close(fd[0]);
	loop_done(&l);
}

static void three_requests(struct sb_http_conf *c)
{
	c->max_requests = 3;
}

static void a_connection_ends_after_its_requests(void **state)
{
	struct sb_http_conf c = conf_with(three_requests);
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, &c);
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET GET GET GET);
	assert_true(loop_read(&l, fd, out, OUT, 2000));
	assert_string_equal(statuses(out), "202 202 202");
	assert_non_null(strstr(out, "Connection: close"));
	close(fd);
	loop_done(&l);
}

static void little_memory(struct sb_http_conf *c)
{
	c->max_buffered = 64 << 10;
}

static void bodies_beyond_the_servers_memory_are_refused(void **state)
{
	static char body[100 << 10];
	struct sb_http_conf c = conf_with(little_memory);
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, &c);
	fd = loop_connect(&l);
	loop_sends(&l, fd, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 102400\r\n\r\n");
	memset(body, 'x', sizeof(body));
	loop_send(&l, fd, body, sizeof(body));
	assert_true(loop_read(&l, fd, out, OUT, 3000));
	assert_string_equal(statuses(out), "503");
	assert_int_equal(refused(&l, SB_HTTP_NO_ROOM), 1);
	close(fd);
	loop_done(&l);
}

/* ------------------------------------------------------------------------------------------------ bodies */

static void check_large(bool chunked)
{
	static char body[1 << 20];
	char head[128];
	struct loop l;
	const char *got;
	int fd;

	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (char)('a' + i * 31 / 7 % 26);
	loop_init(&l, NULL);
	fd = loop_connect(&l);
	snprintf(head, sizeof(head), "POST /p HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n",
		chunked ? "Transfer-Encoding: chunked" : "Content-Length: 1048576");
	loop_sends(&l, fd, head);
	for (size_t at = 0; at < sizeof(body); at += 4096) {
		if (chunked)
			loop_sends(&l, fd, "1000\r\n");
		loop_send(&l, fd, body + at, 4096);
		if (chunked)
			loop_sends(&l, fd, "\r\n");
	}
	if (chunked)
		loop_sends(&l, fd, "0\r\n\r\n");
	loop_sends(&l, fd, "GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	assert_true(loop_read(&l, fd, out, OUT, 3000));
	got = strstr(out, "POST /p ");
	assert_non_null(got);
	assert_memory_equal(got + 8, body, sizeof(body));
	assert_non_null(strstr(got, "GET /end"));
	close(fd);
	loop_done(&l);
}

static void a_large_body_arrives_as_it_was_sent(void **state)
{
	(void)state;
	check_large(false);
	check_large(true);
}

static void a_refusal_reaches_a_client_that_is_still_sending(void **state)
{
	static char body[4096];
	struct loop l;
	int port, fd;

	(void)state;
	loop_init(&l, NULL);
	port = tcp_listen(&l);
	fd = tcp_from(&l, port, "127.0.0.1");
	memset(body, 'x', sizeof(body));
	loop_sends(&l, fd, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n");
	for (int i = 0; i < 100; i++)
		loop_send(&l, fd, body, sizeof(body));
	assert_true(loop_read(&l, fd, out, OUT, 3000));
	assert_string_equal(statuses(out), "413");
	assert_non_null(strstr(out, "body_too_large"));
	close(fd);
	loop_done(&l);
}

static void nothing_is_allocated_once_warm(void **state)
{
	struct loop l;
	uint64_t misses = 0;
	int fd;

	(void)state;
	loop_init(&l, NULL);
	fd = loop_connect(&l);
	for (int i = 0; i < 300; i++) {
		if (i == 100)
			misses = sb_pool_misses();
		loop_sends(&l, fd, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX: y\r\n\r\nhello");
		loop_read_until(&l, fd, out, OUT, "/p hello");
	}
	assert_int_equal(sb_pool_misses(), misses);
	close(fd);
	loop_done(&l);
}

/* ------------------------------------------------------------------------------------------------ ends */

static void a_handler_hears_that_nobody_waits(void **state)
{
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, NULL);
	l.hold = true;
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET GET GET);
	close(fd);
	loop_turn(&l);
	assert_int_equal(l.n_gone, 0); /* it could have closed its half only */
	loop_reply(&l, 0, "to nobody");
	loop_turn(&l);
	assert_int_equal(l.n_gone, 2);
	loop_reply(&l, 2, "still due");
	loop_reply(&l, 1, "still due");
	loop_done(&l);
}

static void a_request_outlives_its_server(void **state)
{
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, NULL);
	l.hold = true;
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET);
	sb_http_server_free(l.server);
	l.server = NULL;
	assert_int_equal(l.n_gone, 1);
	assert_memory_equal(l.held[0]->path.p, "/a", 2);
	loop_reply(&l, 0, "still due");
	close(fd);
	loop_done(&l);
}

static void half_a_close_is_still_answered(void **state)
{
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, NULL);
	l.hold = true;
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET);
	shutdown(fd, SHUT_WR);
	loop_turn(&l);
	loop_reply(&l, 0, "well");
	assert_true(loop_read(&l, fd, out, OUT, 2000));
	assert_string_equal(statuses(out), "200");
	close(fd);
	loop_done(&l);
}

static void draining_answers_what_is_owed_and_closes(void **state)
{
	struct loop l;
	int idle, busy, half;

	(void)state;
	loop_init(&l, NULL);
	l.hold = true;
	idle = loop_connect(&l);
	busy = loop_connect(&l);
	half = loop_connect(&l);
	loop_sends(&l, busy, GET GET);
	loop_sends(&l, half, "GET /a HTTP/1.1\r\n");
	sb_http_server_drain(l.server);
	assert_true(loop_read(&l, idle, out, OUT, 2000));
	assert_string_equal(out, "");
	assert_false(sb_http_server_idle(l.server));
	loop_reply(&l, 1, "second");
	loop_reply(&l, 0, "first");
	assert_true(loop_read(&l, busy, out, OUT, 2000));
	assert_string_equal(statuses(out), "200 200");
	assert_non_null(strstr(strstr(out, "first"), "Connection: close"));
	loop_sends(&l, half, "Host: x\r\n\r\n");
	loop_reply(&l, 2, "third");
	assert_true(loop_read(&l, half, out, OUT, 2000));
	assert_string_equal(statuses(out), "200");
	close(idle);
	close(busy);
	close(half);
	loop_turn(&l);
	assert_true(sb_http_server_idle(l.server));
	loop_done(&l);
}

/* A request that we no longer read must not turn into a reset, which would take the answer before it along. */
static void draining_resets_nobody(void **state)
{
	struct loop l;
	int port, fd;

	(void)state;
	loop_init(&l, NULL);
	port = tcp_listen(&l);
	fd = tcp_from(&l, port, "127.0.0.1");
	loop_sends(&l, fd, GET);
	sb_http_server_drain(l.server);
	assert_true(send(fd, GET, sizeof(GET) - 1, MSG_NOSIGNAL) > 0);
	loop_turn(&l);
	loop_read_until(&l, fd, out, OUT, "GET /a");
	assert_string_equal(statuses(out), "202");
	assert_int_equal(recv(fd, out, 1, 0), 0); /* an end, no reset */
	close(fd);
	loop_done(&l);
}

/* ------------------------------------------------------------------------------------------------ what a handler sees */

static void a_request_is_taken_apart(void **state)
{
	struct loop l;
	const struct sb_http_req *r;
	char media[64];
	int fd;

	(void)state;
	loop_init(&l, NULL);
	l.hold = true;
	fd = loop_connect(&l);
	loop_sends(&l, fd, "POST /p%20q?a=b?c HTTP/1.1\r\nHOST: x\r\nContent-Type: Application/JSON; charset=utf-8\r\n"
			   "X-Twice:  1 \r\nX-twice: 2\r\nContent-Length: 2\r\n\r\n{}");
	r = l.held[0];
	assert_true(sb_slice_eq_str(r->method, "POST"));
	assert_true(sb_slice_eq_str(r->target, "/p%20q?a=b?c"));
	assert_true(sb_slice_eq_str(r->path, "/p%20q"));
	assert_true(sb_slice_eq_str(r->query, "a=b?c"));
	assert_true(sb_slice_eq_str(r->body, "{}"));
	assert_int_equal(r->n_headers, 5);
	assert_true(sb_slice_eq_str(r->header[0].name, "host"));
	assert_true(sb_slice_eq_str(sb_http_header(r, "x-twice"), "1"));
	assert_null(sb_http_header(r, "x-absent").p);
	sb_http_media_type(r, media);
	assert_string_equal(media, "application/json");
	assert_string_equal(r->peer, "unix");
	assert_true(r->loopback);
	assert_ptr_equal(sb_http_tag(r), &l);
	loop_reply(&l, 0, "");
	close(fd);
	loop_done(&l);
}

static void errors_have_one_shape(void **state)
{
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, NULL);
	l.hold = true;
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET GET);
	sb_http_reply_error(l.held[0], 404, "not_found", "no \"%s\" here", "bus");
	sb_http_reply_error(l.held[1], 503, "full", "later");
	loop_read_until(&l, fd, out, OUT, "later");
	assert_non_null(strstr(out, "{\"error\":{\"code\":\"not_found\",\"message\":\"no \\\"bus\\\" here\",\"retryable\":false}}"));
	assert_non_null(strstr(out, "Retry-After: 1\r\n"));
	close(fd);
	loop_done(&l);
}

static void every_refusal_has_a_name(void **state)
{
	(void)state;
	for (int i = 0; i < SB_HTTP_NREFUSALS; i++)
		assert_true(strlen(sb_http_refusal_name((enum sb_http_refusal)i)) > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_leave_in_the_order_of_the_requests),
		cmocka_unit_test(reading_stops_at_the_pipeline_limit_and_goes_on),
		cmocka_unit_test(a_thousand_pipelined_requests_are_all_answered),
		cmocka_unit_test(the_body_is_asked_for_once),
		cmocka_unit_test(the_body_is_asked_for_behind_earlier_answers),
		cmocka_unit_test(a_body_too_large_is_not_asked_for),
		cmocka_unit_test(a_slow_header_ends_at_its_deadline),
		cmocka_unit_test(a_slow_body_ends_at_its_deadline),
		cmocka_unit_test(a_slow_request_behind_a_good_one_ends_too),
		cmocka_unit_test(an_idle_connection_is_closed_without_a_word),
		cmocka_unit_test(a_request_at_its_handler_has_no_deadline),
		cmocka_unit_test(answers_that_nobody_takes_end_the_connection),
		cmocka_unit_test(connections_beyond_the_limit_are_turned_away),
		cmocka_unit_test(one_address_cannot_take_all_connections),
		cmocka_unit_test(without_descriptors_connections_are_shed_and_the_loop_rests),
		cmocka_unit_test(a_connection_ends_after_its_requests),
		cmocka_unit_test(bodies_beyond_the_servers_memory_are_refused),
		cmocka_unit_test(a_large_body_arrives_as_it_was_sent),
		cmocka_unit_test(a_refusal_reaches_a_client_that_is_still_sending),
		cmocka_unit_test(nothing_is_allocated_once_warm),
		cmocka_unit_test(a_handler_hears_that_nobody_waits),
		cmocka_unit_test(a_request_outlives_its_server),
		cmocka_unit_test(half_a_close_is_still_answered),
		cmocka_unit_test(draining_answers_what_is_owed_and_closes),
		cmocka_unit_test(draining_resets_nobody),
		cmocka_unit_test(a_request_is_taken_apart),
		cmocka_unit_test(errors_have_one_shape),
		cmocka_unit_test(every_refusal_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
