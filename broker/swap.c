/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one generation to the next, in steps that can all be taken back until the last:
 *
 *   1. units of new and changed targets open beside what there is; nobody uses them yet
 *   2. the generation is recorded
 *   3. every shard stops between two events: changed sources close and open anew, and the plan is swapped
 *   4. targets change over, and removed ones begin to leave
 *
 * A source may want the path or the group of the one before, so it cannot open beside it. When one does not open, all shards
 * open those of the old configuration again before they handle another event.
 */
#include "broker/swap.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/log.h"
#include "broker/daemon.h"
#include "broker/targetslot.h"

struct swap {
	struct sb_daemon *d;
	const struct sb_config *from, *to;
	const struct sb_config_diff *diff;
	struct sb_plan *old, *plan, *undo;
	struct sb_err *err;
	int bad;
	/* of the call under way: */
	struct sb_target_slot *slot;
	struct sb_target_unit *unit;
	const struct sb_target_conf *conf;
	const struct sb_plan *policies;
	struct sb_source_slot *source;
	bool busy;
	/* for all shards at once: */
	sem_t opened, decided, turned;
};

static void on_home(struct swap *w, struct sb_target_slot *slot, void (*fn)(struct sb_shard *s, void *arg))
{
	w->slot = slot;
	sb_loop_call(w->d->loop[slot->home->index], fn, w);
}

static void on_all(struct swap *w, void (*fn)(struct sb_shard *s, void *arg))
{
	for (unsigned i = 0; i < w->d->core.n_shards; i++)
		sb_loop_call(w->d->loop[i], fn, w);
}

static struct sb_target_slot *target_of(const struct sb_plan *p, const char *name)
{
	return sb_map_get(&p->targets, sb_slice_str(name));
}

static bool changed(const struct sb_config_diff *diff, const char *what, const char *name)
{
	for (size_t i = 0; i < diff->n; i++)
		if (strcmp(diff->change[i].what, what) == 0 && strcmp(diff->change[i].name, name) == 0)
			return true;
	return false;
}

static bool reopens(const struct sb_config_diff *diff, const char *name)
{
	for (size_t i = 0; i < diff->n; i++)
		if (sb_change_is(&diff->change[i], "target", SB_CHANGE_REOPEN) && strcmp(diff->change[i].name, name) == 0)
			return true;
	return false;
}

static bool adopts(const struct sb_config_diff *diff, const char *name)
{
	for (size_t i = 0; i < diff->n; i++)
		if (sb_change_is(&diff->change[i], "source", SB_CHANGE_ADOPT) && strcmp(diff->change[i].name, name) == 0)
			return true;
	return false;
}

/* ------------------------------------------------------------------------------------------------ targets */

static void open_first(struct sb_shard *s, void *arg)
{
	struct swap *w = arg;

	w->bad = sb_shard_open_target(s, w->slot, w->err);
}

static void open_next(struct sb_shard *s, void *arg)
{
	struct swap *w = arg;

	(void)s;
	w->bad = sb_shard_open_next(w->slot, w->unit, w->err);
}

static int open_target(struct swap *w, const struct sb_target_conf *c)
{
	struct sb_target_slot *slot = target_of(w->plan, c->name);

	if (!slot->known) {
		on_home(w, slot, open_first);
	} else if (!target_of(w->old, c->name) || reopens(w->diff, c->name)) {
		w->unit = sb_target_unit_new(slot, w->to, c);
		on_home(w, slot, open_next);
	}
	return w->bad;
}

static int open_targets(struct swap *w)
{
	for (size_t i = 0; i < w->to->n_targets; i++)
		if (open_target(w, &w->to->target[i]) < 0)
			return -1;
	return 0;
}

static void drop_opened(struct sb_shard *s, void *arg)
{
	struct swap *w = arg;

	(void)s;
	sb_shard_drop_next(w->slot);
	if (!target_of(w->old, w->slot->name))
		sb_shard_remove_target(w->slot);
}

