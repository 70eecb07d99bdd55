/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

/*
 * One worker process, from its start to the settlement of what it had in flight when it was gone.
 *
 * A failed attempt is settled when its process is dead and reaped, not when we decide to kill it: until then it may still
 * be at work, and the target's concurrency would not be exact. Of several deliveries in flight only a proven culprit's
 * attempt counts: the one whose time was up, or the only one there was. The others are released, to be tried alone.
 */
#define PIPE_BYTES (64u << 10) /* more is not encoded before a pipe has room for it */
#define OUT_KEEP (256u << 10)
#define HANGUP_PATIENCE_MS 100

enum { STEP_EOF = 1, STEP_TERM, STEP_KILL };

static struct sb_worker *worker_of(struct sb_proc *p)
{
	return SB_CONTAINER(p, struct sb_worker, proc);
}

static uint64_t now_ns(const struct sb_worker *w)
{
	return sb_mono_ns(w->f->t->env->clock);
}

static struct sb_job *job_of(struct sb_link *l)
{
	return SB_CONTAINER(l, struct sb_job, link);
}

static struct sb_item *item_of(const struct sb_job *j)
{
	return &j->batch->item[j->i];
}

/* ------------------------------------------------------------------------------------------------ leaving */

static void step(struct sb_worker *w, int next, uint64_t wait_ms)
{
	w->leave_step = next;
	sb_timer_set(w->f->timers, &w->timer, now_ns(w) + wait_ms * SB_NS_PER_MS);
}

static void kill_now(struct sb_worker *w)
{
	w->leave_step = STEP_KILL;
	sb_timer_cancel(w->f->timers, &w->timer);
	w->proc.procs->ops->signal(&w->proc, SIGKILL);
}

static void terminate(struct sb_worker *w)
{
	uint64_t grace = w->f->conf->kill_grace;

	if (grace == 0) {
		kill_now(w);
		return;
	}
	w->proc.procs->ops->signal(&w->proc, SIGTERM);
	step(w, STEP_TERM, grace);
}

static void end_stdin(struct sb_worker *w)
{
	if (w->stdin_closed)
		return;
	w->stdin_closed = true;
	w->proc.procs->ops->close_stdin(&w->proc);
}

void sb_worker_leave(struct sb_worker *w, enum sb_leave why, const char *fmt, ...)
{
	va_list ap;

	if (w->state == SB_WORKER_LEAVING && w->leave >= SB_LEAVE_INIT)
		return; /* the first reason stands */
	va_start(ap, fmt);
	vsnprintf(w->why, sizeof(w->why), fmt, ap);
	va_end(ap);
	w->state = SB_WORKER_LEAVING;
	w->leave = why;
	sb_function_place(w);
	if (why >= SB_LEAVE_INIT) {
		terminate(w);
		return;
	}
	end_stdin(w);
	step(w, STEP_EOF,
		why == SB_LEAVE_HUNGUP ? SB_MAX(w->f->conf->kill_grace, (uint64_t)HANGUP_PATIENCE_MS)
				       : w->f->conf->kill_grace);
}

static void on_timer(struct sb_timer *t)
{
	struct sb_worker *w = SB_CONTAINER(t, struct sb_worker, timer);
	char limit[SB_TIME_TEXT];

	if (w->state == SB_WORKER_STARTING) {
		sb_duration_format(w->f->conf->init_timeout, limit);
		sb_worker_leave(w, SB_LEAVE_INIT, "the worker was not ready within init_timeout (%s)", limit);
	} else if (w->leave_step == STEP_EOF) {
		terminate(w);
	} else {
		kill_now(w);
	}
}

void sb_worker_time_is_up(struct sb_worker *w, struct sb_job *j)
{
	char limit[SB_TIME_TEXT];

	if (w->state == SB_WORKER_LEAVING && w->leave >= SB_LEAVE_INIT)
		return; /* it is being killed already */
	w->culprit = j;
	w->f->stats.timeouts++;
	sb_duration_format(w->f->t->timeout_ms, limit);
	sb_worker_leave(w, SB_LEAVE_TIMEOUT, "no answer within the timeout (%s)", limit);
}

static void broken(struct sb_worker *w, const char *what)
{
	enum sb_leave why = w->was_ready ? SB_LEAVE_BROKEN : SB_LEAVE_INIT;

	w->f->stats.broken++;
	sb_worker_leave(w, why, "the worker broke the protocol: %s", what);
}

/* ------------------------------------------------------------------------------------------------ writing */

void sb_worker_give(struct sb_worker *w, struct sb_job *j)
{
	if (w->load == 0)
		w->tail_n = 0; /* the tail is about what is in flight */
	j->worker = w;
	sb_list_push_back(&w->given, &j->link);
	w->load++;
	w->served++;
	sb_function_place(w);
	sb_function_dirty(w);
}

