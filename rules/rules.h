/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_RULES_RULES_H
#define SB_RULES_RULES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/arena.h"
#include "broker/base/diag.h"
#include "broker/base/event.h"
#include "broker/base/node.h"

/*
 * Rules: event patterns, what a target gets of the event, rule files, and the immutable ruleset that shards match with.
 * Everything compiled is immutable and may be read from any thread. The language is EventBridge's, verdict for verdict
 * as Event Ruler gives it; where we deviate, docs/rules.md has a named case.
 */

/* ------------------------------------------------------------------------------------------------ patterns */

struct sb_pattern;
/*
 * Compile a pattern; it lives in the arena and keeps no pointer into the node tree. `at` must be a map node. All errors
 * go to `diags` with their places; returns NULL when there were any.
 */
const struct sb_pattern *sb_pattern_compile(struct sb_arena *a, const struct sb_node *at, struct sb_diags *diags);
/* A pattern node as rule files write it: a map, or a string that holds JSON text (read by our JSON reader). */
const struct sb_pattern *sb_pattern_compile_node(struct sb_arena *a, const struct sb_node *at, struct sb_diags *diags);
/* Does an event match? The reference evaluator of rules/naive.c: plain, reads the tape, allocates nothing lasting. */
bool sb_pattern_match(const struct sb_pattern *p, const struct sb_tape *event);

/* ------------------------------------------------------------------------------------------------ inputs */

/* What a target gets. */
enum sb_input_kind { SB_INPUT_EVENT, SB_INPUT_CONSTANT, SB_INPUT_PATH, SB_INPUT_TRANSFORMER };
struct sb_input;

struct sb_input_vars { /* the predefined variables, aws.events.* */
	const char *rule_name, *rule_arn;
	uint64_t ingestion_ms;
};

enum sb_input_kind sb_input_kind(const struct sb_input *in); /* NULL is SB_INPUT_EVENT */
/*
 * Append the input for this event to `out` as JSON text. For SB_INPUT_EVENT nothing is appended: the event's bare form is
 * the input. -1 with *err: the result is no JSON (INVALID_JSON) or larger than out's cap.
 */
int sb_input_render(const struct sb_input *in, const struct sb_event *ev, const struct sb_input_vars *vars,
	struct sb_buf *out, struct sb_err *err);

/* ------------------------------------------------------------------------------------------------ rulesets */

enum sb_rule_state { SB_RULE_ENABLED, SB_RULE_DISABLED, SB_RULE_SHADOW };

struct sb_rule_target {
	const char *target;           /* interned name; resolved by the broker against its targets */
	const struct sb_input *input; /* NULL: the whole event */
	struct sb_loc at;             /* of the name, for "no such target" */
};

struct sb_rule {
	const char *name, *description, *bus; /* interned name and bus */
	enum sb_rule_state state;
	const struct sb_pattern *pattern;
	struct sb_rule_target *target;
	size_t n_targets;
	struct sb_loc at;      /* of the name */
	uint32_t index;        /* in the ruleset: for counters */
};

/* Immutable and reference-counted: the control thread builds it, every shard holds one reference. */
struct sb_ruleset {
	atomic_uint refs;
	struct sb_arena arena;
	struct sb_rule *rule;
	size_t n;
	struct sb_slice text;  /* canonical text of all rules, for the GENERATION record */
	const void *index;     /* the matcher's: rules by bus */
};

/*
 * Read rules from every *.yaml, *.yml and *.json under a folder (sorted by path, *_test.yaml left out), or from one file.
 * A file is {version, rules: [...]} or one bare rule with `name:`. All errors of all files go to `diags`. An absent
 * folder is an error, an empty one a warning. After errors the set is not whole: what could be read of each rule (a bus or
 * a pattern may be NULL), so that its references can be checked in the same run; it matches nothing and has no text.
 */
struct sb_ruleset *sb_ruleset_load(const char *path, struct sb_diags *diags);
bool sb_ruleset_whole(const struct sb_ruleset *rs);
/* From texts in memory, for tests: files[i] named names[i]. NULL when there were errors. */
struct sb_ruleset *sb_ruleset_parse(const char *const *names, const struct sb_slice *files, size_t n, struct sb_diags *diags);
struct sb_ruleset *sb_ruleset_ref(struct sb_ruleset *rs);
void sb_ruleset_unref(struct sb_ruleset *rs);

/* Reusable result: the rules that matched, in ruleset order, disabled ones left out, shadow ones included. */
struct sb_hits {
	const struct sb_rule **rule;
	size_t n, cap;
};
void sb_ruleset_match(const struct sb_ruleset *rs, const struct sb_event *ev, struct sb_hits *ret);
void sb_hits_done(struct sb_hits *h);

#endif
