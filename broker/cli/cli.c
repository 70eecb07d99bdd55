/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/json.h"
#include "broker/base/mem.h"

#define FORMATS_DEFAULT "table json"
#define WORDS_MAX 64
#define SHORT_HELP_LINES 24
#define FINDINGS_MAX (4u << 20)

enum common { OPT_CONFIG, OPT_OUTPUT, OPT_COLOR, OPT_QUIET, OPT_HELP, OPT_COMMON };

static const struct sb_cli_option common_options[] = {
	[OPT_CONFIG] = { "config", 'c', "FILE", "the configuration; else $SIGNALBOX_CONFIG, else signalbox.yaml" },
	[OPT_OUTPUT] = { "output", 'o', "FORMAT", NULL },
	[OPT_COLOR] = { "color", 0, "WHEN", "auto, always or never" },
	[OPT_QUIET] = { "quiet", 'q', NULL, "say nothing but the result and errors" },
	[OPT_HELP] = { "help", 'h', NULL, "this text; -h is cut to a screen" },
	[OPT_COMMON] = { 0 },
};

struct parse {
	struct sb_cli *cli;
	int argc, at;
	char **argv;
	const char *common[OPT_COMMON];
	bool long_help; /* --help, not -h */
};

/* ------------------------------------------------------------------------------------------------ messages */

void sb_cli_note(struct sb_cli *cli, const char *code, const struct sb_err *err)
{
	cli->failure = *err;
	snprintf(cli->failure_code, sizeof(cli->failure_code), "%s", code ? code : sb_code_name(err->code));
}

int sb_cli_usage(struct sb_cli *cli, const char *fmt, ...)
{
	struct sb_err err = { .code = SB_E_INVALID };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err.msg, sizeof(err.msg), fmt, ap);
	va_end(ap);
	sb_hint(&err, "signalbox %s%s-h tells how", cli->verb ? cli->verb->name : "", cli->verb ? " " : "");
	sb_cli_note(cli, "usage", &err);
	fprintf(cli->err, "signalbox%s%s: ", cli->verb ? " " : "", cli->verb ? cli->verb->name : "");
	va_start(ap, fmt);
	vfprintf(cli->err, fmt, ap);
	va_end(ap);
	fprintf(cli->err, "\nsignalbox %s%s-h tells how\n", cli->verb ? cli->verb->name : "", cli->verb ? " " : "");
	return SB_EXIT_USAGE;
}

int sb_cli_error(struct sb_cli *cli, enum sb_exit code, const struct sb_err *err)
{
	sb_cli_note(cli, NULL, err);
	fprintf(cli->err, "signalbox %s: %s\n", cli->verb->name, err->msg);
	if (err->hint[0])
		fprintf(cli->err, "%s\n", err->hint);
	return (int)code;
}

FILE *sb_cli_answer(struct sb_cli *cli)
{
	cli->answered = true;
	return cli->out;
}

void sb_cli_add_error(const struct sb_cli *cli, struct sb_buf *out)
{
	sb_buf_adds(out, "\"error\":{\"code\":");
	sb_json_add_string(out, sb_slice_str(cli->failure_code));
	sb_buf_adds(out, ",\"message\":");
	sb_json_add_string(out, sb_slice_str(cli->failure.msg));
	if (cli->failure.hint[0]) {
		sb_buf_adds(out, ",\"hint\":");
		sb_json_add_string(out, sb_slice_str(cli->failure.hint));
	}
	sb_buf_addc(out, '}');
}

/* Also when the words were not even understood: who asked for JSON reads JSON. */
static bool wants_json(const struct sb_cli *cli, int argc, char **argv)
{
	if (cli->format)
		return sb_cli_format_is(cli, "json");
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		bool word = strcmp(argv[i], "-o") == 0 || strcmp(argv[i], "--output") == 0;

		if ((word && i + 1 < argc && strcmp(argv[i + 1], "json") == 0) || strcmp(argv[i], "-ojson") == 0 || strcmp(argv[i], "--output=json") == 0)
			return true;
	}
	return false;
}

