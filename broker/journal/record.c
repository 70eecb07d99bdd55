/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records are written field by field in little-endian order: integers at fixed places first, then texts with their length
 * before them. Readers borrow from the payload and check every length before they use it.
 */
#include "broker/journal/record.h"

#include <endian.h>
#include <string.h>

#include "broker/journal/frame.h"

/* ------------------------------------------------------------------------------------------------ writing */

static int put_u8(struct sb_buf *b, uint8_t v)
{
	return sb_buf_add(b, &v, 1);
}

static int put_u16(struct sb_buf *b, uint16_t v)
{
	v = htole16(v);
	return sb_buf_add(b, &v, 2);
}

int sb_put_u32(struct sb_buf *b, uint32_t v)
{
	v = htole32(v);
	return sb_buf_add(b, &v, 4);
}

int sb_put_u64(struct sb_buf *b, uint64_t v)
{
	v = htole64(v);
	return sb_buf_add(b, &v, 8);
}

int sb_put_text(struct sb_buf *b, struct sb_slice s)
{
	return sb_put_u32(b, (uint32_t)s.n) < 0 || sb_buf_add_slice(b, s) < 0 ? -1 : 0;
}

static struct sb_slice cut(struct sb_slice s, size_t max)
{
	return sb_slice(s.p, SB_MIN(s.n, max));
}

int sb_frame_begin(struct sb_buf *b, enum sb_record_type type, uint8_t flags)
{
	char *at = sb_buf_reserve(b, SB_FRAME_HEADER);

	if (!at)
		return -1;
	memset(at, 0, SB_FRAME_HEADER);
	at[8] = (char)type;
	at[9] = (char)flags;
	b->len += SB_FRAME_HEADER;
	return 0;
}

int sb_frame_end(struct sb_buf *b, size_t start, int bad)
{
	uint32_t len = (uint32_t)(b->len - start), pad = (8 - len % 8) % 8;
	char *at = bad || b->len - start > UINT32_MAX - 8 ? NULL : sb_buf_reserve(b, pad);

	if (!at) {
		b->len = start;
		return -1;
	}
	memset(at, 0, pad);
	b->len += pad;
	len = htole32(len);
	memcpy(b->p + start, &len, 4);
	return 0;
}

static int put_owed(struct sb_buf *b, const struct sb_owed *o)
{
	int bad = sb_put_u32(b, o->lane);

	bad |= sb_put_u32(b, 0);
	bad |= put_u8(b, o->flags);
	bad |= sb_put_text(b, sb_slice_str(o->rule));
	bad |= sb_put_text(b, sb_slice_str(o->target));
	bad |= sb_put_text(b, o->flags & SB_OWED_INPUT ? o->input : sb_slice(NULL, 0));
	return bad;
}

int sb_record_event(struct sb_buf *b, const struct sb_event_record *r)
{
	size_t start = b->len, owed_at;
	const struct sb_event *ev = r->ev;
	uint32_t owed_n;
	int bad = sb_frame_begin(b, SB_REC_EVENT, 0);

	bad |= sb_put_u64(b, 0);
	bad |= sb_put_u64(b, r->generation);
	bad |= sb_put_u64(b, ev->received_ms);
	bad |= sb_buf_add(b, ev->receipt.b, sizeof(ev->receipt.b));
	bad |= put_u16(b, ev->hops);
	bad |= put_u16(b, 0);
	bad |= sb_put_u32(b, r->n_owed);
	bad |= sb_put_u32(b, 0);
	owed_at = b->len;
	for (uint32_t i = 0; i < r->n_owed && !bad; i++)
		bad |= put_owed(b, &r->owed[i]);
	owed_n = htole32((uint32_t)(b->len - owed_at));
	if (!bad)
		memcpy(b->p + owed_at - 4, &owed_n, 4);
	bad |= sb_put_text(b, sb_slice_str(ev->bus));
	bad |= sb_put_text(b, sb_slice_str(ev->origin));
	bad |= sb_put_text(b, r->idempotency_key);
	bad |= sb_put_text(b, r->position);
	bad |= sb_put_text(b, r->parent);
	bad |= sb_put_text(b, r->redrive_of);
	bad |= sb_put_text(b, r->replay_of);
	bad |= sb_put_text(b, sb_slice(ev->json, ev->n));
	return sb_frame_end(b, start, bad);
}

