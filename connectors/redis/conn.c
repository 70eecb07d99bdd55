/* SPDX-License-Identifier: Apache-2.0 */
#include "conn.h"

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "command.h"
#include "sentinel.h"
#include "verdict.h"

/*
 * The states, and what the one timer means in each; LOOKING asks the Sentinels first, where there are some:
 *
 *   STOPPED ──start──> LOOKING ──address──> CONNECTING ──> GREETING ──PONG──> UP
 *                         ^  └──────────────────┴─────────────┴────────────────┘ error, timeout, hung up
 *                         │                                   v
 *                         └──────────────timer───────────── WAITING
 *
 *   LOOKING, CONNECTING, GREETING: the attempt's deadline. UP: a look at whether the server still answers. WAITING: try again.
 *
 * hiredis' context dies with its connection, inside its own callbacks, and ours for the loop before its last ones: `ac` is cleared
 * first, and a context that is not its conn's any more is a stranger. hiredis 0.14 has no timeouts; it resolves names by blocking, so it only ever
 * gets numbers from us.
 */
#define BACKOFF_BASE_MS 50
#define BACKOFF_CAP_MS 3000
#define STEADY_MS 5000 /* up for so long, and the next loss is a new one: a server that refuses what we say must not be hammered */
#define MAX_UNREAD (RDS_REPLY_MAX + (1u << 20)) /* bytes of an answer that is not complete */
#define READ_BYTES (64u << 10)
#define READS_A_TURN 16 /* of so many, or of hiredis' 16 KiB */

enum state { STOPPED, LOOKING, CONNECTING, GREETING, UP, WAITING };

/* hiredis' view of the loop. Lives as long as its context does. */
struct io {
	redisAsyncContext *ac;
	struct event *rev, *wev;
};

struct rds_conn {
	const struct sb_env *env;
	struct rds_conn_conf conf;
	const struct rds_conn_ops *ops;
	void *arg;
	enum state state;
	redisAsyncContext *ac; /* NULL: none */
	struct event *timer;
	struct evdns_base *dns; /* NULL: no name to look up so far */
	struct evdns_getaddrinfo_request *looking;
	struct rds_tls *tls;
	struct rds_sentinels *sentinels; /* NULL: the URL says where */
	struct rds_url url;
	char moved_host[256]; /* "": where the URL says */
	unsigned moved_port;
	unsigned failures;
	uint64_t up_ns;    /* since */
	uint64_t heard_ns; /* last byte, or when an answer began to be due */
	struct sb_buf hello;
	struct rds_reply_bytes replies;
	char where[RDS_URL_TEXT];
	char why[RDS_URL_TEXT + 200];
};

uint64_t rds_backoff_ms(unsigned failures, uint32_t rnd)
{
	uint64_t top = SB_MIN((uint64_t)BACKOFF_CAP_MS, (uint64_t)BACKOFF_BASE_MS << SB_MIN(failures, 20));

	return 1 + top * rnd / UINT32_MAX;
}

static void set_timer(struct rds_conn *c, uint64_t ms)
{
	struct timeval tv = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };

	event_add(c->timer, &tv);
}

/* Whatever there is of an attempt or a connection. Answers that are due come as NULL. */
static void let_go(struct rds_conn *c)
{
	redisAsyncContext *ac = c->ac;
	struct evdns_getaddrinfo_request *looking = c->looking;

	event_del(c->timer);
	if (c->sentinels)
		rds_sentinels_stop(c->sentinels);
	c->looking = NULL;
	if (looking)
		evdns_getaddrinfo_cancel(looking); /* its callback finds that nobody asks any more */
	c->ac = NULL;
	if (!ac)
		return;
	ac->data = NULL;
	redisAsyncFree(ac);
}

/* The connection is gone already, or an attempt has failed. */
static void lost(struct rds_conn *c, const char *why)
{
	snprintf(c->why, sizeof(c->why), "%s: %s", c->where, why);
	let_go(c);
	if (c->state == STOPPED)
		return;
	if (c->state != UP)
		c->moved_host[0] = '\0';
	else if (sb_mono_ns(c->env->clock) - c->up_ns >= STEADY_MS * SB_NS_PER_MS)
		c->failures = 0;
	c->state = WAITING;
	set_timer(c, rds_backoff_ms(c->failures, sb_rand_u32(c->env->rand)));
	c->failures++;
	c->ops->down(c->arg, c->why);
}

