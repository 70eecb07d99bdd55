/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/field.h"
#include "broker/cli/dlq.h"

static const struct sb_cli_option options[] = {
	{ .name = "target", .arg = "NAME", .doc = "only letters of this target" },
	{ .name = "rule", .arg = "NAME", .doc = "only letters of this rule" },
	{ .name = "error", .arg = "CODE", .doc = "only letters with this error code, for example TIMEOUT" },
	{ .name = "bus", .arg = "NAME", .doc = "only letters of this bus" },
	{ .name = "older-than", .arg = "AGE", .doc = "only letters that died longer ago, for example 1h" },
	{ .name = "newer-than", .arg = "AGE", .doc = "only letters that died since" },
	{ .name = "limit", .arg = "N", .doc = "at most so many; list: 1000 if not given" },
	{ .name = "after", .arg = "ROW", .doc = "list, redrive: go on behind this row, the `next` of the page before" },
	{ .name = "dry-run", .doc = "redrive, purge: only count what would be touched" },
	{ .name = "rate", .arg = "N/s", .doc = "redrive: at most so many a second" },
	{ .name = "rematch", .doc = "redrive: ask today's rules instead of the recorded target and input" },
	{ .name = "yes", .doc = "purge: do not ask" },
	SB_OPTION_DATA_DIR,
	{ 0 },
};

/* ------------------------------------------------------------------------------------------------ options */

/* `suffix` may stand behind the number; NULL: nothing may. */
static int number_option(struct sb_cli *cli, const char *name, const char *suffix, uint64_t *ret)
{
	const char *s = sb_cli_get(cli, name);
	char *end;

	if (!s)
		return 0;
	errno = 0;
	*ret = strtoull(s, &end, 10);
	if (suffix && strcmp(end, suffix) == 0)
		end += strlen(suffix);
	if (*end || *s < '0' || *s > '9' || *ret == 0 || *ret > INT64_MAX || errno)
		return sb_cli_usage(cli, "--%s takes a number from 1, not `%s`", name, s);
	return 0;
}

/* An age beyond the epoch is kept inside it: "no bound" would be the opposite of what was asked. */
static int add_age(struct dlq *d, const char *option, const char *key, uint64_t least)
{
	const char *s = sb_cli_get(d->cli, option);
	uint64_t ms;

	if (!s)
		return 0;
	if (sb_parse_ms(s, &ms) < 0 || ms < least)
		return sb_cli_usage(d->cli, "--%s takes a duration like 30m or 14d, not `%s`", option, s);
	ms = SB_MIN(ms, sb_wall_ms(&sb_clock_system) - 1);
	json_object_set_new(d->filter, key, json_integer((json_int_t)ms));
	return 0;
}

static int read_options(struct dlq *d)
{
	static const char *const words[] = { "target", "rule", "error", "bus" };
	int r = number_option(d->cli, "limit", NULL, &d->limit);

	d->filter = json_object();
	if (d->id)
		json_object_set_new(d->filter, "id", json_string(d->id));
	for (size_t i = 0; i < SB_LEN(words); i++)
		if (sb_cli_has(d->cli, words[i]))
			json_object_set_new(d->filter, words[i], json_string(sb_cli_get(d->cli, words[i])));
	if (r == 0)
		r = number_option(d->cli, "after", NULL, &d->after);
	if (r == 0)
		r = number_option(d->cli, "rate", "/s", &d->rate);
	if (r == 0)
		r = add_age(d, "older-than", "older_than_ms", 0);
	return r ? r : add_age(d, "newer-than", "newer_than_ms", 1);
}

/* ------------------------------------------------------------------------------------------------ words */

static const struct {
	const char *name;
	bool takes_id, needs_id;
	int (*run)(struct dlq *d);
	const char *not_with; /* options that this word knows nothing to do with */
} words[] = {
	{ "list", false, false, dlq_list, "dry-run rate rematch yes" },
	{ "show", true, true, dlq_show, "limit after dry-run rate rematch yes" },
	{ "count", false, false, dlq_count, "limit after dry-run rate rematch yes" },
	{ "redrive", true, false, dlq_redrive, "yes" },
	{ "purge", true, false, dlq_purge, "after rate rematch" },
};

static int check_words(struct sb_cli *cli, size_t word)
{
	char name[16];

	if (words[word].needs_id && cli->n_args < 2)
		return sb_cli_usage(cli, "%s needs the id of a letter", words[word].name);
	if (!words[word].takes_id && cli->n_args > 1)
		return sb_cli_usage(cli, "%s takes no `%s`", words[word].name, cli->arg[1]);
	for (const char *p = words[word].not_with; *p; p += strcspn(p, " "), p += strspn(p, " ")) {
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(p, " "), p);
		if (sb_cli_has(cli, name))
			return sb_cli_usage(cli, "%s has no option --%s", words[word].name, name);
	}
	return 0;
}

static int run_word(struct sb_cli *cli, size_t word)
{
	struct dlq d = { .cli = cli, .id = cli->n_args > 1 ? cli->arg[1] : NULL };
	int r = check_words(cli, word);

	if (r == 0)
		r = read_options(&d);
	if (r == 0)
		r = sb_control_find(cli, &d.control);
	if (r == 0) {
		r = words[word].run(&d);
		sb_control_done(&d.control);
	}
	json_decref(d.filter);
	return r;
}

static int run(struct sb_cli *cli)
{
	const char *names[SB_LEN(words)], *near;

	for (size_t i = 0; i < SB_LEN(words); i++) {
		if (strcmp(cli->arg[0], words[i].name) == 0)
			return run_word(cli, i);
		names[i] = words[i].name;
	}
	near = sb_nearest(cli->arg[0], names, SB_LEN(words));
	if (near)
		return sb_cli_usage(cli, "unknown word `%s`; did you mean `%s`?", cli->arg[0], near);
	return sb_cli_usage(cli, "list, show, count, redrive or purge, not `%s`", cli->arg[0]);
}

const struct sb_cli_verb sb_cmd_dlq = {
	.name = "dlq",
	.summary = "dead letters: list, show, count, redrive, purge",
	.usage = "list|show ID|count|redrive [ID]|purge [ID] [OPTION...]",
	.options = options,
	.details = "A redrive is a new delivery with fresh retries and the recorded input. The letter is marked, goes "
		   "when it\n"
		   "is delivered, and comes back with its history when it is not; with --rematch, when all that today's rules owe is.\n"
		   "Reading needs no running daemon.\n\n"
		   "  signalbox dlq list --target invoice --newer-than 1h\n"
		   "  signalbox dlq redrive --target invoice --dry-run\n"
		   "  signalbox dlq redrive --target invoice --rate 50/s\n"
		   "  signalbox dlq purge --error INVALID_JSON --older-than 7d --yes\n\n"
		   "exit code: 0 done, 1 there is no such letter, 4 no daemon, 5 refused, 6 some could not be redriven",
	.min_args = 1,
	.max_args = 2,
	.run = run,
};