int sb_record_attempt(struct sb_buf *b, const struct sb_attempt_record *r)
{
	size_t start = b->len;
	int bad = sb_frame_begin(b, SB_REC_ATTEMPT, 0);

	bad |= sb_put_u64(b, r->dno);
	bad |= sb_put_u64(b, r->due_wall_ms);
	bad |= sb_put_u64(b, r->first_wall_ms);
	bad |= sb_put_u64(b, r->at_wall_ms);
	bad |= sb_put_u32(b, r->attempts);
	bad |= put_u8(b, r->outcome);
	bad |= put_u8(b, r->reason);
	bad |= put_u16(b, r->alone);
	bad |= sb_put_text(b, cut(r->message, SB_RECORD_MESSAGE));
	return sb_frame_end(b, start, bad);
}

int sb_record_result(struct sb_buf *b, const struct sb_result_record *r)
{
	size_t start = b->len;
	int bad = sb_frame_begin(b, SB_REC_RESULT, 0);

	bad |= sb_put_u64(b, r->dno);
	bad |= sb_put_u64(b, r->at_wall_ms);
	bad |= sb_put_u32(b, r->route);
	bad |= sb_put_u32(b, r->attempts);
	bad |= sb_put_u32(b, r->duration_us);
	bad |= sb_buf_add(b, r->receipt.b, sizeof(r->receipt.b));
	return sb_frame_end(b, start, bad);
}

int sb_record_direct(struct sb_buf *b, const struct sb_direct_record *r)
{
	size_t start = b->len;
	int bad = sb_frame_begin(b, SB_REC_DIRECT, 0);

	bad |= sb_put_u64(b, r->generation);
	bad |= sb_put_u64(b, r->at_wall_ms);
	bad |= sb_buf_add(b, r->receipt.b, sizeof(r->receipt.b));
	bad |= sb_put_u32(b, r->n);
	bad |= sb_put_text(b, r->origin);
	bad |= sb_put_text(b, r->event_id);
	bad |= sb_put_text(b, r->position);
	for (uint32_t i = 0; i < r->n && !bad; i++) {
		bad |= sb_put_u32(b, r->done[i].attempts);
		bad |= sb_put_u32(b, r->done[i].duration_us);
		bad |= sb_put_text(b, sb_slice_str(r->done[i].rule));
		bad |= sb_put_text(b, sb_slice_str(r->done[i].target));
	}
	return sb_frame_end(b, start, bad);
}

int sb_record_dead(struct sb_buf *b, const struct sb_dead_record *r)
{
	const struct sb_slice texts[] = { r->id, r->event_id, r->bus, r->origin, r->rule, r->target,
		cut(r->message, SB_RECORD_MESSAGE), cut(r->first_message, SB_RECORD_MESSAGE), cut(r->tail, SB_RECORD_TAIL),
		r->event, r->input, r->redrive_of };
	size_t start = b->len;
	int bad = sb_frame_begin(b, SB_REC_DEAD, 0);

	bad |= sb_put_u64(b, r->dno);
	bad |= sb_put_u32(b, r->route);
	bad |= sb_put_u32(b, r->attempts);
	bad |= sb_put_u64(b, r->generation);
	bad |= put_u8(b, r->reason);
	bad |= put_u8(b, r->exhausted);
	bad |= put_u16(b, r->forwarded);
	bad |= sb_put_u64(b, r->received_ms);
	bad |= sb_put_u64(b, r->first_attempt_ms);
	bad |= sb_put_u64(b, r->last_attempt_ms);
	bad |= sb_put_u64(b, r->dead_ms);
	for (size_t i = 0; i < SB_LEN(texts); i++)
		bad |= sb_put_text(b, texts[i]);
	return sb_frame_end(b, start, bad);
}

int sb_record_generation(struct sb_buf *b, uint64_t generation, const uint8_t sha256[32], struct sb_slice text)
{
	size_t start = b->len;
	int bad = sb_frame_begin(b, SB_REC_GENERATION, 0);

	bad |= sb_put_u64(b, generation);
	bad |= sb_buf_add(b, sha256, 32);
	bad |= sb_put_text(b, text);
	return sb_frame_end(b, start, bad);
}

