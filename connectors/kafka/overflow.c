/* SPDX-License-Identifier: Apache-2.0 */
#include "overflow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/log.h"

/*
 * The record: the event in EventBridge's form, whatever it came in, so that one source reads all of them; key and headers of the record
 * that it came from, but for those that say how its value was wrapped; and headers of ours that say whence it came
 * and who is still owed.
 *
 *   take ──> waiting ──> sent ──report──> there: answered
 *               ^          │
 *               └──refused─┘ in a second
 *
 * A fatal error ends the producer; what it had waits, and the next send opens another one.
 *
 * What is too large for the topic would wait for ever and its partition with it: it goes to the journal. A broker refuses the whole
 * batch that it is in, so each of those is sent again alone, and believed then.
 */
#define AGAIN_NS SB_NS_PER_S
#define VALUE_MAX (64u << 20)
#define TEXT_MAX (1u << 20)
#define EVENTS_MOST 256 /* in one go; then the loop gets its turn */

struct slot {
	struct sb_link link;
	void *token; /* NULL: it has been answered */
	struct sb_event *event;
	struct sb_slice position, owed; /* behind the slot */
	bool suspect;                   /* one of a batch that was too large */
};

/* ------------------------------------------------------------------------------------------------ check */

int kafka_overflow_check(const void *conf, const char *topic, struct sb_err *err)
{
	const struct kafka_source_conf *c = conf;

	if (!kafka_is_topic(topic)) {
		sb_fail(err, SB_E_INVALID, "`%s` is not the name of a topic", topic);
		return sb_hint(err, "a topic has letters, digits, `.`, `_` and `-`");
	}
	if (!kafka_source_reads(c, topic))
		return 0;
	sb_fail(err, SB_E_INVALID, "the source reads `%s` itself: what overflows would come again and again", topic);
	return sb_hint(err, "choose a topic that another source reads");
}

/* ------------------------------------------------------------------------------------------------ the record */

static uint32_t member(const struct sb_tape *t, uint32_t of, const char *name)
{
	return of == UINT32_MAX || t->node[of].kind != SB_JSON_OBJECT ? UINT32_MAX : sb_json_member(t, of, sb_slice_str(name));
}

/* The bytes that a string of `meta` stands for. */
static int decode(const struct sb_tape *t, uint32_t node, bool base64, struct sb_buf *out)
{
	sb_buf_clear(out);
	return base64 ? kafka_decode_base64(sb_json_text(t, node), out) : sb_json_unescape(sb_json_text(t, node), out);
}

static int add_key(struct kafka_overflow *o, const struct sb_tape *t, uint32_t meta, struct kafka_message *m)
{
	uint32_t text = member(t, meta, "key"), bytes = member(t, meta, "key_base64");
	bool base64 = text == UINT32_MAX;

	if (base64 && bytes == UINT32_MAX)
		return 0;
	if (decode(t, base64 ? bytes : text, base64, &o->key) < 0)
		return -1;
	m->key = o->key.len ? sb_buf_slice(&o->key) : SB_SLICE("");
	return 0;
}

/* How the value came does not say how it stands here. */
static bool is_wrapping(const char *name)
{
	return strncmp(name, "ce_", 3) == 0 || strcmp(name, "content-type") == 0 || strncmp(name, "signalbox-", 10) == 0;
}

static int add_header(struct kafka_overflow *o, const struct sb_tape *t, uint32_t key, bool base64, struct kafka_message *m)
{
	char name[256];

	sb_buf_clear(&o->text);
	if (sb_json_unescape(sb_json_text(t, key), &o->text) < 0)
		return -1;
	if (o->text.len >= sizeof(name) || memchr(o->text.p, '\0', o->text.len))
		return 0; /* Kafka has such names, librdkafka has not */
	snprintf(name, sizeof(name), "%.*s", SB_SLICE_ARG(sb_buf_slice(&o->text)));
	if (is_wrapping(name))
		return 0;
	return decode(t, key + 1, base64, &o->text) < 0 ? -1 : kafka_header_add(m, name, sb_buf_slice(&o->text));
}

