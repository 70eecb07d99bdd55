/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/field.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/json.h"
#include "broker/base/template.h"

static int report(struct sb_decode *d, const struct sb_node *at, struct sb_err *err)
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

/* ------------------------------------------------------------------------------------------------ durations, sizes */

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit *find_unit(const struct unit *u, const char *s, size_t n)
{
	for (; u->name; u++)
		if (strlen(u->name) == n && memcmp(u->name, s, n) == 0)
			return u;
	return NULL;
}

/* digits unit (digits unit)*; *ret saturates at a failure. */
static int parse_units(const char *s, const struct unit *units, bool several, uint64_t *ret)
{
	uint64_t sum = 0;

	if (!*s)
		return -1;
	while (*s) {
		const struct unit *u;
		char *end;
		size_t n;
		uint64_t v;

		if (*s < '0' || *s > '9')
			return -1;
		errno = 0;
		v = strtoull(s, &end, 10);
		n = strspn(end, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
		u = find_unit(units, end, n);
		if (errno || !u || v > INT64_MAX / u->factor || sum > INT64_MAX - v * u->factor)
			return -1;
		sum += v * u->factor;
		s = end + n;
		if (*s && !several)
			return -1;
	}
	*ret = sum;
	return 0;
}

int sb_parse_ms(const char *s, uint64_t *ret)
{
	static const struct unit units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
		{ NULL, 0 } };

	if (strcmp(s, "0") == 0) {
		*ret = 0;
		return 0;
	}
	return parse_units(s, units, true, ret);
}

int sb_parse_bytes(const char *s, uint64_t *ret)
{
	static const struct unit units[] = { { "", 1 }, { "B", 1 }, { "KiB", 1024 }, { "MiB", 1u << 20 }, { "GiB", 1u << 30 },
		{ "TiB", UINT64_C(1) << 40 }, { "KB", 1000 }, { "kB", 1000 }, { "MB", 1000000 }, { "GB", 1000000000 },
		{ "TB", UINT64_C(1000000000000) }, { NULL, 0 } };

	return parse_units(s, units, false, ret);
}

/* ------------------------------------------------------------------------------------------------ interpolation */

#define EXPANDED_MAX (1u << 20)

static int expand_env(struct sb_decode *d, const struct sb_node *n, struct sb_slice name, struct sb_buf *out)
{
	const char *dash = memmem(name.p, name.n, ":-", 2);
	char var[128];
	size_t len = dash ? (size_t)(dash - name.p) : name.n;
	const char *value;
	struct sb_err err;

	if (len == 0 || len >= sizeof(var)) {
		sb_fail(&err, SB_E_INVALID, "${env:} needs the name of a variable");
		return report(d, n, &err);
	}
	memcpy(var, name.p, len);
	var[len] = '\0';
	value = d->getenv ? d->getenv(var) : getenv(var);
	if (value)
		return sb_buf_adds(out, value);
	if (dash)
		return sb_buf_add(out, dash + 2, name.n - len - 2);
	sb_fail(&err, SB_E_UNRESOLVED, "the environment variable %s is not set", var);
	sb_hint(&err, "${env:%s:-default} gives it a default", var);
	return report(d, n, &err);
}

static void resolve_path(struct sb_decode *d, const struct sb_node *n, const char *path, struct sb_buf *out)
{
	const char *dir_of = d->dir ? NULL : n->at.file;
	const char *slash = dir_of ? strrchr(dir_of, '/') : NULL;

	if (path[0] != '/') {
		if (d->dir)
			sb_buf_addf(out, "%s/", d->dir);
		else if (slash)
			sb_buf_add(out, dir_of, (size_t)(slash - dir_of) + 1);
	}
	sb_buf_adds(out, path);
}

static int expand_file(struct sb_decode *d, const struct sb_node *n, struct sb_slice name, struct sb_buf *out)
{
	struct sb_buf path = SB_BUF(4096);
	char text[4097], chunk[4096];
	struct sb_err err;
	size_t got, before = out->len;
	FILE *f;

	snprintf(text, sizeof(text), "%.*s", SB_SLICE_ARG(name));
	resolve_path(d, n, text, &path);
	f = sb_buf_cstr(&path) ? fopen(path.p, "re") : NULL;
	if (!f) {
		sb_fail_errno(&err, "cannot read '%s'", text);
		sb_buf_done(&path);
		return report(d, n, &err);
	}
	while ((got = fread(chunk, 1, sizeof(chunk), f)) > 0)
		if (sb_buf_add(out, chunk, got) < 0)
			break;
	fclose(f);
	sb_buf_done(&path);
	if (out->len > before && out->p[out->len - 1] == '\n')
		out->len--; /* a secret's file usually ends with a line end that is not part of it */
	return 0;
}

