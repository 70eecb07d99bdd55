/* SPDX-License-Identifier: Apache-2.0 */
/* Who sends: a connector that builds the play's events and emits them group by group, and the registry that it stands in. */
#include "sim.h"

#include "tests/support/test.h"

#include <inttypes.h>

#define SEND_AGAIN_NS (60 * SB_NS_PER_S)
#define GROUP_MAX 12
#define WINDOW 8 /* events that a source has handed over; then it wants its place back */

static int source_open(struct sb_source *src, struct sb_err *err)
{
	(void)src;
	(void)err;
	return 0;
}

static struct sim *sim_of(struct sb_source *src)
{
	return SB_CONTAINER(SB_CONTAINER(src, struct sb_source_unit, source)->slot->core, struct sim, core);
}

/* The cookie is the group's number. */
static void source_accepted(struct sb_source *src, uint64_t cookie)
{
	struct sim *s = sim_of(src);
	const struct sim_group *g = &s->group[cookie];

	for (size_t i = 0; i < g->n; i++)
		ledger_accepted(&s->ledger, &s->ledger.event[g->first + i]);
}

static void source_refused(struct sb_source *src, uint64_t cookie, const struct sb_refusal *why)
{
	struct sim *s = sim_of(src);

	if (!s->disk->off)
		ledger_broken(&s->ledger, "group %" PRIu64 " was not stored: %s", cookie, why->msg);
}

static void source_close(struct sb_source *src)
{
	sb_source_closed(src);
}

/* The cookie is the event, the epoch the life in which it was handed over. */
static void source_settled(struct sb_source *src, uint64_t cookie, uint32_t epoch)
{
	struct sim *s = sim_of(src);

	if (epoch != s->ledger.crashes + s->ledger.restarts && !s->ledger.deaf)
		ledger_broken(&s->ledger, "e%" PRIu64 " was settled in another life", cookie);
	ledger_settled_at_source(&s->ledger, &s->ledger.event[cookie]);
}

static const struct sb_field no_fields[] = { { 0 } };

static const struct sb_connector simulated = {
	.type = "simulated",
	.summary = "sends what the play says",
	.source = &(const struct sb_source_ops){ .state_size = 1,
		.fields = no_fields,
		.open = source_open,
		.accepted = source_accepted,
		.refused = source_refused,
		.close = source_close },
};

static const struct sb_connector simulated_held = {
	.type = "held",
	.summary = "hands over what the play says, and keeps it until it is settled",
	.source = &(const struct sb_source_ops){ .state_size = 1,
		.fields = no_fields,
		.open = source_open,
		.settled = source_settled,
		.close = source_close },
};

extern const struct sb_connector sb_connector_bus;
const struct sb_connector *const sb_connectors[] = { &simulated, &simulated_held, &sb_connector_function,
	&sb_connector_bus, NULL };

static void write_detail(const struct ledger_event *ev, struct sb_buf *out)
{
	sb_buf_addf(out, "{\"n\":%u,\"to\":\"%s\",\"key\":\"%s\",\"first\":\"%s\",\"times\":%u,\"pad\":\"", ev->n,
		ev->to, ev->key, ev->first, ev->times);
	for (unsigned i = 0; i < ev->bytes; i++)
		sb_buf_addc(out, (char)('a' + i % 26));
	sb_buf_adds(out, "\"}");
	memset(sb_buf_reserve(out, SB_JSON_PAD), 0, SB_JSON_PAD);
}

static struct sb_event *build(struct sb_source *src, const struct ledger_event *ev)
{
	struct sb_event_spec spec;
	struct sb_tape_buf tape = { 0 };
	struct sb_json_fault fault;
	struct sb_buf text = SB_BUF(1u << 20);
	struct sb_event *ret;
	struct sb_tape t;
	struct sb_err err;

	sb_source_spec(src, &spec);
	write_detail(ev, &text);
	assert_int_equal(sb_json_scan(text.p, text.len, &SB_JSON_LIMITS, &tape, &fault), 0);
	t = sb_tape_of(text.p, &tape);
	spec.source.s = SB_SLICE("com.shop");
	spec.detail_type.s = SB_SLICE("Simulated");
	spec.tape = &t;
	if (sb_event_build(&spec, sb_source_max_event(src), &ret, &err) < 0)
		fail_msg("%s", err.msg);
	sb_tape_buf_done(&tape);
	sb_buf_done(&text);
	return ret;
}

