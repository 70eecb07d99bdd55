/* SPDX-License-Identifier: Apache-2.0 */
#include "probe.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "verdict.h"

/*
 * The connection is the one that sources and targets have, on a loop that lives as long as the probe: what answers here
 * answers the daemon. INFO tells the version, TYPE whether a key can be what it is wanted for, XINFO whether the group is there. A user who
 * may not ask these is no finding: he may still be allowed all that the daemon needs.
 */
#define COMMAND_MAX 8192
#define ATTEMPTS 3 /* a name may have several addresses */

struct asking {
	struct sb_probe *probe;
	const struct rds_question *q;
	struct event_base *base;
	struct rds_conn *conn;
	struct sb_buf command;
	unsigned due, failures;
	bool answered;
	struct sb_err why;
};

struct ask {
	struct asking *all;
	void (*fn)(struct ask *a, const redisReply *r);
	size_t i; /* which key */
};

static void wrong(struct asking *a, const char *key, struct sb_err *err)
{
	sb_probe_wrong(a->probe, key, err);
}

static const char *where_key(const struct asking *a)
{
	return a->q->at->url ? "url" : "sentinels";
}

static const char *stream_key(const struct asking *a, size_t i, char out[32])
{
	snprintf(out, 32, a->q->group ? "%s[%zu]" : "%s", a->q->key, i);
	return out;
}

/* ------------------------------------------------------------------------------------------------ answers */

static bool may_not(const redisReply *r)
{
	return rds_is_error(r) && strncmp(r->str, "NOPERM", 6) == 0;
}

static bool version_of(struct sb_slice info, char *out, size_t size, unsigned *number)
{
	static const char key[] = "redis_version:";
	const char *at = info.n ? memmem(info.p, info.n, key, sizeof(key) - 1) : NULL;
	unsigned major = 0, minor = 0;
	size_t n;

	if (!at)
		return false;
	at += sizeof(key) - 1;
	n = strcspn(at, "\r\n");
	snprintf(out, size, "%.*s", (int)SB_MIN(n, (size_t)40), at);
	if (sscanf(out, "%u.%u", &major, &minor) != 2) /* NOLINT(cert-err34-c): a version that does not fit is not compared */
		return false;
	*number = major * 100 + minor;
	return true;
}

static void on_info(struct ask *ask, const redisReply *r)
{
	struct asking *a = ask->all;
	char version[48];
	struct sb_err err;
	unsigned number;

	if (rds_is_error(r) || !version_of(rds_text(r), version, sizeof(version), &number)) {
		sb_probe_good(a->probe, "%s answers; its version is not ours to see", rds_conn_where(a->conn));
		return;
	}
	sb_probe_good(a->probe, "%s answers: Redis %s", rds_conn_where(a->conn), version);
	if (!a->q->waitaof || number >= 702)
		return;
	sb_fail(&err, SB_E_VERSION, "Redis %s has no WAITAOF", version);
	sb_hint(&err, "leave `wait.aof` out, or use Redis 7.2 or later");
	wrong(a, "wait", &err);
}

static void on_type(struct ask *ask, const redisReply *r)
{
	struct asking *a = ask->all;
	const char *name = a->q->keys[ask->i], *kind = a->q->type;
	struct sb_slice type = rds_text(r);
	struct sb_err err;
	char key[32];

	if (may_not(r))
		return;
	if (rds_is_error(r)) {
		sb_fail(&err, SB_E_UNREACHABLE, "%s `%s`: %.*s", kind, name, SB_SLICE_ARG(type));
		sb_probe_doubt(a->probe, stream_key(a, ask->i, key), &err);
	} else if (sb_slice_eq_str(type, "none")) {
		sb_probe_good(a->probe, "%s `%s` is not there yet: it is made when it is needed", kind, name);
	} else if (sb_slice_eq_str(type, kind)) {
		sb_probe_good(a->probe, "%s `%s` is there", kind, name);
	} else {
		sb_fail(&err, SB_E_KIND, "`%s` is no %s but a %.*s", name, kind, SB_SLICE_ARG(type));
		sb_hint(&err, "choose another key");
		wrong(a, stream_key(a, ask->i, key), &err);
	}
}

static const redisReply *find_group(const redisReply *groups, const char *name)
{
	for (size_t i = 0; i < groups->elements; i++) {
		const redisReply *g = groups->element[i], *n = rds_is_array(g, 2) ? rds_member(g, "name") : NULL;

		if (n && sb_slice_eq_str(rds_text(n), name))
			return g;
	}
	return NULL;
}

