/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every file has two images: `view`, what reads see, and `disk`, what is durable, with the changes between them in order.
 * Names are the same once more: two tables, and the moves between them. What a crash takes is in simcrash.c.
 */
#include "tests/support/simdisk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/err.h"
#include "broker/base/mem.h"

struct sim_file {
	struct sb_file file;
	struct simdisk *disk;
	struct sim_inode *inode;
	unsigned life;
};

/* ------------------------------------------------------------------------------------------------ images */

void sim_image_resize(struct sim_image *m, uint64_t size)
{
	if (size > m->cap) {
		m->cap = SB_MAX(size, m->cap * 2);
		m->p = sb_xrealloc(m->p, m->cap);
	}
	if (size > m->n)
		memset(m->p + m->n, 0, size - m->n);
	m->n = size;
}

void sim_image_write(struct sim_image *m, const void *p, size_t n, uint64_t off)
{
	if (n == 0)
		return;
	if (off + n > m->n)
		sim_image_resize(m, off + n);
	memcpy(m->p + off, p, n);
}

void sim_image_copy(struct sim_image *to, const struct sim_image *from)
{
	to->n = 0;
	sim_image_write(to, from->p, from->n, 0);
}

/* ------------------------------------------------------------------------------------------------ inodes */

static struct sim_inode *inode_new(struct simdisk *d)
{
	struct sim_inode *ino = sb_xcalloc(sizeof(*ino));

	ino->tail = &ino->change;
	ino->owner = d;
	ino->next = d->inodes;
	d->inodes = ino;
	return ino;
}

static void change_add(struct sim_inode *ino, const void *p, size_t n, uint64_t off)
{
	struct sim_change *c = sb_xcalloc(sizeof(*c));

	if (p) {
		c->data = sb_xmalloc(n);
		memcpy(c->data, p, n);
	}
	c->n = n;
	c->off = off;
	*ino->tail = c;
	ino->tail = &c->next;
}

static void changes_apply(const struct sim_inode *ino, struct sim_image *m)
{
	for (const struct sim_change *c = ino->change; c; c = c->next) {
		if (c->data)
			sim_image_write(m, c->data, c->n, c->off);
		else
			sim_image_resize(m, c->off);
	}
}

void sim_changes_drop(struct sim_inode *ino)
{
	struct sim_change *c, *next;

	for (c = ino->change; c; c = next) {
		next = c->next;
		free(c->data);
		free(c);
	}
	ino->change = NULL;
	ino->tail = &ino->change;
}

/* Files that neither a name nor a handle leads to are gone. */
void sim_inodes_sweep(struct simdisk *d)
{
	struct sim_inode **at = &d->inodes, *ino;

	while ((ino = *at)) {
		if (ino->refs) {
			at = &ino->next;
			continue;
		}
		*at = ino->next;
		sim_changes_drop(ino);
		free(ino->view.p);
		free(ino->disk.p);
		free(ino);
	}
}

/* ------------------------------------------------------------------------------------------------ names */

static struct sim_name *name_find(const struct sim_names *l, const char *path)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->v[i].path, path) == 0)
			return &l->v[i];
	return NULL;
}

static void name_del(struct sim_names *l, struct sim_name *name)
{
	if (name->inode)
		name->inode->refs--;
	free(name->path);
	*name = l->v[--l->n];
}

static void name_put(struct sim_names *l, const char *path, struct sim_inode *ino)
{
	struct sim_name *old = name_find(l, path);

	if (ino)
		ino->refs++;
	if (old)
		name_del(l, old);
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->v = sb_xrealloc(l->v, l->cap * sizeof(*l->v));
	}
	l->v[l->n++] = (struct sim_name){ sb_xstrdup(path), ino };
}

static void names_clear(struct sim_names *l)
{
	while (l->n)
		name_del(l, &l->v[0]);
}

void sim_names_copy(struct sim_names *to, const struct sim_names *from)
{
	names_clear(to);
	for (size_t i = 0; i < from->n; i++)
		name_put(to, from->v[i].path, from->v[i].inode);
}

static size_t parent_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) : 0;
}

static bool in_folder(const char *path, const char *dir)
{
	size_t n = strcmp(dir, "/") == 0 ? 0 : strlen(dir);

	return path && parent_len(path) == n && strncmp(path, dir, n) == 0;
}

static bool parent_exists(const struct sim_names *l, const char *path)
{
	size_t n = parent_len(path);

	for (size_t i = 0; i < l->n; i++)
		if (!l->v[i].inode && strlen(l->v[i].path) == n && strncmp(l->v[i].path, path, n) == 0)
			return true;
	return n == 0;
}