static void drop_unopened(struct sb_shard *s, void *arg)
{
	sb_shard_forgo_target(s, ((struct swap *)arg)->slot);
}

static void drop_targets(struct swap *w)
{
	for (size_t i = 0; i < w->to->n_targets; i++) {
		struct sb_target_slot *slot = target_of(w->plan, w->to->target[i].name);

		on_home(w, slot, slot->known ? drop_opened : drop_unopened);
	}
}

static void set_policy(struct sb_shard *s, void *arg)
{
	struct swap *w = arg;
	struct sb_target_slot *slot = w->slot;

	(void)s;
	slot->policy = w->conf->policy;
	slot->dead_letter = w->conf->dead_letter ? target_of(w->policies, w->conf->dead_letter) : NULL;
	if (slot->unit) {
		slot->unit->target.concurrency = w->conf->policy.concurrency;
		slot->unit->target.timeout_ms = w->conf->policy.timeout_ms;
	}
	sb_dispatch_set_policy(slot->dispatch, &w->conf->policy);
	sb_shard_recover_target(slot); /* before the first event of the new plan can come */
}

static void set_policies(struct swap *w, const struct sb_plan *p)
{
	w->policies = p;
	for (size_t i = 0; i < p->config->n_targets; i++) {
		w->conf = &p->config->target[i];
		on_home(w, target_of(p, w->conf->name), set_policy);
	}
}

static void change_over(struct sb_shard *s, void *arg)
{
	struct swap *w = arg;

	(void)s;
	if (w->slot->next)
		sb_shard_use_next(w->slot, w->to->drain_timeout_ms);
}

static void remove_target(struct sb_shard *s, void *arg)
{
	struct swap *w = arg;

	(void)s;
	sb_shard_remove_target(w->slot);
}

/* Whoever still drains, from whatever reload: when its dead-letter target leaves too, the table takes over. */
static void mend_dead_letter(struct sb_shard *s, void *arg)
{
	struct swap *w = arg;

	(void)s;
	if (w->slot->dead_letter && !target_of(w->plan, w->slot->dead_letter->name))
		w->slot->dead_letter = NULL;
}

static void change_targets(struct swap *w)
{
	for (size_t i = 0; i < w->to->n_targets; i++)
		on_home(w, target_of(w->plan, w->to->target[i].name), change_over);
	for (size_t i = 0; i < w->diff->n; i++)
		if (sb_change_is(&w->diff->change[i], "target", SB_CHANGE_REMOVED))
			on_home(w, target_of(w->old, w->diff->change[i].name), remove_target);
	for (size_t i = 0; i < w->plan->n_gone; i++)
		on_home(w, w->plan->gone[i], mend_dead_letter);
}

/* ------------------------------------------------------------------------------------------------ sources */

static void retire_changed(struct swap *w)
{
	sb_map_each (&w->old->sources, it) {
		struct sb_source_slot *slot = it->value;

		slot->retired = changed(w->diff, "source", slot->name) && !adopts(w->diff, slot->name);
	}
}

/* On its shard, when nothing can be taken back any more. */
static void adopt_sources(struct sb_shard *s, const struct swap *w)
{
	for (size_t i = 0; i < w->diff->n; i++) {
		const struct sb_change *c = &w->diff->change[i];
		struct sb_source_slot *slot;
		struct sb_source *src;

		if (!sb_change_is(c, "source", SB_CHANGE_ADOPT))
			continue;
		slot = sb_map_get(&w->plan->sources, sb_slice_str(c->name));
		src = &slot->unit[s->index].source;
		src->conf = sb_config_source(w->to, c->name)->conf;
		src->ops->adopt(src);
	}
}

