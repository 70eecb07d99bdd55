/* SPDX-License-Identifier: Apache-2.0 */
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "broker/base/list.h"
#include "spawnchild.h"
#include "spawnwire.h"

/*
 * The spawner: a small process without threads and without secrets, which starts workers and sees to it that none
 * outlives the daemon.
 *
 * One poll loop over: a socket for each shard (requests in, notices out), the status pipe of every child that has not
 * executed its command yet, and SIGCHLD, which is let in only while polling. A notice that a socket has no room for stays
 * as a bit in its child until there is room, so that a stuck shard costs no memory and holds up no other.
 *
 * Pids are signalled only while they are not reaped, so a pid that the kernel gave to somebody else is never hit. When
 * the leader of a group has exited, its group is killed before the leader is reaped, for the same reason.
 *
 * Three things stand between a worker and outliving us: its group is killed when its shard's socket closes; whoever left
 * the group is adopted (child subreaper) and killed; and should we be killed ourselves, PDEATHSIG takes the workers along.
 */
#define CHILDREN_MAX 4096
#define LAST_REAP_MS 10000
#define SWEEP_S 1 /* nobody tells us when we adopt somebody */

enum { OWES_START = 1, OWES_EXIT = 2 };

struct child {
	uint64_t id;
	struct sb_link link;
	unsigned sock;
	pid_t pid;
	int status_fd; /* readable when the command was executed (end of file) or could not be; -1: known */
	bool reaped, failed;
	uint8_t owes, stage;
	int32_t fail_errno, wait_status;
};

struct sock {
	int fd; /* -1: closed */
	bool full;
};

static struct {
	struct sock sock[SPAWN_SOCKS_MAX];
	unsigned n_socks, n_open;
	struct sb_link children;
	unsigned n_children;
	struct pollfd pfd[SPAWN_SOCKS_MAX + CHILDREN_MAX];
	char request[SPAWN_REQUEST_MAX];
} sp;

static struct child *child_of(struct sb_link *l)
{
	SB_ASSERT(l); /* links are circular; the analyzer cannot know */
	return l == &sp.children ? NULL : SB_CONTAINER(l, struct child, link);
}

static struct child *first_child(void)
{
	return child_of(sp.children.next);
}

static struct child *next_child(struct child *c)
{
	return child_of(c->link.next);
}

/* ------------------------------------------------------------------------------------------------ notices */