static void encode_given(struct sb_worker *w)
{
	const struct sb_target *t = w->f->t;
	uint64_t now, wall;

	if (sb_list_empty(&w->given) || w->out.len - w->out_at >= PIPE_BYTES)
		return;
	sb_buf_eat(&w->out, w->out_at);
	w->out_at = 0;
	now = now_ns(w);
	wall = t->timeout_ms ? sb_wall_ms(t->env->clock) + t->timeout_ms : 0;
	while (!sb_list_empty(&w->given) && w->out.len < PIPE_BYTES) {
		struct sb_job *j = job_of(w->given.next);
		int full = w->f->proto->encode(item_of(j), wall, &w->out);

		SB_ASSERT(!full); /* max_request was looked at before */
		sb_list_unlink(&j->link);
		sb_list_push_back(&w->flying, &j->link);
		sb_job_begin(w->f, j, now);
	}
}

static void all_written(struct sb_worker *w)
{
	w->out_at = 0;
	sb_buf_clear(&w->out);
	if (w->out.cap > OUT_KEEP)
		sb_buf_done(&w->out);
	if (w->f->proto->one_shot)
		end_stdin(w);
}

void sb_worker_flush(struct sb_worker *w)
{
	while (w->state == SB_WORKER_READY && !w->stdin_closed) {
		encode_given(w);
		if (w->out.len > w->out_at)
			w->out_at += w->proc.procs->ops->write(&w->proc, w->out.p + w->out_at, w->out.len - w->out_at);
		if (w->out.len > w->out_at)
			return; /* its pipe is full: writable() goes on */
		if (sb_list_empty(&w->given)) {
			all_written(w);
			return;
		}
	}
}

static void on_writable(struct sb_proc *p)
{
	sb_worker_flush(worker_of(p));
}

/* ------------------------------------------------------------------------------------------------ answers */

static void become_ready(struct sb_worker *w)
{
	w->state = SB_WORKER_READY;
	w->was_ready = true;
	sb_timer_cancel(w->f->timers, &w->timer);
	sb_function_started(w->f);
	sb_function_place(w);
}

static struct sb_job *find_job(struct sb_worker *w, const char *text, uint32_t id)
{
	struct sb_tape t = sb_tape_of(text, &w->f->tape);

	for (struct sb_link *l = w->flying.next; l != &w->flying; l = l->next)
		if (sb_json_string_eq(&t, id, item_of(job_of(l))->delivery_id))
			return job_of(l);
	return NULL;
}

static void remember(struct sb_worker *w, struct sb_slice id)
{
	w->answered_n = SB_MIN(id.n, sizeof(w->answered));
	memcpy(w->answered, id.p, w->answered_n);
}

static void answer(struct sb_worker *w, struct sb_job *j, struct sb_result *r)
{
	struct sb_function *f = w->f;

	remember(w, item_of(j)->delivery_id);
	sb_list_unlink(&j->link);
	w->load--;
	f->failures = 0;
	if (w->state == SB_WORKER_READY)
		sb_function_place(w);
	if (f->n_waiting && !f->closing)
		sb_function_pump(f);
	if (r->outcome != SB_DELIVERED)
		r->tail = sb_slice(w->tail, w->tail_n);
	r->body.n = SB_MIN(r->body.n, (size_t)SB_BODY_MAX);
	sb_job_settle(f, j, r);
}

/*
 * An answer to nothing that it has. To say the last one twice is let pass: the first has counted, and whatever is in flight by
 * now would pay for it.
 */
static void on_stray(struct sb_worker *w, const char *text, const struct sb_answer *a)
{
	struct sb_tape t = sb_tape_of(text, &w->f->tape);

	if (a->ready) {
		broken(w, "it said ready twice");
	} else if (w->answered_n && sb_json_string_eq(&t, a->id, sb_slice(w->answered, w->answered_n))) {
		w->f->stats.repeated++;
		sb_log(SB_LOG_WARN, "a worker answered twice: its first answer counts", KS("target", w->f->t->name),
			KI("pid", w->proc.pid));
	} else {
		broken(w, "it answered for an id that it was not given");
	}
}

static void on_line(struct sb_worker *w, struct sb_slice line)
{
	struct sb_answer a;
	const char *why;
	struct sb_job *j;

	if (sb_jsonl_parse(line, &w->f->tape, &w->f->scratch, &a, &why) < 0) {
		broken(w, why);
		return;
	}
	if (a.ready && !w->was_ready) {
		if (w->state == SB_WORKER_STARTING) {
			become_ready(w);
			sb_function_pump(w->f);
		}
		return;
	}
	j = a.ready ? NULL : find_job(w, line.p, a.id);
	if (!j)
		on_stray(w, line.p, &a);
	else if (j != w->culprit) /* whose time was up: its attempt has failed */
		answer(w, j, &a.result);
}

