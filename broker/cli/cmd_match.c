/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `signalbox match`: does a pattern match an event? Needs no daemon and no configuration. Pattern and event are files, `-`
 * for standard input, or JSON that stands in the argument itself.
 */
#include "broker/cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/json.h"
#include "broker/base/node.h"
#include "rules/rules.h"

#define TEXT_BYTES_MAX (16u << 20)

static int read_all(FILE *f, struct sb_buf *out, const char *name, struct sb_err *err)
{
	char chunk[16384];
	size_t n;

	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		if (sb_buf_add(out, chunk, n) < 0)
			return sb_fail(err, SB_E_LIMIT, "'%s' is larger than 16 MiB", name);
	if (ferror(f))
		return sb_fail_errno(err, "cannot read '%s'", name);
	return 0;
}

static bool is_inline(const char *arg)
{
	return arg[strspn(arg, " \t\r\n")] == '{';
}

/* What an argument stands for; `what` is its name in messages when it is the text itself, *ret_name in any case. */
static int read_arg(const char *arg, const char *what, struct sb_buf *out, const char **ret_name, struct sb_err *err)
{
	FILE *f;
	int r;

	*ret_name = strcmp(arg, "-") == 0 ? "standard input" : arg;
	if (is_inline(arg)) {
		*ret_name = what;
		return sb_buf_adds(out, arg) < 0 ? sb_fail(err, SB_E_LIMIT, "larger than 16 MiB") : 0;
	}
	if (strcmp(arg, "-") == 0)
		return read_all(stdin, out, *ret_name, err);
	f = fopen(arg, "re");
	if (!f)
		return sb_fail_errno(err, "cannot read '%s'", arg);
	r = read_all(f, out, arg, err);
	fclose(f);
	return r;
}

/* ------------------------------------------------------------------------------------------------ one question */

static bool is_yaml(const char *name)
{
	size_t n = strlen(name);

	return (n > 5 && strcmp(name + n - 5, ".yaml") == 0) || (n > 4 && strcmp(name + n - 4, ".yml") == 0);
}

static const struct sb_pattern *compile(
	struct sb_arena *a, const char *name, struct sb_slice text, struct sb_diags *diags)
{
	const struct sb_pattern *p = NULL;
	size_t errors = diags->errors;
	struct sb_doc doc;

	sb_diags_source(diags, name, text);
	if (is_yaml(name))
		sb_yaml_parse(name, text, &doc, diags);
	else
		sb_json_parse_doc(name, text, &doc, diags);
	if (doc.root)
		p = sb_pattern_compile(a, doc.root, diags);
	sb_doc_done(&doc);
	return diags->errors == errors ? p : NULL;
}

static int scan_event(const char *name, struct sb_slice text, struct sb_tape_buf *tape, struct sb_diags *diags)
{
	struct sb_loc at = { .file = name, .len = 1 };
	struct sb_json_fault fault;
	struct sb_err err;

	sb_diags_source(diags, name, text);
	if (sb_json_scan(text.p, text.n, &SB_JSON_LIMITS, tape, &fault) < 0) {
		sb_json_place(text.p, text.n, fault.off, &at);
		sb_fail_at(&err, fault.code, &at, "the event is not valid JSON: %s", fault.msg);
	} else if (tape->node[0].kind != SB_JSON_OBJECT) {
		at.line = at.col = 1;
		sb_fail_at(&err, SB_E_KIND, &at, "an event is a JSON object");
	} else {
		return 0;
	}
	sb_diag_error(diags, &err);
	return -1;
}

struct named_text {
	const char *name;
	struct sb_slice text; /* SB_JSON_PAD readable bytes behind it */
};

/* 1: yes; 0: no; -1: errors in the diags, of both texts. */
static int ask(const struct named_text *pattern, const struct named_text *event, struct sb_diags *diags)
{
	struct sb_tape_buf tape = { 0 };
	struct sb_arena arena = { 0 };
	const struct sb_pattern *p = compile(&arena, pattern->name, pattern->text, diags);
	int r = scan_event(event->name, event->text, &tape, diags);

	if (r == 0 && p) {
		struct sb_tape t = sb_tape_of(event->text.p, &tape);

		r = sb_pattern_match(p, &t);
	} else {
		r = -1;
	}
	sb_tape_buf_done(&tape);
	sb_arena_done(&arena);
	return r;
}

/* Also the bytes that a vector scanner may look at. */
static int pad(struct sb_buf *b)
{
	char *p = sb_buf_reserve(b, SB_JSON_PAD);

	if (!p)
		return -1;
	memset(p, 0, SB_JSON_PAD);
	return 0;
}

