/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_RECEIPT_H
#define SB_BROKER_RECEIPT_H

#include "broker/core.h"

/*
 * A receipt: an event that its source still holds (a Kafka offset, a pending Redis entry), delivered without waiting for the
 * disk. It counts the event's unfinished deliveries on the source's shard. At zero one small DIRECT record says what became
 * of it, and once that is durable the source is told: settled. When it will not be finished soon (a delivery failed, a target has a
 * backlog, it is older than spill_after, the source wants its place back) the event goes to the journal as it would have
 * from a webhook, with all its deliveries; those that are under way get their numbers then, and the source is told at once.
 *
 * With an overflow topic the event is given back to the source instead: deliveries that nobody is at are taken back, those that are being
 * tried are waited for, and then the source sends it on with what is still owed. The DIRECT record says so; what is to die
 * or has an order goes to the journal all the same.
 *
 * A crash before either loses nothing: the source has the event, and hands it over again.
 *
 * Threads: a receipt belongs to its source's shard; each of its tickets to the home shard of its target, but for what is
 * noted. They meet by mail.
 */
struct sb_receipt;

/* The event with what shard->owed says; both move in. With a lane, or a delivery that cannot be tried, it is journaled at once. */
void sb_receipt_begin(struct sb_source_unit *u, struct sb_event *ev, const struct sb_held *held);
/* A message of which no event can be made: a dead letter, then settled. -1: there is no room for dead letters now. */
int sb_receipt_bury(struct sb_source_unit *u, const struct sb_held *held, const struct sb_unreadable *what);
/* On the target's shard: the dispatch speaks of a delivery that has a ticket. */
void sb_receipt_delivered(struct sb_delivery *dl);
void sb_receipt_stuck(struct sb_delivery *dl, enum sb_stuck why);
/* The DIRECT record is durable. */
void sb_receipt_recorded(struct sb_receipt *r);
/* It was not stored: the disk has failed, the process is about to end, and the source keeps the event. */
void sb_receipt_unrecorded(struct sb_receipt *r);
/* The n oldest of the source that are in memory only, to the journal. */
void sb_receipts_spill(struct sb_source_unit *u, size_t n);
/* Spill what has been held for too long; and when that is to be asked again (UINT64_MAX: nothing waits). */
void sb_receipts_tick(struct sb_shard *s, uint64_t now_ns);
uint64_t sb_receipts_next_due(const struct sb_shard *s);
/* Its deliveries are gone, no mail is under way: forget what is left. The source has it all. */
void sb_receipts_drop(struct sb_source_unit *u);

/* A receipt as a member of the turn's records: list them, and get them back. */
struct sb_link *sb_receipt_link(struct sb_receipt *r);
struct sb_receipt *sb_receipt_of_link(struct sb_link *l);

#endif
