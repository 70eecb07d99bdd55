/* SPDX-License-Identifier: Apache-2.0 */
#include "spawnchild.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* What the spawner does in and about its children: the way from fork to exec, and who they are. */

static void reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL); /* those that cannot be changed are at their default anyway */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Descriptors 0 to 2, 3 when there is a channel, and the status pipe, which closes itself when the command runs. */
static int place_descriptors(const struct spawn_start *s, int status)
{
	int high[SPAWN_FDS_MAX], next = (int)s->n_fds;

	for (unsigned i = 0; i < s->n_fds; i++) {
		high[i] = fcntl(s->fd[i], F_DUPFD_CLOEXEC, 16);
		if (high[i] < 0)
			return -1;
	}
	status = fcntl(status, F_DUPFD_CLOEXEC, 16);
	if (status < 0)
		return -1;
	for (unsigned i = 0; i < s->n_fds; i++)
		if (dup2(high[i], (int)i) < 0)
			return -1;
	if (dup3(status, next, O_CLOEXEC) < 0)
		return -1;
	close_range((unsigned)next + 1, ~0u, 0); /* should it be forbidden: all of ours are close-on-exec as well */
	return next;
}

_Noreturn void sb_spawn_run(const struct spawn_start *s, int status)
{
	struct spawn_failure f = { .stage = SPAWN_AT_EXEC };
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != s->spawner)
		_exit(127); /* it died before the line above took effect */
	setsid();
	reset_signals();
	fd = place_descriptors(s, status);
	if (fd >= 0) {
		if (*s->cwd && chdir(s->cwd) < 0) {
			f.stage = SPAWN_AT_CHDIR;
		} else {
			environ = s->envp; /* execvp looks argv[0] up in the PATH that the command will have */
			execvp(s->argv[0], s->argv);
		}
	}
	f.err = errno;
	if (write(fd >= 0 ? fd : status, &f, sizeof(f)) < 0)
		_exit(126);
	_exit(127);
}

/* ------------------------------------------------------------------------------------------------ kin */

/* Processes whose parent we are, from the kernel's own list; more than fit are seen the next time. -1: not offered. */
static int list_children(pid_t *ret, unsigned max)
{
	char path[64], text[16384], *p = text, *end;
	unsigned n = 0;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	while (n < max) {
		long pid = strtol(p, &end, 10);

		if (end == p || *end != ' ') /* the last one may be cut */
			break;
		ret[n++] = (pid_t)pid;
		p = end;
	}
	return (int)n;
}

static pid_t parent_of(long pid)
{
	char path[64], text[512], *paren;
	int fd, ppid = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	paren = strrchr(text, ')'); /* the name before it may hold anything */
	if (paren && paren[1] && paren[2] && paren[3])
		ppid = (int)strtol(paren + 4, NULL, 10); /* ") S 123" */
	return (pid_t)ppid;
}

/* The same by looking at every process there is, for kernels without that list. */
static int scan_children(pid_t *ret, unsigned max)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	unsigned n = 0;

	while (d && n < max && (e = readdir(d))) {
		long pid = strtol(e->d_name, NULL, 10);

		if (pid > 0 && parent_of(pid) == getpid())
			ret[n++] = (pid_t)pid;
	}
	if (d)
		closedir(d);
	return (int)n;
}

int sb_spawn_kin(pid_t *ret, unsigned max, bool thorough)
{
	int n = list_children(ret, max);

	return n < 0 && thorough ? scan_children(ret, max) : n;
}
