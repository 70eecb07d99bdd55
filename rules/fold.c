/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/fold.h"

#include <string.h>

#include "broker/base/json.h"

static unsigned char_bytes(unsigned char c)
{
	return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

static uint32_t decode(const char *p, unsigned n)
{
	const unsigned char *u = (const unsigned char *)p;

	switch (n) {
	case 1:  return u[0];
	case 2:  return (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu);
	case 3:  return (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
	default: return (u[0] & 0x07u) << 18 | (u[1] & 0x3fu) << 12 | (u[2] & 0x3fu) << 6 | (u[3] & 0x3fu);
	}
}

static bool in_run(const struct sb_case_run *r, uint32_t cp)
{
	return cp >= r->first && cp <= r->last && (cp - r->first) % r->step == 0;
}

static void put(uint32_t cp, int32_t distance, char out[SB_CASE_BYTES + 1])
{
	unsigned n = sb_utf8_put((uint32_t)((int32_t)cp + distance), out);

	out[n] = '\0';
}

/* Only when a rule is compiled. */
bool sb_case_of(uint32_t cp, struct sb_case *ret)
{
	for (unsigned i = 0; i < sb_case_n_alone; i++)
		if (sb_case_alone[i].cp == cp) {
			*ret = sb_case_alone[i].is;
			return true;
		}
	for (unsigned i = 0; i < sb_case_n_runs && sb_case_runs[i].first <= cp; i++)
		if (in_run(&sb_case_runs[i], cp)) {
			put(cp, sb_case_runs[i].upper, ret->upper);
			put(cp, sb_case_runs[i].lower, ret->lower);
			return true;
		}
	return false;
}

static uint8_t copy(char to[SB_CASE_BYTES], const char *from, size_t n)
{
	memcpy(to, from, n);
	return (uint8_t)n;
}

void sb_fold_compile(struct sb_arena *a, struct sb_slice value, struct sb_fold *ret)
{
	const char *p = value.p, *end = p + value.n;
	struct sb_case k;

	ret->c = sb_arena_alloc(a, value.n * sizeof(*ret->c));
	ret->n = 0;
	while (p < end) {
		struct sb_fold_char *c = &ret->c[ret->n++];
		unsigned n = char_bytes((unsigned char)*p);
		bool cased = sb_case_of(decode(p, n), &k);

		c->na = copy(c->a, cased ? k.lower : p, cased ? strlen(k.lower) : n);
		c->nb = copy(c->b, cased ? k.upper : p, cased ? strlen(k.upper) : n);
		p += n;
	}
}

static size_t at_front(const struct sb_fold_char *c, const char *p, size_t left)
{
	if (left >= c->na && memcmp(p, c->a, c->na) == 0)
		return c->na;
	if (left >= c->nb && memcmp(p, c->b, c->nb) == 0)
		return c->nb;
	return 0;
}

static size_t at_back(const struct sb_fold_char *c, const char *end, size_t left)
{
	if (left >= c->na && memcmp(end - c->na, c->a, c->na) == 0)
		return c->na;
	if (left >= c->nb && memcmp(end - c->nb, c->b, c->nb) == 0)
		return c->nb;
	return 0;
}

/* Bytes of the front that the whole value takes; *ok false: it does not stand there. */
static size_t front(const struct sb_fold *f, struct sb_slice s, bool *ok)
{
	size_t at = 0;

	*ok = false;
	for (uint32_t i = 0; i < f->n; i++) {
		size_t n = at_front(&f->c[i], s.p + at, s.n - at);

		if (!n)
			return 0;
		at += n;
	}
	*ok = true;
	return at;
}

bool sb_fold_equal(const struct sb_fold *f, struct sb_slice s)
{
	bool ok;

	return front(f, s, &ok) == s.n && ok;
}

bool sb_fold_prefix(const struct sb_fold *f, struct sb_slice s)
{
	bool ok;

	front(f, s, &ok);
	return ok;
}

bool sb_fold_suffix(const struct sb_fold *f, struct sb_slice s)
{
	size_t left = s.n;

	for (uint32_t i = f->n; i-- > 0;) {
		size_t n = at_back(&f->c[i], s.p + left, left);

		if (!n)
			return false;
		left -= n;
	}
	return true;
}
