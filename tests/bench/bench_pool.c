/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/executor.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/base/event.h"
#include "broker/base/field.h"
#include "broker/base/node.h"
#include "executor/proc.h"

/*
 * The pool against the least that can be done: a bare C driver with epoll and the same two Python workers over pipes, which
 * writes requests, counts line ends, and understands nothing. Both keep `depth` requests in flight in each worker. Rounds
 * alternate, so that both meet the same machine; medians are printed, and the ratio.
 *   bench_pool [MS]                    all of it, in rounds of so long
 *   bench_pool bare SCRIPT DEPTH MS    the driver alone with two of that worker, for daemon.py: calls a second
 */
#define WORKERS 2
#define ROUNDS 5
#define DEPTH_MAX 64
#define EVENT_BYTES 500

static uint64_t round_ns = SB_NS_PER_S;
static char event_text[EVENT_BYTES + 1];

struct score {
	double rate, cpu_us;
};

static uint64_t now_ns(void)
{
	return sb_mono_ns(&sb_clock_system);
}

static double own_cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void make_event(void)
{
	int n = snprintf(event_text, sizeof(event_text),
		"{\"version\":\"0\",\"id\":\"0191e6d2-7c1b-7a2e-9f3c-5a1d8e2b4c6f\",\"source\":\"com.shop\","
		"\"detail-type\":\"OrderPlaced\",\"time\":\"2026-11-24T08:19:53Z\",\"resources\":[],\"detail\":{\"id\":"
		"42,"
		"\"total\":129.5,\"items\":[{\"sku\":\"a-1\",\"n\":2},{\"sku\":\"b-7\",\"n\":1}],\"note\":\"");

	memset(event_text + n, 'x', EVENT_BYTES - (size_t)n);
	snprintf(event_text + EVENT_BYTES - 3, 4, "\"}}");
}

/* ------------------------------------------------------------------------------------------------ the bare driver */

struct bare {
	int in, out;
	pid_t pid;
	unsigned owed; /* requests that it may be sent */
};

static struct bare bare_start(const char *script)
{
	struct bare b;
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		abort();
	b.pid = fork();
	if (b.pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 3);
		execlp("python3", "python3", script, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	b.in = in[1];
	b.out = out[0];
	fcntl(b.in, F_SETFL, O_NONBLOCK);
	fcntl(b.out, F_SETFL, O_NONBLOCK);
	return b;
}

static void bare_write(struct bare *b, uint64_t *id)
{
	static char buf[DEPTH_MAX * (EVENT_BYTES + 256)];
	size_t n = 0, done = 0;

	for (; b->owed; b->owed--)
		n += (size_t)snprintf(buf + n, sizeof(buf) - n,
			"{\"id\":\"0191e6d2-7c1b-7a2e-9f3c-%012llx.0\",\"attempt\":1,\"deadline_ms\":"
			"1790000000000,\"event\":%s}\n",
			(unsigned long long)(*id)++, event_text);
	while (done < n) {
		ssize_t w = write(b->in, buf + done, n - done);

		if (w < 0 && errno != EAGAIN)
			abort();
		done += w > 0 ? (size_t)w : 0;
	}
}

static unsigned bare_read(struct bare *b)
{
	static char buf[65536];
	ssize_t n = read(b->out, buf, sizeof(buf));
	unsigned lines = 0;

	for (char *p = buf; n > 0 && (p = memchr(p, '\n', (size_t)(buf + n - p))); p++)
		lines++;
	return lines;
}

static struct score run_bare(const char *script, unsigned depth)
{
	struct bare b[WORKERS];
	int ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t done = 0, id = 0, start = 0;
	unsigned ready = 0;
	double cpu = 0;
	struct score s;

