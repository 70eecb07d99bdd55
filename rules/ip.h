/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_RULES_IP_H
#define SB_RULES_IP_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/err.h"
#include "broker/base/mem.h"

/* An address: 4 or 16 bytes. The IPv6 form of an IPv4 address (::ffff:a00:1) is that IPv4 address. */
struct sb_ip {
	uint8_t n; /* 4 or 16 */
	uint8_t b[16];
};

struct sb_cidr {
	struct sb_ip base;
	uint8_t bits;
};

/*
 * Texts that count as addresses: four decimal groups, leading zeros allowed; or IPv6 in hexadecimal groups, without dots.
 * Anything else is just a string.
 */
bool sb_ip_parse(struct sb_slice s, struct sb_ip *ret);
bool sb_ip_equal(const struct sb_ip *a, const struct sb_ip *b);
/* "10.0.0.0/8"; 0..31 bits for IPv4, 0..127 for IPv6; host bits are ignored. */
int sb_cidr_parse(struct sb_slice s, struct sb_cidr *ret, struct sb_err *err);
/* Never across families. */
bool sb_cidr_contains(const struct sb_cidr *c, const struct sb_ip *ip);

#endif
