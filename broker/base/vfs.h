/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_VFS_H
#define SB_BASE_VFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The disk as the journal sees it. Two implementations: the real one, and a simulated disk (tests/support/simdisk.h)
 * that drops, tears and reorders what was not synced, fails the n-th call, and fills up.
 * Every call returns -1 (or NULL) with errno, like the system call it stands for; EINTR never comes out of here.
 * Short writes do: the caller goes on at the right offset.
 */
struct sb_vfs;
struct sb_file;

struct sb_vfs_ops {
	/* flags of open(2): O_RDWR, O_RDONLY, O_CREAT, O_EXCL; mode 0600, close-on-exec */
	struct sb_file *(*open)(struct sb_vfs *v, const char *path, int flags);
	void (*close)(struct sb_file *f);
	ssize_t (*pread)(struct sb_file *f, void *p, size_t n, uint64_t off);
	ssize_t (*pwrite)(struct sb_file *f, const void *p, size_t n, uint64_t off);
	int (*fdatasync)(struct sb_file *f);
	int (*truncate)(struct sb_file *f, uint64_t size);
	/* Reserve real blocks for [0, size) and extend the file; ENOSPC when there are none. */
	int (*allocate)(struct sb_file *f, uint64_t size);
	int64_t (*size)(struct sb_file *f);
	/* Read from the disk again what is cached and not dirty: after a failed fdatasync the cache shows what the disk lacks. */
	void (*forget)(struct sb_file *f);
	int (*rename)(struct sb_vfs *v, const char *from, const char *to);
	int (*unlink)(struct sb_vfs *v, const char *path);
	int (*mkdir)(struct sb_vfs *v, const char *path); /* 0700; EEXIST counts as success */
	int (*sync_dir)(struct sb_vfs *v, const char *path);
	/* Calls fn for every regular file name in the folder, in any order; stops when fn returns non-zero. */
	int (*list)(struct sb_vfs *v, const char *path, int (*fn)(void *arg, const char *name), void *arg);
	/* Bytes that an unprivileged process may still write. */
	int64_t (*free_bytes)(struct sb_vfs *v, const char *path);
};

struct sb_vfs {
	const struct sb_vfs_ops *ops;
};

struct sb_file {
	struct sb_vfs *vfs;
};

extern struct sb_vfs sb_vfs_system;

/* Write all of it, going on after short writes. */
int sb_file_write_all(struct sb_file *f, const void *p, size_t n, uint64_t off);
/* Make a folder and its name in the folder above durable; one that exists already is fine. */
int sb_make_folder(struct sb_vfs *v, const char *path);
/* Read n bytes unless the file ends before; returns how many. */
ssize_t sb_file_read_full(struct sb_file *f, void *p, size_t n, uint64_t off);

#endif
