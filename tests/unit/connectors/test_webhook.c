/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "broker/base/field.h"
#include "broker/base/template.h"
#include "tests/support/fakesource.h"

extern const struct sb_connector sb_connector_webhook;

static struct sb_fake_answer a;

/* The connector's configuration as its rows decode it. */
struct decoded {
	struct sb_arena arena;
	struct sb_diags diags;
	struct sb_doc doc;
	void *conf;
	bool right;
};

static void decode(struct decoded *d, const char *yaml)
{
	const struct sb_source_ops *ops = sb_connector_webhook.source;
	struct sb_decode dec = { .arena = &d->arena, .diags = &d->diags };

	memset(d, 0, sizeof(*d));
	assert_int_equal(sb_yaml_parse("test.yaml", sb_slice_str(yaml), &d->doc, &d->diags), 0);
	d->conf = sb_arena_alloc(&d->arena, ops->conf_size);
	d->right = sb_fields_decode(&dec, ops->fields, d->doc.root, d->conf, NULL) == 0;
	if (d->right)
		d->right = ops->check(&dec, d->doc.root, d->conf) == 0;
}

static void decoded_done(struct decoded *d)
{
	sb_doc_done(&d->doc);
	sb_diags_done(&d->diags);
	sb_arena_done(&d->arena);
}

struct hook {
	struct decoded conf;
	struct sb_fake_source f;
	struct sb_template source, detail_type;
};

static void template_of(struct hook *h, const char *text, struct sb_template *t, const struct sb_template **ret)
{
	struct sb_err err;

	if (!text)
		return;
	assert_int_equal(sb_template_compile(&h->conf.arena, sb_slice_str(text), NULL, NULL, t, &err), 0);
	*ret = t;
}

static void hook_init(struct hook *h, const char *yaml, const char *source, const char *detail_type)
{
	decode(&h->conf, yaml);
	assert_true(h->conf.right);
	sb_fake_source_init(&h->f, &sb_connector_webhook, h->conf.conf);
	template_of(h, source, &h->source, &h->f.source.source_tpl);
	template_of(h, detail_type, &h->detail_type, &h->f.source.detail_type_tpl);
}

static void hook_done(struct hook *h)
{
	sb_fake_source_done(&h->f);
	decoded_done(&h->conf);
}

static const char *json(const struct sb_event *ev)
{
	static char text[64 << 10];

	snprintf(text, sizeof(text), "%.*s", (int)ev->n, ev->json);
	return text;
}

static void expect(const char *haystack, const char *needle)
{
	if (!strstr(haystack, needle))
		fail_msg("no %s in %s", needle, haystack);
}

static void expect_not(const char *haystack, const char *needle)
{
	if (strstr(haystack, needle))
		fail_msg("%s stands in %s", needle, haystack);
}

static void a_body_becomes_the_detail_byte_for_byte(void **state)
{
	struct hook h;
	char id[64];

	(void)state;
	hook_init(&h, "{path: /hooks/shop}", "com.shop", "<meta.http.headers.x-shop-topic>");
	sb_fake_post(&h.f, "/hooks/shop?ignored=1", "X-Shop-Topic: OrderPlaced\r\n",
		" {\"total\": 1e2, \"id\":12345678901234567890,\n\"a\":\"\\u00e9\"} ", &a);
	assert_int_equal(a.status, 202);
	assert_int_equal(h.f.n, 1);
	expect(json(h.f.ev[0]), "\"detail\":{\"total\": 1e2, \"id\":12345678901234567890,\n\"a\":\"\\u00e9\"},\"meta\":");
	expect(json(h.f.ev[0]), "\"source\":\"com.shop\",\"detail-type\":\"OrderPlaced\"");
	expect(json(h.f.ev[0]), "\"meta\":{\"http\":{\"path\":\"/hooks/shop\",\"headers\":{\"x-shop-topic\":\"OrderPlaced\"}}}}");
	snprintf(id, sizeof(id), "{\"id\":\"%.*s\"}\n", SB_SLICE_ARG(h.f.ev[0]->id));
	assert_string_equal(a.body, id);
	assert_string_equal(h.f.ev[0]->bus, "default");
	assert_true(h.f.ev[0]->newlines);
	hook_done(&h);
}