static bool listening(const struct sb_worker *w)
{
	return w->state != SB_WORKER_LEAVING || (w->leave != SB_LEAVE_BROKEN && w->leave != SB_LEAVE_INIT);
}

/* The rest of a line whose beginning came earlier. */
static void on_line_end(struct sb_worker *w, const char *data, size_t n)
{
	sb_buf_add(&w->in, data, n);
	sb_buf_reserve(&w->in, SB_JSON_PAD);
	on_line(w, sb_buf_slice(&w->in));
	sb_buf_clear(&w->in);
}

static void read_lines(struct sb_worker *w, const char *data, size_t n)
{
	while (n && listening(w)) {
		const char *end = memchr(data, '\n', n);
		size_t len = end ? (size_t)(end - data) : n;

		if (w->in.len + len > w->f->conf->max_line) {
			broken(w, "its answer is longer than max_line");
			return;
		}
		if (!end) {
			sb_buf_add(&w->in, data, n);
			return;
		}
		if (w->in.len)
			on_line_end(w, data, len);
		else
			on_line(w, sb_slice(data, len));
		data += len + 1;
		n -= len + 1;
	}
}

static void read_channel(struct sb_worker *w, const char *data, size_t n)
{
	if (n)
		read_lines(w, data, n);
	else if (w->state != SB_WORKER_LEAVING)
		sb_worker_leave(w, SB_LEAVE_HUNGUP, "the worker closed its answer channel");
}

/* ------------------------------------------------------------------------------------------------ streams */

/* exec: its stdout is the result, of which the front is kept. */
static void read_result(struct sb_worker *w, const char *data, size_t n)
{
	w->in_total += n;
	sb_buf_add(&w->in, data, SB_MIN(n, SB_BODY_MAX - w->in.len));
	if (w->in_total > w->f->conf->max_line && w->state == SB_WORKER_READY) {
		w->f->stats.broken++;
		sb_worker_leave(w, SB_LEAVE_BROKEN, "the command wrote more than max_line to its standard output");
	}
}

static void on_bytes(struct sb_proc *p, enum sb_proc_stream s, const char *data, size_t n)
{
	struct sb_worker *w = worker_of(p);

	switch (s) {
	case SB_STREAM_CHANNEL: read_channel(w, data, n); return;
	case SB_STREAM_STDOUT:
		if (w->f->proto->one_shot) {
			read_result(w, data, n);
			return;
		}
		break;
	case SB_STREAM_STDERR: break;
	}
	sb_worker_output(w, s, data, n);
}

/* ------------------------------------------------------------------------------------------------ start and end */

static void on_started(struct sb_proc *p)
{
	struct sb_worker *w = worker_of(p);

	if (w->state == SB_WORKER_STARTING && w->f->proto->one_shot) {
		w->f->failures = 0;
		become_ready(w);
		sb_worker_flush(w);
	}
}

/* What was never written to it goes back, as if it had not been given. */
static void give_back(struct sb_worker *w)
{
	struct sb_result r = { .outcome = SB_RELEASED, .message = SB_SLICE("the target is closed") };

	while (!sb_list_empty(&w->given)) {
		struct sb_job *j = job_of(w->given.prev);

		w->load--;
		if (w->f->closing)
			sb_job_settle(w->f, j, &r);
		else
			sb_job_put_back(w->f, j);
	}
}

static void free_worker(struct sb_worker *w)
{
	struct sb_function *f = w->f;

	sb_timer_cancel(f->timers, &w->timer);
	sb_timer_cancel(f->timers, &w->quiet);
	sb_buf_done(&w->in);
	sb_buf_done(&w->out);
	sb_pool_free(w);
	sb_function_gone(f);
}

static enum sb_reason start_reason(enum sb_code code)
{
	if (code == SB_E_REFUSED)
		return SB_R_NO_PERMISSIONS;
	return code == SB_E_UNREACHABLE ? SB_R_NO_RESOURCE : SB_R_RESOURCE_LIMIT_EXCEEDED;
}

static void on_failed(struct sb_proc *p, const struct sb_err *err)
{
	struct sb_worker *w = worker_of(p);
	struct sb_function *f = w->f;

	sb_function_forget(w);
	give_back(w);
	snprintf(w->why, sizeof(w->why), "%.80s: %.160s", f->conf->command.v[0], err->msg);
	if (!f->closing && !p->lost)
		sb_function_start_failed(f, start_reason(err->code), sb_slice_str(w->why), sb_slice(NULL, 0));
	free_worker(w);
}

