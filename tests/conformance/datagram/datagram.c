/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages as datagrams of a unix socket: whole or not at all, and a full queue is told to who sends. The source binds the path and
 * answers each message with "ok" once it is durable, else "no: " and why. The target sends to the path.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "connectors/envelope.h"

#define MAX_PATH (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
#define READ_MOST 16 /* messages in one turn of the loop: others want theirs */

struct datagram_conf {
	const char *path;
	uint64_t max_bytes;
};

static const struct sb_field datagram_fields[] = {
	SB_F(FILE, struct datagram_conf, path, .required = true, .doc = "The socket's place in the file system."),
	SB_F(BYTES, struct datagram_conf, max_bytes, .min = 1, .max = 128 << 10, .dflt = "64KiB",
		.doc = "Largest message."),
	{ 0 },
};

/* What rows cannot say: how long a file's name may be, once it is complete. */
static int datagram_check(struct sb_decode *d, const struct sb_node *at, void *conf)
{
	const struct datagram_conf *c = conf;
	const struct sb_node *n = sb_node_get(at, "path");
	struct sb_err err;

	if (strlen(c->path) <= MAX_PATH)
		return 0;
	sb_fail_at(&err, SB_E_LIMIT, n ? &n->at : NULL, "path: a socket's path has at most %zu bytes", MAX_PATH);
	sb_diag_error(d->diags, &err);
	return -1;
}

static struct sockaddr_un address(const struct datagram_conf *c)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", c->path);
	return un;
}

static int new_socket(struct sb_err *err)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? sb_fail_errno(err, "socket") : fd;
}

/* ------------------------------------------------------------------------------------------------ target */

struct datagram_target {
	int fd;
	bool opened, closed;
	uint64_t sent;
};

static int target_open(struct sb_target *t, struct sb_err *err)
{
	struct datagram_target *d = t->state;

	d->fd = new_socket(err);
	d->opened = d->fd >= 0;
	return d->opened ? 0 : -1;
}

/* The outcome decides what the framework does: again later, again soon and uncounted, or into the dead letters. */
static struct sb_result result_of(int error)
{
	struct sb_result r = {
		.outcome = SB_RETRY, .reason = SB_R_INTERNAL_ERROR, .message = sb_slice_str(strerror(error))
	};

	if (error == 0)
		return (struct sb_result){ .outcome = SB_DELIVERED };
	if (error == EAGAIN || error == ENOBUFS) {
		r.reason = SB_R_THROTTLING;
	} else if (error == ENOENT || error == ECONNREFUSED) {
		r.outcome = SB_UNREACHABLE;
		r.reason = SB_R_CONNECTION_FAILURE;
	} else if (error == EMSGSIZE) {
		r.outcome = SB_REJECTED;
		r.reason = SB_R_RESOURCE_LIMIT_EXCEEDED;
	}
	return r;
}

static int put(struct datagram_target *d, const struct datagram_conf *c, struct sb_slice input)
{
	struct sockaddr_un un = address(c);

	if (input.n > c->max_bytes)
		return EMSGSIZE;
	if (sendto(d->fd, input.p, input.n, MSG_NOSIGNAL, (struct sockaddr *)&un, sizeof(un)) < 0)
		return errno;
	d->sent++;
	return 0;
}

static void target_send(struct sb_target *t, struct sb_batch *b)
{
	size_t n = b->n; /* the batch may be gone with its last item */

	for (size_t i = 0; i < n; i++) {
		struct sb_result r = result_of(put(t->state, t->conf, b->item[i].input));

		sb_batch_settle(t, b, i, &r);
	}
}

static void target_close(struct sb_target *t)
{
	struct datagram_target *d = t->state;

	if (d->closed)
		return;
	d->closed = true;
	sb_target_closed(t); /* nothing is ever outstanding */
}

static void target_free(struct sb_target *t)
{
	struct datagram_target *d = t->state;

	if (d->opened)
		close(d->fd);
}

static void target_status(struct sb_target *t, struct sb_buf *out)
{
	const struct datagram_target *d = t->state;

	sb_buf_addf(out, "\"sent\":%llu", (unsigned long long)d->sent);
}

/* ------------------------------------------------------------------------------------------------ source */

struct datagram_source {
	struct sb_source *s;
	int fd;
	struct event *readable; /* NULL: not open, or not on this shard */
	struct sb_envelope_reader *reader;
	char *buf;
	unsigned waiting; /* senders whose answer is due */
	bool closing;
};

/* Who sent a group of one, until it is known what became of it: the cookie. */
struct sender {
	struct sockaddr_un from;
	socklen_t n;
};

/* A sender without an address, or one that does not read, gets none. */
static void answer(struct datagram_source *d, const struct sender *to, const char *word, const char *why)
{
	char text[200];
	int n = snprintf(text, sizeof(text), "%s%s", word, why);

	if (to->n > sizeof(sa_family_t))
		(void)sendto(d->fd, text, (size_t)SB_MIN(n, (int)sizeof(text) - 1), MSG_NOSIGNAL,
			(const struct sockaddr *)&to->from, to->n);
}

