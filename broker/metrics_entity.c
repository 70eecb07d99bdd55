/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rule, target or source over all instances: a hash of what it is now, an entry a roll-up of what it did. Only what was active is
 * written, so that a thousand idle ones cost nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "metrics_lead.h"

#define ENTITY_MINUTES_KEPT 1440
#define TOP_KEPT 200
#define TOP_ROLLUPS 15
#define TOP_S 1200
#define HISTOGRAM_S 7200

static void increase(struct sb_metrics *m, const char *key, const char *field, uint64_t by)
{
	sb_metrics_begin(m, 4, "HINCRBY");
	sb_metrics_key(m, "%s", key);
	sb_metrics_word(m, field);
	sb_metrics_number(m, by);
	sb_metrics_end(m, NULL, NULL);
}

static void write_rule(struct sb_metrics *m, const struct sb_lead_entity *e)
{
	const uint64_t *n = e->sum.n;
	char key[160], minutes[168];

	if (!m->lead->rolls || (n[SB_RULE_MATCHED] == 0 && n[SB_RULE_SHADOWED] == 0))
		return;
	snprintf(key, sizeof(key), ":r:%.*s", SB_SLICE_ARG(e->name));
	snprintf(minutes, sizeof(minutes), "%s:1m", key);
	increase(m, key, "matches", n[SB_RULE_MATCHED]);
	increase(m, key, "shadowed", n[SB_RULE_SHADOWED]);
	sb_metrics_begin(m, 8, "HSET");
	sb_metrics_key(m, "%s", key);
	sb_metrics_pair(m, "last_match_ms", m->lead->now_ms);
	sb_metrics_word(m, "state");
	sb_metrics_bytes(m, e->sum.text[0]);
	sb_metrics_word(m, "bus");
	sb_metrics_bytes(m, e->sum.text[1]);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, SB_ENTITY_S, "%s", key);
	sb_metrics_xadd(m, 2, ENTITY_MINUTES_KEPT, minutes);
	sb_metrics_pair(m, "matches", n[SB_RULE_MATCHED]);
	sb_metrics_pair(m, "shadowed", n[SB_RULE_SHADOWED]);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, SB_ENTITY_S, "%s", minutes);
}

