/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include <inttypes.h>

#include "broker/cli/control.h"
#include "broker/cli/output.h"
#include "broker/cli/status_redis.h"

static const char *state_of(const json_t *t)
{
	if (sb_json_number_of(t, "held"))
		return "held: no room for dead letters";
	if (sb_json_true_of(t, "abandoned"))
		return "removed, becomes dead letters";
	if (sb_json_true_of(t, "removed") && !*sb_json_text_of(t, "type"))
		return "removed, waits";
	if (sb_json_true_of(t, "paused"))
		return sb_json_true_of(t, "removed") ? "removed, paused" : "paused";
	if (sb_json_true_of(t, "removed"))
		return "removed, drains";
	if (sb_json_number_of(t, "unreachable_for_ms"))
		return "unreachable";
	if (sb_json_true_of(t, "at_max_retrying"))
		return "at max_retrying";
	return "ok";
}

static void print_sources(struct sb_cli *cli, const json_t *list)
{
	static const struct sb_column columns[] = {
		{ "SOURCE", false, 12 },
		{ "TYPE", false, 0 },
		{ "RECEIVED", true, 0 },
		{ "REFUSED", true, 0 },
		{ "STATE", false, 0 },
		{ 0 },
	};
	struct sb_table t;
	size_t i;
	json_t *s;

	sb_table_init(&t, columns);
	json_array_foreach(list, i, s)
	{
		sb_table_text(&t, sb_json_text_of(s, "name"));
		sb_table_text(&t, sb_json_text_of(s, "type"));
		sb_table_number(&t, sb_json_number_of(s, "received"));
		sb_table_number(&t, sb_json_number_of(s, "refused"));
		sb_table_text(&t, sb_json_true_of(s, "paused") ? "paused" : "ok");
	}
	sb_table_print(&t, sb_terminal_width(cli->out), cli->out);
	sb_table_done(&t);
}

static void print_targets(struct sb_cli *cli, const json_t *list)
{
	static const struct sb_column columns[] = {
		{ "TARGET", false, 12 },
		{ "TYPE", false, 0 },
		{ "INFLIGHT", true, 0 },
		{ "QUEUED", true, 0 },
		{ "RETRYING", true, 0 },
		{ "DELIVERED", true, 0 },
		{ "DEAD", true, 0 },
		{ "OLDEST", true, 0 },
		{ "STATE", false, 0 },
		{ 0 },
	};
	static const char *const numbers[] = { "in_flight", "queued", "retrying", "delivered", "dead" };
	struct sb_table t;
	size_t i;
	json_t *v;

	sb_table_init(&t, columns);
	json_array_foreach(list, i, v)
	{
		sb_table_text(&t, sb_json_text_of(v, "name"));
		sb_table_text(&t, sb_json_text_of(v, "type"));
		for (size_t k = 0; k < SB_LEN(numbers); k++)
			sb_table_number(&t, sb_json_number_of(v, numbers[k]));
		sb_table_age(&t, sb_json_number_of(v, "oldest_ms"));
		sb_table_text(&t, state_of(v));
	}
	sb_table_print(&t, sb_terminal_width(cli->out), cli->out);
	sb_table_done(&t);
}

static void print_status(struct sb_cli *cli, const json_t *s)
{
	const json_t *dead = json_object_get(s, "dead_letters"), *journal = json_object_get(s, "journal");
	const json_t *counts = json_object_get(s, "counts");
	char up[SB_TIME_TEXT];

	fprintf(cli->out, "signalbox %s, pid %" PRIu64 ", up %s, generation %" PRIu64 "%s\n\n",
		sb_json_text_of(s, "version"), sb_json_number_of(s, "pid"),
		sb_age_text(sb_json_number_of(s, "uptime_ms"), up), sb_json_number_of(s, "generation"),
		sb_json_true_of(s, "stopping") ? ", stopping"
		: sb_json_true_of(s, "ready")  ? ""
					       : ", not ready");
	print_sources(cli, json_object_get(s, "sources"));
	fputc('\n', cli->out);
	print_targets(cli, json_object_get(s, "targets"));
	fprintf(cli->out,
		"\nevents: %" PRIu64 ", unmatched: %" PRIu64 ", outstanding deliveries: %" PRIu64 ", journal segments: %" PRIu64
		", dead letters: %" PRIu64 "\n",
		sb_json_number_of(counts, "events"), sb_json_number_of(counts, "unmatched"),
		sb_json_number_of(journal, "outstanding"), sb_json_number_of(journal, "segments"),
		sb_json_number_of(dead, "letters"));
	if (sb_json_true_of(journal, "full"))
		fputs("THE DISK IS FULL: new events are refused\n", cli->out);
}

static int run(struct sb_cli *cli)
{
	struct sb_control c;
	json_t *answer = NULL;
	int r;

	if (sb_cli_has(cli, "redis"))
		return sb_status_redis(cli);
	if (sb_cli_has(cli, "cluster"))
		return sb_cli_usage(cli, "--cluster goes with --redis");
	r = sb_control_find(cli, &c);
	if (r)
		return r;
	r = sb_control_call(&c, "GET", "/v1/status", NULL, true, &answer);
	if (r == 0 && sb_cli_format_is(cli, "json"))
		sb_print_json(cli, answer);
	else if (r == 0 && !cli->quiet)
		print_status(cli, answer);
	json_decref(answer);
	sb_control_done(&c);
	return r;
}

static const struct sb_cli_option options[] = {
	SB_OPTION_DATA_DIR,
	{ .name = "redis", .arg = "URL", .doc = "the whole cluster, from what its daemons tell a Redis (metrics: {redis: ...})" },
	{ .name = "cluster", .arg = "NAME", .doc = "with --redis: which one; default: default" },
	{ 0 },
};

const struct sb_cli_verb sb_cmd_status = {
	.name = "status",
	.summary = "what a running daemon is doing: sources, targets, dead letters",
	.usage = "[OPTION...]",
	.options = options,
	.details = "  signalbox status\n"
		   "  signalbox status -o json | jq .targets\n"
		   "  signalbox status -q || echo down    print nothing: the exit code tells\n"
		   "  signalbox status --redis redis://10.0.0.5 --cluster shop\n\n"
		   "The password for --redis may stand in SIGNALBOX_REDIS_PASSWORD instead of the URL.\n\n"
		   "exit code: 0 a daemon answers, 4 there is none",
	.run = run,
};
