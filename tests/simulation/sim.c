/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread plays everybody. An actor is a shard (its turn: mail, what is due, one append), a shard's spawner and timers, the
 * journal's writer, its reader, or the table of dead letters. While anything is due now, actors get their turns in an order that
 * chance decides; then the clock goes to the next moment that anybody asked for. A commit keeps the disk busy for a while, so
 * that groups form. The power may go at any operation of the disk: then the broker is taken down without being heard, the disk
 * decides what it has lost, and a new one opens what is left.
 */
#include "sim.h"

#include "tests/support/test.h"

#include <inttypes.h>
#include <stdlib.h>

#include "broker/base/log.h"
#include "broker/deadbox.h"
#include "broker/storage.h"
#include "tests/support/simsqlite.h"

#define BEGIN_WALL_MS UINT64_C(1790000000000)
#define TARGETS_MAX 32
#define STEPS_MAX 5000000
#define CONFIG "tests/simulation/signalbox.yaml"

/* ------------------------------------------------------------------------------------------------ workers and targets */

static struct sb_fake_act on_start(void *arg)
{
	struct sim_station *st = arg;

	return play_start(&st->sim->play, st->procs.starting->argv[0]);
}

static struct sb_fake_act on_request(void *arg, const struct sb_fake_request *rq)
{
	struct sim *s = ((struct sim_station *)arg)->sim;
	unsigned attempt;
	struct ledger_delivery *d = ledger_request(&s->ledger, rq->id, rq->text, &attempt);

	ledger_say(&s->ledger, "attempt %u of e%u/%s", attempt, d->ev->n, d->target);
	return play_request(&s->play, d, attempt);
}

static void check_limits(struct sim *s, const struct sb_target_slot *slot)
{
	struct sb_dispatch_stats st;

	sb_dispatch_get_stats(slot->dispatch, &st);
	if (st.in_flight > slot->policy.concurrency)
		ledger_broken(&s->ledger, "%" PRIu64 " attempts at once at '%s'", st.in_flight, slot->name);
	s->backlogs += st.backlog;
}

/* Stands between the connectors and the dispatch, and hears how each attempt ended. */
static void on_settle(struct sb_target *t, struct sb_batch *b, size_t i, const struct sb_result *r)
{
	struct sim *s = SB_CONTAINER(((struct sb_target_slot *)t->owner)->core, struct sim, core);

	ledger_settled(&s->ledger, SB_CONTAINER(b, struct sb_delivery, batch), r);
	s->settle(t, b, i, r); /* which fills the place at once */
	check_limits(s, t->owner);
}

/* ------------------------------------------------------------------------------------------------ turns */

static bool shard_acts(struct sim *s, unsigned i)
{
	struct sb_shard *shard = s->shard[i];

	if (!s->station[i].touched && sb_mailbox_empty(&shard->mail) && sb_shard_next_due(shard) > sim_now_ns(s))
		return false;
	s->station[i].touched = false;
	sb_shard_turn(shard);
	return true;
}

static bool station_acts(struct sim_station *st)
{
	if (sb_fakeprocs_next(&st->procs) > sim_now_ns(st->sim))
		return false;
	sb_fakeprocs_run(&st->procs);
	st->touched = true;
	return true;
}

static bool writer_acts(struct sim *s)
{
	if (s->disk_busy_until_ns > sim_now_ns(s) || !sb_journal_pump(s->core.journal))
		return false;
	if (!s->ledger.deaf)
		s->disk_busy_until_ns = sim_now_ns(s) + 100000 + sb_rand_below(&s->chance, 3 * SB_NS_PER_MS);
	return true;
}

static bool actor_acts(struct sim *s, unsigned i)
{
	unsigned n = s->n_shards;

	if (i < n)
		return shard_acts(s, i);
	if (i < 2 * n)
		return station_acts(&s->station[i - n]);
	if (i == 2 * n)
		return writer_acts(s);
	return i == 2 * n + 1 ? sb_journal_reader_pump(s->core.journal) : sb_deadbox_pump(s->core.deadbox);
}

/* One round in some order, in which one may miss its turn. True: there may be more to do. */
static bool round_of_turns(struct sim *s)
{
	unsigned order[2 * SIM_SHARDS + 3], n = 2 * s->n_shards + 3;
	unsigned sleeper = (unsigned)sb_rand_below(&s->chance, 2 * n);
	bool more = sleeper < n;

	for (unsigned i = 0; i < n; i++) {
		unsigned k = (unsigned)sb_rand_below(&s->chance, i + 1);

		order[i] = order[k];
		order[k] = i;
	}
	for (unsigned i = 0; i < n && (s->ledger.deaf || !s->disk->off); i++)
		if (order[i] != sleeper)
			more |= actor_acts(s, order[i]);
	return more;
}

