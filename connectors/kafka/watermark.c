/* SPDX-License-Identifier: Apache-2.0 */
#include "watermark.h"

#include <stdlib.h>

#include "broker/base/err.h"
#include "broker/base/mem.h"

#define FIRST_CAP 64
#define MOST_RECORDS (1u << 30) /* numbers wrap at 2^32: the window must be well below */

void kafka_watermark_init(struct kafka_watermark *w, const struct kafka_watermark_limits *limits)
{
	SB_ASSERT(limits->records > 0 && limits->records <= MOST_RECORDS);
	*w = (struct kafka_watermark){ .limits = *limits, .last = -1, .position = -1, .stored = -1 };
}

void kafka_watermark_done(struct kafka_watermark *w)
{
	free(w->ring);
	w->ring = NULL;
	w->cap = 0;
}

static void forget(struct kafka_watermark *w)
{
	w->first = w->next;
	w->open = 0;
	w->bytes = 0;
	w->last = w->position = w->stored = -1;
}

void kafka_watermark_begin(struct kafka_watermark *w, uint32_t epoch)
{
	SB_ASSERT(epoch != 0 && epoch != w->epoch);
	forget(w);
	w->epoch = epoch;
}

void kafka_watermark_fence(struct kafka_watermark *w)
{
	forget(w);
	w->epoch = 0;
}

/* ------------------------------------------------------------------------------------------------ in */

bool kafka_watermark_has_room(const struct kafka_watermark *w, uint32_t bytes)
{
	if (kafka_watermark_span(w) >= w->limits.records)
		return false;
	return w->open == 0 || (w->bytes < w->limits.bytes && bytes <= w->limits.bytes - w->bytes);
}

static struct kafka_watermark_entry *entry(const struct kafka_watermark *w, uint32_t number)
{
	return &w->ring[number & (w->cap - 1)];
}

static void grow(struct kafka_watermark *w)
{
	uint32_t cap = w->cap ? 2 * w->cap : FIRST_CAP;
	struct kafka_watermark_entry *ring = sb_xmalloc(cap * sizeof(*ring));

	for (uint32_t n = w->first; n != w->next; n++)
		ring[n & (cap - 1)] = *entry(w, n);
	free(w->ring);
	w->ring = ring;
	w->cap = cap;
}

int kafka_watermark_add(struct kafka_watermark *w, int64_t offset, uint32_t bytes, uint32_t *ret)
{
	SB_ASSERT(w->epoch && kafka_watermark_has_room(w, bytes));
	if (offset <= w->last)
		return -1;
	if (kafka_watermark_span(w) == w->cap)
		grow(w);
	*entry(w, w->next) = (struct kafka_watermark_entry){ .offset = offset, .bytes = bytes };
	*ret = w->next++;
	w->last = offset;
	w->open++;
	w->bytes += bytes;
	return 0;
}

/* ------------------------------------------------------------------------------------------------ out */

static bool advance(struct kafka_watermark *w)
{
	uint32_t from = w->first;

	while (w->first != w->next && entry(w, w->first)->settled)
		w->position = entry(w, w->first++)->offset + 1;
	return w->first != from;
}

bool kafka_watermark_settle(struct kafka_watermark *w, uint32_t number, uint32_t epoch)
{
	struct kafka_watermark_entry *e;

	if (epoch != w->epoch || epoch == 0) {
		w->stale++;
		return false;
	}
	SB_ASSERT(number - w->first < kafka_watermark_span(w));
	e = entry(w, number);
	SB_ASSERT(!e->settled);
	e->settled = true;
	w->open--;
	w->bytes -= e->bytes;
	return advance(w);
}

bool kafka_watermark_moved(struct kafka_watermark *w, int64_t *ret)
{
	if (w->position == w->stored)
		return false;
	*ret = w->stored = w->position;
	return true;
}

int64_t kafka_watermark_held_by(const struct kafka_watermark *w)
{
	return w->first == w->next ? -1 : entry(w, w->first)->offset;
}
