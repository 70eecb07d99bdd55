/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/base/err.h"

int sb_mailbox_init(struct sb_mailbox *mb, bool with_fd)
{
	atomic_init(&mb->head, NULL);
	mb->fd = -1;
	return with_fd ? sb_mailbox_add_fd(mb) : 0;
}

int sb_mailbox_add_fd(struct sb_mailbox *mb)
{
	SB_ASSERT(mb->fd < 0);
	mb->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return mb->fd < 0 ? -1 : 0; /* what is in the box already needs no wake-up: who waits looks first */
}

void sb_mailbox_done(struct sb_mailbox *mb)
{
	SB_ASSERT(sb_mailbox_empty(mb));
	if (mb->fd >= 0)
		close(mb->fd);
	mb->fd = -1;
}

void sb_mailbox_post(struct sb_mailbox *mb, struct sb_mail *m)
{
	struct sb_mail *old = atomic_load_explicit(&mb->head, memory_order_relaxed);
	uint64_t one = 1;

	/* release: the receiver that takes the list sees what we wrote into the mail */
	do
		m->next = old;
	while (!atomic_compare_exchange_weak_explicit(&mb->head, &old, m, memory_order_release,
		memory_order_relaxed));
	if (!old && mb->fd >= 0)
		while (write(mb->fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
}

unsigned sb_mailbox_drain(struct sb_mailbox *mb)
{
	struct sb_mail *m, *next, *fifo = NULL;
	uint64_t count;
	unsigned n = 0;

	/* The wake-up is taken before the list: a post between the two leaves the eventfd readable. */
	if (mb->fd >= 0)
		while (read(mb->fd, &count, sizeof(count)) < 0 && errno == EINTR)
			;
	m = atomic_exchange_explicit(&mb->head, NULL, memory_order_acquire);
	for (; m; m = next) {
		next = m->next;
		m->next = fifo;
		fifo = m;
	}
	for (m = fifo; m; m = next, n++) {
		next = m->next; /* run() may free or re-post the mail */
		m->next = NULL;
		m->run(m);
	}
	return n;
}

void sb_mailbox_wait(struct sb_mailbox *mb)
{
	struct pollfd p = { .fd = mb->fd, .events = POLLIN };

	while (sb_mailbox_empty(mb))
		while (poll(&p, 1, -1) < 0 && errno == EINTR)
			;
}

void sb_mailbox_wait_ms(struct sb_mailbox *mb, int ms)
{
	struct pollfd p = { .fd = mb->fd, .events = POLLIN };

	if (sb_mailbox_empty(mb))
		poll(&p, 1, ms); /* a signal only makes it shorter */
}