static void templates_reach_the_body(void **state)
{
	struct hook h;

	(void)state;
	hook_init(&h, "{path: /h}", "shop.<$.detail.kind>", "T<detail.n>");
	sb_fake_post(&h.f, "/h", "", "{\"kind\":\"a\\\"b\",\"n\":7}", &a);
	assert_int_equal(a.status, 202);
	expect(json(h.f.ev[0]), "\"source\":\"shop.a\\\"b\",\"detail-type\":\"T7\"");
	hook_done(&h);
}

static void without_templates_the_source_has_its_name(void **state)
{
	struct hook h;

	(void)state;
	hook_init(&h, "{path: /h}", NULL, NULL);
	sb_fake_post(&h.f, "/h", "", "[1]", &a);
	assert_int_equal(a.status, 202);
	expect(json(h.f.ev[0]), "\"source\":\"shop\",\"detail-type\":\"webhook\"");
	expect(json(h.f.ev[0]), "\"detail\":[1]");
	hook_done(&h);
}

static void refusals(void **state)
{
	static const struct {
		const char *line, *headers, *body;
		unsigned status;
		const char *code, *more;
	} cases[] = {
		{ "POST /h", "X-T: a\r\n", "{\"a\":}", 400, "invalid_json", "\"offset\":5" },
		{ "POST /h", "X-T: a\r\n", "", 400, "invalid_json", "\"offset\":0" },
		{ "POST /h", "X-T: a\r\n", "{} {}", 400, "invalid_json", "\"offset\":3" },
		{ "POST /h", "X-T: a\r\n", "{}}", 400, "invalid_json", "\"offset\":2" },
		{ "POST /h", "X-T: a\r\n", "{},\"x\":1", 400, "invalid_json", "\"offset\":2" },
		{ "POST /h", "X-T: a\r\n", "1,\"meta\":{}", 400, "invalid_json", "\"offset\":1" },
		{ "POST /h", "X-T: a\r\n", "{\"a\":1", 400, "invalid_json", "" },
		{ "POST /h", "X-T: a\r\n", "\"\xff\"", 400, "invalid_json", "\"offset\":1" },
		{ "POST /h", "", "{}", 400, "missing_value", "detail_type" },
		{ "POST /h", "X-T: \r\n", "{}", 400, "missing_value", "detail_type" },
		{ "GET /h", "X-T: a\r\n", "", 405, "method_not_allowed", "POST" },
		{ "PUT /h", "X-T: a\r\n", "{}", 405, "method_not_allowed", "POST" },
		{ "POST /h", "X-T: a\r\nContent-Encoding: gzip\r\n", "{}", 415, "unsupported_media_type", "Content-Encoding" },
		{ "POST /h", "X-T: a\r\nContent-Type: application/x-www-form-urlencoded\r\n", "a=b", 415, "unsupported_media_type", "" },
		{ "POST /h", "X-T: a\r\nContent-Type: multipart/form-data; boundary=x\r\n", "--x", 415, "unsupported_media_type", "" },
		{ "POST /other", "X-T: a\r\n", "{}", 404, "not_found", "" },
	};
	struct hook h;

	(void)state;
	hook_init(&h, "{path: /h}", "com.shop", "<meta.http.headers.x-t>");
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		sb_fake_source_forget(&h.f);
		sb_fake_request(&h.f, cases[i].line, cases[i].headers, sb_slice_str(cases[i].body), &a);
		if (a.status != cases[i].status || !strstr(a.body, cases[i].code) || !strstr(a.body, cases[i].more) || h.f.n)
			fail_msg("row %zu: %u %s", i, a.status, a.body);
		if (a.status != 404 && !strstr(h.f.rejected, cases[i].code))
			fail_msg("row %zu is counted as '%s'", i, h.f.rejected);
	}
	hook_done(&h);
}

