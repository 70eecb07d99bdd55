/* SPDX-License-Identifier: Apache-2.0 */
#include "tls.h"

#if SB_HAVE_HIREDIS_SSL

#include <arpa/inet.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/mem.h"

struct rds_tls {
	SSL_CTX *ctx;
	char why[160];
};

static int on_verified(int good, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct rds_tls *t = SSL_get_app_data(ssl);

	if (!good)
		snprintf(t->why, sizeof(t->why), "certificate verify failed: %s",
			X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
	return good;
}

static int load(SSL_CTX *ctx, const struct rds_tls_conf *conf, struct sb_err *err)
{
	if (conf->ca ? SSL_CTX_load_verify_locations(ctx, conf->ca, NULL) != 1 : SSL_CTX_set_default_verify_paths(ctx) != 1)
		return sb_fail(err, SB_E_IO, "%s holds no certificates of authorities in PEM", conf->ca ? conf->ca : "the system");
	if (conf->cert && SSL_CTX_use_certificate_chain_file(ctx, conf->cert) != 1)
		return sb_fail(err, SB_E_IO, "%s holds no certificate in PEM", conf->cert);
	if (conf->key && (SSL_CTX_use_PrivateKey_file(ctx, conf->key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1))
		return sb_fail(err, SB_E_IO, "%s is not the certificate's key in PEM", conf->key);
	return 0;
}

int rds_tls_new(const struct rds_tls_conf *conf, struct rds_tls **ret, struct sb_err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
		SSL_CTX_free(ctx);
		return sb_fail(err, SB_E_IO, "TLS cannot be set up");
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, on_verified);
	if (load(ctx, conf, err) < 0) {
		SSL_CTX_free(ctx);
		return -1;
	}
	*ret = sb_xcalloc(sizeof(**ret));
	(*ret)->ctx = ctx;
	return 0;
}

static bool is_address(const char *host)
{
	unsigned char ip[16];

	return inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1;
}

/* An address has no place in SNI, and stands elsewhere in a certificate than a name. */
static bool expect(SSL *ssl, const char *host)
{
	if (is_address(host))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

/* hiredis itself would verify the chain and not the name. */
int rds_tls_begin(struct rds_tls *t, redisContext *c, const char *host)
{
	SSL *ssl = SSL_new(t->ctx);

	if (!ssl)
		return -1;
	t->why[0] = '\0';
	SSL_set_app_data(ssl, t);
	if (!expect(ssl, host)) {
		SSL_free(ssl);
		return -1;
	}
	return redisInitiateSSL(c, ssl) == REDIS_OK ? 0 : -1; /* the SSL is hiredis' from here on */
}

void rds_tls_free(struct rds_tls *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

const char *rds_tls_why(const struct rds_tls *t)
{
	return t->why;
}

const char *rds_tls_about(void)
{
	return "TLS";
}

#else

int rds_tls_new(const struct rds_tls_conf *conf, struct rds_tls **ret, struct sb_err *err)
{
	(void)conf;
	*ret = NULL;
	sb_fail(err, SB_E_INVALID, "rediss:// needs TLS, which hiredis %d.%d.%d of this build does not have", HIREDIS_MAJOR, HIREDIS_MINOR,
		HIREDIS_PATCH);
	return sb_hint(err, "build with hiredis 1.0 or later and its hiredis_ssl, or put a TLS proxy before Redis");
}

int rds_tls_begin(struct rds_tls *t, redisContext *c, const char *host)
{
	(void)t;
	(void)c;
	(void)host;
	return -1;
}

void rds_tls_free(struct rds_tls *t)
{
	(void)t;
}

const char *rds_tls_why(const struct rds_tls *t)
{
	(void)t;
	return "";
}

const char *rds_tls_about(void)
{
	return "no TLS";
}

#endif
