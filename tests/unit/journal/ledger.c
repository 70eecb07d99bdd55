/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/journal/ledger.h"

#include "tests/support/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/crc32c.h"
#include "broker/base/event.h"
#include "broker/journal/frame.h"
#include "tests/unit/journal/compare.h"

static const char *const target_names[LEDGER_TARGETS] = { "t0", "t1", "t2", "t3" };

const char *ledger_target(unsigned i)
{
	return sb_name_str(target_names[i]);
}

void ledger_broken(const struct ledger *l, const char *promise, uint64_t number)
{
	fail_msg("%s: %s (%" PRIu64 ")", l->where, promise, number);
	abort(); /* never reached: cmocka jumps away, but does not say so */
}

static void on_fatal(void *arg, const struct sb_err *err)
{
	(void)err;
	((struct ledger *)arg)->fatal = true;
}

/* ------------------------------------------------------------------------------------------------ making appends */

static void put_home(struct sb_mail *m)
{
	struct put *p = SB_CONTAINER(SB_CONTAINER(m, struct sb_append, mail), struct put, a);
	struct ledger *l = p->ledger;

	switch (p->a.status) {
	case SB_APPEND_DURABLE:
		l->durable++;
		if (p->a.seq <= l->last_seq)
			ledger_broken(l, "a sequence number was used again", p->a.seq);
		l->last_seq = p->a.seq + p->n_frames - 1;
		ledger_settle(p, DURABLE);
		break;
	case SB_APPEND_FULL:
		l->full++;
		if (p->a.state && !p->a.no_wait)
			ledger_broken(l, "state was refused for want of room", p->number);
		ledger_settle(p, ABSENT);
		break;
	case SB_APPEND_FAILED:
		l->failed++;
		p->fate = MAYBE;
		break;
	}
}

static void due_home(struct sb_mail *m)
{
	struct due *d = SB_CONTAINER(SB_CONTAINER(m, struct sb_handover, mail), struct due, h);
	struct ledger *l = d->put->ledger;

	if (d->h.dno <= l->last_dno)
		ledger_broken(l, "a delivery number was used again", d->h.dno);
	l->last_dno = d->dno = d->h.dno;
	d->home = true;
}

static struct put *put_new(struct ledger *l, bool state)
{
	struct put *p = sb_xcalloc(sizeof(*p));

	p->ledger = l;
	p->number = l->n_puts++;
	p->a = (struct sb_append){ .mail.run = put_home, .home = &l->home, .frames = SB_BUF(1 << 20), .state = state };
	*l->tail = p;
	l->tail = &p->next;
	return p;
}

static void note_event(struct ledger *l, struct happening *e)
{
	l->event = sb_xrealloc(l->event, (l->n_events + 1) * sizeof(struct happening *));
	l->event[l->n_events++] = e;
}

static struct sb_event *event_new(struct ledger *l, struct happening *e, size_t pad)
{
	struct sb_buf text = SB_BUF(1 << 20);
	struct sb_event *ev;
	struct sb_err err;

	sb_buf_addf(&text, "{\"id\":\"e%u\",\"source\":\"s\",\"detail-type\":\"t\",\"detail\":\"", e->number);
	while (pad--)
		sb_buf_addc(&text, (char)('a' + pad % 26));
	sb_buf_adds(&text, "\",\"meta\":{}}");
	if (sb_event_parse(sb_buf_slice(&text), sb_name_str("default"), sb_name_str("shop"), &ev, &err) < 0)
		fail_msg("%s", err.msg);
	sb_buf_done(&text);
	ev->received_ms = l->clock.wall;
	e->sum = sb_crc32c(0, ev->json, ev->n);
	return ev;
}

static void add_event_of(struct put *p, unsigned n_owed, size_t bytes)
{
	struct ledger *l = p->ledger;
	struct happening *e = &p->ev[p->n_events++];
	struct sb_owed owed[16] = { 0 };
	struct sb_event *ev;

	*e = (struct happening){ .number = l->n_events, .n_owed = n_owed, .due = sb_xcalloc((n_owed + 1) * sizeof(struct due)) };
	note_event(l, e);
	ev = event_new(l, e, bytes);
	for (uint32_t i = 0; i < n_owed; i++) {
		struct due *d = &e->due[i];

		*d = (struct due){ .put = p, .ordinal = i, .target = (unsigned)sb_rand_below(&l->rand, LEDGER_TARGETS) };
		d->h = (struct sb_handover){ .mail.run = due_home, .home = &l->home, .ordinal = i };
		owed[i] = (struct sb_owed){ .rule = i % 2 ? "odd" : "even", .target = ledger_target(d->target), .lane = i };
	}
	assert_int_equal(sb_record_event(&p->a.frames, &(struct sb_event_record){ .ev = ev, .owed = owed, .n_owed = n_owed }), 0);
	p->n_frames++;
	sb_event_unref(ev);
}

