/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_VERDICT_H
#define SB_CONNECTORS_REDIS_VERDICT_H

#include "connectors/connector.h"

/* What an error reply means for what was asked. Pure: the text decides. */
enum rds_then {
	RDS_GO_ON,
	RDS_RECONNECT, /* this server, or this login, is no longer the right one */
	RDS_MOVED,     /* the key is on another node of the cluster, which the text names */
	RDS_NO_GROUP,  /* the consumer group, or its stream, is gone */
};

struct rds_verdict {
	enum sb_outcome outcome; /* of an attempt to write */
	enum sb_reason reason;
	enum rds_then then;
};

struct rds_verdict rds_verdict_of(struct sb_slice text);
/* "MOVED 3999 10.0.0.7:6381" -> host and port; -1: not such a text, or without a host. host has room for 256 bytes. */
int rds_moved_to(struct sb_slice text, char *host, unsigned *port);

#endif
