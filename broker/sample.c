/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/sample.h"

#define KEY_MAX 128     /* a longer key is not shown: it is hardly a name */
#define ELEMENTS_MAX 3  /* of an array */
#define DEPTH_MAX 16    /* below, objects and arrays are shown empty */
#define LEAF_MAX 16     /* the longest type's name, quotes and a comma */

/* ------------------------------------------------------------------------------------------------ redaction */

static const char *type_of(enum sb_json_kind kind)
{
	switch (kind) {
	case SB_JSON_NULL:   return "null";
	case SB_JSON_FALSE:
	case SB_JSON_TRUE:   return "\"boolean\"";
	case SB_JSON_NUMBER: return "\"number\"";
	case SB_JSON_STRING: return "\"string\"";
	case SB_JSON_ARRAY:  return "[]";
	case SB_JSON_OBJECT: return "{}";
	}
	return "null";
}

struct redaction {
	const struct sb_tape *t;
	struct sb_buf *out;
	size_t most;
};

static void redact(const struct redaction *r, uint32_t node, unsigned depth, size_t most);

static void redact_key(const struct redaction *r, uint32_t node)
{
	struct sb_slice key = sb_json_raw(r->t, node);

	sb_buf_add_slice(r->out, key.n > KEY_MAX ? SB_SLICE("\"...\"") : key);
	sb_buf_addc(r->out, ':');
}

/* `most`: how long the text may become, so that everything that has begun can be ended. */
static void redact_members(const struct redaction *r, uint32_t node, unsigned depth, size_t most)
{
	bool object = r->t->node[node].kind == SB_JSON_OBJECT, first = true;
	uint32_t end = r->t->node[node].next, shown = 0;

	sb_buf_addc(r->out, object ? '{' : '[');
	for (uint32_t i = node + 1; i < end; i = r->t->node[i].next) {
		if (r->out->len + KEY_MAX + LEAF_MAX > most || (!object && shown++ == ELEMENTS_MAX))
			break;
		if (!first)
			sb_buf_addc(r->out, ',');
		first = false;
		if (object)
			redact_key(r, i++);
		redact(r, i, depth + 1, most - 1);
	}
	sb_buf_addc(r->out, object ? '}' : ']');
}

static void redact(const struct redaction *r, uint32_t node, unsigned depth, size_t most)
{
	enum sb_json_kind kind = (enum sb_json_kind)r->t->node[node].kind;

	if ((kind == SB_JSON_OBJECT || kind == SB_JSON_ARRAY) && depth < DEPTH_MAX && r->t->node[node].next > node + 1)
		redact_members(r, node, depth, most);
	else
		sb_buf_adds(r->out, type_of(kind));
}

void sb_redact(const struct sb_tape *t, uint32_t node, struct sb_buf *out, size_t most)
{
	const struct redaction r = { t, out, most };

	redact(&r, node, 0, most - 1);
}

/* ------------------------------------------------------------------------------------------------ samples */

static void redact_detail(const struct sb_event *ev, struct sb_buf *out)
{
	uint32_t detail = ev->tape.n ? sb_json_member(&ev->tape, 0, SB_SLICE("detail")) : UINT32_MAX;

	if (detail == UINT32_MAX)
		sb_buf_adds(out, "{}");
	else
		sb_redact(&ev->tape, detail, out, SB_SAMPLE_DETAIL);
}

/* Not within a character. */
static struct sb_slice cut(struct sb_slice s)
{
	if (s.n <= SB_SAMPLE_WORD)
		return s;
	s.n = SB_SAMPLE_WORD;
	while (s.n && ((unsigned char)s.p[s.n] & 0xc0) == 0x80)
		s.n--;
	return s;
}

static struct sb_slice keep(char **at, struct sb_slice s)
{
	struct sb_slice kept = sb_slice(*at, s.n);

	if (s.n)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return kept;
}

static struct sb_sample *make(const struct sb_event *ev, struct sb_slice detail)
{
	struct sb_slice id = cut(ev->id), source = cut(ev->source), type = cut(ev->detail_type);
	struct sb_sample *x = sb_pool_alloc(sizeof(*x) + id.n + source.n + type.n + detail.n);
	char *at = x->text;

	*x = (struct sb_sample){ .bus = ev->bus, .origin = ev->origin };
	x->id = keep(&at, id);
	x->source = keep(&at, source);
	x->detail_type = keep(&at, type);
	x->detail = keep(&at, detail);
	return x;
}

void sb_sample(struct sb_samples *s, const struct sb_event *ev, uint64_t at_ms, const struct sb_sample_failure *f)
{
	enum sb_sample_kind kind = f ? SB_SAMPLE_ERRORS : SB_SAMPLE_UNMATCHED;
	char text[SB_SAMPLE_DETAIL];
	struct sb_buf detail = { .p = text, .cap = sizeof(text), .max = sizeof(text) };
	struct sb_sample *x;

	if (s->n[kind] >= s->max)
		return;
	redact_detail(ev, &detail);
	x = make(ev, sb_buf_slice(&detail));
	x->at_ms = at_ms;
	if (f) {
		x->rule = f->rule;
		x->target = f->target;
		x->what = f->what;
		x->reason = sb_reason_name(f->reason);
		x->attempts = f->attempts;
	}
	x->next = s->first[kind];
	s->first[kind] = x;
	s->n[kind]++;
}

void sb_samples_take(struct sb_samples *s, struct sb_samples *into)
{
	for (unsigned k = 0; k < SB_SAMPLE_KINDS; k++) {
		struct sb_sample **last = &into->first[k];

		while (*last)
			last = &(*last)->next;
		*last = s->first[k];
		into->n[k] += s->n[k];
		s->first[k] = NULL;
		s->n[k] = 0;
	}
}

void sb_samples_drop(struct sb_samples *s)
{
	for (unsigned k = 0; k < SB_SAMPLE_KINDS; k++)
		while (s->first[k]) {
			struct sb_sample *x = s->first[k];

			s->first[k] = x->next;
			sb_pool_free(x);
		}
	memset(s->n, 0, sizeof(s->n));
}
