/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_FIELD_H
#define SB_BASE_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/diag.h"
#include "broker/base/clock.h"
#include "broker/base/node.h"

/*
 * Configuration is a table, not a parser: one row gives the key, type, range, default, documentation and place in a
 * struct. Decoding, the JSON Schema and docs/config.md all come from the rows. A table ends with a zero row.
 *
 * Destination types:  STR, SECRET, FILE: const char * (arena)   BOOL: bool   INT: int64_t   MS: uint64_t milliseconds
 *   BYTES: uint64_t   ENUM: int (index into names)   STRS: struct sb_strs   NODE: const struct sb_node *
 *   TEMPLATE: struct sb_template   PATH: struct sb_path   OBJECT: the nested struct of `sub`
 *   MAP: struct sb_field_map (name -> node, decoded by the caller)   ENV: struct sb_strs of "NAME=value"
 */
enum sb_field_type {
	SB_T_STR, SB_T_SECRET, SB_T_FILE, SB_T_BOOL, SB_T_INT, SB_T_MS, SB_T_BYTES, SB_T_ENUM, SB_T_STRS, SB_T_SECRETS,
	SB_T_NODE, SB_T_TEMPLATE, SB_T_PATH, SB_T_OBJECT, SB_T_MAP, SB_T_ENV,
};

struct sb_strs {
	const char **v; /* NULL behind the last */
	size_t n;
};

struct sb_field_map {
	const struct sb_node *node; /* the map; NULL: absent. Walk node->item, names are item->key->text */
};

struct sb_field {
	const char *key;
	enum sb_field_type type;
	size_t offset;
	bool required;
	const char *dflt;              /* as the user would write it; NULL: zero value */
	int64_t min, max;              /* INT, MS, BYTES: range, STR: length; both 0: no check */
	const char *const *names;      /* ENUM: the words, NULL behind the last */
	const struct sb_field *sub;    /* OBJECT */
	const char *doc;               /* one sentence */
	bool live;                     /* a reload may change it */
};

#define SB_F(T, st, member, ...) { .key = #member, .type = SB_T_##T, .offset = offsetof(st, member), ##__VA_ARGS__ }
#define SB_F_KEY(T, st, member, name, ...)                                                               \
	{ .key = (name), .type = SB_T_##T, .offset = offsetof(st, member), ##__VA_ARGS__ }

/* How strings are completed: `${env:X}`, `${env:X:-default}`, `${file:path}`, `$${` for a literal `${`. */
struct sb_decode {
	struct sb_arena *arena; /* everything decoded lives here */
	struct sb_diags *diags;
	const char *dir;        /* relative paths resolve against the file they stand in; NULL: by each node's own file */
	bool no_env;            /* check --no-env: skip the look-up, keep the reference text */
	const char *(*getenv)(const char *name); /* NULL: the process's */
};

/*
 * Decode a map into a struct: defaults first, then each member by its row; unknown keys, wrong kinds, bad ranges and
 * missing required keys are all reported, with the nearest key. `also` lists further keys that somebody else decodes
 * (NULL-terminated, may be NULL). Returns 0, or -1 when it added errors.
 */
int sb_fields_decode(struct sb_decode *d, const struct sb_field *rows, const struct sb_node *map, void *ret,
	const char *const *also);
/* Only the defaults. */
void sb_fields_default(struct sb_decode *d, const struct sb_field *rows, void *ret);

/* Scalar readers, also for callers of NODE and MAP rows. 0, or -1 with an error that has its place. */
int sb_parse_ms(const char *s, uint64_t *ret);    /* "250ms", "5s", "1h30m", "14d"; a bare number is refused, except 0 */
int sb_parse_bytes(const char *s, uint64_t *ret); /* "64KiB", "1MiB", "500" (bytes), "1GB" */
int sb_node_string(struct sb_decode *d, const struct sb_node *n, const char **ret); /* with interpolation */

/* Print docs (Markdown table rows) or a JSON Schema (draft-07) "properties" object for a table. */
void sb_fields_docs(const struct sb_field *rows, struct sb_buf *out);
void sb_fields_schema(const struct sb_field *rows, struct sb_buf *out);

#endif
