/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/vfs.h"

#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/buf.h"

static char dir[64];
static const struct sb_vfs_ops *ops;

static const char *in_dir(const char *name)
{
	static char path[2][128];
	static unsigned turn;

	turn ^= 1;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/sb-vfs-XXXXXX");
	ops = sb_vfs_system.ops;
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	unlink(in_dir("a"));
	unlink(in_dir("b"));
	rmdir(in_dir("sub"));
	return rmdir(dir);
}

static struct sb_file *open_file(const char *name, int flags)
{
	struct sb_file *f = ops->open(&sb_vfs_system, in_dir(name), flags);

	assert_non_null(f);
	return f;
}

static void test_what_is_written_is_read(void **state)
{
	struct sb_file *f = open_file("a", O_RDWR | O_CREAT);
	char text[16] = { 0 };
	struct stat st;

	(void)state;
	assert_int_equal(sb_file_write_all(f, "0123456789", 10, 3), 0);
	assert_int_equal(ops->fdatasync(f), 0);
	assert_int_equal(ops->size(f), 13);
	assert_int_equal(sb_file_read_full(f, text, sizeof(text), 3), 10);
	assert_string_equal(text, "0123456789");
	assert_int_equal(sb_file_read_full(f, text, sizeof(text), 13), 0);
	assert_int_equal(ops->truncate(f, 5), 0);
	assert_int_equal(ops->size(f), 5);
	assert_int_equal(ops->allocate(f, 8192), 0);
	assert_int_equal(ops->size(f), 8192);
	assert_int_equal(ops->allocate(f, 100), 0);
	assert_int_equal(ops->size(f), 8192);
	ops->close(f);
	assert_int_equal(stat(in_dir("a"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(st.st_blocks * 512 >= 8192);
}

static void test_refusals_keep_errno(void **state)
{
	struct sb_file *f;

	(void)state;
	assert_null(ops->open(&sb_vfs_system, in_dir("a"), O_RDONLY));
	assert_int_equal(errno, ENOENT);
	ops->close(open_file("a", O_RDWR | O_CREAT | O_EXCL));
	assert_null(ops->open(&sb_vfs_system, in_dir("a"), O_RDWR | O_CREAT | O_EXCL));
	assert_int_equal(errno, EEXIST);
	f = open_file("a", O_RDONLY);
	assert_int_equal(sb_file_write_all(f, "x", 1, 0), -1);
	assert_int_equal(errno, EBADF);
	ops->close(f);
	assert_int_equal(ops->unlink(&sb_vfs_system, in_dir("b")), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(ops->sync_dir(&sb_vfs_system, in_dir("b")), -1);
	assert_int_equal(errno, ENOENT);
}

static int note_name(void *arg, const char *name)
{
	sb_buf_adds(arg, name);
	return strcmp(name, "stop") == 0;
}

static void test_folders(void **state)
{
	struct sb_buf names = SB_BUF(64);

	(void)state;
	assert_int_equal(ops->mkdir(&sb_vfs_system, in_dir("sub")), 0);
	assert_int_equal(ops->mkdir(&sb_vfs_system, in_dir("sub")), 0);
	ops->close(open_file("a", O_RDWR | O_CREAT));
	assert_int_equal(ops->rename(&sb_vfs_system, in_dir("a"), in_dir("b")), 0);
	assert_int_equal(ops->sync_dir(&sb_vfs_system, dir), 0);
	assert_int_equal(ops->list(&sb_vfs_system, dir, note_name, &names), 0);
	assert_true(sb_slice_eq_str(sb_buf_slice(&names), "b")); /* files, not folders */
	sb_buf_done(&names);
	assert_true(ops->free_bytes(&sb_vfs_system, dir) > 0);
}

/* A disk that takes and gives two bytes at a time, and is full after ten. */
struct small {
	struct sb_vfs vfs;
	struct sb_file file;
	char text[10];
};

static ssize_t small_pwrite(struct sb_file *f, const void *p, size_t n, uint64_t off)
{
	struct small *s = SB_CONTAINER(f, struct small, file);

	n = SB_MIN(SB_MIN(n, 2), sizeof(s->text) - off);
	memcpy(s->text + off, p, n);
	return (ssize_t)n;
}

static ssize_t small_pread(struct sb_file *f, void *p, size_t n, uint64_t off)
{
	struct small *s = SB_CONTAINER(f, struct small, file);

	n = SB_MIN(SB_MIN(n, 2), sizeof(s->text) - off);
	memcpy(p, s->text + off, n);
	return (ssize_t)n;
}

static void test_short_writes_go_on(void **state)
{
	static const struct sb_vfs_ops small_ops = { .pwrite = small_pwrite, .pread = small_pread };
	struct small s = { .vfs.ops = &small_ops, .file.vfs = &s.vfs };
	char text[10];

	(void)state;
	assert_int_equal(sb_file_write_all(&s.file, "01234", 5, 5), 0);
	assert_int_equal(sb_file_write_all(&s.file, "abcde", 5, 0), 0);
	assert_int_equal(sb_file_read_full(&s.file, text, 20, 0), 10);
	assert_memory_equal(text, "abcde01234", 10);
	assert_int_equal(sb_file_write_all(&s.file, "xyz", 3, 9), -1); /* nothing taken is no progress */
	assert_int_equal(errno, ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_written_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals_keep_errno, setup, teardown),
		cmocka_unit_test_setup_teardown(test_folders, setup, teardown),
		cmocka_unit_test(test_short_writes_go_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
