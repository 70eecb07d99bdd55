/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/metrics.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/log.h"
#include "metrics_own.h"

/*
 * A round a flush, one at a time:
 *
 *   timer -> gather from the shards -> this instance's part, and the question who leads -> answers
 *         -> as leader: read what all instances have told -> answers -> the cluster's part -> answer
 *
 * The leader keeps nothing between two rounds. What it has accounted for stands in Redis and is written in the same MULTI as what it
 * made of it, so neither a lost answer nor a change of leaders counts anything twice or not at all; and since the lease is WATCHed, one
 * that has lost it writes nothing.
 */
#define FLUSH_BYTES (16u << 20)
#define COMMAND_TIMEOUT_MS 5000
#define INSTANCE_S 15 /* or three flushes */

/* ------------------------------------------------------------------------------------------------ a batch */

void sb_metrics_begin(struct sb_metrics *m, unsigned words, const char *verb)
{
	rds_begin(&m->batch.writing, &m->batch.text, words, verb);
}

static void add_formatted(struct sb_metrics *m, const char *before, const char *fmt, va_list ap)
{
	char text[512];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", before);
	int more = vsnprintf(text + n, sizeof(text) - n, fmt, ap);

	if (more < 0 || (size_t)more >= sizeof(text) - n)
		m->batch.bad = true;
	rds_word(&m->batch.writing, text);
}

void sb_metrics_key(struct sb_metrics *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_formatted(m, m->prefix, fmt, ap);
	va_end(ap);
}

void sb_metrics_wordf(struct sb_metrics *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_formatted(m, "", fmt, ap);
	va_end(ap);
}

void sb_metrics_number(struct sb_metrics *m, uint64_t n)
{
	rds_number(&m->batch.writing, n);
}

void sb_metrics_word(struct sb_metrics *m, const char *s)
{
	rds_word(&m->batch.writing, s);
}

void sb_metrics_bytes(struct sb_metrics *m, struct sb_slice s)
{
	rds_bytes(&m->batch.writing, s);
}

void sb_metrics_end(struct sb_metrics *m, sb_metrics_reply *fn, void *arg)
{
	struct sb_metrics_batch *b = &m->batch;

	if (rds_end(&b->writing) < 0)
		b->bad = true;
	if (b->n == b->cap) {
		b->cap = b->cap ? b->cap * 2 : 64;
		b->command = sb_xrealloc(b->command, b->cap * sizeof(*b->command));
	}
	b->command[b->n++] = (struct sb_metrics_command){ m, b->text.len, fn, arg };
}

void sb_metrics_plain(struct sb_metrics *m, const char *verb)
{
	sb_metrics_begin(m, 1, verb);
	sb_metrics_end(m, NULL, NULL);
}

void sb_metrics_expire(struct sb_metrics *m, uint64_t seconds, const char *fmt, ...)
{
	va_list ap;

	sb_metrics_begin(m, 3, "EXPIRE");
	va_start(ap, fmt);
	add_formatted(m, m->prefix, fmt, ap);
	va_end(ap);
	sb_metrics_number(m, seconds);
	sb_metrics_end(m, NULL, NULL);
}

/* ------------------------------------------------------------------------------------------------ answers */

static void complain(struct sb_metrics *m, const redisReply *r)
{
	m->failed = true;
	snprintf(m->complaint, sizeof(m->complaint), "%.*s", SB_SLICE_ARG(rds_text(r)));
}

bool sb_metrics_carried_out(struct sb_metrics *m, const redisReply *r)
{
	if (!rds_is_array(r, 0)) {
		m->failed = true;
		return false;
	}
	for (size_t i = 0; i < r->elements; i++)
		if (rds_is_error(r->element[i])) {
			complain(m, r->element[i]);
			return false;
		}
	return true;
}

static void on_reply(redisAsyncContext *ac, void *reply, void *arg)
{
	struct sb_metrics_command *c = arg;
	struct sb_metrics *m = c->m;
	const redisReply *r = reply;

	(void)ac;
	if (!r)
		m->failed = true;
	else if (rds_is_error(r))
		complain(m, r);
	else if (c->fn)
		c->fn(m, r, c->arg);
	if (--m->left == 0)
		m->next(m);
}

