/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics_lead.h"

#include <inttypes.h>
#include <stdio.h>

#include "broker/net/http.h"

/*
 * What the leader makes of all instances: the cluster's streams, the hashes and streams of each rule, target and source, top lists.
 *
 * Counters of an instance only grow, and a restart makes another instance of it. `:a:<instance>` holds how far each has been
 * accounted for; what came since is added to the cluster's, and becomes the new `:a:<instance>`, in one MULTI under a WATCH of the
 * lease. So a leader that is slow, dead, or not the leader any more can neither count twice nor skip anything.
 */
#define LEASE_MS 5000
#define BEAT_MS 5000
#define TOTAL_S (30 * 86400)
#define SECONDS_KEPT 3600
#define MINUTES_KEPT 20160
#define ACCOUNT_BYTES (8u << 20) /* of rules, targets and sources in a roll-up; the instances beyond have their turn at the next */

/* What an answer belongs to. */
struct ask {
	struct sb_lead_instance *of;
	enum sb_part part;
};

void sb_metrics_lead_done(struct sb_metrics *m)
{
	struct sb_lead *l = m->lead;

	m->lead = NULL;
	for (size_t i = 0; l && i < l->n_instances; i++)
		for (unsigned p = 0; p < SB_PARTS; p++)
			sb_map_done(&l->instance[i].accounted[p]);
	for (unsigned p = 0; l && p < SB_PARTS; p++)
		sb_map_done(&l->part[p].map);
	sb_arena_done(&m->arena);
}

/* ------------------------------------------------------------------------------------------------ sums */

static void pack_sums(const struct sb_sums *s, struct sb_buf *out)
{
	for (unsigned i = 0; i < SB_TOTAL_COUNTERS; i++)
		sb_buf_addf(out, "%" PRIu64 " ", s->n[i]);
	sb_pack_durations(s->duration, out);
}

static void unpack_sums(struct sb_slice text, struct sb_sums *ret)
{
	struct sb_slice word;

	for (unsigned i = 0; i < SB_TOTAL_COUNTERS; i++)
		sb_take_number(&text, &ret->n[i]);
	if (sb_take_word(&text, &word) == 0)
		sb_unpack_durations(word, ret->duration);
}

/* Counters: what came since. Gauges stay as they are. */
static struct sb_sums since(const struct sb_sums *now, const struct sb_sums *before)
{
	struct sb_sums d = *now;

	for (unsigned i = 0; i < SB_TOTAL_COUNTERS; i++)
		d.n[i] = sb_less(now->n[i], before->n[i]);
	for (unsigned i = 0; i < SB_DURATION_BUCKETS; i++)
		d.duration[i] = sb_less(now->duration[i], before->duration[i]);
	return d;
}

static void add_sums(struct sb_sums *into, const struct sb_sums *s)
{
	for (unsigned i = 0; i < SB_TOTALS; i++)
		into->n[i] = i == SB_TOTAL_LAG_MS ? SB_MAX(into->n[i], s->n[i]) : into->n[i] + s->n[i];
	for (unsigned i = 0; i < SB_DURATION_BUCKETS; i++)
		into->duration[i] += s->duration[i];
}

/* ------------------------------------------------------------------------------------------------ who leads */

static void on_lead(struct sb_metrics *m, const redisReply *r, void *arg)
{
	(void)arg;
	m->lead->ours = r->type == REDIS_REPLY_STRING && sb_slice_eq_str(rds_text(r), m->instance);
}

static void on_instances(struct sb_metrics *m, const redisReply *r, void *arg)
{
	struct sb_lead *l = m->lead;

	(void)arg;
	if (!rds_is_array(r, 0))
		return;
	l->instance = sb_arena_alloc(&m->arena, (r->elements + 1) * sizeof(*l->instance));
	for (size_t i = 0; i < r->elements; i++)
		l->instance[l->n_instances++].name = sb_arena_strndup(&m->arena, r->element[i]->str, r->element[i]->len);
}

