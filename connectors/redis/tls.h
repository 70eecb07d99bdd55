/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_TLS_H
#define SB_CONNECTORS_REDIS_TLS_H

#include <hiredis/hiredis.h>

#include "broker/base/err.h"

/* TLS to a Redis, where hiredis has it (1.0 and later). The server's certificate and name are verified against the system's roots. */
struct rds_tls;
int rds_tls_new(struct rds_tls **ret, struct sb_err *err); /* -1: this build cannot */
int rds_tls_begin(struct rds_tls *t, redisContext *c, const char *host);
void rds_tls_free(struct rds_tls *t); /* NULL is fine */

#endif
