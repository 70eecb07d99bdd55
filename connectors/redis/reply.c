/* SPDX-License-Identifier: Apache-2.0 */
#include "reply.h"

/* hiredis' own reply, laid out in one block each: the struct, and behind it its bytes or the pointers to its elements. */
struct block {
	struct rds_reply_bytes *count;
	size_t bytes;
	redisReply reply;
};

static redisReply *make(const redisReadTask *task, size_t behind)
{
	struct rds_reply_bytes *count = task->privdata;
	struct block *b;
	redisReply *r;

	behind += sizeof(*b);
	if (behind > RDS_REPLY_MAX - count->live) {
		count->refused = true;
		return NULL;
	}
	b = sb_pool_alloc(behind);
	b->count = count;
	b->bytes = behind;
	count->live += behind;
	r = &b->reply;
	memset(r, 0, sizeof(*r));
	r->type = task->type;
	if (task->parent)
		((redisReply *)task->parent->obj)->element[task->idx] = r;
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

static void free_object(void *obj)
{
	redisReply *r = obj;
	struct block *b;

	if (!r)
		return;
	for (size_t i = 0; i < r->elements; i++)
		free_object(r->element[i]);
	b = SB_CONTAINER(r, struct block, reply);
	b->count->live -= b->bytes;
	sb_pool_free(b);
}

/* Not const: hiredis wants it so. Doubles, booleans and the like are of RESP3, which we do not ask for. */
redisReplyObjectFunctions rds_reply_functions = {
	.createString = make_string,
	.createArray = make_array,
	.createInteger = make_integer,
	.createNil = make_nil,
	.freeObject = free_object,
};
