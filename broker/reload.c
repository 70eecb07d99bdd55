/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reload: all or nothing. The new configuration is read and checked in full; what needs a restart, or would leave deliveries
 * without their target, is refused by name. Then new targets and sources open, changed ones are changed on their own shard,
 * and every shard swaps its plan between two events. Until the last of these nothing of the old generation is gone.
 */
#include "broker/daemon.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/log.h"

struct change_call {
	struct sb_daemon *d;
	struct sb_plan *plan;
	struct sb_target_slot *slot;
	struct sb_source_slot *source;
	const struct sb_target_conf *conf;
	const struct sb_config *config;
	struct sb_dispatch_stats stats;
	struct sb_err *err;
	int bad;
};

static unsigned shard_of(const struct sb_target_slot *slot)
{
	return slot->home->index;
}

static void on_home(struct change_call *c, void (*fn)(struct sb_shard *s, void *arg))
{
	sb_loop_call(c->d->loop[shard_of(c->slot)], fn, c);
}

/* ------------------------------------------------------------------------------------------------ on the shards */

static void get_stats(struct sb_shard *s, void *arg)
{
	struct change_call *c = arg;

	(void)s;
	sb_dispatch_get_stats(c->slot->dispatch, &c->stats);
}

static void open_target(struct sb_shard *s, void *arg)
{
	struct change_call *c = arg;

	c->bad = sb_shard_open_target(s, c->slot);
	if (c->bad)
		*c->err = c->slot->open_err;
}

static void open_source(struct sb_shard *s, void *arg)
{
	struct change_call *c = arg;

	if (!c->bad)
		c->bad = sb_shard_open_source(s, &c->source->unit[s->index], c->err);
}

static void close_source(struct sb_shard *s, void *arg)
{
	struct change_call *c = arg;

	sb_shard_close_source(s, &c->source->unit[s->index]);
}

static void set_policy(struct sb_shard *s, void *arg)
{
	struct change_call *c = arg;

	(void)s;
	c->slot->policy = c->conf->policy;
	c->slot->dead_letter = c->conf->dead_letter ? sb_map_get(&c->plan->targets, sb_slice_str(c->conf->dead_letter)) : NULL;
	c->slot->target.concurrency = c->conf->policy.concurrency;
	c->slot->target.timeout_ms = c->conf->policy.timeout_ms;
	sb_dispatch_set_policy(c->slot->dispatch, &c->conf->policy);
	sb_config_unref(c->slot->config);
	c->slot->config = sb_config_ref(c->config);
}

static void swap_plan(struct sb_shard *s, void *arg)
{
	sb_shard_set_plan(s, sb_plan_ref(((struct change_call *)arg)->plan));
}

/* Everything that a removed target still owes is dead-lettered, attempt by attempt, with the reason. */
static void reject_removed(struct sb_target *t, struct sb_batch *b)
{
	struct sb_result r = { .outcome = SB_REJECTED, .reason = SB_R_TARGET_REMOVED,
		.message = SB_SLICE("the target was removed from the configuration") };

	for (size_t i = 0, n = b->n; i < n; i++)
		sb_batch_settle(t, b, i, &r);
}

static void reject_orphans(struct sb_shard *s, void *arg)
{
	struct change_call *c = arg;
	struct sb_target_slot *slot = c->slot;

	(void)s;
	slot->removed_ops = *slot->target.ops;
	slot->removed_ops.send = reject_removed;
	slot->target.ops = &slot->removed_ops;
	atomic_store(&slot->paused, false);
	sb_dispatch_pause(slot->dispatch, false);
	sb_dispatch_tick(slot->dispatch);
}

/* ------------------------------------------------------------------------------------------------ may it? */

static void add_name(struct sb_err *err, const char *name)
{
	size_t n = strlen(err->msg);

	snprintf(err->msg + n, sizeof(err->msg) - n, " %s", name);
}

static int check_restart(const struct sb_config_diff *diff, struct sb_err *err)
{
	if (!diff->n_restart)
		return 0;
	sb_fail(err, SB_E_RESTART, "a restart is needed for:");
	for (size_t i = 0; i < diff->n_restart; i++)
		add_name(err, diff->restart[i]);
	return -1;
}

static bool is_change(const struct sb_change *c, const char *what, enum sb_change_kind kind)
{
	return strcmp(c->what, what) == 0 && c->kind == kind;
}

/* A target that leaves must owe nothing, unless the caller said what to do. */
static int check_orphans(struct sb_daemon *d, const struct sb_config_diff *diff, enum sb_orphans orphans, struct sb_err *err)
{
	struct change_call c = { .d = d };

	for (size_t i = 0; i < diff->n; i++) {
		uint64_t owed;

		if (!is_change(&diff->change[i], "target", SB_CHANGE_REMOVED))
			continue;
		c.slot = sb_slots_target(&d->slots, diff->change[i].name);
		on_home(&c, get_stats);
		owed = c.stats.in_flight + c.stats.queued + c.stats.retrying + c.stats.held;
		if (owed == 0 || orphans != SB_ORPHANS_REFUSE)
			continue;
		sb_fail(err, SB_E_BUSY, "target '%s' is removed, but %llu deliveries are owed to it", c.slot->name,
			(unsigned long long)owed);
		return sb_hint(err, "reload --orphans drain delivers them first, --orphans dead-letter gives them up");
	}
	return 0;
}

/* A target whose connector changed cannot keep its instance; its deliveries stay with its dispatch. */
static int check_reopen(const struct sb_config_diff *diff, struct sb_err *err)
{
	sb_fail(err, SB_E_RESTART, "a restart is needed for the connector settings of:");
	for (size_t i = 0; i < diff->n; i++)
		if (is_change(&diff->change[i], "target", SB_CHANGE_REOPEN)) {
			add_name(err, diff->change[i].name);
			err->path[0] = '!';
		}
	return err->path[0] ? -1 : 0;
}

