/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/rules.h"

#include <stdlib.h>

#include "rules/rulefile.h"

#define TEXT_BYTES_MAX (256u << 20)

struct bus_rules {
	const char *bus; /* interned */
	const struct sb_rule **rule;
	size_t n;
};

struct index { /* by bus, disabled rules left out */
	struct bus_rules *bus;
	size_t n;
};

/* ------------------------------------------------------------------------------------------------ life */

struct sb_ruleset *sb_ruleset_ref(struct sb_ruleset *rs)
{
	atomic_fetch_add_explicit(&rs->refs, 1, memory_order_relaxed); /* we hold one, it cannot go away */
	return rs;
}

void sb_ruleset_unref(struct sb_ruleset *rs)
{
	/* acq_rel, not release and an acquire fence: the thread sanitizer cannot see fences */
	if (!rs || atomic_fetch_sub_explicit(&rs->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(rs->rule);
	sb_arena_done(&rs->arena);
	free(rs);
}

static struct bus_rules *bus_of(struct index *x, const char *bus)
{
	for (size_t i = 0; i < x->n; i++)
		if (x->bus[i].bus == bus)
			return &x->bus[i];
	x->bus[x->n].bus = bus;
	return &x->bus[x->n++];
}

static void make_index(struct sb_ruleset *rs)
{
	struct index *x = sb_arena_alloc(&rs->arena, sizeof(*x));

	x->bus = sb_arena_alloc(&rs->arena, rs->n * sizeof(*x->bus));
	for (size_t i = 0; i < rs->n; i++)
		bus_of(x, rs->rule[i].bus)->n++;
	for (size_t i = 0; i < x->n; i++) {
		x->bus[i].rule = sb_arena_alloc(&rs->arena, x->bus[i].n * sizeof(const struct sb_rule *));
		x->bus[i].n = 0;
	}
	for (size_t i = 0; i < rs->n; i++) {
		struct bus_rules *b = bus_of(x, rs->rule[i].bus);

		if (rs->rule[i].state != SB_RULE_DISABLED)
			b->rule[b->n++] = &rs->rule[i];
	}
	rs->index = x;
}

/* ------------------------------------------------------------------------------------------------ reading */

static struct sb_rule_reader reader(struct sb_diags *diags)
{
	struct sb_rule_reader r = { .rs = sb_xcalloc(sizeof(*r.rs)), .diags = diags, .text = SB_BUF(TEXT_BYTES_MAX) };

	atomic_init(&r.rs->refs, 1);
	return r;
}

static void add_doc(struct sb_rule_reader *r, struct sb_doc *doc)
{
	if (doc->root)
		sb_rule_reader_add(r, doc);
	sb_doc_done(doc);
}

static struct sb_ruleset *finish(struct sb_rule_reader *r, size_t errors_before)
{
	struct sb_ruleset *rs = r->rs;

	if (r->diags->errors == errors_before) {
		sb_buf_adds(&r->text, r->text.len ? "\n]}\n" : "{\"version\":1,\"rules\":[]}\n");
		rs->text = sb_arena_slice(&rs->arena, sb_buf_slice(&r->text));
		make_index(rs);
	}
	sb_map_done(&r->seen);
	sb_buf_done(&r->text);
	return rs;
}

bool sb_ruleset_whole(const struct sb_ruleset *rs)
{
	return rs->index != NULL;
}

static void empty_folder(const char *path, struct sb_diags *diags)
{
	struct sb_err err;

	sb_fail_at(&err, SB_E_MISSING, &(struct sb_loc){ .file = path }, "no rule files in '%s'", path);
	sb_hint(&err, "every *.yaml, *.yml and *.json below it is read, *_test.yaml left out");
	sb_diag_warning(diags, &err);
}

struct sb_ruleset *sb_ruleset_load(const char *path, struct sb_diags *diags)
{
	struct sb_rule_reader r = reader(diags);
	size_t errors = diags->errors, n;
	struct sb_arena names = { 0 };
	const char **files;

	if (sb_rule_files(&names, path, &files, &n, diags) == 0 && n == 0)
		empty_folder(path, diags);
	for (size_t i = 0; i < n; i++) {
		struct sb_doc doc;

		sb_doc_load(files[i], &doc, diags);
		add_doc(&r, &doc);
	}
	sb_arena_done(&names);
	return finish(&r, errors);
}

struct sb_ruleset *sb_ruleset_parse(
	const char *const *names, const struct sb_slice *files, size_t n, struct sb_diags *diags)
{
	struct sb_rule_reader r = reader(diags);
	size_t errors = diags->errors;
	struct sb_ruleset *rs;

	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(names[i]);
		struct sb_doc doc;

		sb_diags_source(diags, names[i], files[i]);
		if (len > 5 && strcmp(names[i] + len - 5, ".json") == 0)
			sb_json_parse_doc(names[i], files[i], &doc, diags);
		else
			sb_yaml_parse(names[i], files[i], &doc, diags);
		add_doc(&r, &doc);
	}
	rs = finish(&r, errors);
	if (sb_ruleset_whole(rs))
		return rs;
	sb_ruleset_unref(rs);
	return NULL;
}

/* ------------------------------------------------------------------------------------------------ matching */

static void add_hit(struct sb_hits *h, const struct sb_rule *rule)
{
	if (h->n == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 16;
		h->rule = sb_xrealloc(h->rule, h->cap * sizeof(const struct sb_rule *));
	}
	h->rule[h->n++] = rule;
}

void sb_ruleset_match(const struct sb_ruleset *rs, const struct sb_event *ev, struct sb_hits *ret)
{
	const struct index *x = rs->index;
	const struct bus_rules *b = x->bus;

	ret->n = 0;
	while (b < x->bus + x->n && b->bus != ev->bus)
		b++;
	if (b == x->bus + x->n)
		return;
	for (size_t i = 0; i < b->n; i++)
		if (sb_pattern_match(b->rule[i]->pattern, &ev->tape))
			add_hit(ret, b->rule[i]);
}

void sb_hits_done(struct sb_hits *h)
{
	free(h->rule);
	*h = (struct sb_hits){ 0 };
}
