/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reload: all or nothing. The new configuration is read and checked in full; what needs a restart, or would leave deliveries
 * without their target, is refused by name; then swap.c goes over to it, or leaves everything as it was.
 */
#include "broker/daemon.h"

#include <stdio.h>
#include <string.h>

#include "broker/base/log.h"
#include "broker/swap.h"
#include "broker/targetslot.h"

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

struct owed_call {
	const struct sb_target_slot *slot;
	uint64_t owed;
	bool drains; /* somebody is there to deliver it */
};

static void ask_owed(struct sb_shard *s, void *arg)
{
	struct owed_call *c = arg;
	struct sb_dispatch_stats stats;

	(void)s;
	c->owed = sb_target_owed(c->slot, &stats);
	c->drains = c->slot->unit != NULL;
}

static uint64_t owed_to(struct sb_daemon *d, const struct sb_target_slot *slot)
{
	struct owed_call c = { .slot = slot };

	sb_loop_call(d->loop[slot->home->index], ask_owed, &c);
	return c.owed;
}

/* A target that leaves must owe nothing, unless the caller said what to do. */
static int check_orphans(struct sb_daemon *d, const struct sb_config_diff *diff, enum sb_orphans orphans, struct sb_err *err)
{
	for (size_t i = 0; i < diff->n && orphans == SB_ORPHANS_REFUSE; i++) {
		const struct sb_change *c = &diff->change[i];
		uint64_t owed;

		if (!sb_change_is(c, "target", SB_CHANGE_REMOVED))
			continue;
		owed = owed_to(d, sb_map_get(&d->plan->targets, sb_slice_str(c->name)));
		if (owed == 0)
			continue;
		sb_fail(err, SB_E_BUSY, "target '%s' is removed, but it is owed %llu deliver%s", c->name, (unsigned long long)owed,
			owed == 1 ? "y" : "ies");
		return sb_hint(err, "reload --orphans drain delivers them first, --orphans dead-letter gives them up");
	}
	return 0;
}

static json_t *list_orphans(struct sb_daemon *d, enum sb_orphans asked)
{
	json_t *list = json_array();

	for (size_t i = 0; i < d->plan->n_gone; i++) {
		struct owed_call c = { .slot = d->plan->gone[i] };

		sb_loop_call(d->loop[c.slot->home->index], ask_owed, &c);
		if (c.owed)
			json_array_append_new(list, json_pack("{s:s,s:I,s:s}", "target", c.slot->name, "owed", (json_int_t)c.owed, "fate",
				asked == SB_ORPHANS_DEAD_LETTER ? "dead-letter" : c.drains ? "drain" : "wait"));
	}
	return list;
}

/* ------------------------------------------------------------------------------------------------ doing it */

static void loaded(struct sb_daemon *d, const struct sb_config *config, struct sb_reload_result *ret)
{
	ret->old = d->config;
	d->config = config;
	ret->status = 200;
	sb_log_setup(config->log_format, config->log_level);
	atomic_store(&d->core.counts.reload_ok, 1);
	atomic_store(&d->core.counts.reload_ms, sb_wall_ms(d->core.clock));
	sb_metrics_mark(d->metrics, "reload", "", "");
	sb_log(SB_LOG_INFO, "configuration reloaded", KI("generation", d->generation), KI("rules", config->rules->n),
		KI("changes", ret->diff.n));
}

void sb_reload(struct sb_daemon *d, enum sb_orphans orphans, struct sb_reload_result *ret)
{
	const struct sb_config *config;

	*ret = (struct sb_reload_result){ .status = 422 };
	sb_swap_reap(d);
	config = sb_config_load(d->config->file, NULL, &ret->diags);
	if (!config) {
		sb_fail(&ret->err, SB_E_INVALID, "the configuration has %zu error%s; the one in use stays", ret->diags.errors,
			ret->diags.errors == 1 ? "" : "s");
		atomic_store(&d->core.counts.reload_ok, 0);
		sb_log(SB_LOG_ERROR, "configuration not reloaded", KI("errors", ret->diags.errors),
			KERR(&ret->diags.item[0].err));
		return;
	}
	sb_config_diff(d->config, config, &ret->diff);
	ret->have_diff = true;
	if (check_restart(&ret->diff, &ret->err) == 0 && check_orphans(d, &ret->diff, orphans, &ret->err) == 0 &&
	    sb_swap(d, config, &ret->diff, &ret->err) == 0) {
		loaded(d, config, ret);
		ret->orphans = list_orphans(d, orphans);
		if (orphans == SB_ORPHANS_DEAD_LETTER)
			sb_swap_abandon_gone(d);
		return;
	}
	ret->status = 409;
	atomic_store(&d->core.counts.reload_ok, 0);
	sb_log(SB_LOG_ERROR, "configuration not reloaded", KERR(&ret->err));
	ret->old = config; /* the diff borrows its names from it */
}

void sb_reload_result_done(struct sb_reload_result *r)
{
	if (r->have_diff)
		sb_config_diff_done(&r->diff);
	sb_diags_done(&r->diags);
	json_decref(r->orphans);
	sb_config_unref(r->old);
}
