/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_DEADLETTER_DEADLETTER_H
#define SB_DEADLETTER_DEADLETTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/buf.h"
#include "broker/base/err.h"
#include "broker/journal/record.h"

/*
 * The table of dead letters, in SQLite: one connection, WAL, synchronous FULL. The DEAD record is in the journal first;
 * then the row, by INSERT OR IGNORE on the delivery id; the same transaction stores the record's sequence number, so that
 * a restart knows which DEAD records are missing here. Synchronous calls: the daemon makes them on one thread of its own,
 * the command line directly when no daemon holds the data folder.
 *
 * A letter is `dead`, or `redriving` (marked, hidden from a second redrive). Delivered: it goes. Dead again: it comes
 * back with its history, one entry a life.
 */
struct sb_deadletters;

struct sb_deadletters_conf {
	uint64_t keep_ms;    /* letters older than this expire; default 14 d */
	uint64_t max_bytes;  /* of stored letters, default 1 GiB; at the limit the target is held */
};

/*
 * Opens, and makes a file that is not there. read_only works beside a daemon that writes; without a file, or before the
 * first open for writing, it is SB_E_MISSING: there are no letters. SB_E_VERSION: written by a newer program, left as it
 * is. The table is used by one thread at a time.
 */
int sb_deadletters_open(const char *path, bool read_only, const struct sb_deadletters_conf *conf,
	struct sb_deadletters **ret, struct sb_err *err);
void sb_deadletters_close(struct sb_deadletters *d);

/*
 * Store several in one transaction; seq[i] is the journal's number of rec[i]. Already there: nothing happens. A record
 * with `redrive_of` gives that letter one more life under its old id; when another delivery of the same redrive, or a later
 * redrive, was first, it is a letter of its own. A forwarded one is not stored: its new life is the dead-letter target's.
 * Records must come in the order of the journal: one that is overtaken would not be sent again after a crash.
 */
int sb_deadletters_store(struct sb_deadletters *d, const struct sb_dead_record *rec, const uint64_t *seq, size_t n,
	struct sb_err *err);
/*
 * Every record up to this number is stored: where a restart goes on, and what sb_journal_released may be told. It stays below
 * the first record whose storing failed, until that is said again with success, or the table opened again.
 */
int sb_deadletters_last_seq(struct sb_deadletters *d, uint64_t *ret, struct sb_err *err);
/* The reserve check that is made before a delivery may die: false: at max_bytes. Any thread (atomic). */
bool sb_deadletters_room(const struct sb_deadletters *d, uint64_t bytes);

struct sb_letter_filter {
	const char *id, *target, *rule, *error, *bus; /* NULL: any; error is a code: "TIMEOUT" */
	uint64_t older_than_ms, newer_than_ms;        /* wall times of death: before, at or after; 0: any */
	uint64_t limit;                               /* 0: no limit */
	uint64_t after_rowid;                         /* continue behind this row */
	bool redriving_too;
};

struct sb_letter {
	uint64_t rowid;
	struct sb_dead_record rec;  /* borrowed until the callback returns */
	bool redriving;
	uint32_t lives;             /* 1: died once */
	struct sb_slice history;    /* JSON array of earlier lives */
};
/* Oldest first. Stops when fn returns non-zero and returns that. -1: error. fn may change the table. */
int sb_deadletters_each(struct sb_deadletters *d, const struct sb_letter_filter *f,
	int (*fn)(void *arg, const struct sb_letter *l), void *arg, struct sb_err *err);

struct sb_letter_count {
	char target[72], rule[72], error[40];
	uint64_t n, bytes, oldest_ms, newest_ms;
};
/* Grouped by target, rule and error. *ret is freed by free(). */
int sb_deadletters_count(struct sb_deadletters *d, const struct sb_letter_filter *f, struct sb_letter_count **ret,
	size_t *n, struct sb_err *err);

int sb_letter_count_json(const struct sb_letter_count *c, struct sb_buf *out); /* one JSON object */

/* Claim for redrive: dead -> redriving. *ret false: not there or already claimed. */
int sb_deadletters_claim(struct sb_deadletters *d, struct sb_slice id, bool *ret, struct sb_err *err);
int sb_deadletters_unclaim(struct sb_deadletters *d, struct sb_slice id, struct sb_err *err);
/*
 * The redrive was delivered: the letter goes. Not there: nothing happens. seq is the journal's number of the RESULT, which counts
 * as stored from now on like that of a DEAD record, in the same order; 0: what a restart found, which counts it itself.
 */
int sb_deadletters_delivered(struct sb_deadletters *d, struct sb_slice id, uint64_t seq, struct sb_err *err);
/*
 * One delivery of a redrive has ended. Today's rules may have owed several: the letter goes with the last of them, and not at all
 * when one has died, which is a life of the letter (sb_deadletters_store). Each is told once; one that failed (-1) may be told again.
 */
struct sb_redrive_end {
	struct sb_slice letter;
	uint64_t redrive; /* number of its first delivery: which redrive it is */
	uint32_t owed;    /* deliveries that it made */
	bool died;        /* its DEAD record is stored; else delivered, or passed on */
	uint64_t seq;     /* of its record */
};
int sb_deadletters_ended(struct sb_deadletters *d, const struct sb_redrive_end *e, struct sb_err *err);
/* After recovery: so many deliveries of this redrive are still to come; died: one of the others has. */
void sb_deadletters_expect(struct sb_deadletters *d, uint64_t redrive, uint32_t left, bool died);
/* After recovery: every `redriving` letter that is not in the given list goes back to dead. */
int sb_deadletters_reconcile(struct sb_deadletters *d, const struct sb_slice *pending, size_t n, struct sb_err *err);
int sb_deadletters_purge(struct sb_deadletters *d, const struct sb_letter_filter *f, uint64_t *ret_n, struct sb_err *err);
/* Drop what is older than keep; *ret_n is counted by the caller. */
int sb_deadletters_expire(struct sb_deadletters *d, uint64_t now_ms, uint64_t *ret_n, struct sb_err *err);

struct sb_deadletters_stats {
	uint64_t letters, bytes, redriving;
};
void sb_deadletters_get_stats(const struct sb_deadletters *d, struct sb_deadletters_stats *ret); /* any thread */

/*
 * One letter as the members of a JSON object (no braces), on one line: id, event_id, bus, origin, rule, target, state, lives,
 * attempts, generation, error_code, error, first_error, received, first_attempt, last_attempt, died, and `attributes` with
 * EventBridge's names (RULE_ARN ... RETRY_ATTEMPTS). `full` adds stderr_tail, history, event and input; an event that is no
 * JSON is a string. -1: the buffer's cap.
 */
int sb_letter_json(const struct sb_letter *l, bool full, struct sb_buf *out);

#endif
