/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/fakeprocs.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/buf.h"
#include "broker/base/json.h"

#define ID_MAX 64
#define INPUT_MAX (64u << 20)
#define MOMENT_NS 1000 /* between a cause and what the pool hears of it */

struct fake {
	struct sb_link link, pending; /* pending: struct happening */
	struct sb_fakeprocs *fp;
	struct sb_proc *proc;
	unsigned number;
	bool channel, started, stdin_closed, ignores_term, hung, ending, waits;
	struct sb_fake_act act; /* how it will start, while it waits for a spawner */
	struct sb_buf in;
	size_t in_flight;
};

enum what { STARTED, FAILED, READY, BABBLE, ANSWER, GARBAGE, HANG_UP, LAST_WORDS, MUTTER, FLOOD, WRITABLE, EXIT };

/* Something that a process will do. */
struct happening {
	struct sb_timer timer;
	struct sb_link link;
	struct fake *k;
	enum what what;
	int deed, status;
	char id[ID_MAX];
};

static struct sb_fakeprocs *fp_of(struct sb_procs *ps)
{
	return SB_CONTAINER(ps, struct sb_fakeprocs, procs);
}

static void happen(struct sb_timer *t);

static struct happening *later(struct fake *k, enum what what, uint64_t after_ns)
{
	struct happening *h = sb_pool_alloc(sizeof(*h));

	memset(h, 0, sizeof(*h));
	h->timer.fn = happen;
	h->k = k;
	h->what = what;
	sb_list_push_back(&k->pending, &h->link);
	sb_timer_set(&k->fp->timers, &h->timer, sb_mono_ns(&k->fp->clock->clock) + after_ns);
	return h;
}

static void drop(struct happening *h)
{
	sb_timer_cancel(&h->k->fp->timers, &h->timer);
	sb_list_unlink(&h->link);
	sb_pool_free(h);
}

static void drop_all(struct fake *k)
{
	while (!sb_list_empty(&k->pending))
		drop(SB_CONTAINER(k->pending.next, struct happening, link));
}

static void forget(struct fake *k)
{
	drop_all(k);
	sb_list_unlink(&k->link);
	sb_buf_done(&k->in);
	k->proc->impl = NULL;
	sb_pool_free(k);
}

/* Nothing else comes of it. */
static void end(struct fake *k, int wait_status, uint64_t after_ns)
{
	if (k->ending)
		return;
	k->ending = true;
	drop_all(k);
	later(k, EXIT, after_ns)->status = wait_status;
}

static void say(struct fake *k, enum sb_proc_stream s, const char *text)
{
	char padded[512 + SB_JSON_PAD] = { 0 };
	size_t n = (size_t)snprintf(padded, sizeof(padded) - SB_JSON_PAD, "%s", text);

	k->proc->cb->bytes(k->proc, s, padded, n);
}

static void answer(struct fake *k, int deed, const char *id)
{
	char line[256];

	k->in_flight -= k->in_flight > 0;
	if (!k->channel) {
		say(k, SB_STREAM_STDOUT, "done");
		end(k, deed == SB_FAKE_OK ? 0 : deed == SB_FAKE_REJECTS ? 65 << 8 : 1 << 8, MOMENT_NS);
		return;
	}
	if (deed == SB_FAKE_WRONG_ID)
		id = "nobody's";
	if (deed == SB_FAKE_FAILS || deed == SB_FAKE_REJECTS)
		snprintf(line, sizeof(line),
			"{\"id\":\"%s\",\"ok\":false,\"error\":\"no \\\"luck\\\"\",\"retry\":%s}\n", id,
			deed == SB_FAKE_FAILS ? "true" : "false");
	else
		snprintf(line, sizeof(line), "{\"id\":\"%s\",\"ok\":true,\"result\":[1, 2]}\n", id);
	say(k, SB_STREAM_CHANNEL, line);
	if (deed == SB_FAKE_OK_AND_DIES || (k->stdin_closed && k->in_flight == 0 && !k->hung))
		end(k, 0, MOMENT_NS);
}