static void reject(struct datagram_source *d, const struct sender *from, const char *reason, const char *why)
{
	sb_source_rejected(d->s, reason, 1);
	answer(d, from, "no: ", why);
}

static void offer(struct datagram_source *d, struct sb_event *ev, const struct sender *from)
{
	struct sender *kept = sb_pool_alloc(sizeof(*kept));
	struct sb_refusal why = { 0 };

	*kept = *from;
	d->waiting++;
	if (sb_source_emit(d->s, &ev, 1, (uint64_t)(uintptr_t)kept, &why) == 0)
		return;
	d->waiting--;
	sb_pool_free(kept);
	sb_event_unref(ev); /* still ours */
	answer(d, from, "no: ", why.msg);
}

static void take(struct datagram_source *d, size_t n, const struct sender *from)
{
	const struct datagram_conf *c = d->s->conf;
	struct sb_message m = { .value = { d->buf, n } };
	struct sb_event *ev;
	struct sb_err err;

	if (n > c->max_bytes) /* its end was cut off */
		reject(d, from, "too_large", "larger than max_bytes");
	else if (sb_envelope_read(d->reader, &m, &ev, &err) < 0)
		reject(d, from, sb_envelope_code(d->reader), err.msg);
	else
		offer(d, ev, from);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct datagram_source *d = arg;
	const struct datagram_conf *c = d->s->conf;

	(void)what;
	for (unsigned i = 0; i < READ_MOST; i++) {
		struct sender from = { .n = sizeof(from.from) };
		ssize_t n = recvfrom(fd, d->buf, c->max_bytes, MSG_TRUNC, (struct sockaddr *)&from.from, &from.n);

		if (n < 0)
			return;
		take(d, (size_t)n, &from);
	}
}

/* A source is opened on every shard; a path has one owner. */
static int source_open(struct sb_source *s, struct sb_err *err)
{
	struct datagram_source *d = s->state;
	const struct datagram_conf *c = s->conf;
	struct sockaddr_un un = address(c);

	d->s = s;
	d->fd = -1;
	if (s->env->shard != 0)
		return 0;
	d->fd = new_socket(err);
	if (d->fd < 0)
		return -1;
	unlink(c->path); /* left over by one that was killed */
	if (bind(d->fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		return sb_fail_errno(err, "%s", c->path);
	d->buf = sb_xmalloc(c->max_bytes + SB_JSON_PAD);
	d->reader = sb_envelope_new(s);
	d->readable = event_new(s->env->base, d->fd, EV_READ | EV_PERSIST, on_readable, d);
	event_add(d->readable, NULL);
	return 0;
}

/* What is not read waits in the socket, and its senders with it. */
static void source_pause(struct sb_source *s, bool on)
{
	struct datagram_source *d = s->state;

	if (!d->readable || d->closing)
		return;
	if (on)
		event_del(d->readable);
	else
		event_add(d->readable, NULL);
}

static void told(struct sb_source *s, uint64_t cookie, const char *word, const char *why)
{
	struct sender *from = (struct sender *)(uintptr_t)cookie;
	struct datagram_source *d = s->state;

	answer(d, from, word, why);
	sb_pool_free(from);
	d->waiting--;
	if (d->closing && d->waiting == 0)
		sb_source_closed(s);
}

static void source_accepted(struct sb_source *s, uint64_t cookie)
{
	told(s, cookie, "ok", "");
}

static void source_refused(struct sb_source *s, uint64_t cookie, const struct sb_refusal *why)
{
	told(s, cookie, "no: ", why->msg);
}

static void source_close(struct sb_source *s)
{
	struct datagram_source *d = s->state;
	const struct datagram_conf *c = s->conf;

	if (d->closing)
		return;
	d->closing = true;
	if (d->readable) {
		event_del(d->readable);
		unlink(c->path);
	}
	if (d->waiting == 0)
		sb_source_closed(s);
}

/* Also what a failed open has left. */
static void source_free(struct sb_source *s)
{
	struct datagram_source *d = s->state;

	if (d->readable)
		event_free(d->readable);
	if (d->fd >= 0)
		close(d->fd);
	sb_envelope_free(d->reader);
	free(d->buf);
}

const struct sb_connector sb_connector_datagram = {
	.type = "datagram",
	.summary = "messages as datagrams of a unix socket (an example for who writes connectors)",
	.source =
		&(const struct sb_source_ops){
			.state_size = sizeof(struct datagram_source),
			.conf_size = sizeof(struct datagram_conf),
			.fields = datagram_fields,
			.check = datagram_check,
			.open = source_open,
			.pause = source_pause,
			.accepted = source_accepted,
			.refused = source_refused,
			.close = source_close,
			.free = source_free,
		},
	.target =
		&(const struct sb_target_ops){
			.state_size = sizeof(struct datagram_target),
			.conf_size = sizeof(struct datagram_conf),
			.fields = datagram_fields,
			.check = datagram_check,
			.open = target_open,
			.send = target_send,
			.close = target_close,
			.free = target_free,
			.status = target_status,
		},
};
