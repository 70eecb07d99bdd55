/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two sources in one: one whose senders wait for an answer and are refused in a pause (emit), and one that holds what it
 * has until it is settled (hand). Their senders stand in a queue that it looks into from the loop.
 */
#include "faulty.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/base/event.h"

enum {
	FAULTLESS,
	ANSWERS_EARLY,
	ANSWERS_TWICE,
	NEVER_ANSWERS,
	PRAISES_A_FULL_DISK,
	KEEPS_REFUSALS,
	IGNORES_PAUSES,
	EMITS_WHEN_CLOSED,
	CLOSES_EARLY,
	CLOSES_TWICE,
	NEVER_CLOSES,
	EMITS_NONSENSE,
	COUNTS_NOTHING,
	ALTERS,
	BLOCKS,
	NAMES_NO_BUS,
	HAS_A_BAD_STATUS,
};

static unsigned chosen;

static const struct fault push_faults[] = {
	[FAULTLESS] = { .what = "nothing wrong" },
	[ANSWERS_EARLY] = { "answers before it is durable", "a sender hears once, and not before it is durable",
		"before its event was durable" },
	[ANSWERS_TWICE] = { "answers twice", "offers arrive byte for byte", "answered 2 times" },
	[NEVER_ANSWERS] = { "never answers", "offers arrive byte for byte", "waits", true },
	[PRAISES_A_FULL_DISK] = { "says yes to what was not stored", "a sender hears when it was not stored after all",
		"heard yes" },
	[KEEPS_REFUSALS] = { "keeps refusals to itself", "a sender hears what the framework refuses", "was not told",
		true },
	[IGNORES_PAUSES] = { "ignores pauses", "nothing is emitted while it is paused", "while it was paused" },
	[EMITS_WHEN_CLOSED] = { "emits after close", "nothing is emitted once it is closed", "while it was not open" },
	[CLOSES_EARLY] = { "closes before it has answered", "close waits for the answers that are due",
		"will still be told" },
	[CLOSES_TWICE] = { "says closed twice", "it opens and closes without work", "said closed 2 times" },
	[NEVER_CLOSES] = { "never says closed", "it opens and closes without work", "did not say that it is closed",
		true },
	[EMITS_NONSENSE] = { "makes events of nonsense", "bad offers are refused and counted", "was emitted" },
	[COUNTS_NOTHING] = { "does not count what it refuses", "bad offers are refused and counted",
		"does not know of it" },
	[ALTERS] = { "alters bytes", "offers arrive byte for byte", "emitted" },
	[BLOCKS] = { "blocks in a callback", "offers arrive byte for byte", "blocked" },
	[NAMES_NO_BUS] = { "names no bus", "offers arrive byte for byte", "no bus" },
	[HAS_A_BAD_STATUS] = { "writes a bad status", "it opens and closes without work", "no members of an object" },
};

static const struct fault pull_faults[] = {
	[FAULTLESS] = { .what = "nothing wrong" },
	[ANSWERS_EARLY] = { "lets go before it is settled", "a sender hears once, and not before it is durable",
		"before its event was durable" },
	[ANSWERS_TWICE] = { "lets go twice", "offers arrive byte for byte", "answered 2 times" },
	[NEVER_ANSWERS] = { "never lets go", "offers arrive byte for byte", "waits", true },
	[KEEPS_REFUSALS] = { "forgets what there was no room for", "what there is no room for is offered again",
		"was not offered again", true },
};

struct offer {
	char *text; /* NULL: taken */
	size_t n;
};

struct queue { /* the far side */
	struct stage *stage;
	struct offer offer[STAGE_SENDERS];
};

struct faulty_state {
	struct sb_source *s;
	struct event *poll;
	struct sb_tape_buf tape;
	unsigned due;
	bool paused, closing, pulls;
};

static struct queue *queue_of(const struct sb_source *s)
{
	return ((struct stage *)s->owner)->far;
}

static void answer(struct faulty_state *f, unsigned k, bool yes)
{
	struct stage *st = f->s->owner;

	if (chosen == NEVER_ANSWERS)
		return;
	stage_heard(st, k, yes);
	if (chosen == ANSWERS_TWICE)
		stage_heard(st, k, yes);
}

/* ------------------------------------------------------------------------------------------------ an offer */

