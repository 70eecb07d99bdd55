/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/net/http.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

/*
 * What is compared is always 32 bytes long and comes out of a hash, so that the time taken depends neither on the
 * secret nor on how much of a guess is right. All secrets are tried, whichever fits.
 */
#define MAC_BYTES 32

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool from_hex(struct sb_slice s, uint8_t out[MAC_BYTES])
{
	if (s.n != 2 * MAC_BYTES)
		return false;
	for (size_t i = 0; i < MAC_BYTES; i++) {
		int hi = hex_value(s.p[2 * i]), lo = hex_value(s.p[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

/* 32 bytes are 44 characters, the last one '=', without white space. */
static bool from_base64(struct sb_slice s, uint8_t out[MAC_BYTES])
{
	uint8_t raw[MAC_BYTES + 1];

	if (s.n != 44 || s.p[43] != '=' || s.p[42] == '=')
		return false;
	for (size_t i = 0; i < 43; i++)
		if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
			    (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '+' || s.p[i] == '/'))
			return false;
	if (EVP_DecodeBlock(raw, (const uint8_t *)s.p, 44) != MAC_BYTES + 1)
		return false;
	memcpy(out, raw, MAC_BYTES);
	return true;
}

bool sb_hmac_verify(const struct sb_hmac_conf *c, struct sb_slice body, struct sb_slice value)
{
	size_t prefix = c->prefix ? strlen(c->prefix) : 0;
	uint8_t given[MAC_BYTES], mac[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	int good = 0;

	if (!value.p || value.n < prefix || (prefix && memcmp(value.p, c->prefix, prefix) != 0))
		return false;
	value = sb_slice(value.p + prefix, value.n - prefix);
	if (!(c->base64 ? from_base64(value, given) : from_hex(value, given)))
		return false;
	for (size_t i = 0; i < c->n_secrets; i++) {
		if (!HMAC(EVP_sha256(), c->secrets[i], (int)strlen(c->secrets[i]), (const uint8_t *)(body.p ? body.p : ""),
			    body.n, mac, &n))
			return false;
		good |= CRYPTO_memcmp(mac, given, MAC_BYTES) == 0;
	}
	return good != 0;
}

void sb_sha256(const void *p, size_t n, uint8_t out[32])
{
	int ok = EVP_Digest(p, n, out, NULL, EVP_sha256(), NULL);

	SB_ASSERT(ok == 1);
}

bool sb_bearer_verify(const char *const *tokens, size_t n, struct sb_slice value)
{
	static const char scheme[] = "bearer ";
	uint8_t given[32], known[32];
	int good = 0;

	if (value.n <= sizeof(scheme) - 1)
		return false;
	for (size_t i = 0; i < sizeof(scheme) - 1; i++)
		if ((value.p[i] | 0x20) != (scheme[i] | 0x20))
			return false;
	sb_sha256(value.p + sizeof(scheme) - 1, value.n - (sizeof(scheme) - 1), given);
	for (size_t i = 0; i < n; i++) {
		sb_sha256(tokens[i], strlen(tokens[i]), known);
		good |= CRYPTO_memcmp(known, given, sizeof(given)) == 0;
	}
	return good != 0;
}