static int add_headers(struct kafka_overflow *o, const struct sb_tape *t, uint32_t map, bool base64, struct kafka_message *m)
{
	uint32_t end = map == UINT32_MAX ? 0 : t->node[map].next;
	int rc = 0;

	for (uint32_t k = map + 1; map != UINT32_MAX && k < end && rc == 0; k = t->node[k + 1].next)
		rc = add_header(o, t, k, base64, m);
	return rc;
}

/* "topic/partition/offset": a topic has no slash. */
static int add_place(struct sb_slice position, struct kafka_message *m)
{
	static const char *const names[] = { "signalbox-topic", "signalbox-partition", "signalbox-offset" };
	const char *p = position.p, *end = position.p + position.n;
	int rc = 0;

	for (size_t i = 0; i < SB_LEN(names); i++) {
		const char *slash = memchr(p, '/', (size_t)(end - p)), *to = slash ? slash : end;

		rc |= kafka_header_add(m, names[i], sb_slice(p, (size_t)(to - p)));
		p = slash ? slash + 1 : end;
	}
	return rc;
}

static int add_ours(struct kafka_overflow *o, const struct sb_overflow *what, struct kafka_message *m)
{
	sb_buf_clear(&o->text);
	if (sb_json_unescape(what->event->id, &o->text) < 0 || kafka_header_add(m, "signalbox-event-id", sb_buf_slice(&o->text)) < 0)
		return -1;
	if (kafka_header_add(m, "signalbox-source", sb_slice_str(o->source->name)) < 0 || add_place(what->position, m) < 0)
		return -1;
	return kafka_header_add(m, "signalbox-owed", what->owed);
}

int kafka_overflow_encode(struct kafka_overflow *o, const struct sb_overflow *what, struct kafka_message *ret)
{
	const struct sb_tape *t = &what->event->tape;
	uint32_t meta = member(t, member(t, 0, "meta"), "kafka");
	struct kafka_message m = { .headers = rd_kafka_headers_new(16) };

	sb_buf_clear(&o->value);
	if (sb_event_add_bare(what->event, &o->value) < 0 || add_key(o, t, meta, &m) < 0 ||
		add_headers(o, t, member(t, meta, "headers"), false, &m) < 0 ||
		add_headers(o, t, member(t, meta, "headers_base64"), true, &m) < 0 || add_ours(o, what, &m) < 0) {
		rd_kafka_headers_destroy(m.headers);
		return -1;
	}
	m.value = sb_buf_slice(&o->value);
	*ret = m;
	return 0;
}

/* ------------------------------------------------------------------------------------------------ sending */

static uint64_t now_ns(const struct kafka_overflow *o)
{
	return sb_mono_ns(o->source->env->clock);
}

static void refused(struct kafka_overflow *o, const char *why)
{
	o->refused++;
	o->again_ns = now_ns(o) + AGAIN_NS;
	snprintf(o->last_error, sizeof(o->last_error), "%s", why);
	if (!o->told)
		sb_log(SB_LOG_ERROR, "the overflow topic refuses: what is stuck waits, and so does its position", KS("source", o->source->name),
			KS("topic", o->source->overflow_topic), KS("why", why));
	o->told = true;
}

static int open_producer(struct kafka_overflow *o, struct sb_err *err)
{
	static const struct kafka_pair fixed[] = {
		{ "acks", "all" },
		{ "enable.idempotence", "true" },
		{ "message.timeout.ms", "30000" },
		{ NULL, NULL },
	};
	const struct kafka_source_conf *c = o->source->conf;
	rd_kafka_conf_t *conf = kafka_cluster_conf(&c->cluster, kafka_producer_defaults, fixed, err);

	if (!conf || kafka_producer_open(&o->producer, conf, o->source->overflow_topic, o->wake_fd, err) < 0)
		return -1;
	o->state = KAFKA_OVERFLOW_OPEN;
	return 0;
}

