/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/status_redis.h"

#include <event2/event.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/map.h"
#include "broker/cli/control.h"
#include "broker/cli/output.h"
#include "broker/metrics_pack.h"
#include "connectors/redis/command.h"
#include "connectors/redis/conn.h"

/*
 * Two rounds of questions: who is there, then what each has told. An instance whose hash has expired is gone, whatever the list of
 * instances still says. Only commands that the read-only user of docs/redis-metrics.md may send.
 */
#define PATIENCE_S 10
#define INSTANCES_MAX 256

struct look;
/* A question, and who takes the answer. */
struct question {
	struct look *look;
	void (*fn)(struct question *q, const redisReply *r);
	char *instance;
	enum sb_part part;
};

struct entity {
	struct sb_packed sum;
	char *name, *word[SB_PACKED_WORDS];
};

struct look {
	struct sb_cli *cli;
	struct event_base *base;
	struct rds_conn *conn;
	const char *cluster;
	char *instance[INSTANCES_MAX];
	size_t n_instances;
	struct sb_map part[SB_PARTS];  /* name -> struct entity * */
	json_t *meta, *totals, *instances;
	size_t left;
	void (*next)(struct look *l);
	bool done, failed;
	struct sb_err err;
};

static void give_up(struct look *l, const char *why)
{
	if (!l->failed)
		sb_fail(&l->err, SB_E_UNREACHABLE, "%s", why);
	l->failed = true;
	event_base_loopbreak(l->base);
}

/* ------------------------------------------------------------------------------------------------ asking */

static void on_reply(redisAsyncContext *ac, void *reply, void *arg)
{
	struct question *q = arg;
	struct look *l = q->look;
	const redisReply *r = reply;

	(void)ac;
	if (r && rds_is_error(r))
		give_up(l, r->str);
	else if (r)
		q->fn(q, r);
	else
		l->failed = true;
	free(q);
	if (--l->left == 0 && !l->failed)
		l->next(l);
}

static void ask(struct look *l, const char *verb, const char *key, const struct question *question)
{
	struct question *q = sb_xcalloc(sizeof(*q));
	bool range = strcmp(verb, "ZRANGE") == 0;
	struct sb_buf text = SB_BUF(4096);
	struct rds_command cmd;
	char whole[512];

	*q = *question;
	q->look = l;
	snprintf(whole, sizeof(whole), "signalbox:{%s}:%s", l->cluster, key);
	rds_begin(&cmd, &text, range ? 4 : 2, verb);
	rds_word(&cmd, whole);
	if (range) {
		rds_word(&cmd, "-256");
		rds_word(&cmd, "-1");
	}
	l->left++;
	if (rds_end(&cmd) < 0 || rds_conn_send(l->conn, sb_buf_slice(&text), on_reply, q) < 0) {
		l->left--;
		free(q);
		give_up(l, "the connection was lost");
	}
	sb_buf_done(&text);
}

/* ------------------------------------------------------------------------------------------------ taking */

/* Numbers as numbers; what begins with `_` is the leader's own. */
static json_t *object_of(const redisReply *r)
{
	json_t *o = json_object();

	for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i + 1 < r->elements; i += 2) {
		struct sb_slice value = rds_text(r->element[i + 1]);
		const char *key = r->element[i]->str;
		uint64_t n;

		if (!key || *key == '_')
			continue;
		if (sb_number_of(value, &n) == 0)
			json_object_set_new(o, key, json_integer((json_int_t)n));
		else
			json_object_set_new(o, key, json_stringn(value.p, value.n));
	}
	return o;
}

static void on_meta(struct question *q, const redisReply *r)
{
	q->look->meta = object_of(r);
}

static void on_totals(struct question *q, const redisReply *r)
{
	q->look->totals = object_of(r);
}

static void on_instances(struct question *q, const redisReply *r)
{
	struct look *l = q->look;

	for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i < r->elements && l->n_instances < INSTANCES_MAX; i++)
		l->instance[l->n_instances++] = sb_xstrndup(r->element[i]->str, r->element[i]->len);
}

static void on_instance(struct question *q, const redisReply *r)
{
	json_t *o;

	if (r->type != REDIS_REPLY_ARRAY || r->elements == 0)
		return;
	o = object_of(r);
	json_object_del(o, "durations");
	json_object_set_new(o, "name", json_string(q->instance));
	json_array_append_new(q->look->instances, o);
}

static bool is_there(const struct look *l, const char *instance)
{
	const json_t *o;
	size_t i;

	json_array_foreach(l->instances, i, o)
		if (strcmp(sb_json_text_of(o, "name"), instance) == 0)
			return true;
	return false;
}

