/* SPDX-License-Identifier: Apache-2.0 */
#include "breaker.h"

#define PAUSE_MIN_MS 10 /* whatever the policy says: a probe is not a busy loop */

/* Uniform in [base, min(cap, base * 2^n)]: never at once, and never all probes of a daemon at the same time. */
static uint64_t pause_ms(const struct sb_retry_policy *p, uint32_t n, uint64_t asked_ms, uint32_t rnd)
{
	uint64_t low = SB_MAX(SB_MIN(p->base_ms, p->cap_ms), PAUSE_MIN_MS);
	uint64_t high = SB_MAX(sb_retry_delay_ms(p, n, 0, UINT32_MAX), low);

	low += (uint64_t)(((unsigned __int128)(high - low) + 1) * rnd >> 32);
	return SB_MAX(low, SB_MIN(asked_ms, p->cap_ms));
}

bool sb_breaker_allows(const struct sb_breaker *b, uint64_t now_ns)
{
	return b->failures == 0 || (now_ns >= b->until_ns && !b->probe);
}

void sb_breaker_begin(struct sb_breaker *b, const void *who)
{
	if (b->failures)
		b->probe = who;
}

void sb_breaker_reached(struct sb_breaker *b)
{
	*b = (struct sb_breaker){ 0 };
}

/* Those that were in flight when it opened fail too; only the first of them, and then each probe, lengthens the pause. */
void sb_breaker_unreachable(struct sb_breaker *b, const void *who, const struct sb_retry_policy *p, uint64_t asked_ms,
	uint64_t now_ns, uint32_t rnd)
{
	if (b->failures && b->probe != who)
		return;
	b->until_ns = now_ns + pause_ms(p, b->failures, asked_ms, rnd) * SB_NS_PER_MS;
	b->failures += b->failures < UINT32_MAX;
	b->probe = NULL;
}

void sb_breaker_over(struct sb_breaker *b, uint64_t now_ns)
{
	b->until_ns = SB_MIN(b->until_ns, now_ns);
}

void sb_breaker_released(struct sb_breaker *b, const void *who)
{
	if (b->probe == who)
		b->probe = NULL;
}
