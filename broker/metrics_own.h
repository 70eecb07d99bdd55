/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_METRICS_OWN_H
#define SB_BROKER_METRICS_OWN_H

#include "broker/base/arena.h"
#include "broker/daemon.h"
#include "broker/metrics.h"
#include "broker/metrics_names.h"
#include "connectors/redis/command.h"
#include "connectors/redis/conn.h"

/*
 * Shared by metrics.c (life, flushes), metrics_instance.c and metrics_parts.c (what this daemon tells), metrics_lead.c (what one of
 * them makes of all). Private to them.
 */
#define SB_INSTANCE_TEXT 80
#define SB_METRICS_INSTANCES 256 /* that a leader adds up */
#define SB_METRICS_MARKS 64

struct sb_metrics;
typedef void sb_metrics_reply(struct sb_metrics *m, const redisReply *r, void *arg);

/* One command of a batch, with who wants its answer. */
struct sb_metrics_command {
	struct sb_metrics *m;
	size_t end; /* in the batch's text */
	sb_metrics_reply *fn; /* NULL: nobody, unless it is an error */
	void *arg;
};

/* Rendered as a whole, then sent as a whole: half a flush never leaves. */
struct sb_metrics_batch {
	struct sb_buf text;
	struct rds_command writing;
	struct sb_metrics_command *command;
	size_t n, cap;
	bool bad; /* larger than a flush may be */
};

struct sb_mark {
	char what[16], name[80], detail[96];
};

struct sb_metrics {
	struct sb_daemon *d;
	const struct sb_metrics_conf *conf;
	struct sb_env env;
	struct sb_rand rand;
	struct rds_conn *conn;
	struct event *timer;
	char prefix[96];                  /* "signalbox:{demo}" */
	char instance[SB_INSTANCE_TEXT];  /* "host.1a2b3c4d": another one after a restart */
	char name[72];                    /* of this connection, in CLIENT LIST */
	bool stopped, connected, told;    /* told: that it is away */
	/* the round at hand */
	bool busy, failed;
	size_t left;                      /* answers to come */
	void (*next)(struct sb_metrics *m); /* when they have */
	struct sb_metrics_batch batch;
	char complaint[160];              /* what did not work, last; told once */
	bool complained;
	/* instance */
	bool rewrite;                     /* its parts, from nothing */
	struct sb_names names[SB_PARTS];
	struct sb_map open;               /* target slot's name -> itself: its circuit is open */
	struct sb_map seen;               /* target slot's name -> its struct sb_dispatch_stats, as last gathered */
	struct sb_mark mark[SB_METRICS_MARKS];
	size_t n_marks, n_marks_sent;
	/* leader */
	bool leads;
	struct sb_arena arena;            /* of this round */
	uint64_t hashed, marked;          /* the generation of `rules`, and that which a mark tells of; 0: none */
	char rules[17];                   /* hash of this daemon's rules */
	struct sb_lead *lead;             /* in it */
};

/* metrics.c: one word after the other, as in connectors/redis/command.h. */
void sb_metrics_begin(struct sb_metrics *m, unsigned words, const char *verb);
void sb_metrics_key(struct sb_metrics *m, const char *fmt, ...) SB_PRINTF(2, 3); /* behind the prefix */
void sb_metrics_wordf(struct sb_metrics *m, const char *fmt, ...) SB_PRINTF(2, 3);
void sb_metrics_number(struct sb_metrics *m, uint64_t n);
void sb_metrics_word(struct sb_metrics *m, const char *s);
void sb_metrics_bytes(struct sb_metrics *m, struct sb_slice s);
void sb_metrics_end(struct sb_metrics *m, sb_metrics_reply *fn, void *arg);
void sb_metrics_plain(struct sb_metrics *m, const char *verb); /* a command of one word, whose answer nobody needs */
void sb_metrics_expire(struct sb_metrics *m, uint64_t seconds, const char *fmt, ...) SB_PRINTF(3, 4);
void sb_metrics_clear(struct sb_metrics *m); /* the batch: nobody owes it an answer */
/* Sends the batch; `next` follows when every answer has come, m->failed when not all are good. */
void sb_metrics_send(struct sb_metrics *m, void (*next)(struct sb_metrics *m));
void sb_metrics_round_over(struct sb_metrics *m, bool good);
/* Of EXEC: false when it was not carried out, or one of its commands was not. */
bool sb_metrics_carried_out(struct sb_metrics *m, const redisReply *r);
uint64_t sb_metrics_instance_s(const struct sb_metrics *m); /* without a word for so long, a daemon is gone */
uint64_t sb_metrics_part_s(const struct sb_metrics *m); /* how long its parts live: the leader looks once a roll-up */
uint64_t sb_metrics_gone_s(const struct sb_metrics *m); /* how long anybody's are asked for, however rarely he flushes */

/* metrics_instance.c */
void sb_metrics_tell(struct sb_metrics *m, const struct sb_gather *g);
/* metrics_parts.c */
void sb_metrics_tell_parts(struct sb_metrics *m, const struct sb_gather *g);
/* metrics_lead.c */
void sb_metrics_ask(struct sb_metrics *m); /* who leads, and what it needs to know */
void sb_metrics_asked(struct sb_metrics *m);
void sb_metrics_lead_done(struct sb_metrics *m);

#endif
