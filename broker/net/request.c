/* SPDX-License-Identifier: Apache-2.0 */
#include "conn.h"

#include <stdarg.h>
#include <stdio.h>

#include "broker/base/json.h"

struct request *request_new(struct conn *c, size_t n_headers)
{
	struct request *r = sb_pool_alloc(sizeof(*r) + n_headers * sizeof(r->header[0]));

	memset(r, 0, sizeof(*r));
	r->conn = c;
	r->tag = c->tag;
	sb_list_push_back(&c->queue, &r->link);
	c->n_queue++;
	return r;
}

void request_free(struct request *r)
{
	input_unref(r->in);
	sb_pool_free(r->answer);
	sb_pool_free(r);
}

static const struct {
	unsigned status;
	const char *phrase;
} phrases[] = {
	{ 202, "Accepted" }, { 200, "OK" }, { 201, "Created" }, { 204, "No Content" }, { 207, "Multi-Status" },
	{ 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" }, { 404, "Not Found" },
	{ 405, "Method Not Allowed" }, { 408, "Request Timeout" }, { 409, "Conflict" }, { 413, "Content Too Large" },
	{ 414, "URI Too Long" }, { 415, "Unsupported Media Type" }, { 417, "Expectation Failed" },
	{ 422, "Unprocessable Content" }, { 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" },
	{ 500, "Internal Server Error" }, { 501, "Not Implemented" }, { 503, "Service Unavailable" },
	{ 505, "HTTP Version Not Supported" },
};

static const char *phrase_of(unsigned status)
{
	for (size_t i = 0; i < SB_LEN(phrases); i++)
		if (phrases[i].status == status)
			return phrases[i].phrase;
	return "Status"; /* the phrase carries no meaning */
}

static char *put(char *at, const char *s, size_t n)
{
	memcpy(at, s, n);
	return at + n;
}

static char *put_str(char *at, const char *s)
{
	return put(at, s, strlen(s));
}

static char *put_number(char *at, uint64_t v)
{
	char digits[20];
	size_t n = sizeof(digits);

	do
		digits[--n] = (char)('0' + v % 10);
	while (v /= 10);
	return put(at, digits + n, sizeof(digits) - n);
}

static size_t len_or_0(const char *s)
{
	return s ? strlen(s) : 0;
}

void request_answer(struct request *r, const struct sb_http_server *s, unsigned status, const char *content_type,
	const char *headers, struct sb_slice body)
{
	/* 192: status line, Date, and the names and numbers of Content-Type, Content-Length and Connection */
	size_t most = 192 + len_or_0(content_type) + len_or_0(headers) + body.n;
	char *at;

	SB_ASSERT(!r->answer && status >= 100 && status <= 999);
	at = r->answer = sb_pool_alloc(most);
	at = put_str(at, "HTTP/1.1 ");
	at = put_number(at, status);
	at = put_str(at, " ");
	at = put_str(at, phrase_of(status));
	at = put_str(at, "\r\n");
	at = put_str(at, s->date);
	if (content_type) {
		at = put_str(at, "Content-Type: ");
		at = put_str(at, content_type);
		at = put_str(at, "\r\n");
	}
	if (status != 204) {
		at = put_str(at, "Content-Length: ");
		at = put_number(at, body.n);
		at = put_str(at, "\r\n");
	}
	if (r->close)
		at = put_str(at, "Connection: close\r\n");
	if (headers)
		at = put_str(at, headers);
	at = put_str(at, "\r\n");
	if (!r->head && status != 204 && body.n)
		at = put(at, body.p, body.n);
	r->answer_n = (uint32_t)(at - r->answer);
	SB_ASSERT(r->answer_n <= most);
}

void request_interim(struct request *r)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

	r->answer_n = sizeof(text) - 1;
	r->answer = sb_pool_alloc(r->answer_n);
	memcpy(r->answer, text, r->answer_n);
}

/* ------------------------------------------------------------------------------------------------ the handler's side */

static struct request *request_of(const struct sb_http_req *req)
{
	return SB_CONTAINER(req, struct request, pub);
}

void *sb_http_tag(const struct sb_http_req *req)
{
	return request_of(req)->tag;
}

struct sb_slice sb_http_header(const struct sb_http_req *req, const char *name)
{
	struct sb_slice want = sb_slice_str(name);

	for (size_t i = 0; i < req->n_headers; i++)
		if (sb_slice_eq(req->header[i].name, want))
			return req->header[i].value;
	return (struct sb_slice){ 0 };
}

void sb_http_media_type(const struct sb_http_req *req, char out[64])
{
	struct sb_slice v = sb_http_header(req, "content-type");
	size_t n = 0;

	while (n < v.n && n < 63 && v.p[n] != ';' && v.p[n] != ' ' && v.p[n] != '\t') {
		char c = v.p[n];

		out[n++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	out[n] = '\0';
}

static bool last_of_draining(const struct request *r)
{
	const struct conn *c = r->conn;

	return c->s->draining && c->queue.prev == &r->link && c->start == c->len;
}

void sb_http_reply(struct sb_http_req *req, unsigned status, const char *content_type, const char *headers,
	struct sb_slice body)
{
	struct request *r = request_of(req);
	struct conn *c = r->conn;

	if (!c) {
		request_free(r);
		return;
	}
	if (last_of_draining(r))
		r->close = r->ours = c->closing = true;
	server_date(c->s);
	request_answer(r, c->s, status, content_type, headers, body);
	if (c->pumping || !sb_list_empty(&c->dirty))
		return;
	if (sb_list_empty(&c->s->dirty))
		event_active(&c->s->flush_ev, 0, 0);
	sb_list_push_back(&c->s->dirty, &c->dirty);
}

static bool retryable(unsigned status)
{
	return status == 408 || status == 429 || status >= 502 || status == 500;
}

static const char *error_headers(unsigned status)
{
	if (status == 401)
		return "WWW-Authenticate: Bearer\r\n";
	return status == 503 || status == 429 ? "Retry-After: 1\r\n" : NULL;
}

void sb_http_reply_error(struct sb_http_req *req, unsigned status, const char *code, const char *fmt, ...)
{
	char msg[512], mem[1536];
	struct sb_buf out = { .p = mem, .cap = sizeof(mem), .max = sizeof(mem) };
	bool again = retryable(status) && status != 505;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	sb_buf_adds(&out, "{\"error\":{\"code\":");
	sb_json_add_string(&out, sb_slice_str(code));
	sb_buf_adds(&out, ",\"message\":");
	sb_json_add_string(&out, sb_slice_str(msg));
	sb_buf_addf(&out, ",\"retryable\":%s}}\n", again ? "true" : "false");
	sb_http_reply(req, status, "application/json", error_headers(status), sb_buf_slice(&out));
}
