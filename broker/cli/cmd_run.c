/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include <string.h>
#include <unistd.h>

#include "broker/daemon.h"

#define FINDINGS_MAX (4u << 20)

static const struct sb_cli_option options[] = {
	{ .name = "orphans",
		.arg = "dead-letter",
		.doc = "give up what is owed to targets that are not configured" },
	{ 0 },
};

/* NULL: not valid. Warnings are told too. */
static const struct sb_config *load(struct sb_cli *cli)
{
	struct sb_buf text = SB_BUF(FINDINGS_MAX);
	struct sb_diags diags = { 0 };
	const struct sb_config *config = sb_config_load(cli->config, NULL, &diags);

	if (!config) {
		sb_cli_findings(cli, SB_EXIT_CONFIG, &diags);
	} else if (diags.n) {
		sb_diags_format(&diags, SB_DIAG_LONG, cli->color_err, &text);
		fwrite(text.p, 1, text.len, cli->err);
		fflush(cli->err);
	}
	sb_buf_done(&text);
	sb_diags_done(&diags);
	return config;
}

/* The log has said why; threads may run, and the disk has all. */
_Noreturn static void not_started(struct sb_cli *cli, int code, const struct sb_err *err)
{
	sb_cli_note(cli, NULL, err);
	if (sb_cli_format_is(cli, "json"))
		sb_cli_answer_failure(cli);
	fflush(cli->out);
	fflush(cli->err);
	_exit(code);
}

static int run(struct sb_cli *cli)
{
	const char *orphans = sb_cli_get(cli, "orphans");
	const struct sb_config *config;
	struct sb_err err = { 0 };
	int r;

	if (orphans && strcmp(orphans, "dead-letter") != 0)
		return sb_cli_usage(cli, "--orphans is dead-letter, not '%s'", orphans);
	config = load(cli);
	if (!config)
		return SB_EXIT_CONFIG;
	r = sb_daemon_run(config, orphans ? SB_ORPHANS_DEAD_LETTER : SB_ORPHANS_REFUSE, &err);
	if (r)
		not_started(cli, r, &err);
	return r;
}

const struct sb_cli_verb sb_cmd_run = {
	.name = "run",
	.summary = "run the daemon",
	.usage = "[-c signalbox.yaml] [--orphans dead-letter]",
	.options = options,
	.details = "Reads the configuration and its rules, and serves until SIGTERM or Ctrl-C. SIGHUP reloads.\n"
		   "It logs on standard error: for people on a terminal, one JSON object a line elsewhere. When every\n"
		   "listener is open it says `ready` with the address, and writes <data_dir>/ready.json.\n\n"
		   "What the journal owes to a target that is not configured waits, and `status` shows it, until the\n"
		   "target is configured again or --orphans dead-letter gives it up.\n\n"
		   "  signalbox run -c deploy/examples/signalbox.yaml\n",
	.formats = "table json",
	.run = run,
};
