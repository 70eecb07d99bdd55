/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_CONFIG_TABLES_H
#define SB_BROKER_CONFIG_TABLES_H

#include "broker/base/template.h"
#include "broker/config.h"

/*
 * What the framework owns in signalbox.yaml: one struct a section, as the rows of its table decode it. Private to the
 * config files: the rest of the daemon sees struct sb_config.
 */
struct sb_root_keys {
	int64_t version, shards;
	const char *data_dir, *rules, *account, *region;
	struct sb_field_map listeners, buses, sources, targets;
	uint64_t drain_timeout;
	struct {
		int format, level;
	} log;
	struct {
		uint64_t event_bytes;
		int64_t json_depth, hops;
	} limits;
	struct {
		uint64_t segment_bytes, group_bytes, min_free;
		int on_corruption;
	} journal;
	struct {
		uint64_t keep, max_bytes;
	} dead_letters;
	struct {
		const char *url, *user, *password, *cluster, *instance;
		uint64_t connect_timeout, flush, rollup;
		int64_t samples;
	} metrics;
};

struct sb_listener_keys {
	const char *address;
	struct sb_strs serve, tokens, allow_origins;
	bool insecure;
	struct {
		uint64_t max_line, max_header_bytes, max_body, max_buffered, header_timeout, body_timeout, idle_timeout, write_timeout;
		int64_t max_headers, max_connections, max_per_address, max_pipelined, max_requests;
	} limits;
};

enum { SB_OVERFLOW_SPILL, SB_OVERFLOW_PAUSE, SB_OVERFLOW_TOPIC }; /* the last one is the map */

struct sb_source_keys {
	const char *bus;
	int envelope, overflow;
	const char *overflow_topic; /* with SB_OVERFLOW_TOPIC */
	uint64_t spill_after;
	struct sb_template source, detail_type;
	struct sb_strs tokens;
};

struct sb_target_keys {
	int64_t concurrency, lanes, max_retrying;
	uint64_t timeout, cache_bytes;
	struct {
		int64_t max_retries;
		uint64_t base, cap, max_age;
	} retry;
	struct sb_path order_by;
	const char *dead_letter;
	struct {
		uint64_t bytes, age;
	} max_queue;
	int on_full;
};

extern const struct sb_field sb_root_fields[], sb_listener_fields[], sb_bus_fields[], sb_source_fields[], sb_target_fields[];
extern const char *const sb_serve_names[]; /* by bit of SB_SERVE_* */

/* Always returns what there is: errors only count in `diags`. root is NULL when the file is no YAML at all. */
struct sb_config *sb_config_read(const char *file, struct sb_slice text, const struct sb_config_env *env, struct sb_diags *diags);

/* ------------------------------------------------------------------------------------------------ config_check.c */

/* A bus or target must stand in the file. `name` may be NULL. */
void sb_config_check_ref(const struct sb_config *c, struct sb_diags *diags, const char *in, const char *name,
	const struct sb_node *at);
/* What no single row can say and needs no rules: dead letters end somewhere, limits fit together, nothing is taken twice. */
void sb_config_check_names(struct sb_config *c, struct sb_diags *diags);
/* The buses and targets that rules name must exist; ways that lead an event round in a circle are told. */
void sb_config_check_rules(const struct sb_config *c, const struct sb_ruleset *rules, struct sb_diags *diags);

/* ------------------------------------------------------------------------------------------------ config_listener.c */

/* `serve` words to bits, limits to what the server takes. */
void sb_config_listener(struct sb_config *c, struct sb_listener_conf *l, const struct sb_listener_keys *k,
	const struct sb_node *at, struct sb_diags *diags);

#endif
