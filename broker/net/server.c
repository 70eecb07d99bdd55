/* SPDX-License-Identifier: Apache-2.0 */
#include "conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/*
 * Accepts, has connections counted in all and by address, and runs the deadlines of all connections on one timer: a heap of
 * due times under sb_clock, and one event of the loop for the nearest.
 *
 * Out of descriptors: a spare one is given up, the connection at the head of the backlog is accepted and closed, and the
 * spare is taken again; so the backlog empties instead of waking us for ever. If even that fails the listener rests.
 */

#define ACCEPTS_A_TURN 64
#define REST_MS 100
#define KIB 1024u

const struct sb_http_conf sb_http_conf_default = {
	.max_line = 4 * KIB,
	.max_header_bytes = 16 * KIB,
	.max_headers = 64,
	.max_body = 1024 * KIB + 16 * KIB,
	.max_connections = 1024,
	.max_per_address = 256,
	.max_pipelined = 64,
	.header_ms = 5000,
	.body_ms = 15000,
	.idle_ms = 60000,
	.write_ms = 15000,
	.max_requests = 100000,
	.max_buffered = 64u * KIB * KIB,
};

static const char *const refusal_names[SB_HTTP_NREFUSALS] = {
	[SB_HTTP_BAD_SYNTAX] = "bad_syntax",
	[SB_HTTP_BAD_FRAMING] = "bad_framing",
	[SB_HTTP_BAD_HOST] = "bad_host",
	[SB_HTTP_LINE_TOO_LONG] = "line_too_long",
	[SB_HTTP_HEADERS_TOO_LARGE] = "headers_too_large",
	[SB_HTTP_BODY_TOO_LARGE] = "body_too_large",
	[SB_HTTP_HEADER_TIMEOUT] = "header_timeout",
	[SB_HTTP_BODY_TIMEOUT] = "body_timeout",
	[SB_HTTP_WRITE_TIMEOUT] = "write_timeout",
	[SB_HTTP_EXPECT] = "expectation_failed",
	[SB_HTTP_VERSION] = "unsupported_version",
	[SB_HTTP_METHOD] = "unsupported_method",
	[SB_HTTP_NO_ROOM] = "no_room",
};

const char *sb_http_refusal_name(enum sb_http_refusal r)
{
	SB_ASSERT((unsigned)r < SB_HTTP_NREFUSALS);
	return refusal_names[r];
}

void server_date(struct sb_http_server *s)
{
	uint64_t now = sb_wall_ms(s->clock) / 1000;
	time_t t = (time_t)now;
	struct tm tm;

	if (now == s->date_s)
		return;
	s->date_s = now;
	strftime(s->date, sizeof(s->date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&t, &tm));
}

/* ------------------------------------------------------------------------------------------------ deadlines */

static void arm(struct sb_http_server *s)
{
	const struct sb_heap_node *next = sb_heap_min(&s->due);
	uint64_t now, ns;
	struct timeval tv;

	if (!next || next->key >= s->armed)
		return;
	now = sb_mono_ns(s->clock);
	ns = next->key > now ? next->key - now + 999 : 0; /* up to the next microsecond: never early */
	tv = (struct timeval){ .tv_sec = (time_t)(ns / SB_NS_PER_S), .tv_usec = (suseconds_t)(ns % SB_NS_PER_S / 1000) };
	evtimer_add(&s->timer, &tv);
	s->armed = next->key;
}

void server_schedule(struct sb_http_server *s, struct sb_heap_node *node, uint64_t key)
{
	int rc;

	sb_heap_remove(&s->due, node);
	rc = sb_heap_push(&s->due, node, key);
	SB_ASSERT(rc == 0); /* its cap is connections and listeners */
	arm(s);
}

static void listener_rest(struct listener *l)
{
	event_del(&l->ev);
	server_schedule(l->s, &l->due, sb_mono_ns(l->s->clock) + REST_MS * SB_NS_PER_MS);
}

/* Nodes of listeners and of connections share the heap; a listener's is one of the few in the list. */
static struct listener *listener_of(struct sb_http_server *s, const struct sb_heap_node *n)
{
	struct listener *l = s->listeners;

