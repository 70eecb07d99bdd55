/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/ip.h"

#include <arpa/inet.h>
#include <string.h>

static bool parse_v4(struct sb_slice s, struct sb_ip *ret)
{
	size_t at = 0;

	ret->n = 4;
	for (int i = 0; i < 4; i++) {
		unsigned v = 0, digits = 0;

		if (i && (at >= s.n || s.p[at++] != '.'))
			return false;
		for (; at < s.n && s.p[at] >= '0' && s.p[at] <= '9' && digits < 3; at++, digits++)
			v = v * 10 + (unsigned)(s.p[at] - '0');
		if (!digits || v > 255)
			return false;
		ret->b[i] = (uint8_t)v;
	}
	return at == s.n;
}

static bool parse_v6(struct sb_slice s, struct sb_ip *ret)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	char text[INET6_ADDRSTRLEN];

	if (s.n < 2 || s.n >= sizeof(text) || memchr(s.p, '.', s.n) || !memchr(s.p, ':', s.n))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	if (strlen(text) != s.n || inet_pton(AF_INET6, text, ret->b) != 1)
		return false;
	ret->n = 16;
	if (memcmp(ret->b, mapped, sizeof(mapped)) == 0) {
		memmove(ret->b, ret->b + 12, 4);
		ret->n = 4;
	}
	return true;
}

bool sb_ip_parse(struct sb_slice s, struct sb_ip *ret)
{
	return s.n && s.n < INET6_ADDRSTRLEN && (parse_v4(s, ret) || parse_v6(s, ret));
}

bool sb_ip_equal(const struct sb_ip *a, const struct sb_ip *b)
{
	return a->n == b->n && memcmp(a->b, b->b, a->n) == 0;
}

int sb_cidr_parse(struct sb_slice s, struct sb_cidr *ret, struct sb_err *err)
{
	const char *slash = memchr(s.p, '/', s.n);
	unsigned bits = 0, max;
	size_t at;

	if (!slash || memchr(slash + 1, '/', s.n - (size_t)(slash - s.p) - 1))
		return sb_fail(err, SB_E_PATTERN, "cidr: `%.*s` is not an address and a mask like 10.0.0.0/8", SB_SLICE_ARG(s));
	at = (size_t)(slash - s.p) + 1;
	if (at == s.n || s.n - at > 3)
		return sb_fail(err, SB_E_PATTERN, "cidr: the mask of `%.*s` is not a number of bits", SB_SLICE_ARG(s));
	for (; at < s.n; at++) {
		if (s.p[at] < '0' || s.p[at] > '9')
			return sb_fail(err, SB_E_PATTERN, "cidr: the mask of `%.*s` is not a number of bits", SB_SLICE_ARG(s));
		bits = bits * 10 + (unsigned)(s.p[at] - '0');
	}
	if (!sb_ip_parse(sb_slice(s.p, (size_t)(slash - s.p)), &ret->base))
		return sb_fail(err, SB_E_PATTERN, "cidr: `%.*s` is not an IP address", (int)(slash - s.p), s.p);
	max = ret->base.n * 8u;
	if (bits >= max) {
		sb_fail(err, SB_E_PATTERN, "cidr: the mask of an IPv%d address must be below %u bits", max == 32 ? 4 : 6, max);
		return sb_hint(err, "a single address is a plain string");
	}
	ret->bits = (uint8_t)bits;
	return 0;
}

bool sb_cidr_contains(const struct sb_cidr *c, const struct sb_ip *ip)
{
	unsigned whole = c->bits / 8, rest = c->bits % 8;

	if (c->base.n != ip->n || memcmp(c->base.b, ip->b, whole) != 0)
		return false;
	return rest == 0 || ((c->base.b[whole] ^ ip->b[whole]) >> (8 - rest)) == 0;
}
