/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_CONN_H
#define SB_CONNECTORS_REDIS_CONN_H

#include <hiredis/async.h>

#include "broker/base/buf.h"
#include "broker/base/field.h"
#include "connectors/connector.h"
#include "reply.h"
#include "tls.h"
#include "url.h"

/*
 * One connection to a Redis on the shard's loop that keeps itself up: name look-up, connect, login, database, PING, and after a loss
 * all of it again after a full-jitter back-off. Nothing waits: not for names, not for a server that does not answer.
 *
 * It is up only when the server has answered PING, so one that is still loading, or a replica that has lost its primary, is down.
 */
struct rds_conn_ops {
	void (*up)(void *arg);                    /* commands may be sent */
	void (*down)(void *arg, const char *why); /* the connection, or an attempt at one, is over; the next comes by itself */
};

/* Everything is borrowed and outlives the connection. */
struct rds_conn_conf {
	const char *url, *user, *password; /* the latter two, when not NULL, instead of the URL's */
	uint64_t connect_timeout_ms;       /* from the look-up to PONG */
	uint64_t command_timeout_ms;       /* without a byte from a server that owes an answer */
	const char *name;                  /* of the source or target: what CLIENT LIST shows */
	const struct rds_tls_conf *tls;    /* with rediss://; NULL: what the system trusts */
	/* Or, with url NULL: the primary that one of these names, asked anew for every connection; TLS as the first of them. */
	const char *const *sentinels;
	size_t n_sentinels;
	const char *master;
	unsigned db;
};

struct rds_conn;
/* -1: the URL is wrong, or wants what this build cannot do. */
int rds_conn_new(const struct sb_env *env, const struct rds_conn_conf *conf, const struct rds_conn_ops *ops, void *arg,
	struct rds_conn **ret, struct sb_err *err);
void rds_conn_start(struct rds_conn *c);
/* No more ops are called, nor is anything sent; answers that are due come as NULL before it returns, or right after the callback in
 * which it was called. */
void rds_conn_stop(struct rds_conn *c);
void rds_conn_free(struct rds_conn *c); /* NULL is fine; stops */

bool rds_conn_is_up(const struct rds_conn *c);
/*
 * One or more whole commands, of which each has an answer by `fn`: reply NULL when the connection was lost before it came.
 * -1: not up, fn is not called.
 */
int rds_conn_send(struct rds_conn *c, struct sb_slice command, redisCallbackFn *fn, void *arg);
/* Write out now what has been sent, rather than in the loop's next turn. */
void rds_conn_flush(struct rds_conn *c);
/* Let it go and connect anew; answers that are due come as NULL, down() is called. For what the server said. */
void rds_conn_fail(struct rds_conn *c, const char *why);
/* The node that this text names ("MOVED 1 host:port") instead, until that one cannot be reached. */
void rds_conn_moved(struct rds_conn *c, struct sb_slice text);
/* The last connection ended because an answer was larger than RDS_REPLY_MAX. */
bool rds_conn_was_flooded(const struct rds_conn *c);
const char *rds_conn_where(const struct rds_conn *c); /* "redis://host:6379", never a secret */
const char *rds_conn_why(const struct rds_conn *c);   /* it is down; "" while it is up */

/* Full jitter: even in [0, min(cap, base * 2^failures)]; never 0. */
uint64_t rds_backoff_ms(unsigned failures, uint32_t rnd);

#endif
