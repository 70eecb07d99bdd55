/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/net/http.h"

static void addresses(void **state)
{
	static const struct {
		const char *text;
		bool right, loopback;
	} cases[] = {
		{ "127.0.0.1:0", true, true }, { "127.8.0.1:0", true, true }, { "localhost:0", true, true }, { "[::1]:0", true, true },
		{ "0.0.0.0:0", true, false }, { "[::]:0", true, false }, { "127.0.0.1", false, false }, { "127.0.0.1:", false, false },
		{ "127.0.0.1:x", false, false }, { "127.0.0.1:65536", false, false }, { "127.0.0.1:-1", false, false },
		{ "127.0.0.1:+1", false, false }, { "127.0.0.1:0 ", false, false }, { ":8480", false, false }, { "8480", false, false },
		{ "::1:8480", false, false }, { "[::1]", false, false }, { "[127.0.0.1:0", false, false },
		{ "example.com:80", false, false }, { "127.1:80", false, false }, { "unix:", false, false }, { "", false, false },
	};
	struct sb_err err;
	uint16_t port;
	int fd;

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		bool right = sb_listen(cases[i].text, false, &fd, &port, &err) == 0;

		if (right) {
			assert_true(port > 0);
			close(fd);
		} else if (!cases[i].right && strncmp(cases[i].text, "unix:", 5) != 0 && !strstr(err.hint, "127.0.0.1:8480"))
			fail_msg("row %zu: '%s': no hint", i, cases[i].text);
		if (right != cases[i].right)
			fail_msg("row %zu: '%s': %s", i, cases[i].text, right ? "taken" : err.msg);
		if (sb_address_is_loopback(cases[i].text) != cases[i].loopback)
			fail_msg("row %zu: '%s' is loopback or not", i, cases[i].text);
	}
	assert_true(sb_address_is_loopback("unix:/run/x.sock"));
}

static void shards_share_a_port_only_when_asked(void **state)
{
	struct sb_err err;
	char text[32];
	uint16_t port;
	int a, b;

	(void)state;
	assert_int_equal(sb_listen("127.0.0.1:0", true, &a, &port, &err), 0);
	snprintf(text, sizeof(text), "127.0.0.1:%u", port);
	assert_int_equal(sb_listen(text, false, &b, NULL, &err), -1);
	assert_int_equal(err.code, SB_E_IO);
	assert_non_null(strstr(err.msg, text));
	assert_int_equal(sb_listen(text, true, &b, NULL, &err), 0);
	close(a);
	close(b);
}

static void unix_sockets(void **state)
{
	char dir[] = "/tmp/sb-listen-XXXXXX", path[64], address[80], longer[200];
	struct sb_err err;
	struct stat st;
	int a, b;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	snprintf(address, sizeof(address), "unix:%s", path);
	assert_int_equal(sb_listen(address, false, &a, NULL, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(sb_listen(address, false, &b, NULL, &err), -1); /* somebody listens */
	assert_int_equal(err.code, SB_E_BUSY);
	close(a);
	assert_int_equal(sb_listen(address, false, &a, NULL, &err), 0); /* left by one that died */
	close(a);
	unlink(path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(sb_listen(address, false, &a, NULL, &err), -1); /* not ours to remove */
	assert_int_equal(stat(path, &st), 0);
	memset(longer, 'x', sizeof(longer) - 1);
	memcpy(longer, "unix:", 5);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(sb_listen(longer, false, &a, NULL, &err), -1);
	unlink(path);
	rmdir(dir);
}

static void note(struct sb_http_req *req, void *arg)
{
	(void)req;
	++*(int *)arg;
}

static void routes_are_exact(void **state)
{
	struct sb_http_routes *r = sb_http_routes_new();
	struct sb_http_req req = { .path = SB_SLICE("/hooks/shop") };
	struct sb_err err;
	int n = 0;

	(void)state;
	assert_false(sb_http_route_call(r, &req));
	assert_int_equal(sb_http_route_add(r, "/hooks/shop", note, &n, &err), 0);
	assert_int_equal(sb_http_route_add(r, "/hooks/shop", note, &n, &err), -1);
	assert_int_equal(err.code, SB_E_DUPLICATE);
	assert_int_equal(sb_http_route_add(r, "hooks", note, &n, &err), -1);
	assert_true(sb_http_route_call(r, &req));
	assert_int_equal(n, 1);
	req.path = SB_SLICE("/hooks/shop/");
	assert_false(sb_http_route_call(r, &req));
	req.path = SB_SLICE("/hooks/shop");
	sb_http_route_del(r, "/hooks/shop");
	sb_http_route_del(r, "/never");
	assert_false(sb_http_route_call(r, &req));
	assert_int_equal(sb_http_route_add(r, "/hooks/shop", note, &n, &err), 0);
	sb_http_routes_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),
		cmocka_unit_test(shards_share_a_port_only_when_asked),
		cmocka_unit_test(unix_sockets),
		cmocka_unit_test(routes_are_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
