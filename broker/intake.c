/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intake: from a built event to an append that is on its way to the journal.
 *
 * One call is one group: its events are matched, room is reserved at every target they are owed to, inputs are rendered,
 * and EVENT records are written into one append. Until sb_journal_submit nothing has happened that cannot be taken back;
 * afterwards the journal answers once: durable, or not stored at all.
 */
#include "broker/shard.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/crc32c.h"
#include "broker/base/fault.h"
#include "broker/base/path.h"
#include "broker/config.h"
#include "broker/receipt.h"

#define GROUP_BYTES_MAX (96u << 20)
/* Of an EVENT record besides the event and the inputs: its head with names and position, and an owed entry with its names. */
#define HELD_HEAD_MAX 4096u
#define HELD_OWED_MAX 512u
#define INPUT_BYTES_MAX (2u << 20)

static void group_done(struct sb_mail *m);

struct sb_intake_group *sb_intake_group_get(struct sb_shard *s)
{
	struct sb_link *l = sb_list_pop_front(&s->free_groups);
	struct sb_intake_group *g;

	if (l) {
		g = SB_CONTAINER(l, struct sb_intake_group, link);
	} else {
		g = sb_xcalloc(sizeof(*g));
		sb_list_init(&g->link);
		sb_buf_init(&g->append.frames, GROUP_BYTES_MAX);
	}
	g->shard = s;
	g->append.mail.run = group_done;
	g->append.home = &s->mail;
	g->append.state = false;
	g->append.deliveries = NULL;
	g->n_tally = 0;
	g->notes = false;
	sb_buf_clear(&g->append.frames);
	return g;
}

void sb_intake_group_submit(struct sb_intake_group *g)
{
	g->shard->groups_open++;
	SB_FAULT("intake.before_submit");
	sb_journal_submit(g->shard->core->journal, &g->append);
}

void sb_intake_group_free(struct sb_intake_group *g)
{
	sb_buf_done(&g->append.frames);
	free(g->tally);
	free(g);
}

/* One huge batch must not keep its memory for ever. */
static void group_put(struct sb_intake_group *g)
{
	if (g->append.frames.cap > (1u << 20)) {
		sb_intake_group_free(g);
		return;
	}
	sb_list_push_front(&g->shard->free_groups, &g->link);
}

void sb_append_drop_deliveries(struct sb_append *a)
{
	struct sb_handover *h = a->deliveries, *next;

	for (; h; h = next) {
		struct sb_delivery *dl = SB_CONTAINER(h, struct sb_delivery, handover);

		next = h->next;
		sb_dispatch_unreserve(dl->dispatch, dl->bytes);
		sb_delivery_free(dl);
	}
	a->deliveries = NULL;
}

static void group_drop_deliveries(struct sb_intake_group *g)
{
	if (!g->notes)
		sb_append_drop_deliveries(&g->append);
	g->append.deliveries = NULL;
}

static void group_done(struct sb_mail *m)
{
	struct sb_append *a = SB_CONTAINER(m, struct sb_append, mail);
	struct sb_intake_group *g = SB_CONTAINER(a, struct sb_intake_group, append);
	struct sb_refusal why = { .why = SB_REFUSE_FULL };
	bool durable = a->status == SB_APPEND_DURABLE;

	for (size_t i = 0; i < g->n_tally && durable; i++)
		sb_count(g->tally[i], 1);
	if (durable) {
		sb_count(&g->shard->events, g->n);
	} else {
		group_drop_deliveries(g);
		snprintf(why.msg, sizeof(why.msg), "%s",
			a->status == SB_APPEND_FULL ? "the disk is full" : "the disk failed");
	}
	SB_ASSERT(g->shard->groups_open > 0);
	g->shard->groups_open--;
	g->done(g, durable, &why);
	group_put(g);
}

/* ------------------------------------------------------------------------------------------------ one event */

