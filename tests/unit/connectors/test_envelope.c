/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of queues -> events, envelope by envelope. */
#include "tests/support/test.h"

#include "broker/base/template.h"
#include "connectors/envelope.h"
#include "tests/support/fakesource.h"

static int open_nothing(struct sb_source *s, struct sb_err *err)
{
	(void)s;
	(void)err;
	return 0;
}

static void close_nothing(struct sb_source *s)
{
	s->closed(s);
}

static void free_nothing(struct sb_source *s)
{
	(void)s;
}

static const struct sb_connector none = { .type = "none",
	.source = &(const struct sb_source_ops){ .open = open_nothing, .close = close_nothing, .free = free_nothing } };
static struct sb_fake_source fake;
static struct sb_envelope_reader *r;
static struct sb_arena arena;

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	sb_fake_source_init(&fake, &none, NULL);
	r = sb_envelope_new(&fake.source);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	sb_envelope_free(r);
	sb_fake_source_done(&fake);
	sb_arena_done(&arena);
	return 0;
}

#define TEXT(s) { (s), sizeof(s) - 1 }
static const struct sb_message_header ce[] = { { TEXT("ce_specversion"), TEXT("1.0") },
	{ TEXT("ce_id"), TEXT("7") }, { TEXT("ce_source"), TEXT("/mine") },
	{ TEXT("ce_type"), TEXT("t.\xc3\xa9") }, { TEXT("ce_myext"), TEXT("x\"y") },
	{ TEXT("other"), TEXT("z") } };

#define META "\"kafka\":{\"key\":\"k1\"}"