static void add_event(struct put *p, unsigned n_owed, size_t most_bytes)
{
	add_event_of(p, n_owed, (size_t)sb_rand_below(&p->ledger->rand, most_bytes + 1));
}

static void chain_deliveries(struct put *p)
{
	struct sb_handover **tail = &p->a.deliveries;

	*tail = NULL;
	for (unsigned i = 0; i < p->n_events; i++)
		for (uint32_t k = 0; k < p->ev[i].n_owed; k++) {
			*tail = &p->ev[i].due[k].h;
			tail = &p->ev[i].due[k].h.next;
		}
	*tail = NULL;
}

static void add_attempt(struct put *p, struct due *d)
{
	struct sb_attempt_record r = { .dno = d->dno, .attempts = ++d->tried, .message = SB_SLICE("no answer") };

	p->tries = d;
	p->tries_n = r.attempts;
	assert_int_equal(sb_record_attempt(&p->a.frames, &r), 0);
	p->n_frames++;
}

static void add_outcome(struct put *p, struct due *d, bool dead)
{
	struct ledger *l = p->ledger;
	char id[32];

	p->finishes = d;
	p->dead = dead;
	p->dead_at = p->n_frames++;
	d->finish = p;
	for (size_t i = 0; i < l->n_open; i++)
		if (l->open[i] == d)
			l->open[i] = l->open[--l->n_open];
	if (dead) {
		struct sb_dead_record r = { .dno = d->dno, .route = d->h.route, .event = SB_SLICE("{}") };

		snprintf(id, sizeof(id), "%u", p->number);
		r.id = sb_slice_str(id);
		assert_int_equal(sb_record_dead(&p->a.frames, &r), 0);
	} else {
		struct sb_result_record r = { .dno = d->dno, .route = d->h.route, .attempts = 1 };

		assert_int_equal(sb_record_result(&p->a.frames, &r), 0);
	}
}

static void add_position(struct put *p)
{
	char text[32];

	p->position = ++p->ledger->positions;
	snprintf(text, sizeof(text), "%" PRIu64, p->position);
	assert_int_equal(sb_record_position(&p->a.frames, SB_SLICE("feed"), sb_slice_str(text)), 0);
	p->n_frames++;
}

static struct put *submit(struct put *p)
{
	chain_deliveries(p);
	sb_journal_submit(p->ledger->j, &p->a);
	return p;
}

struct put *ledger_put_events(struct ledger *l, unsigned events, unsigned most_owed, size_t most_bytes)
{
	struct put *p = put_new(l, false);

	while (events--)
		add_event(p, 1 + (unsigned)sb_rand_below(&l->rand, most_owed), most_bytes);
	return submit(p);
}

struct put *ledger_put_large(struct ledger *l, size_t bytes)
{
	struct put *p = put_new(l, false);

	add_event_of(p, 1, bytes);
	return submit(p);
}

struct put *ledger_put_outcome(struct ledger *l, struct due *d, bool dead)
{
	struct put *p = put_new(l, true);

	add_outcome(p, d, dead);
	return submit(p);
}

struct put *ledger_put_position(struct ledger *l)
{
	struct put *p = put_new(l, true);

	add_position(p);
	return submit(p);
}

struct put *ledger_put_impatient(struct ledger *l)
{
	struct put *p = put_new(l, true);

	p->a.no_wait = true;
	add_position(p);
	return submit(p);
}

struct put *ledger_put_unknown(struct ledger *l, uint8_t flags)
{
	struct put *p = put_new(l, true);

	assert_int_equal(sb_frame_begin(&p->a.frames, (enum sb_record_type)(SB_REC_LAST + 1), flags), 0);
	assert_int_equal(sb_frame_end(&p->a.frames, 0, 0), 0);
	p->n_frames++;
	return submit(p);
}

static struct due *any_open(struct ledger *l)
{
	return l->n_open ? l->open[sb_rand_below(&l->rand, l->n_open)] : NULL;
}

void ledger_put_any(struct ledger *l)
{
	struct put *p = put_new(l, sb_rand_below(&l->rand, 5) < 3);
	struct due *d = any_open(l);
	unsigned events = p->a.state ? 0 : 1 + (unsigned)sb_rand_below(&l->rand, PUT_EVENTS);

	while (events--)
		add_event(p, (unsigned)sb_rand_below(&l->rand, 5), sb_rand_below(&l->rand, 20) ? 700 : 20000);
	if (d && sb_rand_below(&l->rand, 3) == 0)
		add_attempt(p, d);
	d = any_open(l);
	if (d && d != p->tries && (p->a.state || sb_rand_below(&l->rand, 8) == 0))
		add_outcome(p, d, sb_rand_below(&l->rand, 4) == 0);
	if (sb_rand_below(&l->rand, 4) == 0 || p->n_frames == 0)
		add_position(p);
	submit(p);
}

