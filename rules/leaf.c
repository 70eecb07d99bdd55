/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operators. A row of `operators` is all there is of one: its name and how its argument is compiled. What a compiled
 * leaf means stands in sb_leaf_holds.
 */
#include "rules/pattern.h"

#include <stdio.h>
#include <string.h>

#include "rules/number.h"

struct compile {
	struct sb_arena *arena;
	struct sb_diags *diags;
};

int sb_pattern_error(struct sb_diags *diags, const struct sb_node *at, struct sb_err *err)
{
	err->at = at->at;
	sb_node_path(at, err->path, sizeof(err->path));
	sb_diag_error(diags, err);
	return -1;
}

static int error_at(struct compile *c, const struct sb_node *at, const char *what, const char *hint)
{
	struct sb_err err;

	sb_fail(&err, SB_E_PATTERN, "%s", what);
	sb_hint(&err, "%s", hint);
	return sb_pattern_error(c->diags, at, &err);
}

static int expected(struct compile *c, const struct sb_node *at, const char *op, const char *what)
{
	struct sb_err err;

	sb_fail(&err, SB_E_PATTERN, "`%s` takes %s, found %s", op, what, sb_node_kind_name(at->kind));
	return sb_pattern_error(c->diags, at, &err);
}

/* ------------------------------------------------------------------------------------------------ strings */

static int need_string(struct compile *c, const struct sb_node *n, const char *op, struct sb_leaf *ret)
{
	if (n->kind != SB_NODE_STRING)
		return expected(c, n, op, "a string");
	ret->text = sb_arena_slice(c->arena, n->text);
	return 0;
}

static int literal_string(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	ret->kind = SB_LEAF_STRING;
	ret->text = sb_arena_slice(c->arena, n->text);
	ret->is_ip = sb_ip_parse(n->text, &ret->ip);
	return 0;
}

static int op_exactly(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	ret->kind = SB_LEAF_STRING;
	return need_string(c, n, "exactly", ret);
}

static int op_equals_ic(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	ret->kind = SB_LEAF_EQUALS_IC;
	if (need_string(c, n, "equals-ignore-case", ret) < 0)
		return -1;
	sb_fold_compile(c->arena, ret->text, &ret->fold);
	return 0;
}

/* `prefix` and `suffix`: a string, or {"equals-ignore-case": string}. */
static int affix(struct compile *c, const struct sb_node *n, const char *op, enum sb_leaf_kind plain, struct sb_leaf *ret)
{
	ret->kind = plain;
	if (n->kind != SB_NODE_MAP)
		return need_string(c, n, op, ret);
	if (n->n != 1 || !sb_node_get(n, "equals-ignore-case"))
		return error_at(c, n, "the only operator inside `prefix` and `suffix` is `equals-ignore-case`",
			"{\"equals-ignore-case\": \"value\"}");
	ret->kind = plain == SB_LEAF_PREFIX ? SB_LEAF_PREFIX_IC : SB_LEAF_SUFFIX_IC;
	if (need_string(c, n->item[0], "equals-ignore-case", ret) < 0)
		return -1;
	sb_fold_compile(c->arena, ret->text, &ret->fold);
	return 0;
}

static int op_prefix(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	return affix(c, n, "prefix", SB_LEAF_PREFIX, ret);
}

static int op_suffix(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	return affix(c, n, "suffix", SB_LEAF_SUFFIX, ret);
}

static int check_wildcard(struct compile *c, const struct sb_node *n)
{
	struct sb_slice s = n->text;
	struct sb_err err;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '*' && i + 1 < s.n && s.p[i + 1] == '*') {
			sb_fail(&err, SB_E_PATTERN, "wildcard: consecutive `*` at character %zu", i + 1);
			sb_hint(&err, "one `*` already stands for any run of characters");
			return sb_pattern_error(c->diags, n, &err);
		}
		if (s.p[i] != '\\')
			continue;
		if (i + 1 == s.n || (s.p[i + 1] != '*' && s.p[i + 1] != '\\')) {
			sb_fail(&err, SB_E_PATTERN, "wildcard: invalid escape at character %zu", i + 1);
			sb_hint(&err, "only \\* and \\\\ are escapes");
			return sb_pattern_error(c->diags, n, &err);
		}
		i++;
	}
	return 0;
}

