/* SPDX-License-Identifier: Apache-2.0 */
#include "httpparse.h"

#include <llhttp.h>

static int on_url(llhttp_t *p, const char *at, size_t n)
{
	((struct sb_head *)p->data)->target = sb_slice(at, n);
	return 0;
}

static int on_name(llhttp_t *p, const char *at, size_t n)
{
	return sb_head_on_name(p->data, at, n);
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
	return sb_head_on_value(p->data, at, n);
}

static int on_head(llhttp_t *p)
{
	struct sb_head *h = p->data;

	h->chunked = (p->flags & F_CHUNKED) != 0;
	h->length = (p->flags & F_CONTENT_LENGTH) ? p->content_length : 0;
	h->minor = p->http_minor;
	return 1; /* no body follows: bodies are framed by our own reader */
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_header_field = on_name,
	.on_header_value = on_value,
	.on_headers_complete = on_head,
};

int sb_httpparse_head(const char *p, size_t n, struct sb_head *h)
{
	llhttp_t parser;
	llhttp_errno_t rc;

	llhttp_init(&parser, HTTP_REQUEST, &settings);
	parser.data = h;
	rc = llhttp_execute(&parser, p, n);
	if (rc == HPE_PAUSED_UPGRADE && llhttp_get_error_pos(&parser) == p + n)
		rc = HPE_OK; /* Upgrade is an offer; we do not take it */
	return rc == HPE_OK && parser.http_major == 1 ? 0 : -1;
}
