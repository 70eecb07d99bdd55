/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_LOOP_H
#define SB_BROKER_LOOP_H

#include "broker/net/http.h"
#include "broker/shard.h"

#define SB_LISTENERS_MAX 16

/*
 * A shard's thread: a libevent base, an HTTP server and a spawner socket around struct sb_shard. The control thread makes
 * and ends it; everything between happens on its own thread, by mail.
 */
struct sb_loop;

/* spawner_sock moves in. */
int sb_loop_new(struct sb_shard *s, int spawner_sock, struct sb_loop **ret, struct sb_err *err);
/* Before start: one HTTP server for one listening socket, with its own limits. on_request gets `arg`; fd moves in. */
int sb_loop_listen(struct sb_loop *l, int fd, const struct sb_http_conf *http, sb_http_handler *on_request, void *arg,
	struct sb_err *err);
int sb_loop_start(struct sb_loop *l, struct sb_err *err);
void sb_loop_join(struct sb_loop *l); /* after sb_loop_stop: waits for its end */
void sb_loop_stop(struct sb_loop *l); /* any thread */
void sb_loop_free(struct sb_loop *l);
/* On the shard's thread: no new connections or requests; idle when every answer has gone out. */
void sb_loop_drain_http(struct sb_loop *l);
bool sb_loop_http_idle(const struct sb_loop *l);
struct sb_shard *sb_loop_shard(const struct sb_loop *l);
void sb_loop_http_stats(const struct sb_loop *l, struct sb_http_stats *ret); /* sums over its servers */

/* Run fn(arg) on the shard's thread and wait for it: for set-up and reload, from the control thread only. */
void sb_loop_call(struct sb_loop *l, void (*fn)(struct sb_shard *s, void *arg), void *arg);

#endif
