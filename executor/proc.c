/* SPDX-License-Identifier: Apache-2.0 */
#include "proc.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/base/json.h"
#include "broker/base/list.h"
#include "spawnwire.h"

/*
 * Processes on libevent. This side makes the pipes, keeps its ends non-blocking, and asks the spawner for the rest; it
 * knows a process by an id and never signals a pid. A stream's one read() a turn goes into a buffer that all processes of
 * the shard share. Streams are read from when the process is known to have started, and to their end when it is known to
 * have exited; whoever inherited a pipe and lives on does not keep the process from being reported. What a process wrote
 * to stdout and stderr before its answer is read before it: answers wait for the end of the loop's turn.
 *
 * While there is no spawner, requests to start are kept, with the child's ends of its pipes, and the next one gets them: a
 * spawner that is killed costs what it had running, and otherwise only a moment.
 */
#define READ_MAX (64u << 10)
#define LAST_READS 4 /* after the exit: what a pipe holds, and some for one that was enlarged */

struct real;

struct stream {
	int fd; /* -1: closed */
	enum sb_proc_stream which;
	struct child *child;
	struct event ev;
};

struct child {
	struct sb_link link;
	struct sb_proc *proc; /* NULL: it has had its last callback */
	struct real *real;
	uint64_t id;
	int in; /* our end of its stdin; -1: closed */
	bool started;
	bool waits; /* there is no spawner: its request is parked for the next one */
	struct event ev_in;
	struct stream out[3]; /* by enum sb_proc_stream */
	struct sb_deferred answers;
	struct sb_deferred fail;
	struct sb_err err; /* why it could not be started, until the deferred call says so */
};

/* A request that the socket had no room for, or that there is no spawner for. */
struct parked {
	struct sb_link link;
	uint64_t id; /* of whom it is about */
	size_t n, n_fds;
	int fd[SPAWN_FDS_MAX];
	char bytes[];
};

struct real {
	struct sb_procs procs; /* first */
	struct sb_timers timers;
	struct event_base *base;
	int sock;
	struct event ev_sock, ev_room;
	struct sb_link children, parked;
	uint64_t last_id;
	char request[SPAWN_REQUEST_MAX];
	char read[READ_MAX + SB_JSON_PAD];
};

static struct real *real_of(struct sb_procs *ps)
{
	return SB_CONTAINER(ps, struct real, procs);
}

/* ------------------------------------------------------------------------------------------------ descriptors */

static void close_stream(struct stream *s)
{
	if (s->fd < 0)
		return;
	if (s->child->started)
		event_del(&s->ev);
	close(s->fd);
	s->fd = -1;
}

static void close_in(struct child *c)
{
	if (c->in < 0)
		return;
	if (c->started)
		event_del(&c->ev_in);
	close(c->in);
	c->in = -1;
}

static void free_child(struct child *c)
{
	close_in(c);
	for (unsigned i = 0; i < SB_LEN(c->out); i++)
		close_stream(&c->out[i]);
	sb_defer_cancel(&c->fail);
	sb_defer_cancel(&c->answers);
	sb_list_unlink(&c->link);
	sb_pool_free(c);
}

/* False: nothing more to come. */
static bool read_stream(struct stream *s)
{
	struct real *r = s->child->real;
	struct sb_proc *p = s->child->proc;
	ssize_t n = read(s->fd, r->read, READ_MAX);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0)
		close_stream(s);
	p->cb->bytes(p, s->which, r->read, n > 0 ? (size_t)n : 0);
	return n > 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct stream *s = arg;

	(void)fd;
	(void)what;
	if (s->which == SB_STREAM_CHANNEL)
		sb_defer(&s->child->real->timers, &s->child->answers);
	else
		read_stream(s);
}

static void read_answers(struct sb_deferred *d)
{
	struct child *c = SB_CONTAINER(d, struct child, answers);

	if (c->out[SB_STREAM_CHANNEL].fd >= 0)
		read_stream(&c->out[SB_STREAM_CHANNEL]);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct child *c = arg;

	(void)fd;
	(void)what;
	c->proc->cb->writable(c->proc);
}