	while (l && &l->due != n)
		l = l->next;
	return l;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct sb_http_server *s = arg;
	uint64_t now = sb_mono_ns(s->clock);
	struct sb_heap_node *n;
	struct listener *l;

	(void)fd;
	(void)what;
	while ((n = sb_heap_min(&s->due)) != NULL && n->key <= now) {
		sb_heap_pop(&s->due);
		l = listener_of(s, n);
		if (l)
			event_add(&l->ev, NULL);
		else
			conn_expired(SB_CONTAINER(n, struct conn, due), now);
	}
	s->armed = UINT64_MAX;
	arm(s);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	struct sb_http_server *s = arg;
	struct sb_link *l;

	(void)fd;
	(void)what;
	while ((l = sb_list_pop_front(&s->dirty)) != NULL)
		conn_flush(SB_CONTAINER(l, struct conn, dirty));
}

/* ------------------------------------------------------------------------------------------------ accepting */

struct peer {
	char text[64];
	uint8_t key[CROWD_KEY];
	bool counted, loopback;
};

static void read_ip4(const uint8_t *b, struct peer *ret)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	memcpy(ret->key, mapped, sizeof(mapped));
	memcpy(ret->key + 12, b, 4);
	ret->loopback = b[0] == 127;
	inet_ntop(AF_INET, b, ret->text, sizeof(ret->text));
}

static void read_ip6(const struct in6_addr *a, struct peer *ret)
{
	if (IN6_IS_ADDR_V4MAPPED(a)) {
		read_ip4(a->s6_addr + 12, ret);
		return;
	}
	memcpy(ret->key, a, 8); /* one host has a whole /64 to choose from */
	ret->loopback = IN6_IS_ADDR_LOOPBACK(a);
	inet_ntop(AF_INET6, a, ret->text, sizeof(ret->text));
}

static void read_peer(const struct sockaddr_storage *ss, struct peer *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->counted = true;
	if (ss->ss_family == AF_INET)
		read_ip4((const uint8_t *)&((const struct sockaddr_in *)ss)->sin_addr, ret);
	else if (ss->ss_family == AF_INET6)
		read_ip6(&((const struct sockaddr_in6 *)ss)->sin6_addr, ret);
	else {
		memcpy(ret->text, "unix", 5);
		ret->loopback = true;
		ret->counted = false;
	}
}

