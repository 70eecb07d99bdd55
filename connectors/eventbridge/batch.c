/* SPDX-License-Identifier: Apache-2.0 */
#include "batch.h"

#include <stdarg.h>
#include <stdio.h>

struct verdict *batch_next(struct batch *b)
{
	if (b->n == BATCH_MAX)
		return NULL;
	if (b->n == b->cap) {
		b->cap = b->cap ? b->cap * 2 : 16;
		b->ev = sb_xrealloc(b->ev, b->cap * sizeof(struct sb_event *));
		b->verdict = sb_xrealloc(b->verdict, b->cap * sizeof(*b->verdict));
	}
	b->ev[b->n] = NULL;
	b->verdict[b->n].code = NULL;
	return &b->verdict[b->n++];
}

void batch_bad(struct verdict *v, const char *code, size_t offset, const char *fmt, ...)
{
	va_list ap;

	v->code = code;
	v->status = 400;
	v->retryable = false;
	v->offset = offset;
	va_start(ap, fmt);
	vsnprintf(v->msg, sizeof(v->msg), fmt, ap);
	va_end(ap);
}

void batch_refused(struct verdict *v, const struct sb_refusal *why, size_t offset)
{
	struct said said = httpsource_said(why->why);

	batch_bad(v, said.code, offset, "%s", why->msg);
	v->status = said.status;
	v->retryable = said.retryable;
}

/* The plain bytes of a string node; borrowed from the text or from b->plain. p NULL: too long. */
static struct sb_slice plain_of(struct batch *b, const struct sb_tape *t, uint32_t i)
{
	size_t from = b->plain.len;

	if (!(t->node[i].flags & SB_JSON_ESCAPED))
		return sb_json_text(t, i);
	if (sb_json_unescape(sb_json_text(t, i), &b->plain) < 0)
		return (struct sb_slice){ 0 };
	return sb_slice(b->plain.p + from, b->plain.len - from);
}

bool batch_spec(struct batch *b, const struct sb_tape *t, uint32_t bus, struct sb_event_spec *ret, struct verdict *v)
{
	struct sb_refusal unknown = { .why = SB_REFUSE_UNKNOWN_BUS };
	struct sb_slice name = bus ? plain_of(b, t, bus) : b->bus;

	sb_source_spec(b->source, ret);
	if (b->receipt)
		ret->receipt = *b->receipt;
	if (bus || name.n)
		ret->bus = name.n ? sb_source_bus(b->source, name) : NULL;
	if (ret->bus)
		return true;
	snprintf(unknown.msg, sizeof(unknown.msg), "there is no bus '%.*s'", (int)SB_MIN(name.n, 60), name.p ? name.p : "");
	batch_refused(v, &unknown, bus ? t->node[bus].off : 0);
	return false;
}

void batch_build(struct batch *b, const struct sb_event_spec *given, struct verdict *v)
{
	struct sb_refusal large = { .why = SB_REFUSE_TOO_LARGE };
	struct sb_event_spec spec = *given;
	struct sb_err err;

	if (spec.time.s.n == 0)
		spec.time.s = b->time;
	if (sb_event_build(&spec, sb_source_max_event(b->source), &b->ev[b->n - 1], &err) == 0)
		return;
	b->ev[b->n - 1] = NULL;
	snprintf(large.msg, sizeof(large.msg), "%.100s", err.msg);
	batch_refused(v, &large, spec.tape->node[spec.detail].off);
}

int batch_scan(struct batch *b, struct sb_tape *ret, struct batch_fault *fault)
{
	struct sb_json_fault f;

	if (sb_json_scan(b->body.p, b->body.n, &SB_JSON_LIMITS, &b->tape, &f) == 0) {
		*ret = sb_tape_of(b->body.p, &b->tape);
		return 0;
	}
	*fault = (struct batch_fault){ { 400, "invalid_json", false }, f.msg, true, f.off };
	return -1;
}

int batch_each(struct batch *b, const struct sb_tape *t, batch_take *take, struct batch_fault *fault)
{
	struct verdict *v;

	if (t->node[0].kind != SB_JSON_ARRAY) {
		take(b, t, 0, batch_next(b));
		return 0;
	}
	for (uint32_t i = 1; i < t->node[0].next; i = t->node[i].next) {
		v = batch_next(b);
		if (!v) {
			*fault = (struct batch_fault){ { 413, "too_large", false }, "more than 10,000 events in one request", false, 0 };
			return -1;
		}
		sb_buf_clear(&b->plain);
		take(b, t, i, v);
	}
	return 0;
}
