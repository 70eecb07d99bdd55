/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_URL_H
#define SB_CONNECTORS_REDIS_URL_H

#include <stdbool.h>

#include "broker/base/err.h"

/*
 * Where a Redis is, and who we are there:
 *
 *   redis://[[user]:password@]host[:port][/db]    rediss://… with TLS    unix:/path[?db=n] or unix://[[user]:password@]/path
 *
 * User and password are percent-decoded. Messages about a wrong URL never show any part of it that could be secret.
 */
struct rds_url {
	bool tls;
	char host[256];      /* "" with a path */
	char path[104];      /* unix socket; "" with a host */
	unsigned port;
	unsigned db;
	char user[256];      /* "": none */
	char password[1024]; /* "": none */
};

int rds_url_parse(const char *text, struct rds_url *ret, struct sb_err *err);
/* For people: "redis://host:6379/2", without who we are. out has room for RDS_URL_TEXT bytes. */
#define RDS_URL_TEXT 320
void rds_url_show(const struct rds_url *u, char *out);

#endif
