/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events that their source holds, through the whole broker on one thread: intake, receipts, dispatch, journal, letters. The
 * shards take their turns in any order; outcomes, time and the order of everything come from the seed.
 */
#include "tests/support/test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/deadbox.h"
#include "broker/plan.h"
#include "broker/receipt.h"
#include "broker/shard.h"
#include "broker/storage.h"

#define EVENTS_MAX 4000
#define SHARDS_MAX 3

static struct {
	char dir[64];
	struct sb_fake_clock clock;
	struct sb_rand chance;
	struct sb_vfs_ops disk;
	bool disk_full;
	struct sb_vfs vfs;
	struct sb_core core;
	struct sb_slots slots;
	const struct sb_config *config;
	struct sb_plan *plan;
	struct sb_shard *shard[SHARDS_MAX];
	unsigned n_shards;
	/* the source */
	struct sb_source *source[SHARDS_MAX];
	uint8_t settled[EVENTS_MAX], refused[EVENTS_MAX];
	unsigned handed, n_settled, n_refused;
	struct {
		struct sb_source *s;
		void *token;
		unsigned owed;
	} sent_on[EVENTS_MAX]; /* and not answered */
	unsigned n_sent_on, owed, overflowed; /* deliveries that were ever owed so; of what is there */
	char last_owed[256];
	/* the targets */
	const char *answers; /* of outcomes' first letters, chosen by chance; NULL: hold */
	struct {
		struct sb_target *t;
		struct sb_batch *b;
	} flight[256];
	unsigned n_flight, delivered;
} t;

/* ------------------------------------------------------------------------------------------------ connectors */

static int source_open(struct sb_source *s, struct sb_err *err)
{
	(void)err;
	t.source[s->env->shard] = s;
	return 0;
}

static void on_settled(struct sb_source *s, uint64_t cookie, uint32_t epoch)
{
	(void)s;
	assert_int_equal(epoch, 7);
	t.settled[cookie]++;
	t.n_settled++;
}

static void on_refused(struct sb_source *s, uint64_t cookie, const struct sb_refusal *why)
{
	(void)s;
	(void)why;
	t.refused[cookie]++;
	t.n_refused++;
}

static void on_overflow(struct sb_source *s, const struct sb_overflow *o)
{
	assert_true(t.n_sent_on < SB_LEN(t.sent_on));
	t.sent_on[t.n_sent_on].s = s;
	t.sent_on[t.n_sent_on].token = o->token;
	t.sent_on[t.n_sent_on].owed = 0;
	assert_true(sb_slice_eq_str(o->position, "t/0/1"));
	snprintf(t.last_owed, sizeof(t.last_owed), "%.*s", SB_SLICE_ARG(o->owed));
	for (const char *p = t.last_owed; (p = strstr(p, "\"rule\"")); p++)
		t.sent_on[t.n_sent_on].owed++;
	t.owed += t.sent_on[t.n_sent_on++].owed;
}

static int any_topic(const void *conf, const char *topic, struct sb_err *err)
{
	return conf && !err ? -1 : strcmp(topic, "later");
}

static void answer_overflow(unsigned i, bool there)
{
	struct sb_source *s = t.sent_on[i].s;
	void *token = t.sent_on[i].token;

	t.overflowed += there ? t.sent_on[i].owed : 0;
	t.sent_on[i] = t.sent_on[--t.n_sent_on];
	sb_source_overflowed(s, token, there);
}

static void source_close(struct sb_source *s)
{
	s->closed(s);
}

static const struct sb_connector held = {
	.type = "held",
	.source = &(const struct sb_source_ops){ .open = source_open, .settled = on_settled, .refused = on_refused,
		.overflow = on_overflow, .check_overflow = any_topic, .close = source_close },
};

static void answer(struct sb_target *target, struct sb_batch *b, char how)
{
	static const char letters[] = "drurx";
	static const enum sb_outcome outcome[] = { SB_DELIVERED, SB_RETRY, SB_UNREACHABLE, SB_RETRY, SB_REJECTED };
	size_t i = (size_t)(strchr(letters, how) - letters);
	struct sb_result r = { .outcome = outcome[i], .reason = i ? SB_R_TIMEOUT : SB_R_NONE, .message = SB_SLICE("no") };

	t.delivered += r.outcome == SB_DELIVERED;
	sb_batch_settle(target, b, 0, &r);
}

