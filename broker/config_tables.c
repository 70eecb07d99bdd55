/* SPDX-License-Identifier: Apache-2.0 */
#include "config_tables.h"

/*
 * The tables: key, type, range, default and meaning of everything that the framework owns. docs/config.md, the JSON Schema
 * and the decoder are made from these rows. `live` rows may change in a reload; every other difference needs a restart.
 */

#define R struct sb_root_keys
#define OBJECT(k, rows, ...)                                                                                           \
	{                                                                                                              \
		.key = (k), .type = SB_T_OBJECT, .sub = (rows), ##__VA_ARGS__                                          \
	}

static const char *const log_formats[] = { "auto", "pretty", "json", NULL };
static const char *const log_levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const corruption_words[] = { "quarantine", "stop", NULL };
static const char *const envelopes[] = { "auto", "eventbridge", "cloudevents", "raw", NULL };
static const char *const overflows[] = { "spill", "pause", NULL };
static const char *const full_words[] = { "dead_letter", "refuse", NULL };
const char *const sb_serve_names[] = { "events", "webhooks", "metrics", "health", NULL };

static const struct sb_field log_fields[] = {
	SB_F_KEY(ENUM, R, log.format, "format", .names = log_formats, .dflt = "auto",
		.doc = "`auto`: pretty on a terminal, else one JSON object a line."),
	SB_F_KEY(ENUM, R, log.level, "level", .names = log_levels, .dflt = "info", .live = true,
		.doc = "The least that is told."),
	{ 0 },
};

static const struct sb_field limits_fields[] = {
	SB_F_KEY(BYTES, R, limits.event_bytes, "event_bytes", .min = 1024, .max = 16 << 20, .dflt = "1MiB",
		.doc = "Largest event, with its envelope; a larger one is refused."),
	SB_F_KEY(INT, R, limits.json_depth, "json_depth", .min = 4, .max = 1000, .dflt = "1000",
		.doc = "Deepest nesting of arrays and objects in an event; a deeper one is refused."),
	SB_F_KEY(INT, R, limits.hops, "hops", .min = 1, .max = 64, .dflt = "8",
		.doc = "Buses that an event may pass; then its delivery is a dead letter (LOOP_DETECTED)."),
	{ 0 },
};

static const struct sb_field journal_fields[] = {
	SB_F_KEY(BYTES, R, journal.segment_bytes, "segment_bytes", .min = 1 << 20, .max = 1 << 30, .dflt = "64MiB",
		.doc = "Size of a segment file; space comes back by whole segments."),
	SB_F_KEY(BYTES, R, journal.group_bytes, "group_bytes", .min = 4096, .max = 64 << 20, .dflt = "1MiB",
		.doc = "Most bytes that share one fdatasync."),
	SB_F_KEY(BYTES, R, journal.min_free, "min_free", .max = INT64_MAX, .dflt = "128MiB",
		.doc = "With less free disk than this, new events are refused; retries and dead letters go on."),
	SB_F_KEY(ENUM, R, journal.on_corruption, "on_corruption", .names = corruption_words, .dflt = "quarantine",
		.doc = "Damaged records at start: set them aside, count and go on, or do not start."),
	{ 0 },
};

static const struct sb_field dead_letters_fields[] = {
	SB_F_KEY(MS, R, dead_letters.keep, "keep", .min = 1000, .max = INT64_MAX, .dflt = "14d",
		.doc = "Older letters expire, and are counted."),
	SB_F_KEY(BYTES, R, dead_letters.max_bytes, "max_bytes", .min = 1 << 20, .max = INT64_MAX, .dflt = "1GiB",
		.doc = "Room for letters; when it is used up, targets are held rather than letters dropped."),
	{ 0 },
};

