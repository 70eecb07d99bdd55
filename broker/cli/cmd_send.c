/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/cli/control.h"
#include "broker/net/http.h"

#define BODY_MAX (64u << 20)
#define TIMEOUT_MS 30000

static const struct sb_cli_option options[] = {
	{ .name = "address", .arg = "HOST:PORT", .doc = "where to send to, instead of the running daemon's first listener" },
	{ .name = "token", .arg = "TOKEN", .doc = "bearer token" },
	{ .name = "source", .arg = "TEXT", .doc = "with --detail-type and --detail: build one event" },
	{ .name = "detail-type", .arg = "TEXT", .doc = "of the event to build" },
	{ .name = "detail", .arg = "JSON", .doc = "of the event to build" },
	{ .name = "bus", .arg = "NAME", .doc = "bus of the event to build" },
	SB_OPTION_DATA_DIR,
	{ 0 },
};

/* ------------------------------------------------------------------------------------------------ what to send */

static int read_file(struct sb_cli *cli, const char *name, struct sb_buf *out)
{
	FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
	struct sb_err err;
	char chunk[65536];
	size_t n;

	if (!f) {
		sb_fail_errno(&err, "cannot read '%s'", name);
		return sb_cli_error(cli, SB_EXIT_USAGE, &err);
	}
	if (f == stdin && isatty(STDIN_FILENO))
		fputs("signalbox send: reading events from the terminal, end with Ctrl-D\n", cli->err);
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		if (sb_buf_add(out, chunk, n) < 0) {
			sb_fail(&err, SB_E_LIMIT, "more than 64 MiB of events");
			break;
		}
	if (f != stdin)
		fclose(f);
	return sb_buf_addc(out, '\n') < 0 ? SB_EXIT_USAGE : 0;
}

static int build_event(struct sb_cli *cli, struct sb_buf *out)
{
	const char *source = sb_cli_get(cli, "source"), *type = sb_cli_get(cli, "detail-type"), *detail = sb_cli_get(cli, "detail");
	const char *bus = sb_cli_get(cli, "bus");

	if (!source || !type || !detail)
		return sb_cli_usage(cli, "an event needs --source, --detail-type and --detail");
	sb_buf_adds(out, "{\"source\":");
	sb_json_add_string(out, sb_slice_str(source));
	sb_buf_adds(out, ",\"detail-type\":");
	sb_json_add_string(out, sb_slice_str(type));
	if (bus) {
		sb_buf_adds(out, ",\"bus\":");
		sb_json_add_string(out, sb_slice_str(bus));
	}
	return sb_buf_addf(out, ",\"detail\":%s}", detail) < 0 ? SB_EXIT_USAGE : 0;
}

static int collect(struct sb_cli *cli, struct sb_buf *out)
{
	int r = 0;

	if (sb_cli_has(cli, "source"))
		return build_event(cli, out);
	if (cli->n_args == 0)
		return read_file(cli, "-", out);
	for (size_t i = 0; i < cli->n_args && r == 0; i++)
		if (cli->arg[i][0] == '{' || cli->arg[i][0] == '[')
			r = sb_buf_adds(out, cli->arg[i]) < 0 || sb_buf_addc(out, '\n') < 0 ? SB_EXIT_USAGE : 0;
		else
			r = read_file(cli, cli->arg[i], out);
	return r;
}

/* ------------------------------------------------------------------------------------------------ where to */

/* The address a running daemon has written down, else the configured one. */
static void find_address(const struct sb_config *c, char *out, size_t size)
{
	char path[4200];
	json_t *ready;

	for (size_t i = 0; i < c->n_listeners; i++) {
		const char *now;

		if (!(c->listener[i].serve & SB_SERVE_EVENTS))
			continue;
		snprintf(path, sizeof(path), "%s/ready.json", c->data_dir);
		ready = json_load_file(path, 0, NULL);
		now = json_string_value(json_object_get(json_object_get(ready, "listeners"), c->listener[i].name));
		snprintf(out, size, "%s", now ? now : c->listener[i].address);
		json_decref(ready);
		return;
	}
}

