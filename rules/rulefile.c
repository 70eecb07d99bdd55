/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the nodes of one file to rules. A file that has errors is read to its end, so that one run tells all of them; rules
 * are not completed from the environment, for their text is written to the journal.
 */
#include "rules/rulefile.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/field.h"
#include "rules/input.h"
#include "rules/pattern.h"

#define NAME_BYTES_MAX 64

/* ------------------------------------------------------------------------------------------------ tables */

struct file_keys {
	int64_t version;
	const struct sb_node *rules;
};

static const struct sb_field file_fields[] = {
	SB_F(INT, struct file_keys, version, .min = 1, .max = 1, .dflt = "1", .doc = "Of this file's language."),
	SB_F(NODE, struct file_keys, rules, .required = true, .doc = "A list of rules."),
	{ 0 },
};

struct rule_keys {
	const char *name, *description, *bus;
	int state;
	const struct sb_node *pattern, *targets;
};

static const char *const state_names[] = {
	[SB_RULE_ENABLED] = "enabled", [SB_RULE_DISABLED] = "disabled", [SB_RULE_SHADOW] = "shadow", NULL
};

static const struct sb_field rule_fields[] = {
	SB_F(STR, struct rule_keys, name, .required = true, .doc = "Its name, of which there is one in all files."),
	SB_F(STR, struct rule_keys, description, .max = 512, .doc = "For people."),
	SB_F(STR, struct rule_keys, bus, .min = 1, .max = NAME_BYTES_MAX, .dflt = "default",
		.doc = "The bus whose events it sees."),
	SB_F(ENUM, struct rule_keys, state, .names = state_names, .dflt = "enabled",
		.doc = "`shadow`: matches are counted, nothing is sent."),
	SB_F(NODE, struct rule_keys, pattern, .required = true, .doc = "What an event must look like."),
	SB_F(NODE, struct rule_keys, targets, .doc = "Where matching events go: names, or maps with `target:`."),
	{ 0 },
};

struct target_keys {
	const char *target;
	const struct sb_node *input, *input_path, *input_transformer;
};

static const struct sb_field target_fields[] = {
	SB_F(STR, struct target_keys, target, .required = true, .min = 1, .max = NAME_BYTES_MAX,
		.doc = "The name of a target."),
	SB_F(NODE, struct target_keys, input, .doc = "A constant instead of the event."),
	SB_F(NODE, struct target_keys, input_path, .doc = "A part of the event, by its path."),
	SB_F(NODE, struct target_keys, input_transformer,
		.doc = "JSON made from parts of the event: `paths`, `template`."),
	{ 0 },
};

static struct sb_decode decoder(struct sb_rule_reader *r)
{
	return (struct sb_decode){ .arena = &r->rs->arena, .diags = r->diags, .no_env = true };
}

/* Places outlive the document. */
static struct sb_loc place(const struct sb_rule *rule, const struct sb_node *n)
{
	struct sb_loc at = n->at;

	at.file = rule->at.file;
	return at;
}

static int wrong_kind(struct sb_rule_reader *r, const struct sb_node *n, const char *expected, const char *hint)
{
	struct sb_err err;

	sb_fail(&err, SB_E_KIND, "expected %s, found %s", expected, sb_node_kind_name(n->kind));
	sb_hint(&err, "%s", hint);
	return sb_pattern_error(r->diags, n, &err);
}

/* ------------------------------------------------------------------------------------------------ names */

static bool name_ok(const char *s)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char more[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";

	return *s && strchr(first, *s) && strspn(s, more) == strlen(s) && strlen(s) <= NAME_BYTES_MAX;
}

