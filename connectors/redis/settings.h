/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_SETTINGS_H
#define SB_CONNECTORS_REDIS_SETTINGS_H

#include "conn.h"

/* The keys that source and target share: where the Redis is. */
struct rds_settings {
	const char *url, *user, *password;
	uint64_t connect_timeout;
	struct sb_strs sentinels;
	const char *master;
	int64_t db;
	struct rds_tls_conf tls;
};

extern const struct sb_field rds_tls_fields[];

#define RDS_SETTINGS_ROWS(st)                                                                                            \
	SB_F_KEY(SECRET, st, at.url, "url", .min = 1,                                                                    \
		.doc = "`redis://[[user]:password@]host[:6379][/db]`, `unix:/path[?db=n]`, or `rediss://` where hiredis has TLS."), \
	SB_F_KEY(SECRETS, st, at.sentinels, "sentinels", .min = 1, .max = 16,                                            \
		.doc = "Instead of `url`: the Sentinels that know the primary, `redis://[[user]:password@]host:26379` each, or `rediss://`, then " \
		       "the primary speaks TLS, too."),                                                                 \
	SB_F_KEY(STR, st, at.master, "master", .min = 1, .max = 255, .doc = "With `sentinels`: the name of the primary there."), \
	SB_F_KEY(INT, st, at.db, "db", .min = 0, .max = 65535, .dflt = "0", .doc = "With `sentinels`: the number of the database."), \
	SB_F_KEY(STR, st, at.user, "user", .max = 255, .doc = "Of the ACL; instead of the URL's."),                      \
	SB_F_KEY(SECRET, st, at.password, "password", .doc = "Instead of the URL's: `${env:…}` or `${file:…}` keep it out of this file."), \
	SB_F_KEY(OBJECT, st, at.tls, "tls", .sub = rds_tls_fields, .doc = "With `rediss://`: whom to trust, and who we are."), \
	SB_F_KEY(MS, st, at.connect_timeout, "connect_timeout", .min = 10, .max = 600000, .dflt = "5s",                  \
		.doc = "From the look-up of the name to the answer to PING.")

/* Where it is, for rds_conn_new; the time-out of commands and the name are to come. */
struct rds_conn_conf rds_settings_conn(const struct rds_settings *s);
/* What a URL row cannot say; a finding goes to d->diags. */
int rds_settings_check(struct sb_decode *d, const struct sb_node *at, const struct rds_settings *s);
/* A finding at `key`, or where the map stands. -1. */
int rds_complain(struct sb_decode *d, const struct sb_node *at, const char *key, const struct sb_err *err);

#endif
