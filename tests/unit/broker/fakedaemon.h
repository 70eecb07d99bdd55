/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BROKER_FAKEDAEMON_H
#define SB_TESTS_BROKER_FAKEDAEMON_H

#include <pthread.h>
#include <stddef.h>

#include "broker/base/buf.h"
#include "broker/cli/cli.h"

/*
 * What verbs talk to: an HTTP server in a thread, which answers from a script and remembers what it was asked. The answers of
 * one path come in order, and the last one is repeated. A path that is not in the script gets 500.
 */
struct fake_answer {
	const char *path; /* NULL ends the script */
	unsigned status;
	const char *body;
};

struct fakedaemon {
	const struct fake_answer *script;
	unsigned used[16]; /* answers given, by row of the script */
	struct sb_buf heard; /* "POST /v1/pause {...}\n" a request, with the header Authorization behind it if there is one */
	int stop[2];
	pthread_t thread;
	pthread_mutex_t lock;
	struct event_base *base;
	struct sb_http_server *server;
};

/* Listens on "unix:/path" or "127.0.0.1:0". Returns the port. */
unsigned fakedaemon_start(struct fakedaemon *f, const char *address, const struct fake_answer *script);
void fakedaemon_stop(struct fakedaemon *f); /* `heard` stays until fakedaemon_done */
void fakedaemon_done(struct fakedaemon *f);

/* A verb, run in this process. */
struct ran {
	char *out, *err;
	size_t out_n, err_n;
	int code;
};
struct ran run_words(const struct sb_cli_verb *verbs, int argc, const char *const *words);
#define RUN(verbs, ...)                                                                   \
	run_words(verbs, (int)SB_LEN(((const char *const[]){ "signalbox", __VA_ARGS__ })), \
		(const char *const[]){ "signalbox", __VA_ARGS__ })
void ran_done(struct ran *r);

#endif
