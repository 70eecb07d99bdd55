/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * Walking, counting and removing letters by a filter. The condition is put together from fixed texts, one for each field
 * that is set, and the values are bound: so SQLite may use its indexes, and nothing of the user's becomes SQL.
 */
#define SQL_MAX 2048
#define GROUPS_MAX 100000

/* The columns of a letter as each() reads them; read_letter takes them in this order. */
#define SELECT_COLUMNS                                                                                             \
	"n, id, state, lives, history, dno, route, event_id, bus, origin, rule, target, generation, reason, exhausted," \
	" attempts, received_ms, first_attempt_ms, last_attempt_ms, dead_ms, message, first_message, tail, event, input"

/* " WHERE ... ORDER BY n LIMIT ...", with a parameter for each value. */
static void add_where(struct sb_buf *sql, const struct sb_letter_filter *f)
{
	sb_buf_adds(sql, " WHERE n > :after");
	if (!f->redriving_too)
		sb_buf_adds(sql, " AND state = 0");
	if (f->id)
		sb_buf_adds(sql, " AND id = :id");
	if (f->target)
		sb_buf_adds(sql, " AND target = :target");
	if (f->rule)
		sb_buf_adds(sql, " AND rule = :rule");
	if (f->error)
		sb_buf_adds(sql, " AND error = :error");
	if (f->bus)
		sb_buf_adds(sql, " AND bus = :bus");
	if (f->older_than_ms)
		sb_buf_adds(sql, " AND dead_ms < :older");
	if (f->newer_than_ms)
		sb_buf_adds(sql, " AND dead_ms >= :newer");
	sb_buf_adds(sql, " ORDER BY n LIMIT :limit");
}

static void bind_str(sqlite3_stmt *s, const char *name, const char *value)
{
	int i = sqlite3_bind_parameter_index(s, name);

	if (i)
		sqlite3_bind_text(s, i, value, -1, SQLITE_STATIC);
}

static void bind_int(sqlite3_stmt *s, const char *name, uint64_t value)
{
	int i = sqlite3_bind_parameter_index(s, name);

	if (i)
		sqlite3_bind_int64(s, i, (sqlite3_int64)SB_MIN(value, INT64_MAX));
}