int sb_record_position(struct sb_buf *b, struct sb_slice key, struct sb_slice value)
{
	size_t start = b->len;
	int bad = sb_frame_begin(b, SB_REC_POSITION, 0);

	bad |= sb_put_text(b, key);
	bad |= sb_put_text(b, value);
	return sb_frame_end(b, start, bad);
}

int sb_record_pause(struct sb_buf *b, struct sb_slice what, bool paused)
{
	size_t start = b->len;
	int bad = sb_frame_begin(b, SB_REC_PAUSE, 0);

	bad |= sb_put_u32(b, paused);
	bad |= sb_put_text(b, what);
	return sb_frame_end(b, start, bad);
}

/* ------------------------------------------------------------------------------------------------ reading */

static const char *take(struct sb_cursor *c, size_t n)
{
	const char *p = c->p;

	if (c->bad || (size_t)(c->end - c->p) < n) {
		c->bad = true;
		return NULL;
	}
	c->p += n;
	return p;
}

static uint8_t get_u8(struct sb_cursor *c)
{
	const char *p = take(c, 1);

	return p ? (uint8_t)*p : 0;
}

static uint16_t get_u16(struct sb_cursor *c)
{
	const char *p = take(c, 2);
	uint16_t v = 0;

	if (p)
		memcpy(&v, p, 2);
	return le16toh(v);
}

uint32_t sb_get_u32(struct sb_cursor *c)
{
	const char *p = take(c, 4);
	uint32_t v = 0;

	if (p)
		memcpy(&v, p, 4);
	return le32toh(v);
}

uint64_t sb_get_u64(struct sb_cursor *c)
{
	const char *p = take(c, 8);
	uint64_t v = 0;

	if (p)
		memcpy(&v, p, 8);
	return le64toh(v);
}

struct sb_slice sb_get_text(struct sb_cursor *c)
{
	uint32_t n = sb_get_u32(c);
	const char *p = take(c, n);

	return sb_slice(p ? p : "", p ? n : 0);
}

static void get_uuid(struct sb_cursor *c, struct sb_uuid *ret)
{
	const char *p = take(c, sizeof(ret->b));

	if (p)
		memcpy(ret->b, p, sizeof(ret->b));
}

struct sb_cursor sb_cursor_of(struct sb_slice s)
{
	return (struct sb_cursor){ s.p, s.p + s.n, false };
}

int sb_event_view(struct sb_slice payload, struct sb_event_view *ret)
{
	struct sb_cursor c = sb_cursor_of(payload);
	uint32_t owed_n;
	const char *owed;

	*ret = (struct sb_event_view){ .first_dno = sb_get_u64(&c) };
	ret->generation = sb_get_u64(&c);
	ret->received_ms = sb_get_u64(&c);
	get_uuid(&c, &ret->receipt);
	ret->hops = get_u16(&c);
	get_u16(&c);
	ret->n_owed = sb_get_u32(&c);
	owed_n = sb_get_u32(&c);
	owed = take(&c, owed_n);
	ret->owed = sb_slice(owed, owed ? owed_n : 0);
	ret->bus = sb_get_text(&c);
	ret->origin = sb_get_text(&c);
	ret->idempotency_key = sb_get_text(&c);
	ret->position = sb_get_text(&c);
	ret->parent = sb_get_text(&c);
	ret->redrive_of = sb_get_text(&c);
	ret->replay_of = sb_get_text(&c);
	ret->json = sb_get_text(&c);
	return c.bad ? -1 : 0;
}

int sb_owed_next(struct sb_slice *owed, struct sb_owed_view *ret)
{
	struct sb_cursor c = sb_cursor_of(*owed);

	if (owed->n == 0)
		return 0;
	ret->lane = sb_get_u32(&c);
	ret->route = sb_get_u32(&c);
	ret->flags = get_u8(&c);
	ret->rule = sb_get_text(&c);
	ret->target = sb_get_text(&c);
	ret->input = sb_get_text(&c);
	*owed = sb_slice(c.p, (size_t)(c.end - c.p));
	return c.bad ? -1 : 1;
}

