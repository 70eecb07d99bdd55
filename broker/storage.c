/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/storage.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/base/log.h"
#include "broker/deadbox.h"

struct pending {
	struct sb_slice *id;
	size_t n;
	struct sb_deadletters *table;
	struct sb_err *err;
};

static int note_redrive(void *arg, const struct sb_recovered_redrive *r)
{
	struct pending *p = arg;

	if (r->state == SB_REDRIVE_DELIVERED)
		return sb_deadletters_delivered(p->table, r->letter, 0, p->err);
	if (r->owed > 1 && r->left)
		sb_deadletters_expect(p->table, r->first_dno, r->left, r->state == SB_REDRIVE_DEAD);
	if (r->state == SB_REDRIVE_PENDING) {
		p->id = sb_xrealloc(p->id, (p->n + 1) * sizeof(*p->id));
		p->id[p->n++] = r->letter;
	}
	return 0;
}

static int store_missing(void *arg, const struct sb_dead_record *rec, uint64_t seq)
{
	struct pending *p = arg;

	return sb_deadletters_store(p->table, rec, &seq, 1, p->err);
}

static int reconcile_letters(struct sb_journal *j, struct sb_deadletters *table, struct sb_err *err)
{
	struct pending p = { .table = table, .err = err };
	uint64_t last;
	int bad;

	bad = sb_deadletters_last_seq(table, &last, err) < 0 || sb_recovery_dead(j, last, store_missing, &p, err) < 0 ||
	      sb_recovery_redrives(j, note_redrive, &p, err) < 0 || sb_deadletters_reconcile(table, p.id, p.n, err) < 0;
	free(p.id);
	if (!bad)
		sb_journal_released(j, sb_journal_recovery(j)->next_seq - 1); /* all that was there was asked */
	return bad ? -1 : 0;
}

static void say_what_was_found(struct sb_journal *j)
{
	const struct sb_recovery *r = sb_journal_recovery(j);

	if (r->records)
		sb_log(SB_LOG_INFO, "journal recovered", KI("records", r->records), KI("segments", r->segments),
			KI("outstanding_targets", r->targets.n), KI("torn_bytes", r->torn_bytes), KI("took_ms", r->took_ms));
	if (r->corrupt_records)
		sb_log(SB_LOG_ERROR, "damaged records in the journal, kept in quarantine", KI("records", r->corrupt_records),
			KI("segments", r->quarantined_segments));
}

static int open_letters(struct sb_core *core, const struct sb_config *config, bool threaded, struct sb_err *err)
{
	struct sb_deadletters *table;
	char path[4096];

	snprintf(path, sizeof(path), "%s/dead-letters.db", config->data_dir);
	if (sb_deadletters_open(path, false, &config->dead_letters, &table, err) < 0)
		return -1;
	if (reconcile_letters(core->journal, table, err) == 0 && sb_deadbox_new(table, threaded, &core->deadbox, err) == 0)
		return 0;
	sb_deadletters_close(table);
	return -1;
}

int sb_storage_open(struct sb_core *core, struct sb_vfs *vfs, const struct sb_config *config, bool threaded, struct sb_err *err)
{
	if (sb_journal_open(vfs, core->clock, &config->journal, &core->journal, err) < 0)
		return -1;
	say_what_was_found(core->journal);
	if (open_letters(core, config, threaded, err) == 0)
		return 0;
	sb_journal_close(core->journal);
	core->journal = NULL;
	return -1;
}