struct intake {
	struct sb_shard *shard;
	struct sb_intake_group *group;
	struct sb_handover **tail;
	const struct sb_intake_extra *extra;
};

static void tally(struct sb_intake_group *g, sb_counter *c)
{
	if (g->n_tally == g->cap_tally) {
		g->cap_tally = g->cap_tally ? g->cap_tally * 2 : 32;
		g->tally = sb_xrealloc(g->tally, g->cap_tally * sizeof(*g->tally));
	}
	g->tally[g->n_tally++] = c;
}

/* A rule that the event at hand has matched; counted when the event is taken. */
static void note_hit(struct sb_shard *s, sb_counter *c)
{
	if (s->n_hit_counts == s->cap_hit_counts) {
		s->cap_hit_counts = s->cap_hit_counts ? s->cap_hit_counts * 2 : 32;
		s->hit_count = sb_xrealloc(s->hit_count, s->cap_hit_counts * sizeof(*s->hit_count));
	}
	s->hit_count[s->n_hit_counts++] = c;
}

static int refuse(struct sb_refusal *r, enum sb_refuse why, const char *fmt, ...) SB_PRINTF(3, 4);
static int refuse(struct sb_refusal *r, enum sb_refuse why, const char *fmt, ...)
{
	va_list ap;

	r->why = why;
	va_start(ap, fmt);
	vsnprintf(r->msg, sizeof(r->msg), fmt, ap);
	va_end(ap);
	return -1;
}

static void owe(struct sb_shard *s, const struct sb_owed *o, struct sb_target_slot *to)
{
	if (s->n_owed == s->owed_cap) {
		s->owed_cap = s->owed_cap ? s->owed_cap * 2 : 32;
		s->owed = sb_xrealloc(s->owed, s->owed_cap * sizeof(*s->owed));
		s->owed_to = sb_xrealloc(s->owed_to, s->owed_cap * sizeof(struct sb_target_slot *));
	}
	s->owed_to[s->n_owed] = to;
	s->owed[s->n_owed++] = *o;
}

/* Events whose key is absent have no order among each other. */
static uint32_t lane_of(const struct sb_path *order_by, const struct sb_event *ev)
{
	uint32_t node;
	struct sb_slice raw;

	if (!order_by)
		return 0;
	node = sb_path_find(order_by, &ev->tape);
	if (node == UINT32_MAX)
		return 0;
	raw = sb_json_raw(&ev->tape, node);
	return 1 + (sb_crc32c(0, raw.p, raw.n) >> 1);
}

/* The dead-on-arrival marker: the dispatch dead-letters it at once, with this reason and message. */
static void stillborn(struct sb_owed *o, struct sb_buf *scratch, enum sb_reason reason, const char *msg)
{
	sb_buf_clear(scratch);
	sb_buf_addc(scratch, (char)reason);
	sb_buf_adds(scratch, msg);
	o->flags |= SB_OWED_STILLBORN | SB_OWED_INPUT;
	o->input = sb_buf_slice(scratch);
}

static void render_input(struct sb_shard *s, const struct sb_rule *rule, const struct sb_input *input,
	const struct sb_event *ev, struct sb_owed *o)
{
	struct sb_input_vars vars = { .rule_name = rule->name, .ingestion_ms = ev->received_ms };
	char arn[256];
	struct sb_err err;

	if (sb_input_kind(input) == SB_INPUT_EVENT)
		return;
	snprintf(arn, sizeof(arn), "arn:aws:events:%s:%s:rule/%s/%s", s->core->region, s->core->account, rule->bus,
		rule->name);
	vars.rule_arn = arn;
	sb_buf_clear(&s->scratch);
	if (sb_input_render(input, ev, &vars, &s->scratch, &err) < 0) {
		stillborn(o, &s->scratch, SB_R_INVALID_JSON, err.msg);
		return;
	}
	o->flags |= SB_OWED_INPUT;
	o->input = sb_buf_slice(&s->scratch);
}

