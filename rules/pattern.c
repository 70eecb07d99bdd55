/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a tree of nodes to a compiled pattern. Nested maps become dotted paths of one flat list of fields; only `$or` keeps
 * its shape, as a group of branches. Compilation goes on after an error, so that one run tells all of them.
 *
 * A path may be constrained once in what can hold at the same time: two occurrences are allowed only when they stand in
 * different branches of one group. So each occurrence remembers the chain of branches it stands in.
 */
#include "rules/pattern.h"

#include <stdio.h>

#include "broker/base/map.h"

#define PATH_BYTES_MAX 4096

struct spot { /* a branch, and the one around it */
	const struct spot *up;
	const struct sb_node *group;
	size_t branch;
};

struct occurrence {
	const struct sb_node *item;
	const struct spot *spot;
	struct occurrence *next;
};

struct compiler {
	struct sb_arena *arena, scratch;
	struct sb_diags *diags;
	struct sb_map seen; /* path -> occurrences */
	struct sb_buf path; /* of the map that is being read */
};

struct level { /* one sb_pattern being built */
	const struct spot *spot;
	struct sb_pattern *out;
	uint32_t fields, combinations; /* the most of a combination; how many there are */
};

static void compile_map(struct compiler *c, struct level *l, const struct sb_node *map);

static void error_at_key(struct compiler *c, const struct sb_node *item, struct sb_err *err)
{
	err->at = item->key ? item->key->at : item->at;
	sb_node_path(item, err->path, sizeof(err->path));
	sb_diag_error(c->diags, err);
}

static void error_at(struct compiler *c, const struct sb_node *n, const char *what, const char *hint)
{
	struct sb_err err;

	sb_fail(&err, SB_E_PATTERN, "%s", what);
	sb_hint(&err, "%s", hint);
	sb_pattern_error(c->diags, n, &err);
}

/* ------------------------------------------------------------------------------------------------ fields */

static bool exclude_each_other(const struct spot *a, const struct spot *b)
{
	for (; a; a = a->up)
		for (const struct spot *x = b; x; x = x->up)
			if (a->group == x->group && a->branch != x->branch)
				return true;
	return false;
}

/* One key twice in one map: whoever read the text has told it. */
static bool told(const struct sb_node *a, const struct sb_node *b)
{
	return a->parent == b->parent && sb_slice_eq(a->key->text, b->key->text);
}

static void path_twice(struct compiler *c, const struct sb_node *item, const struct occurrence *first)
{
	struct sb_err err;

	if (told(item, first->item))
		return;
	sb_fail(&err, SB_E_DUPLICATE, "`%.*s` is constrained a second time", (int)SB_MIN(c->path.len, (size_t)100),
		c->path.p);
	sb_hint(&err, "first at line %u, column %u; values side by side in one list are alternatives",
		first->item->key->at.line, first->item->key->at.col);
	error_at_key(c, item, &err);
}

static void note_path(struct compiler *c, const struct level *l, const struct sb_node *item, struct sb_slice path)
{
	struct occurrence *o = sb_arena_alloc(&c->scratch, sizeof(*o));

	*o = (struct occurrence){ item, l->spot, sb_map_get(&c->seen, path) };
	for (const struct occurrence *x = o->next; x; x = x->next)
		if (!exclude_each_other(x->spot, l->spot)) {
			path_twice(c, item, x);
			return;
		}
	sb_map_put(&c->seen, path, o);
}

static void compile_field(struct compiler *c, struct level *l, const struct sb_node *item)
{
	struct sb_field_pattern *f = &l->out->field[l->out->n_fields++];
	bool absent;

	f->path = sb_arena_slice(c->arena, sb_buf_slice(&c->path));
	f->leaf = sb_arena_alloc(c->arena, item->n * sizeof(*f->leaf));
	l->fields++;
	note_path(c, l, item, f->path);
	if (item->n == 0)
		error_at(c, item, "an empty list of values", "one value at least; [{\"exists\": true}] for any");
	for (size_t i = 0; i < item->n; i++) {
		if (sb_leaf_compile(c->arena, item->item[i], &f->leaf[f->n], &absent, c->diags) < 0)
			continue;
		f->absent |= absent;
		f->n += !absent;
	}
}

