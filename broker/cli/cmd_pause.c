/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "broker/cli/control.h"

static void suggest(struct sb_cli *cli, const struct sb_config *config, const char *kind, const char *name)
{
	bool source = strcmp(kind, "source") == 0;
	size_t n = source ? config->n_sources : config->n_targets;
	const char **names = sb_xcalloc((n + 1) * sizeof(*names)), *near;

	for (size_t i = 0; i < n; i++)
		names[i] = source ? config->source[i].name : config->target[i].name;
	near = sb_nearest(name, names, n);
	if (near)
		fprintf(cli->err, "did you mean `%s`?\n", near);
	free(names);
}

static int set_pause(struct sb_cli *cli, const char *path, const char *done)
{
	const char *kind = cli->arg[0], *name = cli->arg[1];
	json_t *answer = NULL;
	struct sb_control c;
	int r;

	if (strcmp(kind, "source") != 0 && strcmp(kind, "target") != 0)
		return sb_cli_usage(cli, "first `source` or `target`, then its name; found `%s`", kind);
	r = sb_control_find(cli, &c);
	if (r)
		return r;
	r = sb_control_call(&c, "POST", path, json_pack("{s:s,s:s}", "kind", kind, "name", name), true, &answer);
	if (r == SB_EXIT_REFUSED)
		suggest(cli, c.config, kind, name);
	if (sb_cli_format_is(cli, "json") && answer)
		sb_print_json(cli, answer);
	else if (r == 0 && !cli->quiet)
		fprintf(cli->out, "ok %s %s is %s\n", kind, name, done);
	json_decref(answer);
	sb_control_done(&c);
	return r;
}

static int run_pause(struct sb_cli *cli)
{
	return set_pause(cli, "/v1/pause", "paused");
}

static int run_resume(struct sb_cli *cli)
{
	return set_pause(cli, "/v1/resume", "running");
}

const struct sb_cli_verb sb_cmd_pause = {
	.name = "pause",
	.summary = "stop taking events from a source, or giving them to a target",
	.usage = "source|target NAME",
	.details = "It holds over a restart. A paused target's deliveries wait in the journal; a paused source answers 503.\n\n"
		   "  signalbox pause target invoice\n",
	.min_args = 2,
	.max_args = 2,
	.run = run_pause,
};

const struct sb_cli_verb sb_cmd_resume = {
	.name = "resume",
	.summary = "let a paused source or target go on",
	.usage = "source|target NAME",
	.min_args = 2,
	.max_args = 2,
	.run = run_resume,
};
