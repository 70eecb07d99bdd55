/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: HTTP and JSON over <data_dir>/control.sock, mode 0600. One table of calls. */
#include "broker/daemon.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/targetslot.h"

#define ANSWER_MAX (64u << 20)

static void reply_json(struct sb_http_req *req, unsigned status, json_t *answer)
{
	char *text = json_dumps(answer, JSON_COMPACT);

	sb_http_reply(req, status, "application/json", NULL, sb_slice_str(text));
	free(text);
	json_decref(answer);
}

/* ------------------------------------------------------------------------------------------------ status */

static void send_status(struct sb_gather *g)
{
	struct sb_http_req *req = g->arg;
	struct sb_daemon *d = sb_http_tag(req);
	struct sb_buf out = SB_BUF(ANSWER_MAX);

	if (sb_status_json(g, &d->core, &out) < 0)
		sb_http_reply_error(req, 500, "too_large", "the answer is too large");
	else
		sb_http_reply(req, 200, "application/json", NULL, sb_buf_slice(&out));
	sb_buf_done(&out);
	sb_gather_free(g);
}

static void status(struct sb_daemon *d, struct sb_http_req *req, json_t *body)
{
	(void)body;
	sb_gather_start(d->loop, d->core.n_shards, d->plan, &d->mail, send_status, req);
}

/* ------------------------------------------------------------------------------------------------ reload */

static const char *const change_names[] = { "added", "removed", "policy", "reopen", "in_place" };

static json_t *changes_json(const struct sb_reload_result *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->diff.n; i++)
		json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "what", r->diff.change[i].what, "name", r->diff.change[i].name,
			"kind", change_names[r->diff.change[i].kind]));
	if (r->diff.rules)
		json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "what", "rules", "name", "", "kind", "changed"));
	return list;
}

static json_t *reload_error(const struct sb_reload_result *r)
{
	struct sb_buf text = SB_BUF(4u << 20);
	json_t *answer = json_pack("{s:i,s:{s:s,s:s,s:s,s:b}}", "v", 1, "error", "code", sb_code_name(r->err.code), "message",
		r->err.msg, "hint", r->err.hint, "retryable", 0);

	if (r->diags.n) {
		sb_diags_format(&r->diags, SB_DIAG_JSON, false, &text);
		json_object_set_new(answer, "diagnostics", json_loadb(text.p, text.len, 0, NULL));
		sb_buf_clear(&text);
		sb_diags_format(&r->diags, SB_DIAG_LONG, false, &text);
		json_object_set_new(answer, "text", json_stringn(text.p, text.len));
	}
	sb_buf_done(&text);
	return answer;
}

static void reload(struct sb_daemon *d, struct sb_http_req *req, json_t *body)
{
	const char *word = json_string_value(json_object_get(body, "orphans"));
	enum sb_orphans orphans = SB_ORPHANS_REFUSE;
	struct sb_reload_result r;

	if (word && strcmp(word, "drain") == 0)
		orphans = SB_ORPHANS_DRAIN;
	else if (word && strcmp(word, "dead-letter") == 0)
		orphans = SB_ORPHANS_DEAD_LETTER;
	else if (word) {
		sb_http_reply_error(req, 400, "bad_request", "orphans is drain or dead-letter, not '%s'", word);
		return;
	}
	sb_reload(d, orphans, &r);
	if (r.status == 200)
		reply_json(req, 200, json_pack("{s:i,s:I,s:I,s:o,s:O}", "v", 1, "generation", (json_int_t)d->plan->generation, "rules",
			(json_int_t)d->plan->rules->n, "changes", changes_json(&r), "orphans", r.orphans));
	else
		reply_json(req, r.status, reload_error(&r));
	sb_reload_result_done(&r);
}

/* ------------------------------------------------------------------------------------------------ pause */

struct pause_record {
	char what[160];
	bool on;
};

static int fill_pause(struct sb_buf *out, const void *arg)
{
	const struct pause_record *p = arg;

	return sb_record_pause(out, sb_slice_str(p->what), p->on);
}

static void repause(struct sb_shard *s, void *arg)
{
	struct sb_target_slot *slot = arg;

	(void)s;
	sb_target_repause(slot);
	sb_dispatch_tick(slot->dispatch);
}

static void pause_source(struct sb_shard *s, void *arg)
{
	struct sb_source_slot *slot = arg;
	struct sb_source_unit *u = &slot->unit[s->index];

	if (u->opened && !u->closed && u->source.ops->pause)
		u->source.ops->pause(&u->source, atomic_load(&slot->stat->paused));
}

/* One that has left the configuration too: it may have been paused before, and has to drain. */
static struct sb_target_slot *find_target(const struct sb_plan *p, const char *name)
{
	struct sb_target_slot *slot = sb_map_get(&p->targets, sb_slice_str(name));