static int bury(struct faulty_state *f, unsigned k)
{
	struct sb_held held = { .cookie = k, .epoch = 7, .position = SB_SLICE("queue/1") };
	struct sb_unreadable what = {
		.value = SB_SLICE("?"), .reason = SB_R_INVALID_JSON, .message = SB_SLICE("no JSON")
	};

	return sb_source_bury(f->s, &held, &what);
}

static void drop(struct offer *o)
{
	free(o->text);
	o->text = NULL;
}

static void reject(struct faulty_state *f, struct offer *o, unsigned k)
{
	if (f->pulls) {
		if (bury(f, k) < 0)
			return;
		f->due++;
		drop(o);
		return;
	}
	drop(o);
	if (chosen != COUNTS_NOTHING)
		sb_source_rejected(f->s, "invalid_json", 1);
	answer(f, k, false);
}

static struct sb_event *build(struct faulty_state *f, const struct offer *o)
{
	struct sb_json_fault fault;
	struct sb_event_spec spec;
	struct sb_event *ev;
	struct sb_tape t;

	if (sb_json_scan(o->text, o->n, &SB_JSON_LIMITS, &f->tape, &fault) < 0) {
		if (chosen != EMITS_NONSENSE || sb_json_scan("\"?\"", 3, &SB_JSON_LIMITS, &f->tape, &fault) < 0)
			return NULL;
		t = sb_tape_of("\"?\"", &f->tape);
	} else {
		t = sb_tape_of(o->text, &f->tape);
	}
	if (chosen == ALTERS)
		o->text[0] = '7';
	sb_source_spec(f->s, &spec);
	spec.source = spec.detail_type = (struct sb_event_str){ SB_SLICE("x"), false };
	spec.tape = &t;
	if (chosen == NAMES_NO_BUS)
		spec.bus = "nowhere";
	return sb_event_build(&spec, sb_source_max_event(f->s), &ev, NULL) < 0 ? NULL : ev;
}

static int pass(struct faulty_state *f, struct sb_event *ev, unsigned k)
{
	struct sb_held held = { .cookie = k, .epoch = 7, .position = SB_SLICE("queue/1") };
	struct sb_refusal refusal;

	return f->pulls ? sb_source_hand(f->s, ev, &held, &refusal) : sb_source_emit(f->s, &ev, 1, k, &refusal);
}

/* Who pulls has it still and offers it again. */
static void refused(struct faulty_state *f, struct offer *o, unsigned k)
{
	if (!f->pulls || chosen == KEEPS_REFUSALS)
		drop(o);
	if (!f->pulls && chosen != KEEPS_REFUSALS)
		answer(f, k, false);
}

static void take(struct faulty_state *f, struct offer *o, unsigned k)
{
	struct sb_event *ev = build(f, o);

	if (!ev) {
		reject(f, o, k);
	} else if (pass(f, ev, k) < 0) {
		sb_event_unref(ev);
		refused(f, o, k);
	} else {
		f->due++;
		drop(o);
		if (chosen == ANSWERS_EARLY)
			answer(f, k, true);
	}
}

static void on_poll(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval soon = { 0, 1000 };
	struct faulty_state *f = arg;
	struct queue *q = queue_of(f->s);

	(void)fd;
	(void)what;
	event_add(f->poll, &soon);
	if (chosen == BLOCKS)
		usleep(2000 * STAGE_BLOCK_MS);
	for (unsigned k = 0; k < STAGE_SENDERS; k++) {
		bool stopped = f->paused && chosen != IGNORES_PAUSES;

		if (!q->offer[k].text || (stopped && f->pulls))
			continue;
		if (stopped)
			reject(f, &q->offer[k], k);
		else
			take(f, &q->offer[k], k);
	}
}

/* ------------------------------------------------------------------------------------------------ ops */

static void finish_close(struct faulty_state *f)
{
	if (!f->closing || chosen == NEVER_CLOSES || (f->due && chosen != CLOSES_EARLY))
		return;
	sb_source_closed(f->s);
	if (chosen == CLOSES_TWICE)
		sb_source_closed(f->s);
}

static void told(struct sb_source *s, uint64_t cookie, bool yes)
{
	struct faulty_state *f = s->state;

	f->due--;
	if (chosen != ANSWERS_EARLY)
		answer(f, (unsigned)cookie, yes);
	finish_close(f);
}