static const struct sb_field metrics_redis_fields[] = {
	SB_F_KEY(SECRET, R, metrics.url, "url", .required = true, .min = 1,
		.doc = "`redis://[[user]:password@]host[:6379][/db]`, `unix:/path[?db=n]`, or `rediss://` where hiredis has TLS."),
	SB_F_KEY(STR, R, metrics.user, "user", .max = 255, .doc = "Of the ACL; instead of the URL's."),
	SB_F_KEY(SECRET, R, metrics.password, "password", .doc = "Instead of the URL's."),
	SB_F_KEY(STR, R, metrics.cluster, "cluster", .min = 1, .max = 64, .dflt = "default",
		.doc = "Daemons of one name are shown together: every key begins with `signalbox:{NAME}`."),
	SB_F_KEY(STR, R, metrics.instance, "instance", .min = 1, .max = 64, .doc = "This daemon's name; absent: the host's."),
	SB_F_KEY(MS, R, metrics.connect_timeout, "connect_timeout", .min = 10, .max = 600000, .dflt = "5s",
		.doc = "From the look-up of the name to the answer to PING."),
	SB_F_KEY(MS, R, metrics.flush, "flush", .min = 100, .max = SB_FLUSH_MS_MAX, .dflt = "1s",
		.doc = "How often the instance's numbers and the `:1s` stream are written."),
	SB_F_KEY(MS, R, metrics.rollup, "rollup", .min = 1000, .max = 60000, .dflt = "1m",
		.doc = "How often the `:1m` streams are written; readers expect a minute."),
	SB_F_KEY(INT, R, metrics.samples, "samples", .min = 0, .max = 100, .dflt = "10",
		.doc = "Events a second that no rule wanted, and failed ones, which are shown without their values; 0: none."),
	{ 0 },
};

static const struct sb_field metrics_fields[] = {
	OBJECT("redis", metrics_redis_fields, .doc = "In a Redis, for dashboards: docs/redis-metrics.md."),
	{ 0 },
};

const struct sb_field sb_root_fields[] = {
	SB_F(INT, R, version, .min = 1, .max = 1, .dflt = "1", .doc = "Of this file's language."),
	SB_F(FILE, R, data_dir, .dflt = "data",
		.doc = "Folder of the journal, the dead letters and the control socket; made with mode 0700."),
	SB_F(FILE, R, rules, .dflt = "rules.d", .live = true,
		.doc = "Folder of rule files (or one file); every `*.yaml`, `*.yml` and `*.json` below it."),
	SB_F(MAP, R, listeners, .doc = "Addresses to listen on, by name; absent: `main` on 127.0.0.1:8480."),
	SB_F(MAP, R, buses, .live = true, .doc = "Event buses, by name; `default` always exists."),
	SB_F(MAP, R, sources, .live = true, .doc = "Where events come from, by name."),
	SB_F(MAP, R, targets, .live = true, .doc = "Where matches go, by name."),
	SB_F(STR, R, account, .min = 1, .max = 64, .dflt = "000000000000", .doc = "The `account` of events."),
	SB_F(STR, R, region, .min = 1, .max = 64, .dflt = "local", .doc = "The `region` of events."),
	SB_F(INT, R, shards, .min = 0, .max = 64, .dflt = "0",
		.doc = "Event loops; 0: two fewer than there are cores, at least one."),
	SB_F(MS, R, drain_timeout, .max = 3600000, .dflt = "30s", .live = true,
		.doc = "Time for workers to finish at SIGTERM; what is left stays in the journal."),
	OBJECT("log", log_fields, .doc = "Logs, on standard error."),
	OBJECT("limits", limits_fields, .doc = "What is refused."),
	OBJECT("journal", journal_fields, .doc = "The durable queue of record."),
	OBJECT("dead_letters", dead_letters_fields, .doc = "The table of dead letters."),
	OBJECT("metrics", metrics_fields, .doc = "Where the daemon's numbers are told, beside `/metrics`."),
	{ 0 },
};

#undef R
#define L struct sb_listener_keys

static const struct sb_field auth_fields[] = {
	SB_F_KEY(SECRETS, L, tokens, "tokens", .required = true, .min = 1, .max = 64,
		.doc = "Bearer tokens; several for rotation."),
	{ 0 },
};

