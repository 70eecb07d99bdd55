/* SPDX-License-Identifier: Apache-2.0 */
#include "conn.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "broker/base/json.h"
#include "httpparse.h"

/*
 * One connection. A loop turn is: one read, as many requests as are complete, one write of the answers that are ready.
 *
 *   on_readable -> fill -> pump: step, step, ... -> write_out -> settle_down
 *
 * Bytes are read into a counted block (struct input) and stay there: requests, their headers and bodies point into it.
 * While the message being read is not complete only offsets are kept, so it may move to a larger block. A block whose
 * requests are all answered is used again from its start, and given back while the connection idles.
 *
 * Answers leave in the order of the requests: a ready answer waits in the queue for those before it. Refusals and
 * "100 Continue" are entries of the same queue.
 *
 * Reading stops while max_pipelined entries or more than a full body's bytes are queued, and goes on when answers have
 * left; a client that does not take its answers so stops itself, until write_ms ends it.
 *
 * Deadlines are absolute: they begin with the wait, not with the last byte. The heap holds a lower bound for each
 * connection and is touched only when a deadline comes nearer, which a busy connection's never does.
 */

#define INPUT_BYTES 8000      /* with the headers of block and pool: one 8 KiB block */
#define LEAST_READ 2048
#define LINGER_MS 1000
#define MAX_IOV 64

/* ------------------------------------------------------------------------------------------------ deadlines */

uint64_t conn_due(const struct conn *c)
{
	return SB_MIN(c->read_due, c->write_due);
}

static void schedule(struct conn *c)
{
	uint64_t due = conn_due(c);

	if (due != UINT64_MAX && (!c->due.slot || due < c->due.key))
		server_schedule(c->s, &c->due, due);
}

static uint64_t wait_ms(const struct conn *c, enum conn_wait w)
{
	switch (w) {
	case WAIT_HANDLER: return 0;
	case WAIT_REQUEST: return c->s->conf.idle_ms;
	case WAIT_HEAD:    return c->s->conf.header_ms;
	case WAIT_BODY:    return c->s->conf.body_ms;
	case WAIT_LINGER:  return LINGER_MS;
	}
	abort(); /* not an enum value: memory is corrupt */
}

static enum conn_wait what_next(const struct conn *c)
{
	if (c->linger)
		return WAIT_LINGER;
	if (c->closing || c->eof || !c->reading)
		return WAIT_HANDLER;
	if (c->phase != READ_HEAD)
		return WAIT_BODY;
	if (c->start < c->len)
		return WAIT_HEAD;
	return c->n_queue ? WAIT_HANDLER : WAIT_REQUEST;
}

static void begin_wait(struct conn *c)
{
	enum conn_wait w = what_next(c);

	if (w == c->wait && c->wait_seq == c->served)
		return;
	c->wait = w;
	c->wait_seq = c->served;
	c->read_due = w == WAIT_HANDLER ? UINT64_MAX : sb_mono_ns(c->s->clock) + wait_ms(c, w) * SB_NS_PER_MS;
	schedule(c);
}

/* ------------------------------------------------------------------------------------------------ end */

/* Their handlers still owe an answer, which will go nowhere. */
static void orphan(struct request *r)
{
	r->conn = NULL;
	if (r->answer || !r->in)
		request_free(r);
	else if (r->pub.on_gone)
		r->pub.on_gone(&r->pub);
}

void conn_close(struct conn *c)
{
	struct sb_http_server *s = c->s;
	struct sb_link *l;

	event_del(&c->rd);
	event_del(&c->wr);
	sb_heap_remove(&s->due, &c->due);
	sb_list_unlink(&c->link);
	sb_list_unlink(&c->dirty);
	s->stats.open--;
	crowd_leave(s->crowd, c->addr);
	close(c->fd);
	while ((l = sb_list_pop_front(&c->queue)) != NULL)
		orphan(SB_CONTAINER(l, struct request, link));
	input_unref(c->in);
	sb_pool_free(c);
}

static void set_reading(struct conn *c, bool on)
{
	if (on == c->reading)
		return;
	c->reading = on;
	if (on)
		event_add(&c->rd, NULL);
	else
		event_del(&c->rd);
}

/* ------------------------------------------------------------------------------------------------ refusals */

