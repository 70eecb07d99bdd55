/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_NET_GUARD_H
#define SB_NET_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/net/http.h"

/*
 * What we refuse by looking at the raw bytes, before any parser runs. Both readers go on where they stopped when more
 * bytes have come, and their verdict does not depend on how the bytes were cut into reads. Neither allocates.
 */
struct sb_refuse_http {
	unsigned status;
	enum sb_http_refusal why;
	const char *msg; /* constant, for the answer */
};

struct sb_guard_limits {
	uint32_t line, header_bytes, headers;
	uint64_t body;
};

/* A request head: request line and header lines. Offsets count from the first byte given. Zero-initialise for each. */
struct sb_guard {
	uint32_t start;   /* of the request line: 2 when an empty line stood before it */
	uint32_t line;    /* start of the line being read; the length of the head when it is complete */
	uint32_t seen;    /* bytes searched for a line end */
	uint32_t fields;  /* start of the header lines; 0: the request line is not complete */
	uint32_t method_n;
	uint32_t n_headers;
	uint64_t length;  /* Content-Length; saturates */
	bool http10, has_host, has_length, chunked, expect, close;
};

/* 1: complete; 0: more bytes are needed; -1: refused. Lower-cases header names in place. */
int sb_guard_head(struct sb_guard *g, const struct sb_guard_limits *lim, char *p, size_t n, struct sb_refuse_http *ret);

/* A chunked body, decoded in place. */
enum sb_chunk_phase { SB_CHUNK_SIZE, SB_CHUNK_DATA, SB_CHUNK_END, SB_CHUNK_TRAILER };
struct sb_chunked {
	enum sb_chunk_phase phase;
	uint64_t left;       /* of this chunk */
	uint64_t total;      /* decoded */
	uint32_t extensions; /* bytes of them, over all chunks */
	uint32_t trailer_bytes, trailers;
	size_t wr, rd;       /* the body ends at wr, what is not yet read begins at rd >= wr; both set by the caller at first */
};

/*
 * Reads raw bytes from p[c->rd .. n) and writes the body to p[c->wr ..). 1: the body is complete and c->rd is the first
 * byte behind it; 0: more bytes are needed; -1: refused. Trailer fields are checked and dropped.
 */
int sb_chunked_run(struct sb_chunked *c, const struct sb_guard_limits *lim, char *p, size_t n, struct sb_refuse_http *ret);

#endif