void rds_conn_fail(struct rds_conn *c, const char *why)
{
	if (c->state != STOPPED && c->state != WAITING)
		lost(c, why);
}

/* ------------------------------------------------------------------------------------------------ the loop */

static bool has_more(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) == 0 && n > 0;
}

/*
 * hiredis reads 16 KiB at a time: what there is comes in one piece, and it then finds the rest, or nothing, or the end, and looks
 * at all of it. true: there may be more.
 */
static bool read_ahead(redisAsyncContext *ac, int fd)
{
	char bytes[READ_BYTES];
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n > 0)
		redisReaderFeed(ac->c.reader, bytes, (size_t)n);
	return n == (ssize_t)sizeof(bytes);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	redisAsyncContext *ac = ((struct io *)arg)->ac;
	struct rds_conn *c = ac->data;
	bool more = true, plain;

	(void)what;
	if (!c) {
		redisAsyncHandleRead(ac);
		return;
	}
	c->heard_ns = sb_mono_ns(c->env->clock);
	for (int i = 0; i < READS_A_TURN && more; i++) {
		if (ac->c.reader->len > MAX_UNREAD) {
			c->replies.refused = true;
			rds_conn_fail(c, "an answer is larger than we read");
			return;
		}
		plain = !c->tls && c->state >= GREETING;
		more = plain && read_ahead(ac, fd);
		redisAsyncHandleRead(ac);
		if (c->ac != ac)
			return; /* it is gone */
		more |= !plain && has_more(fd);
	}
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	redisAsyncHandleWrite(((struct io *)arg)->ac);
}

static void add_read(void *data)
{
	event_add(((struct io *)data)->rev, NULL);
}

static void del_read(void *data)
{
	event_del(((struct io *)data)->rev);
}

static void add_write(void *data)
{
	event_add(((struct io *)data)->wev, NULL);
}

static void del_write(void *data)
{
	event_del(((struct io *)data)->wev);
}

static void cleanup(void *data)
{
	struct io *io = data;

	event_free(io->rev);
	event_free(io->wev);
	free(io);
}

/* A connection on which nothing is due notices by itself that the other side is gone: a subscriber, an idle target. No matter on a socket. */
static void keep_alive(int fd)
{
	const int on = 1, idle_s = 15, every_s = 5, times = 3;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof(times));
}

static void attach(struct rds_conn *c, redisAsyncContext *ac)
{
	struct io *io = sb_xcalloc(sizeof(*io));

	keep_alive(ac->c.fd);
	io->ac = ac;
	io->rev = event_new(c->env->base, ac->c.fd, EV_READ | EV_PERSIST, on_readable, io);
	io->wev = event_new(c->env->base, ac->c.fd, EV_WRITE, on_writable, io);
	ac->ev.addRead = add_read;
	ac->ev.delRead = del_read;
	ac->ev.addWrite = add_write;
	ac->ev.delWrite = del_write;
	ac->ev.cleanup = cleanup;
	ac->ev.data = io;
	ac->data = c;
	ac->c.reader->fn = &rds_reply_functions;
	ac->c.reader->privdata = &c->replies;
	ac->c.reader->maxbuf = 1u << 20; /* kept between answers */
	add_read(io);
	add_write(io);
}

static struct rds_conn *conn_of(const redisAsyncContext *ac)
{
	struct rds_conn *c = ac->data;

	return c && c->ac == ac ? c : NULL;
}

static const char *text_of(const redisAsyncContext *ac)
{
	const struct rds_conn *c = ac->data;

	if (c->replies.refused)
		return "an answer is larger than we read";
	if (c->tls && *rds_tls_why(c->tls))
		return rds_tls_why(c->tls);
	return ac->c.errstr[0] ? ac->c.errstr : "connection lost";
}

/* ------------------------------------------------------------------------------------------------ greeting */

static void say(struct rds_conn *c, redisCallbackFn *fn)
{
	redisAsyncFormattedCommand(c->ac, fn, NULL, c->hello.p, c->hello.len);
}