/* `before` + the filter + `after` as a statement with its values. */
static int prepare(struct sb_deadletters *d, const char *before, const struct sb_letter_filter *f, const char *after,
	sqlite3_stmt **ret, struct sb_err *err)
{
	struct sb_buf sql = SB_BUF(SQL_MAX);
	int r;

	sb_buf_adds(&sql, before);
	add_where(&sql, f);
	sb_buf_adds(&sql, after);
	r = sqlite3_prepare_v2(d->db, sql.p, (int)sql.len, ret, NULL);
	sb_buf_done(&sql);
	if (r != SQLITE_OK)
		return letters_fail(d, err, "filter");
	bind_int(*ret, ":after", f->after_rowid);
	bind_str(*ret, ":id", f->id);
	bind_str(*ret, ":target", f->target);
	bind_str(*ret, ":rule", f->rule);
	bind_str(*ret, ":error", f->error);
	bind_str(*ret, ":bus", f->bus);
	bind_int(*ret, ":older", f->older_than_ms);
	bind_int(*ret, ":newer", f->newer_than_ms);
	bind_int(*ret, ":limit", f->limit ? f->limit : INT64_MAX);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ walking */

static struct sb_slice column_slice(sqlite3_stmt *s, int i)
{
	const char *p = (const char *)sqlite3_column_text(s, i);

	return sb_slice(p ? p : "", (size_t)sqlite3_column_bytes(s, i));
}

static uint64_t column_u64(sqlite3_stmt *s, int i)
{
	return (uint64_t)sqlite3_column_int64(s, i);
}

static void read_letter(sqlite3_stmt *s, struct sb_letter *l)
{
	*l = (struct sb_letter){
		.rowid = column_u64(s, 0),
		.redriving = sqlite3_column_int(s, 2) != 0,
		.lives = (uint32_t)sqlite3_column_int(s, 3),
		.history = column_slice(s, 4),
		.rec = {
			.id = column_slice(s, 1),
			.dno = column_u64(s, 5),
			.route = (uint32_t)column_u64(s, 6),
			.event_id = column_slice(s, 7),
			.bus = column_slice(s, 8),
			.origin = column_slice(s, 9),
			.rule = column_slice(s, 10),
			.target = column_slice(s, 11),
			.generation = column_u64(s, 12),
			.reason = (uint8_t)sqlite3_column_int(s, 13),
			.exhausted = (uint8_t)sqlite3_column_int(s, 14),
			.attempts = (uint32_t)column_u64(s, 15),
			.received_ms = column_u64(s, 16),
			.first_attempt_ms = column_u64(s, 17),
			.last_attempt_ms = column_u64(s, 18),
			.dead_ms = column_u64(s, 19),
			.message = column_slice(s, 20),
			.first_message = column_slice(s, 21),
			.tail = column_slice(s, 22),
			.event = column_slice(s, 23),
			.input = column_slice(s, 24),
		},
	};
}

int sb_deadletters_each(struct sb_deadletters *d, const struct sb_letter_filter *f,
	int (*fn)(void *arg, const struct sb_letter *l), void *arg, struct sb_err *err)
{
	sqlite3_stmt *s = NULL;
	struct sb_letter l;
	int r, told = 0;

	if (prepare(d, "SELECT " SELECT_COLUMNS " FROM letter", f, "", &s, err) < 0)
		return -1;
	while ((r = sqlite3_step(s)) == SQLITE_ROW && told == 0) {
		read_letter(s, &l);
		told = fn(arg, &l);
	}
	if (r != SQLITE_ROW && r != SQLITE_DONE)
		told = letters_fail(d, err, "read");
	sqlite3_finalize(s);
	return told;
}

/* ------------------------------------------------------------------------------------------------ counting */

static void copy_name(char *to, size_t size, sqlite3_stmt *s, int column)
{
	struct sb_slice name = column_slice(s, column);

	snprintf(to, size, "%.*s", SB_SLICE_ARG(name));
}

static void read_count(sqlite3_stmt *s, struct sb_letter_count *c)
{
	copy_name(c->target, sizeof(c->target), s, 0);
	copy_name(c->rule, sizeof(c->rule), s, 1);
	copy_name(c->error, sizeof(c->error), s, 2);
	c->n = column_u64(s, 3);
	c->bytes = column_u64(s, 4);
	c->oldest_ms = column_u64(s, 5);
	c->newest_ms = column_u64(s, 6);
}

int sb_deadletters_count(struct sb_deadletters *d, const struct sb_letter_filter *f, struct sb_letter_count **ret,
	size_t *n, struct sb_err *err)
{
	struct sb_letter_count *groups = NULL;
	sqlite3_stmt *s = NULL;
	size_t used = 0, cap = 0;
	int r;

	if (prepare(d, "SELECT target, rule, error, count(*), sum(bytes), min(dead_ms), max(dead_ms) FROM (SELECT * FROM letter",
		    f, ") GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3", &s, err) < 0)
		return -1;
	while ((r = sqlite3_step(s)) == SQLITE_ROW && used < GROUPS_MAX) {
		if (used == cap) {
			cap = cap ? 2 * cap : 16;
			groups = sb_xrealloc(groups, cap * sizeof(*groups));
		}
		read_count(s, &groups[used++]);
	}
	if (r != SQLITE_ROW && r != SQLITE_DONE) {
		letters_fail(d, err, "count");
		sqlite3_finalize(s);
		free(groups);
		return -1;
	}
	sqlite3_finalize(s);
	*ret = groups;
	*n = used;
	return 0;
}

/* ------------------------------------------------------------------------------------------------ removing */

/* Run one DELETE in its own transaction, count what went, and give free pages back to the file system. */
static int remove_letters(struct sb_deadletters *d, sqlite3_stmt *s, uint64_t *ret_n, struct sb_err *err)
{
	if (letters_begin(d, err) < 0)
		return -1;
	if (letters_run(d, s, err, "remove") < 0)
		return letters_rollback(d);
	*ret_n = (uint64_t)sqlite3_changes(d->db);
	if (letters_run(d, letters_stmt(d, STMT_SHRINK), err, "shrink") < 0)
		return letters_rollback(d);
	return letters_commit(d, err);
}

int sb_deadletters_purge(struct sb_deadletters *d, const struct sb_letter_filter *f, uint64_t *ret_n, struct sb_err *err)
{
	sqlite3_stmt *s = NULL;
	int r;

	if (prepare(d, "DELETE FROM letter WHERE n IN (SELECT n FROM letter", f, ")", &s, err) < 0)
		return -1;
	r = remove_letters(d, s, ret_n, err);
	sqlite3_finalize(s);
	return r;
}

int sb_deadletters_expire(struct sb_deadletters *d, uint64_t now_ms, uint64_t *ret_n, struct sb_err *err)
{
	sqlite3_stmt *s = letters_stmt(d, STMT_EXPIRE);

	*ret_n = 0;
	if (now_ms <= d->conf.keep_ms)
		return 0;
	sqlite3_bind_int64(s, 1, (sqlite3_int64)(now_ms - d->conf.keep_ms));
	return remove_letters(d, s, ret_n, err);
}