static int op_wildcard(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	ret->kind = SB_LEAF_WILDCARD;
	if (need_string(c, n, "wildcard", ret) < 0)
		return -1;
	return check_wildcard(c, n);
}

static int op_cidr(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	struct sb_err err;

	ret->kind = SB_LEAF_CIDR;
	if (need_string(c, n, "cidr", ret) < 0)
		return -1;
	if (sb_cidr_parse(ret->text, &ret->cidr, &err) < 0)
		return sb_pattern_error(c->diags, n, &err);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ numbers */

static int literal_number(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	if (!sb_number_is_json(n->text))
		return error_at(c, n, "this is not a number as JSON writes it", "digits, as in 12, -0.5 or 1e6; quotes for a string");
	ret->kind = SB_LEAF_NUMBER;
	ret->text = sb_arena_slice(c->arena, n->text);
	ret->comparable = sb_number_comparable(n->text, &ret->number);
	return 0;
}

static int incomparable(struct compile *c, const struct sb_node *n, const char *op)
{
	struct sb_err err;

	sb_fail(&err, SB_E_PATTERN, "%s: `%.*s` cannot be compared without loss", op, SB_SLICE_ARG(n->text));
	sb_hint(&err, "at most 17 significant digits, and the shortest way to write the number");
	return sb_pattern_error(c->diags, n, &err);
}

static int numeric_operand(struct compile *c, const struct sb_node *n, double *ret)
{
	if (n->kind != SB_NODE_NUMBER)
		return expected(c, n, "numeric", "numbers to compare with");
	if (sb_number_is_json(n->text) && sb_number_comparable(n->text, ret))
		return 0;
	return incomparable(c, n, "numeric");
}

static bool is_word(const struct sb_node *n, const char *a, const char *b)
{
	return n->kind == SB_NODE_STRING && (sb_slice_eq_str(n->text, a) || sb_slice_eq_str(n->text, b));
}

static int numeric_bound(struct compile *c, const struct sb_node *op, const struct sb_node *value, struct sb_leaf *ret)
{
	bool low = is_word(op, ">", ">=");

	if (numeric_operand(c, value, low ? &ret->range.low : &ret->range.high) < 0)
		return -1;
	if (low) {
		ret->range.has_low = true;
		ret->range.low_open = op->text.n == 1;
	} else {
		ret->range.has_high = true;
		ret->range.high_open = op->text.n == 1;
	}
	return 0;
}

static const char numeric_forms[] = "[\"=\", n], [\">\", n], [\"<=\", n] or [\">\", low, \"<=\", high]";

static int numeric_range(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	if (!is_word(n->item[0], ">", ">=") && !is_word(n->item[0], "<", "<="))
		return error_at(c, n->item[0], "numeric: unknown comparison", "one of =, >, >=, <, <=");
	if (numeric_bound(c, n->item[0], n->item[1], ret) < 0)
		return -1;
	if (n->n == 2)
		return 0;
	if (!ret->range.has_low || n->n != 4 || !is_word(n->item[2], "<", "<="))
		return error_at(c, n, "numeric: a range is a lower bound, then an upper bound", numeric_forms);
	if (numeric_bound(c, n->item[2], n->item[3], ret) < 0)
		return -1;
	if (ret->range.low >= ret->range.high)
		return error_at(c, n, "numeric: the lower bound must be less than the upper bound",
			"a single value is written [\"=\", n]");
	return 0;
}

static int op_numeric(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	ret->kind = SB_LEAF_NUMERIC;
	if (n->kind != SB_NODE_LIST)
		return expected(c, n, "numeric", "a list like [\">\", 5]");
	if (n->n < 2)
		return error_at(c, n, "numeric: a comparison and a number are needed", numeric_forms);
	if (!is_word(n->item[0], "=", "="))
		return numeric_range(c, n, ret);
	if (n->n > 2)
		return error_at(c, n, "numeric: too many elements", numeric_forms);
	if (numeric_operand(c, n->item[1], &ret->range.low) < 0)
		return -1;
	ret->range.high = ret->range.low;
	ret->range.has_low = ret->range.has_high = true;
	return 0;
}

/* ------------------------------------------------------------------------------------------------ anything-but */

static int but_value(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	if (n->kind == SB_NODE_NUMBER) {
		if (literal_number(c, n, ret) < 0)
			return -1;
		return ret->comparable ? 0 : incomparable(c, n, "anything-but");
	}
	if (n->kind != SB_NODE_STRING)
		return expected(c, n, "anything-but", "strings or numbers");
	ret->kind = SB_LEAF_STRING; /* addresses are not canonicalised here */
	ret->text = sb_arena_slice(c->arena, n->text);
	return 0;
}

static int but_list(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	if (n->n == 0)
		return error_at(c, n, "anything-but: the list is empty", "it would match everything: use `exists: true`");
	ret->list = sb_arena_alloc(c->arena, n->n * sizeof(*ret->list));
	for (size_t i = 0; i < n->n; i++) {
		if (but_value(c, n->item[i], &ret->list[i]) < 0)
			return -1;
		if (n->item[i]->kind != n->item[0]->kind)
			return error_at(c, n->item[i], "anything-but: a list holds either strings or numbers, not both",
				"two alternatives would be an OR and match everything; use two rules' fields or one kind");
	}
	ret->n = (uint32_t)n->n;
	return 0;
}

typedef int compile_fn(struct compile *c, const struct sb_node *n, struct sb_leaf *ret);

static int but_plain_affix(struct compile *c, const struct sb_node *n, const char *op, enum sb_leaf_kind kind, struct sb_leaf *ret)
{
	ret->kind = kind;
	if (need_string(c, n, op, ret) < 0)
		return -1;
	if (ret->text.n == 0)
		return error_at(c, n, "anything-but: an empty prefix or suffix excludes every string", "leave it out");
	return 0;
}

static int but_prefix(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	return but_plain_affix(c, n, "prefix", SB_LEAF_PREFIX, ret);
}

static int but_suffix(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	return but_plain_affix(c, n, "suffix", SB_LEAF_SUFFIX, ret);
}

static const struct {
	const char *name;
	compile_fn *compile;
} but_operators[] = {
	{ "prefix", but_prefix }, { "suffix", but_suffix }, { "equals-ignore-case", op_equals_ic }, { "wildcard", op_wildcard },
};

static int but_operator(struct compile *c, const struct sb_node *n, compile_fn *compile, struct sb_leaf *ret)
{
	bool several = n->kind == SB_NODE_LIST;

	ret->n = several ? (uint32_t)n->n : 1;
	if (ret->n == 0)
		return error_at(c, n, "anything-but: the list is empty", "it would match everything: use `exists: true`");
	ret->list = sb_arena_alloc(c->arena, ret->n * sizeof(*ret->list));
	for (uint32_t i = 0; i < ret->n; i++)
		if (compile(c, several ? n->item[i] : n, &ret->list[i]) < 0)
			return -1;
	return 0;
}

static int op_anything_but(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	ret->kind = SB_LEAF_ANYTHING_BUT;
	if (n->kind == SB_NODE_LIST)
		return but_list(c, n, ret);
	if (n->kind != SB_NODE_MAP) {
		ret->list = sb_arena_alloc(c->arena, sizeof(*ret->list));
		ret->n = 1;
		return but_value(c, n, ret->list);
	}
	for (size_t i = 0; n->n == 1 && i < SB_LEN(but_operators); i++)
		if (sb_slice_eq_str(n->item[0]->key->text, but_operators[i].name))
			return but_operator(c, n->item[0], but_operators[i].compile, ret);
	return error_at(c, n, "anything-but: unknown operator inside", "one of prefix, suffix, equals-ignore-case, wildcard");
}

/* ------------------------------------------------------------------------------------------------ the table */

static int op_exists(struct compile *c, const struct sb_node *n, struct sb_leaf *ret)
{
	ret->kind = SB_LEAF_PRESENT;
	if (n->kind != SB_NODE_BOOL)
		return expected(c, n, "exists", "true or false");
	return 0;
}

static const struct {
	const char *name;
	compile_fn *compile;
} operators[] = {
	{ "exactly", op_exactly }, { "prefix", op_prefix }, { "suffix", op_suffix }, { "equals-ignore-case", op_equals_ic },
	{ "wildcard", op_wildcard }, { "numeric", op_numeric }, { "cidr", op_cidr }, { "exists", op_exists },
	{ "anything-but", op_anything_but },
};

bool sb_reserved_word(struct sb_slice s)
{
	static const char *const later[] = { "=", "<", "<=", ">", ">=", "regex", "not-wildcard", "not-equals-ignore-case",
		"date-after", "date-on-or-after", "date-before", "date-on-or-before", "in-date-range",
		"ip-address-in-range", "ip-address-not-in-range" };

	for (size_t i = 0; i < SB_LEN(operators); i++)
		if (sb_slice_eq_str(s, operators[i].name))
			return true;
	for (size_t i = 0; i < SB_LEN(later); i++)
		if (sb_slice_eq_str(s, later[i]))
			return true;
	return false;
}

static int unknown_operator(struct compile *c, const struct sb_node *item)
{
	const char *names[SB_LEN(operators)], *near;
	struct sb_err err;

	for (size_t i = 0; i < SB_LEN(operators); i++)
		names[i] = operators[i].name;
	near = sb_nearest(item->key->text.p, names, SB_LEN(names));
	sb_fail(&err, SB_E_PATTERN, "unknown operator `%.*s`", SB_SLICE_ARG(item->key->text));
	if (near)
		sb_hint(&err, "did you mean `%s`?", near);
	err.at = item->key->at;
	sb_node_path(item, err.path, sizeof(err.path));
	sb_diag_error(c->diags, &err);
	return -1;
}

static int compile_operator(struct compile *c, const struct sb_node *n, struct sb_leaf *ret, bool *ret_absent)
{
	const struct sb_node *item;

	if (n->n == 0)
		return error_at(c, n, "an operator is missing inside {}", "for example {prefix: \"a\"}");
	if (n->n > 1)
		return error_at(c, n, "one operator at a time stands in {}", "alternatives are separate elements of the list");
	item = n->item[0];
	for (size_t i = 0; i < SB_LEN(operators); i++)
		if (sb_slice_eq_str(item->key->text, operators[i].name)) {
			if (operators[i].compile(c, item, ret) < 0)
				return -1;
			*ret_absent = ret->kind == SB_LEAF_PRESENT && !item->boolean;
			return 0;
		}
	return unknown_operator(c, item);
}

int sb_leaf_compile(struct sb_arena *a, const struct sb_node *n, struct sb_leaf *ret, bool *ret_absent, struct sb_diags *diags)
{
	struct compile c = { a, diags };

	*ret_absent = false;
	switch (n->kind) {
	case SB_NODE_STRING:
		return literal_string(&c, n, ret);
	case SB_NODE_NUMBER:
		return literal_number(&c, n, ret);
	case SB_NODE_BOOL:
		ret->kind = n->boolean ? SB_LEAF_TRUE : SB_LEAF_FALSE;
		return 0;
	case SB_NODE_NULL:
		ret->kind = SB_LEAF_NULL;
		return 0;
	case SB_NODE_LIST:
		return error_at(&c, n, "a list cannot stand inside a list of values", "write the values side by side");
	case SB_NODE_MAP:
		return compile_operator(&c, n, ret, ret_absent);
	}
	return -1;
}

/* ------------------------------------------------------------------------------------------------ meaning */

/* Greedy from left to right: the last `*` takes back one more byte whenever what follows it does not fit. */
bool sb_wildcard_match(struct sb_slice pattern, struct sb_slice s)
{
	size_t p = 0, i = 0, star = SIZE_MAX, retry = 0;

	while (i < s.n) {
		size_t escaped = p < pattern.n && pattern.p[p] == '\\';

		if (p < pattern.n && pattern.p[p] == '*') {
			star = p++;
			retry = i;
		} else if (p < pattern.n && pattern.p[p + escaped] == s.p[i]) {
			p += escaped + 1;
			i++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			i = ++retry;
		} else {
			return false;
		}
	}
	return p == pattern.n || (pattern.p[p] == '*' && p + 1 == pattern.n);
}

static bool string_holds(const struct sb_leaf *l, struct sb_slice s)
{
	struct sb_ip ip;

	if (sb_slice_eq(l->text, s))
		return true;
	return l->is_ip && sb_ip_parse(s, &ip) && sb_ip_equal(&ip, &l->ip);
}

static bool number_holds(const struct sb_leaf *l, struct sb_slice s)
{
	double v;

	if (sb_slice_eq(l->text, s))
		return true;
	return l->comparable && sb_number_comparable(s, &v) && v == l->number;
}

static bool numeric_holds(const struct sb_leaf *l, struct sb_slice s)
{
	double v;

	if (!sb_number_comparable(s, &v))
		return false;
	if (l->range.has_low && (l->range.low_open ? v <= l->range.low : v < l->range.low))
		return false;
	return !(l->range.has_high && (l->range.high_open ? v >= l->range.high : v > l->range.high));
}

static bool starts(struct sb_slice s, struct sb_slice with)
{
	return s.n >= with.n && memcmp(s.p, with.p, with.n) == 0;
}

static bool ends(struct sb_slice s, struct sb_slice with)
{
	return s.n >= with.n && memcmp(s.p + s.n - with.n, with.p, with.n) == 0;
}

static bool none_holds(const struct sb_leaf *l, enum sb_json_kind kind, struct sb_slice s)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (sb_leaf_holds(&l->list[i], kind, s))
			return false;
	return true;
}

