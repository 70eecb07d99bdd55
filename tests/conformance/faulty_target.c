/* SPDX-License-Identifier: Apache-2.0 */
#include "faulty.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/base/event.h"

enum {
	FAULTLESS,
	SETTLES_TWICE,
	FORGETS_ONE,
	ONLY_THE_FIRST,
	LOOKS_AGAIN,
	CLOSES_TWICE,
	NEVER_CLOSES,
	FORGETS_ON_CLOSE,
	SETTLES_AFTER_CLOSE,
	IS_NOT_IDEMPOTENT,
	CLOSES_UNASKED,
	BLOCKS,
	BLOCKS_LATER,
	ALTERS,
	SENDS_TWICE,
	LOSES,
	CUTS,
	GIVES_NO_REASON,
	HAS_A_BAD_STATUS,
	DOES_NOT_SAY_WHY,
	TAKES_EVERYTHING,
	REJECTS_WHAT_FAILS,
	NEVER_HEALS,
	WAITS_FOREVER,
	HINTS_IN_SEND,
};

static unsigned chosen;

static const struct fault faults[] = {
	[FAULTLESS] = { .what = "nothing wrong" },
	[SETTLES_TWICE] = { "settles an item twice", "every item is settled once", "twice" },
	[FORGETS_ONE] = { "forgets an item", "every item is settled once", "items were settled", true },
	[ONLY_THE_FIRST] = { "settles the first of a batch", "a batch of several is settled item by item",
		"were not settled", true },
	[LOOKS_AGAIN] = { "looks at a batch that is over", "every item is settled once",
		"settled item 1 of a batch of 1" },
	[CLOSES_TWICE] = { "says closed twice", "it opens and closes without work", "said closed 2 times" },
	[NEVER_CLOSES] = { "never says closed", "it opens and closes without work", "did not say that it is closed",
		true },
	[FORGETS_ON_CLOSE] = { "forgets what is outstanding", "close settles what is outstanding",
		"items outstanding" },
	[SETTLES_AFTER_CLOSE] = { "settles after closed", "close settles what is outstanding",
		"after it had said closed" },
	[IS_NOT_IDEMPOTENT] = { "closes at every close()", "it opens and closes without work", "said closed 2 times" },
	[CLOSES_UNASKED] = { "closes by itself", "every item is settled once", "nobody had closed it" },
	[BLOCKS] = { "blocks in send()", "every item is settled once", "send() blocked" },
	[BLOCKS_LATER] = { "blocks in a callback", "every item is settled once", "a callback blocked" },
	[ALTERS] = { "alters bytes", "inputs arrive byte for byte", "otherwise than it was sent" },
	[SENDS_TWICE] = { "sends twice", "every item is settled once", "arrived twice" },
	[LOSES] = { "loses what it says is delivered", "every item is settled once", "is nowhere", true },
	[CUTS] = { "cuts what is large", "large inputs arrive, too large ones are rejected",
		"otherwise than it was sent" },
	[GIVES_NO_REASON] = { "gives no reason", "a far side that fails is told, and used again", "does not say why" },
	[HAS_A_BAD_STATUS] = { "writes a bad status", "it opens and closes without work", "no members of an object" },
	[DOES_NOT_SAY_WHY] = { "does not open and does not say why", "a failed open says why and can be freed",
		"does not say why" },
	[TAKES_EVERYTHING] = { "takes every configuration", "wrong configuration is refused with its place",
		"was taken" },
	[REJECTS_WHAT_FAILS] = { "rejects what only failed", "a far side that fails is told, and used again",
		"became 'rejected'" },
	[NEVER_HEALS] = { "never heals", "a far side that is gone is told, and found again", "nothing is delivered",
		true },
	[WAITS_FOREVER] = { "has no time-out", "a far side that stalls is told, and used again", "were not settled",
		true },
	[HINTS_IN_SEND] = { "says in send() that it can be reached", "every item is settled once",
		"from within send()" },
};

#define MAX_INPUT (1u << 20)

/* The far side is part of it: what is delivered arrives. */
struct faulty_state {
	struct sb_target *t;
	struct event *soon; /* settles what has come */
	struct {
		struct sb_batch *batch;
		size_t i;
	} item[STAGE_CONCURRENCY];
	size_t n;
	unsigned settled;
	bool closing, closed, broken;
};

