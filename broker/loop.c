/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "executor/proc.h"

struct sb_loop {
	struct sb_shard *shard;
	struct event_base *base;
	struct event *mail, *due;
	struct sb_http_server *http[SB_LISTENERS_MAX];
	size_t n_http;
	struct sb_http_routes *routes;
	struct sb_procs *procs;
	pthread_t thread;
	bool started, stopping;
	struct sb_mail stop;
};

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg; /* the turn drains the box */
}

int sb_loop_new(struct sb_shard *s, int spawner_sock, struct sb_loop **ret, struct sb_err *err)
{
	struct sb_loop *l = sb_xcalloc(sizeof(*l));
	struct event_config *conf = event_config_new();

	event_config_set_flag(conf, EVENT_BASE_FLAG_NOLOCK); /* one thread owns it; others post mail */
	l->base = event_base_new_with_config(conf);
	event_config_free(conf);
	if (!l->base) {
		free(l);
		return sb_fail(err, SB_E_IO, "shard %u: no event loop", s->index);
	}
	l->shard = s;
	l->mail = event_new(l->base, s->mail.fd, EV_READ | EV_PERSIST, on_mail, NULL);
	event_add(l->mail, NULL);
	l->due = evtimer_new(l->base, on_mail, NULL);
	l->routes = sb_http_routes_new();
	l->procs = sb_procs_new(l->base, spawner_sock);
	s->env.base = l->base;
	s->env.routes = l->routes;
	s->env.procs = l->procs;
	*ret = l;
	return 0;
}

int sb_loop_listen(struct sb_loop *l, int fd, const struct sb_http_conf *http, sb_http_handler *on_request, void *arg,
	struct sb_err *err)
{
	struct sb_http_server *server;

	if (l->n_http == SB_LISTENERS_MAX)
		return sb_fail(err, SB_E_LIMIT, "more than %d listeners", SB_LISTENERS_MAX);
	server = sb_http_server_new(l->base, l->shard->core->clock, http, on_request, arg);
	l->http[l->n_http++] = server;
	return sb_http_server_listen(server, fd, arg, err);
}

static void arm_due(struct sb_loop *l)
{
	uint64_t due = sb_shard_next_due(l->shard), now, us;
	struct timeval tv;

	if (due == UINT64_MAX) {
		evtimer_del(l->due);
		return;
	}
	now = sb_mono_ns(l->shard->core->clock);
	us = due > now ? (due - now + 999) / 1000 : 0;
	tv.tv_sec = (time_t)(us / 1000000);
	tv.tv_usec = (suseconds_t)(us % 1000000);
	evtimer_add(l->due, &tv);
}

static void *loop_main(void *arg)
{
	struct sb_loop *l = arg;

	while (!l->stopping) {
		arm_due(l);
		event_base_loop(l->base, EVLOOP_ONCE);
		sb_shard_turn(l->shard);
	}
	sb_event_thread_done();
	sb_pool_thread_done();
	return NULL;
}

int sb_loop_start(struct sb_loop *l, struct sb_err *err)
{
	int e = pthread_create(&l->thread, NULL, loop_main, l);

	if (e) {
		errno = e;
		return sb_fail_errno(err, "shard %u: thread", l->shard->index);
	}
	l->started = true;
	return 0;
}

static void run_stop(struct sb_mail *m)
{
	SB_CONTAINER(m, struct sb_loop, stop)->stopping = true;
}

void sb_loop_stop(struct sb_loop *l)
{
	if (!l->started)
		return;
	l->stop.run = run_stop;
	sb_mailbox_post(&l->shard->mail, &l->stop);
}

void sb_loop_join(struct sb_loop *l)
{
	if (l->started)
		pthread_join(l->thread, NULL);
	l->started = false;
}

void sb_loop_free(struct sb_loop *l)
{
	if (!l)
		return;
	SB_ASSERT(!l->started);
	for (size_t i = 0; i < l->n_http; i++)
		sb_http_server_free(l->http[i]);
	sb_http_routes_free(l->routes);
	sb_procs_free(l->procs);
	event_free(l->mail);
	event_free(l->due);
	event_base_free(l->base);
	l->shard->env.base = NULL;
	free(l);
}

void sb_loop_drain_http(struct sb_loop *l)
{
	for (size_t i = 0; i < l->n_http; i++)
		sb_http_server_drain(l->http[i]);
}

bool sb_loop_http_idle(const struct sb_loop *l)
{
	for (size_t i = 0; i < l->n_http; i++)
		if (!sb_http_server_idle(l->http[i]))
			return false;
	return true;
}

struct sb_shard *sb_loop_shard(const struct sb_loop *l)
{
	return l->shard;
}

void sb_loop_http_stats(const struct sb_loop *l, struct sb_http_stats *ret)
{
	*ret = (struct sb_http_stats){ 0 };
	for (size_t i = 0; i < l->n_http; i++) {
		struct sb_http_stats one;

		sb_http_server_get_stats(l->http[i], &one);
		ret->connections += one.connections;
		ret->requests += one.requests;
		ret->refused_connections += one.refused_connections;
		ret->open += one.open;
		for (size_t k = 0; k < SB_LEN(one.refused); k++)
			ret->refused[k] += one.refused[k];
	}
}

/* ------------------------------------------------------------------------------------------------ calls */

struct call {
	struct sb_mail mail;
	struct sb_shard *shard;
	void (*fn)(struct sb_shard *s, void *arg);
	void *arg;
	sem_t done;
};

static void run_call(struct sb_mail *m)
{
	struct call *c = SB_CONTAINER(m, struct call, mail);

	c->fn(c->shard, c->arg);
	sem_post(&c->done);
}

void sb_loop_call(struct sb_loop *l, void (*fn)(struct sb_shard *s, void *arg), void *arg)
{
	struct call c = { .mail.run = run_call, .shard = l->shard, .fn = fn, .arg = arg };

	if (!l->started) {
		fn(l->shard, arg);
		return;
	}
	sem_init(&c.done, 0, 0);
	sb_mailbox_post(&l->shard->mail, &c.mail);
	while (sem_wait(&c.done) < 0 && errno == EINTR)
		;
	sem_destroy(&c.done);
}
