/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML as a node tree, from libyaml's events. libyaml resolves no types, reports no duplicate keys and knows no limits of
 * depth or alias expansion; all of that is decided here. An alias shares the node it refers to, and every use counts the
 * nodes below it, so that an alias bomb ends at a number and not at the end of memory.
 */
#include "broker/base/node.h"

#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "broker/base/json.h"
#include "broker/base/map.h"
#include "nodekeys.h"

#define DEPTH_MAX 64
#define ALIASES_MAX 64
#define VISITS_MAX 100000
#define FILE_BYTES_MAX (4u << 20)

struct level {
	struct sb_node *node;
	struct sb_node *key; /* of a map: read, its value is next */
	struct sb_node **child;
	size_t n, cap;
	size_t visits;
	const char *anchor;
	struct sb_node_keys keys;
};

struct builder {
	struct sb_doc *doc;
	struct sb_diags *diags;
	struct sb_slice text;
	struct level level[DEPTH_MAX];
	size_t depth, aliases, visits;
	struct sb_map anchors; /* name -> struct anchor * */
	/* the line that was last looked up; events come in the order of the text */
	size_t line, line_off;
};

struct anchor {
	struct sb_node *node;
	size_t visits;
};

static int report(struct builder *b, struct sb_err *err)
{
	sb_diag_error(b->diags, err);
	return -1;
}

static struct sb_loc place(const struct builder *b, yaml_mark_t from, const yaml_mark_t *to)
{
	unsigned len =
		to && to->line == from.line && to->column > from.column ? (unsigned)(to->column - from.column) : 1;

	return (struct sb_loc){ b->doc->file, (unsigned)from.line + 1, (unsigned)from.column + 1, len };
}

/* ------------------------------------------------------------------------------------------------ scalars */

static bool all_of(struct sb_slice s, const char *set)
{
	for (size_t i = 0; i < s.n; i++)
		if (!s.p[i] || !strchr(set, s.p[i]))
			return false;
	return s.n > 0;
}

static bool one_of(struct sb_slice s, const char *const *words)
{
	for (; *words; words++)
		if (sb_slice_eq_str(s, *words))
			return true;
	return false;
}

/* [-+]? ( digits [. digits?] | . digits ) ([eE] [-+]? digits)? */
static bool is_decimal(struct sb_slice s)
{
	const char *p = s.p, *end = s.p + s.n;
	size_t whole = 0, part = 0;

	if (p < end && (*p == '-' || *p == '+'))
		p++;
	for (; p < end && *p >= '0' && *p <= '9'; p++)
		whole++;
	if (p < end && *p == '.')
		for (p++; p < end && *p >= '0' && *p <= '9'; p++)
			part++;
	if (!whole && !part)
		return false;
	if (p < end && (*p | 32) == 'e') {
		p++;
		if (p < end && (*p == '-' || *p == '+'))
			p++;
		if (p == end)
			return false;
		while (p < end && *p >= '0' && *p <= '9')
			p++;
	}
	return p == end;
}

/* YAML 1.2 core schema, for plain scalars: `no`, `on` and `1_000` stay strings. */
void sb_node_resolve(struct sb_node *n)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };
	static const char *const trues[] = { "true", "True", "TRUE", NULL };
	static const char *const falses[] = { "false", "False", "FALSE", NULL };
	static const char *const odd[] = { ".inf", ".Inf", ".INF", "+.inf", "-.inf", ".nan", ".NaN", ".NAN", NULL };
	struct sb_slice s = n->text;

	n->kind = SB_NODE_STRING;
	if (one_of(s, nulls)) {
		n->kind = SB_NODE_NULL;
	} else if (one_of(s, trues) || one_of(s, falses)) {
		n->kind = SB_NODE_BOOL;
		n->boolean = one_of(s, trues);
	} else if (is_decimal(s) || one_of(s, odd) ||
		   (s.n > 2 && s.p[0] == '0' && s.p[1] == 'x' &&
			   all_of(sb_slice(s.p + 2, s.n - 2), "0123456789abcdefABCDEF")) ||
		   (s.n > 2 && s.p[0] == '0' && s.p[1] == 'o' && all_of(sb_slice(s.p + 2, s.n - 2), "01234567"))) {
		n->kind = SB_NODE_NUMBER;
	}
}

/*
 * libyaml follows YAML 1.1 here: U+0085, U+2028 and U+2029 end a line. Within a value the first becomes another character
 * and the others take the spaces around them along, in silence: what was written could not be had back.
 */
