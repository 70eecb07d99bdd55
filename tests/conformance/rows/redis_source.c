/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Senders add an entry each. They have heard yes when it has been delivered and is no longer pending; nobody hears a no. Who looks at
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
	char last[48];      /* delivered */
	struct {
		char id[48]; /* "": has not offered, or has heard */
	} offer[STAGE_SENDERS];
};

#define LOOK_MS 3

static bool is_id_after(const char *a, const char *b)
{
	char *end_a, *end_b;
	unsigned long long ms_a = strtoull(a, &end_a, 10), ms_b = strtoull(b, &end_b, 10);

	if (ms_a != ms_b)
		return ms_a > ms_b;
	return strtoull(end_a + 1, NULL, 10) > strtoull(end_b + 1, NULL, 10);
}

static bool is_in(const redisReply *pending, const char *id)
{
	for (size_t i = 0; i < pending->elements; i++)
		if (strcmp(pending->element[i]->element[0]->str, id) == 0)
			return true;
	return false;
}

static void on_groups(redisAsyncContext *ac, void *reply, void *arg)
{
	struct side *f = ((struct stage *)arg)->far;
	const redisReply *r = reply;

	(void)ac;
	if (r && r->type == REDIS_REPLY_ARRAY && r->elements)
		snprintf(f->last, sizeof(f->last), "%s", r->element[0]->element[7]->str);
}

static void on_pending(redisAsyncContext *ac, void *reply, void *arg)
{
	struct stage *st = arg;
	struct side *f = st->far;
	const redisReply *r = reply;
	const struct timeval tv = { .tv_usec = LOOK_MS * 1000 };

	(void)ac;
	if (!r)
		return;
	event_add(f->look, &tv);
	if (r->type != REDIS_REPLY_ARRAY || !*f->last)
		return;
	for (unsigned k = 0; k < STAGE_SENDERS; k++) {
		char *id = f->offer[k].id;

		if (!*id || is_id_after(id, f->last) || is_in(r, id))
			continue;
		*id = '\0';
		stage_heard(st, k, true);
	}
}

/* First the group, then what is pending: what is delivered in between is after its last id. */
static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct side *f = ((struct stage *)arg)->far;

	(void)fd;
	(void)what;
	redisAsyncCommand(f->ac, on_groups, arg, "XINFO GROUPS jobs");
	redisAsyncCommand(f->ac, on_pending, arg, "XPENDING jobs g - + 1000");
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
	redisReply *r = redisCommand(f->far.c, "XADD jobs * body %b", text.p, text.n);

	if (!f->look)
		begin_looking(st);
	SB_ASSERT(r && r->type == REDIS_REPLY_STRING);
	snprintf(f->offer[k].id, sizeof(f->offer[k].id), "%s", r->str);
	freeReplyObject(r);
}

static int make(struct stage *st, struct sb_err *err)
{
	struct side *f = st->far = sb_xcalloc(sizeof(*f));

	return redisfar_make(&f->far, st, err);
}

static void unmake(struct stage *st)
{
	struct side *f = st->far;

	if (f && f->look) {
		redisAsyncFree(f->ac);
		event_free(f->look);
	}
	if (f)
		redisfar_end(&f->far);
	free(f);
	st->far = NULL;
}

static const char *const wrong_source[] = { "{}", "{url: 'redis://there', streams: [s]}", "{url: 'redis://there', group: g}",
	"{url: 'redis://there', streams: [], group: g}", "{url: 'redis://there', streams: [s, s], group: g}",
	"{url: 'redis://there', streams: [s], group: g, from: yesterday}", "{url: 'there', streams: [s], group: g}", NULL };

static const char *const bad[] = { "", "{", "{\"a\":1}}", "\"\xff\"", "{\"a\":1},\"b\":2", "nul", "HUGE", NULL };

const struct row row_redis_source = {
	.name = "redis_source",
	.connector = &sb_connector_redis,
	.conf = "{url: 'unix:DIR/redis.sock', streams: [jobs], group: g, field: body}",
	.wrong = wrong_source,
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