static uint64_t next_moment(const struct sim *s)
{
	const struct sim_group *g = atomic_load(&s->core.stopping) ? NULL : sim_next_group(s);
	uint64_t next = g ? g->at_ns : UINT64_MAX;

	if (s->disk_busy_until_ns > sim_now_ns(s))
		next = SB_MIN(next, s->disk_busy_until_ns);
	for (unsigned i = 0; i < s->n_shards; i++) {
		next = SB_MIN(next, sb_shard_next_due(s->shard[i]));
		next = SB_MIN(next, sb_fakeprocs_next(&s->station[i].procs));
	}
	return next;
}

static bool all(const struct sim *s, bool (*is)(const struct sb_shard *shard))
{
	for (unsigned i = 0; i < s->n_shards; i++)
		if (!is(s->shard[i]))
			return false;
	return true;
}

static size_t target_number(const struct sim *s, const char *name)
{
	size_t i = 0;

	while (s->slots.target[i]->name != name)
		i++;
	SB_ASSERT(i < TARGETS_MAX);
	return i;
}

static void check_target(struct sim *s, const struct sb_target_slot *t, uint64_t owed, struct sb_dispatch_stats *sum)
{
	struct sb_dispatch_stats st;
	uint64_t thinks;

	sb_dispatch_get_stats(t->dispatch, &st);
	thinks = st.in_flight + st.queued + st.retrying + st.held;
	sum->delivered += st.delivered;
	sum->dead += st.dead;
	if (thinks != owed || st.unreadable)
		ledger_broken(&s->ledger, "'%s' thinks that it owes %" PRIu64 " deliveries, it owes %" PRIu64, t->name,
			thinks, owed);
}

/* With nothing on its way, what the broker thinks that it owes is what the disk says; limits hold at every moment. */
static void check_accounts(struct sim *s)
{
	struct ledger *l = &s->ledger;
	uint64_t owed[TARGETS_MAX] = { 0 }, recorded = 0;
	struct sb_dispatch_stats sum = { 0 };
	struct sb_journal_stats j;

	if (!all(s, sb_shard_quiet))
		return;
	for (size_t i = 0; i < l->n_deliveries; i++)
		if (ledger_owes(&l->delivery[i])) {
			owed[target_number(s, l->delivery[i].target)]++;
			recorded += ledger_recorded(&l->delivery[i]);
		}
	for (size_t i = 0; i < s->slots.n_targets; i++)
		check_target(s, s->slots.target[i], owed[i], &sum);
	sb_journal_get_stats(s->core.journal, &j);
	if (sum.delivered != l->life.delivered || sum.dead != l->life.dead || j.outstanding != recorded)
		ledger_broken(l,
			"%" PRIu64 " delivered, %" PRIu64 " dead, %" PRIu64 " owed are counted; it is %" PRIu64
			", %" PRIu64 ", %" PRIu64,
			sum.delivered, sum.dead, j.outstanding, l->life.delivered, l->life.dead, recorded);
}

/* The writer was cut short; others may still have told the world what it had told them, which must be true. */
static void last_words(struct sim *s)
{
	for (unsigned i = 0; i < s->n_shards; i++)
		if (sb_rand_below(&s->chance, 2))
			shard_acts(s, i);
}

enum sim_stop sim_run(struct sim *s, uint64_t until_ns)
{
	for (;; s->steps++) {
		struct sim_group *g;
		uint64_t next;

		if (s->steps > STEPS_MAX)
			ledger_broken(&s->ledger, "it goes round and round");
		while (!s->disk->off && round_of_turns(s))
			;
		if (s->disk->off) {
			last_words(s);
			return SIM_POWER_GONE;
		}
		check_accounts(s);
		g = sim_next_group(s);
		if (!g && all(s, sb_shard_quiet) && !ledger_owes_any(&s->ledger))
			return SIM_ENDED;
		if (g && g->at_ns <= sim_now_ns(s)) {
			sim_send_group(s, g);
			continue;
		}
		next = next_moment(s);
		if (next == UINT64_MAX)
			ledger_broken(&s->ledger, "deliveries are owed, and nobody will ever do anything");
		sb_fake_clock_advance(&s->clock, SB_MIN(next, until_ns) - sim_now_ns(s));
		if (next > until_ns)
			return SIM_UNTIL;
	}
}

/* ------------------------------------------------------------------------------------------------ lives */

static void on_fatal(void *arg, const struct sb_err *err)
{
	struct sim *s = arg;

	if (!s->disk->off)
		ledger_broken(&s->ledger, "the journal has given up: %s", err->msg);
}

