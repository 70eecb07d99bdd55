/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target `bus`: an event goes on to another bus of this daemon. It is delivered when it is durable there, as an event of
 * its own with the same id, one hop further; at the hop limit it is dead-lettered, so that rules which feed each other end.
 */
#include "broker/shard.h"

#include <stdio.h>

#include "broker/config.h"

struct bus {
	struct sb_target *target;
	const char *to; /* interned */
	uint32_t outstanding;
	bool closing;
};

static void settle(struct sb_target *t, struct sb_batch *b, enum sb_outcome outcome, enum sb_reason reason, const char *msg)
{
	struct sb_result r = { .outcome = outcome, .reason = reason, .message = sb_slice_str(msg) };

	sb_batch_settle(t, b, 0, &r);
}

static void finish_close(struct sb_target *t)
{
	struct bus *bus = t->state;

	if (bus->closing && bus->outstanding == 0)
		sb_target_closed(t);
}

static void stored(struct sb_intake_group *g, bool durable, const struct sb_refusal *why)
{
	struct sb_batch *b = g->arg;
	struct sb_target *t = b->cookie;

	((struct bus *)t->state)->outstanding--;
	settle(t, b, durable ? SB_DELIVERED : SB_RETRY, durable ? SB_R_NONE : SB_R_RESOURCE_LIMIT_EXCEEDED, durable ? "" : why->msg);
	finish_close(t);
}

static struct sb_event *next_hop(struct sb_target *t, const struct sb_item *item, struct sb_err *err)
{
	struct sb_shard *s = SB_CONTAINER(t, struct sb_target_slot, target)->home;
	const struct sb_event *ev = item->event;
	struct sb_event *next;

	if (sb_intake_again(s, sb_slice(ev->json, ev->n), ((struct bus *)t->state)->to, t->name, &next, err) < 0)
		return NULL;
	next->hops = (uint16_t)(ev->hops + 1);
	return next;
}

static void bus_send(struct sb_target *t, struct sb_batch *b)
{
	struct sb_target_slot *slot = SB_CONTAINER(t, struct sb_target_slot, target);
	struct bus *bus = t->state;
	char receipt[SB_UUID_TEXT + 1];
	struct sb_intake_extra extra = { .parent = { receipt, SB_UUID_TEXT } };
	struct sb_intake_call call = { .n = 1, .extra = &extra, .done = stored, .arg = b };
	struct sb_refusal refusal;
	struct sb_event *next;
	struct sb_err err;

	if (b->item[0].event->hops >= slot->core->max_hops) {
		settle(t, b, SB_REJECTED, SB_R_LOOP_DETECTED, "the event has been on as many buses as limits.hops allows");
		return;
	}
	next = next_hop(t, &b->item[0], &err);
	if (!next) {
		settle(t, b, SB_REJECTED, SB_R_INVALID_JSON, err.msg);
		return;
	}
	sb_uuid_format(&b->item[0].event->receipt, receipt);
	b->cookie = t;
	bus->outstanding++;
	call.ev = &next;
	if (sb_intake(slot->home, &call, &refusal) == 0)
		return;
	bus->outstanding--;
	sb_event_unref(next);
	settle(t, b, refusal.why == SB_REFUSE_STOPPING ? SB_RELEASED : SB_RETRY, SB_R_RESOURCE_LIMIT_EXCEEDED, refusal.msg);
}

static int bus_open(struct sb_target *t, struct sb_err *err)
{
	struct bus *bus = t->state;
	const struct sb_bus_target_conf *conf = t->conf;

	(void)err;
	bus->target = t;
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