static const struct sb_field listener_limits[] = {
	SB_F_KEY(BYTES, L, limits.max_line, "max_line", .min = 128, .max = 65536, .dflt = "4KiB",
		.doc = "Request line."),
	SB_F_KEY(BYTES, L, limits.max_header_bytes, "max_header_bytes", .min = 256, .max = 1 << 20, .dflt = "16KiB",
		.doc = "All headers."),
	SB_F_KEY(INT, L, limits.max_headers, "max_headers", .min = 4, .max = 1000, .dflt = "64",
		.doc = "Number of headers."),
	SB_F_KEY(BYTES, L, limits.max_body, "max_body", .min = 1024, .max = 64 << 20,
		.doc = "Body of a request; default: `limits.event_bytes` and 16 KiB."),
	SB_F_KEY(INT, L, limits.max_connections, "max_connections", .min = 1, .max = 1000000, .dflt = "1024",
		.doc = "In all, over all shards."),
	SB_F_KEY(INT, L, limits.max_per_address, "max_per_address", .min = 1, .max = 1000000, .dflt = "256",
		.doc = "Connections from one address (of an IPv6 one its /64), over all shards."),
	SB_F_KEY(BYTES, L, limits.max_buffered, "max_buffered", .min = 1 << 20, .max = INT64_C(16) << 30, .dflt = "64MiB",
		.doc = "Bytes of requests in memory, all connections of one shard; beyond it 503."),
	SB_F_KEY(INT, L, limits.max_pipelined, "max_pipelined", .min = 1, .max = 10000, .dflt = "64",
		.doc = "Unanswered requests of one connection; then it is not read on."),
	SB_F_KEY(INT, L, limits.max_requests, "max_requests", .min = 0, .max = UINT32_MAX, .dflt = "100000",
		.doc = "Of one connection, which is then closed; 0: no bound."),
	SB_F_KEY(MS, L, limits.header_timeout, "header_timeout", .min = 10, .max = 3600000, .dflt = "5s",
		.doc = "From the first byte to the end of the headers."),
	SB_F_KEY(MS, L, limits.body_timeout, "body_timeout", .min = 10, .max = 3600000, .dflt = "15s",
		.doc = "From the end of the headers to the end of the body."),
	SB_F_KEY(MS, L, limits.idle_timeout, "idle_timeout", .min = 10, .max = 86400000, .dflt = "60s",
		.doc = "Between two requests."),
	SB_F_KEY(MS, L, limits.write_timeout, "write_timeout", .min = 10, .max = 3600000, .dflt = "15s",
		.doc = "For a client to take its answer."),
	{ 0 },
};

const struct sb_field sb_listener_fields[] = {
	SB_F(STR, L, address, .required = true, .max = 255,
		.doc = "`127.0.0.1:8480`, `[::1]:8480`, `unix:/path`; port 0: any free one."),
	SB_F(STRS, L, serve, .min = 1, .max = 8,
		.doc = "Of `events`, `webhooks`, `metrics`, `health`; absent: all of them."),
	OBJECT("auth", auth_fields, .doc = "Who may send; required beyond loopback, unless `insecure: true`."),
	SB_F(BOOL, L, insecure, .dflt = "false",
		.doc = "Listen beyond loopback without `auth`: everybody who reaches the address may send."),
	SB_F(STRS, L, allow_origins, .max = 64,
		.doc = "Web sites whose pages may send; a request with another `Origin` is refused."),
	OBJECT("limits", listener_limits, .doc = "What the server refuses."),
	{ 0 },
};

#undef L

const struct sb_field sb_bus_fields[] = { { 0 } };

const struct sb_field sb_bus_target_fields[] = {
	SB_F(STR, struct sb_bus_target_conf, name, .required = true, .max = 64, .doc = "The bus that gets the event."),
	{ 0 },
};

#define S struct sb_source_keys

static const struct sb_field source_auth[] = {
	SB_F_KEY(SECRETS, S, tokens, "tokens", .required = true, .min = 1, .max = 64,
		.doc = "Bearer tokens for this source, instead of the listener's."),
	{ 0 },
};

static const struct sb_field overflow_fields[] = {
	SB_F_KEY(STR, S, overflow_topic, "topic", .required = true, .min = 1, .max = 249, .live = true,
		.doc = "Of a `kafka` source: the topic of the same cluster that gets the event, with the names of those it is owed to."),
	{ 0 },
};

