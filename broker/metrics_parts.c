/* SPDX-License-Identifier: Apache-2.0 */
/* What this daemon tells of each rule, target and source: one HSET a kind, a packed field each. */
#include <string.h>

#include "metrics_own.h"

/* ------------------------------------------------------------------------------------------------ one of them */

static const char *name_of_rule(const struct sb_gather *g, size_t i)
{
	return g->plan->rules->rule[i].name;
}

static void of_rule(const struct sb_gather *g, size_t i, struct sb_packed *p)
{
	static const char *const states[] = { "enabled", "disabled", "shadow" };
	const struct sb_rule *r = &g->plan->rules->rule[i];

	*p = (struct sb_packed){ .n = { [SB_RULE_MATCHED] = sb_counted(&g->plan->rule_stat[i]->matched),
					 [SB_RULE_SHADOWED] = sb_counted(&g->plan->rule_stat[i]->shadowed) },
		.word = { states[r->state], r->bus } };
}

static const char *name_of_target(const struct sb_gather *g, size_t i)
{
	return g->target[i].slot->name;
}

static void of_target(const struct sb_gather *g, size_t i, struct sb_packed *p)
{
	const struct sb_target_view *v = &g->target[i];
	const struct sb_dispatch_stats *s = &v->stats;
	bool paused = atomic_load(&v->slot->paused);

	*p = (struct sb_packed){
		.n = { [SB_TARGET_DELIVERED] = s->delivered, [SB_TARGET_RETRIED] = s->retries, [SB_TARGET_DLQ] = s->dead,
			[SB_TARGET_RELEASED] = s->released, [SB_TARGET_UNREACHABLE] = s->unreachable,
			[SB_TARGET_US] = s->duration_ns_sum / 1000, [SB_TARGET_INFLIGHT] = s->in_flight, [SB_TARGET_QUEUED] = s->queued,
			[SB_TARGET_RETRYING] = s->retrying, [SB_TARGET_HELD] = s->held, [SB_TARGET_QUEUED_BYTES] = s->queued_bytes,
			[SB_TARGET_OLDEST_MS] = s->oldest_ms, [SB_TARGET_CIRCUIT_MS] = s->unreachable_until_ms,
			[SB_TARGET_PAUSED] = paused },
		.word = { v->type, v->abandoned ? "abandoned" : v->removed ? "removed" : paused ? "paused"
			: s->unreachable_until_ms ? "unreachable" : "ok" } };
	memcpy(p->duration, s->duration, sizeof(p->duration));
}

static const char *name_of_source(const struct sb_gather *g, size_t i)
{
	return g->source[i].slot->stat->name;
}

static void of_source(const struct sb_gather *g, size_t i, struct sb_packed *p)
{
	const struct sb_source_slot *slot = g->source[i].slot;
	const struct sb_source_stat *s = slot->stat;

	*p = (struct sb_packed){ .n = { [SB_SOURCE_IN] = sb_counted(&s->received), [SB_SOURCE_REFUSED] = sb_counted(&s->refused),
					 [SB_SOURCE_SPILLED] = sb_counted(&s->spilled), [SB_SOURCE_HELD] = sb_counted(&slot->held),
					 [SB_SOURCE_PAUSED] = atomic_load(&s->paused) },
		.word = { slot->connector->type } };
	for (size_t k = 0; k < SB_REJECT_REASONS; k++)
		p->n[SB_SOURCE_REJECTED] += sb_counted(&s->rejected[k].n);
}

struct part {
	size_t n;
	const char *(*name)(const struct sb_gather *g, size_t i);
	void (*of)(const struct sb_gather *g, size_t i, struct sb_packed *p);
};

static void tell_field(struct sb_metrics *m, enum sb_part part, const char *name, const struct sb_packed *p, struct sb_buf *text)
{
	sb_buf_clear(text);
	sb_pack(part, p, text);
	sb_metrics_word(m, name);
	sb_metrics_bytes(m, sb_buf_slice(text));
}

static void tell_names(struct sb_metrics *m, const struct sb_gather *g, enum sb_part part, const struct part *of)
{
	struct sb_names *names = &m->names[part];
	struct sb_buf text = SB_BUF(8192);
	struct sb_packed p;

	for (size_t i = 0; i < of->n; i++) {
		of->of(g, i, &p);
		if (sb_names_tell(names, of->name(g, i), &p))
			tell_field(m, part, of->name(g, i), &p, &text);
	}
	sb_map_each (&names->map, it) {
		const struct sb_name *e = it->value;

		if (sb_names_gone(names, e, &p))
			tell_field(m, part, e->name, &p, &text);
	}
	if (names->others)
		tell_field(m, part, "_other", &names->other, &text);
	sb_buf_done(&text);
}

static void tell_part(struct sb_metrics *m, const struct sb_gather *g, enum sb_part part, const struct part *of)
{
	struct sb_names *names = &m->names[part];
	size_t n;

	m->rewrite |= sb_names_turn(names, sb_wall_ms(m->d->core.clock), sb_metrics_part_s(m) * 1000);
	for (size_t i = 0; i < of->n; i++)
		sb_names_meet(names, of->name(g, i));
	n = names->n_named + names->others;
	if (n == 0)
		return;
	sb_metrics_begin(m, (unsigned)(2 + 2 * n), "HSET");
	sb_metrics_key(m, ":i:%s:%s", m->instance, names->shape->key);
	tell_names(m, g, part, of);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, sb_metrics_part_s(m), ":i:%s:%s", m->instance, names->shape->key);
}

/* What is told no more must not stay. */
static void clear_parts(struct sb_metrics *m)
{
	m->rewrite = false;
	sb_metrics_begin(m, 1 + SB_PARTS, "DEL");
	for (unsigned i = 0; i < SB_PARTS; i++)
		sb_metrics_key(m, ":i:%s:%s", m->instance, sb_part_shapes[i].key);
	sb_metrics_end(m, NULL, NULL);
}

void sb_metrics_tell_parts(struct sb_metrics *m, const struct sb_gather *g)
{
	const struct part of[SB_PARTS] = { { g->plan->rules->n, name_of_rule, of_rule }, { g->n_targets, name_of_target, of_target },
		{ g->n_sources, name_of_source, of_source } };

	if (m->rewrite)
		clear_parts(m);
	for (unsigned i = 0; i < SB_PARTS; i++)
		tell_part(m, g, (enum sb_part)i, &of[i]);
}
