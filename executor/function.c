/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connectors/probe.h"

/* The `function` connector: its configuration, the environment of its workers, and the ops in front of the pool. */

static const char *const protocol_names[] = { "jsonl", "exec", NULL };

#define F struct sb_function_conf

static const struct sb_field worker_fields[] = {
	SB_F_KEY(INT, F, workers.min, "min", .min = 0, .max = 1024, .dflt = "0",
		.doc = "Workers that are kept running, even when idle."),
	SB_F_KEY(INT, F, workers.max, "max", .min = 1, .max = 1024, .dflt = "4", .doc = "Most processes at once."),
	SB_F_KEY(INT, F, workers.in_flight, "in_flight", .min = 1, .max = 1024, .dflt = "1",
		.doc = "Deliveries that one worker gets before it has answered the first (jsonl only)."),
	{ 0 },
};

const struct sb_field sb_function_fields[] = {
	SB_F(STRS, F, command, .required = true,
		.doc = "The program and its arguments; the program is looked up in the workers' PATH, no shell is "
		       "involved."),
	SB_F(ENUM, F, protocol, .names = protocol_names, .dflt = "jsonl",
		.doc = "How deliveries reach it: `jsonl`, warm processes that answer line by line, or `exec`, a "
		       "process an event."),
	{ .key = "workers", .type = SB_T_OBJECT, .offset = 0, .sub = worker_fields, .doc = "How many processes." },
	SB_F(MS, F, idle_timeout, .dflt = "60s",
		.doc = "A worker beyond `min` ends after this long without work; 0: never."),
	SB_F(MS, F, init_timeout, .min = 1, .max = 3600000, .dflt = "10s",
		.doc = "Time for a worker to say that it is ready."),
	SB_F(INT, F, max_requests, .min = 0, .max = INT64_MAX, .dflt = "0",
		.doc = "A worker is replaced after this many deliveries; 0: never."),
	SB_F(MS, F, kill_grace, .min = 0, .max = 60000, .dflt = "500ms",
		.doc = "Time between SIGTERM and SIGKILL to a worker's process group; 0: SIGKILL at once."),
	SB_F(ENV, F, env, .doc = "Environment variables beside PATH, HOME, LANG and TZ, which are the daemon's."),
	SB_F(FILE, F, cwd, .doc = "The workers' folder; default: the folder of the configuration file."),
	SB_F(BYTES, F, max_line, .min = 1024, .max = 64 << 20, .dflt = "1MiB",
		.doc = "Longest answer line (jsonl) or standard output (exec) of a worker."),
	SB_F(BYTES, F, max_request, .min = 1024, .max = 64 << 20, .dflt = "16MiB",
		.doc = "Largest event that is written to a worker; a larger one is rejected."),
	SB_F(BYTES, F, log_rate, .min = 1024, .max = 1 << 30, .dflt = "1MiB",
		.doc = "Bytes that a worker may log in a second before it is made to wait."),
	{ 0 },
};

/* ------------------------------------------------------------------------------------------------ configuration */

static int add_error(struct sb_decode *d, const struct sb_node *at, const char *key, const char *msg, const char *hint)
{
	const struct sb_node *n = at ? sb_node_get(at, key) : NULL;
	struct sb_err err;

	sb_fail_at(&err, SB_E_INVALID, n ? &n->at : at ? &at->at : NULL, "%s: %s", key, msg);
	sb_hint(&err, "%s", hint);
	sb_diag_error(d->diags, &err);
	return -1;
}

/* The folder of the file that the function stands in: so `functions/invoice.py` is found from wherever we are started. */
static const char *folder_of(struct sb_decode *d, const struct sb_node *at)
{
	const char *file = at ? at->at.file : NULL, *slash = file ? strrchr(file, '/') : NULL;

	if (d->dir)
		return sb_arena_strdup(d->arena, d->dir);
	if (!slash)
		return NULL;
	return slash == file ? "/" : sb_arena_strndup(d->arena, file, (size_t)(slash - file));
}

