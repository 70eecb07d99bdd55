/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_NET_CONN_H
#define SB_NET_CONN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/heap.h"
#include "broker/base/list.h"
#include "broker/net/http.h"
#include "crowd.h"
#include "guard.h"

/* Bytes read from a connection. The connection and every request that points into it hold a reference. */
struct input {
	struct sb_http_server *server; /* whose budget it counts against; NULL when that is gone */
	struct sb_link link;           /* of the server's inputs */
	uint32_t refs, cap;            /* cap leaves SB_JSON_PAD bytes behind it */
	char data[];
};

/* An entry in a connection's queue of answers: a request, or an interim answer, or a refusal. */
struct request {
	struct sb_http_req pub;
	struct sb_link link;     /* conn.queue */
	struct conn *conn;       /* NULL: nobody waits any more */
	struct input *in;        /* NULL: not a request of the handler's */
	void *tag;
	char *answer;            /* NULL: not yet answered */
	uint32_t answer_n;
	uint32_t bytes;          /* of input that it holds */
	bool head;               /* HEAD: the answer has no body */
	bool close;              /* the connection ends with this answer */
	bool ours;               /* closing is our idea: the client may still be sending */
	struct sb_http_header header[];
};

/* Where the message being read stands. */
enum conn_phase { READ_HEAD, READ_BODY, READ_CHUNKS };
/* What the connection waits for, and so which deadline holds. */
enum conn_wait { WAIT_HANDLER, WAIT_REQUEST, WAIT_HEAD, WAIT_BODY, WAIT_LINGER };

struct conn {
	struct sb_http_server *s;
	struct sb_link link;  /* server.conns */
	struct sb_link dirty; /* server.dirty: has answers to be written at the end of the loop turn */
	struct event rd, wr;
	int fd;

	struct input *in;     /* NULL: nothing unread */
	uint32_t start, len;  /* the message being read begins at start; bytes end at len */
	enum conn_phase phase;
	struct sb_guard guard;
	struct sb_chunked chunked;

	struct sb_link queue; /* of struct request, in order */
	uint32_t n_queue, out_off;
	uint64_t queued_bytes;
	uint32_t served;

	struct sb_heap_node due; /* not later than the earlier of the two deadlines */
	enum conn_wait wait;
	uint32_t wait_seq;       /* `served` when the wait began */
	uint64_t read_due, write_due;

	bool reading;    /* rd is added */
	bool pumping;    /* a flush will follow, no need to ask for one */
	bool closing;    /* no more requests are read; closed when the queue is empty */
	bool linger;     /* closed for writing; what still comes is discarded, so that no reset overtakes our last answer */
	bool eof;
	bool loopback;
	char peer[64];
	struct crowd_addr *addr; /* NULL: not counted by address */
	void *tag;
};

struct listener {
	struct listener *next; /* server.listeners */
	struct sb_http_server *s;
	struct event ev;
	int fd;
	bool unix_socket;
	struct sb_heap_node due; /* in the heap while accepting is suspended */
	void *tag;
};

struct sb_http_server {
	struct event_base *base;
	const struct sb_clock *clock;
	struct sb_http_conf conf;
	struct sb_guard_limits limits;
	sb_http_handler *on_request;
	void *arg;
	struct sb_http_stats stats;

	struct sb_link conns, dirty, inputs;
	struct listener *listeners;
	struct event flush_ev, timer;
	struct sb_heap due;
	uint64_t armed;      /* when the timer fires; UINT64_MAX: it does not */
	uint64_t input_bytes;
	struct sb_http_crowd *crowd, *own_crowd; /* own: NULL when it is shared */
	int spare_fd;        /* given up for a moment to refuse a connection when descriptors are out */
	bool draining;

	uint64_t date_s;     /* the second that `date` shows */
	char date[40];       /* "Date: Tue, 24 Nov 2026 08:19:53 GMT\r\n" */
	struct sb_http_header *scratch;
};

/* conn.c */
void conn_open(struct listener *l, int fd, const char *peer, bool loopback, struct crowd_addr *addr);
void conn_close(struct conn *c); /* at once; unanswered requests lose their connection */
void conn_flush(struct conn *c); /* writes what is ready; may close */
void conn_expired(struct conn *c, uint64_t now);
void conn_drain(struct conn *c);
uint64_t conn_due(const struct conn *c);

/* input.c */
/* Room for at least `want` bytes; NULL: the server's budget is used up. */
struct input *input_new(struct sb_http_server *s, size_t want);
void input_unref(struct input *in);

/* request.c */
struct request *request_new(struct conn *c, size_t n_headers); /* at the end of the queue */
void request_free(struct request *r);
/* Renders the answer. */
void request_answer(struct request *r, const struct sb_http_server *s, unsigned status, const char *content_type,
	const char *headers, struct sb_slice body);
void request_interim(struct request *r); /* 100 Continue */

/* server.c */
void server_date(struct sb_http_server *s);
void server_schedule(struct sb_http_server *s, struct sb_heap_node *node, uint64_t key);

#endif
