/* SPDX-License-Identifier: Apache-2.0 */
#include "probe.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "conf.h"
#include "consumer.h"

/*
 * The handle is a consumer also for a target: a consumer's questions never make a topic, whatever the cluster does for producers.
 * It is in no group, and has not even the name of one: whoever has looks for its coordinator, and a broker may make its topic of
 * positions for that. So the group is looked for on every broker instead.
 *
 *   connect (metadata of all brokers; errors of connections are collected meanwhile) ──> each topic ──> the group
 */
#define SLICE_MS 200

struct question {
	const struct kafka_cluster *cluster;
	const char *const *topics;
	size_t n_topics;
	const char *group; /* NULL: a target */
};

struct asking {
	struct sb_probe *probe;
	const struct question *q;
	rd_kafka_t *rk;
	bool all_down;            /* no address answers */
	struct sb_err connection; /* the last error of one; msg "": none */
};

/* "host/1: Connection refused (after 3ms in state CONNECT, 1 identical error(s) suppressed)": what is in brackets helps nobody here. */
static int without_timing(const char *text)
{
	const char *end = strstr(text, " (after ");

	return (int)(end ? (size_t)(end - text) : strlen(text));
}

static void on_error(rd_kafka_t *rk, int code, const char *text, void *opaque)
{
	struct asking *a = opaque;

	(void)rk;
	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		a->all_down = true;
	else
		sb_fail(&a->connection, SB_E_UNREACHABLE, "%.*s", without_timing(text), text);
}

/* ------------------------------------------------------------------------------------------------ the connection */

static const char *what_would_help(const struct asking *a)
{
	if (kafka_scram_is_broken(a->q->cluster))
		return kafka_scram_hint;
	return "do `brokers`, `security.protocol` and the log-in fit the cluster's listener?";
}

static void no_connection(struct asking *a, rd_kafka_resp_err_t rc)
{
	struct sb_err err = a->connection;

	if (!*err.msg)
		sb_fail(&err, SB_E_UNREACHABLE, "no broker has answered: %s", rd_kafka_err2str(rc));
	sb_hint(&err, "%s", what_would_help(a));
	sb_probe_wrong(a->probe, "brokers", &err);
}

