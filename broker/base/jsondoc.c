/* SPDX-License-Identifier: Apache-2.0 */
/* JSON text as a node tree: scanned once by the event path's scanner, then walked in text order. */
#include "broker/base/node.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/json.h"
#include "nodekeys.h"

#define FILE_BYTES_MAX (4u << 20)

struct walk {
	struct sb_doc *doc;
	struct sb_diags *diags;
	struct sb_tape tape;
	size_t text_n;
	/* places are found by going on from the last one: nodes come in text order */
	size_t at;
	unsigned line, col;
	const struct sb_node *within; /* the string it stands in; NULL: a file of its own */
	struct sb_buf scratch;
	bool failed;
};

/* From a place in the text to one in the file. */
static void shift(const struct sb_node *within, struct sb_loc *at)
{
	if (!within)
		return;
	if (!within->block_col) { /* quotes and folds move what they hold: only the string's own place is sure */
		*at = within->at;
		return;
	}
	at->line += within->at.line;
	at->col += within->block_col - 1;
}

static struct sb_loc place(struct walk *w, size_t off, size_t len)
{
	struct sb_loc at;

	for (; w->at < off; w->at++) {
		if (w->tape.text[w->at] == '\n') {
			w->line++;
			w->col = 1;
		} else if (((unsigned char)w->tape.text[w->at] & 0xc0) != 0x80) {
			w->col++;
		}
	}
	at = (struct sb_loc){ w->doc->file, w->line, w->col, (unsigned)len };
	shift(w->within, &at);
	return at;
}

static struct sb_slice decoded(struct walk *w, uint32_t i)
{
	sb_buf_clear(&w->scratch);
	sb_json_unescape(sb_json_text(&w->tape, i), &w->scratch);
	return sb_arena_slice(&w->doc->arena, sb_buf_slice(&w->scratch));
}

static struct sb_node *scalar(struct walk *w, uint32_t i)
{
	static const enum sb_node_kind kinds[] = { SB_NODE_NULL, SB_NODE_BOOL, SB_NODE_BOOL, SB_NODE_NUMBER,
		SB_NODE_STRING, SB_NODE_LIST, SB_NODE_MAP };
	struct sb_node *n = sb_arena_alloc(&w->doc->arena, sizeof(*n));
	struct sb_slice raw = sb_json_raw(&w->tape, i);
	enum sb_json_kind kind = (enum sb_json_kind)w->tape.node[i].kind;

	n->kind = kinds[kind];
	n->boolean = kind == SB_JSON_TRUE;
	n->at = place(w, (size_t)(raw.p - w->tape.text), kind >= SB_JSON_ARRAY ? 1 : raw.n);
	n->text = kind == SB_JSON_STRING  ? decoded(w, i)
		  : kind >= SB_JSON_ARRAY ? SB_SLICE("")
					  : sb_arena_slice(&w->doc->arena, raw);
	return n;
}

static size_t count_children(const struct sb_tape *t, uint32_t i)
{
	size_t n = 0;

	for (uint32_t k = i + 1; k < t->node[i].next; k = t->node[k].next)
		n += !(t->node[k].flags & SB_JSON_KEY);
	return n;
}

static void check_key(struct walk *w, struct sb_node_keys *keys, const struct sb_node *map, struct sb_node *key)
{
	const struct sb_node *first = sb_node_keys_add(keys, map->item, map->n, key);

	if (!first)
		return;
	sb_node_key_twice(w->diags, key, first);
	w->failed = true;
}

static struct sb_node *build(struct walk *w, uint32_t i)
{
	struct sb_node *n = scalar(w, i);
	uint32_t end = w->tape.node[i].next;
	struct sb_node_keys keys = { 0 };

	if (w->tape.node[i].kind < SB_JSON_ARRAY)
		return n;
	n->item = sb_arena_alloc(&w->doc->arena, count_children(&w->tape, i) * sizeof(struct sb_node *));
	for (uint32_t k = i + 1; k < end; k = w->tape.node[k].next) {
		struct sb_node *key = NULL, *child;

		if (w->tape.node[k].flags & SB_JSON_KEY) {
			key = scalar(w, k++);
			key->parent = n;
			check_key(w, &keys, n, key);
		}
		child = build(w, k);
		child->parent = n;
		child->key = key;
		n->item[n->n++] = child;
	}
	sb_map_done(&keys.map);
	return n;
}

static int not_json(struct walk *w, const struct sb_json_fault *fault)
{
	struct sb_loc at = { .file = w->doc->file, .len = 1 };
	struct sb_err err;

	sb_json_place(w->tape.text, w->text_n, fault->off, &at);
	shift(w->within, &at);
	sb_fail_at(&err, fault->code, &at, "this is not valid JSON: %s", fault->msg);
	sb_diag_error(w->diags, &err);
	return -1;
}

static int parse(const char *file, struct sb_slice text, const struct sb_node *within, struct sb_doc *ret,
	struct sb_diags *diags)
{
	struct walk w = { .doc = ret, .diags = diags, .text_n = text.n, .within = within, .line = 1, .col = 1 };
	struct sb_json_limits lim = { .depth = 64, .nodes = 1u << 20 };
	struct sb_tape_buf tape = { 0 };
	struct sb_json_fault fault;
	char *padded;

	*ret = (struct sb_doc){ 0 };
	padded = sb_arena_alloc(&ret->arena, text.n + SB_JSON_PAD);
	if (text.n)
		memcpy(padded, text.p, text.n);
	w.tape.text = padded;
	ret->file = sb_arena_strdup(&ret->arena, file);
	if (sb_json_scan(padded, text.n, &lim, &tape, &fault) < 0) {
		not_json(&w, &fault);
		sb_tape_buf_done(&tape);
		sb_doc_done(ret);
		return -1;
	}
	w.tape = sb_tape_of(padded, &tape);
	sb_buf_init(&w.scratch, text.n + 1);
	ret->root = build(&w, 0);
	sb_buf_done(&w.scratch);
	sb_tape_buf_done(&tape);
	return w.failed ? -1 : 0;
}

int sb_json_parse_doc(const char *file, struct sb_slice text, struct sb_doc *ret, struct sb_diags *diags)
{
	struct sb_err err;

	if (text.n <= FILE_BYTES_MAX)
		return parse(file, text, NULL, ret, diags);
	*ret = (struct sb_doc){ 0 };
	sb_fail(&err, SB_E_LIMIT, "'%s' is larger than 4 MiB", file);
	sb_diag_error(diags, &err);
	return -1;
}

int sb_json_parse_node(const struct sb_node *string, struct sb_doc *ret, struct sb_diags *diags)
{
	return parse(string->at.file ? string->at.file : "", string->text, string, ret, diags);
}
