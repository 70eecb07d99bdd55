/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_JSON_H
#define SB_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/buf.h"
#include "broker/base/err.h"
#include "broker/base/mem.h"

/*
 * The event path's JSON: one strict pass over the text (RFC 8259, UTF-8 validated, surrogate pairs checked, nothing
 * after the value) leaves a flat tape of nodes that point into it. Nothing is copied, converted or parsed again.
 * The text must stay where it is while the tape is used, with SB_JSON_PAD readable bytes behind it (a vector scanner
 * over-reads; the scalar one never looks at them).
 */
#define SB_JSON_PAD 64

enum sb_json_kind {
	SB_JSON_NULL, SB_JSON_FALSE, SB_JSON_TRUE, SB_JSON_NUMBER, SB_JSON_STRING, SB_JSON_ARRAY, SB_JSON_OBJECT,
};

enum {
	SB_JSON_ESCAPED = 1, /* string: contains a backslash, must be decoded to be compared */
	SB_JSON_KEY = 2,     /* string: a member's name; its value is the next node */
	SB_JSON_INTEGER = 4, /* number: only digits, perhaps a minus */
};

/*
 * Nodes stand in text order. An array is followed by its elements, an object by key, value, key, value ...; `next` is the
 * index just behind the node's whole subtree, so that skipping is one addition. Duplicate keys all stand on the tape;
 * sb_json_member gives the last one, which is the one that counts.
 */
struct sb_json_node {
	uint32_t off;  /* string: first byte behind the quote; number: first byte; array, object: the opening bracket */
	uint32_t len;  /* string: bytes between the quotes; number: bytes; array, object: up to and with the closing bracket */
	uint32_t next;
	uint8_t kind, flags;
	uint16_t depth; /* root: 0 */
};

struct sb_tape {
	const char *text;
	const struct sb_json_node *node; /* node[0] is the root */
	uint32_t n;
};

/* A reusable tape: scratch memory that is kept between scans. Zero-initialise, sb_tape_buf_done at the end. */
struct sb_tape_buf {
	struct sb_json_node *node;
	uint32_t n, cap;
};
void sb_tape_buf_done(struct sb_tape_buf *t);

struct sb_json_limits {
	uint32_t depth; /* nested arrays and objects */
	uint32_t nodes;
};
#define SB_JSON_LIMITS ((struct sb_json_limits){ .depth = 1000, .nodes = 1u << 20 })

/*
 * Why a scan stopped. `msg` is a constant phrase: "unexpected end", "invalid UTF-8", "nested deeper than the limit" ...
 * Text that is good as far as it goes always ends in "unexpected end", at its length.
 */
struct sb_json_fault {
	size_t off; /* byte offset of the offending byte; of the first one of a bad character or surrogate pair */
	const char *msg;
	enum sb_code code; /* SB_E_SYNTAX or SB_E_LIMIT */
};

/* Scan one whole text. 0, or -1 with *fault. The text may be up to 2 GiB - 1. */
int sb_json_scan(const char *text, size_t n, const struct sb_json_limits *lim, struct sb_tape_buf *out,
	struct sb_json_fault *fault);
/*
 * Scan the value that begins at text[from] (leading white space skipped) and stop behind it: for NDJSON and concatenated
 * values. *ret_end is the offset just behind the value. Offsets on the tape count from `text`.
 */
int sb_json_scan_at(const char *text, size_t n, size_t from, const struct sb_json_limits *lim, struct sb_tape_buf *out,
	size_t *ret_end, struct sb_json_fault *fault);

static inline struct sb_tape sb_tape_of(const char *text, const struct sb_tape_buf *t)
{
	return (struct sb_tape){ text, t->node, t->n };
}

/* The text of a node: a string's bytes between its quotes (still escaped), else the value as it stands. */
static inline struct sb_slice sb_json_text(const struct sb_tape *t, uint32_t i)
{
	return sb_slice(t->text + t->node[i].off, t->node[i].len);
}

/* The value as it stands in the text, a string with its quotes. */
struct sb_slice sb_json_raw(const struct sb_tape *t, uint32_t i);

/* Compare a string node, decoded, with plain bytes. No allocation. */
bool sb_json_string_eq(const struct sb_tape *t, uint32_t i, struct sb_slice plain);
/* The value of the last member of object `i` with this (plain) name; UINT32_MAX: none. */
uint32_t sb_json_member(const struct sb_tape *t, uint32_t i, struct sb_slice name);
/* Append the decoded bytes of a string's escaped text; -1: the buffer's cap. Escapes are known to be valid. */
int sb_json_unescape(struct sb_slice escaped, struct sb_buf *out);
/* Append plain UTF-8 as a JSON string with quotes; `"`, `\` and control characters are escaped, nothing else. */
int sb_json_add_string(struct sb_buf *out, struct sb_slice plain);
/* The same with the base64 of any bytes. */
int sb_json_add_base64(struct sb_buf *out, struct sb_slice bytes);
/* First byte offset that is not valid UTF-8, or n when all of it is. */
size_t sb_utf8_check(const char *p, size_t n);
/* One code point; gives its bytes, 1 to 4. */
unsigned sb_utf8_put(uint32_t c, char out[4]);

/* Line and column (from 1, in characters) of a byte offset, for messages about text that a person wrote. */
void sb_json_place(const char *text, size_t n, size_t off, struct sb_loc *ret);

#endif
