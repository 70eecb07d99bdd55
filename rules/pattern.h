/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_RULES_PATTERN_H
#define SB_RULES_PATTERN_H

#include "rules/fold.h"
#include "rules/ip.h"
#include "rules/rules.h"

/*
 * A compiled pattern. Every leaf is a field: a dotted path and alternatives, one of which must hold. Fields and `$or` groups
 * of one map stand side by side and must all hold; a group holds when one of its branches does. The tree is kept as written.
 */
#define SB_PATTERN_FIELDS_MAX 256
#define SB_PATTERN_COMBINATIONS_MAX 1000

enum sb_leaf_kind {
	SB_LEAF_STRING, SB_LEAF_NUMBER, SB_LEAF_TRUE, SB_LEAF_FALSE, SB_LEAF_NULL, /* literals */
	SB_LEAF_PREFIX, SB_LEAF_SUFFIX, SB_LEAF_PREFIX_IC, SB_LEAF_SUFFIX_IC, SB_LEAF_EQUALS_IC, SB_LEAF_WILDCARD,
	SB_LEAF_NUMERIC, SB_LEAF_CIDR, SB_LEAF_PRESENT, SB_LEAF_ANYTHING_BUT,
};

struct sb_leaf {
	enum sb_leaf_kind kind;
	struct sb_slice text; /* string operators: value; WILDCARD: with escapes; NUMBER: as written */
	bool comparable;      /* NUMBER: `number` is its value */
	double number;
	bool is_ip;           /* STRING: `ip` is its value */
	struct sb_ip ip;
	struct sb_cidr cidr;
	struct sb_fold fold;
	struct {
		bool has_low, has_high, low_open, high_open;
		double low, high;
	} range;
	struct sb_leaf *list; /* ANYTHING_BUT: none of these may hold */
	uint32_t n;
};

struct sb_field_pattern {
	struct sb_slice path; /* "detail.amount" */
	struct sb_leaf *leaf; /* alternatives, without `exists: false` */
	uint32_t n;
	bool absent;          /* `exists: false` is one of the alternatives */
};

struct sb_or_group;
struct sb_pattern {
	struct sb_field_pattern *field;
	uint32_t n_fields;
	struct sb_or_group *group;
	uint32_t n_groups;
};

struct sb_or_group {
	struct sb_pattern *branch;
	uint32_t n;
};

/* leaf.c: the operators, one row each. Compile one element of a leaf's list; *ret_absent: it is `exists: false`. */
int sb_leaf_compile(struct sb_arena *a, const struct sb_node *n, struct sb_leaf *ret, bool *ret_absent, struct sb_diags *diags);
/* Does a scalar hold? `s` is a string's decoded value, else the raw text. */
bool sb_leaf_holds(const struct sb_leaf *l, enum sb_json_kind kind, struct sb_slice s);
bool sb_wildcard_match(struct sb_slice pattern, struct sb_slice s);
/* A word that no field inside `$or` may be named, however deep: today's operators, and names kept for later ones. */
bool sb_reserved_word(struct sb_slice s);

/* Reports with place and path; returns -1. */
int sb_pattern_error(struct sb_diags *diags, const struct sb_node *at, struct sb_err *err);

#endif
