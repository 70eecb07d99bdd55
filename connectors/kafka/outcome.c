/* SPDX-License-Identifier: Apache-2.0 */
#include "outcome.h"

/*
 * By what has to happen before the record can be taken:
 *
 *   nothing, it is there                               delivered
 *   another try (elections, replicas, quotas)          retry
 *   a person or a network (connection, log-in, ACLs)   unreachable: the whole target waits, nothing is used up
 *   the record or the topic must be another one        rejected
 *   the producer must be another one                   unreachable, so that the pause grows should it happen again
 *
 * Brokers refuse whole batches. For what only one record can be guilty of, each of them is therefore sent again alone,
 * uncounted, and believed then. What is not listed is tried again: no code that we have not heard of loses a record.
 */
#define E(name) RD_KAFKA_RESP_ERR_##name

enum blame { ALL, ONE }; /* ONE: a single record of the batch may be the reason for all */

static const struct row {
	rd_kafka_resp_err_t err;
	enum sb_outcome outcome;
	enum sb_reason reason;
	enum blame blame;
} rows[] = {
	{ E(NO_ERROR), SB_DELIVERED, SB_R_NONE, ALL },
	{ E(DUPLICATE_SEQUENCE_NUMBER), SB_DELIVERED, SB_R_NONE, ALL }, /* it is there already */

	{ E(MSG_SIZE_TOO_LARGE), SB_REJECTED, SB_R_INVALID_PARAMETER, ONE },
	{ E(RECORD_LIST_TOO_LARGE), SB_REJECTED, SB_R_INVALID_PARAMETER, ONE },
	{ E(INVALID_MSG_SIZE), SB_REJECTED, SB_R_INVALID_PARAMETER, ONE },
	{ E(INVALID_RECORD), SB_REJECTED, SB_R_INVALID_PARAMETER, ONE },
	{ E(INVALID_TIMESTAMP), SB_REJECTED, SB_R_INVALID_PARAMETER, ONE },
	{ E(POLICY_VIOLATION), SB_REJECTED, SB_R_INVALID_PARAMETER, ONE },

	{ E(_UNKNOWN_TOPIC), SB_REJECTED, SB_R_NO_RESOURCE, ALL },
	{ E(UNKNOWN_TOPIC_OR_PART), SB_REJECTED, SB_R_NO_RESOURCE, ALL },
	{ E(TOPIC_EXCEPTION), SB_REJECTED, SB_R_INVALID_PARAMETER, ALL },
	{ E(UNSUPPORTED_FOR_MESSAGE_FORMAT), SB_REJECTED, SB_R_INVALID_PARAMETER, ALL },
	{ E(UNSUPPORTED_COMPRESSION_TYPE), SB_REJECTED, SB_R_INVALID_PARAMETER, ALL },
	{ E(_INVALID_ARG), SB_REJECTED, SB_R_INVALID_PARAMETER, ALL },

	{ E(_UNKNOWN_PARTITION), SB_RETRY, SB_R_NO_RESOURCE, ALL }, /* the topic was made anew with fewer */
	{ E(REQUEST_TIMED_OUT), SB_RETRY, SB_R_TIMEOUT, ALL },
	{ E(_TIMED_OUT), SB_RETRY, SB_R_TIMEOUT, ALL },
	{ E(_TIMED_OUT_QUEUE), SB_RETRY, SB_R_TIMEOUT, ALL },
	{ E(THROTTLING_QUOTA_EXCEEDED), SB_RETRY, SB_R_THROTTLING, ALL },
	{ E(_QUEUE_FULL), SB_RETRY, SB_R_RESOURCE_LIMIT_EXCEEDED, ALL },
	{ E(NOT_ENOUGH_REPLICAS), SB_RETRY, SB_R_ERROR_FROM_TARGET, ALL },
	{ E(NOT_ENOUGH_REPLICAS_AFTER_APPEND), SB_RETRY, SB_R_ERROR_FROM_TARGET, ALL },
	{ E(_ISR_INSUFF), SB_RETRY, SB_R_ERROR_FROM_TARGET, ALL },
	{ E(LEADER_NOT_AVAILABLE), SB_RETRY, SB_R_ERROR_FROM_TARGET, ALL },
	{ E(NOT_LEADER_FOR_PARTITION), SB_RETRY, SB_R_ERROR_FROM_TARGET, ALL },
	{ E(BROKER_NOT_AVAILABLE), SB_RETRY, SB_R_ERROR_FROM_TARGET, ALL },
	{ E(KAFKA_STORAGE_ERROR), SB_RETRY, SB_R_ERROR_FROM_TARGET, ALL },
	{ E(INVALID_MSG), SB_RETRY, SB_R_ERROR_FROM_TARGET, ALL }, /* damaged on the way */
	{ E(OUT_OF_ORDER_SEQUENCE_NUMBER), SB_RETRY, SB_R_ERROR_FROM_TARGET, ALL },
	{ E(UNKNOWN_PRODUCER_ID), SB_RETRY, SB_R_ERROR_FROM_TARGET, ALL },

	{ E(_TRANSPORT), SB_UNREACHABLE, SB_R_CONNECTION_FAILURE, ALL },
	{ E(_RESOLVE), SB_UNREACHABLE, SB_R_CONNECTION_FAILURE, ALL },
	{ E(_SSL), SB_UNREACHABLE, SB_R_CONNECTION_FAILURE, ALL },
	{ E(_ALL_BROKERS_DOWN), SB_UNREACHABLE, SB_R_CONNECTION_FAILURE, ALL },
	{ E(NETWORK_EXCEPTION), SB_UNREACHABLE, SB_R_CONNECTION_FAILURE, ALL },
	{ E(_AUTHENTICATION), SB_UNREACHABLE, SB_R_NO_PERMISSIONS, ALL },
	{ E(SASL_AUTHENTICATION_FAILED), SB_UNREACHABLE, SB_R_NO_PERMISSIONS, ALL },
	{ E(UNSUPPORTED_SASL_MECHANISM), SB_UNREACHABLE, SB_R_NO_PERMISSIONS, ALL },
	{ E(ILLEGAL_SASL_STATE), SB_UNREACHABLE, SB_R_NO_PERMISSIONS, ALL },
	{ E(TOPIC_AUTHORIZATION_FAILED), SB_UNREACHABLE, SB_R_NO_PERMISSIONS, ALL },
	{ E(CLUSTER_AUTHORIZATION_FAILED), SB_UNREACHABLE, SB_R_NO_PERMISSIONS, ALL },

	{ E(_FATAL), SB_UNREACHABLE, SB_R_INTERNAL_ERROR, ALL },
	{ E(_STATE), SB_UNREACHABLE, SB_R_INTERNAL_ERROR, ALL },
	{ E(_INCONSISTENT), SB_UNREACHABLE, SB_R_INTERNAL_ERROR, ALL },
	{ E(INVALID_PRODUCER_EPOCH), SB_UNREACHABLE, SB_R_INTERNAL_ERROR, ALL },
	{ E(PRODUCER_FENCED), SB_UNREACHABLE, SB_R_INTERNAL_ERROR, ALL },
	{ E(INVALID_PRODUCER_ID_MAPPING), SB_UNREACHABLE, SB_R_INTERNAL_ERROR, ALL },

	{ E(_PURGE_QUEUE), SB_RELEASED, SB_R_NONE, ALL },
	{ E(_PURGE_INFLIGHT), SB_RELEASED, SB_R_NONE, ALL },
	{ E(_DESTROY), SB_RELEASED, SB_R_NONE, ALL },
};

