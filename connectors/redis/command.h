/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_COMMAND_H
#define SB_CONNECTORS_REDIS_COMMAND_H

#include "broker/base/buf.h"

/*
 * A command in Redis' own form, written into a buffer that is used again and again: begin, as many words as was said (the verb is
 * one), end. A word beyond the buffer's cap is told by the end, once.
 */
struct rds_command {
	struct sb_buf *out;
	size_t at;     /* where it begins */
	unsigned left; /* words to come */
	int bad;
};

void rds_begin(struct rds_command *c, struct sb_buf *out, unsigned words, const char *verb);
void rds_word(struct rds_command *c, const char *s);
void rds_bytes(struct rds_command *c, struct sb_slice s);
void rds_number(struct rds_command *c, uint64_t n);
size_t rds_digits(uint64_t n, char *out); /* at most 20, no NUL; their number */
int rds_end(struct rds_command *c); /* -1: larger than the buffer may be; it is then as before */

#endif
