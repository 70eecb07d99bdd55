/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_UUID_H
#define SB_BASE_UUID_H

#include <stdint.h>

#include "broker/base/rand.h"

/*
 * UUID version 7 (RFC 9562): 48 bits of wall milliseconds, then a counter that only grows within one generator, then
 * chance. Ids of one generator sort by the order in which they were made, even when the wall clock goes back. Ids name
 * events; they are no secrets.
 */
struct sb_uuid {
	uint8_t b[16];
};

#define SB_UUID_TEXT 36 /* characters, without the NUL */

struct sb_uuid_gen {
	struct sb_rand *rand;
	uint64_t last_ms;
	uint32_t counter; /* 26 bits: 12 in rand_a, 14 at the top of rand_b */
};

struct sb_uuid sb_uuid_next(struct sb_uuid_gen *g, uint64_t wall_ms);
void sb_uuid_format(const struct sb_uuid *u, char out[SB_UUID_TEXT + 1]);
int sb_uuid_parse(const char *s, uint32_t n, struct sb_uuid *ret); /* 0, or -1: not a UUID */

#endif