static const struct row {
	const char *name;
	enum sb_envelope how;
	bool headers;
	const char *value; /* NULL: none */
	const char *content_type;
	const char *json;  /* what must stand in the event, or NULL and ... */
	const char *error; /* ... what must be said */
	const char *code;
} rows[] = {
	{ "raw", SB_ENVELOPE_RAW, false, "{\"id\":1}", .json = ",\"resources\":[],\"detail\":{\"id\":1},\"meta\":{" META "}}" },
	{ "raw, white space kept", SB_ENVELOPE_RAW, false, " [1, 2] ", .json = "\"detail\":[1, 2],\"meta\":" },
	{ "raw, a tombstone", SB_ENVELOPE_RAW, false, NULL, .json = "\"detail\":null,\"meta\":" },
	{ "raw, its own meta is not ours", SB_ENVELOPE_RAW, false, "{\"meta\":5}", .json = "\"detail\":{\"meta\":5},\"meta\":{\"kafka\"" },
	{ "raw, no JSON", SB_ENVELOPE_RAW, false, "{\"a\":tru}", .error = ", at byte 8", .code = "invalid_json" },
	{ "raw, two values", SB_ENVELOPE_RAW, false, "1,\"x\":2", .error = "text behind the value", .code = "invalid_json" },
	{ "raw, closes our object", SB_ENVELOPE_RAW, false, "1} {\"a\":2", .error = "at byte", .code = "invalid_json" },
	{ "raw, empty", SB_ENVELOPE_RAW, false, "", .error = "at byte 0", .code = "invalid_json" },
	{ "shaped", SB_ENVELOPE_EVENTBRIDGE, false, "{\"source\":\"a\",\"detail-type\":\"b\",\"detail\":{\"x\":1},\"id\":\"i\"}",
		.json = "\"id\":\"i\",\"source\":\"a\",\"detail-type\":\"b\"" },
	{ "shaped, with meta", SB_ENVELOPE_EVENTBRIDGE, false, "{\"source\":\"a\",\"detail-type\":\"b\",\"detail\":{\"x\":1}}",
		.json = "\"detail\":{\"x\":1},\"meta\":{" META "}}" },
	{ "shaped, a member is missing", SB_ENVELOPE_EVENTBRIDGE, false, " {\"source\":\"a\",\"detail\":{}}",
		.error = "'detail-type' is missing, at byte 1", .code = "missing_member" },
	{ "shaped, no object", SB_ENVELOPE_EVENTBRIDGE, false, "[]", .error = "an event must be an object, at byte 0", .code = "invalid_event" },
	{ "structured", SB_ENVELOPE_CLOUDEVENTS, false, "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"a\":1},\"sub\":\"q\"}",
		.json = "\"detail\":{\"a\":1},\"meta\":{\"ce\":{\"specversion\":\"1.0\",\"sub\":\"q\"}," META "}}" },
	{ "structured, an attribute is missing", SB_ENVELOPE_CLOUDEVENTS, false, "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\"}",
		.error = "'type' is missing", .code = "missing_attribute" },
	{ "binary", SB_ENVELOPE_CLOUDEVENTS, true, "{\"a\":1}", "application/json",
		.json = "\"source\":\"/mine\",\"detail-type\":\"t.\xc3\xa9\"" },
	{ "binary, extensions and meta", SB_ENVELOPE_CLOUDEVENTS, true, "{\"a\":1}", "application/json",
		.json = "\"detail\":{\"a\":1},\"meta\":{\"ce\":{\"datacontenttype\":\"application/json\",\"specversion\":\"1.0\",\"myext\":\"x\\\"y\"}," META "}}" },
	{ "binary, text", SB_ENVELOPE_CLOUDEVENTS, true, "hello", "text/plain; charset=utf-8", .json = "\"detail\":\"hello\"" },
	{ "binary, no JSON though it says so", SB_ENVELOPE_CLOUDEVENTS, true, "hello", "application/json", .error = "at byte 0",
		.code = "invalid_json" },
	{ "auto: binary", SB_ENVELOPE_AUTO, true, "{\"a\":1}", "application/json", .json = "\"source\":\"/mine\"" },
	{ "auto: structured", SB_ENVELOPE_AUTO, false, "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"}", .json = "\"detail\":null" },
	{ "auto: shaped", SB_ENVELOPE_AUTO, false, "{\"source\":\"a\",\"detail-type\":\"b\",\"detail\":{}}", .json = "\"detail-type\":\"b\"" },
	{ "auto: raw", SB_ENVELOPE_AUTO, false, "{\"source\":\"a\",\"detail\":{}}", .json = "\"detail\":{\"source\":\"a\",\"detail\":{}}" },
	{ "raw in spite of headers", SB_ENVELOPE_RAW, true, "{\"a\":1}", NULL, .json = "\"detail\":{\"a\":1}" },
};

static struct sb_message message_of(const struct row *row)
{
	struct sb_message m = { .meta = SB_SLICE(META), .time_ms = 1795508393123 };

	if (row->value)
		m.value = sb_slice_str(row->value);
	if (row->content_type)
		m.content_type = sb_slice_str(row->content_type);
	m.header = ce;
	m.n_headers = row->headers ? SB_LEN(ce) : 0;
	return m;
}

static void each_envelope(void **state)
{
	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		struct sb_message m = message_of(&rows[i]);
		struct sb_event *ev = NULL;
		struct sb_err err = { 0 };
		int rc;

		fake.source.envelope = rows[i].how;
		rc = sb_envelope_read(r, &m, &ev, &err);
		if (rows[i].json && (rc < 0 || !strstr(ev->json, rows[i].json)))
			fail_msg("%s: %s", rows[i].name, rc < 0 ? err.msg : ev->json);
		if (rows[i].error && (rc == 0 || !strstr(err.msg, rows[i].error) || strcmp(sb_envelope_code(r), rows[i].code) != 0))
			fail_msg("%s: %s (%s)", rows[i].name, rc < 0 ? err.msg : ev->json, sb_envelope_code(r));
		sb_event_unref(ev);
	}
}

