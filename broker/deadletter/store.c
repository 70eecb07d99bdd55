/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <stdlib.h>

#include "broker/base/json.h"
#include "broker/base/map.h"

/*
 * What happens to a letter. A DEAD record may come here more than once (a restart sends again what the table may have
 * missed), so everything is idempotent: a first life by the letter's id, a further life by the record's number in the
 * journal, which only grows.
 *
 *            DEAD                     claim                    delivered
 *   (none) ────────> dead, life 1 ─────────────> redriving ─────────────────> (gone)
 *                        ^  ^ unclaim, reconcile   │
 *                        │  └──────────────────────┤
 *                        └─────────────────────────┘ DEAD with redrive_of: life + 1, the one before goes into history
 *
 * A redrive by today's rules may make several deliveries. "delivered" is then the last of them, with none that died; the first
 * that dies is the letter's next life, every further one a letter of its own. How many are left is only in memory: a restart
 * counts them from the journal (sb_deadletters_expect).
 */

static void bind_text(sqlite3_stmt *s, int i, struct sb_slice t)
{
	sqlite3_bind_text64(s, i, t.p ? t.p : "", t.n, SQLITE_STATIC, SQLITE_UTF8);
}

/* Text from outside, for people: what is not UTF-8, and NUL, becomes U+FFFD, so that it can be shown and put into JSON. */
static void bind_message(struct sb_deadletters *d, sqlite3_stmt *s, int i, struct sb_slice t, size_t max)
{
	struct sb_buf *b = &d->scratch;
	size_t end = SB_MIN(t.n, max), from = 0;

	sb_buf_clear(b);
	while (from < end) {
		size_t good = sb_utf8_check(t.p + from, end - from);
		const char *nul = memchr(t.p + from, '\0', good);

		if (nul)
			good = (size_t)(nul - t.p) - from;
		sb_buf_add(b, t.p + from, good);
		from += good;
		if (from < end) {
			sb_buf_adds(b, "\xef\xbf\xbd");
			from++;
		}
	}
	sqlite3_bind_text64(s, i, b->len ? b->p : "", b->len, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static uint64_t letter_bytes(const struct sb_dead_record *r)
{
	return LETTER_OVERHEAD + r->id.n + r->event_id.n + r->bus.n + r->origin.n + r->rule.n + r->target.n + r->message.n +
	       r->first_message.n + r->tail.n + r->event.n + r->input.n;
}

static void bind_times(sqlite3_stmt *s, int i, const struct sb_dead_record *r)
{
	sqlite3_bind_int64(s, i, (sqlite3_int64)r->received_ms);
	sqlite3_bind_int64(s, i + 1, (sqlite3_int64)r->first_attempt_ms);
	sqlite3_bind_int64(s, i + 2, (sqlite3_int64)r->last_attempt_ms);
	sqlite3_bind_int64(s, i + 3, (sqlite3_int64)r->dead_ms);
}

/* A life's columns, in the order of LIFE_COLUMNS. */
static void bind_life(struct sb_deadletters *d, sqlite3_stmt *s, struct sb_slice id, const struct sb_dead_record *r,
	uint64_t seq)
{
	int i = 1;

	bind_text(s, i++, id);
	sqlite3_bind_int64(s, i++, (sqlite3_int64)r->dno);
	sqlite3_bind_int64(s, i++, r->route);
	bind_text(s, i++, r->event_id);
	bind_text(s, i++, r->bus);
	bind_text(s, i++, r->origin);
	bind_text(s, i++, r->rule);
	bind_text(s, i++, r->target);
	sqlite3_bind_int64(s, i++, (sqlite3_int64)r->generation);
	sqlite3_bind_int(s, i++, r->reason);
	sqlite3_bind_text(s, i++, letters_error_name(r->reason), -1, SQLITE_STATIC);
	sqlite3_bind_int(s, i++, r->exhausted);
	sqlite3_bind_int64(s, i++, r->attempts);
	bind_times(s, i, r);
	i += 4;
	bind_message(d, s, i++, r->message, SB_RECORD_MESSAGE);
	bind_message(d, s, i++, r->first_message, SB_RECORD_MESSAGE);
	bind_message(d, s, i++, r->tail, SB_RECORD_TAIL);
	bind_text(s, i++, r->event);
	bind_text(s, i++, r->input);
	bind_text(s, i++, r->id);
	sqlite3_bind_int64(s, i++, (sqlite3_int64)seq);
	sqlite3_bind_int64(s, i, (sqlite3_int64)letter_bytes(r));
}

/* ------------------------------------------------------------------------------------------------ storing */

/* "receipt.ordinal": the number of the first delivery of a record's redrive. */
static uint64_t first_of(const struct sb_dead_record *r)
{
	uint64_t ordinal = 0;
	size_t i = r->id.n;

	while (i && r->id.p[i - 1] != '.')
		i--;
	for (; i < r->id.n && r->id.p[i] >= '0' && r->id.p[i] <= '9' && ordinal < UINT32_MAX; i++)
		ordinal = ordinal * 10 + (uint64_t)(r->id.p[i] - '0');
	return r->dno > ordinal ? r->dno - ordinal : 0;
}

/*
 * Is this the next life of its letter? 1: yes; 0: it is gone, or has one already of the same redrive or of a later one; -1: error. The
 * numbers of deliveries only grow.
 */
static int is_next_life(struct sb_deadletters *d, const struct sb_dead_record *r, struct sb_err *err)
{
	sqlite3_stmt *s = letters_stmt(d, STMT_DNO_OF);
	uint64_t dno = 0;
	int got;

	bind_text(s, 1, r->redrive_of);
	got = sqlite3_step(s);
	if (got == SQLITE_ROW)
		dno = (uint64_t)sqlite3_column_int64(s, 0);
	else if (got != SQLITE_DONE)
		letters_fail(d, err, "look up");
	sqlite3_reset(s);
	if (got != SQLITE_ROW)
		return got == SQLITE_DONE ? 0 : -1;
	return dno < first_of(r) || dno == r->dno; /* itself: said again, which changes nothing */
}

static int run_with_id(struct sb_deadletters *d, enum letter_stmt which, struct sb_slice id, struct sb_err *err)
{
	sqlite3_stmt *s = letters_stmt(d, which);

	bind_text(s, 1, id);
	return letters_run(d, s, err, "change");
}

static int store_one(struct sb_deadletters *d, const struct sb_dead_record *r, uint64_t seq, struct sb_err *err)
{
	int again = 0;
	sqlite3_stmt *s;

	if (r->forwarded)
		return 0;
	if (r->redrive_of.n)
		again = is_next_life(d, r, err);
	if (again < 0)
		return -1;
	s = letters_stmt(d, again ? STMT_AGAIN : STMT_INSERT);
	bind_life(d, s, again ? r->redrive_of : r->id, r, seq);
	return letters_run(d, s, err, "store");
}

/* What failed to be stored must be said again, now or by the next start, so the number stays below it until then. */
static int set_last_seq(struct sb_deadletters *d, uint64_t seq, struct sb_err *err)
{
	sqlite3_stmt *s = letters_stmt(d, STMT_SET_SEQ);

	sqlite3_bind_int64(s, 1, (sqlite3_int64)SB_MIN(seq, d->first_failed - 1));
	return letters_run(d, s, err, "store");
}

static void said_again(struct sb_deadletters *d, uint64_t seq)
{
	if (seq == d->first_failed)
		d->first_failed = UINT64_MAX;
}

static int store_all(struct sb_deadletters *d, const struct sb_dead_record *rec, const uint64_t *seq, size_t n,
	struct sb_err *err)
{
	uint64_t last = 0;

	if (letters_begin(d, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (store_one(d, &rec[i], seq[i], err) < 0)
			return letters_rollback(d);
		last = SB_MAX(last, seq[i]);
	}
	if (set_last_seq(d, last, err) < 0)
		return letters_rollback(d);
	return letters_commit(d, err);
}

int sb_deadletters_store(struct sb_deadletters *d, const struct sb_dead_record *rec, const uint64_t *seq, size_t n,
	struct sb_err *err)
{
	for (size_t i = 0; i < n; i++)
		said_again(d, seq[i]);
	if (n == 0 || store_all(d, rec, seq, n, err) == 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		d->first_failed = SB_MIN(d->first_failed, seq[i]);
	return -1;
}

/* ------------------------------------------------------------------------------------------------ redrive */

static int change(struct sb_deadletters *d, enum letter_stmt which, struct sb_slice id, bool *ret_changed, struct sb_err *err)
{
	if (letters_begin(d, err) < 0)
		return -1;
	if (run_with_id(d, which, id, err) < 0)
		return letters_rollback(d);
	*ret_changed = sqlite3_changes(d->db) > 0;
	return letters_commit(d, err);
}

int sb_deadletters_claim(struct sb_deadletters *d, struct sb_slice id, bool *ret, struct sb_err *err)
{
	return change(d, STMT_CLAIM, id, ret, err);
}

int sb_deadletters_unclaim(struct sb_deadletters *d, struct sb_slice id, struct sb_err *err)
{
	bool changed;

	return change(d, STMT_UNCLAIM, id, &changed, err);
}

/* One letter less, or none (id.n 0), and everything up to seq is known here. */
static int drop_up_to(struct sb_deadletters *d, struct sb_slice id, uint64_t seq, struct sb_err *err)
{
	if (letters_begin(d, err) < 0)
		return -1;
	if ((id.n && run_with_id(d, STMT_DELIVERED, id, err) < 0) || set_last_seq(d, seq, err) < 0)
		return letters_rollback(d);
	return letters_commit(d, err);
}

int sb_deadletters_delivered(struct sb_deadletters *d, struct sb_slice id, uint64_t seq, struct sb_err *err)
{
	said_again(d, seq);
	if (drop_up_to(d, id, seq, err) == 0)
		return 0;
	if (seq)
		d->first_failed = SB_MIN(d->first_failed, seq);
	return -1;
}

static struct sb_slice share_key(const struct letter_share *s)
{
	return sb_slice((const char *)&s->redrive, sizeof(s->redrive));
}

static struct letter_share *share_of(struct sb_deadletters *d, uint64_t redrive, uint32_t owed)
{
	struct letter_share probe = { .redrive = redrive }, *s = sb_map_get(&d->shares, share_key(&probe));

	if (s)
		return s;
	s = sb_xcalloc(sizeof(*s));
	*s = (struct letter_share){ .redrive = redrive, .left = owed };
	sb_map_put(&d->shares, share_key(s), s);
	return s;
}

void letters_forget_shares(struct sb_deadletters *d)
{
	sb_map_each (&d->shares, it)
		free(it->value);
	sb_map_done(&d->shares);
}

void sb_deadletters_expect(struct sb_deadletters *d, uint64_t redrive, uint32_t left, bool died)
{
	share_of(d, redrive, left)->died = died;
}

int sb_deadletters_ended(struct sb_deadletters *d, const struct sb_redrive_end *e, struct sb_err *err)
{
	struct letter_share *s = e->owed > 1 ? share_of(d, e->redrive, e->owed) : NULL;
	bool last = !s || s->left <= 1, died = e->died || (s && s->died);

	if (!e->died && sb_deadletters_delivered(d, last && !died ? e->letter : SB_SLICE(""), e->seq, err) < 0)
		return -1;
	if (!s)
		return 0;
	s->died = died;
	s->left--;
	if (last)
		free(sb_map_del(&d->shares, share_key(s)));
	return 0;
}

/* The ids of letters marked as redriving that nobody is redriving, one NUL-terminated text behind the other. */
static int find_stranded(struct sb_deadletters *d, const struct sb_map *pending, struct sb_buf *ids, struct sb_err *err)
{
	sqlite3_stmt *s = letters_stmt(d, STMT_REDRIVING);
	int r;

	while ((r = sqlite3_step(s)) == SQLITE_ROW) {
		struct sb_slice id = sb_slice((const char *)sqlite3_column_text(s, 0), (size_t)sqlite3_column_bytes(s, 0));

		if (!sb_map_get(pending, id))
			sb_buf_add(ids, id.p, id.n + 1);
	}
	if (r != SQLITE_DONE)
		letters_fail(d, err, "reconcile");
	sqlite3_reset(s);
	return r == SQLITE_DONE ? 0 : -1;
}

static int unclaim_all(struct sb_deadletters *d, const struct sb_buf *ids, struct sb_err *err)
{
	for (size_t at = 0; at < ids->len; at += strlen(ids->p + at) + 1)
		if (run_with_id(d, STMT_UNCLAIM, sb_slice_str(ids->p + at), err) < 0)
			return -1;
	return 0;
}

int sb_deadletters_reconcile(struct sb_deadletters *d, const struct sb_slice *pending, size_t n, struct sb_err *err)
{
	struct sb_map map = { 0 };
	struct sb_buf ids = SB_BUF(SIZE_MAX); /* bounded by the table, which is */
	int r;

	if (letters_begin(d, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		sb_map_put(&map, pending[i], (void *)&pending[i]);
	r = find_stranded(d, &map, &ids, err);
	if (r == 0)
		r = unclaim_all(d, &ids, err);
	sb_buf_done(&ids);
	sb_map_done(&map);
	return r < 0 ? letters_rollback(d) : letters_commit(d, err);
}
