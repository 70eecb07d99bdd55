/* SPDX-License-Identifier: Apache-2.0 */
/* What was gathered, as the JSON of `status` and the text of /metrics. */
#include "broker/gather.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "broker/base/log.h"
#include "broker/config.h"
#include "broker/deadbox.h"

static uint64_t age(uint64_t now, uint64_t since)
{
	return since && now > since ? now - since : 0;
}

static void add_rejected(const struct sb_source_stat *s, struct sb_buf *out)
{
	bool any = false;

	sb_buf_adds(out, ",\"rejected\":{");
	for (size_t i = 0; i < SB_REJECT_REASONS; i++) {
		const char *reason = atomic_load(&s->rejected[i].reason);

		if (!reason)
			continue;
		sb_buf_addf(out, "%s\"%s\":%" PRIu64, any ? "," : "", reason, sb_counted(&s->rejected[i].n));
		any = true;
	}
	sb_buf_addc(out, '}');
}

/* What the connector has to say, by shard; those that have nothing to say are left out. */
static void add_instances(const struct sb_gather *g, const struct sb_source_view *v, struct sb_buf *out)
{
	bool any = false;

	for (unsigned k = 0; k < g->n_shards; k++) {
		if (v->detail[k].len == 0)
			continue;
		sb_buf_addf(out, "%s{\"shard\":%u,%.*s}", any ? "," : ",\"instances\":[", k, SB_SLICE_ARG(sb_buf_slice(&v->detail[k])));
		any = true;
	}
	if (any)
		sb_buf_addc(out, ']');
}

static void add_sources(const struct sb_gather *g, struct sb_buf *out)
{
	sb_buf_adds(out, ",\"sources\":[");
	for (size_t i = 0; i < g->n_sources; i++) {
		const struct sb_source_slot *slot = g->source[i].slot;
		const struct sb_source_stat *s = slot->stat;

		sb_buf_addf(out, "%s{\"name\":\"%s\",\"type\":\"%s\",\"received\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"paused\":%s",
			i ? "," : "", s->name, slot->connector->type, sb_counted(&s->received), sb_counted(&s->refused),
			atomic_load(&s->paused) ? "true" : "false");
		sb_buf_addf(out, ",\"held\":%" PRIu64 ",\"spilled\":%" PRIu64 ",\"overflowed\":%" PRIu64, sb_counted(&slot->held),
			sb_counted(&s->spilled), sb_counted(&s->overflowed));
		add_rejected(s, out);
		add_instances(g, &g->source[i], out);
		sb_buf_addc(out, '}');
	}
	sb_buf_addc(out, ']');
}

static const char *yes(bool b)
{
	return b ? "true" : "false";
}

static void add_target(const struct sb_target_view *v, uint64_t now, struct sb_buf *out)
{
	const struct sb_dispatch_stats *d = &v->stats;

	sb_buf_addf(out, "{\"name\":\"%s\",\"type\":\"%s\",\"in_flight\":%" PRIu64 ",\"queued\":%" PRIu64 ",\"queued_bytes\":%" PRIu64,
		v->slot->name, v->type, d->in_flight, d->queued, d->queued_bytes);
	sb_buf_addf(out, ",\"retrying\":%" PRIu64 ",\"held\":%" PRIu64 ",\"dead\":%" PRIu64 ",\"delivered\":%" PRIu64 ",\"retries\":%" PRIu64,
		d->retrying, d->held, d->dead, d->delivered, d->retries);
	sb_buf_addf(out, ",\"oldest_ms\":%" PRIu64 ",\"paused\":%s,\"unreachable_for_ms\":%" PRIu64, age(now, d->oldest_ms),
		yes(atomic_load(&v->slot->paused)), age(d->unreachable_until_ms, now));
	sb_buf_addf(out, ",\"removed\":%s,\"abandoned\":%s,\"backlog\":%s,\"at_max_retrying\":%s,\"detail\":{", yes(v->removed),
		yes(v->abandoned), yes(d->backlog), yes(d->at_max_retrying));
	sb_buf_add_slice(out, sb_buf_slice(&v->detail));
	sb_buf_adds(out, "}}");
}

static void add_rules(const struct sb_gather *g, struct sb_buf *out)
{
	static const char *const states[] = { "enabled", "disabled", "shadow" };

	sb_buf_adds(out, ",\"rules\":[");
	for (size_t i = 0; i < g->plan->rules->n; i++) {
		const struct sb_rule *r = &g->plan->rules->rule[i];
		const struct sb_rule_stat *st = g->plan->rule_stat[i];

		sb_buf_addf(out, "%s{\"name\":\"%s\",\"bus\":\"%s\",\"state\":\"%s\",\"matched\":%" PRIu64 "}", i ? "," : "", r->name,
			r->bus, states[r->state], sb_counted(r->state == SB_RULE_SHADOW ? &st->shadowed : &st->matched));
	}
	sb_buf_addc(out, ']');
}