/* NULL: it is over, and whoever knows why says so. */
static const redisReply *greeted(redisAsyncContext *ac, void *reply, struct rds_conn **ret)
{
	*ret = conn_of(ac);
	return *ret && (*ret)->state == GREETING ? reply : NULL;
}

static void on_named(redisAsyncContext *ac, void *reply, void *arg)
{
	(void)ac;
	(void)reply;
	(void)arg; /* a name is a courtesy: an ACL may forbid it */
}

static void on_login(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_conn *c;
	const redisReply *r = greeted(ac, reply, &c);

	(void)arg;
	if (r && rds_is_error(r))
		rds_conn_fail(c, r->str);
}

static void on_pong(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_conn *c;
	const redisReply *r = greeted(ac, reply, &c);

	(void)arg;
	if (!r)
		return;
	if (rds_is_error(r) && strncmp(r->str, "NOPERM", 6) != 0) {
		rds_conn_fail(c, r->str);
		return;
	}
	c->state = UP;
	c->up_ns = sb_mono_ns(c->env->clock);
	c->why[0] = '\0';
	set_timer(c, c->conf.command_timeout_ms / 4 + 1);
	c->ops->up(c->arg);
}

/* What a Sentinel says may be of a moment ago. */
static void on_role(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_conn *c;
	const redisReply *r = greeted(ac, reply, &c);

	(void)arg;
	if (r && rds_is_array(r, 1) && !sb_slice_eq_str(rds_text(r->element[0]), "master"))
		rds_conn_fail(c, "it is no primary any more");
}

static void greet_login(struct rds_conn *c)
{
	const char *user = c->conf.user && *c->conf.user ? c->conf.user : c->url.user;
	const char *password = c->conf.password && *c->conf.password ? c->conf.password : c->url.password;
	struct rds_command cmd;

	if (!*password && !*user)
		return;
	sb_buf_clear(&c->hello);
	rds_begin(&cmd, &c->hello, *user ? 3 : 2, "AUTH");
	if (*user)
		rds_word(&cmd, user);
	rds_word(&cmd, password);
	rds_end(&cmd);
	say(c, on_login);
	memset(c->hello.p, 0, c->hello.len);
}

static void greet(struct rds_conn *c)
{
	struct rds_command cmd;

	c->state = GREETING;
	greet_login(c);
	sb_buf_clear(&c->hello);
	rds_begin(&cmd, &c->hello, 3, "CLIENT");
	rds_word(&cmd, "SETNAME");
	rds_word(&cmd, c->conf.name);
	rds_end(&cmd);
	say(c, on_named);
	if (c->url.db) {
		sb_buf_clear(&c->hello);
		rds_begin(&cmd, &c->hello, 2, "SELECT");
		rds_number(&cmd, c->url.db);
		rds_end(&cmd);
		say(c, on_login);
	}
	if (c->sentinels) {
		sb_buf_clear(&c->hello);
		rds_begin(&cmd, &c->hello, 1, "ROLE");
		rds_end(&cmd);
		say(c, on_role);
	}
	sb_buf_clear(&c->hello);
	rds_begin(&cmd, &c->hello, 1, "PING");
	rds_end(&cmd);
	say(c, on_pong);
}

/* ------------------------------------------------------------------------------------------------ connecting */

static void on_connect(const redisAsyncContext *ac, int status)
{
	struct rds_conn *c = conn_of(ac);

	if (!c)
		return;
	if (status == REDIS_OK) {
		greet(c);
		return;
	}
	c->ac = NULL; /* hiredis frees it by itself */
	lost(c, text_of(ac));
}

static void on_disconnect(const redisAsyncContext *ac, int status)
{
	struct rds_conn *c = conn_of(ac);

	(void)status;
	if (!c)
		return;
	c->ac = NULL;
	lost(c, text_of(ac));
}

