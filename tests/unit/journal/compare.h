/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_UNIT_JOURNAL_COMPARE_H
#define SB_TESTS_UNIT_JOURNAL_COMPARE_H

#include "tests/unit/journal/ledger.h"

/* What ledger.c and compare.c know of each other. */
const char *ledger_target(unsigned i);
void ledger_settle(struct put *p, enum fate fate);
void ledger_broken(const struct ledger *l, const char *promise, uint64_t number) __attribute__((noreturn));
/* Fails the test where the journal that was just opened and the ledger do not agree; settles what may or may not be. */
void ledger_compare(struct ledger *l);

/* Calls fn for every delivery of every target that is still owed, as a backlog read gives it; returns how many. */
typedef void owed_fn(void *arg, const struct sb_backlog_item *it, unsigned target);
uint64_t each_owed(struct sb_journal *j, owed_fn *fn, void *arg);
/* The event whose text an item carries; NULL: none of ours, or not as it was. */
const struct happening *event_of_item(const struct ledger *l, const struct sb_backlog_item *it);

#endif
