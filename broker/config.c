/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_tables.h"
#include "connectors/redis/settings.h"

/*
 * From the node tree to struct sb_config. Sections of the framework are decoded by its tables, what stands under a
 * connector's key by the connector's own: the key is what finds the connector, so nothing here knows any of them. Decoding
 * goes on after an error, so that one run tells all of them; only a configuration without errors leaves this file.
 */

#define NAME_MAX_BYTES 64

struct loader {
	struct sb_config *c;
	struct sb_decode decode;
	const char **source_types, **target_types; /* connectors that can be one; NULL behind the last */
};

static void *dup_of(struct sb_arena *a, const void *p, size_t n)
{
	void *copy = sb_arena_alloc(a, n);

	memcpy(copy, p, n);
	return copy;
}

static int report(struct loader *l, const struct sb_node *n, struct sb_err *err)
{
	sb_node_path(n, err->path, sizeof(err->path));
	sb_diag_error(l->decode.diags, err);
	return -1;
}

/* ------------------------------------------------------------------------------------------------ names */

static bool name_ok(struct sb_slice s)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	static const char more[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	return s.n > 0 && s.n <= NAME_MAX_BYTES && s.p[0] && strchr(first, s.p[0]) && strspn(s.p, more) == s.n;
}

/* The interned name of a map's member; NULL with an error: not a name. */
static const char *member_name(struct loader *l, const struct sb_node *item)
{
	struct sb_err err;

	if (name_ok(item->key->text))
		return sb_name(item->key->text);
	sb_fail_at(&err, SB_E_INVALID, &item->key->at, "`%.*s` is not a name", SB_SLICE_ARG(item->key->text));
	sb_hint(&err, "letters, digits, `.`, `_`, `-`; a letter or digit first; at most %d", NAME_MAX_BYTES);
	report(l, item, &err);
	return NULL;
}

static const char *interned(const char *s)
{
	return s ? sb_name_str(s) : NULL;
}

/* ------------------------------------------------------------------------------------------------ connectors */

static const char **types_of(struct sb_arena *a, bool targets)
{
	const char **out;
	size_t n = 0;

	while (sb_connectors[n])
		n++;
	out = sb_arena_alloc(a, (n + 1) * sizeof(*out));
	n = 0;
	for (const struct sb_connector *const *c = sb_connectors; *c; c++)
		if (targets ? (*c)->target != NULL : (*c)->source != NULL)
			out[n++] = (*c)->type;
	return out;
}

static void add_list(char *out, size_t size, const char *const *words)
{
	for (size_t i = 0; words[i]; i++) {
		size_t len = strlen(out);

		snprintf(out + len, size - len, "%s`%s:`", i ? ", " : "", words[i]);
	}
}

static bool is_row(const struct sb_field *rows, struct sb_slice key)
{
	for (; rows->key; rows++)
		if (sb_slice_eq_str(key, rows->key))
			return true;
	return false;
}

static int no_connector(struct loader *l, const struct sb_node *at, const struct sb_field *rows, bool target)
{
	char list[160] = "";
	struct sb_err err;

	for (size_t i = 0; i < at->n; i++) {
		struct sb_slice key = at->item[i]->key->text;

		if (!sb_connector_find(key.p) && !is_row(rows, key))
			return -1; /* an unknown key is told as such; it is the misspelt connector */
	}
	add_list(list, sizeof(list), target ? l->target_types : l->source_types);
	sb_fail_at(&err, SB_E_MISSING, &at->key->at, "%s `%s` has no connector", target ? "target" : "source",
		at->key->text.p);
	sb_hint(&err, "one of %s", list);
	return report(l, at, &err);
}

/* The one key of a source or target that names a connector. */
static const struct sb_node *connector_key(struct loader *l, const struct sb_node *at, const struct sb_field *rows,
	bool target, const struct sb_connector **ret)
{
	const char *what = target ? "target" : "source";
	const struct sb_node *found = NULL;
	struct sb_err err;

	for (size_t i = 0; i < at->n; i++) {
		const struct sb_node *item = at->item[i];
		const struct sb_connector *c =
			is_row(rows, item->key->text) ? NULL : sb_connector_find(item->key->text.p);

		if (!c)
			continue;
		if (target ? !c->target : !c->source) {
			char list[160] = "";

			add_list(list, sizeof(list), target ? l->target_types : l->source_types);
			sb_fail_at(&err, SB_E_INVALID, &item->key->at, "`%s` cannot be a %s", c->type, what);
			sb_hint(&err, "one of %s", list);
			report(l, item, &err);
		} else if (found) {
			sb_fail_at(&err, SB_E_DUPLICATE, &item->key->at, "%s `%s` has two connectors, `%s` and `%s`",
				what, at->key->text.p, found->key->text.p, c->type);
			sb_hint(&err, "make it two %ss", what);
			report(l, item, &err);
			continue;
		}
		found = item;
		*ret = c;
	}
	if (!found)
		no_connector(l, at, rows, target);
	return found;
}

