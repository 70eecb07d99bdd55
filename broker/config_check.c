/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is right in every single row and wrong as a whole. Names are looked up among those that stand in the file, not among
 * what was decoded, so that a target with an error of its own is not also said to be missing.
 */
#include <stdlib.h>
#include <string.h>

#include "config_tables.h"

struct check {
	const struct sb_config *c;
	struct sb_diags *diags;
};

static const struct sb_node *section(const struct check *k, const char *name)
{
	return sb_node_get(k->c->doc.root, name);
}

/* The node of SECTION.NAME.KEY, for its place. */
static const struct sb_node *node_of(const struct check *k, const char *in, const char *name, const char *key)
{
	return sb_node_get(sb_node_get(section(k, in), name), key);
}

static void tell(struct check *k, const struct sb_node *at, bool warning, struct sb_err *err)
{
	if (at) {
		err->at = at->at;
		sb_node_path(at, err->path, sizeof(err->path));
	}
	if (warning)
		sb_diag_warning(k->diags, err);
	else
		sb_diag_error(k->diags, err);
}

/* ------------------------------------------------------------------------------------------------ names */

/* The names of a section, for the nearest one; *ret is freed by the caller. */
static size_t names_of(const struct check *k, const char *in, bool with_default, const char ***ret)
{
	const struct sb_node *map = section(k, in);
	size_t n = 0, most = (map ? map->n : 0) + 1;

	*ret = sb_xcalloc(most * sizeof(**ret));
	if (with_default)
		(*ret)[n++] = "default";
	for (size_t i = 0; map && map->kind == SB_NODE_MAP && i < map->n; i++)
		(*ret)[n++] = map->item[i]->key->text.p;
	return n;
}

static bool exists(const struct check *k, const char *in, const char *name)
{
	return sb_node_get(section(k, in), name) != NULL || (strcmp(in, "buses") == 0 && strcmp(name, "default") == 0);
}

static void unresolved(const struct check *k, const char *in, const char *name, struct sb_err *err)
{
	bool bus = strcmp(in, "buses") == 0;
	const char **names, *near;
	size_t n = names_of(k, in, bus, &names);

	sb_fail(err, SB_E_UNRESOLVED, "there is no %s `%s`", bus ? "bus" : "target", name);
	near = sb_nearest(name, names, n);
	if (near)
		sb_hint(err, "did you mean `%s`?", near);
	else
		sb_hint(err, "add it under `%s:` in %s", in, k->c->file);
	free(names);
}

void sb_config_check_ref(
	const struct sb_config *c, struct sb_diags *diags, const char *in, const char *name, const struct sb_node *at)
{
	struct check k = { c, diags };
	struct sb_err err;

	if (!name || exists(&k, in, name) || strstr(name, "${")) /* a reference that is not looked up (--no-env) */
		return;
	unresolved(&k, in, name, &err);
	tell(&k, at, false, &err);
}

static const char *bus_of_target(const struct sb_target_conf *t)
{
	if (t->connector->target->fields != sb_bus_target_fields)
		return NULL;
	return ((const struct sb_bus_target_conf *)t->conf)->name;
}

/* ------------------------------------------------------------------------------------------------ targets */

static void check_dead_letter(struct check *k, const struct sb_target_conf *t)
{
	const struct sb_node *at = node_of(k, "targets", t->name, "dead_letter");
	struct sb_target_conf *to = (struct sb_target_conf *)sb_config_target(k->c, t->dead_letter);
	struct sb_err err;

	if (!to)
		return;
	to->is_dead_letter = true;
	if (to != t && !to->dead_letter)
		return;
	if (to == t)
		sb_fail(&err, SB_E_INVALID, "target `%s` cannot be its own dead-letter target", t->name);
	else
		sb_fail(&err, SB_E_INVALID, "`%s` has a dead-letter target itself", to->name);
	sb_hint(&err, "a dead-letter target is retried without end, so nothing dies there");
	tell(k, at, false, &err);
}

/* A source that shares its queue with other members of a group, and journals what is not delivered soon. NULL: there is none. */
static const char *spilling_source(const struct check *k)
{
	for (size_t i = 0; i < k->c->n_sources; i++)
		if (k->c->source[i].connector->source->settled && !k->c->source[i].overflow_pause)
			return k->c->source[i].name;
	return NULL;
}

