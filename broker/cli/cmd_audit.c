/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include <inttypes.h>

#include "broker/cli/control.h"
#include "broker/journal/journal.h"

static json_t *audit_json(const struct sb_audit *a)
{
	json_t *routes = json_array();

	for (size_t i = 0; i < a->n; i++) {
		const struct sb_route_count *r = &a->route[i];

		if (r->target[0])
			json_array_append_new(routes, json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I}", "source", r->source, "rule", r->rule,
				"target", r->target, "accepted", (json_int_t)r->accepted, "delivered", (json_int_t)r->delivered,
				"dead_lettered", (json_int_t)r->dead, "in_flight",
				(json_int_t)(r->accepted - r->delivered - r->dead)));
		else
			json_array_append_new(routes, json_pack("{s:s,s:s,s:s,s:I}", "source", r->source, "rule", "", "target", "",
				"unmatched", (json_int_t)r->accepted));
	}
	return json_pack("{s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:s,s:o}", "v", 1, "events", (json_int_t)a->events, "unmatched",
		(json_int_t)a->unmatched, "accepted", (json_int_t)a->accepted, "delivered", (json_int_t)a->delivered, "dead_lettered",
		(json_int_t)a->dead, "in_flight", (json_int_t)a->in_flight, "double_results", (json_int_t)a->double_results,
		"unknown_results", (json_int_t)a->unknown_results, "corrupt_records", (json_int_t)a->corrupt_records, "adds_up",
		a->adds_up, "why_not", a->why_not, "routes", routes);
}

static void print_audit(struct sb_cli *cli, const struct sb_audit *a)
{
	fprintf(cli->out, "%-16s %-24s %-16s %12s %12s %8s %9s\n", "SOURCE", "RULE", "TARGET", "ACCEPTED", "DELIVERED", "DEAD", "INFLIGHT");
	for (size_t i = 0; i < a->n; i++) {
		const struct sb_route_count *r = &a->route[i];

		if (r->target[0])
			fprintf(cli->out, "%-16s %-24s %-16s %12" PRIu64 " %12" PRIu64 " %8" PRIu64 " %9" PRIu64 "\n", r->source, r->rule,
				r->target, r->accepted, r->delivered, r->dead, r->accepted - r->delivered - r->dead);
		else
			fprintf(cli->out, "%-16s %-24s %-16s %12" PRIu64 "\n", r->source, "(no rule matched)", "-", r->accepted);
	}
	fprintf(cli->out, "\n%" PRIu64 " events, %" PRIu64 " unmatched; %" PRIu64 " deliveries = %" PRIu64 " delivered + %" PRIu64
			  " dead-lettered + %" PRIu64 " in flight\n",
		a->events, a->unmatched, a->accepted, a->delivered, a->dead, a->in_flight);
	if (a->corrupt_records)
		fprintf(cli->out, "%" PRIu64 " records are damaged\n", a->corrupt_records);
	if (a->adds_up)
		fputs("it adds up\n", cli->out);
	else
		fprintf(cli->out, "IT DOES NOT ADD UP: %s\n", a->why_not);
}

static int run(struct sb_cli *cli)
{
	struct sb_control c;
	struct sb_audit a;
	struct sb_err err;
	int r = sb_control_find(cli, &c);

	if (r)
		return r;
	if (sb_journal_audit(&sb_vfs_system, c.config->journal.dir, &a, &err) < 0) {
		r = sb_cli_error(cli, SB_EXIT_USAGE, &err);
	} else {
		if (sb_cli_format_is(cli, "json")) {
			json_t *v = audit_json(&a);

			sb_print_json(cli, v);
			json_decref(v);
		} else if (!cli->quiet) {
			print_audit(cli, &a);
		}
		r = a.adds_up ? SB_EXIT_OK : SB_EXIT_NO;
		sb_audit_done(&a);
	}
	sb_control_done(&c);
	return r;
}

const struct sb_cli_verb sb_cmd_audit = {
	.name = "audit",
	.summary = "recount from the journal: does everything accepted have its outcome?",
	.usage = "[-o table|json]",
	.details = "Reads the journal's files, beside a running daemon or without one. Per source, rule and target: what was\n"
		   "accepted is delivered, dead-lettered or in flight. Exit code 1 when that does not add up.\n",
	.run = run,
};
