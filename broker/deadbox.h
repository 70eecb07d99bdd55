/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_DEADBOX_H
#define SB_BROKER_DEADBOX_H

#include <stdbool.h>

#include "broker/base/clock.h"
#include "broker/base/mailbox.h"
#include "broker/deadletter/deadletter.h"

/*
 * The thread that owns the dead-letter table. Whoever wants something of the table sends a job: `work` runs there with the
 * open table, then the job is posted back to `home`, where `mail.run` is called again (see sb_deadbox_job). Jobs run in
 * the order of posting.
 */
struct sb_deadbox;

struct sb_deadbox_job {
	struct sb_mail mail;
	struct sb_mailbox *home;  /* NULL: nobody waits; `work` frees the job */
	void (*work)(struct sb_deadbox_job *j, struct sb_deadletters *table);
	void (*done)(struct sb_deadbox_job *j); /* on home's thread */
	struct sb_deadbox *box;
};

/* The table moves in. threaded false: the simulation pumps. */
int sb_deadbox_new(struct sb_deadletters *table, bool threaded, struct sb_deadbox **ret, struct sb_err *err);
void sb_deadbox_free(struct sb_deadbox *b); /* runs what is queued, closes the table; homes must still be alive */
void sb_deadbox_post(struct sb_deadbox *b, struct sb_deadbox_job *j);
bool sb_deadbox_pump(struct sb_deadbox *b);
/* Mail that is posted here runs on the thread, where the table may be used. */
struct sb_mailbox *sb_deadbox_mailbox(struct sb_deadbox *b);
/*
 * On the thread: the table cannot take it now. `m` runs again in a second, before everything that is made to wait after it.
 * Whoever sends mail keeps within bounds. false: the thread ends, nothing waits any more.
 */
bool sb_deadbox_wait(struct sb_deadbox *b, struct sb_mail *m, const struct sb_clock *clock);
bool sb_deadbox_waits(const struct sb_deadbox *b); /* something does: what must keep its order waits, too */
struct sb_deadletters *sb_deadbox_own_table(struct sb_deadbox *b);
const struct sb_deadletters *sb_deadbox_table(const struct sb_deadbox *b); /* for its any-thread calls */

#endif