static void take_total(struct sb_metrics *m, struct sb_slice key, struct sb_slice value)
{
	struct sb_lead *l = m->lead;

	for (unsigned i = 0; i < SB_TOTAL_COUNTERS; i++)
		if (sb_slice_eq_str(key, sb_total_names[i]))
			sb_number_of(value, &l->total.n[i]);
	if (sb_slice_eq_str(key, "_durations"))
		sb_unpack_durations(value, l->total.duration);
	else if (sb_slice_eq_str(key, "_before"))
		unpack_sums(value, &l->minute_before);
	else if (sb_slice_eq_str(key, "_rules"))
		l->rules = sb_arena_slice(&m->arena, value);
	else if (sb_slice_eq_str(key, "_at_ms"))
		sb_number_of(value, &l->at_ms);
	else if (sb_slice_eq_str(key, "_beat"))
		sb_number_of(value, &l->beat);
	else if (sb_slice_eq_str(key, "_rollup"))
		sb_number_of(value, &l->rollup);
}

static void on_total(struct sb_metrics *m, const redisReply *r, void *arg)
{
	(void)arg;
	if (!rds_is_array(r, 0))
		return;
	for (size_t i = 0; i + 1 < r->elements; i += 2)
		take_total(m, rds_text(r->element[i]), rds_text(r->element[i + 1]));
}

static uint64_t lease_ms(const struct sb_metrics *m)
{
	return SB_MAX((uint64_t)LEASE_MS, 5 * m->conf->flush_ms);
}

void sb_metrics_ask(struct sb_metrics *m)
{
	struct sb_lead *l = sb_arena_alloc(&m->arena, sizeof(*l));

	m->lead = l;
	l->now_ms = sb_wall_ms(m->d->core.clock);
	for (unsigned i = 0; i < SB_PARTS; i++)
		l->part[i].last = &l->part[i].first;
	sb_metrics_begin(m, 6, "SET");
	sb_metrics_key(m, ":lead");
	sb_metrics_word(m, m->instance);
	sb_metrics_word(m, "NX");
	sb_metrics_word(m, "PX");
	sb_metrics_number(m, lease_ms(m));
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_begin(m, 2, "WATCH");
	sb_metrics_key(m, ":lead");
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_begin(m, 2, "GET");
	sb_metrics_key(m, ":lead");
	sb_metrics_end(m, on_lead, NULL);
	sb_metrics_begin(m, 7, "ZREVRANGEBYSCORE"); /* if there are too many, those that are gone are left out */
	sb_metrics_key(m, ":inst");
	sb_metrics_word(m, "+inf");
	sb_metrics_number(m, sb_less(l->now_ms, sb_metrics_gone_s(m) * 1000));
	sb_metrics_word(m, "LIMIT");
	sb_metrics_number(m, 0);
	sb_metrics_number(m, SB_METRICS_INSTANCES);
	sb_metrics_end(m, on_instances, NULL);
	sb_metrics_begin(m, 2, "HGETALL");
	sb_metrics_key(m, ":tot");
	sb_metrics_end(m, on_total, NULL);
}

/* ------------------------------------------------------------------------------------------------ reading the instances */

static void on_whole(struct sb_metrics *m, const redisReply *r, void *arg)
{
	struct sb_lead_instance *in = arg;

	(void)m;
	if (!rds_is_array(r, SB_TOTALS + 1) || r->element[0]->type != REDIS_REPLY_STRING)
		return;
	in->known = true;
	for (unsigned i = 0; i < SB_TOTALS; i++)
		sb_number_of(rds_text(r->element[i]), &in->now.n[i]);
	sb_unpack_durations(rds_text(r->element[SB_TOTALS]), in->now.duration);
}

static void on_accounted(struct sb_metrics *m, const redisReply *r, void *arg)
{
	(void)m;
	if (r->type == REDIS_REPLY_STRING)
		unpack_sums(rds_text(r), &((struct sb_lead_instance *)arg)->before);
}

static void on_part_accounted(struct sb_metrics *m, const redisReply *r, void *arg)
{
	struct ask *ask = arg;

	ask->of->later[ask->part] = m->lead->bytes >= ACCOUNT_BYTES;
	if (!rds_is_array(r, 0) || ask->of->later[ask->part])
		return;
	for (size_t i = 0; i + 1 < r->elements; i += 2) {
		struct sb_lead_field *f = sb_arena_alloc(&m->arena, sizeof(*f));

		f->name = sb_arena_slice(&m->arena, rds_text(r->element[i]));
		f->value = sb_arena_slice(&m->arena, rds_text(r->element[i + 1]));
		sb_map_put(&ask->of->accounted[ask->part], f->name, f);
		m->lead->bytes += f->name.n + f->value.n;
	}
}

