/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_SAMPLE_H
#define SB_BROKER_SAMPLE_H

#include "broker/base/event.h"
#include "connectors/connector.h"

/*
 * A few of the events that no rule wanted, and of the deliveries that failed, for docs/redis-metrics.md. A shard takes them until it has as
 * many as it may between two flushes, and then not even looks. What they carry is redacted here, before anybody sees it: of `detail` the
 * shape, with each value's type in its place.
 */
enum sb_sample_kind { SB_SAMPLE_UNMATCHED, SB_SAMPLE_ERRORS, SB_SAMPLE_KINDS };
#define SB_SAMPLE_DETAIL 4096 /* bytes, at most */
#define SB_SAMPLE_WORD 256    /* of id, source, detail-type */

/* Pool memory: sb_pool_free. Names live as long as the process; NULL: there is none. */
struct sb_sample {
	struct sb_sample *next;
	uint64_t at_ms;
	const char *bus, *origin, *rule, *target, *what, *reason;
	uint32_t attempts;
	struct sb_slice id, source, detail_type, detail; /* in `text` */
	char text[];
};

/* Why a delivery is one; NULL: an event that no rule wanted. */
struct sb_sample_failure {
	const char *rule, *target, *what;
	enum sb_reason reason;
	uint32_t attempts;
};

/* A shard's. Zeroed: none are wanted. */
struct sb_samples {
	struct sb_sample *first[SB_SAMPLE_KINDS];
	unsigned n[SB_SAMPLE_KINDS], max;
};

void sb_sample(struct sb_samples *s, const struct sb_event *ev, uint64_t at_ms, const struct sb_sample_failure *f);
/* Those there are move to `into`, newest first. */
void sb_samples_take(struct sb_samples *s, struct sb_samples *into);
void sb_samples_drop(struct sb_samples *s);

/* The redacted form of a value, always JSON; members and elements that do not fit are left out. */
void sb_redact(const struct sb_tape *t, uint32_t node, struct sb_buf *out, size_t most);

#endif