static void check_order(struct check *k, const struct sb_target_conf *t)
{
	const char *source = t->order_by ? spilling_source(k) : NULL;
	struct sb_err err;

	if (!source)
		return;
	sb_fail(&err, SB_E_INVALID, "in a group of several daemons this order ends where a part of '%s' changes hands", source);
	sb_hint(&err, "what is journaled here comes after what the next owner reads on; it holds with one daemon");
	tell(k, node_of(k, "targets", t->name, "order_by"), true, &err);
}

static void check_target(struct check *k, const struct sb_target_conf *t)
{
	const struct sb_node *retry = node_of(k, "targets", t->name, "retry");
	const struct sb_node *lanes = node_of(k, "targets", t->name, "lanes");
	const struct sb_node *on_full = node_of(k, "targets", t->name, "on_full");
	struct sb_err err;

	if (t->dead_letter)
		check_dead_letter(k, t);
	if (t->policy.retry.cap_ms < t->policy.retry.base_ms) {
		sb_fail(&err, SB_E_INVALID, "`cap` is below `base`");
		sb_hint(&err, "`cap` is the longest wait, `base` the first");
		tell(k, sb_node_get(retry, "cap") ? sb_node_get(retry, "cap") : sb_node_get(retry, "base"), false,
			&err);
	}
	if (lanes && !t->order_by) {
		sb_fail(&err, SB_E_INVALID, "`lanes` does nothing without `order_by`");
		tell(k, lanes, true, &err);
	}
	check_order(k, t);
	if (on_full && !t->policy.max_queue_bytes && !t->policy.max_queue_age_ms) {
		sb_fail(&err, SB_E_INVALID, "`on_full` does nothing without `max_queue`");
		tell(k, on_full, true, &err);
	}
}

/* ------------------------------------------------------------------------------------------------ sources, listeners */

/* Two sources that want one path: the second could not open. */
static void check_paths(struct check *k, size_t i)
{
	const struct sb_source_conf *s = &k->c->source[i];
	const struct sb_node *path = sb_node_get(node_of(k, "sources", s->name, s->connector->type), "path");
	struct sb_err err;

	for (size_t j = 0; path && j < i; j++) {
		const struct sb_source_conf *o = &k->c->source[j];
		const struct sb_node *other = sb_node_get(node_of(k, "sources", o->name, o->connector->type), "path");

		if (o->connector != s->connector || !other || !sb_slice_eq(other->text, path->text))
			continue;
		sb_fail(&err, SB_E_DUPLICATE, "the path %s is taken by source `%s`", path->text.p, o->name);
		sb_hint(&err, "first at line %u, column %u", other->at.line, other->at.col);
		tell(k, path, false, &err);
		return;
	}
}

static void check_listener(struct check *k, size_t i)
{
	const struct sb_listener_conf *l = &k->c->listener[i];
	const char *colon = strrchr(l->address, ':');
	struct sb_err err;

	if (colon && strcmp(colon, ":0") == 0)
		return; /* any free port: never the same twice */
	for (size_t j = 0; j < i; j++)
		if (strcmp(k->c->listener[j].address, l->address) == 0) {
			sb_fail(&err, SB_E_DUPLICATE, "listener `%s` has the address %s already",
				k->c->listener[j].name, l->address);
			tell(k, node_of(k, "listeners", l->name, "address"), false, &err);
			return;
		}
}

void sb_config_check_names(struct sb_config *c, struct sb_diags *diags)
{
	struct check k = { c, diags };

	for (size_t i = 0; i < c->n_listeners; i++)
		check_listener(&k, i);
	for (size_t i = 0; i < c->n_sources; i++)
		check_paths(&k, i);
	for (size_t i = 0; i < c->n_targets; i++)
		check_target(&k, &c->target[i]);
}

/* ------------------------------------------------------------------------------------------------ rules */

/* A bus gets events, not what a rule makes of them. */
static void check_bus_input(struct check *k, const struct sb_rule *r, size_t i)
{
	const struct sb_target_conf *t = sb_config_target(k->c, r->target[i].target);
	struct sb_err err;

	if (!t || !bus_of_target(t) || sb_input_kind(r->target[i].input) == SB_INPUT_EVENT)
		return;
	sb_fail_at(&err, SB_E_INVALID, &r->target[i].at, "target `%s` is a bus: it gets the whole event, not this input", t->name);
	sb_hint(&err, "give the input to the rules of that bus");
	snprintf(err.path, sizeof(err.path), "rule %s, target %zu", r->name ? r->name : "?", i + 1);
	sb_diag_warning(k->diags, &err);
}