/* No such key is told by TYPE; no such group is as good as an empty one. */
static void on_groups(struct ask *ask, const redisReply *r)
{
	struct asking *a = ask->all;
	const char *stream = a->q->keys[ask->i];
	const redisReply *group = rds_is_array(r, 0) ? find_group(r, a->q->group) : NULL, *members, *pending;

	if (rds_is_error(r))
		return;
	members = group ? rds_member(group, "consumers") : NULL;
	pending = group ? rds_member(group, "pending") : NULL;
	if (!group)
		sb_probe_good(a->probe, "stream `%s` has no group `%s` yet: it is made when it is needed", stream, a->q->group);
	else
		sb_probe_good(a->probe, "stream `%s`, group `%s`: %lld consumers, %lld pending", stream, a->q->group,
			members ? members->integer : 0, pending ? pending->integer : 0);
}

/* ------------------------------------------------------------------------------------------------ questions */

static void on_reply(redisAsyncContext *ac, void *reply, void *arg)
{
	struct ask *ask = arg;
	struct asking *a = ask->all;

	(void)ac;
	if (reply)
		ask->fn(ask, reply);
	free(ask);
	if (--a->due == 0 && reply) {
		a->answered = true;
		event_base_loopbreak(a->base);
	}
}

static void ask(struct asking *a, void (*fn)(struct ask *, const redisReply *), size_t i, const char *const words[3])
{
	struct ask *one = sb_xcalloc(sizeof(*one));
	struct rds_command cmd;
	unsigned n = words[2] ? 3 : 2;

	*one = (struct ask){ .all = a, .fn = fn, .i = i };
	sb_buf_clear(&a->command);
	rds_begin(&cmd, &a->command, n, words[0]);
	for (unsigned w = 1; w < n; w++)
		rds_word(&cmd, words[w]);
	if (rds_end(&cmd) == 0 && rds_conn_send(a->conn, sb_buf_slice(&a->command), on_reply, one) == 0)
		a->due++;
	else
		free(one);
}

static void on_up(void *arg)
{
	struct asking *a = arg;

	ask(a, on_info, 0, (const char *const[]){ "INFO", "server", NULL });
	for (size_t i = 0; i < a->q->n_keys; i++) {
		ask(a, on_type, i, (const char *const[]){ "TYPE", a->q->keys[i], NULL });
		if (a->q->group)
			ask(a, on_groups, i, (const char *const[]){ "XINFO", "GROUPS", a->q->keys[i] });
	}
}

static void on_down(void *arg, const char *why)
{
	struct asking *a = arg;

	sb_fail(&a->why, SB_E_UNREACHABLE, "%s", why);
	if (++a->failures >= ATTEMPTS)
		event_base_loopbreak(a->base);
}

static void serve(struct asking *a)
{
	unsigned left = sb_probe_left_ms(a->probe);
	const struct timeval tv = { left / 1000, (suseconds_t)(left % 1000) * 1000 };

	sb_fail(&a->why, SB_E_UNREACHABLE, "%s: no answer in time", rds_conn_where(a->conn));
	rds_conn_start(a->conn);
	event_base_loopexit(a->base, &tv);
	event_base_dispatch(a->base);
	if (a->answered)
		return;
	sb_hint(&a->why, "do address, TLS and log-in fit?");
	wrong(a, where_key(a), &a->why);
}

void rds_probe(struct sb_probe *p, const struct rds_question *q)
{
	static const struct rds_conn_ops ops = { .up = on_up, .down = on_down };
	struct asking a = { .probe = p, .q = q, .command = SB_BUF(COMMAND_MAX), .base = event_base_new() };
	struct sb_rand rand;
	const struct sb_env env = { .base = a.base, .clock = &sb_clock_system, .rand = &rand };
	unsigned left = sb_probe_left_ms(p);
	struct rds_conn_conf conf = rds_settings_conn(q->at);
	struct sb_err err;

	conf.name = p->name;
	conf.command_timeout_ms = left ? left : 1;
	conf.connect_timeout_ms = SB_MIN(conf.connect_timeout_ms, conf.command_timeout_ms);
	sb_rand_seed_system(&rand);
	if (rds_conn_new(&env, &conf, &ops, &a, &a.conn, &err) < 0) {
		wrong(&a, where_key(&a), &err);
	} else {
		serve(&a);
		rds_conn_free(a.conn);
	}
	sb_buf_done(&a.command);
	event_base_free(a.base);
	sb_pool_thread_done();
}
