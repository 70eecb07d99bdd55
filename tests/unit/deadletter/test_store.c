/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

#include <stdlib.h>
#include <unistd.h>

#include "broker/base/fault.h"
#include "broker/deadletter/table.h"

/* ------------------------------------------------------------------------------------------------ storing */

static void a_letter_is_kept_whole_and_found_after_reopening(void **state)
{
	struct sb_deadletters *d = open_table();
	struct sb_dead_record r = record("a.0");
	struct copy c;

	(void)state;
	store(d, &r, 41);
	sb_deadletters_close(d);
	d = open_table();
	get(d, "a.0", &c);
	assert_int_equal(c.lives, 1);
	assert_int_equal(c.attempts, 5);
	assert_int_equal(c.dead_ms, NOW);
	assert_string_equal(c.history, "[]");
	assert_string_equal(c.message, "no \"stock\"");
	assert_string_equal(c.event, event_text);
	assert_string_equal(c.input, "{\"order\":1}");
	json_decref(c.json);
	assert_int_equal(last_seq(d), 41);
	assert_totals(d, 1, 0);
	sb_deadletters_close(d);
}

static void storing_twice_is_storing_once(void **state)
{
	struct sb_deadletters *d = open_table();
	struct sb_dead_record r[3] = { record("a.0"), record("b.0"), record("a.0") };
	const uint64_t seq[3] = { 1, 2, 3 };
	struct sb_err err;

	(void)state;
	assert_int_equal(sb_deadletters_store(d, r, seq, 3, &err), 0);
	assert_int_equal(sb_deadletters_store(d, r, seq, 2, &err), 0);
	assert_int_equal(sb_deadletters_store(d, r, seq, 0, &err), 0);
	assert_all(d, "a.0 b.0");
	assert_totals(d, 2, 0);
	assert_int_equal(last_seq(d), 3);
	sb_deadletters_close(d);
}

static void a_failed_commit_leaves_nothing_and_can_be_repeated(void **state)
{
#ifdef SB_FAULTS
	struct sb_deadletters *d = open_table();
	struct sb_dead_record r[2] = { record("a.0"), record("b.0") };
	const uint64_t seq[2] = { 1, 2 };
	struct sb_err err;

	(void)state;
	assert_int_equal(sb_fault_arm("deadletter.commit:1:err"), 0);
	assert_int_equal(sb_deadletters_store(d, r, seq, 2, &err), -1);
	assert_totals(d, 0, 0);
	assert_int_equal(last_seq(d), 0);
	assert_int_equal(sb_fault_arm(""), 0);
	assert_int_equal(sb_deadletters_store(d, r, seq, 2, &err), 0);
	assert_totals(d, 2, 0);
	sb_deadletters_close(d);
#else
	(void)state;
	skip();
#endif
}

static void the_number_stays_below_what_failed_until_it_is_said_again(void **state)
{
#ifdef SB_FAULTS
	struct sb_deadletters *d = open_table();
	struct sb_dead_record r = record("b.0");
	const uint64_t seq = 6;
	struct sb_err err;

	(void)state;
	store_id(d, "a.0", 3);
	assert_int_equal(sb_fault_arm("deadletter.commit:1:err"), 0);
	assert_int_equal(sb_deadletters_store(d, &r, &seq, 1, &err), -1);
	assert_int_equal(sb_fault_arm(""), 0);
	store_id(d, "c.0", 9);
	assert_int_equal(last_seq(d), 5);
	sb_deadletters_close(d);
	d = open_table(); /* the next start sends what lies above */
	store(d, &r, seq);
	store_id(d, "c.0", 9);
	assert_int_equal(last_seq(d), 9);
	assert_all(d, "a.0 c.0 b.0");
	sb_deadletters_close(d);
#else
	(void)state;
	skip();
#endif
}

