/* SPDX-License-Identifier: Apache-2.0 */
#include "httpsource.h"

#include <stdio.h>

struct waiting {
	struct sb_http_req *req;
	unsigned status;
	size_t n;
	char body[];
};

static struct httpsource *state_of(const struct sb_source *s)
{
	return s->state;
}

struct said httpsource_said(enum sb_refuse why)
{
	switch (why) {
	case SB_REFUSE_UNKNOWN_BUS: return (struct said){ 404, "unknown_bus", false };
	case SB_REFUSE_TOO_LARGE:   return (struct said){ 413, "too_large", false };
	case SB_REFUSE_INVALID:     return (struct said){ 400, "invalid_event", false };
	case SB_REFUSE_FULL:        return (struct said){ 503, "no_room", true };
	case SB_REFUSE_STOPPING:    return (struct said){ 503, "stopping", true };
	case SB_REFUSE_WITH_OTHERS: return (struct said){ 400, "not_stored", true };
	case SB_TAKEN:              break;
	}
	return (struct said){ 500, "internal_error", true };
}

void httpsource_reject(struct httpsource *h, struct sb_http_req *req, const struct said *said, const char *msg)
{
	sb_source_rejected(h->source, said->code, 1);
	sb_http_reply_error(req, said->status, said->code, "%s", msg);
}

void httpsource_reject_at(struct httpsource *h, struct sb_http_req *req, const struct said *said, const char *msg, size_t offset)
{
	char mem[512];
	struct sb_buf out = { .p = mem, .cap = sizeof(mem), .max = sizeof(mem) };

	sb_source_rejected(h->source, said->code, 1);
	sb_buf_addf(&out, "{\"error\":{\"code\":\"%s\",\"message\":\"%s at byte %zu\",\"retryable\":false,\"offset\":%zu}}\n",
		said->code, msg, offset, offset);
	sb_http_reply(req, said->status, "application/json", NULL, sb_buf_slice(&out));
}

static bool is_form(const struct sb_http_req *req)
{
	char media[64];

	sb_http_media_type(req, media);
	return strcmp(media, "application/x-www-form-urlencoded") == 0 || strncmp(media, "multipart/", 10) == 0;
}

static bool is_coded(const struct sb_http_req *req)
{
	struct sb_slice v = sb_http_header(req, "content-encoding");

	return v.n && !sb_slice_eq_str(v, "identity");
}

bool httpsource_admits(struct httpsource *h, struct sb_http_req *req)
{
	static const struct said media = { 415, "unsupported_media_type", false };
	struct said stopping = httpsource_said(SB_REFUSE_STOPPING);

	if (!sb_slice_eq_str(req->method, "POST")) {
		sb_source_rejected(h->source, "method_not_allowed", 1);
		sb_http_reply(req, 405, "application/json", "Allow: POST\r\n",
			SB_SLICE("{\"error\":{\"code\":\"method_not_allowed\",\"message\":\"send events by POST\","
				 "\"retryable\":false}}\n"));
		return false;
	}
	if (h->paused || h->closing) {
		httpsource_reject(h, req, &stopping, h->paused ? "the source is paused" : "the source is shutting down");
		return false;
	}
	if (is_coded(req) || is_form(req)) {
		httpsource_reject(h, req, &media, is_coded(req) ? "Content-Encoding is not supported" : "forms are not supported");
		return false;
	}
	return true;
}

int httpsource_emit(struct httpsource *h, struct sb_http_req *req, const struct httpsource_group *g, unsigned status,
	struct sb_slice body)
{
	struct waiting *w = sb_pool_alloc(sizeof(*w) + body.n);

	*w = (struct waiting){ .req = req, .status = status, .n = body.n };
	memcpy(w->body, body.p, body.n);
	h->waiting++; /* before the offer: the answer may come from within */
	if (sb_source_emit(h->source, g->ev, g->n, (uint64_t)(uintptr_t)w, g->refusal) == 0)
		return 0;
	h->waiting--;
	sb_pool_free(w);
	return -1;
}

/* ------------------------------------------------------------------------------------------------ the framework's calls */

void httpsource_pause(struct sb_source *s, bool on)
{
	state_of(s)->paused = on;
}

static void answered(struct sb_source *s, struct waiting *w)
{
	struct httpsource *h = state_of(s);

	sb_pool_free(w);
	h->waiting--;
	if (h->closing && h->waiting == 0)
		sb_source_closed(s);
}

void httpsource_accepted(struct sb_source *s, uint64_t cookie)
{
	struct waiting *w = (struct waiting *)(uintptr_t)cookie;

	sb_http_reply(w->req, w->status, "application/json", NULL, sb_slice(w->body, w->n));
	answered(s, w);
}

void httpsource_refused(struct sb_source *s, uint64_t cookie, const struct sb_refusal *why)
{
	struct waiting *w = (struct waiting *)(uintptr_t)cookie;
	struct said said = httpsource_said(why->why);

	sb_http_reply_error(w->req, said.status, said.code, "%s", why->msg);
	answered(s, w);
}

void httpsource_close(struct sb_source *s)
{
	struct httpsource *h = state_of(s);

	if (h->closing)
		return;
	h->closing = true;
	if (h->waiting == 0)
		sb_source_closed(s);
}

/* ------------------------------------------------------------------------------------------------ header values */

static int add_latin1(struct sb_buf *out, struct sb_slice v)
{
	size_t before = out->len;

	for (size_t i = 0; i < v.n; i++) {
		uint8_t c = (uint8_t)v.p[i];
		char two[2] = { (char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f)) };

		if ((c < 0x80 ? sb_buf_addc(out, (char)c) : sb_buf_add(out, two, 2)) < 0) {
			out->len = before;
			return -1;
		}
	}
	return 0;
}

int httpsource_add_value(struct sb_buf *out, struct sb_slice value)
{
	char mem[1024];
	struct sb_buf plain = SB_BUF(128u << 10);
	int rc;

	if (sb_utf8_check(value.p, value.n) == value.n)
		return sb_json_add_string(out, value);
	if (value.n <= sizeof(mem) / 2)
		plain = (struct sb_buf){ .p = mem, .cap = sizeof(mem), .max = sizeof(mem) };
	rc = add_latin1(&plain, value);
	if (rc == 0)
		rc = sb_json_add_string(out, sb_buf_slice(&plain));
	if (plain.p != mem)
		sb_buf_done(&plain);
	return rc;
}
