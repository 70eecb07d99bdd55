/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EXECUTOR_BREAKER_H
#define SB_EXECUTOR_BREAKER_H

#include "executor/executor.h"

/*
 * A target that cannot be reached is left alone by everybody, then tried with one probe, after growing pauses. Closed: all
 * may go. Open: nobody until `until_ns`. Half open: one probe at a time, until something says that the target is there.
 */
struct sb_breaker {
	uint32_t failures;  /* pauses in a row; 0: closed */
	uint64_t until_ns;
	const void *probe;  /* who is trying */
};

bool sb_breaker_allows(const struct sb_breaker *b, uint64_t now_ns);
void sb_breaker_begin(struct sb_breaker *b, const void *who); /* `who` goes; it must be allowed */
/* What came of `who`. reached: the target answered, however it did; unreachable: it did not; released: nothing is known. */
void sb_breaker_reached(struct sb_breaker *b);
/* `asked_ms` is the target's own wish (retry_after_ms): it wins over a shorter pause, up to the cap. */
void sb_breaker_unreachable(struct sb_breaker *b, const void *who, const struct sb_retry_policy *p, uint64_t asked_ms,
	uint64_t now_ns, uint32_t rnd);
void sb_breaker_over(struct sb_breaker *b, uint64_t now_ns); /* the pause is: a probe may go at once */
void sb_breaker_released(struct sb_breaker *b, const void *who);

#endif
