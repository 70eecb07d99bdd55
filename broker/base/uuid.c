/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/uuid.h"

#include <stdbool.h>
#include <string.h>

struct sb_uuid sb_uuid_next(struct sb_uuid_gen *g, uint64_t wall_ms)
{
	struct sb_uuid u;
	uint64_t low = sb_rand_u64(g->rand);

	if (wall_ms > g->last_ms) {
		g->last_ms = wall_ms;
		g->counter = sb_rand_u32(g->rand) & 0xffffff; /* leaves room to count up */
	} else if (++g->counter >= 1u << 26) {
		g->counter = 0;
		g->last_ms++;
	}
	for (int i = 0; i < 6; i++)
		u.b[i] = (uint8_t)(g->last_ms >> (40 - 8 * i));
	u.b[6] = (uint8_t)(0x70 | (g->counter >> 22));
	u.b[7] = (uint8_t)(g->counter >> 14);
	u.b[8] = (uint8_t)(0x80 | ((g->counter >> 8) & 0x3f));
	u.b[9] = (uint8_t)g->counter;
	memcpy(u.b + 10, &low, 6);
	return u;
}

static bool dash_at(unsigned i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

void sb_uuid_format(const struct sb_uuid *u, char out[SB_UUID_TEXT + 1])
{
	static const char hex[] = "0123456789abcdef";
	const uint8_t *b = u->b;

	for (unsigned i = 0; i < SB_UUID_TEXT;) {
		if (dash_at(i)) {
			out[i++] = '-';
			continue;
		}
		out[i++] = hex[*b >> 4];
		out[i++] = hex[*b++ & 15];
	}
	out[SB_UUID_TEXT] = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int sb_uuid_parse(const char *s, uint32_t n, struct sb_uuid *ret)
{
	struct sb_uuid u;
	uint8_t *b = u.b;

	if (n != SB_UUID_TEXT)
		return -1;
	for (unsigned i = 0; i < SB_UUID_TEXT;) {
		int hi, lo;

		if (dash_at(i)) {
			if (s[i++] != '-')
				return -1;
			continue;
		}
		hi = hex_value(s[i++]);
		lo = hex_value(s[i++]);
		if (hi < 0 || lo < 0)
			return -1;
		*b++ = (uint8_t)(hi << 4 | lo);
	}
	*ret = u;
	return 0;
}
