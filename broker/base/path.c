/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/path.h"

#include <stdbool.h>

#define STEPS_MAX 64

struct reader {
	struct sb_slice text;
	size_t at;
	struct sb_arena *arena;
	struct sb_path_step step[STEPS_MAX];
	uint32_t n;
	struct sb_err *err;
};

static int fail(const struct reader *r, const char *what)
{
	return sb_fail(r->err, SB_E_SYNTAX, "path '%.*s': column %zu: %s", SB_SLICE_ARG(r->text), r->at + 1, what);
}

static bool at_char(const struct reader *r, char c)
{
	return r->at < r->text.n && r->text.p[r->at] == c;
}

static int add_step(struct reader *r, struct sb_slice key, uint32_t index)
{
	if (r->n == STEPS_MAX)
		return fail(r, "more than 64 steps");
	r->step[r->n].key = key.p ? sb_arena_slice(r->arena, key) : key;
	r->step[r->n++].index = index;
	return 0;
}

static int read_key(struct reader *r)
{
	size_t from = r->at;

	while (r->at < r->text.n && r->text.p[r->at] != '.' && r->text.p[r->at] != '[')
		r->at++;
	if (r->at == from)
		return fail(r, "expected a key");
	return add_step(r, sb_slice(r->text.p + from, r->at - from), 0);
}

static int read_quoted(struct reader *r)
{
	char quote = r->text.p[r->at++];
	size_t from = r->at;

	while (r->at < r->text.n && r->text.p[r->at] != quote)
		r->at++;
	if (r->at >= r->text.n)
		return fail(r, "the quote is not closed");
	return add_step(r, sb_slice(r->text.p + from, r->at++ - from), 0);
}

static int read_index(struct reader *r)
{
	uint64_t v = 0;
	size_t from = r->at;

	for (; r->at < r->text.n && r->text.p[r->at] >= '0' && r->text.p[r->at] <= '9' && v < UINT32_MAX; r->at++)
		v = v * 10 + (uint64_t)(r->text.p[r->at] - '0');
	if (r->at == from || v >= UINT32_MAX)
		return fail(r, "expected an index or a quoted key");
	return add_step(r, sb_slice(NULL, 0), (uint32_t)v);
}

static int read_bracket(struct reader *r)
{
	r->at++;
	if ((at_char(r, '\'') || at_char(r, '"') ? read_quoted(r) : read_index(r)) < 0)
		return -1;
	if (!at_char(r, ']'))
		return fail(r, "expected ']'");
	r->at++;
	return 0;
}

int sb_path_compile(struct sb_arena *a, struct sb_slice text, struct sb_path *ret, struct sb_err *err)
{
	struct reader r = { .text = text, .arena = a, .err = err };
	bool rooted = text.n && text.p[0] == '$';

	r.at = rooted;
	if (!rooted && read_key(&r) < 0)
		return -1;
	while (r.at < text.n) {
		if (at_char(&r, '[')) {
			if (read_bracket(&r) < 0)
				return -1;
			continue;
		}
		if (!at_char(&r, '.'))
			return fail(&r, "expected '.' or '['");
		r.at++;
		if (read_key(&r) < 0)
			return -1;
	}
	ret->text = sb_arena_strndup(a, text.p, text.n);
	ret->n = r.n;
	ret->step = sb_arena_alloc(a, r.n * sizeof(*ret->step));
	memcpy(ret->step, r.step, r.n * sizeof(*ret->step));
	return 0;
}

static uint32_t element(const struct sb_tape *t, uint32_t i, uint32_t index)
{
	uint32_t end = t->node[i].next;

	if (t->node[i].kind != SB_JSON_ARRAY)
		return UINT32_MAX;
	for (i++; i < end && index; index--)
		i = t->node[i].next;
	return i < end ? i : UINT32_MAX;
}

uint32_t sb_path_find(const struct sb_path *p, const struct sb_tape *t)
{
	uint32_t i = 0;

	for (uint32_t k = 0; k < p->n && i != UINT32_MAX; k++)
		i = p->step[k].key.p ? sb_json_member(t, i, p->step[k].key) : element(t, i, p->step[k].index);
	return i;
}
