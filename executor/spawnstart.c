/* SPDX-License-Identifier: Apache-2.0 */
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawnchild.h"
#include "spawnwire.h"

/*
 * The daemon's side of starting the spawner. Its environment is empty, its standard streams are /dev/null, it is a session
 * of its own (Ctrl-C in the daemon's terminal does not reach it), and it inherits the sockets and the lock, nothing else:
 * so does one that is started later, when the daemon knows secrets.
 *
 * And of burying it. PDEATHSIG kills its workers, but not what they have started; all of them are the daemon's children
 * then, because it is a subreaper. They are signalled only while they are not reaped, so a number that the kernel gave to
 * somebody else is never hit. Whoever was the daemon's child before (its shell's background jobs, say) is of its session.
 */

/* Sources out of the way of their targets, 3 .. 3 + n: dup2 in the child must not overwrite one that is still needed. */
static int lift(int fd, unsigned n)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, SPAWN_FIRST_SOCK + (int)n + 1);

	close(fd);
	return high;
}

static int make_socks(unsigned n, int *mine, int *its, struct sb_err *err)
{
	for (unsigned i = 0; i < n; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return sb_fail_errno(err, "spawner: no socket");
		mine[i] = pair[0];
		its[i] = lift(pair[1], n);
		if (its[i] < 0 || fcntl(mine[i], F_SETFL, O_NONBLOCK) < 0)
			return sb_fail_errno(err, "spawner: no socket");
	}
	return 0;
}

static pid_t spawn_self(unsigned n, const int *its, int keep_fd, struct sb_err *err)
{
	char verb[] = SB_SPAWNER_VERB, name[] = "signalbox", count[16];
	char *argv[] = { name, verb, count, NULL }, *envp[] = { NULL };
	posix_spawn_file_actions_t fa;
	pid_t pid = -1;
	int last = SPAWN_FIRST_SOCK + (int)n, rc;
	posix_spawnattr_t at;

	snprintf(count, sizeof(count), "%u", n);
	posix_spawnattr_init(&at);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSID);
	posix_spawn_file_actions_init(&fa);
	for (int fd = 0; fd < SPAWN_FIRST_SOCK; fd++)
		posix_spawn_file_actions_addopen(&fa, fd, "/dev/null", O_RDWR, 0);
	for (unsigned i = 0; i < n; i++)
		posix_spawn_file_actions_adddup2(&fa, its[i], SPAWN_FIRST_SOCK + (int)i);
	if (keep_fd >= 0)
		posix_spawn_file_actions_adddup2(&fa, keep_fd, last);
	posix_spawn_file_actions_addclosefrom_np(&fa, last + (keep_fd >= 0));
	rc = posix_spawn(&pid, "/proc/self/exe", &fa, &at, argv, envp);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&at);
	errno = rc;
	return rc ? sb_fail_errno(err, "spawner: cannot be started") : pid;
}

pid_t sb_spawner_start(unsigned n, int keep_fd, int *ret_socks, struct sb_err *err)
{
	int mine[SPAWN_SOCKS_MAX], its[SPAWN_SOCKS_MAX], lock = -1;
	pid_t pid = -1;

	SB_ASSERT(n > 0 && n <= SPAWN_SOCKS_MAX);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	memset(mine, -1, sizeof(mine));
	memset(its, -1, sizeof(its));
	if (keep_fd >= 0)
		lock = fcntl(keep_fd, F_DUPFD_CLOEXEC, SPAWN_FIRST_SOCK + (int)n + 1);
	if (keep_fd >= 0 && lock < 0)
		sb_fail_errno(err, "spawner: the lock cannot be passed on");
	else if (make_socks(n, mine, its, err) == 0)
		pid = spawn_self(n, its, lock, err);
	for (unsigned i = 0; i < n; i++) {
		if (its[i] >= 0)
			close(its[i]);
		if (pid < 0 && mine[i] >= 0)
			close(mine[i]);
	}
	if (lock >= 0)
		close(lock);
	if (pid > 0)
		memcpy(ret_socks, mine, n * sizeof(*mine));
	return pid;
}

/* ------------------------------------------------------------------------------------------------ its end */

static bool is_foreign(pid_t pid)
{
	return getsid(pid) == getsid(0);
}

static void reap_all(pid_t *spawner, int *ret_status)
{
	siginfo_t si = { 0 };

	while (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid) {
		int status = 0;

		if (*spawner == 0 && !is_foreign(si.si_pid))
			kill(-si.si_pid, SIGKILL); /* its group, before its number can be another's */
		waitpid(si.si_pid, &status, 0);
		if (si.si_pid == *spawner) {
			*spawner = 0;
			*ret_status = status;
		}
		si.si_pid = 0;
	}
}

bool sb_spawner_bury(pid_t *spawner, int *ret_status)
{
	bool gone = true;
	pid_t kin[1024];
	int n;

	reap_all(spawner, ret_status);
	if (*spawner)
		return false;
	n = sb_spawn_kin(kin, SB_LEN(kin), true);
	for (int i = 0; i < n; i++) {
		if (is_foreign(kin[i]))
			continue;
		kill(kin[i], SIGKILL);
		gone = false;
	}
	return gone;
}
