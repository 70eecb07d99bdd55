/* SPDX-License-Identifier: Apache-2.0 */
#include "url.h"

#include <stdio.h>
#include <string.h>

#include "broker/base/mem.h"

static int fail(struct sb_err *err, const char *what)
{
	sb_fail(err, SB_E_INVALID, "not the URL of a Redis: %s", what);
	return sb_hint(err, "write redis://host:6379/0, rediss://host:6380 or unix:/run/redis/redis.sock");
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* -1: too long, or a percent sign without its two digits. */
static int decode(struct sb_slice s, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '%') {
			int hi = i + 2 < s.n ? hex(s.p[i + 1]) : -1, lo = hi >= 0 ? hex(s.p[i + 2]) : -1;

			if (lo < 0 || (hi == 0 && lo == 0))
				return -1;
			c = (char)(hi << 4 | lo);
			i += 2;
		}
		if (n + 1 >= size)
			return -1;
		out[n++] = c;
	}
	out[n] = '\0';
	return 0;
}

static int number(struct sb_slice s, unsigned max, unsigned *ret)
{
	unsigned n = 0;

	if (s.n == 0 || s.n > 5)
		return -1;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return -1;
		n = n * 10 + (unsigned)(s.p[i] - '0');
	}
	*ret = n;
	return n <= max ? 0 : -1;
}

/* What stands before the first (or last) c moves to *head; false: there is none. */
static bool split(struct sb_slice *s, char c, bool last, struct sb_slice *head)
{
	const char *at = s->n ? (last ? memrchr(s->p, c, s->n) : memchr(s->p, c, s->n)) : NULL;

	if (!at)
		return false;
	*head = sb_slice(s->p, (size_t)(at - s->p));
	*s = sb_slice(at + 1, s->n - head->n - 1);
	return true;
}

/* "user:password@", ":password@"; a lone word is a user. The last @ counts: a password may hold one as it stands. */
static int take_user(struct sb_slice *s, struct rds_url *u, struct sb_err *err)
{
	struct sb_slice who, user;

	if (!split(s, '@', true, &who))
		return 0;
	if (!split(&who, ':', false, &user)) {
		user = who;
		who.n = 0;
	}
	if (decode(user, u->user, sizeof(u->user)) < 0 || decode(who, u->password, sizeof(u->password)) < 0)
		return fail(err, "its user or password is too long or wrongly percent-encoded");
	return 0;
}

static int take_db(struct sb_slice s, struct rds_url *u, struct sb_err *err)
{
	if (s.n && number(s, 65535, &u->db) < 0)
		return fail(err, "the number of its database must be between 0 and 65535");
	return 0;
}

static int take_socket(struct sb_slice s, struct rds_url *u, struct sb_err *err)
{
	static const char key[] = "db=";
	struct sb_slice path = s, query;

	if (split(&s, '?', false, &path)) {
		query = s;
		if (query.n < sizeof(key) || memcmp(query.p, key, sizeof(key) - 1) != 0)
			return fail(err, "behind the path only ?db=NUMBER is known");
		if (take_db(sb_slice(query.p + sizeof(key) - 1, query.n - (sizeof(key) - 1)), u, err) < 0)
			return -1;
	}
	if (path.n == 0 || path.p[0] != '/' || decode(path, u->path, sizeof(u->path)) < 0)
		return fail(err, "a socket needs an absolute path of at most 103 bytes");
	return 0;
}

static int take_host(struct sb_slice s, struct rds_url *u, struct sb_err *err)
{
	struct sb_slice where = s, host, port = { 0 };

	if (split(&s, '/', false, &where) && take_db(s, u, err) < 0)
		return -1;
	host = where;
	if (where.n && where.p[0] == '[') {
		where = sb_slice(where.p + 1, where.n - 1);
		if (!split(&where, ']', false, &host))
			return fail(err, "its address lacks a ]");
		if (where.n && where.p[0] != ':')
			return fail(err, "behind ] only a port may follow");
		port = where.n ? sb_slice(where.p + 1, where.n - 1) : where;
		if (where.n && port.n == 0)
			return fail(err, "its port is empty");
	} else if (split(&where, ':', false, &host)) {
		port = where;
		if (port.n == 0)
			return fail(err, "its port is empty");
	}
	if (port.n && (number(port, 65535, &u->port) < 0 || u->port == 0))
		return fail(err, "its port must be between 1 and 65535");
	if (decode(host, u->host, sizeof(u->host)) < 0)
		return fail(err, "its host is too long");
	if (!*u->host)
		memcpy(u->host, "127.0.0.1", sizeof("127.0.0.1"));
	return 0;
}

static bool begins(struct sb_slice *s, const char *with)
{
	size_t n = strlen(with);

	if (s->n < n || memcmp(s->p, with, n) != 0)
		return false;
	*s = sb_slice(s->p + n, s->n - n);
	return true;
}

int rds_url_parse(const char *text, struct rds_url *ret, struct sb_err *err)
{
	struct sb_slice s = sb_slice_str(text);

	*ret = (struct rds_url){ .port = 6379 };
	if (begins(&s, "unix://") || begins(&s, "redis+unix://"))
		return take_user(&s, ret, err) < 0 ? -1 : take_socket(s, ret, err);
	if (begins(&s, "unix:"))
		return take_socket(s, ret, err);
	ret->tls = begins(&s, "rediss://");
	if (!ret->tls && !begins(&s, "redis://"))
		return fail(err, "it begins with none of redis://, rediss://, unix:");
	return take_user(&s, ret, err) < 0 ? -1 : take_host(s, ret, err);
}

void rds_url_show(const struct rds_url *u, char *out)
{
	int n;

	if (*u->path)
		n = snprintf(out, RDS_URL_TEXT, "unix:%s", u->path);
	else
		n = snprintf(out, RDS_URL_TEXT, strchr(u->host, ':') ? "redis%s://[%s]:%u" : "redis%s://%s:%u", u->tls ? "s" : "",
			u->host, u->port);
	if (u->db)
		snprintf(out + n, RDS_URL_TEXT - (size_t)n, *u->path ? "?db=%u" : "/%u", u->db);
}
