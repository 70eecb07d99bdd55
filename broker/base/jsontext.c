/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing JSON text behind the scanner. What takes a node relies on what the scanner has proved: escapes are
 * whole, surrogates come in pairs, the text is UTF-8.
 */
#include "broker/base/json.h"

#define NO_NODE UINT32_MAX

struct sb_slice sb_json_raw(const struct sb_tape *t, uint32_t i)
{
	const struct sb_json_node *n = &t->node[i];

	if (n->kind == SB_JSON_STRING)
		return sb_slice(t->text + n->off - 1, (size_t)n->len + 2);
	return sb_slice(t->text + n->off, n->len);
}

unsigned sb_utf8_put(uint32_t c, char out[4])
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

static uint32_t hex4(const char *p)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 4 | (uint32_t)(p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
	return v;
}

/* One escape of a text that the scanner has accepted, at the backslash; *at moves behind it. */
static unsigned decode_escape(const char **at, char out[4])
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *p = *at;
	uint32_t c;

	if (p[1] != 'u') {
		out[0] = to[strchr(from, p[1]) - from];
		*at += 2;
		return 1;
	}
	c = hex4(p + 2);
	*at += 6;
	if (c >= 0xd800 && c <= 0xdbff) {
		c = 0x10000 + ((c - 0xd800) << 10) + (hex4(p + 8) - 0xdc00);
		*at += 6;
	}
	return sb_utf8_put(c, out);
}

bool sb_json_string_eq(const struct sb_tape *t, uint32_t i, struct sb_slice plain)
{
	struct sb_slice s = sb_json_text(t, i);
	const char *p = s.p, *end = s.p + s.n;
	size_t at = 0;

	if (!(t->node[i].flags & SB_JSON_ESCAPED))
		return sb_slice_eq(s, plain);
	while (p < end) {
		char c[4];
		unsigned n = 1;

		if (*p == '\\')
			n = decode_escape(&p, c);
		else
			c[0] = *p++;
		if (plain.n - at < n || memcmp(plain.p + at, c, n) != 0)
			return false;
		at += n;
	}
	return at == plain.n;
}

uint32_t sb_json_member(const struct sb_tape *t, uint32_t i, struct sb_slice name)
{
	uint32_t found = NO_NODE;

	if (t->node[i].kind != SB_JSON_OBJECT)
		return NO_NODE;
	for (uint32_t k = i + 1; k < t->node[i].next; k = t->node[k + 1].next)
		if (sb_json_string_eq(t, k, name))
			found = k + 1;
	return found;
}

int sb_json_unescape(struct sb_slice escaped, struct sb_buf *out)
{
	size_t before = out->len, left = escaped.n;
	const char *p = escaped.p;

	while (left) {
		const char *slash = memchr(p, '\\', left), *from = p;
		size_t run = slash ? (size_t)(slash - p) : left;
		char c[4];
		unsigned n = 0;

		if (sb_buf_add(out, p, run) < 0)
			goto full;
		p += run;
		if (slash)
			n = decode_escape(&p, c);
		if (sb_buf_add(out, c, n) < 0)
			goto full;
		left -= (size_t)(p - from);
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
	if (plain.n > from)
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

int sb_json_add_base64(struct sb_buf *out, struct sb_slice s)
{
	static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *at = s.n > SIZE_MAX / 2 ? NULL : sb_buf_reserve(out, (s.n + 2) / 3 * 4 + 2);

	if (!at)
		return -1;
	*at++ = '"';
	for (size_t i = 0; i < s.n; i += 3) {
		uint32_t w = (uint32_t)(uint8_t)s.p[i] << 16;

		w |= i + 1 < s.n ? (uint32_t)(uint8_t)s.p[i + 1] << 8 : 0;
		w |= i + 2 < s.n ? (uint8_t)s.p[i + 2] : 0;
		*at++ = digit[w >> 18];
		*at++ = digit[w >> 12 & 63];
		*at++ = i + 1 < s.n ? digit[w >> 6 & 63] : '=';
		*at++ = i + 2 < s.n ? digit[w & 63] : '=';
	}
	*at = '"';
	out->len += (s.n + 2) / 3 * 4 + 2;
	return 0;
}