static void tell_errors(struct sb_cli *cli, const struct sb_diags *diags)
{
	struct sb_buf out = SB_BUF(4u << 20);

	sb_diags_format(diags, SB_DIAG_LONG, cli->color_err, &out);
	fwrite(out.p, 1, out.len, cli->err);
	sb_buf_done(&out);
}

static void answer_json(struct sb_cli *cli, int r, const struct sb_diags *diags)
{
	struct sb_buf out = SB_BUF(4u << 20);

	sb_buf_addf(&out, "{\"v\":1,\"match\":%s,\"errors\":", r < 0 ? "null" : r ? "true" : "false");
	sb_diags_format(diags, SB_DIAG_JSON, false, &out);
	if (r < 0) {
		sb_cli_note(cli, NULL, &diags->item[0].err);
		sb_buf_addc(&out, ',');
		sb_cli_add_error(cli, &out);
	}
	sb_buf_adds(&out, "}\n");
	fwrite(out.p, 1, out.len, sb_cli_answer(cli));
	sb_buf_done(&out);
}

static int answer(struct sb_cli *cli, int r, const struct sb_diags *diags)
{
	if (sb_cli_format_is(cli, "json"))
		answer_json(cli, r, diags);
	else if (r < 0)
		tell_errors(cli, diags);
	else
		fputs(r ? "match\n" : "no match\n", cli->out);
	return r < 0 ? SB_EXIT_USAGE : r ? SB_EXIT_OK : SB_EXIT_NO;
}

static int match_one(struct sb_cli *cli, const char *pattern_arg, const char *event_arg)
{
	struct sb_buf pattern = SB_BUF(TEXT_BYTES_MAX), event = SB_BUF(TEXT_BYTES_MAX + SB_JSON_PAD);
	struct named_text p = { 0 }, e = { 0 };
	struct sb_diags diags = { 0 };
	struct sb_err err;
	int code;

	if (read_arg(pattern_arg, "pattern", &pattern, &p.name, &err) < 0 ||
		read_arg(event_arg, "event", &event, &e.name, &err) < 0) {
		code = sb_cli_error(cli, SB_EXIT_USAGE, &err);
	} else {
		pad(&event);
		p.text = sb_buf_slice(&pattern);
		e.text = sb_buf_slice(&event);
		code = answer(cli, ask(&p, &e, &diags), &diags);
	}
	sb_diags_done(&diags);
	sb_buf_done(&pattern);
	sb_buf_done(&event);
	return code;
}

/* ------------------------------------------------------------------------------------------------ many questions */

/* The text that a member holds: as it stands, or inside of a string. */
static int member_text(const struct sb_tape *t, const char *name, struct sb_buf *ret, struct sb_err *err)
{
	uint32_t i = sb_json_member(t, 0, sb_slice_str(name));
	int r;

	sb_buf_clear(ret);
	if (i == UINT32_MAX)
		return sb_fail(err, SB_E_MISSING, "\"%s\" is missing", name);
	if (t->node[i].kind == SB_JSON_STRING)
		r = sb_json_unescape(sb_json_text(t, i), ret);
	else
		r = sb_buf_add_slice(ret, sb_json_raw(t, i));
	if (r < 0 || pad(ret) < 0)
		return sb_fail(err, SB_E_LIMIT, "\"%s\" is larger than 16 MiB", name);
	return 0;
}

struct batch {
	struct sb_cli *cli;
	struct sb_tape_buf tape;
	struct sb_buf pattern, event;
	bool failed;
};

static void say_error(struct batch *b, const struct sb_err *err)
{
	struct sb_buf text = SB_BUF(8192);

	b->failed = true;
	if (sb_cli_format_is(b->cli, "json")) {
		sb_buf_adds(&text, "{\"match\":null,\"error\":");
		sb_json_add_string(&text, sb_slice_str(err->msg));
		fprintf(b->cli->out, "%.*s}\n", (int)text.len, text.p);
	} else {
		fprintf(b->cli->out, "error: %s\n", err->msg);
	}
	sb_buf_done(&text);
}

static void say(struct batch *b, bool yes)
{
	const char *word = yes ? "true" : "false";

	if (sb_cli_format_is(b->cli, "json"))
		fprintf(b->cli->out, "{\"match\":%s}\n", word);
	else
		fprintf(b->cli->out, "%s\n", word);
}