/* The queue is full: dead on arrival, but with its input, which a redrive will need. In pool memory. */
static void bounced(struct sb_owed *o)
{
	static const char msg[] = "max_queue of the target is reached";
	size_t head = o->input.n ? 1 + sizeof(msg) : sizeof(msg); /* with the NUL, or without */
	char *p = sb_pool_alloc(head + o->input.n);

	p[0] = SB_R_QUEUE_FULL;
	memcpy(p + 1, msg, head - 1);
	if (o->input.n)
		memcpy(p + head, o->input.p, o->input.n);
	o->flags |= SB_OWED_STILLBORN | SB_OWED_INPUT;
	o->input = sb_slice(p, head + o->input.n);
}

/* Takes room, and notes what is owed; its input is a copy of our own. -1: the target refuses by max_queue. */
static int owe_target(struct sb_shard *s, struct sb_event *ev, const struct sb_way *way, struct sb_owed *o)
{
	struct sb_target_slot *slot = way->slot;

	o->target = slot->name;
	o->lane = way->conf ? lane_of(way->conf->order_by, ev) : 0;
	if (sb_dispatch_reserve(slot->dispatch, sb_delivery_bytes(ev, (uint32_t)o->input.n))) {
		if (o->flags & SB_OWED_INPUT)
			o->input.p = sb_pool_copy(o->input);
	} else if (way->conf && way->conf->policy.on_full == SB_ON_FULL_REFUSE) {
		return -1;
	} else {
		if (o->flags & SB_OWED_STILLBORN)
			o->input.p = sb_pool_copy(o->input); /* of what it died first, it is dead */
		else
			bounced(o);
		sb_dispatch_reserve_always(slot->dispatch, sb_delivery_bytes(ev, (uint32_t)o->input.n));
	}
	owe(s, o, slot);
	return 0;
}

static int owe_rule(struct sb_shard *s, struct sb_event *ev, const struct sb_rule *rule, struct sb_refusal *r)
{
	const struct sb_plan *plan = s->plan;

	if (rule->state == SB_RULE_SHADOW) {
		note_hit(s, &plan->rule_stat[rule->index]->shadowed);
		return 0;
	}
	note_hit(s, &plan->rule_stat[rule->index]->matched);
	for (size_t i = 0; i < rule->n_targets; i++) {
		const struct sb_way *way = &plan->way[rule->index][i];
		struct sb_owed o = { .rule = rule->name };

		render_input(s, rule, rule->target[i].input, ev, &o);
		if (owe_target(s, ev, way, &o) < 0)
			return refuse(r, SB_REFUSE_FULL, "the queue of target '%s' is full", way->slot->name);
	}
	return 0;
}

static int owe_matches(struct sb_shard *s, struct sb_event *ev, struct sb_refusal *r)
{
	sb_ruleset_match(s->plan->rules, ev, &s->hits);
	for (size_t i = 0; i < s->hits.n; i++)
		if (owe_rule(s, ev, s->hits.rule[i], r) < 0)
			return -1;
	return 0;
}

static int owe_only(struct sb_shard *s, struct sb_event *ev, const struct sb_intake_only *only, struct sb_refusal *r)
{
	struct sb_owed o = { .rule = only->rule, .flags = only->flags, .input = only->input };
	/* no conf: the target has left the configuration since */
	const struct sb_way way = { only->target, sb_config_target(s->plan->config, only->target->name) };

	if (only->input.n)
		o.flags |= SB_OWED_INPUT;
	if (owe_target(s, ev, &way, &o) < 0)
		return refuse(r, SB_REFUSE_FULL, "the queue of target '%s' is full", only->target->name);
	return 0;
}

