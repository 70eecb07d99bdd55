/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_ARENA_H
#define SB_BASE_ARENA_H

#include <stddef.h>

#include "broker/base/mem.h"

/*
 * Memory that is given back in one go: configuration trees, compiled rules. Zero-initialise, allocate, done.
 * `max` caps the sum (0: no cap, for sizes that no peer chooses); sb_arena_alloc returns NULL beyond it. Not thread-safe.
 */
struct sb_arena_block;
struct sb_arena {
	struct sb_arena_block *head;
	size_t used, max;
};

void *sb_arena_alloc(struct sb_arena *a, size_t n); /* zeroed, aligned for any type */
char *sb_arena_strdup(struct sb_arena *a, const char *s);
char *sb_arena_strndup(struct sb_arena *a, const char *s, size_t n);
struct sb_slice sb_arena_slice(struct sb_arena *a, struct sb_slice s); /* copy, NUL behind it */
void sb_arena_done(struct sb_arena *a);

#endif
