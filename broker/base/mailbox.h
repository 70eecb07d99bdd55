/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_MAILBOX_H
#define SB_BASE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * The one place where threads meet: state has one owner, others send mail.
 *
 * A mail is embedded in the thing that travels. post() gives it to the receiving thread; from then on it is the
 * receiver's until the receiver posts it back or frees it. Mails from one sender arrive in the order of posting.
 * post() is wait-free but for one compare-and-swap loop, never blocks, never allocates, and wakes the receiver only when
 * the box was empty, so that a thousand mails of one loop turn cost one wake-up. It may be called from any thread.
 * drain() belongs to the receiver.
 */
struct sb_mail {
	struct sb_mail *next;
	void (*run)(struct sb_mail *m); /* called on the receiver's thread */
};

struct sb_mailbox {
	_Atomic(struct sb_mail *) head; /* newest first */
	int fd;                         /* eventfd, readable while there may be mail; -1: nobody sleeps on it (simulation) */
};

int sb_mailbox_init(struct sb_mailbox *mb, bool with_fd); /* 0, or -1 with errno */
/* For a box that gets a sleeping receiver only later. Before that thread starts, and while nobody posts. 0, or -1 with errno. */
int sb_mailbox_add_fd(struct sb_mailbox *mb);
void sb_mailbox_done(struct sb_mailbox *mb);              /* must be empty */
void sb_mailbox_post(struct sb_mailbox *mb, struct sb_mail *m);
/* Runs every mail that is there now, oldest first; those posted meanwhile wait for the next call. Returns how many. */
unsigned sb_mailbox_drain(struct sb_mailbox *mb);
/* Block until there is mail; for threads without an event loop. */
void sb_mailbox_wait(struct sb_mailbox *mb);
void sb_mailbox_wait_ms(struct sb_mailbox *mb, int ms); /* but no longer than this */

static inline bool sb_mailbox_empty(struct sb_mailbox *mb)
{
	return atomic_load_explicit(&mb->head, memory_order_relaxed) == NULL;
}

#endif