static int post(struct sb_cli *cli, const char *address, struct sb_slice body, struct sb_http_answer *ret)
{
	const char *token = sb_cli_get(cli, "token");
	char headers[1024];
	struct sb_http_call call = { .address = address, .method = "POST", .path = "/v1/events", .headers = headers, .body = body,
		.timeout_ms = TIMEOUT_MS };
	bool one = body.n && memchr(body.p, '\n', body.n) == NULL;
	struct sb_err err;

	snprintf(headers, sizeof(headers), "Content-Type: %s\r\n%s%s%s", one ? "application/json" : "application/x-ndjson",
		token ? "Authorization: Bearer " : "", token ? token : "", token ? "\r\n" : "");
	if (sb_http_call(&call, ret, &err) == 0)
		return 0;
	sb_hint(&err, "start a daemon: signalbox run -c %s", cli->config);
	return sb_cli_error(cli, SB_EXIT_UNREACHABLE, &err);
}

static int exit_code(unsigned status)
{
	if (status == 207)
		return SB_EXIT_PARTIAL;
	if (status < 300)
		return SB_EXIT_OK;
	return status == 401 || status == 403 || status == 503 ? SB_EXIT_REFUSED : SB_EXIT_NO;
}

static int tell(struct sb_cli *cli, const struct sb_http_answer *a)
{
	json_t *v = json_loadb(a->body.p ? a->body.p : "", a->body.len, 0, NULL), *id;
	size_t i;

	if (sb_cli_format_is(cli, "json")) {
		sb_print_json(cli, v);
	} else if (a->status == 202) {
		json_array_foreach(json_object_get(v, "ids"), i, id)
			fprintf(cli->out, "%s\n", json_string_value(id));
	} else {
		fprintf(cli->err, "signalbox send: %u: %s\n", a->status, sb_json_text_of(json_object_get(v, "error"), "message"));
		json_array_foreach(json_object_get(v, "results"), i, id)
			fprintf(cli->err, "  event %zu: %s%s%s\n", i, sb_json_text_of(id, "code"), *sb_json_text_of(id, "code") ? ": " : "ok ",
				*sb_json_text_of(id, "message") ? sb_json_text_of(id, "message") : sb_json_text_of(id, "id"));
	}
	json_decref(v);
	return exit_code(a->status);
}

static int run(struct sb_cli *cli)
{
	struct sb_buf body = SB_BUF(BODY_MAX);
	struct sb_http_answer answer = { .body = SB_BUF(BODY_MAX) };
	char address[256] = "127.0.0.1:8480";
	const char *given = sb_cli_get(cli, "address");
	struct sb_control c = { 0 };
	int r = given ? 0 : sb_control_find(cli, &c);

	if (given)
		snprintf(address, sizeof(address), "%s", given);
	else if (r == 0)
		find_address(c.config, address, sizeof(address));
	if (r == 0)
		r = collect(cli, &body);
	while (body.len && (body.p[body.len - 1] == '\n' || body.p[body.len - 1] == ' '))
		body.len--;
	if (r == 0)
		r = post(cli, address, sb_buf_slice(&body), &answer);
	if (r == 0)
		r = tell(cli, &answer);
	sb_buf_done(&body);
	sb_buf_done(&answer.body);
	sb_control_done(&c);
	return r;
}

const struct sb_cli_verb sb_cmd_send = {
	.name = "send",
	.summary = "post events to a running daemon",
	.usage = "[OPTION...] [FILE|-|EVENT...]",
	.options = options,
	.details = "Events are JSON, one or many, as EventBridge shapes them: source, detail-type, detail. Prints the ids, which\n"
		   "means: on the disk. A bus that does not exist, or one bad event of several, fails, and nothing is stored.\n\n"
		   "  signalbox send '{\"source\":\"com.shop\",\"detail-type\":\"OrderPlaced\",\"detail\":{\"total\":120}}'\n"
		   "  signalbox send --source com.shop --detail-type OrderPlaced --detail '{\"total\":120}'\n"
		   "  signalbox send events.ndjson\n",
	.max_args = 10000,
	.run = run,
};
