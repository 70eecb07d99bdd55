/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

static int run(struct sb_cli *cli)
{
	if (sb_cli_format_is(cli, "json"))
		fputs("{\"v\":1,\"version\":\"" SB_VERSION "\"}\n", cli->out);
	else
		fputs("signalbox " SB_VERSION "\n", cli->out);
	return SB_EXIT_OK;
}

const struct sb_cli_verb sb_cmd_version = {
	.name = "version",
	.summary = "print the version",
	.formats = "text json",
	.run = run,
};
