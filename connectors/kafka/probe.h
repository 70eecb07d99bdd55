/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_PROBE_H
#define SB_CONNECTORS_KAFKA_PROBE_H

#include "connectors/probe.h"

/*
 * The probes of source and target. A cluster is asked for metadata of the topics and for who is in the group; both only read.
 */
void kafka_source_probe(const void *conf, struct sb_probe *p);
void kafka_target_probe(const void *conf, struct sb_probe *p);

#endif