/* As BITFIELD GET u32 reads it; full is full. */
static void write_histogram(struct sb_metrics *m, const struct sb_lead_entity *e)
{
	time_t t = (time_t)(m->lead->now_ms / 1000);
	char cells[SB_DURATION_BUCKETS * 4], stamp[16];
	struct tm tm;

	for (unsigned i = 0; i < SB_DURATION_BUCKETS; i++) {
		uint32_t n = (uint32_t)SB_MIN(e->sum.duration[i], UINT32_MAX);

		for (unsigned k = 0; k < 4; k++)
			cells[i * 4 + k] = (char)(n >> (24 - 8 * k));
	}
	gmtime_r(&t, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%d%H%M", &tm);
	sb_metrics_begin(m, 5, "SET");
	sb_metrics_key(m, ":h:t:%.*s:%s", SB_SLICE_ARG(e->name), stamp + 2); /* yymmddHHMM */
	sb_metrics_bytes(m, sb_slice(cells, sizeof(cells)));
	sb_metrics_word(m, "EX");
	sb_metrics_number(m, HISTOGRAM_S);
	sb_metrics_end(m, NULL, NULL);
}

static void target_now(struct sb_metrics *m, const struct sb_lead_entity *e, const char *key)
{
	const uint64_t *n = e->sum.n;

	sb_metrics_begin(m, 2 + 2 * 10, "HSET");
	sb_metrics_key(m, "%s", key);
	sb_metrics_pair(m, "inflight", n[SB_TARGET_INFLIGHT]);
	sb_metrics_pair(m, "queued", n[SB_TARGET_QUEUED]);
	sb_metrics_pair(m, "retrying", n[SB_TARGET_RETRYING]);
	sb_metrics_pair(m, "held", n[SB_TARGET_HELD]);
	sb_metrics_pair(m, "queued_bytes", n[SB_TARGET_QUEUED_BYTES]);
	sb_metrics_pair(m, "lag_ms", n[SB_TARGET_OLDEST_MS] ? sb_less(m->lead->now_ms, n[SB_TARGET_OLDEST_MS]) : 0);
	sb_metrics_pair(m, "paused", n[SB_TARGET_PAUSED]);
	sb_metrics_word(m, "circuit");
	sb_metrics_word(m, n[SB_TARGET_CIRCUIT_MS] ? "open" : "closed");
	sb_metrics_word(m, "type");
	sb_metrics_bytes(m, e->sum.text[0]);
	sb_metrics_word(m, "state");
	sb_metrics_bytes(m, e->sum.text[1]);
	sb_metrics_end(m, NULL, NULL);
}

static bool target_active(const uint64_t *n)
{
	return n[SB_TARGET_DELIVERED] || n[SB_TARGET_RETRIED] || n[SB_TARGET_DLQ] || n[SB_TARGET_INFLIGHT] || n[SB_TARGET_QUEUED] ||
	       n[SB_TARGET_RETRYING] || n[SB_TARGET_HELD] || n[SB_TARGET_CIRCUIT_MS] || n[SB_TARGET_PAUSED];
}

static void target_minute(struct sb_metrics *m, const struct sb_lead_entity *e, const char *key, const char *minutes)
{
	const uint64_t *n = e->sum.n;
	const struct {
		const char *name;
		uint64_t by;
	} rows[] = { { "ok", n[SB_TARGET_DELIVERED] }, { "fail", n[SB_TARGET_RETRIED] + n[SB_TARGET_DLQ] },
		{ "retry", n[SB_TARGET_RETRIED] }, { "dlq", n[SB_TARGET_DLQ] } };

	for (size_t i = 0; i < SB_LEN(rows); i++)
		increase(m, key, rows[i].name, rows[i].by);
	sb_metrics_begin(m, 2 + 2 * 3, "HSET");
	sb_metrics_key(m, "%s", key);
	sb_metrics_quantiles(m, e->sum.duration);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_xadd(m, SB_LEN(rows) + 4 + 3, ENTITY_MINUTES_KEPT, minutes);
	for (size_t i = 0; i < SB_LEN(rows); i++)
		sb_metrics_pair(m, rows[i].name, rows[i].by);
	sb_metrics_pair(m, "inflight", n[SB_TARGET_INFLIGHT]);
	sb_metrics_pair(m, "queued", n[SB_TARGET_QUEUED] + n[SB_TARGET_RETRYING]);
	sb_metrics_pair(m, "circuit", n[SB_TARGET_CIRCUIT_MS] != 0);
	sb_metrics_pair(m, "paused", n[SB_TARGET_PAUSED]);
	sb_metrics_quantiles(m, e->sum.duration);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, SB_ENTITY_S, "%s", minutes);
	write_histogram(m, e);
}

static void write_target(struct sb_metrics *m, const struct sb_lead_entity *e)
{
	char key[160], minutes[168];

	snprintf(key, sizeof(key), ":t:%.*s", SB_SLICE_ARG(e->name));
	snprintf(minutes, sizeof(minutes), "%s:1m", key);
	if (e->sum.text[0].n)
		target_now(m, e, key);
	if (m->lead->rolls && target_active(e->sum.n))
		target_minute(m, e, key, minutes);
	sb_metrics_expire(m, SB_ENTITY_S, "%s", key);
}

