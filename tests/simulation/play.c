/* SPDX-License-Identifier: Apache-2.0 */
#include "play.h"

#include <stdlib.h>
#include <string.h>

#define MINUTE_NS (60 * SB_NS_PER_S)
#define FOR_EVER 1000000

/* ------------------------------------------------------------------------------------------------ events */

/* Odd plays are long days: nothing is large, some things last. Even ones are busy mornings: journal segments come and go. */
enum { LONG = 1, BUSY = 2, HELD = 4 /* comes from a source that keeps it until it is settled */ };

struct kind {
	const char *to,
		*first; /* what its first `least` to `most` attempts come to; "some": one or another, or nothing bad */
	unsigned days;
	unsigned least, most, count, together, bytes;
	unsigned from_min, until_min;
};

static const struct kind kinds[] = {
	{ "quick", "-", LONG, 0, 0, 40, 1, 0, 0, 480 },
	{ "shaped", "-", LONG, 0, 0, 6, 1, 0, 0, 480 },
	{ "nobody", "-", LONG, 0, 0, 6, 1, 0, 0, 480 },
	{ "onward", "-", LONG, 0, 0, 5, 1, 0, 0, 480 },
	{ "work", "-", LONG, 0, 0, 24, 12, 0, 0, 480 },
	{ "work", "fails", LONG, 1, 6, 8, 2, 0, 0, 480 },
	{ "work", "hangs", LONG, 1, 2, 4, 1, 0, 0, 480 },
	{ "work", "dies", LONG, 1, 2, 4, 1, 0, 0, 480 },
	{ "work", "garbage", LONG, 1, 1, 2, 1, 0, 0, 480 },
	{ "work", "wrong-id", LONG, 1, 1, 2, 1, 0, 0, 480 },
	{ "work", "hangs-up", LONG, 1, 1, 2, 1, 0, 0, 480 },
	{ "fan", "fails", LONG, 1, 3, 4, 1, 0, 0, 480 },
	{ "shared", "some", LONG, 1, 1, 24, 6, 0, 60, 120 },
	{ "shot", "fails", LONG, 0, 3, 4, 1, 0, 0, 180 },
	{ "doomed", "fails", LONG, FOR_EVER, FOR_EVER, 4, 1, 0, 0, 60 },
	{ "counted", "fails", LONG, FOR_EVER, FOR_EVER, 3, 1, 0, 0, 60 },
	{ "aged", "fails", LONG, FOR_EVER, FOR_EVER, 3, 1, 0, 0, 240 },
	{ "far", "-", LONG, 0, 0, 6, 1, 0, 0, 360 },
	{ "lost", "-", LONG, 0, 0, 3, 1, 0, 0, 360 },
	{ "ordered", "-", LONG, 0, 0, 30, 1, 0, 0, 120 },
	{ "ordered", "fails", LONG, 10, 12, 1, 1, 0, 0, 1 }, /* of key b */
	{ "narrow", "fails", LONG, 3, 5, 12, 6, 0, 60, 180 },
	{ "polite", "fails", LONG, 7, 9, 24, 3, 0, 60, 120 },
	{ "strict", "rejects", LONG, 1, 1, 3, 1, 0, 0, 480 },
	{ "picky", "rejects", LONG, 1, 1, 3, 1, 0, 0, 480 },
	{ "quick", "-", LONG | HELD, 0, 0, 20, 1, 0, 0, 480 },
	{ "quick", "fails", LONG | HELD, 1, 3, 5, 1, 0, 0, 480 },
	{ "work", "fails", LONG | HELD, 1, 4, 6, 1, 0, 0, 480 },
	{ "work", "hangs", LONG | HELD, 1, 1, 3, 1, 0, 0, 480 },
	{ "fan", "fails", LONG | HELD, 0, 2, 6, 2, 0, 0, 480 },
	{ "nobody", "-", LONG | HELD, 0, 0, 4, 1, 0, 0, 480 },
	{ "onward", "-", LONG | HELD, 0, 0, 4, 1, 0, 0, 480 },
	{ "doomed", "fails", LONG | HELD, FOR_EVER, FOR_EVER, 1, 1, 0, 0, 60 },
	{ "far", "-", LONG | HELD, 0, 0, 3, 1, 0, 0, 360 },
	{ "strict", "rejects", LONG | HELD, 1, 1, 2, 1, 0, 0, 480 },
	{ "picky", "rejects", LONG | HELD, 1, 1, 3, 1, 0, 0, 480 },
	{ "quick", "-", BUSY, 0, 0, 60, 2, 50000, 0, 150 },
	{ "picky", "rejects", BUSY, 1, 1, 40, 2, 40000, 0, 150 },
	{ "work", "-", BUSY, 0, 0, 36, 12, 20000, 60, 90 },
	{ "shared", "some", BUSY, 1, 1, 24, 6, 20000, 0, 30 },
	{ "ordered", "-", BUSY, 0, 0, 40, 4, 20000, 60, 120 },
	{ "ordered", "fails", BUSY, 10, 12, 1, 1, 0, 59, 60 },
	{ "far", "-", BUSY, 0, 0, 30, 3, 20000, 60, 120 },
	{ "strict", "rejects", BUSY, 1, 1, 3, 1, 20000, 0, 60 },
	{ "aged", "fails", BUSY, FOR_EVER, FOR_EVER, 3, 1, 20000, 60, 120 },
	{ "onward", "-", BUSY, 0, 0, 5, 1, 20000, 0, 150 },
	{ "quick", "-", BUSY | HELD, 0, 0, 60, 4, 50000, 0, 150 },
	{ "fan", "-", BUSY | HELD, 0, 0, 30, 2, 20000, 0, 150 },
	{ "work", "-", BUSY | HELD, 0, 0, 36, 12, 20000, 60, 90 },
	{ "work", "fails", BUSY | HELD, 1, 3, 12, 3, 20000, 60, 90 },
	{ "far", "-", BUSY | HELD, 0, 0, 10, 2, 20000, 60, 120 },
	{ "picky", "rejects", BUSY | HELD, 1, 1, 20, 2, 40000, 0, 150 },
	{ "nobody", "-", BUSY, 0, 0, 5, 1, 20000, 0, 150 },
};

