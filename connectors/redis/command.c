/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#define DIGITS_MAX 20
#define MARK_MAX (DIGITS_MAX + 3) /* "$12\r\n" */

size_t rds_digits(uint64_t n, char *out)
{
	char text[DIGITS_MAX];
	size_t at = sizeof(text);

	do
		text[--at] = (char)('0' + n % 10);
	while (n /= 10);
	memcpy(out, text + at, sizeof(text) - at);
	return sizeof(text) - at;
}

/* "*3\r\n", "$12\r\n" */
static char *put_mark(char *p, char kind, uint64_t n)
{
	*p++ = kind;
	p += rds_digits(n, p);
	*p++ = '\r';
	*p++ = '\n';
	return p;
}

void rds_begin(struct rds_command *c, struct sb_buf *out, unsigned words, const char *verb)
{
	char *p = sb_buf_reserve(out, MARK_MAX);

	*c = (struct rds_command){ .out = out, .at = out->len, .left = words, .bad = p ? 0 : -1 };
	if (p)
		out->len = (size_t)(put_mark(p, '*', words) - out->p);
	rds_word(c, verb);
}

void rds_bytes(struct rds_command *c, struct sb_slice s)
{
	char *p = sb_buf_reserve(c->out, MARK_MAX + s.n + 3); /* and a NUL: hiredis looks for its words as in a string */

	SB_ASSERT(c->left > 0);
	c->left--;
	if (!p) {
		c->bad = -1;
		return;
	}
	p = put_mark(p, '$', s.n);
	if (s.n)
		memcpy(p, s.p, s.n);
	p += s.n;
	*p++ = '\r';
	*p++ = '\n';
	*p = '\0';
	c->out->len = (size_t)(p - c->out->p);
}

void rds_word(struct rds_command *c, const char *s)
{
	rds_bytes(c, sb_slice_str(s));
}

void rds_number(struct rds_command *c, uint64_t n)
{
	char text[DIGITS_MAX];

	rds_bytes(c, sb_slice(text, rds_digits(n, text)));
}

int rds_end(struct rds_command *c)
{
	SB_ASSERT(c->left == 0);
	if (!c->bad)
		return 0;
	c->out->len = c->at;
	return -1;
}
