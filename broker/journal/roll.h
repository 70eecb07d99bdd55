/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_JOURNAL_ROLL_H
#define SB_JOURNAL_ROLL_H

#include "broker/journal/impl.h"

/* The writer's files: room on the disk, the spare, the next segment, those that may go. All on the writer's thread. */

/* May no new events come in? The disk is looked at again at most every SB_ROOM_MS. */
bool sb_roll_is_full(struct sb_journal *j);
void sb_roll_refill(struct sb_journal *j); /* the spare, if there is none */
/* The process must end and recover. Once. */
void sb_roll_fatal(struct sb_journal *j, const char *what);

/* 0, or -1 with errno; fault points and counters are here. */
int sb_roll_write(struct sb_journal *j, struct sb_file *f, const void *p, size_t n, uint64_t off);
int sb_roll_sync(struct sb_journal *j, struct sb_file *f);

/* Close the newest segment with a SEAL and go on in a new one with room for `extra` bytes. -1: errno says why. */
int sb_roll(struct sb_journal *j, uint64_t extra);
int sb_roll_away(struct sb_journal *j, uint64_t extra); /* the newest one has failed, and is left as it is */
/*
 * Segments that owe nothing go, oldest first. What made them so is durable, and so is the segment after. Each is gone for good
 * before the next one goes: outcomes of what an older segment owed stand in younger ones.
 */
void sb_roll_unlink_finished(struct sb_journal *j);
void sb_roll_close(struct sb_journal *j);

#endif
