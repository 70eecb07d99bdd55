/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BROKER_WORLD_H
#define SB_TESTS_BROKER_WORLD_H

#include "broker/config.h"

/*
 * A registry of small connectors, `hook` and `events` (sources), `run`, `log` and `bus` (targets), and what configuration
 * tests ask for again and again.
 */
struct hook_conf {
	const char *path;
};

struct run_conf {
	struct sb_strs command;
	int64_t max;
	const char *secret;
};

extern const struct sb_connector sb_connector_hook, sb_connector_run;

/*
 * The room of rules is not linked: sb_ruleset_load() gives what world_rules(world_spec) makes, or adds the error of a rule
 * file when world_spec is NULL.
 */
extern const char *world_spec;
/* A ruleset of one rule for each "bus>target" word of `spec`, as "default>invoice audit>trail". */
struct sb_ruleset *world_rules(const char *spec);
struct sb_config *world_config(const char *text); /* NULL, with its errors on stderr, when there are any */

#endif
