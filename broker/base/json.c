/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scanner is one loop over the text with two questions: what may stand here, and what stands here. Open containers need
 * no stack: while a container is open, its node's `next` holds the index of its parent, and closing it puts the real value.
 *
 * Strings are most of an event, so they are read eight bytes at a time until something needs a look: a quote, a backslash,
 * a control character, or a byte above 0x7f, which must be well-formed UTF-8.
 */
#include "broker/base/json.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

struct scan {
	const unsigned char *text, *p, *end;
	struct sb_tape_buf *t;
	const struct sb_json_limits *lim;
	struct sb_json_fault *fault;
	uint32_t open; /* innermost open container, NONE at the top */
	uint32_t depth;
};

void sb_tape_buf_done(struct sb_tape_buf *t)
{
	free(t->node);
	*t = (struct sb_tape_buf){ 0 };
}

static int stop_at(struct scan *s, const unsigned char *at, enum sb_code code, const char *msg)
{
	*s->fault = (struct sb_json_fault){ (size_t)(at - s->text), msg, code };
	return -1;
}

static int stop(struct scan *s, const char *msg)
{
	return stop_at(s, s->p, SB_E_SYNTAX, s->p >= s->end ? "unexpected end" : msg);
}

static void skip_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
		s->p++;
}

/* The new node's index, or NONE at a limit. */
static uint32_t add_node(struct scan *s, enum sb_json_kind kind, const unsigned char *at)
{
	struct sb_tape_buf *t = s->t;

	if (t->n == t->cap) {
		if (t->n >= s->lim->nodes) {
			stop_at(s, at, SB_E_LIMIT, "too many values");
			return NONE;
		}
		t->cap = SB_MIN(t->cap ? t->cap * 2 : 256, s->lim->nodes);
		t->node = sb_xrealloc(t->node, t->cap * sizeof(*t->node));
	}
	t->node[t->n] = (struct sb_json_node){
		.off = (uint32_t)(at - s->text),
		.next = t->n + 1,
		.kind = (uint8_t)kind,
		.depth = (uint16_t)s->depth,
	};
	return t->n++;
}

/* ------------------------------------------------------------------------------------------------ strings */

