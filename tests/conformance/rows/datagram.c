/* SPDX-License-Identifier: Apache-2.0 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/conformance/stage.h"

extern const struct sb_connector sb_connector_datagram;

#define LARGEST (64u << 10)

struct side {
	struct sockaddr_un un;
	int fd; /* where the target's messages arrive; -1: gone */
	struct peer {
		struct stage *st;
		unsigned k;
		int fd;
		struct event *ev;
		char *text;
		size_t n;
	} peer[STAGE_SENDERS];
};

/* ------------------------------------------------------------------------------------------------ behind the target */

static void come(struct side *s)
{
	s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (bind(s->fd, (struct sockaddr *)&s->un, sizeof(s->un)) < 0)
		perror(s->un.sun_path);
}

static void leave(struct side *s)
{
	close(s->fd);
	unlink(s->un.sun_path);
	s->fd = -1;
}

static void act(struct stage *st, enum far f)
{
	struct side *s = st->far;

	if (f == FAR_GONE)
		leave(s);
	else if (s->fd < 0)
		come(s);
}

static void collect(struct stage *st)
{
	static _Thread_local char text[2 * LARGEST];
	struct side *s = st->far;
	ssize_t n;

	while (s->fd >= 0 && (n = recv(s->fd, text, sizeof(text), 0)) >= 0)
		stage_arrived(st, sb_slice(text, (size_t)n));
}

/* ------------------------------------------------------------------------------------------------ before the source */

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;
	char text[200];
	ssize_t n = recv(fd, text, sizeof(text), 0);

	(void)what;
	if (n >= 2)
		stage_heard(p->st, p->k, memcmp(text, "ok", 2) == 0);
}

/* There is room in the source's queue. */
static void on_room(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;

	(void)what;
	if (send(fd, p->text, p->n, MSG_NOSIGNAL) < 0)
		return;
	event_del(p->ev);
	event_assign(p->ev, p->st->env.base, fd, EV_READ | EV_PERSIST, on_answer, p);
	event_add(p->ev, NULL);
}

static void offer(struct stage *st, unsigned k, struct sb_slice text)
{
	static const struct sockaddr_un anywhere = { .sun_family = AF_UNIX };
	struct side *s = st->far;
	struct peer *p = &s->peer[k];

	*p = (struct peer){ .st = st, .k = k, .n = text.n, .text = sb_xstrndup(text.p, text.n) };
	p->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	p->ev = event_new(st->env.base, p->fd, EV_WRITE | EV_PERSIST, on_room, p);
	if (bind(p->fd, (const struct sockaddr *)&anywhere, sizeof(sa_family_t)) == 0 &&
		connect(p->fd, (struct sockaddr *)&s->un, sizeof(s->un)) == 0)
		event_add(p->ev, NULL); /* else the source is gone already */
}

static void forget(struct peer *p)
{
	if (!p->ev)
		return;
	event_free(p->ev);
	close(p->fd);
	free(p->text);
	p->ev = NULL;
}

static void go_away(struct stage *st, unsigned k)
{
	st->sender[k].gone = true;
	forget(&((struct side *)st->far)->peer[k]);
}

/* ------------------------------------------------------------------------------------------------ both */

static int make(struct stage *st, struct sb_err *err)
{
	struct side *s = st->far = sb_xcalloc(sizeof(*s));

	(void)err;
	s->fd = -1;
	s->un.sun_family = AF_UNIX;
	snprintf(s->un.sun_path, sizeof(s->un.sun_path), "%s/socket", st->dir);
	if (st->target)
		come(s);
	return 0;
}

static void unmake(struct stage *st)
{
	struct side *s = st->far;

	if (s->fd >= 0)
		leave(s);
	for (unsigned k = 0; k < STAGE_SENDERS; k++)
		forget(&s->peer[k]);
	free(s);
}

/* A folder where the source wants its socket. A target's open cannot fail by anything outside. */
static void spoil(struct stage *st)
{
	mkdir(((struct side *)st->far)->un.sun_path, 0700);
}

static const char *const wrong[] = { "{}", "{path: DIR/socket, max_bytes: 0}",
	"{path: "
	"/a/path/that/is/much/too/long/for/the/address/of/a/unix/domain/socket/which/has/room/for/no/more/than/107/"
	"bytes}",
	NULL };

static const char *const bad[] = { "", "{", "nul", "\"\xff\"", "HUGE", NULL };

const struct row row_datagram = {
	.name = "datagram",
	.connector = &sb_connector_datagram,
	.conf = "{path: DIR/socket}",
	.wrong = wrong,
	.make = make,
	.unmake = unmake,
	.target =
		&(const struct target_row){
			.largest = LARGEST,
			.may = { [FAR_TAKES] = MAY(SB_RETRY), [FAR_GONE] = MAY(SB_UNREACHABLE) },
			.act = act,
			.collect = collect,
		},
	.source =
		&(const struct source_row){
			.wrap = "@",
			.bad = bad,
			.waits = true,
			.largest = LARGEST,
			.offer = offer,
			.leave = go_away,
			.spoil = spoil,
		},
};
