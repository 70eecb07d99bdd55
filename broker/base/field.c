/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/field.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/template.h"
#include "fieldrow.h"

/*
 * Decoding: one function for each type, found in a table by enum sb_field_type. Every function either writes the whole
 * value or reports what is wrong and leaves the default. Values that came through `${…}` are never shown in a message:
 * what the user wrote is, so that no secret reaches a log.
 */

int sb_field_report(struct sb_decode *d, const struct sb_node *at, struct sb_err *err)
{
	if (at) {
		if (!err->at.line)
			err->at = at->at;
		if (!err->path[0])
			sb_node_path(at, err->path, sizeof(err->path));
	}
	sb_diag_error(d->diags, err);
	return -1;
}

int sb_field_wrong_kind(struct sb_decode *d, const struct sb_node *n, const char *expected, const char *hint)
{
	struct sb_err err;

	sb_fail(&err, SB_E_KIND, "expected %s, found %s", expected, sb_node_kind_name(n->kind));
	if (hint)
		sb_hint(&err, "%s", hint);
	return sb_field_report(d, n, &err);
}

/* ------------------------------------------------------------------------------------------------ one field */

/* A value that is no string: as written, or what a reference leads to. 0; 1: not known without looking it up; -1. */
static int scalar_of(struct sb_decode *d, const struct sb_node *n, struct sb_node *ret)
{
	const char *s;

	*ret = *n;
	if (!sb_field_refers(n))
		return 0;
	if (d->no_env)
		return 1;
	if (sb_node_string(d, n, &s) < 0)
		return -1;
	ret->text = sb_slice_str(s);
	sb_node_resolve(ret);
	return 0;
}

static const char *quotes_hint(const struct sb_node *n, enum sb_node_kind wanted)
{
	struct sb_node plain = *n;

	sb_node_resolve(&plain);
	return n->kind == SB_NODE_STRING && plain.kind == wanted ? "leave the quotes out" : NULL;
}

static int check_range(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, int64_t v)
{
	char lo[SB_TIME_TEXT], hi[SB_TIME_TEXT];
	struct sb_err err;

	if ((f->min == 0 && f->max == 0) || (v >= f->min && (f->max == 0 || v <= f->max)))
		return 0;
	sb_field_bound(f, f->min, lo);
	sb_field_bound(f, f->max, hi);
	sb_fail(&err, SB_E_INVALID, "`%s` is out of range", f->key);
	if (f->max == 0 || f->max == INT64_MAX)
		sb_hint(&err, "at least %s", lo);
	else if (f->min == f->max)
		sb_hint(&err, "%s", lo);
	else
		sb_hint(&err, "from %s to %s", lo, hi);
	return sb_field_report(d, n, &err);
}

/* Of a string or a list: how many of `what`. */
static int check_length(
	struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, size_t len, const char *what)
{
	struct sb_err err;

	if (len >= (size_t)f->min && (f->max == 0 || len <= (size_t)f->max))
		return 0;
	if (f->max == 0)
		sb_fail(&err, SB_E_INVALID, "`%s` needs at least %" PRId64 " %s", f->key, f->min, what);
	else if (f->min == 0)
		sb_fail(&err, SB_E_INVALID, "`%s` has at most %" PRId64 " %s", f->key, f->max, what);
	else
		sb_fail(&err, SB_E_INVALID, "`%s` has %" PRId64 " to %" PRId64 " %s", f->key, f->min, f->max, what);
	return sb_field_report(d, n, &err);
}

static int decode_str(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	const char *s;

	if (sb_node_string(d, n, &s) < 0)
		return -1;
	if (!(d->no_env && sb_field_refers(n)) && check_length(d, f, n, strlen(s), "characters") < 0)
		return -1;
	*(const char **)SB_ROW_AT(ret, f) = s;
	return 0;
}

static int decode_file(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	const char *s;

	if (sb_node_string(d, n, &s) < 0)
		return -1;
	return sb_field_path(d, n, s, SB_ROW_AT(ret, f));
}

static int decode_bool(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	struct sb_node v;
	int r = scalar_of(d, n, &v);

	if (r)
		return r < 0 ? -1 : 0;
	if (v.kind != SB_NODE_BOOL)
		return sb_field_wrong_kind(d, n, "true or false", quotes_hint(n, SB_NODE_BOOL));
	*(bool *)SB_ROW_AT(ret, f) = v.boolean;
	return 0;
}

