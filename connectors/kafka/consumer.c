/* SPDX-License-Identifier: Apache-2.0 */
#include "consumer.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMITTED_MS 5000
#define WATERMARK_MS 2000

static const uint64_t one = 1;

/* ------------------------------------------------------------------------------------------------ configuration */

static const char *const from_words[] = { "earliest", "latest", NULL };
static const char *const range_words[] = { "stop", "earliest", "latest", NULL };

static const struct sb_field window_fields[] = {
	SB_F_KEY(INT, struct kafka_source_conf, window.records, "records", .min = 1, .max = 1000000, .dflt = "4096",
		.doc = "Records of a partition that are read and not committed, delivered or not; at the bound it is not read on."),
	SB_F_KEY(BYTES, struct kafka_source_conf, window.bytes, "bytes", .min = 1024, .max = 1 << 30, .dflt = "32MiB",
		.doc = "The same in bytes that they take in memory; one record is always let in."),
	{ 0 },
};

const struct sb_field kafka_source_fields[] = {
	SB_F_KEY(STRS, struct kafka_source_conf, cluster.brokers, "brokers", .required = true, .min = 1, .max = 100,
		.doc = "Where to begin, as `host:port`; the rest of the cluster is found from there."),
	SB_F(STRS, struct kafka_source_conf, topics, .required = true, .min = 1, .max = 1000,
		.doc = "Names of topics; one that begins with `^` is a regular expression."),
	SB_F(STR, struct kafka_source_conf, group, .required = true, .min = 1, .max = 249, .doc = "The consumer group."),
	SB_F(ENUM, struct kafka_source_conf, from, .names = from_words, .dflt = "earliest",
		.doc = "Where a partition begins of which the group has no position yet; afterwards it counts no more."),
	SB_F(ENUM, struct kafka_source_conf, out_of_range, .names = range_words, .dflt = "stop",
		.doc = "When the group's position is no longer in the topic (retention was faster): the partition stops until somebody has "
		       "looked, or goes on at either end; what is gone is counted."),
	{ .key = "window", .type = SB_T_OBJECT, .sub = window_fields,
		.doc = "How much of a partition may be under way: after a crash at most that much is delivered twice." },
	SB_F(BYTES, struct kafka_source_conf, memory, .min = 1 << 20, .max = INT64_C(64) << 30, .dflt = "64MiB",
		.doc = "What records that are under way take, in all partitions together (some 6 KiB for one of 500 bytes): beyond it none is read on."),
	SB_F(MS, struct kafka_source_conf, drain, .min = 0, .max = 600000, .dflt = "5s",
		.doc = "How long a partition that is taken away waits for what is under way, so that its next owner does not see it again."),
	SB_F_KEY(MAP, struct kafka_source_conf, cluster.properties, "properties",
		.doc = "Properties of librdkafka, such as `security.protocol` or `session.timeout.ms`, by their own names."),
	{ 0 },
};

static const char positions[] = "leave it out: positions are stored when the events are delivered or in the journal";

static const struct kafka_reserved reserved[] = {
	{ "group.id", "write it as `group`" },
	{ "enable.auto.commit", positions },
	{ "enable.auto.offset.store", positions },
	{ "auto.offset.reset", "write it as `from` and `out_of_range`" },
	{ "enable.partition.eof", "leave it out" },
	{ "max.poll.interval.ms", "leave it out: the daemon polls all the time, whatever its targets do" },
	{ NULL, NULL },
};

static int check_topic(struct sb_decode *d, const struct sb_node *n, const char *topic)
{
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	regex_t re;

	if (topic[0] != '^') {
		if (topic[0] && topic[strspn(topic, chars)] == '\0' && strlen(topic) <= 249)
			return 0;
		return kafka_complain(d, n, "a topic has letters, digits, `.`, `_` and `-`; a regular expression begins with `^`",
			"`%s` is not the name of a topic", topic);
	}
	if (regcomp(&re, topic, REG_EXTENDED | REG_NOSUB) != 0)
		return kafka_complain(d, n, "POSIX extended regular expressions are spoken here", "`%s` is not a regular expression", topic);
	regfree(&re);
	return 0;
}