static void faulty_accepted(struct sb_source *s, uint64_t cookie)
{
	told(s, cookie, true);
}

static void faulty_settled(struct sb_source *s, uint64_t cookie, uint32_t epoch)
{
	if (epoch != 7)
		violated(s->owner, "epoch %u, and it was 7", epoch);
	told(s, cookie, true);
}

static void faulty_refused(struct sb_source *s, uint64_t cookie, const struct sb_refusal *why)
{
	(void)why;
	told(s, cookie, chosen == PRAISES_A_FULL_DISK);
}

static int faulty_open(struct sb_source *s, struct sb_err *err)
{
	static const struct timeval soon = { 0, 1000 };
	struct faulty_state *f = s->state;

	(void)err;
	f->s = s;
	f->pulls = !s->ops->accepted;
	f->poll = evtimer_new(s->env->base, on_poll, f);
	event_add(f->poll, &soon);
	return 0;
}

static void faulty_pause(struct sb_source *s, bool on)
{
	((struct faulty_state *)s->state)->paused = on;
}

/* At close already: some are never freed. */
static void stop(struct event **ev)
{
	if (*ev)
		event_free(*ev);
	*ev = NULL;
}

static void faulty_close(struct sb_source *s)
{
	struct faulty_state *f = s->state;

	if (f->closing)
		return;
	f->closing = true;
	if (chosen != EMITS_WHEN_CLOSED)
		stop(&f->poll);
	finish_close(f);
}

static void faulty_free(struct sb_source *s)
{
	struct faulty_state *f = s->state;

	stop(&f->poll);
	sb_tape_buf_done(&f->tape);
}

static void faulty_status(struct sb_source *s, struct sb_buf *out)
{
	(void)s;
	sb_buf_adds(out, chosen == HAS_A_BAD_STATUS ? "connected" : "\"connected\":true");
}

static const struct sb_connector push = {
	.type = "faulty_push",
	.summary = "a source with one fault",
	.source =
		&(const struct sb_source_ops){
			.state_size = sizeof(struct faulty_state),
			.open = faulty_open,
			.pause = faulty_pause,
			.accepted = faulty_accepted,
			.refused = faulty_refused,
			.close = faulty_close,
			.free = faulty_free,
			.status = faulty_status,
		},
};

static const struct sb_connector pull = {
	.type = "faulty_pull",
	.summary = "a source with one fault that holds its events",
	.source =
		&(const struct sb_source_ops){
			.state_size = sizeof(struct faulty_state),
			.open = faulty_open,
			.pause = faulty_pause,
			.settled = faulty_settled,
			.close = faulty_close,
			.free = faulty_free,
			.status = faulty_status,
		},
};

/* ------------------------------------------------------------------------------------------------ rows */

static int make(struct stage *st, struct sb_err *err)
{
	struct queue *q = st->far = sb_xcalloc(sizeof(*q));

	(void)err;
	q->stage = st;
	return 0;
}

static void unmake(struct stage *st)
{
	struct queue *q = st->far;

	for (unsigned k = 0; k < STAGE_SENDERS; k++)
		free(q->offer[k].text);
	free(q);
}

static void offer(struct stage *st, unsigned k, struct sb_slice text)
{
	struct offer *o = &((struct queue *)st->far)->offer[k];

	o->n = text.n;
	o->text = sb_xcalloc(text.n + SB_JSON_PAD);
	memcpy(o->text, text.p, text.n);
}

static const char *const bad[] = { "", "{", "nul", "\"\xff\"", "HUGE", NULL };

static const struct row push_row = {
	.name = "faulty_push_source",
	.connector = &push,
	.conf = "{}",
	.single = true,
	.make = make,
	.unmake = unmake,
	.source = &(const struct source_row){ .wrap = "@", .bad = bad, .offer = offer },
};

static const struct row pull_row = {
	.name = "faulty_pull_source",
	.connector = &pull,
	.conf = "{}",
	.single = true,
	.make = make,
	.unmake = unmake,
	.source = &(const struct source_row){ .wrap = "@", .bad = bad, .waits = true, .offer = offer },
};

const struct faulty faulty_push_source = { &push_row, push_faults, SB_LEN(push_faults), &chosen, false };
const struct faulty faulty_pull_source = { &pull_row, pull_faults, SB_LEN(pull_faults), &chosen, false };