static void what_failed_is_said_again_while_the_table_is_open(void **state)
{
#ifdef SB_FAULTS
	struct sb_deadletters *d = open_table();
	struct sb_dead_record r = record("b.0");
	const uint64_t seq = 6;
	struct sb_err err;

	(void)state;
	store_id(d, "a.0", 3);
	assert_int_equal(sb_fault_arm("deadletter.commit:0:err"), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(sb_deadletters_store(d, &r, &seq, 1, &err), -1);
		assert_int_equal(last_seq(d), 3);
	}
	assert_int_equal(sb_fault_arm(""), 0);
	store(d, &r, seq);
	assert_int_equal(last_seq(d), 6);
	assert_int_equal(sb_fault_arm("deadletter.commit:1:err"), 0);
	assert_int_equal(sb_deadletters_delivered(d, SB_SLICE("b.0"), 8, &err), -1);
	assert_int_equal(sb_fault_arm(""), 0);
	assert_int_equal(sb_deadletters_delivered(d, SB_SLICE("b.0"), 8, &err), 0);
	assert_int_equal(last_seq(d), 8);
	assert_all(d, "a.0");
	sb_deadletters_close(d);
#else
	(void)state;
	skip();
#endif
}

static void messages_that_are_no_utf8_become_readable(void **state)
{
	struct sb_deadletters *d = open_table();
	struct sb_dead_record r = record("a.0");
	char tail[SB_RECORD_TAIL + 100];
	struct copy c;

	(void)state;
	memset(tail, 't', sizeof(tail));
	r.message = sb_slice("a\xff\0z\xc3", 5);
	r.tail = sb_slice(tail, sizeof(tail));
	store(d, &r, 1);
	get(d, "a.0", &c);
	assert_string_equal(c.message, "a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd");
	assert_int_equal(strlen(c.tail), SB_RECORD_TAIL);
	json_decref(c.json);
	sb_deadletters_close(d);
}

static void room_ends_at_max_bytes_and_comes_back_with_a_purge(void **state)
{
	const struct sb_deadletters_conf small = { .keep_ms = DAY, .max_bytes = 4000 };
	struct sb_deadletters *d = open_with(false, &small);
	struct sb_err err;
	uint64_t n;
	char id[16];

	(void)state;
	assert_true(sb_deadletters_room(d, 4000 - LETTER_OVERHEAD));
	assert_false(sb_deadletters_room(d, 4000 - LETTER_OVERHEAD + 1));
	assert_false(sb_deadletters_room(d, UINT64_MAX - 10));
	for (unsigned i = 0; sb_deadletters_room(d, strlen(event_text)); i++) {
		assert_true(i < 20);
		snprintf(id, sizeof(id), "x.%u", i);
		store_id(d, id, i + 1);
	}
	store_id(d, "late", 100); /* its DEAD record is in the journal already: it is taken */
	assert_false(sb_deadletters_room(d, 1));
	assert_int_equal(sb_deadletters_purge(d, &(struct sb_letter_filter){ 0 }, &n, &err), 0);
	assert_true(n > 2);
	assert_true(sb_deadletters_room(d, 4000 - LETTER_OVERHEAD));
	assert_totals(d, 0, 0);
	sb_deadletters_close(d);
}

/* ------------------------------------------------------------------------------------------------ redrive */

static void a_letter_is_claimed_once_and_hidden_while_it_is_redriven(void **state)
{
	struct sb_deadletters *d = open_table();
	struct sb_err err;

	(void)state;
	store_id(d, "a.0", 1);
	store_id(d, "b.0", 2);
	assert_true(claim(d, "a.0"));
	assert_false(claim(d, "a.0"));
	assert_false(claim(d, "none"));
	assert_found(d, (struct sb_letter_filter){ 0 }, "b.0");
	assert_all(d, "a.0 b.0");
	assert_totals(d, 2, 1);
	assert_int_equal(sb_deadletters_unclaim(d, SB_SLICE("a.0"), &err), 0);
	assert_totals(d, 2, 0);
	assert_true(claim(d, "a.0"));
	assert_int_equal(sb_deadletters_delivered(d, SB_SLICE("a.0"), 0, &err), 0);
	assert_int_equal(sb_deadletters_delivered(d, SB_SLICE("a.0"), 0, &err), 0);
	assert_all(d, "b.0");
	assert_totals(d, 1, 0);
	sb_deadletters_close(d);
}

