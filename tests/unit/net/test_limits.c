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

static uint64_t now_ms(void)
{
	return sb_mono_ns(&sb_clock_system) / SB_NS_PER_MS;
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
	return loop_told(out);
}

static void a_slow_header_ends_at_its_deadline(void **state)
{
	struct sb_http_conf c = loop_conf(short_deadlines);
	struct loop l;
	uint64_t ms;

	(void)state;
	loop_init(&l, &c);
	assert_string_equal(drip(&l, "GET /a HTTP/1.1\r\nX: ", 'x', &ms), "408");
	assert_in_range(ms, 80, 1900);
	assert_int_equal(loop_refused(&l, SB_HTTP_HEADER_TIMEOUT), 1);
	loop_done(&l);
}

static void a_slow_body_ends_at_its_deadline(void **state)
{
	struct sb_http_conf c = loop_conf(short_deadlines);
	struct loop l;
	uint64_t ms;

	(void)state;
	loop_init(&l, &c);
	assert_string_equal(drip(&l, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 'x', &ms), "408");
	assert_in_range(ms, 80, 1900);
	assert_string_equal(drip(&l, "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0", '0', &ms), "408");
	assert_int_equal(loop_refused(&l, SB_HTTP_BODY_TIMEOUT), 2);
	loop_done(&l);
}

static void a_slow_request_behind_a_good_one_ends_too(void **state)
{
	struct sb_http_conf c = loop_conf(short_deadlines);
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
	struct sb_http_conf c = loop_conf(short_deadlines);
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
	assert_string_equal(loop_told(out), "202");
	assert_true(loop_read(&l, silent, out, OUT, 2000));
	assert_string_equal(out, "");
	assert_in_range(now_ms() - begin, 80, 1900);
	close(fd);
	close(silent);
	loop_done(&l);
}

static void a_request_at_its_handler_has_no_deadline(void **state)
{
	struct sb_http_conf c = loop_conf(short_deadlines);
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
	assert_string_equal(loop_told(out), "200");
	close(fd);
	loop_done(&l);
}

static void answers_that_nobody_takes_end_the_connection(void **state)
{
	struct sb_http_conf c = loop_conf(short_deadlines);
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
	assert_int_equal(loop_refused(&l, SB_HTTP_WRITE_TIMEOUT), 1);
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
	struct sb_http_conf c = loop_conf(two_connections);
	struct sb_http_stats st;
	int a, b, fd;
	struct loop l;

	(void)state;
	loop_init(&l, &c);
	a = loop_connect(&l);
	b = loop_connect(&l);
	fd = loop_connect(&l);
	assert_true(loop_read(&l, fd, out, OUT, 2000));
	assert_string_equal(loop_told(out), "503");
	assert_non_null(strstr(out, "Retry-After:"));
	close(fd);
	close(a);
	loop_turn(&l);
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET);
	loop_read_until(&l, fd, out, OUT, "GET /a");
	assert_string_equal(loop_told(out), "202");
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

static void one_address_cannot_take_all_connections(void **state)
{
	struct sb_http_conf c = loop_conf(two_of_an_address);
	int port, a, b, fd, other;
	struct loop l;

	(void)state;
	loop_init(&l, &c);
	port = loop_tcp_listen(&l);
	a = loop_tcp_from(&l, port, "127.0.0.1");
	b = loop_tcp_from(&l, port, "127.0.0.1");
	fd = loop_tcp_from(&l, port, "127.0.0.1");
	assert_true(loop_read(&l, fd, out, OUT, 2000));
	assert_string_equal(loop_told(out), "503");
	close(fd);
	other = loop_tcp_from(&l, port, "127.0.0.2");
	loop_sends(&l, other, GET);
	loop_read_until(&l, other, out, OUT, "GET /a");
	assert_string_equal(loop_told(out), "202");
	close(a);
	loop_turn(&l);
	fd = loop_tcp_from(&l, port, "127.0.0.1");
	loop_sends(&l, fd, GET);
	loop_read_until(&l, fd, out, OUT, "GET /a");
	assert_string_equal(loop_told(out), "202");
	close(fd);
	close(b);
	close(other);
	loop_done(&l);
}