static struct sb_lead_entity *entity_of(struct sb_metrics *m, enum sb_part part, struct sb_slice name)
{
	struct sb_lead_part *p = &m->lead->part[part];
	struct sb_lead_entity *e;

	if (p->map.n >= sb_part_shapes[part].max && !sb_map_get(&p->map, name))
		name = SB_SLICE("_other");
	e = sb_map_get(&p->map, name);
	if (e)
		return e;
	e = sb_arena_alloc(&m->arena, sizeof(*e));
	e->name = sb_arena_slice(&m->arena, name);
	*p->last = e;
	p->last = &e->next;
	sb_map_put(&p->map, e->name, e);
	return e;
}

/* What this round has to account for, of one name of one instance: counters become what came since. */
static void move_on(struct sb_metrics *m, const struct ask *ask, struct sb_slice name, struct sb_slice value, struct sb_packed *now)
{
	struct sb_lead_instance *in = ask->of;
	struct sb_lead_field *old = sb_map_get(&in->accounted[ask->part], name);
	struct sb_packed before = { 0 };

	if (old) {
		in->n_kept[ask->part] += !old->told;
		old->told = true;
		sb_unpack(ask->part, old->value, &before);
	}
	if (in->later[ask->part])
		before = *now;
	sb_packed_since(ask->part, now, &before);
	if (!m->lead->rolls || in->later[ask->part] || (old && sb_slice_eq(old->value, value)))
		return;
	in->moved[ask->part][in->n_moved[ask->part]++] =
		(struct sb_lead_field){ sb_arena_slice(&m->arena, name), sb_arena_slice(&m->arena, value), true };
	m->lead->bytes += name.n + value.n;
}

/* What has left the configuration there may be at work here. */
static void take_words(struct sb_metrics *m, const struct ask *ask, const struct sb_packed *now, struct sb_lead_entity *e)
{
	if (!ask->of->known || (e->sum.text[0].n && sb_slice_eq_str(now->text[0], "-")))
		return;
	for (unsigned i = 0; i < sb_part_shapes[ask->part].words; i++)
		e->sum.text[i] = sb_arena_slice(&m->arena, now->text[i]);
}

static void take_entity(struct sb_metrics *m, const struct ask *ask, struct sb_slice name, struct sb_slice value)
{
	const struct sb_part_shape *s = &sb_part_shapes[ask->part];
	struct sb_lead_entity *e;
	struct sb_packed now;

	if (sb_unpack(ask->part, value, &now) < 0)
		return;
	e = entity_of(m, ask->part, name);
	take_words(m, ask, &now, e);
	move_on(m, ask, name, value, &now);
	for (unsigned i = s->counters; i < s->numbers && !ask->of->known; i++)
		now.n[i] = 0; /* what is gone has nothing waiting */
	sb_packed_merge(ask->part, &e->sum, &now);
}

static void on_part(struct sb_metrics *m, const redisReply *r, void *arg)
{
	struct ask *ask = arg;

	if (!rds_is_array(r, 0))
		return;
	ask->of->n_told[ask->part] = r->elements / 2;
	ask->of->moved[ask->part] = sb_arena_alloc(&m->arena, (r->elements / 2 + 1) * sizeof(struct sb_lead_field));
	for (size_t i = 0; i + 1 < r->elements; i += 2)
		take_entity(m, ask, rds_text(r->element[i]), rds_text(r->element[i + 1]));
}

static void ask_part(struct sb_metrics *m, struct sb_lead_instance *in, enum sb_part part)
{
	struct ask *ask = sb_arena_alloc(&m->arena, sizeof(*ask));

	*ask = (struct ask){ in, part };
	if (m->lead->rolls) {
		sb_metrics_begin(m, 2, "HGETALL");
		sb_metrics_key(m, ":a:%s:%s", in->name, sb_part_shapes[part].key);
		sb_metrics_end(m, on_part_accounted, ask);
	}
	sb_metrics_begin(m, 2, "HGETALL");
	sb_metrics_key(m, ":i:%s:%s", in->name, sb_part_shapes[part].key);
	sb_metrics_end(m, on_part, ask);
}

