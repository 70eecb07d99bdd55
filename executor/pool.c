/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <stdio.h>

/*
 * Jobs, and which worker gets which.
 *
 * A job goes to the worker that was used last and is idle now; else to one that has room (in turn); else it waits, and a
 * worker is started for it if there may be one more. A lonely job (item.alone) waits for a worker without any other: when
 * none is idle and none can be started, one is reserved, which gets nothing more until it is idle.
 *
 * Time: a job's runs from when it is written to its worker, never while it waits for one to start. All have the same
 * time-out, so that one list in the order of writing and one timer serve all of them.
 *
 * A settlement may call straight back into submit, so every function here first brings its own state in order and
 * settles last.
 */
#define BACKOFF_BASE_NS (200 * SB_NS_PER_MS)
#define BACKOFF_CAP_NS (30 * SB_NS_PER_S)

static uint64_t now_ns(const struct sb_function *f)
{
	return sb_mono_ns(f->t->env->clock);
}

static struct sb_item *item_of(const struct sb_job *j)
{
	return &j->batch->item[j->i];
}

static struct sb_worker *first_worker(struct sb_link *list)
{
	return sb_list_empty(list) ? NULL : SB_CONTAINER(list->next, struct sb_worker, link);
}

/* ------------------------------------------------------------------------------------------------ jobs */

void sb_job_settle(struct sb_function *f, struct sb_job *j, const struct sb_result *r)
{
	struct sb_batch *b = j->batch;
	size_t i = j->i;

	sb_list_unlink(&j->link);
	sb_list_unlink(&j->due);
	sb_pool_free(j);
	sb_batch_settle(f->t, b, i, r);
}

static struct sb_job *new_job(struct sb_batch *b, size_t i)
{
	struct sb_job *j = sb_pool_alloc(sizeof(*j));

	*j = (struct sb_job){ .batch = b, .i = i };
	sb_list_init(&j->link);
	sb_list_init(&j->due);
	return j;
}

static struct sb_link *waiting_list(struct sb_function *f, const struct sb_job *j)
{
	return item_of(j)->alone && f->conf->workers.in_flight > 1 ? &f->waiting_alone : &f->waiting;
}

void sb_job_put_back(struct sb_function *f, struct sb_job *j)
{
	sb_list_unlink(&j->link);
	j->worker = NULL;
	sb_list_push_front(waiting_list(f, j), &j->link);
	f->n_waiting++;
}

static struct sb_job *next_waiting(struct sb_link *list)
{
	return sb_list_empty(list) ? NULL : SB_CONTAINER(list->next, struct sb_job, link);
}

static void take_waiting(struct sb_function *f, struct sb_job *j)
{
	sb_list_unlink(&j->link);
	f->n_waiting--;
}

/* Those that wait now; what the framework sends meanwhile waits anew. */
static void settle_waiting(struct sb_function *f, const struct sb_result *r)
{
	struct sb_link now;
	struct sb_link *l;

	sb_list_init(&now);
	while ((l = sb_list_pop_front(&f->waiting_alone)) || (l = sb_list_pop_front(&f->waiting)))
		sb_list_push_back(&now, l);
	f->n_waiting = 0;
	while ((l = sb_list_pop_front(&now)))
		sb_job_settle(f, SB_CONTAINER(l, struct sb_job, link), r);
}

/* ------------------------------------------------------------------------------------------------ deadlines */

static void arm_due(struct sb_function *f)
{
	if (!sb_list_empty(&f->due) && !sb_timer_armed(&f->due_timer))
		sb_timer_set(f->timers, &f->due_timer, SB_CONTAINER(f->due.next, struct sb_job, due)->deadline_ns);
}

void sb_job_begin(struct sb_function *f, struct sb_job *j, uint64_t now)
{
	if (f->t->timeout_ms == 0)
		return;
	j->deadline_ns = now + f->t->timeout_ms * SB_NS_PER_MS;
	sb_list_push_back(&f->due, &j->due);
	arm_due(f);
}

