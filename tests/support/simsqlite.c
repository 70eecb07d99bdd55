/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An sqlite3_vfs over a simdisk. Locks always succeed, for there is nobody else; the wal-index, which is shared memory, is plain
 * memory, and is made anew from the WAL by the first connection after a restart, as always. Where SQLite's own unix VFS makes a
 * name durable (syncing a file that it created, deleting a journal), this one does.
 */
#include "tests/support/simsqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/err.h"
#include "broker/base/mem.h"

#define SHM_REGIONS 64

struct db_file {
	sqlite3_file base; /* first */
	struct sb_file *file;
	char *folder; /* of a file whose name is not durable yet */
	void *shm[SHM_REGIONS];
};

static struct {
	sqlite3_vfs vfs;
	sqlite3_vfs *before; /* the default that was */
	struct simdisk *disk;
	const struct sb_clock *clock;
	struct sb_rand rand;
} sim;

static struct db_file *file_of(sqlite3_file *f)
{
	return (struct db_file *)(void *)f;
}

static const struct sb_vfs_ops *ops(void)
{
	return sim.disk->vfs.ops;
}

/* ------------------------------------------------------------------------------------------------ files */

static int db_close(sqlite3_file *f)
{
	struct db_file *db = file_of(f);

	ops()->close(db->file);
	free(db->folder);
	return SQLITE_OK;
}

static int db_read(sqlite3_file *f, void *p, int n, sqlite3_int64 off)
{
	ssize_t got = sb_file_read_full(file_of(f)->file, p, (size_t)n, (uint64_t)off);

	if (got < 0)
		return SQLITE_IOERR_READ;
	memset((char *)p + got, 0, (size_t)(n - got));
	return got == n ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int db_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 off)
{
	return sb_file_write_all(file_of(f)->file, p, (size_t)n, (uint64_t)off) < 0 ? SQLITE_IOERR_WRITE : SQLITE_OK;
}

static int db_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return ops()->truncate(file_of(f)->file, (uint64_t)size) < 0 ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

static int db_sync(sqlite3_file *f, int flags)
{
	struct db_file *db = file_of(f);

	(void)flags;
	if (ops()->fdatasync(db->file) < 0)
		return SQLITE_IOERR_FSYNC;
	if (!db->folder)
		return SQLITE_OK;
	if (ops()->sync_dir(&sim.disk->vfs, db->folder) < 0)
		return SQLITE_IOERR_DIR_FSYNC;
	free(db->folder);
	db->folder = NULL;
	return SQLITE_OK;
}

static int db_size(sqlite3_file *f, sqlite3_int64 *ret)
{
	*ret = ops()->size(file_of(f)->file);
	return *ret < 0 ? SQLITE_IOERR_FSTAT : SQLITE_OK;
}

static int db_lock(sqlite3_file *f, int level)
{
	(void)f;
	(void)level;
	return SQLITE_OK;
}

static int db_is_reserved(sqlite3_file *f, int *ret)
{
	(void)f;
	*ret = 0;
	return SQLITE_OK;
}

static int db_control(sqlite3_file *f, int what, void *arg)
{
	(void)f;
	(void)what;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int db_sector(sqlite3_file *f)
{
	(void)f;
	return 512;
}

static int db_device(sqlite3_file *f)
{
	(void)f;
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE; /* what is lost of a write is within it */
}

/* ------------------------------------------------------------------------------------------------ the wal-index */

static int db_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **ret)
{
	struct db_file *db = file_of(f);

	SB_ASSERT(region < SHM_REGIONS);
	if (!db->shm[region] && extend)
		db->shm[region] = sb_xcalloc((size_t)size);
	*ret = db->shm[region];
	return SQLITE_OK;
}

static int db_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	(void)f;
	(void)offset;
	(void)n;
	(void)flags;
	return SQLITE_OK;
}

static void db_shm_barrier(sqlite3_file *f)
{
	(void)f;
}

static int db_shm_unmap(sqlite3_file *f, int forget)
{
	struct db_file *db = file_of(f);

	(void)forget;
	for (size_t i = 0; i < SHM_REGIONS; i++) {
		free(db->shm[i]);
		db->shm[i] = NULL;
	}
	return SQLITE_OK;
}

static const sqlite3_io_methods db_methods = {
	.iVersion = 2,
	.xClose = db_close,
	.xRead = db_read,
	.xWrite = db_write,
	.xTruncate = db_truncate,
	.xSync = db_sync,
	.xFileSize = db_size,
	.xLock = db_lock,
	.xUnlock = db_lock,
	.xCheckReservedLock = db_is_reserved,
	.xFileControl = db_control,
	.xSectorSize = db_sector,
	.xDeviceCharacteristics = db_device,
	.xShmMap = db_shm_map,
	.xShmLock = db_shm_lock,
	.xShmBarrier = db_shm_barrier,
	.xShmUnmap = db_shm_unmap,
};

