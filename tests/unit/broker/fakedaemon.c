/* SPDX-License-Identifier: Apache-2.0 */
#include "fakedaemon.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/net/http.h"

static const struct fake_answer *next_answer(struct fakedaemon *f, struct sb_slice path)
{
	const struct fake_answer *last = NULL;

	for (size_t i = 0; f->script[i].path; i++) {
		if (!sb_slice_eq_str(path, f->script[i].path))
			continue;
		last = &f->script[i];
		if (!f->used[i]) {
			f->used[i] = 1;
			break;
		}
	}
	return last;
}

static void on_request(struct sb_http_req *req, void *arg)
{
	struct fakedaemon *f = arg;
	struct sb_slice token = sb_http_header(req, "authorization"), type = sb_http_header(req, "content-type");
	const struct fake_answer *a;

	pthread_mutex_lock(&f->lock);
	sb_buf_addf(&f->heard, "%.*s %.*s %.*s %.*s", SB_SLICE_ARG(req->method), SB_SLICE_ARG(req->path),
		SB_SLICE_ARG(type), SB_SLICE_ARG(req->body));
	if (token.p)
		sb_buf_addf(&f->heard, " [%.*s]", SB_SLICE_ARG(token));
	sb_buf_addc(&f->heard, '\n');
	a = next_answer(f, req->path);
	pthread_mutex_unlock(&f->lock);
	if (a)
		sb_http_reply(req, a->status, "application/json", NULL, sb_slice_str(a->body));
	else
		sb_http_reply_error(req, 500, "script", "not in the script");
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(arg);
}

static void *serve(void *arg)
{
	struct fakedaemon *f = arg;
	struct event *stop = event_new(f->base, f->stop[0], EV_READ, on_stop, f->base);

	event_add(stop, NULL);
	event_base_dispatch(f->base);
	event_free(stop);
	sb_pool_thread_done();
	return NULL;
}

unsigned fakedaemon_start(struct fakedaemon *f, const char *address, const struct fake_answer *script)
{
	struct sb_err err = { 0 };
	uint16_t port = 0;
	int fd;

	*f = (struct fakedaemon){ .script = script, .heard = SB_BUF(1u << 20) };
	pthread_mutex_init(&f->lock, NULL);
	f->base = event_base_new();
	f->server = sb_http_server_new(f->base, &sb_clock_system, &sb_http_conf_default, on_request, f);
	if (pipe(f->stop) < 0 || sb_listen(address, false, &fd, &port, &err) < 0 ||
		sb_http_server_listen(f->server, fd, NULL, &err) < 0 ||
		pthread_create(&f->thread, NULL, serve, f) != 0) {
		fprintf(stderr, "fake daemon: %s\n", err.msg);
		abort();
	}
	return port;
}

void fakedaemon_stop(struct fakedaemon *f)
{
	close(f->stop[1]);
	pthread_join(f->thread, NULL);
	close(f->stop[0]);
	sb_http_server_free(f->server);
	event_base_free(f->base);
	pthread_mutex_destroy(&f->lock);
}

void fakedaemon_done(struct fakedaemon *f)
{
	sb_buf_done(&f->heard);
}

struct ran run_words(const struct sb_cli_verb *verbs, int argc, const char *const *words)
{
	struct ran r = { 0 };
	FILE *out = open_memstream(&r.out, &r.out_n), *err = open_memstream(&r.err, &r.err_n);

	r.code = sb_cli_main(argc, (char **)words, verbs, out, err);
	fclose(out);
	fclose(err);
	return r;
}

void ran_done(struct ran *r)
{
	free(r->out);
	free(r->err);
}