static int by_time(const void *a, const void *b)
{
	const struct ledger_event *x = a, *y = b;

	return x->at_ns != y->at_ns ? (x->at_ns < y->at_ns ? -1 : 1) : (x->n > y->n) - (x->n < y->n);
}

static void add_kind(struct play *p, const struct kind *k)
{
	static const char *const keys[] = { "a", "b", "c", "d" }, *const some[] = { "-", "-", "-", "dies", "hangs" };
	struct ledger *l = p->ledger;
	uint64_t at = 0;

	for (unsigned i = 0; i < k->count; i++) {
		struct ledger_event *ev;

		if (i % k->together == 0)
			at = k->from_min * MINUTE_NS +
			     sb_rand_below(&p->rand, (k->until_min - k->from_min) * MINUTE_NS);
		l->event = sb_xrealloc(l->event, (l->n_events + 1) * sizeof(*ev));
		ev = &l->event[l->n_events];
		*ev = (struct ledger_event){
			.n = (unsigned)l->n_events++, .to = k->to, .first = k->first, .at_ns = l->begin_ns + at
		};
		if (strcmp(k->first, "some") == 0)
			ev->first = some[sb_rand_below(&p->rand, SB_LEN(some))];
		if (strcmp(ev->first, "-") != 0)
			ev->times = k->least + (unsigned)sb_rand_below(&p->rand, k->most - k->least + 1);
		ev->held = k->days & HELD;
		ev->bytes = k->bytes ? (unsigned)sb_rand_below(&p->rand, k->bytes) : 0;
		ev->key =
			k->least == 10 || strcmp(k->to, "fan") == 0 ? "b" : keys[sb_rand_below(&p->rand, SB_LEN(keys))];
	}
}

void play_init(struct play *p, struct ledger *l, uint64_t play, uint64_t seed)
{
	unsigned day = play % 2 ? LONG : BUSY;

	p->ledger = l;
	p->far_is_back_ns = l->begin_ns + (day == LONG ? 300 : 130) * MINUTE_NS;
	sb_rand_seed(&p->rand, play);
	for (size_t i = 0; i < SB_LEN(kinds); i++)
		if (kinds[i].days & day)
			add_kind(p, &kinds[i]);
	qsort(l->event, l->n_events, sizeof(*l->event), by_time);
	for (size_t i = 0; i < l->n_events; i++)
		l->event[i].n = (unsigned)i;
	sb_rand_seed(&p->rand, seed);
}

/* ------------------------------------------------------------------------------------------------ how it must end */