void sb_metrics_send(struct sb_metrics *m, void (*next)(struct sb_metrics *m))
{
	struct sb_metrics_batch *b = &m->batch;
	size_t begin = 0;

	m->next = next;
	m->left = 1; /* we ourselves: nothing is over before all is sent */
	if (b->bad) {
		m->failed = true;
		snprintf(m->complaint, sizeof(m->complaint), "a flush is larger than %u bytes", FLUSH_BYTES);
	}
	for (size_t i = 0; i < b->n && !b->bad; begin = b->command[i++].end) {
		m->left++;
		if (rds_conn_send(m->conn, sb_slice(b->text.p + begin, b->command[i].end - begin), on_reply, &b->command[i]) < 0) {
			m->left--;
			m->failed = true;
			break;
		}
	}
	if (--m->left == 0)
		next(m);
}

void sb_metrics_clear(struct sb_metrics *m)
{
	sb_buf_clear(&m->batch.text);
	m->batch.n = 0;
	m->batch.bad = false;
}

/* ------------------------------------------------------------------------------------------------ rounds */

static void drop(struct sb_metrics *m)
{
	sb_count(&m->d->core.counts.redis_flushes_dropped, 1);
}

/* What does not work once does not work every time: it is told once, and again when it had worked in between. */
static void tell_complaint(struct sb_metrics *m, bool good)
{
	struct sb_slice said = sb_slice_str(m->complaint);

	if (good) {
		m->complained = false;
	} else if (said.n && !m->complained) {
		m->complained = true;
		sb_log(SB_LOG_WARN, "metrics are not written", KS("redis", rds_conn_where(m->conn)), KS("why", m->complaint));
		if (strncmp(m->complaint, "MOVED ", 6) == 0)
			rds_conn_moved(m->conn, said);
	}
	m->complaint[0] = '\0';
}

void sb_metrics_round_over(struct sb_metrics *m, bool good)
{
	if (good)
		sb_count(&m->d->core.counts.redis_flushes, 1);
	else
		drop(m);
	m->rewrite |= !good;
	m->busy = false;
	sb_metrics_lead_done(m);
	atomic_store_explicit(&m->d->core.counts.redis_leads, m->leads && good, memory_order_relaxed);
	tell_complaint(m, good);
}

static void gathered(struct sb_gather *g)
{
	struct sb_metrics *m = g->arg;

	if (m->stopped || !rds_conn_is_up(m->conn)) {
		if (!m->stopped)
			drop(m);
		m->busy = false;
		sb_gather_free(g);
		return;
	}
	sb_metrics_clear(m);
	m->failed = false;
	sb_metrics_plain(m, "UNWATCH"); /* of a round that ended early */
	sb_metrics_tell(m, g);
	sb_gather_free(g);
	sb_metrics_ask(m);
	sb_metrics_send(m, sb_metrics_asked);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	struct sb_metrics *m = arg;

	(void)fd;
	(void)what;
	if (m->busy || !rds_conn_is_up(m->conn)) {
		drop(m);
		return;
	}
	m->busy = true;
	sb_gather_start_sampling(m->d->loop, m->d->core.n_shards, m->d->plan, &m->d->mail, gathered, m);
}

/* ------------------------------------------------------------------------------------------------ the connection */

static void came_up(void *arg)
{
	struct sb_metrics *m = arg;

	m->told = false;
	m->rewrite = true;
	atomic_store_explicit(&m->d->core.counts.redis_up, 1, memory_order_relaxed);
	sb_log(SB_LOG_INFO, "metrics: connected", KS("redis", rds_conn_where(m->conn)), KS("instance", m->instance));
}

static void went_down(void *arg, const char *why)
{
	struct sb_metrics *m = arg;

	m->leads = false;
	atomic_store_explicit(&m->d->core.counts.redis_up, 0, memory_order_relaxed);
	atomic_store_explicit(&m->d->core.counts.redis_leads, 0, memory_order_relaxed);
	if (!m->told)
		sb_log(SB_LOG_WARN, "metrics: no Redis, flushes are dropped until it is there", KS("why", why));
	m->told = true;
}

static const struct rds_conn_ops conn_ops = { came_up, went_down };

/* ------------------------------------------------------------------------------------------------ life */

