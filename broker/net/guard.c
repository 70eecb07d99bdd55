/* SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

/*
 * Request smuggling lives on two readers that disagree about where a message ends. So whatever may be read in two ways
 * is refused here, byte by byte, and the parser behind us (httpparse.h) only gets what has one meaning; then both must
 * agree about the framing.
 *
 * A line is judged when its line feed has come, and limits before syntax: with that, the verdict on a request is the
 * same in whatever pieces it arrives. A limit is also applied to a line that is not complete, which cannot change a
 * verdict, only bring it forward.
 */

enum { TOKEN = 1, VALUE = 2, TARGET = 4, HOST = 8 };

#define T (TOKEN | VALUE | TARGET)
#define H (TOKEN | VALUE | TARGET | HOST)
#define V (VALUE | TARGET)
#define U (VALUE | TARGET | HOST)
#define B VALUE
#define B8 B, B, B, B, B, B, B, B
#define B64 B8, B8, B8, B8, B8, B8, B8, B8
/* What each byte may be part of: a token (RFC 9110 5.6.2), a field value, a request target, a Host value. */
static const uint8_t class_of[256] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0, B, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	/*  !  "  #  $  %  &  '  (  )  *  +  ,  -  .  /  0 ... 9  :  ;  <  =  >  ? */
	B, H, V, T & ~TARGET, H, H, H, H, U, U, H, H, V, H, H, V, H, H, H, H, H, H, H, H, H, H, U, V, V, V, V, V,
	/* @ A ... Z [ \ ] ^ _ */
	V, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, U, V, U, T, H,
	/* ` a ... z { | } ~ DEL */
	T, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, H, V, T, V, H, 0,
	B64, B64,
};
#undef T
#undef H
#undef V
#undef U
#undef B
#undef B8
#undef B64

static int refuse(struct sb_refuse_http *ret, unsigned status, enum sb_http_refusal why, const char *msg)
{
	*ret = (struct sb_refuse_http){ status, why, msg };
	return -1;
}

static int bad_syntax(struct sb_refuse_http *ret, const char *msg)
{
	return refuse(ret, 400, SB_HTTP_BAD_SYNTAX, msg);
}

static int bad_framing(struct sb_refuse_http *ret, const char *msg)
{
	return refuse(ret, 400, SB_HTTP_BAD_FRAMING, msg);
}

