/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/base/buf.h"
#include "nodekeys.h"

#define FILE_BYTES_MAX (4u << 20)

const char *sb_node_kind_name(enum sb_node_kind k)
{
	static const char *const names[] = { "nothing", "true or false", "a number", "a string", "a list", "a map" };

	return names[k];
}

struct sb_node *sb_node_get(const struct sb_node *map, const char *key)
{
	if (!map || map->kind != SB_NODE_MAP)
		return NULL;
	for (size_t i = 0; i < map->n; i++)
		if (sb_slice_eq_str(map->item[i]->key->text, key))
			return map->item[i];
	return NULL;
}

#define FEW_KEYS 16

const struct sb_node *sb_node_keys_add(
	struct sb_node_keys *k, struct sb_node *const *item, size_t n, struct sb_node *key)
{
	const struct sb_node *first = NULL;

	if (n < FEW_KEYS) {
		for (size_t i = 0; i < n && !first; i++)
			first = sb_slice_eq(item[i]->key->text, key->text) ? item[i]->key : NULL;
		return first;
	}
	for (size_t i = k->map.n ? n : 0; i < n; i++) /* the first time: those that came before */
		sb_map_put(&k->map, item[i]->key->text, item[i]->key);
	first = sb_map_get(&k->map, key->text);
	if (!first)
		sb_map_put(&k->map, key->text, key);
	return first;
}

void sb_node_key_twice(struct sb_diags *diags, const struct sb_node *key, const struct sb_node *first)
{
	struct sb_err err;

	sb_fail_at(&err, SB_E_DUPLICATE, &key->at, "the key `%.*s` stands here a second time", SB_SLICE_ARG(key->text));
	sb_hint(&err, "first at line %u, column %u", first->at.line, first->at.col);
	sb_diag_error(diags, &err);
}

static size_t index_of(const struct sb_node *n)
{
	size_t i = 0;

	while (i < n->parent->n && n->parent->item[i] != n)
		i++;
	return i;
}

static bool plain_key(struct sb_slice key)
{
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

	for (size_t i = 0; i < key.n; i++)
		if (!memchr(chars, key.p[i], sizeof(chars) - 1))
			return false;
	return key.n > 0;
}

static void add_step(const struct sb_node *n, struct sb_buf *out)
{
	if (!n->parent)
		return;
	add_step(n->parent, out);
	if (!n->key)
		sb_buf_addf(out, "[%zu]", index_of(n));
	else if (plain_key(n->key->text))
		sb_buf_addf(out, "%s%.*s", out->len ? "." : "", SB_SLICE_ARG(n->key->text));
	else
		sb_buf_addf(out, "['%.*s']", SB_SLICE_ARG(n->key->text));
}

/* A path that is too long loses its front: where in the rule it is says more than which part of the file. */
void sb_node_path(const struct sb_node *n, char *out, size_t size)
{
	struct sb_buf path = SB_BUF(16384);

	add_step(n, &path);
	if (!sb_buf_cstr(&path))
		snprintf(out, size, "...");
	else if (path.len < size)
		snprintf(out, size, "%s", path.p);
	else
		snprintf(out, size, "...%s", path.p + path.len - (size - 4));
	sb_buf_done(&path);
}

void sb_doc_done(struct sb_doc *d)
{
	sb_arena_done(&d->arena);
	*d = (struct sb_doc){ 0 };
}

static int read_file(const char *file, struct sb_buf *out, struct sb_err *err)
{
	FILE *f = fopen(file, "re");
	char *at;
	size_t n;

	if (!f)
		return sb_fail_errno(err, "cannot read '%s'", file);
	do {
		at = sb_buf_reserve(out, SB_MIN((size_t)65536, out->max - out->len));
		n = fread(at, 1, SB_MIN((size_t)65536, out->max - out->len), f);
		out->len += n;
	} while (n > 0);
	if (ferror(f)) {
		sb_fail_errno(err, "cannot read '%s'", file);
		fclose(f);
		return -1;
	}
	fclose(f);
	if (out->len == out->max)
		return sb_fail(err, SB_E_LIMIT, "'%s' is larger than 4 MiB", file);
	return 0;
}

int sb_doc_load(const char *file, struct sb_doc *ret, struct sb_diags *diags)
{
	struct sb_buf text = SB_BUF(FILE_BYTES_MAX + 1);
	size_t n = strlen(file);
	struct sb_err err;
	int r;

	*ret = (struct sb_doc){ 0 };
	if (read_file(file, &text, &err) < 0) {
		err.at.file = file;
		sb_diag_error(diags, &err);
		sb_buf_done(&text);
		return -1;
	}
	sb_diags_source(diags, file, sb_buf_slice(&text));
	if (n > 5 && strcmp(file + n - 5, ".json") == 0)
		r = sb_json_parse_doc(file, sb_buf_slice(&text), ret, diags);
	else
		r = sb_yaml_parse(file, sb_buf_slice(&text), ret, diags);
	sb_buf_done(&text);
	return r;
}