/* The timer is left alone while jobs come and go; it looks for itself what is due. */
static void on_due(struct sb_timer *t)
{
	struct sb_function *f = SB_CONTAINER(t, struct sb_function, due_timer);
	uint64_t now = now_ns(f);

	while (!sb_list_empty(&f->due)) {
		struct sb_job *j = SB_CONTAINER(f->due.next, struct sb_job, due);

		if (j->deadline_ns > now)
			break;
		sb_list_unlink(&j->due);
		sb_worker_time_is_up(j->worker, j);
	}
	arm_due(f);
}

/* ------------------------------------------------------------------------------------------------ workers */

static size_t length(const struct sb_link *list)
{
	size_t n = 0;

	for (const struct sb_link *l = list->next; l != list; l = l->next)
		n++;
	return n;
}

void sb_function_get_load(const struct sb_function *f, struct sb_function_load *ret)
{
	ret->idle = length(&f->idle);
	ret->busy = length(&f->room) + length(&f->full);
	ret->starting = length(&f->starting);
	ret->leaving = length(&f->leaving);
}

static void arm_idle(struct sb_function *f)
{
	const struct sb_function_conf *c = f->conf;

	if (c->idle_timeout == 0 || sb_list_empty(&f->idle) || sb_timer_armed(&f->idle_timer) ||
		f->n_workers <= (size_t)c->workers.min)
		return;
	sb_timer_set(f->timers, &f->idle_timer,
		SB_CONTAINER(f->idle.prev, struct sb_worker, link)->idle_since + c->idle_timeout * SB_NS_PER_MS);
}

static void on_idle(struct sb_timer *t)
{
	struct sb_function *f = SB_CONTAINER(t, struct sb_function, idle_timer);
	uint64_t now = now_ns(f), idle = f->conf->idle_timeout * SB_NS_PER_MS;
	size_t stay = f->n_workers - length(&f->leaving);

	for (; stay > (size_t)f->conf->workers.min && !sb_list_empty(&f->idle); stay--) {
		struct sb_worker *last = SB_CONTAINER(f->idle.prev, struct sb_worker, link);

		if (last->idle_since + idle > now)
			break;
		f->stats.ended_idle++;
		sb_worker_leave(last, SB_LEAVE_IDLE, "idle");
	}
	if (stay > (size_t)f->conf->workers.min)
		arm_idle(f);
}

static bool is_worn(const struct sb_worker *w)
{
	int64_t max = w->f->conf->max_requests;

	return max && w->served >= (uint64_t)max;
}

static void place_idle(struct sb_worker *w)
{
	struct sb_function *f = w->f;

	w->alone = false;
	if (f->reserved == w)
		f->reserved = NULL;
	if (is_worn(w)) {
		f->stats.ended_worn++;
		sb_worker_leave(w, SB_LEAVE_WORN, "replaced");
		return;
	}
	w->idle_since = now_ns(f);
	sb_list_push_front(&f->idle, &w->link);
	arm_idle(f);
}

void sb_function_place(struct sb_worker *w)
{
	struct sb_function *f = w->f;

	sb_list_unlink(&w->link);
	if (w->state == SB_WORKER_STARTING)
		sb_list_push_back(&f->starting, &w->link);
	else if (w->state == SB_WORKER_LEAVING)
		sb_list_push_back(&f->leaving, &w->link);
	else if (w->load == 0)
		place_idle(w);
	else if (w->load < (size_t)f->conf->workers.in_flight && !w->alone && f->reserved != w && !is_worn(w))
		sb_list_push_back(&f->room, &w->link);
	else
		sb_list_push_back(&f->full, &w->link);
	if (w->state == SB_WORKER_LEAVING && f->reserved == w)
		f->reserved = NULL;
}

void sb_function_forget(struct sb_worker *w)
{
	if (w->f->reserved == w)
		w->f->reserved = NULL;
	sb_list_unlink(&w->link);
	sb_list_unlink(&w->dirty);
	w->f->n_workers--;
}

