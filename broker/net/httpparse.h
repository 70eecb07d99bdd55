/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_NET_HTTPPARSE_H
#define SB_NET_HTTPPARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/net/http.h"

/*
 * The parser library behind one function. It reads complete heads only, which sb_guard_head has let through; what it
 * says about the framing must be what the guard found. Two back ends, one corpus: llhttp and http-parser.
 */
struct sb_head {
	struct sb_slice target;
	struct sb_http_header *header; /* the caller's room for `max` */
	size_t n, max;
	uint64_t length;               /* Content-Length, 0 when absent */
	unsigned minor;                /* of HTTP/1.x */
	bool chunked;
};

/* p[0 .. n) with its empty line. 0, or -1: not the head of a request. Slices point into p. */
int sb_httpparse_head(const char *p, size_t n, struct sb_head *h);

/* What both back ends do with what they are called back with. */
static inline int sb_head_on_name(struct sb_head *h, const char *at, size_t n)
{
	if (h->n == h->max)
		return -1;
	h->header[h->n++] = (struct sb_http_header){ .name = { at, n }, .value = { at, 0 } };
	return 0;
}

static inline int sb_head_on_value(struct sb_head *h, const char *at, size_t n)
{
	while (n && (at[n - 1] == ' ' || at[n - 1] == '\t'))
		n--;
	h->header[h->n - 1].value = (struct sb_slice){ at, n };
	return 0;
}

#endif
