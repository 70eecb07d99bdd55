/* SPDX-License-Identifier: Apache-2.0 */
#include "redis.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/list.h"
#include "command.h"
#include "entry.h"
#include "probe.h"
#include "settings.h"
#include "verdict.h"

/*
 * XADD, pipelined: every delivery that the framework has in flight is one command on one connection, and its reply is its outcome.
 *
 * A delivery that comes while the connection is not up waits for the attempt that is under way or due: it goes out with it, or is
 * unreachable with it. That makes the framework's probe find a Redis in the moment in which it is back. When the
 * connection is lost between a command and its reply nobody knows whether the entry is there: tried again, under the same
 * delivery id, so that a reader can tell.
 *
 * With `wait` an entry that was added is unconfirmed until the next WAIT (or WAITAOF) of the connection has counted enough copies. One
 * WAIT speaks for all that was added before it, so there is one a turn of the loop. Whether the server can do it at all is
 * asked before anything is added.
 */
struct wait_conf {
	int64_t replicas;
	bool aof;
	uint64_t timeout;
};

struct target_conf {
	struct rds_settings at;
	const char *stream;
	struct sb_field_map fields;
	int64_t maxlen;
	const char *minid;
	bool exact;
	struct wait_conf wait;
	struct rds_entry_conf entry; /* made of the above by check */
};

struct rds_target {
	struct sb_target *t;
	struct rds_conn *conn;
	struct sb_buf command, scratch;
	struct sb_link waiting;     /* for the connection */
	struct sb_link unconfirmed; /* added; no WAIT has been sent for them */
	struct event *confirm;      /* NULL: no `wait` */
	bool usable;                /* up, and can do what we need */
	bool closing, closed;
};

/* A delivery in our hands. Pool memory. */
struct sending {
	struct sb_link link; /* in waiting, unconfirmed, or a group's list */
	struct rds_target *rt;
	struct sb_batch *batch;
	size_t item;
};

/* Those that one WAIT speaks for. */
struct group {
	struct sb_link sent;
	struct rds_target *rt;
};

#define T struct target_conf

static const struct sb_field wait_fields[] = {
	SB_F(INT, struct wait_conf, replicas, .min = 0, .max = 100, .dflt = "0",
		.doc = "Replicas that must have the entry before it counts as delivered."),
	SB_F(BOOL, struct wait_conf, aof, .dflt = "false",
		.doc = "It must also be in the append-only files, the primary's among them (WAITAOF, Redis 7.2)."),
	SB_F(MS, struct wait_conf, timeout, .min = 1, .max = 600000, .dflt = "1s",
		.doc = "For that; then the delivery is tried again."),
	{ 0 },
};

static const struct sb_field target_fields[] = {
	RDS_SETTINGS_ROWS(T),
	SB_F(STR, T, stream, .required = true, .min = 1, .max = 1024, .doc = "The key that entries are added to."),
	SB_F(MAP, T, fields,
		.doc = "Name and text of each field, with `<event>`, `<id>`, `<rule>`, `<attempt>`, `<target>` or `<$.path>` in it; a field "
		       "with a missing value is left out. Absent: event, id, rule and attempt."),
	SB_F(INT, T, maxlen, .min = 0, .max = INT64_MAX, .dflt = "0", .doc = "Trim the stream to so many entries; 0: no bound."),
	SB_F(STR, T, minid, .max = 64, .doc = "Or trim entries before this: an age such as `24h`, or an id."),
	SB_F(BOOL, T, exact, .dflt = "false", .doc = "Trim to the very entry; else to the next whole node (`~`), which costs far less."),
	SB_F(OBJECT, T, wait, .sub = wait_fields, .doc = "Copies to wait for before an entry counts as delivered."),
	{ 0 },
};

#undef T

/* ------------------------------------------------------------------------------------------------ settling */

static void settle(struct sending *s, const struct sb_result *r)
{
	struct sb_target *t = s->rt->t;
	struct sb_batch *b = s->batch;
	size_t i = s->item;

	sb_pool_free(s); /* settling may send, and whoever sends wants a block */
	sb_batch_settle(t, b, i, r);
}

static void settle_as(struct sending *s, enum sb_outcome outcome, enum sb_reason reason, const char *why)
{
	settle(s, &(struct sb_result){ .outcome = outcome, .reason = reason, .message = sb_slice_str(why) });
}

