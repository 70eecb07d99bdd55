/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_JOURNAL_RECORD_H
#define SB_JOURNAL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/buf.h"
#include "broker/base/err.h"
#include "broker/base/event.h"
#include "broker/base/mem.h"

/*
 * The journal's records, as bytes. docs/journal-format.md draws them; all integers are little-endian.
 *
 *   segment  = header (twice: magic, version, CRC, salt, segment number, first seq, first dno, end of the one before) frame*
 *   frame    = length u32 (header and payload) | crc32c u32 | type u8 | flags u8 | 0 u16 | seq u64 | payload | padding to 8
 *              The CRC covers everything but itself, and starts from the segment's salt. Length 0: end of data.
 *   group    = GROUP frame (durable watermark: end of the group before) then the group's frames
 *   segment start = CHECKPOINT (counters, routes, pauses, positions, generation): every segment can be read on its own.
 *
 * A type whose flags have SB_FRAME_IGNORABLE may be skipped by a reader that does not know it; otherwise the file is
 * refused untouched.
 */
enum sb_record_type {
	SB_REC_GROUP = 1, SB_REC_GENERATION, SB_REC_EVENT, SB_REC_ATTEMPT, SB_REC_RESULT, SB_REC_DEAD, SB_REC_POSITION,
	SB_REC_PAUSE, SB_REC_CHECKPOINT, SB_REC_SEAL, SB_REC_DIRECT,
	SB_REC_LAST = SB_REC_DIRECT,
};

enum { SB_FRAME_IGNORABLE = 1 };
#define SB_FRAME_HEADER 20
#define SB_RECORD_MESSAGE 1024
#define SB_RECORD_TAIL 4096

/* Stored numbers are ours, not the compiler's: sb_outcome and sb_reason values as written. They never change. */
enum sb_record_reason { SB_RR_NONE = 0 /* else a value of enum sb_reason, connectors/connector.h */ };

/* ------------------------------------------------------------------------------------------------ EVENT */

enum {
	SB_OWED_INPUT = 1,
	SB_OWED_ALONE = 2,
	SB_OWED_FINAL = 4,     /* delivery of a dead letter to a dead-letter target: retried without end */
	SB_OWED_STILLBORN = 8, /* died before it could be tried: `input` is one byte of enum sb_reason, the message, and behind a NUL its own input if any */
	SB_OWED_BEGUN = 16,    /* was under way before the event was journaled: in this process nobody needs to read it back */
};
struct sb_owed { /* its route is the writer's to fill in */
	const char *rule, *target;
	uint32_t lane;            /* 1 + hash of the order key; 0: no order */
	uint8_t flags;            /* SB_OWED_* */
	struct sb_slice input;    /* with SB_OWED_INPUT: recorded input */
};

struct sb_event_record {
	const struct sb_event *ev;
	uint64_t generation;
	struct sb_slice idempotency_key; /* n 0: none */
	struct sb_slice position;        /* opaque: where the source had it; n 0: none */
	struct sb_slice parent;          /* receipt of the event this came from over a bus, or whose dead letter this is; n 0: none */
	struct sb_slice redrive_of;      /* dead letter's id; n 0: none */
	struct sb_slice replay_of;
	const struct sb_owed *owed;
	uint32_t n_owed;
};
int sb_record_event(struct sb_buf *b, const struct sb_event_record *r);

/* ------------------------------------------------------------------------------------------------ outcomes */

struct sb_attempt_record {
	uint64_t dno;
	uint32_t attempts;        /* made and counted so far */
	uint64_t due_wall_ms, first_wall_ms, at_wall_ms;
	uint8_t outcome;          /* enum sb_outcome */
	uint8_t reason;           /* enum sb_reason */
	bool alone;
	struct sb_slice message;  /* cut at SB_RECORD_MESSAGE */
};
int sb_record_attempt(struct sb_buf *b, const struct sb_attempt_record *r);

struct sb_result_record {
	uint64_t dno;
	uint32_t route;
	uint32_t attempts;
	uint64_t at_wall_ms;
	uint32_t duration_us;     /* of the last attempt */
	struct sb_uuid receipt;
};
int sb_record_result(struct sb_buf *b, const struct sb_result_record *r);

/*
 * An event that its source still held while it was delivered, with all its outcomes: its payload was never in the journal.
 * Only what has been delivered stands here; anything else turns it into an EVENT.
 */
