/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The evaluator against the definition, executed as it stands: a leaf of an event is a scalar with its path and the element
 * chosen in each array around it whose element is no scalar. A pattern matches when some choice of one branch of each `$or`
 * and of one leaf for each field agrees on all elements, and no field that is to be absent has a leaf that agrees too. That
 * tries everything, so events and patterns are small, and random.
 */
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

#include "broker/base/buf.h"
#include "broker/base/node.h"
#include "broker/base/rand.h"
#include "rules/rules.h"

#define ROUNDS 30000
#define DEPTH 4
#define FIELDS 6

static const char *const keys[] = { "x", "y", "x.y", "y.x" };
static const char *const paths[] = { "x", "y", "x.y", "x.x", "y.x", "y.y", "x.y.x", "x.y.y", "x.x.y", "y.x.y" };

/* ------------------------------------------------------------------------------------------------ events */

struct tag {
	uint32_t array, element;
};

struct leaf {
	char path[40];
	int value;
	struct tag tag[2 * DEPTH];
	unsigned n;
};

struct flat {
	struct leaf leaf[600];
	unsigned n;
};

static void add_value(struct sb_rand *r, struct sb_buf *out, int depth);

static void add_object(struct sb_rand *r, struct sb_buf *out, int depth)
{
	bool comma = false;

	sb_buf_addc(out, '{');
	for (size_t i = 0; i < SB_LEN(keys); i++) {
		if (sb_rand_below(r, 10) >= (i < 2 ? 8 : 2))
			continue;
		sb_buf_addf(out, "%s\"%s\":", comma ? "," : "", keys[i]);
		add_value(r, out, depth - 1);
		comma = true;
	}
	sb_buf_addc(out, '}');
}

static void add_array(struct sb_rand *r, struct sb_buf *out, int depth)
{
	unsigned n = (unsigned)sb_rand_below(r, 4);

	sb_buf_addc(out, '[');
	for (unsigned i = 0; i < n; i++) {
		if (i)
			sb_buf_addc(out, ',');
		add_value(r, out, depth - 1);
	}
	sb_buf_addc(out, ']');
}

static void add_value(struct sb_rand *r, struct sb_buf *out, int depth)
{
	uint64_t kind = sb_rand_below(r, 10);

	if (depth > 0 && kind < 4)
		add_object(r, out, depth);
	else if (depth > 0 && kind < 7)
		add_array(r, out, depth);
	else
		sb_buf_addf(out, "%d", (int)sb_rand_below(r, 3));
}

/* The leaves below a node; `at` is what leads to it. */
static void flatten(const struct sb_tape *t, uint32_t node, const struct leaf *at, struct flat *out)
{
	const struct sb_json_node *x = t->node;
	struct leaf below = *at;

	if (x[node].kind == SB_JSON_OBJECT) {
		for (uint32_t k = node + 1; k < x[node].next; k = x[k + 1].next) {
			int n = snprintf(below.path, sizeof(below.path), "%s%s%.*s", at->path, *at->path ? "." : "",
				(int)x[k].len, t->text + x[k].off);

			assert_true(n > 0 && (size_t)n < sizeof(below.path));
			flatten(t, k + 1, &below, out);
		}
	} else if (x[node].kind == SB_JSON_ARRAY) {
		for (uint32_t k = node + 1; k < x[node].next; k = x[k].next) {
			below.n = at->n;
			if (x[k].kind >= SB_JSON_ARRAY)
				below.tag[below.n++] = (struct tag){ node, k };
			flatten(t, k, &below, out);
		}
	} else {
		assert_true(out->n < SB_LEN(out->leaf));
		below.value = t->text[x[node].off] - '0';
		out->leaf[out->n++] = below;
	}
}

/* ------------------------------------------------------------------------------------------------ patterns */

struct field {
	const char *path;
	unsigned values; /* bit n: the number n */
	bool absent;
};

