/* SPDX-License-Identifier: Apache-2.0 */
#include "stage.h"

#include <event2/event.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/buf.h"
#include "broker/base/event.h"
#include "executor/proc.h"
#include "stage_own.h"

#define ENOUGH 1000 /* violations: such an instance would never stop */

void violated(struct stage *st, const char *fmt, ...)
{
	va_list ap;

	if (st->violations++ == 0) {
		va_start(ap, fmt);
		vsnprintf(st->violation, sizeof(st->violation), fmt, ap);
		va_end(ap);
	}
	if (st->violations == ENOUGH) {
		fprintf(stderr, "%s: %s, and does not stop\n", st->row->name, st->violation);
		abort();
	}
}

/* ------------------------------------------------------------------------------------------------ nothing blocks */

/* Of the calling thread: on a processor, and in the queue for one. Nobody else's load counts against a connector. */
static uint64_t busy_ns(void)
{
	unsigned long long runs = 0, queues = 0;
	char text[96] = { 0 }, *end;
	int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) > 0) {
			runs = strtoull(text, &end, 10);
			queues = strtoull(end, NULL, 10);
		}
		close(fd);
	}
	return runs + queues;
}

static long naps(void)
{
	struct rusage ru;

	getrusage(RUSAGE_THREAD, &ru);
	return ru.ru_nvcsw;
}

struct watch watch_begin(void)
{
	return (struct watch){ sb_mono_ns(&sb_clock_system), busy_ns(), naps() };
}

/* It has let go of the processor by itself, and what is left of the time has gone by in waiting. */
static void judge_wait(struct stage *st, const struct watch *w, const char *what, unsigned limit_ms)
{
	uint64_t all = sb_mono_ns(&sb_clock_system) - w->ns, busy = busy_ns() - w->busy_ns;

	if (all > busy + limit_ms * SB_NS_PER_MS && naps() > w->naps)
		violated(st, "%s blocked for %llu ms", what, (unsigned long long)((all - busy) / SB_NS_PER_MS));
}

void watch_end(struct stage *st, const struct watch *w, const char *what)
{
	judge_wait(st, w, what, STAGE_BLOCK_MS);
}

/* ------------------------------------------------------------------------------------------------ configuration */

static char *with_folder(struct stage *st, const char *conf)
{
	struct sb_buf out = SB_BUF(64 << 10);
	char *text;

	for (; *conf; conf++)
		if (strncmp(conf, "DIR", 3) == 0) {
			sb_buf_adds(&out, st->dir);
			conf += 2;
		} else {
			sb_buf_addc(&out, *conf);
		}
	text = sb_arena_strndup(&st->arena, out.p ? out.p : "", out.len);
	sb_buf_done(&out);
	return text;
}

static void forget_conf(struct stage *st)
{
	sb_doc_done(&st->doc);
	sb_diags_done(&st->diags);
	sb_arena_done(&st->arena);
	memset(&st->doc, 0, sizeof(st->doc));
	memset(&st->diags, 0, sizeof(st->diags));
	memset(&st->arena, 0, sizeof(st->arena));
}

static const struct sb_field *fields_of(const struct stage *st)
{
	static const struct sb_field none[] = { { 0 } };
	const struct sb_field *f = st->target ? st->row->connector->target->fields : st->row->connector->source->fields;

	return f ? f : none;
}

size_t stage_decode(struct stage *st, const char *conf)
{
	const struct sb_connector *c = st->row->connector;
	int (*check)(struct sb_decode *, const struct sb_node *, void *) =
		st->target ? c->target->check : c->source->check;
	struct sb_decode d = { .arena = &st->arena, .diags = &st->diags };

	forget_conf(st);
	if (sb_yaml_parse("test.yaml", sb_slice_str(with_folder(st, conf)), &st->doc, &st->diags) == 0) {
		st->conf = sb_arena_alloc(&st->arena, st->target ? c->target->conf_size : c->source->conf_size);
		if (sb_fields_decode(&d, fields_of(st), st->doc.root, st->conf, NULL) == 0 && check)
			check(&d, st->doc.root, st->conf);
	}
	return st->diags.errors;
}

/* ------------------------------------------------------------------------------------------------ life */

static int make_env(struct stage *st, struct sb_err *err)
{
	int sock;

	snprintf(st->dir, sizeof(st->dir), "/tmp/sb-stage-XXXXXX");
	if (!mkdtemp(st->dir))
		return sb_fail_errno(err, "mkdtemp");
	sb_rand_seed(&st->rand, 1);
	st->env = (struct sb_env){ .base = event_base_new(), .clock = &sb_clock_system, .rand = &st->rand };
	st->spawner = sb_spawner_start(1, -1, &sock, err);
	if (st->spawner < 0)
		return -1;
	st->env.procs = sb_procs_new(st->env.base, sock);
	return 0;
}

