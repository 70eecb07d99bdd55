/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_FEED_H
#define SB_CONNECTORS_REDIS_FEED_H

#include "command.h"
#include "message.h"
#include "settings.h"
#include "verdict.h"
#include "window.h"

/*
 * One key that a source reads, a stream as a member of a consumer group or a list as a reliable queue; its whole life is on one shard.
 * Of both kinds: feed.c connects, paces and closes, handing.c makes events of what comes, hands them over and hears of their end.
 *
 * A stream, in parts: stream.c reads and acknowledges, group.c knows the group and where it stands, pending.c takes back what was
 * read before, care.c looks after the group. A list: list.c reads and acknowledges, recover.c takes back, members.c knows who reads it.
 */
enum { RDS_FROM_BEGINNING, RDS_FROM_NEW, RDS_FROM_ID };

struct rds_window_conf {
	int64_t entries;
	uint64_t bytes;
};

struct rds_source_conf {
	struct rds_settings at;
	struct sb_strs streams, channels;
	const char *list;
	int take; /* from its right end, or 1: its left */
	const char *group, *consumer, *from, *field;
	struct rds_window_conf window;
	int64_t max_deliveries;
	uint64_t claim_after, forget_after, timeout;
	int from_kind; /* made of `from` by check */
	struct rds_id from_id;
};

/* What is different from kind to kind. */
struct rds_feed;
struct rds_kind {
	void (*open)(struct rds_feed *f);                 /* it has its names; not connected yet */
	void (*begin)(struct rds_feed *f);                /* commands may be sent, and nobody before us is left: to READY, by itself */
	void (*down)(struct rds_feed *f, bool flooded);   /* the connection for commands is gone; by an answer that was too large */
	void (*go_on)(struct rds_feed *f);                /* before anything new is read */
	void (*read)(struct rds_feed *f, size_t room);    /* so many more, at most */
	bool (*ack)(struct rds_feed *f);                  /* some of what is settled; false: not now */
	bool (*looks)(const struct rds_feed *f);          /* is at it, and the window must not lose anything; NULL: never */
	void (*care)(struct rds_feed *f, uint64_t now);   /* READY, now and then */
	void (*done)(struct rds_feed *f);                 /* NULL: it has nothing of its own */
	void (*status)(const struct rds_feed *f, struct sb_buf *out); /* more members of its object */
};

/* Of what is pending under our name and not in the window. */
struct rds_wanted {
	struct rds_id id;
	uint64_t idle_ms, deliveries;
	bool seen;
};
#define RDS_BLOCK_MS 1000 /* how long a read waits */
#define RDS_WANTED_MAX 200
#define RDS_SKIPPED 16
#define RDS_KEY_SHOWN 900 /* bytes of a stream's name in an event's position */

enum rds_phase {
	RDS_APART,    /* there is no connection for commands, or a predecessor has not let go */
	RDS_LOOKING,  /* is the group there? */
	RDS_CREATING,
	RDS_READY,
};

enum rds_own { RDS_OWN_REST, RDS_OWN_LISTING, RDS_OWN_CLAIMING, RDS_OWN_NO_ROOM };

struct rds_counts {
	uint64_t read, acked, again, lost_by_trim, taken_over, taken_away, in_doubt, unreadable, trimmed_early;
};

