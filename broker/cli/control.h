/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_CONTROL_H
#define SB_CLI_CONTROL_H

#include <jansson.h>

#include "broker/cli/cli.h"
#include "broker/config.h"

/*
 * How verbs reach the daemon: HTTP and JSON over <data_dir>/control.sock. The configuration says where that is; only
 * signalbox.yaml is read, not the rules, so that a broken rule file does not keep anybody from asking.
 */
struct sb_control {
	struct sb_cli *cli;
	const struct sb_config *config;
	char socket[4200];
};

/* 0, or an exit code that has been explained on cli->err. */
int sb_control_find(struct sb_cli *cli, struct sb_control *ret);
void sb_control_done(struct sb_control *c);
/* *ret is the answer's body, one reference. 0: status below 300. An exit code otherwise; then it has been explained, and *ret
 * is the body where there is one. SB_EXIT_UNREACHABLE is explained only when `must` is set. */
int sb_control_call(struct sb_control *c, const char *method, const char *path, json_t *body, bool must, json_t **ret);

/* What verbs print. */
void sb_print_json(struct sb_cli *cli, const json_t *v);
const char *sb_json_text_of(const json_t *o, const char *key);  /* "" when absent */
uint64_t sb_json_number_of(const json_t *o, const char *key);   /* 0 when absent */
bool sb_json_true_of(const json_t *o, const char *key);

#endif
