/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/json.h"

#include <endian.h>
#include <stdlib.h>

/*
 * The scanner is a loop, not a recursion: the tape is its own stack. While a container is open, the `next` of its node
 * holds the index of the container around it; closing writes the real `next`. So depth costs no memory beside the tape,
 * and hostile nesting cannot reach the C stack.
 *
 * Nearly all bytes of an event stand in strings. They are skipped eight at a time: one word of arithmetic tells whether
 * any of the eight is a quote, a backslash, a control character or not ASCII, and which is the first.
 *
 * The cursor `p` travels as argument and return value, NULL for a fault, so that it stays in a register.
 */
#define NO_NODE UINT32_MAX
#define FIRST_CAP 64u

struct scan {
	const char *base, *end;
	struct sb_json_node *node;
	uint32_t n, room;  /* nodes that fit before grow() must be asked */
	uint32_t open;     /* innermost open container, or NO_NODE */
	uint32_t depth;    /* open containers */
	bool first;        /* a container was opened just now and has a first element */
	struct sb_json_limits lim;
	struct sb_tape_buf *out;
	struct sb_json_fault *fault;
};

enum { SPACE = 1, DIGIT = 2, HEX = 4 };
static const uint8_t class_of[256] = {
	[' '] = SPACE, ['\t'] = SPACE, ['\n'] = SPACE, ['\r'] = SPACE, ['0' ... '9'] = DIGIT | HEX,
	['a' ... 'f'] = HEX, ['A' ... 'F'] = HEX,
};

static bool is(char c, uint8_t class)
{
	return class_of[(uint8_t)c] & class;
}

/* ------------------------------------------------------------------------------------------------ faults */

static __attribute__((cold, noinline)) const char *fail(struct scan *s, enum sb_code code, const char *at,
	const char *msg)
{
	*s->fault = (struct sb_json_fault){ .off = (size_t)(at - s->base), .msg = msg, .code = code };
	return NULL;
}

static const char *unexpected_end(struct scan *s)
{
	return fail(s, SB_E_SYNTAX, s->end, "unexpected end");
}

static const char *expected(struct scan *s, const char *at, const char *msg)
{
	return at == s->end ? unexpected_end(s) : fail(s, SB_E_SYNTAX, at, msg);
}

/* ------------------------------------------------------------------------------------------------ UTF-8 */

/* Length of the character at p, which is not ASCII; 0: invalid; -1: valid as far as it goes, but the text ends. */
static int utf8_length(const char *p, const char *end)
{
	uint8_t c = (uint8_t)*p, low = 0x80, high = 0xbf;
	int n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

	if (c < 0xc2 || c > 0xf4)
		return 0;
	if (c == 0xe0)
		low = 0xa0; /* shorter forms exist */
	else if (c == 0xed)
		high = 0x9f; /* surrogates */
	else if (c == 0xf0)
		low = 0x90;
	else if (c == 0xf4)
		high = 0x8f; /* beyond U+10FFFF */
	for (int i = 1; i < n; i++, low = 0x80, high = 0xbf) {
		if (p + i == end)
			return -1;
		if ((uint8_t)p[i] < low || (uint8_t)p[i] > high)
			return 0;
	}
	return n;
}

#define EACH_BYTE(x) (UINT64_C(0x0101010101010101) * (x))

static uint64_t load_word(const char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return le64toh(w);
}

size_t sb_utf8_check(const char *p, size_t n)
{
	size_t at = 0;

	while (at < n) {
		int len = 1;

		if (n - at >= 8 && !(load_word(p + at) & EACH_BYTE(0x80))) {
			at += 8;
			continue;
		}
		if ((uint8_t)p[at] >= 0x80)
			len = utf8_length(p + at, p + n);
		if (len <= 0)
			break;
		at += (size_t)len;
	}
	return at;
}

/* ------------------------------------------------------------------------------------------------ tape */