/* All workers run and are busy: let one run empty for the job that must be alone. */
static void reserve(struct sb_function *f)
{
	struct sb_worker *w;

	if (f->reserved || f->n_workers < (size_t)f->conf->workers.max || !sb_list_empty(&f->starting))
		return;
	w = first_worker(&f->room);
	if (!w)
		w = first_worker(&f->full);
	f->reserved = w;
	if (w)
		sb_function_place(w);
}

/* ------------------------------------------------------------------------------------------------ starting */

static void on_backoff(struct sb_timer *t)
{
	sb_function_pump(SB_CONTAINER(t, struct sb_function, backoff_timer));
}

static bool may_start(struct sb_function *f)
{
	if (f->closing || f->n_workers >= (size_t)f->conf->workers.max)
		return false;
	if (f->not_before_ns <= now_ns(f))
		return true;
	sb_timer_set(f->timers, &f->backoff_timer, f->not_before_ns);
	return false;
}

static void start_workers(struct sb_function *f)
{
	const struct sb_function_conf *c = f->conf;
	size_t coming;

	if (f->n_waiting == 0 && f->n_workers >= (size_t)c->workers.min)
		return;
	coming = length(&f->starting) * (size_t)c->workers.in_flight;
	while ((coming < f->n_waiting || f->n_workers < (size_t)c->workers.min) && may_start(f)) {
		sb_worker_start(f, NULL);
		coming += (size_t)c->workers.in_flight;
	}
}

static void start_shots(struct sb_function *f)
{
	struct sb_job *j;

	while ((j = next_waiting(&f->waiting)) && may_start(f)) {
		take_waiting(f, j);
		sb_worker_start(f, j);
	}
}

void sb_function_started(struct sb_function *f)
{
	f->not_before_ns = 0;
}

static uint64_t backoff_ns(struct sb_function *f)
{
	uint64_t top = BACKOFF_BASE_NS << SB_MIN(f->failures, 10u);

	top = SB_MIN(top, BACKOFF_CAP_NS);
	return top / 2 + sb_rand_below(f->t->env->rand, top / 2 + 1);
}

void sb_function_start_failed(struct sb_function *f, enum sb_reason reason, struct sb_slice why, struct sb_slice tail)
{
	uint64_t wait = backoff_ns(f);
	struct sb_result r = { .outcome = SB_UNREACHABLE,
		.reason = reason,
		.message = why,
		.tail = tail,
		.retry_after_ms = (uint32_t)(wait / SB_NS_PER_MS) + 1 };

	f->failures++;
	f->stats.start_failures++;
	f->not_before_ns = now_ns(f) + wait;
	sb_log_on(&f->start_lines, SB_LOG_WARN, "worker not started, will try again", KS("target", f->t->name),
		KSL("error", why), KI("in_ms", wait / SB_NS_PER_MS));
	if (sb_list_empty(&f->idle) && sb_list_empty(&f->room) && sb_list_empty(&f->full) &&
		sb_list_empty(&f->starting))
		settle_waiting(f, &r);
}

/* ------------------------------------------------------------------------------------------------ giving */

static void give_lonely(struct sb_function *f)
{
	struct sb_job *j;
	struct sb_worker *w;

	while ((j = next_waiting(&f->waiting_alone)) && (w = first_worker(&f->idle))) {
		take_waiting(f, j);
		w->alone = true;
		sb_worker_give(w, j);
	}
	if (j)
		reserve(f);
}

void sb_function_pump(struct sb_function *f)
{
	struct sb_job *j;
	struct sb_worker *w;

	if (f->proto->one_shot) {
		start_shots(f);
		return;
	}
	give_lonely(f);
	while ((j = next_waiting(&f->waiting)) && ((w = first_worker(&f->idle)) || (w = first_worker(&f->room)))) {
		take_waiting(f, j);
		sb_worker_give(w, j);
	}
	start_workers(f);
}