static int expand_reference(struct sb_decode *d, const struct sb_node *n, struct sb_slice ref, struct sb_buf *out)
{
	struct sb_err err;

	if (d->no_env) {
		sb_buf_addf(out, "${%.*s}", SB_SLICE_ARG(ref));
		return 0;
	}
	if (ref.n > 4 && memcmp(ref.p, "env:", 4) == 0)
		return expand_env(d, n, sb_slice(ref.p + 4, ref.n - 4), out);
	if (ref.n > 5 && memcmp(ref.p, "file:", 5) == 0)
		return expand_file(d, n, sb_slice(ref.p + 5, ref.n - 5), out);
	sb_fail(&err, SB_E_SYNTAX, "unknown reference `${%.*s}`", SB_SLICE_ARG(ref));
	sb_hint(&err, "${env:NAME}, ${file:PATH}, or $${ for a literal ${");
	return report(d, n, &err);
}

static int expand(struct sb_decode *d, const struct sb_node *n, struct sb_buf *out)
{
	const char *p = n->text.p, *end = p + n->text.n;

	while (p < end) {
		const char *dollar = memmem(p, (size_t)(end - p), "${", 2), *close;

		if (!dollar)
			return sb_buf_add(out, p, (size_t)(end - p));
		if (dollar > p && dollar[-1] == '$') { /* $${ */
			sb_buf_add(out, p, (size_t)(dollar - p));
			sb_buf_addc(out, '{');
			p = dollar + 2;
			continue;
		}
		sb_buf_add(out, p, (size_t)(dollar - p));
		close = memchr(dollar, '}', (size_t)(end - dollar));
		if (!close) {
			struct sb_err err;

			sb_fail(&err, SB_E_SYNTAX, "`${` is not closed");
			return report(d, n, &err);
		}
		if (expand_reference(d, n, sb_slice(dollar + 2, (size_t)(close - dollar - 2)), out) < 0)
			return -1;
		p = close + 1;
	}
	return 0;
}

static int wrong_kind(struct sb_decode *d, const struct sb_node *n, const char *expected)
{
	struct sb_err err;

	sb_fail(&err, SB_E_KIND, "expected %s, found %s", expected, sb_node_kind_name(n->kind));
	if (n->kind == SB_NODE_NUMBER || n->kind == SB_NODE_BOOL)
		sb_hint(&err, "put it in quotes if a string is meant");
	return report(d, n, &err);
}