void sim_names_prune(struct sim_names *l)
{
	for (size_t i = 0; i < l->n;) {
		if (parent_exists(l, l->v[i].path)) {
			i++;
			continue;
		}
		name_del(l, &l->v[i]);
		i = 0; /* it may have been somebody's parent */
	}
}

/* The name `from` goes only if it still is this file's: moves may be applied without those before them. */
void sim_move_apply(struct sim_names *names, const struct sim_move *m)
{
	struct sim_name *from;

	if (m->to)
		name_put(names, m->to, m->inode);
	from = m->from ? name_find(names, m->from) : NULL;
	if (from && from->inode == m->inode)
		name_del(names, from);
}

static void move_add(struct simdisk *d, const char *from, const char *to, struct sim_inode *ino)
{
	struct sim_move *m = sb_xcalloc(sizeof(*m));

	m->from = from ? sb_xstrdup(from) : NULL;
	m->to = to ? sb_xstrdup(to) : NULL;
	m->inode = ino;
	if (ino)
		ino->refs++;
	*d->move_tail = m;
	d->move_tail = &m->next;
	sim_move_apply(&d->view, m);
}

static void move_free(struct sim_move *m)
{
	if (m->inode)
		m->inode->refs--;
	free(m->from);
	free(m->to);
	free(m);
}

void sim_moves_drop(struct simdisk *d)
{
	struct sim_move *m, *next;

	for (m = d->move; m; m = next) {
		next = m->next;
		move_free(m);
	}
	d->move = NULL;
	d->move_tail = &d->move;
}

/* ------------------------------------------------------------------------------------------------ faults */

static struct simdisk *disk_of(struct sb_vfs *v)
{
	return SB_CONTAINER(v, struct simdisk, vfs);
}

static struct sim_file *file_of(struct sb_file *f)
{
	return SB_CONTAINER(f, struct sim_file, file);
}

static bool changes(enum sim_call call)
{
	return call != SIM_READ && call != SIM_SIZE && call != SIM_LIST;
}

/* What every call passes first. -1 with errno: it fails. */
static int enter(struct simdisk *d, enum sim_call call)
{
	d->calls[call]++;
	if (changes(call) && ++d->ops == d->off_at)
		d->off = true;
	errno = EIO;
	if (d->off)
		return -1;
	for (size_t i = 0; i < SIM_FAULTS; i++) {
		const struct sim_fault *f = &d->fault[i];

		if (f->at && f->call == call && (d->calls[call] == f->at || (f->persistent && d->calls[call] > f->at))) {
			errno = f->error;
			return -1;
		}
	}
	return 0;
}

static int enter_file(struct sim_file *f, enum sim_call call)
{
	if (f->life == f->disk->life)
		return enter(f->disk, call);
	errno = EIO;
	return -1;
}

void simdisk_fail(struct simdisk *d, enum sim_call call, uint64_t nth, int error, bool persistent)
{
	for (size_t i = 0; i < SIM_FAULTS; i++)
		if (!d->fault[i].at) {
			d->fault[i] = (struct sim_fault){ call, d->calls[call] + nth, error, persistent };
			return;
		}
	SB_ASSERT(!"more faults than SIM_FAULTS");
}

void simdisk_heal(struct simdisk *d)
{
	memset(d->fault, 0, sizeof(d->fault));
}

/* ------------------------------------------------------------------------------------------------ calls on files */

static struct sb_file *sim_open(struct sb_vfs *v, const char *path, int flags)
{
	struct simdisk *d = disk_of(v);
	struct sim_name *name;
	struct sim_inode *ino;
	struct sim_file *f;

	if (enter(d, SIM_OPEN) < 0)
		return NULL;
	name = name_find(&d->view, path);
	errno = name && !name->inode ? EISDIR : name ? EEXIST : ENOENT;
	if (name ? !name->inode || (flags & O_EXCL) : !(flags & O_CREAT) || !parent_exists(&d->view, path))
		return NULL;
	ino = name ? name->inode : inode_new(d);
	if (!name)
		move_add(d, NULL, path, ino);
	ino->refs++;
	f = sb_xcalloc(sizeof(*f));
	*f = (struct sim_file){ .file.vfs = v, .disk = d, .inode = ino, .life = d->life };
	return &f->file;
}

static void sim_close(struct sb_file *file)
{
	struct sim_file *f = file_of(file);

	f->inode->refs--;
	sim_inodes_sweep(f->disk);
	free(f);
}