static void what_the_framework_refuses(void **state)
{
	static const struct {
		enum sb_refuse why;
		unsigned status;
		const char *code;
		bool again;
	} cases[] = {
		{ SB_REFUSE_UNKNOWN_BUS, 404, "unknown_bus", false }, { SB_REFUSE_TOO_LARGE, 413, "too_large", false },
		{ SB_REFUSE_INVALID, 400, "invalid_event", false }, { SB_REFUSE_FULL, 503, "no_room", true },
		{ SB_REFUSE_STOPPING, 503, "stopping", true },
	};
	struct hook h;

	(void)state;
	hook_init(&h, "{path: /h}", "com.shop", NULL);
	h.f.refuse_source = "com.shop";
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		h.f.refuse_why = cases[i].why;
		sb_fake_post(&h.f, "/h", "", "{}", &a);
		if (a.status != cases[i].status || !strstr(a.body, cases[i].code))
			fail_msg("row %zu: %u %s", i, a.status, a.body);
		assert_true((strstr(a.head, "Retry-After:") != NULL) == cases[i].again);
		assert_true((strstr(a.body, "\"retryable\":true") != NULL) == cases[i].again);
	}
	h.f.refuse_source = NULL;
	h.f.fail_why = SB_REFUSE_FULL; /* the disk fails after the event was taken */
	sb_fake_post(&h.f, "/h", "", "{}", &a);
	assert_int_equal(a.status, 503);
	expect(a.head, "Retry-After:");
	hook_done(&h);
}

static void an_event_too_large_is_refused(void **state)
{
	static char body[2048] = "\"";
	struct hook h;

	(void)state;
	hook_init(&h, "{path: /h}", "com.shop", NULL);
	h.f.max_event = 1024;
	memset(body + 1, 'x', 1900);
	memcpy(body + 1901, "\"", 2);
	sb_fake_post(&h.f, "/h", "", body, &a);
	assert_int_equal(a.status, 413);
	memcpy(body + 1000, "\"", 2); /* the body fits, with its envelope it does not */
	sb_fake_post(&h.f, "/h", "", body, &a);
	assert_int_equal(a.status, 413);
	memcpy(body + 300, "\"", 2);
	sb_fake_post(&h.f, "/h", "", body, &a);
	assert_int_equal(a.status, 202);
	hook_done(&h);
}

static void credentials_are_never_stored(void **state)
{
	static const char headers[] = "Authorization: Bearer s1\r\nProxy-Authorization: s2\r\nCookie: s3\r\nSet-Cookie: s4\r\n"
				      "X-Sig: 5050\r\nX-Api-Key: s6\r\nX-Gitlab-Token: s7\r\nX-Hub-Signature-256: s8\r\n"
				      "X-Shopify-Hmac-SHA256: s9\r\nX-Client-Secret: s10\r\nX-Ok: yes\r\nUser-Agent: me\r\n"
				      "Accept: no\r\nContent-Type: application/json\r\n";
	struct hook h;

	(void)state;
	hook_init(&h, "{path: /h}", "com.shop", NULL);
	sb_fake_post(&h.f, "/h", headers, "{}", &a);
	assert_int_equal(a.status, 202);
	expect(json(h.f.ev[0]), "\"headers\":{\"x-sig\":\"5050\",\"x-ok\":\"yes\",\"user-agent\":\"me\","
				"\"content-type\":\"application/json\"}}");
	hook_done(&h);
	hook_init(&h, "{path: /h, headers: [Accept, x-api-key, X-Sig]}", "com.shop", NULL);
	sb_fake_post(&h.f, "/h", headers, "{}", &a);
	expect(json(h.f.ev[0]), "\"headers\":{\"x-sig\":\"5050\",\"x-api-key\":\"s6\",\"accept\":\"no\"}}");
	hook_done(&h);
}