void sb_cli_answer_failure(struct sb_cli *cli)
{
	struct sb_buf text = SB_BUF(8192);
	struct sb_err unsaid;

	if (!cli->failure_code[0]) {
		sb_fail(&unsaid, SB_E_INVALID, "it failed; standard error tells why");
		sb_cli_note(cli, "failed", &unsaid);
	}
	sb_buf_adds(&text, "{\"v\":1,");
	sb_cli_add_error(cli, &text);
	fprintf(sb_cli_answer(cli), "%.*s}\n", SB_SLICE_ARG(sb_buf_slice(&text)));
	sb_buf_done(&text);
}

int sb_cli_findings(struct sb_cli *cli, enum sb_exit code, const struct sb_diags *diags)
{
	struct sb_buf text = SB_BUF(FINDINGS_MAX);
	struct sb_err err;

	sb_fail(&err, SB_E_INVALID, "the configuration has %zu error%s", diags->errors, diags->errors == 1 ? "" : "s");
	sb_hint(&err, "signalbox check tells them");
	sb_cli_note(cli, NULL, &err);
	if (sb_cli_format_is(cli, "json")) {
		sb_buf_adds(&text, "{\"v\":1,");
		sb_cli_add_error(cli, &text);
		sb_buf_adds(&text, ",\"diagnostics\":");
		sb_diags_format(diags, SB_DIAG_JSON, false, &text);
		sb_buf_adds(&text, "}\n");
		fwrite(text.p, 1, text.len, sb_cli_answer(cli));
		sb_buf_clear(&text);
	}
	sb_diags_format(diags, SB_DIAG_LONG, cli->color_err, &text);
	fwrite(text.p, 1, text.len, cli->err);
	sb_buf_done(&text);
	return (int)code;
}

/* ------------------------------------------------------------------------------------------------ help */

static const char *formats_of(const struct sb_cli_verb *v)
{
	return v->formats ? v->formats : FORMATS_DEFAULT;
}

static void print_option(const struct sb_cli_option *o, const char *doc, FILE *out)
{
	char left[40];

	snprintf(left, sizeof(left), "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
	if (o->letter)
		fprintf(out, "  -%c, %-22s %s\n", o->letter, left, doc);
	else
		fprintf(out, "      %-22s %s\n", left, doc);
}

static void own_help(const struct sb_cli_verb *v, FILE *out)
{
	fprintf(out, "%s\n\nusage: signalbox %s %s\n\n", v->summary, v->name, v->usage ? v->usage : "");
	for (const struct sb_cli_option *o = v->options; o && o->name; o++)
		print_option(o, o->doc, out);
}

static void verb_help(const struct sb_cli_verb *v, FILE *out)
{
	own_help(v, out);
	for (const struct sb_cli_option *o = common_options; o->name; o++)
		print_option(o, o == &common_options[OPT_OUTPUT] ? formats_of(v) : o->doc, out);
	if (v->details)
		fprintf(out, "\n%s\n", v->details);
}

/* Of the details: those that show the verb at work. */
static void print_examples(const struct sb_cli_verb *v, unsigned most, FILE *out)
{
	for (const char *line = v->details; line && *line && most; line += strcspn(line, "\n"), line += *line == '\n')
		if (strncmp(line, "  signalbox ", 12) == 0) {
			fprintf(out, "%.*s\n", (int)strcspn(line, "\n"), line);
			most--;
		}
}

static unsigned count_lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* -h is for a glance, so it fits on a screen: what does not is in --help. */
static void short_help(const struct sb_cli_verb *v, FILE *out)
{
	char *text = NULL;
	size_t n;
	FILE *all = open_memstream(&text, &n);

	SB_ASSERT(all);
	verb_help(v, all);
	fclose(all);
	if (count_lines(text) <= SHORT_HELP_LINES) {
		fputs(text, out);
	} else {
		own_help(v, out);
		fprintf(out, "  -c FILE, -o FORMAT, --color WHEN, -q, -h; signalbox %s --help tells all\n\n", v->name);
		print_examples(v, 3, out);
	}
	free(text);
}

void sb_cli_help(const struct sb_cli_verb *verbs, const struct sb_cli_verb *verb, FILE *out)
{
	if (verb) {
		verb_help(verb, out);
		return;
	}
	fputs("Signalbox takes events in, matches them against rules, and runs functions.\n\n"
	      "usage: signalbox COMMAND [OPTION...]\n\n",
		out);
	for (const struct sb_cli_verb *v = verbs; v->name; v++)
		if (!v->hidden)
			fprintf(out, "  %-10s %s\n", v->name, v->summary);
	fputs("\nsignalbox COMMAND -h tells more about one.\n", out);
}

/* ------------------------------------------------------------------------------------------------ options */

static size_t count_options(const struct sb_cli_option *o)
{
	size_t n = 0;

	while (o && o[n].name)
		n++;
	return n;
}

/* Where a verb's own or a common option keeps its value; NULL: there is no such option. */
static const char **find_option(
	struct parse *p, const char *name, size_t n, char letter, const struct sb_cli_option **ret)
{
	const struct sb_cli_option *tables[] = { p->cli->verb->options, common_options };
	const char **values[] = { p->cli->value, p->common };

	for (size_t t = 0; t < 2; t++)
		for (size_t i = 0; tables[t] && tables[t][i].name; i++) {
			const struct sb_cli_option *o = &tables[t][i];

			if (letter ? o->letter != letter : strlen(o->name) != n || memcmp(o->name, name, n) != 0)
				continue;
			*ret = o;
			return &values[t][i];
		}
	return NULL;
}

static int unknown_option(struct parse *p, const char *word)
{
	const char *names[SB_CLI_VALUES + OPT_COMMON];
	const char *near;
	size_t n = 0;
	char bare[64];

	for (const struct sb_cli_option *o = p->cli->verb->options; o && o->name; o++)
		names[n++] = o->name;
	for (const struct sb_cli_option *o = common_options; o->name; o++)
		names[n++] = o->name;
	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(word + strspn(word, "-"), "="), word + strspn(word, "-"));
	near = word[1] == '-' ? sb_nearest(bare, names, n) : NULL;
	if (near)
		return sb_cli_usage(p->cli, "unknown option %s; did you mean --%s?", word, near);
	return sb_cli_usage(p->cli, "unknown option %s", word);
}

