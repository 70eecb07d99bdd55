/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a target gets of an event. A transformer's template is JSON with placeholders. Where a placeholder stands decides
 * what it becomes, and that is known when it is compiled: outside of quotes a JSON value, inside of a JSON string a piece of
 * its text. So a template that is JSON with anything in place of its placeholders gives JSON for every event, and one
 * that is not is refused at load.
 */
#include "rules/input.h"

#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/field.h"
#include "broker/base/path.h"
#include "broker/base/template.h"
#include "rules/number.h"
#include "rules/pattern.h"

#define JSON_BYTES_MAX (4u << 20)

enum piece_kind { LITERAL, VALUE, RULE_ARN, RULE_NAME, INGESTION_TIME, EVENT_WITHOUT_DETAIL, WHOLE_EVENT };

struct piece {
	enum piece_kind kind;
	bool in_string;             /* it stands inside a JSON string */
	struct sb_slice text;       /* LITERAL */
	const struct sb_path *path; /* VALUE */
};

struct sb_input {
	enum sb_input_kind kind;
	struct sb_slice constant;
	struct sb_path path;
	struct piece *piece;
	uint32_t n;
};

enum sb_input_kind sb_input_kind(const struct sb_input *in)
{
	return in ? in->kind : SB_INPUT_EVENT;
}

/* ------------------------------------------------------------------------------------------------ nodes as JSON */

static const struct sb_node *add_children(const struct sb_node *n, struct sb_buf *out)
{
	const struct sb_node *bad = NULL;
	bool map = n->kind == SB_NODE_MAP;

	sb_buf_addc(out, map ? '{' : '[');
	for (size_t i = 0; i < n->n && !bad; i++) {
		if (i)
			sb_buf_addc(out, ',');
		if (map) {
			sb_json_add_string(out, n->item[i]->key->text);
			sb_buf_addc(out, ':');
		}
		bad = sb_node_add_json(n->item[i], out);
	}
	sb_buf_addc(out, map ? '}' : ']');
	return bad;
}

const struct sb_node *sb_node_add_json(const struct sb_node *n, struct sb_buf *out)
{
	switch (n->kind) {
	case SB_NODE_NULL: sb_buf_adds(out, "null"); return NULL;
	case SB_NODE_BOOL: sb_buf_adds(out, n->boolean ? "true" : "false"); return NULL;
	case SB_NODE_NUMBER: sb_buf_add_slice(out, n->text); return sb_number_is_json(n->text) ? NULL : n;
	case SB_NODE_STRING: sb_json_add_string(out, n->text); return NULL;
	case SB_NODE_LIST:
	case SB_NODE_MAP: return add_children(n, out);
	}
	return NULL;
}

static int compile_constant(struct sb_arena *a, const struct sb_node *n, struct sb_input *ret, struct sb_diags *diags)
{
	struct sb_buf text = SB_BUF(JSON_BYTES_MAX);
	const struct sb_node *bad = sb_node_add_json(n, &text);
	struct sb_err err;

	ret->constant = sb_arena_slice(a, sb_buf_slice(&text));
	sb_buf_done(&text);
	if (!bad)
		return 0;
	sb_fail(&err, SB_E_INVALID, "`%s` is not a number as JSON writes it", bad->text.p);
	sb_hint(&err, "digits, as in 12, -0.5 or 1e6; quotes for a string");
	return sb_pattern_error(diags, bad, &err);
}

/* ------------------------------------------------------------------------------------------------ paths */