static void turn_away(struct sb_http_server *s, int fd)
{
	static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
				   "Content-Length: 0\r\n\r\n";

	s->stats.refused_connections++;
	if (send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		shutdown(fd, SHUT_WR);
	close(fd);
}

static void welcome(struct listener *l, int fd, const struct sockaddr_storage *ss)
{
	struct crowd_addr *addr;
	struct peer p;

	read_peer(ss, &p);
	if (crowd_enter(l->s->crowd, p.counted ? p.key : NULL, &addr))
		conn_open(l, fd, p.text, p.loopback, addr);
	else
		turn_away(l->s, fd);
}

static void shed(struct listener *l)
{
	struct sb_http_server *s = l->s;
	int fd;

	close(s->spare_fd);
	fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		turn_away(s, fd);
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		listener_rest(l);
}

static void on_acceptable(evutil_socket_t lfd, short what, void *arg)
{
	struct listener *l = arg;
	struct sockaddr_storage ss;
	socklen_t n;
	int fd;

	(void)what;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		n = sizeof(ss);
		memset(&ss, 0, sizeof(ss.ss_family));
		fd = accept4(lfd, (struct sockaddr *)&ss, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			welcome(l, fd, &ss);
		else if (errno == EMFILE || errno == ENFILE) {
			shed(l);
			return;
		} else if (errno == ENOBUFS || errno == ENOMEM) {
			listener_rest(l);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR)
			return;
	}
}

int sb_http_server_listen(struct sb_http_server *s, int fd, void *tag, struct sb_err *err)
{
	struct listener *l;
	int one = 1;

	if (s->due.max >= crowd_max(s->crowd) + 64u)
		return sb_fail(err, SB_E_LIMIT, "one server listens on at most 64 sockets");
	s->due.max++;
	l = sb_xcalloc(sizeof(*l));
	l->s = s;
	l->fd = fd;
	l->tag = tag;
	/* Inherited by what is accepted. Answers are written whole, so waiting for more only costs. Fails on a unix socket. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	l->next = s->listeners;
	s->listeners = l;
	event_assign(&l->ev, s->base, fd, EV_READ | EV_PERSIST, on_acceptable, l);
	event_add(&l->ev, NULL);
	return 0;
}

static void listener_free(struct listener *l)
{
	event_del(&l->ev);
	sb_heap_remove(&l->s->due, &l->due);
	close(l->fd);
	free(l);
}

static void stop_listening(struct sb_http_server *s)
{
	struct listener *l;

	while ((l = s->listeners) != NULL) {
		s->listeners = l->next;
		listener_free(l);
	}
}

/* ------------------------------------------------------------------------------------------------ life */

static void at_most(uint64_t *v, uint64_t max)
{
	*v = SB_MIN(*v, max);
}

static void take_conf(struct sb_http_server *s, const struct sb_http_conf *conf)
{
	uint64_t line = conf->max_line, header = conf->max_header_bytes;

	at_most(&line, 16 * KIB);
	at_most(&header, 60 * KIB);
	s->conf = *conf;
	s->conf.max_line = (uint32_t)line;
	s->conf.max_header_bytes = (uint32_t)header;
	s->conf.max_pipelined = SB_MAX(conf->max_pipelined, 1);
	at_most(&s->conf.max_body, 256 * KIB * KIB);
	s->limits = (struct sb_guard_limits){
		.line = s->conf.max_line,
		.header_bytes = s->conf.max_header_bytes,
		.headers = s->conf.max_headers,
		.body = s->conf.max_body,
	};
}

struct sb_http_server *sb_http_server_new(struct event_base *base, const struct sb_clock *clock,
	const struct sb_http_conf *conf, sb_http_handler *on_request, void *arg)
{
	struct sb_http_server *s = sb_xcalloc(sizeof(*s));

	s->base = base;
	s->clock = clock;
	s->on_request = on_request;
	s->arg = arg;
	take_conf(s, conf ? conf : &sb_http_conf_default);
	sb_list_init(&s->conns);
	sb_list_init(&s->dirty);
	sb_list_init(&s->inputs);
	if (!s->conf.crowd)
		s->own_crowd = sb_http_crowd_new(s->conf.max_connections, s->conf.max_per_address);
	s->crowd = s->own_crowd ? s->own_crowd : s->conf.crowd;
	s->due.max = crowd_max(s->crowd);
	s->armed = UINT64_MAX;
	s->date_s = UINT64_MAX;
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	s->scratch = sb_xcalloc((size_t)s->conf.max_headers * sizeof(*s->scratch));
	event_assign(&s->flush_ev, base, -1, 0, on_flush, s);
	evtimer_assign(&s->timer, base, on_timer, s);
	return s;
}

void sb_http_server_drain(struct sb_http_server *s)
{
	struct sb_link *l, *next;

	s->draining = true;
	stop_listening(s);
	for (l = s->conns.next; l != &s->conns; l = next) {
		next = l->next;
		conn_drain(SB_CONTAINER(l, struct conn, link));
	}
}

bool sb_http_server_idle(const struct sb_http_server *s)
{
	return sb_list_empty(&s->conns);
}

void sb_http_server_free(struct sb_http_server *s)
{
	struct sb_link *l;

	if (!s)
		return;
	stop_listening(s);
	while ((l = sb_list_pop_front(&s->conns)) != NULL)
		conn_close(SB_CONTAINER(l, struct conn, link));
	while ((l = sb_list_pop_front(&s->inputs)) != NULL)
		SB_CONTAINER(l, struct input, link)->server = NULL; /* held by requests that still owe an answer */
	event_del(&s->flush_ev);
	event_del(&s->timer);
	sb_heap_done(&s->due);
	sb_http_crowd_free(s->own_crowd);
	if (s->spare_fd >= 0)
		close(s->spare_fd);
	free(s->scratch);
	free(s);
}

void sb_http_server_get_stats(const struct sb_http_server *s, struct sb_http_stats *ret)
{
	*ret = s->stats;
}
