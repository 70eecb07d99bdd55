/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

#include "broker/net/http.h"

/* Made with another implementation. */
#define SECRET "It's a Secret to Everybody"
#define BODY "Hello, World!"
#define HEX "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
#define BASE64 "dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEPhc="

static void signatures(void **state)
{
	static const char *const one[] = { SECRET }, *const rotated[] = { "new", SECRET }, *const other[] = { "new", "newer" };
	static const struct {
		const char *what;
		struct sb_hmac_conf conf;
		const char *body, *value;
		bool want;
	} cases[] = {
		{ "hex with a prefix", { NULL, "sha256=", false, one, 1 }, BODY, "sha256=" HEX, true },
		{ "upper case", { NULL, NULL, false, one, 1 }, BODY,
			"757107EA0EB2509FC211221CCE984B8A37570B6D7586C22C46F4379C8B043E17", true },
		{ "hex without a prefix", { NULL, NULL, false, one, 1 }, BODY, HEX, true },
		{ "base64", { NULL, NULL, true, one, 1 }, BODY, BASE64, true },
		{ "base64 with a prefix", { NULL, "v0=", true, one, 1 }, BODY, "v0=" BASE64, true },
		{ "the second secret", { NULL, NULL, false, rotated, 2 }, BODY, HEX, true },
		{ "none of the secrets", { NULL, NULL, false, other, 2 }, BODY, HEX, false },
		{ "no secret at all", { NULL, NULL, false, one, 0 }, BODY, HEX, false },
		{ "another body", { NULL, NULL, false, one, 1 }, BODY "!", HEX, false },
		{ "no prefix", { NULL, "sha256=", false, one, 1 }, BODY, HEX, false },
		{ "another prefix", { NULL, "sha256=", false, one, 1 }, BODY, "sha512=" HEX, false },
		{ "only a prefix", { NULL, "sha256=", false, one, 1 }, BODY, "sha256=", false },
		{ "part of a prefix", { NULL, "sha256=", false, one, 1 }, BODY, "sha2", false },
		{ "empty", { NULL, NULL, false, one, 1 }, BODY, "", false },
		{ "cut", { NULL, NULL, false, one, 1 }, BODY, "757107ea", false },
		{ "too long", { NULL, NULL, false, one, 1 }, BODY, HEX "00", false },
		{ "not hexadecimal", { NULL, NULL, false, one, 1 }, BODY,
			"g57107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", false },
		{ "hex where base64 is wanted", { NULL, NULL, true, one, 1 }, BODY, HEX, false },
		{ "base64 where hex is wanted", { NULL, NULL, false, one, 1 }, BODY, BASE64, false },
		{ "base64 without its padding", { NULL, NULL, true, one, 1 }, BODY,
			"dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEPhc", false },
		{ "base64 with too much padding", { NULL, NULL, true, one, 1 }, BODY,
			"dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEPh==", false },
		{ "base64 with a line end", { NULL, NULL, true, one, 1 }, BODY,
			"dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEP\n=", false },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++)
		if (sb_hmac_verify(&cases[i].conf, sb_slice_str(cases[i].body), sb_slice_str(cases[i].value)) != cases[i].want)
			fail_msg("row %zu: %s", i, cases[i].what);
	assert_false(sb_hmac_verify(&cases[2].conf, SB_SLICE(BODY), (struct sb_slice){ 0 }));
}

static void every_flipped_bit_is_noticed(void **state)
{
	static const char *const secrets[] = { SECRET };
	struct sb_hmac_conf c = { .secrets = secrets, .n_secrets = 1 };
	char value[] = HEX;

	(void)state;
	for (size_t i = 0; i < strlen(value); i++) {
		char was = value[i];

		value[i] = was == '0' ? '1' : '0';
		assert_false(sb_hmac_verify(&c, SB_SLICE(BODY), sb_slice_str(value)));
		value[i] = was;
	}
	assert_true(sb_hmac_verify(&c, SB_SLICE(BODY), sb_slice_str(value)));
}

static void bearer_tokens(void **state)
{
	static const char *const tokens[] = { "alpha-0123456789", "beta" };
	static const struct {
		const char *value;
		bool want;
	} cases[] = {
		{ "Bearer alpha-0123456789", true }, { "Bearer beta", true }, { "bearer beta", true }, { "BEARER beta", true },
		{ "Bearer alpha-012345678", false }, { "Bearer alpha-01234567890", false }, { "Bearer Beta", false },
		{ "Bearer  beta", false }, { "Bearer beta ", false }, { "Bearer ", false }, { "Bearer", false }, { "", false },
		{ "Basic beta", false }, { "beta", false }, { "Bearer\tbeta", false }, { "Bearer alpha-0123456789,beta", false },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++)
		if (sb_bearer_verify(tokens, 2, sb_slice_str(cases[i].value)) != cases[i].want)
			fail_msg("row %zu: '%s'", i, cases[i].value);
	assert_false(sb_bearer_verify(tokens, 0, SB_SLICE("Bearer beta")));
	assert_false(sb_bearer_verify(tokens, 2, (struct sb_slice){ 0 }));
}

static void sha256_is_sha256(void **state)
{
	static const uint8_t abc[4] = { 0xba, 0x78, 0x16, 0xbf }, nothing[4] = { 0xe3, 0xb0, 0xc4, 0x42 };
	uint8_t sum[32];

	(void)state;
	sb_sha256("abc", 3, sum);
	assert_memory_equal(sum, abc, 4);
	sb_sha256("", 0, sum);
	assert_memory_equal(sum, nothing, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signatures),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(bearer_tokens),
		cmocka_unit_test(sha256_is_sha256),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