/* Length of the well-formed UTF-8 sequence at p (Unicode table 3-7), 0 when it is none. */
static unsigned utf8_len(const unsigned char *p, const unsigned char *end)
{
	unsigned char c = *p, lo = 0x80, hi = 0xbf;
	unsigned n;

	if (c < 0x80)
		return 1;
	if (c < 0xc2 || c > 0xf4)
		return 0;
	n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	if (c == 0xe0)
		lo = 0xa0;
	else if (c == 0xed)
		hi = 0x9f;
	else if (c == 0xf0)
		lo = 0x90;
	else if (c == 0xf4)
		hi = 0x8f;
	if ((size_t)(end - p) < n || p[1] < lo || p[1] > hi)
		return 0;
	for (unsigned i = 2; i < n; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return n;
}

size_t sb_utf8_check(const char *text, size_t n)
{
	const unsigned char *p = (const unsigned char *)text, *end = p + n;

	while (p < end) {
		unsigned len = utf8_len(p, end);

		if (!len)
			break;
		p += len;
	}
	return (size_t)(p - (const unsigned char *)text);
}

static int hex4(const unsigned char *p, const unsigned char *end)
{
	int v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		unsigned char c = p[i];
		int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

/* p is at `u` of \uXXXX; moves behind the escape, and behind the second half of a surrogate pair. */
static int unicode_escape(struct scan *s)
{
	const unsigned char *at = s->p - 1;
	int v = hex4(s->p + 1, s->end);

	if (v < 0)
		return stop_at(s, at, SB_E_SYNTAX, "invalid \\u escape");
	s->p += 5;
	if (v < 0xd800 || v > 0xdfff)
		return 0;
	if (v > 0xdbff || s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u')
		return stop_at(s, at, SB_E_SYNTAX, "lone surrogate escape");
	v = hex4(s->p + 2, s->end);
	if (v < 0xdc00 || v > 0xdfff)
		return stop_at(s, at, SB_E_SYNTAX, "lone surrogate escape");
	s->p += 6;
	return 0;
}

static int escape(struct scan *s)
{
	s->p++;
	if (s->p >= s->end)
		return stop(s, "");
	if (*s->p == 'u')
		return unicode_escape(s);
	if (!*s->p || !strchr("\"\\/bfnrt", *s->p))
		return stop_at(s, s->p - 1, SB_E_SYNTAX, "invalid escape");
	s->p++;
	return 0;
}

#define ONES 0x0101010101010101u
#define HIGH 0x8080808080808080u

/* Skips bytes that need no look. */
static void skip_plain(struct scan *s)
{
	while (s->end - s->p >= 8) {
		uint64_t w, quote, slash, ctrl;

		memcpy(&w, s->p, 8);
		quote = w ^ (ONES * '"');
		slash = w ^ (ONES * '\\');
		quote = (quote - ONES) & ~quote;
		slash = (slash - ONES) & ~slash;
		ctrl = (w - ONES * 0x20) & ~w;
		if ((quote | slash | ctrl | w) & HIGH)
			break;
		s->p += 8;
	}
	while (s->p < s->end && *s->p >= 0x20 && *s->p < 0x80 && *s->p != '"' && *s->p != '\\')
		s->p++;
}

static int string(struct scan *s, uint8_t flags)
{
	uint32_t i = add_node(s, SB_JSON_STRING, s->p + 1);
	const unsigned char *start = ++s->p;

	if (i == NONE)
		return -1;
	for (;;) {
		unsigned n;

		skip_plain(s);
		if (s->p >= s->end)
			return stop(s, "");
		if (*s->p == '"')
			break;
		if (*s->p == '\\') {
			flags |= SB_JSON_ESCAPED;
			if (escape(s) < 0)
				return -1;
			continue;
		}
		if (*s->p < 0x20)
			return stop(s, "control character in a string");
		n = utf8_len(s->p, s->end);
		if (!n)
			return stop(s, "invalid UTF-8");
		s->p += n;
	}
	s->t->node[i].len = (uint32_t)(s->p - start);
	s->t->node[i].flags = flags;
	s->p++;
	return 0;
}

/* ------------------------------------------------------------------------------------------------ scalars */

static bool skip_digits(struct scan *s)
{
	const unsigned char *start = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return s->p > start;
}

static int number(struct scan *s)
{
	const unsigned char *start = s->p;
	uint32_t i = add_node(s, SB_JSON_NUMBER, start);
	uint8_t flags = SB_JSON_INTEGER;

	if (i == NONE)
		return -1;
	s->p += *s->p == '-';
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if (!skip_digits(s))
		return stop(s, "invalid number");
	if (s->p < s->end && *s->p == '.') {
		flags = 0;
		s->p++;
		if (!skip_digits(s))
			return stop(s, "invalid number");
	}
	if (s->p < s->end && (*s->p | 32) == 'e') {
		flags = 0;
		s->p++;
		s->p += s->p < s->end && (*s->p == '+' || *s->p == '-');
		if (!skip_digits(s))
			return stop(s, "invalid number");
	}
	s->t->node[i].len = (uint32_t)(s->p - start);
	s->t->node[i].flags = flags;
	return 0;
}

static int word(struct scan *s, const char *w, size_t n, enum sb_json_kind kind)
{
	uint32_t i = add_node(s, kind, s->p);

	if (i == NONE)
		return -1;
	for (size_t k = 0; k < n; k++, s->p++)
		if (s->p >= s->end || *s->p != (unsigned char)w[k])
			return stop(s, "unexpected character");
	s->t->node[i].len = (uint32_t)n;
	return 0;
}

static int scalar(struct scan *s)
{
	switch (*s->p) {
	case '"': return string(s, 0);
	case 't': return word(s, "true", 4, SB_JSON_TRUE);
	case 'f': return word(s, "false", 5, SB_JSON_FALSE);
	case 'n': return word(s, "null", 4, SB_JSON_NULL);
	default:
		if (*s->p == '-' || (*s->p >= '0' && *s->p <= '9'))
			return number(s);
		return stop(s, "unexpected character");
	}
}

/* ------------------------------------------------------------------------------------------------ containers */

static int open_container(struct scan *s, enum sb_json_kind kind)
{
	uint32_t i;

	if (s->depth >= s->lim->depth)
		return stop_at(s, s->p, SB_E_LIMIT, "nested too deep");
	i = add_node(s, kind, s->p++);
	if (i == NONE)
		return -1;
	s->t->node[i].next = s->open;
	s->open = i;
	s->depth++;
	return 0;
}

static void close_container(struct scan *s)
{
	struct sb_json_node *c = &s->t->node[s->open];

	s->p++;
	s->open = c->next;
	c->next = s->t->n;
	c->len = (uint32_t)(s->p - s->text) - c->off;
	s->depth--;
}

static bool in_object(const struct scan *s)
{
	return s->t->node[s->open].kind == SB_JSON_OBJECT;
}

static int member_name(struct scan *s)
{
	skip_space(s);
	if (s->p >= s->end || *s->p != '"')
		return stop(s, "expected a member's name in quotes");
	if (string(s, SB_JSON_KEY) < 0)
		return -1;
	skip_space(s);
	if (s->p >= s->end || *s->p != ':')
		return stop(s, "expected ':'");
	s->p++;
	return 0;
}

/* Behind a complete value: closes what ends here. 1: a value follows; 0: the whole is complete. */
static int after_value(struct scan *s)
{
	while (s->open != NONE) {
		char closing = in_object(s) ? '}' : ']';

		skip_space(s);
		if (s->p < s->end && *s->p == ',') {
			s->p++;
			return in_object(s) && member_name(s) < 0 ? -1 : 1;
		}
		if (s->p >= s->end || *s->p != closing)
			return stop(s, in_object(s) ? "expected ',' or '}'" : "expected ',' or ']'");
		close_container(s);
	}
	return 0;
}

/* Opens a container; 1: a value follows, 0: it was empty and is complete. */
static int begin_container(struct scan *s)
{
	char closing = *s->p == '{' ? '}' : ']';

	if (open_container(s, *s->p == '{' ? SB_JSON_OBJECT : SB_JSON_ARRAY) < 0)
		return -1;
	skip_space(s);
	if (s->p < s->end && *s->p == closing) {
		close_container(s);
		return 0;
	}
	return closing == '}' && member_name(s) < 0 ? -1 : 1;
}

static int scan_value(struct scan *s)
{
	for (;;) {
		int more;

		skip_space(s);
		if (s->p >= s->end)
			return stop(s, "");
		if (*s->p == '{' || *s->p == '[') {
			more = begin_container(s);
			if (more < 0)
				return -1;
			if (more)
				continue;
		} else if (scalar(s) < 0) {
			return -1;
		}
		more = after_value(s);
		if (more <= 0)
			return more;
	}
}

int sb_json_scan_at(const char *text, size_t n, size_t from, const struct sb_json_limits *lim, struct sb_tape_buf *out,
	size_t *ret_end, struct sb_json_fault *fault)
{
	const unsigned char *t = (const unsigned char *)text;
	struct scan s = { t, t + from, t + n, out, lim, fault, NONE, 0 };

	out->n = 0;
	if (n > INT32_MAX)
		return stop_at(&s, t, SB_E_LIMIT, "larger than 2 GiB");
	if (scan_value(&s) < 0)
		return -1;
	*ret_end = (size_t)(s.p - t);
	return 0;
}

int sb_json_scan(const char *text, size_t n, const struct sb_json_limits *lim, struct sb_tape_buf *out,
	struct sb_json_fault *fault)
{
	size_t end;

	if (sb_json_scan_at(text, n, 0, lim, out, &end, fault) < 0)
		return -1;
	while (end < n && (text[end] == ' ' || text[end] == '\n' || text[end] == '\r' || text[end] == '\t'))
		end++;
	if (end == n)
		return 0;
	*fault = (struct sb_json_fault){ end, "text after the value", SB_E_SYNTAX };
	return -1;
}

/* ------------------------------------------------------------------------------------------------ reading */

struct sb_slice sb_json_raw(const struct sb_tape *t, uint32_t i)
{
	const struct sb_json_node *n = &t->node[i];

	if (n->kind == SB_JSON_STRING)
		return sb_slice(t->text + n->off - 1, (size_t)n->len + 2);
	return sb_slice(t->text + n->off, n->len);
}

static unsigned put_utf8(uint32_t c, char out[4])
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 63));
		out[2] = (char)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 63));
	out[2] = (char)(0x80 | (c >> 6 & 63));
	out[3] = (char)(0x80 | (c & 63));
	return 4;
}