/* "--name", "--name=value", "-x", "-xvalue"; the value may also be the next word. 0, or an exit code. */
static int parse_option(struct parse *p, const char *word)
{
	bool is_long = word[1] == '-';
	size_t n = is_long ? strcspn(word + 2, "=") : 0;
	const struct sb_cli_option *o = NULL;
	const char **value = find_option(p, word + 2, n, is_long ? '\0' : word[1], &o);
	const char *given = is_long ? (word[2 + n] ? word + 3 + n : NULL) : word[2] ? word + 2 : NULL;

	if (!value)
		return unknown_option(p, word);
	if (!o->arg) {
		*value = "";
		p->long_help |= is_long && value == &p->common[OPT_HELP];
		return given ? sb_cli_usage(p->cli, "option %.*s takes no value", is_long ? (int)n + 2 : 2, word) : 0;
	}
	if (!given && p->at < p->argc)
		given = p->argv[p->at++];
	if (!given)
		return sb_cli_usage(p->cli, "option %s needs a value: %s", word, o->arg);
	*value = given;
	return 0;
}

static int parse_words(struct parse *p)
{
	struct sb_cli *cli = p->cli;
	bool words_only = false;
	int r = 0;

	while (r == 0 && p->at < p->argc) {
		char *word = p->argv[p->at++];

		if (!words_only && strcmp(word, "--") == 0)
			words_only = true;
		else if (!words_only && word[0] == '-' && word[1])
			r = parse_option(p, word);
		else if (cli->n_args == WORDS_MAX)
			r = sb_cli_usage(cli, "more than %d words", WORDS_MAX);
		else
			cli->arg[cli->n_args++] = word;
	}
	return r;
}

/* ------------------------------------------------------------------------------------------------ what they mean */

static bool word_in(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; *p; p += strcspn(p, " "), p += strspn(p, " "))
		if (strcspn(p, " ") == n && memcmp(p, word, n) == 0)
			return true;
	return false;
}

/* An environment variable that is not empty, else NULL. */
static const char *setting(const char *variable)
{
	const char *v = getenv(variable);

	return v && *v ? v : NULL;
}

