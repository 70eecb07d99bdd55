/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was on its way when the power went votes: each thing that can be seen of an append says whether it is there. Votes
 * that differ mean that half of it is there.
 */
#include "tests/unit/journal/compare.h"

#include "tests/support/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/crc32c.h"
#include "broker/base/event.h"

static void vote(struct put *p, bool there, const char *lost)
{
	enum vote v = there ? THERE : NOT_THERE;

	if (p->fate == DURABLE && !there)
		ledger_broken(p->ledger, lost, p->number);
	if (p->fate == ABSENT && there)
		ledger_broken(p->ledger, "an append that is not there came back", p->number);
	if (p->vote != UNSEEN && p->vote != v)
		ledger_broken(p->ledger, "half of an append is there", p->number);
	p->vote = v;
}

/* ------------------------------------------------------------------------------------------------ backlog */

static void read_done(struct sb_mail *m)
{
	(void)m;
}

static void drop_item(struct sb_backlog_item *it)
{
	sb_event_unref(it->ev);
	sb_pool_free(it->input);
	sb_pool_free((void *)it->letter.p);
}

static uint64_t each_owed_to(struct sb_journal *j, unsigned target, owed_fn *fn, void *arg)
{
	struct sb_mailbox home;
	struct sb_journal_read *r = sb_xcalloc(sizeof(*r));
	uint64_t n = 0;

	sb_mailbox_init(&home, false);
	*r = (struct sb_journal_read){ .home = &home, .target = ledger_target(target), .max_bytes = 64 << 10 };
	while (!r->end) {
		r->mail.run = read_done;
		sb_journal_read(j, r);
		sb_journal_reader_pump(j);
		sb_mailbox_drain(&home);
		for (unsigned i = 0; i < r->n; i++) {
			if (!sb_recovery_done(sb_journal_recovery(j), r->item[i].dno)) {
				fn(arg, &r->item[i], target);
				n++;
			}
			drop_item(&r->item[i]);
		}
		r->min_dno = r->horizon; /* the event at `from` may have been given in part */
	}
	free(r);
	return n;
}

uint64_t each_owed(struct sb_journal *j, owed_fn *fn, void *arg)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < LEDGER_TARGETS; i++)
		n += each_owed_to(j, i, fn, arg);
	return n;
}

const struct happening *event_of_item(const struct ledger *l, const struct sb_backlog_item *it)
{
	char id[16];
	unsigned number;

	snprintf(id, sizeof(id), "%.*s", SB_SLICE_ARG(it->ev->id));
	number = (unsigned)strtoul(id + 1, NULL, 10);
	if (number >= l->n_events || l->event[number]->sum != sb_crc32c(0, it->ev->json, it->ev->n) ||
	    it->ordinal >= l->event[number]->n_owed)
		return NULL;
	return l->event[number];
}

static void see(void *arg, const struct sb_backlog_item *it, unsigned target)
{
	struct ledger *l = arg;
	const struct happening *e = event_of_item(l, it);
	struct due *d = e ? &e->due[it->ordinal] : NULL;

	if (!d || d->target != target)
		ledger_broken(l, "a delivery that nobody asked for", it->dno);
	if (d->seen)
		ledger_broken(l, "a delivery is there twice", it->dno);
	if (d->dno && d->put->fate == DURABLE && d->dno != it->dno)
		ledger_broken(l, "a delivery changed its number", it->dno);
	d->seen = true;
	d->dno = it->dno;
	d->h.route = it->route;
	vote(d->put, true, "");
	if (d->finish)
		vote(d->finish, false, "an outcome was acknowledged and lost");
}

static void judge_due(struct due *d)
{
	if (d->seen)
		return;
	if (d->finish)
		vote(d->finish, true, "");
	else
		vote(d->put, false, "a delivery was acknowledged and lost");
}

/* ------------------------------------------------------------------------------------------------ the rest of a put */

static void judge_attempt(const struct ledger *l, struct put *p)
{
	const struct sb_recovered_attempt *a;

	if (!p->tries || !p->tries->dno || !p->tries->seen)
		return; /* a finished delivery has no attempts any more */
	a = sb_recovery_attempt(sb_journal_recovery(l->j), p->tries->dno);
	vote(p, a && a->attempts >= p->tries_n, "an attempt was acknowledged and lost");
}

static uint64_t position_found(const struct ledger *l)
{
	const struct sb_slice *v = sb_map_get(&sb_journal_recovery(l->j)->positions, SB_SLICE("feed"));
	char text[32] = "0";

	if (v)
		snprintf(text, sizeof(text), "%.*s", SB_SLICE_ARG(*v));
	return strtoull(text, NULL, 10);
}

struct letters {
	struct ledger *l;
	struct put **put; /* by number; NULL: not dead, or seen */
};

static int see_letter(void *arg, const struct sb_dead_record *r, uint64_t seq)
{
	struct letters *s = arg;
	struct put *p;
	char id[16];
	unsigned number;

	snprintf(id, sizeof(id), "%.*s", SB_SLICE_ARG(r->id));
	number = (unsigned)strtoul(id, NULL, 10);
	p = number < s->l->n_puts ? s->put[number] : NULL;
	if (!p)
		ledger_broken(s->l, "a dead letter that nobody wrote, or twice", number);
	s->put[number] = NULL;
	if (p->fate == DURABLE && seq != p->a.seq + p->dead_at)
		ledger_broken(s->l, "a dead letter changed its number", seq);
	p->a.seq = seq - p->dead_at;
	vote(p, true, "");
	return 0;
}