	for (unsigned i = 0; i < WORKERS; i++) {
		b[i] = bare_start(script);
		epoll_ctl(ep, EPOLL_CTL_ADD, b[i].out, &(struct epoll_event){ .events = EPOLLIN, .data.u32 = i });
	}
	while (!start || now_ns() < start + round_ns) {
		struct epoll_event ev[WORKERS];
		int n = epoll_wait(ep, ev, WORKERS, 1000);

		for (int k = 0; k < n; k++) {
			struct bare *w = &b[ev[k].data.u32];
			unsigned lines = bare_read(w);

			if (ready < WORKERS) {
				ready += lines;
				continue;
			}
			done += lines;
			w->owed = lines;
			bare_write(w, &id);
		}
		if (!start && ready == WORKERS) {
			start = now_ns();
			cpu = own_cpu_us();
			for (unsigned i = 0; i < WORKERS; i++) {
				b[i].owed = depth;
				bare_write(&b[i], &id);
			}
		}
	}
	s.rate = (double)done / ((double)(now_ns() - start) / 1e9);
	s.cpu_us = (own_cpu_us() - cpu) / (double)done;
	for (unsigned i = 0; i < WORKERS; i++) {
		kill(b[i].pid, SIGKILL);
		waitpid(b[i].pid, NULL, 0);
		close(b[i].in);
		close(b[i].out);
	}
	close(ep);
	return s;
}

/* ------------------------------------------------------------------------------------------------ the pool */

struct slot {
	struct sb_item item;
	struct sb_batch batch;
	char id[64];
};

static struct {
	struct event_base *base;
	struct sb_target target;
	struct slot slot[WORKERS * DEPTH_MAX];
	uint64_t done, start, next_id;
	double cpu;
	bool stopping, closed;
} p;

static void shoot(struct slot *s)
{
	/* not what is measured: the daemon's delivery has its id already */
	static const char hex[] = "0123456789abcdef";

	for (unsigned k = 0; k < 12; k++)
		s->id[35 - k] = hex[(p.next_id >> (4 * k)) & 15];
	p.next_id++;
	p.target.ops->send(&p.target, &s->batch);
}

static void on_settle(struct sb_target *t, struct sb_batch *b, size_t i, const struct sb_result *r)
{
	(void)t;
	(void)i;
	if (r->outcome != SB_DELIVERED && !p.stopping) {
		fprintf(stderr, "bench_pool: %.*s\n", SB_SLICE_ARG(r->message));
		exit(1);
	}
	p.done++;
	if (!p.start && p.done >= 200) { /* warm */
		p.start = now_ns();
		p.cpu = own_cpu_us();
		p.done = 0;
	}
	if (p.start && (p.done & 63) == 0 && now_ns() >= p.start + round_ns)
		p.stopping = true;
	if (!p.stopping)
		shoot(SB_CONTAINER(b, struct slot, batch));
	else
		event_base_loopbreak(p.base);
}

static void on_closed(struct sb_target *t)
{
	(void)t;
	p.closed = true;
	event_base_loopbreak(p.base);
}

/* As the daemon does it: from the text of a configuration. Its arena stays until the end. */
static void *decode(const char *script, unsigned depth)
{
	static struct sb_arena arena;
	static struct sb_diags diags;
	const struct sb_target_ops *ops = sb_connector_function.target;
	struct sb_decode d = { .arena = &arena, .diags = &diags, .dir = "." };
	void *conf = sb_arena_alloc(&arena, ops->conf_size);
	struct sb_doc doc;
	char text[512];

	snprintf(text, sizeof(text), "command: [python3, %s]\nworkers: {min: %u, max: %u, in_flight: %u}", script,
		WORKERS, WORKERS, depth);
	if (sb_yaml_parse("bench", sb_slice_str(text), &doc, &diags) < 0 ||
		sb_fields_decode(&d, ops->fields, doc.root, conf, NULL) < 0 || ops->check(&d, doc.root, conf) < 0)
		abort();
	return conf;
}

static void open_pool(const char *script, unsigned depth, struct sb_env *env)
{
	struct sb_err err;

	p.target = (struct sb_target){ .name = "bench",
		.ops = sb_connector_function.target,
		.state = sb_xcalloc(sb_connector_function.target->state_size),
		.conf = decode(script, depth),
		.env = env,
		.concurrency = WORKERS * depth,
		.timeout_ms = 60000,
		.settle = on_settle,
		.closed = on_closed };
	if (p.target.ops->open(&p.target, &err) < 0)
		abort();
}

static void close_pool(void)
{
	p.target.ops->close(&p.target);
	while (!p.closed)
		event_base_loop(p.base, EVLOOP_ONCE);
	p.target.ops->free(&p.target);
	free(p.target.state);
}

static struct score run_pool(const char *script, unsigned depth)
{
	struct sb_event event = { .id = SB_SLICE("e") };
	struct sb_rand rand;
	struct sb_env env = { .clock = &sb_clock_system, .rand = &rand };
	struct score s;
	uint64_t misses;
	pid_t spawner;
	int sock;