/* The connection is gone, the reply will not come. */
static void settle_unknown(struct sending *s)
{
	if (s->rt->closing)
		settle_as(s, SB_RELEASED, SB_R_NONE, "shutting down");
	else
		settle_as(s, SB_RETRY, SB_R_CONNECTION_FAILURE, "the connection was lost before the answer: the entry may be there");
}

static struct sending *pop(struct sb_link *list)
{
	struct sb_link *l = sb_list_pop_front(list);

	return l ? SB_CONTAINER(l, struct sending, link) : NULL;
}

/* What is added to the list meanwhile is not meant. */
static void settle_all(struct sb_link *list, enum sb_outcome outcome, enum sb_reason reason, const char *why)
{
	struct sb_link mine;
	struct sb_link *l;
	struct sending *s;

	sb_list_init(&mine);
	while ((l = sb_list_pop_front(list)))
		sb_list_push_back(&mine, l);
	while ((s = pop(&mine)))
		settle_as(s, outcome, reason, why);
}

/* After an error: the same server can hardly do better. */
static void heed(struct rds_target *rt, const struct rds_verdict *v, struct sb_slice text)
{
	char why[160];

	if (rt->closing)
		return;
	snprintf(why, sizeof(why), "%.*s", SB_SLICE_ARG(text));
	if (v->then == RDS_MOVED)
		rds_conn_moved(rt->conn, text);
	else if (v->then == RDS_RECONNECT)
		rds_conn_fail(rt->conn, why);
}

/* ------------------------------------------------------------------------------------------------ copies */

static bool confirmed(const struct target_conf *c, const redisReply *r)
{
	if (!c->wait.aof)
		return r->type == REDIS_REPLY_INTEGER && r->integer >= c->wait.replicas;
	return rds_is_array(r, 2) && r->element[0]->integer >= 1 && r->element[1]->integer >= c->wait.replicas;
}

static void on_confirmed(redisAsyncContext *ac, void *reply, void *arg)
{
	struct group *g = arg;
	struct rds_target *rt = g->rt;
	const redisReply *r = reply;
	struct sb_link sent;
	struct sb_link *l;
	struct sending *s;

	(void)ac;
	sb_list_init(&sent);
	while ((l = sb_list_pop_front(&g->sent)))
		sb_list_push_back(&sent, l);
	sb_pool_free(g);
	while ((s = pop(&sent))) {
		if (!r)
			settle_unknown(s);
		else if (confirmed(rt->t->conf, r))
			settle_as(s, SB_DELIVERED, SB_R_NONE, NULL);
		else
			settle_as(s, SB_RETRY, SB_R_ERROR_FROM_TARGET,
				rds_is_error(r) ? r->str : "not enough copies in time: the entry is there, but may be lost");
	}
}

static int say_wait(struct rds_target *rt, int64_t replicas, uint64_t timeout_ms, redisCallbackFn *fn, void *arg)
{
	const struct target_conf *c = rt->t->conf;
	struct rds_command cmd;

	sb_buf_clear(&rt->command);
	rds_begin(&cmd, &rt->command, c->wait.aof ? 4 : 3, c->wait.aof ? "WAITAOF" : "WAIT");
	if (c->wait.aof)
		rds_number(&cmd, 1);
	rds_number(&cmd, (uint64_t)replicas);
	rds_number(&cmd, timeout_ms);
	rds_end(&cmd);
	return rds_conn_send(rt->conn, sb_buf_slice(&rt->command), fn, arg);
}

static void on_confirm(evutil_socket_t fd, short what, void *arg)
{
	struct rds_target *rt = arg;
	const struct target_conf *c = rt->t->conf;
	struct sb_link *l;
	struct group *g;

	(void)fd;
	(void)what;
	if (sb_list_empty(&rt->unconfirmed))
		return;
	g = sb_pool_alloc(sizeof(*g));
	g->rt = rt;
	sb_list_init(&g->sent);
	while ((l = sb_list_pop_front(&rt->unconfirmed)))
		sb_list_push_back(&g->sent, l);
	if (say_wait(rt, c->wait.replicas, c->wait.timeout, on_confirmed, g) < 0)
		on_confirmed(NULL, NULL, g);
}

static void added(struct sending *s)
{
	struct rds_target *rt = s->rt;

	if (!rt->confirm) {
		settle_as(s, SB_DELIVERED, SB_R_NONE, NULL);
		return;
	}
	sb_list_push_back(&rt->unconfirmed, &s->link);
	event_active(rt->confirm, EV_TIMEOUT, 0);
}

/* ------------------------------------------------------------------------------------------------ adding */

