/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source: its configuration, and which of its streams this shard's instance reads. A stream, a list, or all channels belong to one shard;
 * the instances of the others leave them alone.
 */
#include "redis.h"

#include <stdlib.h>

#include "channels.h"
#include "feed.h"
#include "probe.h"

#define STREAMS_MAX 64
#define CHANNELS_MAX 64

struct rds_source {
	struct sb_source *s;
	struct sb_envelope_reader *envelope;
	struct rds_feed *feed[STREAMS_MAX]; /* NULL: another shard's */
	struct rds_channels *channels;          /* NULL: another shard's, or it reads none */
	size_t n;
	bool closing, said_closed;
};

static const struct sb_field window_fields[] = {
	SB_F(INT, struct rds_window_conf, entries, .min = 1, .max = 65536, .dflt = "4096",
		.doc = "Entries of a stream that are read and not yet acknowledged; at the bound it is not read on."),
	SB_F(BYTES, struct rds_window_conf, bytes, .min = 65536, .max = INT64_C(4) << 30, .dflt = "16MiB",
		.doc = "The same in bytes; one entry is always let in."),
	{ 0 },
};

static const char *const ends[] = { "right", "left", NULL };

#define S struct rds_source_conf

static const struct sb_field source_fields[] = {
	RDS_SETTINGS_ROWS(S),
	SB_F(STRS, S, streams, .min = 1, .max = STREAMS_MAX, .doc = "The streams that are read; or `list`, or `channels`."),
	SB_F(STR, S, list, .min = 1, .max = 900, .doc = "A list that is read as a reliable queue."),
	SB_F(ENUM, S, take, .names = ends, .dflt = "right", .doc = "The end of the list that elements are taken from."),
	SB_F(STRS, S, channels, .min = 1, .max = CHANNELS_MAX,
		.doc = "Channels that are subscribed to, at most once; a name with `*`, `?` or `[` is a pattern."),
	SB_F(STR, S, group, .min = 1, .max = 255,
		.doc = "Consumer group of streams, which need one; made when it is not there. All daemons that share the work name the same."),
	SB_F(STR, S, consumer, .min = 1, .max = 128,
		.doc = "Our name among the readers; must be nobody else's. Absent: the host's name and a random part, kept in the journal."),
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

static int check_from(struct sb_decode *d, const struct sb_node *at, struct rds_source_conf *c)
{
	struct sb_err err;

	if (strcmp(c->from, "new") == 0)
		c->from_kind = RDS_FROM_NEW;
	else if (strcmp(c->from, "beginning") == 0)
		c->from_kind = RDS_FROM_BEGINNING;
	else if (rds_id_parse(sb_slice_str(c->from), &c->from_id) == 0)
		c->from_kind = RDS_FROM_ID;
	else {
		sb_fail(&err, SB_E_INVALID, "neither `beginning`, `new` nor the id of an entry");
		return rds_complain(d, at, "from", &err);
	}
	return 0;
}

static int check_twice(struct sb_decode *d, const struct sb_node *at, const char *key, const struct sb_strs *names)
{
	struct sb_err err;
	int rc = 0;

	for (size_t i = 0; i < names->n; i++)
		for (size_t k = 0; k < i; k++)
			if (strcmp(names->v[i], names->v[k]) == 0) {
				sb_fail(&err, SB_E_DUPLICATE, "`%s` stands twice", names->v[i]);
				rc = rds_complain(d, at, key, &err);
			}
	return rc;
}

/* Each kind has keys that the others have not. */
static int check_foreign(struct sb_decode *d, const struct sb_node *at, const char *kind, const char *const *foreign)
{
	struct sb_err err;
	int rc = 0;

	for (; *foreign; foreign++) {
		if (!sb_node_get(at, *foreign))
			continue;
		sb_fail(&err, SB_E_INVALID, "`%s` means nothing beside `%s`", *foreign, kind);
		rc = rds_complain(d, at, *foreign, &err);
	}
	return rc;
}

/* Which of the three it is. */
static int check_kind(struct sb_decode *d, const struct sb_node *at, const struct rds_source_conf *c)
{
	static const char *const of_list[] = { "group", "from", "field", NULL },
				 *const of_channels[] = { "group", "from", "field", "take", "consumer", "window", "claim_after", "forget_after",
					 "max_deliveries", NULL },
				 *const of_streams[] = { "take", NULL };
	unsigned kinds = (c->streams.n > 0) + (c->list != NULL) + (c->channels.n > 0);
	struct sb_err err;

	if (kinds != 1) {
		sb_fail(&err, kinds ? SB_E_INVALID : SB_E_MISSING, "name one of `streams`, `list` and `channels`");
		return rds_complain(d, at, "", &err);
	}
	if (c->list)
		return check_foreign(d, at, "list", of_list);
	if (c->channels.n)
		return check_foreign(d, at, "channels", of_channels);
	if (c->group)
		return check_foreign(d, at, "streams", of_streams);
	sb_fail(&err, SB_E_MISSING, "`streams` need a `group`");
	return rds_complain(d, at, "", &err);
}

static void warn_of_channels(struct sb_decode *d, const struct sb_node *at)
{
	const struct sb_node *n = sb_node_get(at, "channels");
	struct sb_err err;

	sb_fail(&err, SB_E_INVALID, "at-most-once: what is published while the daemon is away, slow or paused is lost");
	sb_hint(&err, "use `streams` where nothing may be lost");
	err.at = n->at;
	sb_node_path(n, err.path, sizeof(err.path));
	sb_diag_warning(d->diags, &err);
}

static int source_check(struct sb_decode *d, const struct sb_node *at, void *conf)
{
	struct rds_source_conf *c = conf;
	int rc = rds_settings_check(d, at, &c->at);

	rc |= check_kind(d, at, c);
	rc |= check_from(d, at, c);
	rc |= check_twice(d, at, "streams", &c->streams);
	rc |= check_twice(d, at, "channels", &c->channels);
	if (rc == 0 && c->channels.n)
		warn_of_channels(d, at);
	return rc;
}

/* The same on every shard. */
static unsigned shard_of(const char *stream, unsigned n_shards)
{
	struct sb_uuid u = rds_id_receipt("", stream, RDS_ID_MIN);

	return (unsigned)(u.b[14] << 8 | u.b[15]) % SB_MAX(n_shards, 1u);
}

static bool is_ours(const struct sb_source *s, const char *key)
{
	return shard_of(key, s->env->n_shards) == s->env->shard;
}

static int source_open(struct sb_source *s, struct sb_err *err)
{
	const struct rds_source_conf *c = s->conf;
	struct rds_source *rs = s->state;

	rs->s = s;
	rs->n = c->list ? 1 : c->streams.n;
	rs->envelope = sb_envelope_new(s);
	if (!s->env->base)
		return 0;
	if (c->channels.n)
		return is_ours(s, c->channels.v[0]) ? rds_channels_new(s, rs->envelope, &rs->channels, err) : 0;
	for (size_t i = 0; i < rs->n; i++)
		if (is_ours(s, c->list ? c->list : c->streams.v[i]) && rds_feed_new(s, rs->envelope, (unsigned)i, &rs->feed[i], err) < 0)
			return -1;
	return 0;
}

static void source_pause(struct sb_source *s, bool on)
{
	struct rds_source *rs = s->state;

	if (rs->channels)
		rds_channels_pause(rs->channels, on);
	for (size_t i = 0; i < rs->n; i++)
		if (rs->feed[i])
			rds_feed_pause(rs->feed[i], on);
}

static struct rds_feed *feed_of(struct sb_source *s, uint64_t cookie)
{
	struct rds_source *rs = s->state;

	return rs->feed[cookie >> 56];
}

static void source_refused(struct sb_source *s, uint64_t cookie, const struct sb_refusal *why)
{
	struct rds_source *rs = s->state;

	(void)cookie;
	(void)why;
	rds_channels_refused(rs->channels);
}

static void source_settled(struct sb_source *s, uint64_t cookie, uint32_t epoch)
{
	struct rds_source *rs = s->state;

	(void)epoch;
	if (rs->channels)
		return; /* a dead letter of which nobody wants to hear */
	rds_settled(feed_of(s, cookie), cookie >> 32 & 0xffffff, (uint32_t)cookie);
}

static void say_closed(struct rds_source *rs)
{
	size_t open = 0;

	for (size_t i = 0; i < rs->n; i++)
		open += rs->feed[i] && !rs->feed[i]->closed;
	if (!rs->closing || open || rs->said_closed)
		return;
	rs->said_closed = true;
	rs->s->closed(rs->s);
}

void rds_source_feed_closed(struct sb_source *s)
{
	say_closed(s->state);
}

static void source_close(struct sb_source *s)
{
	struct rds_source *rs = s->state;

	if (rs->channels)
		rds_channels_close(rs->channels);
	for (size_t i = 0; i < rs->n; i++)
		if (rs->feed[i])
			rds_feed_close(rs->feed[i]);
	rs->closing = true;
	say_closed(rs);
}

static void source_free(struct sb_source *s)
{
	struct rds_source *rs = s->state;

	for (size_t i = 0; i < rs->n; i++)
		rds_feed_free(rs->feed[i]);
	rds_channels_free(rs->channels);
	sb_envelope_free(rs->envelope);
}

static void add_status(const struct rds_feed *f, struct sb_buf *out)
{
	const struct rds_counts *c = &f->counts;

	sb_json_add_string(out, sb_slice_str(f->key));
	sb_buf_addf(out, ":{\"connected\":%s,\"consumer\":", f->phase == RDS_READY ? "true" : "false");
	sb_json_add_string(out, sb_slice_str(f->consumer));
	sb_buf_addf(out, ",\"window\":%zu,\"window_bytes\":%llu,\"read\":%llu,\"acked\":%llu,\"offered_again\":%llu", f->win.n,
		(unsigned long long)f->win.bytes, (unsigned long long)c->read, (unsigned long long)c->acked, (unsigned long long)c->again);
	sb_buf_addf(out, ",\"taken_over\":%llu,\"unreadable\":%llu", (unsigned long long)c->taken_over, (unsigned long long)c->unreadable);
	f->kind->status(f, out);
	sb_buf_addc(out, '}');
}

static void source_status(struct sb_source *s, struct sb_buf *out)
{
	const struct rds_source_conf *conf = s->conf;
	const struct rds_source *rs = s->state;
	bool first = true;

	if (conf->channels.n) {
		rds_channels_status(rs->channels, out);
		return;
	}
	sb_buf_addf(out, "\"%s\":{", conf->list ? "lists" : "streams");
	for (size_t i = 0; i < rs->n; i++) {
		if (!rs->feed[i])
			continue;
		if (!first)
			sb_buf_addc(out, ',');
		first = false;
		add_status(rs->feed[i], out);
	}
	sb_buf_addc(out, '}');
}

static void source_probe(const void *conf, struct sb_probe *p)
{
	const struct rds_source_conf *c = conf;
	struct rds_question q = { .at = &c->at, .type = "stream", .keys = c->streams.v, .n_keys = c->streams.n, .key = "streams",
		.group = c->group };

	if (c->list)
		q = (struct rds_question){ .at = &c->at, .type = "list", .keys = (const char *const *)&c->list, .n_keys = 1, .key = "list" };
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
	.refused = source_refused,
	.settled = source_settled,
	.close = source_close,
	.free = source_free,
	.status = source_status,
};
