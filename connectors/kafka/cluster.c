/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster.h"

#include <stdio.h>

#define PROPERTIES_MAX 200

static void place(const struct sb_node *at, struct sb_err *err)
{
	sb_node_path(at, err->path, sizeof(err->path));
}

int kafka_complain(struct sb_decode *d, const struct sb_node *at, const char *hint, const char *fmt, ...)
{
	struct sb_err err;
	char what[sizeof(err.msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	sb_fail_at(&err, SB_E_INVALID, &at->at, "%s", what);
	sb_hint(&err, "%s", hint);
	place(at, &err);
	sb_diag_error(d->diags, &err);
	return -1;
}

/* ------------------------------------------------------------------------------------------------ brokers */

/* host, host:port, [::1]:port; a scheme or a comma is a frequent mistake. */
static bool is_broker(const char *s)
{
	static const char not_in[] = " \t,/";
	size_t n = strcspn(s, not_in);

	return n > 0 && s[n] == '\0';
}

static int check_brokers(struct sb_decode *d, const struct sb_node *at, const struct kafka_cluster *c)
{
	const struct sb_node *list = sb_node_get(at, "brokers");
	int rc = 0;

	for (size_t i = 0; i < c->brokers.n; i++)
		if (!is_broker(c->brokers.v[i]))
			rc = kafka_complain(d, list->item[i], "write host:port, one list entry each", "`%s` is not the address of a broker",
				c->brokers.v[i]);
	return rc;
}

/* ------------------------------------------------------------------------------------------------ properties */

static const struct kafka_reserved always_reserved[] = {
	{ "bootstrap.servers", "write it as `brokers`" },
	{ "metadata.broker.list", "write it as `brokers`" },
	{ "plugin.library.paths", "libraries are not loaded from configuration" },
	{ "log.queue", "leave it out: what librdkafka has to say stands in `status`" },
	{ NULL, NULL },
};

static const char *reserved_for(const struct kafka_reserved *r, const char *name)
{
	for (; r->name; r++)
		if (strcmp(r->name, name) == 0)
			return r->say;
	return NULL;
}

/* `linger.ms: 5` is as good as `"5"`. */
static int value_of(struct sb_decode *d, const struct sb_node *n, const char **ret)
{
	if (n->kind == SB_NODE_NUMBER || n->kind == SB_NODE_BOOL) {
		*ret = n->text.p;
		return 0;
	}
	return sb_node_string(d, n, ret);
}

/* Before 2.12 librdkafka has no such property, or a preview of what it stands for. */
static bool wants_kip848(const struct kafka_pair *p)
{
	return strcmp(p->name, "group.protocol") == 0 && strcmp(p->value, "consumer") == 0;
}

static int refuse_kip848(struct sb_decode *d, const struct sb_node *at)
{
	return kafka_complain(d, at, "leave `group.protocol` out: the classic protocol is spoken by every broker; or run on librdkafka 2.12 or later",
		"librdkafka %s does not speak the group protocol `consumer` (KIP-848)", rd_kafka_version_str());
}

static int check_property(struct sb_decode *d, const struct sb_node *n, const struct kafka_pair *p, rd_kafka_conf_t *scratch)
{
	char why[512];

	if (d->no_env && strstr(p->value, "${"))
		return 0; /* the look-up was skipped: nothing is known about the value */
	if (wants_kip848(p) && rd_kafka_version() < KAFKA_KIP848_DONE)
		return refuse_kip848(d, n);
	switch (rd_kafka_conf_set(scratch, p->name, p->value, why, sizeof(why))) {
	case RD_KAFKA_CONF_UNKNOWN:
		return kafka_complain(d, n->key, "the names are those of librdkafka's CONFIGURATION.md",
			"librdkafka %s has no property `%s`", rd_kafka_version_str(), p->name);
	case RD_KAFKA_CONF_INVALID: return kafka_complain(d, n, "see librdkafka's CONFIGURATION.md", "%s", why);
	case RD_KAFKA_CONF_OK: return 0;
	}
	SB_ASSERT(!"an answer of rd_kafka_conf_set");
}

static int take_property(struct sb_decode *d, const struct sb_node *n, struct kafka_cluster *c, const struct kafka_reserved *reserved,
	rd_kafka_conf_t *scratch)
{
	struct kafka_pair *p = &c->pair[c->n_pairs];
	const char *say;

	p->name = n->key->text.p;
	say = reserved_for(always_reserved, p->name);
	if (!say)
		say = reserved_for(reserved, p->name);
	if (say)
		return kafka_complain(d, n->key, say, "`%s` is not for you to set", p->name);
	if (value_of(d, n, &p->value) < 0 || check_property(d, n, p, scratch) < 0)
		return -1;
	c->n_pairs++;
	return 0;
}

const char *kafka_property(const struct kafka_cluster *c, const char *name)
{
	for (size_t i = c->n_pairs; i-- > 0;)
		if (strcmp(c->pair[i].name, name) == 0)
			return c->pair[i].value;
	return NULL;
}

const char kafka_scram_hint[] = "use PLAIN over TLS or mTLS, or librdkafka 2.6.1 or later; brokers before 4.0 are not concerned";

static const char *const mechanisms[] = { "sasl.mechanism", "sasl.mechanisms" };

/* The name that asks for SCRAM, of those two; NULL: neither does, or this library can. */
static const char *broken_scram(const struct kafka_cluster *c)
{
	for (size_t i = 0; i < SB_LEN(mechanisms) && rd_kafka_version() < KAFKA_SCRAM_MENDED; i++) {
		const char *value = kafka_property(c, mechanisms[i]);

		if (value && strncmp(value, "SCRAM", 5) == 0)
			return mechanisms[i];
	}
	return NULL;
}

bool kafka_scram_is_broken(const struct kafka_cluster *c)
{
	return broken_scram(c) != NULL;
}

static void warn_of_scram(struct sb_decode *d, const struct sb_node *map, const struct kafka_cluster *c)
{
	const char *name = broken_scram(c);
	const struct sb_node *at = name ? sb_node_get(map, name) : NULL;
	struct sb_err err;

	if (!at)
		return;
	sb_fail_at(&err, SB_E_INVALID, &at->at, "librdkafka %s cannot log in to Kafka 4 with %s", rd_kafka_version_str(), kafka_property(c, name));
	sb_hint(&err, "%s", kafka_scram_hint);
	place(at, &err);
	sb_diag_warning(d->diags, &err);
}

static int check_properties(struct sb_decode *d, struct kafka_cluster *c, const struct kafka_reserved *reserved)
{
	const struct sb_node *map = c->properties.node;
	rd_kafka_conf_t *scratch;
	int rc = 0;

	if (!map)
		return 0;
	if (map->n > PROPERTIES_MAX)
		return kafka_complain(d, map, "remove some", "more than %d properties", PROPERTIES_MAX);
	scratch = rd_kafka_conf_new();
	c->pair = sb_arena_alloc(d->arena, map->n * sizeof(*c->pair));
	for (size_t i = 0; i < map->n; i++)
		if (take_property(d, map->item[i], c, reserved, scratch) < 0)
			rc = -1;
	rd_kafka_conf_destroy(scratch);
	warn_of_scram(d, map, c);
	return rc;
}

int kafka_cluster_check(struct sb_decode *d, const struct sb_node *at, struct kafka_cluster *c, const struct kafka_reserved *reserved)
{
	int brokers = check_brokers(d, at, c), properties = check_properties(d, c, reserved);

	return brokers < 0 || properties < 0 ? -1 : 0;
}

/* ------------------------------------------------------------------------------------------------ for librdkafka */

static int set(rd_kafka_conf_t *conf, const char *name, const char *text, struct sb_err *err)
{
	char why[512];

	if (rd_kafka_conf_set(conf, name, text, why, sizeof(why)) != RD_KAFKA_CONF_OK)
		return sb_fail(err, SB_E_INVALID, "kafka: %s", why);
	return 0;
}

static int set_all(rd_kafka_conf_t *conf, const struct kafka_pair *p, struct sb_err *err)
{
	int rc = 0;

	for (; p && p->name && rc == 0; p++)
		rc = set(conf, p->name, p->value, err);
	return rc;
}

static int set_brokers(rd_kafka_conf_t *conf, const struct kafka_cluster *c, struct sb_err *err)
{
	struct sb_buf list = SB_BUF(65536);
	int rc = 0;

	for (size_t i = 0; i < c->brokers.n; i++)
		rc |= sb_buf_addf(&list, "%s%s", i ? "," : "", c->brokers.v[i]);
	if (rc < 0 || !sb_buf_cstr(&list))
		rc = sb_fail(err, SB_E_LIMIT, "kafka: the list of brokers is too long");
	else
		rc = set(conf, "bootstrap.servers", list.p, err);
	sb_buf_done(&list);
	return rc;
}

static int set_pairs(rd_kafka_conf_t *conf, const struct kafka_cluster *c, struct sb_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < c->n_pairs && rc == 0; i++)
		rc = set(conf, c->pair[i].name, c->pair[i].value, err);
	return rc;
}

/* Library code never logs: what matters comes as events. */
static void no_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	(void)rk;
	(void)level;
	(void)facility;
	(void)text;
}

rd_kafka_conf_t *kafka_cluster_conf(const struct kafka_cluster *c, const struct kafka_pair *defaults, const struct kafka_pair *fixed,
	struct sb_err *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	rd_kafka_conf_set_log_cb(conf, no_log);
	if (set_all(conf, defaults, err) == 0 && set_brokers(conf, c, err) == 0 && set_pairs(conf, c, err) == 0 &&
		set_all(conf, fixed, err) == 0)
		return conf;
	rd_kafka_conf_destroy(conf);
	return NULL;
}