static int compile_path(struct sb_arena *a, const struct sb_node *n, struct sb_path *ret, struct sb_diags *diags)
{
	struct sb_err err;

	if (n->kind != SB_NODE_STRING) {
		sb_fail(&err, SB_E_KIND, "expected a path, found %s", sb_node_kind_name(n->kind));
		sb_hint(&err, "for example $.detail.id");
		return sb_pattern_error(diags, n, &err);
	}
	if (sb_path_compile(a, n->text, ret, &err) < 0)
		return sb_pattern_error(diags, n, &err);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ transformers */

static const struct {
	const char *name;
	enum piece_kind kind;
} variables[] = {
	{ "aws.events.rule-arn", RULE_ARN },
	{ "aws.events.rule-name", RULE_NAME },
	{ "aws.events.event.ingestion-time", INGESTION_TIME },
	{ "aws.events.event", EVENT_WITHOUT_DETAIL },
	{ "aws.events.event.json", WHOLE_EVENT },
};

static enum piece_kind variable(struct sb_slice name)
{
	for (size_t i = 0; i < SB_LEN(variables); i++)
		if (sb_slice_eq_str(name, variables[i].name))
			return variables[i].kind;
	return LITERAL;
}

struct transformer {
	struct sb_field_map paths;
	const struct sb_node *template;
};

static const struct sb_field transformer_fields[] = {
	SB_F(MAP, struct transformer, paths, .doc = "Names for the template, each with a path into the event."),
	SB_F(NODE, struct transformer, template, .required = true, .doc = "JSON with `<name>` in it."),
	{ 0 },
};

struct names {
	const struct sb_node *map; /* NULL: none */
	struct sb_path *path;      /* of each of its items */
};

static int find_name(void *arg, struct sb_slice name, const struct sb_path **ret)
{
	const struct names *names = arg;

	for (size_t i = 0; names->map && i < names->map->n; i++)
		if (sb_slice_eq(names->map->item[i]->key->text, name)) {
			*ret = &names->path[i];
			return 0;
		}
	*ret = NULL;
	return variable(name) == LITERAL ? -1 : 0;
}

static int compile_names(struct sb_arena *a, const struct sb_node *map, struct names *ret, struct sb_diags *diags)
{
	size_t errors = diags->errors;

	ret->map = map;
	ret->path = map ? sb_arena_alloc(a, map->n * sizeof(*ret->path)) : NULL;
	for (size_t i = 0; map && i < map->n; i++) {
		struct sb_slice name = map->item[i]->key->text;
		struct sb_err err;

		compile_path(a, map->item[i], &ret->path[i], diags);
		if (name.n < 4 || memcmp(name.p, "aws.", 4) != 0)
			continue;
		sb_fail(&err, SB_E_INVALID, "`%s`: names that begin with `aws.` are predefined", name.p);
		sb_pattern_error(diags, map->item[i], &err);
	}
	return diags->errors == errors ? 0 : -1;
}

/* Follows the quotes of a literal piece. */
static bool string_after(struct sb_slice text, bool in_string)
{
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '"')
			in_string = !in_string;
		else if (in_string && text.p[i] == '\\')
			i++;
	}
	return in_string;
}

static void take_pieces(struct sb_arena *a, const struct sb_template *t, struct sb_input *ret)
{
	bool in_string = false;

	ret->n = t->n;
	ret->piece = sb_arena_alloc(a, t->n * sizeof(*ret->piece));
	for (uint32_t i = 0; i < t->n; i++) {
		const struct sb_template_part *part = &t->part[i];

		ret->piece[i] = (struct piece){ .in_string = in_string, .text = part->text, .path = part->path };
		if (part->text.p)
			in_string = string_after(part->text, in_string);
		else
			ret->piece[i].kind = part->path ? VALUE : variable(part->name);
	}
}

