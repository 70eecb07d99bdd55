/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source behind POST /v1/events and /v1/cloudevents. The text is scanned once; each event is built from that tape and
 * gets a verdict of its own. Then the group is offered: all of it, or with `Prefer: handling=lenient` what is good of it.
 * What the framework refuses in an offer becomes a verdict too, and a lenient sender's rest is offered again.
 */
#include "batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define MAX_ANSWER (16u << 20)

struct events {
	struct httpsource http; /* first: see there */
	bool routed;
	struct batch batch;
	/* The offer, parallel arrays: what is good of the batch. */
	struct sb_event **good;
	struct sb_refusal *refusal;
	size_t *index; /* in the batch */
	size_t cap;
	struct sb_buf answer;
};

static const char events_path[] = "/v1/events", ce_path[] = "/v1/cloudevents";

/* ------------------------------------------------------------------------------------------------ answers */

static size_t count_bad(const struct batch *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		n += b->verdict[i].code != NULL;
	return n;
}

static void add_verdict(struct sb_buf *out, const struct verdict *v)
{
	sb_buf_addf(out, "{\"code\":\"%s\",\"message\":", v->code);
	sb_json_add_string(out, sb_slice_str(v->msg));
	sb_buf_addf(out, ",\"retryable\":%s,\"offset\":%zu}", v->retryable ? "true" : "false", v->offset);
}

static void add_good(struct sb_buf *out, const struct sb_event *ev, bool stored)
{
	if (!stored) {
		sb_buf_adds(out, "{\"code\":\"not_stored\",\"message\":\"nothing is wrong with this event; a batch is all or nothing\","
				 "\"retryable\":true}");
		return;
	}
	sb_buf_adds(out, "{\"id\":\"");
	sb_buf_add_slice(out, ev->id);
	sb_buf_adds(out, "\"}");
}

static void add_results(struct sb_buf *out, const struct batch *b, bool stored)
{
	sb_buf_adds(out, "\"results\":[");
	for (size_t i = 0; i < b->n; i++) {
		if (i)
			sb_buf_addc(out, ',');
		if (b->verdict[i].code)
			add_verdict(out, &b->verdict[i]);
		else
			add_good(out, b->ev[i], stored);
	}
	sb_buf_addc(out, ']');
}

static void render_taken(struct events *e, bool some_bad)
{
	struct sb_buf *out = &e->answer;
	const struct batch *b = &e->batch;

	sb_buf_clear(out);
	if (some_bad) {
		sb_buf_addc(out, '{');
		add_results(out, b, true);
		sb_buf_adds(out, "}\n");
		return;
	}
	sb_buf_adds(out, "{\"ids\":[");
	for (size_t i = 0; i < b->n; i++) {
		sb_buf_adds(out, i ? ",\"" : "\"");
		sb_buf_add_slice(out, b->ev[i]->id);
		sb_buf_addc(out, '"');
	}
	sb_buf_adds(out, "]}\n");
}

/* What all refused events have in common; else 400 invalid_batch. */
static struct verdict common_verdict(const struct batch *b, size_t bad)
{
	const struct verdict *first = NULL;
	struct verdict all;
	bool same = true;

	for (size_t i = 0; i < b->n; i++) {
		if (!b->verdict[i].code)
			continue;
		first = first ? first : &b->verdict[i];
		same = same && strcmp(first->code, b->verdict[i].code) == 0;
	}
	SB_ASSERT(first);
	all = *first;
	if (!same)
		batch_bad(&all, "invalid_batch", 0, "%s", "");
	if (b->n > 1)
		snprintf(all.msg, sizeof(all.msg), "%zu of %zu events are refused, nothing is stored", bad, b->n);
	return all;
}

static void answer_refused(struct events *e, struct sb_http_req *req, size_t bad)
{
	struct verdict v = common_verdict(&e->batch, bad);
	struct sb_buf *out = &e->answer;

	sb_buf_clear(out);
	sb_buf_addf(out, "{\"error\":{\"code\":\"%s\",\"message\":", v.code);
	sb_json_add_string(out, sb_slice_str(v.msg));
	sb_buf_addf(out, ",\"retryable\":%s},", v.retryable ? "true" : "false");
	add_results(out, &e->batch, false);
	sb_buf_adds(out, "}\n");
	sb_http_reply(req, v.status, "application/json", v.status == 503 ? "Retry-After: 1\r\n" : NULL, sb_buf_slice(out));
}

/* ------------------------------------------------------------------------------------------------ the offer */

