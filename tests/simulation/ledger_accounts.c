/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger held against what the broker says of itself: audits, the table, and how everything ended. */
#include "ledger.h"

#include <inttypes.h>

#include "play.h"

bool ledger_owes_any(const struct ledger *l)
{
	for (size_t i = 0; i < l->n_deliveries; i++)
		if (ledger_owes(&l->delivery[i]))
			return true;
	return false;
}

static void add_route(const struct ledger *l, const struct sb_route_count *r, struct sb_route_count *ret)
{
	for (size_t i = 0; i < l->n_deliveries; i++) {
		const struct ledger_delivery *d = &l->delivery[i];

		if (!d->durable || d->origin != r->source || d->rule != r->rule || d->target != r->target)
			continue;
		ret->accepted++;
		ret->delivered += d->durable_end == END_DELIVERED;
		ret->dead += d->durable_end == END_DEAD;
	}
}

void ledger_check_audit(struct ledger *l, const struct sb_audit *a)
{
	uint64_t owed = 0;

	for (size_t i = 0; i < l->n_deliveries; i++)
		owed += l->delivery[i].durable;
	if (!a->adds_up || a->double_results || a->unknown_results)
		ledger_broken(l, "the audit does not add up: %s", a->why_not);
	if (a->events != l->events || a->unmatched != l->unmatched || a->accepted != owed ||
		a->accepted != a->delivered + a->dead + a->in_flight)
		ledger_broken(l,
			"the audit counts %" PRIu64 " events, %" PRIu64 " unmatched, %" PRIu64
			" deliveries; it should be %" PRIu64 ", %" PRIu64 ", %" PRIu64,
			a->events, a->unmatched, a->accepted, l->events, l->unmatched, owed);
	for (size_t i = 0; i < a->n; i++) {
		const struct sb_route_count *r = &a->route[i];
		struct sb_route_count ours = { 0 };

		if (!r->rule[0])
			continue;
		add_route(l, r, &ours);
		if (r->accepted != ours.accepted || r->delivered != ours.delivered || r->dead != ours.dead)
			ledger_broken(l,
				"the audit of %s, %s, %s is %" PRIu64 " = %" PRIu64 " + %" PRIu64
				" + ...; it should be %" PRIu64 " = %" PRIu64 " + %" PRIu64 " + ...",
				r->source, r->rule, r->target, r->accepted, r->delivered, r->dead, ours.accepted,
				ours.delivered, ours.dead);
	}
}

void ledger_check_letter(struct ledger *l, const struct sb_letter *letter)
{
	const struct ledger_delivery *d = ledger_by_id(l, letter->rec.id);

	if (!d || d->durable_end != END_DEAD || letter->rec.attempts != d->tries || letter->lives != 1)
		ledger_broken(
			l, "the table has a letter that is not in the journal: %.*s", SB_SLICE_ARG(letter->rec.id));
}

/* ------------------------------------------------------------------------------------------------ the end */

/*
 * The delivery of an event on one way, and how many there are: one, but for each crash an event may cross to a bus once more,
 * and be handed over once more by a source that had not heard of its settlement.
 */
static const struct ledger_delivery *find_way(
	struct ledger *l, const struct ledger_event *ev, const struct play_way *way, unsigned *n)
{
	const struct ledger_delivery *found = NULL;

	*n = 0;
	for (size_t i = 0; i < l->n_deliveries; i++) {
		const struct ledger_delivery *d = &l->delivery[i];

		if (d->ev == ev && strcmp(d->rule, way->rule) == 0 && strcmp(d->target, way->target) == 0) {
			found = d;
			++*n;
		}
	}
	if (!found || (*n > 1 && (*n > l->crashes + 1 || !(ev->held || strcmp(way->rule, "arrived") == 0))))
		ledger_broken(l, "e%u is owed to %s by rule %s %u times", ev->n, way->target, way->rule, *n);
	return found;
}

static unsigned check_way(struct ledger *l, const struct ledger_event *ev, const struct play_way *way)
{
	enum ledger_fate fate = play_fate(way->target);
	unsigned n;
	const struct ledger_delivery *d = find_way(l, ev, way, &n);

	if (d->durable_end == END_OPEN)
		ledger_broken(l, "%s has no outcome", ledger_label(d));
	if (d->durable_end == END_DELIVERED && fate != FATE_DELIVERED && fate != FATE_NO_ROOM)
		ledger_broken(l, "%s was delivered", ledger_label(d));
	if (!l->crashes && d->successes != (d->durable_end == END_DELIVERED))
		ledger_broken(l, "%s was delivered %u times without a crash", ledger_label(d), d->successes);
	return n;
}

void ledger_check_all_ended(struct ledger *l)
{
	size_t owed = 0;

	for (size_t i = 0; i < l->n_events; i++) {
		const struct play_way *way;
		size_t n = play_ways(l->event[i].to, &way);

		if (!l->event[i].durable)
			ledger_broken(l, "e%u was never taken in", l->event[i].n);
		if (l->event[i].held && !l->event[i].settled)
			ledger_broken(l, "e%u was never settled at its source", l->event[i].n);
		if (!l->event[i].held && !l->event[i].accepted && !l->crashes)
			ledger_broken(l, "e%u was taken in, and its sender was not told", l->event[i].n);
		for (size_t k = 0; k < n; k++)
			owed += check_way(l, &l->event[i], &way[k]);
	}
	if (owed != l->n_deliveries)
		ledger_broken(l, "%zu deliveries, %zu are explained", l->n_deliveries, owed);
}

void ledger_ends(struct ledger *l, struct sb_buf *out)
{
	for (size_t i = 0; i < l->n_events; i++) {
		const struct ledger_event *ev = &l->event[i];
		const struct play_way *way;
		size_t n = play_ways(ev->to, &way);
		unsigned times;

		for (size_t k = 0; k < n; k++)
			if (play_fate(way[k].target) != FATE_NO_ROOM) /* chance decides who finds room */
				sb_buf_addf(out, "e%u %s %s %s\n", ev->n, way[k].rule, way[k].target,
					find_way(l, ev, &way[k], &times)->durable_end == END_DEAD ? "dead"
												  : "delivered");
	}
}