static __attribute__((cold, noinline)) bool grow(struct scan *s, const char *p)
{
	uint32_t cap = SB_MAX(s->out->cap, FIRST_CAP / 2);

	if (s->n >= s->lim.nodes) {
		fail(s, SB_E_LIMIT, p, "more values than the limit");
		return false;
	}
	cap = cap > s->lim.nodes / 2 ? s->lim.nodes : cap * 2;
	s->out->node = sb_xrealloc(s->out->node, (size_t)cap * sizeof(*s->node));
	s->out->cap = s->room = cap;
	s->node = s->out->node;
	return true;
}

static inline struct sb_json_node *push(struct scan *s, const char *p, enum sb_json_kind kind, uint8_t flags)
{
	struct sb_json_node *n;

	if (s->n == s->room && !grow(s, p))
		return NULL;
	n = &s->node[s->n++];
	*n = (struct sb_json_node){ .off = (uint32_t)(p - s->base), .next = s->n, .kind = kind, .flags = flags,
		.depth = (uint16_t)s->depth };
	return n;
}

static inline const char *skip_space(const char *p, const char *end)
{
	while (p < end && is(*p, SPACE))
		p++;
	return p;
}

/* ------------------------------------------------------------------------------------------------ strings */

/* Behind the plain characters at p; exact only for the first byte of interest, which is all that is asked. */
static inline const char *skip_plain(const char *p, const char *end)
{
	while (end - p >= 8) {
		uint64_t w = load_word(p);
		uint64_t quote = w ^ EACH_BYTE('"'), slash = w ^ EACH_BYTE('\\');
		uint64_t hit = ((quote - EACH_BYTE(1)) & ~quote) | ((slash - EACH_BYTE(1)) & ~slash) |
			((w - EACH_BYTE(0x20)) & ~w) | w;

		hit &= EACH_BYTE(0x80);
		if (hit)
			return p + __builtin_ctzll(hit) / 8;
		p += 8;
	}
	while (p < end && *p != '"' && *p != '\\' && (uint8_t)*p >= 0x20 && (uint8_t)*p < 0x80)
		p++;
	return p;
}

/* Four hex digits at p into *ret. */
static const char *scan_hex4(struct scan *s, const char *p, uint32_t *ret)
{
	*ret = 0;
	for (int i = 0; i < 4; i++, p++) {
		if (p == s->end || !is(*p, HEX))
			return expected(s, p, "expected four hex digits");
		*ret = *ret << 4 | (uint32_t)(is(*p, DIGIT) ? *p - '0' : (*p | 0x20) - 'a' + 10);
	}
	return p;
}

/* p at the backslash of a \u escape. Half a surrogate pair is no character: it could never leave us as UTF-8. */
static const char *scan_unicode_escape(struct scan *s, const char *p)
{
	const char *start = p;
	uint32_t unit, low;

	p = scan_hex4(s, p + 2, &unit);
	if (!p || unit < 0xd800 || unit > 0xdfff)
		return p;
	if (unit > 0xdbff)
		return fail(s, SB_E_SYNTAX, start, "lone surrogate escape");
	for (const char *want = "\\u"; *want; want++, p++)
		if (p == s->end || *p != *want)
			return p == s->end ? unexpected_end(s) : fail(s, SB_E_SYNTAX, start, "lone surrogate escape");
	p = scan_hex4(s, p, &low);
	if (p && (low < 0xdc00 || low > 0xdfff))
		return fail(s, SB_E_SYNTAX, start, "lone surrogate escape");
	return p;
}

static const char *scan_escape(struct scan *s, const char *p)
{
	if (p + 1 == s->end)
		return unexpected_end(s);
	if (p[1] == 'u')
		return scan_unicode_escape(s, p);
	if (p[1] == '\0' || !strchr("\"\\/bfnrt", p[1]))
		return fail(s, SB_E_SYNTAX, p + 1, "invalid escape");
	return p + 2;
}

