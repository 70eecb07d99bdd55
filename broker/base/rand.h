/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_RAND_H
#define SB_BASE_RAND_H

#include <stdint.h>

/*
 * Chance for decisions (jitter, sampling), never for secrets: xoshiro256** (Blackman, Vigna), seeded by splitmix64.
 * One per thread. The same seed gives the same sequence, which is what the simulation lives on.
 */
struct sb_rand {
	uint64_t s[4];
};

void sb_rand_seed(struct sb_rand *r, uint64_t seed);
void sb_rand_seed_system(struct sb_rand *r); /* from getrandom(2) */
uint64_t sb_rand_u64(struct sb_rand *r);
uint32_t sb_rand_u32(struct sb_rand *r);
uint64_t sb_rand_below(struct sb_rand *r, uint64_t n); /* uniform in [0, n); n > 0 */

/* Unpredictable bytes for ids and keys, from the kernel. Aborts when there are none. */
void sb_random_bytes(void *p, uint32_t n);

#endif
