/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_JOURNAL_JOURNAL_H
#define SB_JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/buf.h"
#include "broker/base/clock.h"
#include "broker/base/err.h"
#include "broker/base/mailbox.h"
#include "broker/base/map.h"
#include "broker/base/vfs.h"
#include "broker/journal/record.h"

/*
 * The node's durable queue of record: append-only segments of CRC-framed records, one writer with group commit. A
 * target's backlog is a position here, never a list in memory.
 *
 * Threads. The writer owns the journal: it takes appends from its mailbox, writes all that are queued as one group, one
 * fdatasync, then posts each append back, and each delivery in it to its target's shard, in journal order. The reader
 * serves backlog reads beside it, so that a cold read never delays a commit. In the simulation neither thread exists:
 * sb_journal_pump and sb_journal_reader_pump do one round each on the caller's thread.
 *
 * Numbers. Every frame has a sequence number. Every owed delivery has a delivery number (dno), dense and growing: an
 * EVENT record that owes k deliveries takes k of them. What is outstanding is one bit a delivery, by segment.
 */
struct sb_journal;

/* Where a frame begins. Orders like the journal. */
struct sb_position {
	uint64_t segment; /* number of the segment file */
	uint64_t offset;
};

struct sb_journal_conf {
	const char *dir;          /* <data_dir>/journal; created if absent */
	uint64_t segment_bytes;   /* default 64 MiB */
	uint64_t group_bytes;     /* most bytes of one commit, default 1 MiB; a single larger append is a group of its own */
	uint64_t min_free_bytes;  /* below this much free disk new events are refused; state goes on from the reserve */
	bool stop_on_corruption;  /* default false: quarantine, count, go on */
};
#define SB_JOURNAL_CONF ((struct sb_journal_conf){ .segment_bytes = 64u << 20, .group_bytes = 1u << 20, .min_free_bytes = 128u << 20 })

/* ------------------------------------------------------------------------------------------------ appending */

/* A delivery on its way from the journal to its target's shard: the head of the executor's own struct. */
struct sb_handover {
	struct sb_mail mail;        /* run() is set by the owner; called on `home` once durable */
	struct sb_mailbox *home;
	struct sb_handover *next;   /* chain within an append, in the order of the owed entries */
	uint32_t ordinal;           /* among the owed entries of its event: part of the delivery's id */
	uint32_t route;             /* filled in by the writer: counter index of source -> rule -> target */
	/* filled in by the writer: */
	uint64_t dno;
	struct sb_position at;      /* of its EVENT frame */
};

enum sb_append_status { SB_APPEND_DURABLE, SB_APPEND_FULL, SB_APPEND_FAILED };

/*
 * Frames that become durable together. Owned by the journal from submit until its mail runs on `home`; then the caller's
 * again, to reuse. Frames are made by sb_record_*, which leave sequence, delivery numbers and CRC to the writer.
 */
struct sb_append {
	struct sb_mail mail;
	struct sb_mailbox *home;
	struct sb_buf frames;
	/*
	 * RESULT, ATTEMPT, DEAD ...: may use the reserve of a full disk, and when that is used up, too, waits for room, in order;
	 * whoever submits keeps within bounds. false: new events, FULL at once.
	 */
	bool state;
	bool no_wait;                 /* state, but rather FULL than to wait: others wait for whoever submits this */
	struct sb_handover *deliveries; /* one for each owed entry of its EVENT frames, in order; NULL: none */
	/* the journal's, while it has the append: */
	struct sb_append *next;
	struct sb_journal *journal;
	void (*run)(struct sb_mail *m);
	/* filled in by the writer: */
	enum sb_append_status status; /* FULL: nothing was written. FAILED: disk error, or closed; nothing counts as written */
	uint64_t seq;                 /* of its first frame */
};