static void garbage(struct fake *k, const char *id)
{
	char lines[256];

	snprintf(lines, sizeof(lines), "{\"id\":\n{\"id\":\"%s\",\"ok\":true}\n", id);
	say(k, SB_STREAM_CHANNEL, lines);
}

static void flood(struct fake *k)
{
	static char noise[65536 + SB_JSON_PAD];

	memset(noise, 'x', 65536);
	k->proc->cb->bytes(k->proc, SB_STREAM_STDOUT, noise, 65536);
}

static void hang_up(struct fake *k)
{
	k->hung = true;
	drop_all(k);
	k->proc->cb->bytes(k->proc, SB_STREAM_CHANNEL, "", 0);
}

static void exit_now(struct fake *k, int status)
{
	struct sb_proc *p = k->proc;

	if (k->channel)
		p->cb->bytes(p, SB_STREAM_CHANNEL, "", 0);
	p->cb->bytes(p, SB_STREAM_STDOUT, "", 0);
	k->fp->alive--;
	forget(k);
	p->cb->exited(p, status);
}

static void fail_now(struct fake *k)
{
	struct sb_proc *p = k->proc;
	struct sb_err err;

	sb_fail(&err, SB_E_UNREACHABLE,
		k->waits || p->lost ? "the spawner process is gone" : "No such file or directory");
	k->fp->alive--;
	forget(k);
	p->cb->failed(p, &err);
}

static void start_now(struct fake *k)
{
	k->started = true;
	k->proc->pid = (pid_t)(1000 + k->number);
	k->proc->cb->started(k->proc);
}

static void happen(struct sb_timer *t)
{
	struct happening h = *SB_CONTAINER(t, struct happening, timer);
	struct fake *k = h.k;

	drop(SB_CONTAINER(t, struct happening, timer));
	switch (h.what) {
	case STARTED: start_now(k); break;
	case FAILED: fail_now(k); break;
	case READY: say(k, SB_STREAM_CHANNEL, "{\"ready\":true}\n"); break;
	case BABBLE: say(k, SB_STREAM_CHANNEL, "Hello, world\n"); break;
	case ANSWER: answer(k, h.deed, h.id); break;
	case GARBAGE: garbage(k, h.id); break;
	case MUTTER: say(k, SB_STREAM_STDERR, "well, well\n"); break;
	case HANG_UP: hang_up(k); break;
	case LAST_WORDS:
		say(k, SB_STREAM_STDERR, "it hurts\n");
		end(k, SIGSEGV, MOMENT_NS);
		break;
	case FLOOD: flood(k); break;
	case WRITABLE: k->proc->cb->writable(k->proc); break;
	case EXIT: exit_now(k, h.status); break;
	}
}

/* ------------------------------------------------------------------------------------------------ requests */

static struct sb_slice id_of(const char *line, size_t n)
{
	static const char key[] = "\"id\":\"";
	const char *p = memmem(line, n, key, sizeof(key) - 1), *end;

	if (!p)
		return sb_slice(NULL, 0);
	p += sizeof(key) - 1;
	end = memchr(p, '"', n - (size_t)(p - line));
	return sb_slice(p, end ? (size_t)(end - p) : 0);
}

