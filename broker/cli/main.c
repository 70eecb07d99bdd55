/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "broker/cli/cli.h"
#include "executor/proc.h"

int main(int argc, char **argv)
{
	static const struct sb_cli_verb *const table[] = {
		&sb_cmd_run, &sb_cmd_check, &sb_cmd_match, &sb_cmd_send, &sb_cmd_dlq, &sb_cmd_pause, &sb_cmd_resume, &sb_cmd_status,
		&sb_cmd_audit, &sb_cmd_reload, &sb_cmd_version, &sb_cmd_help,
	};
	struct sb_cli_verb verbs[SB_LEN(table) + 1] = { 0 };

	if (argc > 1 && strcmp(argv[1], SB_SPAWNER_VERB) == 0)
		return sb_spawner_main(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < SB_LEN(table); i++)
		verbs[i] = *table[i];
	return sb_cli_main(argc, argv, verbs, stdout, stderr);
}