/* What the connector owns; NULL with errors. */
static void *decode_own(struct loader *l, const struct sb_connector *c, const struct sb_node *own, bool target)
{
	static const struct sb_field none[] = { { 0 } };
	const struct sb_field *fields = target ? c->target->fields : c->source->fields;
	size_t size = target ? c->target->conf_size : c->source->conf_size;
	int (*check)(struct sb_decode *, const struct sb_node *, void *) = target ? c->target->check : c->source->check;
	void *conf = sb_arena_alloc(&l->c->arena, size);
	int r;

	l->decode.outer = target ? sb_target_fields : sb_source_fields;
	r = sb_fields_decode(&l->decode, fields ? fields : none, own, conf, NULL);
	l->decode.outer = NULL;
	if (r < 0 || (check && check(&l->decode, own, conf) < 0))
		return NULL;
	return conf;
}

/* The framework's keys beside the connector's, which are told apart by `types`. */
static int decode_keys(
	struct loader *l, const struct sb_node *at, const struct sb_connector *c, void *keys, bool target)
{
	const struct sb_field *own = !c                    ? NULL
				     : target && c->target ? c->target->fields
				     : c->source           ? c->source->fields
							   : NULL;
	const struct sb_field inner = { .key = c ? c->type : "", .type = SB_T_OBJECT, .sub = own };
	int r;

	l->decode.inner = own ? &inner : NULL;
	r = sb_fields_decode(&l->decode, target ? sb_target_fields : sb_source_fields, at, keys,
		target ? l->target_types : l->source_types);
	l->decode.inner = NULL;
	return r;
}

static bool is_map(struct loader *l, const struct sb_node *n)
{
	struct sb_err err;

	if (n->kind == SB_NODE_MAP || n->kind == SB_NODE_NULL)
		return true;
	sb_fail_at(&err, SB_E_KIND, &n->at, "expected a map, found %s", sb_node_kind_name(n->kind));
	report(l, n, &err);
	return false;
}

/* ------------------------------------------------------------------------------------------------ sections */

static void check_overflow(struct loader *l, const struct sb_node *at, const struct sb_source_conf *s, const struct sb_source_keys *k)
{
	const struct sb_node *n = sb_node_get(at, "overflow");
	struct sb_err err;

	if (k->overflow != SB_OVERFLOW_TOPIC || !k->overflow_topic)
		return;
	if (!s->connector->source->overflow) {
		sb_fail_at(&err, SB_E_INVALID, &n->at, "`%s` sources have no topic to overflow into", s->connector->type);
		sb_hint(&err, "write `spill` or `pause`");
		report(l, n, &err);
	} else if (s->connector->source->check_overflow(s->conf, k->overflow_topic, &err) < 0) {
		err.at = sb_node_get(n, "topic")->at;
		report(l, sb_node_get(n, "topic"), &err);
	}
}

static void load_source(struct loader *l, const struct sb_node *at)
{
	struct sb_source_conf *s = &l->c->source[l->c->n_sources];
	struct sb_source_keys k = { 0 };
	const struct sb_node *own;
	int r;

	*s = (struct sb_source_conf){ .name = member_name(l, at), .at = at->key->at };
	if (!is_map(l, at))
		return;
	own = connector_key(l, at, sb_source_fields, false, &s->connector);
	if (own && !s->connector->source)
		return; /* whatever else stands there was meant for something else */
	if (own)
		s->conf = decode_own(l, s->connector, own, false);
	r = decode_keys(l, at, s->connector, &k, false);
	sb_config_check_ref(l->c, l->decode.diags, "buses", k.bus, sb_node_get(at, "bus"));
	if (r < 0 || !s->name || !s->conf)
		return;
	check_overflow(l, at, s, &k);
	s->keys = dup_of(&l->c->arena, &k, sizeof(k));
	s->bus = interned(k.bus);
	s->envelope = (enum sb_envelope)k.envelope;
	s->overflow_pause = k.overflow == SB_OVERFLOW_PAUSE;
	s->overflow_topic = k.overflow == SB_OVERFLOW_TOPIC ? k.overflow_topic : NULL;
	s->spill_after_ms = k.spill_after;
	s->source_tpl = k.source.text ? &((const struct sb_source_keys *)s->keys)->source : NULL;
	s->detail_type_tpl = k.detail_type.text ? &((const struct sb_source_keys *)s->keys)->detail_type : NULL;
	s->tokens = k.tokens;
	l->c->n_sources++;
}

