/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_SIMSQLITE_H
#define SB_TESTS_SUPPORT_SIMSQLITE_H

#include "broker/base/clock.h"
#include "tests/support/simdisk.h"

/*
 * SQLite on a simulated disk, clock and chance: from install to remove they are the default of every database that is opened, so
 * that a table which knows nothing of it loses in a crash what it has not synced. One database, one connection at a time.
 */
void simsqlite_install(struct simdisk *d, const struct sb_clock *clock, uint64_t seed);
void simsqlite_remove(void);

#endif
