/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/fakesource.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sb_fake_source *fake_of(struct sb_source *s)
{
	return SB_CONTAINER(s, struct sb_fake_source, source);
}

/* ------------------------------------------------------------------------------------------------ what connectors call */

static bool is_refused(const struct sb_fake_source *f, const struct sb_event *ev)
{
	return f->refuse_source && sb_slice_eq_str(ev->source, f->refuse_source);
}

static int refuse_some(struct sb_fake_source *f, struct sb_event **ev, size_t n, struct sb_refusal *refusal)
{
	bool any = false;

	for (size_t i = 0; i < n; i++)
		any = any || is_refused(f, ev[i]);
	for (size_t i = 0; any && i < n; i++) {
		refusal[i].why = is_refused(f, ev[i]) ? f->refuse_why : SB_REFUSE_WITH_OTHERS;
		snprintf(refusal[i].msg, sizeof(refusal[i].msg), "the fake says no");
	}
	return any ? -1 : 0;
}

static void outcome(struct sb_fake_source *f, uint64_t cookie)
{
	struct sb_refusal why = { .why = f->fail_why };

	snprintf(why.msg, sizeof(why.msg), "the disk said no");
	if (f->fail_why)
		f->source.ops->refused(&f->source, cookie, &why);
	else
		f->source.ops->accepted(&f->source, cookie);
}

int sb_source_emit(struct sb_source *s, struct sb_event **ev, size_t n, uint64_t cookie, struct sb_refusal *refusal)
{
	struct sb_fake_source *f = fake_of(s);

	f->emits++;
	if (refuse_some(f, ev, n, refusal) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (f->n < SB_FAKE_EVENTS)
			f->ev[f->n++] = ev[i];
		else
			sb_event_unref(ev[i]);
	}
	if (f->hold)
		f->held_cookie = cookie;
	else
		outcome(f, cookie);
	return 0;
}

void sb_fake_accept(struct sb_fake_source *f)
{
	outcome(f, f->held_cookie);
}

void sb_source_rejected(struct sb_source *s, const char *reason, uint64_t n)
{
	struct sb_fake_source *f = fake_of(s);
	size_t used = strlen(f->rejected);

	for (uint64_t i = 0; i < n && used + strlen(reason) + 2 < sizeof(f->rejected); i++)
		used += (size_t)snprintf(f->rejected + used, sizeof(f->rejected) - used, "%s ", reason);
}

const char *sb_source_bus(struct sb_source *s, struct sb_slice name)
{
	(void)s;
	if (name.n == 0 || sb_slice_eq_str(name, "default"))
		return "default";
	return sb_slice_eq_str(name, "audit") ? "audit" : NULL;
}

void sb_source_spec(struct sb_source *s, struct sb_event_spec *ret)
{
	static uint8_t serial;

	*ret = (struct sb_event_spec){
		.account = { SB_SLICE("000000000000"), false },
		.region = { SB_SLICE("local"), false },
		.received_ms = UINT64_C(1795508393000), /* 2026-11-24T08:19:53Z */
		.bus = "default",
		.origin = s->name,
	};
	ret->receipt.b[0] = 0x01;
	ret->receipt.b[15] = ++serial;
}

size_t sb_source_max_event(struct sb_source *s)
{
	return fake_of(s)->max_event;
}

bool sb_source_authorized(struct sb_source *s, const struct sb_http_req *req)
{
	(void)req;
	return !fake_of(s)->unauthorized;
}

bool sb_source_has_tokens(struct sb_source *s)
{
	return fake_of(s)->has_tokens;
}

/* ------------------------------------------------------------------------------------------------ life */

static void on_request(struct sb_http_req *req, void *arg)
{
	struct sb_fake_source *f = arg;

	if (!sb_http_route_call(f->env.routes, req))
		sb_http_reply_error(req, 404, "not_found", "no such path");
}

static void on_closed(struct sb_source *s)
{
	fake_of(s)->closed++;
}

static void listen_on(struct sb_fake_source *f)
{
	char address[128];
	struct sb_err err;
	int fd;

	snprintf(f->dir, sizeof(f->dir), "/tmp/sb-source-XXXXXX");
	SB_ASSERT(mkdtemp(f->dir) != NULL);
	snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
	snprintf(address, sizeof(address), "unix:%s", f->path);
	SB_ASSERT(sb_listen(address, false, &fd, NULL, &err) == 0);
	SB_ASSERT(sb_http_server_listen(f->server, fd, NULL, &err) == 0);
}

