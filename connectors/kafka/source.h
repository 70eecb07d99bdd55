/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_SOURCE_H
#define SB_CONNECTORS_KAFKA_SOURCE_H

#include "connectors/connector.h"

extern const struct sb_source_ops kafka_source_ops;

#endif
