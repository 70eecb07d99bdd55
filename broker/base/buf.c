/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/buf.h"

#include <stdio.h>
#include <stdlib.h>

void sb_buf_init(struct sb_buf *b, size_t max)
{
	*b = (struct sb_buf){ .max = max };
}

void sb_buf_done(struct sb_buf *b)
{
	free(b->p);
	*b = (struct sb_buf){ .max = b->max };
}

char *sb_buf_reserve(struct sb_buf *b, size_t n)
{
	size_t cap;

	if (n > b->max - b->len)
		return NULL;
	if (b->len + n > b->cap) {
		cap = b->cap ? b->cap : 64;
		while (cap < b->len + n)
			cap *= 2;
		if (cap > b->max)
			cap = b->max;
		b->p = sb_xrealloc(b->p, cap);
		b->cap = cap;
	}
	return b->p + b->len;
}

int sb_buf_add(struct sb_buf *b, const void *src, size_t n)
{
	char *at;

	if (n == 0)
		return 0;
	at = sb_buf_reserve(b, n);
	if (!at)
		return -1;
	memcpy(at, src, n);
	b->len += n;
	return 0;
}

int sb_buf_addc(struct sb_buf *b, char c)
{
	return sb_buf_add(b, &c, 1);
}

int sb_buf_adds(struct sb_buf *b, const char *s)
{
	return sb_buf_add(b, s, strlen(s));
}

int sb_buf_addu(struct sb_buf *b, uint64_t n)
{
	char text[20], *p = text + sizeof(text);

	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	return sb_buf_add(b, p, (size_t)(text + sizeof(text) - p));
}

int sb_buf_addf(struct sb_buf *b, const char *fmt, ...)
{
	va_list ap;
	char *at;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -1;
	at = sb_buf_reserve(b, (size_t)n + 1); /* vsnprintf wants its NUL */
	if (!at)
		return -1;
	va_start(ap, fmt);
	vsnprintf(at, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

const char *sb_buf_cstr(struct sb_buf *b)
{
	char *at = sb_buf_reserve(b, 1);

	if (!at)
		return NULL;
	*at = '\0';
	return b->p;
}

void sb_buf_eat(struct sb_buf *b, size_t n)
{
	SB_ASSERT(n <= b->len);
	b->len -= n;
	if (b->len)
		memmove(b->p, b->p + n, b->len);
}