bool sb_leaf_holds(const struct sb_leaf *l, enum sb_json_kind kind, struct sb_slice s)
{
	bool str = kind == SB_JSON_STRING, num = kind == SB_JSON_NUMBER;
	struct sb_ip ip;

	switch (l->kind) {
	case SB_LEAF_STRING:       return str && string_holds(l, s);
	case SB_LEAF_NUMBER:       return num && number_holds(l, s);
	case SB_LEAF_TRUE:         return kind == SB_JSON_TRUE;
	case SB_LEAF_FALSE:        return kind == SB_JSON_FALSE;
	case SB_LEAF_NULL:         return kind == SB_JSON_NULL;
	case SB_LEAF_PREFIX:       return str && starts(s, l->text);
	case SB_LEAF_SUFFIX:       return str && ends(s, l->text);
	case SB_LEAF_PREFIX_IC:    return str && sb_fold_prefix(&l->fold, s);
	case SB_LEAF_SUFFIX_IC:    return str && sb_fold_suffix(&l->fold, s);
	case SB_LEAF_EQUALS_IC:    return str && sb_fold_equal(&l->fold, s);
	case SB_LEAF_WILDCARD:     return str && sb_wildcard_match(l->text, s);
	case SB_LEAF_NUMERIC:      return num && numeric_holds(l, s);
	case SB_LEAF_CIDR:         return str && sb_ip_parse(s, &ip) && sb_cidr_contains(&l->cidr, &ip);
	case SB_LEAF_PRESENT:      return true;
	case SB_LEAF_ANYTHING_BUT: return none_holds(l, kind, s);
	}
	return false;
}
