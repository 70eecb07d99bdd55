/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_SIMDISK_H
#define SB_TESTS_SUPPORT_SIMDISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/rand.h"
#include "broker/base/vfs.h"

/*
 * A disk in memory that keeps apart what a program sees and what a power cut would leave. Writes and sizes become durable by
 * fdatasync of their file, names by sync_dir of their folder; until then a crash may take any of them, in any combination.
 * Everything is decided by seeds: the same calls and the same seeds leave the same disk. One thread.
 *
 * A crash has two halves, so that the program can be taken down in between: from simdisk_power_off (or from the operation
 * `off_at`) on every call fails with EIO and changes nothing; simdisk_crash then chooses what survived and the power is back.
 * Handles from before stay dead.
 */
enum sim_call {
	SIM_OPEN, SIM_READ, SIM_WRITE, SIM_SYNC, SIM_TRUNCATE, SIM_ALLOCATE, SIM_SIZE, SIM_RENAME, SIM_UNLINK, SIM_MKDIR,
	SIM_SYNC_DIR, SIM_LIST, SIM_CALLS,
};

struct sim_image {
	char *p;
	size_t n, cap;
};

/* One change of a file that is not durable. A write has data; without data it is a new size. */
struct sim_change {
	struct sim_change *next;
	char *data;
	uint64_t off; /* or the size */
	size_t n;
};

struct sim_inode {
	unsigned refs; /* names, handles, changes of names */
	struct sim_image view, disk;
	struct sim_change *change, **tail;
	struct simdisk *owner;
	struct sim_inode *next; /* every inode of the disk */
};

struct sim_name {
	char *path;
	struct sim_inode *inode; /* NULL: a folder */
};

struct sim_names {
	struct sim_name *v;
	size_t n, cap;
};

/* One change of the names that is not durable: `inode` goes from one to the other; NULL: it did not or does not exist. */
struct sim_move {
	struct sim_move *next;
	char *from, *to;
	struct sim_inode *inode; /* NULL: a folder was made */
};

#define SIM_FAULTS 8
struct sim_fault {
	enum sim_call call;
	uint64_t at; /* number of the call; 0: not armed */
	int error;
	bool persistent;
};

struct simdisk {
	struct sb_vfs vfs;
	/* Free to change at any time: */
	uint64_t capacity;    /* bytes; 0: no end */
	size_t write_at_most; /* of one pwrite; 0: all. The same for reads below. */
	size_t read_at_most;
	uint64_t off_at;      /* the power goes at this operation; 0: it stays */
	/* To look at: */
	uint64_t ops;         /* calls that change something */
	uint64_t calls[SIM_CALLS];
	bool off;
	/* Its own: */
	struct sb_rand rand;
	unsigned life; /* counts crashes: handles of an earlier life are dead */
	struct sim_inode *inodes;
	struct sim_names view, disk;
	struct sim_move *move, **move_tail;
	struct sim_fault fault[SIM_FAULTS];
};

struct simdisk *simdisk_new(uint64_t seed);
struct simdisk *simdisk_free(struct simdisk *d); /* every handle must be closed */
/* A disk with what is visible on this one, all of it durable, without faults. */
struct simdisk *simdisk_clone(const struct simdisk *d);

/*
 * The nth call of a kind from now on fails with this error, 1-based; persistent: and all after it. A failing fdatasync drops
 * what was not durable, as a kernel does: reads still see it until `forget`, a later fdatasync succeeds, a crash takes it.
 */
void simdisk_fail(struct simdisk *d, enum sim_call call, uint64_t nth, int error, bool persistent);
void simdisk_heal(struct simdisk *d); /* disarms every fault */

void simdisk_power_off(struct simdisk *d);
/* harsh: writes tear at any byte instead of at sectors, and what was lost may have left garbage instead of zeros. */
void simdisk_crash(struct simdisk *d, uint64_t seed, bool harsh);

/* Behind the program's back, durable at once. */
int64_t simdisk_file_size(const struct simdisk *d, const char *path); /* -1: no such file */
void simdisk_flip(struct simdisk *d, const char *path, uint64_t bit);
void simdisk_cut(struct simdisk *d, const char *path, uint64_t size);
uint64_t simdisk_used(const struct simdisk *d);

/* simdisk.c, for simcrash.c */
void sim_image_resize(struct sim_image *m, uint64_t size);
void sim_image_write(struct sim_image *m, const void *p, size_t n, uint64_t off);
void sim_image_copy(struct sim_image *to, const struct sim_image *from);
void sim_changes_drop(struct sim_inode *ino);
void sim_move_apply(struct sim_names *names, const struct sim_move *m);
void sim_moves_drop(struct simdisk *d);
void sim_names_prune(struct sim_names *l); /* what lies in a folder that is not there */
void sim_names_copy(struct sim_names *to, const struct sim_names *from);
void sim_inodes_sweep(struct simdisk *d);

#endif
