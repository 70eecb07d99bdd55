/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signalbox check: everything that `run` does with the configuration, but for starting. The findings are the data of this
 * verb, so they go to standard output. --connect then asks whoever the configuration names; what does not answer is a finding too.
 */
#include <inttypes.h>
#include <string.h>

#include <jansson.h>

#include "broker/base/clock.h"
#include "broker/base/json.h"
#include "broker/cli/cli.h"
#include "broker/cli/connect.h"
#include "broker/config.h"

#define OUTPUT_MAX (16u << 20)
#define LIMIT_MS 5000
#define LIMIT_MOST_MS 600000

struct check {
	struct sb_cli *cli;
	const struct sb_config *config; /* NULL: not valid */
	struct sb_diags diags;
	uint64_t took_ms, limit_ms;
	struct sb_connect connect;
	bool connected; /* --connect, and there was something to connect by */
	struct sb_buf out;
};

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

/* Rules come file by file. */
static size_t count_files(const struct sb_ruleset *rules)
{
	const char *last = "";
	size_t n = 0;

	for (size_t i = 0; i < rules->n; i++) {
		const char *file = rules->rule[i].at.file ? rules->rule[i].at.file : "";

		n += i == 0 || strcmp(file, last) != 0;
		last = file;
	}
	return n;
}

static size_t count_connected(const struct sb_config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_sources; i++)
		n += c->source[i].at.line != 0; /* those that stand in the file */
	return n;
}

/* How long a delivery that always fails is retried: what count and back-off give by the median, cut off by its age. */
static uint64_t lasts_ms(const struct sb_retry_policy *p)
{
	uint64_t median = sb_retry_median_ms(p);

	return SB_MIN(median, p->max_age_ms);
}

/* ------------------------------------------------------------------------------------------------ long, short */

static void rounded(uint64_t ms, char out[SB_TIME_TEXT])
{
	uint64_t step = ms >= 86400000 ? 360000 : ms >= 3600000 ? 60000 : ms >= 60000 ? 1000 : ms >= 1000 ? 100 : 1;

	sb_duration_format((ms + step / 2) / step * step, out);
}

static void add_target(struct sb_buf *out, const struct sb_target_conf *t, int width)
{
	const struct sb_retry_policy *r = &t->policy.retry;
	char base[SB_TIME_TEXT], cap[SB_TIME_TEXT], age[SB_TIME_TEXT], lasts[SB_TIME_TEXT], timeout[SB_TIME_TEXT];

	sb_duration_format(r->base_ms, base);
	sb_duration_format(r->cap_ms, cap);
	sb_duration_format(r->max_age_ms, age);
	sb_duration_format(t->policy.timeout_ms, timeout);
	rounded(lasts_ms(r), lasts);
	sb_buf_addf(out, "  %-*s  %u at once, %s each; ", width, t->name, t->policy.concurrency, timeout);
	if (r->max_retries == 0)
		sb_buf_adds(out, "not retried");
	else if (sb_retry_median_ms(r) > r->max_age_ms)
		sb_buf_addf(out, "retried for %s (max_age), %s to %s apart", age, base, cap);
	else
		sb_buf_addf(out, "%u retr%s, %s to %s apart, over in about %s", r->max_retries,
			r->max_retries == 1 ? "y" : "ies", base, cap, lasts);
	if (t->dead_letter)
		sb_buf_addf(out, "; then to %s", t->dead_letter);
	if (t->is_dead_letter)
		sb_buf_adds(out, "; without end what is dead elsewhere");
	sb_buf_addc(out, '\n');
}

static void add_summary(struct check *k)
{
	const struct sb_config *c = k->config;
	size_t files = count_files(c->rules), sources = count_connected(c);

	sb_buf_addf(&k->out, "ok %zu rule%s in %zu file%s, %zu source%s, %zu target%s, %zu bus%s", c->rules->n,
		plural(c->rules->n), files, plural(files), sources, plural(sources), c->n_targets, plural(c->n_targets),
		c->n_buses, c->n_buses == 1 ? "" : "es");
	if (k->diags.warnings)
		sb_buf_addf(&k->out, ", %zu warning%s", k->diags.warnings, plural(k->diags.warnings));
	sb_buf_addf(&k->out, ", %" PRIu64 " ms\n", k->took_ms);
}

static void add_failed(struct check *k)
{
	sb_buf_addf(&k->out, "FAILED %zu error%s, %zu warning%s\n", k->diags.errors, plural(k->diags.errors),
		k->diags.warnings, plural(k->diags.warnings));
}

