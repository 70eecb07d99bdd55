/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/diag.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/json.h"

#define FILE_BYTES_MAX (4u << 20)

struct sb_diag_source {
	struct sb_diag_source *next;
	const char *file;
	struct sb_slice text;
};

struct sb_diag_secret {
	struct sb_diag_secret *next;
	struct sb_loc at;
};

void sb_diags_done(struct sb_diags *d)
{
	free(d->item);
	sb_arena_done(&d->arena);
	*d = (struct sb_diags){ 0 };
}

/* Where the next one goes; when the list is full an error takes the place of a warning. NULL: it is only counted. */
static struct sb_diag *room(struct sb_diags *d, enum sb_severity severity)
{
	if (!d->item)
		d->item = sb_xcalloc(SB_DIAG_MAX * sizeof(*d->item));
	if (d->n < SB_DIAG_MAX)
		return &d->item[d->n++];
	d->not_kept++;
	for (size_t i = d->n; severity == SB_SEV_ERROR && i > 0; i--)
		if (d->item[i - 1].severity == SB_SEV_WARNING)
			return &d->item[i - 1];
	return NULL;
}

static void add(struct sb_diags *d, enum sb_severity severity, const struct sb_err *err)
{
	struct sb_diag *item = room(d, severity);

	if (severity == SB_SEV_ERROR)
		d->errors++;
	else
		d->warnings++;
	if (!item)
		return;
	item->severity = severity;
	item->err = *err;
	if (err->at.file)
		item->err.at.file = sb_arena_strdup(&d->arena, err->at.file);
}

void sb_diag_error(struct sb_diags *d, const struct sb_err *err)
{
	add(d, SB_SEV_ERROR, err);
}

void sb_diag_warning(struct sb_diags *d, const struct sb_err *err)
{
	add(d, SB_SEV_WARNING, err);
}

static struct sb_diag_source *source_find(const struct sb_diags *d, const char *file)
{
	struct sb_diag_source *s = d->sources;

	while (s && strcmp(s->file, file) != 0)
		s = s->next;
	return s;
}

void sb_diags_source(struct sb_diags *d, const char *file, struct sb_slice text)
{
	struct sb_diag_source *s;

	if (source_find(d, file))
		return;
	s = sb_arena_alloc(&d->arena, sizeof(*s));
	s->file = sb_arena_strdup(&d->arena, file);
	s->text = sb_arena_slice(&d->arena, text);
	s->next = d->sources;
	d->sources = s;
}

void sb_diags_hide(struct sb_diags *d, const struct sb_loc *at)
{
	struct sb_diag_secret *s;

	if (!at->file || !at->line)
		return;
	s = sb_arena_alloc(&d->arena, sizeof(*s));
	s->at = *at;
	s->at.file = sb_arena_strdup(&d->arena, at->file);
	s->next = d->secrets;
	d->secrets = s;
}

/* ------------------------------------------------------------------------------------------------ formatting */

/* The text of line `line` (from 1) without its end; n 0 also when there is none. */
static struct sb_slice line_of(struct sb_slice text, unsigned line)
{
	const char *p = text.p, *end = text.p + text.n, *nl;

	if (text.n == 0)
		return sb_slice(NULL, 0);
	while (--line && p < end) {
		nl = memchr(p, '\n', (size_t)(end - p));
		p = nl ? nl + 1 : end;
	}
	nl = memchr(p, '\n', (size_t)(end - p));
	return sb_slice(p, (size_t)((nl ? nl : end) - p));
}

static struct sb_slice source_line(const struct sb_diags *d, const struct sb_loc *at, char **ret_owned)
{
	const struct sb_diag_source *s = at->file ? source_find(d, at->file) : NULL;
	struct sb_buf b = SB_BUF(FILE_BYTES_MAX);
	char chunk[4096];
	FILE *f;
	size_t n;

	*ret_owned = NULL;
	if (!at->line || !at->file)
		return sb_slice(NULL, 0);
	if (s)
		return line_of(s->text, at->line);
	f = fopen(at->file, "re");
	if (!f)
		return sb_slice(NULL, 0);
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0 && sb_buf_add(&b, chunk, n) == 0)
		;
	fclose(f);
	*ret_owned = b.p;
	return line_of(sb_buf_slice(&b), at->line);
}

static const char *severity_name(enum sb_severity s)
{
	return s == SB_SEV_ERROR ? "error" : "warning";
}

static void color_on(struct sb_buf *out, bool color, enum sb_severity s)
{
	if (color)
		sb_buf_adds(out, s == SB_SEV_ERROR ? "\033[1;31m" : "\033[1;33m");
}

