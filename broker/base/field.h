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
	int64_t min, max;              /* INT, MS, BYTES: range, STR: length, STRS: entries; both 0: no check. max 0: none */
	const char *const *names;      /* ENUM: the words, NULL behind the last */
	const struct sb_field *sub;    /* OBJECT. ENUM: a map may stand there instead; the value is then the number of words, offsets are the outer struct's */
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
	/* For "it belongs under" and "it belongs one level up"; either may be NULL: */
	const struct sb_field *outer; /* rows of the level above */
	const struct sb_field *inner; /* one row, whose `sub` somebody else decodes under its `key` */
	const struct sb_field *rows;  /* the decoder's own */
};

/*
 * Decode a map into a struct: defaults first, then each member by its row; unknown keys, wrong kinds, bad ranges and
 * missing required keys are all reported, with the nearest key. `also` lists further keys that somebody else decodes
 * (NULL-terminated, may be NULL). Returns 0, or -1 when it added errors. Nothing behind a key counts as an empty map.
 *
 * BOOL, INT, MS, BYTES and ENUM may also come from a reference: `max: ${env:MAX}` is read as what the variable holds.
 * With no_env such a value keeps its default.
 */
int sb_fields_decode(struct sb_decode *d, const struct sb_field *rows, const struct sb_node *map, void *ret,
	const char *const *also);
/* Only the defaults; a default FILE is then relative to d->dir. */
void sb_fields_default(struct sb_decode *d, const struct sb_field *rows, void *ret);

/* What differs between two structs of one table: fn for each such row, with its key from `prefix` on ("retry.base"). */
typedef void sb_field_differs(void *arg, const struct sb_field *f, const char *path);
void sb_fields_compare(const struct sb_field *rows, const void *a, const void *b, const char *prefix, sb_field_differs *fn, void *arg);
bool sb_fields_equal(const struct sb_field *rows, const void *a, const void *b);

/* Scalar readers, also for callers of NODE and MAP rows. 0, or -1 with an error that has its place. */
int sb_parse_ms(const char *s, uint64_t *ret);    /* "250ms", "5s", "1h30m", "14d"; a bare number is refused, except 0 */
int sb_parse_bytes(const char *s, uint64_t *ret); /* "64KiB", "1MiB", "500" (bytes), "1GB" */
int sb_node_string(struct sb_decode *d, const struct sb_node *n, const char **ret); /* with interpolation */

/* A table as Markdown: one row a key, nested ones with their path. */
void sb_fields_docs(const struct sb_field *rows, struct sb_buf *out);
/*
 * As JSON Schema (draft-07): the members of a "properties" object, without its braces, so that a caller can add more; the
 * value of "required"; or all members of a schema for the whole map.
 */
void sb_fields_schema(const struct sb_field *rows, struct sb_buf *out);
void sb_fields_required(const struct sb_field *rows, struct sb_buf *out);
void sb_fields_object(const struct sb_field *rows, struct sb_buf *out);

#endif