/* Every shard has: what they had taken over before may go. */
static void keep_adopted(struct swap *w)
{
	for (size_t i = 0; i < w->diff->n; i++) {
		struct sb_source_slot *slot;

		if (!sb_change_is(&w->diff->change[i], "source", SB_CHANGE_ADOPT))
			continue;
		slot = sb_map_get(&w->plan->sources, sb_slice_str(w->diff->change[i].name));
		sb_config_unref(slot->adopted);
		slot->adopted = sb_config_ref(w->to);
	}
}

/* What the new plan would have brought, and nobody has opened. */
static void forget_new_sources(struct swap *w)
{
	sb_map_each (&w->old->sources, it)
		((struct sb_source_slot *)it->value)->retired = false;
	sb_map_each (&w->plan->sources, it)
		if (sb_map_get(&w->old->sources, sb_slice_str(((struct sb_source_slot *)it->value)->name)) != it->value)
			sb_slots_forget_source(&w->d->slots, it->value);
}

static void close_retired(struct sb_shard *s, const struct sb_slots *slots)
{
	for (size_t i = 0; i < slots->n_sources; i++)
		if (slots->source[i]->retired)
			sb_shard_close_source(s, &slots->source[i]->unit[s->index]);
}

static int open_source(struct sb_shard *s, const struct sb_plan *p, size_t i, struct sb_err *err)
{
	struct sb_source_slot *slot = sb_map_get(&p->sources, sb_slice_str(p->config->source[i].name));
	struct sb_source_unit *u = &slot->unit[s->index];

	return u->opened ? 0 : sb_shard_open_source(s, u, err);
}

static int open_sources(struct sb_shard *s, const struct sb_slots *slots, const struct sb_plan *p, struct sb_err *err)
{
	close_retired(s, slots);
	for (size_t i = 0; i < p->config->n_sources; i++)
		if (open_source(s, p, i, err) < 0)
			return -1;
	return 0;
}

/* The way back: one that does not open any more is no reason to leave the others closed. */
static void reopen_sources(struct sb_shard *s, const struct sb_slots *slots, const struct sb_plan *p)
{
	struct sb_err err;

	close_retired(s, slots);
	for (size_t i = 0; i < p->config->n_sources; i++)
		if (open_source(s, p, i, &err) < 0)
			sb_log(SB_LOG_ERROR, "a source does not open any more, though nothing has changed", KERR(&err));
}

/* The old configuration once more; its sources that were closed get new slots. */
static void make_undo(struct swap *w)
{
	sb_map_each (&w->plan->sources, it) {
		struct sb_source_slot *slot = it->value;

		if (sb_map_get(&w->old->sources, sb_slice_str(slot->name)) != slot)
			slot->retired = true;
	}
	w->undo = sb_plan_make(&w->d->slots, w->from, w->old->generation);
}

/* ------------------------------------------------------------------------------------------------ between two events */

struct turn {
	struct sb_mail mail;
	struct swap *w;
	struct sb_shard *shard;
	struct sb_err err;
	int bad;
};

static void wait_for(sem_t *s)
{
	while (sem_wait(s) < 0 && errno == EINTR)
		;
}

/* On its shard, which does nothing else until all have opened theirs: no event sees half of a reload. */
static void take_turn(struct sb_mail *m)
{
	struct turn *t = SB_CONTAINER(m, struct turn, mail);
	struct swap *w = t->w;

	t->bad = open_sources(t->shard, &w->d->slots, w->plan, &t->err);
	sem_post(&w->opened);
	wait_for(&w->decided);
	if (w->undo)
		reopen_sources(t->shard, &w->d->slots, w->undo);
	else
		adopt_sources(t->shard, w);
	sb_shard_set_plan(t->shard, sb_plan_ref(w->undo ? w->undo : w->plan));
	sem_post(&w->turned);
}

static void wait_for_all(const struct swap *w, sem_t *s)
{
	for (unsigned i = 0; i < w->d->core.n_shards; i++)
		wait_for(s);
}

