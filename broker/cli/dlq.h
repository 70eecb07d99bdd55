/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_DLQ_H
#define SB_CLI_DLQ_H

#include "broker/cli/control.h"

/* What the parts of `signalbox dlq` share: cmd_dlq.c reads the words, dlq_read.c asks, dlq_redrive.c changes. */
struct dlq {
	struct sb_cli *cli;
	struct sb_control control;
	const char *id; /* NULL: not one letter */
	uint64_t limit; /* 0: none given */
	uint64_t after; /* rowid to go on behind; 0: from the oldest */
	uint64_t rate;  /* letters a second; 0: as fast as it goes */
	json_t *filter; /* of the control API */
};

/* The filter with limit and after (left out when 0). New reference. */
json_t *dlq_body(const struct dlq *d, uint64_t limit, uint64_t after);
/*
 * A call that only reads, "/v1/dlq/list" or "/v1/dlq/count"; `body` is consumed. When no daemon answers it is the table that
 * is read, and *ret is the text that a daemon would have sent.
 */
int dlq_read(struct dlq *d, const char *path, json_t *body, struct sb_buf *ret);
/* Letters that the filter lets through, limit and after aside. */
int dlq_total(struct dlq *d, uint64_t *ret);
int dlq_no_such_letter(struct dlq *d);

/* The words behind `dlq`. */
int dlq_list(struct dlq *d);
int dlq_show(struct dlq *d);
int dlq_count(struct dlq *d);
int dlq_redrive(struct dlq *d);
int dlq_purge(struct dlq *d);

#endif
