/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EXECUTOR_POOL_H
#define SB_EXECUTOR_POOL_H

#include "broker/base/json.h"
#include "broker/base/list.h"
#include "broker/base/log.h"
#include "connectors/connector.h"
#include "executor/executor.h"
#include "executor/proc.h"
#include "executor/timer.h"

/*
 * The `function` target from inside. function.c: configuration and the connector's ops. pool.c: jobs, and which worker
 * gets which. worker.c: one process. protocol_*.c: what is written to it and what its answer means (pure).
 */
#define SB_TAIL_MAX 4096
#define SB_BODY_MAX 4096
#define SB_LOG_LINE_MAX 512

enum sb_function_protocol { SB_PROTO_JSONL, SB_PROTO_EXEC };

struct sb_function_conf {
	struct sb_strs command, env;
	const char *cwd;
	int protocol;
	struct {
		int64_t min, max, in_flight;
	} workers;
	uint64_t idle_timeout, init_timeout, kill_grace; /* ms */
	int64_t max_requests;
	uint64_t max_line, max_request, log_rate; /* bytes */
};

struct sb_worker;

/* One delivery, from send() to its settlement: waiting, given to a worker but not written, or in flight. */
struct sb_job {
	struct sb_link link;   /* f->waiting, f->waiting_alone, w->given or w->flying */
	struct sb_link due;    /* f->due while in flight with a deadline */
	struct sb_batch *batch;
	size_t i;
	struct sb_worker *worker;
	uint64_t deadline_ns;  /* 0: none */
};

enum sb_worker_state { SB_WORKER_STARTING, SB_WORKER_READY, SB_WORKER_LEAVING };

/*
 * Why a worker leaves. Down to HUNGUP it is let go by itself: its stdin ends, and only when that does not help it is
 * signalled. From INIT on it is signalled at once.
 */
enum sb_leave {
	SB_LEAVE_NOT,
	SB_LEAVE_IDLE,    /* idle_timeout */
	SB_LEAVE_WORN,    /* max_requests */
	SB_LEAVE_CLOSE,   /* the target is closed, it has nothing to do */
	SB_LEAVE_HUNGUP,  /* it has closed its answer channel: most likely it is ending */
	SB_LEAVE_INIT,    /* not ready within init_timeout, or nonsense instead */
	SB_LEAVE_TIMEOUT,
	SB_LEAVE_BROKEN,  /* it broke the protocol */
	SB_LEAVE_STOP,    /* the target is closed while it works */
};

struct sb_log_part { /* a line of output that has not ended yet */
	char text[SB_LOG_LINE_MAX];
	size_t n;
};

struct sb_worker {
	struct sb_proc proc; /* first */
	struct sb_function *f;
	struct sb_link link;  /* in the list of its kind: f->idle, room, full, starting, leaving */
	struct sb_link dirty; /* f->dirty: has something to write */
	struct sb_link given, flying;
	unsigned load;        /* jobs of both */
	enum sb_worker_state state;
	enum sb_leave leave;
	int leave_step;
	bool was_ready;
	bool alone;           /* its one job must not be joined by another */
	bool stdin_closed;
	uint64_t served, idle_since;
	struct sb_timer timer;      /* starting: init_timeout; leaving: the next step */
	struct sb_timer quiet;      /* throttled: when its output is read again */
	struct sb_job *culprit;     /* its time was up */
	size_t answered_n;
	char answered[SB_UUID_TEXT + 12]; /* id of its last answer */
	struct sb_buf in;           /* jsonl: an unfinished line; exec: the front of stdout */
	uint64_t in_total;          /* exec: bytes of stdout */
	struct sb_buf out;
	size_t out_at;              /* bytes of out that were written */
	uint64_t log_until, log_bytes; /* of the current second */
	struct sb_log_part part[2]; /* stdout, stderr */
	size_t tail_n;
	char tail[SB_TAIL_MAX];
	char why[256];
};

struct sb_function_stats { /* since the start */
	uint64_t started, start_failures, died, timeouts, broken, repeated, ended_idle, ended_worn, output_bytes, throttled,
		too_large;
};

struct sb_protocol {
	bool channel;  /* it says {"ready":true}, then answers, on descriptor 3 */
	bool one_shot; /* a process an event: its exit is the answer */
	/* Append what a worker gets on its stdin. -1: the buffer's cap. */
	int (*encode)(const struct sb_item *it, uint64_t deadline_wall_ms, struct sb_buf *out);
};