static bool all_of(struct sb_slice s, uint8_t what)
{
	uint8_t every = what;

	for (size_t i = 0; i < s.n; i++)
		every &= class_of[(uint8_t)s.p[i]];
	return every == what;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool eq_nocase(struct sb_slice s, const char *lower_cased)
{
	for (size_t i = 0; i < s.n; i++)
		if (lower(s.p[i]) != lower_cased[i]) /* a shorter constant ends in NUL, which s cannot hold */
			return false;
	return lower_cased[s.n] == '\0';
}

static struct sb_slice trimmed(struct sb_slice s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.n--;
	}
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* The next element of a comma-separated list; false: there is none. */
static bool list_next(struct sb_slice *rest, struct sb_slice *ret)
{
	const char *comma;

	if (!rest->p)
		return false;
	comma = rest->n ? memchr(rest->p, ',', rest->n) : NULL;
	*ret = trimmed(sb_slice(rest->p, comma ? (size_t)(comma - rest->p) : rest->n));
	*rest = comma ? sb_slice(comma + 1, rest->n - (size_t)(comma - rest->p) - 1) : (struct sb_slice){ 0 };
	return true;
}

/* ------------------------------------------------------------------------------------------------ request line */

static const char *const methods[] = { "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS" };

static bool method_known(struct sb_slice m)
{
	for (size_t i = 0; i < SB_LEN(methods); i++)
		if (sb_slice_eq_str(m, methods[i]))
			return true;
	return false;
}

static int check_version(struct sb_guard *g, struct sb_slice v, struct sb_refuse_http *ret)
{
	if (v.n != 8 || memcmp(v.p, "HTTP/", 5) != 0 || v.p[5] < '0' || v.p[5] > '9' || v.p[6] != '.' || v.p[7] < '0' ||
		v.p[7] > '9')
		return bad_syntax(ret, "the request line must end with HTTP/1.1");
	if (v.p[5] != '1' || v.p[7] > '1')
		return refuse(ret, 505, SB_HTTP_VERSION, "only HTTP/1.1 and HTTP/1.0 are spoken here");
	g->http10 = v.p[7] == '0';
	g->close = g->http10;
	return 0;
}

static int request_line(struct sb_guard *g, struct sb_slice line, struct sb_refuse_http *ret)
{
	const char *sp = memchr(line.p, ' ', line.n);
	const char *sp2 = sp ? memchr(sp + 1, ' ', (size_t)(line.p + line.n - sp - 1)) : NULL;
	struct sb_slice method, target;

	if (!sp2)
		return bad_syntax(ret, "the request line is not METHOD SP TARGET SP VERSION");
	method = sb_slice(line.p, (size_t)(sp - line.p));
	target = sb_slice(sp + 1, (size_t)(sp2 - sp - 1));
	if (method.n == 0 || !all_of(method, TOKEN))
		return bad_syntax(ret, "the method is not a token");
	if (target.n == 0 || !all_of(target, TARGET))
		return bad_syntax(ret, "the request target is empty or holds bytes that must be percent-encoded");
	if (check_version(g, sb_slice(sp2 + 1, (size_t)(line.p + line.n - sp2 - 1)), ret) < 0)
		return -1;
	if (!method_known(method))
		return refuse(ret, 501, SB_HTTP_METHOD, "this method is not implemented");
	if (target.p[0] != '/' && !(sb_slice_eq_str(target, "*") && sb_slice_eq_str(method, "OPTIONS")))
		return bad_syntax(ret, "the request target must be a path that begins with '/'");
	g->method_n = (uint32_t)method.n;
	return 0;
}

/* ------------------------------------------------------------------------------------------------ header lines */

static int on_host(struct sb_guard *g, struct sb_slice v, struct sb_refuse_http *ret)
{
	if (g->has_host)
		return refuse(ret, 400, SB_HTTP_BAD_HOST, "more than one Host");
	if (v.n == 0 || !all_of(v, HOST))
		return refuse(ret, 400, SB_HTTP_BAD_HOST, "Host is empty or not a host name");
	g->has_host = true;
	return 0;
}

static int on_content_length(struct sb_guard *g, struct sb_slice v, struct sb_refuse_http *ret)
{
	if (g->has_length)
		return bad_framing(ret, "more than one Content-Length");
	if (v.n == 0)
		return bad_framing(ret, "Content-Length is empty");
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return bad_framing(ret, "Content-Length is not a number");
		g->length = g->length > UINT64_MAX / 16 ? UINT64_MAX / 2 : g->length * 10 + (uint64_t)(v.p[i] - '0');
	}
	g->has_length = true;
	return 0;
}

static int on_transfer_encoding(struct sb_guard *g, struct sb_slice v, struct sb_refuse_http *ret)
{
	struct sb_slice rest = v, coding;
	unsigned n = 0, chunked = 0;
	bool last = false;

	while (list_next(&rest, &coding)) {
		last = eq_nocase(coding, "chunked");
		chunked += last;
		n++;
	}
	if (g->chunked)
		return bad_framing(ret, "more than one Transfer-Encoding");
	if (!last || chunked != 1)
		return bad_framing(ret, "Transfer-Encoding must end with one chunked");
	if (n > 1)
		return refuse(ret, 501, SB_HTTP_BAD_FRAMING, "no Transfer-Encoding but chunked is implemented");
	g->chunked = true;
	return 0;
}

static int on_expect(struct sb_guard *g, struct sb_slice v, struct sb_refuse_http *ret)
{
	if (!eq_nocase(v, "100-continue"))
		return refuse(ret, 417, SB_HTTP_EXPECT, "only 100-continue can be expected");
	g->expect = true;
	return 0;
}

static int on_connection(struct sb_guard *g, struct sb_slice v, struct sb_refuse_http *ret)
{
	struct sb_slice rest = v, option;

	(void)ret;
	while (list_next(&rest, &option))
		g->close = g->close || eq_nocase(option, "close");
	return 0;
}

static const struct {
	struct sb_slice name;
	int (*on)(struct sb_guard *g, struct sb_slice value, struct sb_refuse_http *ret);
	bool framing;
} known[] = {
	{ { "host", 4 }, on_host, false },
	{ { "content-length", 14 }, on_content_length, true },
	{ { "transfer-encoding", 17 }, on_transfer_encoding, true },
	{ { "expect", 6 }, on_expect, false },
	{ { "connection", 10 }, on_connection, false },
};