static void target_policy(struct sb_target_policy *p, const struct sb_target_keys *k)
{
	*p = (struct sb_target_policy){
		.retry = { .max_retries = (uint32_t)k->retry.max_retries,
			.base_ms = k->retry.base,
			.cap_ms = k->retry.cap,
			.max_age_ms = k->retry.max_age },
		.concurrency = (uint32_t)k->concurrency,
		.timeout_ms = k->timeout,
		.lanes = k->order_by.text ? (uint32_t)k->lanes : 0,
		.max_queue_bytes = k->max_queue.bytes,
		.max_queue_age_ms = k->max_queue.age,
		.on_full = (enum sb_on_full)k->on_full,
		.max_retrying = (uint32_t)k->max_retrying,
		.cache_bytes = k->cache_bytes,
	};
}

static void load_target(struct loader *l, const struct sb_node *at)
{
	struct sb_target_conf *t = &l->c->target[l->c->n_targets];
	struct sb_target_keys k = { 0 };
	const struct sb_node *own;
	int r;

	*t = (struct sb_target_conf){ .name = member_name(l, at), .at = at->key->at };
	if (!is_map(l, at))
		return;
	own = connector_key(l, at, sb_target_fields, true, &t->connector);
	if (own && !t->connector->target)
		return;
	if (own)
		t->conf = decode_own(l, t->connector, own, true);
	if (t->conf && t->connector->target->fields == sb_bus_target_fields)
		sb_config_check_ref(l->c, l->decode.diags, "buses", ((struct sb_bus_target_conf *)t->conf)->name,
			sb_node_get(own, "name"));
	r = decode_keys(l, at, t->connector, &k, true);
	sb_config_check_ref(l->c, l->decode.diags, "targets", k.dead_letter, sb_node_get(at, "dead_letter"));
	if (r < 0 || !t->name || !t->conf)
		return;
	if (t->connector->target->concurrency && !sb_node_get(at, "concurrency"))
		k.concurrency = t->connector->target->concurrency;
	t->keys = dup_of(&l->c->arena, &k, sizeof(k));
	target_policy(&t->policy, &k);
	t->order_by = k.order_by.text ? &((const struct sb_target_keys *)t->keys)->order_by : NULL;
	t->dead_letter = interned(k.dead_letter);
	l->c->n_targets++;
}

static void load_listener(struct loader *l, const struct sb_node *at)
{
	struct sb_listener_conf *conf = &l->c->listener[l->c->n_listeners];
	struct sb_listener_keys k = { 0 };

	*conf = (struct sb_listener_conf){ .name = member_name(l, at), .at = at->key->at };
	if (sb_fields_decode(&l->decode, sb_listener_fields, at, &k, NULL) < 0 || !conf->name)
		return;
	conf->keys = dup_of(&l->c->arena, &k, sizeof(k));
	sb_config_listener(l->c, conf, &k, at, l->decode.diags);
	l->c->n_listeners++;
}

static void default_listener(struct loader *l)
{
	struct sb_listener_conf *conf = &l->c->listener[0];
	struct sb_listener_keys k = { 0 };

	sb_fields_default(&l->decode, sb_listener_fields, &k);
	k.address = "127.0.0.1:8480";
	*conf = (struct sb_listener_conf){ .name = sb_name_str("main"), .keys = dup_of(&l->c->arena, &k, sizeof(k)) };
	sb_config_listener(l->c, conf, &k, NULL, l->decode.diags);
	l->c->n_listeners = 1;
}

static void load_bus(struct loader *l, const struct sb_node *at)
{
	const char *name = member_name(l, at);
	char nothing;

	if (sb_fields_decode(&l->decode, sb_bus_fields, at, &nothing, NULL) < 0 || !name)
		return;
	if (strcmp(name, "default") == 0)
		l->c->bus[0].at = at->key->at;
	else
		l->c->bus[l->c->n_buses++] = (struct sb_bus_conf){ name, at->key->at };
}