static void a_delivered_redrive_counts_as_stored_or_holds_the_number(void **state)
{
	struct sb_deadletters *d = open_table();
	struct sb_err err;

	(void)state;
	store_id(d, "a.0", 1);
	store_id(d, "b.0", 2);
	assert_true(claim(d, "a.0") && claim(d, "b.0"));
	assert_int_equal(sb_deadletters_delivered(d, SB_SLICE("a.0"), 5, &err), 0);
	assert_int_equal(last_seq(d), 5);
#ifdef SB_FAULTS
	assert_int_equal(sb_fault_arm("deadletter.commit:1:err"), 0);
	assert_int_equal(sb_deadletters_delivered(d, SB_SLICE("b.0"), 7, &err), -1);
	assert_int_equal(sb_fault_arm(""), 0);
	store_id(d, "c.0", 9);
	assert_int_equal(last_seq(d), 6);
	assert_all(d, "b.0 c.0");
#endif
	sb_deadletters_close(d);
}

static struct sb_dead_record next_life(const char *delivery, const char *message)
{
	struct sb_dead_record r = record(delivery);

	r.redrive_of = SB_SLICE("a.0");
	r.message = sb_slice_str(message);
	r.dead_ms = NOW + 5000;
	r.attempts = 2;
	return r;
}

static void a_failed_redrive_brings_the_letter_back_with_its_history(void **state)
{
	struct sb_deadletters *d = open_table();
	struct sb_dead_record r = next_life("r.0", "still no stock");
	const char *died, *was;
	struct copy c;
	json_t *past;

	(void)state;
	store_id(d, "a.0", 1);
	assert_true(claim(d, "a.0"));
	store(d, &r, 9);
	store(d, &r, 9); /* the journal says it again after a crash */
	assert_all(d, "a.0");
	assert_totals(d, 1, 0);
	get(d, "a.0", &c);
	assert_int_equal(c.lives, 2);
	assert_int_equal(c.attempts, 2);
	assert_false(c.redriving);
	assert_string_equal(c.message, "still no stock");
	past = json_object_get(c.json, "history");
	assert_int_equal(json_array_size(past), 1);
	assert_int_equal(json_unpack(json_array_get(past, 0), "{s:s, s:s}", "died", &died, "message", &was), 0);
	assert_string_equal(died, "2026-11-24T08:19:53.250Z");
	assert_string_equal(was, "no \"stock\"");
	json_decref(c.json);
	sb_deadletters_close(d);
}

static void history_is_bounded_and_lives_count_on(void **state)
{
	struct sb_deadletters *d = open_table();
	struct copy c;
	json_int_t generation;
	char id[16];

	(void)state;
	store_id(d, "a.0", 1);
	for (unsigned i = 0; i < 40; i++) {
		struct sb_dead_record r;

		snprintf(id, sizeof(id), "r.%u", i);
		r = next_life(id, "x");
		r.generation = 100 + i;
		assert_true(claim(d, "a.0"));
		store(d, &r, 10 + i);
	}
	get(d, "a.0", &c);
	assert_int_equal(c.lives, 41);
	assert_int_equal(json_array_size(json_object_get(c.json, "history")), LETTER_HISTORY);
	generation = json_integer_value(json_object_get(json_array_get(json_object_get(c.json, "history"), 31), "generation"));
	assert_int_equal(generation, 138); /* the life before this one */
	json_decref(c.json);
	sb_deadletters_close(d);
}

static void a_redrive_whose_letter_was_purged_makes_a_letter_of_its_own(void **state)
{
	struct sb_deadletters *d = open_table();
	struct sb_dead_record r = next_life("r.0", "x");

	(void)state;
	store(d, &r, 9);
	store(d, &r, 9);
	assert_all(d, "r.0");
	assert_totals(d, 1, 0);
	sb_deadletters_close(d);
}

static void ended(struct sb_deadletters *d, const struct sb_redrive_end *e)
{
	struct sb_err err;

	if (sb_deadletters_ended(d, e, &err) < 0)
		fail_msg("ended: %s", err.msg);
}