void sb_journal_submit(struct sb_journal *j, struct sb_append *a); /* any thread */
/*
 * The dead-letter table knows of every DEAD record, and of every RESULT of a redrive, up to this sequence number: the segments
 * that tell of them may go. Any thread.
 */
void sb_journal_released(struct sb_journal *j, uint64_t dead_seq);

/* ------------------------------------------------------------------------------------------------ opening */

/* What a delivery that had failed before the restart brings along. */
struct sb_recovered_attempt {
	uint64_t dno;
	uint64_t due_wall_ms, first_wall_ms;
	uint32_t attempts;
	enum sb_record_reason reason;
	bool alone;
	char *message; /* last error, NUL-terminated, at most SB_RECORD_MESSAGE bytes */
};

struct sb_recovered_target {
	const char *name;          /* interned */
	struct sb_position from;   /* its first outstanding delivery */
	uint64_t n, bytes;         /* outstanding */
	uint64_t oldest_ms;        /* received_ms of the oldest; 0: none */
};

/* What was found. Immutable after open; lives as long as the journal; readable from any thread. */
struct sb_recovery {
	uint64_t next_seq, next_dno;
	uint64_t segments, records, bytes;
	uint64_t torn_bytes;              /* cut from the tail: never acknowledged */
	uint64_t corrupt_records, quarantined_segments;
	uint64_t took_ms;
	struct sb_map targets;            /* name -> struct sb_recovered_target */
	struct sb_map pauses;             /* "source/NAME" or "target/NAME" -> non-NULL */
	struct sb_map positions;          /* opaque source key -> struct sb_slice * */
};

bool sb_recovery_done(const struct sb_recovery *r, uint64_t dno); /* finished before the restart */
const struct sb_recovered_attempt *sb_recovery_attempt(const struct sb_recovery *r, uint64_t dno); /* NULL: none */
/* DEAD records with a sequence number above `after`, oldest first: the table may not have them yet. */
int sb_recovery_dead(struct sb_journal *j, uint64_t after, int (*fn)(void *arg, const struct sb_dead_record *d, uint64_t seq),
	void *arg, struct sb_err *err);
/* Redrives found: what they owe of a dead letter is outstanding, or all delivered (or passed on), or some of it is dead again. */
enum sb_redrive_state { SB_REDRIVE_PENDING, SB_REDRIVE_DELIVERED, SB_REDRIVE_DEAD };
struct sb_recovered_redrive {
	struct sb_slice letter; /* its id */
	uint64_t first_dno;     /* the deliveries are [first_dno, first_dno + owed) */
	uint32_t owed, left;    /* left: outstanding */
	enum sb_redrive_state state;
};
int sb_recovery_redrives(struct sb_journal *j, int (*fn)(void *arg, const struct sb_recovered_redrive *r), void *arg,
	struct sb_err *err);

/*
 * Open and recover: the torn tail is cut, damage in the middle quarantined and counted, a file of an unknown version
 * refused untouched (SB_E_VERSION). The caller holds the lock of the data folder. No thread is started.
 */
int sb_journal_open(struct sb_vfs *vfs, const struct sb_clock *clock, const struct sb_journal_conf *conf,
	struct sb_journal **ret, struct sb_err *err);
const struct sb_recovery *sb_journal_recovery(const struct sb_journal *j);
int sb_journal_start(struct sb_journal *j, struct sb_err *err); /* starts writer and reader threads */
/*
 * Commits what is queued, stops both threads, sends everything home. Nothing may be submitted any more, but sb_journal_released
 * is still heard. Once is enough.
 */
void sb_journal_stop(struct sb_journal *j);
/* Stops it if that was not done, writes a last CHECKPOINT, closes. */
void sb_journal_close(struct sb_journal *j);
/* A disk error that a fresh segment did not cure: the process must end and recover. Called on the writer's thread. */
void sb_journal_on_fatal(struct sb_journal *j, void (*fn)(void *arg, const struct sb_err *err), void *arg);