/* ------------------------------------------------------------------------------------------------ requests */

static ssize_t send_with_fds(int sock, const void *p, size_t n, const int *fd, size_t n_fds)
{
	union {
		char bytes[CMSG_SPACE(SPAWN_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { (void *)p, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *cm = &control.align;

		memset(&control, 0, sizeof(control));
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cm), fd, n_fds * sizeof(int));
	}
	return sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void close_fds(const int *fd, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

/* Takes the descriptors. */
static void park(struct real *r, size_t n, const int *fd, size_t n_fds)
{
	struct parked *pk = sb_pool_alloc(sizeof(*pk) + n);
	struct spawn_request rq;

	memcpy(&rq, r->request, sizeof(rq));
	pk->id = rq.id;
	pk->n = n;
	pk->n_fds = n_fds;
	for (size_t i = 0; i < n_fds; i++)
		pk->fd[i] = fd[i];
	memcpy(pk->bytes, r->request, n);
	sb_list_push_back(&r->parked, &pk->link);
}

/* Requests keep their order: while one is parked, all are. Takes the descriptors, unless -1: refused for good, errno. */
static int submit(struct real *r, size_t n, const int *fd, size_t n_fds)
{
	if (sb_list_empty(&r->parked)) {
		if (send_with_fds(r->sock, r->request, n, fd, n_fds) >= 0) {
			close_fds(fd, n_fds);
			return 0;
		}
		if (errno != EAGAIN && errno != EINTR)
			return -1;
	}
	park(r, n, fd, n_fds);
	event_add(&r->ev_room, NULL);
	return 0;
}

static void drop_parked(struct parked *pk)
{
	close_fds(pk->fd, pk->n_fds);
	sb_list_unlink(&pk->link);
	sb_pool_free(pk);
}

/* Its end of the socket is closed; that ours says so too may take another turn. */
static bool is_gone(int err)
{
	return err == EPIPE || err == ECONNRESET;
}

static void on_sock_room(evutil_socket_t fd, short what, void *arg)
{
	struct real *r = arg;

	(void)fd;
	(void)what;
	while (!sb_list_empty(&r->parked)) {
		struct parked *pk = SB_CONTAINER(r->parked.next, struct parked, link);

		if (send_with_fds(r->sock, pk->bytes, pk->n, pk->fd, pk->n_fds) < 0) {
			if (errno == EAGAIN)
				event_add(&r->ev_room, NULL);
			if (errno == EAGAIN || is_gone(errno))
				return;
		}
		drop_parked(pk);
	}
}

static bool put_text(struct real *r, size_t *n, const char *s)
{
	size_t len = strlen(s) + 1;

	if (len > sizeof(r->request) - *n)
		return false;
	memcpy(r->request + *n, s, len);
	*n += len;
	return true;
}

/* Into r->request; 0: too large. */
static size_t encode_start(struct real *r, const struct child *c, const struct sb_proc_spec *spec)
{
	struct spawn_request rq = { .id = c->id, .kind = SPAWN_START, .channel = spec->channel };
	size_t n = sizeof(rq);
	bool fits = put_text(r, &n, spec->cwd ? spec->cwd : "");

	for (; fits && spec->argv[rq.argc]; rq.argc++)
		fits = put_text(r, &n, spec->argv[rq.argc]);
	for (; fits && spec->envp[rq.envc]; rq.envc++)
		fits = put_text(r, &n, spec->envp[rq.envc]);
	memcpy(r->request, &rq, sizeof(rq));
	return fits ? n : 0;
}

/* ------------------------------------------------------------------------------------------------ ops */

/* One pipe; our end (`mine` 0: the reading one) does not block, the child's does. */
static int make_pipe(int mine, int *ret_ours, int *ret_its)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -1;
	if (fcntl(fd[mine], F_SETFL, O_NONBLOCK) < 0) {
		close_fds(fd, 2);
		return -1;
	}
	*ret_ours = fd[mine];
	*ret_its = fd[!mine];
	return 0;
}

/* its[] in the order that the child gets them: stdin, stdout, stderr, channel. */
static int make_pipes(struct child *c, bool channel, int *its)
{
	if (make_pipe(1, &c->in, &its[0]) < 0 || make_pipe(0, &c->out[SB_STREAM_STDOUT].fd, &its[1]) < 0 ||
		make_pipe(0, &c->out[SB_STREAM_STDERR].fd, &its[2]) < 0)
		return -1;
	return channel ? make_pipe(0, &c->out[SB_STREAM_CHANNEL].fd, &its[3]) : 0;
}

static void say_failed(struct sb_deferred *d)
{
	struct child *c = SB_CONTAINER(d, struct child, fail);
	struct sb_proc *p = c->proc;
	struct sb_err err = c->err;

	free_child(c);
	p->impl = NULL;
	p->cb->failed(p, &err);
}

static struct child *new_child(struct real *r, struct sb_proc *p)
{
	struct child *c = sb_pool_alloc(sizeof(*c));

	memset(c, 0, sizeof(*c));
	c->proc = p;
	c->real = r;
	c->id = ++r->last_id;
	c->in = -1;
	sb_deferred_init(&c->fail, say_failed);
	sb_deferred_init(&c->answers, read_answers);
	for (unsigned i = 0; i < SB_LEN(c->out); i++)
		c->out[i] = (struct stream){ .fd = -1, .which = (enum sb_proc_stream)i, .child = c };
	sb_list_push_back(&r->children, &c->link);
	return c;
}

/* Takes the descriptors, unless -1. */
static int request_start(struct child *c, size_t n, const int *fd, size_t n_fds)
{
	struct real *r = c->real;

	if (!r->procs.down) {
		if (submit(r, n, fd, n_fds) == 0)
			return 0;
		if (!is_gone(errno))
			return -1;
	}
	c->waits = true;
	park(r, n, fd, n_fds);
	return 0;
}

static void real_spawn(struct sb_procs *ps, struct sb_proc *p, const struct sb_proc_spec *spec)
{
	struct real *r = real_of(ps);
	struct child *c = new_child(r, p);
	int its[SPAWN_FDS_MAX] = { -1, -1, -1, -1 };
	size_t n = encode_start(r, c, spec);

	p->procs = ps;
	p->pid = 0;
	p->lost = false;
	p->impl = c;
	if (n == 0)
		sb_fail(&c->err, SB_E_LIMIT, "command and environment are larger than %u bytes", SB_PROC_SPEC_MAX);
	else if (make_pipes(c, spec->channel, its) < 0)
		sb_fail_errno(&c->err, "cannot make pipes for '%s'", spec->argv[0]);
	else if (request_start(c, n, its, spec->channel ? 4 : 3) < 0)
		sb_fail_errno(&c->err, "cannot ask the spawner to start '%s'", spec->argv[0]);
	else
		return;
	close_fds(its, SB_LEN(its));
	sb_defer(&r->timers, &c->fail);
}

static size_t real_write(struct sb_proc *p, const char *data, size_t n)
{
	struct child *c = p->impl;
	size_t done = 0;

	while (done < n && c->in >= 0) {
		ssize_t w = write(c->in, data + done, n - done);

		if (w >= 0) {
			done += (size_t)w;
		} else if (errno == EAGAIN) {
			event_add(&c->ev_in, NULL);
			return done;
		} else if (errno != EINTR) {
			close_in(c);
		}
	}
	return n;
}

static void real_close_stdin(struct sb_proc *p)
{
	if (p->impl)
		close_in(p->impl);
}

/* Nobody has heard of it yet. */
static void cancel_start(struct child *c)
{
	struct real *r = c->real;

	for (struct sb_link *l = r->parked.next; l != &r->parked; l = l->next) {
		struct parked *pk = SB_CONTAINER(l, struct parked, link);

		if (pk->id == c->id) {
			drop_parked(pk);
			break;
		}
	}
	c->waits = false;
	sb_fail(&c->err, SB_E_UNREACHABLE, "the spawner process is gone");
	sb_defer(&r->timers, &c->fail);
}

static void real_signal(struct sb_proc *p, int sig)
{
	struct child *c = p->impl;
	struct spawn_request rq = { .kind = SPAWN_SIGNAL, .sig = (uint16_t)sig };

	if (c && c->waits)
		cancel_start(c);
	if (!c || c->real->procs.down)
		return; /* what the last spawner had started is being killed */
	rq.id = c->id;
	memcpy(c->real->request, &rq, sizeof(rq));
	submit(c->real, sizeof(rq), NULL, 0); /* -1: the spawner is gone, and the process with it */
}

static void real_throttle(struct sb_proc *p, enum sb_proc_stream s, bool stop)
{
	struct child *c = p->impl;

	if (!c || c->out[s].fd < 0 || !c->started)
		return;
	if (stop)
		event_del(&c->out[s].ev);
	else
		event_add(&c->out[s].ev, NULL);
}

/* ------------------------------------------------------------------------------------------------ notices */

static void on_started(struct child *c, pid_t pid)
{
	struct real *r = c->real;

	event_assign(&c->ev_in, r->base, c->in, EV_WRITE, on_writable, c);
	for (unsigned i = 0; i < SB_LEN(c->out); i++) {
		struct stream *s = &c->out[i];

		if (s->fd < 0)
			continue;
		event_assign(&s->ev, r->base, s->fd, EV_READ | EV_PERSIST, on_readable, s);
		event_add(&s->ev, NULL);
	}
	c->started = true;
	c->proc->pid = pid;
	c->proc->cb->started(c->proc);
}

static void on_failed(struct child *c, const struct spawn_notice *n)
{
	static const char *const what[] = {
		[SPAWN_AT_FORK] = "cannot fork",
		[SPAWN_AT_CHDIR] = "cannot enter its folder (cwd)",
		[SPAWN_AT_EXEC] = "cannot execute it",
	};

	errno = n->value;
	sb_fail_errno(&c->err, "%s", what[n->stage]);
	if (n->value != EACCES && n->value != EPERM)
		c->err.code = n->stage == SPAWN_AT_FORK ? SB_E_FULL : SB_E_UNREACHABLE;
	else
		c->err.code = SB_E_REFUSED;
	say_failed(&c->fail);
}

static void on_exited(struct child *c, int wait_status)
{
	struct sb_proc *p = c->proc;

	for (unsigned i = SB_LEN(c->out); i-- > 0;) /* the channel last */
		for (unsigned k = 0; k < LAST_READS && c->out[i].fd >= 0 && read_stream(&c->out[i]); k++)
			;
	free_child(c);
	p->impl = NULL;
	p->cb->exited(p, wait_status);
}

static struct child *find_child(struct real *r, uint64_t id)
{
	for (struct sb_link *l = r->children.next; l != &r->children; l = l->next)
		if (SB_CONTAINER(l, struct child, link)->id == id)
			return SB_CONTAINER(l, struct child, link);
	return NULL;
}

static void forget_requests(struct real *r)
{
	struct sb_link *l = r->parked.next;

	while (l != &r->parked) {
		struct parked *pk = SB_CONTAINER(l, struct parked, link);
		struct child *c = find_child(r, pk->id);

		l = l->next;
		if (!c || !c->waits)
			drop_parked(pk);
	}
}

/* Its processes die with it; that they are dead, and not only about to die, is for sb_procs_renew() to say. */
static void spawner_gone(struct real *r)
{
	r->procs.down = true;
	event_del(&r->ev_sock);
	event_del(&r->ev_room);
	close(r->sock);
	r->sock = -1;
	forget_requests(r);
}

/* False: there is none. */
static bool read_notice(struct real *r)
{
	struct spawn_notice n;
	ssize_t got = recv(r->sock, &n, sizeof(n), MSG_DONTWAIT);
	struct child *c;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got != sizeof(n)) {
		spawner_gone(r);
		return false;
	}
	c = find_child(r, n.id);
	if (!c)
		return true;
	if (n.kind == SPAWN_STARTED)
		on_started(c, (pid_t)n.value);
	else if (n.kind == SPAWN_FAILED)
		on_failed(c, &n);
	else
		on_exited(c, n.value);
	return true;
}

static void on_notice(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_notice(arg);
}

/* ------------------------------------------------------------------------------------------------ another spawner */

static void tell_lost(struct child *c)
{
	if (c->started) {
		c->proc->lost = true;
		on_exited(c, SIGKILL);
		return;
	}
	if (c->err.code == SB_OK) {
		c->proc->lost = true;
		sb_fail(&c->err, SB_E_UNREACHABLE, "the spawner process is gone");
	}
	say_failed(&c->fail);
}

/* What the callbacks start meanwhile waits, and is not among them. */
static void tell_all_lost(struct real *r)
{
	struct sb_link lost, *l = r->children.next;

	sb_list_init(&lost);
	while (l != &r->children) {
		struct child *c = SB_CONTAINER(l, struct child, link);

		l = l->next;
		if (c->waits)
			continue;
		sb_list_unlink(&c->link);
		sb_list_push_back(&lost, &c->link);
	}
	while (!sb_list_empty(&lost))
		tell_lost(SB_CONTAINER(lost.next, struct child, link));
}

static void listen_to_spawner(struct real *r, int sock)
{
	r->sock = sock;
	r->procs.down = false;
	event_assign(&r->ev_sock, r->base, sock, EV_READ | EV_PERSIST, on_notice, r);
	event_assign(&r->ev_room, r->base, sock, EV_WRITE, on_sock_room, r);
	event_add(&r->ev_sock, NULL);
}

void sb_procs_renew(struct sb_procs *ps, int sock)
{
	struct real *r = real_of(ps);

	while (!ps->down && read_notice(r)) /* its last words */
		;
	if (!ps->down)
		spawner_gone(r);
	tell_all_lost(r);
	if (sock < 0)
		return;
	listen_to_spawner(r, sock);
	for (struct sb_link *l = r->children.next; l != &r->children; l = l->next)
		SB_CONTAINER(l, struct child, link)->waits = false;
	if (!sb_list_empty(&r->parked))
		event_add(&r->ev_room, NULL);
}

/* ------------------------------------------------------------------------------------------------ life */

static const struct sb_procs_ops real_ops = {
	.spawn = real_spawn,
	.write = real_write,
	.close_stdin = real_close_stdin,
	.signal = real_signal,
	.throttle = real_throttle,
};

struct sb_procs *sb_procs_new(struct event_base *base, int sock)
{
	struct real *r = sb_xcalloc(sizeof(*r));

	r->procs.ops = &real_ops;
	r->procs.timers = &r->timers;
	r->base = base;
	sb_list_init(&r->children);
	sb_list_init(&r->parked);
	signal(SIGPIPE, SIG_IGN); /* there is no MSG_NOSIGNAL for pipes */
	sb_timers_init_loop(&r->timers, &sb_clock_system, base);
	listen_to_spawner(r, sock);
	return &r->procs;
}

void sb_procs_free(struct sb_procs *ps)
{
	struct real *r;

	if (!ps)
		return;
	r = real_of(ps);
	event_del(&r->ev_sock);
	event_del(&r->ev_room);
	if (r->sock >= 0)
		close(r->sock);
	while (!sb_list_empty(&r->parked))
		drop_parked(SB_CONTAINER(r->parked.next, struct parked, link));
	while (!sb_list_empty(&r->children))
		free_child(SB_CONTAINER(r->children.next, struct child, link));
	sb_timers_done(&r->timers);
	free(r);
}