static void a_forwarded_letter_is_not_stored_and_its_redriven_one_goes(void **state)
{
	struct sb_deadletters *d = open_table();
	struct sb_dead_record r = next_life("r.0", "x");

	(void)state;
	store_id(d, "a.0", 1);
	assert_true(claim(d, "a.0"));
	r.forwarded = true;
	store(d, &r, 9);
	assert_all(d, "a.0");
	assert_int_equal(last_seq(d), 9);
	ended(d, &(struct sb_redrive_end){ .letter = SB_SLICE("a.0"), .redrive = 20, .owed = 1, .seq = 9 });
	assert_all(d, "");
	assert_int_equal(last_seq(d), 9);
	assert_totals(d, 0, 0);
	sb_deadletters_close(d);
}

/* A redrive by today's rules that makes three deliveries, numbers 20 to 22, ending in any order and way. */
enum { OWED = 3, REDRIVE = 20 };

static struct sb_dead_record share_dies(const char *id, unsigned ordinal)
{
	struct sb_dead_record r = next_life(id, id);

	r.dno = REDRIVE + ordinal;
	return r;
}

static void end_share(struct sb_deadletters *d, const char *id, unsigned ordinal, bool dies, uint64_t seq)
{
	struct sb_dead_record r = share_dies(id, ordinal);

	if (dies)
		store(d, &r, seq);
	ended(d, &(struct sb_redrive_end){ .letter = SB_SLICE("a.0"), .redrive = REDRIVE, .owed = OWED, .died = dies, .seq = seq });
}

static void a_letter_goes_with_the_last_of_its_deliveries_or_comes_back(void **state)
{
	static const unsigned order[6][OWED] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	static const char *const id[OWED] = { "r.0", "r.1", "r.2" };

	for (unsigned dying = 0; dying < 1u << OWED; dying++)
		for (unsigned o = 0; o < SB_LEN(order); o++) {
			struct sb_deadletters *d = open_table();
			char want[64] = "";
			struct copy c;

			store_id(d, "a.0", 1);
			assert_true(claim(d, "a.0"));
			for (unsigned i = 0; i < OWED; i++) {
				unsigned k = order[o][i];
				bool dies = dying >> k & 1;

				if (i > 0 || dying == 0)
					get(d, "a.0", &c), json_decref(c.json); /* it is there as long as anything is open */
				if (dies) /* the first is its next life */
					snprintf(want + strlen(want), sizeof(want) - strlen(want), "%s%s", want[0] ? " " : "",
						want[0] ? id[k] : "a.0");
				end_share(d, id[k], k, dies, 10 + i);
				assert_int_equal(last_seq(d), 10 + i);
			}
			assert_all(d, want);
			assert_totals(d, (uint64_t)__builtin_popcount(dying), 0);
			assert_int_equal(d->shares.n, 0);
			sb_deadletters_close(d);
			clean(state);
			scene(state);
		}
}

static void a_restart_counts_what_is_left_of_a_redrive(void **state)
{
	for (unsigned died = 0; died < 2; died++) {
		struct sb_deadletters *d = open_table();

		store_id(d, "a.0", 1);
		assert_true(claim(d, "a.0"));
		end_share(d, "r.1", 1, died, 10);
		sb_deadletters_close(d);
		d = open_table();
		sb_deadletters_expect(d, REDRIVE, 2, died);
		end_share(d, "r.0", 0, false, 11);
		assert_all(d, "a.0");
		end_share(d, "r.2", 2, false, 12);
		assert_all(d, died ? "a.0" : "");
		assert_totals(d, died, 0);
		assert_int_equal(d->shares.n, 0);
		sb_deadletters_close(d);
		clean(state);
		scene(state);
	}
}