struct branch {
	struct field field[FIELDS];
	unsigned n;
};

struct written {
	struct branch all; /* fields side by side */
	struct branch group[2][2];
	unsigned n_groups;
};

static void add_field(struct sb_rand *r, struct branch *b, const char *path)
{
	struct field *f = &b->field[b->n++];

	f->path = path;
	f->values = (unsigned)sb_rand_below(r, 8);
	f->absent = !f->values || sb_rand_below(r, 4) == 0;
}

/* A path at most once in what can hold at the same time: each place takes its own from a shuffled deck. */
static void write_pattern(struct sb_rand *r, struct written *w)
{
	const char *deck[SB_LEN(paths)];
	size_t top = 0;

	memset(w, 0, sizeof(*w));
	memcpy(deck, paths, sizeof(paths));
	for (size_t i = SB_LEN(deck); i-- > 1;) {
		size_t k = sb_rand_below(r, i + 1);
		const char *swap = deck[i];

		deck[i] = deck[k];
		deck[k] = swap;
	}
	for (uint64_t n = 1 + sb_rand_below(r, 3); n > 0; n--)
		add_field(r, &w->all, deck[top++]);
	w->n_groups = (unsigned)sb_rand_below(r, 3);
	for (unsigned g = 0; g < w->n_groups; g++, top += 2)
		for (unsigned b = 0; b < 2; b++) {
			add_field(r, &w->group[g][b], deck[top + b]);
			if (sb_rand_below(r, 2))
				add_field(r, &w->group[g][b], deck[top + !b]);
		}
}

static void print_fields(const struct branch *b, struct sb_buf *out)
{
	for (unsigned i = 0; i < b->n; i++) {
		const struct field *f = &b->field[i];

		sb_buf_addf(out, "%s\"%s\":[", i ? "," : "", f->path);
		for (int v = 0, comma = 0; v < 3; v++)
			if (f->values >> v & 1)
				sb_buf_addf(out, "%s%d", comma++ ? "," : "", v);
		if (f->absent)
			sb_buf_addf(out, "%s{\"exists\":false}", f->values ? "," : "");
		sb_buf_addc(out, ']');
	}
}

/* Two groups cannot stand in one map under the same key: the second stands in both branches of the first. */
static void print_groups(const struct written *w, unsigned g, struct sb_buf *out)
{
	if (g == w->n_groups)
		return;
	sb_buf_adds(out, ",\"$or\":[");
	for (unsigned b = 0; b < 2; b++) {
		sb_buf_adds(out, b ? ",{" : "{");
		print_fields(&w->group[g][b], out);
		print_groups(w, g + 1, out);
		sb_buf_addc(out, '}');
	}
	sb_buf_addc(out, ']');
}

static void print_pattern(const struct written *w, struct sb_buf *out)
{
	sb_buf_addc(out, '{');
	print_fields(&w->all, out);
	print_groups(w, 0, out);
	sb_buf_addc(out, '}');
}

/* ------------------------------------------------------------------------------------------------ the definition */

struct choice {
	const struct flat *event;
	const struct field *field[3 * FIELDS];
	unsigned n;
	const struct leaf *leaf[3 * FIELDS]; /* of each field; NULL: it is to be absent */
};

static bool agree(const struct leaf *a, const struct leaf *b)
{
	for (unsigned i = 0; i < a->n; i++)
		for (unsigned k = 0; k < b->n; k++)
			if (a->tag[i].array == b->tag[k].array && a->tag[i].element != b->tag[k].element)
				return false;
	return true;
}

static bool agrees_with_all(const struct choice *c, unsigned n, const struct leaf *l)
{
	for (unsigned i = 0; i < n; i++)
		if (c->leaf[i] && !agree(c->leaf[i], l))
			return false;
	return true;
}

