/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include "world.h"

/* A dispatch whose target is replaced, or taken away, while deliveries are in every state. */

static void add(struct world *w, unsigned n)
{
	while (n--)
		world_append(w, 0, 0, 100);
	world_flush(w);
}

static void settle_all(struct world *w, enum sb_outcome o)
{
	for (unsigned n = w->n_flight; n; n--)
		world_settle(w, 0, o);
	world_flush(w);
}

static uint64_t in_flight_dno(const struct world *w, unsigned i)
{
	return SB_CONTAINER(w->flight[i], struct sb_delivery, batch)->handover.dno;
}

/* One that was sent to `t`. */
static void settle_one_of(struct world *w, const struct sb_target *t, enum sb_outcome o)
{
	for (unsigned i = 0; i < w->n_flight; i++)
		if (w->sent_to[i] == t) {
			world_settle(w, i, o);
			return;
		}
	fail_msg("nothing of it is in flight");
}

static void another_target_goes_on_where_the_first_was(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	world_init(&w, &p, 1, 100);
	add(&w, 10);
	w.other = w.target;
	w.other.outstanding = 0;
	sb_dispatch_set_target(w.d, &w.other);
	assert_int_equal(w.target.outstanding, 4);
	assert_int_equal(w.n_flight, 4); /* the limit is of both */
	settle_one_of(&w, &w.target, SB_DELIVERED);
	settle_one_of(&w, &w.target, SB_RELEASED);
	settle_one_of(&w, &w.target, SB_RETRY);
	assert_int_equal(w.target.outstanding, 1);
	assert_int_equal(w.other.outstanding, 3);
	for (unsigned i = 0; i < w.n_flight; i++)
		assert_ptr_equal(w.sent_to[i], in_flight_dno(&w, i) <= 4 ? &w.target : &w.other);
	while (w.n_flight || world_step_time(&w))
		settle_all(&w, SB_DELIVERED);
	assert_int_equal(w.delivered, 10);
	assert_int_equal(w.target.outstanding + w.other.outstanding, 0);
	world_done(&w);
}

static void another_target_is_not_judged_by_the_first(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	p.concurrency = 2;
	world_init(&w, &p, 1, 100);
	add(&w, 4);
	world_settle(&w, 0, SB_UNREACHABLE);
	assert_int_equal(w.n_flight, 1);
	w.other = w.target;
	w.other.outstanding = 0;
	sb_dispatch_set_target(w.d, &w.other);
	assert_int_equal(world_stats(&w).unreachable_until_ms, 0);
	assert_int_equal(w.n_flight, 2); /* tried at once */
	settle_one_of(&w, &w.target, SB_UNREACHABLE);
	assert_int_equal(world_stats(&w).unreachable_until_ms, 0);
	assert_int_equal(world_stats(&w).released, 1);
	settle_one_of(&w, &w.other, SB_UNREACHABLE);
	assert_true(world_stats(&w).unreachable_until_ms > 0);
	settle_all(&w, SB_DELIVERED);
	world_done(&w);
}

static void what_is_abandoned_dies_in_every_state(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;
	uint64_t began;

	(void)state;
	p.retry.base_ms = p.retry.cap_ms = 3600000;
	p.max_retrying = 2;
	p.lanes = 16;
	world_init(&w, &p, 1, 400);
	w.abandoned = true;
	add(&w, 3);
	world_append(&w, 0, SB_OWED_FINAL, 10);
	world_flush(&w);
	settle_all(&w, SB_RETRY);         /* four wait for an hour, more than may be retrying */
	for (unsigned i = 0; i < 300; i++) /* and behind them all kinds wait for their turn */
		world_append(&w, i % 5, i % 7 ? 0 : SB_OWED_FINAL, 10);
	world_flush(&w);
	assert_int_equal(w.n_flight, 0);
	w.answer = (struct sb_result){ 0 };
	w.no_room = true;
	began = w.clock.mono;
	sb_dispatch_abandon(w.d);
	assert_int_equal(w.dead, 0);
	w.no_room = false;
	for (int i = 0; i < 100 && w.dead < 304; i++) {
		world_step_time(&w);
		world_flush(&w);
	}
	assert_int_equal(w.dead, 304);
	assert_in_range(w.clock.mono - began, 0, 10 * SB_NS_PER_S); /* nobody waits for a retry */
	assert_int_equal(w.n_flight, 0);
	for (unsigned i = 0; i < 304; i++)
		assert_int_equal(w.item[i].reason, SB_R_TARGET_REMOVED);
	assert_string_equal(w.letter.last, "the target was removed from the");
	assert_int_equal(w.item[0].attempts, 1); /* its death was none */
	assert_true(sb_dispatch_owes_nothing(w.d));
	w.other = w.target;
	sb_dispatch_set_target(w.d, &w.other); /* it came back */
	add(&w, 1);
	assert_int_equal(w.n_flight, 1);
	settle_all(&w, SB_DELIVERED);
	world_done(&w);
}

static void what_comes_back_to_an_abandoned_target_dies_or_is_delivered(void **state)
{
	struct sb_target_policy p = WORLD_POLICY;
	struct world w;

	(void)state;
	world_init(&w, &p, 1, 100);
	add(&w, 6);
	sb_dispatch_abandon(w.d);
	world_flush(&w);
	assert_int_equal(w.dead, 2);
	assert_int_equal(w.n_flight, 4);
	world_settle(&w, 0, SB_DELIVERED);
	world_settle(&w, 0, SB_RETRY);
	world_settle(&w, 0, SB_UNREACHABLE);
	world_settle(&w, 0, SB_RELEASED);
	world_flush(&w);
	world_step_time(&w);
	world_flush(&w);
	assert_int_equal(w.delivered, 1);
	assert_int_equal(w.dead, 5);
	assert_true(sb_dispatch_owes_nothing(w.d));
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_target_goes_on_where_the_first_was),
		cmocka_unit_test(another_target_is_not_judged_by_the_first),
		cmocka_unit_test(what_is_abandoned_dies_in_every_state),
		cmocka_unit_test(what_comes_back_to_an_abandoned_target_dies_or_is_delivered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