/* ------------------------------------------------------------------------------------------------ names */

static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return sb_xstrndup(path, slash ? (size_t)(slash - path) : 0);
}

static int sim_open(sqlite3_vfs *v, const char *path, sqlite3_file *f, int flags, int *ret_flags)
{
	struct db_file *db = file_of(f);
	bool there;

	(void)v;
	memset(db, 0, sizeof(*db));
	if (!path)
		return SQLITE_CANTOPEN; /* a temporary file: the table needs none */
	there = simdisk_file_size(sim.disk, path) >= 0;
	db->file = ops()->open(&sim.disk->vfs, path,
		(flags & SQLITE_OPEN_READONLY ? O_RDONLY : O_RDWR) | (flags & SQLITE_OPEN_CREATE ? O_CREAT : 0));
	if (!db->file)
		return SQLITE_CANTOPEN;
	if (!there)
		db->folder = folder_of(path);
	if (ret_flags)
		*ret_flags = flags;
	db->base.pMethods = &db_methods;
	return SQLITE_OK;
}

static int sim_delete(sqlite3_vfs *v, const char *path, int sync)
{
	char *folder;
	int bad;

	(void)v;
	if (ops()->unlink(&sim.disk->vfs, path) < 0)
		return simdisk_file_size(sim.disk, path) < 0 ? SQLITE_IOERR_DELETE_NOENT : SQLITE_IOERR_DELETE;
	if (!sync)
		return SQLITE_OK;
	folder = folder_of(path);
	bad = ops()->sync_dir(&sim.disk->vfs, folder);
	free(folder);
	return bad ? SQLITE_IOERR_DIR_FSYNC : SQLITE_OK;
}

static int sim_access(sqlite3_vfs *v, const char *path, int flags, int *ret)
{
	int64_t size = simdisk_file_size(sim.disk, path);

	(void)v;
	*ret = flags == SQLITE_ACCESS_EXISTS ? size > 0 : size >= 0; /* an empty journal is none */
	return SQLITE_OK;
}

static int sim_full_name(sqlite3_vfs *v, const char *path, int n, char *ret)
{
	(void)v;
	return snprintf(ret, (size_t)n, "%s", path) < n ? SQLITE_OK : SQLITE_CANTOPEN;
}

/* ------------------------------------------------------------------------------------------------ chance and time */

static int sim_random(sqlite3_vfs *v, int n, char *ret)
{
	(void)v;
	for (int i = 0; i < n; i++)
		ret[i] = (char)sb_rand_u32(&sim.rand);
	return n;
}

static int sim_sleep(sqlite3_vfs *v, int us)
{
	(void)v;
	return us;
}

static int sim_time(sqlite3_vfs *v, sqlite3_int64 *ret)
{
	(void)v;
	*ret = (sqlite3_int64)sb_wall_ms(sim.clock) +
	       INT64_C(210866760000000); /* ms from noon in Greenwich, 24 November 4714 BC */
	return SQLITE_OK;
}

static int sim_last_error(sqlite3_vfs *v, int n, char *text)
{
	(void)v;
	(void)n;
	(void)text;
	return 0;
}

void simsqlite_remove(void)
{
	sqlite3_vfs_unregister(&sim.vfs);
	sqlite3_vfs_register(sim.before, 1);
	sqlite3_randomness(0, NULL);
	sim.disk = NULL;
}

void simsqlite_install(struct simdisk *d, const struct sb_clock *clock, uint64_t seed)
{
	if (sim.disk)
		simsqlite_remove(); /* left behind by a test that failed */
	sim.before = sqlite3_vfs_find(NULL);
	sim.disk = d;
	sim.clock = clock;
	sb_rand_seed(&sim.rand, seed);
	sim.vfs = (sqlite3_vfs){
		.iVersion = 2,
		.szOsFile = sizeof(struct db_file),
		.mxPathname = 512,
		.zName = "simdisk",
		.xOpen = sim_open,
		.xDelete = sim_delete,
		.xAccess = sim_access,
		.xFullPathname = sim_full_name,
		.xRandomness = sim_random,
		.xSleep = sim_sleep,
		.xCurrentTimeInt64 = sim_time,
		.xGetLastError = sim_last_error,
	};
	sqlite3_vfs_register(&sim.vfs, 1);
	sqlite3_randomness(0, NULL); /* its generator is seeded again, from ours */
}
