/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_TARGET_H
#define SB_CONNECTORS_KAFKA_TARGET_H

#include "connectors/connector.h"

extern const struct sb_target_ops kafka_target_ops;

#endif