int sb_attempt_view(struct sb_slice payload, struct sb_attempt_record *ret)
{
	struct sb_cursor c = sb_cursor_of(payload);

	*ret = (struct sb_attempt_record){ .dno = sb_get_u64(&c) };
	ret->due_wall_ms = sb_get_u64(&c);
	ret->first_wall_ms = sb_get_u64(&c);
	ret->at_wall_ms = sb_get_u64(&c);
	ret->attempts = sb_get_u32(&c);
	ret->outcome = get_u8(&c);
	ret->reason = get_u8(&c);
	ret->alone = get_u16(&c) != 0;
	ret->message = sb_get_text(&c);
	return c.bad ? -1 : 0;
}

int sb_result_view(struct sb_slice payload, struct sb_result_record *ret)
{
	struct sb_cursor c = sb_cursor_of(payload);

	*ret = (struct sb_result_record){ .dno = sb_get_u64(&c) };
	ret->at_wall_ms = sb_get_u64(&c);
	ret->route = sb_get_u32(&c);
	ret->attempts = sb_get_u32(&c);
	ret->duration_us = sb_get_u32(&c);
	get_uuid(&c, &ret->receipt);
	return c.bad ? -1 : 0;
}

int sb_direct_view(struct sb_slice payload, struct sb_direct_view *ret)
{
	struct sb_cursor c = sb_cursor_of(payload);

	*ret = (struct sb_direct_view){ .generation = sb_get_u64(&c) };
	ret->at_wall_ms = sb_get_u64(&c);
	get_uuid(&c, &ret->receipt);
	ret->n = sb_get_u32(&c);
	ret->origin = sb_get_text(&c);
	ret->event_id = sb_get_text(&c);
	ret->position = sb_get_text(&c);
	ret->done = sb_slice(c.p, (size_t)(c.end - c.p));
	return c.bad ? -1 : 0;
}

int sb_direct_next(struct sb_slice *done, struct sb_direct_done_view *ret)
{
	struct sb_cursor c = sb_cursor_of(*done);

	if (done->n == 0)
		return 0;
	ret->attempts = sb_get_u32(&c);
	ret->duration_us = sb_get_u32(&c);
	ret->rule = sb_get_text(&c);
	ret->target = sb_get_text(&c);
	*done = sb_slice(c.p, (size_t)(c.end - c.p));
	return c.bad ? -1 : 1;
}

int sb_dead_view(struct sb_slice payload, struct sb_dead_record *ret)
{
	struct sb_cursor c = sb_cursor_of(payload);
	struct sb_slice *const texts[] = { &ret->id, &ret->event_id, &ret->bus, &ret->origin, &ret->rule, &ret->target,
		&ret->message, &ret->first_message, &ret->tail, &ret->event, &ret->input, &ret->redrive_of };

	*ret = (struct sb_dead_record){ .dno = sb_get_u64(&c) };
	ret->route = sb_get_u32(&c);
	ret->attempts = sb_get_u32(&c);
	ret->generation = sb_get_u64(&c);
	ret->reason = get_u8(&c);
	ret->exhausted = get_u8(&c);
	ret->forwarded = get_u16(&c) != 0;
	ret->received_ms = sb_get_u64(&c);
	ret->first_attempt_ms = sb_get_u64(&c);
	ret->last_attempt_ms = sb_get_u64(&c);
	ret->dead_ms = sb_get_u64(&c);
	for (size_t i = 0; i < SB_LEN(texts); i++)
		*texts[i] = sb_get_text(&c);
	return c.bad ? -1 : 0;
}

int sb_frame_next(struct sb_frame_iter *it, struct sb_frame *ret)
{
	uint32_t len;

	if (it->rest.n == 0)
		return 0;
	if (it->rest.n < SB_FRAME_HEADER)
		return -1;
	memcpy(&len, it->rest.p, 4);
	len = le32toh(len);
	if (len < SB_FRAME_HEADER || sb_frame_size(len) > it->rest.n)
		return -1;
	ret->type = (enum sb_record_type)(uint8_t)it->rest.p[8];
	ret->seq = it->seq++;
	ret->payload = sb_slice(it->rest.p + SB_FRAME_HEADER, len - SB_FRAME_HEADER);
	it->rest = sb_slice(it->rest.p + sb_frame_size(len), it->rest.n - sb_frame_size(len));
	return 1;
}
