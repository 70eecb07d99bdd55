/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/net/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"

#define BACKLOG 1024

static int parse_port(const char *s, uint16_t *ret)
{
	char *end;
	unsigned long v;

	if (*s < '0' || *s > '9')
		return -1;
	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || v > 65535)
		return -1;
	*ret = (uint16_t)v;
	return 0;
}

static int parse_ip(const char *host, uint16_t port, struct address *ret)
{
	struct sockaddr_in *in = &ret->u.in;
	struct sockaddr_in6 *in6 = &ret->u.in6;

	if (strcmp(host, "localhost") == 0)
		host = "127.0.0.1";
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		ret->len = sizeof(*in);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		ret->len = sizeof(*in6);
		return 0;
	}
	return -1;
}

static int parse_unix(const char *path, struct address *ret, struct sb_err *err)
{
	struct sockaddr_un *un = &ret->u.un;
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof(un->sun_path))
		return sb_fail(err, SB_E_INVALID, "the path of a unix socket must have 1 to %zu bytes, this one has %zu",
			sizeof(un->sun_path) - 1, n);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, n + 1);
	ret->len = sizeof(*un);
	return 0;
}

int address_parse(const char *text, struct address *ret, struct sb_err *err)
{
	const char *colon = strrchr(text, ':');
	char host[64];
	size_t n;
	uint16_t port;

	memset(ret, 0, sizeof(*ret));
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, ret, err);
	n = colon ? (size_t)(colon - text) : 0;
	if (n > 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	} else if (n && memchr(text, ':', n))
		n = 0; /* an IPv6 address without its brackets: the port would be a guess */
	if (n > 0 && n < sizeof(host) && parse_port(colon + 1, &port) == 0) {
		memcpy(host, text, n);
		host[n] = '\0';
		if (parse_ip(host, port, ret) == 0)
			return 0;
	}
	sb_fail(err, SB_E_INVALID, "'%s' is not an address", text);
	return sb_hint(err, "write 127.0.0.1:8480, [::1]:8480, or unix:/run/signalbox.sock");
}

bool sb_address_is_loopback(const char *address)
{
	struct address a;

	if (address_parse(address, &a, NULL) < 0)
		return false;
	if (a.u.sa.sa_family == AF_INET)
		return (ntohl(a.u.in.sin_addr.s_addr) >> 24) == 127;
	if (a.u.sa.sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&a.u.in6.sin6_addr) ||
		       (IN6_IS_ADDR_V4MAPPED(&a.u.in6.sin6_addr) && a.u.in6.sin6_addr.s6_addr[12] == 127);
	return true;
}

/* A socket file that nobody listens on was left by a daemon that died. Anything else stays. */
static int clear_stale(const struct address *a, struct sb_err *err)
{
	const char *path = a->u.un.sun_path;
	struct stat st;
	int fd, rc;

	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return sb_fail(err, SB_E_BUSY, "%s exists and is not a socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return sb_fail_errno(err, "cannot make a socket");
	rc = connect(fd, &a->u.sa, a->len);
	close(fd);
	if (rc == 0)
		return sb_fail(err, SB_E_BUSY, "somebody listens on %s already", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return sb_fail_errno(err, "cannot remove the old socket %s", path);
	return 0;
}

static int bind_ip(int fd, const struct address *a, bool reuse_port)
{
	int one = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -1;
	if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
		return -1;
	/* An IPv6 listener is one: "[::]" beside "0.0.0.0" must not collide, whatever the system's default. */
	if (a->u.sa.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
		return -1;
	return bind(fd, &a->u.sa, a->len);
}

/* Until listen() nobody can connect: there is no moment in which the socket has a wider mode. */
static int bind_unix(int fd, const struct address *a)
{
	if (bind(fd, &a->u.sa, a->len) < 0)
		return -1;
	return chmod(a->u.un.sun_path, 0600);
}

static uint16_t bound_port(int fd)
{
	struct address a = { .len = sizeof(a.u) };

	if (getsockname(fd, &a.u.sa, &a.len) < 0)
		return 0;
	if (a.u.sa.sa_family == AF_INET)
		return ntohs(a.u.in.sin_port);
	return a.u.sa.sa_family == AF_INET6 ? ntohs(a.u.in6.sin6_port) : 0;
}

int sb_listen(const char *address, bool reuse_port, int *ret_fd, uint16_t *ret_port, struct sb_err *err)
{
	struct address a;
	bool local;
	int fd;

	if (address_parse(address, &a, err) < 0)
		return -1;
	local = a.u.sa.sa_family == AF_UNIX;
	if (local && clear_stale(&a, err) < 0)
		return -1;
	fd = socket(a.u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return sb_fail_errno(err, "cannot make a socket");
	if ((local ? bind_unix(fd, &a) : bind_ip(fd, &a, reuse_port)) < 0 || listen(fd, BACKLOG) < 0) {
		sb_fail_errno(err, "cannot listen on %s", address);
		close(fd);
		return -1;
	}
	*ret_fd = fd;
	if (ret_port)
		*ret_port = bound_port(fd);
	return 0;
}