static void judge_letters(struct ledger *l)
{
	struct letters s = { l, sb_xcalloc((l->n_puts + 1) * sizeof(struct put *)) };
	struct sb_err err;

	for (struct put *p = l->first; p; p = p->next)
		if (p->dead && !(p->fate == DURABLE && p->a.seq + p->dead_at <= l->released))
			s.put[p->number] = p;
	if (sb_recovery_dead(l->j, l->released, see_letter, &s, &err) < 0)
		ledger_broken(l, err.msg, 0);
	for (unsigned i = 0; i < l->n_puts; i++)
		if (s.put[i] && s.put[i]->fate != ABSENT)
			vote(s.put[i], false, "a dead letter was acknowledged and lost");
	free(s.put);
}

static void judge_put(struct ledger *l, struct put *p, uint64_t position)
{
	for (unsigned i = 0; i < p->n_events; i++)
		for (uint32_t k = 0; k < p->ev[i].n_owed; k++)
			if (p->fate != ABSENT)
				judge_due(&p->ev[i].due[k]);
	if (p->position && p->fate != ABSENT)
		vote(p, p->position <= position, "a position was acknowledged and lost");
	if (p->fate != ABSENT)
		judge_attempt(l, p);
}

/* ------------------------------------------------------------------------------------------------ sums */

struct sums {
	uint64_t events, maybe_events, accepted, delivered, dead;
	uint64_t owed[LEDGER_TARGETS];
};

static void sum_put(struct sums *s, const struct put *p)
{
	if (p->fate != DURABLE)
		return;
	s->events += p->n_events;
	s->delivered += p->finishes && !p->dead;
	s->dead += p->finishes && p->dead;
	for (unsigned i = 0; i < p->n_events; i++) {
		s->accepted += p->ev[i].n_owed;
		for (uint32_t k = 0; k < p->ev[i].n_owed; k++)
			s->owed[p->ev[i].due[k].target] += !p->ev[i].due[k].finish;
	}
}

static void want(const struct ledger *l, const char *what, uint64_t have, uint64_t should)
{
	if (have != should)
		fail_msg("%s: %s: %" PRIu64 ", should be %" PRIu64, l->where, what, have, should);
}

static void compare_audit(struct ledger *l, const struct sums *s)
{
	struct sb_audit a;
	struct sb_err err;

	if (sb_journal_audit(&l->disk->vfs, l->conf.dir, &a, &err) < 0)
		ledger_broken(l, err.msg, 0);
	if (!a.adds_up)
		ledger_broken(l, a.why_not, 0);
	/* of an append that owes nothing only the count tells whether it is there */
	if (a.events < s->events + l->lost_count || a.events > s->events + l->lost_count + s->maybe_events)
		want(l, "events by audit", a.events, s->events + l->lost_count);
	l->lost_count = a.events - s->events;
	want(l, "accepted by audit", a.accepted, s->accepted);
	want(l, "delivered by audit", a.delivered, s->delivered);
	want(l, "dead by audit", a.dead, s->dead);
	want(l, "in flight by audit", a.in_flight, s->accepted - s->delivered - s->dead);
	sb_audit_done(&a);
}

static void compare_recovery(struct ledger *l, const struct sums *s)
{
	const struct sb_recovery *r = sb_journal_recovery(l->j);

	for (unsigned i = 0; i < LEDGER_TARGETS; i++) {
		const struct sb_recovered_target *t = sb_map_get(&r->targets, sb_slice_str(ledger_target(i)));

		want(l, "outstanding of a target", t ? t->n : 0, s->owed[i]);
	}
	if (r->next_dno <= l->last_dno || r->next_seq <= l->last_seq)
		ledger_broken(l, "numbers go backwards", r->next_dno);
	want(l, "corrupt records", r->corrupt_records, 0);
}

/* ------------------------------------------------------------------------------------------------ all of it */

static void forget_what_was_seen(struct ledger *l)
{
	for (struct put *p = l->first; p; p = p->next) {
		p->vote = UNSEEN;
		for (unsigned i = 0; i < p->n_events; i++)
			for (uint32_t k = 0; k < p->ev[i].n_owed; k++)
				p->ev[i].due[k].seen = false;
	}
}

static void settle_all(struct ledger *l, struct sums *s)
{
	for (struct put *p = l->first; p; p = p->next) {
		if (p->fate == MAYBE && p->vote == UNSEEN)
			s->maybe_events += p->n_events;
		if (p->fate == MAYBE)
			ledger_settle(p, p->vote == THERE ? DURABLE : ABSENT);
	}
	for (unsigned i = 0; i < l->n_events; i++)
		for (uint32_t k = 0; k < l->event[i]->n_owed; k++)
			l->last_dno = SB_MAX(l->last_dno, l->event[i]->due[k].put->fate == DURABLE ? l->event[i]->due[k].dno : 0);
}

void ledger_compare(struct ledger *l)
{
	struct sums s = { 0 };
	uint64_t position = position_found(l);

	forget_what_was_seen(l);
	each_owed(l->j, see, l);
	judge_letters(l);
	for (struct put *p = l->first; p; p = p->next)
		judge_put(l, p, position);
	settle_all(l, &s);
	for (struct put *p = l->first; p; p = p->next)
		sum_put(&s, p);
	compare_audit(l, &s);
	compare_recovery(l, &s);
}
