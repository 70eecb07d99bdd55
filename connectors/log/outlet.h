/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_LOG_OUTLET_H
#define SB_CONNECTORS_LOG_OUTLET_H

#include <pthread.h>
#include <stdbool.h>

#include "broker/base/buf.h"

/*
 * A descriptor that lines are written to without waiting: standard output, shared by all shards and by whoever else has
 * it. Lines stay whole: one that only went out in part keeps the outlet until its rest is out. Thread-safe.
 */
struct outlet {
	pthread_mutex_t lock;
	int fd;           /* what is written to */
	bool own;         /* fd was opened here */
	bool is_socket;
	struct sb_buf rest; /* of the line that is out in part */
	bool cut;           /* that rest was lost; told by outlet_finish */
};

enum outlet_said {
	OUTLET_WRITTEN,
	OUTLET_PART, /* go on with outlet_finish */
	OUTLET_FULL, /* nothing of it was written */
	OUTLET_GONE, /* nobody reads any more, or the disk is full; errno */
};

void outlet_open(struct outlet *o, int fd); /* fd itself stays as it is */
void outlet_close(struct outlet *o);
enum outlet_said outlet_write(struct outlet *o, struct sb_slice line);
enum outlet_said outlet_finish(struct outlet *o); /* WRITTEN, PART or GONE */

#endif
