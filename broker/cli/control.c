/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/net/http.h"

#define FILE_MAX (4u << 20)
#define TIMEOUT_MS 60000

/* ------------------------------------------------------------------------------------------------ where it is */

static int read_config(const char *file, struct sb_buf *out, struct sb_err *err)
{
	FILE *f = fopen(file, "re");
	char chunk[8192];
	size_t n;
	int r = 0;

	if (!f) {
		sb_fail_errno(err, "cannot read '%s'", file);
		return sb_hint(err, "-c FILE names another configuration");
	}
	while (r == 0 && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		if (sb_buf_add(out, chunk, n) < 0)
			r = sb_fail(err, SB_E_LIMIT, "'%s' has more than %u MiB", file, FILE_MAX >> 20);
	if (r == 0 && ferror(f))
		r = sb_fail_errno(err, "cannot read '%s'", file);
	fclose(f);
	return r;
}

/* Once more without the environment: the daemon has variables that a shell beside it need not have. */
static const struct sb_config *parse_without_env(const char *file, struct sb_slice text)
{
	struct sb_config_env env = { .no_env = true };
	struct sb_diags ignored = { 0 };
	const struct sb_config *c = sb_config_parse(file, text, &env, &ignored);

	sb_diags_done(&ignored);
	if (c && strstr(c->data_dir, "${")) {
		sb_config_unref(c);
		return NULL;
	}
	return c;
}

static bool resolve(const char *file, struct sb_slice dir, char *ret, size_t size)
{
	const char *slash = strrchr(file, '/');
	int folder = slash && (dir.n == 0 || dir.p[0] != '/') ? (int)(slash + 1 - file) : 0;

	return dir.n && !memchr(dir.p, '$', dir.n) &&
	       (size_t)snprintf(ret, size, "%.*s%.*s", folder, file, SB_SLICE_ARG(dir)) < size;
}

/* A configuration that is wrong somewhere still tells where its daemon is, which may well run on an earlier one. */
static bool guess_data_dir(struct sb_control *c, struct sb_slice text)
{
	struct sb_diags ignored = { 0 };
	struct sb_doc doc = { 0 };
	const struct sb_node *n;
	bool found = false;

	if (sb_yaml_parse(c->cli->config, text, &doc, &ignored) == 0 && doc.root && doc.root->kind == SB_NODE_MAP) {
		n = sb_node_get(doc.root, "data_dir");
		found = !n || n->kind == SB_NODE_STRING;
		found = found && resolve(c->cli->config, n ? n->text : SB_SLICE("data"), c->data_dir, sizeof(c->data_dir));
	}
	sb_doc_done(&doc);
	sb_diags_done(&ignored);
	return found;
}

static int take_config(struct sb_control *c, struct sb_slice text)
{
	struct sb_diags diags = { 0 };
	int r = 0;

	c->config = sb_config_parse(c->cli->config, text, NULL, &diags);
	if (!c->config)
		c->config = parse_without_env(c->cli->config, text);
	if (c->config) {
		snprintf(c->data_dir, sizeof(c->data_dir), "%s", c->config->data_dir);
	} else if (!guess_data_dir(c, text)) {
		r = sb_cli_findings(c->cli, SB_EXIT_CONFIG, &diags);
	} else if (!c->cli->quiet) {
		fprintf(c->cli->err, "%s has errors, which signalbox check tells; asking the daemon in %s\n", c->cli->config, c->data_dir);
	}
	sb_diags_done(&diags);
	return r;
}

static int find_by_config(struct sb_control *c)
{
	struct sb_buf text = SB_BUF(FILE_MAX);
	struct sb_err err;
	int r;

	if (read_config(c->cli->config, &text, &err) < 0)
		r = sb_cli_error(c->cli, SB_EXIT_USAGE, &err);
	else
		r = take_config(c, sb_buf_slice(&text));
	sb_buf_done(&text);
	return r;
}

int sb_control_find(struct sb_cli *cli, struct sb_control *ret)
{
	const char *given = sb_cli_get(cli, "data-dir");
	int r;

	*ret = (struct sb_control){ .cli = cli };
	if (given)
		snprintf(ret->data_dir, sizeof(ret->data_dir), "%s", given);
	r = given ? 0 : find_by_config(ret);
	if (r)
		return r;
	snprintf(ret->socket, sizeof(ret->socket), "unix:%s/control.sock", ret->data_dir);
	return 0;
}

void sb_control_done(struct sb_control *c)
{
	sb_config_unref(c->config);
}

/* ------------------------------------------------------------------------------------------------ calling */

static int unreachable(struct sb_control *c, const struct sb_err *cause, uint64_t took_ns)
{
	const char *path = c->socket + strlen("unix:");
	struct sb_err err;

	if (took_ns >= (uint64_t)TIMEOUT_MS * SB_NS_PER_MS) {
		sb_fail(&err, SB_E_UNREACHABLE, "the daemon did not answer within %d s", TIMEOUT_MS / 1000);
		return sb_cli_error(c->cli, SB_EXIT_TIMEOUT, &err);
	}
	if (access(path, F_OK) == 0 && access(path, R_OK | W_OK) < 0 && errno == EACCES) {
		sb_fail(&err, SB_E_UNREACHABLE, "'%.200s' is not ours to use", path);
		sb_hint(&err, "run this as the user that runs the daemon");
		return sb_cli_error(c->cli, SB_EXIT_REFUSED, &err);
	}
	sb_fail(&err, SB_E_UNREACHABLE, "no daemon is running: %.250s", cause->msg);
	sb_hint(&err, "start one: signalbox run -c %s", c->config ? c->cli->config : "CONFIG");
	return sb_cli_error(c->cli, SB_EXIT_UNREACHABLE, &err);
}

static int refused(struct sb_control *c, unsigned status, struct sb_slice answer)
{
	json_t *body = json_loadb(answer.p ? answer.p : "", answer.n, JSON_ALLOW_NUL, NULL);
	const json_t *error = json_object_get(body, "error");
	const char *text = sb_json_text_of(body, "text"), *hint = sb_json_text_of(error, "hint");
	const char *message = sb_json_text_of(error, "message"), *code = sb_json_text_of(error, "code");
	struct sb_err err;
	int r = status == 422 ? SB_EXIT_CONFIG : status == 404 ? SB_EXIT_NO : SB_EXIT_REFUSED;

	fputs(text, c->cli->err);
	if (*message)
		sb_fail(&err, SB_E_REFUSED, "%s", message);
	else
		sb_fail(&err, SB_E_REFUSED, "the daemon answered with status %u", status);
	if (*hint)
		sb_hint(&err, "%s", hint);
	sb_cli_error(c->cli, (enum sb_exit)r, &err);
	sb_cli_note(c->cli, *code ? code : NULL, &err);
	json_decref(body);
	return r;
}

int sb_control_text(
	struct sb_control *c, const char *method, const char *path, json_t *body, bool must, struct sb_buf *ret)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct sb_http_call call = { .address = c->socket,
		.method = method,
		.path = path,
		.body = sb_slice_str(text ? text : ""),
		.timeout_ms = TIMEOUT_MS };
	struct sb_http_answer answer = { .body = SB_BUF(SB_CONTROL_ANSWER) };
	uint64_t began = sb_mono_ns(&sb_clock_system);
	struct sb_err err;
	int r = sb_http_call(&call, &answer, &err);

	free(text);
	json_decref(body);
	if (r == 0) {
		sb_buf_done(ret);
		*ret = answer.body;
		return answer.status < 300 ? 0 : refused(c, answer.status, sb_buf_slice(ret));
	}
	sb_buf_done(&answer.body);
	return must ? unreachable(c, &err, sb_mono_ns(&sb_clock_system) - began) : SB_EXIT_UNREACHABLE;
}