int kafka_source_check(struct sb_decode *d, const struct sb_node *at, void *conf)
{
	struct kafka_source_conf *c = conf;
	const struct sb_node *list = sb_node_get(at, "topics");
	int rc = kafka_cluster_check(d, at, &c->cluster, reserved);
	const char *every;

	for (size_t i = 0; i < c->topics.n; i++)
		if (check_topic(d, list->item[i], c->topics.v[i]) < 0)
			rc = -1;
	every = kafka_property(&c->cluster, "auto.commit.interval.ms");
	c->commit_every_ms = every ? strtoul(every, NULL, 10) : 1000; /* a number: librdkafka has looked at it */
	return rc;
}

static bool fits(const char *pattern, const char *topic)
{
	regex_t re;
	bool yes;

	if (pattern[0] != '^')
		return strcmp(pattern, topic) == 0;
	if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB) != 0)
		return false;
	yes = regexec(&re, topic, 0, NULL, 0) == 0;
	regfree(&re);
	return yes;
}

bool kafka_source_reads(const struct kafka_source_conf *c, const char *topic)
{
	for (size_t i = 0; i < c->topics.n; i++)
		if (fits(c->topics.v[i], topic))
			return true;
	return false;
}

bool kafka_source_adopts(const void *conf, const void *next)
{
	struct kafka_source_conf other = *(const struct kafka_source_conf *)next;

	other.topics = ((const struct kafka_source_conf *)conf)->topics;
	return sb_fields_equal(kafka_source_fields, conf, &other);
}

/*
 * queued.*: what librdkafka reads ahead of us for each partition, beside one answer of at most a megabyte. A record costs some 450 bytes
 * there beyond its own, so that the number of small ones is bounded, and the bytes of large ones. Whoever has read is
 * to be seen soon, or so little would not last: nudge.h.
 */
rd_kafka_conf_t *kafka_source_rdkafka(const struct kafka_source_conf *c, unsigned shard, struct sb_err *err)
{
	const char *protocol = kafka_property(&c->cluster, "group.protocol"), *member = kafka_property(&c->cluster, "group.instance.id");
	bool classic = !protocol || strcmp(protocol, "classic") == 0;
	char name[300];
	const struct kafka_pair defaults[] = {
		{ "client.id", "signalbox" },
		{ "queued.min.messages", "8192" },
		{ "queued.max.messages.kbytes", "4096" },
		{ "fetch.error.backoff.ms", "100" },
		{ "reconnect.backoff.max.ms", "2000" },
		{ "topic.metadata.refresh.interval.ms", "30000" },
		{ "socket.keepalive.enable", "true" },
		{ "socket.nagle.disable", "true" },
		{ classic ? "partition.assignment.strategy" : "client.id", classic ? "cooperative-sticky" : "signalbox" },
		{ kafka_rest_can_be_set() ? "fetch.queue.backoff.ms" : NULL, "10" },
		{ NULL, NULL },
	};
	const struct kafka_pair fixed[] = {
		{ "group.id", c->group },
		{ "enable.auto.commit", "true" }, /* what parts.c has stored, and when it has */
		{ "auto.commit.interval.ms", KAFKA_COMMIT_EVERY_MS },
		{ "enable.auto.offset.store", "false" },
		{ "auto.offset.reset", "error" },
		{ "enable.partition.eof", "false" },
		{ member && shard ? "group.instance.id" : NULL, name },
		{ NULL, NULL },
	};

	snprintf(name, sizeof(name), "%s-%u", member ? member : "", shard);
	return kafka_cluster_conf(&c->cluster, defaults, fixed, err);
}