void sb_intake_forget_owed(struct sb_shard *s, const struct sb_event *ev)
{
	for (size_t i = 0; i < s->n_owed; i++) {
		const struct sb_owed *o = &s->owed[i];

		sb_dispatch_unreserve(s->owed_to[i]->dispatch, sb_delivery_bytes(ev, (uint32_t)o->input.n));
		if (o->flags & SB_OWED_INPUT)
			sb_pool_free((char *)o->input.p);
	}
	s->n_owed = 0;
}

/* What the event is owed to, in shard->owed; on -1 nothing is. */
static int owe_event(struct sb_shard *s, struct sb_event *ev, const struct sb_intake_only *only, struct sb_refusal *r)
{
	s->n_owed = s->n_hit_counts = 0;
	ev->generation = only && only->generation ? only->generation : s->plan->generation;
	if ((only ? owe_only(s, ev, only, r) : owe_matches(s, ev, r)) == 0)
		return 0;
	sb_intake_forget_owed(s, ev);
	return -1;
}

static void make_deliveries(struct intake *in, struct sb_event *ev)
{
	struct sb_shard *s = in->shard;

	for (uint32_t i = 0; i < s->n_owed; i++) {
		const struct sb_owed *o = &s->owed[i];
		struct sb_delivery *dl = sb_delivery_new(s->owed_to[i]->dispatch, sb_event_ref(ev), o->rule, i, o->lane, o->flags,
			o->flags & SB_OWED_INPUT ? (char *)o->input.p : NULL, (uint32_t)o->input.n);

		if (in->extra && in->extra->redrive_of.n)
			dl->letter = sb_slice(sb_pool_copy(in->extra->redrive_of), in->extra->redrive_of.n);
		dl->letter_owed = (uint32_t)s->n_owed;
		*in->tail = &dl->handover;
		dl->handover.next = NULL;
		in->tail = &dl->handover.next;
	}
}

/* The event with what shard->owed says, into the group. */
static int put_event(struct intake *in, struct sb_event *ev, struct sb_refusal *r)
{
	struct sb_shard *s = in->shard;
	struct sb_event_record rec = { .ev = ev, .generation = ev->generation, .owed = s->owed, .n_owed = (uint32_t)s->n_owed };

	if (in->extra) {
		rec.parent = in->extra->parent;
		rec.redrive_of = in->extra->redrive_of;
	}
	if (sb_record_event(&in->group->append.frames, &rec) < 0) {
		sb_intake_forget_owed(s, ev);
		return refuse(r, SB_REFUSE_TOO_LARGE, "the batch is too large");
	}
	for (size_t i = 0; i < s->n_hit_counts; i++)
		tally(in->group, s->hit_count[i]);
	if (s->n_owed == 0) {
		tally(in->group, &s->unmatched);
		sb_sample(&s->samples, ev, ev->received_ms, NULL);
	}
	make_deliveries(in, ev);
	return 0;
}

static int take_event(struct intake *in, struct sb_event *ev, const struct sb_intake_call *call, struct sb_refusal *r)
{
	if (owe_event(in->shard, ev, call->only, r) < 0)
		return -1;
	if (call->must_match && in->shard->n_owed == 0)
		return refuse(r, SB_REFUSE_INVALID, "no rule of today matches it");
	return put_event(in, ev, r);
}

static int refuse_all(struct sb_refusal *r, size_t n, enum sb_refuse why, const char *msg)
{
	for (size_t i = 0; i < n; i++)
		refuse(&r[i], why, "%s", msg);
	return -1;
}

/* Every event of the call, or -1 with a verdict for each. */
static int take_events(struct intake *in, const struct sb_intake_call *call, struct sb_refusal *refusal)
{
	for (size_t i = 0; i < call->n; i++) {
		refusal[i].why = SB_TAKEN;
		if (take_event(in, call->ev[i], call, &refusal[i]) == 0)
			continue;
		for (size_t k = 0; k < call->n; k++)
			if (k != i)
				refuse(&refusal[k], SB_REFUSE_WITH_OTHERS, "another event of the batch was refused");
		return -1;
	}
	return 0;
}

