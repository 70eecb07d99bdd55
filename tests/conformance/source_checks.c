/* SPDX-License-Identifier: Apache-2.0 */
/* What connectors/connector.h promises of every source. */
#include "stage.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/base/event.h"
#include "checks.h"

#define MIB (1u << 20)
#define REST_MS 40 /* long enough for something that must not happen */

static void offer_text(struct stage *st, unsigned k, const char *detail)
{
	stage_offer(st, k, sb_slice_str(detail));
}

static struct sb_slice detail_of(const struct sb_event *ev)
{
	uint32_t node = sb_json_member(&ev->tape, 0, SB_SLICE("detail"));

	return node == UINT32_MAX ? sb_slice(NULL, 0) : sb_json_raw(&ev->tape, node);
}

static bool emits(const struct row *row)
{
	return row->connector->source->refused && !row->source->keeps;
}

static bool hands(const struct row *row)
{
	return row->connector->source->settled;
}

/* The senders [from, to) have each heard one answer, and it was this one. */
static void all_heard(struct stage *st, unsigned from, unsigned to, bool yes)
{
	for (unsigned k = from; k < to; k++) {
		const struct sender *x = &st->sender[k];

		MUST(st, x->yes + x->no == 1, "sender %u was answered %u times", k, x->yes + x->no);
		MUST(st, yes == (x->yes == 1), "sender %u heard %s", k, x->yes ? "yes" : "no");
	}
}

/* ------------------------------------------------------------------------------------------------ life */

static bool can_be_spoilt(const struct row *row)
{
	return row->source->spoil;
}

static void it_opens_and_closes_without_work(struct stage *st)
{
	if (stage_open(st) < 0)
		return;
	stage_status(st);
	stage_rest(st, 5);
	stage_begin_close(st);
	stage_begin_close(st); /* idempotent */
	stage_status(st);
	if (!stage_until_closed(st))
		return;
	stage_begin_close(st);
	stage_rest(st, REST_MS);
	MUST(st, st->emitted == 0, "events out of nothing");
}

static bool lets_another_in(const struct row *row)
{
	return !row->slow_successor;
}

static void another_one_takes_over(struct stage *st)
{
	for (unsigned k = 0; k < 3; k++) {
		if (stage_open(st) < 0)
			return;
		offer_text(st, k, "{}");
		MUST(st, stage_until(st, &st->heard, k + 1), "the %u. of them does not answer", k + 1);
		stage_begin_close(st);
		if (!stage_until_closed(st))
			return;
		stage_free(st);
		stage_turn(st);
	}
	all_heard(st, 0, 3, true);
}

static void nothing_is_emitted_once_it_is_closed(struct stage *st)
{
	if (stage_open(st) < 0)
		return;
	offer_text(st, 0, "{\"n\":0}");
	MUST(st, stage_until(st, &st->heard, 1), "an offer was not answered");
	stage_begin_close(st);
	offer_text(st, 1, "{\"n\":1}");
	if (!stage_until_closed(st))
		return;
	stage_rest(st, REST_MS);
	MUST(st, st->emitted == 1, "an offer after close() was taken");
	MUST(st, st->sender[1].yes == 0, "an offer after close() was welcome");
}

/* Who closes may have asked for it to be told: see sb_source_spill. */
static void tell_if_due(struct stage *st, size_t group)
{
	if (!st->group[group].told)
		stage_tell(st, group);
}

static void close_waits_for_the_answers_that_are_due(struct stage *st)
{
	st->hold = true;
	if (stage_open(st) < 0)
		return;
	for (unsigned k = 0; k < 3; k++)
		offer_text(st, k, "{}");
	MUST(st, stage_until(st, &st->n_groups, 3), "offers were not emitted");
	stage_begin_close(st);
	stage_status(st);
	stage_rest(st, REST_MS);
	tell_if_due(st, 2);
	st->fail = emits(st->row);
	tell_if_due(st, 0);
	st->fail = false;
	tell_if_due(st, 1);
	if (!stage_until_closed(st))
		return;
	MUST(st, stage_until(st, &st->heard, 3), "%zu of 3 senders heard what became of their offers", st->heard);
	all_heard(st, 0, 1, !emits(st->row));
	all_heard(st, 1, 3, true);
}