/* The letter was redriven again while one delivery of the redrive before was still being tried. */
static void what_dies_late_is_a_letter_of_its_own(void **state)
{
	struct sb_deadletters *d = open_table();
	struct sb_dead_record later = next_life("s.0", "later");
	struct copy c;

	(void)state;
	store_id(d, "a.0", 1);
	assert_true(claim(d, "a.0"));
	end_share(d, "r.0", 0, true, 10);
	assert_true(claim(d, "a.0"));
	later.dno = REDRIVE + OWED;
	store(d, &later, 11);
	end_share(d, "r.1", 1, true, 12);
	assert_true(claim(d, "a.0"));
	end_share(d, "r.2", 2, false, 13);
	assert_all(d, "a.0 r.1");
	assert_totals(d, 2, 1);
	get(d, "a.0", &c);
	assert_int_equal(c.lives, 3);
	assert_string_equal(c.message, "later");
	json_decref(c.json);
	store(d, &later, 11); /* the journal says it again */
	assert_totals(d, 2, 1);
	sb_deadletters_close(d);
}

static void an_end_that_was_not_stored_is_told_again(void **state)
{
#ifdef SB_FAULTS
	struct sb_deadletters *d = open_table();
	const struct sb_redrive_end e = { .letter = SB_SLICE("a.0"), .redrive = REDRIVE, .owed = 2, .seq = 11 };
	struct sb_err err;

	(void)state;
	store_id(d, "a.0", 1);
	assert_true(claim(d, "a.0"));
	ended(d, &(struct sb_redrive_end){ .letter = SB_SLICE("a.0"), .redrive = REDRIVE, .owed = 2, .seq = 10 });
	assert_int_equal(sb_fault_arm("deadletter.commit:1:err"), 0);
	assert_int_equal(sb_deadletters_ended(d, &e, &err), -1);
	assert_int_equal(sb_fault_arm(""), 0);
	assert_int_equal(last_seq(d), 10);
	assert_all(d, "a.0");
	ended(d, &e);
	assert_int_equal(last_seq(d), 11);
	assert_all(d, "");
	sb_deadletters_close(d);
#else
	(void)state;
	skip();
#endif
}

static void after_a_restart_only_pending_redrives_stay_claimed(void **state)
{
	const struct sb_slice pending[] = { SB_SLICE("b.0"), SB_SLICE("gone") };
	struct sb_deadletters *d = open_table();
	struct sb_err err;

	(void)state;
	store_id(d, "a.0", 1);
	store_id(d, "b.0", 2);
	store_id(d, "c.0", 3);
	claim(d, "a.0");
	claim(d, "b.0");
	claim(d, "c.0");
	sb_deadletters_close(d);
	d = open_table();
	assert_int_equal(sb_deadletters_reconcile(d, pending, SB_LEN(pending), &err), 0);
	assert_found(d, (struct sb_letter_filter){ 0 }, "a.0 c.0");
	assert_totals(d, 3, 1);
	assert_int_equal(sb_deadletters_reconcile(d, NULL, 0, &err), 0);
	assert_totals(d, 3, 0);
	sb_deadletters_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE(a_letter_is_kept_whole_and_found_after_reopening),
		SCENE(storing_twice_is_storing_once),
		SCENE(a_failed_commit_leaves_nothing_and_can_be_repeated),
		SCENE(the_number_stays_below_what_failed_until_it_is_said_again),
		SCENE(what_failed_is_said_again_while_the_table_is_open),
		SCENE(messages_that_are_no_utf8_become_readable),
		SCENE(room_ends_at_max_bytes_and_comes_back_with_a_purge),
		SCENE(a_letter_is_claimed_once_and_hidden_while_it_is_redriven),
		SCENE(a_delivered_redrive_counts_as_stored_or_holds_the_number),
		SCENE(a_failed_redrive_brings_the_letter_back_with_its_history),
		SCENE(history_is_bounded_and_lives_count_on),
		SCENE(a_redrive_whose_letter_was_purged_makes_a_letter_of_its_own),
		SCENE(a_forwarded_letter_is_not_stored_and_its_redriven_one_goes),
		SCENE(a_letter_goes_with_the_last_of_its_deliveries_or_comes_back),
		SCENE(a_restart_counts_what_is_left_of_a_redrive),
		SCENE(what_dies_late_is_a_letter_of_its_own),
		SCENE(an_end_that_was_not_stored_is_told_again),
		SCENE(after_a_restart_only_pending_redrives_stay_claimed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
