/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/rand.h"

#include <errno.h>
#include <sys/random.h>

#include "broker/base/err.h"

void sb_rand_seed(struct sb_rand *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = (seed += 0x9e3779b97f4a7c15u);

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		r->s[i] = z ^ (z >> 31);
	}
}

void sb_rand_seed_system(struct sb_rand *r)
{
	uint64_t seed;

	sb_random_bytes(&seed, sizeof(seed));
	sb_rand_seed(r, seed);
}

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

uint64_t sb_rand_u64(struct sb_rand *r)
{
	uint64_t out = rotl(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;

	r->s[2] ^= r->s[0];
	r->s[3] ^= r->s[1];
	r->s[1] ^= r->s[2];
	r->s[0] ^= r->s[3];
	r->s[2] ^= t;
	r->s[3] = rotl(r->s[3], 45);
	return out;
}

uint32_t sb_rand_u32(struct sb_rand *r)
{
	return (uint32_t)(sb_rand_u64(r) >> 32);
}

uint64_t sb_rand_below(struct sb_rand *r, uint64_t n)
{
	uint64_t limit = UINT64_MAX - UINT64_MAX % n, x;

	do
		x = sb_rand_u64(r);
	while (x >= limit);
	return x % n;
}

void sb_random_bytes(void *p, uint32_t n)
{
	char *at = p;

	while (n) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		SB_ASSERT(got > 0);
		at += got;
		n -= (uint32_t)got;
	}
}
