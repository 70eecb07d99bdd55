/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_METRICS_PACK_H
#define SB_BROKER_METRICS_PACK_H

#include "broker/base/buf.h"
#include "executor/executor.h"

/*
 * The numbers of docs/redis-metrics.md, and how those of one rule, target or source stand in one field: words with a blank
 * between them, first the counters, then the durations, then gauges, then text. What is added later comes at the end.
 */
#define SB_METRICS_SCHEMA 1

/* Of a whole instance, by name in its hash. */
enum sb_total {
	SB_TOTAL_IN, SB_TOTAL_MATCHED, SB_TOTAL_UNMATCHED, SB_TOTAL_DELIVERED, SB_TOTAL_FAILED, SB_TOTAL_RETRIED, SB_TOTAL_DLQ,
	SB_TOTAL_BYTES, SB_TOTAL_COUNTERS,
	SB_TOTAL_QUEUED = SB_TOTAL_COUNTERS, SB_TOTAL_INFLIGHT, SB_TOTAL_RETRYING, SB_TOTAL_HELD, SB_TOTAL_LETTERS,
	SB_TOTAL_OUTSTANDING, SB_TOTAL_LAG_MS, SB_TOTALS
};
extern const char *const sb_total_names[SB_TOTALS];

enum sb_part { SB_PART_RULES, SB_PART_TARGETS, SB_PART_SOURCES, SB_PARTS };
enum { SB_RULE_MATCHED, SB_RULE_SHADOWED, SB_RULE_NUMBERS };
enum {
	SB_TARGET_DELIVERED, SB_TARGET_RETRIED, SB_TARGET_DLQ, SB_TARGET_RELEASED, SB_TARGET_UNREACHABLE, SB_TARGET_US,
	SB_TARGET_COUNTERS,
	SB_TARGET_INFLIGHT = SB_TARGET_COUNTERS, SB_TARGET_QUEUED, SB_TARGET_RETRYING, SB_TARGET_HELD, SB_TARGET_QUEUED_BYTES,
	SB_TARGET_OLDEST_MS, SB_TARGET_CIRCUIT_MS, SB_TARGET_PAUSED, SB_TARGET_NUMBERS
};
enum {
	SB_SOURCE_IN, SB_SOURCE_REFUSED, SB_SOURCE_REJECTED, SB_SOURCE_SPILLED, SB_SOURCE_COUNTERS,
	SB_SOURCE_HELD = SB_SOURCE_COUNTERS, SB_SOURCE_PAUSED, SB_SOURCE_NUMBERS
};

#define SB_PACKED_NUMBERS 16
#define SB_PACKED_WORDS 2
struct sb_packed {
	uint64_t n[SB_PACKED_NUMBERS];
	uint64_t duration[SB_DURATION_BUCKETS];
	const char *word[SB_PACKED_WORDS];  /* to write */
	struct sb_slice text[SB_PACKED_WORDS]; /* as read */
};

/* How the instances' numbers become one. */
enum sb_merge { SB_MERGE_SUM, SB_MERGE_MAX, SB_MERGE_OLDEST };
struct sb_part_shape {
	const char *key;                 /* behind the instance's: "r" */
	unsigned counters, numbers, words, max; /* max: entries by name; the rest is `_other` */
	bool durations;
	enum sb_merge merge[SB_PACKED_NUMBERS]; /* of gauges */
	const char *const *names;        /* of numbers, then of words */
};
extern const struct sb_part_shape sb_part_shapes[SB_PARTS];

void sb_pack(enum sb_part part, const struct sb_packed *p, struct sb_buf *out);
/* 0, or -1: not of this shape. Words borrow from `text`. More words than we know are a later version's. */
int sb_unpack(enum sb_part part, struct sb_slice text, struct sb_packed *ret);
/* What came since: counters and durations of `now` less those of `before`, and never below zero. */
void sb_packed_since(enum sb_part part, struct sb_packed *now, const struct sb_packed *before);
void sb_packed_merge(enum sb_part part, struct sb_packed *into, const struct sb_packed *from);

/* Those of durations alone: "3:17,5:2", "-" for none. */
void sb_pack_durations(const uint64_t *duration, struct sb_buf *out);
int sb_unpack_durations(struct sb_slice text, uint64_t *ret);
/* So many of a thousand were no slower, in milliseconds; evenly spread within a bucket. 0 of none. */
double sb_duration_quantile(const uint64_t *duration, unsigned per_mille);
/* Since then; never below zero. */
static inline uint64_t sb_less(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

/* The next word, -1: none. The next number, -1: none, or not one. */
int sb_take_word(struct sb_slice *text, struct sb_slice *ret);
int sb_take_number(struct sb_slice *text, uint64_t *ret);
int sb_number_of(struct sb_slice text, uint64_t *ret);

#endif
