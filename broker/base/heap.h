/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_HEAP_H
#define SB_BASE_HEAP_H

#include <stddef.h>
#include <stdint.h>

/*
 * Intrusive binary min-heap of due times. A node knows its slot, so that it can be removed or moved in O(log n).
 * Equal keys come out in the order of insertion: the sequence number is the tie-breaker, which keeps the simulation
 * deterministic. `max` caps the number of nodes. Zero-initialise with max; done() frees the slots, not the nodes.
 */
struct sb_heap_node {
	uint64_t key, seq;
	size_t slot; /* 1-based; 0: not in a heap */
};

struct sb_heap {
	struct sb_heap_node **node;
	size_t n, cap, max;
	uint64_t seq;
};

int sb_heap_push(struct sb_heap *h, struct sb_heap_node *x, uint64_t key); /* -1: full */
void sb_heap_remove(struct sb_heap *h, struct sb_heap_node *x);             /* not in it: nothing happens */
struct sb_heap_node *sb_heap_pop(struct sb_heap *h);                        /* NULL: empty */
void sb_heap_done(struct sb_heap *h);

static inline struct sb_heap_node *sb_heap_min(const struct sb_heap *h)
{
	return h->n ? h->node[0] : NULL;
}

#endif
