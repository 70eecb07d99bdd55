/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/redis/url.h"

#include "broker/base/mem.h"
#include "tests/support/test.h"

static void test_urls_are_taken_apart(void **state)
{
	static const struct {
		const char *text;
		struct rds_url want;
		const char *shown;
	} rows[] = {
		{ "redis://127.0.0.1:6379", { .host = "127.0.0.1", .port = 6379 }, "redis://127.0.0.1:6379" },
		{ "redis://cache", { .host = "cache", .port = 6379 }, "redis://cache:6379" },
		{ "redis://cache/", { .host = "cache", .port = 6379 }, "redis://cache:6379" },
		{ "redis://cache:1/3", { .host = "cache", .port = 1, .db = 3 }, "redis://cache:1/3" },
		{ "redis://:s3cret@cache", { .host = "cache", .port = 6379, .password = "s3cret" }, "redis://cache:6379" },
		{ "redis://bob:s3:cr@t@cache", { .host = "cache", .port = 6379, .user = "bob", .password = "s3:cr@t" },
			"redis://cache:6379" },
		{ "redis://b%40b:p%2Fw%25@c", { .host = "c", .port = 6379, .user = "b@b", .password = "p/w%" }, "redis://c:6379" },
		{ "redis://[::1]:7000/1", { .host = "::1", .port = 7000, .db = 1 }, "redis://[::1]:7000/1" },
		{ "redis://[::1]", { .host = "::1", .port = 6379 }, "redis://[::1]:6379" },
		{ "redis://", { .host = "127.0.0.1", .port = 6379 }, "redis://127.0.0.1:6379" },
		{ "rediss://cache:6380", { .tls = true, .host = "cache", .port = 6380 }, "rediss://cache:6380" },
		{ "unix:/run/redis.sock", { .path = "/run/redis.sock", .port = 6379 }, "unix:/run/redis.sock" },
		{ "unix:/run/redis.sock?db=2", { .path = "/run/redis.sock", .port = 6379, .db = 2 }, "unix:/run/redis.sock?db=2" },
		{ "unix://:pw@/run/r.sock", { .path = "/run/r.sock", .port = 6379, .password = "pw" }, "unix:/run/r.sock" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		const struct rds_url *w = &rows[i].want;
		char shown[RDS_URL_TEXT];
		struct rds_url u;
		struct sb_err err = { 0 };

		if (rds_url_parse(rows[i].text, &u, &err) < 0)
			fail_msg("row %zu: '%s': %s", i, rows[i].text, err.msg);
		rds_url_show(&u, shown);
		if (u.tls != w->tls || strcmp(u.host, w->host) != 0 || strcmp(u.path, w->path) != 0 || u.port != w->port ||
			u.db != w->db || strcmp(u.user, w->user) != 0 || strcmp(u.password, w->password) != 0)
			fail_msg("row %zu: '%s' is %s as %s:%s", i, rows[i].text, shown, u.user, u.password);
		if (strcmp(shown, rows[i].shown) != 0)
			fail_msg("row %zu: '%s' is shown as '%s'", i, rows[i].text, shown);
	}
}

static void test_wrong_urls_are_refused_without_showing_them(void **state)
{
	static const char *const rows[] = {
		"", "cache:6379", "http://cache", "redis:/cache", "redis://:hunter2@cache:0", "redis://:hunter2@cache:66000",
		"redis://:hunter2@cache:", "redis://:hunter2@cache:6379/x", "redis://:hunter2@cache/99999", "redis://:hunter2@[::1",
		"redis://:hunter2@[::1]x", "redis://:hunter2%2@cache", "redis://:hunter2%00@cache", "unix:relative", "unix:/a?hunter2=1",
		"unix:/a?db=hunter2",
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		struct rds_url u;
		struct sb_err err = { 0 };

		if (rds_url_parse(rows[i], &u, &err) == 0)
			fail_msg("row %zu: '%s' was taken", i, rows[i]);
		if (!*err.msg || !*err.hint || strstr(err.msg, "hunter2") || strstr(err.hint, "hunter2"))
			fail_msg("row %zu: '%s' says '%s', '%s'", i, rows[i], err.msg, err.hint);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_urls_are_taken_apart),
		cmocka_unit_test(test_wrong_urls_are_refused_without_showing_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
