/* SPDX-License-Identifier: Apache-2.0 */
#include "message.h"

#include <inttypes.h>
#include <stdio.h>

/*
 * The value is the delivery's own bytes wherever nothing has to be built, so that it is not copied on its way into
 * librdkafka. Headers are rendered one by one into one scratch buffer: librdkafka keeps its own copy.
 *
 * A dead letter comes as {"RULE_ARN":…,"ERROR_CODE":…,…,"delivery_id":…,"input":…}. A queue has attributes beside the body
 * for that, and so has Kafka: the value is the input that could not be delivered, as it was; the rest goes into headers.
 */
#define KEY_MAX (64u << 10)
#define TEXT_MAX (1u << 20)
#define VALUE_MAX (64u << 20)

void kafka_encoder_init(struct kafka_encoder *e)
{
	*e = (struct kafka_encoder){ .key = SB_BUF(KEY_MAX), .value = SB_BUF(VALUE_MAX), .text = SB_BUF(TEXT_MAX) };
}

void kafka_encoder_done(struct kafka_encoder *e)
{
	sb_buf_done(&e->key);
	sb_buf_done(&e->value);
	sb_buf_done(&e->text);
	sb_tape_buf_done(&e->tape);
}

int kafka_header_add(struct kafka_message *m, const char *name, struct sb_slice value)
{
	return rd_kafka_header_add(m->headers, name, -1, value.p, (ssize_t)value.n) == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : -1;
}

/* ------------------------------------------------------------------------------------------------ key and headers */

static int add_key(struct kafka_encoder *e, const struct kafka_target_conf *c, const struct sb_item *item, struct kafka_message *m)
{
	int r;

	if (!c->key.text)
		return 0;
	sb_buf_clear(&e->key);
	r = sb_template_text(&c->key, &item->event->tape, &e->key);
	if (r == 0)
		m->key = e->key.len ? sb_buf_slice(&e->key) : SB_SLICE("");
	return r < 0 ? -1 : 0;
}

static int add_unescaped(struct kafka_encoder *e, struct kafka_message *m, const char *name, struct sb_slice escaped)
{
	sb_buf_clear(&e->text);
	if (sb_json_unescape(escaped, &e->text) < 0)
		return -1;
	return kafka_header_add(m, name, sb_buf_slice(&e->text));
}

static int add_ours(struct kafka_encoder *e, const struct sb_item *item, struct kafka_message *m)
{
	char attempt[16];
	int n = snprintf(attempt, sizeof(attempt), "%u", item->attempt), rc = 0;

	rc |= kafka_header_add(m, "signalbox-delivery-id", item->delivery_id);
	rc |= add_unescaped(e, m, "signalbox-event-id", item->event->id);
	rc |= kafka_header_add(m, "signalbox-rule", sb_slice_str(item->rule));
	rc |= kafka_header_add(m, "signalbox-attempt", sb_slice(attempt, (size_t)n));
	return rc;
}

static int add_configured(struct kafka_encoder *e, const struct kafka_target_conf *c, const struct sb_item *item,
	struct kafka_message *m)
{
	int r = 0;

	for (size_t i = 0; i < c->n_headers && r >= 0; i++) {
		sb_buf_clear(&e->text);
		r = sb_template_text(&c->header[i].value, &item->event->tape, &e->text);
		if (r == 0)
			r = kafka_header_add(m, c->header[i].name, sb_buf_slice(&e->text));
	}
	return r < 0 ? -1 : 0;
}

/* ------------------------------------------------------------------------------------------------ letters */

static int add_attribute(struct kafka_encoder *e, const struct sb_tape *t, uint32_t key, struct kafka_message *m)
{
	uint32_t value = key + 1;
	char name[64];

	if (t->node[value].len == 0 || t->node[key].len >= sizeof(name))
		return 0; /* no condition was exhausted; none of ours is that long */
	snprintf(name, sizeof(name), "%.*s", SB_SLICE_ARG(sb_json_text(t, key)));
	if (strcmp(name, "delivery_id") == 0)
		return kafka_header_add(m, "signalbox-failed-delivery-id", sb_json_text(t, value));
	if (t->node[value].kind == SB_JSON_STRING)
		return add_unescaped(e, m, name, sb_json_text(t, value));
	return kafka_header_add(m, name, sb_json_raw(t, value));
}

/* The scanner wants room behind the text, so the letter is copied; there are few of them. */
static int add_letter(struct kafka_encoder *e, const struct sb_item *item, struct kafka_message *m)
{
	static const char pad[SB_JSON_PAD] = { 0 };
	struct sb_json_fault fault;
	struct sb_tape t;
	int rc = 0;

	sb_buf_clear(&e->value);
	if (sb_buf_add_slice(&e->value, item->input) < 0 || sb_buf_add(&e->value, pad, sizeof(pad)) < 0)
		return -1;
	m->value = sb_slice(e->value.p, item->input.n);
	m->borrowed = false;
	if (sb_json_scan(e->value.p, item->input.n, &SB_JSON_LIMITS, &e->tape, &fault) < 0 || e->tape.node[0].kind != SB_JSON_OBJECT)
		return 0; /* whatever it is, it is not lost */
	t = sb_tape_of(e->value.p, &e->tape);
	for (uint32_t k = 1; k < t.n && rc == 0; k = t.node[k + 1].next)
		if (sb_slice_eq_str(sb_json_text(&t, k), "input"))
			m->value = sb_json_raw(&t, k + 1);
		else
			rc = add_attribute(e, &t, k, m);
	return rc;
}

/* ------------------------------------------------------------------------------------------------ value */

static int take_input(const struct sb_item *item, struct kafka_message *m)
{
	m->value = item->input;
	m->borrowed = true;
	return 0;
}

static int take_detail(const struct sb_item *item, struct kafka_message *m)
{
	const struct sb_tape *t = &item->event->tape;
	uint32_t detail = sb_json_member(t, 0, SB_SLICE("detail"));

	if (item->transformed || detail == UINT32_MAX)
		return take_input(item, m);
	m->value = sb_json_raw(t, detail);
	m->borrowed = true;
	return 0;
}

static int add_value(struct kafka_encoder *e, const struct kafka_target_conf *c, const struct sb_item *item, struct kafka_message *m)
{
	if (item->letter)
		return add_letter(e, item, m);
	switch ((enum kafka_envelope)c->envelope) {
	case KAFKA_ENVELOPE_INPUT: return take_input(item, m);
	case KAFKA_ENVELOPE_RAW: return take_detail(item, m);
	case KAFKA_ENVELOPE_BINARY: return kafka_cloudevent_binary(e, item, m);
	case KAFKA_ENVELOPE_STRUCTURED: return kafka_cloudevent_structured(e, item, m);
	}
	SB_ASSERT(!"an envelope");
}

int kafka_encode(struct kafka_encoder *e, const struct kafka_target_conf *c, const struct sb_item *item, struct kafka_message *ret)
{
	struct kafka_message m = { .headers = rd_kafka_headers_new(8 + c->n_headers) };

	if (add_ours(e, item, &m) < 0 || add_key(e, c, item, &m) < 0 || add_value(e, c, item, &m) < 0 ||
		add_configured(e, c, item, &m) < 0) {
		rd_kafka_headers_destroy(m.headers);
		return -1;
	}
	*ret = m;
	return 0;
}