static void begin_group(struct intake *in, struct sb_shard *s, const struct sb_intake_call *call)
{
	*in = (struct intake){ .shard = s, .extra = call->extra, .group = sb_intake_group_get(s) };
	in->tail = &in->group->append.deliveries;
}

static void drop_group(struct intake *in)
{
	group_drop_deliveries(in->group);
	group_put(in->group);
}

/* The events have moved in: from here on the journal answers. */
static void submit_group(struct intake *in, const struct sb_intake_call *call)
{
	struct sb_intake_group *g = in->group;

	for (size_t i = 0; i < call->n; i++)
		sb_event_unref(call->ev[i]); /* the deliveries hold theirs */
	g->n = call->n;
	g->done = call->done;
	g->arg = call->arg;
	g->cookie = call->cookie;
	sb_intake_group_submit(g);
}

static bool stopping(const struct sb_shard *s)
{
	return atomic_load_explicit(&s->core->stopping, memory_order_relaxed);
}

int sb_intake(struct sb_shard *s, const struct sb_intake_call *call, struct sb_refusal *refusal)
{
	struct intake in;

	if (stopping(s))
		return refuse_all(refusal, call->n, SB_REFUSE_STOPPING, "the daemon is stopping");
	begin_group(&in, s, call);
	if (take_events(&in, call, refusal) < 0) {
		drop_group(&in);
		return -1;
	}
	submit_group(&in, call);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ held by its source */

/* The source has it, and can wait as long as its targets get on. */
static bool must_wait(const struct sb_shard *s)
{
	for (size_t i = 0; i < s->n_owed; i++)
		if (sb_dispatch_busy(s->owed_to[i]->dispatch))
			return true;
	return false;
}

/* Its record may be written later, when it is too late to refuse. */
static bool fits_a_group(const struct sb_shard *s, const struct sb_event *ev)
{
	uint64_t bytes = ev->n + HELD_HEAD_MAX;

	for (size_t i = 0; i < s->n_owed; i++)
		bytes += s->owed[i].input.n + HELD_OWED_MAX;
	return bytes <= GROUP_BYTES_MAX;
}

int sb_intake_held(struct sb_source_unit *u, struct sb_event *ev, const struct sb_held *held, struct sb_refusal *refusal)
{
	struct sb_shard *s = u->shard;

	if (stopping(s))
		return refuse_all(refusal, 1, SB_REFUSE_STOPPING, "the daemon is stopping");
	refusal->why = SB_TAKEN;
	if (owe_event(s, ev, NULL, refusal) < 0)
		return -1;
	if (!fits_a_group(s, ev)) {
		sb_intake_forget_owed(s, ev);
		return refuse_all(refusal, 1, SB_REFUSE_TOO_LARGE, "the event is too large with all the inputs that rules make of it");
	}
	if (must_wait(s)) {
		sb_intake_forget_owed(s, ev);
		return refuse_all(refusal, 1, SB_REFUSE_FULL, "a target has as much as it can hold, and gets on");
	}
	for (size_t i = 0; i < s->n_hit_counts; i++)
		sb_count(s->hit_count[i], 1);
	sb_count(&s->unmatched, s->n_owed == 0);
	if (s->n_owed == 0)
		sb_sample(&s->samples, ev, ev->received_ms, NULL);
	sb_count(&s->events, 1);
	sb_count(&u->slot->held, 1);
	sb_receipt_begin(u, ev, held);
	return 0;
}

int sb_intake_again(struct sb_shard *s, struct sb_slice json, const char *bus, const char *origin, struct sb_event **ret,
	struct sb_err *err)
{
	if (sb_event_parse(json, bus, origin, ret, err) < 0)
		return -1;
	(*ret)->received_ms = sb_wall_ms(s->core->clock);
	(*ret)->receipt = sb_uuid_next(&s->uuids, (*ret)->received_ms);
	return 0;
}
