/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_REDIS_H
#define SB_CONNECTORS_REDIS_REDIS_H

#include "connectors/connector.h"

extern const struct sb_source_ops rds_source_ops; /* source.c */
extern const struct sb_target_ops rds_target_ops; /* target.c */

#endif
