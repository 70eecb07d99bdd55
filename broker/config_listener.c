/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "config_tables.h"

static unsigned serve_bit(const char *word)
{
	for (unsigned i = 0; sb_serve_names[i]; i++)
		if (strcmp(word, sb_serve_names[i]) == 0)
			return 1u << i;
	return 0;
}

static void unknown_service(const struct sb_node *at, const char *word, struct sb_diags *diags)
{
	const char *near = sb_nearest(word, sb_serve_names, 4);
	struct sb_err err;

	sb_fail_at(&err, SB_E_INVALID, &at->at, "`%s` is nothing that a listener serves", word);
	if (near)
		sb_hint(&err, "did you mean `%s`?", near);
	else
		sb_hint(&err, "of events, webhooks, metrics, health");
	sb_node_path(at, err.path, sizeof(err.path));
	sb_diag_error(diags, &err);
}

static unsigned services(const struct sb_listener_keys *k, const struct sb_node *at, struct sb_diags *diags)
{
	const struct sb_node *list = sb_node_get(at, "serve");
	unsigned bits = 0;

	for (size_t i = 0; i < k->serve.n; i++) {
		unsigned bit = serve_bit(k->serve.v[i]);

		if (!bit)
			unknown_service(list->item[i], k->serve.v[i], diags);
		bits |= bit;
	}
	return list ? bits : SB_SERVE_EVENTS | SB_SERVE_WEBHOOKS | SB_SERVE_METRICS | SB_SERVE_HEALTH;
}

static void refuse_open_address(const struct sb_listener_conf *l, const struct sb_node *at, struct sb_diags *diags)
{
	const struct sb_node *address = sb_node_get(at, "address");
	struct sb_err err;

	sb_fail_at(&err, SB_E_REFUSED, &address->at, "listener `%s` would take events from everybody who reaches %s",
		l->name, l->address);
	sb_hint(&err, "add `auth: {tokens: [...]}`, or say `insecure: true`");
	sb_node_path(address, err.path, sizeof(err.path));
	sb_diag_error(diags, &err);
}

void sb_config_listener(struct sb_config *c, struct sb_listener_conf *l, const struct sb_listener_keys *k,
	const struct sb_node *at, struct sb_diags *diags)
{
	l->address = k->address;
	l->serve = services(k, at, diags);
	l->tokens = k->tokens;
	l->allow_origins = k->allow_origins;
	l->insecure = k->insecure;
	l->http = (struct sb_http_conf){
		.max_line = (uint32_t)k->limits.max_line,
		.max_header_bytes = (uint32_t)k->limits.max_header_bytes,
		.max_headers = (uint32_t)k->limits.max_headers,
		.max_body = k->limits.max_body ? k->limits.max_body : c->limits.event_bytes + (16 << 10),
		.max_connections = (uint32_t)k->limits.max_connections,
		.max_per_address = (uint32_t)k->limits.max_per_address,
		.max_buffered = k->limits.max_buffered,
		.max_pipelined = (uint32_t)k->limits.max_pipelined,
		.header_ms = k->limits.header_timeout,
		.body_ms = k->limits.body_timeout,
		.idle_ms = k->limits.idle_timeout,
		.write_ms = k->limits.write_timeout,
		.max_requests = (uint32_t)k->limits.max_requests,
	};
	if (!sb_address_is_loopback(l->address) && k->tokens.n == 0 && !k->insecure)
		refuse_open_address(l, at, diags);
}
