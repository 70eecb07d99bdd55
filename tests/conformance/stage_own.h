/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CONFORMANCE_STAGE_OWN_H
#define SB_TESTS_CONFORMANCE_STAGE_OWN_H

#include "stage.h"

/* What the parts of the stage share among each other. */

/* Has a call waited, rather than worked? */
struct watch {
	uint64_t ns, busy_ns;
	long naps;
};
struct watch watch_begin(void);
void watch_end(struct stage *st, const struct watch *w, const char *what);

void said_closed(struct stage *st);

/* stage_target.c */
void target_prepare(struct stage *st);
void target_turn(struct stage *st); /* outside of every callback: feeds, and looks what has arrived */
void target_done(struct stage *st);

/* stage_source.c */
void source_prepare(struct stage *st);
void source_turn(struct stage *st); /* tells what is due, outside of every call of the connector's */
void source_done(struct stage *st);
bool source_waits(const struct stage *st);

int __wrap_sb_source_emit(
	struct sb_source *s, struct sb_event **ev, size_t n, uint64_t cookie, struct sb_refusal *refusal);
int __wrap_sb_source_hand(
	struct sb_source *s, struct sb_event *ev, const struct sb_held *held, struct sb_refusal *refusal);
int __wrap_sb_source_bury(struct sb_source *s, const struct sb_held *held, const struct sb_unreadable *what);
void __wrap_sb_source_remember(struct sb_source *s, struct sb_slice key, struct sb_slice value);
int __wrap_sb_source_remembered(struct sb_source *s, struct sb_slice key, struct sb_buf *out);
void __wrap_sb_source_spill(struct sb_source *s, size_t n);
void __wrap_sb_source_overflowed(struct sb_source *s, void *token, bool there);
bool __wrap_sb_source_may_settle(struct sb_source *s);
void __wrap_sb_source_rejected(struct sb_source *s, const char *reason, uint64_t n);
const char *__wrap_sb_source_bus(struct sb_source *s, struct sb_slice name);
void __wrap_sb_source_spec(struct sb_source *s, struct sb_event_spec *ret);
size_t __wrap_sb_source_max_event(struct sb_source *s);
bool __wrap_sb_source_authorized(struct sb_source *s, const struct sb_http_req *req);
bool __wrap_sb_source_has_tokens(struct sb_source *s);

#endif