#define NAME_MOST 65536 /* brokers are 100 at most, each with a host's name */

char *kafka_source_identity(const struct kafka_source_conf *c, unsigned shard)
{
	const char *member = kafka_property(&c->cluster, "group.instance.id");
	struct sb_buf name = SB_BUF(NAME_MOST);

	if (!member)
		return NULL;
	sb_buf_addf(&name, "%s\n%s\n%u\n", c->group, member, shard);
	for (size_t i = 0; i < c->cluster.brokers.n; i++)
		sb_buf_addf(&name, "%s,", c->cluster.brokers.v[i]);
	sb_buf_addc(&name, '\0');
	return name.p;
}

/* ------------------------------------------------------------------------------------------------ where to begin */

int64_t kafka_begin_at(const struct kafka_asked *a, enum kafka_from from, enum kafka_out_of_range policy, uint64_t *ret_lost)
{
	*ret_lost = 0;
	if (a->low < 0)
		return a->committed;
	if (a->committed < 0)
		return from == KAFKA_FROM_EARLIEST ? a->low : a->high;
	if (a->committed >= a->low && a->committed <= a->high)
		return a->committed;
	*ret_lost = a->committed < a->low ? (uint64_t)(a->low - a->committed) : 0;
	switch (policy) {
	case KAFKA_RANGE_STOP: return -1;
	case KAFKA_RANGE_EARLIEST: return a->low;
	case KAFKA_RANGE_LATEST:
		if (a->committed < a->low)
			*ret_lost = (uint64_t)(a->high - a->committed);
		return a->high;
	}
	SB_ASSERT(!"a policy");
}

/*
 * A broker that does not answer now costs one wait. A partition with a position begins there anyway; one without would begin
 * anywhere, and once more elsewhere after a crash, so it is asked again.
 */
static void *ask(void *arg)
{
	struct kafka_question *q = arg;
	bool answers = true;
	ssize_t n;

	q->err = rd_kafka_committed(q->rk, q->list, COMMITTED_MS);
	for (int i = 0; i < q->list->cnt && q->err == RD_KAFKA_RESP_ERR_NO_ERROR && !atomic_load(&q->dropped); i++) {
		const rd_kafka_topic_partition_t *p = &q->list->elems[i];
		struct kafka_asked *at = &q->answer[i];

		*at = (struct kafka_asked){ .committed = p->offset >= 0 ? p->offset : -1, .low = -1, .high = -1 };
		if (p->err)
			q->err = p->err;
		answers = answers && rd_kafka_query_watermark_offsets(q->rk, p->topic, p->partition, &at->low, &at->high, WATERMARK_MS) == 0;
		if (!answers)
			at->low = at->high = -1;
		if (!answers && at->committed < 0 && !q->err)
			q->err = RD_KAFKA_RESP_ERR__TIMED_OUT;
	}
	atomic_store_explicit(&q->done, true, memory_order_release);
	n = write(q->wake_fd, &one, sizeof(one));
	(void)n; /* full: then it is awake */
	return NULL;
}

static void join(struct kafka_question *q)
{
	if (q->has_thread)
		pthread_join(q->thread, NULL);
	q->has_thread = false;
}

static void question_free(struct kafka_question *q)
{
	join(q);
	rd_kafka_topic_partition_list_destroy(q->list);
	free(q->answer);
	free(q);
}

/* Those of the dropped that have ended. */
static void reap(struct kafka_ask *a)
{
	struct kafka_question **at = &a->dropped, *q;

	while ((q = *at)) {
		if (!atomic_load_explicit(&q->done, memory_order_acquire)) {
			at = &q->next;
			continue;
		}
		*at = q->next;
		a->n_dropped--;
		question_free(q);
	}
}