/* In slices, so that the time is not waited out when no address answers. */
static bool connect_to(struct asking *a, const struct rd_kafka_metadata **ret)
{
	rd_kafka_resp_err_t rc;
	unsigned left;

	do {
		left = sb_probe_left_ms(a->probe);
		rc = rd_kafka_metadata(a->rk, 0, NULL, ret, (int)SB_MIN(left, SLICE_MS));
		while (rd_kafka_poll(a->rk, 0) > 0)
			;
	} while (rc && left && !a->all_down);
	if (rc)
		no_connection(a, rc);
	return rc == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void tell_cluster(struct asking *a, const struct rd_kafka_metadata *md)
{
	sb_probe_good(a->probe, "cluster with %d broker%s, answered by %s", md->broker_cnt, md->broker_cnt == 1 ? "" : "s",
		md->orig_broker_name);
	if (rd_kafka_version() < KAFKA_SCRAM_MENDED)
		sb_probe_good(a->probe, "librdkafka %s; lacks log-in by SCRAM to Kafka 4 (from 2.6.1 on) and `group.protocol: consumer` (from 2.12)",
			rd_kafka_version_str());
	else if (rd_kafka_version() < KAFKA_KIP848_DONE)
		sb_probe_good(a->probe, "librdkafka %s; lacks `group.protocol: consumer` (from 2.12 on)", rd_kafka_version_str());
	else
		sb_probe_good(a->probe, "librdkafka %s", rd_kafka_version_str());
}

/* ------------------------------------------------------------------------------------------------ topics */

static int leaderless(const struct rd_kafka_metadata_topic *t)
{
	int n = 0;

	for (int i = 0; i < t->partition_cnt; i++)
		n += t->partitions[i].leader < 0;
	return n;
}

static void tell_topic(struct asking *a, const char *key, const struct rd_kafka_metadata_topic *t)
{
	int headless = leaderless(t);
	struct sb_err err;

	if (t->err) {
		sb_fail(&err, t->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ? SB_E_REFUSED : SB_E_UNRESOLVED, "topic `%s`: %s",
			t->topic, rd_kafka_err2str(t->err));
		if (t->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
			sb_hint(&err, "make it, or correct the name; the cluster may also hide what this user may not see");
		sb_probe_wrong(a->probe, key, &err);
	} else if (headless) {
		sb_fail(&err, SB_E_UNREACHABLE, "topic `%s`: %d of %d partitions have no leader", t->topic, headless, t->partition_cnt);
		sb_probe_doubt(a->probe, key, &err);
	} else {
		sb_probe_good(a->probe, "topic `%s`: %d partition%s", t->topic, t->partition_cnt, t->partition_cnt == 1 ? "" : "s");
	}
}

static void ask_topic(struct asking *a, const char *key, const char *name)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(a->rk, name, NULL);
	const struct rd_kafka_metadata *md = NULL;
	rd_kafka_resp_err_t rc;
	struct sb_err err;

	rc = topic ? rd_kafka_metadata(a->rk, 0, topic, &md, (int)sb_probe_left_ms(a->probe)) : rd_kafka_last_error();
	if (md && md->topic_cnt == 1) {
		tell_topic(a, key, &md->topics[0]);
	} else {
		sb_fail(&err, SB_E_UNREACHABLE, "topic `%s`: %s", name, rc ? rd_kafka_err2str(rc) : "the answer does not speak of it");
		sb_probe_wrong(a->probe, key, &err);
	}
	if (md)
		rd_kafka_metadata_destroy(md);
	if (topic)
		rd_kafka_topic_destroy(topic);
}

static int count_matches(const struct rd_kafka_metadata *md, const char *pattern)
{
	regex_t re;
	int n = 0;

	if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB) != 0)
		return 0; /* check has told */
	for (int i = 0; i < md->topic_cnt; i++)
		n += regexec(&re, md->topics[i].topic, 0, NULL, 0) == 0;
	regfree(&re);
	return n;
}

static void ask_pattern(struct asking *a, const char *key, const char *pattern)
{
	const struct rd_kafka_metadata *md;
	rd_kafka_resp_err_t rc = rd_kafka_metadata(a->rk, 1, NULL, &md, (int)sb_probe_left_ms(a->probe));
	struct sb_err err;
	int n;

	if (rc) {
		sb_fail(&err, SB_E_UNREACHABLE, "topics `%s`: %s", pattern, rd_kafka_err2str(rc));
		sb_probe_wrong(a->probe, key, &err);
		return;
	}
	n = count_matches(md, pattern);
	rd_kafka_metadata_destroy(md);
	if (n) {
		sb_probe_good(a->probe, "topics `%s`: %d of them now", pattern, n);
		return;
	}
	sb_fail(&err, SB_E_UNRESOLVED, "no topic fits `%s` now", pattern);
	sb_hint(&err, "one that is made later is picked up");
	sb_probe_doubt(a->probe, key, &err);
}

static void ask_topics(struct asking *a)
{
	char key[32];

	for (size_t i = 0; i < a->q->n_topics; i++) {
		snprintf(key, sizeof(key), a->q->group ? "topics[%zu]" : "topic", i);
		if (a->q->topics[i][0] == '^')
			ask_pattern(a, key, a->q->topics[i]);
		else
			ask_topic(a, key, a->q->topics[i]);
	}
}

/* ------------------------------------------------------------------------------------------------ the group */

