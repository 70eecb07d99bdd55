/* SPDX-License-Identifier: Apache-2.0 */
/* What connectors/connector.h promises of every target. The stage judges each single call; here it is made to happen. */
#include "stage.h"

#include <stdlib.h>

#include "checks.h"

#define MIB (1u << 20)

static const struct sent *nth(const struct stage *st, size_t i)
{
	return &st->sent[i];
}

/* All that were sent, settled, and as good as this allows. */
static void all_became(struct stage *st, unsigned may)
{
	MUST(st, stage_until(st, &st->settled, st->n_sent), "%zu of %zu items were not settled",
		st->n_sent - st->settled, st->n_sent);
	for (size_t i = 0; i < st->n_sent; i++)
		MUST(st, may & MAY(nth(st, i)->outcome), "item %zu became '%s': %s", i,
			sb_outcome_name(nth(st, i)->outcome), nth(st, i)->message);
}

static void all_arrived(struct stage *st)
{
	size_t want = 0;

	if (st->row->target->forgets)
		return;
	for (size_t i = 0; i < st->n_sent; i++)
		want += nth(st, i)->outcome == SB_DELIVERED;
	stage_until(st, &st->arrived, want);
	for (size_t i = 0; i < st->n_sent; i++)
		MUST(st, nth(st, i)->arrived || nth(st, i)->outcome != SB_DELIVERED,
			"item %zu was delivered, and is nowhere", i);
}

static void act(struct stage *st, enum far f)
{
	if (st->row->target->act)
		st->row->target->act(st, f);
}

/* ------------------------------------------------------------------------------------------------ life */

static bool can_be_spoilt(const struct row *row)
{
	return row->target->spoil;
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
	stage_rest(st, 30);
}

static void close_settles_what_is_outstanding(struct stage *st)
{
	char *big = large_detail(300u << 10);

	act(st, FAR_STALLS);
	if (stage_open(st) == 0) {
		stage_send(st, 1, sb_slice_str(big));
		stage_send(st, 2, sb_slice(NULL, 0));
		stage_status(st);
		stage_rest(st, 20); /* some are on their way by now, some are not */
		for (size_t room = STAGE_CONCURRENCY - st->outstanding; room; room--)
			stage_send(st, 1, sb_slice(NULL, 0));
		stage_begin_close(st);
		stage_begin_close(st);
		stage_status(st);
		stage_until_closed(st);
		if (st->outstanding)
			violated(st, "%zu items were not settled by close()", st->outstanding);
		stage_rest(st, 50);
	}
	free(big);
}

static void another_one_takes_over(struct stage *st)
{
	for (unsigned i = 0; i < 3; i++) {
		if (stage_open(st) < 0)
			return;
		stage_send(st, 2, sb_slice(NULL, 0));
		all_became(st, MAY(SB_DELIVERED));
		stage_begin_close(st);
		if (st->violations || !stage_until_closed(st))
			return;
		stage_free(st);
		stage_turn(st);
	}
	all_arrived(st);
}

/* ------------------------------------------------------------------------------------------------ items */

static void every_item_is_settled_once(struct stage *st)
{
	size_t many = st->row->target->many ? st->row->target->many : 2000;

	if (stage_open(st) < 0)
		return;
	stage_feed(st, many);
	MUST(st, stage_until(st, &st->settled, many), "%zu of %zu items were settled", st->settled, many);
	stage_status(st);
	all_became(st, MAY(SB_DELIVERED) | st->row->target->may[FAR_TAKES]);
	all_arrived(st);
}

static void a_batch_of_several_is_settled_item_by_item(struct stage *st)
{
	if (stage_open(st) < 0)
		return;
	for (size_t n = 1; n <= STAGE_CONCURRENCY; n++) {
		stage_send(st, n, sb_slice(NULL, 0));
		MUST(st, stage_until(st, &st->settled, st->n_sent), "of a batch of %zu, %zu items were not settled", n,
			st->outstanding);
	}
	all_became(st, MAY(SB_DELIVERED));
	all_arrived(st);
}

static void inputs_arrive_byte_for_byte(struct stage *st)
{
	static const char *const details[] = { "{}", "[]", "\"\"", "null", "0", "-0.0e+00", "1e400",
		"123456789012345678901234567890", "{\"a\" :\t[ 1,\r\n 2\n]}",
		"\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x9a\xa6\"", "\"\\u0000\\ud83d\\udea6\\/\\\"\\\\\"",
		"\"%s %n $HOME `x` ' \\t\"", "{\"a\":1,\"a\":2}", "\"\xe2\x80\xa8\x7f\"" };

	if (stage_open(st) < 0)
		return;
	for (size_t i = 0; i < SB_LEN(details); i++) {
		stage_send(st, 1, sb_slice_str(details[i]));
		MUST(st, stage_until(st, &st->settled, i + 1), "'%s' was not settled", details[i]);
		stage_turn(st); /* the other side may read, before it is full */
	}
	all_became(st, MAY(SB_DELIVERED));
	all_arrived(st);
}

static void send_one_of(struct stage *st, size_t bytes, unsigned may)
{
	char *detail = large_detail(bytes);
	size_t i = stage_send(st, 1, sb_slice_str(detail));

	free(detail);
	MUST(st, stage_until(st, &st->settled, i + 1), "an item of %zu bytes was not settled", bytes);
	MUST(st, may & MAY(nth(st, i)->outcome), "an item of %zu bytes became '%s': %s", bytes,
		sb_outcome_name(nth(st, i)->outcome), nth(st, i)->message);
}