static bool absences_hold(const struct choice *c)
{
	for (unsigned i = 0; i < c->n; i++)
		for (unsigned k = 0; !c->leaf[i] && k < c->event->n; k++)
			if (strcmp(c->event->leaf[k].path, c->field[i]->path) == 0 &&
				agrees_with_all(c, c->n, &c->event->leaf[k]))
				return false;
	return true;
}

static bool some_leaves(struct choice *c, unsigned i)
{
	if (i == c->n)
		return absences_hold(c);
	for (unsigned k = 0; k < c->event->n; k++) {
		const struct leaf *l = &c->event->leaf[k];

		if (strcmp(l->path, c->field[i]->path) != 0 || !(c->field[i]->values >> l->value & 1) ||
			!agrees_with_all(c, i, l))
			continue;
		c->leaf[i] = l;
		if (some_leaves(c, i + 1))
			return true;
	}
	c->leaf[i] = NULL;
	return c->field[i]->absent && some_leaves(c, i + 1);
}

static void take(struct choice *c, const struct branch *b)
{
	for (unsigned i = 0; i < b->n; i++)
		c->field[c->n++] = &b->field[i];
}

static bool defined(const struct written *w, const struct flat *event)
{
	for (unsigned combination = 0; combination < 1u << w->n_groups; combination++) {
		struct choice c = { .event = event };

		take(&c, &w->all);
		for (unsigned g = 0; g < w->n_groups; g++)
			take(&c, &w->group[g][combination >> g & 1]);
		if (some_leaves(&c, 0))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------------------------------------ the comparison */

static const struct sb_pattern *compile(struct sb_arena *a, struct sb_slice text)
{
	struct sb_diags diags = { 0 };
	const struct sb_pattern *p = NULL;
	struct sb_doc doc;

	if (sb_json_parse_doc("p.json", text, &doc, &diags) == 0)
		p = sb_pattern_compile(a, doc.root, &diags);
	if (!p)
		fail_msg("%.*s: %s", SB_SLICE_ARG(text), diags.item[0].err.msg);
	sb_doc_done(&doc);
	sb_diags_done(&diags);
	return p;
}

struct round {
	struct sb_rand rand;
	struct sb_buf pattern, event;
	struct sb_tape_buf tape;
	struct flat flat;
	struct written written;
	unsigned matches;
};

static void one_round(struct round *r)
{
	struct sb_arena arena = { 0 };
	struct sb_json_fault fault;
	struct sb_tape t;
	bool want, got;

	sb_buf_clear(&r->pattern);
	sb_buf_clear(&r->event);
	write_pattern(&r->rand, &r->written);
	print_pattern(&r->written, &r->pattern);
	add_object(&r->rand, &r->event, DEPTH);
	assert_int_equal(sb_json_scan(sb_buf_cstr(&r->event), r->event.len, &SB_JSON_LIMITS, &r->tape, &fault), 0);
	t = sb_tape_of(r->event.p, &r->tape);
	r->flat.n = 0;
	flatten(&t, 0, &(struct leaf){ 0 }, &r->flat);
	want = defined(&r->written, &r->flat);
	got = sb_pattern_match(compile(&arena, sb_buf_slice(&r->pattern)), &t);
	if (got != want)
		fail_msg("%.*s on %s: %s by definition", SB_SLICE_ARG(sb_buf_slice(&r->pattern)), r->event.p,
			want ? "a match" : "no match");
	r->matches += got;
	sb_arena_done(&arena);
}

static void the_evaluator_says_what_the_definition_says(void **state)
{
	static struct round r = { .pattern = SB_BUF(1u << 16), .event = SB_BUF(1u << 20) };

	(void)state;
	sb_rand_seed(&r.rand, 20261124);
	for (int i = 0; i < ROUNDS; i++)
		one_round(&r);
	assert_in_range(r.matches, ROUNDS / 10, ROUNDS * 9 / 10); /* else it says little */
	sb_buf_done(&r.pattern);
	sb_buf_done(&r.event);
	sb_tape_buf_done(&r.tape);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_evaluator_says_what_the_definition_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