/* The source behind /v1/events; see config.h. */
static void add_events_source(struct loader *l)
{
	const struct sb_connector *events = sb_connector_find("events");
	struct sb_source_conf *s = &l->c->source[l->c->n_sources];
	const struct sb_node nothing = { .kind = SB_NODE_NULL, .text = SB_SLICE("") };
	struct sb_source_keys k = { 0 };
	bool served = false;

	for (size_t i = 0; i < l->c->n_listeners; i++)
		served |= (l->c->listener[i].serve & SB_SERVE_EVENTS) != 0;
	for (size_t i = 0; i < l->c->n_sources; i++)
		served &= l->c->source[i].connector != events;
	if (!served || !events || !events->source || sb_config_source(l->c, "events"))
		return;
	sb_fields_default(&l->decode, sb_source_fields, &k);
	*s = (struct sb_source_conf){ .name = sb_name_str("events"),
		.connector = events,
		.conf = decode_own(l, events, &nothing, false),
		.envelope = (enum sb_envelope)k.envelope,
		.keys = dup_of(&l->c->arena, &k, sizeof(k)) };
	if (s->conf)
		l->c->n_sources++;
}

static void each(struct loader *l, const struct sb_field_map *m, void (*load)(struct loader *, const struct sb_node *))
{
	for (size_t i = 0; m->node && i < m->node->n; i++)
		load(l, m->node->item[i]);
}

static size_t members(const struct sb_field_map *m)
{
	return m->node ? m->node->n : 0;
}

static void load_sections(struct loader *l, const struct sb_root_keys *k, const struct sb_node *root)
{
	struct sb_config *c = l->c;

	c->listener = sb_arena_alloc(&c->arena, (members(&k->listeners) + 1) * sizeof(*c->listener));
	c->bus = sb_arena_alloc(&c->arena, (members(&k->buses) + 1) * sizeof(*c->bus));
	c->source = sb_arena_alloc(&c->arena, (members(&k->sources) + 2) * sizeof(*c->source));
	c->target = sb_arena_alloc(&c->arena, (members(&k->targets) + 1) * sizeof(*c->target));
	c->bus[c->n_buses++] = (struct sb_bus_conf){ .name = sb_name_str("default") };
	each(l, &k->buses, load_bus);
	if (sb_node_get(root, "listeners"))
		each(l, &k->listeners, load_listener);
	else
		default_listener(l);
	each(l, &k->sources, load_source);
	each(l, &k->targets, load_target);
	add_events_source(l);
}

static unsigned default_shards(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	return cores > 3 ? (unsigned)SB_MIN(cores - 2, 64L) : 1;
}

static void load_root(struct loader *l, const struct sb_root_keys *k)
{
	struct sb_config *c = l->c;
	char *dir = sb_arena_alloc(&c->arena, strlen(k->data_dir) + sizeof("/journal"));

	snprintf(dir, strlen(k->data_dir) + sizeof("/journal"), "%s/journal", k->data_dir);
	c->keys = dup_of(&c->arena, k, sizeof(*k));
	c->data_dir = k->data_dir;
	c->rules_path = k->rules;
	c->account = interned(k->account);
	c->region = interned(k->region);
	c->shards = k->shards ? (unsigned)k->shards : default_shards();
	c->drain_timeout_ms = k->drain_timeout;
	c->log_format = (enum sb_log_format)k->log.format;
	c->log_level = (enum sb_log_level)k->log.level;
	c->limits.event_bytes = k->limits.event_bytes;
	c->limits.json_depth = (uint32_t)k->limits.json_depth;
	c->limits.hops = (uint32_t)k->limits.hops;
	c->journal = (struct sb_journal_conf){ .dir = dir,
		.segment_bytes = k->journal.segment_bytes,
		.group_bytes = k->journal.group_bytes,
		.min_free_bytes = k->journal.min_free,
		.stop_on_corruption = k->journal.on_corruption == 1 };
	c->dead_letters =
		(struct sb_deadletters_conf){ .keep_ms = k->dead_letters.keep, .max_bytes = k->dead_letters.max_bytes };
}

