/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_NET_CROWD_H
#define SB_NET_CROWD_H

#include "broker/net/http.h"

/* What a server does with the crowd that it belongs to (http.h). From any thread. */
#define CROWD_KEY 16
struct crowd_addr;

/* One more connection; `key` NULL: it counts in all only. False: there are too many, and nothing was counted. */
bool crowd_enter(struct sb_http_crowd *c, const uint8_t *key, struct crowd_addr **ret);
void crowd_leave(struct sb_http_crowd *c, struct crowd_addr *a); /* what crowd_enter gave; NULL is fine */
uint32_t crowd_max(const struct sb_http_crowd *c);

#endif
