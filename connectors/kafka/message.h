/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_MESSAGE_H
#define SB_CONNECTORS_KAFKA_MESSAGE_H

#include "conf.h"
#include "connectors/connector.h"

/* From a delivery to a Kafka record. Pure: no producer, no clock. */

struct kafka_message {
	struct sb_slice value;
	bool borrowed;               /* value is the delivery's own memory, else the encoder's, good until the next call */
	struct sb_slice key;         /* p NULL: none; the encoder's */
	rd_kafka_headers_t *headers; /* moves to the caller */
};

/* Scratch that is kept between records. */
struct kafka_encoder {
	struct sb_buf key, value, text;
	struct sb_tape_buf tape;
};

void kafka_encoder_init(struct kafka_encoder *e);
void kafka_encoder_done(struct kafka_encoder *e);
/* -1: larger than the encoder's caps; then nothing is to be freed. */
int kafka_encode(struct kafka_encoder *e, const struct kafka_target_conf *c, const struct sb_item *item, struct kafka_message *ret);

/* ------------------------------------------------------------------------------------------------ cloudevents.c */

int kafka_decode_base64(struct sb_slice s, struct sb_buf *out); /* appends; what is no base64 as it stands */
int kafka_header_add(struct kafka_message *m, const char *name, struct sb_slice value);
/* Value and headers of the delivery as a CloudEvent. */
int kafka_cloudevent_binary(struct kafka_encoder *e, const struct sb_item *item, struct kafka_message *m);
int kafka_cloudevent_structured(struct kafka_encoder *e, const struct sb_item *item, struct kafka_message *m);

#endif
