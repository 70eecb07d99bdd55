/* SPDX-License-Identifier: Apache-2.0 */
#include "window.h"

#include <stdlib.h>

#include "broker/base/err.h"
#include "broker/base/mem.h"

#define FIRST_CAP 64u

void kafka_window_init(struct kafka_window *w, uint32_t max, uint64_t max_bytes)
{
	*w = (struct kafka_window){ .max = max, .max_bytes = max_bytes, .position = -1, .position_epoch = -1 };
}

void kafka_window_free(struct kafka_window *w)
{
	free(w->slot);
	w->slot = NULL;
}

static struct kafka_window_slot *at(const struct kafka_window *w, uint32_t number)
{
	return &w->slot[number & (w->cap - 1)];
}

static void grow(struct kafka_window *w)
{
	uint32_t cap = w->cap ? 2 * w->cap : FIRST_CAP;
	struct kafka_window_slot *slot = sb_xmalloc(cap * sizeof(*slot));

	for (uint32_t i = w->base; i != w->tail; i++)
		slot[i & (cap - 1)] = *at(w, i);
	free(w->slot);
	w->slot = slot;
	w->cap = cap;
}

uint32_t kafka_window_add(struct kafka_window *w, int64_t offset, int32_t leader_epoch, uint32_t bytes)
{
	SB_ASSERT(!kafka_window_full(w));
	if (w->tail - w->base == w->cap)
		grow(w);
	*at(w, w->tail) = (struct kafka_window_slot){ .offset = offset, .leader_epoch = leader_epoch, .bytes = bytes };
	w->bytes += bytes;
	return w->tail++;
}

bool kafka_window_done(struct kafka_window *w, uint32_t number)
{
	uint32_t before = w->head;

	SB_ASSERT(number - w->head < w->tail - w->head && !at(w, number)->done);
	at(w, number)->done = true;
	for (; w->head != w->tail && at(w, w->head)->done; w->head++) {
		const struct kafka_window_slot *s = at(w, w->head);

		w->bytes -= s->bytes;
		w->finished_bytes += s->bytes;
		w->position = s->offset + 1;
		w->position_epoch = s->leader_epoch;
	}
	return w->head != before;
}

void kafka_window_committed(struct kafka_window *w, int64_t position)
{
	for (; w->base != w->head && at(w, w->base)->offset < position; w->base++)
		w->finished_bytes -= at(w, w->base)->bytes;
}