static void refuse_with(struct conn *c, const struct sb_refuse_http *why)
{
	struct request *r = request_new(c, 0);

	c->s->stats.refused[why->why]++;
	r->close = r->ours = c->closing = true;
	c->start = c->len; /* nothing behind a refusal is read */
	server_date(c->s);
	/* A refusal of ours is a request that no handler answers. */
	sb_http_reply_error(&r->pub, why->status, sb_http_refusal_name(why->why), "%s", why->msg);
}

/* ------------------------------------------------------------------------------------------------ reading */

/* Bytes of the message being read, as far as one can tell. More than there are. */
static size_t wanted_bytes(const struct conn *c)
{
	size_t have = c->len - c->start;

	if (c->phase == READ_BODY)
		return c->guard.line + (size_t)c->guard.length;
	return SB_MAX(INPUT_BYTES, have * 2);
}

static void move_message(struct conn *c, struct input *to)
{
	size_t have = c->len - c->start;

	if (c->in && have)
		memmove(to->data, c->in->data + c->start, have);
	if (to != c->in)
		input_unref(c->in);
	c->in = to;
	if (c->phase == READ_CHUNKS) {
		c->chunked.wr -= c->start;
		c->chunked.rd -= c->start;
	}
	c->start = 0;
	c->len = (uint32_t)have;
}

/* Room for a read worth its system call. -1: the server's buffers are full. */
static int make_room(struct conn *c)
{
	size_t have = c->len - c->start, want = wanted_bytes(c), least = SB_MIN(want - have, LEAST_READ);
	struct input *in = c->in;

	if (in && in->refs == 1 && have == 0)
		c->start = c->len = 0;
	if (in && in->cap - c->len >= least)
		return 0;
	/* A long body grows by doubling: room comes with the bytes, not with their announcement. */
	if (!in || in->refs > 1 || in->cap - have < least)
		in = input_new(c->s, SB_MIN(want, SB_MAX(2 * have, INPUT_BYTES)));
	if (!in)
		return -1;
	move_message(c, in);
	return 0;
}

