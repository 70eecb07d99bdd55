/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CONFORMANCE_STAGE_H
#define SB_TESTS_CONFORMANCE_STAGE_H

#include <sys/types.h>

#include "broker/base/arena.h"
#include "broker/base/diag.h"
#include "broker/base/json.h"
#include "tests/conformance/row.h"

/*
 * The framework around one instance of a connector, as far as the instance can see it, and the judge of what it does. It
 * keeps a shard's promises (one thread, a libevent base, processes on demand, no more outstanding than `concurrency`) and
 * holds the connector to its own: whatever breaks connectors/connector.h is noted as the stage's violation, the first
 * one with its words.
 */
#define STAGE_SENDERS 64
#define STAGE_CONCURRENCY 4
#define STAGE_TIMEOUT_MS 1200 /* what waits for a processor on a busy machine, or starts under a sanitizer, is not stalled */
#define STAGE_BLOCK_MS 50
#define STAGE_OPEN_MS 1000 /* libraries wait for the threads that they start, which takes long on a busy machine */
#define STAGE_EVENT_MAX (2u << 20)

enum phase { PHASE_SHUT, PHASE_OPEN, PHASE_CLOSING, PHASE_CLOSED };

/* One item, from send to settlement. */
struct sent {
	char id[24];
	struct sb_event *event; /* its text is the input */
	unsigned settled, arrived;
	enum sb_outcome outcome;
	enum sb_reason reason;
	char message[128];
};

struct shipment; /* a batch, gone with the settlement of its last item */

/* A group that a source emitted or an event that it handed over, until it is told what became of it. */
struct group {
	uint64_t cookie;
	struct sb_event **ev;
	size_t n;
	bool handed, spilled, told;
	uint32_t epoch;
};

struct sender {
	bool gone;
	unsigned yes, no; /* answers that it heard */
};

struct stage {
	const struct row *row;
	unsigned serial; /* of this process's stages */
	char dir[64];
	void *far; /* the row's */
	struct sb_env env;
	struct sb_rand rand;
	pid_t spawner;
	uint64_t patience_ms; /* how long anything may take; default 20 s */

	struct sb_arena arena;
	struct sb_diags diags;
	struct sb_doc doc;
	void *conf;

	enum phase phase;
	unsigned closed; /* how often it said so */
	char violation[400];
	unsigned violations;

	/* Target. It may stand elsewhere: a row whose connector knows its surroundings puts it there before open. */
	struct sb_target own_target, *target;
	struct sent *sent;
	size_t n_sent, cap_sent, outstanding, settled, arrived;
	struct shipment *shipments;
	size_t to_feed; /* so many more are sent as soon as there is room */
	bool sending;   /* now */
	bool twice; /* on a bad day an item may arrive more than once: the other side took it and could not say so */

	/* Source. */
	struct sb_source source;
	bool paused, hold, fail; /* hold: a group is told by stage_tell; fail: told that it was not stored */
	enum sb_refuse refuse;   /* emit says no for this reason */
	struct group *group;
	size_t n_groups;
	size_t emitted, rejected; /* events; sb_source_rejected */
	struct sender sender[STAGE_SENDERS];
	size_t heard;    /* answers, of all senders */
	bool row_waited; /* in this turn */
};

/* Something was done that the contract forbids. */
void violated(struct stage *st, const char *fmt, ...) SB_PRINTF(2, 3);
/* For the body of a check: what must hold, or the check is over. */
#define MUST(st, cond, ...)                                                                                            \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			violated((st), __VA_ARGS__);                                                                   \
			return;                                                                                        \
		}                                                                                                      \
	} while (0)

/* 0, or -1 with a violation. The far side is made, the configuration decoded; nothing is open. */
int stage_init(struct stage *st, const struct row *row, bool target);
void stage_done(struct stage *st); /* closes what is open */
/* What of the row's configuration is wrong: how many errors. */
size_t stage_decode(struct stage *st, const char *conf);

int stage_open(struct stage *st);
int stage_try_open(struct stage *st, struct sb_err *err);
void stage_begin_close(struct stage *st);
void stage_free(struct stage *st); /* after close, or a failed open */
void stage_status(struct stage *st);

/* One turn of the loop; no callback may block in it. */
void stage_turn(struct stage *st);
/* Turns until *n has reached `want`; false: patience is at its end, or there is a violation. */
bool stage_until(struct stage *st, const size_t *n, size_t want);
bool stage_patient(const struct stage *st, uint64_t since_ns); /* patience is not at its end */
bool stage_until_closed(struct stage *st);
void stage_rest(struct stage *st, unsigned ms); /* turns, for that long */

/* ---- targets */

/* A batch of n with this detail in each; NULL: a small one. Index of the first. */
size_t stage_send(struct stage *st, size_t n, struct sb_slice detail);
void stage_feed(struct stage *st, size_t n);                /* n singles, never more at once than the concurrency */
void stage_arrived(struct stage *st, struct sb_slice text); /* for rows */

/* ---- sources */

void stage_offer(struct stage *st, unsigned k, struct sb_slice detail);
void stage_heard(struct stage *st, unsigned k, bool yes); /* for rows */
void stage_waited(struct stage *st);             /* for rows that ask their other side in a callback of their own */
void stage_tell(struct stage *st, size_t group); /* what became of a group that was held */

/* ---- checks */

struct check {
	const char *name;                        /* what holds */
	bool (*concerns)(const struct row *row); /* NULL: every row */
	void (*run)(struct stage *st);
};
extern const struct check target_checks[], source_checks[]; /* run NULL behind the last */
/* Runs one check on a stage of its own; the violation, "" when there was none. */
void check_run(const struct row *row, const struct check *c, bool target, uint64_t patience_ms, char out[400]);

#endif
