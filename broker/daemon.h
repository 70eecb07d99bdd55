/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_DAEMON_H
#define SB_BROKER_DAEMON_H

#include <jansson.h>
#include <stdio.h>
#include <sys/types.h>

#include "broker/config.h"
#include "broker/deadbox.h"
#include "broker/front.h"
#include "broker/gather.h"
#include "broker/keeper.h"
#include "broker/metrics.h"
#include "broker/plan.h"

/*
 * The daemon, put together: `signalbox run`. Everything here belongs to the control thread, which is the main thread.
 * Start: configuration, lock, spawner, journal, dead letters, plan, shards, control socket, ready. Stop: intake closes,
 * attempts in flight may finish, connectors close, what is left is in the journal.
 */
enum sb_stop_phase { SB_RUNNING, SB_DRAINING, SB_CLOSING, SB_SETTLING, SB_LEAVING, SB_STOPPED };

/* What is to become of deliveries whose target has left the configuration. REFUSE: not without being told; at a start: wait. */
enum sb_orphans { SB_ORPHANS_REFUSE, SB_ORPHANS_DRAIN, SB_ORPHANS_DEAD_LETTER };

struct sb_daemon {
	struct sb_core core;
	struct sb_slots slots;
	const struct sb_config *config;
	const struct sb_config *first; /* what was fixed at the start points into it */
	struct sb_plan *plan;
	struct sb_loop **loop;
	struct sb_front *front;      /* [listener * shards + shard] */
	struct sb_http_crowd **crowd; /* of each listener, over all shards */
	struct event_base *base;
	struct sb_mailbox mail;
	struct event *mail_ev, *stop_ev, *minute_ev, *signal_ev[3];
	struct sb_http_server *control;
	struct sb_keeper *keeper;
	struct sb_metrics *metrics;  /* NULL: none wanted */
	int lock;
	uint64_t generation;
	enum sb_stop_phase phase;
	uint64_t drain_until_ns;
	bool failed;
	char address[256];           /* of the first listener, with the port it got */
	char listeners_json[1024];
};

/*
 * Runs until a signal ends it; takes the reference to the configuration. Returns an exit code (broker/exit.h). One that could not start
 * has said why in the log, and in *err; threads may run then, so that the process must end by _exit().
 */
int sb_daemon_run(const struct sb_config *config, enum sb_orphans orphans, struct sb_err *err);

/* control.c */
int sb_control_open(struct sb_daemon *d, struct sb_err *err);
/* dlq.c: the /v1/dlq/ calls. Each answers req, now or later. */
void sb_dlq_list(struct sb_daemon *d, struct sb_http_req *req, json_t *body);
void sb_dlq_count(struct sb_daemon *d, struct sb_http_req *req, json_t *body);
void sb_dlq_redrive(struct sb_daemon *d, struct sb_http_req *req, json_t *body);
void sb_dlq_purge(struct sb_daemon *d, struct sb_http_req *req, json_t *body);
/* reload.c */
struct sb_reload_result {
	unsigned status;          /* HTTP: 200, 409, 422 */
	struct sb_diags diags;    /* 422 */
	struct sb_err err;        /* 409 */
	struct sb_config_diff diff;
	bool have_diff;
	const struct sb_config *old; /* the diff borrows from both */
	json_t *orphans;          /* 200: [{"target","owed","fate"}] of targets that are not configured and are owed something */
};
void sb_reload(struct sb_daemon *d, enum sb_orphans orphans, struct sb_reload_result *ret);
void sb_reload_result_done(struct sb_reload_result *r);
/* The rules' and targets' text of a plan, into the journal. -1: it is not there. */
int sb_daemon_record_generation(struct sb_daemon *d, const struct sb_plan *plan);
/* A state record of the control thread's own; `fill` writes it. Waits until it is durable. -1: it is not. */
int sb_daemon_record(struct sb_daemon *d, int (*fill)(struct sb_buf *out, const void *arg), const void *arg);

#endif
