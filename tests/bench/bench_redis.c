/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one connection of hiredis alone does with streams: the yardstick of tests/bench/redis.py.
 *
 *   bench_redis fill SOCKET STREAM N           entries of 512 bytes in the field `body`, of ten types
 *   bench_redis copy SOCKET STREAM OUT GROUP N reads 100, adds 100 and acknowledges them in one pipeline; prints rate and CPU s a million
 */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define BATCH 100
#define BODY 512

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static redisReply *must(redisReply *r)
{
	if (r && r->type != REDIS_REPLY_ERROR)
		return r;
	fprintf(stderr, "redis: %s\n", r ? r->str : "no answer");
	exit(1);
}

static void take(redisContext *c, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		void *r = NULL;

		redisGetReply(c, &r);
		freeReplyObject(must(r));
	}
}

static void fill(redisContext *c, const char *stream, long n)
{
	char body[BODY + 1];

	for (long i = 0; i < n; i++) {
		int len = snprintf(body, sizeof(body), "{\"n\":%ld,\"type\":\"T%ld\",\"total\":%ld,\"pad\":\"", i, i % 10, 100 + i % 900);

		memset(body + len, 'x', (size_t)(BODY - len));
		memcpy(body + BODY - 2, "\"}", 3);
		redisAppendCommand(c, "XADD %s * body %b", stream, body, (size_t)BODY);
		if (i % BATCH == BATCH - 1 || i == n - 1)
			take(c, (size_t)(i % BATCH + 1));
	}
}

/* How many. */
static size_t copy_some(redisContext *c, const char *stream, const char *out, const char *group)
{
	redisReply *r = must(redisCommand(c, "XREADGROUP GROUP %s bare COUNT %d STREAMS %s >", group, BATCH, stream)), *entries;
	const char *word[BATCH + 3] = { "XACK", stream, group };
	size_t n, len[BATCH + 3] = { 4, strlen(stream), strlen(group) };

	if (r->type != REDIS_REPLY_ARRAY)
		return 0;
	entries = r->element[0]->element[1];
	n = entries->elements;
	for (size_t i = 0; i < n; i++) {
		const redisReply *id = entries->element[i]->element[0], *body = entries->element[i]->element[1]->element[1];

		redisAppendCommand(c, "XADD %s MAXLEN ~ 100000 * event %b", out, body->str, body->len);
		word[3 + i] = id->str;
		len[3 + i] = id->len;
	}
	redisAppendCommandArgv(c, (int)(3 + n), word, len);
	take(c, n + 1);
	freeReplyObject(r);
	return n;
}

static void copy(redisContext *c, char **arg)
{
	long n = atol(arg[3]); /* NOLINT(cert-err34-c): our own script's */
	double began = seconds(), cpu = cpu_seconds();
	long done = 0;

	freeReplyObject(must(redisCommand(c, "XGROUP CREATE %s %s 0", arg[0], arg[2])));
	while (done < n) {
		size_t some = copy_some(c, arg[0], arg[1], arg[2]);

		if (!some)
			break;
		done += (long)some;
	}
	printf("%.0f %.3f\n", (double)done / (seconds() - began), 1e6 * (cpu_seconds() - cpu) / (double)done);
}

int main(int argc, char **argv)
{
	redisContext *c = argc > 2 ? redisConnectUnix(argv[2]) : NULL;

	if (!c || c->err) {
		fprintf(stderr, "bench_redis fill SOCKET STREAM N | copy SOCKET STREAM OUT GROUP N\n");
		return 2;
	}
	if (argc == 5 && strcmp(argv[1], "fill") == 0)
		fill(c, argv[3], atol(argv[4])); /* NOLINT(cert-err34-c) */
	else if (argc == 7 && strcmp(argv[1], "copy") == 0)
		copy(c, argv + 3);
	redisFree(c);
	return 0;
}
