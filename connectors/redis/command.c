/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <stdio.h>

void rds_begin(struct rds_command *c, struct sb_buf *out, unsigned words, const char *verb)
{
	*c = (struct rds_command){ .out = out, .at = out->len, .left = words };
	c->bad = sb_buf_addf(out, "*%u\r\n", words);
	rds_word(c, verb);
}

void rds_bytes(struct rds_command *c, struct sb_slice s)
{
	SB_ASSERT(c->left > 0);
	c->left--;
	c->bad |= sb_buf_addf(c->out, "$%zu\r\n", s.n);
	c->bad |= sb_buf_add_slice(c->out, s);
	c->bad |= sb_buf_add(c->out, "\r\n", 2);
}

void rds_word(struct rds_command *c, const char *s)
{
	rds_bytes(c, sb_slice_str(s));
}

void rds_number(struct rds_command *c, uint64_t n)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)n);

	rds_bytes(c, sb_slice(text, (size_t)len));
}

int rds_end(struct rds_command *c)
{
	SB_ASSERT(c->left == 0);
	if (!c->bad)
		return 0;
	c->out->len = c->at;
	return -1;
}
