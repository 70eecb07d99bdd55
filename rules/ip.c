/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/ip.h"

#include <string.h>

#define V4_TEXT_MAX 15 /* leading zeros count */
#define NO_GAP 9

static bool parse_v4(struct sb_slice s, struct sb_ip *ret)
{
	size_t at = 0;

	ret->n = 4;
	for (int i = 0; i < 4; i++) {
		unsigned v = 0;
		size_t from;

		if (i && (at >= s.n || s.p[at++] != '.'))
			return false;
		for (from = at; at < s.n && s.p[at] >= '0' && s.p[at] <= '9' && v <= 255; at++)
			v = v * 10 + (unsigned)(s.p[at] - '0');
		if (at == from || v > 255)
			return false;
		ret->b[i] = (uint8_t)v;
	}
	return at == s.n && s.n <= V4_TEXT_MAX;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Hexadecimal digits up to 0xffff; leading zeros are free. */
static bool take_group(struct sb_slice s, size_t *at, uint16_t *ret)
{
	size_t from = *at;
	unsigned v = 0;

	for (int d; *at < s.n && v <= 0xffff && (d = hex_digit(s.p[*at])) >= 0; (*at)++)
		v = v << 4 | (unsigned)d;
	*ret = (uint16_t)v;
	return *at > from && v <= 0xffff;
}

/* Groups as they stand, and before which one the `::` was. How many there are, or -1. */
static int take_groups(struct sb_slice s, uint16_t group[8], int *ret_gap)
{
	size_t at = 0;
	int n = 0;

	*ret_gap = NO_GAP;
	if (s.n >= 2 && s.p[0] == ':' && s.p[1] == ':') {
		*ret_gap = 0;
		at = 2;
	}
	while (at < s.n) {
		if (n == 8 || !take_group(s, &at, &group[n++]))
			return -1;
		if (at == s.n)
			break;
		if (s.p[at++] != ':' || at == s.n)
			return -1;
		if (s.p[at] != ':')
			continue;
		if (*ret_gap != NO_GAP)
			return -1;
		*ret_gap = n;
		at++;
	}
	return n;
}

static bool parse_v6(struct sb_slice s, struct sb_ip *ret)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	uint16_t group[8];
	int gap, n = take_groups(s, group, &gap);

	if (n < 0 || (gap == NO_GAP ? n != 8 : n == 8))
		return false;
	memset(ret->b, 0, sizeof(ret->b));
	ret->n = 16;
	for (int i = 0; i < n; i++) {
		int to = i < gap ? i : 8 - n + i;

		ret->b[2 * to] = (uint8_t)(group[i] >> 8);
		ret->b[2 * to + 1] = (uint8_t)group[i];
	}
	if (memcmp(ret->b, mapped, sizeof(mapped)) == 0) {
		memmove(ret->b, ret->b + 12, 4);
		ret->n = 4;
	}
	return true;
}

bool sb_ip_parse(struct sb_slice s, struct sb_ip *ret)
{
	return parse_v4(s, ret) || parse_v6(s, ret);
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
	if (at == s.n)
		return sb_fail(err, SB_E_PATTERN, "cidr: the mask of `%.*s` is not a number of bits", SB_SLICE_ARG(s));
	for (; at < s.n; at++) {
		if (s.p[at] < '0' || s.p[at] > '9')
			return sb_fail(err, SB_E_PATTERN, "cidr: the mask of `%.*s` is not a number of bits", SB_SLICE_ARG(s));
		bits = SB_MIN(bits * 10 + (unsigned)(s.p[at] - '0'), 1000u);
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
