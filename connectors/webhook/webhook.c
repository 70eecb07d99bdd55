/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw JSON at a path of one's own. The body becomes `detail`, byte for byte; source and detail-type come from templates
 * over {"meta":{"http":{"path":…,"headers":{…}}},"detail":…}.
 *
 * That small document is also what is scanned, once: the body is copied behind our meta, and the tape serves both the
 * templates and the event. A body could try to close our brace and go on; it is one value, and the last of the document,
 * or it is refused.
 */
#include "connectors/httpsource.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/template.h"

#define MAX_TEXT (512u << 20) /* the listener's own limit on bodies is below this */

struct verify_conf {
	int hmac;
	const char *header, *prefix;
	int encoding;
	struct sb_strs secrets;
};

struct webhook_conf {
	const char *path;
	struct sb_strs headers;
	struct verify_conf verify;
};

struct webhook {
	struct httpsource http; /* first: see there */
	struct sb_http_routes *routes;
	struct sb_hmac_conf hmac; /* header NULL: nothing is verified */
	char **kept;              /* lower-cased names; NULL: the default choice */
	struct sb_buf text;       /* the document that is scanned */
	struct sb_buf source, detail_type;
	struct sb_tape_buf tape;
};

static const char *const hmacs[] = { "sha256", NULL };
static const char *const encodings[] = { "hex", "base64", NULL };

static const struct sb_field verify_fields[] = {
	SB_F(ENUM, struct verify_conf, hmac, .names = hmacs, .dflt = "sha256", .doc = "Algorithm of the signature over the raw body."),
	SB_F(STR, struct verify_conf, header, .required = true, .min = 1, .max = 100, .doc = "Header that carries the signature."),
	SB_F(STR, struct verify_conf, prefix, .max = 100, .doc = "What stands before the signature, such as `sha256=`."),
	SB_F(ENUM, struct verify_conf, encoding, .names = encodings, .dflt = "hex", .doc = "How the signature is written."),
	SB_F(SECRETS, struct verify_conf, secrets, .required = true, .doc = "Any of these may have signed; several for rotation."),
	{ 0 },
};

static const struct sb_field webhook_fields[] = {
	SB_F(STR, struct webhook_conf, path, .required = true, .min = 2, .max = 1024,
		.doc = "Path on every listener that serves webhooks; exact, without a query."),
	SB_F(STRS, struct webhook_conf, headers,
		.doc = "Request headers kept in `meta.http.headers`. Absent: content-type, user-agent and x-*, without credentials and signatures."),
	SB_F(OBJECT, struct webhook_conf, verify, .sub = verify_fields, .doc = "Refuse requests without a valid signature. It stands in for the listener's tokens, and beside the source's own."),
	{ 0 },
};

/* ------------------------------------------------------------------------------------------------ which headers are kept */

/* Never, not even by name. */
static const char *const secret_headers[] = { "authorization", "proxy-authorization", "cookie", "set-cookie" };
/* Credentials that x-* would let in have one of these in their names (a sender may sign in several ways); by name they can be kept. */
static const char *const credentials[] = { "signature", "hmac", "token", "secret", "password", "credential", "api-key", "authorization" };

static bool one_of(struct sb_slice name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (sb_slice_eq_str(name, names[i]))
			return true;
	return false;
}

static bool kept_by_default(struct sb_slice name)
{
	if (sb_slice_eq_str(name, "content-type") || sb_slice_eq_str(name, "user-agent"))
		return true;
	if (name.n <= 2 || name.p[0] != 'x' || name.p[1] != '-')
		return false;
	for (size_t i = 0; i < SB_LEN(credentials); i++)
		if (memmem(name.p, name.n, credentials[i], strlen(credentials[i])))
			return false;
	return true;
}

static bool is_kept(const struct webhook *w, struct sb_slice name)
{
	if (one_of(name, secret_headers, SB_LEN(secret_headers)))
		return false;
	if (w->hmac.header && sb_slice_eq_str(name, w->hmac.header))
		return false;
	if (!w->kept)
		return kept_by_default(name);
	for (char **k = w->kept; *k; k++)
		if (sb_slice_eq_str(name, *k))
			return true;
	return false;
}

static bool stood_before(const struct sb_http_req *req, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (sb_slice_eq(req->header[k].name, req->header[i].name))
			return true;
	return false;
}

