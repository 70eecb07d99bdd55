/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/front.h"

#include <string.h>

#define METRICS_MAX (16u << 20)

static bool origin_allowed(const struct sb_front *f, const struct sb_http_req *req)
{
	struct sb_slice origin = sb_http_header(req, "origin");

	if (!origin.p)
		return true;
	for (size_t i = 0; i < f->conf->allow_origins.n; i++)
		if (sb_slice_eq_str(origin, f->conf->allow_origins.v[i]))
			return true;
	return false;
}

static bool token_ok(const struct sb_strs *tokens, const struct sb_http_req *req)
{
	return tokens->n == 0 || sb_bearer_verify(tokens->v, tokens->n, sb_http_header(req, "authorization"));
}

bool sb_source_authorized(struct sb_source *s, const struct sb_http_req *req)
{
	const struct sb_source_slot *slot = SB_CONTAINER(s, struct sb_source_unit, source)->slot;
	const struct sb_front *f = sb_http_tag(req);

	if (slot->n_tokens)
		return sb_bearer_verify(slot->tokens, slot->n_tokens, sb_http_header(req, "authorization"));
	return token_ok(&f->conf->tokens, req);
}

bool sb_source_has_tokens(struct sb_source *s)
{
	return SB_CONTAINER(s, struct sb_source_unit, source)->slot->n_tokens > 0;
}

static void livez(struct sb_front *f, struct sb_http_req *req)
{
	(void)f;
	sb_http_reply(req, 200, "text/plain", NULL, SB_SLICE("ok\n"));
}

static void readyz(struct sb_front *f, struct sb_http_req *req)
{
	struct sb_journal_stats j;

	sb_journal_get_stats(f->core->journal, &j);
	if (atomic_load(&f->core->stopping))
		sb_http_reply(req, 503, "text/plain", NULL, SB_SLICE("stopping\n"));
	else if (!atomic_load(&f->core->ready))
		sb_http_reply(req, 503, "text/plain", NULL, SB_SLICE("starting\n"));
	else if (j.full)
		sb_http_reply(req, 503, "text/plain", NULL, SB_SLICE("the disk is full\n"));
	else
		sb_http_reply(req, 200, "text/plain", NULL, SB_SLICE("ready\n"));
}

static void send_metrics(struct sb_gather *g)
{
	struct sb_http_req *req = g->arg;
	const struct sb_front *f = sb_http_tag(req);
	struct sb_buf out = SB_BUF(METRICS_MAX);

	sb_metrics_text(g, f->core, sb_slice_eq_str(req->path, "/metrics/detailed"), &out);
	sb_http_reply(req, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, sb_buf_slice(&out));
	sb_buf_done(&out);
	sb_gather_free(g);
}

static void metrics(struct sb_front *f, struct sb_http_req *req)
{
	if (!token_ok(&f->conf->tokens, req)) {
		sb_http_reply_error(req, 401, "unauthorized", "a bearer token is needed");
		return;
	}
	sb_gather_start(f->loop, f->core->n_shards, f->shard->plan, &f->shard->mail, send_metrics, req);
}

static const struct {
	const char *path;
	unsigned serve;
	void (*handle)(struct sb_front *f, struct sb_http_req *req); /* NULL: a source's */
} pages[] = {
	{ "/livez", SB_SERVE_HEALTH, livez },
	{ "/readyz", SB_SERVE_HEALTH, readyz },
	{ "/metrics", SB_SERVE_METRICS, metrics },
	{ "/metrics/detailed", SB_SERVE_METRICS, metrics },
	{ "/v1/events", SB_SERVE_EVENTS, NULL },
	{ "/v1/cloudevents", SB_SERVE_EVENTS, NULL },
};

static void not_found(struct sb_http_req *req)
{
	sb_http_reply_error(req, 404, "not_found", "there is nothing at %.*s", SB_SLICE_ARG(req->path));
}

void sb_front_request(struct sb_http_req *req, void *arg)
{
	struct sb_front *f = arg;
	unsigned needs = SB_SERVE_WEBHOOKS;

	if (!origin_allowed(f, req)) {
		sb_http_reply_error(req, 403, "origin", "requests from a browser's page are refused; allow_origins names exceptions");
		return;
	}
	for (size_t i = 0; i < SB_LEN(pages); i++) {
		if (!sb_slice_eq_str(req->path, pages[i].path))
			continue;
		needs = pages[i].serve;
		if (!pages[i].handle || !(f->conf->serve & needs))
			break;
		if (!sb_slice_eq_str(req->method, "GET")) {
			sb_http_reply(req, 405, "text/plain", "Allow: GET\r\n", SB_SLICE("GET only\n"));
			return;
		}
		pages[i].handle(f, req);
		return;
	}
	if (!(f->conf->serve & needs) || !sb_http_route_call(f->shard->env.routes, req))
		not_found(req);
}
