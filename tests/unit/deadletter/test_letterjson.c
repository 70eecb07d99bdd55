/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

#include "broker/deadletter/table.h"
#include "connectors/connector.h"

/* ------------------------------------------------------------------------------------------------ JSON */

static const char *str(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "(absent)";
}

static void a_letter_speaks_eventbridge(void **state)
{
	struct sb_deadletters *d = open_table();
	struct copy c;
	json_t *attributes;

	(void)state;
	store_id(d, "a.0", 1);
	get(d, "a.0", &c);
	attributes = json_object_get(c.json, "attributes");
	assert_string_equal(str(attributes, "RULE_ARN"), "arn:aws:events:here:111122223333:rule/default/big-orders");
	assert_string_equal(str(attributes, "TARGET_ARN"), "arn:aws:events:here:111122223333:target/invoice");
	assert_string_equal(str(attributes, "ERROR_CODE"), "ERROR_FROM_TARGET");
	assert_string_equal(str(attributes, "ERROR_MESSAGE"), "no \"stock\"");
	assert_string_equal(str(attributes, "EXHAUSTED_RETRY_CONDITION"), "MaximumRetryAttempts");
	assert_int_equal(json_integer_value(json_object_get(attributes, "RETRY_ATTEMPTS")), 4);
	assert_string_equal(str(c.json, "died"), "2026-11-24T08:19:53.250Z");
	assert_string_equal(str(c.json, "stderr_tail"), "Traceback\n");
	assert_string_equal(str(json_object_get(c.json, "event"), "source"), "com.shop");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(c.json, "input"), "order")), 1);
	json_decref(c.json);
	sb_deadletters_close(d);
}

static void invalid_input_is_shown_as_a_string(void **state)
{
	struct sb_letter l = { .rec = { .id = SB_SLICE("x\"\n"), .event = SB_SLICE("{\"a\":\xff"), .reason = 250 },
		.lives = 1, .history = SB_SLICE("[]") };
	json_t *json = as_json(&l), *attributes = json_object_get(json, "attributes");

	(void)state;
	assert_string_equal(str(json, "id"), "x\"\n");
	assert_string_equal(str(json, "event"), "{\"a\":\xef\xbf\xbd");
	assert_string_equal(str(json, "error_code"), "UNKNOWN");
	assert_true(json_is_null(json_object_get(json, "first_attempt")));
	assert_string_equal(str(attributes, "RULE_ARN"), "(absent)");
	assert_string_equal(str(attributes, "EXHAUSTED_RETRY_CONDITION"), "(absent)");
	json_decref(json);
}

static void a_count_is_json_whatever_its_names_are(void **state)
{
	const struct sb_letter_count c = { .target = "a\"b", .rule = "\n", .error = "\xff", .n = 3, .newest_ms = 7 };
	struct sb_buf out = SB_BUF(1 << 10);
	json_t *json;

	(void)state;
	assert_int_equal(sb_letter_count_json(&c, &out), 0);
	json = json_loadb(out.p, out.len, 0, NULL);
	assert_string_equal(str(json, "target"), "a\"b");
	assert_string_equal(str(json, "rule"), "\n");
	assert_string_equal(str(json, "error"), "\xef\xbf\xbd");
	assert_int_equal(json_integer_value(json_object_get(json, "n")), 3);
	json_decref(json);
	sb_buf_done(&out);
}

static void a_rendering_that_does_not_fit_leaves_nothing(void **state)
{
	struct sb_dead_record r = record("a.0");
	struct sb_letter l = { .rec = r, .lives = 1, .history = SB_SLICE("[]") };
	struct sb_buf whole = SB_BUF(1 << 16);

	(void)state;
	assert_int_equal(sb_letter_json(&l, true, &whole), 0);
	for (size_t max = 0; max < whole.len; max++) {
		struct sb_buf out = SB_BUF(max);

		assert_int_equal(sb_letter_json(&l, true, &out), -1);
		assert_int_equal(out.len, 0);
		sb_buf_done(&out);
	}
	sb_buf_done(&whole);
}

static void error_names_are_those_of_the_contract(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SB_R_NREASONS; i++)
		assert_string_equal(letters_error_name((uint8_t)i), sb_reason_name((enum sb_reason)i));
	assert_string_equal(letters_error_name(SB_R_NREASONS), "UNKNOWN");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE(a_letter_speaks_eventbridge),
		cmocka_unit_test(invalid_input_is_shown_as_a_string),
		cmocka_unit_test(a_count_is_json_whatever_its_names_are),
		cmocka_unit_test(a_rendering_that_does_not_fit_leaves_nothing),
		cmocka_unit_test(error_names_are_those_of_the_contract),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
