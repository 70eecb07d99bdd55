/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <stdlib.h>

#include "broker/base/fault.h"

/*
 * The database file. Its schema version stands in user_version and whose file it is in application_id: what is newer, or
 * somebody else's, is refused untouched. WAL with synchronous FULL: a commit that returned is on the disk.
 *
 * `totals` is one row that triggers keep: letters, their bytes, how many are being redriven, and the journal's number
 * up to which DEAD records are stored. So the accounts are right by construction, also after an operator has been at the
 * file with sqlite3, and reading them costs one row. Dead letters come and go in bulk, so freed pages are given back to
 * the file system behind every purge and expiry (auto_vacuum = incremental), a bounded number at a time.
 *
 * One connection, one thread: only the totals are shared, as relaxed atomics, because nothing else is read through them.
 */
#define SCHEMA_VERSION 1
#define APPLICATION_ID 0x53424458 /* "SBDX" */
#define BUSY_MS 5000
#define SHRINK_PAGES 4096 /* given back at once at most; the next expiry goes on */
#define TO_TEXT_(x) #x
#define TO_TEXT(x) TO_TEXT_(x)

static const char schema[] =
	"BEGIN IMMEDIATE;"
	"CREATE TABLE letter ("
	"  n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, state INTEGER NOT NULL DEFAULT 0," /* 1: redriving */
	"  lives INTEGER NOT NULL DEFAULT 1, history TEXT NOT NULL DEFAULT '[]', dno INTEGER NOT NULL, route INTEGER NOT NULL,"
	"  event_id TEXT NOT NULL, bus TEXT NOT NULL, origin TEXT NOT NULL, rule TEXT NOT NULL, target TEXT NOT NULL,"
	"  generation INTEGER NOT NULL, reason INTEGER NOT NULL, error TEXT NOT NULL, exhausted INTEGER NOT NULL,"
	"  attempts INTEGER NOT NULL, received_ms INTEGER NOT NULL, first_attempt_ms INTEGER NOT NULL,"
	"  last_attempt_ms INTEGER NOT NULL, dead_ms INTEGER NOT NULL, message TEXT NOT NULL, first_message TEXT NOT NULL,"
	"  tail TEXT NOT NULL, event TEXT NOT NULL, input TEXT NOT NULL, delivery_id TEXT NOT NULL, seq INTEGER NOT NULL,"
	"  bytes INTEGER NOT NULL);"
	"CREATE INDEX letter_target ON letter (target);"
	"CREATE INDEX letter_dead_ms ON letter (dead_ms);"
	"CREATE INDEX letter_redriving ON letter (id) WHERE state = 1;"
	"CREATE TABLE totals (one INTEGER PRIMARY KEY CHECK (one = 1), letters INTEGER NOT NULL, bytes INTEGER NOT NULL,"
	"  redriving INTEGER NOT NULL, last_seq INTEGER NOT NULL);"
	"INSERT INTO totals VALUES (1, 0, 0, 0, 0);"
	"CREATE TRIGGER letter_added AFTER INSERT ON letter BEGIN"
	"  UPDATE totals SET letters = letters + 1, bytes = bytes + new.bytes, redriving = redriving + new.state; END;"
	"CREATE TRIGGER letter_gone AFTER DELETE ON letter BEGIN"
	"  UPDATE totals SET letters = letters - 1, bytes = bytes - old.bytes, redriving = redriving - old.state; END;"
	"CREATE TRIGGER letter_changed AFTER UPDATE OF state, bytes ON letter BEGIN"
	"  UPDATE totals SET bytes = bytes + new.bytes - old.bytes, redriving = redriving + new.state - old.state; END;"
	"PRAGMA application_id = " TO_TEXT(APPLICATION_ID) ";"
	"PRAGMA user_version = " TO_TEXT(SCHEMA_VERSION) ";"
	"COMMIT;";

/* In an UPDATE the right-hand sides see the row as it was: the life that ends here goes into the history. */
#define PAST_LIFE                                                                                                    \
	"json_object('died', strftime('%Y-%m-%dT%H:%M:%fZ', dead_ms / 1000.0, 'unixepoch'), 'delivery_id', delivery_id," \
	" 'attempts', attempts, 'error_code', error, 'message', message, 'generation', generation)"

