/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/receipt.h"
#include "broker/targetslot.h"

struct sb_plan *sb_plan_ref(struct sb_plan *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

/* Its instances are gone: what remains is for plans to read. */
static void source_unref(struct sb_source_slot *slot)
{
	if (atomic_fetch_sub_explicit(&slot->refs, 1, memory_order_acq_rel) != 1)
		return;
	sb_config_unref(slot->config);
	sb_config_unref(slot->adopted);
	free(slot->unit);
	free(slot);
}

void sb_plan_unref(struct sb_plan *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < p->rules->n; i++)
		free(p->way[i]);
	free(p->way);
	free(p->rule_stat);
	free(p->gone);
	sb_map_each (&p->sources, it)
		source_unref(it->value);
	sb_map_done(&p->buses);
	sb_map_done(&p->targets);
	sb_map_done(&p->sources);
	sb_ruleset_unref(p->rules);
	sb_config_unref(p->config);
	free(p);
}

/* ------------------------------------------------------------------------------------------------ slots */

struct sb_target_slot *sb_slots_target(const struct sb_slots *s, const char *name)
{
	for (size_t i = 0; i < s->n_targets; i++)
		if (s->target[i]->name == name)
			return s->target[i];
	return NULL;
}

struct sb_source_slot *sb_slots_source(const struct sb_slots *s, const char *name)
{
	for (size_t i = s->n_sources; i-- > 0;)
		if (s->source[i]->name == name && !s->source[i]->retired)
			return s->source[i];
	return NULL;
}

#define PUSH(type, array, n, x)                                                 \
	do {                                                                    \
		(array) = sb_xrealloc((array), ((n) + 1) * sizeof(type *));     \
		(array)[(n)++] = (x);                                           \
	} while (0)

static bool was_paused(const struct sb_core *core, const char *kind, const char *name)
{
	char what[160];

	snprintf(what, sizeof(what), "%s/%s", kind, name);
	return sb_map_get(&sb_journal_recovery(core->journal)->pauses, sb_slice_str(what)) != NULL;
}

/* `c` NULL: nobody is to deliver what it is owed, for now. */
static struct sb_target_slot *new_target(struct sb_slots *s, const char *name, const struct sb_config *config,
	const struct sb_target_conf *c)
{
	static const struct sb_target_policy none = { .concurrency = 1, .cache_bytes = 1u << 20 };
	struct sb_target_slot *slot = sb_xcalloc(sizeof(*slot));

	slot->name = name;
	slot->core = s->core;
	slot->home = s->core->shard[s->next_home++ % s->core->n_shards];
	slot->policy = c ? c->policy : none;
	atomic_init(&slot->paused, was_paused(s->core, "target", name));
	if (c)
		slot->unit = sb_target_unit_new(slot, config, c);
	sb_target_prepare(slot);
	PUSH(struct sb_target_slot, s->target, s->n_targets, slot);
	return slot;
}

void sb_slots_recover(struct sb_slots *s, const struct sb_config *config)
{
	sb_map_each (&sb_journal_recovery(s->core->journal)->targets, it) {
		const struct sb_recovered_target *t = it->value;

		if (t->n && !sb_config_target(config, t->name))
			new_target(s, sb_name_str(t->name), config, NULL);
	}
}

static struct sb_source_stat *source_stat(struct sb_slots *s, const char *name)
{
	struct sb_source_stat *stat;

	for (size_t i = 0; i < s->n_stats; i++)
		if (s->stat[i]->name == name)
			return s->stat[i];
	stat = sb_xcalloc(sizeof(*stat));
	stat->name = name;
	atomic_init(&stat->paused, was_paused(s->core, "source", name));
	PUSH(struct sb_source_stat, s->stat, s->n_stats, stat);
	return stat;
}

/* As what the records name it: it stands where a target's name would. */
static const char *overflow_name(const char *topic)
{
	char name[300];

	snprintf(name, sizeof(name), "overflow:%s", topic);
	return sb_name_str(name);
}

static struct sb_source_slot *new_source(struct sb_slots *s, const struct sb_config *config, const struct sb_source_conf *c)
{
	struct sb_source_slot *slot = sb_xcalloc(sizeof(*slot));

