/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_CONTROL_H
#define SB_CLI_CONTROL_H

#include <jansson.h>

#include "broker/cli/cli.h"
#include "broker/config.h"

/*
 * How verbs reach the daemon: HTTP and JSON over <data_dir>/control.sock. The configuration says where that is, unless
 * --data-dir does; only signalbox.yaml is read, not the rules, so that neither a broken rule file nor a variable that only
 * the daemon's environment has keeps anybody from asking.
 */
struct sb_control {
	struct sb_cli *cli;
	const struct sb_config *config; /* NULL: --data-dir, or it has errors */
	char data_dir[4096];
	char socket[4200]; /* "unix:..." */
};

/* A row of every verb that calls sb_control_find. */
#define SB_OPTION_DATA_DIR \
	{ .name = "data-dir", .arg = "DIR", .doc = "the daemon's data folder, instead of what the configuration says" }

/* 0, or an exit code that has been explained on cli->err. */
int sb_control_find(struct sb_cli *cli, struct sb_control *ret);
void sb_control_done(struct sb_control *c);

/*
 * One call; `body` (may be NULL) is consumed. 0: status below 300. An exit code otherwise, which has been explained; a reload
 * that found errors is SB_EXIT_CONFIG, a name that is not there SB_EXIT_NO, every other refusal SB_EXIT_REFUSED. Nobody there is SB_EXIT_UNREACHABLE, and that is
 * explained only when `must` is set. Whatever came is in *ret: its text, or its value (one reference, or NULL).
 */
int sb_control_text(struct sb_control *c, const char *method, const char *path, json_t *body, bool must, struct sb_buf *ret);
int sb_control_call(struct sb_control *c, const char *method, const char *path, json_t *body, bool must, json_t **ret);
/* The most that a daemon may answer: SB_BUF(SB_CONTROL_ANSWER). */
#define SB_CONTROL_ANSWER (256u << 20)

void sb_print_json(struct sb_cli *cli, const json_t *v); /* the one answer, see sb_cli_answer */
json_t *sb_error_value(const struct sb_cli *cli);        /* what went wrong last, as sb_cli_add_error tells it; new reference */
const char *sb_json_text_of(const json_t *o, const char *key);  /* "" when absent */
uint64_t sb_json_number_of(const json_t *o, const char *key);   /* 0 when absent */
bool sb_json_true_of(const json_t *o, const char *key);

#endif
