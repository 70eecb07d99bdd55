/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this daemon tells of itself: absolute values, since its start, so that writing them twice is writing them once. Everything in
 * one MULTI, so that a reader sees one instant.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/deadbox.h"
#include "metrics_own.h"

#define MARKS_KEPT 500
#define MARKS_S (30 * 86400)
#define SAMPLES_KEPT 1000
#define SAMPLES_S (7 * 86400)

static const char *const sample_keys[SB_SAMPLE_KINDS] = { ":ev:unmatched", ":ev:errors" };

static uint64_t age(uint64_t now, uint64_t since)
{
	return since && now > since ? now - since : 0;
}

static uint64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	char line[128] = "";
	const char *second;

	if (!f)
		return 0;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	second = strchr(line, ' ');
	return second ? strtoul(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* ------------------------------------------------------------------------------------------------ the whole */

/* One that has left the configuration is not gathered any more, and what it did stays done. */
static void see_targets(struct sb_metrics *m, const struct sb_gather *g)
{
	for (size_t i = 0; i < g->n_targets; i++) {
		struct sb_slice name = sb_slice_str(g->target[i].slot->name);
		struct sb_dispatch_stats *s = sb_map_get(&m->seen, name);

		if (!s) {
			s = sb_xcalloc(sizeof(*s));
			sb_map_put(&m->seen, name, s);
		}
		*s = g->target[i].stats;
	}
}

static void sum_targets(struct sb_metrics *m, const struct sb_gather *g, uint64_t now, uint64_t *n, uint64_t *duration)
{
	for (size_t i = 0; i < g->n_targets; i++) {
		const struct sb_dispatch_stats *s = &g->target[i].stats;

		n[SB_TOTAL_QUEUED] += s->queued;
		n[SB_TOTAL_INFLIGHT] += s->in_flight;
		n[SB_TOTAL_RETRYING] += s->retrying;
		n[SB_TOTAL_HELD] += s->held;
		n[SB_TOTAL_LAG_MS] = SB_MAX(n[SB_TOTAL_LAG_MS], age(now, s->oldest_ms));
	}
	see_targets(m, g);
	sb_map_each (&m->seen, it) {
		const struct sb_dispatch_stats *s = it->value;

		n[SB_TOTAL_DELIVERED] += s->delivered;
		n[SB_TOTAL_RETRIED] += s->retries;
		n[SB_TOTAL_DLQ] += s->dead;
		for (unsigned k = 0; k < SB_DURATION_BUCKETS; k++)
			duration[k] += s->duration[k];
	}
	n[SB_TOTAL_FAILED] = n[SB_TOTAL_RETRIED] + n[SB_TOTAL_DLQ];
}

static void sum_all(struct sb_metrics *m, const struct sb_gather *g, uint64_t *n, uint64_t *duration)
{
	const struct sb_core *core = &m->d->core;
	struct sb_deadletters_stats dead;
	struct sb_journal_stats j;

	sum_targets(m, g, sb_wall_ms(core->clock), n, duration);
	for (unsigned i = 0; i < core->n_shards; i++) {
		n[SB_TOTAL_IN] += sb_counted(&core->shard[i]->events);
		n[SB_TOTAL_UNMATCHED] += sb_counted(&core->shard[i]->unmatched);
	}
	for (size_t i = 0; i < m->d->slots.n_rules; i++) /* those that are gone too */
		n[SB_TOTAL_MATCHED] += sb_counted(&m->d->slots.rule[i]->matched);
	sb_journal_get_stats(core->journal, &j);
	sb_deadletters_get_stats(sb_deadbox_table(core->deadbox), &dead);
	n[SB_TOTAL_BYTES] = j.bytes;
	n[SB_TOTAL_OUTSTANDING] = j.outstanding;
	n[SB_TOTAL_LETTERS] = dead.letters;
}

static void tell_whole(struct sb_metrics *m, const struct sb_gather *g)
{
	const struct sb_core *core = &m->d->core;
	uint64_t n[SB_TOTALS] = { 0 }, duration[SB_DURATION_BUCKETS] = { 0 };
	struct sb_buf packed = SB_BUF(4096);

	sum_all(m, g, n, duration);
	sb_pack_durations(duration, &packed);
	sb_metrics_begin(m, 2 + 2 * (8 + SB_TOTALS), "HSET");
	sb_metrics_key(m, ":i:%s", m->instance);
	sb_metrics_word(m, "version");
	sb_metrics_word(m, SB_VERSION);
	sb_metrics_word(m, "pid");
	sb_metrics_number(m, (uint64_t)getpid());
	sb_metrics_word(m, "started_ms");
	sb_metrics_number(m, core->started_ms);
	sb_metrics_word(m, "generation");
	sb_metrics_number(m, g->plan->generation);
	sb_metrics_word(m, "at_ms");
	sb_metrics_number(m, sb_wall_ms(core->clock));
	sb_metrics_word(m, "state");
	sb_metrics_word(m, atomic_load(&core->stopping) ? "stopping" : "ok");
	sb_metrics_word(m, "rss_bytes");
	sb_metrics_number(m, resident_bytes());
	for (unsigned i = 0; i < SB_TOTALS; i++) {
		sb_metrics_word(m, sb_total_names[i]);
		sb_metrics_number(m, n[i]);
	}
	sb_metrics_word(m, "durations");
	sb_metrics_bytes(m, sb_buf_slice(&packed));
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, sb_metrics_instance_s(m), ":i:%s", m->instance);
	sb_buf_done(&packed);
}