/* ------------------------------------------------------------------------------------------------ offers */

static void one_arrives(struct stage *st, unsigned k, struct sb_slice detail)
{
	const struct group *g;
	struct sb_slice got;

	stage_offer(st, k, detail);
	MUST(st, stage_until(st, &st->n_groups, k + 1), "an offer was not emitted: %.*s", (int)SB_MIN(detail.n, 60u),
		detail.p);
	g = &st->group[k];
	MUST(st, g->n == 1, "one offer, and %zu events", g->n);
	got = detail_of(g->ev[0]);
	MUST(st, sb_slice_eq(got, detail), "offered %.*s, emitted %.*s", (int)SB_MIN(detail.n, 60u), detail.p,
		(int)SB_MIN(got.n, 60u), got.p);
	MUST(st, stage_until(st, &st->heard, k + 1), "the sender of %.*s waits", (int)SB_MIN(detail.n, 60u), detail.p);
	all_heard(st, k, k + 1, true);
}

/* As the row's senders may write it. */
static void this_arrives(struct stage *st, unsigned k, const char *detail)
{
	struct sb_buf out = SB_BUF(2 * MIB);

	if (st->row->source->objects)
		sb_buf_addf(&out, "{\"in\":%s}", detail);
	else
		sb_buf_adds(&out, detail);
	one_arrives(st, k, sb_buf_slice(&out));
	sb_buf_done(&out);
}

static void offers_arrive_byte_for_byte(struct stage *st)
{
	static const char *const details[] = { "{}", "[]", "\"\"", "null", "0", "-0.0e+00",
		"123456789012345678901234567890", "{\"a\" :\t[ 1,\r\n 2\n]}",
		"\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x9a\xa6\"", "\"\\u0000\\ud83d\\udea6\\/\\\"\\\\\"",
		"\"%s %n $HOME `x` ' \\t\"", "{\"a\":1,\"a\":2}", "\"\xe2\x80\xa8\x7f\"" };
	size_t largest = st->row->source->largest;
	char *big = large_detail(largest ? SB_MIN(largest, MIB) : MIB);
	unsigned k;

	if (stage_open(st) == 0) {
		for (k = 0; k < SB_LEN(details) && !st->violations; k++)
			this_arrives(st, k, details[k]);
		if (!st->violations)
			this_arrives(st, k, big);
		stage_status(st);
	}
	free(big);
}

static void a_sender_hears_once_and_not_before_it_is_durable(struct stage *st)
{
	const unsigned n = 20;

	st->hold = true;
	if (stage_open(st) < 0)
		return;
	for (unsigned k = 0; k < n; k++)
		offer_text(st, k, "{}");
	MUST(st, stage_until(st, &st->n_groups, n), "%zu of %u offers were emitted", st->n_groups, n);
	stage_rest(st, REST_MS);
	MUST(st, st->heard == 0, "a sender was answered before its event was durable");
	for (unsigned k = n; k; k--)
		stage_tell(st, k - 1); /* in any order */
	MUST(st, stage_until(st, &st->heard, n), "%zu of %u senders were answered", st->heard, n);
	all_heard(st, 0, n, true);
}

static void a_sender_hears_when_it_was_not_stored_after_all(struct stage *st)
{
	st->fail = true;
	if (stage_open(st) < 0)
		return;
	offer_text(st, 0, "{}");
	MUST(st, stage_until(st, &st->heard, 1), "the sender of a refused group waits");
	all_heard(st, 0, 1, false);
	st->fail = false;
	offer_text(st, 1, "{}");
	MUST(st, stage_until(st, &st->heard, 2), "the next offer was not answered");
	all_heard(st, 1, 2, true);
}

