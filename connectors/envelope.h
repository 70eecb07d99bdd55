/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_ENVELOPE_H
#define SB_CONNECTORS_ENVELOPE_H

#include "connectors/connector.h"

/*
 * From a message of a queue (a Kafka record, a Redis entry) to an event, by the source's `envelope:`
 *
 *   eventbridge  the value is an EventBridge-shaped event
 *   cloudevents  CloudEvents 1.0: binary, the attributes in headers `ce_…` (Kafka protocol binding 3.2), or structured
 *   raw          the value is the detail; `source` and `detail_type` come from the source's templates
 *   auto         what it looks like: a header ce_specversion, or members specversion, id, source and type: cloudevents; members
 *                source, detail-type and detail: eventbridge; all else: raw
 *
 * A reader belongs to one source instance. Its buffers stay from message to message: nothing is allocated once warm.
 */
struct sb_envelope_reader;

struct sb_message_header {
	struct sb_slice name, value;
};

struct sb_message {
	struct sb_slice value;          /* p NULL: none (a tombstone): raw, with a null detail */
	struct sb_slice meta;           /* members of `meta` as JSON text, "\"kafka\":{…}": valid, made by the connector */
	struct sb_slice content_type;   /* n 0: unknown */
	const struct sb_message_header *header; /* names as they came; `ce_` ones are read in binary mode */
	size_t n_headers;
	const struct sb_uuid *receipt;  /* the same for the same message, whenever it is read; NULL: a new one */
	uint64_t time_ms;               /* when it was written: the time of an event that has none; 0: unknown */
};

struct sb_envelope_reader *sb_envelope_new(struct sb_source *s);
void sb_envelope_free(struct sb_envelope_reader *r); /* NULL is fine */
/* One reference to the caller. -1: no event can be made of it; err->msg says why and where. */
int sb_envelope_read(struct sb_envelope_reader *r, const struct sb_message *m, struct sb_event **ret, struct sb_err *err);
/* What was wrong with the last message, as a constant for sb_source_rejected: "invalid_json". */
const char *sb_envelope_code(const struct sb_envelope_reader *r);

#endif
