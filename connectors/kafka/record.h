/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_RECORD_H
#define SB_CONNECTORS_KAFKA_RECORD_H

#include <librdkafka/rdkafka.h>

#include "connectors/envelope.h"

/*
 * From a Kafka record to a message: its bytes, and `meta.kafka`:
 *
 *   {"topic":"orders","partition":3,"offset":41,"timestamp":1795508393123,"key":"k","headers":{"traceparent":"00-…"}}
 *
 * A key or a header's value that is no UTF-8 stands base64-coded in `key_base64` or `headers_base64`. The receipt is made of
 * source, topic, partition and offset: the same record has the same, whenever and by whomever it is read.
 */
#define KAFKA_HEADERS_MAX 128

struct kafka_record {
	struct sb_message message;
	struct sb_uuid receipt;
	struct sb_buf position; /* "orders/3/41" */
	struct sb_message_header header[KAFKA_HEADERS_MAX];
	struct sb_buf meta;
};

void kafka_record_init(struct kafka_record *r);
void kafka_record_done(struct kafka_record *r);
/* What stays the same for a partition of a source: the seed of its receipts. */
uint64_t kafka_record_seed(const char *source, const char *topic, int32_t partition);
struct sb_uuid kafka_record_receipt(uint64_t seed, int64_t offset, uint64_t time_ms);
/* Borrows from `m`. -1: its headers are too many or too large; value, receipt and position are there all the same. */
int kafka_record_read(struct kafka_record *r, const rd_kafka_message_t *m, const char *topic, uint64_t seed);

#endif
