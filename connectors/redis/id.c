/* SPDX-License-Identifier: Apache-2.0 */
#include "id.h"

#include "command.h"

static int number(struct sb_slice s, uint64_t *ret)
{
	uint64_t n = 0;

	if (s.n == 0 || s.n > 20)
		return -1;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned)(s.p[i] - '0');

		if (digit > 9 || n > (UINT64_MAX - digit) / 10)
			return -1;
		n = n * 10 + digit;
	}
	*ret = n;
	return 0;
}

int rds_id_parse(struct sb_slice s, struct rds_id *ret)
{
	const char *dash = s.n ? memchr(s.p, '-', s.n) : NULL;
	struct sb_slice ms = dash ? sb_slice(s.p, (size_t)(dash - s.p)) : s;

	ret->seq = 0;
	if (number(ms, &ret->ms) < 0)
		return -1;
	return dash ? number(sb_slice(dash + 1, s.n - ms.n - 1), &ret->seq) : 0;
}

size_t rds_id_format(struct rds_id id, char *out)
{
	size_t n = rds_digits(id.ms, out);

	out[n++] = '-';
	n += rds_digits(id.seq, out + n);
	out[n] = '\0';
	return n;
}

struct rds_id rds_id_before(struct rds_id id)
{
	if (id.seq)
		id.seq--;
	else if (id.ms)
		id = (struct rds_id){ id.ms - 1, UINT64_MAX };
	return id;
}

/* FNV-1a: these are names from a configuration, nobody attacks them. */
static uint64_t mix_text(uint64_t h, const char *s)
{
	do
		h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
	while (*s++);
	return h;
}

/* splitmix64's finish. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* A UUID of version 8 that sorts by the entry's time. */
struct sb_uuid rds_id_receipt(const char *source, const char *stream, struct rds_id id)
{
	uint64_t names = mix_text(mix_text(UINT64_C(0xcbf29ce484222325), source), stream);
	uint64_t tail = mix(names ^ mix(id.seq + UINT64_C(0x9e3779b97f4a7c15) * (id.ms + 1)));
	struct sb_uuid u;

	for (int i = 0; i < 6; i++)
		u.b[i] = (uint8_t)(id.ms >> (40 - 8 * i));
	u.b[6] = (uint8_t)(0x80 | (id.seq >> 8 & 0x0f));
	u.b[7] = (uint8_t)id.seq;
	for (int i = 0; i < 8; i++)
		u.b[8 + i] = (uint8_t)(tail >> (56 - 8 * i));
	u.b[8] = (uint8_t)(0x80 | (u.b[8] & 0x3f));
	return u;
}
