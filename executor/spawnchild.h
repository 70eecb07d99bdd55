/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EXECUTOR_SPAWNCHILD_H
#define SB_EXECUTOR_SPAWNCHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "spawnwire.h"

/* A command to be executed; texts and descriptors are borrowed. */
struct spawn_start {
	struct spawn_request rq;
	char **argv, **envp;
	const char *cwd; /* empty: stay */
	int fd[SPAWN_FDS_MAX];
	unsigned n_fds;
	pid_t spawner;
};

/* What a child says on its status pipe when it does not get as far as its command. */
struct spawn_failure {
	int32_t err;
	uint8_t stage; /* enum spawn_stage */
};

/* In the forked child: become the command. `status` closes by itself when that has worked. */
_Noreturn void sb_spawn_run(const struct spawn_start *s, int status);
/*
 * Processes whose parent we are, adopted ones included; more than `max` are seen the next time. With `thorough` all of
 * /proc is looked through when the kernel has no list of children; without, that is -1.
 */
int sb_spawn_kin(pid_t *ret, unsigned max, bool thorough);

#endif
