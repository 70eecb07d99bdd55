/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EXECUTOR_SPAWNWIRE_H
#define SB_EXECUTOR_SPAWNWIRE_H

#include <stdint.h>

#include "proc.h"

/*
 * What goes over a SEQPACKET socket between a shard (proc.c) and the spawner (spawner.c). Both are the same binary, so
 * the messages are plain structs. Ids are the shard's and never reused; only the spawner deals with pids.
 */
enum spawn_request_kind { SPAWN_START = 1, SPAWN_SIGNAL };

/*
 * START is followed by its texts, each with its NUL: the folder (empty: stay), argc arguments, envc variables. With it travel
 * the child's ends of its pipes: stdin, stdout, stderr, and with `channel` the answer channel.
 */
struct spawn_request {
	uint64_t id;
	uint8_t kind;
	uint8_t channel;
	uint16_t sig;
	uint32_t argc, envc;
};

enum spawn_notice_kind { SPAWN_STARTED = 1, SPAWN_FAILED, SPAWN_EXITED };
enum spawn_stage { SPAWN_AT_FORK, SPAWN_AT_CHDIR, SPAWN_AT_EXEC };

struct spawn_notice {
	uint64_t id;
	uint8_t kind;
	uint8_t stage;  /* FAILED: what did not work */
	int32_t value;  /* STARTED: pid; FAILED: errno; EXITED: wait status */
};

#define SPAWN_FDS_MAX 4
#define SPAWN_SOCKS_MAX 256
#define SPAWN_FIRST_SOCK 3 /* the spawner finds its sockets from here on, and the lock behind the last */
#define SPAWN_REQUEST_MAX (sizeof(struct spawn_request) + SB_PROC_SPEC_MAX)

#endif
