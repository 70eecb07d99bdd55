/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include <inttypes.h>

#include "broker/base/clock.h"
#include "broker/cli/control.h"

static const char *state_of(const json_t *t)
{
	if (sb_json_true_of(t, "paused"))
		return "paused";
	if (sb_json_number_of(t, "unreachable_for_ms"))
		return "unreachable";
	if (sb_json_number_of(t, "held"))
		return "held: no room for dead letters";
	if (sb_json_true_of(t, "at_max_retrying"))
		return "at max_retrying";
	return "ok";
}

static void print_sources(struct sb_cli *cli, const json_t *list)
{
	size_t i;
	json_t *s;

	fprintf(cli->out, "%-20s %-10s %12s %9s  %s\n", "SOURCE", "TYPE", "RECEIVED", "REFUSED", "STATE");
	json_array_foreach(list, i, s)
		fprintf(cli->out, "%-20s %-10s %12" PRIu64 " %9" PRIu64 "  %s\n", sb_json_text_of(s, "name"), sb_json_text_of(s, "type"),
			sb_json_number_of(s, "received"), sb_json_number_of(s, "refused"), sb_json_true_of(s, "paused") ? "paused" : "ok");
}

static void print_targets(struct sb_cli *cli, const json_t *list)
{
	char oldest[SB_TIME_TEXT];
	size_t i;
	json_t *t;

	fprintf(cli->out, "\n%-20s %-10s %9s %8s %8s %12s %8s %9s  %s\n", "TARGET", "TYPE", "INFLIGHT", "QUEUED", "RETRYING",
		"DELIVERED", "DEAD", "OLDEST", "STATE");
	json_array_foreach(list, i, t) {
		uint64_t age = sb_json_number_of(t, "oldest_ms");

		sb_duration_format(age >= 1000 ? age / 1000 * 1000 : age, oldest);
		fprintf(cli->out, "%-20s %-10s %9" PRIu64 " %8" PRIu64 " %8" PRIu64 " %12" PRIu64 " %8" PRIu64 " %9s  %s\n",
			sb_json_text_of(t, "name"), sb_json_text_of(t, "type"), sb_json_number_of(t, "in_flight"),
			sb_json_number_of(t, "queued"), sb_json_number_of(t, "retrying"), sb_json_number_of(t, "delivered"),
			sb_json_number_of(t, "dead"), age ? oldest : "-", state_of(t));
	}
}

static void print_status(struct sb_cli *cli, const json_t *s)
{
	const json_t *dead = json_object_get(s, "dead_letters"), *journal = json_object_get(s, "journal");
	char up[SB_TIME_TEXT];

	sb_duration_format(sb_json_number_of(s, "uptime_ms") / 1000 * 1000, up);
	fprintf(cli->out, "signalbox %s, pid %" PRIu64 ", up %s, generation %" PRIu64 "%s\n\n", sb_json_text_of(s, "version"),
		sb_json_number_of(s, "pid"), up, sb_json_number_of(s, "generation"),
		sb_json_true_of(s, "stopping") ? ", stopping" : "");
	print_sources(cli, json_object_get(s, "sources"));
	print_targets(cli, json_object_get(s, "targets"));
	fprintf(cli->out, "\n%" PRIu64 " dead letters, %" PRIu64 " deliveries outstanding, %" PRIu64 " journal segments%s\n",
		sb_json_number_of(dead, "letters"), sb_json_number_of(journal, "outstanding"), sb_json_number_of(journal, "segments"),
		sb_json_true_of(journal, "full") ? ", THE DISK IS FULL: new events are refused" : "");
}

static int run(struct sb_cli *cli)
{
	struct sb_control c;
	json_t *answer = NULL;
	int r = sb_control_find(cli, &c);

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

const struct sb_cli_verb sb_cmd_status = {
	.name = "status",
	.summary = "what a running daemon is doing: sources, targets, dead letters",
	.usage = "[-o table|json] [-q]",
	.details = "With -q nothing is printed: the exit code says whether a daemon answers.\n\n  signalbox status -o json | jq .targets\n",
	.run = run,
};
