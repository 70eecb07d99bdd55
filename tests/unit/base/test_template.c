/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include "broker/base/path.h"
#include "broker/base/template.h"

static const char sample[] =
	"{\"detail\":{\"id\":\"o-\\u00e9\",\"n\":12.50,\"list\":[1,{\"x\":true}],\"odd.key\":null,\"obj\":{}},\"meta\":{\"h\":\"v\"}}";

static void templates_render_or_say_what_is_missing(void **state)
{
	static const struct {
		const char *tpl, *want; /* NULL: missing; "!": does not compile */
	} cases[] = {
		{ "plain", "plain" }, { "", "" }, { "<$.detail.id>", "o-\xc3\xa9" }, { "a <$.detail.n> b", "a 12.50 b" },
		{ "<$.detail.list[1].x>", "true" }, { "<detail.list[0]>", "1" }, { "<$.detail['odd.key']>", "null" },
		{ "<meta.h>/x", "v/x" }, { "\\<<meta.h>>", "<v>" }, { "<$.detail.none>", NULL }, { "x<$.detail.obj>", NULL },
		{ "<$.detail.list>", NULL }, { "<", "!" }, { "<>", "!" }, { "<$.a", "!" }, { "<$.a[>", "!" }, { "<$x>", "!" },
		{ "<$.a..b>", "!" }, { "<$.a['b]>", "!" },
	};
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;
	struct sb_tape t;
	struct sb_arena a = { 0 };
	struct sb_buf out = SB_BUF(1000);

	(void)state;
	assert_int_equal(sb_json_scan(sample, sizeof(sample) - 1, &SB_JSON_LIMITS, &b, &f), 0);
	t = sb_tape_of(sample, &b);
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_template tpl;
		struct sb_err err;
		int r;

		if (sb_template_compile(&a, sb_slice_str(cases[i].tpl), NULL, NULL, &tpl, &err) < 0) {
			if (!cases[i].want || strcmp(cases[i].want, "!") != 0)
				fail_msg("row %zu: '%s': %s", i, cases[i].tpl, err.msg);
			continue;
		}
		sb_buf_clear(&out);
		r = sb_template_text(&tpl, &t, &out);
		if (r != (cases[i].want ? 0 : 1) || (r == 0 && !sb_slice_eq_str(sb_buf_slice(&out), cases[i].want)))
			fail_msg("row %zu: '%s' gave %d '%.*s'", i, cases[i].tpl, r, (int)out.len, out.p);
	}
	sb_buf_done(&out);
	sb_arena_done(&a);
	sb_tape_buf_done(&b);
}

static int two_names(void *arg, struct sb_slice name, const struct sb_path **ret)
{
	if (sb_slice_eq_str(name, "aws.events.event"))
		return 0;
	if (!sb_slice_eq_str(name, "order"))
		return -1;
	*ret = arg;
	return 0;
}

static void names_come_before_paths_and_a_typo_is_an_error(void **state)
{
	static const struct {
		const char *tpl, *err; /* NULL: compiles */
	} cases[] = {
		{ "<order>", NULL }, { "<aws.events.event>", NULL }, { "<$.detail.id>", NULL }, { "<meta.h>", NULL },
		{ "ab <ordr>", "template: column 4: unknown name <ordr>" },
		{ "<aws.events.evnt>", "template: column 1: unknown name <aws.events.evnt>" },
		{ "<detail.id>", "template: column 1: unknown name <detail.id>" },
		{ "a<", "template: column 2: '<' is not closed; write \\< for a literal one" },
	};
	struct sb_arena a = { 0 };
	struct sb_path order;
	struct sb_err err;

	(void)state;
	assert_int_equal(sb_path_compile(&a, SB_SLICE("$.detail.id"), &order, &err), 0);
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_template tpl;
		int r = sb_template_compile(&a, sb_slice_str(cases[i].tpl), two_names, &order, &tpl, &err);

		if (r != (cases[i].err ? -1 : 0) || (r < 0 && strcmp(err.msg, cases[i].err) != 0))
			fail_msg("row %zu: '%s': %d %s", i, cases[i].tpl, r, r < 0 ? err.msg : "");
	}
	sb_arena_done(&a);
}