static void do_deed(struct fake *k, const struct sb_fake_act *act, struct sb_slice id)
{
	static const enum what first[] = {
		[SB_FAKE_OK] = ANSWER,
		[SB_FAKE_FAILS] = ANSWER,
		[SB_FAKE_REJECTS] = ANSWER,
		[SB_FAKE_DIES] = LAST_WORDS,
		[SB_FAKE_GARBAGE] = GARBAGE,
		[SB_FAKE_WRONG_ID] = ANSWER,
		[SB_FAKE_HANGS_UP] = HANG_UP,
		[SB_FAKE_OK_AND_DIES] = ANSWER,
		[SB_FAKE_MUTTERS] = MUTTER,
		[SB_FAKE_FLOODS] = FLOOD,
		[SB_FAKE_REPEATS] = ANSWER,
	};
	struct happening *h;

	if (act->what == SB_FAKE_HANGS) {
		k->hung = true;
		return;
	}
	h = later(k, first[act->what], act->after_ns);
	if (h->what == FLOOD || h->what == MUTTER)
		h = later(k, ANSWER, act->after_ns);
	h->deed = act->what == SB_FAKE_FLOODS || act->what == SB_FAKE_MUTTERS ? SB_FAKE_OK : act->what;
	snprintf(h->id, sizeof(h->id), "%.*s", SB_SLICE_ARG(id));
	if (act->what == SB_FAKE_REPEATS)
		snprintf(later(k, ANSWER, act->after_ns + SB_NS_PER_MS / 2)->id, sizeof(h->id), "%.*s", SB_SLICE_ARG(id));
}

static void take_request(struct fake *k, const char *text, size_t n)
{
	struct sb_fakeprocs *fp = k->fp;
	struct sb_fake_request rq = { .process = k->number, .text = sb_slice(text, n) };
	struct sb_fake_act act = { .what = SB_FAKE_OK, .after_ns = SB_NS_PER_MS };

	if (k->channel)
		rq.id = id_of(text, n);
	fp->requests++;
	rq.in_flight = ++k->in_flight;
	fp->most_in_flight = SB_MAX(fp->most_in_flight, rq.in_flight);
	if (fp->request)
		act = fp->request(fp->arg, &rq);
	if (!k->hung) /* one that hangs does nothing more for anybody */
		do_deed(k, &act, rq.id);
}

static size_t fake_write(struct sb_proc *p, const char *data, size_t n)
{
	struct fake *k = p->impl;
	char *end_of_line;
	size_t take = n;

	SB_ASSERT(k && k->started && !k->stdin_closed);
	if (k->fp->pipe_bytes && n > k->fp->pipe_bytes) {
		take = k->fp->pipe_bytes;
		later(k, WRITABLE, MOMENT_NS);
	}
	if (k->ending)
		return n;
	sb_buf_add(&k->in, data, take);
	while (k->channel && k->in.len && (end_of_line = memchr(k->in.p, '\n', k->in.len))) {
		take_request(k, k->in.p, (size_t)(end_of_line - k->in.p));
		sb_buf_eat(&k->in, (size_t)(end_of_line - k->in.p) + 1);
	}
	return take;
}

static void fake_close_stdin(struct sb_proc *p)
{
	struct fake *k = p->impl;

	if (!k || k->stdin_closed)
		return;
	k->stdin_closed = true;
	if (!k->channel && k->started)
		take_request(k, k->in.p, k->in.len);
	else if (k->channel && k->in_flight == 0 && !k->hung && !k->ignores_term)
		end(k, 0, SB_NS_PER_MS);
}

static void fake_signal(struct sb_proc *p, int sig)
{
	struct fake *k = p->impl;

	if (k && k->waits)
		later(k, FAILED, MOMENT_NS);
	else if (k && (sig == SIGKILL || !k->ignores_term))
		end(k, sig, MOMENT_NS);
}

static void fake_throttle(struct sb_proc *p, enum sb_proc_stream s, bool stop)
{
	(void)p;
	(void)s;
	(void)stop;
}

static void begin(struct fake *k, const struct sb_fake_act *act)
{
	k->act = *act;
	k->waits = k->fp->procs.down;
	if (k->waits)
		return;
	if (act->what == SB_FAKE_CANNOT_START) {
		later(k, FAILED, MOMENT_NS);
		return;
	}
	later(k, STARTED, MOMENT_NS);
	if (act->what == SB_FAKE_DIES_STARTING)
		later(k, EXIT, MOMENT_NS + act->after_ns)->status = 3 << 8;
	else if (k->channel && act->what == SB_FAKE_BABBLES)
		later(k, BABBLE, MOMENT_NS + act->after_ns);
	else if (k->channel && act->what != SB_FAKE_NEVER_READY)
		later(k, READY, MOMENT_NS + act->after_ns);
	if (act->what == SB_FAKE_DIES_READY)
		later(k, EXIT, 2 * MOMENT_NS + act->after_ns)->status = 4 << 8;
}

