/* SPDX-License-Identifier: Apache-2.0 */
#include "sender.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "broker/net/http.h"

struct http_sender {
	struct stage *stage;
	unsigned k;
	struct bufferevent *bev; /* NULL: it has left, or nothing was sent yet */
};

struct house {
	struct sb_http_server *server;
	char path[96];
	struct http_sender sender[STAGE_SENDERS];
};

static void on_request(struct sb_http_req *req, void *arg)
{
	struct stage *st = arg;

	if (!sb_http_route_call(st->env.routes, req))
		sb_http_reply_error(req, 404, "not_found", "no such path");
}

int senders_make(struct stage *st, struct sb_err *err)
{
	struct house *h = st->far = sb_xcalloc(sizeof(*h));
	struct sb_http_conf conf = sb_http_conf_default;
	char address[128];
	int fd;

	conf.max_body = 4 * STAGE_EVENT_MAX; /* so that the connector is the one who refuses */
	st->env.routes = sb_http_routes_new();
	h->server = sb_http_server_new(st->env.base, &sb_clock_system, &conf, on_request, st);
	snprintf(h->path, sizeof(h->path), "%s/http", st->dir);
	snprintf(address, sizeof(address), "unix:%s", h->path);
	if (sb_listen(address, false, &fd, NULL, err) < 0)
		return -1;
	return sb_http_server_listen(h->server, fd, NULL, err);
}

void senders_leave(struct stage *st, unsigned k)
{
	struct house *h = st->far;

	if (h->sender[k].bev)
		bufferevent_free(h->sender[k].bev);
	h->sender[k].bev = NULL;
	st->sender[k].gone = true;
}

void senders_unmake(struct stage *st)
{
	struct house *h = st->far;

	if (!h)
		return;
	for (unsigned k = 0; k < STAGE_SENDERS; k++)
		if (h->sender[k].bev)
			bufferevent_free(h->sender[k].bev);
	sb_http_server_free(h->server);
	sb_http_routes_free(st->env.routes);
	free(h);
	st->far = NULL;
}

static void on_nothing(struct sb_http_req *req, void *arg)
{
	(void)arg;
	sb_http_reply_error(req, 500, "not_here", "somebody else's");
}

void senders_take_path(struct stage *st, const char *path)
{
	struct sb_err err;

	if (sb_http_route_add(st->env.routes, path, on_nothing, NULL, &err) < 0)
		violated(st, "%s is taken already: %s", path, err.msg);
}

/* ------------------------------------------------------------------------------------------------ answers */

static void read_answers(struct http_sender *s, struct evbuffer *in)
{
	static const char begin[] = "HTTP/1.1 ";
	char *all = sb_xcalloc(evbuffer_get_length(in) + 1), *p = all;

	evbuffer_remove(in, all, evbuffer_get_length(in));
	while ((p = strstr(p, begin))) {
		p += sizeof(begin) - 1;
		stage_heard(s->stage, s->k, *p == '2');
	}
	free(all);
}

static void on_end(struct bufferevent *bev, short what, void *arg)
{
	struct http_sender *s = arg;

	if (what & BEV_EVENT_CONNECTED)
		return;
	read_answers(s, bufferevent_get_input(bev));
	bufferevent_free(bev);
	s->bev = NULL;
}

void senders_offer(struct stage *st, unsigned k, const struct http_offer *o, struct sb_slice body)
{
	struct house *h = st->far;
	struct http_sender *s = &h->sender[k];
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct evbuffer *out;

	*s = (struct http_sender){ st, k, bufferevent_socket_new(st->env.base, -1, BEV_OPT_CLOSE_ON_FREE) };
	memcpy(un.sun_path, h->path, sizeof(h->path));
	bufferevent_setcb(s->bev, NULL, NULL, on_end, s);
	bufferevent_enable(s->bev, EV_READ | EV_WRITE);
	out = bufferevent_get_output(s->bev);
	evbuffer_add_printf(out, "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n",
		o->path, body.n, o->headers);
	evbuffer_add(out, body.p, body.n);
	if (bufferevent_socket_connect(s->bev, (struct sockaddr *)&un, sizeof(un)) < 0)
		violated(st, "no connection to the stage's own server");
}