static const struct {
	const char *to;
	struct play_way way[4];
	size_t n;
} ways[] = {
	{ "quick", { { "quick", "quick" } }, 1 },
	{ "shaped", { { "shaped", "quick" } }, 1 },
	{ "nobody", { { 0 } }, 0 },
	{ "onward", { { "onward", "onward" }, { "arrived", "quick" } }, 2 },
	{ "work", { { "work", "work" } }, 1 },
	{ "fan", { { "fan", "work" }, { "fan", "quick" }, { "fan", "ordered" } }, 3 },
	{ "shared", { { "shared", "shared" } }, 1 },
	{ "shot", { { "shot", "shot" } }, 1 },
	{ "doomed", { { "doomed", "doomed" } }, 1 },
	{ "counted", { { "counted", "counted" } }, 1 },
	{ "aged", { { "aged", "aged" } }, 1 },
	{ "far", { { "far", "far" } }, 1 },
	{ "lost", { { "lost", "lost" } }, 1 },
	{ "ordered", { { "ordered", "ordered" } }, 1 },
	{ "picky", { { "picky", "picky" } }, 1 },
	{ "narrow", { { "narrow", "narrow" } }, 1 },
	{ "polite", { { "polite", "polite" } }, 1 },
	{ "strict",
		{ { "strict", "strict" }, { "strict-too", "strict" }, { "strict", "graves" },
			{ "strict-too", "graves" } },
		4 },
};

bool play_comes_later(const struct play_way *way)
{
	return strcmp(way->rule, "arrived") == 0 || strcmp(way->target, "graves") == 0;
}

size_t play_ways(const char *to, const struct play_way **ret)
{
	size_t i = 0;

	while (strcmp(ways[i].to, to) != 0)
		i++;
	*ret = ways[i].way;
	return ways[i].n;
}

static const struct {
	const char *target;
	enum ledger_fate fate;
} fates[] = {
	{ "strict", FATE_REJECTED },
	{ "picky", FATE_REJECTED },
	{ "doomed", FATE_EXHAUSTED },
	{ "counted", FATE_COUNT },
	{ "aged", FATE_AGE },
	{ "lost", FATE_UNREACHED },
	{ "narrow", FATE_NO_ROOM },
};

enum ledger_fate play_fate(const char *target)
{
	for (size_t i = 0; i < SB_LEN(fates); i++)
		if (strcmp(fates[i].target, target) == 0)
			return fates[i].fate;
	return FATE_DELIVERED;
}

/* ------------------------------------------------------------------------------------------------ workers */

static uint64_t some_ms(struct play *p, uint64_t most)
{
	return (1 + sb_rand_below(&p->rand, most)) * SB_NS_PER_MS;
}

struct sb_fake_act play_start(struct play *p, const char *command)
{
	struct sb_fake_act act = { .what = SB_FAKE_STARTS, .after_ns = some_ms(p, 200) };

	bool back = p->ledger->clock->mono >= p->far_is_back_ns;

	if (strcmp(command, "lost") == 0 || (strcmp(command, "far") == 0 && !back))
		act.what = SB_FAKE_CANNOT_START;
	else if (strcmp(command, "work") == 0 && sb_rand_below(&p->rand, 16) == 0)
		act.what = SB_FAKE_DIES_STARTING;
	act.ignores_term = sb_rand_below(&p->rand, 4) == 0;
	return act;
}

static const struct {
	const char *first;
	enum sb_fake_deed deed;
} deeds[] = {
	{ "fails", SB_FAKE_FAILS },
	{ "rejects", SB_FAKE_REJECTS },
	{ "hangs", SB_FAKE_HANGS },
	{ "dies", SB_FAKE_DIES },
	{ "garbage", SB_FAKE_GARBAGE },
	{ "wrong-id", SB_FAKE_WRONG_ID },
	{ "hangs-up", SB_FAKE_HANGS_UP },
};

struct sb_fake_act play_request(struct play *p, const struct ledger_delivery *d, unsigned attempt)
{
	static const enum sb_fake_deed fine[] = { SB_FAKE_OK, SB_FAKE_OK, SB_FAKE_MUTTERS, SB_FAKE_FLOODS };
	struct sb_fake_act act = { .after_ns = some_ms(p, 20) };

	act.what = strcmp(d->target, "work") == 0 ? (int)fine[sb_rand_below(&p->rand, SB_LEN(fine))] : SB_FAKE_OK;
	if (attempt > d->ev->times)
		return act;
	for (size_t i = 0; i < SB_LEN(deeds); i++)
		if (strcmp(deeds[i].first, d->ev->first) == 0)
			act.what = (int)deeds[i].deed;
	return act;
}
