/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_TLS_H
#define SB_CONNECTORS_REDIS_TLS_H

#include <hiredis/hiredis.h>

#include "broker/base/err.h"

/* TLS to a Redis, where hiredis has it (1.0 and later). The server's certificate and its name, or address, are verified. */
struct rds_tls_conf {
	const char *ca;         /* PEM file of authorities; NULL: the system's */
	const char *cert, *key; /* ours, PEM files; NULL: none */
};

struct rds_tls;
int rds_tls_new(const struct rds_tls_conf *conf, struct rds_tls **ret, struct sb_err *err); /* -1: this build cannot, or a file is no good */
int rds_tls_begin(struct rds_tls *t, redisContext *c, const char *host);
void rds_tls_free(struct rds_tls *t); /* NULL is fine */
/* What was wrong with the certificate of the last connection, which hiredis does not tell; "": nothing. */
const char *rds_tls_why(const struct rds_tls *t);
const char *rds_tls_about(void);      /* "TLS", "no TLS" */

#endif
