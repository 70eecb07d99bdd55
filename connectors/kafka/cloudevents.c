/* SPDX-License-Identifier: Apache-2.0 */
#include "message.h"

#include <openssl/evp.h>
#include <stdio.h>

/*
 * An event as CloudEvents 1.0, by the Kafka protocol binding. id, source, type and time come from the envelope; what an
 * event that came as a CloudEvent had besides is in meta.ce and goes out again, so that it leaves as it came: text that
 * was no JSON is a JSON string in the detail, bytes are base64 text with meta.ce.data_base64.
 *
 * A transformed input is the data as it stands, and JSON.
 */
#define JSON_TYPE "application/json"

/* Where the parts of the event stand. Nodes: UINT32_MAX when there is none. */
struct ce {
	const struct sb_event *ev;
	const struct sb_tape *t;
	uint32_t detail, time, extra; /* extra: the object meta.ce */
	struct sb_slice type;         /* datacontenttype, escaped text */
	bool base64, text;            /* the detail is a string that stands for bytes, or for text that is no JSON */
};

static bool ends_in(struct sb_slice s, const char *end)
{
	size_t n = strlen(end);

	return s.n >= n && memcmp(s.p + s.n - n, end, n) == 0;
}

/* The media type without its parameters; case does not matter to us, names in the wild are lower case. */
static bool is_json_type(struct sb_slice s)
{
	const char *semicolon = memchr(s.p, ';', s.n);

	if (semicolon)
		s.n = (size_t)(semicolon - s.p);
	while (s.n && s.p[s.n - 1] == ' ')
		s.n--;
	return ends_in(s, "/json") || ends_in(s, "+json");
}

static uint32_t member(const struct sb_tape *t, uint32_t object, const char *name)
{
	return object == UINT32_MAX ? UINT32_MAX : sb_json_member(t, object, sb_slice_str(name));
}

static uint32_t extra_of(const struct sb_tape *t)
{
	uint32_t meta = member(t, 0, "meta"), ce;

	if (meta == UINT32_MAX || t->node[meta].kind != SB_JSON_OBJECT)
		return UINT32_MAX;
	ce = member(t, meta, "ce");
	return ce != UINT32_MAX && t->node[ce].kind == SB_JSON_OBJECT ? ce : UINT32_MAX;
}

static void find(const struct sb_item *item, struct ce *ret)
{
	const struct sb_tape *t = &item->event->tape;
	uint32_t type, base64;
	bool string;

	*ret = (struct ce){ .ev = item->event, .t = t, .detail = member(t, 0, "detail"), .time = member(t, 0, "time"),
		.extra = extra_of(t), .type = SB_SLICE(JSON_TYPE) };
	type = member(t, ret->extra, "datacontenttype");
	if (item->transformed || type == UINT32_MAX)
		return;
	base64 = member(t, ret->extra, "data_base64");
	string = ret->detail != UINT32_MAX && t->node[ret->detail].kind == SB_JSON_STRING;
	ret->type = sb_json_text(t, type);
	ret->base64 = string && base64 != UINT32_MAX && t->node[base64].kind == SB_JSON_TRUE;
	ret->text = string && !ret->base64 && !is_json_type(ret->type);
}

/* Those that are written from elsewhere. */
static bool has_own_place(struct sb_slice name)
{
	static const char *const own[] = { "specversion", "datacontenttype", "data_base64" };

	for (size_t i = 0; i < SB_LEN(own); i++)
		if (sb_slice_eq_str(name, own[i]))
			return true;
	return false;
}

static struct sb_slice data(const struct sb_item *item, const struct ce *ce)
{
	if (item->transformed || ce->detail == UINT32_MAX)
		return item->input;
	return sb_json_raw(ce->t, ce->detail);
}

/* ------------------------------------------------------------------------------------------------ binary */

int kafka_decode_base64(struct sb_slice s, struct sb_buf *out)
{
	char *p = sb_buf_reserve(out, s.n / 4 * 3 + 4);
	int n;

	if (!p)
		return -1;
	n = EVP_DecodeBlock((unsigned char *)p, (const unsigned char *)s.p, (int)s.n);
	if (n < 0) /* not what the intake wrote: then as it stands */
		return sb_buf_add_slice(out, s);
	for (size_t i = s.n; i-- > 0 && s.p[i] == '=' && n > 0;)
		n--;
	out->len += (size_t)n;
	return 0;
}