int sb_control_call(struct sb_control *c, const char *method, const char *path, json_t *body, bool must, json_t **ret)
{
	struct sb_buf text = SB_BUF(SB_CONTROL_ANSWER);
	int r = sb_control_text(c, method, path, body, must, &text);
	struct sb_err err;

	*ret = json_loadb(text.p ? text.p : "", text.len, JSON_ALLOW_NUL, NULL);
	sb_buf_done(&text);
	if (r == 0 && !*ret) {
		sb_fail(&err, SB_E_SYNTAX, "what answers at %.200s is no Signalbox of ours", c->socket);
		r = sb_cli_error(c->cli, SB_EXIT_UNREACHABLE, &err);
	}
	return r;
}

/* ------------------------------------------------------------------------------------------------ values */

void sb_print_json(struct sb_cli *cli, const json_t *v)
{
	json_dumpf(v, sb_cli_answer(cli), JSON_INDENT(2));
	fputc('\n', cli->out);
}

json_t *sb_error_value(const struct sb_cli *cli)
{
	struct sb_buf text = SB_BUF(8192);
	json_t *v, *error;

	sb_buf_addc(&text, '{');
	sb_cli_add_error(cli, &text);
	sb_buf_addc(&text, '}');
	v = json_loadb(text.p, text.len, JSON_ALLOW_NUL, NULL);
	error = json_incref(json_object_get(v, "error"));
	json_decref(v);
	sb_buf_done(&text);
	return error;
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
