/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dlq list, show and count. Letters carry events that others wrote, so they go from the daemon, or from the table, to the
 * output as the text that they are: no number is too large for it, and nothing is lost by reading and writing it again.
 */
#include "broker/cli/dlq.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/json.h"
#include "broker/cli/output.h"

#define PAGE_MAX 1000
#define LIST_DEFAULT 1000
#define LIST_BYTES (1u << 30)
/* Deeper by our envelope than an event may be; a letter has its history beside its event. */
#define SCAN_LIMITS ((struct sb_json_limits){ .depth = 1100, .nodes = 1u << 24 })

/* ------------------------------------------------------------------------------------------------ without a daemon */

struct offline {
	struct sb_buf *out;
	bool full;
	uint64_t n, last;
	struct sb_err *err;
};

static int add_letter(void *arg, const struct sb_letter *l)
{
	struct offline *o = arg;

	if (sb_buf_adds(o->out, o->n ? ",{" : "{") < 0 || sb_letter_json(l, o->full, o->out) < 0 ||
		sb_buf_addc(o->out, '}') < 0)
		return sb_fail(o->err, SB_E_LIMIT, "too many letters at once: --limit asks for fewer");
	o->n++;
	o->last = l->rowid;
	return 0;
}

static int table_letters(struct sb_deadletters *table, const struct sb_letter_filter *f, bool full, struct sb_buf *out,
	struct sb_err *err)
{
	struct offline o = { .out = out, .full = full, .err = err };

	sb_buf_adds(out, "{\"v\":1,\"letters\":[");
	if (table && sb_deadletters_each(table, f, add_letter, &o, err) != 0)
		return -1;
	return sb_buf_addf(out, "],\"next\":%" PRIu64 "}", f->limit && o.n == f->limit ? o.last : 0);
}

static int table_counts(
	struct sb_deadletters *table, const struct sb_letter_filter *f, struct sb_buf *out, struct sb_err *err)
{
	struct sb_letter_count *count = NULL;
	size_t n = 0;

	if (table && sb_deadletters_count(table, f, &count, &n, err) < 0)
		return -1;
	sb_buf_adds(out, "{\"v\":1,\"counts\":[");
	for (size_t i = 0; i < n; i++) {
		sb_buf_adds(out, i ? "," : "");
		sb_letter_count_json(&count[i], out);
	}
	free(count);
	return sb_buf_adds(out, "]}");
}

static uint64_t ago(const json_t *o, const char *key)
{
	uint64_t ms = sb_json_number_of(o, key), now = sb_wall_ms(&sb_clock_system);

	return ms && ms < now ? now - ms : 0;
}

static struct sb_letter_filter filter_of(const json_t *f)
{
	return (struct sb_letter_filter){ .id = json_string_value(json_object_get(f, "id")),
		.target = json_string_value(json_object_get(f, "target")),
		.rule = json_string_value(json_object_get(f, "rule")),
		.error = json_string_value(json_object_get(f, "error")),
		.bus = json_string_value(json_object_get(f, "bus")),
		.older_than_ms = ago(f, "older_than_ms"),
		.newer_than_ms = ago(f, "newer_than_ms") };
}

/* *ret NULL: there is no table yet in a folder that we can read. */
static int open_table(struct dlq *d, struct sb_deadletters **ret, struct sb_err *err)
{
	static const struct sb_deadletters_conf conf = { 0 }; /* only matters to writers */
	char file[4200];

	*ret = NULL;
	snprintf(file, sizeof(file), "%s/dead-letters.db", d->control.data_dir);
	if (sb_deadletters_open(file, true, &conf, ret, err) == 0)
		return 0;
	if (err->code != SB_E_MISSING)
		return -1;
	if (access(d->control.data_dir, R_OK | X_OK) < 0)
		return sb_fail_errno(
			err, "no daemon is running, and the data folder '%.200s' cannot be read", d->control.data_dir);
	if (access(file, R_OK) < 0 && errno != ENOENT)
		return sb_fail_errno(err, "no daemon is running, and '%.200s' cannot be read", file);
	return 0;
}

