/* SPDX-License-Identifier: Apache-2.0 */
#include "channels.h"

#include <stdlib.h>

#include "broker/base/log.h"

struct rds_channels {
	struct sb_source *s;
	const struct rds_source_conf *conf;
	struct rds_conn *conn;
	struct rds_reader in;
	struct sb_buf command;
	bool paused, subscribed;
	unsigned serial;
	uint64_t received, dropped, unreadable, gaps;
};

/* A name with one of these is a pattern. */
static bool is_pattern(const char *name)
{
	return strpbrk(name, "*?[") != NULL;
}

/* ------------------------------------------------------------------------------------------------ a message */

static void drop(struct rds_channels *c)
{
	c->dropped++;
	sb_source_rejected(c->s, "not_taken", 1);
}

static void take(struct rds_channels *c, struct sb_event *ev)
{
	struct sb_refusal why;

	if (!c->paused && sb_source_emit(c->s, &ev, 1, 0, &why) == 0)
		return;
	sb_event_unref(ev);
	drop(c);
}

/* What no event can be made of is kept as a dead letter. */
static void bury(struct rds_channels *c, const struct rds_message *m, const char *why)
{
	struct sb_held held = { .position = sb_slice_str(m->key) };
	struct sb_unreadable what = { .value = m->value, .reason = rds_message_reason(&c->in), .message = sb_slice_str(why),
		.receipt = rds_id_receipt(c->s->name, m->key, m->id) };

	held.position.n = SB_MIN(held.position.n, RDS_KEY_SHOWN);
	c->unreadable++;
	sb_log(SB_LOG_ERROR, "message of a channel becomes a dead letter", KS("source", c->s->name), KS("channel", m->key), KS("error", why));
	if (c->paused || sb_source_bury(c->s, &held, &what) < 0)
		drop(c);
}

static void take_in(struct rds_channels *c, const redisReply *channel, const redisReply *payload)
{
	struct rds_message m = { .what = RDS_PUBLISHED, .key = channel->str, .id = { sb_wall_ms(c->s->env->clock), c->serial++ },
		.value = rds_text(payload) };
	struct sb_event *ev;
	struct sb_err err;

	c->received++;
	if (rds_message_event(&c->in, &m, &ev, &err) < 0)
		bury(c, &m, err.msg);
	else
		take(c, ev);
}

/* "message", channel, payload; or "pmessage", pattern, channel, payload; or that we are subscribed. */
static void on_message(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_channels *c = arg;
	const redisReply *r = reply;

	(void)ac;
	if (!r || !rds_is_array(r, 3) || !r->element[0]->str)
		return;
	if (strcmp(r->element[0]->str, "message") == 0 && r->element[1]->str)
		take_in(c, r->element[1], r->element[2]);
	else if (strcmp(r->element[0]->str, "pmessage") == 0 && rds_is_array(r, 4) && r->element[2]->str)
		take_in(c, r->element[2], r->element[3]);
	else
		c->subscribed = true;
}

/* ------------------------------------------------------------------------------------------------ the connection */

static void subscribe(struct rds_channels *c, bool patterns)
{
	const struct sb_strs *names = &c->conf->channels;
	struct rds_command cmd;
	unsigned n = 0;

	for (size_t i = 0; i < names->n; i++)
		n += is_pattern(names->v[i]) == patterns;
	if (n == 0)
		return;
	sb_buf_clear(&c->command);
	rds_begin(&cmd, &c->command, 1 + n, patterns ? "PSUBSCRIBE" : "SUBSCRIBE");
	for (size_t i = 0; i < names->n; i++)
		if (is_pattern(names->v[i]) == patterns)
			rds_word(&cmd, names->v[i]);
	rds_end(&cmd);
	rds_conn_send(c->conn, sb_buf_slice(&c->command), on_message, c);
}

static void on_up(void *arg)
{
	struct rds_channels *c = arg;

	subscribe(c, false);
	subscribe(c, true);
	if (c->gaps)
		sb_log(SB_LOG_WARN, "subscribed again: what was published meanwhile is lost, nobody knows how much", KS("source", c->s->name),
			KI("gaps", c->gaps));
}

static void on_down(void *arg, const char *why)
{
	struct rds_channels *c = arg;

	c->gaps += c->subscribed;
	c->subscribed = false;
	sb_log(SB_LOG_WARN, "not connected, tries again", KS("source", c->s->name), KS("error", why));
}

static const struct rds_conn_ops conn_ops = { on_up, on_down };

/* ------------------------------------------------------------------------------------------------ life */

int rds_channels_new(struct sb_source *s, struct sb_envelope_reader *envelope, struct rds_channels **ret, struct sb_err *err)
{
	const struct rds_source_conf *conf = s->conf;
	struct rds_conn_conf at = rds_settings_conn(&conf->at);
	struct rds_channels *c = sb_xcalloc(sizeof(*c));

	at.name = s->name;
	at.command_timeout_ms = conf->timeout;
	if (rds_conn_new(s->env, &at, &conn_ops, c, &c->conn, err) < 0) {
		free(c);
		return -1;
	}
	c->s = s;
	c->conf = conf;
	c->serial = sb_rand_u32(s->env->rand);
	sb_buf_init(&c->command, 1u << 20);
	rds_reader_init(&c->in, s, envelope, NULL);
	rds_conn_start(c->conn);
	*ret = c;
	return 0;
}

void rds_channels_free(struct rds_channels *c)
{
	if (!c)
		return;
	rds_conn_free(c->conn);
	rds_reader_done(&c->in);
	sb_buf_done(&c->command);
	free(c);
}

void rds_channels_pause(struct rds_channels *c, bool on)
{
	c->paused = on;
}

void rds_channels_close(struct rds_channels *c)
{
	rds_conn_stop(c->conn);
	c->subscribed = false;
}

void rds_channels_refused(struct rds_channels *c)
{
	drop(c);
}

void rds_channels_status(const struct rds_channels *c, struct sb_buf *out)
{
	sb_buf_adds(out, "\"guarantee\":\"at-most-once\"");
	if (c)
		sb_buf_addf(out, ",\"channels\":{\"connected\":%s,\"received\":%llu,\"unreadable\":%llu,\"dropped\":%llu,\"gaps\":%llu}",
			c->subscribed ? "true" : "false", (unsigned long long)c->received, (unsigned long long)c->unreadable,
			(unsigned long long)c->dropped, (unsigned long long)c->gaps);
}
