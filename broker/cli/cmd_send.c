/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signalbox send. Everything is read and checked to be JSON before the first event leaves, so that a typing error at the end
 * of a file sends none of it. Events go out as they were written, in requests that a daemon with default limits takes; each
 * request is all or nothing.
 */
#include "broker/cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/json.h"
#include "broker/cli/control.h"
#include "broker/cli/output.h"
#include "broker/net/http.h"

#define INPUT_MAX (256u << 20)
#define REQUEST_EVENTS 1000
#define REQUEST_BYTES (512u << 10) /* a single larger event goes alone */
#define TIMEOUT_MS 30000

static const struct sb_cli_option options[] = {
	{ .name = "source", .arg = "TEXT", .doc = "build one event from this, --detail-type and --detail" },
	{ .name = "detail-type", .arg = "TEXT", .doc = "of the event to build" },
	{ .name = "detail", .arg = "JSON", .doc = "of the event to build" },
	{ .name = "bus", .arg = "NAME", .doc = "of the event to build" },
	{ .name = "lenient", .doc = "store the good ones of several, not all or nothing" },
	{ .name = "address",
		.arg = "HOST:PORT",
		.doc = "where to send to, instead of the first listener that serves events" },
	{ .name = "token", .arg = "TOKEN", .doc = "bearer token, instead of the configuration's" },
	SB_OPTION_DATA_DIR,
	{ 0 },
};

struct span {
	size_t off, n;
};

struct send {
	struct sb_cli *cli;
	struct sb_buf text; /* every input, one behind the other */
	struct span *event; /* in it */
	size_t n_events, cap;
	char address[300], token[4096];
	char near_bus[80];  /* the one that --bus may mean; "": it names one, or none is near */
	json_t *ids, *results; /* of those stored, of those refused */
	json_t *error;         /* the last refusal of a request; NULL: none */
	unsigned status;       /* that came with it */
};

static int fail(struct send *s, enum sb_code code, const char *fmt, ...) SB_PRINTF(3, 4);
static int fail(struct send *s, enum sb_code code, const char *fmt, ...)
{
	struct sb_err err;
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sb_fail(&err, code, "%s", text);
	return sb_cli_error(s->cli, SB_EXIT_USAGE, &err);
}

/* ------------------------------------------------------------------------------------------------ what to send */

static void add_event(struct send *s, const struct sb_tape *t, uint32_t i)
{
	struct sb_slice raw = sb_json_raw(t, i);

	if (s->n_events == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->event = sb_xrealloc(s->event, s->cap * sizeof(*s->event));
	}
	s->event[s->n_events++] = (struct span){ (size_t)(raw.p - s->text.p), raw.n };
}

static size_t skip_blanks(const struct sb_buf *b, size_t at)
{
	while (at < b->len && strchr(" \t\r\n", b->p[at]) && b->p[at])
		at++;
	return at;
}

/* One value, several on lines of their own, or arrays of them: what stands in `text` from `from` on. */
static int take_events(struct send *s, const char *name, size_t from)
{
	struct sb_json_limits limits = { .depth = SB_JSON_LIMITS.depth + 1, .nodes = 1u << 25 };
	struct sb_tape_buf nodes = { 0 };
	struct sb_json_fault fault;
	size_t at = from, end;
	struct sb_loc place;
	int r = 0;

	if (!sb_buf_reserve(&s->text, SB_JSON_PAD))
		return fail(s, SB_E_LIMIT, "more than %u MiB of events", INPUT_MAX >> 20);
	for (; r == 0 && (at = skip_blanks(&s->text, at)) < s->text.len; at = end) {
		struct sb_tape t;

		if (sb_json_scan_at(s->text.p, s->text.len, at, &limits, &nodes, &end, &fault) < 0) {
			sb_json_place(s->text.p + from, s->text.len - from, fault.off - from, &place);
			r = fail(s, SB_E_SYNTAX, "%.100s:%u:%u: %s", name, place.line, place.col, fault.msg);
			break;
		}
		t = sb_tape_of(s->text.p, &nodes);
		if (t.node[0].kind != SB_JSON_ARRAY)
			add_event(s, &t, 0);
		else
			for (uint32_t i = 1; i < t.n; i = t.node[i].next)
				add_event(s, &t, i);
	}
	sb_tape_buf_done(&nodes);
	return r;
}

