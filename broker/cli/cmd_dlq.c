/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signalbox dlq: dead letters. Everything goes through the daemon when one runs; list, show and count read the table
 * themselves when none does. Redrive goes page by page, so that --rate and Ctrl-C hold between pages.
 */
#include "broker/cli/cli.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "broker/base/field.h"
#include "broker/cli/control.h"

#define PAGE 64

static const struct sb_cli_option options[] = {
	{ .name = "target", .arg = "NAME", .doc = "only letters of this target" },
	{ .name = "rule", .arg = "NAME", .doc = "only letters of this rule" },
	{ .name = "error", .arg = "CODE", .doc = "only letters with this error code, for example TIMEOUT" },
	{ .name = "bus", .arg = "NAME", .doc = "only letters of this bus" },
	{ .name = "older-than", .arg = "AGE", .doc = "only letters that died longer ago, for example 1h" },
	{ .name = "newer-than", .arg = "AGE", .doc = "only letters that died since" },
	{ .name = "limit", .arg = "N", .doc = "at most so many" },
	{ .name = "dry-run", .doc = "redrive, purge: only count what would be touched" },
	{ .name = "rate", .arg = "N", .doc = "redrive: at most so many a second" },
	{ .name = "rematch", .doc = "redrive: ask today's rules instead of the recorded target and input" },
	{ .name = "yes", .doc = "purge: do not ask" },
	SB_OPTION_DATA_DIR,
	{ 0 },
};

struct dlq {
	struct sb_cli *cli;
	struct sb_control control;
	uint64_t limit; /* 0: none */
};

/* ------------------------------------------------------------------------------------------------ filter */

static int add_age(struct sb_cli *cli, json_t *filter, const char *option, const char *key)
{
	const char *s = sb_cli_get(cli, option);
	uint64_t ms;

	if (!s)
		return 0;
	if (sb_parse_ms(s, &ms) < 0)
		return sb_cli_usage(cli, "--%s takes a duration like 30m or 14d, not `%s`", option, s);
	json_object_set_new(filter, key, json_integer((json_int_t)ms));
	return 0;
}

static int make_filter(struct sb_cli *cli, const char *id, json_t **ret)
{
	static const char *const words[] = { "target", "rule", "error", "bus" };
	json_t *f = json_object();
	int r;

	for (size_t i = 0; i < SB_LEN(words); i++)
		if (sb_cli_get(cli, words[i]))
			json_object_set_new(f, words[i], json_string(sb_cli_get(cli, words[i])));
	if (id)
		json_object_set_new(f, "id", json_string(id));
	r = add_age(cli, f, "older-than", "older_than_ms");
	if (r == 0)
		r = add_age(cli, f, "newer-than", "newer_than_ms");
	*ret = f;
	return r;
}

static int number_option(struct sb_cli *cli, const char *name, uint64_t *ret)
{
	const char *s = sb_cli_get(cli, name);
	char *end;

	if (!s)
		return 0;
	*ret = strtoull(s, &end, 10);
	if (*end || !*s || *ret == 0)
		return sb_cli_usage(cli, "--%s takes a number, not `%s`", name, s);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ without a daemon */

struct offline {
	json_t *list;
	bool full;
};

static int offline_letter(void *arg, const struct sb_letter *l)
{
	struct offline *o = arg;
	struct sb_buf text = SB_BUF(64u << 20);

	sb_buf_addc(&text, '{');
	sb_letter_json(l, o->full, &text);
	sb_buf_addc(&text, '}');
	json_array_append_new(o->list, json_loadb(text.p, text.len, 0, NULL));
	sb_buf_done(&text);
	return 0;
}

static const char *text_or_null(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static uint64_t ago(const json_t *o, const char *key)
{
	uint64_t ms = sb_json_number_of(o, key);

	return ms ? sb_wall_ms(&sb_clock_system) - ms : 0;
}

static struct sb_letter_filter filter_of(const json_t *f)
{
	return (struct sb_letter_filter){ .id = text_or_null(f, "id"), .target = text_or_null(f, "target"),
		.rule = text_or_null(f, "rule"), .error = text_or_null(f, "error"), .bus = text_or_null(f, "bus"),
		.older_than_ms = ago(f, "older_than_ms"), .newer_than_ms = ago(f, "newer_than_ms"),
		.limit = sb_json_number_of(f, "limit"), .after_rowid = sb_json_number_of(f, "after"), .redriving_too = true };
}

static json_t *counts_json(struct sb_deadletters *table, const struct sb_letter_filter *f, struct sb_err *err)
{
	struct sb_letter_count *count = NULL;
	json_t *list = json_array();
	size_t n = 0;

	if (sb_deadletters_count(table, f, &count, &n, err) < 0) {
		json_decref(list);
		return NULL;
	}
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I}", "target", count[i].target, "rule", count[i].rule,
			"error", count[i].error, "n", (json_int_t)count[i].n, "bytes", (json_int_t)count[i].bytes, "oldest_ms",
			(json_int_t)count[i].oldest_ms, "newest_ms", (json_int_t)count[i].newest_ms));
	free(count);
	return json_pack("{s:i,s:o}", "v", 1, "counts", list);
}

