/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_FRONT_H
#define SB_BROKER_FRONT_H

#include "broker/config.h"
#include "broker/gather.h"

/*
 * What stands between a listener's HTTP server and everything behind it, one for each listener and shard: who may come in
 * (Origin, bearer tokens, what the listener serves), health and metrics, and then the paths that sources have asked for.
 */
struct sb_front {
	const struct sb_listener_conf *conf;
	struct sb_core *core;
	struct sb_shard *shard;
	struct sb_loop **loop;
};

void sb_front_request(struct sb_http_req *req, void *arg); /* arg: the front */

#endif