static void bare_value(struct compiler *c, const struct sb_node *item)
{
	struct sb_err err;

	sb_fail(&err, SB_E_PATTERN, "`%.*s` must be a list of values or a map, found %s",
		(int)SB_MIN(item->key->text.n, (size_t)100), item->key->text.p, sb_node_kind_name(item->kind));
	if (item->kind == SB_NODE_NULL || item->text.n > 40)
		sb_hint(&err, "write `[value]`");
	else
		sb_hint(&err, "write `[%.*s]`", SB_SLICE_ARG(item->text));
	sb_pattern_error(c->diags, item, &err);
}

static int enter(struct compiler *c, const struct sb_node *item)
{
	size_t before = c->path.len;
	struct sb_err err;

	if ((before == 0 || sb_buf_addc(&c->path, '.') == 0) && sb_buf_add_slice(&c->path, item->key->text) == 0)
		return 0;
	c->path.len = before;
	sb_fail(&err, SB_E_LIMIT, "a path of more than %d bytes", PATH_BYTES_MAX);
	error_at_key(c, item, &err);
	return -1;
}

static void reserved(struct compiler *c, const struct sb_node *item)
{
	struct sb_err err;

	sb_fail(&err, SB_E_PATTERN, "`%s` is a reserved word and cannot be a field inside `$or`", item->key->text.p);
	sb_hint(&err, "an operator stands in a list: field: [{%s: ...}]", item->key->text.p);
	error_at_key(c, item, &err);
}

static void compile_member(struct compiler *c, struct level *l, const struct sb_node *item)
{
	size_t before = c->path.len;

	if (l->spot && sb_reserved_word(item->key->text)) {
		reserved(c, item);
		return;
	}
	if (enter(c, item) < 0)
		return;
	if (item->kind == SB_NODE_MAP)
		compile_map(c, l, item);
	else if (item->kind == SB_NODE_LIST)
		compile_field(c, l, item);
	else
		bare_value(c, item);
	c->path.len = before;
}

/* ------------------------------------------------------------------------------------------------ $or */

static bool is_or(const struct sb_node *item)
{
	return sb_slice_eq_str(item->key->text, "$or");
}

static void count(const struct sb_node *map, size_t *fields, size_t *groups)
{
	for (size_t i = 0; i < map->n; i++) {
		if (is_or(map->item[i]))
			(*groups)++;
		else if (map->item[i]->kind == SB_NODE_MAP)
			count(map->item[i], fields, groups);
		else
			(*fields)++;
	}
}

static void compile_pattern(struct compiler *c, struct level *l, const struct sb_node *map)
{
	size_t fields = 0, groups = 0;

	count(map, &fields, &groups);
	l->combinations = 1;
	l->out->field = sb_arena_alloc(c->arena, fields * sizeof(*l->out->field));
	l->out->group = sb_arena_alloc(c->arena, groups * sizeof(*l->out->group));
	compile_map(c, l, map);
}

static void too_many(struct compiler *c, const struct sb_node *item)
{
	struct sb_err err;

	sb_fail(&err, SB_E_LIMIT, "`$or` makes more than %d combinations", SB_PATTERN_COMBINATIONS_MAX);
	sb_hint(&err, "values of one field stand side by side in its list; split the rest into several rules");
	error_at_key(c, item, &err);
}

/* The branches; how many combinations they make, or 0 with an error. */
static uint32_t compile_branches(
	struct compiler *c, struct level *l, const struct sb_node *item, struct sb_or_group *group)
{
	uint32_t combinations = 0, fields = 0;

