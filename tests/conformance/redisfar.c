/* SPDX-License-Identifier: Apache-2.0 */
#include "redisfar.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void redisfar_start(struct redisfar *f, const struct stage *st)
{
	pid_t parent = getpid();

	f->pid = fork();
	SB_ASSERT(f->pid >= 0);
	if (f->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || !freopen("/dev/null", "w", stdout))
		_exit(1);
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", f->path, "--save", "", "--appendonly", "no", "--dir", st->dir,
		(char *)NULL);
	_exit(127);
}

static void hang_up(struct redisfar *f)
{
	if (f->c)
		redisFree(f->c);
	f->c = NULL;
}

redisReply *redisfar_ask(struct redisfar *f, const char *command)
{
	redisReply *r;

	if (!f->c)
		f->c = redisConnectUnix(f->path);
	r = f->c && !f->c->err ? redisCommand(f->c, command) : NULL;
	if (!r)
		hang_up(f);
	return r;
}

void redisfar_tell(struct redisfar *f, const char *command)
{
	redisReply *r = redisfar_ask(f, command);

	if (r)
		freeReplyObject(r);
}

int redisfar_make(struct redisfar *f, struct stage *st, struct sb_err *err)
{
	redisReply *r = NULL;

	snprintf(f->path, sizeof(f->path), "%s/redis.sock", st->dir);
	redisfar_start(f, st);
	for (int tries = 0; tries < 2000 && !(r = redisfar_ask(f, "PING")); tries++)
		usleep(5000);
	if (!r)
		return sb_fail(err, SB_E_UNREACHABLE, "redis-server does not start: deploy/install-deps test");
	freeReplyObject(r);
	return 0;
}

void redisfar_end(struct redisfar *f)
{
	hang_up(f);
	if (f->pid <= 0)
		return;
	kill(f->pid, SIGKILL);
	waitpid(f->pid, NULL, 0);
	f->pid = 0;
}