static void sum_events(const struct sb_core *core, uint64_t *events, uint64_t *unmatched)
{
	*events = *unmatched = 0;
	for (unsigned i = 0; i < core->n_shards; i++) {
		*events += sb_counted(&core->shard[i]->events);
		*unmatched += sb_counted(&core->shard[i]->unmatched);
	}
}

int sb_status_json(const struct sb_gather *g, const struct sb_core *core, struct sb_buf *out)
{
	uint64_t now = sb_wall_ms(core->clock), events, unmatched;
	struct sb_deadletters_stats dead;
	struct sb_journal_stats j;
	size_t before = out->len;

	sb_buf_addf(out, "{\"v\":1,\"version\":\"%s\",\"pid\":%d,\"generation\":%" PRIu64 ",\"uptime_ms\":%" PRIu64
			 ",\"ready\":%s,\"stopping\":%s",
		SB_VERSION, (int)getpid(), g->plan->generation, age(now, core->started_ms), yes(atomic_load(&core->ready)),
		yes(atomic_load(&core->stopping)));
	add_sources(g, out);
	sb_buf_adds(out, ",\"targets\":[");
	for (size_t i = 0; i < g->n_targets; i++) {
		if (i)
			sb_buf_addc(out, ',');
		add_target(&g->target[i], now, out);
	}
	sb_buf_addc(out, ']');
	add_rules(g, out);
	sb_deadletters_get_stats(sb_deadbox_table(core->deadbox), &dead);
	sb_journal_get_stats(core->journal, &j);
	sum_events(core, &events, &unmatched);
	sb_buf_addf(out, ",\"dead_letters\":{\"letters\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"redriving\":%" PRIu64 "}", dead.letters,
		dead.bytes, dead.redriving);
	sb_buf_addf(out, ",\"journal\":{\"segments\":%" PRIu64 ",\"disk_bytes\":%" PRIu64 ",\"outstanding\":%" PRIu64
			 ",\"full\":%s,\"groups\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
		j.segments, j.disk_bytes, j.outstanding, yes(j.full), j.groups, j.bytes);
	sb_buf_addf(out, ",\"counts\":{\"events\":%" PRIu64 ",\"unmatched\":%" PRIu64 "},\"listeners\":%s}", events, unmatched,
		core->listeners_json);
	return out->len > before && out->p[out->len - 1] == '}' && out->len < out->max ? 0 : -1;
}

/* ------------------------------------------------------------------------------------------------ metrics */

static void head(struct sb_buf *out, const char *name, const char *type, const char *help)
{
	sb_buf_addf(out, "# HELP signalbox_%s %s\n# TYPE signalbox_%s %s\n", name, help, name, type);
}

static void one(struct sb_buf *out, const char *name, const char *type, const char *help, uint64_t v)
{
	head(out, name, type, help);
	sb_buf_addf(out, "signalbox_%s %" PRIu64 "\n", name, v);
}

static void source_metrics(const struct sb_gather *g, struct sb_buf *out)
{
	head(out, "events_received_total", "counter", "Events taken in, by source");
	for (size_t i = 0; i < g->n_sources; i++)
		sb_buf_addf(out, "signalbox_events_received_total{via=\"%s\"} %" PRIu64 "\n", g->source[i].slot->name,
			sb_counted(&g->source[i].slot->stat->received));
	head(out, "events_held", "gauge", "Events that their source holds until they are settled, by source");
	for (size_t i = 0; i < g->n_sources; i++)
		sb_buf_addf(out, "signalbox_events_held{via=\"%s\"} %" PRIu64 "\n", g->source[i].slot->name, sb_counted(&g->source[i].slot->held));
	head(out, "events_spilled_total", "counter", "Events that a source held and that went to the journal after all, by source");
	for (size_t i = 0; i < g->n_sources; i++)
		sb_buf_addf(out, "signalbox_events_spilled_total{via=\"%s\"} %" PRIu64 "\n", g->source[i].slot->name,
			sb_counted(&g->source[i].slot->stat->spilled));
	head(out, "events_overflowed_total", "counter", "Events that a source held and has sent on to its overflow topic, by source");
	for (size_t i = 0; i < g->n_sources; i++)
		sb_buf_addf(out, "signalbox_events_overflowed_total{via=\"%s\"} %" PRIu64 "\n", g->source[i].slot->name,
			sb_counted(&g->source[i].slot->stat->overflowed));
	head(out, "events_rejected_total", "counter", "Events not taken in, by source and reason");
	for (size_t i = 0; i < g->n_sources; i++) {
		const struct sb_source_stat *s = g->source[i].slot->stat;

		sb_buf_addf(out, "signalbox_events_rejected_total{via=\"%s\",reason=\"refused\"} %" PRIu64 "\n", s->name,
			sb_counted(&s->refused));
		for (size_t k = 0; k < SB_REJECT_REASONS && atomic_load(&s->rejected[k].reason); k++)
			sb_buf_addf(out, "signalbox_events_rejected_total{via=\"%s\",reason=\"%s\"} %" PRIu64 "\n", s->name,
				atomic_load(&s->rejected[k].reason), sb_counted(&s->rejected[k].n));
	}
}