/* And what is too large is rejected: another try would not make it smaller. */
static void large_inputs_arrive(struct stage *st)
{
	size_t largest = st->row->target->largest ? st->row->target->largest : MIB + 4096;

	if (stage_open(st) < 0)
		return;
	send_one_of(st, SB_MIN(largest, MIB), MAY(SB_DELIVERED));
	if (!st->violations)
		all_arrived(st);
	if (st->row->target->largest)
		send_one_of(st, largest + 4096, MAY(SB_REJECTED));
}

/* ------------------------------------------------------------------------------------------------ the other side */

static void what_becomes_of_items_when_it(struct stage *st, enum far f)
{
	unsigned may = st->row->target->may[f];
	uint64_t since;

	if (stage_open(st) < 0)
		return;
	act(st, f);
	stage_send(st, 2, sb_slice(NULL, 0));
	stage_send(st, 1, sb_slice(NULL, 0));
	stage_status(st);
	all_became(st, may);
	if (st->violations)
		return;
	act(st, FAR_TAKES);
	since = sb_mono_ns(&sb_clock_system);
	while (stage_patient(st, since)) { /* it heals, if not at once */
		size_t i = stage_send(st, 1, sb_slice(NULL, 0));

		MUST(st, stage_until(st, &st->settled, i + 1),
			"after the other side was back, an item was not settled");
		if (nth(st, i)->outcome == SB_DELIVERED)
			return;
		stage_rest(st, 20);
	}
	violated(st, "the other side is back, and nothing is delivered");
}

#define FAR_CHECK(NAME, f)                                                                                             \
	static bool can_##NAME(const struct row *row)                                                                  \
	{                                                                                                              \
		return row->target->may[f];                                                                            \
	}                                                                                                              \
	static void what_##NAME(struct stage *st)                                                                      \
	{                                                                                                              \
		what_becomes_of_items_when_it(st, f);                                                                  \
	}

FAR_CHECK(fails, FAR_FAILS)
FAR_CHECK(rejects, FAR_REJECTS)
FAR_CHECK(stalls, FAR_STALLS)
FAR_CHECK(goes, FAR_GONE)

/* ------------------------------------------------------------------------------------------------ chance */

/* From taking to something worse, and back. */
static void turn_of_luck(struct stage *st, bool *good)
{
	enum far f = *good ? (enum far)sb_rand_below(&st->rand, FAR_N) : FAR_TAKES;

	if (f != FAR_TAKES && !st->row->target->may[f])
		return;
	act(st, f);
	*good = f == FAR_TAKES;
}

static void send_some(struct stage *st, struct sb_slice big)
{
	size_t room = STAGE_CONCURRENCY - st->outstanding, n = room ? 1 + sb_rand_below(&st->rand, (uint32_t)room) : 0;

	if (n)
		stage_send(st, n, sb_rand_below(&st->rand, 8) ? sb_slice(NULL, 0) : big);
}

static void a_bad_day(struct stage *st, struct sb_slice big)
{
	bool good = true;

	for (unsigned step = 0; step < 60 && !st->violations; step++) {
		if (sb_rand_below(&st->rand, 4) == 0)
			turn_of_luck(st, &good);
		send_some(st, big);
		stage_rest(st, sb_rand_below(&st->rand, 12));
		stage_status(st);
	}
}

/* Whatever the other side does, and whenever it is closed: all are settled, once. */
static void bad_days_are_survived(struct stage *st)
{
	size_t largest = st->row->target->largest;
	char *big = large_detail(largest ? SB_MIN(largest, 200u << 10) : 200u << 10);

	st->twice = true;
	for (unsigned day = 1; day <= 4 && !st->violations; day++) {
		sb_rand_seed(&st->rand, day);
		act(st, FAR_TAKES);
		if (stage_open(st) < 0)
			break;
		a_bad_day(st, sb_slice_str(big));
		if (day % 2) { /* else it is closed in the middle of it */
			act(st, FAR_TAKES);
			stage_until(st, &st->settled, st->n_sent);
		}
		stage_begin_close(st);
		if (!stage_until_closed(st))
			break;
		if (st->outstanding)
			violated(st, "day %u: %zu items were not settled", day, st->outstanding);
		stage_free(st);
	}
	free(big);
}

const struct check target_checks[] = {
	{ "wrong configuration is refused with its place", NULL, wrong_configuration_is_refused },
	{ "a failed open says why and can be freed", can_be_spoilt, a_failed_open_says_why },
	{ "it opens and closes without work", NULL, it_opens_and_closes_without_work },
	{ "every item is settled once", NULL, every_item_is_settled_once },
	{ "a batch of several is settled item by item", NULL, a_batch_of_several_is_settled_item_by_item },
	{ "inputs arrive byte for byte", NULL, inputs_arrive_byte_for_byte },
	{ "large inputs arrive, too large ones are rejected", NULL, large_inputs_arrive },
	{ "a far side that fails is told, and used again", can_fails, what_fails },
	{ "a far side that rejects is told, and used again", can_rejects, what_rejects },
	{ "a far side that stalls is told, and used again", can_stalls, what_stalls },
	{ "a far side that is gone is told, and found again", can_goes, what_goes },
	{ "another one takes over", NULL, another_one_takes_over },
	{ "bad days are survived", NULL, bad_days_are_survived },
	{ "close settles what is outstanding", NULL, close_settles_what_is_outstanding },
	{ 0 },
};
