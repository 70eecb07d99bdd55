/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/keeper.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "broker/base/log.h"
#include "broker/shard.h"
#include "executor/proc.h"

/*
 * RUNNING -> (SIGCHLD says that it has died) -> BURYING: whatever it had started is killed, until nothing is left; only then
 * may its deliveries be tried again, so that concurrency stays exact -> the shards are told -> PAUSING -> RUNNING.
 */
#define BURY_TICK_MS 5
#define PAUSE_BASE_MS 100
#define PAUSE_CAP_MS 30000
#define HEALTHY_NS (10 * SB_NS_PER_S) /* who lived so long has not died of what killed the one before */
#define LAST_BURY_MS 1000

enum keeping { KEEP_RUNNING, KEEP_BURYING, KEEP_PAUSING };

struct sb_keeper {
	struct sb_core *core;
	struct sb_loop *const *loop;
	struct event *sigchld, *tick;
	enum keeping state;
	pid_t pid; /* 0: it has died */
	int lock;
	unsigned failures; /* in a row */
	uint64_t since_ns;
	int *sock; /* one a shard */
};

static uint64_t now_ns(const struct sb_keeper *k)
{
	return sb_mono_ns(k->core->clock);
}

static void tick_in(struct sb_keeper *k, uint64_t ms)
{
	struct timeval tv = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };

	event_add(k->tick, &tv);
}

static uint64_t pause_ms(const struct sb_keeper *k)
{
	if (k->failures == 0)
		return 0;
	return SB_MIN((uint64_t)PAUSE_BASE_MS << SB_MIN(k->failures - 1, 16u), (uint64_t)PAUSE_CAP_MS);
}

static int start_one(struct sb_keeper *k, struct sb_err *err)
{
	pid_t pid = sb_spawner_start(k->core->n_shards, k->lock, k->sock, err);

	if (pid < 0)
		return -1;
	k->pid = pid;
	k->since_ns = now_ns(k);
	return 0;
}

/* On its shard: the deliveries that were lost with it are settled, and with a socket the pools have a spawner again. */
static void renew(struct sb_shard *s, void *arg)
{
	const int *sock = arg;

	sb_procs_renew(s->env.procs, sock ? sock[s->index] : -1);
}

static void renew_all(struct sb_keeper *k, int *sock)
{
	for (unsigned i = 0; i < k->core->n_shards; i++)
		sb_loop_call(k->loop[i], renew, sock);
}

static void try_start(struct sb_keeper *k)
{
	struct sb_err err;

	if (start_one(k, &err) < 0) {
		k->failures++;
		sb_log(SB_LOG_ERROR, "spawner not started, will try again: no worker can start", KERR(&err),
			KI("in_ms", pause_ms(k)));
		tick_in(k, pause_ms(k));
		return;
	}
	k->state = KEEP_RUNNING;
	sb_count(&k->core->counts.spawner_restarts, 1);
	renew_all(k, k->sock);
}

static void died(struct sb_keeper *k, int status)
{
	k->failures = now_ns(k) - k->since_ns >= HEALTHY_NS ? 0 : k->failures + 1;
	sb_log(SB_LOG_ERROR,
		"the spawner has died and its workers with it: another one is started, what they had is tried again",
		WIFSIGNALED(status) ? KI("signal", WTERMSIG(status)) : KI("status", WEXITSTATUS(status)),
		KI("in_ms", pause_ms(k)));
	k->state = KEEP_BURYING;
}

static void look(struct sb_keeper *k)
{
	int status = 0;
	bool buried = sb_spawner_bury(&k->pid, &status);

	if (k->state == KEEP_RUNNING && k->pid == 0)
		died(k, status);
	if (k->state != KEEP_BURYING)
		return;
	if (!buried) {
		tick_in(k, BURY_TICK_MS);
		return;
	}
	k->state = KEEP_PAUSING;
	renew_all(k, NULL);
	tick_in(k, pause_ms(k));
}

static void on_sigchld(evutil_socket_t sig, short what, void *arg)
{
	(void)sig;
	(void)what;
	look(arg);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct sb_keeper *k = arg;

	(void)fd;
	(void)what;
	if (k->state == KEEP_PAUSING)
		try_start(k);
	else
		look(k);
}

int sb_keeper_start(const struct sb_keeper_conf *conf, int *ret_socks, struct sb_keeper **ret, struct sb_err *err)
{
	struct sb_keeper *k = sb_xcalloc(sizeof(*k));

	k->core = conf->core;
	k->lock = conf->lock;
	k->sock = sb_xcalloc(k->core->n_shards * sizeof(*k->sock));
	if (start_one(k, err) < 0) {
		sb_keeper_free(k);
		return -1;
	}
	for (unsigned i = 0; i < k->core->n_shards; i++)
		ret_socks[i] = k->sock[i];
	*ret = k;
	return 0;
}

void sb_keeper_watch(struct sb_keeper *k, struct event_base *base, struct sb_loop *const *loop)
{
	k->loop = loop;
	k->tick = evtimer_new(base, on_tick, k);
	k->sigchld = evsignal_new(base, SIGCHLD, on_sigchld, k);
	event_add(k->sigchld, NULL);
	tick_in(k, 0); /* it may have died before the signal was caught */
}

void sb_keeper_free(struct sb_keeper *k)
{
	int status;

	if (!k)
		return;
	if (k->sigchld) {
		event_free(k->sigchld);
		event_free(k->tick);
		for (unsigned i = 0; i < LAST_BURY_MS && k->pid == 0 && !sb_spawner_bury(&k->pid, &status); i++)
			poll(NULL, 0, 1);
	}
	free(k->sock);
	free(k);
}
