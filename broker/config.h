/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_CONFIG_H
#define SB_BROKER_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "broker/base/arena.h"
#include "broker/base/field.h"
#include "broker/base/log.h"
#include "broker/base/node.h"
#include "broker/deadletter/deadletter.h"
#include "broker/journal/journal.h"
#include "broker/net/http.h"
#include "connectors/connector.h"
#include "executor/executor.h"
#include "rules/rules.h"

/*
 * The configuration of the whole daemon: signalbox.yaml, the rule files it names, and what each connector owns in it.
 * Read once, checked as a whole, then immutable and reference-counted; it may be read from any thread. A reload makes a
 * new one and compares (sb_config_diff); it never changes an old one.
 *
 * Everything here has its default filled in, names are interned (sb_name), paths are absolute or relative to the working
 * directory, never to the file any more. Arrays are in the order of the file. `at` is the place of the name in the file.
 * What each key means stands in the tables of config_tables.c, which docs/config.md and the schema are printed from.
 */

/* ------------------------------------------------------------------------------------------------ listeners */

enum {
	SB_SERVE_EVENTS = 1,   /* /v1/events, /v1/cloudevents */
	SB_SERVE_WEBHOOKS = 2, /* the paths of webhook sources */
	SB_SERVE_METRICS = 4,  /* /metrics */
	SB_SERVE_HEALTH = 8,   /* /livez, /readyz */
};

/* Without any `listeners` key there is one, `main` on 127.0.0.1:8480, which serves everything. */
struct sb_listener_conf {
	const char *name, *address;
	unsigned serve;              /* SB_SERVE_*; absent: all */
	struct sb_strs tokens;       /* auth.tokens; n 0: no authentication */
	struct sb_strs allow_origins;
	bool insecure;               /* may listen beyond loopback without tokens: checked at load */
	struct sb_http_conf http;    /* limits */
	struct sb_loc at;
	const void *keys;            /* as decoded; for the diff */
};

/* ------------------------------------------------------------------------------------------------ buses, sources, targets */

/* `default` always exists, and is the first. */
struct sb_bus_conf {
	const char *name;
	struct sb_loc at;
};


/*
 * A listener that serves events needs a source behind /v1/events: when none of the configured sources is of the connector
 * `events`, and the registry has it, one named `events` is added with its defaults (at.line 0).
 */
struct sb_source_conf {
	const char *name;
	const struct sb_connector *connector;
	void *conf;                  /* the connector's own, connector->source->conf_size bytes */
	const char *bus;             /* NULL: the event says, else `default` */
	enum sb_envelope envelope;
	bool overflow_pause;
	const char *overflow_topic;  /* NULL: elsewhere */
	uint64_t spill_after_ms;
	const struct sb_template *source_tpl, *detail_type_tpl; /* NULL: not set */
	struct sb_strs tokens;       /* auth.tokens; n 0: what the listener asks for */
	struct sb_loc at;
	const void *keys;
};

struct sb_target_conf {
	const char *name;
	const struct sb_connector *connector;
	void *conf;                  /* connector->target->conf_size bytes */
	struct sb_target_policy policy;
	const struct sb_path *order_by; /* NULL: no order, and policy.lanes is 0 */
	const char *dead_letter;     /* another target; NULL: the table */
	bool is_dead_letter;         /* some target's dead_letter */
	struct sb_loc at;
	const void *keys;
};

/* What the connector `bus` has under its key, `bus: {name: audit}`; the row table is its `fields`. */
struct sb_bus_target_conf {
	const char *name;
};
extern const struct sb_field sb_bus_target_fields[];

/* ------------------------------------------------------------------------------------------------ the whole */

/* Where the numbers of this daemon are told (docs/redis-metrics.md). */
#define SB_FLUSH_MS_MAX 60000
#define SB_SAMPLES_A_FLUSH 64
struct sb_metrics_conf {
	const char *url;               /* NULL: nowhere */
	const char *user, *password;   /* NULL: the URL's */
	const char *cluster, *instance; /* instance NULL: of the host's name */
	uint64_t connect_timeout_ms, flush_ms, rollup_ms;
	unsigned samples;              /* events a second of each kind; 0: none */
};