void sb_fake_source_init(struct sb_fake_source *f, const struct sb_connector *c, void *conf)
{
	struct sb_err err;

	memset(f, 0, sizeof(*f));
	f->max_event = 256 << 10;
	f->env.base = event_base_new();
	f->env.clock = &sb_clock_system;
	f->env.routes = sb_http_routes_new();
	f->server = sb_http_server_new(f->env.base, &sb_clock_system, NULL, on_request, f);
	listen_on(f);
	f->source = (struct sb_source){
		.name = "shop", .ops = c->source, .conf = conf, .env = &f->env, .closed = on_closed, .bus = "default",
	};
	f->source.state = sb_xcalloc(c->source->state_size);
	if (c->source->open(&f->source, &err) < 0) {
		fprintf(stderr, "open: %s\n", err.msg);
		abort();
	}
}

void sb_fake_source_forget(struct sb_fake_source *f)
{
	for (size_t i = 0; i < f->n; i++)
		sb_event_unref(f->ev[i]);
	f->n = 0;
	f->emits = 0;
	f->rejected[0] = '\0';
}

void sb_fake_source_done(struct sb_fake_source *f)
{
	f->source.ops->close(&f->source);
	SB_ASSERT(f->closed == 1);
	f->source.ops->free(&f->source);
	free(f->source.state);
	sb_fake_source_forget(f);
	sb_http_server_free(f->server);
	sb_http_routes_free(f->env.routes);
	event_base_free(f->env.base);
	unlink(f->path);
	rmdir(f->dir);
	sb_pool_thread_done();
}

/* ------------------------------------------------------------------------------------------------ requests */

static void turn(struct sb_fake_source *f)
{
	for (int i = 0; i < 3; i++)
		event_base_loop(f->env.base, EVLOOP_NONBLOCK);
}

static void send_all(struct sb_fake_source *f, int fd, struct sb_slice s)
{
	while (s.n) {
		ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return;
		if (n > 0)
			s = sb_slice(s.p + n, s.n - (size_t)n);
		turn(f);
	}
}

int sb_fake_send(struct sb_fake_source *f, const char *line, const char *headers, struct sb_slice body)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sb_buf head = SB_BUF(64 << 10);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", f->path);
	SB_ASSERT(connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0);
	SB_ASSERT(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	sb_buf_addf(&head, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n", line, body.n, headers);
	send_all(f, fd, sb_buf_slice(&head));
	send_all(f, fd, body);
	turn(f);
	sb_buf_done(&head);
	return fd;
}

static void take_apart(const char *all, struct sb_fake_answer *ret)
{
	const char *end = strstr(all, "\r\n\r\n");

	if (!end)
		return;
	ret->status = (unsigned)strtoul(all + 9, NULL, 10);
	snprintf(ret->head, sizeof(ret->head), "%.*s", (int)(end - all), all);
	snprintf(ret->body, sizeof(ret->body), "%s", end + 4);
}

void sb_fake_receive(struct sb_fake_source *f, int fd, struct sb_fake_answer *ret)
{
	static char all[1 << 20];
	size_t have = 0;
	ssize_t n = 1;

	*ret = (struct sb_fake_answer){ 0 };
	for (int i = 0; i < 2000 && n != 0; i++) {
		turn(f);
		n = recv(fd, all + have, sizeof(all) - 1 - have, 0);
		have += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	all[have] = '\0';
	take_apart(all, ret);
}

void sb_fake_request(struct sb_fake_source *f, const char *line, const char *headers, struct sb_slice body,
	struct sb_fake_answer *ret)
{
	sb_fake_receive(f, sb_fake_send(f, line, headers, body), ret);
}

void sb_fake_post(struct sb_fake_source *f, const char *path, const char *headers, const char *body, struct sb_fake_answer *ret)
{
	char line[512];

	snprintf(line, sizeof(line), "POST %s", path);
	sb_fake_request(f, line, headers, sb_slice_str(body), ret);
}