struct sb_function { /* t->state */
	struct sb_target *t;
	const struct sb_function_conf *conf;
	const struct sb_protocol *proto;
	struct sb_procs *procs;
	struct sb_timers *timers;
	struct sb_proc_spec spec;
	const char **envp;
	size_t own_envp; /* of which the first so many are ours to free */
	struct sb_link waiting, waiting_alone; /* jobs without a worker, oldest first */
	struct sb_link due;                    /* jobs in flight, earliest deadline first */
	struct sb_link idle;                   /* workers without a job, the last used first */
	struct sb_link room;                   /* with jobs and room for more; taken in turn */
	struct sb_link full, starting, leaving, dirty;
	struct sb_worker *reserved;            /* gets nothing more until a lonely job can have it */
	size_t n_waiting, n_workers;
	struct sb_timer due_timer, idle_timer, backoff_timer;
	struct sb_deferred flush, closed;
	uint64_t not_before_ns;                /* no worker is started earlier */
	unsigned failures;                     /* starts since the last answer that did not work */
	bool closing;
	struct sb_tape_buf tape;
	struct sb_buf scratch;
	struct sb_log_site output_lines, start_lines, lost_lines; /* every target has its own allowance */
	struct sb_function_stats stats;
};

extern const struct sb_field sb_function_fields[];
extern const struct sb_target_ops sb_function_ops;
extern const struct sb_protocol sb_protocol_jsonl, sb_protocol_exec;

/* One line of a jsonl worker, read. */
struct sb_answer {
	bool ready;     /* {"ready":true} */
	uint32_t id;    /* its node on the tape */
	struct sb_result result; /* borrows the line and `scratch` */
};
/* 0, or -1 with *why, a constant phrase. SB_JSON_PAD readable bytes follow the line. */
int sb_jsonl_parse(struct sb_slice line, struct sb_tape_buf *tape, struct sb_buf *scratch, struct sb_answer *ret,
	const char **why);
/* What an exit status means for the event. `text` holds the message. */
void sb_exec_result(int wait_status, char *text, size_t size, struct sb_result *ret);
/* "exited with status 3", "was killed by signal 11 (Segmentation fault)" */
void sb_wait_status_text(int wait_status, char *out, size_t size);

struct sb_function_load { /* workers by what they do */
	size_t idle, busy, starting, leaving;
};

/* pool.c */
void sb_function_get_load(const struct sb_function *f, struct sb_function_load *ret);
void sb_function_init(struct sb_function *f); /* lists and timers */
void sb_function_done(struct sb_function *f);
void sb_function_submit(struct sb_function *f, struct sb_batch *b);
void sb_function_pump(struct sb_function *f); /* give waiting jobs to workers, start workers */
void sb_function_close(struct sb_function *f);
/* Takes the job off every list and frees it; the framework may call back into us from here. */
void sb_job_settle(struct sb_function *f, struct sb_job *j, const struct sb_result *r);
void sb_job_begin(struct sb_function *f, struct sb_job *j, uint64_t now_ns); /* written from now on: its time runs */
void sb_function_place(struct sb_worker *w); /* into the list that its state and load ask for */
void sb_function_dirty(struct sb_worker *w); /* it has something to write at the end of this turn */
void sb_function_forget(struct sb_worker *w); /* off all lists and out of the counts */
/* A worker that never got ready is gone; it has been forgotten. */
void sb_function_start_failed(struct sb_function *f, enum sb_reason reason, struct sb_slice why, struct sb_slice tail);
void sb_function_started(struct sb_function *f); /* one got ready: the others need not wait */
void sb_function_gone(struct sb_function *f); /* a worker less: fill up, or tell that all are gone */
void sb_job_put_back(struct sb_function *f, struct sb_job *j); /* to the front of the waiting ones */

/* worker.c */
void sb_worker_start(struct sb_function *f, struct sb_job *j); /* j: of a one-shot protocol, else NULL */
void sb_worker_give(struct sb_worker *w, struct sb_job *j);
void sb_worker_flush(struct sb_worker *w);
void sb_worker_leave(struct sb_worker *w, enum sb_leave why, const char *fmt, ...) SB_PRINTF(3, 4);
/* Its clock has run out for this one. */
void sb_worker_time_is_up(struct sb_worker *w, struct sb_job *j);

/* worker_output.c */
void sb_worker_output(struct sb_worker *w, enum sb_proc_stream s, const char *data, size_t n);
void sb_worker_output_ends(struct sb_worker *w); /* the last line of each stream may have had no end */
void sb_worker_quiet(struct sb_timer *t);        /* w->quiet: read on after a flood */

#endif
