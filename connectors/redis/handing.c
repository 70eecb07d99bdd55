/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an entry of the stream to an event in the framework's hands, and from its settlement to the XACK. What the framework does
 * not take now is offered again, in order, and nothing new is read meanwhile. What no event can be made of, or what has been
 * delivered too often without an end, becomes a dead letter with its bytes.
 */
#include "stream.h"

#include <event2/event.h>
#include <stdio.h>

#include "broker/base/log.h"
#include "connectors/httpsource.h"

#define ACK_IDS 500
#define REFUSED_MS_MAX 1000

/* ------------------------------------------------------------------------------------------------ an entry as a message */

static struct sb_slice slice_of(const redisReply *r)
{
	return r->str ? sb_slice(r->str, r->len) : sb_slice("", 0);
}

/* The fields but one as a JSON object; all of them when `but` is SIZE_MAX. */
static int add_fields(struct sb_buf *out, const redisReply *f, size_t but)
{
	int rc = sb_buf_addc(out, '{');
	bool first = true;

	for (size_t i = 0; i + 1 < f->elements; i += 2) {
		if (i == but)
			continue;
		if (!first)
			rc |= sb_buf_addc(out, ',');
		first = false;
		rc |= httpsource_add_value(out, slice_of(f->element[i]));
		rc |= sb_buf_addc(out, ':');
		rc |= httpsource_add_value(out, slice_of(f->element[i + 1]));
	}
	return rc | sb_buf_addc(out, '}');
}

static size_t find_field(const redisReply *f, const char *name)
{
	for (size_t i = 0; i + 1 < f->elements; i += 2)
		if (sb_slice_eq_str(slice_of(f->element[i]), name))
			return i;
	return SIZE_MAX;
}

static size_t headers_of(const redisReply *f, size_t but, struct sb_message_header *h, struct sb_slice *content_type)
{
	size_t n = 0;

	for (size_t i = 0; i + 1 < f->elements && n < RDS_HEADERS_MAX; i += 2) {
		if (i == but)
			continue;
		h[n++] = (struct sb_message_header){ slice_of(f->element[i]), slice_of(f->element[i + 1]) };
		if (sb_slice_eq_str(slice_of(f->element[i]), "content-type"))
			*content_type = slice_of(f->element[i + 1]);
	}
	return n;
}

static int write_meta(struct rds_stream *st, struct rds_id id, const redisReply *f, size_t but)
{
	struct sb_buf *m = &st->meta;
	char text[RDS_ID_TEXT];
	int rc;

	sb_buf_clear(m);
	rc = sb_buf_adds(m, "\"redis\":{\"stream\":");
	rc |= httpsource_add_value(m, sb_slice(st->key, st->key_n));
	rc |= sb_buf_adds(m, ",\"id\":\"");
	rc |= sb_buf_add(m, text, rds_id_format(id, text));
	rc |= sb_buf_addc(m, '"');
	if (but != SIZE_MAX && f->elements > 2) {
		rc |= sb_buf_adds(m, ",\"fields\":");
		rc |= add_fields(m, f, but);
	}
	return rc | sb_buf_addc(m, '}');
}

/* -1: err->msg says why no event can be made of it. */
static int read_event(struct rds_stream *st, struct rds_id id, const redisReply *f, struct sb_event **ret, struct sb_err *err)
{
	struct sb_uuid receipt = rds_id_receipt(st->s->name, st->key, id);
	struct sb_message_header h[RDS_HEADERS_MAX];
	struct sb_message m = { .receipt = &receipt, .header = h, .time_ms = id.ms };
	const char *field = st->conf->field;
	size_t at = field ? find_field(f, field) : SIZE_MAX;

	sb_buf_clear(&st->value);
	if (field && at == SIZE_MAX)
		return sb_fail(err, SB_E_MISSING, "the entry has no field `%s`", field);
	if (write_meta(st, id, f, at) < 0 || (!field && add_fields(&st->value, f, SIZE_MAX) < 0))
		return sb_fail(err, SB_E_LIMIT, "the entry is larger than an event may be");
	m.meta = sb_buf_slice(&st->meta);
	m.value = field ? slice_of(f->element[at + 1]) : sb_buf_slice(&st->value);
	if (field)
		m.n_headers = headers_of(f, at, h, &m.content_type);
	return sb_envelope_read(st->envelope, &m, ret, err);
}

/* ------------------------------------------------------------------------------------------------ handing over */

static uint64_t cookie_of(const struct rds_stream *st, const struct rds_entry *e)
{
	return (uint64_t)st->index << 56 | (uint64_t)rds_window_place(&st->win, e) << 32 | e->serial;
}

