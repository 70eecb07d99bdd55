/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SIMULATION_LEDGER_H
#define SB_TESTS_SIMULATION_LEDGER_H

#include "broker/config.h"
#include "broker/core.h"

/*
 * What must be true, kept outside of the broker. It hears what was sent and acknowledged, what workers were asked, how attempts
 * ended, and, from the disk alone, which records are durable; it holds each against the others, at every step, and writes
 * the trace. What breaks a promise fails the test there and then.
 */
enum ledger_end { END_OPEN, END_DELIVERED, END_DEAD };

/* How a delivery must end, by its target: see ledger_fates in play.c. */
enum ledger_fate {
	FATE_DELIVERED,
	FATE_REJECTED,  /* dead at its first attempt */
	FATE_EXHAUSTED, /* dead, by count or by age */
	FATE_COUNT,     /* dead by count */
	FATE_AGE,       /* dead by age */
	FATE_UNREACHED, /* dead by age, without an attempt */
	FATE_NO_ROOM,   /* delivered, or dead on arrival: its queue was full */
};

struct ledger_event {
	unsigned n, times; /* fails this often, then succeeds */
	unsigned bytes;    /* of padding */
	const char *to, *first, *key;
	uint64_t at_ns;    /* to be sent; those of the same moment are one group */
	bool held;         /* its source keeps it until it is settled, else it is acknowledged once durable */
	bool accepted, durable, settled;
	char receipt[SB_UUID_TEXT + 1]; /* of the last time that it was handed over */
};

/* One EVENT record: an event that was sent, or one that came of it over a bus or as a dead letter. */
struct ledger_record {
	struct ledger_event *ev;
	uint64_t seq, first_dno;
	uint32_t n_owed;
	bool direct; /* delivered while its source held it: a DIRECT record, which owes nothing */
	bool durable;
	char receipt[SB_UUID_TEXT + 1];
};

struct ledger_delivery {
	const struct ledger_event *ev;
	const char *rule, *target, *origin; /* interned */
	char id[SB_UUID_TEXT + 12];
	uint64_t dno, received_ms, durable_ns;
	bool durable;                      /* its event is, or its outcome */
	bool held;                         /* its event was handed over: it may be tried from memory */
	enum ledger_end end, maybe_end, durable_end;
	/* Attempts that were counted: in memory, in records that were written, in records that were synced. */
	unsigned tries, maybe_tries, durable_tries;
	uint64_t due_ms;                   /* earliest time of attempt durable_tries + 1; 0: none was recorded */
	unsigned asked_attempt;            /* the worker's last: which, and when */
	uint64_t asked_ms;
	unsigned successes;                /* reported by workers, over all lives */
	bool letter;                       /* a dead letter on its way to a dead-letter target */
};

struct ledger {
	const struct sb_fake_clock *clock;
	const struct sb_config *config;
	uint64_t begin_ns;
	struct ledger_event *event;
	size_t n_events;
	struct ledger_delivery *delivery;
	size_t n_deliveries, cap;
	struct ledger_record *record;
	size_t n_records;
	struct sb_buf trace;
	bool clean;         /* the next life follows a clean stop */
	bool deaf;          /* the broker is being taken down after a crash: nothing that it does counts */
	unsigned crashes, restarts;
	char where[160];    /* for failures: seed, shards */
	/* Durable records since the first start, and outcomes in this life. */
	uint64_t events, unmatched, letters_kept;
	struct {
		uint64_t delivered, dead, began_ms;
	} life;
	/* Back-off at the cap, over all: is it even in 0 .. cap? */
	uint64_t capped, capped_low, capped_high;
};

/* By the journal; by the dispatch. */
static inline bool ledger_recorded(const struct ledger_delivery *d)
{
	return d->durable && d->end == END_OPEN;
}

static inline bool ledger_owes(const struct ledger_delivery *d)
{
	return (d->durable || d->held) && d->end == END_OPEN;
}

void ledger_done(struct ledger *l);
void ledger_broken(struct ledger *l, const char *fmt, ...) SB_PRINTF(2, 3) __attribute__((noreturn));
void ledger_say(struct ledger *l, const char *fmt, ...) SB_PRINTF(2, 3);

const char *ledger_label(const struct ledger_delivery *d); /* "e12/work", until the call after the next */
struct ledger_delivery *ledger_by_id(struct ledger *l, struct sb_slice id);

/* From the disk: sb_watchdisk's. */
void ledger_written(void *arg, uint64_t off, struct sb_slice bytes);
void ledger_durable(void *arg, uint64_t off, struct sb_slice bytes);
/* From the source. */
void ledger_accepted(struct ledger *l, struct ledger_event *ev);
void ledger_handed(struct ledger *l, struct ledger_event *ev, const struct sb_uuid *receipt);
void ledger_settled_at_source(struct ledger *l, struct ledger_event *ev);
/* From the workers. id n 0: an exec command, known by what it was given. */
struct ledger_delivery *ledger_request(struct ledger *l, struct sb_slice id, struct sb_slice text, unsigned *ret_attempt);
/* From the dispatch, before it has acted on it. */
void ledger_settled(struct ledger *l, const struct sb_delivery *dl, const struct sb_result *r);

/* What the next life found on the disk, and how many events an audit counts there. */
void ledger_recovered(struct ledger *l, const struct sb_recovery *rec, uint64_t events);

/* What may be asked and compared. */
bool ledger_owes_any(const struct ledger *l);
void ledger_check_audit(struct ledger *l, const struct sb_audit *a);
void ledger_check_letter(struct ledger *l, const struct sb_letter *letter);
void ledger_check_all_ended(struct ledger *l); /* and each as it must */
/* One line for each event that is sent and each way it goes, with how it ended there; the same for every history of a play. */
void ledger_ends(struct ledger *l, struct sb_buf *out);

#endif