/* The URL; and names that end up within keys. */
static void load_metrics(struct loader *l, const struct sb_root_keys *k, const struct sb_node *root)
{
	const struct sb_node *metrics = sb_node_get(root, "metrics"), *at = metrics ? sb_node_get(metrics, "redis") : NULL;
	const struct rds_settings where = { .url = k->metrics.url };
	const char *const names[] = { k->metrics.cluster, k->metrics.instance }, *const keys[] = { "cluster", "instance" };
	struct sb_err err;

	l->c->metrics = (struct sb_metrics_conf){ .url = k->metrics.url, .user = k->metrics.user, .password = k->metrics.password,
		.cluster = k->metrics.cluster, .instance = k->metrics.instance, .connect_timeout_ms = k->metrics.connect_timeout,
		.flush_ms = k->metrics.flush, .rollup_ms = k->metrics.rollup, .samples = (unsigned)k->metrics.samples };
	if (!at)
		return;
	rds_settings_check(&l->decode, at, &where);
	for (size_t i = 0; i < SB_LEN(names); i++) {
		if (!names[i] || strstr(names[i], "${") || name_ok(sb_slice_str(names[i])))
			continue;
		sb_fail(&err, SB_E_INVALID, "`%s` is not a name", names[i]);
		sb_hint(&err, "letters, digits, `.`, `_`, `-`; a letter or digit first; at most %d", NAME_MAX_BYTES);
		rds_complain(&l->decode, at, keys[i], &err);
	}
}

/* ------------------------------------------------------------------------------------------------ life */

static struct sb_config *config_new(const char *file)
{
	struct sb_config *c = sb_xcalloc(sizeof(*c));
	const char *slash = strrchr(file, '/');

	atomic_init(&c->refs, 1);
	c->file = sb_arena_strdup(&c->arena, file);
	c->dir = !slash ? "." : slash == file ? "/" : sb_arena_strndup(&c->arena, file, (size_t)(slash - file));
	return c;
}

struct sb_config *sb_config_read(
	const char *file, struct sb_slice text, const struct sb_config_env *env, struct sb_diags *diags)
{
	struct sb_config *c = config_new(file);
	struct loader l = { .c = c };
	struct sb_root_keys k = { 0 };

	l.decode = (struct sb_decode){
		.arena = &c->arena, .diags = diags, .no_env = env && env->no_env, .getenv = env ? env->getenv : NULL
	};
	l.source_types = types_of(&c->arena, false);
	l.target_types = types_of(&c->arena, true);
	sb_diags_source(diags, file, text);
	sb_yaml_parse(file, text, &c->doc, diags);
	if (!c->doc.root)
		return c;
	sb_fields_decode(&l.decode, sb_root_fields, c->doc.root, &k, NULL);
	if (c->doc.root->kind != SB_NODE_MAP && c->doc.root->kind != SB_NODE_NULL)
		return c;
	load_root(&l, &k);
	load_metrics(&l, &k, c->doc.root);
	load_sections(&l, &k, c->doc.root);
	sb_config_check_names(c, diags);
	return c;
}

struct sb_config *sb_config_parse(
	const char *file, struct sb_slice text, const struct sb_config_env *env, struct sb_diags *diags)
{
	size_t errors = diags->errors;
	struct sb_config *c = sb_config_read(file, text, env, diags);

	if (diags->errors == errors)
		return c;
	sb_config_unref(c);
	return NULL;
}

const struct sb_config *sb_config_ref(const struct sb_config *c)
{
	/* we hold one, it cannot go away; the count is the one thing in it that changes */
	atomic_fetch_add_explicit(&((struct sb_config *)c)->refs, 1, memory_order_relaxed);
	return c;
}

void sb_config_unref(const struct sb_config *c)
{
	struct sb_config *mine = (struct sb_config *)c;

	/* acq_rel: whoever frees it has seen all that others did with it */
	if (!c || atomic_fetch_sub_explicit(&mine->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (mine->rules)
		sb_ruleset_unref(mine->rules);
	sb_doc_done(&mine->doc);
	sb_arena_done(&mine->arena);
	free(mine);
}

/* ------------------------------------------------------------------------------------------------ by name */

const struct sb_bus_conf *sb_config_bus(const struct sb_config *c, const char *name)
{
	for (size_t i = 0; i < c->n_buses; i++)
		if (strcmp(c->bus[i].name, name) == 0)
			return &c->bus[i];
	return NULL;
}

const struct sb_source_conf *sb_config_source(const struct sb_config *c, const char *name)
{
	for (size_t i = 0; i < c->n_sources; i++)
		if (strcmp(c->source[i].name, name) == 0)
			return &c->source[i];
	return NULL;
}

const struct sb_target_conf *sb_config_target(const struct sb_config *c, const char *name)
{
	for (size_t i = 0; i < c->n_targets; i++)
		if (strcmp(c->target[i].name, name) == 0)
			return &c->target[i];
	return NULL;
}