static size_t collect(struct events *e)
{
	const struct batch *b = &e->batch;
	size_t n = 0;

	if (e->cap < b->n) {
		e->cap = b->cap;
		e->good = sb_xrealloc(e->good, e->cap * sizeof(struct sb_event *));
		e->refusal = sb_xrealloc(e->refusal, e->cap * sizeof(*e->refusal));
		e->index = sb_xrealloc(e->index, e->cap * sizeof(*e->index));
	}
	for (size_t i = 0; i < b->n; i++)
		if (!b->verdict[i].code) {
			e->index[n] = i;
			e->refusal[n] = (struct sb_refusal){ 0 };
			e->good[n++] = b->ev[i];
		}
	return n;
}

static void drop(struct batch *b, size_t i)
{
	sb_event_unref(b->ev[i]);
	b->ev[i] = NULL;
}

static void drop_all(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		drop(b, i);
	b->n = 0;
}

/* The framework's refusals become verdicts. Those that were only refused with others stay good. */
static void learn(struct events *e, size_t n)
{
	size_t learned = 0;

	for (size_t k = 0; k < n; k++) {
		if (e->refusal[k].why == SB_REFUSE_WITH_OTHERS)
			continue;
		batch_refused(&e->batch.verdict[e->index[k]], &e->refusal[k], 0);
		drop(&e->batch, e->index[k]);
		learned++;
	}
	SB_ASSERT(learned); /* refused for nothing: offering again would never end */
}

static void offer(struct events *e, struct sb_http_req *req, bool lenient)
{
	struct batch *b = &e->batch;
	size_t bad, n;

	for (;;) {
		bad = count_bad(b);
		if (bad == b->n || (bad && !lenient))
			break;
		n = collect(e);
		render_taken(e, bad > 0);
		if (httpsource_emit(&e->http, req, &(struct httpsource_group){ e->good, n, e->refusal }, bad ? 207 : 202,
			    sb_buf_slice(&e->answer)) == 0) {
			b->n = 0; /* the references have moved */
			return;
		}
		learn(e, n);
	}
	if (bad < b->n)
		sb_source_rejected(e->http.source, httpsource_said(SB_REFUSE_WITH_OTHERS).code, b->n - bad);
	answer_refused(e, req, bad);
	drop_all(b);
}

/* ------------------------------------------------------------------------------------------------ a request */

static const struct said unauthorized = { 401, "unauthorized", false };
static const struct said wrong_media = { 415, "unsupported_media_type", false };
static const struct said no_events = { 400, "no_events", false };

static bool is_lenient(const struct sb_http_req *req)
{
	static const char want[] = "handling=lenient";
	const size_t n = sizeof(want) - 1;

	for (size_t i = 0; i < req->n_headers; i++) {
		struct sb_slice v = req->header[i].value;

		if (!sb_slice_eq_str(req->header[i].name, "prefer"))
			continue;
		for (size_t k = 0; k + n <= v.n; k++)
			if (strncasecmp(v.p + k, want, n) == 0 && (k == 0 || strchr(" ,;\t", v.p[k - 1])) &&
				(k + n == v.n || strchr(" ,;\t", v.p[k + n])))
				return true;
	}
	return false;
}

static void count_rejected(struct events *e)
{
	for (size_t i = 0; i < e->batch.n; i++)
		if (e->batch.verdict[i].code)
			sb_source_rejected(e->http.source, e->batch.verdict[i].code, 1);
}

/* Some reader has been run. */
static void after_reading(struct events *e, struct sb_http_req *req, int rc, const struct batch_fault *fault)
{
	if (rc < 0) {
		drop_all(&e->batch);
		if (fault->has_offset)
			httpsource_reject_at(&e->http, req, &fault->said, fault->msg, fault->offset);
		else
			httpsource_reject(&e->http, req, &fault->said, fault->msg);
		return;
	}
	if (e->batch.n == 0) {
		httpsource_reject(&e->http, req, &no_events, "the body holds no event");
		return;
	}
	count_rejected(e);
	offer(e, req, is_lenient(req));
}

static bool admits(struct events *e, struct sb_http_req *req)
{
	if (!httpsource_admits(&e->http, req))
		return false;
	if (sb_source_authorized(e->http.source, req))
		return true;
	httpsource_reject(&e->http, req, &unauthorized, "the credentials are missing or wrong");
	return false;
}

