/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "broker/base/mem.h"

struct real_file {
	struct sb_file file;
	int fd;
};

static int fd_of(struct sb_file *f)
{
	return SB_CONTAINER(f, struct real_file, file)->fd;
}

static struct sb_file *real_open(struct sb_vfs *v, const char *path, int flags)
{
	struct real_file *f;
	int fd;

	do
		fd = open(path, flags | O_CLOEXEC, 0600);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return NULL;
	f = sb_xcalloc(sizeof(*f));
	f->file.vfs = v;
	f->fd = fd;
	return &f->file;
}

static void real_close(struct sb_file *f)
{
	close(fd_of(f));
	free(SB_CONTAINER(f, struct real_file, file));
}

static ssize_t real_pread(struct sb_file *f, void *p, size_t n, uint64_t off)
{
	ssize_t r;

	do
		r = pread(fd_of(f), p, n, (off_t)off);
	while (r < 0 && errno == EINTR);
	return r;
}

static ssize_t real_pwrite(struct sb_file *f, const void *p, size_t n, uint64_t off)
{
	ssize_t r;

	do
		r = pwrite(fd_of(f), p, n, (off_t)off);
	while (r < 0 && errno == EINTR);
	return r;
}

static int real_fdatasync(struct sb_file *f)
{
	int r;

	do
		r = fdatasync(fd_of(f));
	while (r < 0 && errno == EINTR);
	return r;
}

static int real_truncate(struct sb_file *f, uint64_t size)
{
	int r;

	do
		r = ftruncate(fd_of(f), (off_t)size);
	while (r < 0 && errno == EINTR);
	return r;
}

static int real_allocate(struct sb_file *f, uint64_t size)
{
	int e;

	do
		e = posix_fallocate(fd_of(f), 0, (off_t)size);
	while (e == EINTR);
	errno = e;
	return e ? -1 : 0;
}

static int64_t real_size(struct sb_file *f)
{
	struct stat st;

	return fstat(fd_of(f), &st) < 0 ? -1 : (int64_t)st.st_size;
}

static void real_forget(struct sb_file *f)
{
	posix_fadvise(fd_of(f), 0, 0, POSIX_FADV_DONTNEED);
}

static int real_rename(struct sb_vfs *v, const char *from, const char *to)
{
	(void)v;
	return rename(from, to);
}

static int real_unlink(struct sb_vfs *v, const char *path)
{
	(void)v;
	return unlink(path);
}

static int real_mkdir(struct sb_vfs *v, const char *path)
{
	(void)v;
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -1 : 0;
}

static int real_sync_dir(struct sb_vfs *v, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	(void)v;
	if (fd < 0)
		return -1;
	r = fsync(fd);
	close(fd);
	return r;
}

static int real_list(struct sb_vfs *v, const char *path, int (*fn)(void *arg, const char *name), void *arg)
{
	DIR *d = opendir(path);
	const struct dirent *e;
	int r = 0;

	(void)v;
	if (!d)
		return -1;
	while (r == 0 && (e = readdir(d)))
		if (e->d_type == DT_REG || e->d_type == DT_UNKNOWN)
			r = fn(arg, e->d_name);
	closedir(d);
	return r;
}

static int64_t real_free_bytes(struct sb_vfs *v, const char *path)
{
	struct statvfs st;

	(void)v;
	return statvfs(path, &st) < 0 ? -1 : (int64_t)st.f_bavail * (int64_t)st.f_frsize;
}

static const struct sb_vfs_ops real_ops = {
	.open = real_open,
	.close = real_close,
	.pread = real_pread,
	.pwrite = real_pwrite,
	.fdatasync = real_fdatasync,
	.truncate = real_truncate,
	.allocate = real_allocate,
	.size = real_size,
	.forget = real_forget,
	.rename = real_rename,
	.unlink = real_unlink,
	.mkdir = real_mkdir,
	.sync_dir = real_sync_dir,
	.list = real_list,
	.free_bytes = real_free_bytes,
};

struct sb_vfs sb_vfs_system = { &real_ops };

int sb_file_write_all(struct sb_file *f, const void *p, size_t n, uint64_t off)
{
	const char *at = p;

	while (n) {
		ssize_t w = f->vfs->ops->pwrite(f, at, n, off);

		if (w < 0)
			return -1;
		if (w == 0) {
			errno = ENOSPC;
			return -1;
		}
		at += w;
		off += (uint64_t)w;
		n -= (size_t)w;
	}
	return 0;
}

ssize_t sb_file_read_full(struct sb_file *f, void *p, size_t n, uint64_t off)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = f->vfs->ops->pread(f, (char *)p + got, n - got, off + got);

		if (r < 0)
			return -1;
		if (r == 0)
			break;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

int sb_make_folder(struct sb_vfs *v, const char *path)
{
	char parent[4096];
	char *slash;

	if (snprintf(parent, sizeof(parent), "%s", path) >= (int)sizeof(parent)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (v->ops->mkdir(v, path) < 0)
		return -1;
	slash = strrchr(parent, '/');
	if (!slash)
		return v->ops->sync_dir(v, ".");
	slash[slash == parent] = '\0'; /* "/x" lies in "/" */
	return v->ops->sync_dir(v, parent);
}
