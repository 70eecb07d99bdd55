/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/err.h"

static _Noreturn void out_of_memory(size_t n)
{
	fprintf(stderr, "signalbox: out of memory (%zu bytes)\n", n);
	abort();
}

void *sb_xmalloc(size_t n)
{
	void *p = malloc(n ? n : 1);

	if (!p)
		out_of_memory(n);
	return p;
}

void *sb_xcalloc(size_t n)
{
	void *p = calloc(1, n ? n : 1);

	if (!p)
		out_of_memory(n);
	return p;
}

void *sb_xrealloc(void *p, size_t n)
{
	void *q = realloc(p, n ? n : 1);

	if (!q)
		out_of_memory(n);
	return q;
}

char *sb_xstrndup(const char *s, size_t n)
{
	char *p = sb_xmalloc(n + 1);

	if (n)
		memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

char *sb_xstrdup(const char *s)
{
	return sb_xstrndup(s, strlen(s));
}

/*
 * Pool. Classes are powers of two from 64 bytes to 64 KiB, header included. A block's header names its class, so that
 * any thread can take it back.
 */
#define CLASS_MIN_SHIFT 6
#define CLASS_COUNT 11
#define CLASS_NONE 0xffffffffu

union block {
	struct {
		uint32_t class;
		uint32_t usable; /* of a block without class; 0 stands for more than 4 GiB, which nobody asks for */
	} h;
	max_align_t align;
};

struct free_block {
	struct free_block *next;
};

static _Thread_local struct {
	struct free_block *head;
	uint32_t n;
} pool[CLASS_COUNT];
static _Thread_local size_t kept; /* bytes, of all classes */

static atomic_uint_fast64_t pool_misses;

static uint32_t class_of(size_t n)
{
	size_t need = n + sizeof(union block);
	uint32_t c = need <= (1u << CLASS_MIN_SHIFT) ? 0 : 64 - CLASS_MIN_SHIFT - (uint32_t)__builtin_clzll(need - 1);

	return c < CLASS_COUNT ? c : CLASS_NONE;
}

static size_t class_bytes(uint32_t c)
{
	return (size_t)1 << (c + CLASS_MIN_SHIFT);
}

void *sb_pool_alloc(size_t n)
{
	uint32_t c = class_of(n);
	union block *b;

	SB_ASSERT(n < UINT32_MAX);
	if (c != CLASS_NONE && pool[c].head) {
		struct free_block *f = pool[c].head;

		pool[c].head = f->next;
		pool[c].n--;
		kept -= class_bytes(c);
		return f;
	}
	atomic_fetch_add_explicit(&pool_misses, 1, memory_order_relaxed);
	b = sb_xmalloc(c == CLASS_NONE ? n + sizeof(*b) : class_bytes(c));
	b->h.class = c;
	b->h.usable = (uint32_t)n;
	return b + 1;
}

void sb_pool_free(void *p)
{
	union block *b = p;
	uint32_t c;

	if (!p)
		return;
	b--;
	c = b->h.class;
	if (c == CLASS_NONE || (kept >= SB_POOL_KEEP && pool[c].n * class_bytes(c) >= SB_POOL_KEEP_EACH)) {
		free(b);
		return;
	}
	((struct free_block *)p)->next = pool[c].head;
	pool[c].head = p;
	pool[c].n++;
	kept += class_bytes(c);
}

size_t sb_pool_usable(const void *p)
{
	const union block *b = (const union block *)p - 1;

	return b->h.class == CLASS_NONE ? b->h.usable : class_bytes(b->h.class) - sizeof(*b);
}

char *sb_pool_copy(struct sb_slice s)
{
	char *p = sb_pool_alloc(s.n ? s.n : 1);

	if (s.n)
		memcpy(p, s.p, s.n);
	return p;
}

void sb_pool_thread_done(void)
{
	for (uint32_t c = 0; c < CLASS_COUNT; c++)
		while (pool[c].head) {
			struct free_block *f = pool[c].head;

			pool[c].head = f->next;
			pool[c].n--;
			free((union block *)(void *)f - 1);
		}
}

uint64_t sb_pool_misses(void)
{
	return atomic_load_explicit(&pool_misses, memory_order_relaxed);
}