static int set_data(struct kafka_encoder *e, const struct sb_item *item, const struct ce *ce, struct kafka_message *m)
{
	int rc;

	m->borrowed = !ce->base64 && !ce->text;
	if (m->borrowed) {
		m->value = data(item, ce);
		return 0;
	}
	sb_buf_clear(&e->value);
	rc = ce->base64 ? kafka_decode_base64(sb_json_text(ce->t, ce->detail), &e->value) :
			  sb_json_unescape(sb_json_text(ce->t, ce->detail), &e->value);
	m->value = e->value.len ? sb_buf_slice(&e->value) : SB_SLICE("");
	return rc;
}

static int add_attribute(struct kafka_encoder *e, struct kafka_message *m, const char *name, struct sb_slice escaped)
{
	sb_buf_clear(&e->text);
	if (sb_json_unescape(escaped, &e->text) < 0)
		return -1;
	return kafka_header_add(m, name, sb_buf_slice(&e->text));
}

static int add_extra(struct kafka_encoder *e, struct kafka_message *m, const struct ce *ce)
{
	const struct sb_tape *t = ce->t;
	char name[80];
	int rc = 0;

	if (ce->extra == UINT32_MAX)
		return 0;
	for (uint32_t k = ce->extra + 1; k < t->node[ce->extra].next && rc == 0; k = t->node[k + 1].next) {
		if (has_own_place(sb_json_text(t, k)) || t->node[k].len > 64)
			continue;
		snprintf(name, sizeof(name), "ce_%.*s", SB_SLICE_ARG(sb_json_text(t, k)));
		rc = add_attribute(e, m, name, sb_json_text(t, k + 1));
	}
	return rc;
}

int kafka_cloudevent_binary(struct kafka_encoder *e, const struct sb_item *item, struct kafka_message *m)
{
	struct ce ce;
	int rc;

	find(item, &ce);
	rc = kafka_header_add(m, "ce_specversion", SB_SLICE("1.0"));
	rc |= add_attribute(e, m, "ce_id", ce.ev->id);
	rc |= add_attribute(e, m, "ce_source", ce.ev->source);
	rc |= add_attribute(e, m, "ce_type", ce.ev->detail_type);
	if (ce.time != UINT32_MAX)
		rc |= add_attribute(e, m, "ce_time", sb_json_text(ce.t, ce.time));
	rc |= add_extra(e, m, &ce);
	rc |= add_attribute(e, m, "content-type", ce.type);
	return rc < 0 ? -1 : set_data(e, item, &ce, m);
}

/* ------------------------------------------------------------------------------------------------ structured */

/* Texts out of the event are escaped already. */
static int add_member(struct sb_buf *out, const char *name, struct sb_slice escaped)
{
	return sb_buf_addf(out, ",\"%s\":\"%.*s\"", name, SB_SLICE_ARG(escaped));
}

static int add_extra_members(struct sb_buf *out, const struct ce *ce)
{
	const struct sb_tape *t = ce->t;
	int rc = 0;

	if (ce->extra == UINT32_MAX)
		return 0;
	for (uint32_t k = ce->extra + 1; k < t->node[ce->extra].next && rc == 0; k = t->node[k + 1].next) {
		if (has_own_place(sb_json_text(t, k)))
			continue;
		rc |= sb_buf_addf(out, ",\"%.*s\":", SB_SLICE_ARG(sb_json_text(t, k)));
		rc |= sb_buf_add_slice(out, sb_json_raw(t, k + 1));
	}
	return rc;
}

int kafka_cloudevent_structured(struct kafka_encoder *e, const struct sb_item *item, struct kafka_message *m)
{
	struct sb_buf *out = &e->value;
	struct ce ce;
	int rc;

	find(item, &ce);
	sb_buf_clear(out);
	rc = sb_buf_adds(out, "{\"specversion\":\"1.0\"");
	rc |= add_member(out, "id", ce.ev->id);
	rc |= add_member(out, "source", ce.ev->source);
	rc |= add_member(out, "type", ce.ev->detail_type);
	if (ce.time != UINT32_MAX)
		rc |= add_member(out, "time", sb_json_text(ce.t, ce.time));
	rc |= add_extra_members(out, &ce);
	rc |= add_member(out, "datacontenttype", ce.type);
	rc |= sb_buf_adds(out, ce.base64 ? ",\"data_base64\":" : ",\"data\":");
	rc |= sb_buf_add_slice(out, data(item, &ce));
	rc |= sb_buf_addc(out, '}');
	rc |= kafka_header_add(m, "content-type", SB_SLICE("application/cloudevents+json; charset=UTF-8"));
	m->value = sb_buf_slice(out);
	m->borrowed = false;
	return rc < 0 ? -1 : 0;
}