static void print_text(struct check *k, int code)
{
	bool brief = sb_cli_format_is(k->cli, "short");
	int width = 0;

	sb_diags_format(&k->diags, brief ? SB_DIAG_SHORT : SB_DIAG_LONG, k->cli->color_out, &k->out);
	if (code != SB_EXIT_OK)
		add_failed(k);
	else
		add_summary(k);
	if (k->connected)
		sb_connect_text(&k->connect, &k->out);
	if (code != SB_EXIT_OK || brief || k->cli->quiet || k->connected)
		return;
	for (size_t i = 0; i < k->config->n_targets; i++)
		width = SB_MAX(width, (int)strlen(k->config->target[i].name));
	for (size_t i = 0; i < k->config->n_targets; i++)
		add_target(&k->out, &k->config->target[i], width);
}

/* ------------------------------------------------------------------------------------------------ json */

static void add_json_target(struct sb_buf *out, const struct sb_target_conf *t)
{
	const struct sb_target_policy *p = &t->policy;

	/* names are words without anything to escape: config.c has checked them */
	sb_buf_addf(out, "{\"name\":\"%s\",\"connector\":\"%s\",\"concurrency\":%u,\"timeout_ms\":%" PRIu64 ",",
		t->name, t->connector->type, p->concurrency, p->timeout_ms);
	sb_buf_addf(out,
		"\"retry\":{\"max_retries\":%u,\"base_ms\":%" PRIu64 ",\"cap_ms\":%" PRIu64 ",\"max_age_ms\":%" PRIu64
		",\"median_ms\":%" PRIu64 ",\"lasts_ms\":%" PRIu64 "}",
		p->retry.max_retries, p->retry.base_ms, p->retry.cap_ms, p->retry.max_age_ms,
		sb_retry_median_ms(&p->retry), lasts_ms(&p->retry));
	if (t->dead_letter)
		sb_buf_addf(out, ",\"dead_letter\":\"%s\"", t->dead_letter);
	sb_buf_addc(out, '}');
}

static void print_json(struct check *k, int code)
{
	const struct sb_config *c = k->config;
	struct sb_err err;

	sb_buf_addf(&k->out, "{\"v\":1,\"ok\":%s,\"errors\":%zu,\"warnings\":%zu,\"took_ms\":%" PRIu64,
		code == SB_EXIT_OK ? "true" : "false", k->diags.errors, k->diags.warnings, k->took_ms);
	if (c) {
		sb_buf_addf(&k->out, ",\"rules\":%zu,\"files\":%zu,\"sources\":%zu,\"buses\":%zu,\"targets\":[",
			c->rules->n, count_files(c->rules), count_connected(c), c->n_buses);
		for (size_t i = 0; i < c->n_targets; i++) {
			sb_buf_adds(&k->out, i ? "," : "");
			add_json_target(&k->out, &c->target[i]);
		}
		sb_buf_addc(&k->out, ']');
	}
	if (k->connected) {
		sb_buf_adds(&k->out, ",\"answers\":");
		sb_connect_json(&k->connect, &k->out);
	}
	sb_buf_adds(&k->out, ",\"findings\":");
	sb_diags_format(&k->diags, SB_DIAG_JSON, false, &k->out);
	if (code == SB_EXIT_CONFIG) {
		sb_fail(&err, SB_E_INVALID, "the configuration has %zu error%s", k->diags.errors, plural(k->diags.errors));
		sb_cli_note(k->cli, NULL, &err);
		sb_buf_addc(&k->out, ',');
		sb_cli_add_error(k->cli, &k->out);
	}
	sb_buf_adds(&k->out, "}\n");
}

/* ------------------------------------------------------------------------------------------------ the verb */

/* The file itself could not be read: that is no finding in it. */
static bool unreadable(const struct sb_diags *d)
{
	return d->n == 1 && d->item[0].err.code == SB_E_IO && !d->item[0].err.at.file;
}

static int verdict(const struct check *k)
{
	if (!k->config)
		return SB_EXIT_CONFIG;
	if (k->diags.errors)
		return SB_EXIT_UNREACHABLE; /* the files are good: it is what they name */
	if (k->diags.warnings && (sb_cli_has(k->cli, "strict") || sb_cli_has(k->cli, "deny-warnings")))
		return SB_EXIT_NO;
	return SB_EXIT_OK;
}

