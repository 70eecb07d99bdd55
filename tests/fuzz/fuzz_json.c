/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdlib.h>

#include "broker/base/event.h"
#include "broker/base/json.h"

/*
 * The scanner against jansson, and against itself:
 *   - whatever jansson accepts, we accept; what it refuses, we refuse, but for what it cannot hold (numbers out of range,
 *     NUL in a name), its own depth limit, and a raw NUL, which it takes for the end;
 *   - a tape is whole: every node lies inside its parent, subtrees end where `next` says;
 *   - a fault lies inside the text, and an accepted text can become an event whose tape is that of a fresh scan.
 */
#define CHECK(x) ((x) ? (void)0 : abort())

static bool refused_for_what_it_cannot_hold(const json_error_t *e)
{
	enum json_error_code code = json_error_code(e);

	return code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
	       code == json_error_null_character || code == json_error_stack_overflow;
}

static void check_tape(const struct sb_tape *t, size_t n)
{
	for (uint32_t i = 0; i < t->n; i++) {
		const struct sb_json_node *x = &t->node[i];

		CHECK(x->next > i && x->next <= t->n);
		CHECK((size_t)x->off + x->len <= n);
		if (x->kind < SB_JSON_ARRAY)
			CHECK(x->next == i + 1);
		for (uint32_t k = i + 1; k < x->next; k = t->node[k].next) {
			CHECK(t->node[k].depth == x->depth + 1);
			CHECK(t->node[k].off > x->off && t->node[k].off + t->node[k].len < x->off + x->len);
			CHECK(t->node[k].next <= x->next);
		}
		if (x->kind == SB_JSON_STRING) {
			struct sb_buf plain = SB_BUF(n + 1);

			CHECK(sb_json_unescape(sb_json_text(t, i), &plain) == 0);
			CHECK(sb_json_string_eq(t, i, sb_buf_slice(&plain)));
			CHECK(sb_utf8_check(plain.p, plain.len) == plain.len);
			sb_buf_done(&plain);
		}
	}
}

static void check_event(const struct sb_tape *t)
{
	struct sb_event_spec spec = { .tape = t, .source = { SB_SLICE("f\"z"), false } };
	struct sb_tape_buf again = { 0 };
	struct sb_json_limits lim = { 1001, 2u << 20 };
	struct sb_json_fault fault;
	struct sb_event *ev;
	struct sb_err err;

	CHECK(sb_event_build(&spec, 64u << 20, &ev, &err) == 0);
	CHECK(sb_json_scan(ev->json, ev->n, &lim, &again, &fault) == 0);
	CHECK(again.n == ev->tape.n && memcmp(again.node, ev->tape.node, again.n * sizeof(*again.node)) == 0);
	sb_tape_buf_done(&again);
	sb_event_unref(ev);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *text = (const char *)data;
	static struct sb_tape_buf buf;
	struct sb_json_fault fault;
	json_error_t error;
	json_t *theirs = json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	int ours = sb_json_scan(text, n, &SB_JSON_LIMITS, &buf, &fault);
	bool nul = n && memchr(text, '\0', n);

	if (ours == 0) {
		struct sb_tape t = sb_tape_of(text, &buf);

		CHECK(!nul);
		CHECK(theirs || refused_for_what_it_cannot_hold(&error));
		check_tape(&t, n);
		check_event(&t);
	} else {
		CHECK(fault.off <= n && fault.msg);
		CHECK(!theirs || nul || fault.code == SB_E_LIMIT);
	}
	json_decref(theirs);
	return 0;
}