/* 1: bytes came; 0: none now; -1: the connection is gone. */
static int fill(struct conn *c)
{
	ssize_t n = recv(c->fd, c->in->data + c->len, c->in->cap - c->len, 0);

	if (n > 0) {
		c->len += (uint32_t)n;
		return 1;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return -1;
	c->eof = true; /* perhaps only their half: what is owed is still answered */
	set_reading(c, false);
	return 0;
}

static struct sb_slice after(struct sb_slice s, size_t n)
{
	return sb_slice(s.p + n, s.n - n);
}

static void split_target(struct sb_http_req *req)
{
	const char *q = memchr(req->target.p, '?', req->target.n);

	req->path = q ? sb_slice(req->target.p, (size_t)(q - req->target.p)) : req->target;
	req->query = q ? after(req->target, req->path.n + 1) : (struct sb_slice){ 0 };
}

static bool framing_agrees(const struct sb_guard *g, const struct sb_head *h)
{
	return h->chunked == g->chunked && h->length == (g->has_length ? g->length : 0) && h->n == g->n_headers &&
	       (h->minor == 0) == g->http10;
}

static void hand_over(struct conn *c, const struct sb_head *head, struct sb_slice body, size_t end)
{
	struct request *r = request_new(c, head->n);
	struct sb_http_req *req = &r->pub;

	req->method = sb_slice(c->in->data + c->start + c->guard.start, c->guard.method_n);
	req->target = head->target;
	split_target(req);
	memcpy(r->header, head->header, head->n * sizeof(head->header[0]));
	req->header = r->header;
	req->n_headers = head->n;
	req->body = body;
	memcpy(req->peer, c->peer, sizeof(req->peer));
	req->loopback = c->loopback;
	r->in = c->in;
	r->in->refs++;
	r->head = req->method.n == 4 && req->method.p[0] == 'H';
	c->served++;
	r->bytes = (uint32_t)(end - c->start);
	c->queued_bytes += r->bytes;
	r->ours = c->s->conf.max_requests && c->served >= c->s->conf.max_requests;
	r->close = r->ours || c->guard.close;
	c->closing = c->closing || r->close;
	c->start = (uint32_t)end;
	c->phase = READ_HEAD;
	c->guard = (struct sb_guard){ 0 };
	c->s->stats.requests++;
	c->s->on_request(req, c->s->arg);
}

/* The message that begins at c->start and ends at `end` is complete. */
static void complete(struct conn *c, struct sb_slice body, size_t end)
{
	static const struct sb_refuse_http disagree = { 400, SB_HTTP_BAD_SYNTAX, "the request cannot be parsed" };
	struct sb_head head = { .header = c->s->scratch, .max = c->s->conf.max_headers };
	const struct sb_guard *g = &c->guard;

	if (sb_httpparse_head(c->in->data + c->start + g->start, g->line - g->start, &head) < 0 || !framing_agrees(g, &head))
		refuse_with(c, &disagree);
	else
		hand_over(c, &head, body, end);
}

static void head_complete(struct conn *c)
{
	bool body = c->guard.chunked || c->guard.length;

	c->phase = c->guard.chunked ? READ_CHUNKS : READ_BODY;
	c->chunked = (struct sb_chunked){ .wr = c->start + c->guard.line, .rd = c->start + c->guard.line };
	if (c->guard.expect && body && c->start + c->guard.line == c->len && !c->guard.http10)
		request_interim(request_new(c, 0));
}

/* Each step_: 1: go on; 0: more bytes are needed, or this connection reads no more. */
static int step_head(struct conn *c)
{
	struct sb_refuse_http why;
	int rc = sb_guard_head(&c->guard, &c->s->limits, c->in->data + c->start, c->len - c->start, &why);

	if (rc < 0)
		refuse_with(c, &why);
	if (rc <= 0)
		return 0;
	head_complete(c);
	return 1;
}

static int step_body(struct conn *c)
{
	size_t from = c->start + c->guard.line, end = from + (size_t)c->guard.length;

	if (end > c->len)
		return 0;
	complete(c, sb_slice(c->in->data + from, (size_t)c->guard.length), end);
	return 1;
}

static int step_chunks(struct conn *c)
{
	size_t from = c->start + c->guard.line;
	struct sb_chunked *k = &c->chunked;
	struct sb_refuse_http why;
	int rc = sb_chunked_run(k, &c->s->limits, c->in->data, c->len, &why);

	if (rc < 0)
		refuse_with(c, &why);
	if (rc > 0) {
		complete(c, sb_slice(c->in->data + from, k->wr - from), k->rd);
		return 1;
	}
	if (rc == 0 && k->rd > k->wr) { /* the framing that was read needs no room any more */
		memmove(c->in->data + k->wr, c->in->data + k->rd, c->len - k->rd);
		c->len -= (uint32_t)(k->rd - k->wr);
		k->rd = k->wr;
	}
	return 0;
}

static int step(struct conn *c)
{
	switch (c->phase) {
	case READ_HEAD:   return c->start < c->len ? step_head(c) : 0;
	case READ_BODY:   return step_body(c);
	case READ_CHUNKS: return step_chunks(c);
	}
	abort(); /* not an enum value: memory is corrupt */
}

/* ------------------------------------------------------------------------------------------------ writing */

static size_t gather(const struct conn *c, struct iovec *iov)
{
	size_t n = 0;

	for (struct sb_link *l = c->queue.next; l != &c->queue && n < MAX_IOV; l = l->next) {
		struct request *r = SB_CONTAINER(l, struct request, link);

		if (!r->answer)
			break;
		iov[n++] = (struct iovec){ r->answer, r->answer_n };
	}
	if (n) {
		iov[0].iov_base = (char *)iov[0].iov_base + c->out_off;
		iov[0].iov_len -= c->out_off;
	}
	return n;
}

static void dequeue(struct conn *c, struct request *r)
{
	sb_list_unlink(&r->link);
	c->n_queue--;
	c->queued_bytes -= r->bytes;
	c->write_due = UINT64_MAX;
	request_free(r);
}

static void linger(struct conn *c)
{
	shutdown(c->fd, SHUT_WR);
	c->closing = c->linger = true;
	set_reading(c, true);
	begin_wait(c);
}

/* The answer that ends the connection has left. */
static void finish(struct conn *c, struct request *last)
{
	bool ours = last->ours;

	dequeue(c, last);
	if (ours && !c->eof)
		linger(c);
	else
		conn_close(c);
}

/* n more bytes have left. 0, or -1: the connection ends. */
static int sent(struct conn *c, size_t n)
{
	n += c->out_off;
	while (!sb_list_empty(&c->queue)) {
		struct request *r = SB_CONTAINER(c->queue.next, struct request, link);

		if (!r->answer || n < r->answer_n)
			break;
		n -= r->answer_n;
		if (r->close) {
			finish(c, r);
			return -1;
		}
		dequeue(c, r);
	}
	c->out_off = (uint32_t)n;
	return 0;
}

static void write_blocked(struct conn *c)
{
	event_add(&c->wr, NULL);
	if (c->write_due != UINT64_MAX)
		return;
	c->write_due = sb_mono_ns(c->s->clock) + c->s->conf.write_ms * SB_NS_PER_MS;
	schedule(c);
}

/* 0, or -1: the connection is gone or lingers. */
static int write_out(struct conn *c)
{
	struct iovec iov[MAX_IOV];
	struct msghdr msg = { .msg_iov = iov };
	ssize_t n;

	while ((msg.msg_iovlen = gather(c, iov)) > 0) {
		n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			write_blocked(c);
			return 0;
		}
		if (n < 0) {
			conn_close(c);
			return -1;
		}
		if (sent(c, (size_t)n) < 0)
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------ the loop's side */

static bool has_room(const struct conn *c)
{
	return c->n_queue < c->s->conf.max_pipelined && c->queued_bytes <= c->s->conf.max_body;
}

/* After everything that could be done has been done. */
static void settle_down(struct conn *c, bool stalled)
{
	bool nothing_unread = c->start == c->len;

	c->closing = c->closing || (c->eof && !stalled);
	if (c->closing && !c->n_queue) {
		conn_close(c);
		return;
	}
	if (c->s->draining && nothing_unread && !c->n_queue) {
		linger(c);
		return;
	}
	set_reading(c, !c->eof && !c->closing && has_room(c));
	if (c->in && nothing_unread && c->in->refs == 1) {
		input_unref(c->in);
		c->in = NULL;
		c->start = c->len = 0;
	}
	begin_wait(c);
}

static void pump(struct conn *c)
{
	bool stalled;

	sb_list_unlink(&c->dirty);
	do {
		c->pumping = true;
		while (!c->closing && has_room(c) && step(c) > 0)
			;
		c->pumping = false;
		stalled = !c->closing && !has_room(c);
		if (write_out(c) < 0)
			return;
	} while (stalled && has_room(c));
	settle_down(c, stalled);
}

void conn_flush(struct conn *c)
{
	pump(c);
}

static void discard(struct conn *c)
{
	char sink[4096];
	ssize_t n = recv(c->fd, sink, sizeof(sink), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		conn_close(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	static const struct sb_refuse_http full = { 503, SB_HTTP_NO_ROOM, "the server's buffers are full" };
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->linger) {
		discard(c);
		return;
	}
	if (make_room(c) < 0)
		refuse_with(c, &full);
	else if (fill(c) < 0) {
		conn_close(c);
		return;
	}
	pump(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	pump(arg);
}

static void refuse_late(struct conn *c, enum sb_http_refusal why, const char *msg)
{
	refuse_with(c, &(struct sb_refuse_http){ 408, why, msg });
	pump(c);
}

void conn_expired(struct conn *c, uint64_t now)
{
	if (c->write_due <= now) {
		c->s->stats.refused[SB_HTTP_WRITE_TIMEOUT]++;
		conn_close(c);
		return;
	}
	if (c->read_due > now) { /* the heap only knew a lower bound */
		schedule(c);
		return;
	}
	switch (c->wait) {
	case WAIT_HEAD:    refuse_late(c, SB_HTTP_HEADER_TIMEOUT, "the header did not come in time"); return;
	case WAIT_BODY:    refuse_late(c, SB_HTTP_BODY_TIMEOUT, "the body did not come in time"); return;
	case WAIT_HANDLER: /* has no deadline */
	case WAIT_REQUEST:
	case WAIT_LINGER:  conn_close(c); return;
	}
}

void conn_drain(struct conn *c)
{
	if (!c->linger)
		pump(c);
}

void conn_open(struct listener *l, int fd, const char *peer, bool loopback, struct crowd_addr *addr)
{
	struct sb_http_server *s = l->s;
	struct conn *c = sb_pool_alloc(sizeof(*c));

	memset(c, 0, sizeof(*c));
	c->s = s;
	c->fd = fd;
	c->tag = l->tag;
	c->addr = addr;
	c->loopback = loopback;
	strncpy(c->peer, peer, sizeof(c->peer) - 1);
	c->read_due = c->write_due = UINT64_MAX;
	sb_list_init(&c->dirty);
	sb_list_init(&c->queue);
	sb_list_push_back(&s->conns, &c->link);
	event_assign(&c->rd, s->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->wr, s->base, fd, EV_WRITE, on_writable, c);
	s->stats.connections++;
	s->stats.open++;
	set_reading(c, true);
	begin_wait(c);
}
