/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/clock.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "broker/base/mem.h"

static uint64_t system_mono_ns(const struct sb_clock *c)
{
	struct timespec t;

	(void)c;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SB_NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t system_wall_ms(const struct sb_clock *c)
{
	struct timespec t;

	(void)c;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / SB_NS_PER_MS;
}

const struct sb_clock sb_clock_system = { .mono_ns = system_mono_ns, .wall_ms = system_wall_ms };

static uint64_t fake_mono_ns(const struct sb_clock *c)
{
	return SB_CONTAINER(c, const struct sb_fake_clock, clock)->mono;
}

static uint64_t fake_wall_ms(const struct sb_clock *c)
{
	const struct sb_fake_clock *f = SB_CONTAINER(c, const struct sb_fake_clock, clock);

	return f->wall + f->mono / SB_NS_PER_MS;
}

void sb_fake_clock_init(struct sb_fake_clock *f, uint64_t wall_ms)
{
	*f = (struct sb_fake_clock){ .clock = { fake_mono_ns, fake_wall_ms }, .wall = wall_ms };
}

void sb_fake_clock_advance(struct sb_fake_clock *f, uint64_t ns)
{
	f->mono += ns;
}

/* Days to civil date and back: Howard Hinnant, "chrono-compatible low-level date algorithms". */
static void civil_from_days(int64_t z, int *y, unsigned *m, unsigned *d)
{
	int64_t era;
	unsigned doe, yoe, doy, mp;

	z += 719468;
	era = (z >= 0 ? z : z - 146096) / 146097;
	doe = (unsigned)(z - era * 146097);
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	*d = doy - (153 * mp + 2) / 5 + 1;
	*m = mp < 10 ? mp + 3 : mp - 9;
	*y = (int)((int64_t)yoe + era * 400 + (*m <= 2));
}

static int64_t days_from_civil(int y, unsigned m, unsigned d)
{
	int64_t era;
	unsigned yoe, doy, doe;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	yoe = (unsigned)(y - era * 400);
	doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
	doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
	return era * 146097 + (int64_t)doe - 719468;
}

static char *digits(char *p, unsigned v, int width)
{
	for (int i = width - 1; i >= 0; i--, v /= 10)
		p[i] = (char)('0' + v % 10);
	return p + width;
}

static size_t time_format(uint64_t wall_ms, char *out, bool fraction)
{
	uint64_t s = wall_ms / 1000;
	unsigned sod = (unsigned)(s % 86400), m, d;
	char *p = out;
	int y;

	civil_from_days((int64_t)(s / 86400), &y, &m, &d);
	p = digits(p, (unsigned)y % 10000, 4);
	*p++ = '-';
	p = digits(p, m, 2);
	*p++ = '-';
	p = digits(p, d, 2);
	*p++ = 'T';
	p = digits(p, sod / 3600, 2);
	*p++ = ':';
	p = digits(p, sod / 60 % 60, 2);
	*p++ = ':';
	p = digits(p, sod % 60, 2);
	if (fraction) {
		*p++ = '.';
		p = digits(p, (unsigned)(wall_ms % 1000), 3);
	}
	*p++ = 'Z';
	*p = '\0';
	return (size_t)(p - out);
}

size_t sb_time_format(uint64_t wall_ms, char *out)
{
	return time_format(wall_ms, out, true);
}

size_t sb_time_format_s(uint64_t wall_ms, char *out)
{
	return time_format(wall_ms, out, false);
}

/* Reads `width` digits at *s; -1 when there are fewer. */
static int read_digits(const char **s, const char *end, int width)
{
	int v = 0;

	if (end - *s < width)
		return -1;
	for (int i = 0; i < width; i++, (*s)++) {
		if (**s < '0' || **s > '9')
			return -1;
		v = v * 10 + (**s - '0');
	}
	return v;
}

static bool read_char(const char **s, const char *end, const char *any_of)
{
	for (; *s < end && *any_of; any_of++)
		if (**s == *any_of) {
			(*s)++;
			return true;
		}
	return false;
}

static int read_fraction(const char **s, const char *end)
{
	int ms = 0, scale = 100;

	if (!read_char(s, end, "."))
		return 0;
	if (*s == end || **s < '0' || **s > '9')
		return -1;
	for (; *s < end && **s >= '0' && **s <= '9'; (*s)++, scale /= 10)
		ms += (**s - '0') * scale;
	return ms;
}

static int read_offset(const char **s, const char *end, int *ret_minutes)
{
	int h, m, sign;

	*ret_minutes = 0;
	if (read_char(s, end, "Zz"))
		return 0;
	if (*s == end)
		return -1;
	sign = **s == '-' ? -1 : 1;
	if (!read_char(s, end, "+-"))
		return -1;
	h = read_digits(s, end, 2);
	if (h < 0 || h > 23 || !read_char(s, end, ":"))
		return -1;
	m = read_digits(s, end, 2);
	if (m < 0 || m > 59)
		return -1;
	*ret_minutes = sign * (h * 60 + m);
	return 0;
}

static unsigned days_in_month(int y, unsigned m)
{
	static const unsigned char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0) ? 29 : days[m - 1];
}

int sb_time_parse(const char *s, size_t n, uint64_t *ret_wall_ms)
{
	const char *end = s + n;
	int part[6], ms, offset;
	int64_t t;
	static const char *const sep[] = { "-", "-", "Tt ", ":", ":", "" };

	for (int i = 0; i < 6; i++) {
		part[i] = read_digits(&s, end, i == 0 ? 4 : 2);
		if (part[i] < 0 || (*sep[i] && !read_char(&s, end, sep[i])))
			return -1;
	}
	ms = read_fraction(&s, end);
	if (ms < 0 || read_offset(&s, end, &offset) < 0 || s != end)
		return -1;
	if (part[1] < 1 || part[1] > 12 || part[2] < 1 ||
	    (unsigned)part[2] > days_in_month(part[0], (unsigned)part[1]) || part[3] > 23 || part[4] > 59 ||
	    part[5] > 60)
		return -1;
	t = days_from_civil(part[0], (unsigned)part[1], (unsigned)part[2]) * 86400 + part[3] * 3600 + part[4] * 60 +
	    part[5] - (int64_t)offset * 60;
	if (t < 0)
		return -1;
	*ret_wall_ms = (uint64_t)t * 1000 + (uint64_t)ms;
	return 0;
}

size_t sb_duration_format(uint64_t ms, char *out)
{
	static const struct {
		uint64_t ms;
		const char *unit;
	} units[] = { { 86400000, "d" }, { 3600000, "h" }, { 60000, "m" }, { 1000, "s" }, { 1, "ms" } };
	size_t n = 0;
	int parts = 0;

	if (ms == 0)
		return (size_t)snprintf(out, SB_TIME_TEXT, "0s");
	for (size_t i = 0; i < SB_LEN(units) && parts < 2; i++)
		if (ms >= units[i].ms) {
			n += (size_t)snprintf(out + n, SB_TIME_TEXT - n, "%" PRIu64 "%s", ms / units[i].ms, units[i].unit);
			ms %= units[i].ms;
			parts++;
		} else if (parts) {
			break; /* the two largest neighbouring units say enough */
		}
	return n;
}
