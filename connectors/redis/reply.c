/* SPDX-License-Identifier: Apache-2.0 */
#include "reply.h"

/* hiredis' own reply, laid out in one block each: the struct, and behind it its bytes or the pointers to its elements. */
static redisReply *make(const redisReadTask *task, size_t behind)
{
	redisReply *r = sb_pool_alloc(sizeof(*r) + behind);

	memset(r, 0, sizeof(*r));
	r->type = task->type;
	if (task->parent)
		((redisReply *)task->parent->obj)->element[task->idx] = r;
	return r;
}

static void *make_string(const redisReadTask *task, char *str, size_t len)
{
	redisReply *r;

	if (len > RDS_STRING_MAX)
		return NULL;
	r = make(task, len + 1);
	r->str = (char *)(r + 1);
	memcpy(r->str, str, len);
	r->str[len] = '\0';
	r->len = len;
	return r;
}

static void *make_elements(const redisReadTask *task, size_t n)
{
	redisReply *r;

	if (n > RDS_ELEMENTS_MAX)
		return NULL;
	r = make(task, n * sizeof(redisReply *));
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

	r->integer = value;
	return r;
}

static void *make_nil(const redisReadTask *task)
{
	return make(task, 0);
}

static void free_object(void *obj)
{
	redisReply *r = obj;

	if (!r)
		return;
	for (size_t i = 0; i < r->elements; i++)
		free_object(r->element[i]);
	sb_pool_free(r);
}

/* Not const: hiredis wants it so. Doubles, booleans and the like are of RESP3, which we do not ask for. */
redisReplyObjectFunctions rds_reply_functions = {
	.createString = make_string,
	.createArray = make_array,
	.createInteger = make_integer,
	.createNil = make_nil,
	.freeObject = free_object,
};
