/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_FAKESOURCE_H
#define SB_TESTS_SUPPORT_FAKESOURCE_H

#include "broker/net/http.h"
#include "connectors/connector.h"

/*
 * The framework's side of a source behind HTTP, as far as a connector can see it: a server on a unix socket with the
 * routes, and the sb_source_* functions, which record what comes. Links instead of the broker.
 */
#define SB_FAKE_EVENTS 1024

struct sb_fake_source {
	struct sb_source source;
	struct sb_env env;
	struct sb_http_server *server;
	char dir[64], path[96];

	/* What the framework would say. */
	bool unauthorized, has_tokens;
	size_t max_event;          /* default 256 KiB */
	const char *refuse_source; /* refuse events of this source ... */
	enum sb_refuse refuse_why; /* ... for this reason */
	bool hold;                 /* groups are not accepted before sb_fake_accept */
	enum sb_refuse fail_why;   /* not 0: ops->refused instead of ops->accepted */

	/* What came. */
	struct sb_event *ev[SB_FAKE_EVENTS];
	size_t n;
	unsigned emits, closed;
	uint64_t held_cookie;
	char rejected[4096];       /* "invalid_json too_large " in order */
};

struct sb_fake_answer {
	unsigned status; /* 0: none came */
	char head[2048], body[64 << 10];
};

/* The buses are "default" and "audit". conf is the connector's, or NULL; the source is opened. */
void sb_fake_source_init(struct sb_fake_source *f, const struct sb_connector *c, void *conf);
void sb_fake_source_done(struct sb_fake_source *f); /* closes and frees the source, drops the events */
void sb_fake_source_forget(struct sb_fake_source *f); /* drops the events that came */
void sb_fake_accept(struct sb_fake_source *f);

/* One request on a connection of its own; header lines with CRLF. Content-Length is added. */
void sb_fake_request(struct sb_fake_source *f, const char *line, const char *headers, struct sb_slice body,
	struct sb_fake_answer *ret);
void sb_fake_post(struct sb_fake_source *f, const char *path, const char *headers, const char *body, struct sb_fake_answer *ret);
/* The same in two steps, for answers that wait. */
int sb_fake_send(struct sb_fake_source *f, const char *line, const char *headers, struct sb_slice body);
void sb_fake_receive(struct sb_fake_source *f, int fd, struct sb_fake_answer *ret);

#endif
