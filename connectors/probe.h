/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_PROBE_H
#define SB_CONNECTORS_PROBE_H

#include <stdint.h>

#include "broker/base/err.h"

/*
 * `signalbox check --connect`: a connector says whether what its configuration names is there and lets us in.
 *
 * The call comes on a thread that serves nothing else, several of them at once; it may block until the deadline. There is no
 * shard and no instance, only the configuration. Nothing is changed at the other side: no group is joined, no topic or stream made,
 * nothing written, no process started.
 */
enum sb_found { SB_FOUND_GOOD, SB_FOUND_DOUBTFUL, SB_FOUND_WRONG };

struct sb_probe {
	const char *name;     /* of the source or target */
	uint64_t deadline_ns; /* of sb_clock_system */
	/* The other side of what stands below. `key`: which of the connector's keys it is about, "topics[2]"; NULL: all of it. */
	void (*found)(struct sb_probe *p, enum sb_found f, const char *key, const struct sb_err *what);
};

unsigned sb_probe_left_ms(const struct sb_probe *p); /* 0: the time is up */
void sb_probe_good(struct sb_probe *p, const char *fmt, ...) SB_PRINTF(2, 3);
void sb_probe_doubt(struct sb_probe *p, const char *key, const struct sb_err *what);
void sb_probe_wrong(struct sb_probe *p, const char *key, const struct sb_err *what);

#endif
