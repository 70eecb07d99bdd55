/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "broker/base/err.h"

#define COLUMNS_MAX 16
#define GAP 2

/* ------------------------------------------------------------------------------------------------ cells */

void sb_table_init(struct sb_table *t, const struct sb_column *columns)
{
	*t = (struct sb_table){ .column = columns };
	while (columns[t->n_columns].title)
		t->n_columns++;
	SB_ASSERT(t->n_columns > 0 && t->n_columns <= COLUMNS_MAX);
}

void sb_table_done(struct sb_table *t)
{
	for (size_t i = 0; i < t->n_cells; i++)
		free(t->cell[i]);
	free(t->cell);
	t->cell = NULL;
	t->n_cells = t->cap = 0;
}

/* C0 and DEL are one byte, C1 is two in UTF-8; both can move a cursor or start an escape sequence. */
static void tame(char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s, next = (unsigned char)s[1];

		if (c < 0x20 || c == 0x7f)
			*s = ' ';
		else if (c == 0xc2 && next >= 0x80 && next < 0xa0)
			s[0] = s[1] = ' ';
	}
}

void sb_table_text(struct sb_table *t, const char *text)
{
	char *copy = sb_xstrdup(text && *text ? text : "-");

	tame(copy);
	if (t->n_cells == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 64;
		t->cell = sb_xrealloc(t->cell, t->cap * sizeof(*t->cell));
	}
	t->cell[t->n_cells++] = copy;
}

void sb_table_number(struct sb_table *t, uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, n);
	sb_table_text(t, text);
}

void sb_table_age(struct sb_table *t, uint64_t ms)
{
	char text[SB_TIME_TEXT];

	sb_table_text(t, ms ? sb_age_text(ms, text) : NULL);
}

/* ------------------------------------------------------------------------------------------------ printing */

static bool begins_character(char c)
{
	return ((unsigned char)c & 0xc0) != 0x80;
}

static size_t characters(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += begins_character(*s);
	return n;
}

/* The byte where character `n` begins. */
static const char *skip(const char *s, size_t n)
{
	while (*s && n) {
		s++;
		n -= begins_character(*s) || !*s;
	}
	return s;
}

static void measure(const struct sb_table *t, size_t width[COLUMNS_MAX])
{
	for (size_t i = 0; i < t->n_columns; i++)
		width[i] = strlen(t->column[i].title);
	for (size_t i = 0; i < t->n_cells; i++)
		width[i % t->n_columns] = SB_MAX(width[i % t->n_columns], characters(t->cell[i]));
}

/* Takes from the widest column that still may give, until the line fits or none may. */
static void shrink(const struct sb_table *t, size_t width[COLUMNS_MAX], size_t bound)
{
	size_t total = GAP * (t->n_columns - 1);

	for (size_t i = 0; i < t->n_columns; i++)
		total += width[i];
	for (; total > bound; total--) {
		size_t widest = t->n_columns;

		for (size_t i = 0; i < t->n_columns; i++)
			if (t->column[i].min && width[i] > t->column[i].min &&
				(widest == t->n_columns || width[i] > width[widest]))
				widest = i;
		if (widest == t->n_columns)
			return;
		width[widest]--;
	}
}

static void print_cell(const char *s, size_t width, FILE *out)
{
	size_t n = characters(s), head = (width - 2) / 2, tail = width - 2 - head;

	if (n <= width)
		fputs(s, out);
	else
		fprintf(out, "%.*s..%s", (int)(skip(s, head) - s), s, skip(s, n - tail));
}

static void print_row(const struct sb_table *t, const char *const *cell, const size_t width[COLUMNS_MAX], FILE *out)
{
	for (size_t i = 0; i < t->n_columns; i++) {
		size_t n = SB_MIN(characters(cell[i]), width[i]);
		int pad = (int)(width[i] - n);
		bool last = i + 1 == t->n_columns;

		fprintf(out, "%*s", t->column[i].right ? pad : 0, "");
		print_cell(cell[i], width[i], out);
		fprintf(out, "%*s", last ? 0 : GAP + (t->column[i].right ? 0 : pad), "");
	}
	fputc('\n', out);
}

void sb_table_print(const struct sb_table *t, unsigned width_max, FILE *out)
{
	const char *title[COLUMNS_MAX];
	size_t width[COLUMNS_MAX];

	SB_ASSERT(t->n_cells % t->n_columns == 0);
	measure(t, width);
	if (width_max)
		shrink(t, width, width_max);
	for (size_t i = 0; i < t->n_columns; i++)
		title[i] = t->column[i].title;
	print_row(t, title, width, out);
	for (size_t i = 0; i < t->n_cells; i += t->n_columns)
		print_row(t, (const char *const *)(t->cell + i), width, out);
}

unsigned sb_terminal_width(FILE *out)
{
	struct winsize size;

	if (fileno(out) < 0 || !isatty(fileno(out)))
		return 0;
	return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

char *sb_age_text(uint64_t ms, char out[SB_TIME_TEXT])
{
	uint64_t s = ms / 1000;

	if (s < 120)
		snprintf(out, SB_TIME_TEXT, "%" PRIu64 "s", s);
	else if (s < 7200)
		snprintf(out, SB_TIME_TEXT, "%" PRIu64 "m", s / 60);
	else if (s < 172800)
		snprintf(out, SB_TIME_TEXT, "%" PRIu64 "h", s / 3600);
	else
		snprintf(out, SB_TIME_TEXT, "%" PRIu64 "d", s / 86400);
	return out;
}

void sb_print_text(struct sb_slice text, int indent, FILE *out)
{
	char *copy = sb_xstrndup(text.p ? text.p : "", text.n), *rest = copy, *line = strsep(&rest, "\n");

	tame(line);
	fputs(line, out);
	while ((line = strsep(&rest, "\n")) != NULL) {
		tame(line);
		fprintf(out, "\n%*s%s", *line ? indent : 0, "", line);
	}
	fputc('\n', out);
	free(copy);
}

/* ------------------------------------------------------------------------------------------------ JSON */

static void new_line(FILE *out, unsigned depth)
{
	fprintf(out, "\n%*s", (int)(2 * depth), "");
}

/* Behind the string that begins at p. */
static const char *string_end(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		p += *p == '\\';
	return p < end ? p + 1 : end;
}

static const char *spaces_end(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

void sb_json_indent(struct sb_slice json, FILE *out)
{
	const char *end = json.p + json.n;
	unsigned depth = 0;

	for (const char *p = spaces_end(json.p, end), *next; p < end; p = spaces_end(next, end)) {
		next = *p == '"' ? string_end(p, end) : p + 1;
		if (*p == '}' || *p == ']')
			new_line(out, --depth);
		fwrite(p, 1, (size_t)(next - p), out);
		if (*p == ':')
			fputc(' ', out);
		else if (*p == ',')
			new_line(out, depth);
		else if (*p == '{' || *p == '[') {
			next = spaces_end(next, end);
			if (next < end && (*next == '}' || *next == ']'))
				fputc(*next++, out);
			else
				new_line(out, ++depth);
		}
	}
	fputc('\n', out);
}