static void on_added(redisAsyncContext *ac, void *reply, void *arg)
{
	struct sending *s = arg;
	struct rds_target *rt = s->rt;
	const redisReply *r = reply;
	struct rds_verdict v;

	(void)ac;
	if (!r) {
		settle_unknown(s);
	} else if (rds_is_error(r)) {
		v = rds_verdict_of(rds_text(r));
		settle_as(s, v.outcome, v.reason, r->str);
		heed(rt, &v, rds_text(r));
	} else {
		added(s);
	}
}

static void add(struct sending *s)
{
	struct rds_target *rt = s->rt;
	const struct target_conf *c = rt->t->conf;
	int rc;

	sb_buf_clear(&rt->command);
	rc = rds_entry_xadd(&c->entry, &s->batch->item[s->item], rt->t->name, sb_wall_ms(rt->t->env->clock), &rt->scratch, &rt->command);
	if (rc > 0)
		settle_as(s, SB_REJECTED, SB_R_INVALID_PARAMETER, "none of its fields has a value");
	else if (rc < 0)
		settle_as(s, SB_REJECTED, SB_R_INVALID_PARAMETER, "the entry is larger than 256 MiB");
	else if (rds_conn_send(rt->conn, sb_buf_slice(&rt->command), on_added, s) < 0)
		sb_list_push_back(&rt->waiting, &s->link); /* it went down in this very turn */
}

static void target_send(struct sb_target *t, struct sb_batch *b)
{
	struct rds_target *rt = t->state;
	size_t n = b->n; /* the batch may be gone with its last item */

	for (size_t i = 0; i < n; i++) {
		struct sending *s = sb_pool_alloc(sizeof(*s));

		*s = (struct sending){ .rt = rt, .batch = b, .item = i };
		sb_list_init(&s->link);
		if (rt->closing)
			settle_as(s, SB_RELEASED, SB_R_NONE, "shutting down");
		else if (rt->usable)
			add(s);
		else
			sb_list_push_back(&rt->waiting, &s->link);
	}
}

/* ------------------------------------------------------------------------------------------------ the connection */

static void usable(struct rds_target *rt)
{
	struct sending *s;

	rt->usable = true;
	while (rt->usable && (s = pop(&rt->waiting)))
		add(s);
	sb_target_reachable(rt->t);
}

static void on_can_wait(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_target *rt = arg;
	const redisReply *r = reply;

	(void)ac;
	if (!r || rt->closing)
		return;
	if (rds_is_error(r))
		rds_conn_fail(rt->conn, r->str);
	else
		usable(rt);
}

static void on_up(void *arg)
{
	struct rds_target *rt = arg;

	if (!rt->confirm)
		usable(rt);
	else
		say_wait(rt, 0, 1, on_can_wait, rt);
}

static void on_down(void *arg, const char *why)
{
	struct rds_target *rt = arg;

	rt->usable = false;
	settle_all(&rt->waiting, SB_UNREACHABLE, SB_R_CONNECTION_FAILURE, why);
}

static const struct rds_conn_ops conn_ops = { on_up, on_down };

/* ------------------------------------------------------------------------------------------------ configuration */

static int compile_field(struct sb_decode *d, const char *name, const char *text, struct rds_entry_field *ret, struct sb_err *err)
{
	ret->name = sb_arena_strdup(d->arena, name);
	return sb_template_compile(d->arena, sb_slice_str(text), rds_entry_names, NULL, &ret->value, err);
}

static void default_fields(struct sb_decode *d, struct rds_entry_conf *e)
{
	static const char *const names[] = { "event", "id", "rule", "attempt" };
	struct sb_err err;
	char text[16];

	e->n = SB_LEN(names);
	e->field = sb_arena_alloc(d->arena, e->n * sizeof(*e->field));
	for (size_t i = 0; i < e->n; i++) {
		snprintf(text, sizeof(text), "<%s>", names[i]);
		SB_ASSERT(compile_field(d, names[i], text, &e->field[i], &err) == 0);
	}
}

