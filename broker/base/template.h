/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_TEMPLATE_H
#define SB_BASE_TEMPLATE_H

#include <stdint.h>

#include "broker/base/arena.h"
#include "broker/base/buf.h"
#include "broker/base/json.h"
#include "broker/base/path.h"

/*
 * The one template language of the project: text with `<name>`, `<$.json.path>` or `<meta.http.headers.x-topic>` in it.
 * `\<` is a literal `<`. Names come from a paths map (an input transformer's) or are predefined variables.
 *
 * There are two ways to render. As text (source and detail-type of a webhook, a header, a key): strings without quotes,
 * other values as they stand; a missing value makes the whole text missing. As JSON (an input transformer whose template
 * is an object, array, string or a lone placeholder): EventBridge's rules, in rules/transform.h.
 */
struct sb_template_part {
	struct sb_slice text;      /* literal text; p NULL: a placeholder */
	struct sb_slice name;      /* placeholder as written, without < > */
	const struct sb_path *path; /* NULL: a predefined variable, found by name */
};

struct sb_template {
	const char *text;
	struct sb_template_part *part;
	uint32_t n;
};

/* Finds the path of a name; returns 0 with *ret (NULL: a predefined variable), or -1: nobody knows the name. */
typedef int sb_template_names(void *arg, struct sb_slice name, const struct sb_path **ret);

/*
 * `names` may be NULL: then every placeholder must be a path. Else names come first, and what begins with `$` or `meta.` may
 * be a path. Unknown names and unclosed `<` are errors with a column.
 */
int sb_template_compile(struct sb_arena *a, struct sb_slice text, sb_template_names *names, void *arg,
	struct sb_template *ret, struct sb_err *err);
/* 0; 1: a value is missing (out is as before); -1: out's cap. Objects and arrays count as missing here. */
int sb_template_text(const struct sb_template *t, const struct sb_tape *tape, struct sb_buf *out);

#endif
