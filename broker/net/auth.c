/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/net/http.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

/*
 * What is compared is always 32 bytes long and comes out of a hash, so that the time taken depends neither on the
 * secret nor on how much of a guess is right. All secrets are tried, whichever fits.
 */
#define MAC_BYTES 32

/* Looked up once: OpenSSL 3 otherwise looks for an implementation, under a lock, at every use. Kept to the end of the process. */
static EVP_MD *sha256;
static EVP_MAC_CTX *hmac; /* without a key: to be copied */
static pthread_once_t looked_up = PTHREAD_ONCE_INIT;

static void look_up(void)
{
	char name[] = "SHA256";
	OSSL_PARAM digest[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0), OSSL_PARAM_construct_end() };
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);

	sha256 = EVP_MD_fetch(NULL, name, NULL);
	hmac = EVP_MAC_CTX_new(mac);
	SB_ASSERT(sha256 && hmac && EVP_MAC_CTX_set_params(hmac, digest));
	EVP_MAC_free(mac); /* the context has its own */
}

static bool hmac_sha256(const char *secret, struct sb_slice body, uint8_t out[MAC_BYTES])
{
	EVP_MAC_CTX *c;
	size_t n;
	bool ok;

	pthread_once(&looked_up, look_up);
	c = EVP_MAC_CTX_dup(hmac);
	ok = c && EVP_MAC_init(c, (const uint8_t *)secret, strlen(secret), NULL) && EVP_MAC_update(c, (const uint8_t *)body.p, body.n) &&
		EVP_MAC_final(c, out, &n, MAC_BYTES);
	EVP_MAC_CTX_free(c);
	return ok;
}

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
	uint8_t given[MAC_BYTES], mac[MAC_BYTES];
	int good = 0;

	if (!value.p || value.n < prefix || (prefix && memcmp(value.p, c->prefix, prefix) != 0))
		return false;
	value = sb_slice(value.p + prefix, value.n - prefix);
	if (!(c->base64 ? from_base64(value, given) : from_hex(value, given)))
		return false;
	for (size_t i = 0; i < c->n_secrets; i++) {
		if (!hmac_sha256(c->secrets[i], body, mac))
			return false;
		good |= CRYPTO_memcmp(mac, given, MAC_BYTES) == 0;
	}
	return good != 0;
}

void sb_sha256(const void *p, size_t n, uint8_t out[32])
{
	int ok;

	pthread_once(&looked_up, look_up);
	ok = EVP_Digest(p, n, out, NULL, sha256, NULL);
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