static void ask_instance(struct sb_metrics *m, struct sb_lead_instance *in)
{
	sb_metrics_begin(m, 2 + SB_TOTALS + 1, "HMGET");
	sb_metrics_key(m, ":i:%s", in->name);
	for (unsigned i = 0; i < SB_TOTALS; i++)
		sb_metrics_word(m, sb_total_names[i]);
	sb_metrics_word(m, "durations");
	sb_metrics_end(m, on_whole, in);
	sb_metrics_begin(m, 2, "GET");
	sb_metrics_key(m, ":a:%s", in->name);
	sb_metrics_end(m, on_accounted, in);
	for (unsigned p = 0; p < SB_PARTS; p++)
		if (m->lead->rolls || (m->lead->beats && p == SB_PART_TARGETS))
			ask_part(m, in, (enum sb_part)p);
}

/* ------------------------------------------------------------------------------------------------ writing: streams */

void sb_metrics_xadd(struct sb_metrics *m, unsigned fields, uint64_t kept, const char *key)
{
	sb_metrics_begin(m, 6 + 2 * fields, "XADD");
	sb_metrics_key(m, "%s", key);
	sb_metrics_word(m, "MAXLEN");
	sb_metrics_word(m, "~");
	sb_metrics_number(m, kept);
	sb_metrics_wordf(m, "%" PRIu64 "-0", m->lead->id_ms);
}

void sb_metrics_pair(struct sb_metrics *m, const char *name, uint64_t n)
{
	sb_metrics_word(m, name);
	sb_metrics_number(m, n);
}

void sb_metrics_quantiles(struct sb_metrics *m, const uint64_t *duration)
{
	static const struct {
		const char *name;
		unsigned per_mille;
	} rows[] = { { "p50_ms", 500 }, { "p95_ms", 950 }, { "p99_ms", 990 } };

	for (size_t i = 0; i < SB_LEN(rows); i++) {
		sb_metrics_word(m, rows[i].name);
		sb_metrics_wordf(m, "%.3f", sb_duration_quantile(duration, rows[i].per_mille));
	}
}

static void cluster_entry(struct sb_metrics *m, const char *key, const struct sb_sums *s, bool minute)
{
	static const unsigned row[] = { SB_TOTAL_IN, SB_TOTAL_MATCHED, SB_TOTAL_UNMATCHED, SB_TOTAL_DELIVERED, SB_TOTAL_FAILED,
		SB_TOTAL_RETRIED, SB_TOTAL_DLQ, SB_TOTAL_QUEUED, SB_TOTAL_INFLIGHT, SB_TOTAL_BYTES, SB_TOTAL_LAG_MS };
	unsigned n = minute ? SB_LEN(row) : SB_LEN(row) - 2;

	sb_metrics_xadd(m, n + 3, minute ? MINUTES_KEPT : SECONDS_KEPT, key);
	for (unsigned i = 0; i < n; i++)
		sb_metrics_pair(m, sb_total_names[row[i]], s->n[row[i]]);
	sb_metrics_quantiles(m, s->duration);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, TOTAL_S, "%s", key);
}

static void add_packed_sums(struct sb_metrics *m, const struct sb_sums *s)
{
	struct sb_buf text = SB_BUF(4096);

	pack_sums(s, &text);
	sb_metrics_bytes(m, sb_buf_slice(&text));
	sb_buf_done(&text);
}

static void write_total(struct sb_metrics *m, const struct sb_sums *total, const struct sb_sums *before)
{
	struct sb_lead *l = m->lead;
	struct sb_buf text = SB_BUF(4096);

	sb_pack_durations(total->duration, &text);
	sb_metrics_begin(m, 2 + 2 * (SB_TOTAL_COUNTERS + 6), "HSET");
	sb_metrics_key(m, ":tot");
	for (unsigned i = 0; i < SB_TOTAL_COUNTERS; i++)
		sb_metrics_pair(m, sb_total_names[i], total->n[i]);
	sb_metrics_word(m, "_durations");
	sb_metrics_bytes(m, sb_buf_slice(&text));
	sb_metrics_word(m, "_before");
	add_packed_sums(m, before);
	sb_metrics_word(m, "_rules");
	sb_metrics_word(m, m->rules);
	sb_metrics_pair(m, "_at_ms", l->id_ms);
	sb_metrics_pair(m, "_beat", l->now_ms / BEAT_MS);
	sb_metrics_pair(m, "_rollup", l->now_ms / m->conf->rollup_ms);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, TOTAL_S, ":tot");
	sb_buf_done(&text);
}