static void make_shards(struct sim *s)
{
	s->core.shard = s->shard;
	s->core.n_shards = s->n_shards;
	for (unsigned i = 0; i < s->n_shards; i++) {
		struct sim_station *st = &s->station[i];

		st->sim = s;
		st->touched = false;
		sb_fakeprocs_init(&st->procs, &s->clock);
		st->procs.arg = st;
		st->procs.start = on_start;
		st->procs.request = on_request;
		s->shard[i] = sb_shard_new(&s->core, i, false, sb_rand_u64(&s->chance));
		s->shard[i]->env.procs = &st->procs.procs;
	}
}

static void open_plan(struct sim *s)
{
	struct sb_err err;

	s->slots = (struct sb_slots){ .core = &s->core };
	s->plan = sb_plan_make(&s->slots, s->config, sb_wall_ms(&s->clock.clock));
	for (size_t i = 0; i < s->slots.n_targets; i++) {
		s->settle = s->slots.target[i]->unit->target.settle;
		s->slots.target[i]->unit->target.settle = on_settle;
	}
	for (unsigned i = 0; i < s->n_shards; i++)
		if (sb_shard_open_plan(s->shard[i], sb_plan_ref(s->plan), &err) < 0)
			ledger_broken(&s->ledger, "%s", err.msg);
}

/* As an operator would: beside the daemon, from the files. The disk is not at risk meanwhile. */
static void recount(struct sim *s, struct sb_audit *ret)
{
	uint64_t off_at = s->disk->off_at, ops = s->disk->ops;
	struct sb_err err;

	s->disk->off_at = 0;
	if (sb_journal_audit(&s->disk->vfs, s->config->journal.dir, ret, &err) < 0)
		ledger_broken(&s->ledger, "audit: %s", err.msg);
	s->disk->off_at = off_at;
	s->disk->ops = ops;
}

static void compare_with_the_disk(struct sim *s)
{
	struct sb_audit a;

	recount(s, &a);
	ledger_recovered(&s->ledger, sb_journal_recovery(s->core.journal), a.events);
	ledger_check_audit(&s->ledger, &a);
	sb_audit_done(&a);
}

/* -1: the power went while it was starting. */
static int begin_life(struct sim *s)
{
	struct sb_err err = { 0 };

	s->core = (struct sb_core){ 0 };
	s->disk_busy_until_ns = 0;
	sb_core_init(&s->core, &s->clock.clock, s->config);
	if (sb_make_folder(&s->watch.vfs, s->config->data_dir) < 0 ||
		sb_storage_open(&s->core, &s->watch.vfs, s->config, false, &err) < 0) {
		if (!s->disk->off)
			ledger_broken(&s->ledger, "it does not start: %s", err.msg);
		return -1;
	}
	sb_journal_on_fatal(s->core.journal, on_fatal, s);
	compare_with_the_disk(s);
	make_shards(s);
	open_plan(s);
	return 0;
}

static void until(struct sim *s, bool (*done)(const struct sim *s))
{
	for (;;) {
		uint64_t next;

		while (round_of_turns(s))
			;
		if (done(s))
			return;
		next = next_moment(s);
		SB_ASSERT(next != UINT64_MAX && s->steps++ < STEPS_MAX);
		if (next > sim_now_ns(s))
			sb_fake_clock_advance(&s->clock, next - sim_now_ns(s));
	}
}

static bool is_drained(const struct sim *s)
{
	return all(s, sb_shard_drained);
}

static bool targets_closed(const struct sim *s)
{
	for (unsigned i = 0; i < s->n_shards; i++)
		if (!sb_slots_targets_closed(&s->slots, s->shard[i]))
			return false;
	return true;
}

static bool is_quiet(const struct sim *s)
{
	return all(s, sb_shard_quiet);
}

static bool sources_closed(const struct sim *s)
{
	for (unsigned i = 0; i < s->n_shards; i++)
		if (!sb_slots_sources_closed(&s->slots, s->shard[i]))
			return false;
	return true;
}

/* The daemon's way down, phase by phase. */
static void come_to_rest(struct sim *s)
{
	atomic_store(&s->core.stopping, true);
	for (unsigned i = 0; i < s->n_shards; i++)
		sb_shard_drain(s->shard[i]);
	until(s, is_drained);
	for (unsigned i = 0; i < s->n_shards; i++)
		sb_slots_close_targets(&s->slots, s->shard[i]);
	until(s, targets_closed);
	atomic_store(&s->core.no_reads, true);
	until(s, is_quiet);
	atomic_store(&s->core.settled, true);
	for (unsigned i = 0; i < s->n_shards; i++)
		sb_slots_close_sources(&s->slots, s->shard[i]);
	until(s, sources_closed);
}