	for (size_t i = 0; i < p->n_gone && !slot; i++)
		if (strcmp(p->gone[i]->name, name) == 0)
			slot = p->gone[i];
	return slot;
}

static atomic_bool *pause_flag(struct sb_daemon *d, const char *kind, const char *name, struct sb_target_slot **ret_target,
	struct sb_source_slot **ret_source)
{
	struct sb_source_slot *source;

	*ret_target = NULL;
	if (strcmp(kind, "target") == 0) {
		*ret_target = find_target(d->plan, name);
		return *ret_target ? &(*ret_target)->paused : NULL;
	}
	source = strcmp(kind, "source") == 0 ? sb_map_get(&d->plan->sources, sb_slice_str(name)) : NULL;
	*ret_source = source;
	return source ? &source->stat->paused : NULL;
}

/* The record is durable before the answer: a pause holds over a restart. */
static void set_pause(struct sb_daemon *d, struct sb_http_req *req, json_t *body, bool on)
{
	const char *kind = json_string_value(json_object_get(body, "kind"));
	const char *name = json_string_value(json_object_get(body, "name"));
	struct pause_record record = { .on = on };
	struct sb_target_slot *target = NULL;
	struct sb_source_slot *source = NULL;
	atomic_bool *flag = kind && name ? pause_flag(d, kind, name, &target, &source) : NULL;

	if (!flag) {
		sb_http_reply_error(req, 404, "not_found", "there is no %s '%s'", kind ? kind : "source or target", name ? name : "");
		return;
	}
	snprintf(record.what, sizeof(record.what), "%s/%s", kind, name);
	if (sb_daemon_record(d, fill_pause, &record) < 0) {
		sb_http_reply_error(req, 503, "disk", "the pause could not be recorded");
		return;
	}
	atomic_store(flag, on);
	if (target)
		sb_loop_call(d->loop[target->home->index], repause, target);
	for (unsigned i = 0; source && i < d->core.n_shards; i++)
		sb_loop_call(d->loop[i], pause_source, source);
	sb_metrics_mark(d->metrics, on ? "pause" : "resume", name, kind);
	reply_json(req, 200, json_pack("{s:i,s:b}", "v", 1, "paused", on));
}

static void pause_call(struct sb_daemon *d, struct sb_http_req *req, json_t *body)
{
	set_pause(d, req, body, true);
}

static void resume_call(struct sb_daemon *d, struct sb_http_req *req, json_t *body)
{
	set_pause(d, req, body, false);
}

/* ------------------------------------------------------------------------------------------------ the table */

static const struct {
	const char *method, *path;
	void (*call)(struct sb_daemon *d, struct sb_http_req *req, json_t *body);
} calls[] = {
	{ "GET", "/v1/status", status },
	{ "POST", "/v1/reload", reload },
	{ "POST", "/v1/pause", pause_call },
	{ "POST", "/v1/resume", resume_call },
	{ "POST", "/v1/dlq/list", sb_dlq_list },
	{ "POST", "/v1/dlq/count", sb_dlq_count },
	{ "POST", "/v1/dlq/redrive", sb_dlq_redrive },
	{ "POST", "/v1/dlq/purge", sb_dlq_purge },
};

static void on_request(struct sb_http_req *req, void *arg)
{
	struct sb_daemon *d = arg;
	json_error_t bad;
	json_t *body;

	for (size_t i = 0; i < SB_LEN(calls); i++) {
		if (!sb_slice_eq_str(req->path, calls[i].path) || !sb_slice_eq_str(req->method, calls[i].method))
			continue;
		if (d->phase != SB_RUNNING && calls[i].call != status) {
			sb_http_reply_error(req, 503, "stopping", "the daemon is stopping");
			return;
		}
		body = req->body.n ? json_loadb(req->body.p, req->body.n, JSON_REJECT_DUPLICATES, &bad) : json_object();
		if (!json_is_object(body))
			sb_http_reply_error(req, 400, "bad_request", "the body must be a JSON object");
		else
			calls[i].call(d, req, body);
		json_decref(body);
		return;
	}
	sb_http_reply_error(req, 404, "not_found", "there is no call %.*s %.*s", SB_SLICE_ARG(req->method), SB_SLICE_ARG(req->path));
}

int sb_control_open(struct sb_daemon *d, struct sb_err *err)
{
	struct sb_http_conf conf = sb_http_conf_default;
	char address[4200];
	uint16_t port;
	int fd;

	snprintf(address, sizeof(address), "unix:%s/control.sock", d->config->data_dir);
	unlink(address + strlen("unix:")); /* we hold the lock of the folder: whoever made it is gone */
	if (sb_listen(address, false, &fd, &port, err) < 0)
		return sb_wrap(err, "control socket");
	conf.write_ms = 60000;
	d->control = sb_http_server_new(d->base, d->core.clock, &conf, on_request, d);
	return sb_http_server_listen(d->control, fd, d, err);
}