/* ------------------------------------------------------------------------------------------------ doing it */

static bool changed(const struct sb_config_diff *diff, const char *what, const char *name)
{
	for (size_t i = 0; i < diff->n; i++)
		if (strcmp(diff->change[i].what, what) == 0 && strcmp(diff->change[i].name, name) == 0)
			return true;
	return false;
}

/* Sources that left or changed close first: the new ones may want the same path. */
static void close_sources(struct sb_daemon *d, const struct sb_config_diff *diff)
{
	for (size_t i = 0; i < d->slots.n_sources; i++) {
		struct change_call c = { .d = d, .source = d->slots.source[i] };

		if (c.source->retired || !changed(diff, "source", c.source->name))
			continue;
		for (unsigned k = 0; k < d->core.n_shards; k++)
			sb_loop_call(d->loop[k], close_source, &c);
		c.source->retired = true;
	}
}

static int open_new(struct sb_daemon *d, struct sb_plan *plan, struct sb_err *err)
{
	struct change_call c = { .d = d, .plan = plan, .err = err };

	sb_map_each (&plan->targets, it) {
		c.slot = it->value;
		if (!c.bad && !c.slot->opened)
			on_home(&c, open_target);
	}
	sb_map_each (&plan->sources, it) {
		c.source = it->value;
		for (unsigned k = 0; k < d->core.n_shards && !c.bad; k++)
			if (!c.source->unit[k].opened)
				sb_loop_call(d->loop[k], open_source, &c);
	}
	return c.bad;
}

static void apply_policies(struct sb_daemon *d, const struct sb_config *config, struct sb_plan *plan)
{
	for (size_t i = 0; i < config->n_targets; i++) {
		struct change_call c = { .d = d, .plan = plan, .config = config, .conf = &config->target[i] };

		c.slot = sb_map_get(&plan->targets, sb_slice_str(config->target[i].name));
		on_home(&c, set_policy);
	}
}

static void leave_orphans(struct sb_daemon *d, const struct sb_config_diff *diff, enum sb_orphans orphans)
{
	for (size_t i = 0; i < diff->n; i++) {
		struct change_call c = { .d = d };

		if (!is_change(&diff->change[i], "target", SB_CHANGE_REMOVED))
			continue;
		c.slot = sb_slots_target(&d->slots, diff->change[i].name);
		if (orphans == SB_ORPHANS_DEAD_LETTER)
			on_home(&c, reject_orphans);
		c.slot->retired = true; /* it goes on until it owes nothing; the name is free */
	}
}

static int apply(struct sb_daemon *d, const struct sb_config *config, const struct sb_config_diff *diff, enum sb_orphans orphans,
	struct sb_err *err)
{
	struct sb_plan *plan, *old = d->plan;
	struct change_call c = { .d = d };

	close_sources(d, diff);
	plan = sb_plan_make(&d->slots, config, ++d->generation);
	if (open_new(d, plan, err) < 0) {
		sb_plan_unref(plan);
		return -1;
	}
	apply_policies(d, config, plan);
	c.plan = plan;
	for (unsigned i = 0; i < d->core.n_shards; i++)
		sb_loop_call(d->loop[i], swap_plan, &c);
	leave_orphans(d, diff, orphans);
	d->plan = plan;
	sb_plan_unref(old);
	sb_daemon_record_generation(d);
	return 0;
}

static void loaded(struct sb_daemon *d, const struct sb_config *config, struct sb_reload_result *ret)
{
	ret->old = d->config;
	d->config = config;
	ret->status = 200;
	sb_log_setup(config->log_format, config->log_level);
	atomic_store(&d->core.counts.reload_ok, 1);
	atomic_store(&d->core.counts.reload_ms, sb_wall_ms(d->core.clock));
	sb_log(SB_LOG_INFO, "configuration reloaded", KI("generation", d->generation), KI("rules", config->rules->n),
		KI("changes", ret->diff.n));
}

void sb_reload(struct sb_daemon *d, enum sb_orphans orphans, struct sb_reload_result *ret)
{
	const struct sb_config *config;

	*ret = (struct sb_reload_result){ .status = 422 };
	config = sb_config_load(d->config->file, NULL, &ret->diags);
	if (!config) {
		sb_fail(&ret->err, SB_E_INVALID, "the configuration has %zu errors; the one in use stays", ret->diags.errors);
		atomic_store(&d->core.counts.reload_ok, 0);
		sb_log(SB_LOG_ERROR, "configuration not reloaded", KI("errors", ret->diags.errors),
			KERR(&ret->diags.item[0].err));
		return;
	}
	sb_config_diff(d->config, config, &ret->diff);
	ret->have_diff = true;
	if (check_restart(&ret->diff, &ret->err) == 0 && check_reopen(&ret->diff, &ret->err) == 0) {
		ret->err = (struct sb_err){ 0 };
		if (check_orphans(d, &ret->diff, orphans, &ret->err) == 0 && apply(d, config, &ret->diff, orphans, &ret->err) == 0) {
			loaded(d, config, ret);
			return;
		}
	}
	ret->status = 409;
	ret->err.path[0] = '\0';
	atomic_store(&d->core.counts.reload_ok, 0);
	sb_log(SB_LOG_ERROR, "configuration not reloaded", KERR(&ret->err));
	ret->old = config; /* the diff borrows its names from it */
}

void sb_reload_result_done(struct sb_reload_result *r)
{
	if (r->have_diff)
		sb_config_diff_done(&r->diff);
	sb_diags_done(&r->diags);
	sb_config_unref(r->old);
}