static void templates_and_defaults(void **state)
{
	struct sb_message m = { .value = SB_SLICE("{\"t\":\"big\"}"), .meta = SB_SLICE(META), .time_ms = 1795508393123 };
	struct sb_template source, type;
	struct sb_event *ev;
	struct sb_err err;

	(void)state;
	fake.source.envelope = SB_ENVELOPE_RAW;
	assert_int_equal(sb_template_compile(&arena, SB_SLICE("com.<meta.kafka.key>"), NULL, NULL, &source, &err), 0);
	assert_int_equal(sb_template_compile(&arena, SB_SLICE("<$.detail.t>"), NULL, NULL, &type, &err), 0);
	fake.source.source_tpl = &source;
	fake.source.detail_type_tpl = &type;
	assert_int_equal(sb_envelope_read(r, &m, &ev, &err), 0);
	assert_true(sb_slice_eq_str(ev->source, "com.k1"));
	assert_true(sb_slice_eq_str(ev->detail_type, "big"));
	assert_non_null(strstr(ev->json, "\"time\":\"2026-11-24T0"));
	assert_non_null(strstr(ev->json, ".123Z\""));
	sb_event_unref(ev);
	m.value = SB_SLICE("{}");
	assert_int_equal(sb_envelope_read(r, &m, &ev, &err), -1);
	assert_string_equal(sb_envelope_code(r), "missing_value");
}

static void the_same_message_has_the_same_receipt(void **state)
{
	struct sb_uuid id = { .b = { 1, 2, 3 } };
	struct sb_message m = { .value = SB_SLICE("{}"), .receipt = &id };
	struct sb_event *ev;
	struct sb_err err;

	(void)state;
	for (int how = SB_ENVELOPE_AUTO; how <= SB_ENVELOPE_RAW; how += SB_ENVELOPE_RAW) {
		fake.source.envelope = (enum sb_envelope)how;
		if (sb_envelope_read(r, &m, &ev, &err) < 0)
			fail_msg("%s", err.msg);
		assert_memory_equal(&ev->receipt, &id, sizeof(id));
		sb_event_unref(ev);
	}
}

static void what_is_too_large_is_refused_before_it_is_read(void **state)
{
	struct sb_message m = { .value = SB_SLICE("{\"a\":\"0123456789\"}") };
	struct sb_event *ev;
	struct sb_err err;

	(void)state;
	fake.max_event = 10;
	assert_int_equal(sb_envelope_read(r, &m, &ev, &err), -1);
	assert_string_equal(sb_envelope_code(r), "too_large");
}

/* Whatever stands in a value, there is an event that can be read again, or an error. */
static void any_bytes(void **state)
{
	static const char *const pieces[] = { "{", "}", "\"meta\":", "\"detail\":", ",", "1", "null", "[", "]", "\"", "\\", "\xff", "\0", " " };
	struct sb_rand chance;

	(void)state;
	sb_rand_seed(&chance, 11);
	for (int i = 0; i < 20000; i++) {
		char value[128];
		size_t n = 0;
		struct sb_event *ev, *again;
		struct sb_message m = { .meta = SB_SLICE(META) };
		struct sb_err err;

		for (unsigned k = sb_rand_u32(&chance) % 12; k; k--) {
			const char *p = pieces[sb_rand_u32(&chance) % SB_LEN(pieces)];
			size_t len = *p ? strlen(p) : 1;

			for (size_t c = 0; c < len; c++)
				value[n++] = p[c];
		}
		m.value = sb_slice(value, n);
		fake.source.envelope = (enum sb_envelope)(sb_rand_u32(&chance) % 4);
		if (sb_envelope_read(r, &m, &ev, &err) < 0)
			continue;
		assert_int_equal(sb_event_parse(sb_slice(ev->json, ev->n), ev->bus, ev->origin, &again, &err), 0);
		assert_non_null(strstr(ev->json, "\"meta\":{" META "}}"));
		sb_event_unref(again);
		sb_event_unref(ev);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_envelope, setup, teardown),
		cmocka_unit_test_setup_teardown(templates_and_defaults, setup, teardown),
		cmocka_unit_test_setup_teardown(the_same_message_has_the_same_receipt, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_too_large_is_refused_before_it_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(any_bytes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