static void fake_spawn(struct sb_procs *ps, struct sb_proc *p, const struct sb_proc_spec *spec)
{
	struct sb_fakeprocs *fp = fp_of(ps);
	struct fake *k = sb_pool_alloc(sizeof(*k));
	struct sb_fake_act act = { .what = SB_FAKE_STARTS };

	memset(k, 0, sizeof(*k));
	k->fp = fp;
	k->proc = p;
	k->channel = spec->channel;
	k->number = ++fp->spawned;
	sb_buf_init(&k->in, INPUT_MAX);
	sb_list_init(&k->pending);
	sb_list_push_back(&fp->all, &k->link);
	p->procs = ps;
	p->pid = 0;
	p->lost = false;
	p->impl = k;
	fp->alive++;
	fp->most_alive = SB_MAX(fp->most_alive, fp->alive);
	fp->starting = spec;
	if (fp->start)
		act = fp->start(fp->arg);
	fp->starting = NULL;
	k->ignores_term = act.ignores_term;
	begin(k, &act);
}

static const struct sb_procs_ops fake_ops = {
	.spawn = fake_spawn,
	.write = fake_write,
	.close_stdin = fake_close_stdin,
	.signal = fake_signal,
	.throttle = fake_throttle,
};

/* ------------------------------------------------------------------------------------------------ life */

void sb_fakeprocs_init(struct sb_fakeprocs *fp, struct sb_fake_clock *clock)
{
	*fp = (struct sb_fakeprocs){ .procs = { .ops = &fake_ops, .timers = &fp->timers }, .clock = clock };
	sb_list_init(&fp->all);
	sb_timers_init(&fp->timers, &clock->clock, NULL);
}

void sb_fakeprocs_done(struct sb_fakeprocs *fp)
{
	while (!sb_list_empty(&fp->all))
		forget(SB_CONTAINER(fp->all.next, struct fake, link));
	sb_timers_done(&fp->timers);
}

uint64_t sb_fakeprocs_next(const struct sb_fakeprocs *fp)
{
	return sb_timers_next(&fp->timers);
}

void sb_fakeprocs_run(struct sb_fakeprocs *fp)
{
	sb_timers_run(&fp->timers);
}

void sb_fakeprocs_advance(struct sb_fakeprocs *fp, uint64_t ns)
{
	uint64_t until = sb_mono_ns(&fp->clock->clock) + ns, next;

	while ((next = sb_timers_next(&fp->timers)) <= until) {
		uint64_t now = sb_mono_ns(&fp->clock->clock);

		if (next > now)
			sb_fake_clock_advance(fp->clock, next - now);
		sb_timers_run(&fp->timers);
	}
	sb_fake_clock_advance(fp->clock, until - sb_mono_ns(&fp->clock->clock));
}

void sb_fakeprocs_go_down(struct sb_fakeprocs *fp)
{
	fp->procs.down = true;
	for (struct sb_link *l = fp->all.next; l != &fp->all; l = l->next) {
		struct fake *k = SB_CONTAINER(l, struct fake, link);

		if (k->ending)
			continue;
		k->proc->lost = true;
		if (k->started) {
			end(k, SIGKILL, MOMENT_NS);
			continue;
		}
		drop_all(k);
		later(k, FAILED, MOMENT_NS);
	}
}

void sb_fakeprocs_come_back(struct sb_fakeprocs *fp)
{
	fp->procs.down = false;
	for (struct sb_link *l = fp->all.next; l != &fp->all; l = l->next) {
		struct fake *k = SB_CONTAINER(l, struct fake, link);

		if (k->waits)
			begin(k, &k->act);
	}
}
