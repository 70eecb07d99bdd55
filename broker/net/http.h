/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_NET_HTTP_H
#define SB_NET_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/buf.h"
#include "broker/base/clock.h"
#include "broker/base/err.h"
#include "broker/base/mem.h"

/*
 * HTTP/1.1 server on libevent sockets; llhttp where packaged, http-parser elsewhere, behind httpparse.h; what both are too
 * lenient with is refused here. A connection belongs to the shard that accepted it. Requests of one connection may be
 * answered in any order; the answers go out in the order of the requests (pipelining).
 *
 * Refused with 400 and close: bare LF, obs-fold, missing or double Host, differing or repeated Content-Length, CL with TE,
 * space before a colon, NUL or CR in a value, signed or 0x chunk sizes. 431, 414, 413, 408, 417, 501 and 505 as RFC 9110
 * has them. Every refusal is counted by reason.
 */
struct event_base;

/*
 * The connections of servers that belong together, one a shard behind one address: bounds in all and by address hold for all of them.
 * From any thread; lives longer than its servers.
 */
struct sb_http_crowd;
struct sb_http_crowd *sb_http_crowd_new(uint32_t max, uint32_t max_per_address);
void sb_http_crowd_free(struct sb_http_crowd *c);

struct sb_http_conf {
	uint32_t max_line;          /* request line, default 4 KiB, at most 16 KiB */
	uint32_t max_header_bytes;  /* all headers, default 16 KiB, at most 60 KiB: the parser's own limit is 80 with the line */
	uint32_t max_headers;       /* default 64 */
	uint64_t max_body;          /* default 1 MiB + 16 KiB, at most 256 MiB */
	uint32_t max_connections;   /* in all; default 1024 */
	uint32_t max_per_address;   /* default 256; of an IPv6 peer its /64 counts, unix sockets are not counted */
	uint32_t max_pipelined;     /* unanswered requests of one connection; reading stops there. Default 64 */
	uint64_t header_ms, body_ms; /* absolute deadlines from the first byte; default 5 s, 15 s */
	uint64_t idle_ms;           /* keep-alive; default 60 s */
	uint64_t write_ms;          /* an answer must be taken within; default 15 s */
	uint32_t max_requests;      /* of one connection, 0: no bound. Default 100,000 */
	uint64_t max_buffered;      /* bytes of requests in memory, all connections of this shard; default 64 MiB */
	struct sb_http_crowd *crowd; /* who counts them, with the two bounds above; NULL: the server itself, alone */
};
extern const struct sb_http_conf sb_http_conf_default;

struct sb_http_server;
struct sb_http_req;

struct sb_http_header {
	struct sb_slice name, value; /* name lower-cased */
};

/* A complete request. Lives until it is answered, or until on_gone said that nobody waits any more. */
struct sb_http_req {
	struct sb_slice method, target, path, query; /* path is not decoded */
	const struct sb_http_header *header;
	size_t n_headers;
	struct sb_slice body;       /* SB_JSON_PAD readable bytes follow */
	char peer[64];              /* address text; "unix" */
	bool loopback;
	void *arg;                  /* the handler's, free to use */
	void (*on_gone)(struct sb_http_req *req); /* the connection broke before the answer; reply() is still due, and goes nowhere */
};

struct sb_slice sb_http_header(const struct sb_http_req *req, const char *name); /* p NULL: absent; first one counts */
/* Media type without parameters, lower-cased into out; "" when absent. */
void sb_http_media_type(const struct sb_http_req *req, char out[64]);

/* Exactly once for each request. Copies the body. `headers`: complete extra lines with CRLF, or NULL. */
void sb_http_reply(struct sb_http_req *req, unsigned status, const char *content_type, const char *headers,
	struct sb_slice body);
/* {"error":{"code":…,"message":…,"retryable":…}} */
void sb_http_reply_error(struct sb_http_req *req, unsigned status, const char *code, const char *fmt, ...) SB_PRINTF(4, 5);

typedef void sb_http_handler(struct sb_http_req *req, void *arg);