static const char *const sql[STMT_COUNT_] = {
	[STMT_BEGIN] = "BEGIN IMMEDIATE",
	[STMT_COMMIT] = "COMMIT",
	[STMT_ROLLBACK] = "ROLLBACK",
	[STMT_INSERT] = "INSERT INTO letter (id, " LIFE_COLUMNS ") VALUES (?1, " LIFE_PARAMS ") ON CONFLICT (id) DO NOTHING",
	[STMT_AGAIN] = "UPDATE letter SET (" LIFE_COLUMNS ") = (" LIFE_PARAMS "), state = 0, lives = lives + 1,"
		" history = json_insert(CASE WHEN json_array_length(history) < " TO_TEXT(LETTER_HISTORY)
		" THEN history ELSE json_remove(history, '$[0]') END, '$[#]', " PAST_LIFE ")"
		" WHERE id = ?1 AND seq < " PARAM_SEQ,
	[STMT_DNO_OF] = "SELECT dno FROM letter WHERE id = ?1",
	[STMT_SET_SEQ] = "UPDATE totals SET last_seq = max(last_seq, ?1)",
	[STMT_CLAIM] = "UPDATE letter SET state = 1 WHERE id = ?1 AND state = 0",
	[STMT_UNCLAIM] = "UPDATE letter SET state = 0 WHERE id = ?1 AND state = 1",
	[STMT_DELIVERED] = "DELETE FROM letter WHERE id = ?1",
	[STMT_REDRIVING] = "SELECT id FROM letter WHERE state = 1",
	[STMT_EXPIRE] = "DELETE FROM letter WHERE dead_ms < ?1 AND state = 0",
	[STMT_TOTALS] = "SELECT letters, bytes, redriving, last_seq FROM totals",
	[STMT_SHRINK] = "PRAGMA incremental_vacuum(" TO_TEXT(SHRINK_PAGES) ")",
};

int letters_fail(const struct sb_deadletters *d, struct sb_err *err, const char *what)
{
	enum sb_code code;

	switch (sqlite3_errcode(d->db) & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED: code = SB_E_BUSY; break;
	case SQLITE_FULL: code = SB_E_FULL; break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: code = SB_E_CORRUPT; break;
	default: code = SB_E_IO; break;
	}
	return sb_fail(err, code, "dead letters: %s: %s", what, sqlite3_errmsg(d->db));
}

/* ------------------------------------------------------------------------------------------------ statements */

sqlite3_stmt *letters_stmt(struct sb_deadletters *d, enum letter_stmt which)
{
	sqlite3_reset(d->stmt[which]);
	sqlite3_clear_bindings(d->stmt[which]);
	return d->stmt[which];
}

int letters_run(struct sb_deadletters *d, sqlite3_stmt *s, struct sb_err *err, const char *what)
{
	int r;

	do
		r = sqlite3_step(s);
	while (r == SQLITE_ROW); /* incremental_vacuum gives one a page */
	if (r != SQLITE_DONE)
		letters_fail(d, err, what);
	sqlite3_reset(s);
	return r == SQLITE_DONE ? 0 : -1;
}

int letters_begin(struct sb_deadletters *d, struct sb_err *err)
{
	return letters_run(d, letters_stmt(d, STMT_BEGIN), err, "begin");
}

int letters_rollback(struct sb_deadletters *d)
{
	if (!sqlite3_get_autocommit(d->db)) /* some errors have rolled back already */
		letters_run(d, letters_stmt(d, STMT_ROLLBACK), NULL, "rollback");
	return -1;
}

int letters_commit(struct sb_deadletters *d, struct sb_err *err)
{
	SB_FAULT("deadletter.before_commit");
	if (SB_FAULT_ERR("deadletter.commit")) {
		sb_fail(err, SB_E_IO, "dead letters: commit: fault point");
		return letters_rollback(d);
	}
	if (letters_run(d, letters_stmt(d, STMT_COMMIT), err, "commit") < 0)
		return letters_rollback(d);
	SB_FAULT("deadletter.after_commit");
	return letters_read_totals(d, err);
}