static void load(struct check *k)
{
	struct sb_config_env env = { .no_env = sb_cli_has(k->cli, "no-env") };
	uint64_t start = sb_mono_ns(&sb_clock_system);

	k->config = sb_config_load(k->cli->config, &env, &k->diags);
	k->connected = k->config && sb_cli_has(k->cli, "connect");
	if (k->connected)
		sb_connect_run(&k->connect, k->config, k->limit_ms, &k->diags);
	k->took_ms = (sb_mono_ns(&sb_clock_system) - start) / SB_NS_PER_MS;
}

static int check(struct sb_cli *cli, uint64_t limit_ms)
{
	struct check k = { .cli = cli, .out = SB_BUF(OUTPUT_MAX), .limit_ms = limit_ms };
	int code;

	load(&k);
	code = verdict(&k);
	if (unreadable(&k.diags)) {
		code = sb_cli_error(cli, SB_EXIT_USAGE, &k.diags.item[0].err);
	} else {
		if (sb_cli_format_is(cli, "json"))
			print_json(&k, code);
		else
			print_text(&k, code);
		fwrite(k.out.p, 1, k.out.len, sb_cli_answer(cli));
	}
	sb_buf_done(&k.out);
	sb_connect_done(&k.connect);
	sb_config_unref(k.config);
	sb_diags_done(&k.diags);
	return code;
}

static int print_docs(struct sb_cli *cli)
{
	struct sb_buf out = SB_BUF(OUTPUT_MAX);

	sb_config_docs(&out);
	fwrite(out.p, 1, out.len, cli->out);
	sb_buf_done(&out);
	return SB_EXIT_OK;
}

/* Read and written again: once for the eye, and so that what is published is JSON for certain. */
static int print_schema(struct sb_cli *cli)
{
	struct sb_buf out = SB_BUF(OUTPUT_MAX);
	json_error_t why;
	json_t *schema;

	sb_config_schema(&out);
	schema = json_loadb(out.p, out.len, JSON_REJECT_DUPLICATES, &why);
	sb_buf_done(&out);
	SB_ASSERT(schema); /* two rows with one key, or a text that is not escaped */
	json_dumpf(schema, cli->out, JSON_INDENT(2));
	fputc('\n', cli->out);
	json_decref(schema);
	return SB_EXIT_OK;
}

static int run(struct sb_cli *cli)
{
	const char *timeout = sb_cli_get(cli, "timeout");
	uint64_t limit_ms = LIMIT_MS;

	if (timeout && (sb_parse_ms(timeout, &limit_ms) < 0 || limit_ms == 0 || limit_ms > LIMIT_MOST_MS))
		return sb_cli_usage(cli, "--timeout '%s' is not a time between 1ms and 10m", timeout);
	if (timeout && !sb_cli_has(cli, "connect"))
		return sb_cli_usage(cli, "--timeout goes with --connect");
	if (sb_cli_has(cli, "connect") && sb_cli_has(cli, "no-env"))
		return sb_cli_usage(cli, "--connect needs what --no-env leaves out");
	if (sb_cli_has(cli, "print-config-docs"))
		return print_docs(cli);
	if (sb_cli_has(cli, "print-schema"))
		return print_schema(cli);
	return check(cli, limit_ms);
}

static const struct sb_cli_option options[] = {
	{ "strict", 0, NULL, "a warning is a finding: exit code 1" },
	{ "deny-warnings", 0, NULL, "the same" },
	{ "connect", 0, NULL, "also ask brokers, servers and programs that the files name whether they are there" },
	{ "timeout", 0, "TIME", "how long each of them may take, default 5s" },
	{ "no-env", 0, NULL, "leave ${env:} and ${file:} as they stand" },
	{ "print-config-docs", 0, NULL, "print the reference page of every key" },
	{ "print-schema", 0, NULL, "print the JSON Schema (draft-07) for editors" },
	{ 0 },
};

const struct sb_cli_verb sb_cmd_check = {
	.name = "check",
	.summary = "read configuration and rules, tell everything that is wrong, change nothing",
	.usage = "[OPTION...]",
	.options = options,
	.formats = "long short json",
	.details = "  signalbox check -c signalbox.yaml\n"
		   "  signalbox check --strict --no-env -o short    in a pipeline\n"
		   "  signalbox check --connect                     before a start\n\n"
		   "exit code: 0 valid, 1 warnings with --strict, 2 the file cannot be read, 3 not valid,\n"
		   "4 valid, but something with --connect is not there or does not let us in",
	.run = run,
};
