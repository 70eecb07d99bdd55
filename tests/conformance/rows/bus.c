/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bus stands inside a target slot of a shard, and its other side is the shard's intake. Here that is the one
 * below, which the linker puts in the place of the broker's. It keeps what that promises: 0, and done() in a later turn; or -1.
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/event.h"
#include "broker/shard.h"
#include "tests/conformance/stage.h"

extern const struct sb_connector sb_connector_bus;

#define SLOW_MS 60

struct world {
	struct sb_core core;
	struct sb_shard shard;
	struct sb_target_slot slot;
	struct sb_target_unit unit;
	struct stage *stage;
	enum far act;
	unsigned groups; /* on their way */
};

struct way { /* of a group, until it is durable or lost */
	struct sb_intake_group group;
	struct world *world;
	struct sb_event *ev[]; /* n of them */
};

static void arrived(const struct way *w)
{
	struct sb_buf text = SB_BUF(STAGE_EVENT_MAX + 4096);

	for (size_t i = 0; i < w->group.n; i++) {
		const struct sb_event *ev = w->ev[i];

		sb_buf_clear(&text);
		sb_event_add_bare(ev, &text);
		if (strcmp(ev->bus, "audit") != 0 || ev->hops != 1 || strcmp(ev->origin, "t") != 0)
			violated(w->world->stage, "an event on bus %s from %s after %u hops", ev->bus, ev->origin,
				ev->hops);
		stage_arrived(w->world->stage, sb_buf_slice(&text));
	}
	sb_buf_done(&text);
}

static void on_durable(evutil_socket_t fd, short what, void *arg)
{
	static const struct sb_refusal full = { .why = SB_REFUSE_FULL, .msg = "the disk is full" };
	struct way *w = arg;
	bool durable = w->world->act != FAR_FAILS;

	(void)fd;
	(void)what;
	w->world->groups--;
	if (durable)
		arrived(w);
	w->group.done(&w->group, durable, &full);
	for (size_t i = 0; i < w->group.n; i++)
		sb_event_unref(w->ev[i]);
	free(w);
}

static void take(struct world *world, const struct sb_intake_call *call)
{
	struct timeval tv = { .tv_usec = world->act == FAR_STALLS ? SLOW_MS * 1000 : 0 };
	struct way *w = sb_xcalloc(sizeof(*w) + call->n * sizeof(void *));

	w->world = world;
	for (size_t i = 0; i < call->n; i++)
		w->ev[i] = call->ev[i];
	w->group = (struct sb_intake_group){
		.shard = &world->shard, .n = call->n, .done = call->done, .arg = call->arg, .cookie = call->cookie
	};
	world->groups++;
	event_base_once(world->stage->env.base, -1, EV_TIMEOUT, on_durable, w, &tv);
}

int __wrap_sb_intake(struct sb_shard *s, const struct sb_intake_call *call, struct sb_refusal *refusal);
int __wrap_sb_intake(struct sb_shard *s, const struct sb_intake_call *call, struct sb_refusal *refusal)
{
	struct world *world = SB_CONTAINER(s, struct world, shard);

	if (world->act != FAR_GONE) {
		take(world, call);
		return 0;
	}
	for (size_t i = 0; i < call->n; i++)
		refusal[i] = (struct sb_refusal){ .why = SB_REFUSE_STOPPING, .msg = "the daemon is stopping" };
	return -1;
}

static void act(struct stage *st, enum far f)
{
	struct world *w = st->far;

	w->act = f;
	w->core.max_hops = f == FAR_REJECTS ? 0 : 8;
}

static int make(struct stage *st, struct sb_err *err)
{
	struct world *w = st->far = sb_xcalloc(sizeof(*w));

	(void)err;
	w->stage = st;
	w->core.clock = st->env.clock;
	w->shard.core = w->slot.core = &w->core;
	w->shard.uuids.rand = &st->rand;
	w->slot.home = &w->shard;
	w->unit.slot = &w->slot;
	st->target = &w->unit.target;
	act(st, FAR_TAKES);
	return 0;
}

static void unmake(struct stage *st)
{
	struct world *w = st->far;

	while (w->groups)
		event_base_loop(st->env.base, EVLOOP_ONCE);
	free(w);
}

static const char *const wrong[] = { "{}", "{name: 12}", NULL };

const struct row row_bus = {
	.name = "bus",
	.connector = &sb_connector_bus,
	.conf = "{name: audit}",
	.wrong = wrong,
	.make = make,
	.unmake = unmake,
	.target = &(const struct target_row){
		.may = {
			[FAR_FAILS] = MAY(SB_RETRY),
			[FAR_REJECTS] = MAY(SB_REJECTED),
			[FAR_STALLS] = MAY(SB_DELIVERED), /* the journal always answers */
			[FAR_GONE] = MAY(SB_RELEASED),
		},
		.act = act,
	},
};