static int read_file(struct send *s, const char *name)
{
	bool is_stdin = strcmp(name, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(name, "re");
	size_t from = s->text.len, n;
	char chunk[65536];
	struct sb_err err;
	int r = 0;

	if (f && is_stdin && isatty(STDIN_FILENO))
		fputs("signalbox send: reading events from the terminal, Ctrl-D ends them\n", s->cli->err);
	while (f && r == 0 && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		if (sb_buf_add(&s->text, chunk, n) < 0)
			r = fail(s, SB_E_LIMIT, "more than %u MiB of events", INPUT_MAX >> 20);
	if (!f || (r == 0 && ferror(f))) {
		sb_fail_errno(&err, "cannot read '%s'", name);
		r = sb_cli_error(s->cli, SB_EXIT_USAGE, &err);
	}
	if (f && !is_stdin)
		fclose(f);
	return r ? r : take_events(s, is_stdin ? "standard input" : name, from);
}

static bool builds(const struct sb_cli *cli)
{
	return sb_cli_has(cli, "source") || sb_cli_has(cli, "detail-type") || sb_cli_has(cli, "detail") ||
	       sb_cli_has(cli, "bus");
}

static int check_detail(struct send *s, const char *detail)
{
	struct sb_buf text = SB_BUF(INPUT_MAX);
	struct sb_tape_buf nodes = { 0 };
	struct sb_json_fault fault = { .msg = "too long" };
	int r = -1;

	if (sb_buf_adds(&text, detail) == 0 && sb_buf_reserve(&text, SB_JSON_PAD))
		r = sb_json_scan(text.p, text.len, &SB_JSON_LIMITS, &nodes, &fault);
	sb_tape_buf_done(&nodes);
	sb_buf_done(&text);
	return r == 0 ? 0 : sb_cli_usage(s->cli, "--detail is no JSON: %s at byte %zu", fault.msg, fault.off);
}

static int build_event(struct send *s)
{
	const char *source = sb_cli_get(s->cli, "source"), *type = sb_cli_get(s->cli, "detail-type");
	const char *detail = sb_cli_get(s->cli, "detail"), *bus = sb_cli_get(s->cli, "bus");
	int r;

	if (s->cli->n_args)
		return sb_cli_usage(s->cli, "either an event to build, or `%s`", s->cli->arg[0]);
	if (!source || !type || !detail)
		return sb_cli_usage(s->cli, "an event is built of --source, --detail-type and --detail");
	r = check_detail(s, detail);
	if (r)
		return r;
	sb_buf_adds(&s->text, "{\"source\":");
	sb_json_add_string(&s->text, sb_slice_str(source));
	sb_buf_adds(&s->text, ",\"detail-type\":");
	sb_json_add_string(&s->text, sb_slice_str(type));
	if (bus) {
		sb_buf_adds(&s->text, ",\"bus\":");
		sb_json_add_string(&s->text, sb_slice_str(bus));
	}
	sb_buf_addf(&s->text, ",\"detail\":%s}", detail);
	return take_events(s, "the event", 0);
}

static int collect(struct send *s)
{
	struct sb_cli *cli = s->cli;
	int r = 0;

	if (builds(cli))
		return build_event(s);
	if (cli->n_args == 0)
		r = read_file(s, "-");
	for (size_t i = 0; i < cli->n_args && r == 0; i++) {
		size_t from = s->text.len;

		if (cli->arg[i][0] != '{' && cli->arg[i][0] != '[')
			r = read_file(s, cli->arg[i]);
		else if (sb_buf_adds(&s->text, cli->arg[i]) < 0)
			r = fail(s, SB_E_LIMIT, "more than %u MiB of events", INPUT_MAX >> 20);
		else
			r = take_events(s, "the event", from);
	}
	if (r == 0 && s->n_events == 0)
		r = fail(s, SB_E_MISSING, "there is no event in what was given");
	return r;
}

/* ------------------------------------------------------------------------------------------------ where to */

static const struct sb_listener_conf *events_listener(const struct sb_config *c)
{
	for (size_t i = 0; c && i < c->n_listeners; i++)
		if (c->listener[i].serve & SB_SERVE_EVENTS)
			return &c->listener[i];
	return NULL;
}

/* A token that stands in the configuration as a variable which only the daemon has is none. */
static void find_token(struct send *s, const struct sb_listener_conf *l)
{
	const char *given = sb_cli_get(s->cli, "token");

	if (!given && l && l->tokens.n && !strstr(l->tokens.v[0], "${"))
		given = l->tokens.v[0];
	snprintf(s->token, sizeof(s->token), "%s", given ? given : "");
}

static void find_near_bus(struct send *s, const struct sb_config *config)
{
	const char *given = sb_cli_get(s->cli, "bus"), *near;
	const char **names;

	if (!given || !config || sb_config_bus(config, given))
		return;
	names = sb_xcalloc((config->n_buses + 1) * sizeof(char *));
	for (size_t i = 0; i < config->n_buses; i++)
		names[i] = config->bus[i].name;
	near = sb_nearest(given, names, config->n_buses);
	snprintf(s->near_bus, sizeof(s->near_bus), "%s", near ? near : "");
	free(names);
}

/* The address that a running daemon has written down, else the configured one. */
static int find_address(struct send *s)
{
	const struct sb_listener_conf *l;
	struct sb_control c;
	char path[4200];
	json_t *ready, *listeners;
	struct sb_err err;
	const char *now;
	int r = sb_control_find(s->cli, &c);

	if (r)
		return r;
	l = events_listener(c.config);
	snprintf(path, sizeof(path), "%s/ready.json", c.data_dir);
	ready = json_load_file(path, 0, NULL);
	listeners = json_object_get(ready, "listeners");
	now = json_string_value(
		l ? json_object_get(listeners, l->name) : json_object_iter_value(json_object_iter(listeners)));
	if (c.config && !l)
		r = fail(s, SB_E_MISSING, "no listener of '%.100s' serves events; --address names another daemon",
			s->cli->config);
	else if (now || l)
		snprintf(s->address, sizeof(s->address), "%s", now ? now : l->address);
	else {
		sb_fail(&err, SB_E_UNREACHABLE, "no daemon is running in '%.200s'", c.data_dir);
		r = sb_cli_error(s->cli, SB_EXIT_UNREACHABLE, &err);
	}
	find_token(s, l);
	find_near_bus(s, c.config);
	json_decref(ready);
	sb_control_done(&c);
	return r;
}

/* ------------------------------------------------------------------------------------------------ sending */

/* How many events from the first go into one request. */
static size_t request_size(const struct send *s, size_t first)
{
	size_t n = 0, bytes = 0;

	while (first + n < s->n_events && n < REQUEST_EVENTS &&
		(n == 0 || bytes + s->event[first + n].n < REQUEST_BYTES))
		bytes += s->event[first + n++].n + 1;
	return n;
}

static int post(struct send *s, size_t first, size_t n, struct sb_http_answer *ret)
{
	struct sb_buf body = SB_BUF(INPUT_MAX + 2), headers = SB_BUF(8192);
	struct sb_http_call call = {
		.address = s->address, .method = "POST", .path = "/v1/events", .timeout_ms = TIMEOUT_MS
	};
	struct sb_err err;
	int r;

	sb_buf_adds(&body, n == 1 ? "" : "[");
	for (size_t i = 0; i < n; i++) {
		sb_buf_adds(&body, i ? "," : "");
		sb_buf_add(&body, s->text.p + s->event[first + i].off, s->event[first + i].n);
	}
	sb_buf_adds(&body, n == 1 ? "" : "]");
	sb_buf_adds(&headers, "Content-Type: application/json\r\n");
	if (s->token[0])
		sb_buf_addf(&headers, "Authorization: Bearer %s\r\n", s->token);
	if (sb_cli_has(s->cli, "lenient"))
		sb_buf_adds(&headers, "Prefer: handling=lenient\r\n");
	call.body = sb_buf_slice(&body);
	call.headers = sb_buf_cstr(&headers);
	r = sb_http_call(&call, ret, &err);
	sb_buf_done(&body);
	sb_buf_done(&headers);
	if (r == 0)
		return 0;
	sb_hint(&err, "start a daemon: signalbox run -c %s", s->cli->config);
	return sb_cli_error(s->cli, SB_EXIT_UNREACHABLE, &err);
}

/* What became of each event of a request, under its number among all that were given. */
static void note_answer(struct send *s, size_t first, const struct sb_http_answer *a)
{
	json_t *v = json_loadb(a->body.p ? a->body.p : "", a->body.len, JSON_ALLOW_NUL, NULL), *item;
	size_t i;

	json_array_extend(s->ids, json_object_get(v, "ids"));
	json_array_foreach(json_object_get(v, "results"), i, item)
	{
		if (json_object_get(item, "id")) {
			json_array_append(s->ids, json_object_get(item, "id"));
			continue;
		}
		json_object_set_new(item, "index", json_integer((json_int_t)first + (json_int_t)i));
		json_array_append(s->results, item);
	}
	if (a->status >= 300) {
		json_decref(s->error);
		s->error = json_incref(json_object_get(v, "error"));
		s->status = a->status;
	}
	json_decref(v);
}

static bool goes_on(const struct send *s)
{
	return s->status == 0 || (s->status == 400 && sb_cli_has(s->cli, "lenient"));
}

static int send_all(struct send *s)
{
	int r = 0;

	for (size_t first = 0, n; r == 0 && goes_on(s) && first < s->n_events; first += n) {
		struct sb_http_answer answer = { .body = SB_BUF(SB_CONTROL_ANSWER) };

		n = request_size(s, first);
		r = post(s, first, n, &answer);
		if (r == 0)
			note_answer(s, first, &answer);
		sb_buf_done(&answer.body);
	}
	return r;
}

/* ------------------------------------------------------------------------------------------------ telling */

static void tell_text(struct send *s)
{
	json_t *item;
	size_t i;

	json_array_foreach(s->ids, i, item) sb_print_text(sb_slice_str(json_string_value(item)), 0, s->cli->out);
	if (s->status) {
		const char *message = sb_json_text_of(s->error, "message");

		fprintf(s->cli->err, "signalbox send: %s (%u)\n", *message ? message : "refused", s->status);
	}
	json_array_foreach(s->results, i, item)
	{
		char line[512];

		if (strcmp(sb_json_text_of(item, "code"), "not_stored") == 0)
			continue;
		snprintf(line, sizeof(line), "event %" PRIu64 ": %s: %s", sb_json_number_of(item, "index") + 1,
			sb_json_text_of(item, "code"), sb_json_text_of(item, "message"));
		sb_print_text(sb_slice_str(line), 2, s->cli->err);
	}
}

/* The daemon's error, ours when it was not reached, or only that not all is there. */
static json_t *error_value(struct send *s)
{
	struct sb_err err;

	if (s->error)
		return json_incref(s->error);
	if (!s->cli->failure_code[0]) {
		sb_fail(&err, SB_E_REFUSED, "%zu of %zu events stored", json_array_size(s->ids), s->n_events);
		sb_cli_note(s->cli, NULL, &err);
	}
	return sb_error_value(s->cli);
}

static void tell_json(struct send *s)
{
	json_t *v = json_pack("{s:i,s:I,s:I,s:O,s:O}", "v", 1, "given", (json_int_t)s->n_events, "stored",
		(json_int_t)json_array_size(s->ids), "ids", s->ids, "results", s->results);

	if (s->error || json_array_size(s->ids) < s->n_events)
		json_object_set_new(v, "error", error_value(s));
	sb_print_json(s->cli, v);
	json_decref(v);
}

/* `r`: of the sending itself. */
static int tell(struct send *s, int r)
{
	size_t stored = json_array_size(s->ids);

	if (sb_cli_format_is(s->cli, "json"))
		tell_json(s);
	else
		tell_text(s);
	if (stored == s->n_events)
		return SB_EXIT_OK;
	fprintf(s->cli->err, "%zu of %zu event%s stored\n", stored, s->n_events, s->n_events == 1 ? "" : "s");
	if (s->status == 404 && s->near_bus[0])
		fprintf(s->cli->err, "did you mean --bus %s?\n", s->near_bus);
	if (stored)
		return SB_EXIT_PARTIAL;
	if (r)
		return r;
	return s->status == 401 || s->status == 403 || s->status == 429 || s->status == 503 ? SB_EXIT_REFUSED
											    : SB_EXIT_NO;
}

static int run(struct sb_cli *cli)
{
	struct send s = { .cli = cli, .text = SB_BUF(INPUT_MAX), .ids = json_array(), .results = json_array() };
	const char *given = sb_cli_get(cli, "address");
	int r = collect(&s);

	if (r == 0 && given) {
		snprintf(s.address, sizeof(s.address), "%s", given);
		find_token(&s, NULL);
	} else if (r == 0) {
		r = find_address(&s);
	}
	if (r == 0)
		r = tell(&s, send_all(&s));
	json_decref(s.ids);
	json_decref(s.results);
	json_decref(s.error);
	free(s.event);
	sb_buf_done(&s.text);
	return r;
}

const struct sb_cli_verb sb_cmd_send = {
	.name = "send",
	.summary = "post events to a running daemon",
	.usage = "[OPTION...] [FILE|-|EVENT...]",
	.options = options,
	.details = "Events are JSON as EventBridge shapes it: one value, several, or arrays. Prints the ids, which "
		   "means: stored\n"
		   "durably. Up to 1,000 events make a request, which is all or nothing unless --lenient.\n\n"
		   "  signalbox send "
		   "'{\"source\":\"com.shop\",\"detail-type\":\"OrderPlaced\",\"detail\":{\"total\":120}}'\n"
		   "  signalbox send --source com.shop --detail-type OrderPlaced --detail '{\"total\":120}'\n"
		   "  signalbox send events.ndjson\n\n"
		   "exit code: 0 all stored, 1 not accepted, 2 no JSON, 4 no daemon, 5 refused, 6 only some stored",
	.max_args = 10000,
	.run = run,
};