/* ------------------------------------------------------------------------------------------------ marks */

static void mark_flips(struct sb_metrics *m, const struct sb_gather *g)
{
	for (size_t i = 0; i < g->n_targets; i++) {
		const char *name = g->target[i].slot->name;
		bool open = g->target[i].stats.unreachable_until_ms != 0;

		if (open == (sb_map_get(&m->open, sb_slice_str(name)) != NULL))
			continue;
		if (open)
			sb_map_put(&m->open, sb_slice_str(name), (void *)name);
		else
			sb_map_del(&m->open, sb_slice_str(name));
		sb_metrics_mark(m, "circuit", name, open ? "open" : "closed");
	}
}

static void tell_marks(struct sb_metrics *m)
{
	m->n_marks_sent = m->n_marks;
	for (size_t i = 0; i < m->n_marks; i++) {
		const struct sb_mark *k = &m->mark[i];

		sb_metrics_begin(m, 14, "XADD");
		sb_metrics_key(m, ":marks");
		sb_metrics_word(m, "MAXLEN");
		sb_metrics_word(m, "~");
		sb_metrics_number(m, MARKS_KEPT);
		sb_metrics_word(m, "*");
		sb_metrics_word(m, "what");
		sb_metrics_word(m, k->what);
		sb_metrics_word(m, "name");
		sb_metrics_word(m, k->name);
		sb_metrics_word(m, "detail");
		sb_metrics_word(m, k->detail);
		sb_metrics_word(m, "instance");
		sb_metrics_word(m, m->instance);
		sb_metrics_end(m, NULL, NULL);
	}
	if (m->n_marks)
		sb_metrics_expire(m, MARKS_S, ":marks");
}

/* ------------------------------------------------------------------------------------------------ samples */

static void sample_word(struct sb_metrics *m, const char *name, const char *value)
{
	sb_metrics_word(m, name);
	sb_metrics_word(m, value ? value : "");
}

static void sample_text(struct sb_metrics *m, const char *name, struct sb_slice value)
{
	sb_metrics_word(m, name);
	sb_metrics_bytes(m, value);
}

static void tell_sample(struct sb_metrics *m, enum sb_sample_kind kind, const struct sb_sample *x)
{
	bool failed = kind == SB_SAMPLE_ERRORS;

	sb_metrics_begin(m, 6 + 2 * (failed ? 13 : 8), "XADD");
	sb_metrics_key(m, "%s", sample_keys[kind]);
	sb_metrics_word(m, "MAXLEN");
	sb_metrics_word(m, "~");
	sb_metrics_number(m, SAMPLES_KEPT);
	sb_metrics_word(m, "*");
	sb_metrics_word(m, "at_ms");
	sb_metrics_number(m, x->at_ms);
	sample_text(m, "id", x->id);
	sample_text(m, "source", x->source);
	sample_text(m, "detail_type", x->detail_type);
	sample_word(m, "bus", x->bus);
	sample_word(m, "origin", x->origin);
	if (failed) {
		sample_word(m, "rule", x->rule);
		sample_word(m, "target", x->target);
		sample_word(m, "what", x->what);
		sample_word(m, "reason", x->reason);
		sb_metrics_word(m, "attempts");
		sb_metrics_number(m, x->attempts);
	}
	sample_text(m, "detail", x->detail);
	sample_word(m, "instance", m->instance);
	sb_metrics_end(m, NULL, NULL);
}

static void tell_samples(struct sb_metrics *m, const struct sb_gather *g)
{
	for (unsigned kind = 0; kind < SB_SAMPLE_KINDS; kind++) {
		unsigned n = 0;

		for (unsigned i = 0; i < g->n_shards; i++)
			for (const struct sb_sample *x = g->samples[i].first[kind]; x && n < m->d->core.max_samples; x = x->next, n++)
				tell_sample(m, (enum sb_sample_kind)kind, x);
		if (n)
			sb_metrics_expire(m, SAMPLES_S, "%s", sample_keys[kind]);
	}
}

/* ------------------------------------------------------------------------------------------------ the flush */

static void told(struct sb_metrics *m, const redisReply *r, void *arg)
{
	(void)arg;
	if (!sb_metrics_carried_out(m, r))
		return;
	m->n_marks -= m->n_marks_sent;
	memmove(m->mark, m->mark + m->n_marks_sent, m->n_marks * sizeof(*m->mark));
	m->n_marks_sent = 0;
}

void sb_metrics_tell(struct sb_metrics *m, const struct sb_gather *g)
{
	sb_metrics_plain(m, "MULTI");
	sb_metrics_begin(m, 4, "ZADD");
	sb_metrics_key(m, ":inst");
	sb_metrics_number(m, sb_wall_ms(m->d->core.clock));
	sb_metrics_word(m, m->instance);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, sb_metrics_gone_s(m), ":inst");
	tell_whole(m, g);
	sb_metrics_tell_parts(m, g);
	mark_flips(m, g);
	tell_marks(m);
	tell_samples(m, g);
	sb_metrics_begin(m, 1, "EXEC");
	sb_metrics_end(m, told, NULL);
}