static void check_rule(struct check *k, const struct sb_rule *r)
{
	struct sb_err err;

	if (r->bus && !exists(k, "buses", r->bus)) {
		unresolved(k, "buses", r->bus, &err);
		err.at = r->at;
		snprintf(err.path, sizeof(err.path), "rule %s", r->name ? r->name : "?");
		sb_diag_error(k->diags, &err);
	}
	for (size_t i = 0; i < r->n_targets; i++)
		if (!exists(k, "targets", r->target[i].target)) {
			unresolved(k, "targets", r->target[i].target, &err);
			err.at = r->target[i].at;
			snprintf(err.path, sizeof(err.path), "rule %s, target %zu", r->name ? r->name : "?", i + 1);
			sb_diag_error(k->diags, &err);
		} else {
			check_bus_input(k, r, i);
		}
}

/*
 * Buses are few: a walk from each bus along every (rule, bus target) finds whether an event can come back to where it
 * was. It is allowed, `limits.hops` ends it, but it is rarely meant.
 */
struct walk {
	struct check *k;
	const struct sb_ruleset *rules;
	const char *start;
	const char **seen;
	size_t n_seen;
	const struct sb_rule_target *back; /* the step that closed the circle */
	const struct sb_rule *rule;
};

static bool seen(const struct walk *w, const char *bus)
{
	for (size_t i = 0; i < w->n_seen; i++)
		if (strcmp(w->seen[i], bus) == 0)
			return true;
	return false;
}

static const char *step(const struct walk *w, const struct sb_rule *r, size_t i, const char *from)
{
	const struct sb_target_conf *t;

	if (r->state != SB_RULE_ENABLED || strcmp(r->bus, from) != 0)
		return NULL;
	t = sb_config_target(w->k->c, r->target[i].target);
	return t ? bus_of_target(t) : NULL;
}

/* Breadth first: `seen` is the queue. */
static bool walk_from(struct walk *w)
{
	for (size_t at = 0; at < w->n_seen; at++)
		for (size_t i = 0; i < w->rules->n; i++)
			for (size_t j = 0; j < w->rules->rule[i].n_targets; j++) {
				const char *to = step(w, &w->rules->rule[i], j, w->seen[at]);

				if (to && strcmp(to, w->start) == 0) {
					w->back = &w->rules->rule[i].target[j];
					w->rule = &w->rules->rule[i];
					return true;
				}
				if (to && !seen(w, to) && w->n_seen <= w->k->c->n_buses)
					w->seen[w->n_seen++] = to;
			}
	return false;
}

static bool any_bus_target(const struct sb_config *c)
{
	for (size_t i = 0; i < c->n_targets; i++)
		if (bus_of_target(&c->target[i]))
			return true;
	return false;
}

static void check_circles(struct check *k, const struct sb_ruleset *rules)
{
	struct walk w = { .k = k, .rules = rules };
	struct sb_err err;

	if (!any_bus_target(k->c))
		return;
	w.seen = sb_xcalloc((k->c->n_buses + 2) * sizeof(*w.seen));
	for (size_t i = 0; i < k->c->n_buses; i++) {
		w.start = k->c->bus[i].name;
		w.seen[0] = w.start;
		w.n_seen = 1;
		if (!walk_from(&w))
			continue;
		sb_fail_at(&err, SB_E_INVALID, &w.back->at,
			"an event that matches all the way round comes back to bus `%s` here", w.start);
		sb_hint(&err, "it ends after %u buses (limits.hops)", (unsigned)k->c->limits.hops);
		snprintf(err.path, sizeof(err.path), "rule %s", w.rule->name);
		sb_diag_warning(k->diags, &err);
		break; /* one tells it; every bus of the circle would say the same */
	}
	free(w.seen);
}

void sb_config_check_rules(const struct sb_config *c, const struct sb_ruleset *rules, struct sb_diags *diags)
{
	struct check k = { c, diags };

	for (size_t i = 0; i < rules->n; i++)
		check_rule(&k, &rules->rule[i]);
	if (sb_ruleset_whole(rules))
		check_circles(&k, rules);
}