/* ------------------------------------------------------------------------------------------------ writing: accounts */

static void write_part_account(struct sb_metrics *m, const struct sb_lead_instance *in, enum sb_part part)
{
	const char *key = sb_part_shapes[part].key;

	if (in->n_moved[part] == 0)
		return;
	sb_metrics_begin(m, (unsigned)(2 + 2 * in->n_moved[part]), "HSET");
	sb_metrics_key(m, ":a:%s:%s", in->name, key);
	for (size_t i = 0; i < in->n_moved[part]; i++) {
		sb_metrics_bytes(m, in->moved[part][i].name);
		sb_metrics_bytes(m, in->moved[part][i].value);
	}
	sb_metrics_end(m, NULL, NULL);
}

/* Names that the instance tells no more, and will tell from zero if ever again. Of one that tells nothing at all nobody knows. */
static void forget_accounts(struct sb_metrics *m, struct sb_lead_instance *in, enum sb_part part)
{
	size_t n = in->accounted[part].n - in->n_kept[part];

	if (n == 0 || in->n_told[part] == 0 || in->later[part])
		return;
	sb_metrics_begin(m, (unsigned)(2 + n), "HDEL");
	sb_metrics_key(m, ":a:%s:%s", in->name, sb_part_shapes[part].key);
	sb_map_each (&in->accounted[part], it) {
		const struct sb_lead_field *f = it->value;

		if (!f->told)
			sb_metrics_bytes(m, f->name);
	}
	sb_metrics_end(m, NULL, NULL);
}

static void write_account(struct sb_metrics *m, struct sb_lead_instance *in)
{
	if (in->known) {
		sb_metrics_begin(m, 5, "SET");
		sb_metrics_key(m, ":a:%s", in->name);
		add_packed_sums(m, &in->now);
		sb_metrics_word(m, "EX");
		sb_metrics_number(m, SB_ENTITY_S);
		sb_metrics_end(m, NULL, NULL);
	}
	for (unsigned p = 0; p < SB_PARTS && m->lead->rolls; p++) {
		write_part_account(m, in, (enum sb_part)p);
		forget_accounts(m, in, (enum sb_part)p);
		sb_metrics_expire(m, SB_ENTITY_S, ":a:%s:%s", in->name, sb_part_shapes[p].key);
	}
}

/* ------------------------------------------------------------------------------------------------ the round */

/* Other rules than those of the leader that was here last are a deployment. */
static void look_at_rules(struct sb_metrics *m)
{
	const struct sb_plan *plan = m->d->plan;
	const struct sb_lead *l = m->lead;
	char before[sizeof(m->rules) + 8];
	uint8_t sha[32];

	if (m->hashed != plan->generation) {
		sb_sha256(plan->rules->text.p, plan->rules->text.n, sha);
		for (size_t i = 0; i + 2 < sizeof(m->rules); i += 2)
			snprintf(m->rules + i, 3, "%02x", sha[i / 2]);
		m->hashed = plan->generation;
	}
	if (l->rules.n == 0 || m->marked == m->hashed || sb_slice_eq_str(l->rules, m->rules))
		return;
	m->marked = m->hashed;
	snprintf(before, sizeof(before), "was %.16s", l->rules.p);
	sb_metrics_mark(m, "deploy", m->rules, before);
}

