/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "poolbench.h"

/* The pool against processes that do anything, by chance: every item has one end, and no limit is passed. */

static struct sb_fake_act chance_start(void *arg)
{
	struct bench *b = arg;
	uint64_t dice = sb_rand_below(&b->rand, 100);

	return (struct sb_fake_act){
		.what = dice < 5    ? SB_FAKE_CANNOT_START
			: dice < 10 ? SB_FAKE_DIES_STARTING
			: dice < 12 ? SB_FAKE_NEVER_READY
			: dice < 16 ? SB_FAKE_BABBLES
				    : SB_FAKE_STARTS,
		.after_ns = sb_rand_below(&b->rand, 200 * SB_NS_PER_MS),
		.ignores_term = sb_rand_below(&b->rand, 4) == 0,
	};
}

static struct sb_fake_act chance_deed(void *arg, const struct sb_fake_request *rq)
{
	struct bench *b = arg;
	uint64_t dice = sb_rand_below(&b->rand, 200);

	if (rq->in_flight > (size_t)b->conf.workers.in_flight)
		fail_msg("process %u has %zu in flight", rq->process, rq->in_flight);
	return (struct sb_fake_act){
		.what = dice < SB_FAKE_FLOODS + 1 ? (int)dice : SB_FAKE_OK,
		.after_ns = sb_rand_below(&b->rand, dice % 10 ? 5 * SB_NS_PER_MS : 300 * SB_NS_PER_MS),
	};
}

static void play(uint64_t seed)
{
	struct bench *b = bench_new(seed);
	struct sb_function_conf *c = &b->conf;
	unsigned counted = 0, attempts = 0;

	b->procs.start = chance_start;
	b->procs.request = chance_deed;
	b->procs.pipe_bytes = sb_rand_below(&b->rand, 3) ? 0 : 1 + sb_rand_below(&b->rand, 100);
	c->protocol = sb_rand_below(&b->rand, 4) ? SB_PROTO_JSONL : SB_PROTO_EXEC;
	c->workers.max = 1 + (int64_t)sb_rand_below(&b->rand, 6);
	if (c->protocol == SB_PROTO_JSONL) {
		c->workers.in_flight = 1 + (int64_t)sb_rand_below(&b->rand, 8);
		c->workers.min = (int64_t)sb_rand_below(&b->rand, (uint64_t)c->workers.max + 1);
	}
	c->max_requests = (int64_t)sb_rand_below(&b->rand, 3) * 20;
	c->idle_timeout = sb_rand_below(&b->rand, 2) ? 200 : 60000;
	c->kill_grace = sb_rand_below(&b->rand, 2) * 500;
	b->target.concurrency = 1 + (uint32_t)sb_rand_below(&b->rand, 40);
	b->sends_again = true;
	bench_open(b, 300);
	for (unsigned t = 0; t < 200000 && b->unfinished; t++) {
		bench_send_more(b);
		sb_fakeprocs_advance(&b->procs, (1 + sb_rand_below(&b->rand, 20)) * SB_NS_PER_MS);
		if (b->procs.alive > (unsigned)c->workers.max || b->outstanding > b->target.concurrency)
			fail_msg("seed %llu: %u alive, %zu outstanding", (unsigned long long)seed, b->procs.alive,
				b->outstanding);
	}
	if (b->unfinished)
		fail_msg("seed %llu: %zu items have no end", (unsigned long long)seed, b->unfinished);
	for (size_t i = 0; i < b->n; i++) {
		counted += b->item[i].settled[SB_DELIVERED] + b->item[i].settled[SB_REJECTED];
		attempts += b->item[i].item.attempt;
	}
	assert_int_equal(counted, 300);
	assert_true(attempts >= 300);
	assert_true(b->procs.most_alive <= (unsigned)c->workers.max);
	bench_close(b);
}

static void a_thousand_histories_end_well(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 1000; seed++)
		play(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thousand_histories_end_well),
	};

	sb_log_setup(SB_LOG_JSON, SB_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