/* A field sent several times is one value, joined by a comma (RFC 9110 5.3). */
static int add_values(struct sb_buf *out, const struct sb_http_req *req, size_t i)
{
	int rc = httpsource_add_value(out, req->header[i].value);

	for (size_t k = i + 1; rc == 0 && k < req->n_headers; k++) {
		if (!sb_slice_eq(req->header[k].name, req->header[i].name))
			continue;
		out->len--; /* the closing quote */
		rc = sb_buf_adds(out, ", ");
		if (rc == 0) {
			size_t quote = out->len;

			rc = httpsource_add_value(out, req->header[k].value);
			if (rc == 0) {
				memmove(out->p + quote, out->p + quote + 1, out->len - quote - 1);
				out->len--;
			}
		}
	}
	return rc;
}

static int add_meta(const struct webhook *w, const struct sb_http_req *req, struct sb_buf *out)
{
	bool first = true;
	int rc = sb_buf_adds(out, "{\"http\":{\"path\":");

	rc |= httpsource_add_value(out, req->path);
	rc |= sb_buf_adds(out, ",\"headers\":{");
	for (size_t i = 0; rc == 0 && i < req->n_headers; i++) {
		if (!is_kept(w, req->header[i].name) || stood_before(req, i))
			continue;
		if (!first)
			rc |= sb_buf_addc(out, ',');
		first = false;
		rc |= sb_json_add_string(out, req->header[i].name);
		rc |= sb_buf_addc(out, ':');
		rc |= add_values(out, req, i);
	}
	return rc | sb_buf_adds(out, "}}}");
}

/* ------------------------------------------------------------------------------------------------ a request */

static const struct said unauthorized = { 401, "unauthorized", false };
static const struct said invalid_json = { 400, "invalid_json", false };
static const struct said missing_value = { 400, "missing_value", false };

/* What was found in the document. */
struct parts {
	struct sb_slice meta;
	uint32_t detail; /* its node */
};

static bool is_authorized(struct webhook *w, const struct sb_http_req *req)
{
	struct sb_source *s = w->http.source;

	if ((!w->hmac.header || sb_source_has_tokens(s)) && !sb_source_authorized(s, req))
		return false;
	return !w->hmac.header || sb_hmac_verify(&w->hmac, req->body, sb_http_header(req, w->hmac.header));
}

static int write_document(struct webhook *w, const struct sb_http_req *req, struct parts *ret)
{
	static const char begin[] = "{\"meta\":", middle[] = ",\"detail\":", pad[SB_JSON_PAD] = { 0 };
	struct sb_buf *t = &w->text;
	int rc;

	sb_buf_clear(t);
	rc = sb_buf_add(t, begin, sizeof(begin) - 1);
	rc |= add_meta(w, req, t);
	ret->meta.n = t->len - (sizeof(begin) - 1);
	rc |= sb_buf_add(t, middle, sizeof(middle) - 1);
	rc |= sb_buf_add_slice(t, req->body);
	rc |= sb_buf_addc(t, '}');
	rc |= sb_buf_add(t, pad, sizeof(pad));
	if (rc < 0)
		return -1;
	t->len -= sizeof(pad);
	ret->meta.p = t->p + sizeof(begin) - 1;
	return 0;
}

/* Nodes: root, "meta", its object and what is in it, "detail", the detail: which must be the last of the document. */
static int scan_document(struct webhook *w, struct parts *p, struct sb_json_fault *fault)
{
	struct sb_tape t;

	if (sb_json_scan(w->text.p, w->text.len, &SB_JSON_LIMITS, &w->tape, fault) < 0)
		return -1;
	t = sb_tape_of(w->text.p, &w->tape);
	p->detail = t.node[2].next + 1;
	if (t.node[p->detail].next == t.n)
		return 0;
	*fault = (struct sb_json_fault){ .off = w->text.len, .msg = "text behind the value", .code = SB_E_SYNTAX };
	return -1;
}

/* In terms of the body, which is scanned once more for that: nobody is in a hurry now. */
static void reject_json(struct webhook *w, struct sb_http_req *req, struct sb_json_fault *fault)
{
	struct sb_json_limits lim = SB_JSON_LIMITS;

	lim.depth--; /* the envelope is one more */
	fault->off = req->body.n;
	(void)sb_json_scan(req->body.p, req->body.n, &lim, &w->tape, fault);
	httpsource_reject_at(&w->http, req, &invalid_json, fault->msg, fault->off);
}

