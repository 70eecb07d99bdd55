/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

/* What a worker prints: log lines, the tail for the dead letter, and the limit on both. */

static void log_line(struct sb_worker *w, unsigned stream, struct sb_slice line)
{
	struct sb_function *f = w->f;
	struct sb_kv kv[] = { KS("target", f->t->name), KI("pid", w->proc.pid),
		KS("stream", stream ? "stderr" : "stdout"), KSL("line", line), { 0 }, { 0 } };
	size_t n = 4;

	if (w->load == 1 && !sb_list_empty(&w->flying)) {
		const struct sb_job *j = SB_CONTAINER(w->flying.next, struct sb_job, link);
		const struct sb_item *it = &j->batch->item[j->i];

		kv[n++] = KSL("event_id", it->event->id);
		kv[n++] = KSL("delivery_id", it->delivery_id);
	}
	sb_log_emit(&f->output_lines, SB_LOG_INFO, "worker output", kv, n);
}

/* Lines are cut at SB_LOG_LINE_MAX; what is behind is in the tail, if it is stderr. */
static void log_output(struct sb_worker *w, unsigned stream, const char *data, size_t n)
{
	struct sb_log_part *part = &w->part[stream];

	while (n) {
		const char *end = memchr(data, '\n', n);
		size_t len = end ? (size_t)(end - data) : n, take = SB_MIN(len, sizeof(part->text) - part->n);

		memcpy(part->text + part->n, data, take);
		part->n += take;
		if (!end)
			return;
		log_line(w, stream, sb_slice(part->text, part->n));
		part->n = 0;
		data += len + 1;
		n -= len + 1;
	}
}

static void add_tail(struct sb_worker *w, const char *data, size_t n)
{
	size_t keep = SB_MIN(n, (size_t)SB_TAIL_MAX), old = SB_MIN(w->tail_n, SB_TAIL_MAX - keep);

	memmove(w->tail, w->tail + w->tail_n - old, old);
	memcpy(w->tail + old, data + n - keep, keep);
	w->tail_n = old + keep;
}

static void throttle(struct sb_worker *w, bool stop)
{
	w->proc.procs->ops->throttle(&w->proc, SB_STREAM_STDERR, stop);
	if (!w->f->proto->one_shot)
		w->proc.procs->ops->throttle(&w->proc, SB_STREAM_STDOUT, stop);
}

void sb_worker_quiet(struct sb_timer *t)
{
	throttle(SB_CONTAINER(t, struct sb_worker, quiet), false);
}

/* A worker that writes more than log_rate a second waits in its own write, not we in reading it. */
static void count_output(struct sb_worker *w, size_t n)
{
	uint64_t now = sb_mono_ns(w->f->t->env->clock);

	if (now >= w->log_until) {
		w->log_until = now + SB_NS_PER_S;
		w->log_bytes = 0;
	}
	w->log_bytes += n;
	w->f->stats.output_bytes += n;
	if (w->log_bytes <= w->f->conf->log_rate || sb_timer_armed(&w->quiet))
		return;
	w->f->stats.throttled++;
	throttle(w, true);
	sb_timer_set(w->f->timers, &w->quiet, w->log_until);
}

void sb_worker_output(struct sb_worker *w, enum sb_proc_stream s, const char *data, size_t n)
{
	if (n == 0)
		return;
	if (s == SB_STREAM_STDERR)
		add_tail(w, data, n);
	log_output(w, s == SB_STREAM_STDERR, data, n);
	count_output(w, n);
}

void sb_worker_output_ends(struct sb_worker *w)
{
	for (unsigned i = 0; i < SB_LEN(w->part); i++)
		if (w->part[i].n)
			log_line(w, i, sb_slice(w->part[i].text, w->part[i].n));
}
