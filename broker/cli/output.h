/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_OUTPUT_H
#define SB_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "broker/base/clock.h"
#include "broker/base/mem.h"

/*
 * What verbs print. A table's columns are as wide as what stands in them; on a terminal that is too narrow, those that may
 * shrink lose their middle. In a pipe nothing is cut. Control characters, which may come from a worker or a peer, never
 * reach the terminal. An empty cell is "-", so that a line has as many words as the table has columns.
 */
struct sb_column {
	const char *title; /* NULL: the row that ends the list */
	bool right;        /* numbers */
	unsigned min;      /* the column shrinks to this; 0: never */
};

struct sb_table {
	const struct sb_column *column;
	size_t n_columns, n_cells, cap;
	char **cell; /* row by row */
};

void sb_table_init(struct sb_table *t, const struct sb_column *columns);
void sb_table_text(struct sb_table *t, const char *text); /* the next cell; copied; NULL is empty */
void sb_table_number(struct sb_table *t, uint64_t n);
void sb_table_age(struct sb_table *t, uint64_t ms); /* 0: none */
/* Every row is complete. `width` 0: no bound. */
void sb_table_print(const struct sb_table *t, unsigned width, FILE *out);
void sb_table_done(struct sb_table *t);

/* Columns of the terminal; 0: `out` is none. */
unsigned sb_terminal_width(FILE *out);
/* "45s", "12m", "3h", "9d": one unit, for the eye. Returns out. */
char *sb_age_text(uint64_t ms, char out[SB_TIME_TEXT]);
/* Text and a line end; lines behind the first are indented by so much, other control characters are blanked. */
void sb_print_text(struct sb_slice text, int indent, FILE *out);
/* Valid JSON, indented; every value as it was written, however large its numbers. */
void sb_json_indent(struct sb_slice json, FILE *out);

#endif
