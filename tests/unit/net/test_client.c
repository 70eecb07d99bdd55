/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/net/http.h"

/* A peer that takes one connection, reads what it wants to read, says its line, and closes. */
struct peer {
	int fd;
	uint16_t port;
	const char *says; /* NULL: nothing, and it stays for a second */
	char heard[4096];
};

static void *peer_run(void *arg)
{
	struct peer *p = arg;
	int fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC);
	size_t have = 0;
	ssize_t n;

	while (!strstr(p->heard, "\r\n\r\n{}") && (n = recv(fd, p->heard + have, sizeof(p->heard) - 1 - have, 0)) > 0)
		have += (size_t)n;
	if (p->says)
		send(fd, p->says, strlen(p->says), MSG_NOSIGNAL);
	else
		recv(fd, p->heard, 1, 0); /* until the client gives up */
	close(fd);
	return NULL;
}

static int call(struct peer *p, uint64_t timeout_ms, struct sb_http_answer *ret, struct sb_err *err)
{
	char address[32];
	struct sb_http_call c = { .address = address, .method = "POST", .path = "/v1/events", .body = SB_SLICE("{}") };
	pthread_t t;
	int listener, rc;

	memset(p->heard, 0, sizeof(p->heard));
	assert_int_equal(sb_listen("127.0.0.1:0", false, &listener, &p->port, err), 0);
	p->fd = listener;
	assert_int_equal(fcntl(listener, F_SETFL, 0), 0); /* the peer may block */
	snprintf(address, sizeof(address), "127.0.0.1:%u", p->port);
	c.timeout_ms = timeout_ms;
	assert_int_equal(pthread_create(&t, NULL, peer_run, p), 0);
	rc = sb_http_call(&c, ret, err);
	pthread_join(t, NULL);
	close(listener);
	return rc;
}

static void answers(void **state)
{
	static const struct {
		const char *what, *says;
		unsigned status; /* 0: no answer */
		const char *body;
	} cases[] = {
		{ "by length", "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nhi", 202, "hi" },
		{ "until the end", "HTTP/1.1 200 OK\r\n\r\nall of it", 200, "all of it" },
		{ "chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n", 200, "hi!" },
		{ "after 100", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad Request\r\ncontent-length: 1\r\n\r\nx", 400, "x" },
		{ "longer than its length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!", 200, "hi" },
		{ "no body", "HTTP/1.1 204 No Content\r\n\r\n", 204, "" },
		{ "cut in its body", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", 0, NULL },
		{ "cut in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nh", 0, NULL },
		{ "cut in its head", "HTTP/1.1 200 OK\r\nContent-Le", 0, NULL },
		{ "not HTTP", "SSH-2.0-OpenSSH_9.2\r\n", 0, NULL },
		{ "nothing", "", 0, NULL },
	};
	struct sb_http_answer a;
	struct sb_err err;
	struct peer p;

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		bool answered;

		p.says = cases[i].says;
		answered = call(&p, 5000, &a, &err) == 0;
		if (answered != (cases[i].status != 0) || (answered && a.status != cases[i].status))
			fail_msg("row %zu: %s", i, cases[i].what);
		if (!answered) {
			assert_int_equal(err.code, SB_E_UNREACHABLE);
			continue;
		}
		assert_true(sb_slice_eq_str(sb_buf_slice(&a.body), cases[i].body));
		sb_buf_done(&a.body);
	}
	assert_non_null(strstr(p.heard, "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:"));
	assert_non_null(strstr(p.heard, "\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"));
}

static void a_silent_peer_is_given_up_in_time(void **state)
{
	uint64_t begin = sb_mono_ns(&sb_clock_system);
	struct peer p = { .says = NULL };
	struct sb_http_answer a;
	struct sb_err err;

	(void)state;
	assert_int_equal(call(&p, 60, &a, &err), -1);
	assert_int_equal(err.code, SB_E_UNREACHABLE);
	assert_non_null(strstr(err.msg, "in time"));
	assert_in_range((sb_mono_ns(&sb_clock_system) - begin) / SB_NS_PER_MS, 60, 4000);
}

static void nobody_there(void **state)
{
	static const char *const addresses[] = { "unix:/nonexistent/control.sock", "127.0.0.1:1", "no-such-host.invalid:80" };
	struct sb_http_call c = { .method = "GET", .path = "/", .timeout_ms = 3000 };
	struct sb_http_answer a;
	struct sb_err err;

	(void)state;
	for (size_t i = 0; i < SB_LEN(addresses); i++) {
		c.address = addresses[i];
		if (sb_http_call(&c, &a, &err) == 0 || err.code != SB_E_UNREACHABLE)
			fail_msg("%s: %s", addresses[i], err.msg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),
		cmocka_unit_test(a_silent_peer_is_given_up_in_time),
		cmocka_unit_test(nobody_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
