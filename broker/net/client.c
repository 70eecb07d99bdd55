/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/net/http.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "address.h"
#include "guard.h"

/*
 * One request, one answer, one connection; for the command line, which may block. The answer is read to its end (the
 * request says Connection: close) and taken apart afterwards. One deadline for all of it.
 */
#define MAX_ANSWER (256u << 20)

struct call {
	int fd;
	uint64_t deadline_ns;
	const char *where;
	struct sb_err *err;
};

static int wait_for(const struct call *k, short what)
{
	struct pollfd p = { .fd = k->fd, .events = what };
	uint64_t now;
	int rc;

	do {
		now = sb_mono_ns(&sb_clock_system);
		rc = now < k->deadline_ns ? poll(&p, 1, (int)((k->deadline_ns - now) / SB_NS_PER_MS) + 1) : 0;
	} while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return sb_fail_errno(k->err, "cannot wait for %s", k->where);
	return rc ? 0 : sb_fail(k->err, SB_E_UNREACHABLE, "%s did not answer in time", k->where);
}

static int unreachable(const struct call *k, int error)
{
	return sb_fail(k->err, SB_E_UNREACHABLE, "cannot reach %s: %s", k->where, strerror(error));
}

static int connect_to(struct call *k, const struct address *a)
{
	int error = 0;
	socklen_t n = sizeof(error);

	k->fd = socket(a->u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (k->fd < 0)
		return sb_fail_errno(k->err, "cannot make a socket");
	if (connect(k->fd, &a->u.sa, a->len) == 0)
		return 0;
	if (errno != EINPROGRESS && errno != EINTR)
		return unreachable(k, errno);
	if (wait_for(k, POLLOUT) < 0)
		return -1;
	if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error)
		return unreachable(k, error);
	return 0;
}

static int send_all(const struct call *k, struct sb_slice s)
{
	while (s.n) {
		ssize_t n = send(k->fd, s.p, s.n, MSG_NOSIGNAL);

		if (n > 0)
			s = sb_slice(s.p + n, s.n - (size_t)n);
		else if (errno == EPIPE || errno == ECONNRESET)
			return 0; /* perhaps it has answered already, and refused the rest */
		else if (errno != EAGAIN && errno != EINTR)
			return sb_fail_errno(k->err, "cannot send to %s", k->where);
		else if (wait_for(k, POLLOUT) < 0)
			return -1;
	}
	return 0;
}

static int read_all(const struct call *k, struct sb_buf *out)
{
	for (;;) {
		char *at = sb_buf_reserve(out, 16384);
		ssize_t n;

		if (!at)
			return sb_fail(k->err, SB_E_LIMIT, "%s answered with more than %zu bytes", k->where, out->max);
		n = recv(k->fd, at, 16384, 0);
		if (n == 0 || (n < 0 && errno == ECONNRESET && out->len))
			return 0;
		if (n > 0)
			out->len += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			return unreachable(k, errno);
		else if (wait_for(k, POLLIN) < 0)
			return -1;
	}
}

/* ------------------------------------------------------------------------------------------------ the answer */

static struct sb_slice line_at(const char *p, size_t n)
{
	const char *lf = memchr(p, '\n', n);
	size_t len = lf ? (size_t)(lf - p) : n;

	return sb_slice(p, len && p[len - 1] == '\r' ? len - 1 : len);
}

/* The value of a header line, NULL when it is another one. */
static const char *value_of(struct sb_slice line, const char *name)
{
	size_t n = strlen(name);

	if (line.n <= n || line.p[n] != ':' || strncasecmp(line.p, name, n) != 0)
		return NULL;
	for (n++; n < line.n && line.p[n] == ' ';)
		n++;
	return line.p + n;
}

struct answer_head {
	unsigned status;
	size_t bytes;
	uint64_t length; /* UINT64_MAX: until the end */
	bool chunked;
};

