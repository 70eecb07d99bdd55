/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_METRICS_NAMES_H
#define SB_BROKER_METRICS_NAMES_H

#include "broker/base/map.h"
#include "broker/metrics_pack.h"

/*
 * Who of a daemon's rules, targets or sources is told by name: so many as may be, the others together.
 *
 * What is told of a name only grows for as long as it is told: that is how a leader accounts for it. So who has a name keeps it, wherever
 * a reload puts it in the configuration. One that has left the configuration is told on for `keep_ms`, until the leader has seen the last
 * of it; then its place is free, and should it come back it begins at zero, as it would for the leader. The others' sum only grows too.
 * Records: one for each name that this process was ever configured with.
 */
struct sb_name {
	char *name;
	bool named;
	uint64_t turn, met_ms; /* the last time it was in the configuration */
	uint64_t *told;        /* its counters as told under its name */
	uint64_t seen[];       /* as they were; `told` lies behind */
};

struct sb_names {
	const struct sb_part_shape *shape;
	struct sb_map map; /* name -> struct sb_name * */
	size_t n_named;
	uint64_t turn, now_ms;
	struct sb_packed other;
	bool others; /* there is, or was, somebody without a name */
};

void sb_names_init(struct sb_names *n, enum sb_part part);
void sb_names_done(struct sb_names *n);
/* A flush begins. true: a name is told no more. */
bool sb_names_turn(struct sb_names *n, uint64_t now_ms, uint64_t keep_ms);
/* In the configuration: all of them first, then sb_names_tell of each. */
void sb_names_meet(struct sb_names *n, const char *name);
/* Counters since the start become what is to be told. false: among the others, whose sum `p` has joined. */
bool sb_names_tell(struct sb_names *n, const char *name, struct sb_packed *p);
/* Has a name, and is not in the configuration: what was told of it, and nothing under way. false: not such a one. */
bool sb_names_gone(const struct sb_names *n, const struct sb_name *e, struct sb_packed *ret);

#endif