static enum far far; /* what the other side does */
static bool spoilt;

/* ------------------------------------------------------------------------------------------------ one item */

static void arrive(struct stage *st, const struct sb_item *it)
{
	char *copy = sb_xstrndup(it->input.p, it->input.n);

	if (chosen == ALTERS)
		copy[it->input.n - 2] = '!';
	stage_arrived(st, sb_slice(copy, chosen == CUTS ? SB_MIN(it->input.n, 65536u) : it->input.n));
	if (chosen == SENDS_TWICE)
		stage_arrived(st, sb_slice(copy, it->input.n));
	free(copy);
}

static void judge(struct faulty_state *f, const struct sb_item *it, struct sb_result *r)
{
	static const struct sb_result is[FAR_N] = {
		[FAR_TAKES] = { .outcome = SB_DELIVERED },
		[FAR_FAILS] = { .outcome = SB_RETRY, .reason = SB_R_ERROR_FROM_TARGET, .message = { "it failed", 9 } },
		[FAR_REJECTS] = { .outcome = SB_REJECTED,
			.reason = SB_R_ERROR_FROM_TARGET,
			.message = { "it said no", 10 } },
		[FAR_STALLS] = { .outcome = SB_RETRY, .reason = SB_R_TIMEOUT, .message = { "too late", 8 } },
		[FAR_GONE] = { .outcome = SB_UNREACHABLE,
			.reason = SB_R_CONNECTION_FAILURE,
			.message = { "not there", 9 } },
	};

	f->broken = f->broken || (chosen == NEVER_HEALS && far == FAR_GONE);
	*r = is[f->broken ? FAR_GONE : it->input.n > MAX_INPUT ? FAR_REJECTS : far];
	if (far == FAR_FAILS && chosen == GIVES_NO_REASON)
		*r = (struct sb_result){ .outcome = SB_RETRY };
	if (far == FAR_FAILS && chosen == REJECTS_WHAT_FAILS)
		r->outcome = SB_REJECTED;
	if (r->outcome == SB_DELIVERED && chosen != LOSES)
		arrive(f->t->owner, it);
}

static void settle(struct faulty_state *f, struct sb_batch *b, size_t i)
{
	struct sb_result r;

	judge(f, &b->item[i], &r);
	f->settled++;
	if (chosen == FORGETS_ONE && f->settled == 5)
		return;
	if (chosen == ONLY_THE_FIRST && i > 0)
		return;
	sb_batch_settle(f->t, b, i, &r);
	if (chosen == SETTLES_TWICE)
		sb_batch_settle(f->t, b, i, &r);
	for (size_t k = i + 1; chosen == LOOKS_AGAIN && k < SB_MIN(b->n, 2u); k++)
		sb_batch_settle(f->t, b, k, &r);
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
	struct faulty_state *f = arg;
	size_t n = f->n;

	(void)fd;
	(void)what;
	if (chosen == BLOCKS_LATER)
		usleep(2000 * STAGE_BLOCK_MS);
	if (chosen == CLOSES_UNASKED)
		sb_target_closed(f->t);
	f->n = 0;
	for (size_t i = 0; i < n; i++)
		settle(f, f->item[i].batch, f->item[i].i);
}

/* ------------------------------------------------------------------------------------------------ ops */

static int faulty_open(struct sb_target *t, struct sb_err *err)
{
	struct faulty_state *f = t->state;

	if (spoilt)
		return chosen == DOES_NOT_SAY_WHY ? -1 : sb_fail(err, SB_E_UNREACHABLE, "spoilt");
	f->t = t;
	f->soon = evtimer_new(t->env->base, on_soon, f);
	return 0;
}

static void faulty_send(struct sb_target *t, struct sb_batch *b)
{
	struct timeval tv = { .tv_usec = far == FAR_STALLS ? 100000 : 0 };
	struct faulty_state *f = t->state;

	for (size_t i = 0; i < b->n; i++) {
		f->item[f->n].batch = b;
		f->item[f->n++].i = i;
	}
	if (chosen == HINTS_IN_SEND)
		sb_target_reachable(t);
	if (chosen == BLOCKS)
		usleep(2000 * STAGE_BLOCK_MS);
	if (far != FAR_STALLS || chosen != WAITS_FOREVER)
		event_add(f->soon, &tv);
}

