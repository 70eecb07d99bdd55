/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/executor.h"

/*
 * Decisions about retries: pure, so that their tests are tables. Time and chance are arguments.
 */

/* min(cap, base * 2^retry), without overflow. */
static uint64_t ceiling_ms(const struct sb_retry_policy *p, uint32_t retry)
{
	if (p->base_ms == 0)
		return 0;
	if (retry >= 63 || p->base_ms > p->cap_ms >> retry)
		return p->cap_ms;
	return p->base_ms << retry;
}

/* Uniform in [0, top] for a uniform rnd: the upper half of a 96-bit product. */
static uint64_t scale(uint64_t top, uint32_t rnd)
{
	return (uint64_t)(((unsigned __int128)top + 1) * rnd >> 32);
}

uint64_t sb_retry_delay_ms(const struct sb_retry_policy *p, uint32_t retry, uint64_t asked_ms, uint32_t rnd)
{
	uint64_t delay = scale(ceiling_ms(p, retry), rnd), asked = SB_MIN(asked_ms, p->cap_ms);

	return SB_MAX(delay, asked);
}

uint64_t sb_retry_median_ms(const struct sb_retry_policy *p)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < p->max_retries; i++) {
		uint64_t top = ceiling_ms(p, i);

		if (top == p->cap_ms || top == 0) /* so are all that follow */
			return sum + (uint64_t)(p->max_retries - i) * (top / 2);
		sum += top / 2;
	}
	return sum;
}

enum sb_retry_verdict sb_retry_verdict(
	const struct sb_retry_policy *p, uint32_t attempts, uint64_t received_ms, uint64_t now_ms, uint64_t delay_ms)
{
	uint64_t age = now_ms > received_ms ? now_ms - received_ms : 0;

	if (p->endless)
		return SB_RETRY_AGAIN;
	if (attempts > p->max_retries)
		return SB_RETRY_EXHAUSTED_COUNT;
	if (age >= p->max_age_ms || delay_ms > p->max_age_ms - age)
		return SB_RETRY_EXHAUSTED_AGE;
	return SB_RETRY_AGAIN;
}
