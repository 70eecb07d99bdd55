/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EXECUTOR_PROC_H
#define SB_EXECUTOR_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/base/err.h"
#include "broker/base/mem.h"
#include "executor/timer.h"

/*
 * Processes, as the pool sees them. The real implementation asks the spawner (a hidden verb of the same binary, started
 * with posix_spawn before secrets are read, one SEQPACKET socket for each shard): nothing threaded ever forks. The
 * simulation has another. All calls and callbacks are on the shard's thread.
 *
 * A process is its own session and process group. It gets a cleaned environment, its working directory, stdin, stdout,
 * stderr, and with `channel` descriptor 3; no other descriptor. When the daemon dies in any way, the spawner sees its
 * sockets close, kills every group, and ends; strays that left their group are adopted (child subreaper) and killed too.
 * When the spawner dies, the daemon adopts and kills them likewise (sb_spawner_bury), then starts another one.
 */
struct sb_procs;
struct sb_proc;

struct sb_proc_spec {
	const char *const *argv;  /* NULL-terminated; argv[0] is looked up in the child's PATH */
	const char *const *envp;  /* NULL-terminated, complete */
	const char *cwd;          /* NULL: the daemon's */
	bool channel;             /* descriptor 3 is the answer channel (SIGNALBOX_FD=3) */
};

/* Which stream bytes came from. */
enum sb_proc_stream { SB_STREAM_CHANNEL, SB_STREAM_STDOUT, SB_STREAM_STDERR };

/* Never called from within an op: always from the loop, so that a callback may call any op. */
struct sb_proc_cb {
	void (*started)(struct sb_proc *p);                  /* pid is set */
	void (*failed)(struct sb_proc *p, const struct sb_err *err); /* could not be started: no such command, no permission ... */
	/* Not before started(). n 0: end of stream. SB_JSON_PAD readable bytes follow the data. */
	void (*bytes)(struct sb_proc *p, enum sb_proc_stream s, const char *data, size_t n);
	void (*writable)(struct sb_proc *p);                 /* what write() did not take may be offered again */
	/* It is gone and reaped, all its streams were read to the end or closed. The last callback. wait_status as of wait(2). */
	void (*exited)(struct sb_proc *p, int wait_status);
};

struct sb_proc { /* embedded in the caller's struct; zero it before spawn */
	struct sb_procs *procs;
	const struct sb_proc_cb *cb;
	pid_t pid;               /* 0 until started */
	bool lost;               /* as of failed() or exited(): the spawner has died, which is nobody's fault here */
	void *impl;              /* the implementation's */
};

struct sb_procs_ops {
	/* `spec` is copied. Its texts together are at most SB_PROC_SPEC_MAX bytes, else it fails. While `down`, it waits. */
	void (*spawn)(struct sb_procs *ps, struct sb_proc *p, const struct sb_proc_spec *spec);
	/*
	 * After started(). How many bytes of the front were taken; fewer than n: wait for writable. Never blocks. A process
	 * that has closed its stdin takes everything and loses it: its exit or its silence will tell.
	 */
	size_t (*write)(struct sb_proc *p, const char *data, size_t n);
	void (*close_stdin)(struct sb_proc *p);
	void (*signal)(struct sb_proc *p, int sig); /* to the whole group; before started() too */
	void (*throttle)(struct sb_proc *p, enum sb_proc_stream s, bool stop); /* stop reading a stream that floods */
};

struct sb_procs {
	const struct sb_procs_ops *ops;
	struct sb_timers *timers; /* of the same shard: what starts processes also waits for them */
	bool down;                /* the spawner is gone and its processes with it: what is to be started waits for the next */
};

#define SB_PROC_SPEC_MAX (128u << 10)

/*
 * The real one. `sock` is this shard's end of the spawner's socket; moves in. It drives its timers by an event of its own
 * on `base`. Free it when no process is left (every pool closed): what is still there is killed without another callback.
 */
struct event_base;
struct sb_procs *sb_procs_new(struct event_base *base, int sock);
/*
 * The spawner has died and was buried: every process that was its child has its last callback from within, marked `lost`.
 * `sock` is this shard's end of the next one's socket, and moves in; -1: there is none yet, call again.
 */
void sb_procs_renew(struct sb_procs *ps, int sock);
void sb_procs_free(struct sb_procs *ps);

/*
 * Start the spawner: posix_spawn of /proc/self/exe with the hidden verb, n sockets (one for each shard). ret_socks[i] are
 * our ends. `keep_fd` (the lock of the data folder, or -1) is inherited, so that a new daemon cannot begin while workers
 * of the old one are alive. Returns the spawner's pid, -1 with *err. The caller's process is a child subreaper from then on.
 */
pid_t sb_spawner_start(unsigned n, int keep_fd, int *ret_socks, struct sb_err *err);
/*
 * On SIGCHLD: reaps whoever has ended. *pid becomes 0, and *ret_status as of wait(2), when the spawner is among them. While
 * *pid is 0, everything that it had started is killed; true when nothing of it is left, else call again soon. Processes of
 * the caller's own session cannot be the spawner's and are let live. Of the thread that has started it.
 */
bool sb_spawner_bury(pid_t *pid, int *ret_status);
/*
 * The hidden verb's main, called by main() with its own arguments when argv[1] is SB_SPAWNER_VERB, before anything else:
 * serves until all its sockets are closed, kills what is left, returns the exit code.
 */
int sb_spawner_main(int argc, char **argv);
#define SB_SPAWNER_VERB "__spawner"

#endif