static int function_check(struct sb_decode *d, const struct sb_node *at, void *conf)
{
	struct sb_function_conf *c = conf;
	int rc = 0;

	if (!c->cwd || !*c->cwd)
		c->cwd = folder_of(d, at);
	if (c->command.n == 0 || !*c->command.v[0])
		rc = add_error(d, at, "command", "names no program", "for example [python3, functions/invoice.py]");
	if (c->workers.min > c->workers.max)
		rc = add_error(d, at, "workers", "min is larger than max", "make max at least min");
	if (c->protocol == SB_PROTO_EXEC && c->workers.in_flight > 1)
		rc = add_error(
			d, at, "workers", "in_flight needs the jsonl protocol", "with exec, a process has one event");
	if (c->protocol == SB_PROTO_EXEC && c->workers.min > 0)
		rc = add_error(
			d, at, "workers", "min needs the jsonl protocol", "with exec, no process waits for an event");
	return rc;
}

/* ------------------------------------------------------------------------------------------------ environment */

static bool has_variable(const struct sb_strs *env, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < env->n; i++)
		if (strncmp(env->v[i], name, n) == 0 && env->v[i][n] == '=')
			return true;
	return false;
}

/* Whatever is started here is looked up in this. */
static const char *path_of_workers(const struct sb_function_conf *c)
{
	const char *path = getenv("PATH");

	for (size_t i = 0; i < c->env.n; i++)
		if (strncmp(c->env.v[i], "PATH=", 5) == 0)
			return c->env.v[i] + 5;
	return path ? path : "/usr/local/bin:/usr/bin:/bin";
}

static void add_variable(struct sb_function *f, size_t *n, const char *name, const char *value)
{
	size_t size;
	char *text;

	if (!value || has_variable(&f->conf->env, name))
		return;
	size = strlen(name) + strlen(value) + 2;
	text = sb_xmalloc(size);
	snprintf(text, size, "%s=%s", name, value);
	f->envp[(*n)++] = text;
}

static void make_environment(struct sb_function *f)
{
	static const char *const kept[] = { "HOME", "LANG", "TZ" };
	size_t n = 0;

	f->envp = sb_xcalloc((f->conf->env.n + SB_LEN(kept) + 3) * sizeof(*f->envp));
	add_variable(f, &n, "PATH", path_of_workers(f->conf));
	for (size_t i = 0; i < SB_LEN(kept); i++)
		add_variable(f, &n, kept[i], getenv(kept[i]));
	if (f->proto->channel)
		add_variable(f, &n, "SIGNALBOX_FD", "3");
	f->own_envp = n;
	for (size_t i = 0; i < f->conf->env.n; i++)
		f->envp[n++] = f->conf->env.v[i];
}

static void free_environment(struct sb_function *f)
{
	for (size_t i = 0; i < f->own_envp; i++)
		free((char *)f->envp[i]);
	free(f->envp);
}

/* ------------------------------------------------------------------------------------------------ probe */

#define PROGRAM_MAX 4096

/* Where a program is when it is started in `cwd`; -1: longer than a path may be. */
static int place_of(const char *cwd, struct sb_slice folder, const char *name, char out[PROGRAM_MAX])
{
	bool relative = folder.n ? folder.p[0] != '/' : name[0] != '/';
	int n = snprintf(out, PROGRAM_MAX, "%s%s%.*s%s%s", relative && cwd ? cwd : "", relative && cwd ? "/" : "", SB_SLICE_ARG(folder),
		folder.n ? "/" : "", name);

	if (n < PROGRAM_MAX)
		return 0;
	errno = ENAMETOOLONG;
	return -1;
}

static int may_run(const char *file)
{
	struct stat st;

	if (stat(file, &st) < 0 || access(file, X_OK) < 0)
		return -1;
	if (S_ISREG(st.st_mode))
		return 0;
	errno = EACCES;
	return -1;
}

/* As execvp would in the worker's folder, with the worker's PATH. -1: errno says why. */
static int find_program(const struct sb_function_conf *c, char out[PROGRAM_MAX])
{
	const char *name = c->command.v[0], *path = path_of_workers(c);
	int why = ENOENT;

	if (strchr(name, '/'))
		return place_of(c->cwd, SB_SLICE(""), name, out) < 0 ? -1 : may_run(out);
	for (;;) {
		size_t n = strcspn(path, ":");

		if (place_of(c->cwd, n ? sb_slice(path, n) : SB_SLICE("."), name, out) == 0 && may_run(out) == 0)
			return 0;
		if (errno == EACCES)
			why = EACCES;
		if (!path[n])
			break;
		path += n + 1;
	}
	errno = why;
	return -1;
}