static rd_kafka_resp_err_t send_slot(struct kafka_overflow *o, struct slot *s)
{
	const struct sb_overflow what = { .event = s->event, .position = s->position, .owed = s->owed };
	struct kafka_message m;
	rd_kafka_resp_err_t rc;

	if (kafka_overflow_encode(o, &what, &m) < 0)
		return RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
	rc = kafka_producer_send(&o->producer, &m, s);
	if (rc)
		rd_kafka_headers_destroy(m.headers);
	return rc;
}

static void slot_free(struct slot *s)
{
	sb_list_unlink(&s->link);
	sb_event_unref(s->event);
	sb_pool_free(s);
}

static void answer(struct kafka_overflow *o, struct slot *s, bool there)
{
	void *token = s->token;

	s->token = NULL;
	if (token)
		sb_source_overflowed(o->source, token, there);
}

static bool is_too_large(rd_kafka_resp_err_t rc)
{
	return rc == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || rc == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE;
}

static void give_up(struct kafka_overflow *o, struct slot *s)
{
	o->refused++;
	snprintf(o->last_error, sizeof(o->last_error), "too large for the topic: to the journal");
	answer(o, s, false);
	slot_free(s);
}

/* A suspect goes alone. */
static bool must_wait(const struct kafka_overflow *o, const struct slot *s)
{
	return o->alone || (s->suspect && o->under_way);
}

