/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EXECUTOR_DELIVERY_H
#define SB_EXECUTOR_DELIVERY_H

#include "executor/executor.h"

/* What the dispatch does to a delivery. None of it knows queues. Contracts of the public half: executor.h. */

struct sb_mailbox *sb_dispatch_home(const struct sb_dispatch *d); /* any thread */

/* The item's event, input and letter move in. */
struct sb_delivery *sb_delivery_from_item(struct sb_dispatch *d, struct sb_backlog_item *it);
void sb_backlog_item_drop(struct sb_backlog_item *it);
/* Let go of what the journal has: event, input, letter; and of the worker's tail, which the next failure renews. */
void sb_delivery_unload(struct sb_delivery *dl);
void sb_delivery_load(struct sb_delivery *dl, struct sb_backlog_item *it);
/* Bring `cost` up to date; returns by how much it changed. */
int64_t sb_delivery_recharge(struct sb_delivery *dl);

void sb_delivery_say(struct sb_delivery *dl, struct sb_slice message); /* the newest error; the first is kept too */
void sb_delivery_fail(struct sb_delivery *dl, const struct sb_result *r);
void sb_delivery_stillborn(struct sb_delivery *dl);

/* The batch of one for t->ops->send, and back. What is made for the time in flight goes with unpack. */
struct sb_batch *sb_delivery_pack(struct sb_delivery *dl, uint64_t deadline_mono_ns, uint64_t deadline_wall_ms);
void sb_delivery_unpack(struct sb_delivery *dl);

#endif
