/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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

static size_t index_of(const struct sb_node *n)
{
	size_t i = 0;

	while (i < n->parent->n && n->parent->item[i] != n)
		i++;
	return i;
}

void sb_node_path(const struct sb_node *n, char *out, size_t size)
{
	size_t len;

	out[0] = '\0';
	if (!n->parent)
		return;
	sb_node_path(n->parent, out, size);
	len = strlen(out);
	if (n->key)
		snprintf(out + len, size - len, "%s%.*s", len ? "." : "", SB_SLICE_ARG(n->key->text));
	else
		snprintf(out + len, size - len, "[%zu]", index_of(n));
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