static int read_head(const char *p, size_t n, struct answer_head *h)
{
	struct sb_slice line = line_at(p, n);
	const char *v;
	size_t at;

	if (line.n < 12 || memcmp(line.p, "HTTP/1.", 7) != 0)
		return -1;
	*h = (struct answer_head){ .status = (unsigned)strtoul(line.p + 9, NULL, 10), .length = UINT64_MAX };
	for (at = line.n + 2; at < n; at += line.n + 2) {
		line = line_at(p + at, n - at);
		if (line.n == 0) {
			h->bytes = at + 2;
			return 0;
		}
		if ((v = value_of(line, "content-length")) != NULL)
			h->length = strtoull(v, NULL, 10);
		else if ((v = value_of(line, "transfer-encoding")) != NULL)
			h->chunked = strncasecmp(v, "chunked", 7) == 0;
	}
	return -1;
}

static int dechunk(char *p, size_t n, size_t *ret)
{
	static const struct sb_guard_limits lim = { 4096, 65536, 256, MAX_ANSWER };
	struct sb_chunked c = { 0 };
	struct sb_refuse_http why;

	if (sb_chunked_run(&c, &lim, p, n, &why) <= 0)
		return -1;
	*ret = c.wr;
	return 0;
}

static int take_apart(const struct call *k, struct sb_buf *all, struct sb_http_answer *ret)
{
	struct answer_head h;
	size_t n;

	do { /* 100 Continue comes before the answer */
		if (all->len == 0 || read_head(all->p, all->len, &h) < 0 || h.bytes > all->len)
			return sb_fail(k->err, SB_E_UNREACHABLE, "%s closed the connection without an answer", k->where);
		sb_buf_eat(all, h.bytes);
	} while (h.status == 100);
	n = all->len;
	if (h.chunked ? dechunk(all->p, all->len, &n) < 0 : (h.length != UINT64_MAX && h.length > n))
		return sb_fail(k->err, SB_E_UNREACHABLE, "%s closed the connection within its answer", k->where);
	ret->status = h.status;
	all->len = SB_MIN(n, h.length);
	ret->body = *all;
	*all = (struct sb_buf){ .max = MAX_ANSWER };
	return 0;
}

/* ------------------------------------------------------------------------------------------------ the call */

static int exchange(struct call *k, const struct sb_http_call *m, const char *host, struct sb_http_answer *ret)
{
	struct sb_buf buf = SB_BUF(MAX_ANSWER);
	int rc;

	sb_buf_addf(&buf, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: signalbox/" SB_VERSION
			  "\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n",
		m->method, m->path, host, m->body.n, m->headers ? m->headers : "Content-Type: application/json\r\n");
	rc = send_all(k, sb_buf_slice(&buf));
	if (rc == 0)
		rc = send_all(k, m->body);
	sb_buf_clear(&buf);
	if (rc == 0)
		rc = read_all(k, &buf);
	if (rc == 0)
		rc = take_apart(k, &buf, ret);
	sb_buf_done(&buf);
	return rc;
}

/* A numeric address, or a name that the system's resolver knows. */
static int look_up(const char *text, struct address *ret, struct sb_err *err)
{
	const char *colon = strrchr(text, ':');
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *found;
	char host[256];
	int rc;

	if (address_parse(text, ret, err) == 0)
		return 0;
	if (strncmp(text, "unix:", 5) == 0 || !colon || (size_t)(colon - text) >= sizeof(host) || text[0] == '[')
		return -1;
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	rc = getaddrinfo(host, colon + 1, &hints, &found);
	if (rc != 0)
		return sb_fail(err, SB_E_UNREACHABLE, "cannot find %s: %s", text, gai_strerror(rc));
	memcpy(&ret->u, found->ai_addr, found->ai_addrlen);
	ret->len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

int sb_http_call(const struct sb_http_call *call, struct sb_http_answer *ret, struct sb_err *err)
{
	struct call k = { .fd = -1, .where = call->address, .err = err };
	struct address a;
	int rc;

	k.deadline_ns = sb_mono_ns(&sb_clock_system) + call->timeout_ms * SB_NS_PER_MS;
	if (look_up(call->address, &a, err) < 0)
		return -1;
	rc = connect_to(&k, &a);
	if (rc == 0)
		rc = exchange(&k, call, a.u.sa.sa_family == AF_UNIX ? "localhost" : call->address, ret);
	if (k.fd >= 0)
		close(k.fd);
	return rc;
}
