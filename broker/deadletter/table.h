/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_DEADLETTER_TABLE_H
#define SB_DEADLETTER_TABLE_H

#include <sqlite3.h>
#include <stdatomic.h>

#include "broker/base/buf.h"
#include "broker/base/map.h"
#include "broker/deadletter/deadletter.h"

/* The open table, as this room sees it: the connection, its fixed statements, and the totals that any thread may read. */
enum letter_stmt {
	STMT_BEGIN, STMT_COMMIT, STMT_ROLLBACK,
	STMT_INSERT, STMT_AGAIN, STMT_DNO_OF, STMT_SET_SEQ,
	STMT_CLAIM, STMT_UNCLAIM, STMT_DELIVERED, STMT_REDRIVING,
	STMT_EXPIRE, STMT_TOTALS, STMT_SHRINK,
	STMT_COUNT_
};

struct sb_deadletters {
	sqlite3 *db;
	sqlite3_stmt *stmt[STMT_COUNT_];
	struct sb_deadletters_conf conf;
	atomic_uint_fast64_t letters, bytes, redriving; /* as of the last commit */
	uint64_t last_seq;
	uint64_t first_failed; /* lowest number that could not be stored and was not said again; UINT64_MAX: none */
	struct sb_buf scratch;
	struct sb_map shares; /* redrive -> struct letter_share *, of redrives with several deliveries, until the last has ended */
};

struct letter_share {
	uint64_t redrive;
	uint32_t left;
	bool died;
};
void letters_forget_shares(struct sb_deadletters *d);

/* What a row costs beside its texts and bytes; counted against max_bytes. */
#define LETTER_OVERHEAD 256
/* Earlier lives that a letter remembers; the oldest are forgotten first, `lives` counts on. */
#define LETTER_HISTORY 32

/* The columns of a life, in the order of their parameters from ?2 on; ?1 is the letter's id. */
#define LIFE_COLUMNS                                                                                                   \
	"dno, route, event_id, bus, origin, rule, target, generation, reason, error, exhausted, attempts, received_ms, " \
	"first_attempt_ms, last_attempt_ms, dead_ms, message, first_message, tail, event, input, delivery_id, seq, bytes"
#define LIFE_PARAMS \
	"?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25"
#define PARAM_SEQ "?24"

/* Fill err from what SQLite said last. Returns -1. */
int letters_fail(const struct sb_deadletters *d, struct sb_err *err, const char *what);
/* The fixed statement, reset and without bindings. */
sqlite3_stmt *letters_stmt(struct sb_deadletters *d, enum letter_stmt which);
/* Step a statement that gives no row, and reset it. */
int letters_run(struct sb_deadletters *d, sqlite3_stmt *s, struct sb_err *err, const char *what);

/* One transaction: begin, then commit, or rollback which keeps err. After a commit the totals are those of the table. */
int letters_begin(struct sb_deadletters *d, struct sb_err *err);
int letters_commit(struct sb_deadletters *d, struct sb_err *err);
int letters_rollback(struct sb_deadletters *d);
int letters_read_totals(struct sb_deadletters *d, struct sb_err *err);

const char *letters_error_name(uint8_t reason); /* enum sb_reason as stored: "TIMEOUT"; what we do not know: "UNKNOWN" */

#endif
