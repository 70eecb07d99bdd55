/* SPDX-License-Identifier: Apache-2.0 */
#include "reply.h"

#include <stddef.h>

#define BLOCK_BYTES (8u << 10) /* or what of the pool's block is left beside it */

struct rds_reply_block {
	struct rds_reply_block *next;
	size_t used, size;
	max_align_t bytes[];
};

/* An answer knows whose it is. */
struct root {
	struct rds_reply_bytes *count;
	redisReply reply;
};

static void *carve(struct rds_reply_bytes *count, size_t n)
{
	struct rds_reply_block *b = count->block;
	void *p;

	n = (n + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
	if (!b || n > b->size - b->used) {
		b = sb_pool_alloc(sizeof(*b) + SB_MAX(n, (size_t)BLOCK_BYTES));
		*b = (struct rds_reply_block){ .next = count->block, .size = sb_pool_usable(b) - sizeof(*b) };
		count->block = b;
		count->live += b->size;
	}
	p = (char *)b->bytes + b->used;
	b->used += n;
	return p;
}

/* hiredis' own reply; behind it its bytes or the pointers to its elements. */
static redisReply *make(const redisReadTask *task, size_t behind)
{
	struct rds_reply_bytes *count = task->privdata;
	redisReply *r;

	if (behind + 2 * BLOCK_BYTES > RDS_REPLY_MAX - count->live) {
		count->refused = true;
		return NULL;
	}
	if (task->parent) {
		r = carve(count, sizeof(*r) + behind);
		((redisReply *)task->parent->obj)->element[task->idx] = r;
	} else {
		struct root *root = carve(count, sizeof(*root) + behind);

		root->count = count;
		r = &root->reply;
	}
	memset(r, 0, sizeof(*r));
	r->type = task->type;
	return r;
}

static void *make_string(const redisReadTask *task, char *str, size_t len)
{
	redisReply *r = make(task, len + 1);

	if (!r)
		return NULL;
	r->str = (char *)(r + 1);
	memcpy(r->str, str, len);
	r->str[len] = '\0';
	r->len = len;
	return r;
}

static void *make_elements(const redisReadTask *task, size_t n)
{
	redisReply *r = n > RDS_ELEMENTS_MAX ? NULL : make(task, n * sizeof(redisReply *));

	if (!r)
		return NULL;
	r->element = (redisReply **)(void *)(r + 1);
	memset(r->element, 0, n * sizeof(redisReply *));
	r->elements = n;
	return r;
}

#if HIREDIS_MAJOR >= 1
static void *make_array(const redisReadTask *task, size_t n)
{
	return make_elements(task, n);
}
#else
static void *make_array(const redisReadTask *task, int n)
{
	return n < 0 ? NULL : make_elements(task, (size_t)n);
}
#endif

static void *make_integer(const redisReadTask *task, long long value)
{
	redisReply *r = make(task, 0);

	if (r)
		r->integer = value;
	return r;
}

/* The reader says what it would have been: a string, an array. */
static void *make_nil(const redisReadTask *task)
{
	redisReply *r = make(task, 0);

	if (r)
		r->type = REDIS_REPLY_NIL;
	return r;
}

static void free_answer(void *obj)
{
	struct rds_reply_bytes *count;

	if (!obj)
		return;
	count = SB_CONTAINER(obj, struct root, reply)->count;
	while (count->block) {
		struct rds_reply_block *b = count->block;

		count->block = b->next;
		count->live -= b->size;
		sb_pool_free(b);
	}
}

/* Not const: hiredis wants it so. Doubles, booleans and the like are of RESP3, which we do not ask for. */
redisReplyObjectFunctions rds_reply_functions = {
	.createString = make_string,
	.createArray = make_array,
	.createInteger = make_integer,
	.createNil = make_nil,
	.freeObject = free_answer,
};