	memset(&p, 0, sizeof(p));
	sb_rand_seed(&rand, 1);
	p.base = event_base_new();
	spawner = sb_spawner_start(1, -1, &sock, NULL);
	env.base = p.base;
	env.procs = sb_procs_new(p.base, sock);
	open_pool(script, depth, &env);
	for (unsigned i = 0; i < WORKERS * depth; i++) {
		struct slot *sl = &p.slot[i];

		snprintf(sl->id, sizeof(sl->id), "0191e6d2-7c1b-7a2e-9f3c-%012x.0", i);
		sl->item = (struct sb_item){ .delivery_id = sb_slice_str(sl->id),
			.attempt = 1,
			.event = &event,
			.input = sb_slice(event_text, EVENT_BYTES) };
		sl->batch = (struct sb_batch){ .n = 1, .item = &sl->item };
		shoot(sl);
	}
	misses = sb_pool_misses();
	event_base_dispatch(p.base);
	s.rate = (double)p.done / ((double)(now_ns() - p.start) / 1e9);
	s.cpu_us = (own_cpu_us() - p.cpu) / (double)p.done;
	if (sb_pool_misses() - misses > 64)
		fprintf(stderr, "bench_pool: %llu blocks were allocated in a warm pool\n",
			(unsigned long long)(sb_pool_misses() - misses));
	close_pool();
	sb_procs_free(env.procs);
	event_base_free(p.base);
	waitpid(spawner, NULL, 0);
	return s;
}

/* ------------------------------------------------------------------------------------------------ the table */

static int by_rate(const void *a, const void *b)
{
	double x = ((const struct score *)a)->rate, y = ((const struct score *)b)->rate;

	return (x > y) - (x < y);
}

static void compare(const char *name, unsigned depth)
{
	struct score bare[ROUNDS], pool[ROUNDS];
	char script[256];

	snprintf(script, sizeof(script), "tests/bench/workers/%s.py", name);
	for (unsigned i = 0; i < ROUNDS; i++) {
		bare[i] = run_bare(script, depth);
		pool[i] = run_pool(script, depth);
	}
	qsort(bare, ROUNDS, sizeof(*bare), by_rate);
	qsort(pool, ROUNDS, sizeof(*pool), by_rate);
	printf("%-8s %5u  %9.0f %6.1f  %9.0f %6.1f  %5.0f %%\n", name, depth, bare[ROUNDS / 2].rate,
		bare[ROUNDS / 2].cpu_us, pool[ROUNDS / 2].rate, pool[ROUNDS / 2].cpu_us,
		100 * pool[ROUNDS / 2].rate / bare[ROUNDS / 2].rate);
	fflush(stdout);
}

static int bare_alone(const char *script, unsigned long depth, uint64_t ms)
{
	if (depth < 1 || depth > DEPTH_MAX || !ms) {
		fprintf(stderr, "bench_pool: a depth from 1 to %d, and some milliseconds\n", DEPTH_MAX);
		return 1;
	}
	round_ns = ms * SB_NS_PER_MS;
	setenv("SIGNALBOX_FD", "3", 1);
	printf("%.0f\n", run_bare(script, (unsigned)depth).rate);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], SB_SPAWNER_VERB) == 0)
		return sb_spawner_main(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	make_event();
	if (argc == 5 && strcmp(argv[1], "bare") == 0)
		return bare_alone(argv[2], strtoul(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
	if (argc > 1)
		round_ns = strtoull(argv[1], NULL, 10) * SB_NS_PER_MS;
	printf("%u python workers, events of %u bytes, medians of %u rounds\n", WORKERS, EVENT_BYTES, ROUNDS);
	printf("%-8s %5s  %9s %6s  %9s %6s  %s\n", "worker", "depth", "bare/s", "us", "pool/s", "us", "pool of bare");
	compare("lines", 1);
	compare("lines", 8);
	compare("chunks", 1);
	compare("chunks", 8);
	return 0;
}