static void begin(struct events *e, const struct sb_http_req *req)
{
	struct batch *b = &e->batch;

	b->source = e->http.source;
	b->body = req->body;
	b->n = 0;
	b->bus = req->query.n > 4 && memcmp(req->query.p, "bus=", 4) == 0 ? sb_slice(req->query.p + 4, req->query.n - 4)
									  : (struct sb_slice){ 0 };
	sb_buf_clear(&b->plain);
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

static batch_reader *reader_of(const char *media)
{
	static const char *const lines[] = { "application/x-ndjson", "application/ndjson", "application/jsonl",
		"application/x-jsonlines", "application/jsonlines" };

	for (size_t i = 0; i < SB_LEN(lines); i++)
		if (strcmp(media, lines[i]) == 0)
			return batch_read_lines;
	if (strncmp(media, "application/cloudevents", 23) == 0)
		return NULL;
	if (strcmp(media, "application/json") == 0 || strcmp(media, "text/json") == 0 || ends_with(media, "+json") ||
		strncmp(media, "application/x-amz-json", 22) == 0)
		return batch_read_json;
	return NULL;
}

static void on_events(struct sb_http_req *req, void *arg)
{
	struct batch_fault fault = { 0 };
	struct events *e = arg;
	batch_reader *read;
	char media[64];

	if (!admits(e, req))
		return;
	sb_http_media_type(req, media);
	read = reader_of(media);
	if (!read) {
		httpsource_reject(&e->http, req, &wrong_media,
			"send application/json or application/x-ndjson; CloudEvents go to /v1/cloudevents");
		return;
	}
	begin(e, req);
	after_reading(e, req, read(&e->batch, &fault), &fault);
}

/* 1: no such format. */
static int read_cloudevents(struct events *e, const struct sb_http_req *req, struct batch_fault *fault)
{
	char media[64];

	sb_http_media_type(req, media);
	if (strcmp(media, "application/cloudevents+json") == 0)
		return batch_read_ce(&e->batch, fault);
	if (strcmp(media, "application/cloudevents-batch+json") == 0)
		return batch_read_ce_array(&e->batch, fault);
	if (strncmp(media, "application/cloudevents", 23) == 0 || !sb_http_header(req, "ce-specversion").p)
		return 1;
	return batch_read_ce_binary(&e->batch, req, fault);
}

static void on_cloudevents(struct sb_http_req *req, void *arg)
{
	struct batch_fault fault = { 0 };
	struct events *e = arg;
	int rc;

	if (!admits(e, req))
		return;
	begin(e, req);
	rc = read_cloudevents(e, req, &fault);
	if (rc > 0)
		httpsource_reject(&e->http, req, &wrong_media,
			"send application/cloudevents+json, application/cloudevents-batch+json, or ce- headers");
	else
		after_reading(e, req, rc, &fault);
}

/* ------------------------------------------------------------------------------------------------ life */

static int events_open(struct sb_source *s, struct sb_err *err)
{
	struct events *e = s->state;
	struct sb_http_routes *r = s->env->routes;

	e->http.source = s;
	sb_buf_init(&e->answer, MAX_ANSWER);
	sb_buf_init(&e->batch.meta, 256u << 10);
	sb_buf_init(&e->batch.plain, BATCH_PLAIN);
	sb_buf_reserve(&e->batch.plain, BATCH_PLAIN);
	if (!r)
		return 0;
	if (sb_http_route_add(r, events_path, on_events, e, err) < 0)
		return -1;
	if (sb_http_route_add(r, ce_path, on_cloudevents, e, err) < 0) {
		sb_http_route_del(r, events_path);
		return -1;
	}
	e->routed = true;
	return 0;
}

static void events_close(struct sb_source *s)
{
	struct events *e = s->state;

	if (e->routed) {
		sb_http_route_del(s->env->routes, events_path);
		sb_http_route_del(s->env->routes, ce_path);
	}
	e->routed = false;
	httpsource_close(s);
}

static void events_free(struct sb_source *s)
{
	struct events *e = s->state;

	free(e->batch.ev);
	free(e->batch.verdict);
	sb_tape_buf_done(&e->batch.tape);
	sb_buf_done(&e->batch.meta);
	sb_buf_done(&e->batch.plain);
	sb_buf_done(&e->answer);
	free(e->good);
	free(e->refusal);
	free(e->index);
}

static const struct sb_field no_fields[] = { { 0 } };

const struct sb_connector sb_connector_eventbridge = {
	.type = "events",
	.summary = "EventBridge-shaped events and CloudEvents posted to /v1/events and /v1/cloudevents",
	.source = &(const struct sb_source_ops){
		.state_size = sizeof(struct events),
		.fields = no_fields,
		.open = events_open,
		.pause = httpsource_pause,
		.accepted = httpsource_accepted,
		.refused = httpsource_refused,
		.close = events_close,
		.free = events_free,
	},
};