static void write_source(struct sb_metrics *m, const struct sb_lead_entity *e)
{
	const uint64_t *n = e->sum.n;
	const struct {
		const char *name;
		uint64_t by;
	} rows[] = { { "in", n[SB_SOURCE_IN] }, { "refused", n[SB_SOURCE_REFUSED] }, { "rejected", n[SB_SOURCE_REJECTED] },
		{ "spilled", n[SB_SOURCE_SPILLED] } };
	char key[160], minutes[168];

	if (!m->lead->rolls || (!n[SB_SOURCE_IN] && !n[SB_SOURCE_REFUSED] && !n[SB_SOURCE_REJECTED] && !n[SB_SOURCE_HELD]))
		return;
	snprintf(key, sizeof(key), ":s:%.*s", SB_SLICE_ARG(e->name));
	snprintf(minutes, sizeof(minutes), "%s:1m", key);
	for (size_t i = 0; i < SB_LEN(rows); i++)
		increase(m, key, rows[i].name, rows[i].by);
	sb_metrics_begin(m, 8, "HSET");
	sb_metrics_key(m, "%s", key);
	sb_metrics_pair(m, "held", n[SB_SOURCE_HELD]);
	sb_metrics_pair(m, "paused", n[SB_SOURCE_PAUSED]);
	sb_metrics_word(m, "type");
	sb_metrics_bytes(m, e->sum.text[0]);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, SB_ENTITY_S, "%s", key);
	sb_metrics_xadd(m, SB_LEN(rows) + 1, ENTITY_MINUTES_KEPT, minutes);
	for (size_t i = 0; i < SB_LEN(rows); i++)
		sb_metrics_pair(m, rows[i].name, rows[i].by);
	sb_metrics_pair(m, "held", n[SB_SOURCE_HELD]);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, SB_ENTITY_S, "%s", minutes);
}

/* ------------------------------------------------------------------------------------------------ top lists */

static uint64_t score(const struct sb_lead_entity *e, enum sb_part part)
{
	return part == SB_PART_RULES ? e->sum.n[SB_RULE_MATCHED] : e->sum.n[SB_TARGET_RETRIED] + e->sum.n[SB_TARGET_DLQ];
}

/* A sorted set of what scored at all, no larger than it may be. */
static void write_scores(struct sb_metrics *m, enum sb_part part, const char *key, uint64_t seconds)
{
	unsigned n = 0;

	for (const struct sb_lead_entity *e = m->lead->part[part].first; e; e = e->next)
		n += score(e, part) > 0;
	sb_metrics_begin(m, 2, "DEL");
	sb_metrics_key(m, "%s", key);
	sb_metrics_end(m, NULL, NULL);
	if (n == 0)
		return;
	sb_metrics_begin(m, 2 + 2 * n, "ZADD");
	sb_metrics_key(m, "%s", key);
	for (const struct sb_lead_entity *e = m->lead->part[part].first; e; e = e->next) {
		if (score(e, part) == 0)
			continue;
		sb_metrics_number(m, score(e, part));
		sb_metrics_bytes(m, e->name);
	}
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_begin(m, 4, "ZREMRANGEBYRANK");
	sb_metrics_key(m, "%s", key);
	sb_metrics_number(m, 0);
	sb_metrics_wordf(m, "-%d", TOP_KEPT + 1);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, seconds, "%s", key);
}

static void write_tops(struct sb_metrics *m)
{
	uint64_t now = m->lead->now_ms / m->conf->rollup_ms;
	char key[64];

	write_scores(m, SB_PART_RULES, ":top:rules", TOP_S);
	snprintf(key, sizeof(key), ":top:errors:%" PRIu64, now);
	write_scores(m, SB_PART_TARGETS, key, TOP_S);
	sb_metrics_begin(m, 3 + TOP_ROLLUPS, "ZUNIONSTORE");
	sb_metrics_key(m, ":top:errors");
	sb_metrics_number(m, TOP_ROLLUPS);
	for (unsigned i = 0; i < TOP_ROLLUPS; i++)
		sb_metrics_key(m, ":top:errors:%" PRIu64, now - i);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_begin(m, 4, "ZREMRANGEBYRANK");
	sb_metrics_key(m, ":top:errors");
	sb_metrics_number(m, 0);
	sb_metrics_wordf(m, "-%d", TOP_KEPT + 1);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, TOP_S, ":top:errors");
}

void sb_metrics_entities(struct sb_metrics *m)
{
	static void (*const write[])(struct sb_metrics *, const struct sb_lead_entity *) = { write_rule, write_target, write_source };

	for (unsigned p = 0; p < SB_PARTS; p++)
		for (const struct sb_lead_entity *e = m->lead->part[p].first; e; e = e->next)
			write[p](m, e);
	if (m->lead->rolls)
		write_tops(m);
}
