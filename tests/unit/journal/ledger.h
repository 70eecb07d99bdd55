/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_UNIT_JOURNAL_LEDGER_H
#define SB_TESTS_UNIT_JOURNAL_LEDGER_H

#include "broker/journal/journal.h"
#include "tests/support/simdisk.h"

/*
 * A journal on a simulated disk, and beside it a ledger of everything that was asked of it and what it answered. After every
 * restart the two are compared: what came back DURABLE is there, once and whole; what came back FULL is not; what was on its
 * way when the power went is there wholly or not at all, and from then on counts as one or the other.
 */
enum fate { FLYING, DURABLE, MAYBE, ABSENT };
enum vote { UNSEEN, THERE, NOT_THERE };

/* One delivery owed. */
struct due {
	struct sb_handover h;
	struct put *put, *finish; /* that owes it; that holds its outcome, NULL: none */
	unsigned target;
	uint32_t ordinal;
	uint64_t dno;      /* 0: not known */
	uint32_t tried;    /* ATTEMPTs written so far, counted also when they were lost */
	bool home, seen;
};

struct happening {
	unsigned number;
	uint32_t sum, n_owed; /* checksum of its text */
	struct due *due;
};

/* One append: up to three events, an ATTEMPT, an outcome, a position, in this order. */
#define PUT_EVENTS 3
struct put {
	struct sb_append a;
	struct ledger *ledger;
	struct put *next;
	unsigned number;
	enum fate fate;
	enum vote vote;
	struct happening ev[PUT_EVENTS];
	unsigned n_events, n_frames;
	struct due *tries, *finishes;
	uint32_t tries_n;
	bool dead;
	uint64_t dead_at, position; /* frame of the DEAD within the append; 0: no position */
};

#define LEDGER_TARGETS 4
struct ledger {
	struct simdisk *disk;
	struct sb_fake_clock clock;
	struct sb_journal_conf conf;
	struct sb_journal *j; /* NULL: closed */
	struct sb_mailbox home;
	struct sb_rand rand;
	struct put *first, **tail;
	struct due **open; /* owed, home, without outcome */
	size_t n_open, cap_open;
	struct happening **event; /* by number */
	unsigned n_events, n_puts;
	uint64_t last_dno, last_seq, positions, released, lost_count;
	uint64_t durable, full, failed; /* answers so far */
	bool fatal;
	char where[128]; /* for the message when a promise is broken */
};

void ledger_init(struct ledger *l, uint64_t seed);
void ledger_done(struct ledger *l);

/* Opens and compares. -1: the journal could not be opened. */
int ledger_open(struct ledger *l);
void ledger_close(struct ledger *l);
/* The power goes now, if it has not already, and comes back; the journal is closed. */
void ledger_crash(struct ledger *l, uint64_t seed, bool harsh);
/* The process is killed, the machine goes on. */
void ledger_kill(struct ledger *l);

struct put *ledger_put_events(struct ledger *l, unsigned events, unsigned most_owed, size_t most_bytes);
struct put *ledger_put_large(struct ledger *l, size_t bytes); /* one event of at least this size */
struct put *ledger_put_outcome(struct ledger *l, struct due *d, bool dead);
struct put *ledger_put_position(struct ledger *l);
struct put *ledger_put_impatient(struct ledger *l); /* a position that would rather be refused than wait */
struct put *ledger_put_unknown(struct ledger *l, uint8_t flags); /* a record of a type that does not exist yet */
/* A random append out of everything there is. */
void ledger_put_any(struct ledger *l);
void ledger_commit(struct ledger *l); /* until nothing is queued */
/* Appends and commits, `rounds` times, until the journal or the power fails. */
void ledger_play(struct ledger *l, unsigned rounds);
void ledger_release_dead(struct ledger *l);

#endif