static ssize_t sim_pread(struct sb_file *file, void *p, size_t n, uint64_t off)
{
	struct sim_file *f = file_of(file);
	const struct sim_image *m = &f->inode->view;

	if (enter_file(f, SIM_READ) < 0)
		return -1;
	if (off >= m->n)
		return 0;
	n = SB_MIN(n, m->n - off);
	if (f->disk->read_at_most)
		n = SB_MIN(n, f->disk->read_at_most);
	memcpy(p, m->p + off, n);
	return (ssize_t)n;
}

uint64_t simdisk_used(const struct simdisk *d)
{
	uint64_t used = 0;

	for (const struct sim_inode *ino = d->inodes; ino; ino = ino->next)
		used += ino->view.n;
	return used;
}

static uint64_t room(const struct simdisk *d)
{
	uint64_t used = simdisk_used(d);

	if (!d->capacity)
		return (uint64_t)INT64_MAX;
	return used < d->capacity ? d->capacity - used : 0;
}

static ssize_t sim_pwrite(struct sb_file *file, const void *p, size_t n, uint64_t off)
{
	struct sim_file *f = file_of(file);
	uint64_t end = off + n, size = f->inode->view.n;

	if (enter_file(f, SIM_WRITE) < 0)
		return -1;
	if (f->disk->write_at_most)
		n = SB_MIN(n, f->disk->write_at_most);
	if (end > size && end - size > room(f->disk)) {
		end = size + room(f->disk);
		errno = ENOSPC;
		if (end <= off)
			return -1;
		n = SB_MIN(n, end - off);
	}
	change_add(f->inode, p, n, off);
	sim_image_write(&f->inode->view, p, n, off);
	return (ssize_t)n;
}

static int sim_fdatasync(struct sb_file *file)
{
	struct sim_file *f = file_of(file);

	if (enter_file(f, SIM_SYNC) == 0) {
		changes_apply(f->inode, &f->inode->disk);
		sim_changes_drop(f->inode);
		return 0;
	}
	if (!f->disk->off && f->life == f->disk->life)
		sim_changes_drop(f->inode);
	return -1;
}

static int set_size(struct sim_file *f, uint64_t size)
{
	change_add(f->inode, NULL, 0, size);
	sim_image_resize(&f->inode->view, size);
	return 0;
}

static int sim_truncate(struct sb_file *file, uint64_t size)
{
	struct sim_file *f = file_of(file);

	return enter_file(f, SIM_TRUNCATE) < 0 ? -1 : set_size(f, size);
}

static int sim_allocate(struct sb_file *file, uint64_t size)
{
	struct sim_file *f = file_of(file);
	uint64_t have = f->inode->view.n;

	if (enter_file(f, SIM_ALLOCATE) < 0)
		return -1;
	if (size <= have)
		return 0;
	errno = ENOSPC;
	return size - have > room(f->disk) ? -1 : set_size(f, size);
}

static int64_t sim_size(struct sb_file *file)
{
	struct sim_file *f = file_of(file);

	return enter_file(f, SIM_SIZE) < 0 ? -1 : (int64_t)f->inode->view.n;
}

static void sim_forget(struct sb_file *file)
{
	struct sim_inode *ino = file_of(file)->inode;

	sim_image_copy(&ino->view, &ino->disk);
	changes_apply(ino, &ino->view);
}

/* ------------------------------------------------------------------------------------------------ calls on names */

static int sim_rename(struct sb_vfs *v, const char *from, const char *to)
{
	struct simdisk *d = disk_of(v);
	struct sim_name *name;

	if (enter(d, SIM_RENAME) < 0)
		return -1;
	name = name_find(&d->view, from);
	errno = ENOENT;
	if (!name || !name->inode || !parent_exists(&d->view, to))
		return -1;
	move_add(d, from, to, name->inode);
	return 0;
}

static int sim_unlink(struct sb_vfs *v, const char *path)
{
	struct simdisk *d = disk_of(v);
	struct sim_name *name;

	if (enter(d, SIM_UNLINK) < 0)
		return -1;
	name = name_find(&d->view, path);
	errno = ENOENT;
	if (!name || !name->inode)
		return -1;
	move_add(d, path, NULL, name->inode);
	return 0;
}

static int sim_mkdir(struct sb_vfs *v, const char *path)
{
	struct simdisk *d = disk_of(v);

	if (enter(d, SIM_MKDIR) < 0)
		return -1;
	errno = ENOENT;
	if (!parent_exists(&d->view, path))
		return -1;
	if (!name_find(&d->view, path))
		move_add(d, NULL, path, NULL);
	return 0;
}