static int render(struct webhook *w, const struct sb_template *tpl, const char *otherwise, struct sb_buf *out)
{
	struct sb_tape t = sb_tape_of(w->text.p, &w->tape);

	sb_buf_clear(out);
	if (!tpl)
		return sb_buf_adds(out, otherwise);
	if (sb_template_text(tpl, &t, out) != 0 || out->len == 0)
		return -1;
	return 0;
}

static int build(struct webhook *w, const struct parts *p, struct sb_event **ret, struct sb_err *err)
{
	struct sb_source *s = w->http.source;
	struct sb_tape t = sb_tape_of(w->text.p, &w->tape);
	struct sb_event_spec spec;

	sb_source_spec(s, &spec);
	spec.source = (struct sb_event_str){ sb_buf_slice(&w->source), false };
	spec.detail_type = (struct sb_event_str){ sb_buf_slice(&w->detail_type), false };
	spec.tape = &t;
	spec.detail = p->detail;
	spec.meta = p->meta;
	return sb_event_build(&spec, sb_source_max_event(s), ret, err);
}

static void offer(struct webhook *w, struct sb_http_req *req, struct sb_event *ev)
{
	char mem[80];
	struct sb_buf body = { .p = mem, .cap = sizeof(mem), .max = sizeof(mem) };
	struct sb_refusal why = { 0 };
	struct said said;

	sb_buf_addf(&body, "{\"id\":\"%.*s\"}\n", SB_SLICE_ARG(ev->id)); /* ours: the receipt */
	if (httpsource_emit(&w->http, req, &(struct httpsource_group){ &ev, 1, &why }, 202, sb_buf_slice(&body)) == 0)
		return;
	sb_event_unref(ev);
	said = httpsource_said(why.why);
	sb_http_reply_error(req, said.status, said.code, "%s", why.msg);
}

static void take(struct webhook *w, struct sb_http_req *req)
{
	struct said too_large = httpsource_said(SB_REFUSE_TOO_LARGE);
	const struct sb_source *s = w->http.source;
	struct sb_json_fault fault;
	struct sb_event *ev;
	struct parts p = { 0 };
	struct sb_err err;

	if (req->body.n > sb_source_max_event(w->http.source) || write_document(w, req, &p) < 0) {
		httpsource_reject(&w->http, req, &too_large, "the body is larger than an event may be");
		return;
	}
	if (scan_document(w, &p, &fault) < 0) {
		reject_json(w, req, &fault);
		return;
	}
	if (render(w, s->source_tpl, s->name, &w->source) < 0)
		httpsource_reject(&w->http, req, &missing_value, "a value that `source` is made of is missing");
	else if (render(w, s->detail_type_tpl, "webhook", &w->detail_type) < 0)
		httpsource_reject(&w->http, req, &missing_value, "a value that `detail_type` is made of is missing");
	else if (build(w, &p, &ev, &err) < 0)
		httpsource_reject(&w->http, req, &too_large, err.msg);
	else
		offer(w, req, ev);
}

static void on_request(struct sb_http_req *req, void *arg)
{
	struct webhook *w = arg;

	if (!httpsource_admits(&w->http, req))
		return;
	if (!is_authorized(w, req))
		httpsource_reject(&w->http, req, &unauthorized, "the credentials are missing or wrong");
	else
		take(w, req);
}

/* ------------------------------------------------------------------------------------------------ configuration */

static int complain(struct sb_decode *d, const struct sb_node *at, const char *key, const char *what, const char *hint)
{
	const struct sb_node *n = sb_node_get(at, key);
	struct sb_err err;

	sb_fail_at(&err, SB_E_INVALID, n ? &n->at : &at->at, "%s", what);
	sb_hint(&err, "%s", hint);
	sb_node_path(n ? n : at, err.path, sizeof(err.path));
	sb_diag_error(d->diags, &err);
	return -1;
}

static bool is_path(const char *s)
{
	if (*s != '/')
		return false;
	for (; *s; s++)
		if (*s <= ' ' || *s == '?' || *s == '#' || *s == 0x7f || (unsigned char)*s >= 0x80)
			return false;
	return true;
}

static bool is_reserved(const char *path)
{
	static const char *const ours[] = { "/metrics", "/livez", "/readyz" };

	return strncmp(path, "/v1/", 4) == 0 || one_of(sb_slice_str(path), ours, SB_LEN(ours));
}