/* ------------------------------------------------------------------------------------------------ what comes of them */

static void open_add(struct ledger *l, struct due *d)
{
	if (l->n_open == l->cap_open) {
		l->cap_open = l->cap_open ? l->cap_open * 2 : 64;
		l->open = sb_xrealloc(l->open, l->cap_open * sizeof(struct due *));
	}
	l->open[l->n_open++] = d;
}

void ledger_settle(struct put *p, enum fate fate)
{
	struct ledger *l = p->ledger;

	p->fate = fate;
	if (fate == ABSENT && p->finishes) {
		p->finishes->finish = NULL;
		open_add(l, p->finishes);
	}
	for (unsigned i = 0; fate == DURABLE && i < p->n_events; i++)
		for (uint32_t k = 0; k < p->ev[i].n_owed; k++)
			open_add(l, &p->ev[i].due[k]);
}

void ledger_commit(struct ledger *l)
{
	while (sb_journal_pump(l->j))
		sb_mailbox_drain(&l->home);
	sb_mailbox_drain(&l->home);
	if (l->failed && !l->fatal && !l->disk->off)
		ledger_broken(l, "an append failed and the journal goes on", l->failed);
}

void ledger_release_dead(struct ledger *l)
{
	for (struct put *p = l->first; p; p = p->next)
		if (p->fate == DURABLE && p->dead)
			l->released = SB_MAX(l->released, p->a.seq + p->dead_at);
	sb_journal_released(l->j, l->released);
}

void ledger_play(struct ledger *l, unsigned rounds)
{
	while (rounds-- && !l->fatal && !l->disk->off) {
		for (unsigned n = (unsigned)sb_rand_below(&l->rand, 6); n; n--)
			ledger_put_any(l);
		if (sb_rand_below(&l->rand, 10) == 0)
			ledger_release_dead(l);
		sb_fake_clock_advance(&l->clock, 100 * SB_NS_PER_MS);
		ledger_commit(l);
	}
}

/* ------------------------------------------------------------------------------------------------ life */

void ledger_init(struct ledger *l, uint64_t seed)
{
	*l = (struct ledger){ .disk = simdisk_new(seed), .conf = SB_JOURNAL_CONF, .tail = &l->first };
	l->conf.dir = "/j";
	l->conf.segment_bytes = 20 << 10;
	l->conf.group_bytes = 8 << 10;
	l->conf.min_free_bytes = 0;
	sb_fake_clock_init(&l->clock, 1795508393000);
	sb_mailbox_init(&l->home, false);
	sb_rand_seed(&l->rand, seed);
}

static void put_free(struct put *p)
{
	sb_buf_done(&p->a.frames);
	for (unsigned i = 0; i < p->n_events; i++)
		free(p->ev[i].due);
	free(p);
}

void ledger_done(struct ledger *l)
{
	struct put *p, *next;

	ledger_close(l);
	for (p = l->first; p; p = next) {
		next = p->next;
		put_free(p);
	}
	free(l->open);
	free(l->event);
	sb_mailbox_done(&l->home);
	l->disk = simdisk_free(l->disk);
}

/* Looking is not part of the story: it counts no calls and nothing fails meanwhile. */
static void look(struct ledger *l)
{
	struct simdisk *d = l->disk, was = *d;

	d->off_at = 0;
	d->read_at_most = 0;
	simdisk_heal(d);
	ledger_compare(l);
	d->off_at = was.off_at;
	d->read_at_most = was.read_at_most;
	d->ops = was.ops;
	memcpy(d->calls, was.calls, sizeof(d->calls));
	memcpy(d->fault, was.fault, sizeof(d->fault));
}

int ledger_open(struct ledger *l)
{
	struct sb_err err;

	l->fatal = false;
	l->failed = 0;
	if (sb_journal_open(&l->disk->vfs, &l->clock.clock, &l->conf, &l->j, &err) < 0) {
		l->j = NULL;
		return -1;
	}
	sb_journal_on_fatal(l->j, on_fatal, l);
	if (l->disk->off)
		return -1;
	look(l);
	sb_journal_released(l->j, l->released);
	return 0;
}

void ledger_close(struct ledger *l)
{
	sb_journal_close(l->j);
	l->j = NULL;
	sb_mailbox_drain(&l->home);
}

void ledger_crash(struct ledger *l, uint64_t seed, bool harsh)
{
	simdisk_power_off(l->disk);
	ledger_close(l);
	simdisk_crash(l->disk, seed, harsh);
}

void ledger_kill(struct ledger *l)
{
	simdisk_power_off(l->disk);
	ledger_close(l);
	l->disk->off = false;
	l->disk->off_at = 0;
}
