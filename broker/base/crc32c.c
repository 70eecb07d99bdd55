/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#define POLY 0x82f63b78u

static uint32_t table[256];
static bool have_hw;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void setup(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? (c >> 1) ^ POLY : c >> 1;
		table[i] = c;
	}
#if defined(__x86_64__)
	have_hw = __builtin_cpu_supports("sse4.2");
#endif
}

uint32_t sb_crc32c_table(uint32_t crc, const void *p, size_t n)
{
	const unsigned char *s = p;

	pthread_once(&once, setup);
	crc = ~crc;
	for (size_t i = 0; i < n; i++)
		crc = table[(crc ^ s[i]) & 0xff] ^ (crc >> 8);
	return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_hw(uint32_t crc, const unsigned char *s, size_t n)
{
	uint64_t c = ~crc;

	for (; n >= 8; n -= 8, s += 8) {
		uint64_t word;

		memcpy(&word, s, 8);
		c = _mm_crc32_u64(c, word);
	}
	for (; n; n--, s++)
		c = _mm_crc32_u8((uint32_t)c, *s);
	return ~(uint32_t)c;
}
#endif

uint32_t sb_crc32c(uint32_t crc, const void *p, size_t n)
{
	pthread_once(&once, setup);
#if defined(__x86_64__)
	if (have_hw)
		return crc_hw(crc, p, n);
#endif
	return sb_crc32c_table(crc, p, n);
}
