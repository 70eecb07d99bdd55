/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_MEM_H
#define SB_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SB_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define SB_CONTAINER(p, type, member) ((type *)(void *)((char *)(p) - offsetof(type, member)))
#define SB_CLEANUP(fn) __attribute__((cleanup(fn)))
#define SB_MIN(a, b) ((a) < (b) ? (a) : (b))
#define SB_MAX(a, b) ((a) > (b) ? (a) : (b))

/*
 * Memory policy. Small process-lifetime allocations abort when there is no memory: at-least-once delivery covers the
 * restart. An allocation whose size a peer or a user chooses is capped by its owner before it comes here.
 * Freed by free().
 */
void *sb_xmalloc(size_t n);
void *sb_xcalloc(size_t n);
void *sb_xrealloc(void *p, size_t n);
char *sb_xstrdup(const char *s);
char *sb_xstrndup(const char *s, size_t n); /* NUL-terminated copy */

/*
 * The event path's allocator: size-classed free lists of the calling thread, so that a warm daemon allocates nothing
 * per event. A block may be freed on another thread than it came from; it then serves that one. A thread keeps at most
 * SB_POOL_KEEP bytes, of whatever classes are in use, and SB_POOL_KEEP_EACH of every class beyond that, so that none can take
 * all from the others; above, and above the largest class, this is malloc and free.
 */
#define SB_POOL_KEEP (16u << 20)
#define SB_POOL_KEEP_EACH (1u << 20)
void *sb_pool_alloc(size_t n); /* uninitialised, aligned for any type */
void sb_pool_free(void *p);    /* NULL is fine */
size_t sb_pool_usable(const void *p); /* bytes that may be used, at least what was asked for */
void sb_pool_thread_done(void);       /* gives the thread's lists back; call before a thread ends */
uint64_t sb_pool_misses(void);        /* blocks that came from malloc, all threads: the test's allocation budget */

/* Bytes borrowed from somebody else; not NUL-terminated. */
struct sb_slice {
	const char *p;
	size_t n;
};

char *sb_pool_copy(struct sb_slice s); /* its bytes in pool memory, never NULL; not NUL-terminated */

#define SB_SLICE(literal) ((struct sb_slice){ (literal), sizeof(literal) - 1 })
/* For "%.*s". */
#define SB_SLICE_ARG(s) (int)(s).n, (s).p

static inline struct sb_slice sb_slice(const char *p, size_t n)
{
	return (struct sb_slice){ p, n };
}

static inline struct sb_slice sb_slice_str(const char *s)
{
	return (struct sb_slice){ s, s ? strlen(s) : 0 };
}

static inline int sb_slice_eq(struct sb_slice a, struct sb_slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline int sb_slice_eq_str(struct sb_slice a, const char *s)
{
	return sb_slice_eq(a, sb_slice_str(s));
}

#endif