static void settle_too_large(struct sb_function *f, struct sb_batch *b, size_t i)
{
	char text[128];
	struct sb_result r = { .outcome = SB_REJECTED, .reason = SB_R_RESOURCE_LIMIT_EXCEEDED };

	snprintf(text, sizeof(text), "the event has %zu bytes, max_request of the function is %llu", b->item[i].input.n,
		(unsigned long long)f->conf->max_request);
	r.message = sb_slice_str(text);
	f->stats.too_large++;
	sb_batch_settle(f->t, b, i, &r);
}

/* The batch may be gone as soon as its last item is settled, so what is too large is settled behind all others. */
void sb_function_submit(struct sb_function *f, struct sb_batch *b)
{
	size_t n = b->n, large = 0;

	SB_ASSERT(!f->closing);
	for (size_t i = 0; i < n; i++) {
		struct sb_job *j;

		if (b->item[i].input.n > f->conf->max_request) {
			large++;
			continue;
		}
		j = new_job(b, i);
		sb_list_push_back(waiting_list(f, j), &j->link);
		f->n_waiting++;
	}
	sb_function_pump(f);
	for (size_t i = 0; large; i++)
		if (b->item[i].input.n > f->conf->max_request) {
			large--;
			settle_too_large(f, b, i);
		}
}

static void flush_dirty(struct sb_deferred *d)
{
	struct sb_function *f = SB_CONTAINER(d, struct sb_function, flush);
	struct sb_link *l;

	while ((l = sb_list_pop_front(&f->dirty)))
		sb_worker_flush(SB_CONTAINER(l, struct sb_worker, dirty));
}

void sb_function_dirty(struct sb_worker *w)
{
	if (!sb_list_empty(&w->dirty))
		return;
	sb_list_push_back(&w->f->dirty, &w->dirty);
	sb_defer(w->f->timers, &w->f->flush);
}

/* ------------------------------------------------------------------------------------------------ life */

static void say_closed(struct sb_deferred *d)
{
	sb_target_closed(SB_CONTAINER(d, struct sb_function, closed)->t);
}

void sb_function_gone(struct sb_function *f)
{
	if (!f->closing)
		sb_function_pump(f);
	else if (f->n_workers == 0)
		sb_defer(f->timers, &f->closed);
}

static void leave_all(struct sb_link *list)
{
	struct sb_worker *w;

	while ((w = first_worker(list)))
		sb_worker_leave(w, w->load ? SB_LEAVE_STOP : SB_LEAVE_CLOSE, "the target is closed");
}

void sb_function_close(struct sb_function *f)
{
	struct sb_result r = { .outcome = SB_RELEASED, .message = SB_SLICE("the target is closed") };

	if (f->closing)
		return;
	f->closing = true;
	sb_timer_cancel(f->timers, &f->idle_timer);
	sb_timer_cancel(f->timers, &f->backoff_timer);
	leave_all(&f->idle);
	leave_all(&f->room);
	leave_all(&f->full);
	leave_all(&f->starting);
	settle_waiting(f, &r);
	sb_function_gone(f);
}

void sb_function_init(struct sb_function *f)
{
	struct sb_link *const lists[] = { &f->waiting, &f->waiting_alone, &f->due, &f->idle, &f->room, &f->full,
		&f->starting, &f->leaving, &f->dirty };

	for (size_t i = 0; i < SB_LEN(lists); i++)
		sb_list_init(lists[i]);
	f->due_timer.fn = on_due;
	f->idle_timer.fn = on_idle;
	f->backoff_timer.fn = on_backoff;
	sb_deferred_init(&f->flush, flush_dirty);
	sb_deferred_init(&f->closed, say_closed);
}

void sb_function_done(struct sb_function *f)
{
	SB_ASSERT(f->n_workers == 0 && f->n_waiting == 0);
	sb_timer_cancel(f->timers, &f->due_timer);
	sb_timer_cancel(f->timers, &f->idle_timer);
	sb_timer_cancel(f->timers, &f->backoff_timer);
	sb_defer_cancel(&f->flush);
	sb_defer_cancel(&f->closed);
}
