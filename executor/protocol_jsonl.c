/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <inttypes.h>
#include <stdio.h>

/*
 * in:  {"id":"<delivery id>","attempt":1,"deadline_ms":1790000000000,"event":{...}}
 * out: {"ready":true}, once
 *      {"id":"...","ok":true,"result":...}
 *      {"id":"...","ok":false,"error":"...","retry":false}
 * Unknown members are ignored, so that a worker may say more than today's daemon reads.
 */

#define HEAD_MAX 96 /* what stands before the event, the id not counted */

/* Raw line ends in JSON can only be white space between values: blanks mean the same. */
static void blank_line_ends(char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] == '\n' || p[i] == '\r')
			p[i] = ' ';
}

static int encode(const struct sb_item *it, uint64_t deadline_wall_ms, struct sb_buf *out)
{
	/* the id is a UUID and a number: nothing in it needs escaping */
	size_t room = it->delivery_id.n + HEAD_MAX;
	char *p = sb_buf_reserve(out, room + it->input.n + 2);
	int n;

	if (!p)
		return -1;
	n = snprintf(p, room,
		"{\"id\":\"%.*s\",\"attempt\":%u,\"deadline_ms\":%" PRIu64 ",\"event\":", SB_SLICE_ARG(it->delivery_id),
		it->attempt, deadline_wall_ms);
	memcpy(p + n, it->input.p, it->input.n);
	if (it->input_newlines)
		blank_line_ends(p + n, it->input.n);
	p += (size_t)n + it->input.n;
	*p++ = '}';
	*p++ = '\n';
	out->len = (size_t)(p - out->p);
	return 0;
}

const struct sb_protocol sb_protocol_jsonl = { .channel = true, .encode = encode };

static int refuse(const char **why, const char *phrase)
{
	*why = phrase;
	return -1;
}

static enum sb_json_kind kind_of(const struct sb_tape *t, uint32_t i)
{
	return i == UINT32_MAX ? SB_JSON_NULL : (enum sb_json_kind)t->node[i].kind;
}

/* The error as text: a string decoded, anything else as it stands. */
static struct sb_slice error_text(const struct sb_tape *t, uint32_t i, struct sb_buf *scratch)
{
	struct sb_slice s;

	if (i == UINT32_MAX)
		return sb_slice(NULL, 0);
	s = sb_json_text(t, i);
	if (!(t->node[i].flags & SB_JSON_ESCAPED))
		return s;
	sb_buf_clear(scratch);
	return sb_json_unescape(s, scratch) < 0 ? s : sb_buf_slice(scratch);
}

static void read_failure(const struct sb_tape *t, struct sb_buf *scratch, struct sb_result *ret)
{
	bool again = kind_of(t, sb_json_member(t, 0, SB_SLICE("retry"))) != SB_JSON_FALSE;

	ret->outcome = again ? SB_RETRY : SB_REJECTED;
	ret->reason = SB_R_ERROR_FROM_TARGET;
	ret->message = error_text(t, sb_json_member(t, 0, SB_SLICE("error")), scratch);
	if (ret->message.n == 0)
		ret->message = SB_SLICE("the function failed and gave no error text");
}

int sb_jsonl_parse(
	struct sb_slice line, struct sb_tape_buf *tape, struct sb_buf *scratch, struct sb_answer *ret, const char **why)
{
	struct sb_json_fault fault;
	struct sb_tape t;
	uint32_t result;
	enum sb_json_kind ok;

	*ret = (struct sb_answer){ 0 };
	if (sb_json_scan(line.p, line.n, &SB_JSON_LIMITS, tape, &fault) < 0)
		return refuse(why, "its answer is not JSON");
	t = sb_tape_of(line.p, tape);
	if (t.node[0].kind != SB_JSON_OBJECT)
		return refuse(why, "its answer is not a JSON object");
	ret->id = sb_json_member(&t, 0, SB_SLICE("id"));
	if (ret->id == UINT32_MAX && kind_of(&t, sb_json_member(&t, 0, SB_SLICE("ready"))) == SB_JSON_TRUE) {
		ret->ready = true;
		return 0;
	}
	if (kind_of(&t, ret->id) != SB_JSON_STRING)
		return refuse(why, "its answer has no \"id\"");
	ok = kind_of(&t, sb_json_member(&t, 0, SB_SLICE("ok")));
	if (ok != SB_JSON_TRUE && ok != SB_JSON_FALSE)
		return refuse(why, "its answer has no \"ok\": true or false");
	if (ok == SB_JSON_FALSE) {
		read_failure(&t, scratch, &ret->result);
		return 0;
	}
	ret->result.outcome = SB_DELIVERED;
	result = sb_json_member(&t, 0, SB_SLICE("result"));
	if (result != UINT32_MAX)
		ret->result.body = sb_json_raw(&t, result);
	return 0;
}