static void batch_ask(struct batch *b)
{
	struct named_text p = { "pattern", sb_buf_slice(&b->pattern) }, e = { "event", sb_buf_slice(&b->event) };
	struct sb_diags diags = { 0 };
	int r = ask(&p, &e, &diags);

	if (r < 0)
		say_error(b, &diags.item[0].err);
	else
		say(b, r);
	sb_diags_done(&diags);
}

static void batch_line(struct batch *b, struct sb_slice line)
{
	struct sb_json_limits lim = { .depth = 1004, .nodes = 2u << 20 }; /* one level around what is asked about */
	struct sb_json_fault fault;
	struct sb_tape t;
	struct sb_err err;

	if (sb_json_scan(line.p, line.n, &lim, &b->tape, &fault) < 0) {
		sb_fail(&err, fault.code, "the line is not valid JSON: offset %zu: %s", fault.off, fault.msg);
		say_error(b, &err);
		return;
	}
	t = sb_tape_of(line.p, &b->tape);
	if (member_text(&t, "pattern", &b->pattern, &err) < 0 || member_text(&t, "event", &b->event, &err) < 0)
		say_error(b, &err);
	else
		batch_ask(b);
}

static bool blank(struct sb_slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!strchr(" \t\r\n", s.p[i]))
			return false;
	return true;
}

/* The next line without its end; *ret_long: it was larger than the buffer's cap, and was skipped. False: there is none. */
static bool next_line(struct sb_buf *line, bool *ret_long)
{
	int c = getc_unlocked(stdin);

	sb_buf_clear(line);
	*ret_long = false;
	if (c == EOF)
		return false;
	for (; c != EOF && c != '\n'; c = getc_unlocked(stdin))
		*ret_long |= sb_buf_addc(line, (char)c) < 0;
	return true;
}

static int batch_read(struct batch *b)
{
	struct sb_buf line = SB_BUF(2 * TEXT_BYTES_MAX);
	struct sb_err err;
	bool too_long;

	while (next_line(&line, &too_long)) {
		if (too_long || pad(&line) < 0) {
			sb_fail(&err, SB_E_LIMIT, "the line is larger than 32 MiB");
			say_error(b, &err);
		} else if (!blank(sb_buf_slice(&line))) {
			batch_line(b, sb_buf_slice(&line));
		}
	}
	sb_buf_done(&line);
	return b->failed ? SB_EXIT_USAGE : SB_EXIT_OK;
}

static int match_batch(struct sb_cli *cli)
{
	struct batch b = { .cli = cli,
		.pattern = SB_BUF(TEXT_BYTES_MAX + SB_JSON_PAD),
		.event = SB_BUF(TEXT_BYTES_MAX + SB_JSON_PAD) };
	int code = batch_read(&b);

	cli->answered = true; /* line by line */
	sb_tape_buf_done(&b.tape);
	sb_buf_done(&b.pattern);
	sb_buf_done(&b.event);
	return code;
}

static int run(struct sb_cli *cli)
{
	const char *pattern = sb_cli_get(cli, "pattern"), *event = sb_cli_get(cli, "event");

	if (sb_cli_has(cli, "batch"))
		return pattern || event ? sb_cli_usage(cli, "--batch reads patterns and events from standard input")
					: match_batch(cli);
	if (!pattern || !event)
		return sb_cli_usage(cli, "-p PATTERN and -e EVENT are both needed");
	if (strcmp(pattern, "-") == 0 && strcmp(event, "-") == 0)
		return sb_cli_usage(cli, "only one of -p and -e can be standard input");
	return match_one(cli, pattern, event);
}

static const struct sb_cli_option options[] = {
	{ "pattern", 'p', "PATTERN", "a file, - for standard input, or JSON that begins with {" },
	{ "event", 'e', "EVENT", "the same" },
	{ "batch", 0, NULL, "answer a line for each line {\"pattern\":...,\"event\":...} of standard input" },
	{ 0 },
};

const struct sb_cli_verb sb_cmd_match = {
	.name = "match",
	.summary = "does a pattern match an event? needs no daemon",
	.usage = "-p PATTERN -e EVENT | --batch",
	.options = options,
	.formats = "text json",
	.details =
		"  signalbox match -p '{\"source\":[\"com.shop\"]}' -e event.json\n"
		"  signalbox match --batch < questions.jsonl\n\n"
		"--batch answers true, false or `error: ...`; pattern and event are JSON, or strings that hold JSON\n"
		"exit code: 0 match, 1 no match, 2 the pattern or the event is not right",
	.run = run,
};