static void header_values_become_json(void **state)
{
	struct hook h;

	(void)state;
	hook_init(&h, "{path: /h}", "com.shop", NULL);
	sb_fake_post(&h.f, "/h", "X-A: say \"hi\"\\\r\nX-B: caf\xc3\xa9\r\nX-C: caf\xe9\r\nX-D: 1\r\nx-d: 2\"\r\nX-D: \xe9\r\n", "{}", &a);
	assert_int_equal(a.status, 202);
	expect(json(h.f.ev[0]), "\"x-a\":\"say \\\"hi\\\"\\\\\",\"x-b\":\"caf\xc3\xa9\",\"x-c\":\"caf\xc3\xa9\","
				"\"x-d\":\"1, 2\\\", \xc3\xa9\"}");
	hook_done(&h);
}

/* Made with another implementation, over {"n":1} with the secret "second". */
#define SIGNATURE "sha256=ec243d175fe5a663efbe8b610e435cc098ac56840348bbf9c4d435d896d06c6d"

static void signatures_are_verified_over_the_raw_bytes(void **state)
{
	static const char conf[] = "{path: /h, verify: {header: X-Hub-Signature-256, prefix: 'sha256=', secrets: [first, second]}}";
	struct hook h;

	(void)state;
	hook_init(&h, conf, "com.shop", NULL);
	h.f.unauthorized = true; /* a signature stands instead of a token */
	sb_fake_post(&h.f, "/h", "X-Hub-Signature-256: " SIGNATURE "\r\n", "{\"n\":1}", &a);
	assert_int_equal(a.status, 202);
	expect_not(json(h.f.ev[0]), "signature");
	sb_fake_post(&h.f, "/h", "X-Hub-Signature-256: " SIGNATURE "\r\n", "{\"n\":2}", &a);
	assert_int_equal(a.status, 401);
	sb_fake_post(&h.f, "/h", "X-Hub-Signature-256: " SIGNATURE "\r\n", "not even JSON", &a);
	assert_int_equal(a.status, 401);
	sb_fake_post(&h.f, "/h", "Authorization: Bearer x\r\n", "{\"n\":1}", &a);
	assert_int_equal(a.status, 401);
	assert_int_equal(h.f.n, 1);
	assert_string_equal(h.f.rejected, "unauthorized unauthorized unauthorized ");
	h.f.has_tokens = true; /* of its own: both are wanted */
	sb_fake_post(&h.f, "/h", "X-Hub-Signature-256: " SIGNATURE "\r\n", "{\"n\":1}", &a);
	assert_int_equal(a.status, 401);
	h.f.unauthorized = false;
	sb_fake_post(&h.f, "/h", "X-Hub-Signature-256: " SIGNATURE "\r\n", "{\"n\":1}", &a);
	assert_int_equal(a.status, 202);
	hook_done(&h);
}

static void without_a_token_nothing_is_taken(void **state)
{
	struct hook h;

	(void)state;
	hook_init(&h, "{path: /h}", "com.shop", NULL);
	h.f.unauthorized = true;
	sb_fake_post(&h.f, "/h", "", "{}", &a);
	assert_int_equal(a.status, 401);
	expect(a.head, "WWW-Authenticate: Bearer");
	assert_int_equal(h.f.n, 0);
	hook_done(&h);
}

static void pause_and_close(void **state)
{
	struct hook h;
	int fd;

	(void)state;
	hook_init(&h, "{path: /h}", "com.shop", NULL);
	h.f.source.ops->pause(&h.f.source, true);
	sb_fake_post(&h.f, "/h", "", "{}", &a);
	assert_int_equal(a.status, 503);
	assert_int_equal(h.f.emits, 0);
	h.f.source.ops->pause(&h.f.source, false);
	h.f.hold = true;
	fd = sb_fake_send(&h.f, "POST /h", "", SB_SLICE("{}"));
	assert_int_equal(h.f.emits, 1);
	h.f.source.ops->close(&h.f.source);
	h.f.source.ops->close(&h.f.source);
	assert_int_equal(h.f.closed, 0); /* an answer is due */
	sb_fake_accept(&h.f);
	assert_int_equal(h.f.closed, 1);
	sb_fake_receive(&h.f, fd, &a);
	assert_int_equal(a.status, 202);
	sb_fake_post(&h.f, "/h", "", "{}", &a);
	assert_int_equal(a.status, 404);
	hook_done(&h);
}