static void write_meta(struct sb_metrics *m)
{
	const struct sb_plan *plan = m->d->plan;

	sb_metrics_begin(m, 2 + 2 * 7, "HSET");
	sb_metrics_key(m, ":meta");
	sb_metrics_pair(m, "schema_version", SB_METRICS_SCHEMA);
	sb_metrics_word(m, "cluster");
	sb_metrics_word(m, m->conf->cluster);
	sb_metrics_word(m, "leader");
	sb_metrics_word(m, m->instance);
	sb_metrics_pair(m, "generation", plan->generation);
	sb_metrics_word(m, "rules_hash");
	sb_metrics_word(m, m->rules);
	sb_metrics_pair(m, "flush_ms", m->conf->flush_ms);
	sb_metrics_pair(m, "rollup_ms", m->conf->rollup_ms);
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_expire(m, TOTAL_S, ":meta");
}

static void write_cluster(struct sb_metrics *m)
{
	struct sb_lead *l = m->lead;
	struct sb_sums second = { 0 }, minute, total = l->total;

	for (size_t i = 0; i < l->n_instances; i++) {
		struct sb_sums d = since(&l->instance[i].now, &l->instance[i].before);

		if (l->instance[i].known)
			add_sums(&second, &d);
	}
	for (unsigned i = 0; i < SB_TOTAL_COUNTERS; i++)
		total.n[i] += second.n[i];
	for (unsigned i = 0; i < SB_DURATION_BUCKETS; i++)
		total.duration[i] += second.duration[i];
	cluster_entry(m, ":1s", &second, false);
	minute = since(&total, &l->minute_before);
	memcpy(minute.n + SB_TOTAL_COUNTERS, second.n + SB_TOTAL_COUNTERS, sizeof(minute.n) - SB_TOTAL_COUNTERS * sizeof(minute.n[0]));
	if (l->rolls)
		cluster_entry(m, ":1m", &minute, true);
	write_total(m, &total, l->rolls ? &total : &l->minute_before);
}

static void prune(struct sb_metrics *m)
{
	sb_metrics_begin(m, 4, "ZREMRANGEBYSCORE");
	sb_metrics_key(m, ":inst");
	sb_metrics_word(m, "-inf");
	sb_metrics_wordf(m, "(%" PRIu64, sb_less(m->lead->now_ms, sb_metrics_gone_s(m) * 1000));
	sb_metrics_end(m, NULL, NULL);
}

static void on_written(struct sb_metrics *m, const redisReply *r, void *arg)
{
	(void)arg;
	if (!sb_metrics_carried_out(m, r))
		m->leads = false; /* nil: somebody else has the lease */
}

static void written(struct sb_metrics *m)
{
	sb_metrics_round_over(m, !m->failed);
}

static void have_read(struct sb_metrics *m)
{
	struct sb_lead *l = m->lead;

	if (m->failed) {
		sb_metrics_round_over(m, false);
		return;
	}
	l->id_ms = SB_MAX(l->now_ms, l->at_ms + 1); /* ids only grow, whatever the clock of another leader said */
	sb_metrics_clear(m);
	look_at_rules(m);
	sb_metrics_plain(m, "MULTI");
	write_cluster(m);
	for (size_t i = 0; i < l->n_instances; i++)
		write_account(m, &l->instance[i]);
	if (l->beats)
		write_meta(m);
	sb_metrics_entities(m);
	prune(m);
	sb_metrics_begin(m, 3, "PEXPIRE");
	sb_metrics_key(m, ":lead");
	sb_metrics_number(m, lease_ms(m));
	sb_metrics_end(m, NULL, NULL);
	sb_metrics_begin(m, 1, "EXEC");
	sb_metrics_end(m, on_written, NULL);
	sb_metrics_send(m, written);
}

void sb_metrics_asked(struct sb_metrics *m)
{
	struct sb_lead *l = m->lead;

	if (!m->failed && l->ours && !m->leads)
		sb_metrics_mark(m, "leader", m->instance, "");
	m->leads = !m->failed && l->ours;
	if (!m->leads) {
		sb_metrics_round_over(m, !m->failed);
		return;
	}
	l->beats = l->now_ms / BEAT_MS != l->beat;
	l->rolls = l->now_ms / m->conf->rollup_ms != l->rollup;
	sb_metrics_clear(m);
	for (size_t i = 0; i < l->n_instances; i++) /* from another one each time */
		ask_instance(m, &l->instance[(i + l->now_ms / m->conf->rollup_ms) % l->n_instances]);
	sb_metrics_send(m, have_read);
}
