/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/gather.h"

#include <stdlib.h>
#include <string.h>

#include "broker/targetslot.h"

struct sb_gather_part {
	struct sb_mail mail;
	struct sb_gather *g;
	struct sb_loop *loop;
	unsigned index;
};

static int by_target(const void *a, const void *b)
{
	return strcmp(((const struct sb_target_view *)a)->slot->name, ((const struct sb_target_view *)b)->slot->name);
}

static int by_source(const void *a, const void *b)
{
	return strcmp(((const struct sb_source_view *)a)->slot->name, ((const struct sb_source_view *)b)->slot->name);
}

static void list_names(struct sb_gather *g)
{
	g->target = sb_xcalloc((g->plan->targets.n + g->plan->n_gone + 1) * sizeof(*g->target));
	g->source = sb_xcalloc((g->plan->sources.n + 1) * sizeof(*g->source));
	sb_map_each (&g->plan->targets, it)
		g->target[g->n_targets++].slot = it->value;
	for (size_t i = 0; i < g->plan->n_gone; i++)
		g->target[g->n_targets++].slot = g->plan->gone[i];
	sb_map_each (&g->plan->sources, it) {
		g->source[g->n_sources].slot = it->value;
		g->source[g->n_sources++].detail = sb_xcalloc(g->n_shards * sizeof(struct sb_buf));
	}
	qsort(g->target, g->n_targets, sizeof(*g->target), by_target);
	qsort(g->source, g->n_sources, sizeof(*g->source), by_source);
}

static void come_back(struct sb_mail *m)
{
	struct sb_gather *g = SB_CONTAINER(m, struct sb_gather, back);
	size_t n = 0;

	for (size_t i = 0; i < g->n_targets; i++) {
		if (!g->target[i].removed || g->target[i].owed)
			g->target[n++] = g->target[i];
		else
			sb_buf_done(&g->target[i].detail);
	}
	g->n_targets = n;
	g->done(g);
}

/* On its home shard. One that a reload has made, but not yet told its shard of, has nothing to show. */
static void look_at(struct sb_target_view *v)
{
	const struct sb_target_slot *slot = v->slot;
	struct sb_target *t = slot->unit ? &slot->unit->target : NULL;

	v->owed = sb_target_owed(slot, &v->stats);
	v->type = slot->unit ? slot->unit->connector->type : "";
	v->removed = slot->removed || !slot->unit;
	v->abandoned = slot->abandoned;
	sb_buf_init(&v->detail, 64 << 10);
	if (t && slot->unit->opened && t->ops->status)
		t->ops->status(t, &v->detail);
}

static void fill_sources(struct sb_gather *g, const struct sb_shard *s)
{
	for (size_t i = 0; i < g->n_sources; i++) {
		struct sb_source_unit *u = &g->source[i].slot->unit[s->index];
		struct sb_buf *out = &g->source[i].detail[s->index];

		sb_buf_init(out, 256 << 10);
		if (u->opened && !u->closed && u->source.ops->status)
			u->source.ops->status(&u->source, out);
	}
}

static void fill_part(struct sb_mail *m)
{
	struct sb_gather_part *p = SB_CONTAINER(m, struct sb_gather_part, mail);
	struct sb_gather *g = p->g;
	struct sb_shard *s = sb_loop_shard(p->loop);

	for (size_t i = 0; i < g->n_targets; i++) {
		struct sb_target_view *v = &g->target[i];

		if (v->slot->home != s)
			continue;
		look_at(v);
	}
	fill_sources(g, s);
	sb_loop_http_stats(p->loop, &g->http[p->index]);
	if (g->samples)
		sb_samples_take(&s->samples, &g->samples[p->index]);
	/* acq_rel: the last one sees what all others wrote */
	if (atomic_fetch_sub_explicit(&g->left, 1, memory_order_acq_rel) == 1) {
		g->back.run = come_back;
		sb_mailbox_post(g->home, &g->back);
	}
}

static struct sb_gather *make(struct sb_loop **loop, unsigned n_shards, struct sb_plan *plan)
{
	struct sb_gather *g = sb_xcalloc(sizeof(*g));

	g->plan = sb_plan_ref(plan);
	g->loop = loop;
	g->n_shards = n_shards;
	g->http = sb_xcalloc(n_shards * sizeof(*g->http));
	g->part = sb_xcalloc(n_shards * sizeof(*g->part));
	list_names(g);
	return g;
}

static struct sb_gather *send_out(struct sb_gather *g, struct sb_mailbox *home, void (*done)(struct sb_gather *g), void *arg)
{
	g->home = home;
	g->done = done;
	g->arg = arg;
	atomic_init(&g->left, g->n_shards);
	for (unsigned i = 0; i < g->n_shards; i++) {
		g->part[i] = (struct sb_gather_part){ .mail.run = fill_part, .g = g, .loop = g->loop[i], .index = i };
		sb_mailbox_post(&sb_loop_shard(g->loop[i])->mail, &g->part[i].mail);
	}
	return g;
}

struct sb_gather *sb_gather_start(struct sb_loop **loop, unsigned n_shards, struct sb_plan *plan, struct sb_mailbox *home,
	void (*done)(struct sb_gather *g), void *arg)
{
	return send_out(make(loop, n_shards, plan), home, done, arg);
}

struct sb_gather *sb_gather_start_sampling(struct sb_loop **loop, unsigned n_shards, struct sb_plan *plan, struct sb_mailbox *home,
	void (*done)(struct sb_gather *g), void *arg)
{
	struct sb_gather *g = make(loop, n_shards, plan);

	g->samples = sb_xcalloc(n_shards * sizeof(*g->samples));
	return send_out(g, home, done, arg);
}

void sb_gather_free(struct sb_gather *g)
{
	for (size_t i = 0; i < g->n_targets; i++)
		sb_buf_done(&g->target[i].detail);
	for (size_t i = 0; i < g->n_sources; i++) {
		for (unsigned k = 0; k < g->n_shards; k++)
			sb_buf_done(&g->source[i].detail[k]);
		free(g->source[i].detail);
	}
	for (unsigned i = 0; i < g->n_shards && g->samples; i++)
		sb_samples_drop(&g->samples[i]);
	free(g->samples);
	sb_plan_unref(g->plan);
	free(g->target);
	free(g->source);
	free(g->http);
	free(g->part);
	free(g);
}
