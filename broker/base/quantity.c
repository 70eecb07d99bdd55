/* SPDX-License-Identifier: Apache-2.0 */
/* Durations and sizes, as people write them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/field.h"

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit *find_unit(const struct unit *u, const char *s, size_t n)
{
	for (; u->name; u++)
		if (strlen(u->name) == n && memcmp(u->name, s, n) == 0)
			return u;
	return NULL;
}

/* One "15m"; returns what follows it, NULL: not that. */
static const char *parse_part(const char *s, const struct unit *units, uint64_t *sum)
{
	const struct unit *u;
	char *end;
	size_t n;
	uint64_t v;

	if (*s < '0' || *s > '9')
		return NULL;
	errno = 0;
	v = strtoull(s, &end, 10);
	n = strspn(end, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
	u = find_unit(units, end, n);
	if (errno || !u || v > INT64_MAX / u->factor || *sum > INT64_MAX - v * u->factor)
		return NULL;
	*sum += v * u->factor;
	return end + n;
}

int sb_parse_ms(const char *s, uint64_t *ret)
{
	static const struct unit units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 },
		{ "d", 86400000 }, { NULL, 0 } };
	uint64_t sum = 0;

	if (strcmp(s, "0") == 0)
		s = "0s";
	do
		s = parse_part(s, units, &sum);
	while (s && *s);
	if (!s)
		return -1;
	*ret = sum;
	return 0;
}

int sb_parse_bytes(const char *s, uint64_t *ret)
{
	static const struct unit units[] = { { "", 1 }, { "B", 1 }, { "KiB", 1024 }, { "MiB", 1u << 20 },
		{ "GiB", 1u << 30 }, { "TiB", UINT64_C(1) << 40 }, { "KB", 1000 }, { "kB", 1000 }, { "MB", 1000000 },
		{ "GB", 1000000000 }, { "TB", UINT64_C(1000000000000) }, { NULL, 0 } };
	uint64_t sum = 0;

	s = parse_part(s, units, &sum);
	if (!s || *s)
		return -1;
	*ret = sum;
	return 0;
}
