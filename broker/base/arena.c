/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/arena.h"

#include <stdlib.h>

#define BLOCK_BYTES 8192u

struct sb_arena_block {
	struct sb_arena_block *next;
	size_t used, cap;
	max_align_t data[];
};

static size_t align_up(size_t n)
{
	return (n + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
}

void *sb_arena_alloc(struct sb_arena *a, size_t n)
{
	struct sb_arena_block *b = a->head;
	char *p;

	n = align_up(n ? n : 1);
	if (a->max && n > a->max - a->used)
		return NULL;
	if (!b || n > b->cap - b->used) {
		size_t cap = n > BLOCK_BYTES / 4 ? n : BLOCK_BYTES;

		b = sb_xcalloc(sizeof(*b) + cap);
		b->cap = cap;
		b->next = a->head;
		a->head = b;
	}
	p = (char *)b->data + b->used;
	b->used += n;
	a->used += n;
	return p;
}

char *sb_arena_strndup(struct sb_arena *a, const char *s, size_t n)
{
	char *p = sb_arena_alloc(a, n + 1);

	if (p && n)
		memcpy(p, s, n);
	return p;
}

char *sb_arena_strdup(struct sb_arena *a, const char *s)
{
	return sb_arena_strndup(a, s, strlen(s));
}

struct sb_slice sb_arena_slice(struct sb_arena *a, struct sb_slice s)
{
	char *p = sb_arena_strndup(a, s.p, s.n);

	return sb_slice(p, p ? s.n : 0);
}

void sb_arena_done(struct sb_arena *a)
{
	while (a->head) {
		struct sb_arena_block *b = a->head;

		a->head = b->next;
		free(b);
	}
	a->used = 0;
}
