/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/control.h"

#include <stdlib.h>
#include <string.h>

#include "broker/net/http.h"

#define FILE_MAX (4u << 20)
#define TIMEOUT_MS 60000

static const struct sb_config *parse_config(struct sb_cli *cli, struct sb_diags *diags)
{
	struct sb_buf text = SB_BUF(FILE_MAX);
	FILE *f = fopen(cli->config, "re");
	const struct sb_config *c;
	struct sb_err err;
	char chunk[8192];
	size_t n;

	if (!f) {
		sb_fail_errno(&err, "cannot read '%s'", cli->config);
		sb_hint(&err, "-c FILE names another configuration");
		sb_diag_error(diags, &err);
		return NULL;
	}
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0 && sb_buf_add(&text, chunk, n) == 0)
		;
	fclose(f);
	c = sb_config_parse(cli->config, sb_buf_slice(&text), NULL, diags);
	sb_buf_done(&text);
	return c;
}

int sb_control_find(struct sb_cli *cli, struct sb_control *ret)
{
	struct sb_diags diags = { 0 };
	struct sb_buf text = SB_BUF(FILE_MAX);

	*ret = (struct sb_control){ .cli = cli };
	ret->config = parse_config(cli, &diags);
	if (!ret->config) {
		sb_diags_format(&diags, SB_DIAG_LONG, cli->color_err, &text);
		fprintf(cli->err, "%.*s", SB_SLICE_ARG(sb_buf_slice(&text)));
	} else {
		snprintf(ret->socket, sizeof(ret->socket), "unix:%s/control.sock", ret->config->data_dir);
	}
	sb_buf_done(&text);
	sb_diags_done(&diags);
	return ret->config ? 0 : SB_EXIT_CONFIG;
}

void sb_control_done(struct sb_control *c)
{
	sb_config_unref(c->config);
}

static int unreachable(struct sb_control *c, const struct sb_err *cause)
{
	struct sb_err err;

	sb_fail(&err, SB_E_UNREACHABLE, "no daemon answers at %s: %.160s", c->socket + strlen("unix:"), cause->msg);
	sb_hint(&err, "start one: signalbox run -c %s", c->cli->config);
	return sb_cli_error(c->cli, SB_EXIT_UNREACHABLE, &err);
}

static int refused(struct sb_control *c, unsigned status, const json_t *body)
{
	const json_t *error = json_object_get(body, "error");
	const char *text = sb_json_text_of(body, "text"), *hint = sb_json_text_of(error, "hint");
	struct sb_err err;

	if (*text)
		fprintf(c->cli->err, "%s", text);
	sb_fail(&err, SB_E_REFUSED, "%s", *sb_json_text_of(error, "message") ? sb_json_text_of(error, "message") : "refused");
	if (*hint)
		sb_hint(&err, "%s", hint);
	return sb_cli_error(c->cli, status == 422 ? SB_EXIT_CONFIG : status >= 500 ? SB_EXIT_UNREACHABLE : SB_EXIT_REFUSED, &err);
}

int sb_control_call(struct sb_control *c, const char *method, const char *path, json_t *body, bool must, json_t **ret)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct sb_http_call call = { .address = c->socket, .method = method, .path = path,
		.body = sb_slice_str(text ? text : ""), .timeout_ms = TIMEOUT_MS };
	struct sb_http_answer answer = { .body = SB_BUF(256u << 20) };
	struct sb_err err;
	int r;

	*ret = NULL;
	r = sb_http_call(&call, &answer, &err);
	free(text);
	json_decref(body);
	if (r < 0) {
		sb_buf_done(&answer.body);
		return must ? unreachable(c, &err) : SB_EXIT_UNREACHABLE;
	}
	*ret = json_loadb(answer.body.p ? answer.body.p : "", answer.body.len, 0, NULL);
	sb_buf_done(&answer.body);
	return answer.status < 300 ? 0 : refused(c, answer.status, *ret);
}

void sb_print_json(struct sb_cli *cli, const json_t *v)
{
	json_dumpf(v, cli->out, JSON_INDENT(2));
	fputc('\n', cli->out);
}

const char *sb_json_text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

uint64_t sb_json_number_of(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v > 0 ? (uint64_t)v : 0;
}

bool sb_json_true_of(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}