struct sb_http_stats {
	uint64_t connections, requests, refused_connections;
	uint64_t refused[16];       /* by enum sb_http_refusal */
	uint64_t open;
};
enum sb_http_refusal {
	SB_HTTP_BAD_SYNTAX, SB_HTTP_BAD_FRAMING, SB_HTTP_BAD_HOST, SB_HTTP_LINE_TOO_LONG, SB_HTTP_HEADERS_TOO_LARGE,
	SB_HTTP_BODY_TOO_LARGE, SB_HTTP_HEADER_TIMEOUT, SB_HTTP_BODY_TIMEOUT, SB_HTTP_WRITE_TIMEOUT, SB_HTTP_EXPECT,
	SB_HTTP_VERSION, SB_HTTP_METHOD, SB_HTTP_NO_ROOM, SB_HTTP_NREFUSALS
};
const char *sb_http_refusal_name(enum sb_http_refusal r);

/* One server of one shard, over any number of listening sockets. The handler is called for every complete request. */
struct sb_http_server *sb_http_server_new(struct event_base *base, const struct sb_clock *clock,
	const struct sb_http_conf *conf, sb_http_handler *on_request, void *arg);
/* `fd` listens already, non-blocking; moves in. Several shards may share an address by SO_REUSEPORT. `tag` comes back by sb_http_tag. */
int sb_http_server_listen(struct sb_http_server *s, int fd, void *tag, struct sb_err *err);
void *sb_http_tag(const struct sb_http_req *req);
/* Stop accepting, close idle connections (within a second), let unanswered requests be answered. */
void sb_http_server_drain(struct sb_http_server *s);
bool sb_http_server_idle(const struct sb_http_server *s);
void sb_http_server_free(struct sb_http_server *s); /* unanswered requests are dropped with their connections */
void sb_http_server_get_stats(const struct sb_http_server *s, struct sb_http_stats *ret);

/* Bind and listen. "127.0.0.1:8480", "[::1]:0", "unix:/path" (0600). *ret_port is the port bound. -1 with *err. */
int sb_listen(const char *address, bool reuse_port, int *ret_fd, uint16_t *ret_port, struct sb_err *err);
bool sb_address_is_loopback(const char *address); /* also every unix: */

/* ------------------------------------------------------------------------------------------------ routes */

/* Paths of one shard. The broker dispatches; connectors add theirs at open and take them away at close. Paths are exact. */
struct sb_http_routes;
struct sb_http_routes *sb_http_routes_new(void);
void sb_http_routes_free(struct sb_http_routes *r);
int sb_http_route_add(struct sb_http_routes *r, const char *path, sb_http_handler *h, void *arg, struct sb_err *err); /* -1: taken */
void sb_http_route_del(struct sb_http_routes *r, const char *path);
bool sb_http_route_call(struct sb_http_routes *r, struct sb_http_req *req); /* false: no such path */

/* ------------------------------------------------------------------------------------------------ auth.h facts */

struct sb_hmac_conf {
	const char *header;          /* name of the header that carries the signature, lower-cased */
	const char *prefix;          /* "sha256="; NULL: none */
	bool base64;                 /* else hex */
	const char *const *secrets;  /* several for rotation; every one is tried, without an early exit */
	size_t n_secrets;
};
/* Over the raw bytes, in constant time. */
bool sb_hmac_verify(const struct sb_hmac_conf *c, struct sb_slice body, struct sb_slice header_value);
/* "Bearer TOKEN" against several tokens, in constant time over all of them. */
bool sb_bearer_verify(const char *const *tokens, size_t n, struct sb_slice header_value);
void sb_sha256(const void *p, size_t n, uint8_t out[32]);

/* ------------------------------------------------------------------------------------------------ client */

/* For the command line, which may block: one request over the control socket or over TCP. */
struct sb_http_call {
	const char *address;         /* "unix:/path", "127.0.0.1:8480", "name:80" */
	const char *method, *path;
	const char *headers;         /* complete extra lines with CRLF, or NULL; then the body is called JSON */
	struct sb_slice body;
	uint64_t timeout_ms;         /* for all of it */
};
struct sb_http_answer {
	unsigned status;
	struct sb_buf body;          /* the caller's, to be done */
};
/* 0 with whatever status came, or -1: SB_E_UNREACHABLE when nobody answered. */
int sb_http_call(const struct sb_http_call *call, struct sb_http_answer *ret, struct sb_err *err);

#endif
