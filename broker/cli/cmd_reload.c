/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include <inttypes.h>
#include <string.h>

#include "broker/cli/control.h"

static const struct sb_cli_option options[] = {
	{ .name = "orphans",
		.arg = "drain|dead-letter",
		.doc = "what becomes of deliveries owed to a target that is removed" },
	SB_OPTION_DATA_DIR,
	{ 0 },
};

static void print_changes(struct sb_cli *cli, const json_t *answer)
{
	const json_t *changes = json_object_get(answer, "changes");
	size_t i, n = json_array_size(changes);
	json_t *c;

	json_array_foreach(changes, i, c) fprintf(cli->out, "%-7s %-6s %s\n", sb_json_text_of(c, "kind"),
		sb_json_text_of(c, "what"), sb_json_text_of(c, "name"));
	fprintf(cli->out, "ok generation %" PRIu64 ", %" PRIu64 " rules, %zu change%s\n",
		sb_json_number_of(answer, "generation"), sb_json_number_of(answer, "rules"), n, n == 1 ? "" : "s");
}

static void print_orphans(struct sb_cli *cli, const json_t *answer)
{
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(answer, "orphans"), i, o)
	{
		const char *fate = sb_json_text_of(o, "fate");

		fprintf(cli->out, "removed target %s: %" PRIu64 " deliveries owed, ", sb_json_text_of(o, "target"),
			sb_json_number_of(o, "owed"));
		if (strcmp(fate, "dead-letter") == 0)
			fprintf(cli->out, "they become dead letters\n");
		else if (strcmp(fate, "drain") == 0)
			fprintf(cli->out, "it goes when they are delivered\n");
		else
			fprintf(cli->out, "they wait: configure it again, or reload --orphans dead-letter\n");
	}
}

static int run(struct sb_cli *cli)
{
	const char *orphans = sb_cli_get(cli, "orphans");
	json_t *answer = NULL, *body;
	struct sb_control c;
	int r;

	if (orphans && strcmp(orphans, "drain") != 0 && strcmp(orphans, "dead-letter") != 0)
		return sb_cli_usage(cli, "--orphans is drain or dead-letter, not '%s'", orphans);
	r = sb_control_find(cli, &c);
	if (r)
		return r;
	body = json_object();
	if (orphans)
		json_object_set_new(body, "orphans", json_string(orphans));
	r = sb_control_call(&c, "POST", "/v1/reload", body, true, &answer);
	if (sb_cli_format_is(cli, "json") && answer) {
		sb_print_json(cli, answer);
	} else if (r == 0 && !cli->quiet) {
		print_changes(cli, answer);
		print_orphans(cli, answer);
	}
	json_decref(answer);
	sb_control_done(&c);
	return r;
}

const struct sb_cli_verb sb_cmd_reload = {
	.name = "reload",
	.summary = "make a running daemon read its configuration again, all or nothing",
	.usage = "[OPTION...]",
	.options = options,
	.details = "On any error the configuration in use stays, and every error is told. A change that needs a "
		   "restart is\n"
		   "refused by name, and so is the removal of a target with owed deliveries unless --orphans says what "
		   "becomes\n"
		   "of them. SIGHUP does the same without --orphans.\n\n"
		   "  signalbox reload\n"
		   "  signalbox reload --orphans dead-letter    give up what a removed target is owed\n\n"
		   "exit code: 0 in use, 3 not valid, 4 no daemon, 5 needs a restart or would orphan deliveries",
	.run = run,
};