int stage_init(struct stage *st, const struct row *row, bool target)
{
	static atomic_uint serial;
	struct sb_err err = { 0 };

	memset(st, 0, sizeof(*st));
	st->serial = atomic_fetch_add(&serial, 1) + 1;
	st->row = row;
	st->patience_ms = 20000;
	if (target)
		st->target = &st->own_target;
	if (make_env(st, &err) < 0 || (row->make && row->make(st, &err) < 0)) {
		violated(st, "no stage: %s", err.msg);
		return -1;
	}
	if (stage_decode(st, row->conf)) {
		violated(st, "its good configuration is wrong: %s", st->diags.item[0].err.msg);
		return -1;
	}
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

void stage_done(struct stage *st)
{
	int status;

	st->hold = false; /* who waits for the journal would not close */
	if (st->phase == PHASE_OPEN)
		stage_begin_close(st);
	if (st->phase == PHASE_CLOSING)
		stage_until_closed(st);
	if (st->phase == PHASE_CLOSED)
		stage_free(st);
	target_done(st);
	source_done(st);
	if (st->row->unmake)
		st->row->unmake(st);
	if (st->env.procs)
		sb_procs_free(st->env.procs);
	if (st->spawner > 0)
		waitpid(st->spawner, &status, 0);
	event_base_free(st->env.base);
	forget_conf(st);
	if (nftw(st->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) < 0)
		perror(st->dir);
	sb_pool_thread_done();
	sb_event_thread_done();
}

void said_closed(struct stage *st)
{
	st->closed++;
	if (st->closed > 1)
		violated(st, "it said closed %u times", st->closed);
	else if (st->phase != PHASE_CLOSING)
		violated(st, "it said closed, and nobody had closed it");
	else
		st->phase = PHASE_CLOSED;
	if (!st->target && source_waits(st))
		violated(st, "it said closed, and will still be told what became of its events");
	if (st->outstanding)
		violated(st, "it said closed with %zu items outstanding", st->outstanding);
}

int stage_try_open(struct stage *st, struct sb_err *err)
{
	struct watch w;
	int rc;

	if (st->target)
		target_prepare(st);
	else
		source_prepare(st);
	*err = (struct sb_err){ 0 };
	st->closed = 0;
	st->phase = PHASE_OPEN; /* it may emit from within */
	w = watch_begin();
	rc = st->target ? st->target->ops->open(st->target, err) : st->source.ops->open(&st->source, err);
	judge_wait(st, &w, "open()", STAGE_OPEN_MS);
	if (rc < 0)
		st->phase = PHASE_SHUT;
	if (st->row->opened)
		st->row->opened(st);
	return rc;
}

int stage_open(struct stage *st)
{
	struct sb_err err;

	if (stage_try_open(st, &err) == 0)
		return 0;
	violated(st, "it does not open: %s", err.msg);
	stage_free(st);
	return -1;
}

void stage_begin_close(struct stage *st)
{
	struct watch w = watch_begin();

	if (st->phase == PHASE_OPEN)
		st->phase = PHASE_CLOSING;
	if (st->target)
		st->target->ops->close(st->target);
	else
		st->source.ops->close(&st->source);
	watch_end(st, &w, "close()");
}

void stage_free(struct stage *st)
{
	struct watch w = watch_begin();

	if (st->target && st->target->ops->free)
		st->target->ops->free(st->target);
	if (!st->target && st->source.ops->free)
		st->source.ops->free(&st->source);
	watch_end(st, &w, "free()");
	st->phase = PHASE_SHUT;
}

void stage_status(struct stage *st)
{
	void (*target)(struct sb_target *, struct sb_buf *) = st->target ? st->target->ops->status : NULL;
	void (*source)(struct sb_source *, struct sb_buf *) = st->target ? NULL : st->source.ops->status;
	static const char pad[SB_JSON_PAD];
	struct sb_buf out = SB_BUF(64 << 10);
	struct sb_tape_buf tape = { 0 };
	struct sb_json_fault fault;
	struct watch w = watch_begin();

	sb_buf_addc(&out, '{');
	if (target)
		target(st->target, &out);
	if (source)
		source(&st->source, &out);
	watch_end(st, &w, "status()");
	sb_buf_addc(&out, '}');
	sb_buf_add(&out, pad, sizeof(pad));
	if (sb_json_scan(out.p, out.len - sizeof(pad), &SB_JSON_LIMITS, &tape, &fault) < 0)
		violated(st, "status() wrote no members of an object: %s at byte %zu of %s", fault.msg, fault.off,
			out.p);
	sb_tape_buf_done(&tape);
	sb_buf_done(&out);
}

/* ------------------------------------------------------------------------------------------------ time */

void stage_turn(struct stage *st)
{
	static const struct timespec moment = { 0, 200000 };
	struct watch w = watch_begin();

	st->row_waited = false;
	event_base_loop(st->env.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	if (!st->row_waited)
		watch_end(st, &w, "a callback");
	target_turn(st);
	source_turn(st);
	nanosleep(&moment, NULL);
}

bool stage_patient(const struct stage *st, uint64_t since)
{
	return sb_mono_ns(&sb_clock_system) - since < st->patience_ms * SB_NS_PER_MS;
}

bool stage_until(struct stage *st, const size_t *n, size_t want)
{
	uint64_t since = sb_mono_ns(&sb_clock_system);

	while (*n < want && !st->violations && stage_patient(st, since))
		stage_turn(st);
	return *n >= want;
}

bool stage_until_closed(struct stage *st)
{
	uint64_t since = sb_mono_ns(&sb_clock_system);

	while (!st->closed && stage_patient(st, since))
		stage_turn(st);
	if (!st->closed)
		violated(st, "it did not say that it is closed");
	return st->closed != 0;
}

void stage_rest(struct stage *st, unsigned ms)
{
	uint64_t until = sb_mono_ns(&sb_clock_system) + ms * SB_NS_PER_MS;

	while (sb_mono_ns(&sb_clock_system) < until)
		stage_turn(st);
}

/* ------------------------------------------------------------------------------------------------ checks */

void check_run(const struct row *row, const struct check *c, bool target, uint64_t patience_ms, char out[400])
{
	struct stage *st = sb_xcalloc(sizeof(*st));

	if (stage_init(st, row, target) == 0) {
		st->patience_ms = patience_ms;
		c->run(st);
	}
	stage_done(st);
	snprintf(out, 400, "%s", st->violation);
	free(st);
}
