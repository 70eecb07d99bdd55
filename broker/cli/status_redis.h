/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_STATUS_REDIS_H
#define SB_CLI_STATUS_REDIS_H

#include "broker/cli/cli.h"

/* `status --redis`: what all daemons of a cluster have told a Redis (docs/redis-metrics.md), without asking any of them. */
int sb_status_redis(struct sb_cli *cli);

#endif