static int check_breaks(struct builder *b)
{
	static const struct {
		const char *bytes, *name;
	} breaks[] = { { "\xc2\x85", "0085" }, { "\xe2\x80\xa8", "2028" }, { "\xe2\x80\xa9", "2029" } };
	struct sb_loc loc = { .file = b->doc->file };
	struct sb_err err;

	for (size_t i = 0; i < SB_LEN(breaks); i++) {
		const char *at = b->text.n ? memmem(b->text.p, b->text.n, breaks[i].bytes, strlen(breaks[i].bytes)) : NULL;

		if (!at)
			continue;
		sb_json_place(b->text.p, b->text.n, (size_t)(at - b->text.p), &loc);
		loc.len = 1;
		sb_fail_at(&err, SB_E_SYNTAX, &loc, "a raw U+%s cannot be kept in YAML", breaks[i].name);
		sb_hint(&err, "write \\u%s in double quotes, or in a block scalar of JSON (`pattern: |`)",
			breaks[i].name);
		return report(b, &err);
	}
	return 0;
}

/* Where the text of line `line` (from 0) begins, as libyaml counts lines. */
static size_t line_start(struct builder *b, size_t line)
{
	const char *p = b->text.p;

	while (b->line < line && b->line_off < b->text.n) {
		char c = p[b->line_off++];

		if (c == '\n' || (c == '\r' && (b->line_off == b->text.n || p[b->line_off] != '\n')))
			b->line++;
	}
	return b->line_off;
}

static unsigned count_spaces(const char *p, const char *end)
{
	unsigned n = 0;

	while (p + n < end && p[n] == ' ')
		n++;
	return n;
}

/* The column where the lines of a literal block scalar begin, so that places inside it can be told. */
static unsigned block_column(struct builder *b, const yaml_event_t *e, struct sb_slice text)
{
	const char *end = b->text.p + b->text.n, *first = text.p;
	size_t line = e->start_mark.line + 1;

	for (; first < text.p + text.n && *first == '\n'; first++)
		line++;
	if (first == text.p + text.n)
		return 1;
	return count_spaces(b->text.p + line_start(b, line), end) - count_spaces(first, text.p + text.n) + 1;
}

/* `012` is twelve in YAML 1.2 and ten in 1.1; whoever writes it usually means a string. */
static void warn_of_zeros(struct builder *b, const struct sb_node *n)
{
	struct sb_slice s = n->text;
	struct sb_err err;

	if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
		s = sb_slice(s.p + 1, s.n - 1);
	if (s.n < 2 || s.p[0] != '0' || !all_of(s, "0123456789"))
		return;
	sb_fail_at(&err, SB_E_INVALID, &n->at, "`%s` is read as a decimal number", n->text.p);
	sb_hint(&err, "quotes make it a string");
	sb_diag_warning(b->diags, &err);
}

static struct sb_node *new_node(struct builder *b, const yaml_event_t *e, enum sb_node_kind kind)
{
	struct sb_node *n = sb_arena_alloc(&b->doc->arena, sizeof(*n));

	n->kind = kind;
	n->text = SB_SLICE("");
	n->at = place(b, e->start_mark, kind == SB_NODE_STRING ? &e->end_mark : NULL);
	return n;
}

static int add_value(struct builder *b, struct sb_node *n, size_t visits, const char *anchor);

static int on_scalar(struct builder *b, const yaml_event_t *e)
{
	struct sb_node *n = new_node(b, e, SB_NODE_STRING);

	n->text = sb_arena_slice(&b->doc->arena, sb_slice((const char *)e->data.scalar.value, e->data.scalar.length));
	n->flow_json = e->data.scalar.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE;
	if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		sb_node_resolve(n);
	else if (e->data.scalar.style == YAML_LITERAL_SCALAR_STYLE)
		n->block_col = block_column(b, e, n->text);
	if (n->kind == SB_NODE_NUMBER)
		warn_of_zeros(b, n);
	return add_value(b, n, 1, (const char *)e->data.scalar.anchor);
}

/* ------------------------------------------------------------------------------------------------ structure */

static int add_anchor(struct builder *b, const char *name, struct sb_node *n, size_t visits)
{
	struct anchor *a = sb_arena_alloc(&b->doc->arena, sizeof(*a));

	*a = (struct anchor){ n, visits };
	sb_map_put(&b->anchors, sb_slice_str(sb_arena_strdup(&b->doc->arena, name)), a);
	return 0;
}

static int check_key(struct builder *b, struct level *l, struct sb_node *key)
{
	const struct sb_node *first;
	struct sb_err err;

	if (key->kind == SB_NODE_LIST || key->kind == SB_NODE_MAP) {
		sb_fail_at(&err, SB_E_KIND, &key->at, "a key must be a string, found %s", sb_node_kind_name(key->kind));
		return report(b, &err);
	}
	if (sb_slice_eq_str(key->text, "<<")) {
		sb_fail_at(&err, SB_E_SYNTAX, &key->at, "merge keys (`<<`) are not supported");
		sb_hint(&err, "write the members out");
		return report(b, &err);
	}
	first = sb_node_keys_add(&l->keys, l->child, l->n, key);
	if (first)
		sb_node_key_twice(b->diags, key, first); /* go on: the rest of the file may have errors too */
	return 0;
}

