/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_NODE_H
#define SB_BASE_NODE_H

#include <stdbool.h>
#include <stddef.h>

#include "broker/base/arena.h"
#include "broker/base/diag.h"
#include "broker/base/err.h"

/*
 * A tree of what the user wrote, with the place of every node: from YAML (libyaml's events) or from JSON (our scanner).
 * Configuration and event patterns are read from it. Scalars keep their source text, so that no number goes through a
 * double on the way to a matcher.
 *
 * YAML is read by its 1.2 core schema only: true/false/null/numbers are typed, `no`, `on` and `1_000` are strings.
 * Refused, each with its place: duplicate keys, tags, merge keys, anchors beyond 64 aliases or 100,000 visited nodes,
 * depth over 64, files over 4 MiB, tabs as indentation.
 */
enum sb_node_kind {
	SB_NODE_NULL, SB_NODE_BOOL, SB_NODE_NUMBER, SB_NODE_STRING, SB_NODE_LIST, SB_NODE_MAP,
};

struct sb_node {
	enum sb_node_kind kind;
	bool boolean;
	bool flow_json;         /* string in YAML double quotes or flow style: libyaml has already touched its escapes */
	unsigned block_col;     /* literal block scalar (`|`): the column where its lines begin; 0: something else */
	struct sb_loc at;       /* of the value */
	struct sb_slice text;   /* scalar: decoded source text, NUL behind it; "" for containers */
	struct sb_node *parent; /* NULL: root */
	struct sb_node *key;    /* member of a map: its key, a STRING node with its own place; else NULL */
	struct sb_node **item;  /* list elements, or a map's values, in order */
	size_t n;
};

struct sb_doc {
	struct sb_arena arena;
	const char *file; /* lives in the arena */
	struct sb_node *root;
};

const char *sb_node_kind_name(enum sb_node_kind k); /* "a string", "a number", "a list" ..., for "expected %s, found %s" */
struct sb_node *sb_node_get(const struct sb_node *map, const char *key); /* NULL: absent, or not a map */
/* "rules[0].pattern.detail.amount[0]" */
void sb_node_path(const struct sb_node *n, char *out, size_t size);

/* Same kinds, texts and keys in the same order; places do not count. NULL equals NULL. */
bool sb_node_equal(const struct sb_node *a, const struct sb_node *b);
/* Give a plain scalar's text its kind, by YAML's core schema. */
void sb_node_resolve(struct sb_node *n);

/*
 * Read a file's text into a tree; 0, or -1 with the errors added to `diags`. `file` is the name shown in places. At -1
 * ret->root may still be there: the tree of a text whose only errors are keys that stand twice, tags and the like, so that
 * its other errors can be told in the same run. *ret is to be sb_doc_done in either case.
 */
int sb_yaml_parse(const char *file, struct sb_slice text, struct sb_doc *ret, struct sb_diags *diags);
int sb_json_parse_doc(const char *file, struct sb_slice text, struct sb_doc *ret, struct sb_diags *diags);
/* JSON in a string of the file, as in `pattern: |`; places are those of the file. */
int sb_json_parse_node(const struct sb_node *string, struct sb_doc *ret, struct sb_diags *diags);
/* By the ending of its name: .json is JSON, all else YAML. */
int sb_doc_load(const char *file, struct sb_doc *ret, struct sb_diags *diags);
void sb_doc_done(struct sb_doc *d);

#endif
