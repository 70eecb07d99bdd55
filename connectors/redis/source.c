/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source: its configuration, and which of its streams this shard's instance reads. A stream belongs to one shard; the
 * instances of the others leave it alone.
 */
#include "redis.h"

#include <stdlib.h>

#include "probe.h"
#include "stream.h"

#define STREAMS_MAX 64

struct rds_source {
	struct sb_source *s;
	struct sb_envelope_reader *envelope;
	struct rds_stream *stream[STREAMS_MAX]; /* NULL: another shard's */
	size_t n, closed;
	bool closing, said_closed;
};

static const struct sb_field window_fields[] = {
	SB_F(INT, struct rds_window_conf, entries, .min = 1, .max = 65536, .dflt = "4096",
		.doc = "Entries of a stream that are read and not yet acknowledged; at the bound it is not read on."),
	SB_F(BYTES, struct rds_window_conf, bytes, .min = 65536, .max = INT64_C(4) << 30, .dflt = "16MiB",
		.doc = "The same in bytes; one entry is always let in."),
	{ 0 },
};

#define S struct rds_source_conf

static const struct sb_field source_fields[] = {
	RDS_SETTINGS_ROWS(S),
	SB_F(STRS, S, streams, .required = true, .min = 1, .max = STREAMS_MAX, .doc = "The keys that are read."),
	SB_F(STR, S, group, .required = true, .min = 1, .max = 255,
		.doc = "Consumer group; made when it is not there. All daemons that share the work name the same."),
	SB_F(STR, S, consumer, .min = 1, .max = 128,
		.doc = "Our name in the group; must be nobody else's. Absent: the host's name and a random part, kept in the journal."),
	SB_F(STR, S, from, .dflt = "beginning", .max = 64,
		.doc = "Where a group that nobody has made yet begins: `beginning`, `new`, or behind an id."),
	SB_F(STR, S, field, .min = 1, .max = 255,
		.doc = "The field that holds the message. Absent: all fields together become an object of strings."),
	SB_F(OBJECT, S, window, .sub = window_fields,
		.doc = "How much of a stream may be under way: after a crash at most that much is delivered twice."),
	SB_F(MS, S, claim_after, .min = 1000, .max = 86400000, .dflt = "60s",
		.doc = "What another member of the group has not touched for so long is taken over."),
	SB_F(MS, S, forget_after, .min = 0, .max = INT64_C(365) * 86400000, .dflt = "24h",
		.doc = "Another member that owns nothing and has not been heard of for so long is removed from the group; 0: never."),
	SB_F(MS, S, timeout, .min = 10, .max = 600000, .dflt = "10s",
		.doc = "Without a byte from a Redis that owes an answer; then it is connected to anew."),
	SB_F(INT, S, max_deliveries, .min = 0, .max = 1000000, .dflt = "20",
		.doc = "An entry that Redis has delivered more often, over crashes, is a dead letter; 0: no bound."),
	{ 0 },
};

#undef S

static int source_check(struct sb_decode *d, const struct sb_node *at, void *conf)
{
	struct rds_source_conf *c = conf;
	int rc = rds_settings_check(d, at, &c->at);
	struct sb_err err;

	if (strcmp(c->from, "new") == 0)
		c->from_kind = RDS_FROM_NEW;
	else if (strcmp(c->from, "beginning") == 0)
		c->from_kind = RDS_FROM_BEGINNING;
	else if (rds_id_parse(sb_slice_str(c->from), &c->from_id) == 0)
		c->from_kind = RDS_FROM_ID;
	else {
		sb_fail(&err, SB_E_INVALID, "neither `beginning`, `new` nor the id of an entry");
		rc = rds_complain(d, at, "from", &err);
	}
	for (size_t i = 0; i < c->streams.n; i++)
		for (size_t k = 0; k < i; k++)
			if (strcmp(c->streams.v[i], c->streams.v[k]) == 0) {
				sb_fail(&err, SB_E_DUPLICATE, "stream `%s` stands twice", c->streams.v[i]);
				rc = rds_complain(d, at, "streams", &err);
			}
	return rc;
}

/* The same on every shard. */
static unsigned shard_of(const char *stream, unsigned n_shards)
{
	struct sb_uuid u = rds_id_receipt("", stream, RDS_ID_MIN);

	return (unsigned)(u.b[14] << 8 | u.b[15]) % SB_MAX(n_shards, 1u);
}

