/* SPDX-License-Identifier: Apache-2.0 */
/* Upper and lower case of every code point there is, and what ignore-case makes of them. */
#include "rules/fold.h"

#include <stdio.h>
#include <string.h>

#include "broker/base/crc32c.h"
#include "tests/support/test.h"

/* What rules/mkcase.py says of Unicode 14. */
#define COUNT 2927
#define CHECKSUM 0x6e527fe7

static void the_table_has_all_of_unicode(void **state)
{
	unsigned count = 0, crc = 0;
	char line[64];
	struct sb_case c;

	(void)state;
	for (uint32_t cp = 0; cp < 0x110000; cp++) {
		if (!sb_case_of(cp, &c))
			continue;
		count++;
		snprintf(line, sizeof(line), "%x %s %s\n", cp, c.upper, c.lower);
		crc = sb_crc32c(crc, line, strlen(line));
	}
	assert_int_equal(count, COUNT);
	assert_int_equal(crc, CHECKSUM);
}

static void each_character_stands_for_its_cases(void **state)
{
	static const struct {
		const char *value, *in;
		bool equal, prefix, suffix;
	} cases[] = {
		{ "straße", "STRASSE", true, true, true },
		{ "STRASSE", "straße", false, false, false },
		{ "straße", "straßen", false, true, false },
		{ "ǆ", "Ǆ", true, true, true },
		{ "\xce\x90", "\xce\x99\xcc\x88\xcc\x81", true, true, true },
		{ "ﬃ", "FFI", true, true, true },
		{ "𞤂", "𞤤", true, true, true },
		{ "ÿ", "Ÿ", true, true, true },
		{ "x1-", "X1-", true, true, true },
		{ "ß", "xSS", false, false, true },
		{ "", "a", false, true, true },
		{ "a", "", false, false, false },
	};
	struct sb_arena arena = { 0 };
	struct sb_fold f;

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_slice in = sb_slice_str(cases[i].in);

		sb_fold_compile(&arena, sb_slice_str(cases[i].value), &f);
		if (sb_fold_equal(&f, in) != cases[i].equal || sb_fold_prefix(&f, in) != cases[i].prefix ||
			sb_fold_suffix(&f, in) != cases[i].suffix)
			fail_msg("row %zu: `%s` on `%s`", i, cases[i].value, cases[i].in);
	}
	sb_arena_done(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_has_all_of_unicode),
		cmocka_unit_test(each_character_stands_for_its_cases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
