/* SPDX-License-Identifier: Apache-2.0 */
#include "conf.h"

#include <inttypes.h>
#include <stdio.h>

#define HEADERS_MAX 64
#define OUR_HEADERS "signalbox-"

static const char *const envelopes[] = { "input", "raw", "cloudevents-binary", "cloudevents-structured", NULL };

const struct sb_field kafka_target_fields[] = {
	SB_F_KEY(STRS, struct kafka_target_conf, cluster.brokers, "brokers", .required = true, .min = 1, .max = 100,
		.doc = "Where to begin, as `host:port`; the rest of the cluster is found from there."),
	SB_F(STR, struct kafka_target_conf, topic, .required = true, .min = 1, .max = 249,
		.doc = "The topic that gets the records; it must exist, unless the cluster makes topics by itself."),
	SB_F(TEMPLATE, struct kafka_target_conf, key,
		.doc = "Key of the record, text with `<$.path>` of the event in it; records of one key keep to one partition. Absent, or when "
		       "a value is missing: no key."),
	SB_F(MAP, struct kafka_target_conf, headers,
		.doc = "Headers beside those named `signalbox-…`: name to text with `<$.path>` or `<meta.path>`; one whose value is missing "
		       "is left out."),
	SB_F(ENUM, struct kafka_target_conf, envelope, .names = envelopes, .dflt = "input",
		.doc = "What the value is: the rule's input, the event's detail alone, or a CloudEvent."),
	SB_F_KEY(MAP, struct kafka_target_conf, cluster.properties, "properties",
		.doc = "Properties of librdkafka, such as `security.protocol` or `compression.type`, by their own names."),
	{ 0 },
};

static const char always[] = "leave it out: a delivery counts when every in-sync replica has it, once";

static const struct kafka_reserved reserved[] = {
	{ "acks", always },
	{ "request.required.acks", always },
	{ "enable.idempotence", always },
	{ "enable.gapless.guarantee", always },
	{ "delivery.report.only.error", always },
	{ "transactional.id", "leave it out: deliveries are no transactions" },
	{ "message.timeout.ms", "write it as `timeout` of the target" },
	{ "delivery.timeout.ms", "write it as `timeout` of the target" },
	{ NULL, NULL },
};

/* ------------------------------------------------------------------------------------------------ check */

bool kafka_is_topic(const char *s)
{
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	return s[strspn(s, chars)] == '\0' && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static int take_header(struct sb_decode *d, const struct sb_node *n, struct kafka_target_conf *c)
{
	struct kafka_header_conf *h = &c->header[c->n_headers];
	struct sb_err err;
	const char *text;

	h->name = n->key->text.p;
	if (strncmp(h->name, OUR_HEADERS, sizeof(OUR_HEADERS) - 1) == 0)
		return kafka_complain(d, n->key, "choose another name", "headers that begin with " OUR_HEADERS " are ours");
	if (n->key->text.n == 0 || n->key->text.n > 249)
		return kafka_complain(d, n->key, "choose another name", "the name of a header has 1 to 249 bytes");
	if (sb_node_string(d, n, &text) < 0)
		return -1;
	if (sb_template_compile(d->arena, sb_slice_str(text), NULL, NULL, &h->value, &err) < 0)
		return kafka_complain(d, n, err.hint, "%s", err.msg);
	c->n_headers++;
	return 0;
}

static int check_headers(struct sb_decode *d, struct kafka_target_conf *c)
{
	const struct sb_node *map = c->headers.node;
	int rc = 0;

	if (!map)
		return 0;
	if (map->n > HEADERS_MAX)
		return kafka_complain(d, map, "remove some", "more than %d headers", HEADERS_MAX);
	c->header = sb_arena_alloc(d->arena, map->n * sizeof(*c->header));
	for (size_t i = 0; i < map->n; i++)
		if (take_header(d, map->item[i], c) < 0)
			rc = -1;
	return rc;
}

int kafka_target_check(struct sb_decode *d, const struct sb_node *at, void *conf)
{
	struct kafka_target_conf *c = conf;
	int rc = kafka_cluster_check(d, at, &c->cluster, reserved);

	if (c->topic && !kafka_is_topic(c->topic))
		rc = kafka_complain(d, sb_node_get(at, "topic"), "a topic has letters, digits, `.`, `_` and `-`", "not the name of a topic");
	if (check_headers(d, c) < 0)
		rc = -1;
	return rc;
}

/* ------------------------------------------------------------------------------------------------ for librdkafka */

/*
 * message.max.bytes is above any event that the daemon takes: the broker's limit counts. batch.size stays at librdkafka's
 * 1 MB, below what brokers take unless told otherwise. A topic that is not there is told within 5 s, one that was made
 * since, or has got more partitions, is seen after 10 s.
 */
const struct kafka_pair kafka_producer_defaults[] = {
	{ "client.id", "signalbox" },
	{ "linger.ms", "1" },
	{ "partitioner", "murmur2_random" }, /* as the Java clients do */
	{ "message.max.bytes", "33554432" },
	{ "queue.buffering.max.kbytes", "32768" },
	{ "topic.metadata.propagation.max.ms", "5000" },
	{ "topic.metadata.refresh.interval.ms", "10000" },
	{ "reconnect.backoff.max.ms", "2000" },
	{ "socket.keepalive.enable", "true" },
	{ "socket.nagle.disable", "true" },
	{ "statistics.interval.ms", "3000" }, /* tells when a cluster is there again */
	{ NULL, NULL },
};

rd_kafka_conf_t *kafka_target_rdkafka(const struct kafka_target_conf *c, uint64_t timeout_ms, bool alone, struct sb_err *err)
{
	char timeout[24];
	const struct kafka_pair fixed[] = {
		{ "acks", "all" },
		{ "enable.idempotence", "true" },
		{ "message.timeout.ms", timeout },
		{ alone ? "batch.num.messages" : NULL, "1" },
		{ NULL, NULL },
	};

	snprintf(timeout, sizeof(timeout), "%" PRIu64, timeout_ms);
	return kafka_cluster_conf(&c->cluster, kafka_producer_defaults, fixed, err);
}