void kafka_ask(struct kafka_ask *a, rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *list, int wake_fd)
{
	struct kafka_question *q = sb_xcalloc(sizeof(*q));

	SB_ASSERT(!a->now);
	reap(a);
	q->rk = rk;
	q->list = rd_kafka_topic_partition_list_copy(list);
	q->wake_fd = wake_fd;
	q->answer = sb_xcalloc(((size_t)list->cnt + 1) * sizeof(*q->answer));
	q->has_thread = a->n_dropped < KAFKA_ASKS_DROPPED && pthread_create(&q->thread, NULL, ask, q) == 0;
	if (!q->has_thread) {
		q->err = RD_KAFKA_RESP_ERR__TIMED_OUT;
		atomic_store(&q->done, true);
	}
	a->now = q;
}

bool kafka_ask_done(struct kafka_ask *a)
{
	struct kafka_question *q = a->now;

	if (!q || !atomic_load_explicit(&q->done, memory_order_acquire))
		return false;
	join(q);
	atomic_store(&q->done, false); /* told */
	return true;
}

void kafka_ask_drop(struct kafka_ask *a)
{
	struct kafka_question *q = a->now;

	reap(a);
	a->now = NULL;
	if (!q)
		return;
	if (!q->has_thread) {
		question_free(q);
		return;
	}
	atomic_store(&q->dropped, true);
	q->next = a->dropped;
	a->dropped = q;
	a->n_dropped++;
}

bool kafka_ask_idle(struct kafka_ask *a)
{
	reap(a);
	return !a->dropped && (!a->now || !a->now->has_thread);
}

void kafka_ask_wait(struct kafka_ask *a)
{
	kafka_ask_drop(a);
	for (struct kafka_question *q = a->dropped, *next; q; q = next) {
		next = q->next;
		question_free(q);
	}
	*a = (struct kafka_ask){ 0 };
}

/* ------------------------------------------------------------------------------------------------ who we are */

static pthread_mutex_t claims_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kafka_claim *claims;

bool kafka_claim(struct kafka_claim *c)
{
	struct kafka_claim *other;

	if (!c->name || c->held)
		return true;
	pthread_mutex_lock(&claims_lock);
	for (other = claims; other && strcmp(other->name, c->name) != 0; other = other->next)
		;
	c->held = !other;
	if (c->held) {
		c->next = claims;
		claims = c;
	}
	pthread_mutex_unlock(&claims_lock);
	return c->held;
}

void kafka_unclaim(struct kafka_claim *c)
{
	struct kafka_claim **at = &claims;

	pthread_mutex_lock(&claims_lock);
	while (c->held && *at != c)
		at = &(*at)->next;
	if (c->held)
		*at = c->next;
	pthread_mutex_unlock(&claims_lock);
	free(c->name);
	*c = (struct kafka_claim){ 0 };
}

/* ------------------------------------------------------------------------------------------------ the end */

static void *end(void *arg)
{
	struct kafka_ender *e = arg;
	ssize_t n;

	kafka_nudge_join(e->nudge);
	rd_kafka_destroy_flags(e->rk, e->hard ? RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE : 0);
	atomic_store_explicit(&e->done, true, memory_order_release);
	n = write(e->wake_fd, &one, sizeof(one));
	(void)n;
	return NULL;
}

void kafka_end(struct kafka_ender *e, rd_kafka_t *rk, struct kafka_nudge *nudge, bool hard, int wake_fd)
{
	int rc;

	*e = (struct kafka_ender){ .rk = rk, .nudge = nudge, .hard = hard, .wake_fd = wake_fd, .out = true };
	rc = pthread_create(&e->thread, NULL, end, e);
	SB_ASSERT(rc == 0);
}

bool kafka_ended(struct kafka_ender *e)
{
	if (!e->out || !atomic_load_explicit(&e->done, memory_order_acquire))
		return false;
	kafka_end_wait(e);
	return true;
}

void kafka_end_wait(struct kafka_ender *e)
{
	if (e->out)
		pthread_join(e->thread, NULL);
	e->out = false;
}