void sb_metrics_mark(struct sb_metrics *m, const char *what, const char *name, const char *detail)
{
	struct sb_mark *mark;

	if (!m || m->n_marks == SB_METRICS_MARKS)
		return;
	mark = &m->mark[m->n_marks++];
	snprintf(mark->what, sizeof(mark->what), "%s", what);
	snprintf(mark->name, sizeof(mark->name), "%s", name);
	snprintf(mark->detail, sizeof(mark->detail), "%s", detail);
}

uint64_t sb_metrics_instance_s(const struct sb_metrics *m)
{
	return SB_MAX((uint64_t)INSTANCE_S, 3 * m->conf->flush_ms / 1000);
}

uint64_t sb_metrics_part_s(const struct sb_metrics *m)
{
	return sb_metrics_instance_s(m) + 2 * m->conf->rollup_ms / 1000;
}

uint64_t sb_metrics_gone_s(const struct sb_metrics *m)
{
	return 3 * SB_FLUSH_MS_MAX / 1000 + 2 * m->conf->rollup_ms / 1000;
}

/* Names end up in keys: of a host's only what a name may have. */
static void name_instance(struct sb_metrics *m)
{
	char host[65] = "";
	uint32_t boot = sb_rand_u32(&m->rand);

	if (m->conf->instance)
		snprintf(host, sizeof(host), "%s", m->conf->instance);
	else if (gethostname(host, sizeof(host) - 1) < 0 || !*host)
		snprintf(host, sizeof(host), "unnamed");
	for (char *p = host; *p; p++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p))
			*p = '-';
	snprintf(m->instance, sizeof(m->instance), "%s.%08x", host, (unsigned)boot);
	snprintf(m->prefix, sizeof(m->prefix), "signalbox:{%s}", m->conf->cluster);
	snprintf(m->name, sizeof(m->name), "signalbox-metrics");
}

int sb_metrics_start(struct sb_daemon *d, struct sb_metrics **ret, struct sb_err *err)
{
	const struct sb_metrics_conf *conf = &d->first->metrics;
	struct timeval every = { (time_t)(conf->flush_ms / 1000), (suseconds_t)(conf->flush_ms % 1000 * 1000) };
	struct sb_metrics *m;

	if (!conf->url)
		return 0;
	m = sb_xcalloc(sizeof(*m));
	m->d = d;
	m->conf = conf;
	sb_rand_seed_system(&m->rand);
	m->env = (struct sb_env){ .base = d->base, .clock = d->core.clock, .rand = &m->rand, .n_shards = 1 };
	sb_buf_init(&m->batch.text, FLUSH_BYTES);
	name_instance(m);
	for (unsigned i = 0; i < SB_PARTS; i++)
		sb_names_init(&m->names[i], (enum sb_part)i);
	if (rds_conn_new(&m->env, &(struct rds_conn_conf){ .url = conf->url, .user = conf->user, .password = conf->password,
		.connect_timeout_ms = conf->connect_timeout_ms, .command_timeout_ms = COMMAND_TIMEOUT_MS, .name = m->name }, &conn_ops, m, &m->conn, err) < 0) {
		sb_metrics_free(m);
		return sb_wrap(err, "metrics.redis");
	}
	m->timer = event_new(d->base, -1, EV_PERSIST, on_flush, m);
	event_add(m->timer, &every);
	rds_conn_start(m->conn);
	sb_metrics_mark(m, "start", m->instance, SB_VERSION);
	*ret = m;
	return 0;
}

void sb_metrics_stop(struct sb_metrics *m)
{
	if (!m)
		return;
	m->stopped = true;
	event_del(m->timer);
	rds_conn_stop(m->conn);
}

void sb_metrics_free(struct sb_metrics *m)
{
	if (!m)
		return;
	rds_conn_free(m->conn);
	if (m->timer)
		event_free(m->timer);
	sb_map_each (&m->seen, it)
		free(it->value);
	sb_map_done(&m->seen);
	sb_map_done(&m->open);
	for (unsigned i = 0; i < SB_PARTS; i++)
		sb_names_done(&m->names[i]);
	sb_metrics_lead_done(m);
	sb_buf_done(&m->batch.text);
	free(m->batch.command);
	free(m);
}
