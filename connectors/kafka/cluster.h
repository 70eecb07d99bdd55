/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_CLUSTER_H
#define SB_CONNECTORS_KAFKA_CLUSTER_H

#include <librdkafka/rdkafka.h>

#include "broker/base/field.h"

/* Which cluster, and how to talk to it: `brokers` and `properties`, the same for a source and a target. */

struct kafka_pair {
	const char *name, *value;
};

struct kafka_cluster {
	struct sb_strs brokers;
	struct sb_field_map properties;
	struct kafka_pair *pair; /* the properties as strings, by kafka_cluster_check */
	size_t n_pairs;
};

/* A property that is not the user's to set; `say` is what to do instead. A table ends with a NULL name. */
struct kafka_reserved {
	const char *name, *say;
};

/*
 * Rows of `brokers` and `properties` have been decoded into `c`: asks librdkafka about each property. Errors and warnings
 * go to d->diags with their place; -1: there were errors.
 */
int kafka_cluster_check(struct sb_decode *d, const struct sb_node *at, struct kafka_cluster *c, const struct kafka_reserved *reserved);

/* `defaults` first, then the user's, then `fixed`; both end with a NULL name. NULL: err says which. The caller owns it. */
rd_kafka_conf_t *kafka_cluster_conf(const struct kafka_cluster *c, const struct kafka_pair *defaults, const struct kafka_pair *fixed,
	struct sb_err *err);

/* The user's property; NULL: not set. */
const char *kafka_property(const struct kafka_cluster *c, const char *name);

/* What librdkafka learned late; a daemon may run on an older or a newer one than it was built with. */
#define KAFKA_SCRAM_MENDED 0x020601ff /* 2.6.1: nonces that Kafka 4 accepts */
#define KAFKA_KIP848_DONE 0x020c00ff  /* 2.12.0: no preview any more */
bool kafka_scram_is_broken(const struct kafka_cluster *c); /* the log-in wants SCRAM, and this library's is not what Kafka 4 speaks */
extern const char kafka_scram_hint[];

/* Add an error at a node of the configuration. Returns -1. */
int kafka_complain(struct sb_decode *d, const struct sb_node *at, const char *hint, const char *fmt, ...) SB_PRINTF(4, 5);

#endif