/* "name: value" without its line end; the name is lower-cased in place, the value is not yet trimmed. */
static int field_line(char *p, size_t n, struct sb_slice *ret_name, struct sb_slice *ret_value, struct sb_refuse_http *ret)
{
	size_t i = 0;

	if (p[0] == ' ' || p[0] == '\t')
		return bad_syntax(ret, "a header line is folded");
	for (; i < n && (class_of[(uint8_t)p[i]] & TOKEN); i++)
		p[i] = lower(p[i]);
	if (i == n || p[i] != ':')
		return bad_syntax(ret, i < n && (p[i] == ' ' || p[i] == '\t') ? "white space in or behind a header name"
									      : "a header line is not NAME: VALUE");
	if (i == 0)
		return bad_syntax(ret, "a header name is empty");
	*ret_name = sb_slice(p, i);
	*ret_value = sb_slice(p + i + 1, n - i - 1);
	if (!all_of(*ret_value, VALUE))
		return bad_syntax(ret, "a header value holds a control character");
	return 0;
}

static int header_line(struct sb_guard *g, const struct sb_guard_limits *lim, char *p, size_t n, struct sb_refuse_http *ret)
{
	struct sb_slice name, value;

	if (g->n_headers >= lim->headers)
		return refuse(ret, 431, SB_HTTP_HEADERS_TOO_LARGE, "too many header fields");
	if (field_line(p, n, &name, &value, ret) < 0)
		return -1;
	g->n_headers++;
	for (size_t i = 0; i < SB_LEN(known); i++) {
		if (!sb_slice_eq(name, known[i].name))
			continue;
		if (known[i].framing && value.n && memchr(value.p, '\t', value.n))
			return bad_framing(ret, "a tab in a framing field"); /* parsers differ about it */
		return known[i].on(g, trimmed(value), ret);
	}
	return 0;
}

/* What only the whole head shows. */
static int head_complete(const struct sb_guard *g, const struct sb_guard_limits *lim, struct sb_refuse_http *ret)
{
	if (!g->has_host && !g->http10)
		return refuse(ret, 400, SB_HTTP_BAD_HOST, "Host is missing");
	if (g->chunked && g->has_length)
		return bad_framing(ret, "Content-Length together with Transfer-Encoding");
	if (g->chunked && g->http10)
		return bad_framing(ret, "Transfer-Encoding in HTTP/1.0");
	if (g->length > lim->body)
		return refuse(ret, 413, SB_HTTP_BODY_TOO_LARGE, "the body is larger than this server takes");
	return 1;
}

static int check_limits(const struct sb_guard *g, const struct sb_guard_limits *lim, size_t end, struct sb_refuse_http *ret)
{
	if (!g->fields && end - g->start > lim->line)
		return refuse(ret, 414, SB_HTTP_LINE_TOO_LONG, "the request line is longer than this server takes");
	if (g->fields && end - g->fields > lim->header_bytes)
		return refuse(ret, 431, SB_HTTP_HEADERS_TOO_LARGE, "the header is larger than this server takes");
	return 0;
}

/* One line p[g->line .. end), without its line end. 1: it was the empty one at the end. */
static int head_line(struct sb_guard *g, const struct sb_guard_limits *lim, char *p, size_t end, struct sb_refuse_http *ret)
{
	size_t n = end - g->line;

	if (g->fields)
		return n ? header_line(g, lim, p + g->line, n, ret) : 1;
	if (n == 0 && g->start == 0) {
		g->start = 2; /* RFC 9112 2.2: one empty line before the request is overlooked */
		return 0;
	}
	if (request_line(g, sb_slice(p + g->line, n), ret) < 0)
		return -1;
	g->fields = (uint32_t)end + 2;
	return 0;
}

int sb_guard_head(struct sb_guard *g, const struct sb_guard_limits *lim, char *p, size_t n, struct sb_refuse_http *ret)
{
	const char *lf;
	size_t end;
	int rc;

	while (g->seen < n && (lf = memchr(p + g->seen, '\n', n - g->seen)) != NULL) {
		end = (size_t)(lf - p);
		if (check_limits(g, lim, end + 1, ret) < 0)
			return -1;
		if (end == g->line || p[end - 1] != '\r')
			return bad_syntax(ret, "a line ends without a carriage return");
		rc = head_line(g, lim, p, end - 1, ret);
		if (rc < 0)
			return -1;
		g->line = g->seen = (uint32_t)end + 1;
		if (rc > 0)
			return head_complete(g, lim, ret);
	}
	g->seen = (uint32_t)n;
	return check_limits(g, lim, n, ret);
}

/* ------------------------------------------------------------------------------------------------ chunks */

#define MAX_CHUNK_LINE 256

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int size_line(struct sb_chunked *c, const struct sb_guard_limits *lim, const char *p, size_t n,
	struct sb_refuse_http *ret)
{
	uint64_t size = 0;
	size_t i = 0;

