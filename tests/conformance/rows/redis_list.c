/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Senders push an element each. They have heard yes when it is neither in the list nor in the one of what is taken; nobody hears a no. Who looks at
 * that does so on a connection that does not wait: it is on the stage's loop.
 */
#include <event2/event.h>
#include <hiredis/adapters/libevent.h>
#include <hiredis/async.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/conformance/redisfar.h"

extern const struct sb_connector sb_connector_redis;

struct side {
	struct redisfar far;
	struct event *look; /* at what has become of them, now and then */
	redisAsyncContext *ac;
	bool seen[STAGE_SENDERS];     /* during this look */
	char *offer[STAGE_SENDERS];   /* NULL: has not offered, or has heard */
};

#define LOOK_MS 3

static void see(struct side *f, const redisReply *list)
{
	for (size_t i = 0; list->type == REDIS_REPLY_ARRAY && i < list->elements; i++)
		for (unsigned k = 0; k < STAGE_SENDERS; k++)
			f->seen[k] |= f->offer[k] && strcmp(list->element[i]->str, f->offer[k]) == 0;
}

static void forget(struct side *f, unsigned k)
{
	free(f->offer[k]);
	f->offer[k] = NULL;
}

static void on_list(redisAsyncContext *ac, void *reply, void *arg)
{
	struct side *f = ((struct stage *)arg)->far;

	(void)ac;
	if (reply)
		see(f, reply);
}

static void on_taken(redisAsyncContext *ac, void *reply, void *arg)
{
	struct stage *st = arg;
	struct side *f = st->far;
	const struct timeval tv = { .tv_usec = LOOK_MS * 1000 };

	(void)ac;
	if (!reply)
		return;
	see(f, reply);
	event_add(f->look, &tv);
	for (unsigned k = 0; k < STAGE_SENDERS; k++) {
		if (!f->offer[k] || f->seen[k])
			continue;
		forget(f, k);
		stage_heard(st, k, true);
	}
}

/* First the list, then what is taken: an element only goes that way. One that is offered meanwhile counts as seen. */
static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct side *f = ((struct stage *)arg)->far;

	(void)fd;
	(void)what;
	memset(f->seen, 0, sizeof(f->seen));
	redisAsyncCommand(f->ac, on_list, arg, "LRANGE jobs 0 -1");
	redisAsyncCommand(f->ac, on_taken, arg, "LRANGE {jobs}:signalbox:taken:me 0 -1");
}

static void begin_looking(struct stage *st)
{
	struct side *f = st->far;

	f->ac = redisAsyncConnectUnix(f->far.path);
	SB_ASSERT(f->ac && !f->ac->err && redisLibeventAttach(f->ac, st->env.base) == REDIS_OK);
	f->look = evtimer_new(st->env.base, on_look, st);
	event_active(f->look, EV_TIMEOUT, 0);
}

static void offer(struct stage *st, unsigned k, struct sb_slice text)
{
	struct side *f = st->far;
	redisReply *r = redisCommand(f->far.c, "LPUSH jobs %b", text.p, text.n);

	if (!f->look)
		begin_looking(st);
	SB_ASSERT(r && r->type == REDIS_REPLY_INTEGER);
	freeReplyObject(r);
	f->offer[k] = sb_xstrndup(text.p, text.n);
	f->seen[k] = true;
}

static int make(struct stage *st, struct sb_err *err)
{
	struct side *f = st->far = sb_xcalloc(sizeof(*f));

	return redisfar_make(&f->far, st, err);
}

static void unmake(struct stage *st)
{
	struct side *f = st->far;

	if (!f)
		return;
	if (f->look) {
		redisAsyncFree(f->ac);
		event_free(f->look);
	}
	redisfar_end(&f->far);
	for (unsigned k = 0; k < STAGE_SENDERS; k++)
		forget(f, k);
	free(f);
	st->far = NULL;
}

static const char *const wrong_list[] = { "{url: 'redis://there', list: ''}", "{url: 'redis://there', list: l, group: g}",
	"{url: 'redis://there', list: l, streams: [s], group: g}", "{url: 'redis://there', list: l, take: middle}",
	"{url: 'redis://there', list: l, channels: [c]}", "{url: 'redis://there', channels: [c], consumer: me}", NULL };

static const char *const bad[] = { "", "{", "{\"a\":1}}", "\"\xff\"", "{\"a\":1},\"b\":2", "nul", "HUGE", NULL };

const struct row row_redis_list = {
	.name = "redis_list",
	.connector = &sb_connector_redis,
	.conf = "{url: 'unix:DIR/redis.sock', list: jobs, consumer: me}",
	.wrong = wrong_list,
	.make = make,
	.unmake = unmake,
	.source =
		&(const struct source_row){
			.wrap = "@",
			.bad = bad,
			.keeps = true,
			.waits = true,
			.offer = offer,
		},
};