static int send_notice(const struct child *c, uint8_t kind, int32_t value)
{
	struct spawn_notice n = { .id = c->id, .kind = kind, .stage = c->stage, .value = value };
	struct sock *so = &sp.sock[c->sock];

	if (so->fd < 0)
		return 0; /* nobody is left to be told */
	if (send(so->fd, &n, sizeof(n), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EAGAIN) {
		so->full = true;
		return -1;
	}
	return 0;
}

static void forget_child(struct child *c)
{
	if (c->status_fd >= 0)
		close(c->status_fd);
	sb_list_unlink(&c->link);
	sp.n_children--;
	sb_pool_free(c);
}

/* Tell what is known and not told yet, in order; the last word frees the child. */
static void tell(struct child *c)
{
	if (c->owes & OWES_START) {
		int bad =
			c->failed ? send_notice(c, SPAWN_FAILED, c->fail_errno) : send_notice(c, SPAWN_STARTED, c->pid);

		if (bad)
			return;
		c->owes &= (uint8_t)~OWES_START;
	}
	if (c->status_fd >= 0 || !c->reaped)
		return;
	if ((c->owes & OWES_EXIT) && !c->failed && send_notice(c, SPAWN_EXITED, c->wait_status) < 0)
		return;
	forget_child(c);
}

/* ------------------------------------------------------------------------------------------------ requests */

static struct child *find_child(unsigned sock, uint64_t id)
{
	for (struct child *c = first_child(); c; c = next_child(c))
		if (c->sock == sock && c->id == id)
			return c;
	return NULL;
}

static void kill_group(const struct child *c, int sig)
{
	if (c->reaped)
		return;
	if (kill(-c->pid, sig) < 0)
		kill(c->pid, sig); /* it has not made its group yet */
}

static struct child *new_child(unsigned sock, uint64_t id)
{
	struct child *c = sb_pool_alloc(sizeof(*c));

	memset(c, 0, sizeof(*c));
	c->sock = sock;
	c->id = id;
	c->status_fd = -1;
	sb_list_push_back(&sp.children, &c->link);
	sp.n_children++;
	return c;
}

static void start_failed(struct child *c, int err)
{
	c->failed = c->reaped = true;
	c->fail_errno = err;
	c->stage = SPAWN_AT_FORK;
	c->owes = OWES_START;
	tell(c);
}

static void start_child(unsigned sock, const struct spawn_start *s)
{
	struct child *c = new_child(sock, s->rq.id);
	int status[2];

	if (sp.n_children > CHILDREN_MAX) {
		start_failed(c, EAGAIN);
		return;
	}
	if (pipe2(status, O_CLOEXEC) < 0) {
		start_failed(c, errno);
		return;
	}
	c->pid = fork();
	if (c->pid == 0)
		sb_spawn_run(s, status[1]);
	close(status[1]);
	if (c->pid < 0) {
		close(status[0]);
		start_failed(c, errno);
		return;
	}
	c->status_fd = status[0];
	c->owes = OWES_EXIT;
}

/* The texts behind the request, as vectors of pointers; false: they do not add up. */
static bool split_texts(struct spawn_start *s, char *p, const char *end, char **slot)
{
	uint32_t want = 1 + s->rq.argc + s->rq.envc;

	for (uint32_t i = 0; i < want; i++) {
		char *nul = p < end ? memchr(p, 0, (size_t)(end - p)) : NULL;

		if (!nul)
			return false;
		if (i == 0)
			s->cwd = p;
		else
			*slot++ = p;
		if (i == s->rq.argc)
			*slot++ = NULL;
		p = nul + 1;
	}
	*slot = NULL;
	return true;
}

static void on_start(unsigned sock, const struct spawn_request *rq, char *texts, const char *end, struct spawn_start *s)
{
	char **slot;

	s->rq = *rq;
	if (rq->argc == 0 || rq->argc + rq->envc > SB_PROC_SPEC_MAX || s->n_fds != 3u + rq->channel)
		return; /* not from our own proc.c */
	slot = sb_xmalloc((rq->argc + rq->envc + 2) * sizeof(*slot));
	s->argv = slot;
	s->envp = slot + rq->argc + 1;
	s->spawner = getpid();
	if (split_texts(s, texts, end, slot))
		start_child(sock, s);
	free(slot);
}

static void on_request(unsigned sock, size_t n, struct spawn_start *s)
{
	struct spawn_request rq;
	struct child *c;

	if (n < sizeof(rq))
		return;
	memcpy(&rq, sp.request, sizeof(rq));
	if (rq.kind == SPAWN_START) {
		on_start(sock, &rq, sp.request + sizeof(rq), sp.request + n, s);
		return;
	}
	c = find_child(sock, rq.id);
	if (c)
		kill_group(c, rq.sig);
}

static void take_descriptors(struct msghdr *m, struct spawn_start *s)
{
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(m); cm; cm = CMSG_NXTHDR(m, cm)) {
		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		s->n_fds = (unsigned)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(s->fd, CMSG_DATA(cm), s->n_fds * sizeof(int));
	}
}

/* A shard is gone: so are its workers. Their exits are reaped as always and told to nobody. */
static void close_sock(unsigned i)
{
	close(sp.sock[i].fd);
	sp.sock[i].fd = -1;
	sp.n_open--;
	for (struct child *c = first_child(), *next; c; c = next) {
		next = next_child(c);
		if (c->sock != i)
			continue;
		kill_group(c, SIGKILL);
		tell(c); /* may free it */
	}
}