static void release(struct faulty_state *f)
{
	static const struct sb_result released = { .outcome = SB_RELEASED };
	size_t n = f->n;

	if (chosen == FORGETS_ON_CLOSE)
		return;
	f->n = 0;
	for (size_t i = 0; i < n; i++)
		sb_batch_settle(f->t, f->item[i].batch, f->item[i].i, &released);
}

/* At close already: some are never freed. */
static void stop(struct event **ev)
{
	if (*ev)
		event_free(*ev);
	*ev = NULL;
}

static void faulty_close(struct sb_target *t)
{
	struct faulty_state *f = t->state;
	struct sb_batch *last = f->n ? f->item[0].batch : NULL;
	static const struct sb_result released = { .outcome = SB_RELEASED };

	if (f->closing && chosen != IS_NOT_IDEMPOTENT)
		return;
	f->closing = true;
	stop(&f->soon);
	release(f);
	if (chosen != NEVER_CLOSES)
		sb_target_closed(t);
	if (chosen == CLOSES_TWICE)
		sb_target_closed(t);
	if (chosen == SETTLES_AFTER_CLOSE && last)
		sb_batch_settle(t, last, 0, &released);
}

static void faulty_free(struct sb_target *t)
{
	struct faulty_state *f = t->state;

	stop(&f->soon);
}

static void faulty_status(struct sb_target *t, struct sb_buf *out)
{
	(void)t;
	sb_buf_adds(out, chosen == HAS_A_BAD_STATUS ? "\"connected\":true," : "\"connected\":true");
}

static const char *const colours[] = { "red", "green", NULL };

struct faulty_conf {
	int colour;
	const struct sb_node *anything;
};

static const struct sb_field faulty_fields[] = {
	SB_F(ENUM, struct faulty_conf, colour, .names = colours, .dflt = "red", .doc = "For nothing."),
	SB_F_KEY(NODE, struct faulty_conf, anything, "no_such_key_for_sure",
		.doc = "Unless the fault is to take it, it is refused."),
	{ 0 },
};

static int faulty_check(struct sb_decode *d, const struct sb_node *at, void *conf)
{
	const struct faulty_conf *c = conf;
	struct sb_err err;

	if (!c->anything || chosen == TAKES_EVERYTHING)
		return 0;
	sb_fail_at(&err, SB_E_UNKNOWN_KEY, &at->at, "no such key, for sure");
	sb_diag_error(d->diags, &err);
	return -1;
}

static const struct sb_connector connector = {
	.type = "faulty",
	.summary = "a target with one fault",
	.target =
		&(const struct sb_target_ops){
			.state_size = sizeof(struct faulty_state),
			.conf_size = sizeof(struct faulty_conf),
			.fields = faulty_fields,
			.check = faulty_check,
			.open = faulty_open,
			.send = faulty_send,
			.close = faulty_close,
			.free = faulty_free,
			.status = faulty_status,
		},
};

/* ------------------------------------------------------------------------------------------------ row */

static int make(struct stage *st, struct sb_err *err)
{
	(void)st;
	(void)err;
	far = FAR_TAKES;
	spoilt = false;
	return 0;
}

static void act(struct stage *st, enum far f)
{
	(void)st;
	far = f;
}

static void spoil(struct stage *st)
{
	(void)st;
	spoilt = true;
}

static const char *const wrong[] = { "{colour: blue}", NULL };

static const struct row row = {
	.name = "faulty_target",
	.connector = &connector,
	.conf = "{}",
	.single = true,
	.wrong = wrong,
	.make = make,
	.target = &(const struct target_row){
		.spoil = spoil,
		.largest = MAX_INPUT,
		.many = 50,
		.may = {
			[FAR_FAILS] = MAY(SB_RETRY),
			[FAR_REJECTS] = MAY(SB_REJECTED),
			[FAR_STALLS] = MAY(SB_RETRY),
			[FAR_GONE] = MAY(SB_UNREACHABLE),
		},
		.act = act,
	},
};

const struct faulty faulty_target = { &row, faults, SB_LEN(faults), &chosen, true };
