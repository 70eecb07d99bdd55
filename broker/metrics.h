/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_METRICS_H
#define SB_BROKER_METRICS_H

#include "broker/base/err.h"

/*
 * This daemon's numbers in a Redis, as docs/redis-metrics.md promises them. Belongs to the control thread, which nothing on an
 * event's way waits for: when Redis is away or slow, flushes are dropped and counted.
 */
struct sb_daemon;
struct sb_metrics;

/* Begins to connect and to flush; *ret is NULL when the configuration wants none. */
int sb_metrics_start(struct sb_daemon *d, struct sb_metrics **ret, struct sb_err *err);
/* No more flushes. A gather that is on its way may still come back, until free. NULL is fine, for all of them. */
void sb_metrics_stop(struct sb_metrics *m);
void sb_metrics_free(struct sb_metrics *m);
/* For dashboards to draw a line: "reload", "pause", ...; copied. With more of them than can be written the latest are left out. */
void sb_metrics_mark(struct sb_metrics *m, const char *what, const char *name, const char *detail);

#endif
