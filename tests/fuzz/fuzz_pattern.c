/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "broker/base/json.h"
#include "rules/rules.h"

/*
 * A pattern, an empty line, an event. The pattern comes from a file, the event from anybody:
 *   - a pattern is compiled, or there are errors, each with a text and a place inside it;
 *   - a pattern matches what `$or` of itself and itself matches;
 *   - the order of an event's members does not count;
 *   - asked twice, the answer is the same.
 */
#define CHECK(x) ((x) ? (void)0 : abort())

struct compiled {
	struct sb_arena arena;
	struct sb_diags diags;
	const struct sb_pattern *p;
};

static void check_diags(const struct sb_diags *d, struct sb_slice text)
{
	struct sb_buf shown = SB_BUF(1u << 20);
	unsigned lines = 1;

	for (size_t i = 0; i < text.n; i++)
		lines += text.p[i] == '\n';
	for (size_t i = 0; i < d->n; i++)
		CHECK(d->item[i].err.msg[0] && d->item[i].err.at.line >= 1 && d->item[i].err.at.line <= lines);
	sb_diags_format(d, SB_DIAG_LONG, false, &shown);
	sb_diags_format(d, SB_DIAG_JSON, false, &shown);
	sb_buf_done(&shown);
}

static void compile(struct compiled *c, struct sb_slice text)
{
	struct sb_doc doc;
	int parsed;

	*c = (struct compiled){ 0 };
	sb_diags_source(&c->diags, "fuzz.json", text);
	parsed = sb_json_parse_doc("fuzz.json", text, &doc, &c->diags);
	if (doc.root)
		c->p = sb_pattern_compile(&c->arena, doc.root, &c->diags);
	if (parsed < 0)
		c->p = NULL;
	sb_doc_done(&doc);
	CHECK((c->p != NULL) == (c->diags.errors == 0));
	check_diags(&c->diags, text);
}

static void compiled_done(struct compiled *c)
{
	sb_arena_done(&c->arena);
	sb_diags_done(&c->diags);
}

static bool matches(const struct sb_pattern *p, const struct sb_buf *event)
{
	static struct sb_tape_buf buf;
	struct sb_json_fault fault;
	struct sb_tape tape;

	CHECK(sb_json_scan(event->p, event->len, &SB_JSON_LIMITS, &buf, &fault) == 0);
	tape = sb_tape_of(event->p, &buf);
	return sb_pattern_match(p, &tape);
}

static bool matches_or(struct sb_slice pattern, const struct sb_buf *event, bool otherwise)
{
	struct sb_buf text = SB_BUF(4u << 20);
	struct compiled c;
	bool r = otherwise;

	sb_buf_addf(&text, "{\"$or\":[%.*s,%.*s]}", SB_SLICE_ARG(pattern), SB_SLICE_ARG(pattern));
	compile(&c, sb_buf_slice(&text));
	if (c.p) /* there are words and sizes that `$or` does not take */
		r = matches(c.p, event);
	compiled_done(&c);
	sb_buf_done(&text);
	return r;
}

/* Padding is readable behind the text, as a scanner may ask for. */
static void add_padding(struct sb_buf *b)
{
	CHECK(sb_buf_reserve(b, SB_JSON_PAD) != NULL);
	memset(b->p + b->len, 0, SB_JSON_PAD);
}

/* -1: a name stands twice, and then the last one counts. */
static int reverse_members(const struct sb_tape *t, struct sb_buf *out)
{
	uint32_t key[64], n = 0;

	for (uint32_t i = 1; i < t->n; i = t->node[i + 1].next) {
		if (n == SB_LEN(key))
			return -1;
		key[n++] = i;
	}
	sb_buf_addc(out, '{');
	for (uint32_t k = n; k-- > 0;) {
		struct sb_buf name = SB_BUF(1u << 20);
		uint32_t last;

		sb_json_unescape(sb_json_text(t, key[k]), &name);
		last = sb_json_member(t, 0, sb_buf_slice(&name));
		sb_buf_done(&name);
		if (last != key[k] + 1)
			return -1;
		sb_buf_add_slice(out, sb_json_raw(t, key[k]));
		sb_buf_addc(out, ':');
		sb_buf_add_slice(out, sb_json_raw(t, key[k] + 1));
		sb_buf_adds(out, k ? "," : "");
	}
	return sb_buf_addc(out, '}');
}

static void ask(const struct sb_pattern *p, struct sb_slice pattern, struct sb_slice event)
{
	static struct sb_tape_buf buf;
	struct sb_buf text = SB_BUF(4u << 20), reversed = SB_BUF(4u << 20);
	struct sb_json_fault fault;

	sb_buf_add_slice(&text, event);
	add_padding(&text);
	if (sb_json_scan(text.p, text.len, &SB_JSON_LIMITS, &buf, &fault) == 0 && buf.node[0].kind == SB_JSON_OBJECT) {
		struct sb_tape t = sb_tape_of(text.p, &buf);
		bool r = sb_pattern_match(p, &t);

		CHECK(r == sb_pattern_match(p, &t));
		CHECK(r == matches_or(pattern, &text, r));
		if (reverse_members(&t, &reversed) == 0) {
			add_padding(&reversed);
			CHECK(r == matches(p, &reversed));
		}
	}
	sb_buf_done(&text);
	sb_buf_done(&reversed);
}

static struct sb_slice split(struct sb_slice all, struct sb_slice *ret_rest)
{
	const char *gap = memmem(all.p, all.n, "\n\n", 2);
	size_t n = gap ? (size_t)(gap - all.p) : all.n;

	*ret_rest = gap ? sb_slice(gap + 2, all.n - n - 2) : sb_slice("{}", 2);
	return sb_slice(all.p, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct sb_slice event, pattern = split(sb_slice((const char *)data, n), &event);
	struct compiled c;

	compile(&c, pattern);
	if (c.p)
		ask(c.p, pattern, event);
	compiled_done(&c);
	return 0;
}
