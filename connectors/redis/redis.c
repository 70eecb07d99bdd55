/* SPDX-License-Identifier: Apache-2.0 */
#include "redis.h"

const struct sb_connector sb_connector_redis = {
	.type = "redis",
	.summary = "Redis: entries of streams, elements of lists, messages of channels become events; deliveries become entries",
	.source = &rds_source_ops,
	.target = &rds_target_ops,
};
