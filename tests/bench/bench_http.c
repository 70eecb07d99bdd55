/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server alone: answers every request with 202 at once. Prints its port, runs until its stdin ends. */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "broker/net/http.h"

static void accept_all(struct sb_http_req *req, void *arg)
{
	(void)arg;
	sb_http_reply(req, 202, "application/json", NULL, SB_SLICE("{\"id\":\"019abcde-0000-7000-8000-000000000000\"}\n"));
}

static void on_stdin(evutil_socket_t fd, short what, void *arg)
{
	char sink[64];

	(void)what;
	if (read(fd, sink, sizeof(sink)) <= 0)
		event_base_loopbreak(arg);
}

static void report(const struct sb_http_server *s)
{
	struct sb_http_stats st;
	struct rusage u;
	double cpu;

	getrusage(RUSAGE_SELF, &u);
	cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	sb_http_server_get_stats(s, &st);
	printf("requests %lu, cpu %.2f s (user %.2f s), %.2f us a request, %lu blocks from malloc\n", st.requests, cpu,
		(double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6, cpu * 1e6 / (double)(st.requests ? st.requests : 1),
		sb_pool_misses());
}

int main(int argc, char **argv)
{
	struct event_base *base = event_base_new();
	struct sb_http_server *s = sb_http_server_new(base, &sb_clock_system, NULL, accept_all, NULL);
	struct event *in;
	struct sb_err err;
	uint16_t port;
	int fd;

	if (sb_listen(argc > 1 ? argv[1] : "127.0.0.1:0", false, &fd, &port, &err) < 0 ||
		sb_http_server_listen(s, fd, NULL, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	printf("%u\n", port);
	fflush(stdout);
	in = event_new(base, 0, EV_READ | EV_PERSIST, on_stdin, base);
	event_add(in, NULL);
	event_base_dispatch(base);
	report(s);
	event_free(in);
	sb_http_server_free(s);
	event_base_free(base);
	return 0;
}