static int must_be_json(const struct sb_node *n, const struct sb_input *in, struct sb_diags *diags)
{
	struct sb_buf text = SB_BUF(JSON_BYTES_MAX);
	struct sb_tape_buf tape = { 0 };
	struct sb_json_fault fault;
	struct sb_err err;
	int r;

	for (uint32_t i = 0; i < in->n; i++) {
		if (in->piece[i].kind == LITERAL)
			sb_buf_add_slice(&text, in->piece[i].text);
		else if (!in->piece[i].in_string)
			sb_buf_adds(&text, "null");
	}
	r = sb_json_scan(sb_buf_cstr(&text), text.len, &SB_JSON_LIMITS, &tape, &fault);
	sb_tape_buf_done(&tape);
	sb_buf_done(&text);
	if (r == 0)
		return 0;
	sb_fail(&err, SB_E_SYNTAX, "the template is no JSON: %s", fault.msg);
	sb_hint(&err, "put text in quotes: '\"order <id> came\"'");
	return sb_pattern_error(diags, n, &err);
}

static int compile_template(
	struct sb_arena *a, const struct sb_node *n, struct names *names, struct sb_input *ret, struct sb_diags *diags)
{
	struct sb_template *t;
	struct sb_err err;

	if (n->kind != SB_NODE_STRING) {
		sb_fail(&err, SB_E_KIND, "expected a string, found %s", sb_node_kind_name(n->kind));
		sb_hint(&err, "quotes around the JSON: '{\"order\": <id>}'");
		return sb_pattern_error(diags, n, &err);
	}
	t = sb_arena_alloc(a, sizeof(*t));
	if (sb_template_compile(a, n->text, find_name, names, t, &err) < 0)
		return sb_pattern_error(diags, n, &err);
	take_pieces(a, t, ret);
	return must_be_json(n, ret, diags);
}

static int compile_transformer(
	struct sb_arena *a, const struct sb_node *n, struct sb_input *ret, struct sb_diags *diags)
{
	struct sb_decode d = { .arena = a, .diags = diags, .no_env = true };
	struct transformer keys = { 0 };
	struct names names;

	if (sb_fields_decode(&d, transformer_fields, n, &keys, NULL) < 0 ||
		compile_names(a, keys.paths.node, &names, diags) < 0)
		return -1;
	return compile_template(a, keys.template, &names, ret, diags);
}

const struct sb_input *sb_input_compile(
	struct sb_arena *a, enum sb_input_kind kind, const struct sb_node *n, struct sb_diags *diags)
{
	struct sb_input *in = sb_arena_alloc(a, sizeof(*in));
	int r = 0;

	in->kind = kind;
	switch (kind) {
	case SB_INPUT_EVENT: break;
	case SB_INPUT_CONSTANT: r = compile_constant(a, n, in, diags); break;
	case SB_INPUT_PATH: r = compile_path(a, n, &in->path, diags); break;
	case SB_INPUT_TRANSFORMER: r = compile_transformer(a, n, in, diags); break;
	}
	return r < 0 ? NULL : in;
}

/* ------------------------------------------------------------------------------------------------ rendering */

/* Each adds JSON: 0; 1: there is nothing; -1: the cap. */

static int add_value(const struct sb_path *path, const struct sb_event *ev, struct sb_buf *out)
{
	uint32_t i;

	if (path->n == 0)
		return sb_event_add_bare(ev, out);
	i = sb_path_find(path, &ev->tape);
	return i == UINT32_MAX ? 1 : sb_buf_add_slice(out, sb_json_raw(&ev->tape, i));
}

static int add_text(const char *s, struct sb_buf *out)
{
	return s ? sb_json_add_string(out, sb_slice_str(s)) : 1;
}

static int add_time(uint64_t ms, struct sb_buf *out)
{
	char text[SB_TIME_TEXT];

	return sb_json_add_string(out, sb_slice(text, sb_time_format_s(ms, text)));
}

static int add_without_detail(const struct sb_event *ev, struct sb_buf *out)
{
	const struct sb_tape *t = &ev->tape;
	int bad = sb_buf_addc(out, '{');

	for (uint32_t k = 1; k < t->node[0].next; k = t->node[k + 1].next) {
		if (sb_json_string_eq(t, k, SB_SLICE("detail")) || sb_json_string_eq(t, k, SB_SLICE("meta")))
			continue;
		if (out->p[out->len - 1] != '{')
			bad |= sb_buf_addc(out, ',');
		bad |= sb_buf_add_slice(out, sb_json_raw(t, k));
		bad |= sb_buf_addc(out, ':');
		bad |= sb_buf_add_slice(out, sb_json_raw(t, k + 1));
	}
	bad |= sb_buf_addc(out, '}');
	return bad ? -1 : 0;
}