struct rds_feed {
	struct sb_source *s;
	const struct rds_source_conf *conf;
	const struct rds_kind *kind;
	struct rds_list *list;        /* of a list: list.h */
	const char *key;
	size_t key_n;
	unsigned index;               /* among the source's */
	char consumer[160];
	struct sb_link alive;         /* in the process's list; see feed.c */
	struct rds_conn *reader, *talk;
	struct event *tick, *acker;
	struct sb_buf command;
	struct rds_reader in;
	struct rds_window win;
	enum rds_phase phase;
	bool reading, paused, closing, closed;
	uint64_t close_by_ns, hand_after_ns, survey_ns, care_ns, forget_ns, stuck_ns;
	bool own_again;               /* there may be something of ours that the window does not have */
	unsigned refusals;            /* in a row */
	uint64_t moved_before;        /* win.moved at the last tick */
	size_t each;                  /* what an entry weighs, on average */
	struct rds_id last_read;
	/* group.c */
	bool surveying, found, alone, positioned;
	uint64_t pending; /* in the whole group, and the first of them */
	struct rds_id lowest_pending;
	uint64_t unsurveyed; /* acknowledged by us since the last survey began */
	struct rds_id last_delivered, position; /* everything up to position is done, by whichever member */
	/* pending.c */
	enum rds_own own;
	bool taking_over;
	uint64_t own_idle_ms;
	char own_from[RDS_ID_TEXT + 1];
	bool own_more;
	struct rds_wanted wanted[RDS_WANTED_MAX];
	size_t n_wanted, at_wanted, asked_wanted;
	struct rds_id skipped[RDS_SKIPPED]; /* larger than we read; they stay pending. The last ones */
	size_t n_skipped;
	struct rds_counts counts;
};

/* feed.c. -1: see rds_conn_new. */
int rds_feed_new(struct sb_source *s, struct sb_envelope_reader *envelope, unsigned index, struct rds_feed **ret, struct sb_err *err);
void rds_feed_free(struct rds_feed *f); /* NULL is fine */
void rds_feed_pause(struct rds_feed *f, bool on);
void rds_feed_close(struct rds_feed *f); /* rds_source_feed_closed follows, once */
/* Something has changed: go on with whatever is possible now. */
void rds_feed_go_on(struct rds_feed *f);
/* Look again soon, not only in a second. */
void rds_feed_hurry(struct rds_feed *f);
/* An error that no special case is made of: heed what it says about the connection, and log it. */
void rds_feed_heed(struct rds_feed *f, struct rds_conn *c, const redisReply *r);
/* The same, and a pause before whatever it was is asked for again. */
void rds_feed_refused(struct rds_feed *f, struct rds_conn *c, const redisReply *r);
int rds_feed_tell(struct rds_feed *f, redisCallbackFn *fn, void *arg); /* f->command, to `talk` */
bool rds_feed_is_due(uint64_t *at_ns, uint64_t now, uint64_t every_ms);
void rds_source_feed_closed(struct sb_source *s);                      /* source.c */

/* stream.c, list.c */
extern const struct rds_kind rds_stream_kind, rds_list_kind;

/* group.c: is the group there, and where does it stand? Makes it when it is not. */
void rds_group_survey(struct rds_feed *f);
void rds_group_recall(struct rds_feed *f); /* what the journal remembers, at open */

/* pending.c */
void rds_own_begin(struct rds_feed *f, uint64_t idle_ms);
void rds_own_go_on(struct rds_feed *f);   /* there is room again */
void rds_own_reset(struct rds_feed *f);   /* the connection is gone */
void rds_own_flooded(struct rds_feed *f); /* what was claimed is larger than we read: before the reset */
void rds_keep_fresh(struct rds_feed *f);
void rds_take_over(struct rds_feed *f);

/* care.c */
void rds_forget_members(struct rds_feed *f);
void rds_look_at_oldest(struct rds_feed *f);

/* handing.c */
/* Into the window, unless it is full; then it is read again later. */
struct rds_entry *rds_take_in(struct rds_feed *f, const struct rds_message *m, uint64_t deliveries);
void rds_hand_all(struct rds_feed *f);
void rds_ack_all(struct rds_feed *f);
void rds_settled(struct rds_feed *f, size_t place, uint32_t serial);
/* The command that f->command is speaks for the n first that are settled. False: it could not be sent. */
bool rds_ack_by(struct rds_feed *f, size_t n);
size_t rds_count_settled(const struct rds_feed *f, size_t most);

/* stream.c */
void rds_accept(struct rds_feed *f, const redisReply *entry, uint64_t deliveries);
/* It is pending, and no longer in the stream: counted, and its place in the group given up. */
void rds_lost(struct rds_feed *f, struct rds_id id);

#endif