static void paths_lead_to_the_last_of_duplicates_or_nowhere(void **state)
{
	static const char text[] = "{\"a\":{\"b\":1},\"a\":{\"c\":[10,{\"d.e\":2},[3]]},\"\\u0078\":4,\"$\":5}";
	static const struct {
		const char *path, *want; /* "": nothing there; NULL: no path */
	} cases[] = {
		{ "$.a.c[0]", "10" }, { "$.a.b", "" }, { "$.a.c[1]['d.e']", "2" }, { "$.a.c[1][\"d.e\"]", "2" }, { "a.c[2][0]", "3" },
		{ "$.a.c[3]", "" }, { "$.a[0]", "" }, { "$.a.c.d", "" }, { "$['x']", "4" }, { "$.x", "4" }, { "$['$']", "5" },
		{ "$.a.c[4294967295]", NULL }, { "$.a.c[-1]", NULL }, { "$.a.c[]", NULL }, { "$.a.c[0", NULL }, { "$.", NULL }, { "", NULL },
		{ "$a", NULL }, { "$.a.", NULL }, { "$.a['b", NULL }, { ".a", NULL }, { "$.a b", "" },
	};
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;
	struct sb_arena a = { 0 };
	struct sb_tape t;

	(void)state;
	assert_int_equal(sb_json_scan(text, sizeof(text) - 1, &SB_JSON_LIMITS, &b, &f), 0);
	t = sb_tape_of(text, &b);
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_path p;
		struct sb_err err;
		int r = sb_path_compile(&a, sb_slice_str(cases[i].path), &p, &err);
		uint32_t at = r == 0 ? sb_path_find(&p, &t) : UINT32_MAX;

		if (r != (cases[i].want ? 0 : -1))
			fail_msg("row %zu: '%s' gave %d", i, cases[i].path, r);
		if (r == 0 && !sb_slice_eq_str(at == UINT32_MAX ? sb_slice("", 0) : sb_json_raw(&t, at), cases[i].want))
			fail_msg("row %zu: '%s' led to node %u", i, cases[i].path, at);
	}
	sb_arena_done(&a);
	sb_tape_buf_done(&b);
}

static void a_text_that_is_missing_or_does_not_fit_leaves_the_buffer_as_it_was(void **state)
{
	struct sb_arena a = { 0 };
	struct sb_buf out = SB_BUF(10);
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault f;
	struct sb_template tpl;
	struct sb_err err;
	struct sb_tape t;

	(void)state;
	assert_int_equal(sb_json_scan(sample, sizeof(sample) - 1, &SB_JSON_LIMITS, &b, &f), 0);
	t = sb_tape_of(sample, &b);
	sb_buf_adds(&out, "12");
	assert_int_equal(sb_template_compile(&a, SB_SLICE("abc<$.none>"), NULL, NULL, &tpl, &err), 0);
	assert_int_equal(sb_template_text(&tpl, &t, &out), 1);
	assert_int_equal(out.len, 2);
	assert_int_equal(sb_template_compile(&a, SB_SLICE("abcde<$.detail.n>"), NULL, NULL, &tpl, &err), 0);
	assert_int_equal(sb_template_text(&tpl, &t, &out), -1);
	assert_int_equal(out.len, 2);
	sb_buf_done(&out);
	sb_arena_done(&a);
	sb_tape_buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(templates_render_or_say_what_is_missing),
		cmocka_unit_test(names_come_before_paths_and_a_typo_is_an_error),
		cmocka_unit_test(paths_lead_to_the_last_of_duplicates_or_nowhere),
		cmocka_unit_test(a_text_that_is_missing_or_does_not_fit_leaves_the_buffer_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
