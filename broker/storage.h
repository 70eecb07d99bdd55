/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_STORAGE_H
#define SB_BROKER_STORAGE_H

#include "broker/base/vfs.h"
#include "broker/config.h"
#include "broker/core.h"

/*
 * What outlives the process, opened as one: the journal is recovered, the table of dead letters opened, and the table catches
 * up with the journal (letters that it missed, redrives that ended while nobody looked). Fills in core->journal and
 * core->deadbox. threaded: the dead-letter thread runs when this returns; the journal's wait for sb_journal_start.
 * false: neither has any, the simulation pumps both. -1: nothing of it is open.
 */
int sb_storage_open(struct sb_core *core, struct sb_vfs *vfs, const struct sb_config *config, bool threaded, struct sb_err *err);

#endif
