/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target `bus`: an event goes on to another bus of this daemon. It is delivered when it is durable there, as an event of
 * its own with the same id, one hop further; at the hop limit it is dead-lettered, so that rules which feed each other end.
 */
#include "broker/shard.h"

#include <stdio.h>

#include "broker/config.h"

struct bus {
	const char *to; /* interned */
	uint32_t outstanding;
	bool closing;
};

/* An item, until it is durable on its next bus. */
struct hop {
	struct sb_target *target;
	struct sb_batch *batch;
	size_t i;
};

static void settle(const struct hop *hop, enum sb_outcome outcome, enum sb_reason reason, const char *msg)
{
	struct sb_result r = { .outcome = outcome, .reason = reason, .message = sb_slice_str(msg) };

	sb_batch_settle(hop->target, hop->batch, hop->i, &r);
}

static void finish_close(struct sb_target *t)
{
	struct bus *bus = t->state;

	if (bus->closing && bus->outstanding == 0)
		sb_target_closed(t);
}

static void stored(struct sb_intake_group *g, bool durable, const struct sb_refusal *why)
{
	struct hop hop = *(struct hop *)g->arg;

	sb_pool_free(g->arg);
	((struct bus *)hop.target->state)->outstanding--;
	settle(&hop, durable ? SB_DELIVERED : SB_RETRY, durable ? SB_R_NONE : SB_R_RESOURCE_LIMIT_EXCEEDED, durable ? "" : why->msg);
	finish_close(hop.target);
}

static struct sb_event *next_hop(struct sb_target *t, const struct sb_item *item, struct sb_err *err)
{
	struct sb_shard *s = SB_CONTAINER(t, struct sb_target_unit, target)->slot->home;
	const struct sb_event *ev = item->event;
	struct sb_event *next;

	if (sb_intake_again(s, sb_slice(ev->json, ev->n), ((struct bus *)t->state)->to, t->name, &next, err) < 0)
		return NULL;
	next->hops = (uint16_t)(ev->hops + 1);
	return next;
}

/* -1: not taken, refusal says why. */
static int pass_on(const struct hop *hop, struct sb_event *next, struct sb_refusal *refusal)
{
	struct sb_target_slot *slot = SB_CONTAINER(hop->target, struct sb_target_unit, target)->slot;
	struct hop *kept = sb_pool_alloc(sizeof(*kept));
	struct bus *bus = hop->target->state;
	char receipt[SB_UUID_TEXT + 1];
	struct sb_intake_extra extra = { .parent = { receipt, SB_UUID_TEXT } };
	struct sb_intake_call call = { .ev = &next, .n = 1, .extra = &extra, .done = stored, .arg = kept };

	sb_uuid_format(&hop->batch->item[hop->i].event->receipt, receipt);
	*kept = *hop;
	bus->outstanding++;
	if (sb_intake(slot->home, &call, refusal) == 0)
		return 0;
	bus->outstanding--;
	sb_pool_free(kept);
	sb_event_unref(next);
	return -1;
}

/* What rules make too much of there is no better later. */
static enum sb_outcome refused(enum sb_refuse why)
{
	if (why == SB_REFUSE_STOPPING)
		return SB_RELEASED;
	return why == SB_REFUSE_TOO_LARGE ? SB_REJECTED : SB_RETRY;
}

static void send_one(const struct hop *hop)
{
	struct sb_target_slot *slot = SB_CONTAINER(hop->target, struct sb_target_unit, target)->slot;
	const struct sb_item *item = &hop->batch->item[hop->i];
	struct sb_refusal refusal;
	struct sb_event *next;
	struct sb_err err;

	if (item->event->hops >= slot->core->max_hops) {
		settle(hop, SB_REJECTED, SB_R_LOOP_DETECTED, "the event has been on as many buses as limits.hops allows");
		return;
	}
	next = next_hop(hop->target, item, &err);
	if (!next)
		settle(hop, SB_REJECTED, SB_R_INVALID_JSON, err.msg);
	else if (pass_on(hop, next, &refusal) < 0)
		settle(hop, refused(refusal.why), SB_R_RESOURCE_LIMIT_EXCEEDED, refusal.msg);
}

static void bus_send(struct sb_target *t, struct sb_batch *b)
{
	size_t n = b->n; /* the batch may be gone with its last item */

	for (size_t i = 0; i < n; i++)
		send_one(&(struct hop){ t, b, i });
}

static int bus_open(struct sb_target *t, struct sb_err *err)
{
	struct bus *bus = t->state;
	const struct sb_bus_target_conf *conf = t->conf;

	(void)err;
	bus->to = sb_name_str(conf->name);
	return 0;
}

static void bus_close(struct sb_target *t)
{
	struct bus *bus = t->state;

	if (bus->closing)
		return;
	bus->closing = true;
	finish_close(t);
}

const struct sb_connector sb_connector_bus = {
	.type = "bus",
	.summary = "hands the event to another bus of this daemon",
	.target = &(const struct sb_target_ops){
		.state_size = sizeof(struct bus),
		.conf_size = sizeof(struct sb_bus_target_conf),
		.fields = sb_bus_target_fields,
		.open = bus_open,
		.send = bus_send,
		.close = bus_close,
	},
};