static int read_table(struct dlq *d, const char *path, const json_t *body, struct sb_buf *ret)
{
	bool counting = strcmp(path, "/v1/dlq/count") == 0;
	struct sb_letter_filter f = filter_of(body);
	struct sb_deadletters *table;
	struct sb_err err = { 0 };
	int r = open_table(d, &table, &err);

	f.redriving_too = !counting;
	f.limit = sb_json_number_of(body, "limit");
	f.after_rowid = sb_json_number_of(body, "after");
	sb_buf_clear(ret);
	if (r == 0 && counting)
		r = table_counts(table, &f, ret, &err);
	else if (r == 0)
		r = table_letters(table, &f, json_is_true(json_object_get(body, "full")), ret, &err);
	sb_deadletters_close(table);
	return r == 0 ? 0 : sb_cli_error(d->cli, SB_EXIT_UNREACHABLE, &err);
}

/* ------------------------------------------------------------------------------------------------ asking */

json_t *dlq_body(const struct dlq *d, uint64_t limit, uint64_t after)
{
	json_t *body = json_copy(d->filter);

	if (limit)
		json_object_set_new(body, "limit", json_integer((json_int_t)limit));
	if (after)
		json_object_set_new(body, "after", json_integer((json_int_t)after));
	return body;
}

int dlq_read(struct dlq *d, const char *path, json_t *body, struct sb_buf *ret)
{
	int r = sb_control_text(&d->control, "POST", path, json_incref(body), false, ret);

	if (r == SB_EXIT_UNREACHABLE)
		r = read_table(d, path, body, ret);
	json_decref(body);
	return r;
}

static int ask_counts(struct dlq *d, struct sb_buf *text, json_t **ret)
{
	int r = dlq_read(d, "/v1/dlq/count", dlq_body(d, 0, 0), text);

	*ret = r == 0 ? json_loadb(text->p, text->len, JSON_ALLOW_NUL, NULL) : NULL;
	return r;
}

int dlq_total(struct dlq *d, uint64_t *ret)
{
	struct sb_buf text = SB_BUF(SB_CONTROL_ANSWER);
	json_t *answer, *row;
	int r = ask_counts(d, &text, &answer);
	size_t i;

	*ret = 0;
	json_array_foreach(json_object_get(answer, "counts"), i, row) *ret += sb_json_number_of(row, "n");
	json_decref(answer);
	sb_buf_done(&text);
	return r;
}

int dlq_no_such_letter(struct dlq *d)
{
	struct sb_err err;

	sb_fail(&err, SB_E_MISSING, "there is no dead letter `%.60s`", d->id);
	sb_hint(&err, "signalbox dlq list tells the ids");
	return sb_cli_error(d->cli, SB_EXIT_NO, &err);
}

/* ------------------------------------------------------------------------------------------------ pages of letters */

struct pages {
	struct sb_buf text, letters; /* the page as it came; all letters, comma between */
	struct sb_tape_buf nodes;
	uint64_t n, next;
};

static void pages_done(struct pages *p)
{
	sb_buf_done(&p->text);
	sb_buf_done(&p->letters);
	sb_tape_buf_done(&p->nodes);
}

static int bad_answer(struct dlq *d, const char *why)
{
	struct sb_err err;

	sb_fail(&err, SB_E_SYNTAX, "the answer cannot be read: %s", why);
	return sb_cli_error(d->cli, SB_EXIT_UNREACHABLE, &err);
}

static int take_page(struct dlq *d, struct pages *p)
{
	struct sb_json_fault fault = { .msg = "it is too large" };
	struct sb_json_limits limits = SCAN_LIMITS;
	struct sb_tape tape;
	uint32_t list, next;

	if (!sb_buf_reserve(&p->text, SB_JSON_PAD) ||
		sb_json_scan(p->text.p, p->text.len, &limits, &p->nodes, &fault) < 0)
		return bad_answer(d, fault.msg);
	tape = sb_tape_of(p->text.p, &p->nodes);
	list = sb_json_member(&tape, 0, SB_SLICE("letters"));
	next = sb_json_member(&tape, 0, SB_SLICE("next"));
	if (list == UINT32_MAX || next == UINT32_MAX || tape.node[list].kind != SB_JSON_ARRAY)
		return bad_answer(d, "it lists no letters");
	for (uint32_t i = list + 1; i < tape.node[list].next; i = tape.node[i].next) {
		if ((p->n && sb_buf_addc(&p->letters, ',') < 0) ||
			sb_buf_add_slice(&p->letters, sb_json_raw(&tape, i)) < 0)
			return bad_answer(d, "more than 1 GiB of letters; --limit asks for fewer");
		p->n++;
	}
	p->next = strtoull(sb_json_text(&tape, next).p, NULL, 10);
	return 0;
}