static int take_name(struct sb_rule_reader *r, const struct sb_node *at, const char *name, struct sb_rule *rule)
{
	const struct sb_loc *first;
	struct sb_loc *own;
	struct sb_err err;

	if (!name_ok(name)) {
		sb_fail(&err, SB_E_INVALID, "`%.100s` is not a rule's name", name);
		sb_hint(&err, "small letters, digits, `.`, `_`, `-`; a letter or digit first; at most %d",
			NAME_BYTES_MAX);
		return sb_pattern_error(r->diags, at, &err);
	}
	rule->name = sb_name_str(name);
	rule->at = place(rule, at);
	first = sb_map_get(&r->seen, sb_slice_str(rule->name));
	if (first) {
		sb_fail(&err, SB_E_DUPLICATE, "a second rule named `%s`", name);
		sb_hint(&err, "first in %s, line %u", first->file, first->line);
		return sb_pattern_error(r->diags, at, &err);
	}
	own = sb_arena_alloc(&r->rs->arena, sizeof(*own));
	*own = rule->at;
	sb_map_put(&r->seen, sb_slice_str(rule->name), own);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ targets */

static int take_input(struct sb_rule_reader *r, const struct target_keys *keys, struct sb_rule_target *ret)
{
	const struct {
		const struct sb_node *node;
		enum sb_input_kind kind;
	} all[] = { { keys->input, SB_INPUT_CONSTANT }, { keys->input_path, SB_INPUT_PATH },
		{ keys->input_transformer, SB_INPUT_TRANSFORMER } };
	const struct sb_node *taken = NULL;
	struct sb_err err;

	for (size_t i = 0; i < SB_LEN(all); i++) {
		if (!all[i].node)
			continue;
		if (taken) {
			sb_fail_at(&err, SB_E_INVALID, NULL, "`%s` beside `%s`: a target gets one input",
				all[i].node->key->text.p, taken->key->text.p);
			return sb_pattern_error(r->diags, all[i].node, &err);
		}
		taken = all[i].node;
		ret->input = sb_input_compile(&r->rs->arena, all[i].kind, taken, r->diags);
	}
	return 0;
}

static int twice(struct sb_rule_reader *r, const struct sb_rule *rule, const struct sb_node *at)
{
	const char *name = rule->target[rule->n_targets].target;
	struct sb_err err;

	for (size_t i = 0; i < rule->n_targets; i++)
		if (rule->target[i].target == name) {
			sb_fail(&err, SB_E_DUPLICATE, "the target `%s` a second time in one rule", name);
			sb_hint(&err, "two rules, if it is to get two inputs");
			return sb_pattern_error(r->diags, at, &err);
		}
	return 0;
}

static void take_target(struct sb_rule_reader *r, const struct sb_node *n, struct sb_rule *rule)
{
	struct sb_rule_target *t = &rule->target[rule->n_targets];
	struct sb_decode d = decoder(r);
	struct target_keys keys = { 0 };
	const struct sb_node *name = n;

	if (n->kind == SB_NODE_STRING) {
		keys.target = n->text.p;
	} else if (n->kind != SB_NODE_MAP) {
		wrong_kind(r, n, "a target's name or a map", "for example `- target: invoice`");
		return;
	} else if (sb_fields_decode(&d, target_fields, n, &keys, NULL) < 0) {
		return;
	} else {
		name = sb_node_get(n, "target");
	}
	t->target = sb_name_str(keys.target);
	t->at = place(rule, name);
	if (twice(r, rule, name) == 0 && take_input(r, &keys, t) == 0)
		rule->n_targets++;
}

static void take_targets(struct sb_rule_reader *r, const struct sb_node *list, struct sb_rule *rule)
{
	struct sb_err err;

	if (list && list->kind != SB_NODE_LIST) {
		wrong_kind(r, list, "a list of targets", "for example [invoice]");
		return;
	}
	if (!list || list->n == 0) {
		sb_fail_at(&err, SB_E_MISSING, &rule->at, "the rule `%s` has no targets", rule->name ? rule->name : "");
		sb_hint(&err, "its matches are only counted; `state: shadow` says so");
		if (rule->state == SB_RULE_ENABLED)
			sb_diag_warning(r->diags, &err);
		return;
	}
	rule->target = sb_arena_alloc(&r->rs->arena, list->n * sizeof(*rule->target));
	for (size_t i = 0; i < list->n; i++)
		take_target(r, list->item[i], rule);
}

/* ------------------------------------------------------------------------------------------------ canonical text */

static void add_member(struct sb_buf *out, const char *name, const char *value)
{
	sb_buf_addf(out, "\"%s\":", name);
	sb_json_add_string(out, sb_slice_str(value));
	sb_buf_addc(out, ',');
}

/* A pattern that compiled; one written as a text of JSON becomes the same as any other. */
static void add_pattern(struct sb_buf *out, const struct sb_node *n, struct sb_diags *diags)
{
	struct sb_doc doc = { 0 };

	if (n->kind == SB_NODE_STRING)
		sb_json_parse_node(n, &doc, diags);
	sb_node_add_json(doc.root ? doc.root : n, out);
	sb_doc_done(&doc);
}

static void add_text(struct sb_rule_reader *r, const struct sb_rule *rule, const struct rule_keys *keys)
{
	struct sb_buf *out = &r->text;

	sb_buf_adds(out, out->len ? ",\n{" : "{\"version\":1,\"rules\":[\n{");
	add_member(out, "name", rule->name);
	if (rule->description)
		add_member(out, "description", rule->description);
	add_member(out, "bus", rule->bus);
	add_member(out, "state", state_names[rule->state]);
	sb_buf_adds(out, "\"pattern\":");
	add_pattern(out, keys->pattern, r->diags);
	if (keys->targets) {
		sb_buf_adds(out, ",\"targets\":");
		sb_node_add_json(keys->targets, out);
	}
	sb_buf_addc(out, '}');
}

/* ------------------------------------------------------------------------------------------------ rules */

static struct sb_rule *new_rule(struct sb_rule_reader *r)
{
	struct sb_ruleset *rs = r->rs;

	if (rs->n == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 64;
		rs->rule = sb_xrealloc(rs->rule, r->cap * sizeof(*rs->rule));
	}
	rs->rule[rs->n] = (struct sb_rule){ .index = (uint32_t)rs->n };
	return &rs->rule[rs->n++];
}

/* A reference would silently keep the default. */
static void check_state(struct sb_rule_reader *r, const struct sb_node *n)
{
	struct sb_err err;

	if (!n || n->text.n < 2 || memcmp(n->text.p, "${", 2) != 0)
		return;
	sb_fail(&err, SB_E_INVALID, "rules are not completed from the environment");
	sb_hint(&err, "one of enabled, disabled, shadow");
	sb_pattern_error(r->diags, n, &err);
}

static void read_rule(struct sb_rule_reader *r, const char *file, const struct sb_node *n)
{
	struct sb_rule *rule = new_rule(r);
	size_t errors = r->diags->errors;
	struct sb_decode d = decoder(r);
	struct rule_keys keys = { 0 };

	rule->at = (struct sb_loc){ file, n->at.line, n->at.col, n->at.len };
	if (sb_fields_decode(&d, rule_fields, n, &keys, NULL) < 0 && n->kind != SB_NODE_MAP)
		return;
	check_state(r, sb_node_get(n, "state"));
	rule->description = keys.description;
	rule->bus = sb_name_str(keys.bus);
	rule->state = (enum sb_rule_state)keys.state;
	if (keys.name)
		take_name(r, sb_node_get(n, "name"), keys.name, rule);
	if (keys.pattern)
		rule->pattern = sb_pattern_compile_node(&r->rs->arena, keys.pattern, r->diags);
	take_targets(r, keys.targets, rule);
	if (keys.pattern && r->diags->errors == errors)
		add_text(r, rule, &keys);
}

static void read_list(struct sb_rule_reader *r, const char *file, const struct sb_node *list)
{
	if (list->kind != SB_NODE_LIST) {
		wrong_kind(r, list, "a list of rules", "each begins with `- name:`");
		return;
	}
	for (size_t i = 0; i < list->n; i++)
		read_rule(r, file, list->item[i]);
}

static void no_rules(struct sb_rule_reader *r, const char *file)
{
	struct sb_err err;

	sb_fail_at(&err, SB_E_MISSING, &(struct sb_loc){ file, 1, 1, 1 }, "a file without rules");
	sb_diag_warning(r->diags, &err);
}

void sb_rule_reader_add(struct sb_rule_reader *r, const struct sb_doc *doc)
{
	const char *file = sb_arena_strdup(&r->rs->arena, doc->file);
	struct sb_decode d = decoder(r);
	struct file_keys keys = { 0 };

	if (doc->root->kind == SB_NODE_NULL) {
		no_rules(r, file);
		return;
	}
	if (!sb_node_get(doc->root, "rules") && (sb_node_get(doc->root, "name") || sb_node_get(doc->root, "pattern"))) {
		read_rule(r, file, doc->root);
		return;
	}
	sb_fields_decode(&d, file_fields, doc->root, &keys, NULL);
	if (keys.rules)
		read_list(r, file, keys.rules);
}