static int offline_call(struct dlq *d, const char *path, const json_t *body, json_t **ret)
{
	struct sb_deadletters *table = NULL;
	struct sb_letter_filter f = filter_of(body);
	struct offline o = { .full = json_is_true(json_object_get(body, "full")) };
	char file[4200];
	struct sb_err err;
	int r;

	snprintf(file, sizeof(file), "%s/dead-letters.db", d->control.config->data_dir);
	r = sb_deadletters_open(file, true, &d->control.config->dead_letters, &table, &err);
	if (r < 0 && err.code != SB_E_MISSING)
		return sb_cli_error(d->cli, SB_EXIT_USAGE, &err);
	if (strstr(path, "count")) {
		*ret = table ? counts_json(table, &f, &err) : json_pack("{s:i,s:[]}", "v", 1, "counts");
	} else {
		o.list = json_array();
		if (table && sb_deadletters_each(table, &f, offline_letter, &o, &err) < 0) {
			json_decref(o.list);
			sb_deadletters_close(table);
			return sb_cli_error(d->cli, SB_EXIT_USAGE, &err);
		}
		*ret = json_pack("{s:i,s:o,s:i}", "v", 1, "letters", o.list, "next", 0);
	}
	if (table)
		sb_deadletters_close(table);
	return *ret ? 0 : sb_cli_error(d->cli, SB_EXIT_USAGE, &err);
}

/* `body` is consumed. A reading call goes to the table itself when no daemon answers. */
static int call(struct dlq *d, const char *path, json_t *body, bool reading, json_t **ret)
{
	int r = sb_control_call(&d->control, "POST", path, json_incref(body), !reading, ret);

	if (r == SB_EXIT_UNREACHABLE && reading)
		r = offline_call(d, path, body, ret);
	json_decref(body);
	return r;
}

/* ------------------------------------------------------------------------------------------------ list, show, count */

static void print_letters(struct sb_cli *cli, const json_t *list)
{
	uint64_t now = sb_wall_ms(&sb_clock_system), died;
	char age[SB_TIME_TEXT];
	size_t i;
	json_t *l;

	fprintf(cli->out, "%-40s %-16s %-20s %-20s %8s %8s  %s\n", "ID", "TARGET", "RULE", "ERROR", "ATTEMPTS", "DIED", "MESSAGE");
	json_array_foreach(list, i, l) {
		const char *when = sb_json_text_of(l, "died");

		sb_duration_format(sb_time_parse(when, strlen(when), &died) == 0 && died < now ? (now - died) / 1000 * 1000 : 0, age);
		fprintf(cli->out, "%-40s %-16s %-20s %-20s %8" PRIu64 " %8s  %.60s\n", sb_json_text_of(l, "id"),
			sb_json_text_of(l, "target"), sb_json_text_of(l, "rule"), sb_json_text_of(l, "error_code"),
			sb_json_number_of(l, "attempts"), age, sb_json_text_of(l, "error"));
	}
}

static int list(struct dlq *d, json_t *filter)
{
	json_t *answer = NULL;
	int r;

	json_object_set_new(filter, "limit", json_integer((json_int_t)(d->limit ? d->limit : 1000)));
	r = call(d, "/v1/dlq/list", filter, true, &answer);
	if (r == 0 && sb_cli_format_is(d->cli, "json"))
		sb_print_json(d->cli, answer);
	else if (r == 0)
		print_letters(d->cli, json_object_get(answer, "letters"));
	json_decref(answer);
	return r;
}