static int source_open(struct sb_source *s, struct sb_err *err)
{
	const struct rds_source_conf *c = s->conf;
	struct rds_source *rs = s->state;

	rs->s = s;
	rs->n = c->streams.n;
	rs->envelope = sb_envelope_new(s);
	for (size_t i = 0; i < rs->n && s->env->base; i++)
		if (shard_of(c->streams.v[i], s->env->n_shards) == s->env->shard &&
			rds_stream_new(s, rs->envelope, (unsigned)i, &rs->stream[i], err) < 0)
			return -1;
	return 0;
}

static void source_pause(struct sb_source *s, bool on)
{
	struct rds_source *rs = s->state;

	for (size_t i = 0; i < rs->n; i++)
		if (rs->stream[i])
			rds_stream_pause(rs->stream[i], on);
}

static struct rds_stream *stream_of(struct sb_source *s, uint64_t cookie)
{
	struct rds_source *rs = s->state;

	return rs->stream[cookie >> 56];
}

static void source_settled(struct sb_source *s, uint64_t cookie, uint32_t epoch)
{
	(void)epoch;
	rds_settled(stream_of(s, cookie), cookie >> 32 & 0xffffff, (uint32_t)cookie);
}

static void say_closed(struct rds_source *rs)
{
	size_t open = 0;

	for (size_t i = 0; i < rs->n; i++)
		open += rs->stream[i] && !rs->stream[i]->closed;
	if (!rs->closing || open || rs->said_closed)
		return;
	rs->said_closed = true;
	rs->s->closed(rs->s);
}

void rds_source_stream_closed(struct sb_source *s)
{
	say_closed(s->state);
}

static void source_close(struct sb_source *s)
{
	struct rds_source *rs = s->state;

	for (size_t i = 0; i < rs->n; i++)
		if (rs->stream[i])
			rds_stream_close(rs->stream[i]);
	rs->closing = true;
	say_closed(rs);
}

static void source_free(struct sb_source *s)
{
	struct rds_source *rs = s->state;

	for (size_t i = 0; i < rs->n; i++)
		rds_stream_free(rs->stream[i]);
	sb_envelope_free(rs->envelope);
}

static void add_status(const struct rds_stream *st, struct sb_buf *out)
{
	const struct rds_stream_counts *c = &st->counts;
	char id[RDS_ID_TEXT];

	sb_json_add_string(out, sb_slice_str(st->key));
	rds_id_format(st->position, id);
	sb_buf_addf(out, ":{\"connected\":%s,\"consumer\":", st->phase == RDS_READY ? "true" : "false");
	sb_json_add_string(out, sb_slice_str(st->consumer));
	sb_buf_addf(out, ",\"position\":\"%s\",\"window\":%zu,\"window_bytes\":%llu", id, st->win.n, (unsigned long long)st->win.bytes);
	sb_buf_addf(out, ",\"read\":%llu,\"acked\":%llu,\"offered_again\":%llu,\"lost_by_trim\":%llu,\"taken_over\":%llu,\"unreadable\":%llu,"
			 "\"trimmed_early\":%llu,\"pending\":%llu}",
		(unsigned long long)c->read, (unsigned long long)c->acked, (unsigned long long)c->again,
		(unsigned long long)c->lost_by_trim, (unsigned long long)c->taken_over, (unsigned long long)c->unreadable,
		(unsigned long long)c->trimmed_early, (unsigned long long)st->pending);
}

static void source_status(struct sb_source *s, struct sb_buf *out)
{
	const struct rds_source *rs = s->state;
	bool first = true;

	sb_buf_adds(out, "\"streams\":{");
	for (size_t i = 0; i < rs->n; i++) {
		if (!rs->stream[i])
			continue;
		if (!first)
			sb_buf_addc(out, ',');
		first = false;
		add_status(rs->stream[i], out);
	}
	sb_buf_addc(out, '}');
}

static void source_probe(const void *conf, struct sb_probe *p)
{
	const struct rds_source_conf *c = conf;
	const struct rds_question q = { .at = &c->at, .streams = c->streams.v, .n_streams = c->streams.n, .key = "streams", .group = c->group };

	rds_probe(p, &q);
}

const struct sb_source_ops rds_source_ops = {
	.state_size = sizeof(struct rds_source),
	.conf_size = sizeof(struct rds_source_conf),
	.fields = source_fields,
	.check = source_check,
	.probe = source_probe,
	.open = source_open,
	.pause = source_pause,
	.settled = source_settled,
	.close = source_close,
	.free = source_free,
	.status = source_status,
};