static void a_sender_hears_what_the_framework_refuses(struct stage *st)
{
	unsigned k = 0;

	if (stage_open(st) < 0)
		return;
	for (int why = SB_REFUSE_UNKNOWN_BUS; why <= SB_REFUSE_STOPPING; why++, k++) {
		st->refuse = (enum sb_refuse)why;
		offer_text(st, k, "{}");
		MUST(st, stage_until(st, &st->heard, k + 1), "refusal %d was not told", why);
		all_heard(st, k, k + 1, false);
	}
	st->refuse = SB_TAKEN;
	offer_text(st, k, "{}");
	MUST(st, stage_until(st, &st->heard, k + 1), "the next offer was not answered");
	all_heard(st, k, k + 1, true);
}

static void what_there_is_no_room_for_is_offered_again(struct stage *st)
{
	if (stage_open(st) < 0)
		return;
	st->refuse = SB_REFUSE_FULL;
	offer_text(st, 0, "{}");
	stage_rest(st, REST_MS);
	MUST(st, st->heard == 0, "it let go of what there was no room for");
	st->refuse = SB_REFUSE_STOPPING;
	stage_rest(st, REST_MS);
	st->refuse = SB_TAKEN;
	MUST(st, stage_until(st, &st->heard, 1), "it was not offered again");
	all_heard(st, 0, 1, true);
}

static bool senders_can_leave(const struct row *row)
{
	return row->source->leave;
}

static void a_sender_that_left_harms_nobody(struct stage *st)
{
	st->hold = true;
	if (stage_open(st) < 0)
		return;
	for (unsigned k = 0; k < 4; k++)
		offer_text(st, k, "{}");
	MUST(st, stage_until(st, &st->n_groups, 4), "offers were not emitted");
	st->row->source->leave(st, 0);
	st->row->source->leave(st, 2);
	stage_rest(st, REST_MS);
	st->hold = false; /* who knows in which order they came */
	MUST(st, stage_until(st, &st->heard, 2), "who stayed was not answered");
	MUST(st, st->sender[1].yes == 1 && st->sender[3].yes == 1, "who stayed did not hear yes");
	stage_rest(st, REST_MS);
}

/* ------------------------------------------------------------------------------------------------ bad offers, pauses */

/* HUGE in the text is a string that is larger than an event may be. */
static void offer_raw(struct stage *st, unsigned k, const char *text)
{
	const char *huge = strstr(text, "HUGE");
	struct sb_buf out = SB_BUF(2 * STAGE_EVENT_MAX);
	char *large;

	if (!huge) {
		st->row->source->offer(st, k, sb_slice_str(text));
		return;
	}
	large = large_detail((st->row->source->largest ? st->row->source->largest : STAGE_EVENT_MAX) + 8192);
	sb_buf_add(&out, text, (size_t)(huge - text));
	sb_buf_adds(&out, large);
	sb_buf_adds(&out, huge + 4);
	st->row->source->offer(st, k, sb_buf_slice(&out));
	free(large);
	sb_buf_done(&out);
}

static void bad_offers_are_refused_and_counted(struct stage *st)
{
	unsigned k;

	if (stage_open(st) < 0)
		return;
	for (k = 0; st->row->source->bad[k]; k++) {
		size_t before = st->rejected;

		offer_raw(st, k, st->row->source->bad[k]);
		MUST(st, stage_until(st, &st->heard, k + 1), "nobody answered: %s", st->row->source->bad[k]);
		MUST(st, st->emitted == 0, "this was emitted: %s", st->row->source->bad[k]);
		MUST(st, st->rejected > before, "sb_source_rejected() does not know of it: %s",
			st->row->source->bad[k]);
	}
	if (emits(st->row))
		all_heard(st, 0, k, false); /* who holds it lets go of it: it is a dead letter */
	offer_text(st, k, "{}");
	MUST(st, stage_until(st, &st->heard, k + 1), "the next offer was not answered");
	all_heard(st, k, k + 1, true);
}

static void set_pause(struct stage *st, bool on)
{
	st->paused = on;
	st->source.ops->pause(&st->source, on);
}

