/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_PROBE_H
#define SB_CONNECTORS_REDIS_PROBE_H

#include "connectors/probe.h"
#include "settings.h"

/* What a Redis is asked beyond whether it lets us in: only commands that read. */
struct rds_question {
	const struct rds_settings *at;
	const char *type;  /* what the keys must be: "stream", "list" */
	const char *const *keys;
	size_t n_keys;
	const char *key;   /* of the configuration that names them: "streams", an array, or "stream", "list" */
	const char *group; /* NULL: none */
	bool waitaof;      /* WAITAOF is needed: Redis 7.2 */
};

void rds_probe(struct sb_probe *p, const struct rds_question *q);

#endif
