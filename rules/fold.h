/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_RULES_FOLD_H
#define SB_RULES_FOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/arena.h"

/*
 * Ignore-case as Event Ruler has it: each character of the rule's value stands for its upper case or its lower case, both
 * by the full mappings (so `straße` accepts STRASSE, but `STRASSE` does not accept straße). Ruler does this by UTF-16 unit;
 * here it holds for every code point.
 */
#define SB_CASE_BYTES 7
struct sb_case {
	char upper[SB_CASE_BYTES + 1], lower[SB_CASE_BYTES + 1]; /* UTF-8, NUL behind it */
};
/* False: it is its own upper and lower case. */
bool sb_case_of(uint32_t cp, struct sb_case *ret);

/* casetable.c, generated: every step-th code point from first to last is so far from its cases; or its cases are several characters. */
struct sb_case_run {
	uint32_t first, last, step;
	int32_t upper, lower;
};
struct sb_case_alone {
	uint32_t cp;
	struct sb_case is;
};
extern const struct sb_case_run sb_case_runs[]; /* sorted by first */
extern const struct sb_case_alone sb_case_alone[];
extern const unsigned sb_case_n_runs, sb_case_n_alone;

struct sb_fold_char {
	char a[SB_CASE_BYTES]; /* alternatives */
	uint8_t na;
	char b[SB_CASE_BYTES];
	uint8_t nb;
};

struct sb_fold {
	struct sb_fold_char *c;
	uint32_t n;
};

void sb_fold_compile(struct sb_arena *a, struct sb_slice value, struct sb_fold *ret);
bool sb_fold_equal(const struct sb_fold *f, struct sb_slice s);
bool sb_fold_prefix(const struct sb_fold *f, struct sb_slice s);
bool sb_fold_suffix(const struct sb_fold *f, struct sb_slice s);

#endif