static char *lower_cased(const char *s)
{
	char *p = sb_xstrdup(s);

	for (char *c = p; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c |= 0x20;
	return p;
}

static bool is_secret_header(const char *name)
{
	char *lower = lower_cased(name);
	bool secret = one_of(sb_slice_str(lower), secret_headers, SB_LEN(secret_headers));

	free(lower);
	return secret;
}

static int check_verify(struct sb_decode *d, const struct sb_node *at, const struct verify_conf *v)
{
	const struct sb_node *n = sb_node_get(at, "verify");

	if (!n || !v->header) /* absent, or reported already */
		return 0;
	if (v->secrets.n == 0)
		return complain(d, n, "secrets", "`secrets` is empty: nobody could sign", "write a list of at least one secret");
	for (size_t i = 0; i < v->secrets.n; i++)
		if (v->secrets.v[i][0] == '\0')
			return complain(d, n, "secrets", "a secret is empty: anybody could sign",
				"give every secret at least one character");
	return 0;
}

static int webhook_check(struct sb_decode *d, const struct sb_node *at, void *conf)
{
	const struct webhook_conf *c = conf;
	int rc = check_verify(d, at, &c->verify);

	if (c->path && !is_path(c->path))
		rc = complain(d, at, "path", "not a path that a request can have", "write a path such as /hooks/shop");
	else if (c->path && is_reserved(c->path))
		rc = complain(d, at, "path", "this path is served by Signalbox itself", "write a path such as /hooks/shop");
	for (size_t i = 0; i < c->headers.n; i++)
		if (is_secret_header(c->headers.v[i]))
			rc = complain(d, at, "headers", "a header that carries credentials is never stored",
				"leave out Authorization, Proxy-Authorization, Cookie and Set-Cookie");
	return rc;
}

/* ------------------------------------------------------------------------------------------------ life */

static void take_conf(struct webhook *w, const struct webhook_conf *c)
{
	if (c->headers.n) {
		w->kept = sb_xcalloc((c->headers.n + 1) * sizeof(*w->kept));
		for (size_t i = 0; i < c->headers.n; i++)
			w->kept[i] = lower_cased(c->headers.v[i]);
	}
	if (c->verify.header)
		w->hmac = (struct sb_hmac_conf){
			.header = lower_cased(c->verify.header),
			.prefix = c->verify.prefix,
			.base64 = c->verify.encoding == 1,
			.secrets = c->verify.secrets.v,
			.n_secrets = c->verify.secrets.n,
		};
}

static int webhook_open(struct sb_source *s, struct sb_err *err)
{
	const struct webhook_conf *c = s->conf;
	struct webhook *w = s->state;

	w->http.source = s;
	sb_buf_init(&w->text, MAX_TEXT);
	sb_buf_init(&w->source, 4096);
	sb_buf_init(&w->detail_type, 4096);
	take_conf(w, c);
	if (!s->env->routes)
		return 0;
	if (sb_http_route_add(s->env->routes, c->path, on_request, w, err) < 0)
		return -1;
	w->routes = s->env->routes;
	return 0;
}

static void webhook_close(struct sb_source *s)
{
	const struct webhook_conf *c = s->conf;
	struct webhook *w = s->state;

	if (w->routes)
		sb_http_route_del(w->routes, c->path);
	w->routes = NULL;
	httpsource_close(s);
}

static void webhook_free(struct sb_source *s)
{
	struct webhook *w = s->state;

	for (char **k = w->kept; k && *k; k++)
		free(*k);
	free(w->kept);
	free((char *)w->hmac.header);
	sb_buf_done(&w->text);
	sb_buf_done(&w->source);
	sb_buf_done(&w->detail_type);
	sb_tape_buf_done(&w->tape);
}

const struct sb_connector sb_connector_webhook = {
	.type = "webhook",
	.summary = "raw JSON posted to a path, with templates for source and detail-type, and signatures",
	.source = &(const struct sb_source_ops){
		.state_size = sizeof(struct webhook),
		.conf_size = sizeof(struct webhook_conf),
		.fields = webhook_fields,
		.check = webhook_check,
		.open = webhook_open,
		.pause = httpsource_pause,
		.accepted = httpsource_accepted,
		.refused = httpsource_refused,
		.close = webhook_close,
		.free = webhook_free,
	},
};