int sb_node_string(struct sb_decode *d, const struct sb_node *n, const char **ret)
{
	struct sb_buf out = SB_BUF(EXPANDED_MAX);

	if (n->kind != SB_NODE_STRING)
		return wrong_kind(d, n, "a string");
	if (!memmem(n->text.p, n->text.n, "${", 2)) {
		*ret = sb_arena_strndup(d->arena, n->text.p, n->text.n);
		return 0;
	}
	if (expand(d, n, &out) < 0) {
		sb_buf_done(&out);
		return -1;
	}
	*ret = sb_arena_strndup(d->arena, out.p ? out.p : "", out.len);
	sb_buf_done(&out);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ one field */

#define AT(base, f) ((void *)((char *)(base) + (f)->offset))

static int check_range(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, uint64_t v)
{
	struct sb_err err;
	char lo[SB_TIME_TEXT], hi[SB_TIME_TEXT];

	if ((f->min == 0 && f->max == 0) || (v >= (uint64_t)f->min && (f->max == 0 || v <= (uint64_t)f->max)))
		return 0;
	if (f->type == SB_T_MS) {
		sb_duration_format((uint64_t)f->min, lo);
		sb_duration_format((uint64_t)f->max, hi);
	} else {
		snprintf(lo, sizeof(lo), "%" PRId64, f->min);
		snprintf(hi, sizeof(hi), "%" PRId64, f->max);
	}
	sb_fail(&err, SB_E_INVALID, "`%s` is out of range", f->key);
	if (f->max)
		sb_hint(&err, "from %s to %s", lo, hi);
	else
		sb_hint(&err, "at least %s", lo);
	return report(d, n, &err);
}

static int decode_str(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	const char *s;
	struct sb_err err;
	size_t len;

	if (sb_node_string(d, n, &s) < 0)
		return -1;
	len = strlen(s);
	if ((f->min || f->max) && (len < (size_t)f->min || (f->max && len > (size_t)f->max))) {
		sb_fail(&err, SB_E_INVALID, "`%s` must have %" PRId64 " to %" PRId64 " characters", f->key, f->min, f->max);
		return report(d, n, &err);
	}
	*(const char **)AT(ret, f) = s;
	return 0;
}

static int decode_file(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	struct sb_buf path = SB_BUF(4096);
	const char *s;

	if (sb_node_string(d, n, &s) < 0)
		return -1;
	resolve_path(d, n, s, &path);
	*(const char **)AT(ret, f) = sb_arena_strndup(d->arena, path.p, path.len);
	sb_buf_done(&path);
	return 0;
}

static int decode_bool(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	if (n->kind != SB_NODE_BOOL)
		return wrong_kind(d, n, "true or false");
	*(bool *)AT(ret, f) = n->boolean;
	return 0;
}

static int decode_int(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	char *end;
	long long v;

	if (n->kind != SB_NODE_NUMBER)
		return wrong_kind(d, n, "a number");
	errno = 0;
	v = strtoll(n->text.p, &end, 10);
	if (errno || *end)
		return wrong_kind(d, n, "a whole number");
	if (v < 0 && f->min >= 0)
		return check_range(d, f, n, UINT64_MAX);
	if (check_range(d, f, n, (uint64_t)v) < 0)
		return -1;
	*(int64_t *)AT(ret, f) = v;
	return 0;
}

/* Durations and sizes: a string with its unit, a number only where that is plain. */
static int decode_quantity(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	bool ms = f->type == SB_T_MS;
	struct sb_err err;
	const char *s;
	uint64_t v;

	if (n->kind == SB_NODE_NUMBER)
		s = n->text.p;
	else if (sb_node_string(d, n, &s) < 0)
		return -1;
	if ((ms ? sb_parse_ms(s, &v) : sb_parse_bytes(s, &v)) < 0) {
		sb_fail(&err, SB_E_INVALID, "`%s` is not a %s", s, ms ? "duration" : "size");
		sb_hint(&err, ms ? "for example 250ms, 5s, 1h30m, 14d" : "for example 500, 64KiB, 1MiB, 1GiB");
		return report(d, n, &err);
	}
	if (check_range(d, f, n, v) < 0)
		return -1;
	*(uint64_t *)AT(ret, f) = v;
	return 0;
}

static size_t count_words(const char *const *words)
{
	size_t n = 0;

	while (words[n])
		n++;
	return n;
}

static int decode_enum(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	char list[160] = "one of ";
	struct sb_err err;
	const char *near;

	if (n->kind != SB_NODE_STRING)
		return wrong_kind(d, n, "a word");
	for (int i = 0; f->names[i]; i++)
		if (sb_slice_eq_str(n->text, f->names[i])) {
			*(int *)AT(ret, f) = i;
			return 0;
		}
	for (int i = 0; f->names[i]; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", f->names[i]);
	sb_fail(&err, SB_E_INVALID, "`%.*s` is not a value of `%s`", SB_SLICE_ARG(n->text), f->key);
	near = sb_nearest(n->text.p, f->names, count_words(f->names));
	if (near)
		sb_hint(&err, "did you mean `%s`?", near);
	else
		sb_hint(&err, "%s", list);
	return report(d, n, &err);
}

static int decode_strs(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	struct sb_strs *out = AT(ret, f);

	if (n->kind != SB_NODE_LIST)
		return wrong_kind(d, n, "a list of strings");
	out->v = sb_arena_alloc(d->arena, (n->n + 1) * sizeof(char *));
	out->n = 0;
	for (size_t i = 0; i < n->n; i++)
		if (sb_node_string(d, n->item[i], &out->v[out->n]) == 0)
			out->n++;
	return out->n == n->n ? 0 : -1;
}

static int decode_env(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	struct sb_strs *out = AT(ret, f);

	if (n->kind != SB_NODE_MAP)
		return wrong_kind(d, n, "a map of variables");
	out->v = sb_arena_alloc(d->arena, (n->n + 1) * sizeof(char *));
	out->n = 0;
	for (size_t i = 0; i < n->n; i++) {
		const struct sb_node *item = n->item[i];
		const char *value;
		char *text;
		size_t size;

		if (item->kind == SB_NODE_NUMBER || item->kind == SB_NODE_BOOL)
			value = item->text.p;
		else if (sb_node_string(d, item, &value) < 0)
			return -1;
		size = item->key->text.n + strlen(value) + 2;
		text = sb_arena_alloc(d->arena, size);
		snprintf(text, size, "%.*s=%s", SB_SLICE_ARG(item->key->text), value);
		out->v[out->n++] = text;
	}
	return 0;
}

static int decode_template(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	struct sb_err err;
	const char *s;

	if (sb_node_string(d, n, &s) < 0)
		return -1;
	if (sb_template_compile(d->arena, sb_slice_str(s), NULL, NULL, AT(ret, f), &err) < 0)
		return report(d, n, &err);
	return 0;
}

static int decode_path(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	struct sb_err err;
	const char *s;

	if (sb_node_string(d, n, &s) < 0)
		return -1;
	if (sb_path_compile(d->arena, sb_slice_str(s), AT(ret, f), &err) < 0)
		return report(d, n, &err);
	return 0;
}

static int decode_node(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	(void)d;
	*(const struct sb_node **)AT(ret, f) = n;
	return 0;
}

static int decode_map(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	if (n->kind != SB_NODE_MAP && n->kind != SB_NODE_NULL)
		return wrong_kind(d, n, "a map of names");
	((struct sb_field_map *)AT(ret, f))->node = n->kind == SB_NODE_MAP ? n : NULL;
	return 0;
}

static int decode_object(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret)
{
	return sb_fields_decode(d, f->sub, n, AT(ret, f), NULL);
}

typedef int decode_fn(struct sb_decode *d, const struct sb_field *f, const struct sb_node *n, void *ret);

static const struct {
	decode_fn *decode;
	const char *docs;   /* in docs/config.md */
	const char *schema; /* JSON Schema of the value */
} types[] = {
	[SB_T_STR] = { decode_str, "string", "\"type\":\"string\"" },
	[SB_T_SECRET] = { decode_str, "secret", "\"type\":\"string\"" },
	[SB_T_FILE] = { decode_file, "path", "\"type\":\"string\"" },
	[SB_T_BOOL] = { decode_bool, "true or false", "\"type\":\"boolean\"" },
	[SB_T_INT] = { decode_int, "number", "\"type\":\"integer\"" },
	[SB_T_MS] = { decode_quantity, "duration", "\"type\":[\"string\",\"integer\"]" },
	[SB_T_BYTES] = { decode_quantity, "size", "\"type\":[\"string\",\"integer\"]" },
	[SB_T_ENUM] = { decode_enum, "word", NULL },
	[SB_T_STRS] = { decode_strs, "list of strings", "\"type\":\"array\",\"items\":{\"type\":\"string\"}" },
	[SB_T_SECRETS] = { decode_strs, "list of secrets", "\"type\":\"array\",\"items\":{\"type\":\"string\"}" },
	[SB_T_NODE] = { decode_node, "value", "" },
	[SB_T_TEMPLATE] = { decode_template, "template", "\"type\":\"string\"" },
	[SB_T_PATH] = { decode_path, "JSON path", "\"type\":\"string\"" },
	[SB_T_OBJECT] = { decode_object, "map", NULL },
	[SB_T_MAP] = { decode_map, "map", "\"type\":[\"object\",\"null\"]" },
	[SB_T_ENV] = { decode_env, "map of variables", "\"type\":\"object\"" },
};

/* ------------------------------------------------------------------------------------------------ a table */

static void set_default(struct sb_decode *d, const struct sb_field *f, void *ret)
{
	struct sb_node n = { .kind = SB_NODE_STRING, .text = sb_slice_str(f->dflt ? f->dflt : "") };
	bool no_env = d->no_env;

	if (f->type == SB_T_OBJECT) {
		sb_fields_default(d, f->sub, AT(ret, f));
		return;
	}
	if (!f->dflt)
		return;
	if (f->type == SB_T_INT)
		n.kind = SB_NODE_NUMBER;
	if (f->type == SB_T_BOOL) {
		n.kind = SB_NODE_BOOL;
		n.boolean = strcmp(f->dflt, "true") == 0;
	}
	SB_ASSERT(f->type != SB_T_STRS && f->type != SB_T_NODE && f->type != SB_T_MAP && f->type != SB_T_ENV);
	if (f->type == SB_T_FILE) { /* a default path is not relative to any file yet: the caller resolves it */
		*(const char **)AT(ret, f) = f->dflt;
		return;
	}
	SB_ASSERT(types[f->type].decode(d, f, &n, ret) == 0);
	d->no_env = no_env;
}

void sb_fields_default(struct sb_decode *d, const struct sb_field *rows, void *ret)
{
	for (; rows->key; rows++)
		set_default(d, rows, ret);
}

static const struct sb_field *find_row(const struct sb_field *rows, struct sb_slice key)
{
	for (; rows->key; rows++)
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

/* A key that would be right one level down: most often a mis-indented one. */
static const struct sb_field *parent_of_key(const struct sb_field *rows, struct sb_slice key)
{
	for (; rows->key; rows++)
		if (rows->type == SB_T_OBJECT && find_row(rows->sub, key))
			return rows;
	return NULL;
}

static void unknown_key(struct sb_decode *d, const struct sb_field *rows, const char *const *also, const struct sb_node *item)
{
	const struct sb_field *parent = parent_of_key(rows, item->key->text);
	const char *near = nearest_key(rows, also, item->key->text.p);
	struct sb_err err;

	sb_fail_at(&err, SB_E_UNKNOWN_KEY, &item->key->at, "unknown key `%.*s`", SB_SLICE_ARG(item->key->text));
	if (parent)
		sb_hint(&err, "it belongs under `%s:`", parent->key);
	else if (near)
		sb_hint(&err, "did you mean `%s`?", near);
	report(d, item, &err);
}

static void missing_key(struct sb_decode *d, const struct sb_field *f, const struct sb_node *map)
{
	struct sb_err err;

	sb_fail_at(&err, SB_E_MISSING, map->key ? &map->key->at : &map->at, "the key `%s` is missing", f->key);
	if (f->doc)
		sb_hint(&err, "%s: %s", f->key, f->doc);
	report(d, map, &err);
}

int sb_fields_decode(struct sb_decode *d, const struct sb_field *rows, const struct sb_node *map, void *ret,
	const char *const *also)
{
	size_t before = d->diags->errors;

	sb_fields_default(d, rows, ret);
	if (map->kind != SB_NODE_MAP && map->kind != SB_NODE_NULL)
		return wrong_kind(d, map, "a map");
	for (size_t i = 0; i < map->n; i++) {
		const struct sb_field *f = find_row(rows, map->item[i]->key->text);

		if (f)
			types[f->type].decode(d, f, map->item[i], ret);
		else if (!listed(also, map->item[i]->key->text))
			unknown_key(d, rows, also, map->item[i]);
	}
	for (const struct sb_field *f = rows; f->key; f++)
		if (f->required && !sb_node_get(map, f->key))
			missing_key(d, f, map);
	return d->diags->errors == before ? 0 : -1;
}

/* ------------------------------------------------------------------------------------------------ docs, schema */

static void docs_rows(const struct sb_field *rows, const char *prefix, struct sb_buf *out)
{
	for (; rows->key; rows++) {
		char path[160];

		snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", rows->key);
		if (rows->type == SB_T_OBJECT) {
			docs_rows(rows->sub, path, out);
			continue;
		}
		sb_buf_addf(out, "| `%s` | %s | ", path, types[rows->type].docs);
		if (rows->names)
			for (int i = 0; rows->names[i]; i++)
				sb_buf_addf(out, "%s`%s`", i ? ", " : "", rows->names[i]);
		if (rows->dflt)
			sb_buf_addf(out, "%sdefault `%s`", rows->names ? "; " : "", rows->dflt);
		else if (rows->required)
			sb_buf_adds(out, "required");
		sb_buf_addf(out, " | %s%s |\n", rows->doc ? rows->doc : "", rows->live ? " *(live)*" : "");
	}
}

void sb_fields_docs(const struct sb_field *rows, struct sb_buf *out)
{
	sb_buf_adds(out, "| key | type | values | meaning |\n|---|---|---|---|\n");
	docs_rows(rows, "", out);
}

static void schema_value(const struct sb_field *f, struct sb_buf *out)
{
	if (f->type == SB_T_OBJECT) {
		sb_buf_adds(out, "\"type\":[\"object\",\"null\"],\"additionalProperties\":false,\"properties\":");
		sb_fields_schema(f->sub, out);
	} else if (f->type == SB_T_ENUM) {
		sb_buf_adds(out, "\"enum\":[");
		for (int i = 0; f->names[i]; i++)
			sb_buf_addf(out, "%s\"%s\"", i ? "," : "", f->names[i]);
		sb_buf_addc(out, ']');
	} else {
		sb_buf_adds(out, types[f->type].schema);
	}
}

void sb_fields_schema(const struct sb_field *rows, struct sb_buf *out)
{
	sb_buf_addc(out, '{');
	for (const struct sb_field *f = rows; f->key; f++) {
		size_t before;

		sb_buf_addf(out, "%s\"%s\":{", f == rows ? "" : ",", f->key);
		before = out->len;
		schema_value(f, out);
		if (f->doc) {
			sb_buf_adds(out, out->len > before ? ",\"description\":" : "\"description\":");
			sb_json_add_string(out, sb_slice_str(f->doc));
		}
		sb_buf_addc(out, '}');
	}
	sb_buf_addc(out, '}');
}
