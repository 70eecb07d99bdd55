/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/journal/journal.h"

/* Stands in for the journal's record code until it is there: the same contracts, records as plain copies. */

static int put(struct sb_buf *out, uint32_t type, const void *p, uint32_t n)
{
	uint32_t head[2] = { type, n };

	return sb_buf_add(out, head, sizeof(head)) < 0 ? -1 : sb_buf_add(out, p, n);
}

int sb_record_attempt(struct sb_buf *out, const struct sb_attempt_record *r)
{
	return put(out, SB_REC_ATTEMPT, r, sizeof(*r));
}

int sb_record_result(struct sb_buf *out, const struct sb_result_record *r)
{
	return put(out, SB_REC_RESULT, r, sizeof(*r));
}

int sb_attempt_view(struct sb_slice payload, struct sb_attempt_record *ret)
{
	memcpy(ret, payload.p, sizeof(*ret));
	return 0;
}

int sb_result_view(struct sb_slice payload, struct sb_result_record *ret)
{
	memcpy(ret, payload.p, sizeof(*ret));
	return 0;
}

int sb_frame_next(struct sb_frame_iter *it, struct sb_frame *ret)
{
	uint32_t head[2];

	if (it->rest.n == 0)
		return 0;
	memcpy(head, it->rest.p, sizeof(head));
	*ret = (struct sb_frame){ head[0], it->seq++, sb_slice(it->rest.p + sizeof(head), head[1]) };
	it->rest = sb_slice(ret->payload.p + head[1], it->rest.n - sizeof(head) - head[1]);
	return 1;
}
