/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of queues -> events. The value is copied once, into {"meta":{…},"detail":VALUE} with padding behind it, and that
 * is scanned once: templates, all envelopes and the event itself read the one tape. A CloudEvent in binary mode is scanned by itself:
 * its data need not be JSON.
 */
#include "connectors/envelope.h"

#include <stdlib.h>

#include "batch.h"
#include "broker/base/template.h"

#define MAX_TEXT (64u << 20)
#define MAX_META (1u << 20)

struct sb_envelope_reader {
	struct sb_source *source;
	struct batch batch;
	struct sb_buf text, source_text, detail_type;
	size_t value_off;   /* where the value stands in the text */
	char time[SB_TIME_TEXT];
	const char *code;
};

struct sb_envelope_reader *sb_envelope_new(struct sb_source *s)
{
	struct sb_envelope_reader *r = sb_xcalloc(sizeof(*r));

	r->source = s;
	r->batch.source = s;
	r->code = "";
	sb_buf_init(&r->text, MAX_TEXT);
	sb_buf_init(&r->source_text, 4096);
	sb_buf_init(&r->detail_type, 4096);
	sb_buf_init(&r->batch.meta, MAX_META);
	sb_buf_init(&r->batch.plain, BATCH_PLAIN);
	sb_buf_reserve(&r->batch.plain, BATCH_PLAIN); /* slices of it must stay where they are */
	return r;
}

void sb_envelope_free(struct sb_envelope_reader *r)
{
	if (!r)
		return;
	sb_buf_done(&r->text);
	sb_buf_done(&r->source_text);
	sb_buf_done(&r->detail_type);
	sb_buf_done(&r->batch.meta);
	sb_buf_done(&r->batch.plain);
	sb_tape_buf_done(&r->batch.tape);
	free(r->batch.ev);
	free(r->batch.verdict);
	free(r);
}

const char *sb_envelope_code(const struct sb_envelope_reader *r)
{
	return r->code;
}

/* ------------------------------------------------------------------------------------------------ errors */

static int bad(struct sb_envelope_reader *r, int code, const char *name, struct sb_err *err, const char *msg)
{
	r->code = name;
	return sb_fail(err, code, "%s", msg);
}

/* A place in the text, as one in the value. */
static int bad_at(struct sb_envelope_reader *r, const char *name, size_t off, const char *msg, struct sb_err *err)
{
	r->code = name;
	return sb_fail(err, SB_E_SYNTAX, "%s, at byte %zu", msg, off > r->value_off ? off - r->value_off : 0);
}

static int verdict_of(struct sb_envelope_reader *r, struct sb_event **ret, struct sb_err *err)
{
	const struct verdict *v = &r->batch.verdict[0];

	if (v->code)
		return bad_at(r, v->code, v->offset, v->msg, err);
	*ret = r->batch.ev[0];
	return 0;
}

/* ------------------------------------------------------------------------------------------------ the text */

static int put_padding(struct sb_buf *t)
{
	static const char pad[SB_JSON_PAD];

	if (sb_buf_add(t, pad, sizeof(pad)) < 0)
		return -1;
	t->len -= sizeof(pad);
	return 0;
}

