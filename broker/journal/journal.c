/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's doors: opening, the two threads around writer and reader, mail in and out. */
#include "broker/journal/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/journal/impl.h"

/* ------------------------------------------------------------------------------------------------ mail */

static void queue_append(struct sb_mail *m)
{
	struct sb_append *a = SB_CONTAINER(m, struct sb_append, mail);
	struct sb_journal *j = a->journal;

	sb_append_queue_add(&j->w.queue, a);
}

void sb_journal_submit(struct sb_journal *j, struct sb_append *a)
{
	a->journal = j;
	a->run = a->mail.run;
	a->mail.run = queue_append;
	sb_mailbox_post(&j->w.mail, &a->mail);
}

static void run_release(struct sb_mail *m)
{
	struct sb_journal *j = SB_CONTAINER(m, struct sb_journal, release_mail);

	atomic_store(&j->release_posted, false);
	sb_writer_release(j);
}

void sb_journal_released(struct sb_journal *j, uint64_t dead_seq)
{
	uint_fast64_t have = atomic_load(&j->released);

	while (have < dead_seq && !atomic_compare_exchange_weak(&j->released, &have, dead_seq))
		;
	if (!atomic_exchange(&j->release_posted, true)) {
		j->release_mail.run = run_release;
		sb_mailbox_post(&j->w.mail, &j->release_mail);
	}
}

static void serve_read(struct sb_mail *m)
{
	struct sb_journal_read *r = SB_CONTAINER(m, struct sb_journal_read, mail);

	if (!sb_reader_serve(r->journal, r) && !r->journal->r.stopping) {
		r->mail.run = serve_read;
		sb_mailbox_post(&r->journal->r.mail, &r->mail);
		return;
	}
	r->mail.run = r->run;
	sb_mailbox_post(r->home, &r->mail);
}

void sb_journal_read(struct sb_journal *j, struct sb_journal_read *r)
{
	sb_reader_begin(r);
	r->journal = j;
	r->run = r->mail.run;
	r->mail.run = serve_read;
	sb_mailbox_post(&j->r.mail, &r->mail);
}

bool sb_journal_pump(struct sb_journal *j)
{
	sb_mailbox_drain(&j->w.mail);
	return sb_writer_commit(j);
}

bool sb_journal_reader_pump(struct sb_journal *j)
{
	return sb_mailbox_drain(&j->r.mail) > 0;
}

/* ------------------------------------------------------------------------------------------------ threads */

static void *writer_main(void *arg)
{
	struct sb_journal *j = arg;

	while (!j->w.stopping) {
		if (sb_writer_waits(j))
			sb_mailbox_wait_ms(&j->w.mail, SB_ROOM_MS);
		else
			sb_mailbox_wait(&j->w.mail);
		sb_mailbox_drain(&j->w.mail);
		while (sb_writer_commit(j))
			sb_mailbox_drain(&j->w.mail); /* what came meanwhile is the next group */
	}
	sb_pool_thread_done();
	return NULL;
}

static void *reader_main(void *arg)
{
	struct sb_journal *j = arg;

	while (!j->r.stopping) {
		sb_mailbox_wait(&j->r.mail);
		sb_mailbox_drain(&j->r.mail);
	}
	sb_event_thread_done();
	sb_pool_thread_done();
	return NULL;
}

static void stop_writer(struct sb_mail *m)
{
	SB_CONTAINER(m, struct sb_journal, w.stop)->w.stopping = true;
}

static void stop_reader(struct sb_mail *m)
{
	SB_CONTAINER(m, struct sb_journal, r.stop)->r.stopping = true;
}

int sb_journal_start(struct sb_journal *j, struct sb_err *err)
{
	int e;

	if (sb_mailbox_add_fd(&j->w.mail) < 0 || sb_mailbox_add_fd(&j->r.mail) < 0)
		return sb_fail_errno(err, "cannot start the journal's threads");
	e = pthread_create(&j->w.thread, NULL, writer_main, j);
	j->w.started = e == 0;
	if (!e) {
		e = pthread_create(&j->r.thread, NULL, reader_main, j);
		j->r.started = e == 0;
	}
	if (!e)
		return 0;
	errno = e;
	return sb_fail_errno(err, "cannot start the journal's threads");
}

static void stop_threads(struct sb_journal *j)
{
	if (j->r.started) {
		j->r.stop.run = stop_reader;
		sb_mailbox_post(&j->r.mail, &j->r.stop);
		pthread_join(j->r.thread, NULL);
		j->r.started = false;
	}
	if (j->w.started) {
		j->w.stop.run = stop_writer;
		sb_mailbox_post(&j->w.mail, &j->w.stop);
		pthread_join(j->w.thread, NULL);
		j->w.started = false;
	}
}

/* ------------------------------------------------------------------------------------------------ life */

static void journal_free(struct sb_journal *j)
{
	sb_writer_close(j);
	sb_reader_close(j);
	sb_recovery_free(j);
	sb_mailbox_done(&j->w.mail);
	sb_mailbox_done(&j->r.mail);
	pthread_mutex_destroy(&j->lock);
	free((void *)j->conf.dir);
	free(j);
}

int sb_journal_open(struct sb_vfs *vfs, const struct sb_clock *clock, const struct sb_journal_conf *conf,
	struct sb_journal **ret, struct sb_err *err)
{
	struct sb_journal *j;

	if (sb_make_folder(vfs, conf->dir) < 0)
		return sb_fail_errno(err, "cannot make '%s'", conf->dir);
	j = sb_xcalloc(sizeof(*j));
	j->vfs = vfs;
	j->clock = clock;
	j->conf = *conf;
	j->conf.dir = sb_xstrdup(conf->dir);
	pthread_mutex_init(&j->lock, NULL);
	sb_state_init(&j->w.state);
	sb_writer_init(j);
	sb_mailbox_init(&j->w.mail, false);
	sb_mailbox_init(&j->r.mail, false);
	if (sb_recover(j, err) < 0 || sb_writer_first_segment(j, err) < 0) {
		j->w.failed = true; /* leave the files as they are */
		journal_free(j);
		return -1;
	}
	*ret = j;
	return 0;
}

void sb_journal_stop(struct sb_journal *j)
{
	stop_threads(j);
	sb_mailbox_drain(&j->w.mail);
	while (sb_mailbox_drain(&j->r.mail))
		;
	sb_writer_finish(j);
}

void sb_journal_close(struct sb_journal *j)
{
	if (!j)
		return;
	sb_journal_stop(j);
	journal_free(j);
}

const struct sb_recovery *sb_journal_recovery(const struct sb_journal *j)
{
	return &j->recovery;
}

void sb_journal_on_fatal(struct sb_journal *j, void (*fn)(void *arg, const struct sb_err *err), void *arg)
{
	j->on_fatal = fn;
	j->on_fatal_arg = arg;
}

void sb_journal_get_stats(struct sb_journal *j, struct sb_journal_stats *ret)
{
	pthread_mutex_lock(&j->lock);
	*ret = j->shared.stats;
	pthread_mutex_unlock(&j->lock);
}
