/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/deadbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "broker/base/mem.h"

struct sb_deadbox {
	struct sb_deadletters *table;
	struct sb_mailbox mail;
	pthread_t thread;
	bool threaded;
	struct sb_mail stop;
	bool stopping; /* the thread's own, as all that follows */
	bool ending;
	struct sb_mail *waiting, **waiting_tail;
	const struct sb_clock *clock;
	uint64_t again_ns;
};

#define AGAIN_MS 1000

static void come_home(struct sb_mail *m)
{
	struct sb_deadbox_job *j = SB_CONTAINER(m, struct sb_deadbox_job, mail);

	j->done(j);
}

static void run_job(struct sb_mail *m)
{
	struct sb_deadbox_job *j = SB_CONTAINER(m, struct sb_deadbox_job, mail);
	struct sb_mailbox *home = j->home;

	j->work(j, j->box->table);
	if (!home)
		return; /* work() freed it */
	j->mail.run = come_home;
	sb_mailbox_post(home, &j->mail);
}

static void run_stop(struct sb_mail *m)
{
	SB_CONTAINER(m, struct sb_deadbox, stop)->stopping = true;
}

bool sb_deadbox_waits(const struct sb_deadbox *b)
{
	return b->waiting != NULL;
}

bool sb_deadbox_wait(struct sb_deadbox *b, struct sb_mail *m, const struct sb_clock *clock)
{
	if (b->ending)
		return false;
	if (!b->waiting) {
		b->waiting_tail = &b->waiting;
		b->clock = clock;
		b->again_ns = sb_mono_ns(clock) + AGAIN_MS * SB_NS_PER_MS;
	}
	m->next = NULL;
	*b->waiting_tail = m;
	b->waiting_tail = &m->next;
	return true;
}

static void run_waiting(struct sb_deadbox *b)
{
	struct sb_mail *m = b->waiting, *next;

	if (!m || (!b->ending && sb_mono_ns(b->clock) < b->again_ns))
		return;
	b->waiting = NULL;
	for (; m; m = next) {
		next = m->next;
		m->run(m); /* one that has to wait again makes those behind it wait, too */
	}
}

static void *thread_main(void *arg)
{
	struct sb_deadbox *b = arg;

	while (!b->stopping) {
		if (b->waiting)
			sb_mailbox_wait_ms(&b->mail, AGAIN_MS);
		else
			sb_mailbox_wait(&b->mail);
		sb_mailbox_drain(&b->mail);
		run_waiting(b);
	}
	sb_pool_thread_done();
	return NULL;
}

int sb_deadbox_new(struct sb_deadletters *table, bool threaded, struct sb_deadbox **ret, struct sb_err *err)
{
	struct sb_deadbox *b = sb_xcalloc(sizeof(*b));
	int e;

	b->table = table;
	b->threaded = threaded;
	if (sb_mailbox_init(&b->mail, threaded) < 0) {
		free(b);
		return sb_fail_errno(err, "dead-letter thread");
	}
	e = threaded ? pthread_create(&b->thread, NULL, thread_main, b) : 0;
	if (e) {
		sb_mailbox_done(&b->mail);
		free(b);
		errno = e;
		return sb_fail_errno(err, "dead-letter thread");
	}
	*ret = b;
	return 0;
}

void sb_deadbox_free(struct sb_deadbox *b)
{
	if (!b)
		return;
	b->stop.run = run_stop;
	sb_mailbox_post(&b->mail, &b->stop);
	if (b->threaded)
		pthread_join(b->thread, NULL);
	b->ending = true;
	run_waiting(b);
	while (sb_mailbox_drain(&b->mail))
		;
	sb_mailbox_done(&b->mail);
	sb_deadletters_close(b->table);
	free(b);
}

void sb_deadbox_post(struct sb_deadbox *b, struct sb_deadbox_job *j)
{
	j->box = b;
	j->mail.run = run_job;
	sb_mailbox_post(&b->mail, &j->mail);
}

bool sb_deadbox_pump(struct sb_deadbox *b)
{
	unsigned n = sb_mailbox_drain(&b->mail);

	run_waiting(b);
	return n > 0;
}

const struct sb_deadletters *sb_deadbox_table(const struct sb_deadbox *b)
{
	return b->table;
}

struct sb_mailbox *sb_deadbox_mailbox(struct sb_deadbox *b)
{
	return &b->mail;
}

struct sb_deadletters *sb_deadbox_own_table(struct sb_deadbox *b)
{
	return b->table;
}