static int decode_int(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	struct sb_node num;
	struct sb_err err;
	int r = scalar_of(d, n, &num);
	long long v;
	char *end;

	if (r)
		return r < 0 ? -1 : 0;
	if (num.kind != SB_NODE_NUMBER)
		return sb_field_wrong_kind(d, n, "a number", quotes_hint(n, SB_NODE_NUMBER));
	errno = 0;
	v = strtoll(num.text.p, &end, 10);
	if (errno || *end) {
		sb_fail(&err, SB_E_KIND, "`%s` is a whole number", f->key);
		return sb_field_report(d, n, &err);
	}
	if (check_range(d, f, n, v) < 0)
		return -1;
	*(int64_t *)SB_ROW_AT(ret, f) = v;
	return 0;
}

/* Durations and sizes: a string with its unit, a number only where that is plain. */
static int decode_quantity(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	bool ms = f->type == SB_T_MS;
	struct sb_node text;
	struct sb_err err;
	int r = scalar_of(d, n, &text);
	uint64_t v;

	if (r)
		return r < 0 ? -1 : 0;
	if (text.kind != SB_NODE_NUMBER && text.kind != SB_NODE_STRING)
		return sb_field_wrong_kind(d, n, ms ? "a duration" : "a size", NULL);
	if ((ms ? sb_parse_ms(text.text.p, &v) : sb_parse_bytes(text.text.p, &v)) < 0) {
		sb_fail(&err, SB_E_INVALID, "`%.*s` is not a %s", SB_SLICE_ARG(n->text), ms ? "duration" : "size");
		sb_hint(&err, ms ? "for example 250ms, 5s, 1h30m, 14d" : "for example 500, 64KiB, 1MiB, 1GiB");
		return sb_field_report(d, n, &err);
	}
	if (check_range(d, f, n, (int64_t)v) < 0)
		return -1;
	*(uint64_t *)SB_ROW_AT(ret, f) = v;
	return 0;
}

static int not_a_word(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n)
{
	char list[160] = "";
	struct sb_err err;
	const char *near;
	size_t words = 0;

	for (; f->names[words]; words++) {
		size_t len = strlen(list);

		snprintf(list + len, sizeof(list) - len, "%s%s", words ? ", " : "", f->names[words]);
	}
	sb_fail(&err, SB_E_INVALID, "`%.*s` is not a value of `%s`", SB_SLICE_ARG(n->text), f->key);
	near = sb_nearest(n->text.p, f->names, words);
	if (near)
		sb_hint(&err, "did you mean `%s`?", near);
	else
		sb_hint(&err, "one of %s", list);
	return sb_field_report(d, n, &err);
}

static int decode_object(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret);

static int decode_enum(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	const struct sb_field map = { .key = f->key, .type = SB_T_OBJECT, .sub = f->sub };
	const char *s;

	if (f->sub && n->kind == SB_NODE_MAP) {
		for (int i = 0; f->names[i]; i++)
			*(int *)SB_ROW_AT(ret, f) = i + 1;
		return decode_object(d, &map, n, ret);
	}
	if (n->kind != SB_NODE_STRING)
		return sb_field_wrong_kind(d, n, f->sub ? "a word or a map" : "a word", NULL);
	if (sb_node_string(d, n, &s) < 0)
		return -1;
	for (int i = 0; f->names[i]; i++)
		if (strcmp(s, f->names[i]) == 0) {
			*(int *)SB_ROW_AT(ret, f) = i;
			return 0;
		}
	return d->no_env && sb_field_refers(n) ? 0 : not_a_word(d, f, n);
}

static int decode_strs(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	struct sb_strs out = { 0 };

	if (n->kind != SB_NODE_LIST)
		return sb_field_wrong_kind(
			d, n, "a list of strings", n->kind == SB_NODE_STRING ? "put it in [ ]" : NULL);
	if (check_length(d, f, n, n->n, "entries") < 0)
		return -1;
	out.v = sb_arena_alloc(d->arena, (n->n + 1) * sizeof(char *));
	for (size_t i = 0; i < n->n; i++)
		if (sb_node_string(d, n->item[i], &out.v[out.n]) == 0)
			out.n++;
	if (out.n < n->n)
		return -1;
	*(struct sb_strs *)SB_ROW_AT(ret, f) = out;
	return 0;
}

static bool variable_name_ok(struct sb_slice s)
{
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

	for (size_t i = 0; i < s.n; i++)
		if (!memchr(chars, s.p[i], sizeof(chars) - 1))
			return false;
	return s.n > 0 && (s.p[0] < '0' || s.p[0] > '9');
}

/* "NAME=value"; numbers and booleans are taken as they are written. */
static const char *variable(struct sb_decode *d, const struct sb_node *n)
{
	struct sb_err err;
	const char *value;
	char *text;
	size_t size;

	if (!variable_name_ok(n->key->text)) {
		sb_fail_at(&err, SB_E_INVALID, &n->key->at, "`%.*s` is not the name of a variable",
			SB_SLICE_ARG(n->key->text));
		sb_field_report(d, n, &err);
		return NULL;
	}
	if (n->kind == SB_NODE_NUMBER || n->kind == SB_NODE_BOOL)
		value = n->text.p;
	else if (sb_node_string(d, n, &value) < 0)
		return NULL;
	size = n->key->text.n + strlen(value) + 2;
	text = sb_arena_alloc(d->arena, size);
	snprintf(text, size, "%.*s=%s", SB_SLICE_ARG(n->key->text), value);
	return text;
}

