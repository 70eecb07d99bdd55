/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/redis/verdict.h"

#include "tests/support/test.h"

static void test_what_an_error_means(void **state)
{
	static const struct {
		const char *text;
		enum sb_outcome outcome;
		enum sb_reason reason;
		enum rds_then then;
	} rows[] = {
		{ "OOM command not allowed when used memory > 'maxmemory'.", SB_RETRY, SB_R_RESOURCE_LIMIT_EXCEEDED, RDS_GO_ON },
		{ "MISCONF Redis is configured to save RDB snapshots", SB_RETRY, SB_R_RESOURCE_LIMIT_EXCEEDED, RDS_GO_ON },
		{ "READONLY You can't write against a read only replica.", SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_RECONNECT },
		{ "UNBLOCKED force unblock from blocking operation", SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_RECONNECT },
		{ "LOADING Redis is loading the dataset in memory", SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_RECONNECT },
		{ "BUSY Redis is busy running a script.", SB_RETRY, SB_R_THROTTLING, RDS_GO_ON },
		{ "MASTERDOWN Link with MASTER is down", SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_RECONNECT },
		{ "NOREPLICAS Not enough good replicas to write.", SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_GO_ON },
		{ "CLUSTERDOWN The cluster is down", SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_GO_ON },
		{ "TRYAGAIN Multiple keys request during rehashing", SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_GO_ON },
		{ "MOVED 3999 10.0.0.7:6381", SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_MOVED },
		{ "ASK 3999 10.0.0.7:6381", SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_GO_ON },
		{ "NOAUTH Authentication required.", SB_UNREACHABLE, SB_R_NO_PERMISSIONS, RDS_RECONNECT },
		{ "WRONGPASS invalid username-password pair", SB_UNREACHABLE, SB_R_NO_PERMISSIONS, RDS_RECONNECT },
		{ "ERR AUTH <password> called without any password configured", SB_UNREACHABLE, SB_R_NO_PERMISSIONS, RDS_RECONNECT },
		{ "ERR max number of clients reached", SB_UNREACHABLE, SB_R_RESOURCE_LIMIT_EXCEEDED, RDS_RECONNECT },
		{ "ERR DB index is out of range", SB_UNREACHABLE, SB_R_INVALID_PARAMETER, RDS_RECONNECT },
		{ "NOPERM this user has no permissions to run the 'xadd' command", SB_REJECTED, SB_R_NO_PERMISSIONS, RDS_GO_ON },
		{ "WRONGTYPE Operation against a key holding the wrong kind of value", SB_REJECTED, SB_R_INVALID_PARAMETER, RDS_GO_ON },
		{ "NOGROUP No such key 's' or consumer group 'g'", SB_REJECTED, SB_R_NO_RESOURCE, RDS_NO_GROUP },
		{ "ERR syntax error", SB_REJECTED, SB_R_ERROR_FROM_TARGET, RDS_GO_ON },
		{ "ERR", SB_REJECTED, SB_R_ERROR_FROM_TARGET, RDS_GO_ON },
		/* only whole words count */
		{ "BUSYGROUP Consumer Group name already exists", SB_RETRY, SB_R_UNKNOWN, RDS_GO_ON },
		{ "ERROR", SB_RETRY, SB_R_UNKNOWN, RDS_GO_ON },
		{ "SOMETHINGNEW of a later version", SB_RETRY, SB_R_UNKNOWN, RDS_GO_ON },
		{ "", SB_RETRY, SB_R_UNKNOWN, RDS_GO_ON },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		struct rds_verdict v = rds_verdict_of(sb_slice_str(rows[i].text));

		if (v.outcome != rows[i].outcome || v.reason != rows[i].reason || v.then != rows[i].then)
			fail_msg("row %zu: '%s' is %s, %s, %d", i, rows[i].text, sb_outcome_name(v.outcome), sb_reason_name(v.reason),
				v.then);
	}
}

static void test_where_a_key_has_moved(void **state)
{
	static const struct {
		const char *text, *host; /* NULL: nowhere that we could go */
		unsigned port;
	} rows[] = {
		{ "MOVED 3999 127.0.0.1:6381", "127.0.0.1", 6381 },
		{ "MOVED 0 redis-2.internal:7000", "redis-2.internal", 7000 },
		{ "MOVED 1 2001:db8::1:6379", "2001:db8::1", 6379 },
		{ "MOVED 3999 :6381", NULL, 0 },
		{ "MOVED 3999 host:", NULL, 0 },
		{ "MOVED 3999 host:70000", NULL, 0 },
		{ "MOVED 3999 host:1x", NULL, 0 },
		{ "MOVED ", NULL, 0 },
		{ "MOVED 3999", NULL, 0 },
		{ "ERR no", NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		char host[256] = "";
		unsigned port = 0;
		int rc = rds_moved_to(sb_slice_str(rows[i].text), host, &port);

		if ((rc == 0) != (rows[i].host != NULL) || (rc == 0 && (strcmp(host, rows[i].host) != 0 || port != rows[i].port)))
			fail_msg("row %zu: '%s' gave %d, '%s', %u", i, rows[i].text, rc, host, port);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_an_error_means),
		cmocka_unit_test(test_where_a_key_has_moved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
