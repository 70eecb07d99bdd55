/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated disk keeps what was synced, may lose everything else, and does both the same way for the same seed. */
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/crc32c.h"
#include "tests/support/simdisk.h"

static struct simdisk *d;

static int setup(void **state)
{
	(void)state;
	d = simdisk_new(1);
	return d->vfs.ops->mkdir(&d->vfs, "/j") || d->vfs.ops->sync_dir(&d->vfs, "/");
}

static int teardown(void **state)
{
	(void)state;
	d = simdisk_free(d);
	return 0;
}

static struct sb_file *create(const char *path)
{
	struct sb_file *f = d->vfs.ops->open(&d->vfs, path, O_RDWR | O_CREAT);

	assert_non_null(f);
	return f;
}

static void put(struct sb_file *f, char c, size_t n, uint64_t off)
{
	char *text = malloc(n);

	memset(text, c, n);
	assert_int_equal(sb_file_write_all(f, text, n, off), 0);
	free(text);
}

static void put_durable(const char *path, char c, size_t n)
{
	struct sb_file *f = create(path);

	put(f, c, n, 0);
	assert_int_equal(d->vfs.ops->fdatasync(f), 0);
	assert_int_equal(d->vfs.ops->sync_dir(&d->vfs, "/j"), 0);
	d->vfs.ops->close(f);
}

static void crash(uint64_t seed, bool harsh)
{
	simdisk_power_off(d);
	simdisk_crash(d, seed, harsh);
}

/* How many bytes of the file are c; -1: there is no file. */
static int count(const char *path, char c)
{
	struct sb_file *f = d->vfs.ops->open(&d->vfs, path, O_RDONLY);
	char text[8192];
	ssize_t n;
	int found = 0;

	if (!f)
		return -1;
	n = sb_file_read_full(f, text, sizeof(text), 0);
	d->vfs.ops->close(f);
	for (ssize_t i = 0; i < n; i++)
		found += text[i] == c;
	return found;
}

static void test_synced_stays(void **state)
{
	(void)state;
	put_durable("/j/a", 'a', 3000);
	for (uint64_t seed = 0; seed < 50; seed++) {
		crash(seed, seed % 2);
		assert_int_equal(count("/j/a", 'a'), 3000);
	}
}

/* What 400 crashes did to 2048 unsynced bytes over 2048 synced ones. */
static void tear(bool harsh, unsigned seen[2049])
{
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct sb_file *f;
		int fresh;

		put_durable("/j/a", 'a', 2048);
		f = create("/j/a");
		put(f, 'b', 2048, 0);
		d->vfs.ops->close(f);
		crash(seed, harsh);
		fresh = count("/j/a", 'b');
		assert_in_range(fresh, 0, 2048);
		if (!harsh)
			assert_int_equal(count("/j/a", 'a'), 2048 - fresh);
		seen[fresh]++;
	}
}

static void test_tears_at_sectors(void **state)
{
	unsigned seen[2049] = { 0 };

	(void)state;
	tear(false, seen);
	for (unsigned i = 0; i <= 2048; i++)
		if (seen[i] ? i % 512 : i % 512 == 0)
			fail_msg("%u bytes came %u times", i, seen[i]);
}

static void test_tears_at_bytes(void **state)
{
	unsigned seen[2049] = { 0 }, odd = 0;

	(void)state;
	tear(true, seen);
	for (unsigned i = 0; i <= 2048; i++)
		odd += i % 512 ? seen[i] : 0;
	assert_true(seen[0] && seen[2048] && odd > 50);
}

/* A file that grew: without its data, with zeros, with garbage, whole, or not at all. */
static void test_size_and_data_part(void **state)
{
	unsigned none = 0, zeros = 0, whole = 0, garbage = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct sb_file *f;
		int x, zero;

		put_durable("/j/a", 'a', 512);
		f = create("/j/a");
		put(f, 'x', 1024, 512);
		d->vfs.ops->close(f);
		crash(seed, true);
		assert_int_equal(count("/j/a", 'a') >= 512, 1);
		x = count("/j/a", 'x');
		zero = count("/j/a", '\0');
		none += simdisk_file_size(d, "/j/a") == 512;
		zeros += zero == 1024;
		whole += x == 1024;
		garbage += simdisk_file_size(d, "/j/a") == 1536 && x < 512 && zero < 512;
		simdisk_cut(d, "/j/a", 0);
	}
	assert_true(none && zeros && whole && garbage);
}