static const struct {
	const char *name, *type, *help;
	const char *labels; /* beyond the target */
	size_t offset;
} target_rows[] = {
	{ "deliveries_total", "counter", "Deliveries, by target and outcome", ",outcome=\"delivered\"",
		offsetof(struct sb_dispatch_stats, delivered) },
	{ "deliveries_total", NULL, NULL, ",outcome=\"retry\"", offsetof(struct sb_dispatch_stats, retries) },
	{ "deliveries_total", NULL, NULL, ",outcome=\"dead\"", offsetof(struct sb_dispatch_stats, dead) },
	{ "deliveries_total", NULL, NULL, ",outcome=\"released\"", offsetof(struct sb_dispatch_stats, released) },
	{ "deliveries_total", NULL, NULL, ",outcome=\"unreachable\"", offsetof(struct sb_dispatch_stats, unreachable) },
	{ "inflight_deliveries", "gauge", "Attempts in flight", "", offsetof(struct sb_dispatch_stats, in_flight) },
	{ "queued_events", "gauge", "Deliveries that wait for their turn", "", offsetof(struct sb_dispatch_stats, queued) },
	{ "retry_queue_events", "gauge", "Deliveries that wait for their retry", "", offsetof(struct sb_dispatch_stats, retrying) },
};

/* A metric's rows must stand together, so the rows are the outer loop, and rows without a type go on with the one before. */
static void target_metrics(const struct sb_gather *g, struct sb_buf *out)
{
	for (size_t r = 0; r < SB_LEN(target_rows); r++) {
		if (target_rows[r].type)
			head(out, target_rows[r].name, target_rows[r].type, target_rows[r].help);
		for (size_t i = 0; i < g->n_targets; i++)
			sb_buf_addf(out, "signalbox_%s{target=\"%s\"%s} %" PRIu64 "\n", target_rows[r].name, g->target[i].slot->name,
				target_rows[r].labels,
				*(const uint64_t *)(const void *)((const char *)&g->target[i].stats + target_rows[r].offset));
	}
	head(out, "target_circuit_state", "gauge", "1: the target is in this state");
	for (size_t i = 0; i < g->n_targets; i++)
		sb_buf_addf(out, "signalbox_target_circuit_state{target=\"%s\",state=\"open\"} %d\n", g->target[i].slot->name,
			g->target[i].stats.unreachable_until_ms != 0);
	head(out, "delivery_duration_seconds_sum", "counter", "Time spent in delivered attempts");
	for (size_t i = 0; i < g->n_targets; i++)
		sb_buf_addf(out, "signalbox_delivery_duration_seconds_sum{target=\"%s\"} %.6f\n", g->target[i].slot->name,
			(double)g->target[i].stats.duration_ns_sum / 1e9);
}

static void rule_metrics(const struct sb_gather *g, struct sb_buf *out)
{
	head(out, "rule_matches_total", "counter", "Events that matched, by rule");
	for (size_t i = 0; i < g->plan->rules->n; i++)
		sb_buf_addf(out, "signalbox_rule_matches_total{rule=\"%s\"} %" PRIu64 "\n", g->plan->rules->rule[i].name,
			sb_counted(&g->plan->rule_stat[i]->matched));
}

