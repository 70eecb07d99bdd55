/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_WATCHDISK_H
#define SB_TESTS_SUPPORT_WATCHDISK_H

#include "broker/base/mem.h"
#include "broker/base/vfs.h"

/*
 * A disk in front of another, which tells what is written and what of it has become durable: for tests that want to know the
 * truth from the disk, and not from who writes there. A write is told as `durable` when an fdatasync of its file has returned.
 */
struct sb_watchdisk {
	struct sb_vfs vfs; /* first */
	struct sb_vfs *below;
	void *arg;
	void (*written)(void *arg, uint64_t off, struct sb_slice bytes);
	void (*durable)(void *arg, uint64_t off, struct sb_slice bytes);
};

/* `written` and `durable` are set by the caller. */
void sb_watchdisk_init(struct sb_watchdisk *w, struct sb_vfs *below, void *arg);

#endif
