/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_SENTINEL_H
#define SB_CONNECTORS_REDIS_SENTINEL_H

#include "conn.h"

/*
 * Who is the primary? Asked of one Sentinel at a time, the one that has answered last; one that has not answers no more until all others
 * were asked.
 */
#define RDS_SENTINELS_MAX 16

/* host NULL: this one could not tell, `why`. */
typedef void rds_sentinel_fn(void *arg, const char *host, unsigned port, const char *why);

struct rds_sentinels;
int rds_sentinels_new(const struct sb_env *env, const struct rds_conn_conf *conf, rds_sentinel_fn *fn, void *arg,
	struct rds_sentinels **ret, struct sb_err *err);
void rds_sentinels_ask(struct rds_sentinels *s);  /* fn is called once, perhaps from in here, unless stopped before */
void rds_sentinels_stop(struct rds_sentinels *s); /* nobody wants to know any more */
void rds_sentinels_free(struct rds_sentinels *s); /* NULL is fine; not from within fn */

#endif
