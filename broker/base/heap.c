/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/heap.h"

#include <stdbool.h>
#include <stdlib.h>

#include "broker/base/err.h"
#include "broker/base/mem.h"

static bool before(const struct sb_heap_node *a, const struct sb_heap_node *b)
{
	return a->key < b->key || (a->key == b->key && a->seq < b->seq);
}

static void put(struct sb_heap *h, size_t i, struct sb_heap_node *x)
{
	h->node[i] = x;
	x->slot = i + 1;
}

static void sift_up(struct sb_heap *h, size_t i)
{
	struct sb_heap_node *x = h->node[i];

	while (i > 0 && before(x, h->node[(i - 1) / 2])) {
		put(h, i, h->node[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	put(h, i, x);
}

static void sift_down(struct sb_heap *h, size_t i)
{
	struct sb_heap_node *x = h->node[i];

	for (;;) {
		size_t c = 2 * i + 1;

		if (c >= h->n)
			break;
		if (c + 1 < h->n && before(h->node[c + 1], h->node[c]))
			c++;
		if (!before(h->node[c], x))
			break;
		put(h, i, h->node[c]);
		i = c;
	}
	put(h, i, x);
}

int sb_heap_push(struct sb_heap *h, struct sb_heap_node *x, uint64_t key)
{
	SB_ASSERT(x->slot == 0);
	if (h->n >= h->max)
		return -1;
	if (h->n == h->cap) {
		size_t cap = h->cap ? h->cap * 2 : 64;

		h->node = sb_xrealloc(h->node, cap * sizeof(struct sb_heap_node *));
		h->cap = cap;
	}
	x->key = key;
	x->seq = h->seq++;
	h->node[h->n] = x;
	sift_up(h, h->n++);
	return 0;
}

void sb_heap_remove(struct sb_heap *h, struct sb_heap_node *x)
{
	size_t i;
	struct sb_heap_node *last;

	if (x->slot == 0)
		return;
	i = x->slot - 1;
	SB_ASSERT(i < h->n && h->node[i] == x);
	x->slot = 0;
	last = h->node[--h->n];
	if (last == x)
		return;
	put(h, i, last);
	sift_up(h, i);
	sift_down(h, last->slot - 1);
}

struct sb_heap_node *sb_heap_pop(struct sb_heap *h)
{
	struct sb_heap_node *x = sb_heap_min(h);

	if (x)
		sb_heap_remove(h, x);
	return x;
}

void sb_heap_done(struct sb_heap *h)
{
	free(h->node);
	*h = (struct sb_heap){ .max = h->max };
}