static int decode_env(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	struct sb_strs out = { 0 };

	if (n->kind != SB_NODE_MAP)
		return sb_field_wrong_kind(
			d, n, "a map of variables", n->kind == SB_NODE_LIST ? "write NAME: value" : NULL);
	out.v = sb_arena_alloc(d->arena, (n->n + 1) * sizeof(char *));
	for (size_t i = 0; i < n->n; i++) {
		out.v[out.n] = variable(d, n->item[i]);
		if (out.v[out.n])
			out.n++;
	}
	if (out.n < n->n)
		return -1;
	*(struct sb_strs *)SB_ROW_AT(ret, f) = out;
	return 0;
}

static int decode_template(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	struct sb_err err;
	const char *s;

	if (sb_node_string(d, n, &s) < 0)
		return -1;
	if (sb_template_compile(d->arena, sb_slice_str(s), NULL, NULL, SB_ROW_AT(ret, f), &err) < 0)
		return sb_field_report(d, n, &err);
	return 0;
}

static int decode_path(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	struct sb_err err;
	const char *s;

	if (sb_node_string(d, n, &s) < 0)
		return -1;
	if (sb_path_compile(d->arena, sb_slice_str(s), SB_ROW_AT(ret, f), &err) < 0)
		return sb_field_report(d, n, &err);
	return 0;
}

static int decode_node(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	(void)d;
	*(const struct sb_node **)SB_ROW_AT(ret, f) = n;
	return 0;
}

static int decode_map(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	if (n->kind != SB_NODE_MAP && n->kind != SB_NODE_NULL)
		return sb_field_wrong_kind(d, n, "a map of names", NULL);
	((struct sb_field_map *)SB_ROW_AT(ret, f))->node = n->kind == SB_NODE_MAP ? n : NULL;
	return 0;
}

typedef int decode_fn(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret);

static decode_fn *const decoders[] = {
	[SB_T_STR] = decode_str,
	[SB_T_SECRET] = decode_str,
	[SB_T_FILE] = decode_file,
	[SB_T_BOOL] = decode_bool,
	[SB_T_INT] = decode_int,
	[SB_T_MS] = decode_quantity,
	[SB_T_BYTES] = decode_quantity,
	[SB_T_ENUM] = decode_enum,
	[SB_T_STRS] = decode_strs,
	[SB_T_SECRETS] = decode_strs,
	[SB_T_NODE] = decode_node,
	[SB_T_TEMPLATE] = decode_template,
	[SB_T_PATH] = decode_path,
	[SB_T_OBJECT] = decode_object,
	[SB_T_MAP] = decode_map,
	[SB_T_ENV] = decode_env,
};

/* ------------------------------------------------------------------------------------------------ defaults */

static void set_defaults(struct sb_decode *d, const struct sb_field *rows, const struct sb_node *at, void *ret);

/* A default is decoded as if it stood in the file where the map is. */
static void set_default(struct sb_decode *d, const struct sb_field *f, const struct sb_node *at, void *ret)
{
	struct sb_node n = { .kind = SB_NODE_STRING };

	if (f->type == SB_T_OBJECT) {
		set_defaults(d, f->sub, at, SB_ROW_AT(ret, f));
		return;
	}
	if (!f->dflt)
		return;
	n.text = sb_slice_str(f->dflt);
	if (at)
		n.at = at->at;
	if (f->type == SB_T_INT || f->type == SB_T_BOOL)
		sb_node_resolve(&n);
	SB_ASSERT(decoders[f->type](d, f, &n, ret) == 0); /* a row whose default it would refuse itself is a bug */
}

static void set_defaults(struct sb_decode *d, const struct sb_field *rows, const struct sb_node *at, void *ret)
{
	for (; rows->key; rows++)
		set_default(d, rows, at, ret);
}

void sb_fields_default(struct sb_decode *d, const struct sb_field *rows, void *ret)
{
	set_defaults(d, rows, NULL, ret);
}

/* ------------------------------------------------------------------------------------------------ a table */

static const struct sb_field *find_row(const struct sb_field *rows, struct sb_slice key)
{
	for (; rows && rows->key; rows++)
		if (sb_slice_eq_str(key, rows->key))
			return rows;
	return NULL;
}

static bool listed(const char *const *also, struct sb_slice key)
{
	for (; also && *also; also++)
		if (sb_slice_eq_str(key, *also))
			return true;
	return false;
}