static int add_value(struct builder *b, struct sb_node *n, size_t visits, const char *anchor)
{
	struct level *l = b->depth ? &b->level[b->depth - 1] : NULL;

	if (anchor)
		add_anchor(b, anchor, n, visits);
	if (!l) {
		b->doc->root = n;
		return 0;
	}
	l->visits += visits;
	if (l->node->kind == SB_NODE_MAP && !l->key) {
		l->key = n;
		n->parent = l->node;
		n->kind = n->kind <= SB_NODE_STRING ? SB_NODE_STRING
						    : n->kind; /* a key is its text, whatever it looks like */
		return check_key(b, l, n);
	}
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 8;
		l->child = sb_xrealloc(l->child, l->cap * sizeof(struct sb_node *));
	}
	n->parent = l->node;
	n->key = l->key;
	l->key = NULL;
	l->child[l->n++] = n;
	return 0;
}

static int on_open(struct builder *b, const yaml_event_t *e, enum sb_node_kind kind, const yaml_char_t *anchor)
{
	struct sb_node *n = new_node(b, e, kind);
	struct sb_err err;

	if (b->depth == DEPTH_MAX) {
		sb_fail_at(&err, SB_E_LIMIT, &n->at, "nested deeper than %d levels", DEPTH_MAX);
		return report(b, &err);
	}
	b->level[b->depth++] = (struct level){
		.node = n, .visits = 1, .anchor = anchor ? sb_arena_strdup(&b->doc->arena, (const char *)anchor) : NULL
	};
	return 0;
}

static int on_close(struct builder *b)
{
	struct level l = b->level[--b->depth];

	b->level[b->depth].child = NULL;
	l.node->n = l.n;
	l.node->item = sb_arena_alloc(&b->doc->arena, l.n * sizeof(struct sb_node *));
	if (l.n)
		memcpy(l.node->item, l.child, l.n * sizeof(struct sb_node *));
	free(l.child);
	sb_map_done(&l.keys.map);
	b->level[b->depth].keys = (struct sb_node_keys){ 0 };
	return add_value(b, l.node, l.visits, l.anchor);
}

static int on_alias(struct builder *b, const yaml_event_t *e)
{
	struct anchor *a = sb_map_get(&b->anchors, sb_slice_str((const char *)e->data.alias.anchor));
	struct sb_loc at = place(b, e->start_mark, &e->end_mark);
	struct sb_node *n;
	struct sb_err err;

	if (!a) {
		sb_fail_at(&err, SB_E_UNRESOLVED, &at, "the anchor `%s` is not defined before this place",
			e->data.alias.anchor);
		return report(b, &err);
	}
	b->visits += a->visits;
	if (++b->aliases > ALIASES_MAX || b->visits > VISITS_MAX) {
		sb_fail_at(&err, SB_E_LIMIT, &at, "more than %d aliases, or more than %d values through them",
			ALIASES_MAX, VISITS_MAX);
		return report(b, &err);
	}
	n = sb_arena_alloc(&b->doc->arena, sizeof(*n));
	*n = *a->node; /* own key and parent; the children are shared */
	n->at = at;
	return add_value(b, n, a->visits, NULL);
}

/* The value is read on as if it had none: the rest of the file may have errors too. */
static void check_tag(struct builder *b, const yaml_event_t *e, const yaml_char_t *tag)
{
	struct sb_loc at = place(b, e->start_mark, NULL);
	struct sb_err err;

	if (!tag)
		return;
	sb_fail_at(&err, SB_E_SYNTAX, &at, "tags are not supported, found `%s`", (const char *)tag);
	sb_hint(&err, "quotes make a string, nothing else needs a tag");
	report(b, &err);
}

