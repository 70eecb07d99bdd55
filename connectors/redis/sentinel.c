/* SPDX-License-Identifier: Apache-2.0 */
#include "sentinel.h"

#include <stdio.h>
#include <stdlib.h>

#include "command.h"

struct rds_sentinels {
	rds_sentinel_fn *fn;
	void *arg;
	const char *master;
	struct rds_conn *conn[RDS_SENTINELS_MAX];
	size_t n, at;
	bool asking;
	struct sb_buf command;
};

static void could_not_tell(struct rds_sentinels *s, const char *why)
{
	char text[RDS_URL_TEXT + 300];

	snprintf(text, sizeof(text), "Sentinel %s", why);
	rds_sentinels_stop(s);
	s->fn(s->arg, NULL, 0, text);
}

static bool read_port(const redisReply *r, unsigned *ret)
{
	char *end;
	unsigned long n = r->str ? strtoul(r->str, &end, 10) : 0;

	*ret = (unsigned)n;
	return n > 0 && n <= 65535 && !*end;
}

static void on_answer(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_sentinels *s = arg;
	const redisReply *r = reply;
	char host[256], why[RDS_URL_TEXT + 200];
	unsigned port;

	(void)ac;
	if (!r || !s->asking)
		return;
	if (rds_is_array(r, 2) && r->element[0]->str && r->element[0]->len < sizeof(host) && read_port(r->element[1], &port)) {
		memcpy(host, r->element[0]->str, r->element[0]->len + 1);
		s->asking = false; /* this one is asked next time, too */
		rds_conn_stop(s->conn[s->at]);
		s->fn(s->arg, host, port, NULL);
		return;
	}
	snprintf(why, sizeof(why), "%s: %s", rds_conn_where(s->conn[s->at]),
		rds_is_error(r) ? r->str : "it knows no primary of this name");
	could_not_tell(s, why);
}

static void on_up(void *arg)
{
	struct rds_sentinels *s = arg;
	struct rds_command cmd;

	sb_buf_clear(&s->command);
	rds_begin(&cmd, &s->command, 3, "SENTINEL");
	rds_word(&cmd, "get-master-addr-by-name");
	rds_word(&cmd, s->master);
	rds_end(&cmd);
	rds_conn_send(s->conn[s->at], sb_buf_slice(&s->command), on_answer, s);
}

static void on_down(void *arg, const char *why)
{
	struct rds_sentinels *s = arg;

	if (s->asking)
		could_not_tell(s, why);
}

int rds_sentinels_new(const struct sb_env *env, const struct rds_conn_conf *conf, rds_sentinel_fn *fn, void *arg,
	struct rds_sentinels **ret, struct sb_err *err)
{
	static const struct rds_conn_ops ops = { on_up, on_down };
	struct rds_sentinels *s = sb_xcalloc(sizeof(*s));

	s->fn = fn;
	s->arg = arg;
	s->master = conf->master;
	sb_buf_init(&s->command, 4096);
	for (size_t i = 0; i < conf->n_sentinels && i < RDS_SENTINELS_MAX; i++) {
		const struct rds_conn_conf one = { .url = conf->sentinels[i], .connect_timeout_ms = conf->connect_timeout_ms,
			.command_timeout_ms = conf->connect_timeout_ms, .name = conf->name, .tls = conf->tls };

		if (rds_conn_new(env, &one, &ops, s, &s->conn[s->n], err) < 0) {
			rds_sentinels_free(s);
			return -1;
		}
		s->n++;
	}
	*ret = s;
	return 0;
}

void rds_sentinels_ask(struct rds_sentinels *s)
{
	s->asking = true;
	rds_conn_start(s->conn[s->at]);
}

void rds_sentinels_stop(struct rds_sentinels *s)
{
	if (!s->asking)
		return;
	s->asking = false;
	rds_conn_stop(s->conn[s->at]);
	s->at = (s->at + 1) % s->n;
}

void rds_sentinels_free(struct rds_sentinels *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		rds_conn_free(s->conn[i]);
	sb_buf_done(&s->command);
	free(s);
}