static int show(struct dlq *d, json_t *filter)
{
	json_t *answer = NULL, *letter;
	int r;

	json_object_set_new(filter, "full", json_true());
	r = call(d, "/v1/dlq/list", filter, true, &answer);
	letter = json_array_get(json_object_get(answer, "letters"), 0);
	if (r == 0 && !letter) {
		struct sb_err err;

		sb_fail(&err, SB_E_MISSING, "there is no dead letter `%s`", d->cli->arg[1]);
		r = sb_cli_error(d->cli, SB_EXIT_NO, &err);
	} else if (r == 0) {
		sb_print_json(d->cli, letter);
	}
	json_decref(answer);
	return r;
}

static int count(struct dlq *d, json_t *filter, uint64_t *ret_sum)
{
	json_t *answer = NULL, *row;
	uint64_t sum = 0;
	size_t i;
	int r = call(d, "/v1/dlq/count", filter, true, &answer);

	if (r == 0 && sb_cli_format_is(d->cli, "json")) {
		sb_print_json(d->cli, answer);
	} else if (r == 0) {
		fprintf(d->cli->out, "%-20s %-24s %-24s %10s\n", "TARGET", "RULE", "ERROR", "LETTERS");
		json_array_foreach(json_object_get(answer, "counts"), i, row)
			fprintf(d->cli->out, "%-20s %-24s %-24s %10" PRIu64 "\n", sb_json_text_of(row, "target"),
				sb_json_text_of(row, "rule"), sb_json_text_of(row, "error"), sb_json_number_of(row, "n"));
	}
	json_array_foreach(json_object_get(answer, "counts"), i, row)
		sum += sb_json_number_of(row, "n");
	if (ret_sum)
		*ret_sum = sum;
	json_decref(answer);
	return r;
}

/* ------------------------------------------------------------------------------------------------ redrive, purge */

struct progress {
	uint64_t redriven, failed, began_ns, rate;
	char why[200];
};

/* So many may have gone by now; waits for the moment when the next page may. */
static void pace(const struct progress *p)
{
	uint64_t due, now;

	if (!p->rate)
		return;
	due = p->began_ns + p->redriven * SB_NS_PER_S / p->rate;
	now = sb_mono_ns(&sb_clock_system);
	if (due > now)
		poll(NULL, 0, (int)SB_MIN((due - now) / SB_NS_PER_MS, (uint64_t)3600000));
}

static int redrive_page(struct dlq *d, const json_t *filter, struct progress *p, uint64_t *after)
{
	uint64_t page = p->rate ? SB_MIN((uint64_t)PAGE, p->rate) : PAGE;
	json_t *body = json_deep_copy(filter), *answer = NULL, *why;
	int r;

	if (d->limit)
		page = SB_MIN(page, d->limit - p->redriven - p->failed);
	json_object_set_new(body, "limit", json_integer((json_int_t)page));
	json_object_set_new(body, "after", json_integer((json_int_t)*after));
	json_object_set_new(body, "rematch", json_boolean(sb_cli_has(d->cli, "rematch")));
	r = call(d, "/v1/dlq/redrive", body, false, &answer);
	p->redriven += sb_json_number_of(answer, "redriven");
	p->failed += sb_json_number_of(answer, "failed");
	*after = sb_json_number_of(answer, "next");
	why = json_array_get(json_object_get(answer, "errors"), 0);
	if (why)
		snprintf(p->why, sizeof(p->why), "%s", json_string_value(why));
	json_decref(answer);
	return r;
}

static int redrive(struct dlq *d, json_t *filter)
{
	struct progress p = { .began_ns = sb_mono_ns(&sb_clock_system) };
	bool tty = isatty(STDERR_FILENO) && !d->cli->quiet;
	uint64_t after = 0;
	int r;

	if (sb_cli_has(d->cli, "dry-run"))
		return count(d, filter, NULL);
	r = number_option(d->cli, "rate", &p.rate);
	do {
		if (r == 0)
			r = redrive_page(d, filter, &p, &after);
		if (tty)
			fprintf(d->cli->err, "\r%" PRIu64 " redriven", p.redriven);
		pace(&p);
	} while (r == 0 && after && !(d->limit && p.redriven + p.failed >= d->limit));
	if (tty)
		fputc('\n', d->cli->err);
	json_decref(filter);
	if (r)
		return r;
	if (sb_cli_format_is(d->cli, "json"))
		fprintf(d->cli->out, "{\"v\":1,\"redriven\":%" PRIu64 ",\"failed\":%" PRIu64 "}\n", p.redriven, p.failed);
	else if (!d->cli->quiet)
		fprintf(d->cli->out, "ok %" PRIu64 " letters redriven\n", p.redriven);
	if (p.failed)
		fprintf(d->cli->err, "%" PRIu64 " could not be redriven and stay dead letters: %s\n", p.failed, p.why);
	return p.failed ? SB_EXIT_PARTIAL : SB_EXIT_OK;
}

