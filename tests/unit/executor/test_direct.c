/* SPDX-License-Identifier: Apache-2.0 */
/* Deliveries that are offered before their event is in the journal. */
#include "tests/support/test.h"

#include "executor/executor.h"

static struct {
	struct sb_fake_clock clock;
	struct sb_rand rand;
	struct sb_mailbox home;
	struct sb_target target;
	struct sb_target_ops ops;
	struct sb_dispatch *d;
	struct sb_buf frames;
	struct sb_batch *flight[8];
	unsigned n_flight, delivered, trying, dying, dead;
	struct sb_journal_read *read;
	uint64_t armed_ns;
} t;

static void send(struct sb_target *target, struct sb_batch *b)
{
	(void)target;
	t.flight[t.n_flight++] = b;
}

static struct sb_buf *frames(void *arg)
{
	(void)arg;
	return &t.frames;
}

static void on_read(void *arg, struct sb_journal_read *r)
{
	(void)arg;
	t.read = r;
}

static bool on_dead(void *arg, struct sb_dispatch *d, struct sb_delivery *dl, const struct sb_death *why)
{
	(void)arg;
	(void)d;
	(void)why;
	assert_int_not_equal(dl->handover.dno, 0);
	t.dead++;
	return true;
}

static void on_delivered(void *arg, struct sb_dispatch *d, struct sb_delivery *dl)
{
	(void)arg;
	(void)d;
	(void)dl;
	t.delivered++;
}

static void on_stuck(void *arg, struct sb_dispatch *d, struct sb_delivery *dl, enum sb_stuck why)
{
	(void)arg;
	(void)d;
	assert_int_equal(dl->handover.dno, 0);
	t.trying += why == SB_STUCK_TRYING;
	t.dying += why == SB_STUCK_DYING;
}

static void on_arm(void *arg, struct sb_dispatch *d, uint64_t mono_ns)
{
	(void)arg;
	(void)d;
	t.armed_ns = SB_MIN(t.armed_ns, mono_ns);
}

static void begin(uint64_t cache_bytes, uint32_t concurrency)
{
	struct sb_target_policy p = { .retry = { 185, 1000, 960000, 86400000, false }, .concurrency = concurrency,
		.timeout_ms = 5000, .max_retrying = 100, .cache_bytes = cache_bytes };
	struct sb_dispatch_env env = { .clock = &t.clock.clock, .rand = &t.rand, .home = &t.home, .frames = frames, .read = on_read,
		.dead = on_dead, .delivered = on_delivered, .stuck = on_stuck, .arm = on_arm };

	memset(&t, 0, sizeof(t));
	t.armed_ns = UINT64_MAX;
	sb_fake_clock_init(&t.clock, 1795508393000);
	sb_rand_seed(&t.rand, 7);
	sb_mailbox_init(&t.home, false);
	sb_buf_init(&t.frames, 1 << 20);
	t.ops.send = send;
	t.target = (struct sb_target){ .name = sb_name_str("t"), .ops = &t.ops, .concurrency = concurrency };
	t.d = sb_dispatch_new(&env, &t.target, &p);
}

static void end(void)
{
	sb_dispatch_free(t.d);
	sb_buf_done(&t.frames);
	sb_mailbox_done(&t.home);
}

static struct sb_delivery *make(uint8_t flags)
{
	struct sb_event *ev;
	struct sb_err err;

	assert_int_equal(sb_event_parse(SB_SLICE("{\"id\":\"e\",\"source\":\"s\",\"detail-type\":\"t\",\"detail\":{}}"),
		sb_name_str("default"), sb_name_str("k"), &ev, &err), 0);
	ev->received_ms = 1795508393000;
	sb_dispatch_reserve_always(t.d, sb_delivery_bytes(ev, 0));
	return sb_delivery_new(t.d, ev, "r", 0, 0, flags, NULL, 0);
}

static struct sb_delivery *offer(void)
{
	struct sb_delivery *dl = make(0);

	assert_true(sb_dispatch_offer(t.d, dl));
	return dl;
}

static void settle(unsigned i, enum sb_outcome o)
{
	struct sb_batch *b = t.flight[i];

	t.flight[i] = t.flight[--t.n_flight];
	sb_batch_settle(&t.target, b, 0, &(struct sb_result){ .outcome = o, .reason = SB_R_TIMEOUT, .message = SB_SLICE("no") });
}

