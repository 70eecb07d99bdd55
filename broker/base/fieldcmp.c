/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "broker/base/template.h"
#include "fieldrow.h"

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_strs(const struct sb_strs *a, const struct sb_strs *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->v[i], b->v[i]) != 0)
			return false;
	return true;
}

bool sb_node_equal(const struct sb_node *a, const struct sb_node *b)
{
	if (!a || !b)
		return a == b;
	if (a->kind != b->kind || a->n != b->n || !sb_slice_eq(a->text, b->text))
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (a->kind == SB_NODE_MAP && !sb_slice_eq(a->item[i]->key->text, b->item[i]->key->text))
			return false;
		if (!sb_node_equal(a->item[i], b->item[i]))
			return false;
	}
	return true;
}

static bool same_row(const struct sb_field *f, const void *a, const void *b)
{
	switch (f->type) {
	case SB_T_STR:
	case SB_T_SECRET:
	case SB_T_FILE: return same_text(SB_ROW_GET(char *, a, f), SB_ROW_GET(char *, b, f));
	case SB_T_BOOL: return SB_ROW_GET(bool, a, f) == SB_ROW_GET(bool, b, f);
	case SB_T_INT:
	case SB_T_MS:
	case SB_T_BYTES: return SB_ROW_GET(uint64_t, a, f) == SB_ROW_GET(uint64_t, b, f);
	case SB_T_ENUM: return SB_ROW_GET(int, a, f) == SB_ROW_GET(int, b, f);
	case SB_T_STRS:
	case SB_T_SECRETS:
	case SB_T_ENV: return same_strs(&SB_ROW_GET(struct sb_strs, a, f), &SB_ROW_GET(struct sb_strs, b, f));
	case SB_T_NODE: return sb_node_equal(SB_ROW_GET(struct sb_node *, a, f), SB_ROW_GET(struct sb_node *, b, f));
	case SB_T_TEMPLATE:
		return same_text(SB_ROW_GET(struct sb_template, a, f).text, SB_ROW_GET(struct sb_template, b, f).text);
	case SB_T_PATH: return same_text(SB_ROW_GET(struct sb_path, a, f).text, SB_ROW_GET(struct sb_path, b, f).text);
	case SB_T_MAP:
		return sb_node_equal(
			SB_ROW_GET(struct sb_field_map, a, f).node, SB_ROW_GET(struct sb_field_map, b, f).node);
	case SB_T_OBJECT: break;
	}
	abort(); /* objects are gone into, never compared whole */
}

void sb_fields_compare(
	const struct sb_field *rows, const void *a, const void *b, const char *prefix, sb_field_differs *fn, void *arg)
{
	char path[160];

	for (const struct sb_field *f = rows; f->key; f++) {
		snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", f->key);
		if (f->type == SB_T_OBJECT)
			sb_fields_compare(
				f->sub, (const char *)a + f->offset, (const char *)b + f->offset, path, fn, arg);
		else if (!same_row(f, a, b))
			fn(arg, f, path);
		else if (f->type == SB_T_ENUM && f->sub)
			sb_fields_compare(f->sub, a, b, path, fn, arg);
	}
}

static void note(void *arg, const struct sb_field *f, const char *path)
{
	(void)f;
	(void)path;
	*(bool *)arg = true;
}

bool sb_fields_equal(const struct sb_field *rows, const void *a, const void *b)
{
	bool differ = false;

	sb_fields_compare(rows, a, b, "", note, &differ);
	return !differ;
}
