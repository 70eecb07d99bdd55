/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_ID_H
#define SB_CONNECTORS_REDIS_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/mem.h"
#include "broker/base/uuid.h"

/* The id of an entry: 1700000000000-3. */
struct rds_id {
	uint64_t ms, seq;
};

#define RDS_ID_TEXT 44
#define RDS_ID_MIN ((struct rds_id){ 0, 0 })

int rds_id_parse(struct sb_slice s, struct rds_id *ret); /* "12" is 12-0; -1: not an id */
size_t rds_id_format(struct rds_id id, char *out);       /* out has room for RDS_ID_TEXT bytes; its length */
struct rds_id rds_id_before(struct rds_id id);           /* the greatest id that is smaller; of 0-0: itself */

static inline int rds_id_cmp(struct rds_id a, struct rds_id b)
{
	if (a.ms != b.ms)
		return a.ms < b.ms ? -1 : 1;
	return a.seq < b.seq ? -1 : a.seq > b.seq;
}

/*
 * The receipt of an entry, the same whenever and by whomever it is read for the source of this name: an entry that is read twice
 * has the same event id and the same delivery ids.
 */
struct sb_uuid rds_id_receipt(const char *source, const char *stream, struct rds_id id);

#endif
