/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include "broker/daemon.h"

static int run(struct sb_cli *cli)
{
	return sb_daemon_run(cli->config, cli->err);
}

const struct sb_cli_verb sb_cmd_run = {
	.name = "run",
	.summary = "run the daemon",
	.usage = "[-c signalbox.yaml]",
	.details = "Reads the configuration and its rules, and serves until SIGTERM or Ctrl-C. SIGHUP reloads.\n"
		   "It logs on standard error: for people on a terminal, one JSON object a line elsewhere. When every\n"
		   "listener is open it says `ready` with the address, and writes <data_dir>/ready.json.\n\n"
		   "  signalbox run -c deploy/examples/signalbox.yaml\n",
	.formats = "table json",
	.run = run,
};