static void color_off(struct sb_buf *out, bool color)
{
	if (color)
		sb_buf_adds(out, "\033[0m");
}

/* Text that a stranger may have written, on its way to a terminal: no control characters. */
static void add_clean(struct sb_buf *out, struct sb_slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool c1 = c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0;

		if (c1)
			i++;
		sb_buf_addc(out, c == '\t' ? ' ' : c < 0x20 || c == 0x7f || c1 ? '?' : (char)c);
	}
}

static void add_line(struct sb_buf *out, const char *before, const char *text)
{
	sb_buf_adds(out, before);
	add_clean(out, sb_slice_str(text));
}

#define WINDOW 100 /* characters of a line that are shown */

/* Bytes of the first n characters. */
static size_t bytes_of(struct sb_slice s, size_t n)
{
	size_t i = 0;

	while (i < s.n && n > 0) {
		for (i++; i < s.n && ((unsigned char)s.p[i] & 0xc0) == 0x80; i++)
			;
		n--;
	}
	return i;
}

/* The part of a line around the column, and how many characters stand before it. */
static struct sb_slice window_of(struct sb_slice line, unsigned col, unsigned *ret_skipped)
{
	size_t skip = 0;

	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	*ret_skipped = col > WINDOW ? col - WINDOW / 2 : 0;
	skip = bytes_of(line, *ret_skipped);
	line = sb_slice(line.p + skip, line.n - skip);
	return sb_slice(line.p, bytes_of(line, WINDOW));
}

/* The line with its secrets hidden: a copy, of which *ret_owned is to be freed, when there are any. */
static struct sb_slice without_secrets(const struct sb_diags *d, const struct sb_loc *at, struct sb_slice line, char **ret_owned)
{
	for (const struct sb_diag_secret *s = d->secrets; s; s = s->next) {
		size_t from, to;

		if (!line.p || !at->file || s->at.line != at->line || strcmp(s->at.file, at->file) != 0)
			continue;
		if (!*ret_owned) {
			*ret_owned = sb_xmalloc(line.n + 1);
			line.p = memcpy(*ret_owned, line.p, line.n);
		}
		from = bytes_of(line, s->at.col ? s->at.col - 1 : 0);
		to = s->at.len ? bytes_of(line, s->at.col - 1 + s->at.len) : line.n;
		memset(*ret_owned + from, '*', to - from);
	}
	return line;
}

static void add_caret(struct sb_buf *out, const struct sb_loc *at, unsigned skipped)
{
	unsigned col = at->col > skipped ? at->col - skipped : 1, len = SB_MAX(at->len, 1u);

	for (unsigned i = 1; i < col; i++)
		sb_buf_addc(out, ' ');
	for (unsigned i = 0; i < len && col + i <= WINDOW; i++)
		sb_buf_addc(out, '^');
}

static void add_excerpt(const struct sb_diags *d, const struct sb_diag *it, bool color, struct sb_buf *out)
{
	const struct sb_loc *at = &it->err.at;
	char *owned, *copy = NULL;
	struct sb_slice line = source_line(d, at, &owned);
	unsigned skipped = 0;
	char number[16];
	int width = snprintf(number, sizeof(number), "%u", at->line);

	if (line.p) {
		line = window_of(without_secrets(d, at, line, &copy), at->col, &skipped);
		sb_buf_addf(out, "%*s |\n%s | ", width, "", number);
		add_clean(out, line);
		sb_buf_addf(out, "\n%*s | ", width, "");
		color_on(out, color, it->severity);
		add_caret(out, at, skipped);
		if (it->err.hint[0])
			add_line(out, " ", it->err.hint);
		color_off(out, color);
		sb_buf_addc(out, '\n');
	} else if (it->err.hint[0]) {
		sb_buf_addf(out, "%*s = hint  ", width, "");
		add_line(out, "", it->err.hint);
		sb_buf_addc(out, '\n');
	}
	if (it->err.path[0]) {
		sb_buf_addf(out, "%*s = at    ", width, "");
		add_line(out, "", it->err.path);
		sb_buf_addc(out, '\n');
	}
	sb_buf_addf(out, "%*s = help  signalbox help %s\n", width, "", sb_code_id(it->err.code));
	free(owned);
	free(copy);
}

static void format_long(const struct sb_diags *d, const struct sb_diag *it, bool color, struct sb_buf *out)
{
	const struct sb_err *e = &it->err;

	color_on(out, color, it->severity);
	sb_buf_addf(out, "%s[%s]", severity_name(it->severity), sb_code_id(e->code));
	color_off(out, color);
	add_line(out, ": ", e->msg);
	sb_buf_addc(out, '\n');
	if (e->at.file && e->at.line)
		sb_buf_addf(out, "  --> %s:%u:%u\n", e->at.file, e->at.line, e->at.col);
	else if (e->at.file)
		sb_buf_addf(out, "  --> %s\n", e->at.file);
	add_excerpt(d, it, color, out);
	sb_buf_addc(out, '\n');
}