static void serve_sock(unsigned i)
{
	union {
		char bytes[CMSG_SPACE(SPAWN_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { sp.request, sizeof(sp.request) };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)
	};
	struct spawn_start s = { 0 };
	ssize_t n = recvmsg(sp.sock[i].fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_sock(i);
		return;
	}
	take_descriptors(&m, &s);
	on_request(i, (size_t)n, &s);
	for (unsigned k = 0; k < s.n_fds; k++)
		close(s.fd[k]);
}

/* ------------------------------------------------------------------------------------------------ children */

static void read_status(struct child *c)
{
	struct spawn_failure f;
	ssize_t n = read(c->status_fd, &f, sizeof(f));

	if (n < 0 && errno == EINTR)
		return;
	close(c->status_fd);
	c->status_fd = -1;
	c->owes |= OWES_START;
	if (n == sizeof(f)) {
		c->failed = true;
		c->fail_errno = f.err;
		c->stage = f.stage;
	}
	tell(c);
}

static struct child *child_by_pid(pid_t pid)
{
	for (struct child *c = first_child(); c; c = next_child(c))
		if (c->pid == pid && !c->reaped)
			return c;
	return NULL;
}

/*
 * Who has left its worker's group and lost its parent is our child now, as is seen when somebody is reaped, and now and
 * then. While the daemon runs, it is let live as long as the worker in whose session it is; with a session of its own nobody
 * answers for it.
 */
static void kill_strays(void)
{
	pid_t pid[1024];
	int n = sb_spawn_kin(pid, SB_LEN(pid), false);

	for (int i = 0; i < n; i++)
		if (!child_by_pid(pid[i]) && !child_by_pid(getsid(pid[i])))
			kill(pid[i], SIGKILL);
}

/* Returns whether there are children left. */
static bool reap(void)
{
	siginfo_t si = { 0 };
	bool any = false;

	while (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid) {
		struct child *c = child_by_pid(si.si_pid);
		int status = 0;

		if (c)
			kill(-c->pid, SIGKILL); /* before its number can be another's */
		waitpid(si.si_pid, &status, 0);
		any = true;
		si.si_pid = 0;
		if (!c)
			continue;
		c->reaped = true;
		c->wait_status = status;
		c->owes |= OWES_EXIT;
		tell(c);
	}
	if (any)
		kill_strays();
	return waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static uint64_t now_ms(void)
{
	return sb_mono_ns(&sb_clock_system) / SB_NS_PER_MS;
}

/* The daemon is gone. What has just been killed may have had children outside its group: go on until there are none. */
static void kill_everything(void)
{
	uint64_t until = now_ms() + LAST_REAP_MS;
	pid_t pid[1024];

	for (struct child *c = first_child(); c; c = next_child(c))
		kill_group(c, SIGKILL);
	while (reap() && now_ms() < until) {
		int n = sb_spawn_kin(pid, SB_LEN(pid), true);

		for (int i = 0; i < n; i++)
			kill(pid[i], SIGKILL);
		poll(NULL, 0, 1);
	}
}

/* ------------------------------------------------------------------------------------------------ the loop */

static nfds_t fill_poll(void)
{
	nfds_t n = 0;

	for (unsigned i = 0; i < sp.n_socks; i++)
		sp.pfd[n++] =
			(struct pollfd){ .fd = sp.sock[i].fd, .events = sp.sock[i].full ? POLLIN | POLLOUT : POLLIN };
	for (struct child *c = first_child(); c; c = next_child(c))
		if (c->status_fd >= 0)
			sp.pfd[n++] = (struct pollfd){ .fd = c->status_fd, .events = POLLIN };
	return n;
}

static void sock_has_room(unsigned i)
{
	sp.sock[i].full = false;
	for (struct child *c = first_child(), *next; c; c = next) {
		next = next_child(c);
		if (c->sock == i && c->owes && !sp.sock[i].full)
			tell(c); /* may free it */
	}
}

static struct child *child_by_status(int fd)
{
	for (struct child *c = first_child(); c; c = next_child(c))
		if (c->status_fd == fd)
			return c;
	return NULL;
}

static void serve_polled(nfds_t n)
{
	for (nfds_t i = sp.n_socks; i < n; i++)
		if (sp.pfd[i].revents) {
			struct child *c = child_by_status(sp.pfd[i].fd);

			if (c)
				read_status(c);
		}
	for (unsigned i = 0; i < sp.n_socks; i++) {
		if (sp.pfd[i].fd >= 0 && (sp.pfd[i].revents & POLLOUT))
			sock_has_room(i);
		if (sp.pfd[i].fd >= 0 && (sp.pfd[i].revents & ~POLLOUT))
			serve_sock(i);
	}
}

static void on_sigchld(int sig)
{
	(void)sig; /* it has ended the poll, which is all it is for */
}

static void be_spawner(void)
{
	struct sigaction sa = { .sa_handler = on_sigchld };
	sigset_t all;

	sigfillset(&all); /* Ctrl-C and the like are for the daemon; we end when it does */
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigaction(SIGCHLD, &sa, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_NAME, "sb-spawner");
}

static void turn(const sigset_t *while_polling)
{
	static const struct timespec sweep = { .tv_sec = SWEEP_S };
	nfds_t n = fill_poll();
	int ready = ppoll(sp.pfd, n, sp.n_children ? &sweep : NULL, while_polling);

	if (ready > 0)
		serve_polled(n);
	else if (ready == 0)
		kill_strays();
	reap();
}

int sb_spawner_main(int argc, char **argv)
{
	sigset_t while_polling;

	sp.n_socks = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	if (sp.n_socks == 0 || sp.n_socks > SPAWN_SOCKS_MAX)
		return 2;
	sp.n_open = sp.n_socks;
	for (unsigned i = 0; i < sp.n_socks; i++)
		sp.sock[i].fd = SPAWN_FIRST_SOCK + (int)i;
	for (int fd = SPAWN_FIRST_SOCK; fd <= SPAWN_FIRST_SOCK + (int)sp.n_socks; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC); /* the last one is the caller's lock, if it gave one */
	sb_list_init(&sp.children);
	be_spawner();
	sigfillset(&while_polling);
	sigdelset(&while_polling, SIGCHLD);
	while (sp.n_open)
		turn(&while_polling);
	kill_everything();
	return 0;
}
