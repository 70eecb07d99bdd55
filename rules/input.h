/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_RULES_INPUT_H
#define SB_RULES_INPUT_H

#include "rules/rules.h"

/*
 * Compile what stands behind a target's `input:`, `input_path:` or `input_transformer:` (`kind` says which). NULL with
 * errors. It lives in the arena and keeps no pointer into the node tree.
 */
const struct sb_input *sb_input_compile(struct sb_arena *a, enum sb_input_kind kind, const struct sb_node *n,
	struct sb_diags *diags);
/* Append a node as compact JSON. NULL, or the node that has no JSON form (a number as only YAML writes it). */
const struct sb_node *sb_node_add_json(const struct sb_node *n, struct sb_buf *out);

#endif
