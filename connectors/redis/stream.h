/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_STREAM_H
#define SB_CONNECTORS_REDIS_STREAM_H

#include "command.h"
#include "connectors/envelope.h"
#include "settings.h"
#include "verdict.h"
#include "window.h"

/*
 * One stream that a source reads as a member of a consumer group; its whole life is on one shard. In parts: stream.c connects,
 * reads and paces, group.c knows the group and where it stands, pending.c takes back what was read before, care.c looks after the group, handing.c makes events of
 * entries, hands them over and acknowledges.
 */
enum { RDS_FROM_BEGINNING, RDS_FROM_NEW, RDS_FROM_ID };

struct rds_window_conf {
	int64_t entries;
	uint64_t bytes;
};

struct rds_source_conf {
	struct rds_settings at;
	struct sb_strs streams;
	const char *group, *consumer, *from, *field;
	struct rds_window_conf window;
	int64_t max_deliveries;
	uint64_t claim_after, forget_after, timeout;
	int from_kind; /* made of `from` by check */
	struct rds_id from_id;
};

/* Of what is pending under our name and not in the window. */
struct rds_wanted {
	struct rds_id id;
	uint64_t idle_ms, deliveries;
	bool seen;
};
#define RDS_WANTED_MAX 200
#define RDS_SKIPPED 16
#define RDS_HEADERS_MAX 64
#define RDS_KEY_SHOWN 900 /* bytes of a stream's name in an event's position */

enum rds_stream_phase {
	RDS_APART,    /* there is no connection for commands, or a predecessor has not let go */
	RDS_LOOKING,  /* is the group there? */
	RDS_CREATING,
	RDS_READY,
};

enum rds_own { RDS_OWN_REST, RDS_OWN_LISTING, RDS_OWN_CLAIMING, RDS_OWN_NO_ROOM };

struct rds_stream_counts {
	uint64_t read, acked, again, lost_by_trim, taken_over, unreadable, trimmed_early;
};

struct rds_stream {
	struct sb_source *s;
	const struct rds_source_conf *conf;
	struct sb_envelope_reader *envelope;
	const char *key;
	size_t key_n;
	unsigned index;               /* among the source's */
	char consumer[160];
	struct sb_link alive;         /* in the process's list; see stream.c */
	struct rds_conn *reader, *talk;
	struct event *tick, *acker;
	struct sb_buf command, value, meta;
	struct rds_window win;
	enum rds_stream_phase phase;
	bool reading, paused, closing, closed;
	uint64_t close_by_ns, hand_after_ns, survey_ns, care_ns, forget_ns, stuck_ns;
	unsigned refusals;            /* in a row */
	uint64_t moved_before;        /* win.moved at the last tick */
	size_t each;                  /* what an entry weighs, on average */
	struct rds_id last_read;
	/* group.c */
	bool surveying, found, alone, positioned;
	uint64_t pending; /* in the whole group, and the first of them */
	struct rds_id lowest_pending;
	struct rds_id last_delivered, position; /* everything up to position is done, by whichever member */
	/* pending.c */
	enum rds_own own;
	bool own_again, taking_over;
	uint64_t own_idle_ms;
	char own_from[RDS_ID_TEXT + 1];
	bool own_more;
	struct rds_wanted wanted[RDS_WANTED_MAX];
	size_t n_wanted, at_wanted, asked_wanted;
	struct rds_id skipped[RDS_SKIPPED]; /* larger than we read; they stay pending. The last ones */
	size_t n_skipped;
	struct rds_stream_counts counts;
};

/* stream.c. `closed` says so once. -1: see rds_conn_new. */
int rds_stream_new(struct sb_source *s, struct sb_envelope_reader *envelope, unsigned index, struct rds_stream **ret, struct sb_err *err);
void rds_stream_free(struct rds_stream *st); /* NULL is fine */
void rds_stream_pause(struct rds_stream *st, bool on);
void rds_stream_close(struct rds_stream *st);
/* Something has changed: go on with whatever is possible now. */
void rds_stream_go_on(struct rds_stream *st);
/* Look again soon, not only in a second. */
void rds_stream_hurry(struct rds_stream *st);
/* An error that no special case is made of: heed what it says about the connection, and log it. */
void rds_stream_heed(struct rds_stream *st, struct rds_conn *c, const redisReply *r);
int rds_stream_tell(struct rds_stream *st, redisCallbackFn *fn, void *arg); /* st->command, to `talk` */
void rds_source_stream_closed(struct sb_source *s);                         /* source.c */

/* group.c: is the group there, and where does it stand? Makes it when it is not. */
void rds_group_survey(struct rds_stream *st);
void rds_group_recall(struct rds_stream *st); /* what the journal remembers, at open */

/* pending.c */
void rds_own_begin(struct rds_stream *st, uint64_t idle_ms);
void rds_own_go_on(struct rds_stream *st);   /* there is room again */
void rds_own_reset(struct rds_stream *st);   /* the connection is gone */
void rds_own_flooded(struct rds_stream *st); /* what was claimed is larger than we read: before the reset */
void rds_keep_fresh(struct rds_stream *st);
void rds_take_over(struct rds_stream *st);

/* care.c */
void rds_forget_members(struct rds_stream *st);
void rds_look_at_oldest(struct rds_stream *st);

/* handing.c */
void rds_accept(struct rds_stream *st, const redisReply *entry, uint64_t deliveries);
void rds_hand_all(struct rds_stream *st);
void rds_ack_all(struct rds_stream *st);
void rds_settled(struct rds_stream *st, size_t place, uint32_t serial);
/* It is pending, and no longer in the stream: counted, and its place in the group given up. */
void rds_lost(struct rds_stream *st, struct rds_id id);

#endif
