/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_DIAG_H
#define SB_BASE_DIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "broker/base/arena.h"
#include "broker/base/buf.h"
#include "broker/base/err.h"

/*
 * Everything that is wrong with what the user wrote, over all files of one run. At most SB_DIAG_MAX are kept, the rest
 * is counted. Printed with the offending line and a caret:
 *
 *   error[E004]: unknown key `numerc`
 *     --> rules.d/orders.yaml:14:19
 *      |
 *   14 |         amount: [{numerc: [">", 100]}]
 *      |                   ^^^^^^ did you mean `numeric`?
 *      = at    rules[0].pattern.detail.amount[0]
 *      = help  signalbox help E004
 */
#define SB_DIAG_MAX 50

enum sb_severity { SB_SEV_ERROR, SB_SEV_WARNING };

struct sb_diag {
	enum sb_severity severity;
	struct sb_err err; /* err.at.file is copied into the list's arena */
};

struct sb_diag_source; /* a file's text, kept for its lines */
struct sb_diag_secret;
struct sb_diags {
	struct sb_arena arena;
	struct sb_diag *item;
	size_t n, errors, warnings, not_kept;
	struct sb_diag_source *sources;
	struct sb_diag_secret *secrets;
};

void sb_diags_done(struct sb_diags *d); /* a zeroed struct is an empty list */
void sb_diag_error(struct sb_diags *d, const struct sb_err *err);
void sb_diag_warning(struct sb_diags *d, const struct sb_err *err);
/* Keep a copy of a file's text, so that its lines can be shown; a file that was not given is read when needed. */
void sb_diags_source(struct sb_diags *d, const char *file, struct sb_slice text);

/* What stands there is shown as asterisks when its line is. */
void sb_diags_hide(struct sb_diags *d, const struct sb_loc *at);

enum sb_diag_format { SB_DIAG_LONG, SB_DIAG_SHORT, SB_DIAG_JSON };
/* Sorted by file, line, column. JSON: an array of {code,name,severity,file,line,col,end_col,message,path,hint,help}. */
void sb_diags_format(const struct sb_diags *d, enum sb_diag_format f, bool color, struct sb_buf *out);

/* The candidate nearest to `word` by edit distance, or NULL when none is near. */
const char *sb_nearest(const char *word, const char *const *candidates, size_t n);

#endif