/* Each of those that wait once; one that is refused lets the others go before it. */
static void send_waiting(struct kafka_overflow *o)
{
	struct sb_link *last = o->waiting.prev;
	struct sb_err err = { 0 };
	bool end = false;

	if (o->closing || sb_list_empty(&o->waiting) || now_ns(o) < o->again_ns || o->state > KAFKA_OVERFLOW_OPEN)
		return;
	if (o->state == KAFKA_OVERFLOW_SHUT && open_producer(o, &err) < 0) {
		refused(o, err.msg);
		return;
	}
	while (!end && !sb_list_empty(&o->waiting)) {
		struct slot *s = SB_CONTAINER(o->waiting.next, struct slot, link);
		rd_kafka_resp_err_t rc;

		end = &s->link == last;
		if (must_wait(o, s) || (rc = send_slot(o, s)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
			return;
		if (is_too_large(rc)) { /* known here, of this one */
			give_up(o, s);
			continue;
		}
		sb_list_unlink(&s->link);
		sb_list_push_back(rc ? &o->waiting : &o->sent, &s->link);
		o->under_way += rc == RD_KAFKA_RESP_ERR_NO_ERROR;
		o->alone = o->alone || (s->suspect && rc == RD_KAFKA_RESP_ERR_NO_ERROR);
		if (rc)
			refused(o, rd_kafka_err2str(rc));
	}
}

void kafka_overflow_take(struct kafka_overflow *o, const struct sb_overflow *what)
{
	struct slot *s = sb_pool_alloc(sizeof(*s) + what->position.n + what->owed.n);
	char *p = (char *)(s + 1);

	*s = (struct slot){ .token = what->token, .event = sb_event_ref((struct sb_event *)what->event) };
	sb_list_init(&s->link);
	memcpy(p, what->position.p, what->position.n);
	memcpy(p + what->position.n, what->owed.p, what->owed.n);
	s->position = sb_slice(p, what->position.n);
	s->owed = sb_slice(p + what->position.n, what->owed.n);
	sb_list_push_back(&o->waiting, &s->link);
	send_waiting(o);
}

/* ------------------------------------------------------------------------------------------------ reports */

static void on_report(struct kafka_overflow *o, const rd_kafka_message_t *m)
{
	struct slot *s = m->_private;

	o->under_way--;
	o->alone = o->alone && !s->suspect;
	if (is_too_large(m->err) && s->suspect) {
		give_up(o, s);
		return;
	}
	if (m->err && s->token) {
		s->suspect = s->suspect || is_too_large(m->err);
		sb_list_unlink(&s->link);
		sb_list_push_back(&o->waiting, &s->link);
		refused(o, rd_kafka_err2str(m->err));
		return;
	}
	if (!m->err) {
		o->n++;
		answer(o, s, true);
	}
	slot_free(s);
	o->told = o->told && !sb_list_empty(&o->waiting);
}

static void on_event(struct kafka_overflow *o, rd_kafka_event_t *ev)
{
	const rd_kafka_message_t *m;
	char why[sizeof(o->last_error)];

	if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_DR)
		while ((m = rd_kafka_event_message_next(ev)))
			on_report(o, m);
	rd_kafka_event_destroy(ev);
	if (o->state == KAFKA_OVERFLOW_OPEN && rd_kafka_fatal_error(o->producer.rk, why, sizeof(why))) {
		o->state = KAFKA_OVERFLOW_LEAVING;
		kafka_producer_purge(&o->producer);
	}
}

static void listen_to_producer(struct kafka_overflow *o)
{
	rd_kafka_event_t *ev;

	for (unsigned n = 0; n < EVENTS_MOST && (o->state == KAFKA_OVERFLOW_OPEN || o->state == KAFKA_OVERFLOW_LEAVING); n++) {
		ev = kafka_producer_next(&o->producer);
		if (!ev)
			return;
		on_event(o, ev);
	}
}

/* ------------------------------------------------------------------------------------------------ life */

void kafka_overflow_init(struct kafka_overflow *o, struct sb_source *s, int wake_fd)
{
	*o = (struct kafka_overflow){ .source = s, .wake_fd = wake_fd, .value = SB_BUF(VALUE_MAX), .key = SB_BUF(TEXT_MAX), .text = SB_BUF(TEXT_MAX) };
	sb_list_init(&o->waiting);
	sb_list_init(&o->sent);
}

void kafka_overflow_turn(struct kafka_overflow *o)
{
	listen_to_producer(o);
	if (o->state == KAFKA_OVERFLOW_LEAVING && o->under_way == 0) {
		o->state = KAFKA_OVERFLOW_ENDING;
		kafka_producer_end(&o->producer);
	}
	if (o->state == KAFKA_OVERFLOW_ENDING && kafka_producer_ended(&o->producer))
		o->state = KAFKA_OVERFLOW_SHUT;
	send_waiting(o);
}

void kafka_overflow_forget(struct kafka_overflow *o)
{
	if (!o->source)
		return;
	for (struct sb_link *x = o->sent.next; x != &o->sent; x = x->next)
		SB_CONTAINER(x, struct slot, link)->token = NULL;
	for (struct sb_link *x = o->waiting.next; x != &o->waiting; x = x->next)
		SB_CONTAINER(x, struct slot, link)->token = NULL;
}

void kafka_overflow_close(struct kafka_overflow *o)
{
	struct sb_link *x;

	o->closing = true;
	for (x = o->sent.next; x != &o->sent; x = x->next)
		answer(o, SB_CONTAINER(x, struct slot, link), false);
	while (!sb_list_empty(&o->waiting)) {
		struct slot *s = SB_CONTAINER(o->waiting.next, struct slot, link);

		answer(o, s, false);
		slot_free(s);
	}
	if (o->state == KAFKA_OVERFLOW_OPEN) {
		o->state = KAFKA_OVERFLOW_LEAVING;
		kafka_producer_purge(&o->producer);
	}
	kafka_overflow_turn(o);
}

bool kafka_overflow_closed(const struct kafka_overflow *o)
{
	return o->closing && o->state == KAFKA_OVERFLOW_SHUT;
}

void kafka_overflow_free(struct kafka_overflow *o)
{
	if (!o->source)
		return;
	if (o->state == KAFKA_OVERFLOW_OPEN || o->state == KAFKA_OVERFLOW_LEAVING)
		kafka_producer_end(&o->producer);
	if (o->state != KAFKA_OVERFLOW_SHUT)
		kafka_producer_join(&o->producer);
	while (!sb_list_empty(&o->sent))
		slot_free(SB_CONTAINER(o->sent.next, struct slot, link));
	while (!sb_list_empty(&o->waiting))
		slot_free(SB_CONTAINER(o->waiting.next, struct slot, link));
	sb_buf_done(&o->value);
	sb_buf_done(&o->key);
	sb_buf_done(&o->text);
}