static int check_fields(struct sb_decode *d, const struct sb_node *at, const struct sb_node *map, struct rds_entry_conf *e)
{
	const char *text;
	struct sb_err err;
	int rc = 0;

	if (map->n == 0 || map->n > RDS_FIELDS_MAX) {
		sb_fail(&err, SB_E_LIMIT, "an entry has 1 to %d fields, this one %zu", RDS_FIELDS_MAX, map->n);
		return rds_complain(d, at, "fields", &err);
	}
	e->field = sb_arena_alloc(d->arena, map->n * sizeof(*e->field));
	for (size_t i = 0; i < map->n; i++) {
		const char *name = map->item[i]->key->text.p;

		if (sb_node_string(d, map->item[i], &text) < 0)
			rc = -1;
		else if (compile_field(d, name, text, &e->field[e->n++], &err) < 0)
			rc = rds_complain(d, map, name, &err);
	}
	return rc;
}

static int check_trim(struct sb_decode *d, const struct sb_node *at, struct target_conf *c)
{
	struct sb_err err;

	c->entry.maxlen = (uint64_t)c->maxlen;
	c->entry.exact = c->exact;
	if (!c->minid)
		return 0;
	if (c->maxlen)
		sb_fail(&err, SB_E_INVALID, "`minid` and `maxlen` exclude each other");
	else if (rds_entry_minid(c->minid, &c->entry) < 0)
		sb_fail(&err, SB_E_INVALID, "neither an age such as 24h nor an id such as 1700000000000-0");
	else
		return 0;
	return rds_complain(d, at, "minid", &err);
}

static int target_check(struct sb_decode *d, const struct sb_node *at, void *conf)
{
	struct target_conf *c = conf;
	int rc = rds_settings_check(d, at, &c->at);

	c->entry = (struct rds_entry_conf){ .stream = c->stream };
	if (c->fields.node)
		rc |= check_fields(d, at, c->fields.node, &c->entry);
	else
		default_fields(d, &c->entry);
	rc |= check_trim(d, at, c);
	return rc;
}

/* ------------------------------------------------------------------------------------------------ life */

#define MAX_COMMAND (256u << 20)

static int target_open(struct sb_target *t, struct sb_err *err)
{
	const struct target_conf *c = t->conf;
	struct rds_target *rt = t->state;
	bool waits = c->wait.replicas || c->wait.aof;
	struct rds_conn_conf conf = rds_settings_conn(&c->at);

	conf.name = t->name;
	conf.command_timeout_ms = t->timeout_ms + (waits ? c->wait.timeout : 0);
	rt->t = t;
	sb_list_init(&rt->waiting);
	sb_list_init(&rt->unconfirmed);
	sb_buf_init(&rt->command, MAX_COMMAND);
	sb_buf_init(&rt->scratch, MAX_COMMAND);
	if (rds_conn_new(t->env, &conf, &conn_ops, rt, &rt->conn, err) < 0)
		return -1;
	if (waits && t->env->base)
		rt->confirm = evtimer_new(t->env->base, on_confirm, rt);
	rds_conn_start(rt->conn);
	return 0;
}

static void target_close(struct sb_target *t)
{
	struct rds_target *rt = t->state;

	if (rt->closed)
		return;
	rt->closing = rt->closed = true;
	rt->usable = false;
	rds_conn_stop(rt->conn);
	settle_all(&rt->waiting, SB_RELEASED, SB_R_NONE, "shutting down");
	settle_all(&rt->unconfirmed, SB_RELEASED, SB_R_NONE, "shutting down");
	sb_target_closed(t);
}

static void target_free(struct sb_target *t)
{
	struct rds_target *rt = t->state;

	rds_conn_free(rt->conn);
	if (rt->confirm)
		event_free(rt->confirm);
	sb_buf_done(&rt->command);
	sb_buf_done(&rt->scratch);
}

static void target_status(struct sb_target *t, struct sb_buf *out)
{
	const struct rds_target *rt = t->state;

	sb_buf_addf(out, "\"connected\":%s,\"redis\":", rt->usable ? "true" : "false");
	sb_json_add_string(out, sb_slice_str(rds_conn_where(rt->conn)));
}

static void target_probe(const void *conf, struct sb_probe *p)
{
	const struct target_conf *c = conf;
	const struct rds_question q = { .at = &c->at, .type = "stream", .keys = (const char *const *)&c->stream, .n_keys = 1, .key = "stream",
		.waitaof = c->wait.aof };

	rds_probe(p, &q);
}

const struct sb_target_ops rds_target_ops = {
	.state_size = sizeof(struct rds_target),
	.conf_size = sizeof(struct target_conf),
	.fields = target_fields,
	.concurrency = 1000, /* one command each on one connection */
	.check = target_check,
	.probe = target_probe,
	.open = target_open,
	.send = target_send,
	.close = target_close,
	.free = target_free,
	.status = target_status,
};