int letters_read_totals(struct sb_deadletters *d, struct sb_err *err)
{
	sqlite3_stmt *s = letters_stmt(d, STMT_TOTALS);

	if (sqlite3_step(s) != SQLITE_ROW)
		return letters_fail(d, err, "totals");
	atomic_store_explicit(&d->letters, (uint64_t)sqlite3_column_int64(s, 0), memory_order_relaxed);
	atomic_store_explicit(&d->bytes, (uint64_t)sqlite3_column_int64(s, 1), memory_order_relaxed);
	atomic_store_explicit(&d->redriving, (uint64_t)sqlite3_column_int64(s, 2), memory_order_relaxed);
	d->last_seq = (uint64_t)sqlite3_column_int64(s, 3);
	sqlite3_reset(s);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ opening */

static int pragma_int(struct sb_deadletters *d, const char *pragma, int *ret, struct sb_err *err)
{
	sqlite3_stmt *s = NULL;
	int r = sqlite3_prepare_v2(d->db, pragma, -1, &s, NULL);

	if (r == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
		*ret = sqlite3_column_int(s, 0);
	else
		r = letters_fail(d, err, "open");
	sqlite3_finalize(s);
	return r == SQLITE_OK ? 0 : -1;
}

static int exec(struct sb_deadletters *d, const char *text, struct sb_err *err)
{
	return sqlite3_exec(d->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : letters_fail(d, err, "open");
}

static int create(struct sb_deadletters *d, struct sb_err *err)
{
	/* auto_vacuum counts only before the first table */
	if (exec(d, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;", err) < 0)
		return -1;
	return exec(d, schema, err);
}

/* Whose file is it, and can we read it? A new one is made unless it is only to be read. */
static int check_file(struct sb_deadletters *d, const char *path, bool read_only, struct sb_err *err)
{
	int version = 0, application = 0, tables = 0;

	if (pragma_int(d, "PRAGMA user_version", &version, err) < 0 ||
		pragma_int(d, "PRAGMA application_id", &application, err) < 0 ||
		pragma_int(d, "SELECT count(*) FROM sqlite_schema", &tables, err) < 0)
		return -1;
	if (version == 0 && application == 0 && tables == 0) {
		if (!read_only)
			return create(d, err);
		return sb_fail(err, SB_E_MISSING, "%s holds no table of dead letters yet", path);
	}
	if (application != APPLICATION_ID)
		return sb_fail(err, SB_E_CORRUPT, "%s is an SQLite file, but not a table of dead letters", path);
	if (version != SCHEMA_VERSION) {
		sb_fail(err, SB_E_VERSION, "%s has schema version %d, this program reads %d", path, version, SCHEMA_VERSION);
		return sb_hint(err, "use the version of signalbox that wrote it, or a newer one");
	}
	return 0;
}

static int connect(struct sb_deadletters *d, const char *path, bool read_only, struct sb_err *err)
{
	int flags = SQLITE_OPEN_NOMUTEX | (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
	int r = sqlite3_open_v2(path, &d->db, flags, NULL);

	if (r != SQLITE_OK && read_only && (r & 0xff) == SQLITE_CANTOPEN)
		return sb_fail(err, SB_E_MISSING, "no dead letters can be read at %s", path);
	if (r != SQLITE_OK)
		return letters_fail(d, err, path);
	sqlite3_extended_result_codes(d->db, 1);
	sqlite3_busy_timeout(d->db, BUSY_MS);
	if (exec(d, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;", err) < 0 ||
		check_file(d, path, read_only, err) < 0)
		return -1;
	if (read_only)
		return 0;
	return exec(d, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216;", err);
}

static int prepare(struct sb_deadletters *d, struct sb_err *err)
{
	for (size_t i = 0; i < STMT_COUNT_; i++)
		if (sqlite3_prepare_v3(d->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &d->stmt[i], NULL) != SQLITE_OK)
			return letters_fail(d, err, "prepare");
	return 0;
}

int sb_deadletters_open(const char *path, bool read_only, const struct sb_deadletters_conf *conf,
	struct sb_deadletters **ret, struct sb_err *err)
{
	struct sb_deadletters *d = sb_xcalloc(sizeof(*d));

	d->conf = *conf;
	d->first_failed = UINT64_MAX;
	sb_buf_init(&d->scratch, 1u << 20);
	if (connect(d, path, read_only, err) < 0 || prepare(d, err) < 0 || letters_read_totals(d, err) < 0) {
		sb_deadletters_close(d);
		return -1;
	}
	*ret = d;
	return 0;
}

void sb_deadletters_close(struct sb_deadletters *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < STMT_COUNT_; i++)
		sqlite3_finalize(d->stmt[i]);
	sqlite3_close(d->db);
	sb_buf_done(&d->scratch);
	letters_forget_shares(d);
	free(d);
}

/* ------------------------------------------------------------------------------------------------ totals */

bool sb_deadletters_room(const struct sb_deadletters *d, uint64_t bytes)
{
	uint64_t used = atomic_load_explicit(&d->bytes, memory_order_relaxed) + LETTER_OVERHEAD;

	return used <= d->conf.max_bytes && bytes <= d->conf.max_bytes - used;
}

void sb_deadletters_get_stats(const struct sb_deadletters *d, struct sb_deadletters_stats *ret)
{
	ret->letters = atomic_load_explicit(&d->letters, memory_order_relaxed);
	ret->bytes = atomic_load_explicit(&d->bytes, memory_order_relaxed);
	ret->redriving = atomic_load_explicit(&d->redriving, memory_order_relaxed);
}

int sb_deadletters_last_seq(struct sb_deadletters *d, uint64_t *ret, struct sb_err *err)
{
	if (letters_read_totals(d, err) < 0) /* a reader beside a writer sees what is there now */
		return -1;
	*ret = SB_MIN(d->last_seq, d->first_failed - 1);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ error codes */

/* The stored numbers are those of enum sb_reason, which this room does not see; a test holds the two tables together. */
const char *letters_error_name(uint8_t reason)
{
	static const char *const names[] = {
		"", "CONNECTION_FAILURE", "ERROR_FROM_TARGET", "INTERNAL_ERROR", "INVALID_JSON", "INVALID_PARAMETER",
		"NO_PERMISSIONS", "NO_RESOURCE", "RESOURCE_LIMIT_EXCEEDED", "SDK_CLIENT_ERROR", "THROTTLING", "TIMEOUT",
		"UNKNOWN", "LOOP_DETECTED", "QUEUE_FULL", "TARGET_REMOVED",
	};

	return reason < SB_LEN(names) ? names[reason] : "UNKNOWN";
}
