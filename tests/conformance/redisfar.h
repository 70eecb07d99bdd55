/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CONFORMANCE_REDISFAR_H
#define SB_TESTS_CONFORMANCE_REDISFAR_H

#include <hiredis/hiredis.h>

#include "stage.h"

/* A real redis-server on a socket in the stage's folder (DIR/redis.sock), and a connection to it that waits for its answers. */
struct redisfar {
	pid_t pid; /* 0: gone */
	redisContext *c;
	char path[100];
};

int redisfar_make(struct redisfar *f, struct stage *st, struct sb_err *err); /* until it answers */
void redisfar_start(struct redisfar *f, const struct stage *st);             /* and does not wait */
void redisfar_end(struct redisfar *f);
redisReply *redisfar_ask(struct redisfar *f, const char *command); /* NULL: nobody is there. An error is an answer. */
void redisfar_tell(struct redisfar *f, const char *command);

#endif
