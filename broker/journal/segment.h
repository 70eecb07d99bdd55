/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_JOURNAL_SEGMENT_H
#define SB_JOURNAL_SEGMENT_H

#include "broker/base/vfs.h"
#include "broker/journal/frame.h"
#include "broker/journal/journal.h"

/*
 * A segment file: a header, then frames up to its end. The header names where the segment before ended: frames beyond that
 * place were never acknowledged (a group that failed there was written again here). It stands there twice, in blocks of their
 * own: without it nothing in the file can be trusted.
 */
#define SB_SEGMENT_BLOCK 4096
#define SB_SEGMENT_COPIES 2
#define SB_SEGMENT_HEADER (SB_SEGMENT_COPIES * SB_SEGMENT_BLOCK)
#define SB_SEGMENT_VERSION 1
#define SB_SEGMENT_PATH_MAX 4096

struct sb_segment_header {
	uint32_t version, salt;
	uint64_t number, first_seq, first_dno, prev_end, wall_ms;
};

void sb_segment_path(const char *dir, uint64_t number, char out[SB_SEGMENT_PATH_MAX]);
int sb_segment_number(const char *name, uint64_t *ret); /* of a file name; -1: none of ours */
void sb_segment_header_write(const struct sb_segment_header *h, char out[SB_SEGMENT_HEADER]);
/* From the first copy that is whole; *ret_damaged: bits of those that are not. SB_E_CORRUPT: none is; SB_E_VERSION: not ours to read. */
int sb_segment_header_read(
	const char in[SB_SEGMENT_HEADER], struct sb_segment_header *ret, unsigned *ret_damaged, struct sb_err *err);

/* The checksum of a frame that lies at p, header first; len as in its header. */
uint32_t sb_frame_crc(uint32_t salt, const char *p, uint32_t len);
/* Gives a frame its number and checksum; every frame in the buffer from `from` on, and returns the next number. */
void sb_frame_stamp(char *frame, uint64_t seq, uint32_t salt);
uint64_t sb_frames_stamp(struct sb_buf *b, size_t from, uint64_t seq, uint32_t salt);

struct sb_frame_at {
	enum sb_record_type type;
	uint8_t flags;
	uint64_t seq, offset;
	size_t size; /* in the file */
	struct sb_slice payload; /* borrowed until the next call */
};

/* Reads one segment from front to back. */
struct sb_segment_reader {
	struct sb_file *file;
	struct sb_segment_header header;
	unsigned damaged_copies; /* of the header: bit i for copy i; another one is whole */
	uint64_t size;   /* of the file */
	uint64_t offset; /* of the next frame */
	struct sb_buf window;
	uint64_t window_at;
	int failed;      /* errno of a read that failed: what looks like damage or the end is neither */
};

/* 0; -1 with *err, SB_E_MISSING: there is no such file (any more). */
int sb_segment_open(struct sb_vfs *vfs, const char *dir, uint64_t number, struct sb_segment_reader *ret, struct sb_err *err);
void sb_segment_close(struct sb_segment_reader *r);
/* -1 with *err: a read failed, and what looked like damage or like the end says nothing. */
int sb_segment_check(const struct sb_segment_reader *r, struct sb_err *err);
/* 1: a frame; 0: the end, at a zero length or at `limit`; -1: what lies at r->offset is no frame. */
int sb_segment_next(struct sb_segment_reader *r, uint64_t limit, struct sb_frame_at *ret);
/* Look for the next good frame behind r->offset; true: r->offset is there. */
bool sb_segment_resync(struct sb_segment_reader *r, uint64_t limit, enum sb_record_type only);

/*
 * Where a segment ends that no other follows: behind its last whole group. A group that was begun is there wholly or not at all,
 * and a group behind it proves that it was durable. *ret_torn: bytes behind the end that were never acknowledged. Leaves the
 * reader anywhere.
 */
uint64_t sb_segment_find_end(struct sb_segment_reader *r, uint64_t *ret_torn);

/* All segment numbers in the folder, sorted. *ret is freed by free(). */
int sb_segment_list(struct sb_vfs *vfs, const char *dir, uint64_t **ret, size_t *n, struct sb_err *err);

#endif