/* No event: these bytes, for the dead letters. */
static void make_unreadable(struct rds_stream *st, struct rds_entry *e, struct sb_slice raw, enum sb_reason reason, const char *why)
{
	size_t why_n = strlen(why) + 1;
	char *copy = sb_pool_alloc(raw.n + why_n);

	memcpy(copy, raw.p ? raw.p : "", raw.n);
	memcpy(copy + raw.n, why, why_n);
	rds_window_lighten(&st->win, e);
	e->raw = copy;
	e->raw_n = raw.n;
	e->why = copy + raw.n;
	e->reason = reason;
	rds_window_weigh(&st->win, e, raw.n + sizeof(*e));
	st->counts.unreadable++;
	sb_log(SB_LOG_ERROR, "entry of a stream becomes a dead letter", KS("source", st->s->name), KS("stream", st->key),
		KI("entry_ms", e->id.ms), KI("entry_seq", e->id.seq), KS("error", e->why));
}

static int hand_unreadable(struct rds_stream *st, struct rds_entry *e, const struct sb_held *held)
{
	const struct sb_unreadable what = { .value = sb_slice(e->raw, e->raw_n), .reason = e->reason, .message = sb_slice_str(e->why),
		.receipt = rds_id_receipt(st->s->name, st->key, e->id) };

	return sb_source_bury(st->s, held, &what);
}

/* The framework will never take it. */
static bool is_final(enum sb_refuse why)
{
	return why == SB_REFUSE_UNKNOWN_BUS || why == SB_REFUSE_TOO_LARGE || why == SB_REFUSE_INVALID;
}

static int hand_event(struct rds_stream *st, struct rds_entry *e, const struct sb_held *held)
{
	struct sb_refusal why = { 0 };

	if (sb_source_hand(st->s, sb_event_ref(e->ev), held, &why) == 0)
		return 0;
	sb_event_unref(e->ev);
	if (!is_final(why.why))
		return -1;
	make_unreadable(st, e, sb_slice(e->ev->json, e->ev->n), SB_R_INVALID_PARAMETER, why.msg);
	return hand_unreadable(st, e, held);
}

/* -1: not now. */
static int hand(struct rds_stream *st, struct rds_entry *e)
{
	char position[RDS_KEY_SHOWN + 1 + RDS_ID_TEXT];
	struct sb_held held = { .cookie = cookie_of(st, e) };
	size_t n = SB_MIN(st->key_n, RDS_KEY_SHOWN);

	memcpy(position, st->key, n);
	position[n++] = '/';
	held.position = sb_slice(position, n + rds_id_format(e->id, position + n));
	if ((e->ev ? hand_event(st, e, &held) : hand_unreadable(st, e, &held)) < 0)
		return -1;
	rds_window_move(&st->win, e, RDS_HANDED);
	return 0;
}

void rds_hand_all(struct rds_stream *st)
{
	struct rds_window *w = &st->win;

	if (st->paused || st->closing)
		return;
	while (!sb_list_empty(&w->again)) {
		if (hand(st, SB_CONTAINER(w->again.next, struct rds_entry, link)) < 0) {
			uint64_t wait_ms = SB_MIN(REFUSED_MS_MAX, 10u << SB_MIN(st->refusals, 7u));

			st->refusals++;
			st->counts.again++;
			st->hand_after_ns = sb_mono_ns(st->s->env->clock) + wait_ms * SB_NS_PER_MS;
			rds_stream_hurry(st);
			return;
		}
		st->refusals = 0;
	}
}

/* ------------------------------------------------------------------------------------------------ an entry comes */

static void take_in(struct rds_stream *st, struct rds_id id, const redisReply *f, uint64_t deliveries)
{
	struct rds_entry *e = rds_window_take(&st->win, id);
	char why[120];
	struct sb_err err;

	if (!e) {
		st->own_again = true; /* it is pending under our name: there will be room */
		return;
	}
	e->fresh_ns = sb_mono_ns(st->s->env->clock);
	st->counts.read++;
	if (st->conf->max_deliveries && deliveries > (uint64_t)st->conf->max_deliveries) {
		sb_buf_clear(&st->value);
		add_fields(&st->value, f, SIZE_MAX);
		snprintf(why, sizeof(why), "delivered %llu times without an end: it may be what ends the process",
			(unsigned long long)deliveries);
		make_unreadable(st, e, sb_buf_slice(&st->value), SB_R_RESOURCE_LIMIT_EXCEEDED, why);
	} else if (read_event(st, id, f, &e->ev, &err) < 0) {
		const char *code = sb_envelope_code(st->envelope);

		e->ev = NULL;
		sb_source_rejected(st->s, *code ? code : "missing_field", 1);
		sb_buf_clear(&st->value);
		add_fields(&st->value, f, SIZE_MAX);
		make_unreadable(st, e, sb_buf_slice(&st->value), strcmp(code, "invalid_json") == 0 ? SB_R_INVALID_JSON : SB_R_INVALID_PARAMETER,
			err.msg);
	} else {
		rds_window_weigh(&st->win, e, e->ev->n + sizeof(*e));
	}
	st->each = (st->each * 7 + e->bytes) / 8;
}

