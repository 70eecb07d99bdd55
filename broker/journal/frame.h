/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_JOURNAL_FRAME_H
#define SB_JOURNAL_FRAME_H

#include "broker/journal/record.h"

/* What the files of this folder share to write and read payloads. All readers are bounds-checked; `bad` sticks. */
struct sb_cursor {
	const char *p, *end;
	bool bad;
};

int sb_put_u32(struct sb_buf *b, uint32_t v);
int sb_put_u64(struct sb_buf *b, uint64_t v);
int sb_put_text(struct sb_buf *b, struct sb_slice s); /* length, then the bytes */
struct sb_cursor sb_cursor_of(struct sb_slice s);
uint32_t sb_get_u32(struct sb_cursor *c);
uint64_t sb_get_u64(struct sb_cursor *c);
struct sb_slice sb_get_text(struct sb_cursor *c);

/* A frame is begun, its payload added, and ended: length and padding. With `bad` it is taken back, and -1 returned. */
int sb_frame_begin(struct sb_buf *b, enum sb_record_type type, uint8_t flags);
int sb_frame_end(struct sb_buf *b, size_t start, int bad);

/* Where the route stands within an owed entry: the writer fills it in. */
#define SB_OWED_ROUTE_AT 4

/* Bytes that a frame takes in the file. `len` is the header's length field: header and payload, without the padding. */
static inline size_t sb_frame_size(uint32_t len)
{
	return ((size_t)len + 7) & ~(size_t)7;
}

#endif
