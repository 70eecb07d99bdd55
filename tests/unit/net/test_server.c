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
	struct sb_http_conf c = loop_conf(pipeline_of_4);
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
	assert_string_equal(loop_told(out), "200 200 200 200 200 200 200 200 200 200");
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
	assert_string_equal(loop_told(out), "202 202"); /* the second body was there: nothing to ask for */
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
	assert_string_equal(loop_told(out), "200 100");
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
	assert_string_equal(loop_told(out), "413");
	assert_int_equal(loop_refused(&l, SB_HTTP_BODY_TOO_LARGE), 1);
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
	port = loop_tcp_listen(&l);
	fd = loop_tcp_from(&l, port, "127.0.0.1");
	memset(body, 'x', sizeof(body));
	loop_sends(&l, fd, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n");
	for (int i = 0; i < 100; i++)
		loop_send(&l, fd, body, sizeof(body));
	assert_true(loop_read(&l, fd, out, OUT, 3000));
	assert_string_equal(loop_told(out), "413");
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
	assert_string_equal(loop_told(out), "200");
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
	assert_string_equal(loop_told(out), "200 200");
	assert_non_null(strstr(strstr(out, "first"), "Connection: close"));
	loop_sends(&l, half, "Host: x\r\n\r\n");
	loop_reply(&l, 2, "third");
	assert_true(loop_read(&l, half, out, OUT, 2000));
	assert_string_equal(loop_told(out), "200");
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
	port = loop_tcp_listen(&l);
	fd = loop_tcp_from(&l, port, "127.0.0.1");
	loop_sends(&l, fd, GET);
	assert_true(send(fd, GET, sizeof(GET) - 1, MSG_NOSIGNAL) > 0); /* not read before we drain */
	sb_http_server_drain(l.server);
	loop_turn(&l);
	loop_read_until(&l, fd, out, OUT, "GET /a");
	assert_string_equal(loop_told(out), "202");
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