static void the_answer_waits_for_the_disk(void **state)
{
	struct hook h;
	int fd;

	(void)state;
	hook_init(&h, "{path: /h}", "com.shop", NULL);
	h.f.hold = true;
	fd = sb_fake_send(&h.f, "POST /h", "", SB_SLICE("{}"));
	assert_int_equal(recv(fd, a.head, 1, MSG_DONTWAIT), -1);
	sb_fake_accept(&h.f);
	sb_fake_receive(&h.f, fd, &a);
	assert_int_equal(a.status, 202);
	hook_done(&h);
}

static void nothing_is_allocated_once_warm(void **state)
{
	struct hook h;
	uint64_t misses = 0;

	(void)state;
	hook_init(&h, "{path: /h}", "com.shop", "<meta.http.headers.x-t>");
	for (int i = 0; i < 60; i++) {
		if (i == 30)
			misses = sb_pool_misses();
		sb_fake_post(&h.f, "/h", "X-T: a\r\n", "{\"n\":1}", &a);
		assert_int_equal(a.status, 202);
		sb_fake_source_forget(&h.f);
	}
	assert_int_equal(sb_pool_misses(), misses);
	hook_done(&h);
}

static void configuration(void **state)
{
	static const struct {
		const char *yaml, *want; /* NULL: right */
	} cases[] = {
		{ "{path: /hooks/shop}", NULL },
		{ "{path: /h, headers: [x-a], verify: {header: X-Sig, encoding: base64, secrets: [s]}}", NULL },
		{ "{}", "path" },
		{ "{path: hooks}", "not a path" },
		{ "{path: '/a b'}", "not a path" },
		{ "{path: '/a?b'}", "not a path" },
		{ "{path: /v1/events}", "served by Signalbox itself" },
		{ "{path: /metrics}", "served by Signalbox itself" },
		{ "{path: /h, headers: [cookie]}", "never stored" },
		{ "{path: /h, headers: [AUTHORIZATION]}", "never stored" },
		{ "{path: /h, verify: {secrets: [s]}}", "header" },
		{ "{path: /h, verify: {header: X-Sig}}", "secrets" },
		{ "{path: /h, verify: {header: X-Sig, secrets: []}}", "empty" },
		{ "{path: /h, verify: {header: X-Sig, secrets: ['']}}", "empty" },
		{ "{path: /h, verify: {header: X-Sig, secrets: [s], hmac: md5}}", "hmac" },
		{ "{path: /h, method: GET}", "unknown key" },
	};
	struct decoded d;

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_buf out = SB_BUF(1 << 16);

		decode(&d, cases[i].yaml);
		sb_diags_format(&d.diags, SB_DIAG_LONG, false, &out);
		if (d.right != (cases[i].want == NULL) || (cases[i].want && !strstr(sb_buf_cstr(&out), cases[i].want)))
			fail_msg("row %zu: %s: %s", i, cases[i].yaml, sb_buf_cstr(&out));
		sb_buf_done(&out);
		decoded_done(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_body_becomes_the_detail_byte_for_byte),
		cmocka_unit_test(templates_reach_the_body),
		cmocka_unit_test(without_templates_the_source_has_its_name),
		cmocka_unit_test(refusals),
		cmocka_unit_test(what_the_framework_refuses),
		cmocka_unit_test(an_event_too_large_is_refused),
		cmocka_unit_test(credentials_are_never_stored),
		cmocka_unit_test(header_values_become_json),
		cmocka_unit_test(signatures_are_verified_over_the_raw_bytes),
		cmocka_unit_test(without_a_token_nothing_is_taken),
		cmocka_unit_test(pause_and_close),
		cmocka_unit_test(the_answer_waits_for_the_disk),
		cmocka_unit_test(nothing_is_allocated_once_warm),
		cmocka_unit_test(configuration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