static void connect_to(struct rds_conn *c, const char *ip, unsigned port)
{
	redisAsyncContext *ac = *c->url.path && !*c->moved_host ? redisAsyncConnectUnix(c->url.path) : redisAsyncConnect(ip, (int)port);
	char why[160];

	if (!ac || ac->err) {
		snprintf(why, sizeof(why), "%s", ac && ac->errstr && *ac->errstr ? ac->errstr : "no memory");
		if (ac)
			redisAsyncFree(ac);
		lost(c, why);
		return;
	}
	c->replies.refused = false;
	attach(c, ac);
	c->ac = ac;
	c->state = CONNECTING;
	redisAsyncSetConnectCallback(ac, on_connect);
	redisAsyncSetDisconnectCallback(ac, on_disconnect);
	if (c->tls && rds_tls_begin(c->tls, &ac->c, *c->moved_host ? c->moved_host : c->url.host) < 0)
		lost(c, "TLS cannot begin");
}

static bool print_address(const struct evutil_addrinfo *a, char ip[64])
{
	if (a->ai_family == AF_INET)
		return evutil_inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)a->ai_addr)->sin_addr, ip, 64) != NULL;
	return a->ai_family == AF_INET6 &&
	       evutil_inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)a->ai_addr)->sin6_addr, ip, 64) != NULL;
}

/* A name may have several, of which some may be dead: every attempt takes the next. */
static const struct evutil_addrinfo *choose(const struct evutil_addrinfo *found, unsigned attempts)
{
	const struct evutil_addrinfo *a;
	unsigned n = 0;

	for (a = found; a; a = a->ai_next)
		n++;
	a = found;
	for (unsigned i = n ? attempts % n : 0; i; i--)
		a = a->ai_next;
	return a;
}

static void on_address(int result, struct evutil_addrinfo *found, void *arg)
{
	const struct evutil_addrinfo *a;
	struct rds_conn *c = arg;
	char ip[64] = "";

	if (result == EVUTIL_EAI_CANCEL)
		return; /* c may be gone */
	c->looking = NULL;
	a = result == 0 ? choose(found, c->failures) : NULL;
	if (a && !print_address(a, ip))
		ip[0] = '\0';
	if (found)
		evutil_freeaddrinfo(found);
	if (!*ip)
		lost(c, result ? evutil_gai_strerror(result) : "the name has no address");
	else
		connect_to(c, ip, *c->moved_host ? c->moved_port : c->url.port);
}