static void test_names_need_their_folder(void **state)
{
	unsigned lost = 0, kept = 0, back = 0, gone = 0, half = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct sb_file *f;

		put_durable("/j/old", 'o', 10);
		put_durable("/j/from", 'f', 10);
		f = create("/j/new");
		put(f, 'n', 10, 0);
		assert_int_equal(d->vfs.ops->fdatasync(f), 0);
		d->vfs.ops->close(f);
		assert_int_equal(d->vfs.ops->unlink(&d->vfs, "/j/old"), 0);
		assert_int_equal(d->vfs.ops->rename(&d->vfs, "/j/from", "/j/to"), 0);
		crash(seed, false);
		lost += count("/j/new", 'n') == -1;
		kept += count("/j/new", 'n') == 10; /* a name that came brings the synced data */
		back += count("/j/old", 'o') == 10;
		gone += count("/j/old", 'o') == -1;
		half += (count("/j/from", 'f') == 10) == (count("/j/to", 'f') == 10);
		for (unsigned i = 0; i < 2; i++)
			d->vfs.ops->unlink(&d->vfs, i ? "/j/to" : "/j/new");
	}
	assert_int_equal(lost + kept, 200);
	assert_int_equal(back + gone, 200);
	assert_int_equal(half, 0); /* a rename is there or not */
	assert_true(lost && kept && back && gone);
}

static void test_a_lost_folder_takes_its_files(void **state)
{
	unsigned lost = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		char dir[32], path[64];
		struct sb_file *f;

		snprintf(dir, sizeof(dir), "/k%u", (unsigned)seed);
		snprintf(path, sizeof(path), "%s/a", dir);
		assert_int_equal(d->vfs.ops->mkdir(&d->vfs, dir), 0);
		f = create(path);
		assert_int_equal(d->vfs.ops->fdatasync(f), 0);
		d->vfs.ops->close(f);
		assert_int_equal(d->vfs.ops->sync_dir(&d->vfs, dir), 0);
		crash(seed, false);
		lost += simdisk_file_size(d, path) < 0;
		assert_int_equal(d->vfs.ops->mkdir(&d->vfs, dir), 0);
	}
	assert_true(lost > 5 && lost < 45);
}

static void test_a_failed_sync_is_not_made_good_by_the_next(void **state)
{
	struct sb_file *f;

	(void)state;
	put_durable("/j/a", 'a', 100);
	f = create("/j/a");
	put(f, 'b', 100, 0);
	simdisk_fail(d, SIM_SYNC, 1, EIO, false);
	assert_int_equal(d->vfs.ops->fdatasync(f), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(d->vfs.ops->fdatasync(f), 0);
	assert_int_equal(count("/j/a", 'b'), 100);
	put(f, 'c', 1, 0);
	d->vfs.ops->forget(f);
	assert_int_equal(count("/j/a", 'b'), 0);
	assert_int_equal(count("/j/a", 'c'), 1); /* dirty, so it is still cached */
	put(f, 'a', 1, 0);
	assert_int_equal(d->vfs.ops->fdatasync(f), 0);
	d->vfs.ops->close(f);
	crash(3, false);
	assert_int_equal(count("/j/a", 'a'), 100);
}

static void test_faults_hit_the_nth_call(void **state)
{
	struct sb_file *f = create("/j/a");
	char c = 'x';

	(void)state;
	simdisk_fail(d, SIM_WRITE, 2, EIO, false);
	simdisk_fail(d, SIM_READ, 2, ENXIO, true);
	assert_int_equal(d->vfs.ops->pwrite(f, &c, 1, 0), 1);
	assert_int_equal(d->vfs.ops->pwrite(f, &c, 1, 0), -1);
	assert_int_equal(d->vfs.ops->pwrite(f, &c, 1, 0), 1);
	assert_int_equal(d->vfs.ops->pread(f, &c, 1, 0), 1);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(d->vfs.ops->pread(f, &c, 1, 0), -1);
		assert_int_equal(errno, ENXIO);
	}
	simdisk_heal(d);
	assert_int_equal(d->vfs.ops->pread(f, &c, 1, 0), 1);
	d->vfs.ops->close(f);
}