struct sb_config {
	atomic_uint refs;
	struct sb_arena arena;
	struct sb_doc doc;           /* NODE and MAP values of connectors point into it */
	const char *file, *dir;      /* dir: "." or the folder of the file */

	const char *data_dir, *rules_path;
	const char *account, *region;
	unsigned shards;             /* at least 1 */
	uint64_t drain_timeout_ms;
	enum sb_log_format log_format;
	enum sb_log_level log_level;
	struct {
		uint64_t event_bytes;
		uint32_t json_depth, hops;
	} limits;
	struct sb_journal_conf journal; /* dir is <data_dir>/journal */
	struct sb_deadletters_conf dead_letters;
	struct sb_metrics_conf metrics;

	struct sb_listener_conf *listener;
	struct sb_bus_conf *bus;
	struct sb_source_conf *source;
	struct sb_target_conf *target;
	size_t n_listeners, n_buses, n_sources, n_targets;

	struct sb_ruleset *rules;    /* one reference; NULL only after sb_config_parse */
	const void *keys;
};

struct sb_config_env {
	bool no_env;                 /* check --no-env: `${env:}` and `${file:}` are left as they stand */
	const char *(*getenv)(const char *name); /* NULL: the process's */
};

/*
 * Read the file and its rules, check everything against everything. All errors of all files go to `diags`; NULL when there
 * were any. Warnings alone do not hinder. `env` may be NULL.
 */
const struct sb_config *sb_config_load(const char *file, const struct sb_config_env *env, struct sb_diags *diags);
/* signalbox.yaml alone, from memory, and everything about it that needs no rules. */
struct sb_config *sb_config_parse(const char *file, struct sb_slice text, const struct sb_config_env *env, struct sb_diags *diags);
/* Give it its rules; the reference moves in, also at a failure. Buses and targets that rules name must exist. 0 or -1. */
int sb_config_bind(struct sb_config *c, struct sb_ruleset *rules, struct sb_diags *diags);
const struct sb_config *sb_config_ref(const struct sb_config *c);
void sb_config_unref(const struct sb_config *c); /* NULL is fine */

/* By name; NULL: there is none. Linear: for load and for people, never per event. */
const struct sb_bus_conf *sb_config_bus(const struct sb_config *c, const char *name);
const struct sb_source_conf *sb_config_source(const struct sb_config *c, const char *name);
const struct sb_target_conf *sb_config_target(const struct sb_config *c, const char *name);

/* ------------------------------------------------------------------------------------------------ reload */

enum sb_change_kind {
	SB_CHANGE_ADDED, SB_CHANGE_REMOVED,
	SB_CHANGE_POLICY, /* only what the framework owns: applied in place */
	SB_CHANGE_REOPEN, /* the connector or its own configuration: close, then open anew */
	SB_CHANGE_ADOPT,  /* of a source's own only what it takes over as it runs */
};

struct sb_change {
	const char *what; /* "bus", "source", "target" */
	const char *name;
	enum sb_change_kind kind;
};

/* From one configuration to the next. Renaming is removing and adding: the diff cannot know better. */
struct sb_config_diff {
	struct sb_arena arena;
	struct sb_change *change;
	size_t n;
	const char **restart; /* keys that differ and cannot be applied in a running daemon: "data_dir", "listeners.main.address" */
	size_t n_restart;
	bool rules;           /* the text of the rules differs */
	bool live;            /* log.level or drain_timeout differs */
};

static inline bool sb_change_is(const struct sb_change *c, const char *what, enum sb_change_kind kind)
{
	return strcmp(c->what, what) == 0 && c->kind == kind;
}

/* Names in it are borrowed from the two configurations. */
void sb_config_diff(const struct sb_config *from, const struct sb_config *to, struct sb_config_diff *ret);
void sb_config_diff_done(struct sb_config_diff *d);

/* ------------------------------------------------------------------------------------------------ generated pages */

void sb_config_docs(struct sb_buf *out);   /* docs/config.md */
int sb_config_schema(struct sb_buf *out);  /* schemas/config.schema.json, draft-07. -1: out's cap */

#endif