	slot->name = c->name;
	slot->connector = c->connector;
	slot->config = sb_config_ref(config);
	slot->core = s->core;
	slot->tokens = c->tokens.v;
	slot->n_tokens = c->tokens.n;
	slot->spill_after_ns = c->overflow_pause ? UINT64_MAX : c->spill_after_ms * SB_NS_PER_MS;
	if (c->overflow_topic)
		slot->overflow = overflow_name(c->overflow_topic);
	slot->stat = source_stat(s, c->name);
	atomic_init(&slot->refs, 1);
	slot->unit = sb_xcalloc(s->core->n_shards * sizeof(*slot->unit));
	for (unsigned i = 0; i < s->core->n_shards; i++) {
		struct sb_source *src = &slot->unit[i].source;

		slot->unit[i].slot = slot;
		slot->unit[i].shard = s->core->shard[i];
		sb_list_init(&slot->unit[i].link);
		sb_list_init(&slot->unit[i].held);
		sb_list_init(&slot->unit[i].waiting);
		sb_list_init(&slot->unit[i].leaving);
		src->name = c->name;
		src->ops = c->connector->source;
		src->conf = c->conf;
		src->overflow_topic = c->overflow_topic;
		src->bus = c->bus;
		src->envelope = c->envelope;
		src->source_tpl = c->source_tpl;
		src->detail_type_tpl = c->detail_type_tpl;
	}
	PUSH(struct sb_source_slot, s->source, s->n_sources, slot);
	return slot;
}

static struct sb_rule_stat *rule_stat(struct sb_slots *s, const struct sb_rule *r)
{
	struct sb_rule_stat *stat;

	for (size_t i = 0; i < s->n_rules; i++)
		if (s->rule[i]->name == r->name)
			return s->rule[i];
	stat = sb_xcalloc(sizeof(*stat));
	stat->name = r->name;
	stat->bus = r->bus;
	PUSH(struct sb_rule_stat, s->rule, s->n_rules, stat);
	return stat;
}

void sb_slots_forget_source(struct sb_slots *s, struct sb_source_slot *slot)
{
	for (size_t i = 0; i < s->n_sources; i++)
		if (s->source[i] == slot)
			s->source[i--] = s->source[--s->n_sources];
	source_unref(slot);
}

void sb_slots_done(struct sb_slots *s)
{
	for (size_t i = 0; i < s->n_targets; i++)
		sb_target_free(s->target[i]);
	for (unsigned k = 0; k < s->core->n_shards; k++)
		sb_targets_free_leaving(s->core->shard[k]);
	for (size_t i = 0; i < s->n_sources; i++) {
		for (unsigned k = 0; k < s->core->n_shards; k++)
			sb_shard_free_source(&s->source[i]->unit[k]);
		source_unref(s->source[i]);
	}
	for (size_t i = 0; i < s->n_stats; i++)
		free(s->stat[i]);
	sb_core_forget(s->core);
	for (size_t i = 0; i < s->n_rules; i++)
		free(s->rule[i]);
	free(s->target);
	free(s->source);
	free(s->stat);
	free(s->rule);
}

void sb_slots_close_targets(struct sb_slots *s, struct sb_shard *shard)
{
	(void)s;
	for (struct sb_link *l = shard->slots.next; l != &shard->slots; l = l->next)
		sb_shard_close_target(shard, SB_CONTAINER(l, struct sb_target_slot, home_link));
	sb_shard_close_leaving(shard);
}

bool sb_slots_targets_closed(const struct sb_slots *s, const struct sb_shard *shard)
{
	(void)s;
	for (const struct sb_link *l = shard->slots.next; l != &shard->slots; l = l->next)
		if (!sb_target_is_closed(SB_CONTAINER(l, struct sb_target_slot, home_link)))
			return false;
	return sb_list_empty(&shard->leaving);
}

void sb_slots_close_sources(struct sb_slots *s, struct sb_shard *shard)
{
	for (size_t i = 0; i < s->n_sources; i++)
		if (!s->source[i]->unit[shard->index].closed)
			sb_shard_close_source(shard, &s->source[i]->unit[shard->index]);
}