static int read_pages(struct dlq *d, uint64_t limit, struct pages *p)
{
	int r;

	p->next = d->after;
	do {
		r = dlq_read(
			d, "/v1/dlq/list", dlq_body(d, SB_MIN(limit - p->n, (uint64_t)PAGE_MAX), p->next), &p->text);
		if (r == 0)
			r = take_page(d, p);
	} while (r == 0 && p->next && p->n < limit);
	return r;
}

/* ------------------------------------------------------------------------------------------------ list */

static void add_row(struct sb_table *t, const json_t *l, uint64_t now)
{
	const char *when = sb_json_text_of(l, "died");
	bool redriving = strcmp(sb_json_text_of(l, "state"), "redriving") == 0;
	uint64_t died;

	sb_table_text(t, sb_json_text_of(l, "id"));
	sb_table_text(t, sb_json_text_of(l, "target"));
	sb_table_text(t, sb_json_text_of(l, "rule"));
	sb_table_text(t, sb_json_text_of(l, "error_code"));
	sb_table_number(t, sb_json_number_of(l, "attempts"));
	sb_table_age(t, sb_time_parse(when, strlen(when), &died) == 0 && died < now ? now - died : 1);
	sb_table_text(t, redriving ? "(redriving)" : sb_json_text_of(l, "error"));
}

static void print_list(struct dlq *d, const struct pages *p)
{
	static const struct sb_column columns[] = {
		{ "ID", false, 12 },
		{ "TARGET", false, 8 },
		{ "RULE", false, 8 },
		{ "ERROR", false, 12 },
		{ "ATTEMPTS", true, 0 },
		{ "DIED", true, 0 },
		{ "MESSAGE", false, 12 },
		{ 0 },
	};
	uint64_t now = sb_wall_ms(&sb_clock_system);
	struct sb_buf list = SB_BUF(LIST_BYTES + 2);
	struct sb_table t;
	json_t *letters, *l;
	size_t i;

	sb_buf_addf(&list, "[");
	sb_buf_add_slice(&list, sb_buf_slice(&p->letters));
	sb_buf_addc(&list, ']');
	letters = json_loadb(
		list.p, list.len, JSON_ALLOW_NUL, NULL); /* without their events: nothing here that it refuses */
	sb_buf_done(&list);
	sb_table_init(&t, columns);
	json_array_foreach(letters, i, l) add_row(&t, l, now);
	sb_table_print(&t, sb_terminal_width(d->cli->out), d->cli->out);
	sb_table_done(&t);
	json_decref(letters);
	if (p->next && !d->cli->quiet)
		fprintf(d->cli->err, "there are more: --after %" PRIu64 " goes on\n", p->next);
}

static void print_list_json(struct dlq *d, const struct pages *p)
{
	struct sb_buf all = SB_BUF(LIST_BYTES + 100);

	sb_buf_adds(&all, "{\"v\":1,\"letters\":[");
	sb_buf_add_slice(&all, sb_buf_slice(&p->letters));
	sb_buf_addf(&all, "],\"next\":%" PRIu64 "}", p->next);
	sb_json_indent(sb_buf_slice(&all), sb_cli_answer(d->cli));
	sb_buf_done(&all);
}

int dlq_list(struct dlq *d)
{
	struct pages p = { .text = SB_BUF(SB_CONTROL_ANSWER), .letters = SB_BUF(LIST_BYTES) };
	int r = read_pages(d, d->limit ? d->limit : LIST_DEFAULT, &p);

	if (r == 0 && sb_cli_format_is(d->cli, "json"))
		print_list_json(d, &p);
	else if (r == 0)
		print_list(d, &p);
	pages_done(&p);
	return r;
}

/* ------------------------------------------------------------------------------------------------ show */

