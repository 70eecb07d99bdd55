/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_REPLY_H
#define SB_CONNECTORS_REDIS_REPLY_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/base/mem.h"

/*
 * Replies in pool memory: a warm reader allocates nothing. All of one answer stands in blocks one behind the other, since hiredis has one
 * answer of a connection at a time and only ever gives it back as a whole. What a server may make us allocate is bounded: beyond
 * RDS_REPLY_MAX bytes in an answer, or RDS_ELEMENTS_MAX in one array, the connection ends. The reader's privdata is the
 * connection's struct rds_reply_bytes.
 */
#define RDS_REPLY_MAX (64u << 20)
#define RDS_ELEMENTS_MAX (1u << 20)
struct rds_reply_block;
struct rds_reply_bytes {
	struct rds_reply_block *block; /* of the answer at hand, newest first; NULL: there is none */
	size_t live;
	bool refused;
};
extern redisReplyObjectFunctions rds_reply_functions;

static inline bool rds_is_error(const redisReply *r)
{
	return r->type == REDIS_REPLY_ERROR;
}

/* Status, string or error. */
static inline struct sb_slice rds_text(const redisReply *r)
{
	return sb_slice(r->str, r->str ? r->len : 0);
}

static inline bool rds_is_array(const redisReply *r, size_t least)
{
	return r->type == REDIS_REPLY_ARRAY && r->elements >= least;
}

/* The value of a key in a flat list of pairs, as XINFO answers; NULL: it has no such key. */
static inline const redisReply *rds_member(const redisReply *map, const char *key)
{
	for (size_t i = 0; i + 1 < map->elements; i += 2)
		if (sb_slice_eq_str(rds_text(map->element[i]), key))
			return map->element[i + 1];
	return NULL;
}

#endif
