/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_CONF_H
#define SB_CONNECTORS_KAFKA_CONF_H

#include "broker/base/template.h"
#include "cluster.h"

/* What a record is made of. */
enum kafka_envelope {
	KAFKA_ENVELOPE_INPUT,      /* the rule's input: the event, or what its transformer made of it */
	KAFKA_ENVELOPE_RAW,        /* the detail alone */
	KAFKA_ENVELOPE_BINARY,     /* CloudEvents: the detail as value, attributes as ce_ headers */
	KAFKA_ENVELOPE_STRUCTURED, /* CloudEvents: one JSON object */
};

struct kafka_header_conf {
	const char *name;
	struct sb_template value;
};

struct kafka_target_conf {
	struct kafka_cluster cluster;
	const char *topic;
	struct sb_template key; /* text NULL: no key */
	struct sb_field_map headers;
	int envelope;           /* enum kafka_envelope */
	/* by kafka_target_check */
	struct kafka_header_conf *header;
	size_t n_headers;
};

bool kafka_is_topic(const char *s);
extern const struct kafka_pair kafka_producer_defaults[]; /* of librdkafka, for whoever writes */
extern const struct sb_field kafka_target_fields[];
int kafka_target_check(struct sb_decode *d, const struct sb_node *at, void *conf);
/* NULL: err says why. The caller owns it. `alone`: every record in a batch of its own. */
rd_kafka_conf_t *kafka_target_rdkafka(const struct kafka_target_conf *c, uint64_t timeout_ms, bool alone, struct sb_err *err);

#endif
