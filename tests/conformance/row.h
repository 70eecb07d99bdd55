/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CONFORMANCE_ROW_H
#define SB_TESTS_CONFORMANCE_ROW_H

#include <stdbool.h>

#include "connectors/connector.h"

/*
 * What the suite has to know of one connector: its configuration, and how to play its other side. Everything else it
 * takes from connectors/connector.h. A connector may have several rows (`function` and `function_exec`).
 *
 * In texts of configuration DIR stands for a folder of the stage's own. Hooks are called on the stage's thread and must
 * not wait; NULL where the connector has no such side.
 */
struct stage;

/* What the other side of a target does with what it gets. It begins with taking, and every other way ends in that. */
enum far { FAR_TAKES, FAR_FAILS, FAR_REJECTS, FAR_STALLS, FAR_GONE, FAR_N };

#define MAY(outcome) (1u << (outcome))

struct target_row {
	bool forgets;   /* nothing arrives anywhere: bytes are not compared */
	bool lines;     /* raw line ends arrive as spaces */
	size_t largest; /* bytes of input that arrive; one more is rejected. 0: no limit that the suite reaches */
	unsigned many;  /* items in the long run; 0: 2000 */
	/* MAY(outcome) of what may become of an item then; 0: this row cannot play it. FAR_TAKES: beside delivered, in a rush */
	unsigned may[FAR_N];
	void (*act)(struct stage *st, enum far f);
	void (*collect)(struct stage *st); /* stage_arrived() for what has arrived since */
	void (*spoil)(struct stage *st);   /* the next open must fail; NULL: it cannot */
};

struct source_row {
	const char *wrap; /* what a sender writes around a detail, which stands for @ */
	/* Offers that must be refused, NULL behind the last. HUGE in them is more than may be offered. */
	const char *const *bad;
	size_t largest; /* bytes of a detail; 0: no limit that the suite reaches */
	bool objects;   /* a detail must be an object */
	bool keeps;     /* it hands over, though other configurations of the connector emit */
	bool waits;     /* while paused, offers stay with their senders; else they are refused */
	/* Sender k offers this text. Senders have numbers below STAGE_SENDERS and offer once. */
	void (*offer)(struct stage *st, unsigned k, struct sb_slice text);
	void (*leave)(struct stage *st, unsigned k); /* it does not wait for its answer; NULL: it never does */
	void (*spoil)(struct stage *st);
};

struct row {
	const char *name;
	const struct sb_connector *connector;
	const char *conf;                                  /* YAML behind the connector's own key */
	const char *const *wrong;                          /* such YAML that must be refused, NULL behind the last */
	int (*make)(struct stage *st, struct sb_err *err); /* the other side, before open */
	void (*opened)(struct stage *st);
	void (*unmake)(struct stage *st); /* after free */
	bool slow_successor; /* who comes after it on the same far side is let in later than the suite waits */
	bool single;         /* its other side is one for the whole process: no two stages at once */
	const struct target_row *target;
	const struct source_row *source;
};

extern const struct row *const rows[]; /* NULL behind the last */

#endif