bool sb_journal_pump(struct sb_journal *j);        /* one group; false: nothing was queued */
bool sb_journal_reader_pump(struct sb_journal *j); /* one turn of each read; false: nothing was queued */

/* ------------------------------------------------------------------------------------------------ reading backlog */

struct sb_backlog_item {
	struct sb_event *ev;      /* one reference, moves to the receiver */
	uint64_t dno;
	struct sb_position at;
	const char *rule;         /* interned */
	uint32_t route, lane, ordinal;
	uint8_t flags;            /* SB_OWED_* */
	char *input;              /* pool memory, moves to the receiver; NULL: the event's bare form */
	uint32_t input_n;
	struct sb_slice letter;   /* redrive of this dead letter (pool memory, moves); n 0: none */
	uint32_t letter_owed;     /* how many deliveries that redrive made */
};

#define SB_READ_ITEMS 64
struct sb_journal_read {
	struct sb_mail mail;      /* runs on `home` when filled */
	struct sb_mailbox *home;
	const char *target;       /* interned name */
	uint64_t min_dno;         /* deliveries below are skipped */
	uint64_t until_dno;       /* stop before this one; 0: no bound */
	uint32_t lane;            /* only this lane; 0: every lane */
	uint64_t only_dno;        /* just this delivery, at `from`; 0: no */
	size_t max_bytes;         /* about; at least one item is returned if there is one */
	struct sb_position from;  /* in: where to begin; out: where to go on */
	/* out: */
	struct sb_backlog_item item[SB_READ_ITEMS];
	unsigned n;
	bool end;                 /* everything durable at the time has been looked at */
	uint64_t horizon;         /* every delivery of the target below this number was looked at */
	uint64_t damaged;         /* frames that could not be read, counted in the journal too */
	/* the journal's, while it has the read: */
	struct sb_journal *journal;
	void (*run)(struct sb_mail *m);
};
void sb_journal_read(struct sb_journal *j, struct sb_journal_read *r); /* any thread */

/* ------------------------------------------------------------------------------------------------ counters */

/* What happened on one way source -> rule -> target. rule "" and target "": events that no rule matched. */
struct sb_route_count {
	const char *source, *rule, *target; /* interned */
	uint64_t accepted, delivered, dead; /* in flight = accepted - delivered - dead */
};

struct sb_journal_stats {
	uint64_t groups, frames, bytes, syncs, sync_ns_max, sync_ns_sum;
	uint64_t segments, disk_bytes, outstanding, refused_full, failed_groups, corrupt_records;
	uint64_t waiting;          /* bytes of state that wait for room */
	bool full;                 /* new events are being refused */
};
void sb_journal_get_stats(struct sb_journal *j, struct sb_journal_stats *ret); /* any thread */

/* Recount from the files alone, for `signalbox audit`; works beside a running daemon as of the last commit. */
struct sb_audit_damage {
	uint64_t segment, from, to; /* bytes of its file; 0 to 0: all of it */
};
#define SB_AUDIT_DAMAGE 32
struct sb_audit {
	struct sb_route_count *route;
	size_t n;
	uint64_t events, unmatched, accepted, delivered, dead, in_flight;
	uint64_t double_results;   /* recorded outcomes beyond the first: must be 0 */
	uint64_t unknown_results;  /* outcomes of deliveries that were never owed: must be 0 */
	uint64_t corrupt_records;
	struct sb_audit_damage damage[SB_AUDIT_DAMAGE]; /* where, the first of them */
	size_t n_damage;
	uint64_t missing_segments; /* numbers without a file: set aside by a recovery */
	uint64_t torn_bytes;       /* behind the end: never acknowledged, or just being written by a daemon */
	bool adds_up;              /* checkpoints and recount agree, and the two above are 0 */
	char why_not[200];
};
int sb_journal_audit(struct sb_vfs *vfs, const char *dir, struct sb_audit *ret, struct sb_err *err);
void sb_audit_done(struct sb_audit *a);

#endif
