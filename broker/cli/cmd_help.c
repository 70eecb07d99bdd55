/* SPDX-License-Identifier: Apache-2.0 */
/* `signalbox help`, `help check`, and `help E004`, which every finding points to. */
#include <string.h>

#include <jansson.h>

#include "broker/cli/cli.h"

static enum sb_code find_code(const char *topic)
{
	for (unsigned i = 1; i < SB_E_NCODES; i++)
		if (strcmp(topic, sb_code_id((enum sb_code)i)) == 0 ||
			strcmp(topic, sb_code_name((enum sb_code)i)) == 0)
			return (enum sb_code)i;
	return SB_OK;
}

static const struct sb_cli_verb *find_verb(const struct sb_cli *cli, const char *topic)
{
	for (const struct sb_cli_verb *v = cli->verbs; v->name; v++)
		if (strcmp(v->name, topic) == 0)
			return v;
	return NULL;
}

static json_t *verb_json(const struct sb_cli_verb *v)
{
	json_t *options = json_array();

	for (const struct sb_cli_option *o = v->options; o && o->name; o++)
		json_array_append_new(
			options, json_pack("{s:s, s:s?, s:s}", "name", o->name, "argument", o->arg, "help", o->doc));
	return json_pack("{s:s, s:s, s:s, s:o}", "name", v->name, "summary", v->summary, "usage",
		v->usage ? v->usage : "", "options", options);
}

static json_t *commands_json(const struct sb_cli *cli, const struct sb_cli_verb *only)
{
	json_t *commands = json_array();

	for (const struct sb_cli_verb *v = cli->verbs; v->name; v++)
		if (only ? v == only : !v->hidden)
			json_array_append_new(commands, verb_json(v));
	return json_pack("{s:i, s:o}", "v", 1, "commands", commands);
}

static int print_json(struct sb_cli *cli, json_t *answer)
{
	json_dumpf(answer, sb_cli_answer(cli), JSON_COMPACT);
	fputc('\n', cli->out);
	json_decref(answer);
	return SB_EXIT_OK;
}

static int help_code(struct sb_cli *cli, enum sb_code code)
{
	if (sb_cli_format_is(cli, "json"))
		return print_json(cli, json_pack("{s:i, s:s, s:s, s:s}", "v", 1, "code", sb_code_id(code), "name",
					       sb_code_name(code), "help", sb_code_help(code)));
	fprintf(cli->out, "%s %s\n\n%s\n", sb_code_id(code), sb_code_name(code), sb_code_help(code));
	return SB_EXIT_OK;
}

static int unknown_topic(struct sb_cli *cli, const char *topic)
{
	const char *names[32], *near;
	size_t n = 0;

	for (const struct sb_cli_verb *v = cli->verbs; v->name && n < SB_LEN(names); v++)
		if (!v->hidden)
			names[n++] = v->name;
	near = sb_nearest(topic, names, n);
	if (near)
		return sb_cli_usage(cli, "nothing is known about `%s`; did you mean `%s`?", topic, near);
	return sb_cli_usage(cli, "nothing is known about `%s`; ask for a command, or a code such as E004", topic);
}

static int run(struct sb_cli *cli)
{
	const char *topic = cli->n_args ? cli->arg[0] : NULL;
	const struct sb_cli_verb *verb = topic ? find_verb(cli, topic) : NULL;
	enum sb_code code = topic ? find_code(topic) : SB_OK;

	if (topic && !verb && code)
		return help_code(cli, code);
	if (topic && !verb)
		return unknown_topic(cli, topic);
	if (sb_cli_format_is(cli, "json"))
		return print_json(cli, commands_json(cli, verb));
	sb_cli_help(cli->verbs, verb, cli->out);
	return SB_EXIT_OK;
}

const struct sb_cli_verb sb_cmd_help = {
	.name = "help",
	.summary = "tell about a command or an error code",
	.usage = "[COMMAND|CODE]",
	.formats = "text json",
	.max_args = 1,
	.run = run,
};