static char by_chance(void)
{
	return t.answers[sb_rand_u32(&t.chance) % strlen(t.answers)];
}

static void far_send(struct sb_target *target, struct sb_batch *b)
{
	if (t.answers && sb_rand_u32(&t.chance) % 4) {
		answer(target, b, by_chance());
		return;
	}
	assert_true(t.n_flight < SB_LEN(t.flight));
	t.flight[t.n_flight].t = target;
	t.flight[t.n_flight++].b = b;
}

static int far_open(struct sb_target *target, struct sb_err *err)
{
	(void)target;
	(void)err;
	return 0;
}

static void far_close(struct sb_target *target)
{
	sb_target_closed(target);
}

static const struct sb_connector far_connector = {
	.type = "far",
	.target = &(const struct sb_target_ops){ .open = far_open, .send = far_send, .close = far_close },
};
static const struct sb_connector bus = {
	.type = "bus",
	.target = &(const struct sb_target_ops){ .conf_size = sizeof(struct sb_bus_target_conf), .fields = sb_bus_target_fields },
};

const struct sb_connector *const sb_connectors[] = { &held, &far_connector, &bus, NULL };

/* ------------------------------------------------------------------------------------------------ the broker */

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", t.dir, name);
	f = fopen(path, "we");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void load_config(bool overflow)
{
	struct sb_diags d = { 0 };
	char path[128], text[400];

	snprintf(text, sizeof(text), "version: 1\ndata_dir: ./data\nlisteners: {main: {address: 127.0.0.1:0}}\nrules: rules.d\n"
		"sources: {k: {held: {}, overflow: %s}}\ntargets: {a: {far: {}}, b: {far: {}}, c: {far: {}}, o: {far: {}, order_by: $.detail.n}}\n",
		overflow ? "{topic: later}" : "spill");
	write_file("signalbox.yaml", text);
	write_file("rules.d/rules.yaml", "rules:\n"
		"  - {name: one, pattern: {detail: {to: [one, both]}}, targets: [{target: a}]}\n"
		"  - {name: two, pattern: {detail: {to: [two, both]}}, targets: [{target: b}, {target: c, "
		"input_transformer: {paths: {n: $.detail.n}, template: '{\"n\": <n>}'}}]}\n"
		"  - {name: row, pattern: {detail: {to: [row]}}, targets: [{target: o}, {target: a}]}\n");
	snprintf(path, sizeof(path), "%s/signalbox.yaml", t.dir);
	t.config = sb_config_load(path, NULL, &d);
	if (!t.config) {
		struct sb_buf out = SB_BUF(1 << 16);

		sb_diags_format(&d, SB_DIAG_LONG, false, &out);
		fail_msg("%s", sb_buf_cstr(&out));
	}
	sb_diags_done(&d);
}

static int64_t free_bytes(struct sb_vfs *v, const char *path)
{
	(void)v;
	(void)path;
	return t.disk_full ? 0 : INT64_MAX;
}

static int no_sync(struct sb_file *f)
{
	(void)f;
	return 0; /* nothing crashes here */
}