void rds_accept(struct rds_stream *st, const redisReply *entry, uint64_t deliveries)
{
	struct rds_id id;

	if (!rds_is_array(entry, 2) || rds_id_parse(rds_text(entry->element[0]), &id) < 0)
		return;
	if (rds_id_cmp(id, st->last_read) > 0)
		st->last_read = id;
	if (rds_window_find(&st->win, id))
		return;
	if (entry->element[1]->type != REDIS_REPLY_ARRAY)
		rds_lost(st, id);
	else
		take_in(st, id, entry->element[1], deliveries);
}

/* ------------------------------------------------------------------------------------------------ settled, acknowledged */

void rds_settled(struct rds_stream *st, size_t place, uint32_t serial)
{
	struct rds_entry *e = rds_window_at(&st->win, place, serial);

	if (!e || e->state != RDS_HANDED)
		return;
	rds_window_lighten(&st->win, e);
	rds_window_move(&st->win, e, RDS_SETTLED);
	event_active(st->acker, EV_TIMEOUT, 0);
}

/* Answers come in the order of their commands, so those that this one speaks for are the first. */
struct acking {
	struct rds_stream *st;
	size_t n;
};

static void on_acked(redisAsyncContext *ac, void *reply, void *arg)
{
	struct acking a = *(struct acking *)arg;
	struct rds_window *w = &a.st->win;
	const redisReply *r = reply;
	bool good = r && !rds_is_error(r);

	(void)ac;
	sb_pool_free(arg);
	for (size_t i = 0; i < a.n; i++) {
		struct rds_entry *e = SB_CONTAINER(w->acking.next, struct rds_entry, link);

		if (good)
			rds_window_drop(w, e);
		else
			rds_window_move(w, e, RDS_SETTLED);
	}
	if (good) {
		a.st->counts.acked += a.n;
		rds_stream_go_on(a.st);
	} else if (r) {
		rds_stream_heed(a.st, a.st->talk, r);
	}
}

static size_t count_up_to(const struct sb_link *list, size_t most)
{
	size_t n = 0;

	for (const struct sb_link *l = list->next; l != list && n < most; l = l->next)
		n++;
	return n;
}

static bool ack_some(struct rds_stream *st)
{
	struct rds_window *w = &st->win;
	struct acking *a = sb_pool_alloc(sizeof(*a));
	struct sb_link *l = w->settled.next;
	struct rds_command cmd;
	char id[RDS_ID_TEXT];

	*a = (struct acking){ st, count_up_to(&w->settled, ACK_IDS) };
	sb_buf_clear(&st->command);
	rds_begin(&cmd, &st->command, (unsigned)(3 + a->n), "XACK");
	rds_word(&cmd, st->key);
	rds_word(&cmd, st->conf->group);
	for (size_t i = 0; i < a->n; i++, l = l->next)
		rds_bytes(&cmd, sb_slice(id, rds_id_format(SB_CONTAINER(l, struct rds_entry, link)->id, id)));
	rds_end(&cmd);
	if (rds_stream_tell(st, on_acked, a) < 0) {
		sb_pool_free(a);
		return false;
	}
	for (size_t i = 0; i < a->n; i++)
		rds_window_move(w, SB_CONTAINER(w->settled.next, struct rds_entry, link), RDS_ACKING);
	return true;
}

void rds_ack_all(struct rds_stream *st)
{
	while (!sb_list_empty(&st->win.settled))
		if (!ack_some(st))
			return;
}

static void on_given_up(redisAsyncContext *ac, void *reply, void *arg)
{
	(void)ac;
	(void)reply;
	(void)arg; /* were it not done, the entry would be found lost once more */
}

void rds_lost(struct rds_stream *st, struct rds_id id)
{
	struct rds_command cmd;
	char text[RDS_ID_TEXT];

	st->counts.lost_by_trim++;
	sb_source_rejected(st->s, "lost_by_trim", 1);
	sb_log(SB_LOG_ERROR, "entry of a stream was trimmed or deleted before it was processed", KS("source", st->s->name),
		KS("stream", st->key), KI("entry_ms", id.ms), KI("entry_seq", id.seq));
	sb_buf_clear(&st->command);
	rds_begin(&cmd, &st->command, 4, "XACK");
	rds_word(&cmd, st->key);
	rds_word(&cmd, st->conf->group);
	rds_bytes(&cmd, sb_slice(text, rds_id_format(id, text)));
	rds_end(&cmd);
	rds_stream_tell(st, on_given_up, NULL);
}
