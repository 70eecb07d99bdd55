/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include <string.h>

#include "broker/daemon.h"

static const struct sb_cli_option options[] = {
	{ .name = "orphans",
		.arg = "dead-letter",
		.doc = "give up what is owed to targets that are not configured" },
	{ 0 },
};

static int run(struct sb_cli *cli)
{
	const char *orphans = sb_cli_get(cli, "orphans");

	if (orphans && strcmp(orphans, "dead-letter") != 0)
		return sb_cli_usage(cli, "--orphans is dead-letter, not '%s'", orphans);
	return sb_daemon_run(cli->config, orphans ? SB_ORPHANS_DEAD_LETTER : SB_ORPHANS_REFUSE, cli->err);
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
