/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/watchdisk.h"

#include <stdlib.h>

struct write {
	struct write *next;
	uint64_t off;
	size_t n;
	char data[];
};

struct watched {
	struct sb_file file; /* first */
	struct sb_watchdisk *disk;
	struct sb_file *below;
	struct write *write, **tail; /* since the last sync */
};

static struct watched *watched_of(struct sb_file *f)
{
	return SB_CONTAINER(f, struct watched, file);
}

static struct sb_vfs *real_of(struct sb_vfs *v)
{
	return SB_CONTAINER(v, struct sb_watchdisk, vfs)->below;
}

static void forget_writes(struct watched *f)
{
	struct write *w, *next;

	for (w = f->write; w; w = next) {
		next = w->next;
		free(w);
	}
	f->write = NULL;
	f->tail = &f->write;
}

/* ------------------------------------------------------------------------------------------------ calls on files */

static struct sb_file *watch_open(struct sb_vfs *v, const char *path, int flags)
{
	struct sb_file *real = real_of(v)->ops->open(real_of(v), path, flags);
	struct watched *f;

	if (!real)
		return NULL;
	f = sb_xcalloc(sizeof(*f));
	*f = (struct watched){ .file.vfs = v, .disk = SB_CONTAINER(v, struct sb_watchdisk, vfs), .below = real };
	f->tail = &f->write;
	return &f->file;
}

static void watch_close(struct sb_file *file)
{
	struct watched *f = watched_of(file);

	f->below->vfs->ops->close(f->below);
	forget_writes(f);
	free(f);
}

static ssize_t watch_pread(struct sb_file *file, void *p, size_t n, uint64_t off)
{
	struct sb_file *f = watched_of(file)->below;

	return f->vfs->ops->pread(f, p, n, off);
}

static ssize_t watch_pwrite(struct sb_file *file, const void *p, size_t n, uint64_t off)
{
	struct watched *f = watched_of(file);
	ssize_t done = f->below->vfs->ops->pwrite(f->below, p, n, off);
	struct write *w;

	if (done <= 0)
		return done;
	w = sb_xcalloc(sizeof(*w) + (size_t)done);
	w->off = off;
	w->n = (size_t)done;
	memcpy(w->data, p, w->n);
	*f->tail = w;
	f->tail = &w->next;
	f->disk->written(f->disk->arg, off, sb_slice(w->data, w->n));
	return done;
}

static int watch_fdatasync(struct sb_file *file)
{
	struct watched *f = watched_of(file);

	if (f->below->vfs->ops->fdatasync(f->below) < 0)
		return -1;
	for (const struct write *w = f->write; w; w = w->next)
		f->disk->durable(f->disk->arg, w->off, sb_slice(w->data, w->n));
	forget_writes(f);
	return 0;
}

static int watch_truncate(struct sb_file *file, uint64_t size)
{
	struct sb_file *f = watched_of(file)->below;

	return f->vfs->ops->truncate(f, size);
}

static int watch_allocate(struct sb_file *file, uint64_t size)
{
	struct sb_file *f = watched_of(file)->below;

	return f->vfs->ops->allocate(f, size);
}

static int64_t watch_size(struct sb_file *file)
{
	struct sb_file *f = watched_of(file)->below;

	return f->vfs->ops->size(f);
}

static void watch_forget(struct sb_file *file)
{
	struct sb_file *f = watched_of(file)->below;

	f->vfs->ops->forget(f);
}

/* ------------------------------------------------------------------------------------------------ calls on names */

static int watch_rename(struct sb_vfs *v, const char *from, const char *to)
{
	return real_of(v)->ops->rename(real_of(v), from, to);
}

static int watch_unlink(struct sb_vfs *v, const char *path)
{
	return real_of(v)->ops->unlink(real_of(v), path);
}

static int watch_mkdir(struct sb_vfs *v, const char *path)
{
	return real_of(v)->ops->mkdir(real_of(v), path);
}

static int watch_sync_dir(struct sb_vfs *v, const char *path)
{
	return real_of(v)->ops->sync_dir(real_of(v), path);
}

static int watch_list(struct sb_vfs *v, const char *path, int (*fn)(void *arg, const char *name), void *arg)
{
	return real_of(v)->ops->list(real_of(v), path, fn, arg);
}

static int64_t watch_free_bytes(struct sb_vfs *v, const char *path)
{
	return real_of(v)->ops->free_bytes(real_of(v), path);
}

static const struct sb_vfs_ops watch_ops = {
	.open = watch_open,
	.close = watch_close,
	.pread = watch_pread,
	.pwrite = watch_pwrite,
	.fdatasync = watch_fdatasync,
	.truncate = watch_truncate,
	.allocate = watch_allocate,
	.size = watch_size,
	.forget = watch_forget,
	.rename = watch_rename,
	.unlink = watch_unlink,
	.mkdir = watch_mkdir,
	.sync_dir = watch_sync_dir,
	.list = watch_list,
	.free_bytes = watch_free_bytes,
};

void sb_watchdisk_init(struct sb_watchdisk *w, struct sb_vfs *below, void *arg)
{
	*w = (struct sb_watchdisk){ .vfs.ops = &watch_ops, .below = below, .arg = arg };
}