/* The characters at p, which are not ASCII, up to the next that is. */
static const char *scan_wide(struct scan *s, const char *p)
{
	do {
		int n = utf8_length(p, s->end);

		if (n < 0)
			return unexpected_end(s);
		if (n == 0)
			return fail(s, SB_E_SYNTAX, p, "invalid UTF-8");
		p += n;
	} while (p < s->end && (uint8_t)*p >= 0x80);
	return p;
}

/* p at the opening quote. */
static inline const char *scan_string(struct scan *s, const char *p, uint8_t flags)
{
	struct sb_json_node *n = push(s, p + 1, SB_JSON_STRING, flags);
	const char *start = ++p;

	if (!n)
		return NULL;
	for (;;) {
		p = skip_plain(p, s->end);
		if (p == s->end)
			return unexpected_end(s);
		if (*p == '"')
			break;
		if (*p == '\\') {
			n->flags |= SB_JSON_ESCAPED;
			p = scan_escape(s, p);
		} else if ((uint8_t)*p >= 0x80) {
			p = scan_wide(s, p);
		} else {
			return fail(s, SB_E_SYNTAX, p, "control character in a string");
		}
		if (!p)
			return NULL;
	}
	n->len = (uint32_t)(p - start);
	return p + 1;
}

/* ------------------------------------------------------------------------------------------------ other scalars */

static inline const char *skip_digits(const char *p, const char *end)
{
	while (p < end && is(*p, DIGIT))
		p++;
	return p;
}

static const char *scan_digits(struct scan *s, const char *p)
{
	const char *end = skip_digits(p, s->end);

	return end > p ? end : expected(s, p, "expected a digit");
}

static const char *scan_number(struct scan *s, const char *p)
{
	struct sb_json_node *n = push(s, p, SB_JSON_NUMBER, SB_JSON_INTEGER);
	const char *start = p;

	if (!n)
		return NULL;
	p += *p == '-';
	if (p < s->end && *p == '0' && p + 1 < s->end && is(p[1], DIGIT))
		return fail(s, SB_E_SYNTAX, p + 1, "a digit behind a leading zero");
	p = scan_digits(s, p);
	if (p && p < s->end && *p == '.') {
		n->flags = 0;
		p = scan_digits(s, p + 1);
	}
	if (p && p < s->end && (*p | 0x20) == 'e') {
		n->flags = 0;
		p++;
		p += p < s->end && (*p == '+' || *p == '-');
		p = scan_digits(s, p);
	}
	if (p)
		n->len = (uint32_t)(p - start);
	return p;
}

static const char *scan_word(struct scan *s, const char *p, const char *word, enum sb_json_kind kind)
{
	struct sb_json_node *n = push(s, p, kind, 0);

	if (!n)
		return NULL;
	n->len = (uint32_t)strlen(word);
	for (; *word; word++, p++)
		if (p == s->end || *p != *word)
			return expected(s, p, "expected true, false or null");
	return p;
}

/* ------------------------------------------------------------------------------------------------ containers */

/* p where a member's name must begin; leaves p behind the colon. */
static inline const char *scan_key(struct scan *s, const char *p)
{
	p = skip_space(p, s->end);
	if (p == s->end || *p != '"')
		return expected(s, p, "expected a member name in double quotes");
	p = scan_string(s, p, SB_JSON_KEY);
	if (!p)
		return NULL;
	p = skip_space(p, s->end);
	if (p == s->end || *p != ':')
		return expected(s, p, "expected a colon");
	return p + 1;
}

/* p at the closing bracket of the innermost container. */
static inline const char *close_container(struct scan *s, const char *p)
{
	struct sb_json_node *n = &s->node[s->open];

	s->open = n->next;
	s->depth--;
	n->next = s->n;
	n->len = (uint32_t)(p + 1 - s->base) - n->off;
	return p + 1;
}
/* p at an opening bracket. Unless the container is empty: sets `first`, and has read the first name of an object. */
/* p at an opening bracket. Sets `first` unless the container is empty, and then has read the first name of an object. */
static inline const char *open_container(struct scan *s, const char *p, enum sb_json_kind kind)
{
	struct sb_json_node *n;

	if (s->depth >= s->lim.depth)
		return fail(s, SB_E_LIMIT, p, "nested deeper than the limit");
	n = push(s, p, kind, 0);
	if (!n)
		return NULL;
	n->next = s->open;
	s->open = s->n - 1;
	s->depth++;
	p = skip_space(p + 1, s->end);
	if (p < s->end && *p == (kind == SB_JSON_OBJECT ? '}' : ']'))
		return close_container(s, p);
	s->first = true;
	return kind == SB_JSON_OBJECT ? scan_key(s, p) : p;
}