static void format_short(const struct sb_diag *it, struct sb_buf *out)
{
	const struct sb_err *e = &it->err;

	if (e->at.file)
		sb_buf_addf(out, "%s:%u:%u: ", e->at.file, e->at.line, e->at.col);
	sb_buf_addf(out, "%s[%s]", severity_name(it->severity), sb_code_id(e->code));
	add_line(out, ": ", e->msg);
	if (e->hint[0])
		add_line(out, "; ", e->hint);
	sb_buf_addc(out, '\n');
}

static void add_member(struct sb_buf *out, const char *name, const char *value)
{
	sb_buf_addf(out, ",\"%s\":", name);
	sb_json_add_string(out, sb_slice_str(value));
}

static void format_json(const struct sb_diag *it, struct sb_buf *out)
{
	const struct sb_err *e = &it->err;

	sb_buf_addf(out, "{\"code\":\"%s\",\"name\":\"%s\",\"severity\":\"%s\"", sb_code_id(e->code),
		sb_code_name(e->code), severity_name(it->severity));
	if (e->at.file)
		add_member(out, "file", e->at.file);
	sb_buf_addf(out, ",\"line\":%u,\"col\":%u,\"end_col\":%u", e->at.line, e->at.col,
		e->at.col + SB_MAX(e->at.len, 1u));
	add_member(out, "message", e->msg);
	add_member(out, "path", e->path);
	add_member(out, "hint", e->hint);
	add_member(out, "help", sb_code_help(e->code));
	sb_buf_addc(out, '}');
}

static int by_place(const void *a, const void *b)
{
	const struct sb_diag *x = *(const struct sb_diag *const *)a, *y = *(const struct sb_diag *const *)b;
	int c = strcmp(x->err.at.file ? x->err.at.file : "", y->err.at.file ? y->err.at.file : "");

	if (c)
		return c;
	if (x->err.at.line != y->err.at.line)
		return x->err.at.line < y->err.at.line ? -1 : 1;
	if (x->err.at.col != y->err.at.col)
		return x->err.at.col < y->err.at.col ? -1 : 1;
	return x < y ? -1 : x > y;
}

void sb_diags_format(const struct sb_diags *d, enum sb_diag_format f, bool color, struct sb_buf *out)
{
	const struct sb_diag *sorted[SB_DIAG_MAX];

	for (size_t i = 0; i < d->n; i++)
		sorted[i] = &d->item[i];
	if (d->n)
		qsort(sorted, d->n, sizeof(void *), by_place);
	if (f == SB_DIAG_JSON)
		sb_buf_addc(out, '[');
	for (size_t i = 0; i < d->n; i++) {
		if (f == SB_DIAG_JSON && i)
			sb_buf_addc(out, ',');
		if (f == SB_DIAG_LONG)
			format_long(d, sorted[i], color, out);
		else if (f == SB_DIAG_SHORT)
			format_short(sorted[i], out);
		else
			format_json(sorted[i], out);
	}
	if (f == SB_DIAG_JSON)
		sb_buf_addc(out, ']');
	else if (d->not_kept)
		sb_buf_addf(out, "... and %zu more\n", d->not_kept);
}

/* ------------------------------------------------------------------------------------------------ nearest */

#define WORD_MAX 48

/* Optimal string alignment: insert, delete, replace, swap neighbours. */
static unsigned distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned row[3][WORD_MAX + 1];

	for (size_t j = 0; j <= nb; j++)
		row[1][j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned *cur = row[(i + 1) % 3], *prev = row[i % 3], *older = row[(i + 2) % 3];

		cur[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned best = prev[j - 1] + (a[i - 1] != b[j - 1]);

			best = SB_MIN(best, prev[j] + 1);
			best = SB_MIN(best, cur[j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = SB_MIN(best, older[j - 2] + 1);
			cur[j] = best;
		}
	}
	return row[(na + 1) % 3][nb];
}

const char *sb_nearest(const char *word, const char *const *candidates, size_t n)
{
	size_t len = strlen(word);
	unsigned best = SB_MAX((unsigned)len / 3, 1u) + 1;
	const char *found = NULL;

	if (len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t m = strlen(candidates[i]);
		unsigned d = m <= WORD_MAX ? distance(word, len, candidates[i], m) : best;

		if (d < best) {
			best = d;
			found = candidates[i];
		}
	}
	return found;
}
