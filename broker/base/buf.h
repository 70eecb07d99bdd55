/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_BUF_H
#define SB_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "broker/base/err.h"
#include "broker/base/mem.h"

/*
 * A growing byte buffer that cannot be made without a cap. Invariants: len <= cap <= max; p may be NULL while cap is 0.
 * The add functions return -1 when the cap would be passed, and then leave the buffer as it was. Not thread-safe.
 *
 * Lifecycle: init (no allocation), clear (keeps the memory), done (gives it back; init's state again).
 */
struct sb_buf {
	char *p;
	size_t len, cap, max;
};

#define SB_BUF(cap_bytes) { .max = (cap_bytes) }

void sb_buf_init(struct sb_buf *b, size_t max);
void sb_buf_done(struct sb_buf *b);

static inline void sb_buf_clear(struct sb_buf *b)
{
	b->len = 0;
}

/* Room for n more bytes behind len; NULL when the cap forbids it. The caller writes there and adds to len itself. */
char *sb_buf_reserve(struct sb_buf *b, size_t n);
int sb_buf_add(struct sb_buf *b, const void *src, size_t n);
int sb_buf_addc(struct sb_buf *b, char c);
int sb_buf_adds(struct sb_buf *b, const char *s);
int sb_buf_addu(struct sb_buf *b, uint64_t n); /* in decimal; what is written for every event is not printf's to do */
int sb_buf_addf(struct sb_buf *b, const char *fmt, ...) SB_PRINTF(2, 3);
/* A NUL behind the bytes, not counted in len; NULL when the cap forbids it. */
const char *sb_buf_cstr(struct sb_buf *b);
/* Drop n bytes from the front. */
void sb_buf_eat(struct sb_buf *b, size_t n);

static inline int sb_buf_add_slice(struct sb_buf *b, struct sb_slice s)
{
	return sb_buf_add(b, s.p, s.n);
}

static inline struct sb_slice sb_buf_slice(const struct sb_buf *b)
{
	return sb_slice(b->p, b->len);
}

#endif