static const struct row other = { E(UNKNOWN), SB_RETRY, SB_R_UNKNOWN, ALL };

static const struct row *row_of(rd_kafka_resp_err_t err)
{
	for (size_t i = 0; i < SB_LEN(rows); i++)
		if (rows[i].err == err)
			return &rows[i];
	return &other;
}

bool kafka_is_connection_error(rd_kafka_resp_err_t err)
{
	return err != E(_ALL_BROKERS_DOWN) && err != E(TOPIC_AUTHORIZATION_FAILED) && err < 0 &&
	       row_of(err)->outcome == SB_UNREACHABLE && row_of(err)->reason != SB_R_INTERNAL_ERROR;
}

/*
 * Its time is up. One that never left this machine, while nobody could be reached, has had no attempt; nor has any as long
 * as we are not let in. A partition without a leader is no reason to stop the others: retry.
 */
static struct kafka_verdict timed_out(const struct kafka_facts *f)
{
	if (f->down && row_of(f->down_why)->reason == SB_R_NO_PERMISSIONS)
		return (struct kafka_verdict){ SB_UNREACHABLE, SB_R_NO_PERMISSIONS, false };
	if (f->down && !f->sent)
		return (struct kafka_verdict){ SB_UNREACHABLE, SB_R_CONNECTION_FAILURE, false };
	return (struct kafka_verdict){ SB_RETRY, SB_R_TIMEOUT, false };
}

struct kafka_verdict kafka_outcome(rd_kafka_resp_err_t err, const struct kafka_facts *f)
{
	const struct row *row = row_of(err);

	if (err == E(_MSG_TIMED_OUT))
		return timed_out(f);
	if (row->blame == ONE && !f->alone)
		return (struct kafka_verdict){ SB_RELEASED, SB_R_NONE, true };
	return (struct kafka_verdict){ row->outcome, row->reason, false };
}
