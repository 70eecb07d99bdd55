/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include <inttypes.h>

#include "broker/cli/control.h"
#include "broker/cli/output.h"
#include "broker/journal/journal.h"

static json_t *damage_json(const struct sb_audit *a)
{
	json_t *list = json_array();

	for (size_t i = 0; i < a->n_damage; i++) {
		const struct sb_audit_damage *d = &a->damage[i];

		json_array_append_new(list, json_pack("{s:I,s:I,s:I}", "segment", (json_int_t)d->segment, "from",
						    (json_int_t)d->from, "to", (json_int_t)d->to));
	}
	return list;
}

static json_t *audit_json(const struct sb_audit *a)
{
	json_t *routes = json_array();

	for (size_t i = 0; i < a->n; i++) {
		const struct sb_route_count *r = &a->route[i];

		if (r->target[0])
			json_array_append_new(
				routes, json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I}", "source", r->source, "rule", r->rule,
						"target", r->target, "accepted", (json_int_t)r->accepted, "delivered",
						(json_int_t)r->delivered, "dead_lettered", (json_int_t)r->dead,
						"in_flight", (json_int_t)(r->accepted - r->delivered - r->dead)));
		else
			json_array_append_new(routes, json_pack("{s:s,s:s,s:s,s:I}", "source", r->source, "rule", "",
							      "target", "", "unmatched", (json_int_t)r->accepted));
	}
	return json_pack("{s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:s,s:o,s:o}", "v", 1, "events",
		(json_int_t)a->events, "unmatched", (json_int_t)a->unmatched, "accepted", (json_int_t)a->accepted,
		"delivered", (json_int_t)a->delivered, "dead_lettered", (json_int_t)a->dead, "in_flight",
		(json_int_t)a->in_flight, "double_results", (json_int_t)a->double_results, "unknown_results",
		(json_int_t)a->unknown_results, "corrupt_records", (json_int_t)a->corrupt_records, "torn_bytes",
		(json_int_t)a->torn_bytes, "missing_segments", (json_int_t)a->missing_segments, "adds_up", a->adds_up, "why_not",
		a->why_not, "damage", damage_json(a), "routes", routes);
}

static void print_routes(struct sb_cli *cli, const struct sb_audit *a)
{
	static const struct sb_column columns[] = {
		{ "SOURCE", false, 10 },
		{ "RULE", false, 10 },
		{ "TARGET", false, 10 },
		{ "ACCEPTED", true, 0 },
		{ "DELIVERED", true, 0 },
		{ "DEAD", true, 0 },
		{ "INFLIGHT", true, 0 },
		{ 0 },
	};
	struct sb_table t;

	sb_table_init(&t, columns);
	for (size_t i = 0; i < a->n; i++) {
		const struct sb_route_count *r = &a->route[i];

		sb_table_text(&t, r->source);
		sb_table_text(&t, r->target[0] ? r->rule : "(unmatched)");
		sb_table_text(&t, r->target);
		sb_table_number(&t, r->accepted);
		sb_table_number(&t, r->delivered);
		sb_table_number(&t, r->dead);
		sb_table_number(&t, r->target[0] ? r->accepted - r->delivered - r->dead : 0);
	}
	sb_table_print(&t, sb_terminal_width(cli->out), cli->out);
	sb_table_done(&t);
}

static void print_damage(struct sb_cli *cli, const struct sb_audit *a)
{
	if (a->corrupt_records)
		fprintf(cli->out, "%" PRIu64 " records are damaged\n", a->corrupt_records);
	for (size_t i = 0; i < a->n_damage; i++) {
		const struct sb_audit_damage *d = &a->damage[i];

		fprintf(cli->out, "  segment %" PRIu64, d->segment);
		if (d->to)
			fprintf(cli->out, ", bytes %" PRIu64 " to %" PRIu64 "\n", d->from, d->to);
		else
			fputs(": no copy of its header is whole\n", cli->out);
	}
	if (a->missing_segments)
		fprintf(cli->out, "%" PRIu64 " segments are missing: a recovery set them aside in quarantine/\n", a->missing_segments);
}

static void print_audit(struct sb_cli *cli, const struct sb_audit *a)
{
	print_routes(cli, a);
	fprintf(cli->out,
		"\n%" PRIu64 " events, %" PRIu64 " unmatched; %" PRIu64 " deliveries = %" PRIu64 " delivered + %" PRIu64
		" dead-lettered + %" PRIu64 " in flight\n",
		a->events, a->unmatched, a->accepted, a->delivered, a->dead, a->in_flight);
	if (a->torn_bytes)
		fprintf(cli->out, "%" PRIu64 " bytes at the end were never acknowledged\n", a->torn_bytes);
	print_damage(cli, a);
	if (a->adds_up)
		fputs("ok it adds up\n", cli->out);
	else
		fprintf(cli->out, "FAILED it does not add up: %s\n", a->why_not);
}

/* Where the journal is when only the data folder is known: the configuration has it there too. */
static const char *journal_of(const struct sb_control *c, char *out, size_t size)
{
	snprintf(out, size, "%s/journal", c->data_dir);
	return c->config ? c->config->journal.dir : out;
}

static int run(struct sb_cli *cli)
{
	struct sb_control c;
	struct sb_audit a;
	struct sb_err err;
	char dir[4200];
	int r = sb_control_find(cli, &c);

	if (r)
		return r;
	if (sb_journal_audit(&sb_vfs_system, journal_of(&c, dir, sizeof(dir)), &a, &err) < 0) {
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

static const struct sb_cli_option options[] = {
	SB_OPTION_DATA_DIR,
	{ 0 },
};

const struct sb_cli_verb sb_cmd_audit = {
	.name = "audit",
	.summary = "recount from the journal: does everything accepted have its outcome?",
	.usage = "[OPTION...]",
	.options = options,
	.details = "Reads the journal's files, beside a running daemon (as of its last commit) or without one. Per "
		   "source, rule\n"
		   "and target: what was accepted is delivered, dead-lettered or in flight.\n\n"
		   "  signalbox audit\n"
		   "  signalbox audit -o json | jq .in_flight\n\n"
		   "exit code: 0 it adds up, 1 it does not, 2 there is no journal to read",
	.run = run,
};
