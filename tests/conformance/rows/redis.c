/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The far side is a real redis-server on a socket in the stage's folder. It fails by having no memory left, rejects by holding something
 * else under the stream's key, stalls by being stopped, and is gone by being killed.
 */
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conformance/stage.h"

extern const struct sb_connector sb_connector_redis;

struct far_redis {
	pid_t pid; /* 0: gone */
	bool stopped, rejects;
	redisContext *c;
	char path[100], seen[64];
};

static void start(struct stage *st)
{
	struct far_redis *f = st->far;
	pid_t parent = getpid();

	f->pid = fork();
	if (f->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || !freopen("/dev/null", "w", stdout))
		_exit(1);
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", f->path, "--save", "", "--appendonly", "no", "--dir", st->dir,
		(char *)NULL);
	_exit(127);
}

static void hang_up(struct far_redis *f)
{
	if (f->c)
		redisFree(f->c);
	f->c = NULL;
}

/* NULL: nobody is there. An error is an answer. */
static redisReply *ask(struct far_redis *f, const char *command)
{
	redisReply *r;

	if (!f->c)
		f->c = redisConnectUnix(f->path);
	r = f->c && !f->c->err ? redisCommand(f->c, command) : NULL;
	if (!r)
		hang_up(f);
	return r;
}

static void tell(struct far_redis *f, const char *command)
{
	redisReply *r = ask(f, command);

	if (r)
		freeReplyObject(r);
}

static int make(struct stage *st, struct sb_err *err)
{
	struct far_redis *f = st->far = sb_xcalloc(sizeof(*f));
	redisReply *r = NULL;

	snprintf(f->path, sizeof(f->path), "%s/redis.sock", st->dir);
	snprintf(f->seen, sizeof(f->seen), "-");
	start(st);
	for (int tries = 0; tries < 2000 && !(r = ask(f, "PING")); tries++)
		usleep(5000);
	if (!r)
		return sb_fail(err, SB_E_UNREACHABLE, "redis-server does not start: deploy/install-deps test");
	freeReplyObject(r);
	return 0;
}

static void end(struct far_redis *f)
{
	hang_up(f);
	if (f->pid <= 0)
		return;
	kill(f->pid, SIGKILL);
	waitpid(f->pid, NULL, 0);
	f->pid = 0;
}

static void unmake(struct stage *st)
{
	if (st->far)
		end(st->far);
	free(st->far);
	st->far = NULL;
}

static void heal(struct stage *st)
{
	struct far_redis *f = st->far;

	if (!f->pid) {
		start(st);
		return;
	}
	kill(f->pid, SIGCONT);
	f->stopped = false;
	tell(f, "CONFIG SET maxmemory 0");
	if (f->rejects)
		tell(f, "DEL done");
	f->rejects = false;
}

static void act(struct stage *st, enum far what)
{
	struct far_redis *f = st->far;

	if (what == FAR_TAKES) {
		heal(st);
	} else if (what == FAR_FAILS) {
		tell(f, "CONFIG SET maxmemory 1");
	} else if (what == FAR_REJECTS) {
		tell(f, "SET done string");
		f->rejects = true;
	} else if (what == FAR_STALLS) {
		kill(f->pid, SIGSTOP);
		f->stopped = true;
	} else if (what == FAR_GONE) {
		end(f);
	}
}

static void take_entry(struct stage *st, const redisReply *entry)
{
	const redisReply *fields = entry->element[1];

	for (size_t i = 0; i + 1 < fields->elements; i += 2)
		if (strcmp(fields->element[i]->str, "event") == 0)
			stage_arrived(st, sb_slice(fields->element[i + 1]->str, fields->element[i + 1]->len));
}

static void collect(struct stage *st)
{
	struct far_redis *f = st->far;
	char command[128];
	redisReply *r;

	if (!f->pid || f->stopped)
		return;
	snprintf(command, sizeof(command), "XRANGE done %s + COUNT 100", f->seen);
	r = ask(f, command);
	if (!r)
		return;
	for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i < r->elements; i++) {
		take_entry(st, r->element[i]);
		snprintf(f->seen, sizeof(f->seen), "(%s", r->element[i]->element[0]->str);
	}
	freeReplyObject(r);
}

static const char *const wrong[] = { "{}", "{url: 'http://there', stream: s}", "{url: 'redis://there'}", "{url: 'redis://there', stream: ''}",
	"{url: 'redis://there', stream: s, minid: 1h, maxlen: 5}", "{url: 'redis://there', stream: s, fields: {a: <nobody>}}", NULL };

const struct row row_redis = {
	.name = "redis",
	.connector = &sb_connector_redis,
	.conf = "{url: 'unix:DIR/redis.sock', stream: done, connect_timeout: 300ms}",
	.wrong = wrong,
	.make = make,
	.unmake = unmake,
	.target =
		&(const struct target_row){
			.may = {
				[FAR_FAILS] = MAY(SB_RETRY),
				[FAR_REJECTS] = MAY(SB_REJECTED),
				[FAR_STALLS] = MAY(SB_RETRY) | MAY(SB_UNREACHABLE), /* unreachable: before it was connected */
				[FAR_GONE] = MAY(SB_UNREACHABLE) | MAY(SB_RETRY),
			},
			.act = act,
			.collect = collect,
		},
};