struct sb_direct_done {
	const char *rule, *target;
	uint32_t attempts, duration_us;
};
struct sb_direct_record {
	uint64_t generation, at_wall_ms;
	struct sb_uuid receipt;
	struct sb_slice origin, event_id, position;
	const struct sb_direct_done *done; /* n 0: no rule matched */
	uint32_t n;
};
int sb_record_direct(struct sb_buf *b, const struct sb_direct_record *r);

/* Self-contained: everything needed to understand, show and redrive it, even when its EVENT's segment is gone. */
struct sb_dead_record {
	uint64_t dno;             /* 0: without a delivery (invalid input) */
	uint32_t route;
	struct sb_slice id;       /* delivery id: primary key of the table */
	struct sb_slice event_id;
	struct sb_slice bus, origin, rule, target;
	uint64_t generation;
	uint8_t reason;           /* enum sb_reason: ERROR_CODE */
	uint8_t exhausted;        /* 0 not exhausted, 1 MaximumRetryAttempts, 2 MaximumEventAgeInSeconds */
	uint32_t attempts;
	uint64_t received_ms, first_attempt_ms, last_attempt_ms, dead_ms;
	struct sb_slice message;  /* last error: ERROR_MESSAGE */
	struct sb_slice first_message;
	struct sb_slice tail;     /* the worker's stderr */
	struct sb_slice event;    /* canonical JSON with meta; for invalid input the bytes as they came */
	struct sb_slice input;    /* n 0: the event's bare form */
	struct sb_slice redrive_of; /* this delivery was a redrive of that letter; n 0: no */
	bool forwarded;           /* went to a dead-letter target in the same append: not for the table */
};
int sb_record_dead(struct sb_buf *b, const struct sb_dead_record *r);

/* ------------------------------------------------------------------------------------------------ the rest */

int sb_record_generation(struct sb_buf *b, uint64_t generation, const uint8_t sha256[32], struct sb_slice text);
int sb_record_position(struct sb_buf *b, struct sb_slice key, struct sb_slice value);
int sb_record_pause(struct sb_buf *b, struct sb_slice what /* "source/NAME", "target/NAME" */, bool paused);

/* ------------------------------------------------------------------------------------------------ reading */

/* Walks frames in a buffer as sb_record_* made them (an append's, before or after the writer had it). */
struct sb_frame {
	enum sb_record_type type;
	uint64_t seq; /* counted from the iterator's */
	struct sb_slice payload;
};
struct sb_frame_iter {
	struct sb_slice rest;
	uint64_t seq; /* of the first frame in `rest` */
};
int sb_frame_next(struct sb_frame_iter *it, struct sb_frame *ret); /* 1: one more; 0: end; -1: malformed */

/* Decoders borrow from the payload. -1: malformed although the CRC held, which is our bug or an attack. */
struct sb_owed_view {
	struct sb_slice rule, target, input;
	uint32_t lane, route;
	uint8_t flags;
};
struct sb_event_view {
	uint64_t first_dno, generation, received_ms;
	struct sb_uuid receipt;
	uint16_t hops;
	struct sb_slice bus, origin, json, idempotency_key, position, parent, redrive_of, replay_of;
	uint32_t n_owed;
	struct sb_slice owed; /* walk with sb_owed_next */
};
int sb_event_view(struct sb_slice payload, struct sb_event_view *ret);
int sb_owed_next(struct sb_slice *owed, struct sb_owed_view *ret); /* 1: one more; 0: end; -1: malformed */
int sb_attempt_view(struct sb_slice payload, struct sb_attempt_record *ret);
struct sb_direct_view {
	uint64_t generation, at_wall_ms;
	struct sb_uuid receipt;
	struct sb_slice origin, event_id, position;
	uint32_t n;
	struct sb_slice done; /* walk with sb_direct_next */
};
struct sb_direct_done_view {
	struct sb_slice rule, target;
	uint32_t attempts, duration_us;
};
int sb_direct_view(struct sb_slice payload, struct sb_direct_view *ret);
int sb_direct_next(struct sb_slice *done, struct sb_direct_done_view *ret); /* 1: one more; 0: end; -1: malformed */
int sb_result_view(struct sb_slice payload, struct sb_result_record *ret);
int sb_dead_view(struct sb_slice payload, struct sb_dead_record *ret);

#endif
