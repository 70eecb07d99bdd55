/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "broker/net/guard.h"
#include "broker/net/httpparse.h"

#if defined(__has_include) && !defined(SB_HAVE_LLHTTP)
#if __has_include(<http_parser.h>)
#include <http_parser.h>
#define SECOND_OPINION 1
#endif
#endif

/*
 * One request, as the server reads it:
 *   - the verdict, the end of the message and its body do not depend on how the bytes were cut;
 *   - the parser finds the header fields that the guard has counted;
 *   - a message that we take, because they agree about its framing, is taken by http-parser alone, with the same body and the same end: no smuggling.
 */
#define CHECK(x) ((x) ? (void)0 : abort())
#define MAX 8192

static const struct sb_guard_limits limits = { .line = 512, .header_bytes = 2048, .headers = 16, .body = 4096 };

struct outcome {
	int rc;
	unsigned status;
	size_t head, end, body_n;
	struct sb_guard guard;
	char text[MAX], body[MAX];
};

struct reader {
	struct sb_guard guard;
	struct sb_chunked chunked;
	bool in_body;
	char text[MAX];
};

static int body_of(struct reader *r, size_t n, struct outcome *o, struct sb_refuse_http *why)
{
	size_t from = r->guard.line;
	int rc;

	if (!r->guard.chunked) {
		o->body_n = (size_t)r->guard.length;
		o->end = from + o->body_n;
		if (o->end > n)
			return 0;
		memcpy(o->body, r->text + from, o->body_n);
		return 1;
	}
	rc = sb_chunked_run(&r->chunked, &limits, r->text, n, why);
	CHECK(r->chunked.wr <= r->chunked.rd && r->chunked.rd <= n && r->chunked.wr >= from);
	if (rc > 0) {
		o->end = r->chunked.rd;
		o->body_n = r->chunked.wr - from;
		memcpy(o->body, r->text + from, o->body_n);
	}
	return rc;
}

/* The bytes up to n are there. */
static int go_on(struct reader *r, size_t n, struct outcome *o)
{
	struct sb_refuse_http why = { 0 };
	int rc = 1;

	if (!r->in_body) {
		rc = sb_guard_head(&r->guard, &limits, r->text, n, &why);
		if (rc > 0) {
			r->in_body = true;
			r->chunked = (struct sb_chunked){ .wr = r->guard.line, .rd = r->guard.line };
		}
	}
	if (rc > 0)
		rc = body_of(r, n, o, &why);
	CHECK((rc < 0) == (why.status >= 400 && why.status < 600));
	o->rc = rc;
	o->status = why.status;
	o->guard = r->guard;
	return rc;
}

static void read_in(const uint8_t *data, size_t n, size_t step, struct outcome *o)
{
	static struct reader r;

	memset(&r, 0, sizeof(r));
	memset(o, 0, sizeof(*o));
	memcpy(r.text, data, n);
	for (size_t have = SB_MIN(step, n);; have = SB_MIN(have + step, n))
		if (go_on(&r, have, o) != 0 || have == n)
			break;
	memcpy(o->text, r.text, n);
}

static void same(const struct outcome *a, const struct outcome *b)
{
	CHECK(a->rc == b->rc && a->status == b->status);
	if (a->rc > 0)
		CHECK(a->end == b->end && a->body_n == b->body_n && memcmp(a->body, b->body, a->body_n) == 0);
}

/* http-parser takes a name that begins with transfer-encoding for that, and refuses what is then odd about it. */
static bool confuses_http_parser(const struct outcome *o)
{
	static const char name[] = "\ntransfer-encoding";
	const char *p = o->text;

	while ((p = memmem(p, (size_t)(o->text + o->end - p), name, sizeof(name) - 1)) != NULL) {
		p += sizeof(name) - 1;
		if (*p != ':')
			return true;
	}
	return false;
}

/* The server's own rule: who does not agree with the guard makes a refusal. */
static bool parser_agrees(const struct outcome *o)
{
	struct sb_http_header header[16];
	struct sb_head h = { .header = header, .max = 16 };

	if (sb_httpparse_head(o->text + o->guard.start, o->guard.line - o->guard.start, &h) < 0)
		return false;
	CHECK(h.n == o->guard.n_headers && h.target.n > 0);
	return h.chunked == o->guard.chunked && h.length == o->guard.length;
}

#ifdef SECOND_OPINION
struct opinion {
	char body[MAX];
	size_t n;
	bool complete;
};

static int on_body(http_parser *p, const char *at, size_t n)
{
	struct opinion *x = p->data;

	memcpy(x->body + x->n, at, n);
	x->n += n;
	return 0;
}

static int on_complete(http_parser *p)
{
	((struct opinion *)p->data)->complete = true;
	http_parser_pause(p, 1);
	return 0;
}

static void check_second_opinion(const uint8_t *data, size_t n, const struct outcome *o)
{
	static const http_parser_settings settings = { .on_body = on_body, .on_message_complete = on_complete };
	struct opinion x = { .n = 0 };
	http_parser p;
	size_t used;

	http_parser_init(&p, HTTP_REQUEST);
	p.data = &x;
	used = http_parser_execute(&p, &settings, (const char *)data, n);
	CHECK(x.complete && x.n == o->body_n && memcmp(x.body, o->body, x.n) == 0);
	/* Paused at the last byte of the message, or behind it. */
	CHECK(used == o->end || used + 1 == o->end);
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct outcome whole, cut;

	if (n == 0 || n > MAX)
		return 0;
	read_in(data, n, n, &whole);
	read_in(data, n, 1, &cut);
	same(&whole, &cut);
	read_in(data, n, 1 + data[0] % 61, &cut);
	same(&whole, &cut);
	if (whole.rc <= 0 || !parser_agrees(&whole) || confuses_http_parser(&whole))
		return 0;
#ifdef SECOND_OPINION
	check_second_opinion(data, n, &whole);
#endif
	return 0;
}
