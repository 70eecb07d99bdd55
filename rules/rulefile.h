/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_RULES_RULEFILE_H
#define SB_RULES_RULEFILE_H

#include "broker/base/map.h"
#include "rules/rules.h"

/* A ruleset while its files are read. Everything of a rule lives in the ruleset's arena. */
struct sb_rule_reader {
	struct sb_ruleset *rs;
	struct sb_diags *diags;
	size_t cap;        /* of rs->rule, which is malloc'ed meanwhile */
	struct sb_map seen; /* name -> place */
	struct sb_buf text; /* the canonical text */
};

/* Read the rules of one document. Errors go to the diags. */
void sb_rule_reader_add(struct sb_rule_reader *r, const struct sb_doc *doc);

/*
 * The rule files under a folder, or the one file, sorted by path; they live in the arena. -1 with an error when there is
 * no such folder or it cannot be read.
 */
int sb_rule_files(struct sb_arena *a, const char *path, const char ***ret, size_t *ret_n, struct sb_diags *diags);

#endif
