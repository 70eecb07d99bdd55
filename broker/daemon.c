/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/daemon.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "broker/base/log.h"
#include "broker/exit.h"
#include "broker/storage.h"
#include "broker/swap.h"

#define LOCK_PATIENCE_MS 5000
#define STOP_TICK_MS 5
#define CLOSE_PATIENCE_MS 10000

/* ------------------------------------------------------------------------------------------------ the data folder */

static pid_t lock_owner(int fd)
{
	char text[32] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	return n > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

/*
 * One daemon a folder. The spawner inherits the lock, so that it is free only when the last worker of an old daemon is gone:
 * when the old daemon itself is dead, that is worth waiting for; when it lives, it is an error at once.
 */
static int lock_data_dir(struct sb_daemon *d, struct sb_err *err)
{
	char path[4096], text[32];
	int n;

	if (sb_make_folder(&sb_vfs_system, d->config->data_dir) < 0)
		return sb_fail_errno(err, "cannot make '%s'", d->config->data_dir);
	snprintf(path, sizeof(path), "%s/lock", d->config->data_dir);
	d->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (d->lock < 0)
		return sb_fail_errno(err, "cannot open '%s'", path);
	for (int waited = 0; flock(d->lock, LOCK_EX | LOCK_NB) < 0; waited += 10) {
		pid_t owner = lock_owner(d->lock);

		if (owner > 0 && kill(owner, 0) < 0 && errno == ESRCH && waited < LOCK_PATIENCE_MS) {
			poll(NULL, 0, 10);
			continue;
		}
		sb_fail(err, SB_E_BUSY, "another signalbox (pid %d) uses '%s'", (int)owner, d->config->data_dir);
		return sb_hint(err, "stop it, or give this one a data_dir of its own");
	}
	n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(d->lock, 0) < 0 || pwrite(d->lock, text, (size_t)n, 0) != n)
		return sb_fail_errno(err, "cannot write '%s'", path);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ journal, letters */

static void journal_died(void *arg, const struct sb_err *err)
{
	(void)arg;
	sb_log(SB_LOG_ERROR, "the journal cannot be written, ending: what was acknowledged is on the disk", KERR(err));
	_exit(SB_EXIT_UNREACHABLE);
}

static int open_storage(struct sb_daemon *d, struct sb_err *err)
{
	if (sb_storage_open(&d->core, &sb_vfs_system, d->config, true, err) < 0)
		return -1;
	sb_journal_on_fatal(d->core.journal, journal_died, d);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ records of our own */

struct record {
	struct sb_append append;
	sem_t done;
};

static void record_done(struct sb_mail *m)
{
	struct sb_append *a = SB_CONTAINER(m, struct sb_append, mail);

	sem_post(&SB_CONTAINER(a, struct record, append)->done);
}

int sb_daemon_record(struct sb_daemon *d, int (*fill)(struct sb_buf *out, const void *arg), const void *arg)
{
	struct record r = { .append = { .frames = SB_BUF(64u << 20), .state = true, .no_wait = true, .mail.run = record_done } };
	struct sb_mailbox box;
	int bad;

	if (fill(&r.append.frames, arg) < 0 || sb_mailbox_init(&box, true) < 0) {
		sb_buf_done(&r.append.frames);
		return -1;
	}
	sem_init(&r.done, 0, 0);
	r.append.home = &box;
	sb_journal_submit(d->core.journal, &r.append);
	sb_mailbox_wait(&box);
	sb_mailbox_drain(&box);
	sem_wait(&r.done);
	bad = r.append.status != SB_APPEND_DURABLE;
	sem_destroy(&r.done);
	sb_mailbox_done(&box);
	sb_buf_done(&r.append.frames);
	return bad ? -1 : 0;
}

static int fill_generation(struct sb_buf *out, const void *arg)
{
	const struct sb_plan *p = arg;
	struct sb_slice text = p->rules->text;
	uint8_t sha[32];

	sb_sha256(text.p, text.n, sha);
	return sb_record_generation(out, p->generation, sha, text);
}

int sb_daemon_record_generation(struct sb_daemon *d, const struct sb_plan *plan)
{
	return sb_daemon_record(d, fill_generation, plan);
}

/* ------------------------------------------------------------------------------------------------ shards */

static int make_shards(struct sb_daemon *d, struct sb_err *err)
{
	unsigned n = d->config->shards;
	int *sock = sb_xcalloc(n * sizeof(*sock));
	uint64_t seed;
	int bad;

	d->core.shard = sb_xcalloc(n * sizeof(struct sb_shard *));
	d->loop = sb_xcalloc(n * sizeof(struct sb_loop *));
	d->core.n_shards = n;
	bad = sb_keeper_start(&(struct sb_keeper_conf){ &d->core, d->lock }, sock, &d->keeper, err);
	for (unsigned i = 0; i < n && !bad; i++) {
		sb_random_bytes(&seed, sizeof(seed));
		d->core.shard[i] = sb_shard_new(&d->core, i, true, seed);
		if (!d->core.shard[i])
			bad = sb_fail_errno(err, "shard %u", i);
		else
			bad = sb_loop_new(d->core.shard[i], sock[i], &d->loop[i], err);
	}
	free(sock);
	return bad;
}

struct open_call {
	struct sb_plan *plan;
	struct sb_err *err;
	int bad;
};

static void open_shard(struct sb_shard *s, void *arg)
{
	struct open_call *c = arg;

	c->bad = sb_shard_open_plan(s, sb_plan_ref(c->plan), c->err);
}

static int open_plan(struct sb_daemon *d, struct sb_err *err)
{
	struct open_call c = { .err = err };

	d->generation = (uint64_t)sb_wall_ms(d->core.clock);
	sb_slots_recover(&d->slots, d->config);
	d->plan = sb_plan_make(&d->slots, d->config, d->generation);
	c.plan = d->plan;
	for (unsigned i = 0; i < d->core.n_shards && !c.bad; i++)
		sb_loop_call(d->loop[i], open_shard, &c);
	return c.bad;
}

/* ------------------------------------------------------------------------------------------------ listeners */

static int listen_one(struct sb_daemon *d, size_t i, struct sb_buf *json, struct sb_err *err)
{
	const struct sb_listener_conf *conf = &d->config->listener[i];
	struct sb_http_conf http = conf->http;
	char address[256];
	uint16_t port = 0;

	http.crowd = d->crowd[i] = sb_http_crowd_new(http.max_connections, http.max_per_address);
	snprintf(address, sizeof(address), "%s", conf->address);
	for (unsigned k = 0; k < d->core.n_shards; k++) {
		struct sb_front *f = &d->front[i * d->core.n_shards + k];
		char *colon = strrchr(address, ':');
		int fd;

		*f = (struct sb_front){ conf, &d->core, d->core.shard[k], d->loop };
		if (sb_listen(address, d->core.n_shards > 1, &fd, &port, err) < 0)
			return sb_wrap(err, "listener '%s'", conf->name);
		if (colon && strncmp(address, "unix:", 5) != 0)
			snprintf(colon, sizeof(address) - (size_t)(colon - address), ":%u", port); /* the others share the port it got */
		if (sb_loop_listen(d->loop[k], fd, &http, sb_front_request, f, err) < 0)
			return sb_wrap(err, "listener '%s'", conf->name);
	}
	sb_buf_addf(json, "%s\"%s\":\"%s\"", i ? "," : "", conf->name, address);
	if (i == 0)
		snprintf(d->address, sizeof(d->address), "%s", address);
	return 0;
}

static int write_ready(struct sb_daemon *d, struct sb_err *err)
{
	char path[4096], tmp[4200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/ready.json", d->config->data_dir);
	snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	f = fopen(tmp, "we");
	if (!f)
		return sb_fail_errno(err, "cannot write '%s'", tmp);
	fprintf(f, "{\"pid\":%d,\"listeners\":%s,\"control\":\"%s/control.sock\"}\n", (int)getpid(), d->listeners_json,
		d->config->data_dir);
	if (fclose(f) != 0 || rename(tmp, path) < 0)
		return sb_fail_errno(err, "cannot write '%s'", path);
	sb_log(SB_LOG_INFO, "ready", KS("address", d->address), KS("data_dir", d->config->data_dir), KI("shards", d->core.n_shards),
		KI("rules", d->plan->rules->n), KI("pid", getpid()));
	return 0;
}

static int open_listeners(struct sb_daemon *d, struct sb_err *err)
{
	struct sb_buf json = { .p = d->listeners_json, .cap = sizeof(d->listeners_json), .max = sizeof(d->listeners_json) };

	d->front = sb_xcalloc((d->config->n_listeners * d->core.n_shards + 1) * sizeof(*d->front));
	d->crowd = sb_xcalloc((d->config->n_listeners + 1) * sizeof(struct sb_http_crowd *));
	sb_buf_addc(&json, '{');
	for (size_t i = 0; i < d->config->n_listeners; i++)
		if (listen_one(d, i, &json, err) < 0)
			return -1;
	if (sb_buf_addc(&json, '}') < 0 || !sb_buf_cstr(&json))
		return sb_fail(err, SB_E_LIMIT, "too many listeners");
	d->core.listeners_json = d->listeners_json;
	return 0;
}

/* ------------------------------------------------------------------------------------------------ stopping */

static void drain_shard(struct sb_shard *s, void *arg)
{
	struct sb_daemon *d = arg;

	sb_loop_drain_http(d->loop[s->index]);
	sb_shard_drain(s);
}

struct idle_call {
	struct sb_daemon *d;
	bool idle;
};

static void is_drained(struct sb_shard *s, void *arg)
{
	struct idle_call *c = arg;

	c->idle &= sb_loop_http_idle(c->d->loop[s->index]) && sb_shard_drained(s);
}

static void close_targets(struct sb_shard *s, void *arg)
{
	sb_slots_close_targets(&((struct sb_daemon *)arg)->slots, s);
}

static void targets_closed(struct sb_shard *s, void *arg)
{
	struct idle_call *c = arg;

	c->idle &= sb_slots_targets_closed(&c->d->slots, s);
}

static void close_sources(struct sb_shard *s, void *arg)
{
	sb_slots_close_sources(&((struct sb_daemon *)arg)->slots, s);
}

static void sources_closed(struct sb_shard *s, void *arg)
{
	struct idle_call *c = arg;

	c->idle &= sb_slots_sources_closed(&c->d->slots, s);
}

static void is_quiet(struct sb_shard *s, void *arg)
{
	((struct idle_call *)arg)->idle &= sb_shard_quiet(s);
}

static void call_shards(struct sb_daemon *d, void (*fn)(struct sb_shard *s, void *arg), void *arg)
{
	for (unsigned i = 0; i < d->core.n_shards; i++)
		sb_loop_call(d->loop[i], fn, arg);
}

static bool all_shards(struct sb_daemon *d, void (*fn)(struct sb_shard *s, void *arg))
{
	struct idle_call c = { d, true };

	call_shards(d, fn, &c);
	return c.idle;
}

/* One step of the way down; called every few milliseconds until it is STOPPED. */
static void stop_step(evutil_socket_t fd, short what, void *arg)
{
	struct sb_daemon *d = arg;
	uint64_t now = sb_mono_ns(d->core.clock);
	bool late = now >= d->drain_until_ns;

	(void)fd;
	(void)what;
	if (d->phase == SB_DRAINING && (late || all_shards(d, is_drained))) {
		if (late)
			sb_log(SB_LOG_WARN, "drain_timeout is over: what is still in flight stays in the journal");
		d->phase = SB_CLOSING;
		d->drain_until_ns = now + CLOSE_PATIENCE_MS * SB_NS_PER_MS;
		call_shards(d, close_targets, d);
	} else if (d->phase == SB_CLOSING && (late || all_shards(d, targets_closed))) {
		atomic_store(&d->core.no_reads, true);
		d->phase = SB_SETTLING;
	} else if (d->phase == SB_SETTLING && (late || all_shards(d, is_quiet))) {
		atomic_store(&d->core.settled, true);
		d->phase = SB_LEAVING;
		call_shards(d, close_sources, d);
	} else if (d->phase == SB_LEAVING && (late || all_shards(d, sources_closed))) {
		d->phase = SB_STOPPED;
		event_base_loopbreak(d->base);
	}
}

static void stop_begin(struct sb_daemon *d, const char *why)
{
	struct timeval tick = { 0, STOP_TICK_MS * 1000 };

	sb_log(SB_LOG_INFO, "stopping: intake is closed, attempts in flight may finish", KS("why", why),
		KI("drain_timeout_ms", d->config->drain_timeout_ms));
	d->phase = SB_DRAINING;
	d->drain_until_ns = sb_mono_ns(d->core.clock) + d->config->drain_timeout_ms * SB_NS_PER_MS;
	atomic_store(&d->core.stopping, true);
	call_shards(d, drain_shard, d);
	event_add(d->stop_ev, &tick);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct sb_daemon *d = arg;
	struct sb_reload_result r;

	(void)what;
	if (sig == SIGHUP) {
		if (d->phase == SB_RUNNING) {
			sb_reload(d, SB_ORPHANS_REFUSE, &r);
			sb_reload_result_done(&r);
		}
		return;
	}
	if (d->phase != SB_RUNNING)
		_exit(128 + (int)sig); /* asked twice: the journal has what is left */
	stop_begin(d, sig == SIGINT ? "SIGINT" : "SIGTERM");
}

/* ------------------------------------------------------------------------------------------------ the loop */

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	sb_mailbox_drain(&((struct sb_daemon *)arg)->mail);
}

struct expiry {
	struct sb_deadbox_job job;
	struct sb_core *core;
	uint64_t now;
};

static void expire_work(struct sb_deadbox_job *j, struct sb_deadletters *table)
{
	struct expiry *e = SB_CONTAINER(j, struct expiry, job);
	uint64_t n = 0;
	struct sb_err err;

	if (sb_deadletters_expire(table, e->now, &n, &err) < 0)
		sb_log(SB_LOG_ERROR, "dead letters not expired", KERR(&err));
	if (n)
		sb_log(SB_LOG_WARN, "dead letters expired", KI("letters", n));
	sb_count(&e->core->counts.lost_letters, n);
	free(e);
}

static void on_minute(evutil_socket_t fd, short what, void *arg)
{
	struct sb_daemon *d = arg;
	struct expiry *e = sb_xcalloc(sizeof(*e));

	(void)fd;
	(void)what;
	e->job.work = expire_work;
	e->core = &d->core;
	e->now = sb_wall_ms(d->core.clock);
	sb_deadbox_post(d->core.deadbox, &e->job);
}

static int open_loop(struct sb_daemon *d, struct sb_err *err)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	struct timeval minute = { 60, 0 };

	d->base = event_base_new();
	if (!d->base || sb_mailbox_init(&d->mail, true) < 0)
		return sb_fail_errno(err, "control thread");
	d->mail_ev = event_new(d->base, d->mail.fd, EV_READ | EV_PERSIST, on_mail, d);
	event_add(d->mail_ev, NULL);
	d->stop_ev = event_new(d->base, -1, EV_PERSIST, stop_step, d);
	d->minute_ev = event_new(d->base, -1, EV_PERSIST, on_minute, d);
	event_add(d->minute_ev, &minute);
	for (size_t i = 0; i < SB_LEN(signals); i++) {
		d->signal_ev[i] = evsignal_new(d->base, signals[i], on_signal, d);
		event_add(d->signal_ev[i], NULL);
	}
	sb_keeper_watch(d->keeper, d->base, d->loop);
	return 0;
}

/* Signals belong to the control thread: every other one is born with them blocked. */
static int start_threads(struct sb_daemon *d, struct sb_err *err)
{
	sigset_t all, old;
	int bad = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	bad = sb_journal_start(d->core.journal, err);
	for (unsigned i = 0; i < d->core.n_shards && !bad; i++)
		bad = sb_loop_start(d->loop[i], err);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return bad;
}

static int block_signals_and_open(struct sb_daemon *d, struct sb_err *err)
{
	sigset_t all, old;
	int bad;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* the dead-letter thread inherits it */
	bad = open_storage(d, err);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return bad;
}

/* What the journal owes to targets that are not configured: nobody loses it, nobody delivers it, and everybody is told. */
static void tell_orphans(struct sb_daemon *d, enum sb_orphans orphans)
{
	const struct sb_recovery *r = sb_journal_recovery(d->core.journal);

	for (size_t i = 0; i < d->plan->n_gone; i++) {
		const struct sb_recovered_target *t = sb_map_get(&r->targets, sb_slice_str(d->plan->gone[i]->name));

		sb_log(SB_LOG_WARN, "deliveries are owed to a target that is not configured",
			KS("target", t->name), KI("deliveries", t->n),
			KS("they", orphans == SB_ORPHANS_DEAD_LETTER ? "become dead letters"
				: "wait until it is configured again, or for reload --orphans dead-letter"));
	}
	if (orphans == SB_ORPHANS_DEAD_LETTER)
		sb_swap_abandon_gone(d);
}

static int start(struct sb_daemon *d, enum sb_orphans orphans, struct sb_err *err)
{
	if (lock_data_dir(d, err) < 0 || block_signals_and_open(d, err) < 0 || make_shards(d, err) < 0)
		return -1;
	d->slots.core = &d->core;
	if (open_plan(d, err) < 0 || open_loop(d, err) < 0 || sb_control_open(d, err) < 0 || open_listeners(d, err) < 0 ||
	    sb_metrics_start(d, &d->metrics, err) < 0 || start_threads(d, err) < 0)
		return -1;
	if (sb_daemon_record_generation(d, d->plan) < 0)
		sb_log(SB_LOG_ERROR, "generation not recorded");
	tell_orphans(d, orphans);
	sb_count(&d->core.counts.reload_ok, 1);
	sb_count(&d->core.counts.reload_ms, sb_wall_ms(d->core.clock));
	atomic_store(&d->core.ready, true);
	return write_ready(d, err);
}

/* What came late, and what that sends to others. */
static void drain_mail(struct sb_daemon *d)
{
	bool any;

	do {
		any = false;
		for (unsigned i = 0; i < d->core.n_shards; i++)
			any |= sb_mailbox_drain(&d->core.shard[i]->mail) > 0;
	} while (any);
}

/* Everything is at rest: threads end, files close. */
static void finish(struct sb_daemon *d)
{
	char path[4096];

	sb_metrics_stop(d->metrics);
	for (unsigned i = 0; i < d->core.n_shards; i++)
		sb_loop_stop(d->loop[i]);
	for (unsigned i = 0; i < d->core.n_shards; i++)
		sb_loop_join(d->loop[i]);
	sb_journal_stop(d->core.journal);
	sb_deadbox_free(d->core.deadbox); /* tells the journal what the table took last */
	sb_journal_close(d->core.journal);
	drain_mail(d);
	sb_slots_done(&d->slots);
	for (unsigned i = 0; i < d->core.n_shards; i++) {
		sb_loop_free(d->loop[i]);
		sb_shard_free(d->core.shard[i]);
	}
	for (size_t i = 0; i < d->first->n_listeners; i++)
		sb_http_crowd_free(d->crowd[i]);
	sb_plan_unref(d->plan);
	sb_http_server_free(d->control);
	sb_mailbox_drain(&d->mail);
	sb_mailbox_done(&d->mail);
	sb_metrics_free(d->metrics);
	sb_keeper_free(d->keeper);
	event_free(d->mail_ev);
	event_free(d->stop_ev);
	event_free(d->minute_ev);
	for (size_t i = 0; i < SB_LEN(d->signal_ev); i++)
		event_free(d->signal_ev[i]);
	event_base_free(d->base);
	snprintf(path, sizeof(path), "%s/ready.json", d->config->data_dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/control.sock", d->config->data_dir);
	unlink(path);
	free(d->core.shard);
	free(d->loop);
	free(d->front);
	free(d->crowd);
	sb_config_unref(d->config);
	sb_config_unref(d->first);
}

int sb_daemon_run(const struct sb_config *config, enum sb_orphans orphans, struct sb_err *err)
{
	struct sb_daemon *d = sb_xcalloc(sizeof(*d));

	d->lock = -1;
	d->config = config;
	sb_log_setup(d->config->log_format, d->config->log_level);
	sb_core_init(&d->core, &sb_clock_system, d->config);
	d->first = sb_config_ref(d->config);
	if (start(d, orphans, err) < 0) {
		sb_log(SB_LOG_ERROR, "cannot start", KERR(err), KS("hint", err->hint));
		return err->code == SB_E_BUSY ? SB_EXIT_REFUSED : SB_EXIT_UNREACHABLE;
	}
	event_base_dispatch(d->base);
	finish(d);
	sb_log(SB_LOG_INFO, "stopped");
	free(d);
	return SB_EXIT_OK;
}