static void http_metrics(const struct sb_gather *g, struct sb_buf *out)
{
	struct sb_http_stats sum = { 0 };

	for (unsigned i = 0; i < g->n_shards; i++) {
		sum.connections += g->http[i].connections;
		sum.requests += g->http[i].requests;
		sum.open += g->http[i].open;
		sum.refused_connections += g->http[i].refused_connections;
		for (size_t k = 0; k < SB_HTTP_NREFUSALS; k++)
			sum.refused[k] += g->http[i].refused[k];
	}
	one(out, "http_requests_total", "counter", "HTTP requests that were read whole", sum.requests);
	one(out, "http_connections_total", "counter", "HTTP connections accepted", sum.connections);
	one(out, "http_connections_open", "gauge", "HTTP connections open now", sum.open);
	one(out, "http_connections_refused_total", "counter", "HTTP connections over a limit", sum.refused_connections);
	head(out, "http_refused_total", "counter", "HTTP requests refused, by reason");
	for (size_t k = 0; k < SB_HTTP_NREFUSALS; k++)
		sb_buf_addf(out, "signalbox_http_refused_total{reason=\"%s\"} %" PRIu64 "\n",
			sb_http_refusal_name((enum sb_http_refusal)k), sum.refused[k]);
}

static void journal_metrics(const struct sb_core *core, struct sb_buf *out)
{
	struct sb_journal_stats j;
	struct sb_deadletters_stats dead;

	sb_journal_get_stats(core->journal, &j);
	sb_deadletters_get_stats(sb_deadbox_table(core->deadbox), &dead);
	one(out, "journal_groups_total", "counter", "Groups committed", j.groups);
	one(out, "journal_bytes_total", "counter", "Bytes committed", j.bytes);
	one(out, "journal_segments", "gauge", "Segment files", j.segments);
	one(out, "journal_disk_bytes", "gauge", "Bytes that the journal takes on the disk", j.disk_bytes);
	one(out, "journal_outstanding_deliveries", "gauge", "Deliveries without an outcome yet", j.outstanding);
	one(out, "journal_full", "gauge", "1: new events are refused because the disk is full", j.full);
	one(out, "journal_waiting_bytes", "gauge", "Bytes of outcomes that wait for room on the disk", j.waiting);
	one(out, "journal_refused_full_total", "counter", "Groups of events refused because the disk is full", j.refused_full);
	one(out, "journal_corrupt_records_total", "counter", "Damaged records found", j.corrupt_records);
	one(out, "dlq_events", "gauge", "Dead letters in the table", dead.letters);
	one(out, "dlq_bytes", "gauge", "Bytes of dead letters in the table", dead.bytes);
	one(out, "dlq_expired_total", "counter", "Dead letters that expired", sb_counted(&core->counts.lost_letters));
}

int sb_metrics_text(const struct sb_gather *g, const struct sb_core *core, bool detailed, struct sb_buf *out)
{
	uint64_t events, unmatched;

	sum_events(core, &events, &unmatched);
	head(out, "build_info", "gauge", "Always 1");
	sb_buf_addf(out, "signalbox_build_info{version=\"%s\"} 1\n", SB_VERSION);
	one(out, "events_total", "counter", "Events stored", events);
	one(out, "events_unmatched_total", "counter", "Events that no rule matched", unmatched);
	one(out, "rules_loaded", "gauge", "Rules of the generation in use", g->plan->rules->n);
	one(out, "config_generation", "gauge", "Number of the generation in use", g->plan->generation);
	one(out, "config_last_reload_successful", "gauge", "0: the last reload failed", sb_counted(&core->counts.reload_ok));
	one(out, "config_last_reload_success_timestamp_seconds", "gauge", "When the generation in use was loaded",
		sb_counted(&core->counts.reload_ms) / 1000);
	one(out, "spawner_restarts_total", "counter", "Spawner processes that had to be started again",
		sb_counted(&core->counts.spawner_restarts));
	if (g->plan->config->metrics.url) {
		one(out, "redis_flushes_total", "counter", "Times that metrics were written to Redis", sb_counted(&core->counts.redis_flushes));
		one(out, "redis_flush_dropped_total", "counter", "Times that they should have been, and were not",
			sb_counted(&core->counts.redis_flushes_dropped));
		one(out, "redis_metrics_up", "gauge", "1: connected to the Redis of metrics", sb_counted(&core->counts.redis_up));
		one(out, "redis_metrics_leader", "gauge", "1: writes the numbers of the whole cluster", sb_counted(&core->counts.redis_leads));
	}
	one(out, "log_lines_dropped_total", "counter", "Log lines that standard error did not take", sb_log_dropped());
	source_metrics(g, out);
	target_metrics(g, out);
	if (detailed)
		rule_metrics(g, out);
	http_metrics(g, out);
	journal_metrics(core, out);
	return 0;
}
