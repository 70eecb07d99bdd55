/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_WINDOW_H
#define SB_CONNECTORS_REDIS_WINDOW_H

#include "broker/base/event.h"
#include "broker/base/list.h"
#include "broker/base/map.h"
#include "connectors/connector.h"
#include "id.h"

/*
 * The entries of one stream that are ours: read, and not yet acknowledged for certain. Bounded in number and bytes, which is the
 * back-pressure: without room nothing is read. An entry that is read once more is found here and not handed over again.
 *
 *   take ──> AGAIN ──taken by the framework──> HANDED ──settled──> SETTLED ──XACK──> ACKING ──its reply──> gone
 *                                                                     ^───refused───────┤
 *                                                                     └─ a list's: UNSURE <─┴─lost
 */
enum rds_entry_state { RDS_FREE, RDS_AGAIN, RDS_HANDED, RDS_SETTLED, RDS_ACKING, RDS_UNSURE };

struct rds_entry {
	struct sb_link link; /* in the list of its state; ACKING: of its command */
	struct rds_id id;
	enum rds_entry_state state;
	uint32_t serial;     /* goes up with every use of the place */
	uint32_t bytes;
	uint64_t fresh_ns;   /* when our ownership was last said to Redis */
	struct sb_event *ev; /* a reference, until it is settled; NULL: no event can be made of it */
	char *raw;           /* then its bytes and behind them why, pool memory */
	size_t raw_n;
	const char *why;
	enum sb_reason reason;
	char *held;          /* an element of a list: as it is in Redis, pool memory, until it is gone from there */
	size_t held_n;
	bool tried;          /* its deliveries are counted in Redis */
	unsigned round;      /* of the last look at what Redis has: it was there */
	struct rds_entry *same; /* another one that holds the same; of use during a look only */
};

struct rds_window {
	struct rds_entry *entry;
	size_t cap, n;
	uint64_t bytes, max_bytes;
	struct sb_map by_id;
	struct sb_link free, again, handed, settled, acking, unsure;
	uint64_t moved; /* goes up with every entry that is settled */
};

void rds_window_init(struct rds_window *w, size_t cap, uint64_t max_bytes);
void rds_window_done(struct rds_window *w);

struct rds_entry *rds_window_find(const struct rds_window *w, struct rds_id id);
/* A place for it, AGAIN; NULL: full. The id must not be there. */
struct rds_entry *rds_window_take(struct rds_window *w, struct rds_id id);
/* What it weighs from now on. */
void rds_window_weigh(struct rds_window *w, struct rds_entry *e, size_t bytes);
void rds_window_move(struct rds_window *w, struct rds_entry *e, enum rds_entry_state to);
/* Its event and bytes are no longer needed. */
void rds_window_lighten(struct rds_window *w, struct rds_entry *e);
void rds_window_drop(struct rds_window *w, struct rds_entry *e);
/* How many more may be read, when one weighs about `each`. */
size_t rds_window_room(const struct rds_window *w, size_t each);
/* Of all that are here; false: none. */
bool rds_window_lowest(const struct rds_window *w, struct rds_id *ret);

/* For cookies: the place of an entry, and back when it is still the one that had the serial; else NULL. */
size_t rds_window_place(const struct rds_window *w, const struct rds_entry *e);
struct rds_entry *rds_window_at(struct rds_window *w, size_t place, uint32_t serial);

#endif
