/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void on_gone(struct sb_http_req *req)
{
	((struct loop *)req->arg)->n_gone++;
}

static void note_header(struct loop *l, const struct sb_http_req *req)
{
	if (req->n_headers)
		snprintf(l->first_header, sizeof(l->first_header), "%.*s=%.*s", SB_SLICE_ARG(req->header[0].name),
			SB_SLICE_ARG(req->header[0].value));
}

static void echo(struct sb_http_req *req, void *arg)
{
	struct loop *l = arg;
	struct sb_buf out = SB_BUF(4u << 20);

	l->n_requests++;
	note_header(l, req);
	if (l->hold) {
		SB_ASSERT(l->n_held < LOOP_HELD);
		req->arg = l;
		req->on_gone = on_gone;
		l->held[l->n_held++] = req;
		return;
	}
	sb_buf_add_slice(&out, req->method);
	sb_buf_addc(&out, ' ');
	sb_buf_add_slice(&out, req->path);
	sb_buf_addc(&out, ' ');
	sb_buf_add_slice(&out, req->body);
	sb_http_reply(req, 202, "text/plain", NULL, sb_buf_slice(&out));
	sb_buf_done(&out);
}

void loop_reply(struct loop *l, unsigned held, const char *text)
{
	sb_http_reply(l->held[held], 200, "text/plain", NULL, sb_slice_str(text));
}

void loop_init(struct loop *l, const struct sb_http_conf *conf)
{
	char address[128];
	struct sb_err err;
	int fd;

	memset(l, 0, sizeof(*l));
	l->base = event_base_new();
	snprintf(l->dir, sizeof(l->dir), "/tmp/sb-net-XXXXXX");
	SB_ASSERT(mkdtemp(l->dir) != NULL);
	snprintf(l->path, sizeof(l->path), "%s/s", l->dir);
	snprintf(address, sizeof(address), "unix:%s", l->path);
	l->server = sb_http_server_new(l->base, &sb_clock_system, conf, echo, l);
	SB_ASSERT(sb_listen(address, false, &fd, NULL, &err) == 0);
	SB_ASSERT(sb_http_server_listen(l->server, fd, l, &err) == 0);
}

void loop_done(struct loop *l)
{
	sb_http_server_free(l->server);
	event_base_free(l->base);
	unlink(l->path);
	rmdir(l->dir);
	sb_pool_thread_done();
}

void loop_turn(struct loop *l)
{
	for (int i = 0; i < 3; i++)
		event_base_loop(l->base, EVLOOP_NONBLOCK);
}

int loop_connect(struct loop *l)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", l->path);
	SB_ASSERT(fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0);
	SB_ASSERT(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	event_base_loop(l->base, EVLOOP_NONBLOCK);
	return fd;
}

void loop_send(struct loop *l, int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n) {
		ssize_t done = send(fd, at, n, MSG_NOSIGNAL);

		loop_turn(l);
		if (done < 0 && errno != EAGAIN)
			return; /* refused and closed: the answer tells */
		if (done > 0) {
			at += done;
			n -= (size_t)done;
		}
	}
}

void loop_sends(struct loop *l, int fd, const char *s)
{
	loop_send(l, fd, s, strlen(s));
}

static bool read_some(struct loop *l, int fd, char *out, size_t size, const char *until, unsigned ms)
{
	uint64_t end = sb_mono_ns(&sb_clock_system) + ms * SB_NS_PER_MS;
	size_t have = 0;
	ssize_t n;

	out[0] = '\0';
	for (;;) {
		event_base_loop(l->base, EVLOOP_NONBLOCK);
		n = recv(fd, out + have, size - 1 - have, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return true;
		if (n > 0) {
			have += (size_t)n;
			out[have] = '\0';
			SB_ASSERT(have < size - 1);
		}
		if (until && strstr(out, until))
			return false;
		if (n < 0 && sb_mono_ns(&sb_clock_system) > end)
			return false;
		if (n < 0)
			usleep(200);
	}
}

bool loop_read(struct loop *l, int fd, char *out, size_t size, unsigned ms)
{
	return read_some(l, fd, out, size, NULL, ms);
}

bool loop_read_until(struct loop *l, int fd, char *out, size_t size, const char *until)
{
	return read_some(l, fd, out, size, until, 3000);
}

void loop_statuses(const char *s, size_t n, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i + 12 <= n && used + 5 < size; i++)
		if (memcmp(s + i, "HTTP/1.1 ", 9) == 0 && s[i + 9] >= '1' && s[i + 9] <= '5')
			used += (size_t)snprintf(out + used, size - used, "%s%.3s", used ? " " : "", s + i + 9);
}

struct sb_http_conf loop_conf(void (*change)(struct sb_http_conf *))
{
	struct sb_http_conf c = sb_http_conf_default;

	change(&c);
	return c;
}

const char *loop_told(const char *stream)
{
	static char got[512];

	loop_statuses(stream, strlen(stream), got, sizeof(got));
	return got;
}

uint64_t loop_refused(struct loop *l, enum sb_http_refusal why)
{
	struct sb_http_stats st;

	sb_http_server_get_stats(l->server, &st);
	return st.refused[why];
}

int loop_tcp_listen(struct loop *l)
{
	struct sb_err err;
	uint16_t port;
	int fd;

	SB_ASSERT(sb_listen("127.0.0.1:0", false, &fd, &port, &err) == 0);
	SB_ASSERT(sb_http_server_listen(l->server, fd, NULL, &err) == 0);
	return port;
}

int loop_tcp_from(struct loop *l, int port, const char *ip)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, ip, &in.sin_addr);
	SB_ASSERT(bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0);
	inet_pton(AF_INET, "127.0.0.1", &in.sin_addr);
	in.sin_port = htons((uint16_t)port);
	SB_ASSERT(connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0);
	SB_ASSERT(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	loop_turn(l);
	return fd;
}
