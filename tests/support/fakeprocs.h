/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_FAKEPROCS_H
#define SB_TESTS_SUPPORT_FAKEPROCS_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/clock.h"
#include "broker/base/list.h"
#include "broker/base/mem.h"
#include "executor/proc.h"

/*
 * Processes under a fake clock: a script says how each one starts and what it does with each request. One with a channel
 * speaks jsonl, one without is an exec command, whose one request is all of its stdin. Nothing happens from within an op;
 * the same script and clock give the same history. Without a script every process starts at once and answers in 1 ms.
 */
enum sb_fake_start {
	SB_FAKE_STARTS,
	SB_FAKE_CANNOT_START,  /* no such command */
	SB_FAKE_DIES_STARTING, /* exits with status 3 before it is ready */
	SB_FAKE_NEVER_READY,
	SB_FAKE_BABBLES,       /* its first line is no {"ready":true} */
	SB_FAKE_DIES_READY,    /* says it is ready, and exits */
};

enum sb_fake_deed {
	SB_FAKE_OK,         /* exec: exit 0 */
	SB_FAKE_FAILS,      /* exec: exit 1 */
	SB_FAKE_REJECTS,    /* exec: exit 65 */
	SB_FAKE_HANGS,
	SB_FAKE_DIES,       /* by SIGSEGV, with a last word on stderr */
	SB_FAKE_GARBAGE,    /* a line that is no JSON, and a good answer behind it */
	SB_FAKE_WRONG_ID,
	SB_FAKE_HANGS_UP,   /* closes the channel, lives on */
	SB_FAKE_OK_AND_DIES, /* answers, then exits */
	SB_FAKE_MUTTERS,    /* a line on stderr, then answers */
	SB_FAKE_FLOODS,     /* 64 KiB on stdout, then answers */
	SB_FAKE_REPEATS,    /* answers, and half a millisecond later once more */
};

struct sb_fake_act {
	int what;            /* of sb_fake_start or sb_fake_deed */
	uint64_t after_ns;   /* a start: until it is ready; a deed: until it is done */
	bool ignores_term;   /* a start: only SIGKILL ends it */
};

struct sb_fake_request {
	unsigned process;    /* counts from 1 in the order of spawning */
	struct sb_slice id;  /* delivery id; exec: empty */
	struct sb_slice text;
	size_t in_flight;    /* requests that this process has not answered, this one included */
};

struct sb_fakeprocs {
	struct sb_procs procs; /* first */
	struct sb_timers timers;
	struct sb_fake_clock *clock;
	void *arg;
	struct sb_fake_act (*start)(void *arg);
	struct sb_fake_act (*request)(void *arg, const struct sb_fake_request *rq);
	const struct sb_proc_spec *starting; /* while start() is asked */
	size_t pipe_bytes;   /* what one write takes before it waits for writable; 0: everything */
	/* What the test may look at. */
	unsigned spawned, alive, most_alive, requests;
	size_t most_in_flight; /* of any process */
	struct sb_link all;
};

void sb_fakeprocs_init(struct sb_fakeprocs *fp, struct sb_fake_clock *clock);
void sb_fakeprocs_done(struct sb_fakeprocs *fp);
/* Moves the clock from timer to timer until nothing is due before `ns` from now, then to there. */
void sb_fakeprocs_advance(struct sb_fakeprocs *fp, uint64_t ns);
/* When to run next (sb_timers_next) and running it, for a harness that moves the clock itself. */
uint64_t sb_fakeprocs_next(const struct sb_fakeprocs *fp);
void sb_fakeprocs_run(struct sb_fakeprocs *fp);
/* The spawner dies: every process with it, and what is to be started waits. */
void sb_fakeprocs_go_down(struct sb_fakeprocs *fp);
/* There is another one. */
void sb_fakeprocs_come_back(struct sb_fakeprocs *fp);

#endif