static void look_up(struct rds_conn *c, const char *host)
{
	const struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP };
	struct evdns_getaddrinfo_request *req;

	if (c->dns && c->failures) { /* the machine may have other name servers by now */
		evdns_base_free(c->dns, 0);
		c->dns = NULL;
	}
	if (!c->dns) {
		c->dns = evdns_base_new(c->env->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
		if (c->dns)
			evdns_base_resolv_conf_parse(c->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf"); /* and /etc/hosts, with or without it */
	}
	if (!c->dns) {
		lost(c, "the resolver cannot be set up");
		return;
	}
	req = evdns_getaddrinfo(c->dns, host, NULL, &hints, on_address, c);
	if (c->state == LOOKING && req)
		c->looking = req; /* NULL: it has been answered */
}

static void go_to(struct rds_conn *c, const char *host)
{
	unsigned char numeric[16];

	if ((*c->url.path && !*c->moved_host) || evutil_inet_pton(AF_INET, host, numeric) == 1 || evutil_inet_pton(AF_INET6, host, numeric) == 1)
		connect_to(c, host, *c->moved_host ? c->moved_port : c->url.port);
	else
		look_up(c, host);
}

static void on_primary(void *arg, const char *host, unsigned port, const char *why)
{
	struct rds_conn *c = arg;

	if (!host) {
		lost(c, why);
		return;
	}
	snprintf(c->url.host, sizeof(c->url.host), "%s", host);
	c->url.port = port;
	rds_url_show(&c->url, c->where);
	go_to(c, c->url.host);
}

static void attempt(struct rds_conn *c)
{
	c->state = LOOKING;
	set_timer(c, c->conf.connect_timeout_ms);
	if (c->sentinels && !*c->moved_host)
		rds_sentinels_ask(c->sentinels);
	else
		go_to(c, *c->moved_host ? c->moved_host : c->url.host);
}

/* A server that owes nothing may be silent. */
static void check_silence(struct rds_conn *c)
{
	uint64_t silent_ms = (sb_mono_ns(c->env->clock) - c->heard_ns) / SB_NS_PER_MS;

	if (c->ac->replies.head && silent_ms >= c->conf.command_timeout_ms)
		lost(c, "no answer in time");
	else
		set_timer(c, c->conf.command_timeout_ms / 4 + 1);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct rds_conn *c = arg;

	(void)fd;
	(void)what;
	switch (c->state) {
	case STOPPED:    return;
	case LOOKING:
	case CONNECTING: lost(c, "no connection in time"); return;
	case GREETING:   lost(c, "no answer to the greeting in time"); return;
	case UP:         check_silence(c); return;
	case WAITING:    attempt(c); return;
	}
}

/* ------------------------------------------------------------------------------------------------ for its owner */

bool rds_conn_is_up(const struct rds_conn *c)
{
	return c->state == UP;
}

int rds_conn_send(struct rds_conn *c, struct sb_slice command, redisCallbackFn *fn, void *arg)
{
	if (c->state != UP || !c->ac)
		return -1;
	if (!c->ac->replies.head)
		c->heard_ns = sb_mono_ns(c->env->clock);
	return redisAsyncFormattedCommand(c->ac, fn, arg, command.p, command.n) == REDIS_OK ? 0 : -1;
}

void rds_conn_flush(struct rds_conn *c)
{
	if (c->state == UP && c->ac && !(c->ac->c.flags & REDIS_IN_CALLBACK)) /* from there the loop writes: hiredis 1.x wants it so */
		redisAsyncHandleWrite(c->ac);
}

void rds_conn_moved(struct rds_conn *c, struct sb_slice text)
{
	char why[160];

	snprintf(why, sizeof(why), "%.*s", SB_SLICE_ARG(text));
	if (c->state != UP)
		return;
	if (rds_moved_to(text, c->moved_host, &c->moved_port) < 0)
		c->moved_host[0] = '\0';
	rds_conn_fail(c, why);
}

bool rds_conn_was_flooded(const struct rds_conn *c)
{
	return c->replies.refused;
}

const char *rds_conn_where(const struct rds_conn *c)
{
	return c->where;
}

const char *rds_conn_why(const struct rds_conn *c)
{
	return c->why;
}

static int set_up(struct rds_conn *c, struct sb_err *err)
{
	static const struct rds_tls_conf no_files;
	const struct rds_conn_conf *conf = &c->conf;
	const struct rds_tls_conf *files = conf->tls ? conf->tls : &no_files;

	if (rds_url_parse(conf->n_sentinels ? conf->sentinels[0] : conf->url, &c->url, err) < 0)
		return -1;
	rds_url_show(&c->url, c->where);
	if (conf->n_sentinels) {
		c->url = (struct rds_url){ .tls = c->url.tls, .db = conf->db };
		snprintf(c->where, sizeof(c->where), "primary %.200s", conf->master);
		if (rds_sentinels_new(c->env, conf, on_primary, c, &c->sentinels, err) < 0)
			return -1;
	}
	return c->url.tls ? rds_tls_new(files, &c->tls, err) : 0;
}

int rds_conn_new(const struct sb_env *env, const struct rds_conn_conf *conf, const struct rds_conn_ops *ops, void *arg,
	struct rds_conn **ret, struct sb_err *err)
{
	struct rds_conn *c = sb_xcalloc(sizeof(*c));

	c->env = env;
	c->conf = *conf;
	c->ops = ops;
	c->arg = arg;
	sb_buf_init(&c->hello, 8192);
	if (set_up(c, err) < 0) {
		rds_conn_free(c);
		return -1;
	}
	if (env->base)
		c->timer = evtimer_new(env->base, on_timer, c);
	*ret = c;
	return 0;
}

void rds_conn_start(struct rds_conn *c)
{
	if (c->state == STOPPED && c->timer)
		attempt(c);
}

void rds_conn_stop(struct rds_conn *c)
{
	c->state = STOPPED;
	if (c->timer)
		let_go(c);
}

void rds_conn_free(struct rds_conn *c)
{
	if (!c)
		return;
	rds_conn_stop(c);
	if (c->dns)
		evdns_base_free(c->dns, 0);
	if (c->timer)
		event_free(c->timer);
	rds_sentinels_free(c->sentinels);
	rds_tls_free(c->tls);
	sb_buf_done(&c->hello);
	free(c);
}
