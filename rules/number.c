/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/number.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/json.h"

#define TEXT_MAX 1100 /* a longer one has more significant digits than any double's shortest form, or is all zeros */

/* A decimal number as its significant digits and the power of ten of the last one. */
struct decimal {
	const char *digit[2]; /* the text's runs of digits, before and behind the point */
	size_t n[2];
	long exp; /* of the number, as written */
};

static struct decimal split(const char *s)
{
	struct decimal d = { { 0 }, { 0 }, 0 };

	s += *s == '-' || *s == '+';
	d.digit[0] = s;
	d.n[0] = strspn(s, "0123456789");
	s += d.n[0];
	if (*s == '.') {
		d.digit[1] = ++s;
		d.n[1] = strspn(s, "0123456789");
		s += d.n[1];
	}
	if (*s == 'e' || *s == 'E')
		d.exp = strtol(s + 1, NULL, 10);
	return d;
}

/* Significant digits without leading and trailing zeros into out; returns how many, *ret_exp the power of the last. */
static size_t significant(const struct decimal *d, char *out, size_t max, long *ret_exp)
{
	size_t n = 0;

	*ret_exp = d->exp - (long)d->n[1];
	for (int part = 0; part < 2; part++)
		for (size_t i = 0; i < d->n[part]; i++) {
			if (n == 0 && d->digit[part][i] == '0')
				continue;
			if (n == max)
				return SIZE_MAX;
			out[n++] = d->digit[part][i];
		}
	while (n && out[n - 1] == '0') {
		n--;
		(*ret_exp)++;
	}
	return n;
}

static bool same_decimal(const char *a, const char *b)
{
	struct decimal da = split(a), db = split(b);
	char digits[2][TEXT_MAX];
	long exp[2];
	size_t na = significant(&da, digits[0], TEXT_MAX, &exp[0]), nb = significant(&db, digits[1], TEXT_MAX, &exp[1]);

	return na != SIZE_MAX && na == nb && memcmp(digits[0], digits[1], na) == 0 && (na == 0 || exp[0] == exp[1]);
}

/* One more in the last digit of "d.ddde-xx"; false: all of them are nines. */
static bool next_up(char *text)
{
	char *p = text + strcspn(text, "e");

	while (p-- > text) {
		if (*p < '0' || *p > '9')
			continue;
		if (*p != '9') {
			++*p;
			return true;
		}
		*p = '0';
	}
	return false;
}

/*
 * The shortest decimal that reads back as v and, of those, the nearest; two digits at least, as Java has it (4.9e-324, not
 * 5e-324). A power of two is the one place where the nearest decimal may miss while the next one away from zero does not: its
 * neighbour towards zero is half as far.
 */
static void shortest(double v, char *out, size_t size)
{
	int exp;
	bool power_of_two = fabs(frexp(v, &exp)) == 0.5;

	for (int precision = 2; precision <= 17; precision++) {
		snprintf(out, size, "%.*e", precision - 1, v);
		if (strtod(out, NULL) == v || (power_of_two && next_up(out) && strtod(out, NULL) == v))
			return;
	}
}

/* At most fifteen digits and no exponent, as nearly all are: both halves of the quotient are exact, so it is rounded once. */
static bool plain_number(struct sb_slice text, double *ret)
{
	static const double tens[] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
		1e15 };
	size_t i = text.p[0] == '-', digits = 0, behind = 0;
	uint64_t v = 0;
	bool point = false;

	if (text.n > 17)
		return false;
	for (; i < text.n; i++) {
		if (text.p[i] == '.') {
			point = true;
			continue;
		}
		if (text.p[i] < '0' || text.p[i] > '9' || ++digits > 15)
			return false;
		v = v * 10 + (uint64_t)(text.p[i] - '0');
		behind += point;
	}
	*ret = (double)v / tens[behind];
	if (text.p[0] == '-')
		*ret = -*ret;
	return true;
}

static bool any_number(struct sb_slice text, double *ret)
{
	char copy[TEXT_MAX], digits[TEXT_MAX], printed[40];
	struct decimal d;
	long exp;
	size_t n;

	if (text.n >= sizeof(copy))
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	*ret = strtod(copy, NULL);
	if (!isfinite(*ret))
		return false;
	d = split(copy);
	n = significant(&d, digits, sizeof(digits), &exp);
	if (n <= 15 && exp > -290 && exp < 290)
		return true; /* fifteen digits survive the way through a double */
	shortest(*ret, printed, sizeof(printed));
	return same_decimal(copy, printed);
}

bool sb_number_comparable(struct sb_slice text, double *ret)
{
	return plain_number(text, ret) || any_number(text, ret);
}

bool sb_number_is_json(struct sb_slice text)
{
	struct sb_tape_buf t = { 0 };
	struct sb_json_fault f;
	bool ok = sb_json_scan(text.p, text.n, &SB_JSON_LIMITS, &t, &f) == 0 && t.node[0].kind == SB_JSON_NUMBER;

	sb_tape_buf_done(&t);
	return ok;
}