static void take_entity(struct look *l, enum sb_part part, struct sb_slice name, struct sb_slice value)
{
	struct sb_packed p;
	struct entity *e = sb_map_get(&l->part[part], name);

	if (sb_unpack(part, value, &p) < 0)
		return;
	if (!e) {
		e = sb_xcalloc(sizeof(*e));
		e->name = sb_xstrndup(name.p, name.n);
		sb_map_put(&l->part[part], sb_slice_str(e->name), e);
	}
	sb_packed_merge(part, &e->sum, &p);
	for (unsigned i = 0; i < sb_part_shapes[part].words; i++) {
		free(e->word[i]);
		e->word[i] = sb_xstrndup(p.text[i].p, p.text[i].n);
	}
}

static void on_part(struct question *q, const redisReply *r)
{
	if (!is_there(q->look, q->instance))
		return;
	for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i + 1 < r->elements; i += 2)
		take_entity(q->look, q->part, rds_text(r->element[i]), rds_text(r->element[i + 1]));
}

/* ------------------------------------------------------------------------------------------------ the two rounds */

static void have_all(struct look *l)
{
	l->done = true;
	event_base_loopbreak(l->base);
}

static void have_names(struct look *l)
{
	char key[256];

	if (l->n_instances == 0) {
		have_all(l);
		return;
	}
	l->next = have_all;
	l->left++; /* nothing is over before all is asked */
	for (size_t i = 0; i < l->n_instances; i++) {
		snprintf(key, sizeof(key), "i:%s", l->instance[i]);
		ask(l, "HGETALL", key, &(struct question){ .fn = on_instance, .instance = l->instance[i] });
		for (unsigned p = 0; p < SB_PARTS && !l->failed; p++) {
			snprintf(key, sizeof(key), "i:%s:%s", l->instance[i], sb_part_shapes[p].key);
			ask(l, "HGETALL", key, &(struct question){ .fn = on_part, .instance = l->instance[i], .part = (enum sb_part)p });
		}
	}
	l->left--;
}

static void came_up(void *arg)
{
	struct look *l = arg;

	l->next = have_names;
	ask(l, "HGETALL", "meta", &(struct question){ .fn = on_meta });
	ask(l, "HGETALL", "tot", &(struct question){ .fn = on_totals });
	ask(l, "ZRANGE", "inst", &(struct question){ .fn = on_instances });
}

static void went_down(void *arg, const char *why)
{
	give_up(arg, why);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	give_up(arg, "no answer in time");
}

/* ------------------------------------------------------------------------------------------------ showing */

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct entity *const *)a)->name, (*(struct entity *const *)b)->name);
}

static json_t *entity_json(enum sb_part part, const struct entity *e)
{
	const struct sb_part_shape *s = &sb_part_shapes[part];
	json_t *o = json_object();

	json_object_set_new(o, "name", json_string(e->name));
	for (unsigned i = 0; i < s->numbers; i++)
		json_object_set_new(o, s->names[i], json_integer((json_int_t)e->sum.n[i]));
	for (unsigned i = 0; i < s->words; i++)
		json_object_set_new(o, s->names[s->numbers + i], json_string(e->word[i]));
	if (s->durations) {
		json_object_set_new(o, "p50_ms", json_real(sb_duration_quantile(e->sum.duration, 500)));
		json_object_set_new(o, "p99_ms", json_real(sb_duration_quantile(e->sum.duration, 990)));
	}
	return o;
}

static json_t *part_json(const struct look *l, enum sb_part part)
{
	struct entity **list = sb_xcalloc((l->part[part].n + 1) * sizeof(struct entity *));
	json_t *array = json_array();
	size_t n = 0;

	sb_map_each (&l->part[part], it)
		list[n++] = it->value;
	qsort(list, n, sizeof(struct entity *), by_name);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(array, entity_json(part, list[i]));
	free(list);
	return array;
}

static void print_list(struct sb_cli *cli, const json_t *list, const struct sb_column *columns, const char *const *keys)
{
	struct sb_table t;
	const json_t *o, *v;
	size_t i;

	sb_table_init(&t, columns);
	json_array_foreach(list, i, o)
		for (size_t k = 0; keys[k]; k++) {
			v = json_object_get(o, keys[k]);
			if (json_is_integer(v))
				sb_table_number(&t, (uint64_t)json_integer_value(v));
			else
				sb_table_text(&t, json_string_value(v));
		}
	sb_table_print(&t, sb_terminal_width(cli->out), cli->out);
	sb_table_done(&t);
	fputc('\n', cli->out);
}

