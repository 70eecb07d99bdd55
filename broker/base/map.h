/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_MAP_H
#define SB_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "broker/base/mem.h"

/*
 * Hash map from bytes to pointer: open addressing, linear probing, SipHash-1-3 under a process-wide random key, so that
 * keys from outside cannot be made to collide. Keys are borrowed: they must live as long as their entry. `max` caps the
 * number of entries (0: no cap, for keys that no peer chooses). Iteration goes by sb_map_each in slot order, which differs
 * between processes: nothing that must be deterministic may depend on it. Not thread-safe.
 */
struct sb_map_slot {
	uint64_t hash; /* 0: empty */
	struct sb_slice key;
	void *value;
};

struct sb_map {
	struct sb_map_slot *slot;
	size_t n, cap, max;
};

uint64_t sb_hash(const void *p, size_t n); /* never 0 */
void sb_hash_seed(uint64_t k0, uint64_t k1); /* once, before the first map; the default key is fixed */

void *sb_map_get(const struct sb_map *m, struct sb_slice key); /* NULL: absent */
/* Insert or replace. 0: inserted; 1: replaced; -1: the cap forbids it. `value` must not be NULL. */
int sb_map_put(struct sb_map *m, struct sb_slice key, void *value);
void *sb_map_del(struct sb_map *m, struct sb_slice key); /* the old value, or NULL */
void sb_map_done(struct sb_map *m);

#define sb_map_each(m, it)                                                                     \
	for (struct sb_map_slot *it = (m)->slot; it && it < (m)->slot + (m)->cap; it++)        \
		if (it->hash)

#endif