static void function_probe(const void *conf, struct sb_probe *p)
{
	const struct sb_function_conf *c = conf;
	char file[PROGRAM_MAX];
	struct stat st;
	struct sb_err err;

	if (c->cwd && (stat(c->cwd, &st) < 0 || !S_ISDIR(st.st_mode))) {
		sb_fail(&err, SB_E_UNREACHABLE, "`%s` is no folder that workers can start in", c->cwd);
		sb_probe_wrong(p, "cwd", &err);
	} else if (find_program(c, file) < 0) {
		sb_fail(&err, SB_E_UNREACHABLE, "`%s` %s", c->command.v[0],
			errno == EACCES ? "is there, but not for this user to run" : "is not there to be run");
		if (strchr(c->command.v[0], '/'))
			sb_hint(&err, "workers start in %s", c->cwd ? c->cwd : "the folder that the daemon is started in");
		else
			sb_hint(&err, "the PATH of the workers is %s", path_of_workers(c));
		sb_probe_wrong(p, "command", &err);
	} else {
		sb_probe_good(p, "%s is there to be run", file);
	}
}

/* ------------------------------------------------------------------------------------------------ ops */

static int function_open(struct sb_target *t, struct sb_err *err)
{
	struct sb_function *f = t->state;
	const struct sb_function_conf *c = t->conf;

	if (!t->env->procs)
		return sb_fail(err, SB_E_UNREACHABLE, "no processes can be started here");
	f->t = t;
	f->conf = c;
	f->proto = c->protocol == SB_PROTO_EXEC ? &sb_protocol_exec : &sb_protocol_jsonl;
	f->procs = t->env->procs;
	f->timers = f->procs->timers;
	sb_buf_init(&f->scratch, c->max_line);
	sb_function_init(f);
	make_environment(f);
	f->spec = (struct sb_proc_spec){
		.argv = c->command.v, .envp = f->envp, .cwd = c->cwd, .channel = f->proto->channel
	};
	sb_function_pump(f);
	return 0;
}

static void function_send(struct sb_target *t, struct sb_batch *b)
{
	sb_function_submit(t->state, b);
}

static void function_close(struct sb_target *t)
{
	sb_function_close(t->state);
}

static void function_free(struct sb_target *t)
{
	struct sb_function *f = t->state;

	if (!f->t)
		return; /* it was never opened */
	sb_function_done(f);
	free_environment(f);
	sb_tape_buf_done(&f->tape);
	sb_buf_done(&f->scratch);
}

static void function_status(struct sb_target *t, struct sb_buf *out)
{
	const struct sb_function *f = t->state;
	const struct sb_function_stats *s = &f->stats;
	struct sb_function_load l;

	sb_function_get_load(f, &l);
	sb_buf_addf(out, "\"workers\":%zu,\"idle\":%zu,\"busy\":%zu,\"starting\":%zu,\"leaving\":%zu,\"waiting\":%zu",
		f->n_workers, l.idle, l.busy, l.starting, l.leaving, f->n_waiting);
	sb_buf_addf(out, ",\"started\":%llu,\"start_failures\":%llu,\"died\":%llu,\"timeouts\":%llu,\"broken\":%llu,\"repeated\":%llu",
		(unsigned long long)s->started, (unsigned long long)s->start_failures, (unsigned long long)s->died,
		(unsigned long long)s->timeouts, (unsigned long long)s->broken, (unsigned long long)s->repeated);
	sb_buf_addf(out,
		",\"ended_idle\":%llu,\"replaced\":%llu,\"output_bytes\":%llu,\"throttled\":%llu,\"too_large\":%llu",
		(unsigned long long)s->ended_idle, (unsigned long long)s->ended_worn,
		(unsigned long long)s->output_bytes, (unsigned long long)s->throttled,
		(unsigned long long)s->too_large);
}

const struct sb_target_ops sb_function_ops = {
	.state_size = sizeof(struct sb_function),
	.conf_size = sizeof(struct sb_function_conf),
	.fields = sb_function_fields,
	.check = function_check,
	.probe = function_probe,
	.open = function_open,
	.send = function_send,
	.close = function_close,
	.free = function_free,
	.status = function_status,
};

const struct sb_connector sb_connector_function = {
	.type = "function",
	.summary = "runs events through a pool of warm worker processes, or one process an event",
	.target = &sb_function_ops,
};