/* One escape of a text that the scanner has accepted, at the backslash; *p moves behind it. */
static unsigned decode_escape(const char **p, const char *end, char out[4])
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const unsigned char *u = (const unsigned char *)*p;
	int v;

	if (u[1] != 'u') {
		out[0] = to[strchr(from, u[1]) - from];
		*p += 2;
		return 1;
	}
	v = hex4(u + 2, (const unsigned char *)end);
	*p += 6;
	if (v >= 0xd800 && v <= 0xdbff) {
		v = 0x10000 + ((v - 0xd800) << 10) + (hex4(u + 8, (const unsigned char *)end) - 0xdc00);
		*p += 6;
	}
	return put_utf8((uint32_t)v, out);
}

bool sb_json_string_eq(const struct sb_tape *t, uint32_t i, struct sb_slice plain)
{
	struct sb_slice s = sb_json_text(t, i);
	const char *p = s.p, *end = s.p + s.n, *q = plain.p, *qend = plain.p + plain.n;

	if (!(t->node[i].flags & SB_JSON_ESCAPED))
		return sb_slice_eq(s, plain);
	while (p < end) {
		char c[4];
		unsigned n = 1;

		if (*p == '\\')
			n = decode_escape(&p, end, c);
		else
			c[0] = *p++;
		if ((size_t)(qend - q) < n || memcmp(q, c, n) != 0)
			return false;
		q += n;
	}
	return q == qend;
}