/* The kernel chooses the shard, so a bound of each would be none of the whole. */
static void shards_behind_one_address_count_together(void **state)
{
	struct sb_http_conf c = loop_conf(two_of_an_address);
	struct loop l, other;
	int port, far, a, b, last, fd;

	(void)state;
	c.crowd = sb_http_crowd_new(3, 2);
	loop_init(&l, &c);
	loop_init(&other, &c);
	port = loop_tcp_listen(&l);
	far = loop_tcp_listen(&other);
	a = loop_tcp_from(&l, port, "127.0.0.1");
	b = loop_tcp_from(&other, far, "127.0.0.1");
	fd = loop_tcp_from(&l, port, "127.0.0.1");
	assert_true(loop_read(&l, fd, out, OUT, 2000)); /* the third of its address */
	assert_string_equal(loop_told(out), "503");
	close(fd);
	last = loop_connect(&l); /* the last place in all; a unix socket has no address */
	fd = loop_connect(&other);
	assert_true(loop_read(&other, fd, out, OUT, 2000));
	assert_string_equal(loop_told(out), "503");
	close(fd);
	close(b);
	loop_turn(&other);
	b = loop_tcp_from(&l, port, "127.0.0.1");
	loop_sends(&l, b, GET);
	loop_read_until(&l, b, out, OUT, "GET /a");
	assert_string_equal(loop_told(out), "202");
	close(a);
	close(b);
	close(last);
	loop_done(&l);
	loop_done(&other);
	sb_http_crowd_free(c.crowd);
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
	port = loop_tcp_listen(&l);
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
	assert_string_equal(loop_told(out), "503");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (size_t i = 0; i < SB_LEN(fd); i++)
		close(fd[i]);
	fd[0] = loop_tcp_from(&l, port, "127.0.0.1");
	loop_sends(&l, fd[0], GET);
	loop_read_until(&l, fd[0], out, OUT, "GET /a");
	assert_string_equal(loop_told(out), "202");
	close(fd[0]);
	loop_done(&l);
}

static void three_requests(struct sb_http_conf *c)
{
	c->max_requests = 3;
}

static void a_connection_ends_after_its_requests(void **state)
{
	struct sb_http_conf c = loop_conf(three_requests);
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, &c);
	fd = loop_connect(&l);
	loop_sends(&l, fd, GET GET GET GET);
	assert_true(loop_read(&l, fd, out, OUT, 2000));
	assert_string_equal(loop_told(out), "202 202 202");
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
	struct sb_http_conf c = loop_conf(little_memory);
	struct loop l;
	int fd;

	(void)state;
	loop_init(&l, &c);
	fd = loop_connect(&l);
	loop_sends(&l, fd, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 102400\r\n\r\n");
	memset(body, 'x', sizeof(body));
	loop_send(&l, fd, body, sizeof(body));
	assert_true(loop_read(&l, fd, out, OUT, 3000));
	assert_string_equal(loop_told(out), "503");
	assert_int_equal(loop_refused(&l, SB_HTTP_NO_ROOM), 1);
	close(fd);
	loop_done(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_header_ends_at_its_deadline),
		cmocka_unit_test(a_slow_body_ends_at_its_deadline),
		cmocka_unit_test(a_slow_request_behind_a_good_one_ends_too),
		cmocka_unit_test(an_idle_connection_is_closed_without_a_word),
		cmocka_unit_test(a_request_at_its_handler_has_no_deadline),
		cmocka_unit_test(answers_that_nobody_takes_end_the_connection),
		cmocka_unit_test(connections_beyond_the_limit_are_turned_away),
		cmocka_unit_test(one_address_cannot_take_all_connections),
		cmocka_unit_test(shards_behind_one_address_count_together),
		cmocka_unit_test(without_descriptors_connections_are_shed_and_the_loop_rests),
		cmocka_unit_test(a_connection_ends_after_its_requests),
		cmocka_unit_test(bodies_beyond_the_servers_memory_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