static void nothing_is_emitted_while_it_is_paused(struct stage *st)
{
	if (stage_open(st) < 0)
		return;
	set_pause(st, true);
	for (unsigned k = 0; k < 5; k++)
		offer_text(st, k, "{}");
	stage_rest(st, REST_MS);
	stage_status(st);
	MUST(st, st->row->source->waits ? st->heard == 0 : stage_until(st, &st->heard, 5),
		"%zu of 5 offers were answered in a pause", st->heard);
	set_pause(st, false);
	offer_text(st, 5, "{}");
	MUST(st, stage_until(st, &st->heard, 6), "after the pause, %zu of 6 senders were answered", st->heard);
	all_heard(st, 0, 5, st->row->source->waits);
	all_heard(st, 5, 6, true);
}

/* ------------------------------------------------------------------------------------------------ chance */

static bool wait_for(struct stage *st, unsigned k)
{
	uint64_t since = sb_mono_ns(&sb_clock_system);

	while (st->sender[k].yes + st->sender[k].no == 0 && stage_patient(st, since))
		stage_turn(st);
	return st->sender[k].yes + st->sender[k].no;
}

static void tell_some(struct stage *st)
{
	for (size_t i = 0; i < st->n_groups; i++)
		if (!st->group[i].told && sb_rand_below(&st->rand, 3) == 0) {
			st->fail = emits(st->row) && sb_rand_below(&st->rand, 4) == 0;
			stage_tell(st, i);
		}
	st->fail = false;
}

/* Offers, pauses, a full disk, senders that leave: in the end everybody who stayed has heard once. */
static void bad_days_are_survived(struct stage *st)
{
	const struct source_row *row = st->row->source;
	unsigned k = 0;

	st->hold = true;
	if (stage_open(st) < 0)
		return;
	for (unsigned step = 0; step < 300 && !st->violations; step++) {
		uint32_t what = sb_rand_below(&st->rand, 8);

		if (what < 3 && k < STAGE_SENDERS - 1)
			offer_text(st, k++, "{}");
		else if (what == 3 && k && row->leave && sb_rand_below(&st->rand, 4) == 0)
			row->leave(st, sb_rand_below(&st->rand, k));
		else if (what == 4)
			set_pause(st, !st->paused);
		else if (what == 5)
			st->refuse = st->refuse || sb_rand_below(&st->rand, 2) ? SB_TAKEN : SB_REFUSE_FULL;
		else
			tell_some(st);
		stage_rest(st, sb_rand_below(&st->rand, 3));
	}
	st->refuse = SB_TAKEN;
	st->hold = false;
	if (st->paused)
		set_pause(st, false);
	offer_text(st, k++, "{}");
	for (unsigned i = 0; i < k && !st->violations; i++)
		MUST(st, st->sender[i].gone || wait_for(st, i), "sender %u waits", i);
	all_heard(st, k - 1, k, true);
}

const struct check source_checks[] = {
	{ "wrong configuration is refused with its place", NULL, wrong_configuration_is_refused },
	{ "a failed open says why and can be freed", can_be_spoilt, a_failed_open_says_why },
	{ "it opens and closes without work", NULL, it_opens_and_closes_without_work },
	{ "offers arrive byte for byte", NULL, offers_arrive_byte_for_byte },
	{ "a sender hears once, and not before it is durable", NULL, a_sender_hears_once_and_not_before_it_is_durable },
	{ "a sender hears when it was not stored after all", emits, a_sender_hears_when_it_was_not_stored_after_all },
	{ "a sender hears what the framework refuses", emits, a_sender_hears_what_the_framework_refuses },
	{ "what there is no room for is offered again", hands, what_there_is_no_room_for_is_offered_again },
	{ "a sender that left harms nobody", senders_can_leave, a_sender_that_left_harms_nobody },
	{ "bad offers are refused and counted", NULL, bad_offers_are_refused_and_counted },
	{ "another one takes over", lets_another_in, another_one_takes_over },
	{ "bad days are survived", NULL, bad_days_are_survived },
	{ "nothing is emitted while it is paused", NULL, nothing_is_emitted_while_it_is_paused },
	{ "nothing is emitted once it is closed", NULL, nothing_is_emitted_once_it_is_closed },
	{ "close waits for the answers that are due", NULL, close_waits_for_the_answers_that_are_due },
	{ 0 },
};