#define CANDIDATES_MAX 64

static const char *nearest_key(const struct sb_field *rows, const char *const *also, const char *word)
{
	const char *all[CANDIDATES_MAX] = { NULL };
	size_t n = 0;

	for (; rows->key && n < CANDIDATES_MAX; rows++)
		all[n++] = rows->key;
	for (; also && *also && n < CANDIDATES_MAX; also++)
		all[n++] = *also;
	return sb_nearest(word, all, n);
}

/* The object among `rows` in which `key` would be right. */
static const char *object_with(const struct sb_field *rows, struct sb_slice key)
{
	for (; rows && rows->key; rows++)
		if (rows->type == SB_T_OBJECT && find_row(rows->sub, key))
			return rows->key;
	return NULL;
}

/* Where a key that is unknown here would be right: most often it is mis-indented. False: nowhere near. */
static bool hint_at_place(
	const struct sb_decode *d, const struct sb_field *rows, const struct sb_node *item, struct sb_err *err)
{
	struct sb_slice key = item->key->text;
	const struct sb_node *map = item->parent;
	const char *below = d->inner && find_row(d->inner->sub, key) ? d->inner->key : object_with(rows, key);

	if (below)
		sb_hint(err, "it belongs under `%s:`", below);
	else if (map && map->key && find_row(d->outer, key))
		sb_hint(err, "it belongs one level up, beside `%.*s:`", SB_SLICE_ARG(map->key->text));
	else if (map && map->key && object_with(d->outer, key))
		sb_hint(err, "it belongs under `%s:`, which stands beside `%.*s:`", object_with(d->outer, key),
			SB_SLICE_ARG(map->key->text));
	else
		return false;
	return true;
}

static void unknown_key(
	struct sb_decode *d, const struct sb_field *rows, const char *const *also, const struct sb_node *item)
{
	const char *near = nearest_key(rows, also, item->key->text.p);
	struct sb_err err;

	sb_fail_at(&err, SB_E_UNKNOWN_KEY, &item->key->at, "unknown key `%.*s`", SB_SLICE_ARG(item->key->text));
	if (!hint_at_place(d, rows, item, &err)) {
		if (near)
			sb_hint(&err, "did you mean `%s`?", near);
		else if (!rows->key && !(also && *also))
			sb_hint(&err, "there are no keys here");
	}
	sb_field_report(d, item, &err);
}

static void missing_key(struct sb_decode *d, const struct sb_field *f, const struct sb_node *map)
{
	struct sb_err err;

	sb_fail_at(&err, SB_E_MISSING, map->key ? &map->key->at : &map->at, "the key `%s` is missing", f->key);
	if (f->doc)
		sb_hint(&err, "%s: %s", f->key, f->doc);
	sb_field_report(d, map, &err);
}

/* Whatever it is instead of what it should be: its text is not for logs. `${env:X}` is no secret, and tells where it is. */
static void hide(struct sb_decode *d, const struct sb_node *n)
{
	for (size_t i = 0; i < n->n; i++)
		hide(d, n->item[i]);
	if (n->n == 0 && !memmem(n->text.p, n->text.n, "${", 2))
		sb_diags_hide(d->diags, &n->at);
}

int sb_fields_decode(
	struct sb_decode *d, const struct sb_field *rows, const struct sb_node *map, void *ret, const char *const *also)
{
	const struct sb_field *around = d->rows;
	size_t before = d->diags->errors;

	set_defaults(d, rows, map, ret);
	if (map->kind != SB_NODE_MAP && map->kind != SB_NODE_NULL)
		return sb_field_wrong_kind(d, map, "a map", NULL);
	d->rows = rows;
	for (size_t i = 0; i < map->n; i++) {
		const struct sb_field *f = find_row(rows, map->item[i]->key->text);

		if (f && (f->type == SB_T_SECRET || f->type == SB_T_SECRETS))
			hide(d, map->item[i]);
		if (f)
			decoders[f->type](d, f, map->item[i], ret);
		else if (!listed(also, map->item[i]->key->text))
			unknown_key(d, rows, also, map->item[i]);
	}
	d->rows = around;
	for (const struct sb_field *f = rows; f->key; f++)
		if (f->required && !sb_node_get(map, f->key))
			missing_key(d, f, map);
	return d->diags->errors == before ? 0 : -1;
}

/* The rows around it are what a misplaced key may belong to; an object has no `inner` of its own. */
static int decode_object(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	const struct sb_field *outer = d->outer, *inner = d->inner;
	int r;

	d->outer = d->rows;
	d->inner = NULL;
	r = sb_fields_decode(d, f->sub, n, SB_ROW_AT(ret, f), NULL);
	d->outer = outer;
	d->inner = inner;
	return r;
}