static int on_event(struct builder *b, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT: check_tag(b, e, e->data.scalar.tag); return on_scalar(b, e);
	case YAML_SEQUENCE_START_EVENT:
		check_tag(b, e, e->data.sequence_start.tag);
		return on_open(b, e, SB_NODE_LIST, e->data.sequence_start.anchor);
	case YAML_MAPPING_START_EVENT:
		check_tag(b, e, e->data.mapping_start.tag);
		return on_open(b, e, SB_NODE_MAP, e->data.mapping_start.anchor);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT: return on_close(b);
	case YAML_ALIAS_EVENT: return on_alias(b, e);
	case YAML_DOCUMENT_START_EVENT:
		if (b->doc->root) {
			struct sb_loc at = place(b, e->start_mark, NULL);
			struct sb_err err;

			sb_fail_at(&err, SB_E_SYNTAX, &at, "a second document in one file");
			return report(b, &err);
		}
		return 0;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_END_EVENT: return 0;
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------ libyaml's errors */

#define TAB "found a tab where spaces are needed"

/* What libyaml says, and what it is likely to mean. */
static const struct {
	const char *problem, *hint;
} hints[] = {
	{ "found invalid Unicode character escape code",
		"YAML cannot hold surrogate escapes; write the value as a block scalar of JSON (`pattern: |`)" },
	{ "control characters are not allowed", "write it as \\uXXXX in a block scalar of JSON (`pattern: |`)" },
	{ "found a tab character that violates indentation", "indent with spaces" },
	{ TAB, "indent with spaces" },
	{ "found character that cannot start any token", "quote a value that begins with % @ or `" },
	{ "mapping values are not allowed in this context", "quote a value that contains `: `" },
};

static bool is_tab(struct builder *b, yaml_mark_t at)
{
	size_t i = line_start(b, at.line);

	for (size_t col = 0; col < at.column && i < b->text.n; col++)
		for (i++; i < b->text.n && ((unsigned char)b->text.p[i] & 0xc0) == 0x80; i++)
			;
	return i < b->text.n && b->text.p[i] == '\t';
}

static int parser_failed(struct builder *b, const yaml_parser_t *p)
{
	struct sb_loc at = { b->doc->file, (unsigned)p->problem_mark.line + 1, (unsigned)p->problem_mark.column + 1,
		1 };
	const char *problem = p->problem ? p->problem : "it cannot be read";
	struct sb_err err;

	if (p->error == YAML_SCANNER_ERROR && is_tab(b, p->problem_mark))
		problem = TAB;
	if (p->error == YAML_READER_ERROR)
		sb_json_place(b->text.p, b->text.n, p->problem_offset, &at);
	sb_fail_at(&err, SB_E_SYNTAX, &at, "this is not valid YAML: %s", problem);
	for (size_t i = 0; i < SB_LEN(hints); i++)
		if (strcmp(problem, hints[i].problem) == 0)
			sb_hint(&err, "%s", hints[i].hint);
	if (!err.hint[0] && p->context)
		sb_hint(&err, "%s that began at line %zu, column %zu", p->context, p->context_mark.line + 1,
			p->context_mark.column + 1);
	return report(b, &err);
}

static int run(struct builder *b, yaml_parser_t *p)
{
	bool done = false;

	while (!done) {
		yaml_event_t e;
		int r;

		if (!yaml_parser_parse(p, &e))
			return parser_failed(b, p);
		done = e.type == YAML_STREAM_END_EVENT;
		r = on_event(b, &e);
		yaml_event_delete(&e);
		if (r < 0)
			return -1;
	}
	return 0;
}

static void parse(struct builder *b)
{
	yaml_parser_t p;
	struct sb_err err;

	if (!yaml_parser_initialize(&p)) {
		sb_fail(&err, SB_E_IO, "no memory for the YAML parser");
		report(b, &err);
		return;
	}
	/* an empty file may have no bytes to point at, which libyaml takes for a mistake of ours */
	yaml_parser_set_input_string(&p, (const unsigned char *)(b->text.n ? b->text.p : ""), b->text.n);
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	if (run(b, &p) < 0)
		b->doc->root = NULL; /* what was read so far may not be what was meant */
	yaml_parser_delete(&p);
}

int sb_yaml_parse(const char *file, struct sb_slice text, struct sb_doc *ret, struct sb_diags *diags)
{
	struct builder *b = sb_xcalloc(sizeof(*b));
	size_t errors_before = diags->errors;
	struct sb_err err;

	*ret = (struct sb_doc){ 0 };
	ret->file = sb_arena_strdup(&ret->arena, file);
	b->doc = ret;
	b->diags = diags;
	b->text = text;
	if (text.n > FILE_BYTES_MAX) {
		sb_fail(&err, SB_E_LIMIT, "'%s' is larger than 4 MiB", file);
		report(b, &err);
	} else if (check_breaks(b) == 0) {
		parse(b);
	}
	if (!ret->root && diags->errors == errors_before) {
		ret->root = sb_arena_alloc(&ret->arena, sizeof(*ret->root)); /* an empty file is an empty value */
		ret->root->text = SB_SLICE("");
		ret->root->at = (struct sb_loc){ ret->file, 1, 1, 1 };
	}
	for (size_t i = 0; i < b->depth; i++) {
		free(b->level[i].child);
		sb_map_done(&b->level[i].keys.map);
	}
	sb_map_done(&b->anchors);
	free(b);
	if (!ret->root)
		sb_doc_done(ret);
	return diags->errors == errors_before ? 0 : -1;
}