static void number(struct sb_delivery *dl, uint64_t dno)
{
	dl->handover.dno = dno;
	dl->handover.at = (struct sb_position){ 1, 4096 };
	sb_dispatch_number(t.d, dl);
}

static struct sb_dispatch_stats stats(void)
{
	struct sb_dispatch_stats s;

	sb_dispatch_get_stats(t.d, &s);
	return s;
}

static enum sb_record_type recorded(struct sb_slice *payload)
{
	struct sb_frame_iter it = { .rest = sb_buf_slice(&t.frames) };
	struct sb_frame f = { 0 };

	assert_int_equal(sb_frame_next(&it, &f), 1);
	assert_int_equal(it.rest.n, 0);
	*payload = f.payload;
	return f.type;
}

/* ------------------------------------------------------------------------------------------------ tests */

static void what_is_delivered_leaves_no_record(void **state)
{
	(void)state;
	begin(8 << 20, 4);
	offer();
	assert_int_equal(stats().in_flight, 1);
	settle(0, SB_DELIVERED);
	assert_int_equal(t.delivered, 1);
	assert_int_equal(t.frames.len, 0);
	assert_int_equal(t.trying + t.dying, 0);
	assert_int_equal(stats().in_flight + stats().queued, 0);
	assert_int_equal(stats().cache_bytes + stats().queued_bytes, 0);
	end();
}

static void a_retry_is_recorded_once_there_is_a_number(void **state)
{
	struct sb_attempt_record rec;
	struct sb_delivery *dl;
	struct sb_slice payload;

	(void)state;
	begin(8 << 20, 4);
	dl = offer();
	settle(0, SB_RETRY);
	assert_int_equal(t.trying, 1);
	assert_int_equal(t.frames.len, 0);
	assert_int_equal(stats().retrying, 1);
	number(dl, 5);
	assert_int_equal(recorded(&payload), SB_REC_ATTEMPT);
	assert_int_equal(sb_attempt_view(payload, &rec), 0);
	assert_int_equal(rec.dno, 5);
	assert_int_equal(rec.attempts, 1);
	assert_true(rec.due_wall_ms <= rec.at_wall_ms + 1000);
	sb_buf_clear(&t.frames);
	t.clock.mono += SB_NS_PER_S;
	sb_dispatch_tick(t.d);
	settle(0, SB_DELIVERED);
	assert_int_equal(recorded(&payload), SB_REC_RESULT);
	end();
}

static void a_retry_goes_on_without_a_number_too(void **state)
{
	(void)state;
	begin(8 << 20, 4);
	offer();
	settle(0, SB_RETRY);
	t.clock.mono += SB_NS_PER_S;
	sb_dispatch_tick(t.d);
	assert_int_equal(t.n_flight, 1);
	assert_int_equal(t.flight[0]->item[0].attempt, 2);
	settle(0, SB_DELIVERED);
	assert_int_equal(t.delivered, 1);
	assert_int_equal(t.frames.len, 0);
	end();
}

static void nothing_dies_before_it_has_a_number(void **state)
{
	struct sb_delivery *dl;

	(void)state;
	begin(8 << 20, 1);
	dl = offer();
	offer();
	settle(0, SB_REJECTED);
	assert_int_equal(t.dying, 1);
	assert_int_equal(t.dead, 0);
	assert_int_equal(stats().held, 1);
	assert_int_equal(t.n_flight, 1); /* it holds nobody up */
	number(dl, 9);
	assert_int_equal(t.dead, 1);
	assert_int_equal(stats().held, 0);
	settle(0, SB_DELIVERED);
	end();
}

static void an_unreachable_target_says_so(void **state)
{
	(void)state;
	begin(8 << 20, 1);
	offer();
	settle(0, SB_UNREACHABLE);
	assert_int_equal(t.trying, 1);
	assert_int_equal(stats().queued, 1);
	end();
}

static void without_room_it_is_not_taken(void **state)
{
	struct sb_delivery *dl;

	(void)state;
	begin(1, 1);
	offer(); /* one is always let in */
	dl = make(0);
	assert_false(sb_dispatch_offer(t.d, dl));
	sb_dispatch_unreserve(t.d, dl->bytes);
	sb_delivery_free(dl);
	settle(0, SB_DELIVERED);
	end();
}

