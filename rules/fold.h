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
struct sb_case {
	uint32_t cp;
	char upper[8], lower[8]; /* UTF-8, NUL behind it */
};
extern const struct sb_case sb_case_table[]; /* sorted by cp; generated */
extern const unsigned sb_case_count;

struct sb_fold_char {
	const char *a, *b; /* alternatives */
	uint8_t na, nb;
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