/* Members that agree on no assignment are refused by the group. */
static void tell_group(struct asking *a, const struct rd_kafka_group_info *g)
{
	const char *ours = kafka_property(a->q->cluster, "partition.assignment.strategy");
	struct sb_err err;

	if (!ours)
		ours = "cooperative-sticky";
	if (g->err) {
		sb_fail(&err, SB_E_REFUSED, "group `%s`: %s", a->q->group, rd_kafka_err2str(g->err));
		sb_probe_wrong(a->probe, "group", &err);
	} else if (g->member_cnt == 0) {
		sb_probe_good(a->probe, "group `%s`: no member of the classic protocol is in it now", a->q->group);
	} else if (*g->protocol && !strstr(ours, g->protocol)) {
		sb_fail(&err, SB_E_REFUSED, "group `%s`: its members share partitions by `%s`, we by `%s`", a->q->group, g->protocol, ours);
		sb_hint(&err, "set `partition.assignment.strategy` to the same, or choose another group");
		sb_probe_wrong(a->probe, "group", &err);
	} else {
		sb_probe_good(a->probe, "group `%s`: %s, %d member%s", a->q->group, g->state, g->member_cnt, g->member_cnt == 1 ? "" : "s");
	}
}

static void ask_group(struct asking *a)
{
	const struct rd_kafka_group_list *list = NULL;
	const char *protocol = kafka_property(a->q->cluster, "group.protocol");
	rd_kafka_resp_err_t rc;
	struct sb_err err;

	if (!a->q->group || (protocol && strcmp(protocol, "consumer") == 0)) /* whose members these questions do not see */
		return;
	rc = rd_kafka_list_groups(a->rk, a->q->group, &list, (int)sb_probe_left_ms(a->probe));
	if (rc == RD_KAFKA_RESP_ERR_NO_ERROR && list->group_cnt == 1) {
		tell_group(a, &list->groups[0]);
	} else if (rc == RD_KAFKA_RESP_ERR_NO_ERROR) {
		sb_probe_good(a->probe, "group `%s`: no member of the classic protocol is in it now", a->q->group);
	} else {
		sb_fail(&err, SB_E_UNREACHABLE, "group `%s`: %s", a->q->group, rd_kafka_err2str(rc));
		sb_probe_doubt(a->probe, "group", &err);
	}
	if (list)
		rd_kafka_group_list_destroy(list);
}

/* ------------------------------------------------------------------------------------------------ all of it */

/* `conf` moves in; NULL: err says why. */
static void ask_cluster(struct sb_probe *p, const struct question *q, rd_kafka_conf_t *conf, struct sb_err *err)
{
	struct asking a = { .probe = p, .q = q };
	const struct rd_kafka_metadata *md;
	char why[512];

	if (!conf) {
		sb_probe_wrong(p, "properties", err);
		return;
	}
	rd_kafka_conf_set(conf, "group.id", NULL, why, sizeof(why));
	rd_kafka_conf_set_opaque(conf, &a);
	rd_kafka_conf_set_error_cb(conf, on_error);
	a.rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
	if (!a.rk) {
		rd_kafka_conf_destroy(conf);
		sb_fail(err, SB_E_INVALID, "librdkafka: %s", why);
		sb_probe_wrong(p, "properties", err);
		return;
	}
	if (connect_to(&a, &md)) {
		tell_cluster(&a, md);
		rd_kafka_metadata_destroy(md);
		ask_topics(&a);
		ask_group(&a);
	}
	rd_kafka_destroy(a.rk);
}

void kafka_source_probe(const void *conf, struct sb_probe *p)
{
	const struct kafka_source_conf *c = conf;
	const struct question q = { .cluster = &c->cluster, .topics = c->topics.v, .n_topics = c->topics.n, .group = c->group };
	struct sb_err err;

	ask_cluster(p, &q, kafka_source_rdkafka(c, 0, &err), &err);
}

void kafka_target_probe(const void *conf, struct sb_probe *p)
{
	const struct kafka_target_conf *c = conf;
	const struct question q = { .cluster = &c->cluster, .topics = (const char *const *)&c->topic, .n_topics = 1 };
	struct sb_err err;

	ask_cluster(p, &q, kafka_target_rdkafka(c, 30000, false, &err), &err);
}
