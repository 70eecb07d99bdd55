/* SPDX-License-Identifier: Apache-2.0 */
#include "conn.h"

#include "broker/base/json.h"

struct input *input_new(struct sb_http_server *s, size_t want)
{
	size_t bytes = sizeof(struct input) + want + SB_JSON_PAD, usable;
	struct input *in;

	if (bytes > s->conf.max_buffered - SB_MIN(s->input_bytes, s->conf.max_buffered))
		return NULL;
	in = sb_pool_alloc(bytes);
	usable = sb_pool_usable(in);
	in->server = s;
	in->refs = 1;
	in->cap = (uint32_t)(usable - sizeof(*in) - SB_JSON_PAD);
	memset(in->data + in->cap, 0, SB_JSON_PAD);
	sb_list_push_back(&s->inputs, &in->link);
	s->input_bytes += usable;
	return in;
}

void input_unref(struct input *in)
{
	if (!in || --in->refs)
		return;
	sb_list_unlink(&in->link);
	if (in->server)
		in->server->input_bytes -= sb_pool_usable(in);
	sb_pool_free(in);
}
