/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/template.h"

#include <stdbool.h>

#define PARTS_MAX 256

struct reader {
	struct sb_slice text;
	size_t at;
	struct sb_arena *arena;
	sb_template_names *names;
	void *arg;
	struct sb_template_part part[PARTS_MAX];
	uint32_t n;
	struct sb_err *err;
};

static int fail(const struct reader *r, size_t at, const char *what)
{
	return sb_fail(r->err, SB_E_SYNTAX, "template: column %zu: %s", at + 1, what);
}

static struct sb_template_part *add_part(struct reader *r)
{
	if (r->n == PARTS_MAX) {
		fail(r, r->at, "more than 256 parts");
		return NULL;
	}
	return &r->part[r->n++];
}

/* Literal text up to the next placeholder; `\<` becomes `<`. */
static int read_literal(struct reader *r)
{
	struct sb_template_part *part;
	char *out = sb_arena_alloc(r->arena, r->text.n - r->at + 1);
	size_t n = 0;

	for (; r->at < r->text.n && r->text.p[r->at] != '<'; r->at++) {
		if (r->text.p[r->at] == '\\' && r->at + 1 < r->text.n && r->text.p[r->at + 1] == '<')
			r->at++;
		out[n++] = r->text.p[r->at];
	}
	part = add_part(r);
	if (!part)
		return -1;
	part->text = sb_slice(out, n);
	return 0;
}

/* With a paths map only what cannot be one of its names is a path: a typo in a name must not become a missing value. */
static bool is_path(struct sb_slice name)
{
	return name.p[0] == '$' || (name.n > 5 && memcmp(name.p, "meta.", 5) == 0);
}

static int resolve(struct reader *r, size_t at, struct sb_slice name, const struct sb_path **ret)
{
	struct sb_path *path;

	*ret = NULL;
	if (r->names && r->names(r->arg, name, ret) == 0)
		return 0;
	if (r->names && !is_path(name))
		return sb_fail(r->err, SB_E_UNRESOLVED, "template: column %zu: unknown name <%.*s>", at + 1, SB_SLICE_ARG(name));
	path = sb_arena_alloc(r->arena, sizeof(*path));
	*ret = path;
	return sb_path_compile(r->arena, name, path, r->err);
}

static int read_placeholder(struct reader *r)
{
	size_t open = r->at, from = ++r->at;
	struct sb_template_part *part;

	while (r->at < r->text.n && r->text.p[r->at] != '>')
		r->at++;
	if (r->at >= r->text.n)
		return fail(r, open, "'<' is not closed; write \\< for a literal one");
	if (r->at == from)
		return fail(r, open, "<> names nothing; write \\< for a literal '<'");
	part = add_part(r);
	if (!part)
		return -1;
	part->name = sb_arena_slice(r->arena, sb_slice(r->text.p + from, r->at - from));
	r->at++;
	return resolve(r, open, part->name, &part->path);
}

int sb_template_compile(struct sb_arena *a, struct sb_slice text, sb_template_names *names, void *arg,
	struct sb_template *ret, struct sb_err *err)
{
	struct reader r = { .text = text, .arena = a, .names = names, .arg = arg, .err = err };

	while (r.at < text.n)
		if ((text.p[r.at] == '<' ? read_placeholder(&r) : read_literal(&r)) < 0)
			return -1;
	ret->text = sb_arena_strndup(a, text.p, text.n);
	ret->n = r.n;
	ret->part = sb_arena_alloc(a, r.n * sizeof(*ret->part));
	memcpy(ret->part, r.part, r.n * sizeof(*ret->part));
	return 0;
}

/* 0; 1: missing; -1: cap. */
static int add_value(const struct sb_template_part *part, const struct sb_tape *tape, struct sb_buf *out)
{
	uint32_t i = part->path ? sb_path_find(part->path, tape) : UINT32_MAX;

	if (i == UINT32_MAX || tape->node[i].kind == SB_JSON_OBJECT || tape->node[i].kind == SB_JSON_ARRAY)
		return 1;
	if (tape->node[i].kind == SB_JSON_STRING)
		return sb_json_unescape(sb_json_text(tape, i), out);
	return sb_buf_add_slice(out, sb_json_raw(tape, i));
}

int sb_template_text(const struct sb_template *t, const struct sb_tape *tape, struct sb_buf *out)
{
	size_t before = out->len;
	int r = 0;

	for (uint32_t k = 0; k < t->n && r == 0; k++)
		r = t->part[k].text.p ? sb_buf_add_slice(out, t->part[k].text) : add_value(&t->part[k], tape, out);
	if (r)
		out->len = before;
	return r;
}
