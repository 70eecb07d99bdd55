/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_KAFKA_OUTCOME_H
#define SB_CONNECTORS_KAFKA_OUTCOME_H

#include <librdkafka/rdkafka.h>

#include "connectors/connector.h"

/* What an error of librdkafka or of a broker means for the record that it is reported for. Pure. */

/* What is known beside the code. */
struct kafka_facts {
	bool sent;                    /* it may have reached a broker */
	bool alone;                   /* no other record shared its batch */
	bool down;                    /* no broker can be reached */
	rd_kafka_resp_err_t down_why; /* the last error of a connection; 0: none */
};

struct kafka_verdict {
	enum sb_outcome outcome;
	enum sb_reason reason;
	bool suspect; /* with SB_RELEASED: the batch was refused for one of its records, perhaps this; it must go alone */
};

struct kafka_verdict kafka_outcome(rd_kafka_resp_err_t err, const struct kafka_facts *f);

/* The connection or who we are on it, not a record or a topic, is the trouble: the last such error explains time-outs. */
bool kafka_is_connection_error(rd_kafka_resp_err_t err);

#endif
