/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a bare librdkafka loop does, beside which kafka.py puts the daemon:
 *   bench_kafka fill BROKERS TOPIC PARTITIONS RECORDS    JSON events of 512 bytes, of ten types in turn
 *   bench_kafka copy BROKERS FROM TO PARTITIONS RECORDS GROUP   consume in batches, produce as it is, commit once a second
 *   bench_kafka pace BROKERS FROM TO PARTITIONS RATE SECONDS   produce at a steady rate, and read what comes out at the other end
 * copy prints records a second and the processor time of a million; pace the p50, p99 and largest of the times in between, in ms, and
 * how many records came.
 */
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define BATCH 100
#define BYTES 512

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static long number(const char *s)
{
	char *end;
	long n = strtol(s, &end, 10);

	if (*end || n <= 0)
		die(s, "not a number of something");
	return n;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char why[300];

	if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) != RD_KAFKA_CONF_OK)
		die(name, why);
}

static rd_kafka_t *make(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char why[300];
	rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof(why));

	if (!rk)
		die("rd_kafka_new", why);
	return rk;
}

static rd_kafka_t *producer(const char *brokers, const char *linger_ms)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	set(conf, "bootstrap.servers", brokers);
	set(conf, "acks", "all");
	set(conf, "enable.idempotence", "true");
	set(conf, "linger.ms", linger_ms);
	set(conf, "queue.buffering.max.messages", "1000000");
	return make(RD_KAFKA_PRODUCER, conf);
}

static void produce(rd_kafka_t *rk, const char *topic, int partition, const void *value, size_t n)
{
	while (rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
		       RD_KAFKA_V_VALUE((void *)value, n), RD_KAFKA_V_END) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		rd_kafka_poll(rk, 10);
	rd_kafka_poll(rk, 0);
}

static int fill(const char *brokers, const char *topic, int partitions, long records)
{
	rd_kafka_t *rk = producer(brokers, "5");
	char value[BYTES + 1];

	for (long i = 0; i < records; i++) {
		int n = snprintf(value, sizeof(value), "{\"type\":\"T%ld\",\"id\":%ld,\"total\":120,\"pad\":\"", i % 10, i);

		memset(value + n, 'x', (size_t)(BYTES - n));
		value[BYTES - 2] = '"';
		value[BYTES - 1] = '}';
		produce(rk, topic, (int)(i % partitions), value, BYTES);
	}
	rd_kafka_flush(rk, 60000);
	rd_kafka_destroy(rk);
	return 0;
}

static rd_kafka_t *consumer(const char *brokers, const char *topic, int partitions, const char *group)
{
	rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(partitions);
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;

	set(conf, "bootstrap.servers", brokers);
	set(conf, "group.id", group);
	set(conf, "enable.auto.commit", "false");
	set(conf, "auto.offset.reset", "earliest");
	rk = make(RD_KAFKA_CONSUMER, conf);
	for (int p = 0; p < partitions; p++)
		rd_kafka_topic_partition_list_add(all, topic, p)->offset = RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_assign(rk, all);
	rd_kafka_topic_partition_list_destroy(all);
	return rk;
}