/* The nodes: root, "meta", its object and what is in it, "detail", the value, which must be the last of the text. */
static int scan_document(struct sb_envelope_reader *r, const struct sb_message *m, uint32_t *ret_value, struct sb_err *err)
{
	static const char begin[] = "{\"meta\":{", middle[] = "},\"detail\":";
	struct sb_buf *t = &r->text;
	struct sb_json_fault f;
	struct sb_tape tape;
	int rc;

	sb_buf_clear(t);
	rc = sb_buf_add(t, begin, sizeof(begin) - 1);
	rc |= sb_buf_add_slice(t, m->meta);
	rc |= sb_buf_add(t, middle, sizeof(middle) - 1);
	r->value_off = t->len;
	rc |= m->value.p ? sb_buf_add_slice(t, m->value) : sb_buf_adds(t, "null");
	rc |= sb_buf_addc(t, '}');
	rc |= put_padding(t);
	if (rc < 0)
		return bad(r, SB_E_LIMIT, "too_large", err, "the message is larger than an event may be");
	if (sb_json_scan(t->p, t->len, &SB_JSON_LIMITS, &r->batch.tape, &f) < 0)
		return bad_at(r, "invalid_json", f.off, f.msg, err);
	tape = sb_tape_of(t->p, &r->batch.tape);
	*ret_value = tape.node[2].next + 1;
	if (tape.node[*ret_value].next != tape.n)
		return bad_at(r, "invalid_json", t->len - 1, "text behind the value", err);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ raw */

static int render(const struct sb_template *tpl, const char *otherwise, const struct sb_tape *t, struct sb_buf *out)
{
	sb_buf_clear(out);
	if (!tpl)
		return sb_buf_adds(out, otherwise);
	return sb_template_text(tpl, t, out) != 0 || out->len == 0 ? -1 : 0;
}

static int read_raw(struct sb_envelope_reader *r, uint32_t value, struct sb_event **ret, struct sb_err *err)
{
	const struct sb_source *s = r->source;
	struct sb_tape t = sb_tape_of(r->text.p, &r->batch.tape);
	struct sb_event_spec spec;

	if (render(s->source_tpl, s->name, &t, &r->source_text) < 0)
		return bad(r, SB_E_INVALID, "missing_value", err, "a value that `source` is made of is missing");
	if (render(s->detail_type_tpl, "message", &t, &r->detail_type) < 0)
		return bad(r, SB_E_INVALID, "missing_value", err, "a value that `detail_type` is made of is missing");
	sb_source_spec(r->source, &spec);
	if (r->batch.receipt)
		spec.receipt = *r->batch.receipt;
	spec.source.s = sb_buf_slice(&r->source_text);
	spec.detail_type.s = sb_buf_slice(&r->detail_type);
	spec.time.s = r->batch.time;
	spec.tape = &t;
	spec.detail = value;
	if (r->batch.extra.n)
		spec.meta = sb_json_raw(&t, 2);
	if (sb_event_build(&spec, sb_source_max_event(r->source), ret, err) == 0)
		return 0;
	r->code = err->code == SB_E_LIMIT ? "too_large" : "invalid_event";
	return -1;
}

/* ------------------------------------------------------------------------------------------------ which one it is */

static bool has(const struct sb_tape *t, uint32_t i, const char *const *names, size_t n)
{
	if (t->node[i].kind != SB_JSON_OBJECT)
		return false;
	for (size_t k = 0; k < n; k++)
		if (sb_json_member(t, i, sb_slice_str(names[k])) == UINT32_MAX)
			return false;
	return true;
}

static enum sb_envelope looks_like(const struct sb_tape *t, uint32_t i)
{
	static const char *const ce[] = { "specversion", "id", "source", "type" };
	static const char *const shaped[] = { "source", "detail-type", "detail" };

	if (has(t, i, ce, SB_LEN(ce)))
		return SB_ENVELOPE_CLOUDEVENTS;
	return has(t, i, shaped, SB_LEN(shaped)) ? SB_ENVELOPE_EVENTBRIDGE : SB_ENVELOPE_RAW;
}

static bool is_ce_attribute(const struct sb_message_header *h)
{
	return h->name.n > 3 && memcmp(h->name.p, "ce_", 3) == 0;
}

static bool is_binary_ce(const struct sb_message *m)
{
	for (size_t i = 0; i < m->n_headers; i++)
		if (sb_slice_eq_str(m->header[i].name, "ce_specversion"))
			return true;
	return false;
}

static void media_of(struct sb_slice type, char media[64])
{
	size_t n = 0;

	while (n < type.n && n < 63 && type.p[n] != ';' && type.p[n] != ' ') {
		char c = type.p[n];

		media[n++] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
	}
	media[n] = '\0';
}

static int read_binary(struct sb_envelope_reader *r, const struct sb_message *m, struct sb_event **ret, struct sb_err *err)
{
	struct batch *b = &r->batch;
	struct verdict *v = batch_next(b);
	struct batch_fault fault;
	char media[64];

	r->value_off = 0;
	sb_buf_clear(&r->text);
	if (sb_buf_add_slice(&r->text, m->value) < 0 || put_padding(&r->text) < 0)
		return bad(r, SB_E_LIMIT, "too_large", err, "the message is larger than an event may be");
	b->body = sb_buf_slice(&r->text);
	batch_binary_begin(b, m->content_type);
	for (size_t i = 0; i < m->n_headers; i++) {
		struct sb_slice name = m->header[i].name;

		if (!is_ce_attribute(&m->header[i]))
			continue;
		name = sb_slice(name.p + 3, name.n - 3);
		if (sb_utf8_check(m->header[i].value.p, m->header[i].value.n) != m->header[i].value.n)
			return bad(r, SB_E_INVALID, "invalid_attribute", err, "a CloudEvents attribute is not valid UTF-8");
		if (!batch_binary_attribute(b, name, m->header[i].value, v))
			return verdict_of(r, ret, err);
	}
	media_of(m->content_type, media);
	if (batch_binary_end(b, media, &fault) < 0)
		return bad_at(r, fault.said.code, fault.offset, fault.msg, err);
	return verdict_of(r, ret, err);
}

static int read_document(struct sb_envelope_reader *r, const struct sb_message *m, struct sb_event **ret, struct sb_err *err)
{
	enum sb_envelope how = r->source->envelope;
	struct sb_tape t;
	uint32_t value = 0;

	if (scan_document(r, m, &value, err) < 0)
		return -1;
	t = sb_tape_of(r->text.p, &r->batch.tape);
	if (how == SB_ENVELOPE_AUTO)
		how = looks_like(&t, value);
	if (how == SB_ENVELOPE_RAW)
		return read_raw(r, value, ret, err);
	r->batch.body = sb_buf_slice(&r->text);
	sb_buf_clear(&r->batch.plain);
	if (how == SB_ENVELOPE_CLOUDEVENTS)
		batch_take_ce(&r->batch, &t, value, batch_next(&r->batch));
	else
		batch_take_shaped(&r->batch, &t, value, batch_next(&r->batch));
	return verdict_of(r, ret, err);
}

int sb_envelope_read(struct sb_envelope_reader *r, const struct sb_message *m, struct sb_event **ret, struct sb_err *err)
{
	enum sb_envelope how = r->source->envelope;

	r->code = "";
	if (m->value.n > sb_source_max_event(r->source))
		return bad(r, SB_E_LIMIT, "too_large", err, "the message is larger than an event may be");
	r->batch.n = 0;
	r->batch.extra = m->meta;
	r->batch.receipt = m->receipt;
	r->batch.time = (struct sb_slice){ 0 };
	if (m->time_ms) {
		sb_time_format(m->time_ms, r->time);
		r->batch.time = sb_slice_str(r->time);
	}
	if ((how == SB_ENVELOPE_AUTO || how == SB_ENVELOPE_CLOUDEVENTS) && is_binary_ce(m))
		return read_binary(r, m, ret, err);
	return read_document(r, m, ret, err);
}