const struct sb_field sb_source_fields[] = {
	SB_F(STR, S, bus, .max = 64, .live = true,
		.doc = "The bus its events go to; absent: what the event says, else `default`."),
	SB_F(ENUM, S, envelope, .names = envelopes, .dflt = "auto", .live = true, .doc = "How its events are wrapped."),
	SB_F(TEMPLATE, S, source, .live = true,
		.doc = "The event's `source`, for input that has none: text with `<$.path>` or `<meta.path>` in it."),
	SB_F(TEMPLATE, S, detail_type, .live = true, .doc = "The event's `detail-type`, likewise."),
	SB_F(ENUM, S, overflow, .names = overflows, .sub = overflow_fields, .dflt = "spill", .live = true,
		.doc = "Of a queue that keeps its messages (Kafka, Redis Streams), when one is not delivered soon: `spill` writes it to "
		       "this machine's journal and lets the queue's position move on; `pause` waits for it; a map sends it on."),
	SB_F(MS, S, spill_after, .min = 10, .max = 3600000, .dflt = "2s", .live = true,
		.doc = "How soon is soon. One that has failed goes to the journal at once."),
	OBJECT("auth", source_auth, .doc = "Who may send to it.", .live = true),
	{ 0 },
};

#undef S
#define T struct sb_target_keys

static const struct sb_field retry_fields[] = {
	SB_F_KEY(INT, T, retry.max_retries, "max_retries", .min = 0, .max = 1000000, .dflt = "185", .live = true,
		.doc = "The first attempt not counted; 0: none."),
	SB_F_KEY(MS, T, retry.base, "base", .min = 1, .max = 86400000, .dflt = "1s", .live = true,
		.doc = "The wait before retry n is even in 0 to base * 2^n."),
	SB_F_KEY(MS, T, retry.cap, "cap", .min = 1, .max = 86400000, .dflt = "16m", .live = true,
		.doc = "Longest wait."),
	SB_F_KEY(MS, T, retry.max_age, "max_age", .min = 1, .max = INT64_MAX, .dflt = "24h", .live = true,
		.doc = "Since intake; then it is a dead letter, whatever is left of the retries."),
	{ 0 },
};

static const struct sb_field max_queue_fields[] = {
	SB_F_KEY(BYTES, T, max_queue.bytes, "bytes", .min = 0, .max = INT64_MAX, .dflt = "0", .live = true,
		.doc = "Of events that are owed; 0: as much as the disk holds."),
	SB_F_KEY(MS, T, max_queue.age, "age", .min = 0, .max = INT64_MAX, .dflt = "0", .live = true,
		.doc = "Of the oldest; 0: no bound."),
	{ 0 },
};

const struct sb_field sb_target_fields[] = {
	SB_F(INT, T, concurrency, .min = 1, .max = 100000, .dflt = "10", .live = true,
		.doc = "Most attempts at once; exact. Of a `kafka` target 1000, when absent: it sends in batches."),
	SB_F(MS, T, timeout, .min = 1, .max = 86400000, .dflt = "30s", .live = true, .doc = "Of one attempt."),
	OBJECT("retry", retry_fields, .doc = "Full-jitter exponential back-off.", .live = true),
	SB_F(PATH, T, order_by, .live = true,
		.doc = "First in, first out for each value at this path; a failing key blocks only itself."),
	SB_F(INT, T, lanes, .min = 1, .max = 1 << 20, .dflt = "1024", .live = true,
		.doc = "Keys are hashed to this many, with `order_by`."),
	SB_F(STR, T, dead_letter, .max = 64, .live = true,
		.doc = "Another target that gets what has died here; it is then retried without end. Absent: the "
		       "table."),
	OBJECT("max_queue", max_queue_fields, .doc = "Bounds of the target's backlog.", .live = true),
	SB_F(ENUM, T, on_full, .names = full_words, .dflt = "dead_letter", .live = true,
		.doc = "At the bound: the event is a dead letter for this target, or its sender is refused."),
	SB_F(INT, T, max_retrying, .min = 1, .max = 1000000, .dflt = "10000", .live = true,
		.doc = "Deliveries that wait for a retry; at the bound no new one is begun."),
	SB_F(BYTES, T, cache_bytes, .min = 65536, .max = 1 << 30, .dflt = "8MiB", .live = true,
		.doc = "Memory for the backlog; the rest stays in the journal."),
	{ 0 },
};