static int copy(char **arg)
{
	const char *brokers = arg[2], *from = arg[3], *to = arg[4];
	int partitions = (int)number(arg[5]);
	long records = number(arg[6]), done = 0;
	double start = now(), used = cpu(), committed = start;
	rd_kafka_t *in = consumer(brokers, from, partitions, arg[7]), *out = producer(brokers, "5");
	rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(in);

	while (done < records) {
		rd_kafka_message_t *batch[BATCH];
		ssize_t n = rd_kafka_consume_batch_queue(queue, 100, batch, BATCH);

		for (ssize_t i = 0; i < n; i++) {
			if (batch[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
				produce(out, to, batch[i]->partition, batch[i]->payload, batch[i]->len);
				done++;
			}
			rd_kafka_message_destroy(batch[i]);
		}
		if (now() - committed >= 1) {
			rd_kafka_flush(out, 60000);
			rd_kafka_commit(in, NULL, 0);
			committed = now();
		}
	}
	rd_kafka_flush(out, 60000);
	rd_kafka_commit(in, NULL, 0);
	printf("%.0f %.3f\n", (double)done / (now() - start), 1e6 * (cpu() - used) / (double)done);
	rd_kafka_queue_destroy(queue);
	rd_kafka_consumer_close(in);
	rd_kafka_destroy(in);
	rd_kafka_destroy(out);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ pace */

#define WARM_S 2      /* whose records do not count */
#define PATIENCE_S 10 /* for the last of them */

struct pace {
	const char *brokers, *from;
	int partitions;
	long rate, records;
};

/* A piece each millisecond. */
static void *send_at_pace(void *arg)
{
	const struct pace *pace = arg;
	rd_kafka_t *rk = producer(pace->brokers, "1");
	double start = now();
	char value[BYTES + 1];

	for (long i = 0; i < pace->records;) {
		long due = (long)((now() - start) * (double)pace->rate);

		for (; i < due && i < pace->records; i++) {
			int n = snprintf(value, sizeof(value), "{\"type\":\"T%ld\",\"id\":%ld,\"total\":120,\"sent\":%.6f,\"pad\":\"", i % 10, i, now());

			memset(value + n, 'x', (size_t)(BYTES - n));
			value[BYTES - 2] = '"';
			value[BYTES - 1] = '}';
			produce(rk, pace->from, (int)(i % pace->partitions), value, BYTES);
		}
		rd_kafka_poll(rk, 1);
	}
	rd_kafka_flush(rk, 60000);
	rd_kafka_destroy(rk);
	return NULL;
}

/* In the record, wherever the event now has it; 0: none. */
static double sent_at(const rd_kafka_message_t *m)
{
	static const char key[] = "\"sent\":";
	const char *at = m->err ? NULL : memmem(m->payload, m->len, key, sizeof(key) - 1);

	return at ? strtod(at + sizeof(key) - 1, NULL) : 0;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void report(double *late, long came, long counted)
{
	qsort(late, (size_t)counted, sizeof(*late), by_size);
	if (counted == 0)
		die("pace", "nothing came");
	printf("%.2f %.2f %.2f %ld\n", 1e3 * late[counted / 2], 1e3 * late[counted * 99 / 100], 1e3 * late[counted - 1], came);
}

static int pace(char **arg)
{
	struct pace pace = { arg[2], arg[3], (int)number(arg[5]), number(arg[6]), number(arg[6]) * number(arg[7]) };
	rd_kafka_t *in = consumer(pace.brokers, arg[4], pace.partitions, "pace");
	rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(in);
	double *late = calloc((size_t)pace.records, sizeof(*late)), start = now();
	double end = start + (double)number(arg[7]) + PATIENCE_S;
	long came = 0, counted = 0;
	pthread_t sender;

	if (!late || pthread_create(&sender, NULL, send_at_pace, &pace) != 0)
		die("pace", "no memory");
	while (came < pace.records && now() < end) {
		rd_kafka_message_t *batch[BATCH];
		ssize_t n = rd_kafka_consume_batch_queue(queue, 100, batch, BATCH);

		for (ssize_t i = 0; i < n; i++) {
			double sent = sent_at(batch[i]);

			came += sent > 0;
			if (sent > start + WARM_S && counted < pace.records)
				late[counted++] = now() - sent;
			rd_kafka_message_destroy(batch[i]);
		}
	}
	pthread_join(sender, NULL);
	report(late, came, counted);
	free(late);
	rd_kafka_queue_destroy(queue);
	rd_kafka_consumer_close(in);
	rd_kafka_destroy(in);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 6 && strcmp(argv[1], "fill") == 0)
		return fill(argv[2], argv[3], (int)number(argv[4]), number(argv[5]));
	if (argc == 8 && strcmp(argv[1], "copy") == 0)
		return copy(argv);
	if (argc == 8 && strcmp(argv[1], "pace") == 0)
		return pace(argv);
	fprintf(stderr, "usage: bench_kafka fill BROKERS TOPIC PARTITIONS RECORDS | copy BROKERS FROM TO PARTITIONS RECORDS GROUP |"
			" pace BROKERS FROM TO PARTITIONS RATE SECONDS\n");
	return 64;
}
