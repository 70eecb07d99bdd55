/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_EXECUTOR_POOLBENCH_H
#define SB_TESTS_EXECUTOR_POOLBENCH_H

#include "executor/pool.h"
#include "tests/support/fakeprocs.h"

/*
 * The pool on scripted processes and a fake clock. `struct bench` plays the dispatch: it keeps at most `concurrency` items
 * outstanding, sends again what is to be sent again, and checks that each item sent is settled once.
 */
#define ITEMS_MAX 4096

struct item {
	struct sb_item item;
	struct sb_batch batch;
	char id[32];
	bool outstanding;
	unsigned settled[5]; /* by enum sb_outcome */
	enum sb_reason reason;
	char message[200], body[64], tail[64];
	uint64_t due_ns; /* when to send it again */
	bool finished;
};

struct bench {
	struct sb_fake_clock clock;
	struct sb_fakeprocs procs;
	struct sb_rand rand;
	struct sb_env env;
	struct sb_target target;
	struct sb_function state;
	struct sb_function_conf conf;
	struct sb_event event;
	struct item item[ITEMS_MAX];
	size_t n, next, outstanding, most_outstanding, unfinished;
	bool sends_again, closed;
	struct sb_fake_act next_start, next_deed; /* of the simple scripts */
	unsigned deeds;                           /* how many requests do next_deed before the rest do well; 0: all */
	unsigned starts;
};

struct bench *bench_new(uint64_t seed);
void bench_open(struct bench *b, size_t n);
struct bench *bench_opened(size_t n);
void bench_submit(struct bench *b, size_t i);
void bench_send_more(struct bench *b); /* what is due again, then what is new, up to the concurrency */
void bench_advance(struct bench *b, uint64_t ms);
void bench_close(struct bench *b);
void bench_free(struct bench *b); /* after the target said that it is closed */

#endif
