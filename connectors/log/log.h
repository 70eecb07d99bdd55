/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_LOG_LOG_H
#define SB_CONNECTORS_LOG_LOG_H

#include "connectors/connector.h"

/* The line of a delivery, with its line end. `full`: time, target, rule, delivery, attempt around the input. -1: too large. */
int log_line(const struct sb_item *item, const char *target, uint64_t wall_ms, bool full, struct sb_buf *out);

#endif
