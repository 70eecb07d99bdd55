/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_CLI_H
#define SB_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "broker/base/diag.h"
#include "broker/exit.h"

/*
 * The command line: one table of verbs, one file a verb (cmd_<verb>.c). Parsing, help, nearest names and the options that
 * every verb has (-c, -o, --color, -q, -h) live in cli.c. A verb is a function of its struct sb_cli that returns an exit code;
 * it prints data on cli->out and everything else on cli->err, so that tests run it in their own process.
 */

struct sb_cli_option {
	const char *name; /* "strict" for --strict */
	char letter;      /* 's' for -s; 0: none */
	const char *arg;  /* "FILE": takes a value; NULL: a flag */
	const char *doc;
};

struct sb_cli;
struct sb_cli_verb {
	const char *name, *summary;           /* summary: one line, lower-case, no full stop */
	const char *usage;                    /* behind "signalbox check ": "[OPTION...]" */
	const struct sb_cli_option *options;  /* its own; ends with a zero row; may be NULL */
	const char *formats;                  /* what -o takes, the default first: "table json"; NULL: "table json" */
	const char *details;                  /* examples and the like, for help; may be NULL */
	size_t min_args, max_args;            /* words that are no options */
	int (*run)(struct sb_cli *cli);       /* returns enum sb_exit */
	bool hidden;                          /* not in help: the spawner */
};

#define SB_CLI_VALUES 24
struct sb_cli {
	const struct sb_cli_verb *verb, *verbs; /* the table, a zero row behind the last */
	const char *value[SB_CLI_VALUES];       /* of verb->options, by row; NULL: not given, "": a flag that was */
	char **arg;                             /* words that are no options, NULL behind the last */
	size_t n_args;
	const char *config;                     /* -c, else SIGNALBOX_CONFIG, else signalbox.yaml */
	const char *format;                     /* -o, else the verb's first */
	char first_format[16];
	bool quiet;                             /* -q: no chatter on err beyond errors */
	bool color_out, color_err;              /* decided by --color, NO_COLOR, CLICOLOR_FORCE, TERM and the terminal */
	FILE *out, *err;
	struct sb_err failure;                  /* what sb_cli_error or sb_cli_usage said last */
	char failure_code[32];                  /* its code in JSON: "usage", a code's name, or what the daemon said */
	bool answered;                          /* see sb_cli_answer */
};

/* Everything: parse, run the verb, return its code. `verbs` ends with a zero row. */
int sb_cli_main(int argc, char **argv, const struct sb_cli_verb *verbs, FILE *out, FILE *err);

/* The value of one of the verb's own options: NULL: not given, "": a flag that was. Asserts that the verb has it. */
const char *sb_cli_get(const struct sb_cli *cli, const char *name);
static inline bool sb_cli_has(const struct sb_cli *cli, const char *name)
{
	return sb_cli_get(cli, name) != NULL;
}
bool sb_cli_format_is(const struct sb_cli *cli, const char *format);

/* "signalbox check: ..." on err, and SB_EXIT_USAGE, so that `return sb_cli_usage(cli, ...)` reads as one statement. */
int sb_cli_usage(struct sb_cli *cli, const char *fmt, ...) SB_PRINTF(2, 3);
/* The same for a failure that is no usage error; prints the hint too. Returns `code`. */
int sb_cli_error(struct sb_cli *cli, enum sb_exit code, const struct sb_err *err);
/*
 * With -o json a verb prints one JSON value, whatever happens. One that fails before it has printed it leaves that to sb_cli_main,
 * which prints {"v":1,"error":{"code","message","hint"}} of what was said last. One that has more to tell prints its own, with the
 * same error in it: sb_cli_add_error adds the member `"error":{...}`. sb_cli_answer is where that value goes, and notes that it came.
 */
FILE *sb_cli_answer(struct sb_cli *cli);
void sb_cli_add_error(const struct sb_cli *cli, struct sb_buf *out);
/* What went wrong is told in another way than by sb_cli_error: the JSON has it all the same. `code` NULL: the name of err's. */
void sb_cli_note(struct sb_cli *cli, const char *code, const struct sb_err *err);
/* Errors in what the user wrote: all of them on err, and as "diagnostics" beside the error in JSON. Returns `code`. */
int sb_cli_findings(struct sb_cli *cli, enum sb_exit code, const struct sb_diags *diags);
/* For a verb that does not return to sb_cli_main: the JSON that it owes. */
void sb_cli_answer_failure(struct sb_cli *cli);

/* Print a verb's help, or with NULL the list of verbs. */
void sb_cli_help(const struct sb_cli_verb *verbs, const struct sb_cli_verb *verb, FILE *out);

/* Verbs, one a file. */
extern const struct sb_cli_verb sb_cmd_audit, sb_cmd_check, sb_cmd_dlq, sb_cmd_help, sb_cmd_match, sb_cmd_pause, sb_cmd_reload, sb_cmd_resume, sb_cmd_run,
	sb_cmd_send, sb_cmd_status, sb_cmd_version;

#endif
