/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include "connectors/kafka/outcome.h"

#define E(name) RD_KAFKA_RESP_ERR_##name

static const struct kafka_facts nothing, sent = { .sent = true }, alone = { .sent = true, .alone = true };
static const struct kafka_facts down = { .down = true }, down_sent = { .down = true, .sent = true };
static const struct kafka_facts locked_out = { .down = true, .sent = true, .down_why = E(_AUTHENTICATION) };
static const struct kafka_facts refused = { .down = true, .down_why = E(_TRANSPORT) };

static void every_error_has_its_outcome(void **state)
{
	static const struct {
		const char *what;
		rd_kafka_resp_err_t err;
		const struct kafka_facts *facts;
		enum sb_outcome outcome;
		enum sb_reason reason;
		bool suspect;
	} cases[] = {
		{ "reported without an error", E(NO_ERROR), &sent, SB_DELIVERED, SB_R_NONE, false },
		{ "the broker has it already", E(DUPLICATE_SEQUENCE_NUMBER), &sent, SB_DELIVERED, SB_R_NONE, false },
		{ "too large, in company", E(MSG_SIZE_TOO_LARGE), &sent, SB_RELEASED, SB_R_NONE, true },
		{ "too large, alone", E(MSG_SIZE_TOO_LARGE), &alone, SB_REJECTED, SB_R_INVALID_PARAMETER, false },
		{ "a record the broker's policy refuses, in company", E(INVALID_RECORD), &sent, SB_RELEASED, SB_R_NONE, true },
		{ "a record the broker's policy refuses, alone", E(INVALID_RECORD), &alone, SB_REJECTED, SB_R_INVALID_PARAMETER, false },
		{ "policy", E(POLICY_VIOLATION), &alone, SB_REJECTED, SB_R_INVALID_PARAMETER, false },
		{ "no such topic, says the library", E(_UNKNOWN_TOPIC), &nothing, SB_REJECTED, SB_R_NO_RESOURCE, false },
		{ "no such topic, says the broker", E(UNKNOWN_TOPIC_OR_PART), &sent, SB_REJECTED, SB_R_NO_RESOURCE, false },
		{ "a name that no topic can have", E(TOPIC_EXCEPTION), &sent, SB_REJECTED, SB_R_INVALID_PARAMETER, false },
		{ "the partition is gone", E(_UNKNOWN_PARTITION), &nothing, SB_RETRY, SB_R_NO_RESOURCE, false },
		{ "too few replicas", E(NOT_ENOUGH_REPLICAS), &sent, SB_RETRY, SB_R_ERROR_FROM_TARGET, false },
		{ "election", E(NOT_LEADER_FOR_PARTITION), &sent, SB_RETRY, SB_R_ERROR_FROM_TARGET, false },
		{ "quota", E(THROTTLING_QUOTA_EXCEEDED), &sent, SB_RETRY, SB_R_THROTTLING, false },
		{ "the broker's disk", E(KAFKA_STORAGE_ERROR), &sent, SB_RETRY, SB_R_ERROR_FROM_TARGET, false },
		{ "no answer", E(_MSG_TIMED_OUT), &sent, SB_RETRY, SB_R_TIMEOUT, false },
		{ "a partition without a leader", E(_MSG_TIMED_OUT), &nothing, SB_RETRY, SB_R_TIMEOUT, false },
		{ "nobody there, never sent", E(_MSG_TIMED_OUT), &down, SB_UNREACHABLE, SB_R_CONNECTION_FAILURE, false },
		{ "nobody there, never sent, refused", E(_MSG_TIMED_OUT), &refused, SB_UNREACHABLE, SB_R_CONNECTION_FAILURE, false },
		{ "nobody there any more, perhaps sent", E(_MSG_TIMED_OUT), &down_sent, SB_RETRY, SB_R_TIMEOUT, false },
		{ "nobody lets us in", E(_MSG_TIMED_OUT), &locked_out, SB_UNREACHABLE, SB_R_NO_PERMISSIONS, false },
		{ "no right to the topic", E(TOPIC_AUTHORIZATION_FAILED), &sent, SB_UNREACHABLE, SB_R_NO_PERMISSIONS, false },
		{ "all brokers down", E(_ALL_BROKERS_DOWN), &nothing, SB_UNREACHABLE, SB_R_CONNECTION_FAILURE, false },
		{ "the producer is done for", E(_FATAL), &sent, SB_UNREACHABLE, SB_R_INTERNAL_ERROR, false },
		{ "given up before it was sent", E(_PURGE_QUEUE), &nothing, SB_RELEASED, SB_R_NONE, false },
		{ "given up after it was sent", E(_PURGE_INFLIGHT), &sent, SB_RELEASED, SB_R_NONE, false },
		{ "one from the future", (rd_kafka_resp_err_t)12345, &sent, SB_RETRY, SB_R_UNKNOWN, false },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct kafka_verdict v = kafka_outcome(cases[i].err, cases[i].facts);

		if (v.outcome != cases[i].outcome || v.reason != cases[i].reason || v.suspect != cases[i].suspect)
			fail_msg("%s: %s %s%s", cases[i].what, sb_outcome_name(v.outcome), sb_reason_name(v.reason),
				v.suspect ? " suspect" : "");
	}
}

/* Whatever librdkafka may report, and whatever is known: a record is lost by no code, and none is called delivered by mistake. */
static void no_code_is_mistaken_for_success(void **state)
{
	static const struct kafka_facts *const all[] = { &nothing, &sent, &alone, &down, &down_sent, &locked_out, &refused };

	(void)state;
	for (int err = RD_KAFKA_RESP_ERR__BEGIN; err < RD_KAFKA_RESP_ERR_END_ALL; err++)
		for (size_t f = 0; f < SB_LEN(all); f++) {
			struct kafka_verdict v = kafka_outcome((rd_kafka_resp_err_t)err, all[f]);
			bool good = err == E(NO_ERROR) || err == E(DUPLICATE_SEQUENCE_NUMBER);

			if ((v.outcome == SB_DELIVERED) != good)
				fail_msg("%s: %s", rd_kafka_err2name((rd_kafka_resp_err_t)err), sb_outcome_name(v.outcome));
			if (v.suspect && (v.outcome != SB_RELEASED || all[f]->alone))
				fail_msg("%s: suspected for ever", rd_kafka_err2name((rd_kafka_resp_err_t)err));
			if ((v.outcome == SB_DELIVERED || v.outcome == SB_RELEASED) != (v.reason == SB_R_NONE))
				fail_msg("%s: no reason, or one too many", rd_kafka_err2name((rd_kafka_resp_err_t)err));
		}
}

static void connection_errors(void **state)
{
	static const struct {
		rd_kafka_resp_err_t err;
		bool want;
	} cases[] = { { E(_TRANSPORT), true }, { E(_RESOLVE), true }, { E(_SSL), true }, { E(_AUTHENTICATION), true },
		{ E(_ALL_BROKERS_DOWN), false }, { E(_FATAL), false }, { E(_MSG_TIMED_OUT), false }, { E(TOPIC_AUTHORIZATION_FAILED), false },
		{ E(_PARTITION_EOF), false } };

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++)
		if (kafka_is_connection_error(cases[i].err) != cases[i].want)
			fail_msg("%s", rd_kafka_err2name(cases[i].err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_error_has_its_outcome),
		cmocka_unit_test(no_code_is_mistaken_for_success),
		cmocka_unit_test(connection_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
