/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_CHANNELS_H
#define SB_CONNECTORS_REDIS_CHANNELS_H

#include "feed.h"

/*
 * Pub/sub as a source, which is at most once: Redis keeps nothing for whoever is not there or is slow. What reaches us is counted when it is not
 * taken; what was published while we were not connected nobody can count, but every such gap is.
 */
struct rds_channels;
int rds_channels_new(struct sb_source *s, struct sb_envelope_reader *envelope, struct rds_channels **ret, struct sb_err *err);
void rds_channels_free(struct rds_channels *c); /* NULL is fine */
void rds_channels_pause(struct rds_channels *c, bool on);
void rds_channels_close(struct rds_channels *c);
void rds_channels_refused(struct rds_channels *c); /* one that was taken was not stored after all */
/* Members of the source's status; NULL: another shard has them. */
void rds_channels_status(const struct rds_channels *c, struct sb_buf *out);

#endif
