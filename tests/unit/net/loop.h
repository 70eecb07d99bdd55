/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_UNIT_NET_LOOP_H
#define SB_TESTS_UNIT_NET_LOOP_H

#include <event2/event.h>

#include "broker/net/http.h"

/*
 * A server and its raw clients in one thread: the loop is turned by hand, so that a test decides what has been read when.
 * The handler answers at once with "METHOD PATH BODY", unless `hold` is set: then requests are kept in `held`.
 */
#define LOOP_HELD 256

struct loop {
	struct event_base *base;
	struct sb_http_server *server;
	struct sb_http_conf conf;
	char dir[64], path[96];
	bool hold;
	struct sb_http_req *held[LOOP_HELD];
	unsigned n_held, n_gone, n_requests;
	char first_header[256]; /* "name=value" of the last request's first header */
};

void loop_init(struct loop *l, const struct sb_http_conf *conf);
void loop_done(struct loop *l);
int loop_connect(struct loop *l); /* non-blocking, accepted already */
void loop_turn(struct loop *l);   /* everything that is ready now */
void loop_send(struct loop *l, int fd, const void *p, size_t n);
void loop_sends(struct loop *l, int fd, const char *s);
/* Turns until the server closes or `ms` are over; what came is in out, NUL behind it. true: it closed. */
bool loop_read(struct loop *l, int fd, char *out, size_t size, unsigned ms);
/* As loop_read, but also ends when `until` has come. */
bool loop_read_until(struct loop *l, int fd, char *out, size_t size, const char *until);
/* "202 400": the status of each answer in a stream of them. */
void loop_statuses(const char *stream, size_t n, char *out, size_t size);
const char *loop_told(const char *stream); /* the same, of a whole string */
uint64_t loop_refused(struct loop *l, enum sb_http_refusal why); /* how often */
struct sb_http_conf loop_conf(void (*change)(struct sb_http_conf *)); /* the defaults, changed */
/* Beside the unix socket: a port of 127.0.0.1, and a connection to it from an address of one's own. */
int loop_tcp_listen(struct loop *l);
int loop_tcp_from(struct loop *l, int port, const char *ip);
void loop_reply(struct loop *l, unsigned held, const char *text); /* 200 with a body */

#endif