static void begin_with(unsigned n_shards, uint64_t seed, uint64_t cache_bytes, bool overflow)
{
	char path[128];
	struct sb_err err;

	memset(&t, 0, sizeof(t));
	snprintf(t.dir, sizeof(t.dir), "/tmp/sb-receipt-XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	sb_fake_clock_init(&t.clock, 1795508393000);
	sb_rand_seed(&t.chance, seed);
	snprintf(path, sizeof(path), "%s/rules.d", t.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/data", t.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	load_config(overflow);
	t.disk = *sb_vfs_system.ops;
	t.disk.fdatasync = no_sync;
	t.disk.free_bytes = free_bytes;
	t.vfs.ops = &t.disk;
	sb_core_init(&t.core, &t.clock.clock, t.config);
	t.n_shards = t.core.n_shards = n_shards;
	t.core.shard = t.shard;
	if (sb_storage_open(&t.core, &t.vfs, t.config, false, &err) < 0)
		fail_msg("%s", err.msg);
	for (unsigned i = 0; i < n_shards; i++)
		t.shard[i] = sb_shard_new(&t.core, i, false, seed + i);
	t.slots.core = &t.core;
	t.plan = sb_plan_make(&t.slots, t.config, 1);
	for (unsigned i = 0; i < n_shards; i++)
		assert_int_equal(sb_shard_open_plan(t.shard[i], sb_plan_ref(t.plan), &err), 0);
	for (size_t i = 0; i < t.slots.n_targets; i++) {
		struct sb_target_policy p = *sb_dispatch_policy(t.slots.target[i]->dispatch);

		p.cache_bytes = cache_bytes;
		sb_dispatch_set_policy(t.slots.target[i]->dispatch, &p);
	}
}

#define begin(n_shards, seed, cache_bytes) begin_with(n_shards, seed, cache_bytes, false)

static bool turn_all(void)
{
	unsigned first = sb_rand_u32(&t.chance) % t.n_shards;
	bool moved = false;

	for (unsigned i = 0; i < t.n_shards; i++)
		moved |= sb_shard_turn(t.shard[(first + i) % t.n_shards]) > 0;
	moved |= sb_journal_pump(t.core.journal);
	moved |= sb_journal_reader_pump(t.core.journal);
	moved |= sb_deadbox_pump(t.core.deadbox);
	return moved;
}

static void come_to_rest(void)
{
	while (turn_all())
		;
}

/* False: it has to wait. */
static bool try_hand(const char *to)
{
	struct sb_source *s = t.source[t.handed % t.n_shards];
	struct sb_held at = { .cookie = t.handed, .epoch = 7, .position = SB_SLICE("t/0/1") };
	struct sb_refusal refusal;
	struct sb_event *ev;
	struct sb_err err;
	char json[200];

	snprintf(json, sizeof(json), "{\"id\":\"e%u\",\"source\":\"s\",\"detail-type\":\"t\",\"detail\":{\"to\":\"%s\",\"n\":%u}}",
		t.handed, to, t.handed);
	assert_int_equal(sb_event_parse(sb_slice_str(json), sb_name_str("default"), sb_name_str("k"), &ev, &err), 0);
	ev->received_ms = sb_wall_ms(&t.clock.clock);
	ev->receipt = sb_uuid_next(&t.shard[0]->uuids, ev->received_ms);
	if (sb_source_hand(s, ev, &at, &refusal) < 0) {
		assert_int_equal(refusal.why, SB_REFUSE_FULL);
		sb_event_unref(ev);
		return false;
	}
	t.handed++;
	return true;
}

static void hand(const char *to)
{
	assert_true(try_hand(to));
}

static void settle_flight(unsigned i, char how)
{
	struct sb_target *target = t.flight[i].t;
	struct sb_batch *b = t.flight[i].b;

	t.flight[i] = t.flight[--t.n_flight];
	answer(target, b, how);
}

static void deliver_all(void)
{
	while (t.n_flight)
		settle_flight(0, 'd');
	come_to_rest();
}

static void pass_ms(uint64_t ms)
{
	t.clock.mono += ms * SB_NS_PER_MS;
	t.clock.wall += ms;
	come_to_rest();
}

static struct sb_source_slot *slot(void)
{
	return sb_slots_source(&t.slots, sb_name_str("k"));
}

static void audit(unsigned events, unsigned delivered, unsigned dead)
{
	char path[128];
	struct sb_audit a;
	struct sb_err err;

	snprintf(path, sizeof(path), "%s/data/journal", t.dir);
	assert_int_equal(sb_journal_audit(&sb_vfs_system, path, &a, &err), 0);
	if (!a.adds_up)
		fail_msg("%s", a.why_not);
	assert_int_equal(a.events, events);
	assert_int_equal(a.delivered, delivered);
	assert_int_equal(a.dead, dead);
	assert_int_equal(a.in_flight, 0);
	sb_audit_done(&a);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

/* As the daemon stops: targets, then what they settled, then sources. */
static void end(void)
{
	atomic_store(&t.core.stopping, true);
	for (unsigned i = 0; i < t.n_shards; i++)
		sb_slots_close_targets(&t.slots, t.shard[i]);
	while (t.n_flight)
		settle_flight(0, 'u');
	come_to_rest();
	atomic_store(&t.core.settled, true);
	for (unsigned i = 0; i < t.n_shards; i++)
		sb_slots_close_sources(&t.slots, t.shard[i]);
	come_to_rest();
	sb_journal_close(t.core.journal);
	sb_deadbox_free(t.core.deadbox);
	sb_slots_done(&t.slots);
	for (unsigned i = 0; i < t.n_shards; i++)
		sb_shard_free(t.shard[i]);
	sb_plan_unref(t.plan);
	sb_config_unref(t.config);
	assert_int_equal(nftw(t.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* ------------------------------------------------------------------------------------------------ tests */

static void what_is_delivered_at_once_is_settled_when_that_is_durable(void **state)
{
	struct sb_journal_stats s;

	(void)state;
	begin(1, 1, 8 << 20);
	hand("both");
	assert_int_equal(t.n_flight, 3);
	settle_flight(0, 'd');
	settle_flight(0, 'd');
	come_to_rest();
	assert_int_equal(t.n_settled, 0);
	settle_flight(0, 'd');
	sb_shard_turn(t.shard[0]); /* recorded, not yet durable */
	assert_int_equal(t.n_settled, 0);
	come_to_rest();
	assert_int_equal(t.n_settled, 1);
	sb_journal_get_stats(t.core.journal, &s);
	assert_int_equal(s.outstanding, 0);
	hand("nobody");
	come_to_rest();
	assert_int_equal(t.n_settled, 2);
	assert_int_equal(sb_counted(&slot()->held), 0);
	assert_int_equal(sb_counted(&slot()->stat->spilled), 0);
	audit(2, 3, 0);
	end();
}

static void what_fails_goes_to_the_journal_with_its_neighbours(void **state)
{
	(void)state;
	begin(1, 1, 8 << 20);
	hand("both");
	settle_flight(0, 'd');
	settle_flight(0, 'r'); /* the third is in flight */
	come_to_rest();
	assert_int_equal(t.n_settled, 1); /* by being in the journal */
	assert_int_equal(sb_counted(&slot()->stat->spilled), 1);
	settle_flight(0, 'd');
	pass_ms(2000);
	assert_int_equal(t.n_flight, 1);
	assert_int_equal(t.flight[0].b->item[0].attempt, 2);
	settle_flight(0, 'd');
	come_to_rest();
	assert_int_equal(t.n_settled, 1);
	audit(1, 3, 0);
	end();
}

static void what_is_rejected_dies_with_its_number(void **state)
{
	(void)state;
	begin(2, 1, 8 << 20);
	hand("one");
	come_to_rest();
	settle_flight(0, 'x');
	come_to_rest();
	assert_int_equal(t.n_settled, 1);
	audit(1, 0, 1);
	end();
}

static void what_is_old_or_asked_for_goes_to_the_journal(void **state)
{
	(void)state;
	begin(2, 1, 8 << 20);
	hand("one");
	hand("one");
	come_to_rest();
	sb_source_spill(t.source[0], 1);
	come_to_rest();
	assert_int_equal(t.settled[0], 1);
	assert_int_equal(t.settled[1], 0);
	pass_ms(2500);
	assert_int_equal(t.settled[1], 1);
	deliver_all();
	audit(2, 2, 0);
	end();
}

static void what_is_held_at_the_end_stays_with_its_source(void **state)
{
	(void)state;
	begin(3, 1, 8 << 20);
	for (int i = 0; i < 30; i++)
		hand("both");
	turn_all();
	end();
	assert_int_equal(t.n_settled + t.n_refused, 0);
}

static void a_message_that_is_no_event_becomes_a_dead_letter_once(void **state)
{
	struct sb_held at = { .cookie = 0, .epoch = 7, .position = SB_SLICE("t/0/41") };
	struct sb_unreadable what = { .value = SB_SLICE("{\xff"), .receipt = { { 9 } }, .reason = SB_R_INVALID_JSON,
		.message = SB_SLICE("no JSON, at byte 1") };
	struct sb_deadletters_stats s;

	(void)state;
	begin(1, 1, 8 << 20);
	for (unsigned i = 0; i < 2; i++) { /* it is read again after a crash */
		at.cookie = i;
		assert_int_equal(sb_source_bury(t.source[0], &at, &what), 0);
		assert_int_equal(t.n_settled, i);
		come_to_rest();
		assert_int_equal(t.settled[i], 1);
		sb_deadletters_get_stats(sb_deadbox_table(t.core.deadbox), &s);
		assert_int_equal(s.letters, 1);
	}
	assert_int_equal(sb_counted(&slot()->held), 0);
	audit(0, 0, 0);
	end();
}

static void with_pause_it_waits_and_only_the_dead_are_written(void **state)
{
	(void)state;
	begin(1, 1, 8 << 20);
	slot()->spill_after_ns = UINT64_MAX;
	hand("one");
	hand("one");
	settle_flight(0, 'r');
	settle_flight(0, 'x');
	come_to_rest();
	assert_int_equal(t.n_settled, 1);
	sb_source_spill(t.source[0], 10);
	pass_ms(100000);
	assert_int_equal(t.n_settled, 1);
	assert_int_equal(t.flight[0].b->item[0].attempt, 2);
	settle_flight(0, 'd');
	come_to_rest();
	assert_int_equal(t.n_settled, 2);
	assert_int_equal(sb_counted(&slot()->stat->spilled), 1);
	audit(2, 1, 1);
	end();
}

static void what_is_ordered_is_journaled_first(void **state)
{
	(void)state;
	begin(2, 1, 8 << 20);
	hand("row");
	assert_int_equal(t.n_flight, 0);
	come_to_rest();
	assert_int_equal(t.n_flight, 2);
	assert_int_equal(t.settled[0], 1);
	deliver_all();
	audit(1, 2, 0);
	end();
}

/* The journal refuses: the source keeps it, and it is tried again by itself. */
static void a_full_disk_makes_it_wait(void **state)
{
	(void)state;
	begin(1, 1, 8 << 20);
	pass_ms(2000);
	t.disk_full = true;
	hand("row");
	hand("one");
	hand("one");
	come_to_rest();
	pass_ms(5000);
	settle_flight(0, 'd'); /* outcomes go on, from the reserve */
	come_to_rest();
	assert_int_equal(t.n_settled, 1);
	t.disk_full = false;
	pass_ms(3000);
	assert_int_equal(t.n_settled, 3);
	deliver_all();
	audit(3, 4, 0);
	end();
}

/* A target that has more than it can hold, or a backlog: who pauses waits for that too, and writes nothing down. */
static void with_pause_what_is_turned_away_is_offered_again(void **state)
{
	unsigned n = 0;

	(void)state;
	begin(2, 1, 4 << 10);
	slot()->spill_after_ns = UINT64_MAX;
	while (n < 60 && try_hand("both"))
		n++;
	come_to_rest();
	pass_ms(10000); /* nobody waits for a target this slow: what comes now is turned away */
	while (n < 60) {
		assert_true(try_hand("both"));
		n++;
	}
	come_to_rest();
	assert_int_equal(t.n_settled, 0);
	for (int i = 0; i < 200 && t.n_settled < n; i++) {
		while (t.n_flight)
			settle_flight(0, 'd');
		pass_ms(500);
	}
	assert_int_equal(t.n_settled, n);
	assert_int_equal(sb_counted(&slot()->stat->spilled), 0);
	audit(n, 3 * n, 0);
	end();
}

/* The end may come while what is due is being written. */
static void what_is_due_when_it_stops_holds_nobody_up(void **state)
{
	(void)state;
	begin(1, 1, 8 << 20);
	hand("one");
	hand("row");
	t.clock.mono += 5 * SB_NS_PER_S;
	atomic_store(&t.core.stopping, true);
	sb_source_spill(t.source[0], 100);
	sb_receipts_tick(t.shard[0], t.clock.mono);
	assert_int_equal(sb_receipts_next_due(t.shard[0]), UINT64_MAX);
	end();
}

/* What one target has, and what is being tried, is not sent on; what fails is, once, with all who are owed. */
static void what_is_stuck_is_sent_on_when_nobody_is_at_it(void **state)
{
	(void)state;
	for (unsigned shards = 1; shards <= 2; shards++) {
		begin_with(shards, 1, 8 << 20, true);
		hand("both");
		come_to_rest();
		assert_int_equal(t.n_flight, 3);
		for (unsigned i = 0; i < 3; i++) /* a has it */
			if (strcmp(t.flight[i].t->name, "a") == 0)
				settle_flight(i, 'd');
		settle_flight(0, 'r');
		come_to_rest();
		pass_ms(10000);
		assert_int_equal(t.n_sent_on, 0); /* the third is being tried */
		settle_flight(0, 'u');
		come_to_rest();
		assert_int_equal(t.n_sent_on, 1);
		assert_string_equal(t.last_owed, "[{\"rule\":\"two\",\"target\":\"b\"},{\"rule\":\"two\",\"target\":\"c\"}]");
		pass_ms(100000);
		assert_int_equal(t.n_flight, 0); /* nobody tries any more */
		assert_int_equal(t.n_settled, 0);
		answer_overflow(0, true);
		assert_int_equal(t.n_settled, 0); /* not yet durable */
		come_to_rest();
		assert_int_equal(t.n_settled, 1);
		assert_int_equal(sb_counted(&slot()->stat->overflowed), 1);
		assert_int_equal(sb_counted(&slot()->stat->spilled), 0);
		for (size_t i = 0; i < t.slots.n_targets; i++)
			assert_true(sb_dispatch_owes_nothing(t.slots.target[i]->dispatch));
		audit(1, 3, 0);
		end();
	}
}

/* What is delivered after all is, what dies is a dead letter, what is ordered is numbered, what the source gives up is kept here. */
static void what_cannot_be_sent_on_goes_to_the_journal(void **state)
{
	(void)state;
	begin_with(2, 1, 8 << 20, true);
	hand("one");
	come_to_rest();
	settle_flight(0, 'x');
	hand("row");
	hand("two");
	come_to_rest();
	pass_ms(10000); /* long overdue */
	deliver_all();
	assert_int_equal(t.owed, 0);
	assert_int_equal(t.n_settled, 3);
	hand("one");
	come_to_rest();
	settle_flight(0, 'r');
	come_to_rest();
	assert_int_equal(t.n_sent_on, 1);
	answer_overflow(0, false);
	come_to_rest();
	assert_int_equal(t.n_settled, 4);
	deliver_all();
	assert_int_equal(sb_counted(&slot()->stat->spilled), 3);
	assert_int_equal(sb_counted(&slot()->stat->overflowed), 0);
	audit(4, 5, 1);
	end();
}

static void what_is_being_sent_on_at_the_end_stays_with_its_source(void **state)
{
	(void)state;
	begin_with(1, 1, 8 << 20, true);
	hand("one");
	settle_flight(0, 'r');
	hand("one"); /* called back when it stops */
	sb_source_spill(t.source[0], 10);
	turn_all();
	assert_int_equal(t.n_sent_on, 1);
	end();
	assert_int_equal(t.n_settled, 0);
}

/* Any outcomes, any order, hardly any memory: each is settled once, and everything is accounted for. */
static void play(unsigned n_shards, uint64_t seed, uint64_t cache_bytes, bool overflow)
{
	static const char *const to[] = { "one", "two", "both", "nobody", "row" };
	unsigned expect = 0, n = 400;

	begin_with(n_shards, seed, cache_bytes, overflow);
	t.answers = "ddddddrux";
	while (t.handed < n) {
		unsigned k = sb_rand_u32(&t.chance) % 5;

		if (try_hand(to[k]))
			expect += (const unsigned[]){ 1, 2, 3, 0, 2 }[k];
		if (sb_rand_u32(&t.chance) % 3 == 0)
			turn_all();
		if (sb_rand_u32(&t.chance) % 16 == 0)
			sb_source_spill(t.source[sb_rand_u32(&t.chance) % n_shards], 2);
		if (sb_rand_u32(&t.chance) % 32 == 0) {
			t.disk_full = sb_rand_u32(&t.chance) % 4 == 0;
			pass_ms(sb_rand_u32(&t.chance) % 1500);
		}
		while (t.n_flight > 20 || (t.n_flight && sb_rand_u32(&t.chance) % 2))
			settle_flight(sb_rand_u32(&t.chance) % t.n_flight, by_chance());
		while (t.n_sent_on && sb_rand_u32(&t.chance) % 3 == 0)
			answer_overflow(sb_rand_u32(&t.chance) % t.n_sent_on, sb_rand_u32(&t.chance) % 8 != 0);
	}
	t.answers = "d";
	t.disk_full = false;
	for (int i = 0; i < 3000 && t.n_settled < n; i++) {
		while (t.n_flight)
			settle_flight(0, 'd');
		while (t.n_sent_on)
			answer_overflow(0, true);
		pass_ms(500);
	}
	for (int i = 0; i < 3000; i++) {
		while (t.n_flight)
			settle_flight(0, 'd');
		pass_ms(1000);
	}
	for (size_t i = 0; i < t.slots.n_targets; i++)
		assert_true(sb_dispatch_owes_nothing(t.slots.target[i]->dispatch));
	for (unsigned i = 0; i < n; i++)
		if (t.settled[i] != 1)
			fail_msg("seed %u: event %u was settled %u times", (unsigned)seed, i, t.settled[i]);
	assert_int_equal(sb_counted(&slot()->held), 0);
	assert_int_equal(t.overflowed > 0, overflow);
	audit(n, t.delivered + t.overflowed, expect - t.delivered - t.overflowed);
	end();
}

/* A target that gets on is waited for: nothing of a fast stream goes to the journal. */
static void a_fast_stream_waits_instead_of_spilling(void **state)
{
	unsigned waited = 0, n = 0;

	(void)state;
	begin(1, 3, 8 << 10);
	while (n < 1000) {
		if (try_hand("two"))
			n++;
		else
			waited++;
		if (sb_rand_u32(&t.chance) % 4 == 0)
			turn_all();
		while (t.n_flight > 15 || (t.n_flight && sb_rand_u32(&t.chance) % 8 == 0))
			settle_flight(sb_rand_u32(&t.chance) % t.n_flight, 'd');
	}
	while (t.n_settled < n) {
		while (t.n_flight)
			settle_flight(0, 'd');
		come_to_rest();
	}
	assert_true(waited > 100);
	assert_int_equal(sb_counted(&slot()->stat->spilled), 0);
	audit(n, 2 * n, 0);
	end();
}

static void each_is_settled_once_whatever_happens(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++) {
		for (int overflow = 0; overflow < (seed <= 2 ? 2 : 1); overflow++) {
			play(1, seed, 8 << 20, overflow);
			play(3, seed, 8 << 20, overflow);
			play(1, seed, 4 << 10, overflow);
			play(3, seed, 4 << 10, overflow);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_delivered_at_once_is_settled_when_that_is_durable),
		cmocka_unit_test(what_fails_goes_to_the_journal_with_its_neighbours),
		cmocka_unit_test(what_is_rejected_dies_with_its_number),
		cmocka_unit_test(what_is_old_or_asked_for_goes_to_the_journal),
		cmocka_unit_test(what_is_held_at_the_end_stays_with_its_source),
		cmocka_unit_test(a_message_that_is_no_event_becomes_a_dead_letter_once),
		cmocka_unit_test(with_pause_it_waits_and_only_the_dead_are_written),
		cmocka_unit_test(what_is_ordered_is_journaled_first),
		cmocka_unit_test(a_full_disk_makes_it_wait),
		cmocka_unit_test(with_pause_what_is_turned_away_is_offered_again),
		cmocka_unit_test(what_is_due_when_it_stops_holds_nobody_up),
		cmocka_unit_test(what_is_stuck_is_sent_on_when_nobody_is_at_it),
		cmocka_unit_test(what_cannot_be_sent_on_goes_to_the_journal),
		cmocka_unit_test(what_is_being_sent_on_at_the_end_stays_with_its_source),
		cmocka_unit_test(a_fast_stream_waits_instead_of_spilling),
		cmocka_unit_test(each_is_settled_once_whatever_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