static void end_life(struct sim *s)
{
	come_to_rest(s);
	sb_journal_stop(s->core.journal);
	sb_deadbox_free(s->core.deadbox);
	sb_journal_close(s->core.journal);
	for (unsigned i = 0; i < s->n_shards; i++)
		while (sb_mailbox_drain(&s->shard[i]->mail))
			;
	sb_slots_done(&s->slots);
	for (unsigned i = 0; i < s->n_shards; i++) {
		sb_fakeprocs_done(&s->station[i].procs);
		sb_shard_free(s->shard[i]);
	}
	sb_plan_unref(s->plan);
}

void sim_restart(struct sim *s)
{
	ledger_say(&s->ledger, "stop");
	end_life(s);
	s->ledger.restarts++;
	s->ledger.clean = true;
	ledger_say(&s->ledger, "start");
	begin_life(s);
	sim_send_lost_again(s);
}

void sim_crash(struct sim *s)
{
	struct sb_fake_clock clock = s->clock;

	ledger_say(&s->ledger, "the power goes");
	s->ledger.deaf = true;
	s->ledger.crashes++;
	simdisk_power_off(s->disk);
	for (unsigned i = 0; i < s->n_shards; i++)
		sb_fakeprocs_go_down(&s->station[i].procs);
	end_life(s);
	s->clock = clock;
	s->ledger.deaf = false;
	do {
		bool harsh = sb_rand_below(&s->chance, 2);

		simdisk_crash(s->disk, sb_rand_u64(&s->chance), harsh);
		if (sb_rand_below(&s->chance, 3) == 0)
			s->disk->off_at =
				s->disk->ops + 1 + sb_rand_below(&s->chance, 60); /* perhaps while it starts */
	} while (begin_life(s) < 0);
	s->disk->off_at = 0;
	ledger_say(&s->ledger, "the power is back");
	sim_send_lost_again(s);
}

/* ------------------------------------------------------------------------------------------------ the whole */

struct sim *sim_new(uint64_t seed, uint64_t play, unsigned n_shards)
{
	struct sim *s = sb_xcalloc(sizeof(*s));
	struct sb_diags diags = { 0 };

	SB_ASSERT(n_shards <= SIM_SHARDS);
	s->n_shards = n_shards;
	s->config = sb_config_load(CONFIG, NULL, &diags);
	if (!s->config)
		fail_msg("%s: %s", CONFIG, diags.item[0].err.msg);
	sb_diags_done(&diags);
	sb_rand_seed(&s->chance, seed);
	sb_fake_clock_init(&s->clock, BEGIN_WALL_MS);
	sb_fake_clock_advance(&s->clock, SB_NS_PER_S);
	s->disk = simdisk_new(seed);
	sb_watchdisk_init(&s->watch, &s->disk->vfs, &s->ledger);
	s->watch.written = ledger_written;
	s->watch.durable = ledger_durable;
	simsqlite_install(s->disk, &s->clock.clock, seed);
	s->ledger = (struct ledger){
		.clock = &s->clock, .config = s->config, .begin_ns = sim_now_ns(s), .trace = SB_BUF(64u << 20)
	};
	snprintf(s->ledger.where, sizeof(s->ledger.where), "seed %" PRIu64 ", play %" PRIu64 ", %u shards", seed, play,
		n_shards);
	play_init(&s->play, &s->ledger, play, seed);
	sim_make_groups(s);
	begin_life(s);
	return s;
}

void sim_end(struct sim *s)
{
	end_life(s);
	simsqlite_remove();
}

void sim_free(struct sim *s)
{
	simdisk_free(s->disk);
	sb_config_unref(s->config);
	ledger_done(&s->ledger);
	free(s->group);
	free(s);
}

void sim_audit(struct sim *s)
{
	struct sb_audit a;

	recount(s, &a);
	ledger_check_audit(&s->ledger, &a);
	sb_audit_done(&a);
}

struct letters {
	struct ledger *ledger;
	uint64_t n;
};

static int check_letter(void *arg, const struct sb_letter *letter)
{
	struct letters *x = arg;

	x->n++;
	ledger_check_letter(x->ledger, letter);
	return 0;
}

void sim_check_letters(struct sim *s)
{
	struct letters x = { .ledger = &s->ledger };
	struct sb_letter_filter any = { .redriving_too = true };
	struct sb_err err;

	if (sb_deadletters_each(sb_deadbox_own_table(s->core.deadbox), &any, check_letter, &x, &err) < 0)
		ledger_broken(&s->ledger, "letters: %s", err.msg);
	if (x.n != s->ledger.letters_kept)
		ledger_broken(
			&s->ledger, "the table has %" PRIu64 " letters, %" PRIu64 " died", x.n, s->ledger.letters_kept);
}
