/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include "poolbench.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const command[] = { "handler", NULL };

static struct bench *bench_of(struct sb_target *t)
{
	return t->owner;
}

void bench_submit(struct bench *b, size_t i)
{
	struct item *it = &b->item[i];

	assert_false(it->outstanding || it->finished);
	it->outstanding = true;
	it->item.attempt++;
	b->outstanding++;
	b->most_outstanding = SB_MAX(b->most_outstanding, b->outstanding);
	b->target.ops->send(&b->target, &it->batch);
}

void bench_send_more(struct bench *b)
{
	uint64_t now = b->clock.mono;

	for (size_t i = 0; i < b->next && b->outstanding < b->target.concurrency; i++)
		if (!b->item[i].outstanding && !b->item[i].finished && b->item[i].due_ns <= now)
			bench_submit(b, i);
	while (b->next < b->n && b->outstanding < b->target.concurrency)
		bench_submit(b, b->next++);
}

static void copy(char *to, size_t size, struct sb_slice s)
{
	snprintf(to, size, "%.*s", SB_SLICE_ARG(s));
}

static void settle(struct sb_target *t, struct sb_batch *batch, size_t i, const struct sb_result *r)
{
	struct bench *b = bench_of(t);
	struct item *it = SB_CONTAINER(batch, struct item, batch);

	assert_int_equal(i, 0);
	if (!it->outstanding)
		fail_msg("item %s settled twice", it->id);
	it->outstanding = false;
	b->outstanding--;
	it->settled[r->outcome]++;
	it->reason = r->reason;
	copy(it->message, sizeof(it->message), r->message);
	copy(it->body, sizeof(it->body), r->body);
	copy(it->tail, sizeof(it->tail), r->tail);
	it->due_ns = b->clock.mono + (r->outcome == SB_UNREACHABLE ? r->retry_after_ms * SB_NS_PER_MS : 1);
	if (r->outcome == SB_DELIVERED || r->outcome == SB_REJECTED || (r->outcome == SB_RETRY && !b->sends_again)) {
		it->finished = true;
		b->unfinished--;
	}
	if (b->sends_again)
		bench_send_more(b); /* from within, as the dispatch does */
}

static void closed(struct sb_target *t)
{
	assert_false(bench_of(t)->closed);
	bench_of(t)->closed = true;
}

static struct sb_fake_act simple_start(void *arg)
{
	struct bench *b = arg;

	b->starts++;
	return b->next_start;
}

static struct sb_fake_act simple_deed(void *arg, const struct sb_fake_request *rq)
{
	struct bench *b = arg;

	(void)rq;
	if (b->deeds == 1) {
		struct sb_fake_act act = b->next_deed;

		b->next_deed = (struct sb_fake_act){ .what = SB_FAKE_OK, .after_ns = SB_NS_PER_MS };
		b->deeds = 0;
		return act;
	}
	b->deeds -= b->deeds > 0;
	return b->next_deed;
}

struct bench *bench_new(uint64_t seed)
{
	struct bench *b = sb_xcalloc(sizeof(*b));

	sb_fake_clock_init(&b->clock, 1790000000000);
	sb_fakeprocs_init(&b->procs, &b->clock);
	sb_rand_seed(&b->rand, seed);
	b->env = (struct sb_env){ .clock = &b->clock.clock, .rand = &b->rand, .procs = &b->procs.procs };
	b->conf = (struct sb_function_conf){
		.command = { .v = (const char **)command, .n = 1 },
		.protocol = SB_PROTO_JSONL,
		.workers = { .min = 0, .max = 4, .in_flight = 1 },
		.idle_timeout = 60000,
		.init_timeout = 10000,
		.kill_grace = 500,
		.max_line = 1 << 20,
		.max_request = 1 << 20,
		.log_rate = 1 << 20,
	};
	b->target = (struct sb_target){ .name = "t",
		.ops = &sb_function_ops,
		.state = &b->state,
		.conf = &b->conf,
		.env = &b->env,
		.concurrency = 4,
		.timeout_ms = 5000,
		.settle = settle,
		.closed = closed,
		.owner = b };
	b->procs.arg = b;
	b->procs.start = simple_start;
	b->procs.request = simple_deed;
	b->next_deed.after_ns = SB_NS_PER_MS;
	b->event.id = SB_SLICE("ev");
	return b;
}

void bench_open(struct bench *b, size_t n)
{
	struct sb_err err;

	b->n = b->unfinished = n;
	for (size_t i = 0; i < n; i++) {
		struct item *it = &b->item[i];

		snprintf(it->id, sizeof(it->id), "id-%zu.0", i);
		it->item.delivery_id = sb_slice_str(it->id);
		it->item.event = &b->event;
		it->item.input = SB_SLICE("{\"a\":\n1}");
		it->item.input_newlines = true;
		it->batch = (struct sb_batch){ .n = 1, .item = &it->item };
	}
	assert_int_equal(b->target.ops->open(&b->target, &err), 0);
}

void bench_advance(struct bench *b, uint64_t ms)
{
	sb_fakeprocs_advance(&b->procs, ms * SB_NS_PER_MS);
}

void bench_free(struct bench *b)
{
	assert_true(b->closed);
	assert_int_equal(b->outstanding, 0);
	assert_int_equal(b->procs.alive, 0);
	b->target.ops->free(&b->target);
	sb_fakeprocs_done(&b->procs);
	free(b);
}

void bench_close(struct bench *b)
{
	b->sends_again = false;
	b->target.ops->close(&b->target);
	b->target.ops->close(&b->target);
	assert_false(b->closed); /* never from within */
	bench_advance(b, 5000);
	bench_free(b);
}

struct bench *bench_opened(size_t n)
{
	struct bench *b = bench_new(1);

	bench_open(b, n);
	return b;
}