static int add_piece(
	const struct piece *p, const struct sb_event *ev, const struct sb_input_vars *vars, struct sb_buf *out)
{
	switch (p->kind) {
	case LITERAL: return sb_buf_add_slice(out, p->text);
	case VALUE: return add_value(p->path, ev, out);
	case RULE_ARN: return add_text(vars->rule_arn, out);
	case RULE_NAME: return add_text(vars->rule_name, out);
	case INGESTION_TIME: return add_time(vars->ingestion_ms, out);
	case EVENT_WITHOUT_DETAIL: return add_without_detail(ev, out);
	case WHOLE_EVENT: return sb_event_add_bare(ev, out);
	}
	return 1;
}

static bool is_quoted(char c)
{
	return c == '"' || c == '\\';
}

/* JSON text at the end of `out` becomes what stands for it inside a string; line ends in it are white space. */
static int escape_tail(struct sb_buf *out, size_t from)
{
	size_t extra = 0, to;

	for (size_t i = from; i < out->len; i++)
		extra += is_quoted(out->p[i]);
	if (!sb_buf_reserve(out, extra))
		return -1;
	to = out->len + extra;
	for (size_t i = out->len; i-- > from;) {
		out->p[--to] = (unsigned char)out->p[i] < 0x20 ? ' ' : out->p[i];
		if (is_quoted(out->p[i]))
			out->p[--to] = '\\';
	}
	out->len += extra;
	return 0;
}

/* A string without its quotes is already the text that stands for it. */
static int as_text(struct sb_buf *out, size_t from)
{
	if (out->p[from] != '"')
		return escape_tail(out, from);
	memmove(out->p + from, out->p + from + 1, out->len - from - 2);
	out->len -= 2;
	return 0;
}

static int render_piece(
	const struct piece *p, const struct sb_event *ev, const struct sb_input_vars *vars, struct sb_buf *out)
{
	size_t from = out->len;
	int r = add_piece(p, ev, vars, out);

	if (p->kind == LITERAL || r < 0)
		return r;
	if (r == 1)
		return p->in_string ? 0 : sb_buf_adds(out, "null");
	return p->in_string ? as_text(out, from) : 0;
}

static int render(
	const struct sb_input *in, const struct sb_event *ev, const struct sb_input_vars *vars, struct sb_buf *out)
{
	int r = 0;

	switch (in->kind) {
	case SB_INPUT_EVENT: return 0;
	case SB_INPUT_CONSTANT: return sb_buf_add_slice(out, in->constant);
	case SB_INPUT_PATH: return render_piece(&(struct piece){ .kind = VALUE, .path = &in->path }, ev, vars, out);
	case SB_INPUT_TRANSFORMER:
		for (uint32_t i = 0; i < in->n && r == 0; i++)
			r = render_piece(&in->piece[i], ev, vars, out);
		return r;
	}
	return 0;
}

int sb_input_render(const struct sb_input *in, const struct sb_event *ev, const struct sb_input_vars *vars,
	struct sb_buf *out, struct sb_err *err)
{
	size_t before = out->len;

	if (!in)
		return 0;
	if (render(in, ev, vars, out) < 0) {
		out->len = before;
		return sb_fail(err, SB_E_LIMIT, "the input is larger than %zu bytes", out->max - before);
	}
	for (size_t i = before; i < out->len; i++) /* raw ones are white space; a line protocol wants none */
		if (out->p[i] == '\n' || out->p[i] == '\r')
			out->p[i] = ' ';
	return 0;
}