	for (size_t i = 0; i < item->n; i++) {
		const struct sb_node *branch = item->item[i];
		struct spot *spot = sb_arena_alloc(&c->scratch, sizeof(*spot));
		struct level inner = { .spot = spot, .out = &group->branch[group->n++] };

		*spot = (struct spot){ l->spot, item, i };
		if (branch->kind != SB_NODE_MAP) {
			error_at(c, branch, "every branch of `$or` is a map", "$or: [{a: [1]}, {b: [2]}]");
			continue;
		}
		compile_pattern(c, &inner, branch);
		fields = SB_MAX(fields, inner.fields);
		combinations += inner.combinations;
		if (combinations * l->combinations > SB_PATTERN_COMBINATIONS_MAX) {
			too_many(c, item);
			return 0;
		}
	}
	l->fields += fields;
	return combinations;
}

static void compile_or(struct compiler *c, struct level *l, const struct sb_node *item)
{
	struct sb_or_group *group = &l->out->group[l->out->n_groups];
	uint32_t combinations;

	if (item->kind != SB_NODE_LIST) {
		error_at(c, item, "`$or` takes a list of maps", "$or: [{a: [1]}, {b: [2]}]");
		return;
	}
	if (item->n < 2) {
		error_at(c, item, "`$or` needs two branches at least", "one alone is written without `$or`");
		return;
	}
	group->branch = sb_arena_alloc(c->arena, item->n * sizeof(*group->branch));
	l->out->n_groups++;
	combinations = compile_branches(c, l, item, group);
	if (combinations)
		l->combinations *= combinations;
}

/* ------------------------------------------------------------------------------------------------ maps */

static void compile_map(struct compiler *c, struct level *l, const struct sb_node *map)
{
	if (map->n == 0)
		error_at(c, map, "an empty map",
			map->parent ? "name a field, or leave it out"
				    : "{\"source\": [{\"exists\": true}]} matches every event");
	for (size_t i = 0; i < map->n; i++) {
		if (is_or(map->item[i]))
			compile_or(c, l, map->item[i]);
		else
			compile_member(c, l, map->item[i]);
	}
}

static void check_fields(struct compiler *c, const struct level *l, const struct sb_node *at)
{
	struct sb_err err;

	if (l->fields <= SB_PATTERN_FIELDS_MAX)
		return;
	sb_fail(&err, SB_E_LIMIT, "a pattern of %u fields; the limit is %d", l->fields, SB_PATTERN_FIELDS_MAX);
	sb_hint(&err, "values of one field stand side by side in its list; split the rest into several rules");
	sb_pattern_error(c->diags, at, &err);
}

const struct sb_pattern *sb_pattern_compile(struct sb_arena *a, const struct sb_node *at, struct sb_diags *diags)
{
	struct compiler c = { .arena = a, .diags = diags, .path = SB_BUF(PATH_BYTES_MAX) };
	struct level root = { .out = sb_arena_alloc(a, sizeof(*root.out)) };
	size_t errors = diags->errors;

	if (at->kind == SB_NODE_MAP)
		compile_pattern(&c, &root, at);
	else
		error_at(&c, at, "a pattern is a map", "for example {\"source\": [\"com.shop\"]}");
	check_fields(&c, &root, at);
	sb_buf_done(&c.path);
	sb_map_done(&c.seen);
	sb_arena_done(&c.scratch);
	return diags->errors == errors ? root.out : NULL;
}

const struct sb_pattern *sb_pattern_compile_node(struct sb_arena *a, const struct sb_node *at, struct sb_diags *diags)
{
	const struct sb_pattern *p = NULL;
	size_t errors = diags->errors;
	struct sb_doc doc;

	if (at->kind != SB_NODE_STRING)
		return sb_pattern_compile(a, at, diags);
	sb_json_parse_node(at, &doc, diags);
	if (doc.root) {
		doc.root->parent = at->parent; /* paths in messages begin in the rule file */
		doc.root->key = at->key;
		p = sb_pattern_compile(a, doc.root, diags);
	}
	sb_doc_done(&doc);
	return diags->errors == errors ? p : NULL;
}
