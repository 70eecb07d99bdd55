/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_KEEPER_H
#define SB_BROKER_KEEPER_H

#include <event2/event.h>

#include "broker/core.h"
#include "broker/loop.h"

/*
 * Who keeps a spawner running. When it has died, all that it had started is killed and reaped; then the pools are told, and
 * another one is started: at once, or after a growing pause if the last one did not live for long. Of the control thread.
 */
struct sb_keeper;

struct sb_keeper_conf {
	struct sb_core *core;
	int lock; /* of the data folder: every spawner inherits it */
};

/* Before any thread: starts the first one. ret_socks[i] is for shard i. -1 with *err. */
int sb_keeper_start(const struct sb_keeper_conf *conf, int *ret_socks, struct sb_keeper **ret, struct sb_err *err);
/* From here on it is watched. The loops hand the new sockets over. */
void sb_keeper_watch(struct sb_keeper *k, struct event_base *base, struct sb_loop *const *loop);
void sb_keeper_free(struct sb_keeper *k); /* NULL is fine. What a dead spawner had started goes first */

#endif