/* A move between two folders is one step: either folder's sync makes it durable. */
static int sim_sync_dir(struct sb_vfs *v, const char *path)
{
	struct simdisk *d = disk_of(v);
	struct sim_move **at = &d->move, *m;

	if (enter(d, SIM_SYNC_DIR) < 0)
		return -1;
	while ((m = *at)) {
		if (!in_folder(m->from, path) && !in_folder(m->to, path)) {
			at = &m->next;
			continue;
		}
		sim_move_apply(&d->disk, m);
		*at = m->next;
		move_free(m);
	}
	d->move_tail = at;
	sim_inodes_sweep(d);
	return 0;
}

static int sim_list(struct sb_vfs *v, const char *path, int (*fn)(void *arg, const char *name), void *arg)
{
	struct simdisk *d = disk_of(v);
	size_t n = d->view.n, first = n ? (size_t)sb_rand_below(&d->rand, n) : 0;
	int r = 0;

	if (enter(d, SIM_LIST) < 0)
		return -1;
	for (size_t i = 0; i < n && r == 0; i++) {
		const struct sim_name *name = &d->view.v[(first + i) % n];

		if (name->inode && in_folder(name->path, path))
			r = fn(arg, strrchr(name->path, '/') + 1);
	}
	return r;
}

static int64_t sim_free_bytes(struct sb_vfs *v, const char *path)
{
	(void)path;
	return (int64_t)room(disk_of(v));
}

static const struct sb_vfs_ops sim_ops = {
	.open = sim_open,
	.close = sim_close,
	.pread = sim_pread,
	.pwrite = sim_pwrite,
	.fdatasync = sim_fdatasync,
	.truncate = sim_truncate,
	.allocate = sim_allocate,
	.size = sim_size,
	.forget = sim_forget,
	.rename = sim_rename,
	.unlink = sim_unlink,
	.mkdir = sim_mkdir,
	.sync_dir = sim_sync_dir,
	.list = sim_list,
	.free_bytes = sim_free_bytes,
};

/* ------------------------------------------------------------------------------------------------ the disk */

struct simdisk *simdisk_new(uint64_t seed)
{
	struct simdisk *d = sb_xcalloc(sizeof(*d));

	d->vfs.ops = &sim_ops;
	d->move_tail = &d->move;
	sb_rand_seed(&d->rand, seed);
	return d;
}

struct simdisk *simdisk_free(struct simdisk *d)
{
	if (d) {
		sim_moves_drop(d);
		names_clear(&d->view);
		names_clear(&d->disk);
		free(d->view.v);
		free(d->disk.v);
		sim_inodes_sweep(d);
		SB_ASSERT(!d->inodes);
		free(d);
	}
	return NULL;
}

struct simdisk *simdisk_clone(const struct simdisk *d)
{
	struct simdisk *copy = simdisk_new(0);

	copy->rand = d->rand;
	for (size_t i = 0; i < d->view.n; i++) {
		const struct sim_name *name = &d->view.v[i];
		struct sim_inode *ino = name->inode ? inode_new(copy) : NULL;

		if (ino) {
			sim_image_copy(&ino->view, &name->inode->view);
			sim_image_copy(&ino->disk, &name->inode->view);
		}
		name_put(&copy->view, name->path, ino);
		name_put(&copy->disk, name->path, ino);
	}
	return copy;
}

static struct sim_inode *inode_at(const struct simdisk *d, const char *path)
{
	const struct sim_name *name = name_find(&d->view, path);

	return name ? name->inode : NULL;
}

int64_t simdisk_file_size(const struct simdisk *d, const char *path)
{
	const struct sim_inode *ino = inode_at(d, path);

	return ino ? (int64_t)ino->view.n : -1;
}

void simdisk_flip(struct simdisk *d, const char *path, uint64_t bit)
{
	struct sim_inode *ino = inode_at(d, path);
	struct sim_image *image[] = { &ino->view, &ino->disk };

	SB_ASSERT(ino);
	for (size_t i = 0; i < SB_LEN(image); i++)
		if (bit / 8 < image[i]->n)
			image[i]->p[bit / 8] = (char)(image[i]->p[bit / 8] ^ (1 << (bit % 8)));
}

void simdisk_cut(struct simdisk *d, const char *path, uint64_t size)
{
	struct sim_inode *ino = inode_at(d, path);

	SB_ASSERT(ino);
	sim_image_resize(&ino->view, size);
	sim_image_resize(&ino->disk, size);
}