static void print_all(struct sb_cli *cli, const json_t *s)
{
	static const struct sb_column instances[] = { { "INSTANCE", false, 12 }, { "VERSION", false, 0 }, { "IN", true, 0 },
		{ "DELIVERED", true, 0 }, { "QUEUED", true, 0 }, { "LETTERS", true, 0 }, { "STATE", false, 0 }, { 0 } };
	static const char *const instance_keys[] = { "name", "version", "in", "delivered", "queued", "letters", "state", NULL };
	static const struct sb_column sources[] = { { "SOURCE", false, 12 }, { "TYPE", false, 0 }, { "IN", true, 0 },
		{ "REFUSED", true, 0 }, { "REJECTED", true, 0 }, { 0 } };
	static const char *const source_keys[] = { "name", "type", "in", "refused", "rejected", NULL };
	static const struct sb_column targets[] = { { "TARGET", false, 12 }, { "TYPE", false, 0 }, { "INFLIGHT", true, 0 },
		{ "QUEUED", true, 0 }, { "RETRYING", true, 0 }, { "DELIVERED", true, 0 }, { "DEAD", true, 0 }, { "STATE", false, 0 }, { 0 } };
	static const char *const target_keys[] = { "name", "type", "inflight", "queued", "retrying", "delivered", "dlq", "state", NULL };
	const json_t *t = json_object_get(s, "totals");

	fprintf(cli->out, "cluster %s, led by %s\n\n", sb_json_text_of(s, "cluster"), sb_json_text_of(s, "leader"));
	print_list(cli, json_object_get(s, "instances"), instances, instance_keys);
	print_list(cli, json_object_get(s, "sources"), sources, source_keys);
	print_list(cli, json_object_get(s, "targets"), targets, target_keys);
	fprintf(cli->out, "since ever: events %" PRIu64 ", unmatched %" PRIu64 ", delivered %" PRIu64 ", dead letters %" PRIu64 "\n",
		sb_json_number_of(t, "in"), sb_json_number_of(t, "unmatched"), sb_json_number_of(t, "delivered"),
		sb_json_number_of(t, "dlq"));
}

static int show(struct look *l)
{
	static const char *const names[SB_PARTS] = { "rules", "targets", "sources" };
	json_t *s;

	if (json_array_size(l->instances) == 0) {
		sb_fail(&l->err, SB_E_MISSING, "no daemon tells this Redis anything as cluster '%s'", l->cluster);
		sb_hint(&l->err, "--cluster names it, as metrics.redis.cluster does in the daemons' configuration");
		return sb_cli_error(l->cli, SB_EXIT_UNREACHABLE, &l->err);
	}
	s = json_pack("{s:i,s:s,s:s,s:I,s:O,s:O}", "v", 1, "cluster", l->cluster, "leader", sb_json_text_of(l->meta, "leader"),
		"schema_version", (json_int_t)sb_json_number_of(l->meta, "schema_version"), "totals", l->totals, "instances", l->instances);
	for (unsigned p = 0; p < SB_PARTS; p++)
		json_object_set_new(s, names[p], part_json(l, (enum sb_part)p));
	if (sb_cli_format_is(l->cli, "json"))
		sb_print_json(l->cli, s);
	else if (!l->cli->quiet)
		print_all(l->cli, s);
	json_decref(s);
	return SB_EXIT_OK;
}

/* ------------------------------------------------------------------------------------------------ the verb */

static void done(struct look *l)
{
	for (unsigned p = 0; p < SB_PARTS; p++) {
		sb_map_each (&l->part[p], it) {
			struct entity *e = it->value;

			for (size_t i = 0; i < SB_PACKED_WORDS; i++)
				free(e->word[i]);
			free(e->name);
			free(e);
		}
		sb_map_done(&l->part[p]);
	}
	for (size_t i = 0; i < l->n_instances; i++)
		free(l->instance[i]);
	json_decref(l->meta);
	json_decref(l->totals);
	json_decref(l->instances);
}

static int look_round(struct look *l, struct sb_env *env)
{
	static const struct rds_conn_ops ops = { came_up, went_down };
	const struct rds_conn_conf conf = { .url = sb_cli_get(l->cli, "redis"), .password = getenv("SIGNALBOX_REDIS_PASSWORD"),
		.connect_timeout_ms = PATIENCE_S * 1000, .command_timeout_ms = PATIENCE_S * 1000, .name = "signalbox-status" };
	struct timeval patience = { PATIENCE_S, 0 };
	struct event *late;

	if (rds_conn_new(env, &conf, &ops, l, &l->conn, &l->err) < 0)
		return sb_cli_error(l->cli, SB_EXIT_USAGE, &l->err);
	late = evtimer_new(l->base, on_late, l);
	event_add(late, &patience);
	rds_conn_start(l->conn);
	if (!l->failed)
		event_base_dispatch(l->base);
	event_free(late);
	l->failed |= !l->done;
	rds_conn_free(l->conn);
	return l->done ? show(l) : sb_cli_error(l->cli, SB_EXIT_UNREACHABLE, &l->err);
}

int sb_status_redis(struct sb_cli *cli)
{
	const char *cluster = sb_cli_get(cli, "cluster");
	struct look l = { .cli = cli, .cluster = cluster ? cluster : "default", .instances = json_array() };
	struct sb_rand rand;
	struct sb_env env = { .clock = &sb_clock_system, .rand = &rand, .n_shards = 1 };
	int r;

	sb_rand_seed_system(&rand);
	l.base = env.base = event_base_new();
	r = look_round(&l, &env);
	done(&l);
	event_base_free(l.base);
	return r;
}
