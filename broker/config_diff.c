/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "config_tables.h"

/*
 * What a reload has to do. Everything is compared row by row through the tables that decoded it, so a new key needs no line
 * here: its row says whether it is live.
 */
struct diff {
	struct sb_config_diff *ret;
	size_t cap, restart_cap;
};

static void *grown(struct sb_arena *a, void *old, size_t n, size_t *cap, size_t size)
{
	void *more;

	if (n < *cap)
		return old;
	*cap = *cap ? *cap * 2 : 8;
	more = sb_arena_alloc(a, *cap * size);
	return n ? memcpy(more, old, n * size) : more;
}

static void add_change(struct diff *d, const char *what, const char *name, enum sb_change_kind kind)
{
	struct sb_config_diff *r = d->ret;

	r->change = grown(&r->arena, r->change, r->n, &d->cap, sizeof(*r->change));
	r->change[r->n++] = (struct sb_change){ what, name, kind };
}

static void add_restart(struct diff *d, const char *key)
{
	struct sb_config_diff *r = d->ret;

	r->restart = grown(&r->arena, r->restart, r->n_restart, &d->restart_cap, sizeof(*r->restart));
	r->restart[r->n_restart++] = sb_arena_strdup(&r->arena, key);
}

/* ------------------------------------------------------------------------------------------------ root, listeners */

static void root_differs(void *arg, const struct sb_field *f, const char *path)
{
	struct diff *d = arg;

	if (f->type == SB_T_MAP)
		return; /* compared by name, below */
	if (!f->live)
		add_restart(d, path);
	else if (strcmp(path, "rules") == 0)
		d->ret->rules = true;
	else
		d->ret->live = true;
}

static void listener_differs(void *arg, const struct sb_field *f, const char *path)
{
	(void)f;
	add_restart(arg, path);
}

static const struct sb_listener_conf *listener(const struct sb_config *c, const char *name)
{
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listener[i].name == name)
			return &c->listener[i];
	return NULL;
}

static void restart_listener(struct diff *d, const char *name)
{
	char path[96];

	snprintf(path, sizeof(path), "listeners.%s", name);
	add_restart(d, path);
}

static void diff_listeners(struct diff *d, const struct sb_config *from, const struct sb_config *to)
{
	for (size_t i = 0; i < from->n_listeners; i++)
		if (!listener(to, from->listener[i].name))
			restart_listener(d, from->listener[i].name);
	for (size_t i = 0; i < to->n_listeners; i++) {
		const struct sb_listener_conf *l = &to->listener[i], *old = listener(from, l->name);
		char path[96];

		snprintf(path, sizeof(path), "listeners.%s", l->name);
		if (old)
			sb_fields_compare(sb_listener_fields, old->keys, l->keys, path, listener_differs, d);
		else
			restart_listener(d, l->name);
	}
}

/* ------------------------------------------------------------------------------------------------ by name */

static void diff_buses(struct diff *d, const struct sb_config *from, const struct sb_config *to)
{
	for (size_t i = 0; i < from->n_buses; i++)
		if (!sb_config_bus(to, from->bus[i].name))
			add_change(d, "bus", from->bus[i].name, SB_CHANGE_REMOVED);
	for (size_t i = 0; i < to->n_buses; i++)
		if (!sb_config_bus(from, to->bus[i].name))
			add_change(d, "bus", to->bus[i].name, SB_CHANGE_ADDED);
}

static bool same_own(const struct sb_field *fields, const void *a, const void *b)
{
	return !fields || sb_fields_equal(fields, a, b);
}

static bool adopts(const struct sb_source_conf *a, const struct sb_source_conf *b)
{
	const struct sb_source_ops *ops = a->connector->source;

	return a->connector == b->connector && ops->adopts && ops->adopts(a->conf, b->conf) && sb_fields_equal(sb_source_fields, a->keys, b->keys);
}

static void diff_source(struct diff *d, const struct sb_source_conf *a, const struct sb_source_conf *b)
{
	bool own = a->connector != b->connector || !same_own(a->connector->source->fields, a->conf, b->conf);

	if (own && adopts(a, b))
		add_change(d, "source", b->name, SB_CHANGE_ADOPT);
	else if (own)
		add_change(d, "source", b->name, SB_CHANGE_REOPEN);
	else if (!sb_fields_equal(sb_source_fields, a->keys, b->keys))
		add_change(d, "source", b->name, SB_CHANGE_POLICY);
}

static void diff_sources(struct diff *d, const struct sb_config *from, const struct sb_config *to)
{
	for (size_t i = 0; i < from->n_sources; i++)
		if (!sb_config_source(to, from->source[i].name))
			add_change(d, "source", from->source[i].name, SB_CHANGE_REMOVED);
	for (size_t i = 0; i < to->n_sources; i++) {
		const struct sb_source_conf *old = sb_config_source(from, to->source[i].name);

		if (old)
			diff_source(d, old, &to->source[i]);
		else
			add_change(d, "source", to->source[i].name, SB_CHANGE_ADDED);
	}
}

static void diff_target(struct diff *d, const struct sb_target_conf *a, const struct sb_target_conf *b)
{
	if (a->connector != b->connector || !same_own(a->connector->target->fields, a->conf, b->conf))
		add_change(d, "target", b->name, SB_CHANGE_REOPEN);
	else if (!sb_fields_equal(sb_target_fields, a->keys, b->keys) || a->is_dead_letter != b->is_dead_letter)
		add_change(d, "target", b->name, SB_CHANGE_POLICY);
}

static void diff_targets(struct diff *d, const struct sb_config *from, const struct sb_config *to)
{
	for (size_t i = 0; i < from->n_targets; i++)
		if (!sb_config_target(to, from->target[i].name))
			add_change(d, "target", from->target[i].name, SB_CHANGE_REMOVED);
	for (size_t i = 0; i < to->n_targets; i++) {
		const struct sb_target_conf *old = sb_config_target(from, to->target[i].name);

		if (old)
			diff_target(d, old, &to->target[i]);
		else
			add_change(d, "target", to->target[i].name, SB_CHANGE_ADDED);
	}
}

static bool same_rules(const struct sb_ruleset *a, const struct sb_ruleset *b)
{
	if (!a || !b)
		return a == b;
	return sb_slice_eq(a->text, b->text);
}

void sb_config_diff(const struct sb_config *from, const struct sb_config *to, struct sb_config_diff *ret)
{
	struct diff d = { .ret = ret };

	*ret = (struct sb_config_diff){ 0 };
	sb_fields_compare(sb_root_fields, from->keys, to->keys, "", root_differs, &d);
	ret->rules |= !same_rules(from->rules, to->rules);
	diff_listeners(&d, from, to);
	diff_buses(&d, from, to);
	diff_sources(&d, from, to);
	diff_targets(&d, from, to);
}

void sb_config_diff_done(struct sb_config_diff *d)
{
	sb_arena_done(&d->arena);
	*d = (struct sb_config_diff){ 0 };
}