uint32_t sb_json_member(const struct sb_tape *t, uint32_t i, struct sb_slice name)
{
	uint32_t found = NONE;

	if (t->node[i].kind != SB_JSON_OBJECT)
		return NONE;
	for (uint32_t k = i + 1; k < t->node[i].next; k = t->node[k + 1].next)
		if (sb_json_string_eq(t, k, name))
			found = k + 1;
	return found;
}

int sb_json_unescape(struct sb_slice escaped, struct sb_buf *out)
{
	const char *p = escaped.p, *end = escaped.p + escaped.n;
	size_t before = out->len;

	while (p < end) {
		const char *slash = memchr(p, '\\', (size_t)(end - p));
		char c[4];
		unsigned n;

		if (sb_buf_add(out, p, (size_t)((slash ? slash : end) - p)) < 0)
			goto full;
		if (!slash)
			break;
		p = slash;
		n = decode_escape(&p, end, c);
		if (sb_buf_add(out, c, n) < 0)
			goto full;
	}
	return 0;
full:
	out->len = before;
	return -1;
}

static int add_escaped_char(struct sb_buf *out, unsigned char c)
{
	static const char names[] = "\b\t\n\f\r", letters[] = "btnfr";
	const char *at = c ? strchr(names, c) : NULL;

	if (c == '"' || c == '\\')
		return sb_buf_addf(out, "\\%c", c);
	if (at)
		return sb_buf_addf(out, "\\%c", letters[at - names]);
	return sb_buf_addf(out, "\\u%04x", c);
}

int sb_json_add_string(struct sb_buf *out, struct sb_slice plain)
{
	size_t before = out->len, from = 0;
	int bad = sb_buf_addc(out, '"');

	for (size_t i = 0; i < plain.n; i++) {
		unsigned char c = (unsigned char)plain.p[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		bad |= sb_buf_add(out, plain.p + from, i - from);
		bad |= add_escaped_char(out, c);
		from = i + 1;
	}
	bad |= sb_buf_add(out, plain.p + from, plain.n - from);
	bad |= sb_buf_addc(out, '"');
	if (bad)
		out->len = before;
	return bad ? -1 : 0;
}

void sb_json_place(const char *text, size_t n, size_t off, struct sb_loc *ret)
{
	ret->line = 1;
	ret->col = 1;
	for (size_t i = 0; i < n && i < off; i++) {
		if (text[i] == '\n') {
			ret->line++;
			ret->col = 1;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			ret->col++;
		}
	}
}