static int turn_over(struct swap *w)
{
	unsigned n = w->d->core.n_shards;
	struct turn *t = sb_xcalloc(n * sizeof(*t));

	sem_init(&w->opened, 0, 0);
	sem_init(&w->decided, 0, 0);
	sem_init(&w->turned, 0, 0);
	for (unsigned i = 0; i < n; i++) {
		t[i] = (struct turn){ .mail.run = take_turn, .w = w, .shard = w->d->core.shard[i] };
		sb_mailbox_post(&t[i].shard->mail, &t[i].mail);
	}
	wait_for_all(w, &w->opened);
	for (unsigned i = 0; i < n && !w->bad; i++) {
		w->bad = t[i].bad;
		*w->err = w->bad ? t[i].err : *w->err;
	}
	if (w->bad)
		make_undo(w);
	for (unsigned i = 0; i < n; i++)
		sem_post(&w->decided);
	wait_for_all(w, &w->turned);
	sem_destroy(&w->opened);
	sem_destroy(&w->decided);
	sem_destroy(&w->turned);
	free(t);
	return w->bad;
}

/* ------------------------------------------------------------------------------------------------ sources that are gone */

static void ask_busy(struct sb_shard *s, void *arg)
{
	struct swap *w = arg;
	const struct sb_source_unit *u = &w->source->unit[s->index];

	w->busy |= !u->closed || !sb_list_empty(&u->held) || !sb_list_empty(&u->waiting) ||
		   !sb_list_empty(&u->leaving);
}

static void free_unit(struct sb_shard *s, void *arg)
{
	sb_shard_free_source(&((struct swap *)arg)->source->unit[s->index]);
}

void sb_swap_reap(struct sb_daemon *d)
{
	struct swap w = { .d = d };

	for (size_t i = d->slots.n_sources; i-- > 0;) {
		w.source = d->slots.source[i];
		w.busy = !w.source->retired || sb_counted(&w.source->held);
		if (!w.busy)
			on_all(&w, ask_busy);
		if (w.busy)
			continue;
		on_all(&w, free_unit);
		sb_slots_forget_source(&d->slots, w.source);
	}
}

/* ------------------------------------------------------------------------------------------------ all of it */

static int prepare(struct swap *w)
{
	if (open_targets(w) < 0)
		return -1;
	if (sb_daemon_record_generation(w->d, w->plan) < 0)
		return sb_fail(w->err, SB_E_IO, "the new generation could not be recorded");
	return 0;
}

/* `now` is what takes the place of the new plan: the old one, or another of the same configuration. */
static int give_up(struct swap *w, struct sb_plan *now)
{
	drop_targets(w);
	w->d->plan = now;
	sb_plan_unref(w->plan);
	if (now != w->old)
		sb_plan_unref(w->old);
	return -1;
}

int sb_swap(struct sb_daemon *d, const struct sb_config *to, const struct sb_config_diff *diff, struct sb_err *err)
{
	struct swap w = { .d = d, .from = d->config, .to = to, .diff = diff, .old = d->plan, .err = err };

	retire_changed(&w);
	w.plan = sb_plan_make(&d->slots, to, ++d->generation);
	if (prepare(&w) < 0) {
		forget_new_sources(&w);
		return give_up(&w, w.old);
	}
	set_policies(&w, w.plan);
	if (turn_over(&w) < 0) {
		set_policies(&w, w.old);
		return give_up(&w, w.undo);
	}
	keep_adopted(&w);
	change_targets(&w);
	d->plan = w.plan;
	sb_plan_unref(w.old);
	return 0;
}

static void abandon(struct sb_shard *s, void *arg)
{
	struct swap *w = arg;

	(void)s;
	sb_shard_abandon_target(w->slot, w->d->config->drain_timeout_ms);
}

void sb_swap_abandon_gone(struct sb_daemon *d)
{
	struct swap w = { .d = d };

	for (size_t i = 0; i < d->plan->n_gone; i++)
		on_home(&w, d->plan->gone[i], abandon);
}
