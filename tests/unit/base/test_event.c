/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdio.h>

#include "broker/base/event.h"
#include "broker/base/rand.h"

static void random_value(struct sb_rand *r, struct sb_buf *out, int depth)
{
	static const char *const leaves[] = { "1", "-2.50", "true", "null", "\"x\"", "\"\\u00e9\\n\"", "\"\xe2\x82\xac\"", "1e400",
		"[]", "{}", " 7 " };
	uint64_t kind = depth > 4 ? 0 : sb_rand_below(r, 4), n;

	if (kind < 2) {
		sb_buf_adds(out, leaves[sb_rand_below(r, SB_LEN(leaves))]);
		return;
	}
	n = sb_rand_below(r, 4);
	sb_buf_addc(out, kind == 2 ? '[' : '{');
	for (uint64_t i = 0; i < n; i++) {
		if (i)
			sb_buf_adds(out, sb_rand_below(r, 2) ? "," : " ,\n ");
		if (kind == 3)
			sb_buf_addf(out, "\"k%d\": ", (int)sb_rand_below(r, 3));
		random_value(r, out, depth + 1);
	}
	sb_buf_addc(out, kind == 2 ? ']' : '}');
}

static void assert_tape_is_a_fresh_scan(const struct sb_event *ev)
{
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;

	if (sb_json_scan(ev->json, ev->n, &SB_JSON_LIMITS, &b, &f) < 0)
		fail_msg("offset %zu: %s in %.*s", f.off, f.msg, (int)ev->n, ev->json);
	assert_int_equal(b.n, ev->tape.n);
	for (uint32_t i = 0; i < b.n; i++)
		if (memcmp(&b.node[i], &ev->tape.node[i], sizeof(b.node[i])) != 0)
			fail_msg("node %u of %.*s", i, (int)ev->n, ev->json);
	sb_tape_buf_done(&b);
}

static void a_built_event_carries_the_tape_that_a_scan_would_make(void **state)
{
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;
	struct sb_buf text = SB_BUF(1 << 20), bare = SB_BUF(1 << 20);
	struct sb_rand r;
	struct sb_err err;

	(void)state;
	sb_rand_seed(&r, 11);
	for (int round = 0; round < 3000; round++) {
		struct sb_tape t;
		struct sb_event *ev, *again;
		struct sb_event_spec spec = {
			.source = { SB_SLICE("com.\"shop\"\n\x01"), false }, .detail_type = { SB_SLICE("Order\\u0050laced"), true },
			.account = { SB_SLICE("000000000000"), true }, .region = { SB_SLICE("local"), true },
			.received_ms = 1795508393250, .tape = &t, .bus = sb_name_str("default"),
		};

		sb_buf_clear(&text);
		sb_buf_adds(&text, "{\"resources\":[\"a\",\"b\"],\"detail\":");
		random_value(&r, &text, 0);
		sb_buf_adds(&text, "}");
		assert_int_equal(sb_json_scan(text.p, text.len, &SB_JSON_LIMITS, &b, &f), 0);
		t = sb_tape_of(text.p, &b);
		spec.detail = sb_json_member(&t, 0, SB_SLICE("detail"));
		if (round & 1)
			spec.resources = sb_json_member(&t, 0, SB_SLICE("resources"));
		if (round & 2)
			spec.meta = SB_SLICE("{\"http\":{\"path\":\"/hooks/shop\",\"headers\":{\"x-a\":\"b\"}}}");
		assert_int_equal(sb_event_build(&spec, 1 << 20, &ev, &err), 0);
		assert_tape_is_a_fresh_scan(ev);
		assert_true(sb_slice_eq(sb_json_raw(&ev->tape, sb_json_member(&ev->tape, 0, SB_SLICE("detail"))),
			sb_json_raw(&t, spec.detail)));
		for (int i = 0; i < SB_JSON_PAD; i++)
			assert_int_equal(ev->json[ev->n + (uint32_t)i], 0);
		assert_int_equal(sb_event_parse(sb_slice(ev->json, ev->n), ev->bus, NULL, &again, &err), 0);
		assert_int_equal(again->bare_n, ev->bare_n);
		assert_true(sb_slice_eq(again->id, ev->id));
		sb_buf_clear(&bare);
		assert_int_equal(sb_event_add_bare(ev, &bare), 0);
		assert_int_equal(bare.len, sb_event_bare_bytes(ev));
		sb_event_unref(again);
		assert_int_equal(sb_event_parse(sb_buf_slice(&bare), ev->bus, NULL, &again, &err), 0);
		assert_int_equal(sb_json_member(&again->tape, 0, SB_SLICE("meta")), UINT32_MAX);
		sb_event_unref(again);
		sb_event_unref(ev);
	}
	sb_buf_done(&bare);
	sb_buf_done(&text);
	sb_tape_buf_done(&b);
	sb_event_thread_done();
}

