/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/metrics_pack.h"

#include <inttypes.h>
#include <string.h>

const char *const sb_total_names[SB_TOTALS] = { "in", "matched", "unmatched", "delivered", "failed", "retried", "dlq", "bytes",
	"queued", "inflight", "retrying", "held", "letters", "outstanding", "lag_ms" };

static const char *const rule_names[] = { "matched", "shadowed", "state", "bus" };
static const char *const target_names[] = { "delivered", "retried", "dlq", "released", "unreachable", "duration_us", "inflight",
	"queued", "retrying", "held", "queued_bytes", "oldest_ms", "circuit_ms", "paused", "type", "state" };
static const char *const source_names[] = { "in", "refused", "rejected", "spilled", "held", "paused", "type" };

const struct sb_part_shape sb_part_shapes[SB_PARTS] = {
	[SB_PART_RULES] = { "r", SB_RULE_NUMBERS, SB_RULE_NUMBERS, 2, 1000, .names = rule_names },
	[SB_PART_TARGETS] = { "t", SB_TARGET_COUNTERS, SB_TARGET_NUMBERS, 2, 1000, true,
		{ [SB_TARGET_OLDEST_MS] = SB_MERGE_OLDEST, [SB_TARGET_CIRCUIT_MS] = SB_MERGE_MAX, [SB_TARGET_PAUSED] = SB_MERGE_MAX },
		target_names },
	[SB_PART_SOURCES] = { "s", SB_SOURCE_COUNTERS, SB_SOURCE_NUMBERS, 1, 256, false, { [SB_SOURCE_PAUSED] = SB_MERGE_MAX },
		source_names },
};

/* ------------------------------------------------------------------------------------------------ words */

int sb_take_word(struct sb_slice *text, struct sb_slice *ret)
{
	const char *blank = text->n ? memchr(text->p, ' ', text->n) : NULL;
	size_t n = blank ? (size_t)(blank - text->p) : text->n;

	if (n == 0)
		return -1;
	*ret = sb_slice(text->p, n);
	*text = sb_slice(text->p + n + (blank != NULL), text->n - n - (blank != NULL));
	return 0;
}

int sb_number_of(struct sb_slice text, uint64_t *ret)
{
	uint64_t n = 0;

	if (text.n == 0 || text.n > 19)
		return -1;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return -1;
		n = n * 10 + (uint64_t)(text.p[i] - '0');
	}
	*ret = n;
	return 0;
}

int sb_take_number(struct sb_slice *text, uint64_t *ret)
{
	struct sb_slice word;

	return sb_take_word(text, &word) < 0 ? -1 : sb_number_of(word, ret);
}

/* ------------------------------------------------------------------------------------------------ durations */

void sb_pack_durations(const uint64_t *duration, struct sb_buf *out)
{
	bool any = false;

	for (unsigned i = 0; i < SB_DURATION_BUCKETS; i++) {
		if (!duration[i])
			continue;
		sb_buf_addf(out, "%s%u:%" PRIu64, any ? "," : "", i, duration[i]);
		any = true;
	}
	if (!any)
		sb_buf_addc(out, '-');
}

static int take_bucket(struct sb_slice one, uint64_t *ret)
{
	const char *colon = memchr(one.p, ':', one.n);
	uint64_t i, n;

	if (!colon || sb_number_of(sb_slice(one.p, (size_t)(colon - one.p)), &i) < 0 || i >= SB_DURATION_BUCKETS ||
	    sb_number_of(sb_slice(colon + 1, one.n - (size_t)(colon + 1 - one.p)), &n) < 0)
		return -1;
	ret[i] = n;
	return 0;
}

int sb_unpack_durations(struct sb_slice text, uint64_t *ret)
{
	memset(ret, 0, SB_DURATION_BUCKETS * sizeof(*ret));
	if (sb_slice_eq_str(text, "-"))
		return 0;
	while (text.n) {
		const char *comma = memchr(text.p, ',', text.n);
		size_t n = comma ? (size_t)(comma - text.p) : text.n;

		if (n == 0 || take_bucket(sb_slice(text.p, n), ret) < 0)
			return -1;
		text = sb_slice(text.p + n + (comma != NULL), text.n - n - (comma != NULL));
	}
	return 0;
}

double sb_duration_quantile(const uint64_t *duration, unsigned per_mille)
{
	uint64_t sum = 0, below = 0;
	double rank;

	for (unsigned i = 0; i < SB_DURATION_BUCKETS; i++)
		sum += duration[i];
	if (sum == 0)
		return 0;
	rank = (double)sum * per_mille / 1000;
	for (unsigned i = 0; i < SB_DURATION_BUCKETS; i++) {
		double low = i ? (double)SB_DURATION_US(i - 1) : 0, high = (double)SB_DURATION_US(i);

		if (duration[i] && (double)(below + duration[i]) >= rank)
			return (low + (high - low) * (rank - (double)below) / (double)duration[i]) / 1000;
		below += duration[i];
	}
	return (double)SB_DURATION_US(SB_DURATION_BUCKETS - 1) / 1000;
}

/* ------------------------------------------------------------------------------------------------ one field */

void sb_pack(enum sb_part part, const struct sb_packed *p, struct sb_buf *out)
{
	const struct sb_part_shape *s = &sb_part_shapes[part];

	for (unsigned i = 0; i < s->numbers; i++) {
		if (s->durations && i == s->counters) {
			sb_pack_durations(p->duration, out);
			sb_buf_addc(out, ' ');
		}
		sb_buf_addf(out, "%" PRIu64 " ", p->n[i]);
	}
	for (unsigned i = 0; i < s->words; i++)
		sb_buf_addf(out, "%s%s", p->word[i] && *p->word[i] ? p->word[i] : "-", i + 1 < s->words ? " " : "");
}

int sb_unpack(enum sb_part part, struct sb_slice text, struct sb_packed *ret)
{
	const struct sb_part_shape *s = &sb_part_shapes[part];
	struct sb_slice word;

	*ret = (struct sb_packed){ 0 };
	for (unsigned i = 0; i < s->numbers; i++) {
		if (s->durations && i == s->counters &&
		    (sb_take_word(&text, &word) < 0 || sb_unpack_durations(word, ret->duration) < 0))
			return -1;
		if (sb_take_number(&text, &ret->n[i]) < 0)
			return -1;
	}
	for (unsigned i = 0; i < s->words; i++)
		if (sb_take_word(&text, &ret->text[i]) < 0)
			return -1;
	return 0;
}

void sb_packed_since(enum sb_part part, struct sb_packed *now, const struct sb_packed *before)
{
	for (unsigned i = 0; i < sb_part_shapes[part].counters; i++)
		now->n[i] = sb_less(now->n[i], before->n[i]);
	for (unsigned i = 0; i < SB_DURATION_BUCKETS; i++)
		now->duration[i] = sb_less(now->duration[i], before->duration[i]);
}

static uint64_t merged(enum sb_merge how, uint64_t a, uint64_t b)
{
	switch (how) {
	case SB_MERGE_SUM:    return a + b;
	case SB_MERGE_MAX:    return SB_MAX(a, b);
	case SB_MERGE_OLDEST: return a && b ? SB_MIN(a, b) : a + b;
	}
	return a;
}

void sb_packed_merge(enum sb_part part, struct sb_packed *into, const struct sb_packed *from)
{
	for (unsigned i = 0; i < sb_part_shapes[part].numbers; i++)
		into->n[i] = merged(sb_part_shapes[part].merge[i], into->n[i], from->n[i]);
	for (unsigned i = 0; i < SB_DURATION_BUCKETS; i++)
		into->duration[i] += from->duration[i];
}
