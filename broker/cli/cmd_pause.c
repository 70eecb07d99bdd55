/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include <string.h>

#include "broker/cli/control.h"

#define NAMES_MAX 512
#define TOLD_MAX 20

static const struct sb_cli_option options[] = {
	SB_OPTION_DATA_DIR,
	{ 0 },
};

/* The daemon knows which names there are; the configuration in the file may be a newer one. */
static void suggest(struct sb_control *c, const char *kind, const char *name)
{
	json_t *status = NULL, *item;
	const char *names[NAMES_MAX], *near;
	size_t i, n = 0;

	if (sb_control_call(c, "GET", "/v1/status", NULL, false, &status) == 0)
		json_array_foreach(json_object_get(status, strcmp(kind, "source") == 0 ? "sources" : "targets"), i,
			item) if (n < NAMES_MAX) names[n++] = sb_json_text_of(item, "name");
	near = sb_nearest(name, names, n);
	if (near) {
		sb_hint(&c->cli->failure, "did you mean `%s`?", near);
		fprintf(c->cli->err, "%s\n", c->cli->failure.hint);
	} else if (n) {
		fputs("there are:", c->cli->err);
	}
	for (i = 0; !near && i < SB_MIN(n, (size_t)TOLD_MAX); i++)
		fprintf(c->cli->err, " %s", names[i]);
	if (!near && n)
		fputs(n > TOLD_MAX ? " ...\n" : "\n", c->cli->err);
	json_decref(status);
}

static bool is_unknown(const json_t *answer)
{
	return strcmp(sb_json_text_of(json_object_get(answer, "error"), "code"), "not_found") == 0;
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
	if (r == SB_EXIT_NO && is_unknown(answer))
		suggest(&c, kind, name);
	if (r == 0 && sb_cli_format_is(cli, "json"))
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
	.options = options,
	.details = "It holds over a restart. A paused target's deliveries wait in the journal; a paused source answers "
		   "503.\n\n"
		   "  signalbox pause target invoice\n"
		   "  signalbox resume target invoice\n\n"
		   "exit code: 0 done, 1 there is none of that name, 4 no daemon, 5 refused",
	.min_args = 2,
	.max_args = 2,
	.run = run_pause,
};

const struct sb_cli_verb sb_cmd_resume = {
	.name = "resume",
	.summary = "let a paused source or target go on",
	.usage = "source|target NAME",
	.options = options,
	.details = "  signalbox resume target invoice\n\n"
		   "exit code: 0 done, 1 there is none of that name, 4 no daemon, 5 refused",
	.min_args = 2,
	.max_args = 2,
	.run = run_resume,
};