bool sb_slots_sources_closed(const struct sb_slots *s, const struct sb_shard *shard)
{
	for (size_t i = 0; i < s->n_sources; i++)
		if (!s->source[i]->unit[shard->index].closed)
			return false;
	return true;
}

/* ------------------------------------------------------------------------------------------------ plan */

static unsigned samples_of(const struct sb_metrics_conf *c)
{
	uint64_t n = c->samples * c->flush_ms / 1000;

	return c->url && c->samples ? (unsigned)SB_MIN(SB_MAX(n, 1u), (uint64_t)SB_SAMPLES_A_FLUSH) : 0;
}

void sb_core_init(struct sb_core *core, const struct sb_clock *clock, const struct sb_config *config)
{
	core->clock = clock;
	core->started_ms = sb_wall_ms(clock);
	core->account = config->account;
	core->region = config->region;
	core->default_bus = config->bus[0].name;
	core->max_event_bytes = config->limits.event_bytes;
	core->json_depth = config->limits.json_depth;
	core->max_hops = config->limits.hops;
	core->max_samples = samples_of(&config->metrics);
	pthread_mutex_init(&core->memory.lock, NULL);
}

static void put_name(struct sb_map *m, const char *name, void *value)
{
	sb_map_put(m, sb_slice_str(name), value);
}

static void bind_rules(struct sb_slots *s, struct sb_plan *p)
{
	struct sb_ruleset *rules = p->rules;

	p->way = sb_xcalloc((rules->n + 1) * sizeof(struct sb_way *));
	p->rule_stat = sb_xcalloc((rules->n + 1) * sizeof(struct sb_rule_stat *));
	for (size_t i = 0; i < rules->n; i++) {
		const struct sb_rule *r = &rules->rule[i];

		p->rule_stat[i] = rule_stat(s, r);
		p->way[i] = sb_xcalloc((r->n_targets + 1) * sizeof(struct sb_way));
		for (size_t k = 0; k < r->n_targets; k++) {
			struct sb_way *w = &p->way[i][k];

			w->slot = sb_map_get(&p->targets, sb_slice_str(r->target[k].target));
			w->conf = sb_config_target(p->config, r->target[k].target);
			SB_ASSERT(w->slot && w->conf); /* the configuration was checked */
		}
	}
}

static void put_targets(struct sb_slots *s, struct sb_plan *p, const struct sb_config *config)
{
	size_t old = s->n_targets;

	for (size_t i = 0; i < config->n_targets; i++) {
		const struct sb_target_conf *c = &config->target[i];
		struct sb_target_slot *slot = sb_slots_target(s, c->name);

		put_name(&p->targets, c->name, slot ? slot : new_target(s, c->name, config, c));
	}
	for (; old < s->n_targets; old++) { /* of those that were there, their shards set it: sb_reload */
		const struct sb_target_conf *c = sb_config_target(config, s->target[old]->name);

		s->target[old]->dead_letter = c->dead_letter ? sb_map_get(&p->targets, sb_slice_str(c->dead_letter)) : NULL;
	}
	for (size_t i = 0; i < s->n_targets; i++)
		if (!sb_map_get(&p->targets, sb_slice_str(s->target[i]->name)))
			PUSH(struct sb_target_slot, p->gone, p->n_gone, s->target[i]);
}

struct sb_plan *sb_plan_make(struct sb_slots *s, const struct sb_config *config, uint64_t generation)
{
	struct sb_plan *p = sb_xcalloc(sizeof(*p));

	atomic_init(&p->refs, 1);
	p->generation = generation;
	p->config = sb_config_ref(config);
	p->rules = sb_ruleset_ref(config->rules);
	for (size_t i = 0; i < config->n_buses; i++)
		put_name(&p->buses, config->bus[i].name, (void *)config->bus[i].name);
	put_targets(s, p, config);
	for (size_t i = 0; i < config->n_sources; i++) {
		struct sb_source_slot *slot = sb_slots_source(s, config->source[i].name);

		slot = slot ? slot : new_source(s, config, &config->source[i]);
		atomic_fetch_add_explicit(&slot->refs, 1, memory_order_relaxed); /* the registry has one */
		put_name(&p->sources, slot->name, slot);
	}
	bind_rules(s, p);
	return p;
}