/* A scalar or an empty container, whole; or the way into a container, with `first` set. */
static inline const char *scan_value(struct scan *s, const char *p)
{
	s->first = false;
	p = skip_space(p, s->end);
	if (p == s->end)
		return unexpected_end(s);
	switch (*p) {
	case '"': return scan_string(s, p, 0);
	case '{': return open_container(s, p, SB_JSON_OBJECT);
	case '[': return open_container(s, p, SB_JSON_ARRAY);
	case 't': return scan_word(s, p, "true", SB_JSON_TRUE);
	case 'f': return scan_word(s, p, "false", SB_JSON_FALSE);
	case 'n': return scan_word(s, p, "null", SB_JSON_NULL);
	default: break;
	}
	if (*p == '-' || is(*p, DIGIT))
		return scan_number(s, p);
	return fail(s, SB_E_SYNTAX, p, "expected a value");
}

/* Behind a whole value: closes what ends here; then at the next value of a container, or behind the root. */
static inline const char *after_value(struct scan *s, const char *p)
{
	while (s->open != NO_NODE) {
		bool object = s->node[s->open].kind == SB_JSON_OBJECT;

		p = skip_space(p, s->end);
		if (p < s->end && *p == ',')
			return object ? scan_key(s, p + 1) : p + 1;
		if (p == s->end || *p != (object ? '}' : ']'))
			return expected(s, p, object ? "expected a comma or }" : "expected a comma or ]");
		p = close_container(s, p);
	}
	return p;
}

static const char *scan_root(struct scan *s, const char *p)
{
	do {
		p = scan_value(s, p);
		if (p && !s->first)
			p = after_value(s, p);
	} while (p && s->open != NO_NODE);
	return p;
}

/* ------------------------------------------------------------------------------------------------ entry points */

/* NOLINTNEXTLINE(readability-function-size): one parameter over: a struct would only hide what it takes and gives */
int sb_json_scan_at(const char *text, size_t n, size_t from, const struct sb_json_limits *lim, struct sb_tape_buf *out,
	size_t *ret_end, struct sb_json_fault *fault)
{
	struct scan s = { .base = text, .end = text + n, .node = out->node, .open = NO_NODE, .lim = *lim, .out = out,
		.fault = fault };
	const char *p;

	out->n = 0;
	if (n > INT32_MAX) {
		*fault = (struct sb_json_fault){ INT32_MAX, "longer than 2 GiB", SB_E_LIMIT };
		return -1;
	}
	SB_ASSERT(from <= n);
	s.lim.depth = SB_MIN(lim->depth, UINT16_MAX);
	s.room = SB_MIN(out->cap, lim->nodes);
	p = scan_root(&s, text + from);
	if (!p)
		return -1;
	out->n = s.n;
	*ret_end = (size_t)(p - text);
	return 0;
}

int sb_json_scan(const char *text, size_t n, const struct sb_json_limits *lim, struct sb_tape_buf *out,
	struct sb_json_fault *fault)
{
	size_t end;

	if (sb_json_scan_at(text, n, 0, lim, out, &end, fault) < 0)
		return -1;
	while (end < n && is(text[end], SPACE))
		end++;
	if (end == n)
		return 0;
	out->n = 0;
	*fault = (struct sb_json_fault){ end, "text behind the value", SB_E_SYNTAX };
	return -1;
}

void sb_tape_buf_done(struct sb_tape_buf *t)
{
	free(t->node);
	*t = (struct sb_tape_buf){ 0 };
}