	for (; i < n && hex_digit(p[i]) >= 0; i++)
		size = size > UINT64_MAX / 32 ? UINT64_MAX / 2 : size * 16 + (uint64_t)hex_digit(p[i]);
	if (i == 0 || (i < n && p[i] != ';'))
		return bad_framing(ret, "a chunk size is not a plain hexadecimal number");
	if (!all_of(sb_slice(p + i, n - i), VALUE))
		return bad_framing(ret, "a chunk extension holds a control character");
	c->extensions += (uint32_t)(n - i);
	if (c->extensions > lim->header_bytes)
		return refuse(ret, 413, SB_HTTP_BODY_TOO_LARGE, "too many bytes of chunk extensions");
	if (size > lim->body - c->total)
		return refuse(ret, 413, SB_HTTP_BODY_TOO_LARGE, "the body is larger than this server takes");
	c->left = size;
	c->total += size;
	c->phase = size ? SB_CHUNK_DATA : SB_CHUNK_TRAILER;
	return 0;
}

/* 1: the empty line behind the body. */
static int trailer_line(struct sb_chunked *c, const struct sb_guard_limits *lim, char *p, size_t n, struct sb_refuse_http *ret)
{
	struct sb_slice name, value;

	if (n == 0)
		return 1;
	c->trailer_bytes += (uint32_t)n + 2;
	if (++c->trailers > lim->headers || c->trailer_bytes > lim->header_bytes)
		return refuse(ret, 431, SB_HTTP_HEADERS_TOO_LARGE, "the trailer is larger than this server takes");
	if (field_line(p, n, &name, &value, ret) < 0)
		return -1;
	for (size_t i = 0; i < SB_LEN(known); i++)
		if (sb_slice_eq(name, known[i].name))
			return bad_framing(ret, "a trailer holds a field that belongs in the header");
	return 0;
}

/* A size or trailer line. As sb_chunked_run, but 2: go on. */
static int chunk_line(struct sb_chunked *c, const struct sb_guard_limits *lim, char *p, size_t n, struct sb_refuse_http *ret)
{
	bool sizes = c->phase == SB_CHUNK_SIZE;
	size_t most = sizes ? MAX_CHUNK_LINE : (size_t)lim->header_bytes - c->trailer_bytes;
	char *at = p + c->rd, *lf = n > c->rd ? memchr(at, '\n', n - c->rd) : NULL;
	size_t len = lf ? (size_t)(lf - at) + 1 : n - c->rd;
	int rc;

	if (len > most + 2)
		return sizes ? bad_framing(ret, "a chunk size line is too long")
			     : refuse(ret, 431, SB_HTTP_HEADERS_TOO_LARGE, "the trailer is larger than this server takes");
	if (!lf)
		return 0;
	if (len < 2 || lf[-1] != '\r')
		return bad_framing(ret, "a line ends without a carriage return");
	rc = sizes ? size_line(c, lim, at, len - 2, ret) : trailer_line(c, lim, at, len - 2, ret);
	c->rd += len;
	return rc ? rc : 2;
}

static int chunk_data(struct sb_chunked *c, char *p, size_t n)
{
	size_t have = SB_MIN(c->left, n - c->rd);

	if (c->wr != c->rd)
		memmove(p + c->wr, p + c->rd, have);
	c->wr += have;
	c->rd += have;
	c->left -= have;
	if (c->left)
		return 0;
	c->phase = SB_CHUNK_END;
	return 2;
}

static int chunk_end(struct sb_chunked *c, const char *p, size_t n, struct sb_refuse_http *ret)
{
	size_t have = n - c->rd;

	if ((have >= 1 && p[c->rd] != '\r') || (have >= 2 && p[c->rd + 1] != '\n'))
		return bad_framing(ret, "a chunk is longer than its size");
	if (have < 2)
		return 0;
	c->rd += 2;
	c->phase = SB_CHUNK_SIZE;
	return 2;
}

int sb_chunked_run(struct sb_chunked *c, const struct sb_guard_limits *lim, char *p, size_t n, struct sb_refuse_http *ret)
{
	int rc = 2;

	while (rc == 2)
		switch (c->phase) {
		case SB_CHUNK_SIZE:
		case SB_CHUNK_TRAILER: rc = chunk_line(c, lim, p, n, ret); break;
		case SB_CHUNK_DATA:    rc = chunk_data(c, p, n); break;
		case SB_CHUNK_END:     rc = chunk_end(c, p, n, ret); break;
		}
	return rc;
}