static struct sb_source *source_on(const struct sim *s, const char *name, unsigned shard)
{
	struct sb_source_slot *slot = sb_map_get(&s->plan->sources, sb_slice_str(name));

	return &slot->unit[shard].source;
}

static void send_later(struct sim *s, struct sim_group *g, const struct sb_refusal *why)
{
	ledger_say(&s->ledger, "refused: %s", why->msg);
	if (why->why != SB_REFUSE_FULL && why->why != SB_REFUSE_WITH_OTHERS)
		ledger_broken(&s->ledger, "refused: %s", why->msg);
	g->at_ns = sim_now_ns(s) + SEND_AGAIN_NS;
}

/* A group goes to some shard. What is refused is sent again later. */
static void emit(struct sim *s, struct sim_group *g)
{
	unsigned shard = (unsigned)sb_rand_below(&s->chance, s->n_shards);
	struct sb_source *src = source_on(s, "shop", shard);
	struct sb_refusal refusal[GROUP_MAX];
	struct sb_event *ev[GROUP_MAX];

	for (size_t i = 0; i < g->n; i++)
		ev[i] = build(src, &s->ledger.event[g->first + i]);
	ledger_say(&s->ledger, "send e%zu to %s, %zu together, on shard %u", g->first, s->ledger.event[g->first].to,
		g->n, shard);
	g->sent = sb_source_emit(src, ev, g->n, (uint64_t)(g - s->group), refusal) == 0;
	for (size_t i = 0; i < g->n && !g->sent; i++)
		sb_event_unref(ev[i]);
	if (!g->sent)
		send_later(s, g, &refusal[0]);
}

/* Events of this partition that were handed over in this life and are not settled. */
static size_t in_hand(const struct sim *s, unsigned shard)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_groups; i++)
		n += s->group[i].held && s->group[i].sent && s->group[i].shard == shard &&
		     !s->ledger.event[s->group[i].first].settled;
	return n;
}

static void hand(struct sim *s, struct sim_group *g)
{
	struct ledger_event *e = &s->ledger.event[g->first];
	struct sb_source *src = source_on(s, "stream", g->shard);
	struct sb_held held = {
		.cookie = g->first, .epoch = s->ledger.crashes + s->ledger.restarts, .position = SB_SLICE("stream/0/1")
	};
	struct sb_event *ev = build(src, e);
	struct sb_uuid receipt = ev->receipt;
	struct sb_refusal refusal;

	ledger_say(&s->ledger, "hand e%zu to %s on shard %u", g->first, e->to, g->shard);
	g->sent = sb_source_hand(src, ev, &held, &refusal) == 0;
	if (!g->sent) {
		sb_event_unref(ev);
		send_later(s, g, &refusal);
		return;
	}
	ledger_handed(&s->ledger, e, &receipt);
	if (in_hand(s, g->shard) > WINDOW)
		sb_source_spill(src, WINDOW / 2);
}

void sim_send_group(struct sim *s, struct sim_group *g)
{
	SB_ASSERT(g->n <= GROUP_MAX);
	if (g->held)
		hand(s, g);
	else
		emit(s, g);
}

/* The next to be sent; NULL: none is left. */
struct sim_group *sim_next_group(const struct sim *s)
{
	struct sim_group *next = NULL;

	for (size_t i = 0; i < s->n_groups; i++)
		if (!s->group[i].sent && (!next || s->group[i].at_ns < next->at_ns))
			next = &s->group[i];
	return next;
}

void sim_make_groups(struct sim *s)
{
	const struct ledger *l = &s->ledger;
	struct sim_group *g = NULL;

	s->group = sb_xcalloc(l->n_events * sizeof(*s->group));
	for (size_t i = 0; i < l->n_events; i++) {
		const struct ledger_event *ev = &l->event[i];

		if (!g || g->at_ns != ev->at_ns || g->n == GROUP_MAX || ev->held) {
			g = &s->group[s->n_groups++];
			*g = (struct sim_group){
				.first = i, .at_ns = ev->at_ns, .held = ev->held, .shard = (unsigned)i % s->n_shards
			};
		}
		g->n++;
	}
}

void sim_send_lost_again(struct sim *s)
{
	for (size_t i = 0; i < s->n_groups; i++) {
		struct sim_group *g = &s->group[i];
		const struct ledger_event *ev = &s->ledger.event[g->first];

		if (!g->sent || (g->held ? ev->settled : ev->durable))
			continue;
		g->sent = false;
		g->at_ns = sim_now_ns(s) + SB_NS_PER_S;
	}
}