static void test_capacity(void **state)
{
	struct sb_file *f = create("/j/a"), *g = create("/j/b");
	char text[600] = { 0 };

	(void)state;
	d->capacity = 1000;
	assert_int_equal(d->vfs.ops->allocate(f, 600), 0);
	assert_int_equal(d->vfs.ops->free_bytes(&d->vfs, "/j"), 400);
	assert_int_equal(d->vfs.ops->allocate(g, 600), -1);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(d->vfs.ops->pwrite(g, text, 600, 0), 400); /* what fits */
	assert_int_equal(d->vfs.ops->pwrite(g, text, 600, 400), -1);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(d->vfs.ops->pwrite(f, text, 600, 0), 600); /* allocated before */
	d->capacity = 0;
	assert_int_equal(d->vfs.ops->pwrite(g, text, 600, 400), 600);
	d->write_at_most = 7;
	d->read_at_most = 5;
	assert_int_equal(d->vfs.ops->pwrite(g, text, 600, 0), 7);
	assert_int_equal(d->vfs.ops->pread(g, text, 600, 0), 5);
	d->vfs.ops->close(f);
	d->vfs.ops->close(g);
}

static void test_the_power_goes_and_comes_back(void **state)
{
	struct sb_file *f = create("/j/a");
	char c = 'x';

	(void)state;
	d->off_at = d->ops + 2;
	assert_int_equal(d->vfs.ops->pwrite(f, &c, 1, 0), 1);
	assert_int_equal(d->vfs.ops->fdatasync(f), -1);
	assert_int_equal(d->vfs.ops->unlink(&d->vfs, "/j/a"), -1);
	simdisk_crash(d, 1, false);
	assert_int_equal(d->vfs.ops->pwrite(f, &c, 1, 0), -1); /* a handle from before */
	d->vfs.ops->close(f);
	d->vfs.ops->close(create("/j/b"));
}

/* A checksum of everything that a few crashes left. */
static uint32_t play(uint64_t seed)
{
	uint32_t sum = 0;
	char path[16], text[4096];

	teardown(NULL);
	setup(NULL);
	for (unsigned i = 0; i < 21; i++) {
		struct sb_file *f;

		snprintf(path, sizeof(path), "/j/%u", i % 7);
		f = create(path);
		put(f, (char)('a' + i), 700, (uint64_t)i * 100);
		d->vfs.ops->close(f);
		if (i % 5 == 4)
			crash(seed + i, true);
	}
	for (unsigned i = 0; i < 7; i++) {
		struct sb_file *f;
		ssize_t n;

		snprintf(path, sizeof(path), "/j/%u", i);
		f = create(path);
		n = sb_file_read_full(f, text, sizeof(text), 0);
		sum = sb_crc32c(sum, text, (size_t)n);
		d->vfs.ops->close(f);
	}
	return sum;
}

static void test_the_same_seed_leaves_the_same_disk(void **state)
{
	unsigned differ = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		assert_int_equal(play(seed), play(seed));
		differ += play(seed) != play(seed + 1);
	}
	assert_true(differ > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_synced_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tears_at_sectors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tears_at_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size_and_data_part, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_need_their_folder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_lost_folder_takes_its_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_failed_sync_is_not_made_good_by_the_next, setup, teardown),
		cmocka_unit_test_setup_teardown(test_faults_hit_the_nth_call, setup, teardown),
		cmocka_unit_test_setup_teardown(test_capacity, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_power_goes_and_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_same_seed_leaves_the_same_disk, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