static void what_intake_takes_can_be_read_again(void **state)
{
	static char deep[2000];
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;
	struct sb_tape t;
	struct sb_event *ev, *again;
	struct sb_err err;
	struct sb_event_spec spec = { .source = { SB_SLICE("s"), true }, .tape = &t };

	(void)state;
	memset(deep, '[', 1000);
	memset(deep + 1000, ']', 1000);
	assert_int_equal(sb_json_scan(deep, sizeof(deep), &SB_JSON_LIMITS, &b, &f), 0);
	t = sb_tape_of(deep, &b);
	assert_int_equal(sb_event_build(&spec, 1 << 20, &ev, &err), 0);
	if (sb_event_parse(sb_slice(ev->json, ev->n), NULL, NULL, &again, &err) < 0)
		fail_msg("%s", err.msg);
	sb_event_unref(again);
	sb_event_unref(ev);
	spec.source = (struct sb_event_str){ SB_SLICE("caf\xe9"), false };
	assert_int_equal(sb_event_build(&spec, 1 << 20, &ev, &err), -1);
	assert_int_equal(err.code, SB_E_INVALID);
	sb_tape_buf_done(&b);
}

static void the_bare_form_of_any_object_is_an_object_without_a_last_meta(void **state)
{
	static const struct {
		const char *in, *bare;
	} cases[] = {
		{ "{}", "{}" }, { "{\"meta\":{}}", "{}" }, { "{ \"meta\" : 1 }", "{}" }, { "{\"a\":1 , \"meta\":{\"b\":2}}", "{\"a\":1 }" },
		{ " {\"a\":\"meta\"} ", " {\"a\":\"meta\"}" }, { "{\"meta\":1,\"a\":2}", "{\"meta\":1,\"a\":2}" },
		{ "{\"a\":{\"meta\":1}}", "{\"a\":{\"meta\":1}}" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_buf out = SB_BUF(100);
		struct sb_event *ev;
		struct sb_err err;

		assert_int_equal(sb_event_parse(sb_slice_str(cases[i].in), NULL, NULL, &ev, &err), 0);
		assert_int_equal(sb_event_add_bare(ev, &out), 0);
		if (!sb_slice_eq_str(sb_buf_slice(&out), cases[i].bare))
			fail_msg("row %zu: %s became %.*s", i, cases[i].in, (int)out.len, out.p);
		sb_buf_done(&out);
		sb_event_unref(ev);
	}
}

static void an_event_that_is_too_large_is_refused(void **state)
{
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;
	struct sb_tape t;
	struct sb_event *ev;
	struct sb_err err;
	struct sb_event_spec spec = { .source = { SB_SLICE("s"), true }, .tape = &t };

	(void)state;
	assert_int_equal(sb_json_scan("[1,2,3]", 7, &SB_JSON_LIMITS, &b, &f), 0);
	t = sb_tape_of("[1,2,3]", &b);
	assert_int_equal(sb_event_build(&spec, 100, &ev, &err), -1);
	assert_int_equal(err.code, SB_E_LIMIT);
	assert_int_equal(sb_event_parse(SB_SLICE("[1]"), NULL, NULL, &ev, &err), -1);
	assert_int_equal(err.code, SB_E_KIND);
	sb_tape_buf_done(&b);
}

static void a_warm_event_path_allocates_nothing(void **state)
{
	static const char text[] = "{\"id\":\"o-1\",\"items\":[{\"sku\":\"A-100\",\"qty\":2}]}";
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;
	struct sb_err err;
	struct sb_tape t;
	struct sb_event_spec spec = { .source = { SB_SLICE("com.shop"), true }, .detail_type = { SB_SLICE("X"), true }, .tape = &t,
		.meta = SB_SLICE("{\"http\":{\"path\":\"/hooks/shop\"}}") };
	uint64_t before = 0;

	(void)state;
	for (int i = 0; i < 100; i++) {
		struct sb_event *ev;

		assert_int_equal(sb_json_scan(text, sizeof(text) - 1, &SB_JSON_LIMITS, &b, &f), 0);
		t = sb_tape_of(text, &b);
		assert_int_equal(sb_event_build(&spec, 1 << 20, &ev, &err), 0);
		sb_event_unref(ev);
		if (i == 0)
			before = sb_pool_misses();
	}
	assert_int_equal(sb_pool_misses(), before);
	sb_tape_buf_done(&b);
	sb_event_thread_done();
	sb_pool_thread_done();
}

static void *intern(void *arg)
{
	const char **name = arg;
	char text[16];

	for (int i = 0; i < 500; i++) {
		snprintf(text, sizeof(text), "name-%d", i);
		name[i] = sb_name_str(text);
	}
	return NULL;
}

static void threads_that_intern_at_once_get_the_same_names(void **state)
{
	static const char *name[2][500];
	pthread_t thread[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, intern, name[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < 500; i++)
		assert_ptr_equal(name[0][i], name[1][i]);
	assert_string_equal(name[0][499], "name-499");
}

static void names_are_interned(void **state)
{
	char copy[] = "orders";

	(void)state;
	assert_ptr_equal(sb_name_str("orders"), sb_name_str(copy));
	assert_ptr_not_equal(sb_name_str("orders"), sb_name_str("order"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_built_event_carries_the_tape_that_a_scan_would_make),
		cmocka_unit_test(what_intake_takes_can_be_read_again),
		cmocka_unit_test(the_bare_form_of_any_object_is_an_object_without_a_last_meta),
		cmocka_unit_test(an_event_that_is_too_large_is_refused),
		cmocka_unit_test(a_warm_event_path_allocates_nothing),
		cmocka_unit_test(threads_that_intern_at_once_get_the_same_names),
		cmocka_unit_test(names_are_interned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
