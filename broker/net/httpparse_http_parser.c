/* SPDX-License-Identifier: Apache-2.0 */
#include "httpparse.h"

#include <http_parser.h>

static int on_url(http_parser *p, const char *at, size_t n)
{
	((struct sb_head *)p->data)->target = sb_slice(at, n);
	return 0;
}

static int on_name(http_parser *p, const char *at, size_t n)
{
	return sb_head_on_name(p->data, at, n);
}

static int on_value(http_parser *p, const char *at, size_t n)
{
	return sb_head_on_value(p->data, at, n);
}

static int on_head(http_parser *p)
{
	struct sb_head *h = p->data;

	h->chunked = (p->flags & F_CHUNKED) != 0;
	h->length = (p->flags & F_CONTENTLENGTH) ? p->content_length : 0;
	h->minor = p->http_minor;
	return 1; /* no body follows: bodies are framed by our own reader */
}

static const http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_name,
	.on_header_value = on_value,
	.on_headers_complete = on_head,
};

int sb_httpparse_head(const char *p, size_t n, struct sb_head *h)
{
	http_parser parser;

	http_parser_init(&parser, HTTP_REQUEST);
	parser.data = h;
	if (http_parser_execute(&parser, &settings, p, n) != n)
		return -1;
	return HTTP_PARSER_ERRNO(&parser) == HPE_OK && parser.http_major == 1 ? 0 : -1;
}