/* A full target that gets on is waited for; one that does not is not. */
static void a_full_target_says_so_while_it_gets_on(void **state)
{
	uint64_t cost;

	(void)state;
	begin(8 << 20, 1);
	offer();
	cost = stats().cache_bytes;
	settle(0, SB_DELIVERED);
	end();
	begin(2 * cost, 1);
	offer();
	assert_false(sb_dispatch_busy(t.d));
	offer();
	offer(); /* one that was under way */
	assert_true(sb_dispatch_busy(t.d));
	settle(0, SB_DELIVERED);
	assert_true(sb_dispatch_busy(t.d)); /* until a quarter is free */
	settle(0, SB_DELIVERED);
	assert_false(sb_dispatch_busy(t.d));
	offer();
	offer();
	assert_true(sb_dispatch_busy(t.d));
	t.clock.mono += SB_OFFER_PATIENCE_MS * SB_NS_PER_MS;
	t.clock.wall += SB_OFFER_PATIENCE_MS;
	assert_false(sb_dispatch_busy(t.d)); /* too slow for anybody to wait for, though nothing has happened */
	sb_dispatch_tick(t.d);
	assert_false(sb_dispatch_busy(t.d));
	settle(0, SB_UNREACHABLE);
	assert_false(sb_dispatch_busy(t.d));
	end();
}

/* Too late for the offer: journaled as begun, though it never was. */
static void one_that_was_never_offered_is_taken_with_its_number(void **state)
{
	struct sb_slice payload;

	(void)state;
	begin(8 << 20, 1);
	number(make(SB_OWED_BEGUN), 3);
	assert_int_equal(t.n_flight, 1);
	settle(0, SB_DELIVERED);
	assert_int_equal(recorded(&payload), SB_REC_RESULT);
	end();
}

static void serve(uint64_t dno, uint8_t flags)
{
	struct sb_journal_read *r = t.read;
	struct sb_delivery *like = make(0);

	t.read = NULL;
	r->item[0] = (struct sb_backlog_item){ .ev = sb_event_ref(like->ev), .dno = dno, .rule = "r", .flags = flags };
	r->n = 1;
	r->horizon = dno + 1;
	r->end = true;
	sb_dispatch_unreserve(t.d, like->bytes);
	sb_delivery_free(like);
	sb_mailbox_post(&t.home, &r->mail);
	sb_mailbox_drain(&t.home);
}

/* The cursor passes the record of one that is in memory without a number: whichever is first, it is sent once. */
static void the_cursor_leaves_out_what_was_begun_before(void **state)
{
	struct sb_delivery *dl, *ordinary;

	(void)state;
	begin(1, 1);
	dl = offer();
	ordinary = make(0);
	ordinary->handover.dno = 4;
	sb_dispatch_deliver(t.d, ordinary); /* does not fit: backlog */
	assert_true(stats().backlog);
	settle(0, SB_RETRY);
	t.clock.mono += 2 * SB_NS_PER_S;
	sb_dispatch_tick(t.d);
	assert_int_equal(t.n_flight, 1);
	number(dl, 5);
	settle(0, SB_DELIVERED);
	assert_non_null(t.read);
	serve(4, 0);
	settle(0, SB_DELIVERED);
	assert_int_equal(t.delivered, 2);
	if (stats().backlog) {
		sb_dispatch_tick(t.d);
		serve(5, SB_OWED_BEGUN);
	}
	assert_int_equal(t.n_flight, 0);
	assert_int_equal(stats().queued, 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_delivered_leaves_no_record),
		cmocka_unit_test(a_retry_is_recorded_once_there_is_a_number),
		cmocka_unit_test(a_retry_goes_on_without_a_number_too),
		cmocka_unit_test(nothing_dies_before_it_has_a_number),
		cmocka_unit_test(an_unreachable_target_says_so),
		cmocka_unit_test(without_room_it_is_not_taken),
		cmocka_unit_test(a_full_target_says_so_while_it_gets_on),
		cmocka_unit_test(one_that_was_never_offered_is_taken_with_its_number),
		cmocka_unit_test(the_cursor_leaves_out_what_was_begun_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