static bool color_for(const char *when, FILE *f)
{
	const char *term = setting("TERM"), *force = setting("CLICOLOR_FORCE");

	if (strcmp(when, "auto") != 0)
		return strcmp(when, "always") == 0;
	if (setting("NO_COLOR"))
		return false;
	if (force && strcmp(force, "0") != 0)
		return true;
	return fileno(f) >= 0 && isatty(fileno(f)) && term && strcmp(term, "dumb") != 0;
}

static int settle(struct parse *p)
{
	struct sb_cli *cli = p->cli;
	const char *formats = formats_of(cli->verb), *color = p->common[OPT_COLOR] ? p->common[OPT_COLOR] : "auto";

	snprintf(cli->first_format, sizeof(cli->first_format), "%.*s", (int)strcspn(formats, " "), formats);
	cli->format = p->common[OPT_OUTPUT] ? p->common[OPT_OUTPUT] : cli->first_format;
	if (!word_in(formats, cli->format))
		return sb_cli_usage(cli, "no output format `%s`; one of: %s", cli->format, formats);
	if (!word_in("auto always never", color))
		return sb_cli_usage(cli, "--color is auto, always or never");
	if (cli->n_args < cli->verb->min_args || cli->n_args > cli->verb->max_args)
		return sb_cli_usage(
			cli, "usage: signalbox %s %s", cli->verb->name, cli->verb->usage ? cli->verb->usage : "");
	cli->config = p->common[OPT_CONFIG] ? p->common[OPT_CONFIG] : setting("SIGNALBOX_CONFIG");
	if (!cli->config)
		cli->config = "signalbox.yaml";
	cli->quiet = p->common[OPT_QUIET] != NULL;
	cli->color_out = color_for(color, cli->out);
	cli->color_err = color_for(color, cli->err);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ verbs */

static const struct sb_cli_verb *find_verb(const struct sb_cli_verb *verbs, const char *name)
{
	for (; verbs->name; verbs++)
		if (strcmp(verbs->name, name) == 0)
			return verbs;
	return NULL;
}

static int unknown_verb(struct sb_cli *cli, const char *name)
{
	const char *names[WORDS_MAX], *near;
	size_t n = 0;

	for (const struct sb_cli_verb *v = cli->verbs; v->name && n < WORDS_MAX; v++)
		if (!v->hidden)
			names[n++] = v->name;
	near = sb_nearest(name, names, n);
	if (near)
		return sb_cli_usage(cli, "unknown command `%s`; did you mean `%s`?", name, near);
	return sb_cli_usage(cli, "unknown command `%s`", name);
}

static int run_verb(struct parse *p)
{
	int r;

	SB_ASSERT(count_options(p->cli->verb->options) <= SB_CLI_VALUES);
	r = parse_words(p);
	if (r == 0 && p->common[OPT_HELP]) {
		(p->long_help ? verb_help : short_help)(p->cli->verb, p->cli->out);
		return SB_EXIT_OK;
	}
	if (r == 0)
		r = settle(p);
	return r ? r : p->cli->verb->run(p->cli);
}

int sb_cli_main(int argc, char **argv, const struct sb_cli_verb *verbs, FILE *out, FILE *err)
{
	char *words[WORDS_MAX + 1] = { NULL };
	struct sb_cli cli = { .verbs = verbs, .arg = words, .out = out, .err = err };
	struct parse p = { .cli = &cli, .argc = argc, .argv = argv, .at = 2 };
	int r;

	if (argc < 2) {
		sb_cli_help(verbs, NULL, err);
		return SB_EXIT_USAGE;
	}
	if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0) {
		sb_cli_help(verbs, NULL, out);
		return SB_EXIT_OK;
	}
	cli.verb = find_verb(verbs, strcmp(argv[1], "--version") == 0 ? "version" : argv[1]);
	r = cli.verb ? run_verb(&p) : unknown_verb(&cli, argv[1]);
	if (r && !cli.answered && wants_json(&cli, argc, argv))
		sb_cli_answer_failure(&cli);
	return r;
}

const char *sb_cli_get(const struct sb_cli *cli, const char *name)
{
	size_t i = 0;

	while (cli->verb->options[i].name && strcmp(cli->verb->options[i].name, name) != 0)
		i++;
	SB_ASSERT(cli->verb->options[i].name);
	return cli->value[i];
}

bool sb_cli_format_is(const struct sb_cli *cli, const char *format)
{
	return strcmp(cli->format, format) == 0;
}
