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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(templates_render_or_say_what_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