/* A member to a line: what is text as text, what has structure indented below its name. */
static void print_letter(struct dlq *d, struct sb_slice letter)
{
	struct sb_json_limits limits = SCAN_LIMITS;
	struct sb_tape_buf nodes = { 0 };
	struct sb_buf text = SB_BUF(SB_CONTROL_ANSWER);
	struct sb_json_fault fault;
	struct sb_tape t;

	if (sb_json_scan(letter.p, letter.n, &limits, &nodes, &fault) == 0) {
		t = sb_tape_of(letter.p, &nodes);
		for (uint32_t i = 1; i < t.n; i = t.node[i + 1].next) {
			const struct sb_json_node *v = &t.node[i + 1];

			fprintf(d->cli->out, "%-14.*s ", SB_SLICE_ARG(sb_json_text(&t, i)));
			sb_buf_clear(&text);
			if (v->kind == SB_JSON_STRING && sb_json_unescape(sb_json_text(&t, i + 1), &text) == 0)
				sb_print_text(sb_buf_slice(&text), 15, d->cli->out);
			else
				sb_json_indent(sb_json_raw(&t, i + 1), d->cli->out);
		}
	}
	sb_buf_done(&text);
	sb_tape_buf_done(&nodes);
}

int dlq_show(struct dlq *d)
{
	struct pages p = { .text = SB_BUF(SB_CONTROL_ANSWER), .letters = SB_BUF(LIST_BYTES) };
	struct sb_buf shown = SB_BUF(SB_CONTROL_ANSWER);
	int r;

	json_object_set_new(d->filter, "full", json_true());
	r = read_pages(d, 1, &p);
	if (r == 0 && p.n == 0)
		r = dlq_no_such_letter(d);
	else if (r == 0 && sb_cli_format_is(d->cli, "json")) {
		sb_buf_adds(&shown, "{\"v\":1,");
		sb_buf_add(&shown, p.letters.p + 1, p.letters.len - 1);
		sb_json_indent(sb_buf_slice(&shown), sb_cli_answer(d->cli));
	} else if (r == 0 && sb_buf_reserve(&p.letters, SB_JSON_PAD))
		print_letter(d, sb_buf_slice(&p.letters));
	sb_buf_done(&shown);
	pages_done(&p);
	return r;
}

/* ------------------------------------------------------------------------------------------------ count */

static void print_counts(struct sb_cli *cli, const json_t *list)
{
	static const struct sb_column columns[] = {
		{ "TARGET", false, 8 },
		{ "RULE", false, 8 },
		{ "ERROR", false, 12 },
		{ "LETTERS", true, 0 },
		{ "BYTES", true, 0 },
		{ "OLDEST", true, 0 },
		{ "NEWEST", true, 0 },
		{ 0 },
	};
	uint64_t now = sb_wall_ms(&sb_clock_system);
	struct sb_table t;
	json_t *row;
	size_t i;

	sb_table_init(&t, columns);
	json_array_foreach(list, i, row)
	{
		uint64_t oldest = sb_json_number_of(row, "oldest_ms"), newest = sb_json_number_of(row, "newest_ms");

		sb_table_text(&t, sb_json_text_of(row, "target"));
		sb_table_text(&t, sb_json_text_of(row, "rule"));
		sb_table_text(&t, sb_json_text_of(row, "error"));
		sb_table_number(&t, sb_json_number_of(row, "n"));
		sb_table_number(&t, sb_json_number_of(row, "bytes"));
		sb_table_age(&t, now > oldest ? now - oldest : 1);
		sb_table_age(&t, now > newest ? now - newest : 1);
	}
	sb_table_print(&t, sb_terminal_width(cli->out), cli->out);
	sb_table_done(&t);
}

int dlq_count(struct dlq *d)
{
	struct sb_buf text = SB_BUF(SB_CONTROL_ANSWER);
	json_t *answer;
	int r = ask_counts(d, &text, &answer);

	if (r == 0 && sb_cli_format_is(d->cli, "json"))
		sb_json_indent(sb_buf_slice(&text), sb_cli_answer(d->cli));
	else if (r == 0)
		print_counts(d->cli, json_object_get(answer, "counts"));
	json_decref(answer);
	sb_buf_done(&text);
	return r;
}