/* Why the only one in flight has failed; for exec also how it did not. */
static void explain_end(struct sb_worker *w, int wait_status)
{
	size_t n;

	if (w->leave_step >= STEP_TERM)
		return; /* w->why says why it was signalled */
	n = (size_t)snprintf(w->why, sizeof(w->why), "the worker ");
	sb_wait_status_text(wait_status, w->why + n, sizeof(w->why) - n);
}

static void judge(struct sb_worker *w, struct sb_job *j, bool only, int wait_status, struct sb_result *r)
{
	bool ours = w->leave == SB_LEAVE_STOP || w->proc.lost;

	*r = (struct sb_result){ .outcome = SB_RELEASED,
		.message = SB_SLICE("its worker was lost with others in flight") };
	if (j == w->culprit)
		*r = (struct sb_result){ .outcome = SB_RETRY, .reason = SB_R_TIMEOUT, .message = sb_slice_str(w->why) };
	else if (ours)
		r->message = SB_SLICE("its worker was stopped");
	else if (w->culprit || !only)
		item_of(j)->alone = true; /* the framework takes it from here */
	else if (w->f->proto->one_shot && w->leave == SB_LEAVE_NOT)
		sb_exec_result(wait_status, w->why, sizeof(w->why), r);
	else
		*r = (struct sb_result){
			.outcome = SB_RETRY, .reason = SB_R_ERROR_FROM_TARGET, .message = sb_slice_str(w->why)
		};
	if (r->outcome != SB_DELIVERED)
		r->tail = sb_slice(w->tail, w->tail_n);
	if (w->f->proto->one_shot)
		r->body = sb_buf_slice(&w->in);
}

static void settle_flying(struct sb_worker *w, int wait_status)
{
	bool only = w->load == 1;

	while (!sb_list_empty(&w->flying)) {
		struct sb_job *j = job_of(w->flying.next);
		struct sb_result r;

		judge(w, j, only, wait_status, &r);
		sb_job_settle(w->f, j, &r);
	}
}

/* It ended before it did anything for us, and nobody had asked it to. */
static bool stillborn(const struct sb_worker *w)
{
	if (w->f->closing || w->proc.lost)
		return false;
	return !w->was_ready || (w->served == 0 && !w->f->proto->one_shot && w->leave != SB_LEAVE_IDLE);
}

static void on_exited(struct sb_proc *p, int wait_status)
{
	struct sb_worker *w = worker_of(p);
	struct sb_function *f = w->f;

	sb_worker_output_ends(w);
	sb_function_forget(w);
	give_back(w);
	explain_end(w, wait_status);
	if (stillborn(w)) {
		sb_function_start_failed(
			f, SB_R_CONNECTION_FAILURE, sb_slice_str(w->why), sb_slice(w->tail, w->tail_n));
	} else if (w->load && !f->closing && !p->lost && !f->proto->one_shot) {
		f->stats.died++;
		sb_log_on(&f->lost_lines, SB_LOG_WARN, "worker lost", KS("target", f->t->name), KI("pid", p->pid),
			KS("error", w->why), KI("in_flight", w->load));
	}
	settle_flying(w, wait_status);
	free_worker(w);
}

static const struct sb_proc_cb worker_cb = {
	.started = on_started,
	.failed = on_failed,
	.bytes = on_bytes,
	.writable = on_writable,
	.exited = on_exited,
};

void sb_worker_start(struct sb_function *f, struct sb_job *j)
{
	struct sb_worker *w = sb_pool_alloc(sizeof(*w));

	memset(w, 0, sizeof(*w));
	w->f = f;
	w->proc.cb = &worker_cb;
	w->timer.fn = on_timer;
	w->quiet.fn = sb_worker_quiet;
	sb_list_init(&w->link);
	sb_list_init(&w->dirty);
	sb_list_init(&w->given);
	sb_list_init(&w->flying);
	sb_buf_init(&w->in, f->conf->max_line + SB_JSON_PAD);
	sb_buf_init(&w->out, f->conf->max_request + PIPE_BYTES + SB_TAIL_MAX);
	if (j) {
		j->worker = w;
		sb_list_push_back(&w->given, &j->link);
		w->load = 1;
		w->served = 1;
	}
	f->n_workers++;
	f->stats.started++;
	sb_function_place(w);
	sb_timer_set(f->timers, &w->timer, now_ns(w) + f->conf->init_timeout * SB_NS_PER_MS);
	f->procs->ops->spawn(f->procs, &w->proc, &f->spec);
}