static bool confirmed(struct dlq *d)
{
	char answer[16] = "";

	if (sb_cli_has(d->cli, "yes") || !isatty(STDIN_FILENO))
		return true;
	fprintf(d->cli->err, "Delete these dead letters for ever? Type yes: ");
	return fgets(answer, sizeof(answer), stdin) && strcmp(answer, "yes\n") == 0;
}

static int purge(struct dlq *d, json_t *filter)
{
	json_t *answer = NULL;
	int r;

	if (sb_cli_has(d->cli, "dry-run"))
		return count(d, filter, NULL);
	if (!confirmed(d)) {
		json_decref(filter);
		return SB_EXIT_NO;
	}
	if (d->limit)
		json_object_set_new(filter, "limit", json_integer((json_int_t)d->limit));
	r = call(d, "/v1/dlq/purge", filter, false, &answer);
	if (r == 0 && sb_cli_format_is(d->cli, "json"))
		sb_print_json(d->cli, answer);
	else if (r == 0 && !d->cli->quiet)
		fprintf(d->cli->out, "ok %" PRIu64 " letters deleted\n", sb_json_number_of(answer, "purged"));
	json_decref(answer);
	return r;
}

/* ------------------------------------------------------------------------------------------------ the verb */

static int count_only(struct dlq *d, json_t *filter)
{
	return count(d, filter, NULL);
}

static const struct {
	const char *name;
	bool takes_id, needs_id;
	int (*run)(struct dlq *d, json_t *filter); /* consumes the filter */
} words[] = {
	{ "list", false, false, list }, { "show", true, true, show }, { "count", false, false, count_only },
	{ "redrive", true, false, redrive }, { "purge", true, false, purge },
};

static int run_word(struct sb_cli *cli, size_t i)
{
	struct dlq d = { .cli = cli };
	json_t *filter;
	int r;

	if (words[i].needs_id && cli->n_args < 2)
		return sb_cli_usage(cli, "dlq %s needs the id of a letter", words[i].name);
	if (!words[i].takes_id && cli->n_args > 1)
		return sb_cli_usage(cli, "dlq %s takes no `%s`", words[i].name, cli->arg[1]);
	r = number_option(cli, "limit", &d.limit);
	if (r == 0)
		r = sb_control_find(cli, &d.control);
	if (r)
		return r;
	r = make_filter(cli, cli->n_args > 1 ? cli->arg[1] : NULL, &filter);
	if (r == 0)
		r = words[i].run(&d, filter);
	else
		json_decref(filter);
	sb_control_done(&d.control);
	return r;
}

static int run(struct sb_cli *cli)
{
	for (size_t i = 0; i < SB_LEN(words); i++)
		if (strcmp(cli->arg[0], words[i].name) == 0)
			return run_word(cli, i);
	return sb_cli_usage(cli, "dlq: list, show, count, redrive or purge, not `%s`", cli->arg[0]);
}

const struct sb_cli_verb sb_cmd_dlq = {
	.name = "dlq",
	.summary = "dead letters: list, show, count, redrive, purge",
	.usage = "list|show ID|count|redrive [ID]|purge [ID] [OPTION...]",
	.options = options,
	.details = "A redrive is a new delivery with fresh retries and the recorded input. The letter is marked, goes when it\n"
		   "is delivered, and comes back with its history when it is not.\n\n"
		   "  signalbox dlq list --target invoice --newer-than 1h\n"
		   "  signalbox dlq redrive --target invoice --dry-run\n"
		   "  signalbox dlq redrive --target invoice --rate 50\n",
	.min_args = 1,
	.max_args = 2,
	.run = run,
};
