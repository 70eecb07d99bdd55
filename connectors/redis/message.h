/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_MESSAGE_H
#define SB_CONNECTORS_REDIS_MESSAGE_H

#include <hiredis/hiredis.h>

#include "broker/base/buf.h"
#include "connectors/envelope.h"
#include "id.h"

/* What Redis gave us: an entry of a stream, an element of a list, a message of a channel. */
enum rds_what { RDS_ENTRY, RDS_ELEMENT, RDS_PUBLISHED };

struct rds_message {
	enum rds_what what;
	const char *key;          /* of the stream or list, name of the channel */
	struct rds_id id;         /* an entry's own; of others: when we read it, and a number */
	const redisReply *fields; /* an entry's; NULL: */
	struct sb_slice value;    /* all others are only that */
};

/* Makes events of them. Its buffers stay: nothing is allocated once warm. Both are also its owner's to use in between. */
struct rds_reader {
	struct sb_source *s;
	struct sb_envelope_reader *envelope; /* borrowed */
	const char *field;                   /* of an entry that is the message; NULL: all together are */
	struct sb_buf value, meta;
	const char *code;                    /* what was wrong with the last one */
};

void rds_reader_init(struct rds_reader *r, struct sb_source *s, struct sb_envelope_reader *envelope, const char *field);
void rds_reader_done(struct rds_reader *r);
/* One reference to the caller. -1: err->msg says why no event can be made of it, and it has been counted. */
int rds_message_event(struct rds_reader *r, const struct rds_message *m, struct sb_event **ret, struct sb_err *err);
enum sb_reason rds_message_reason(const struct rds_reader *r); /* the same, for its dead letter */
/* Its bytes, for a dead letter: valid until the reader is used again, or the message is gone. */
struct sb_slice rds_message_bytes(struct rds_reader *r, const struct rds_message *m);

#endif
