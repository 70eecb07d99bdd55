/* SPDX-License-Identifier: Apache-2.0 */
#include "tls.h"

#if SB_HAVE_HIREDIS_SSL

#include <hiredis/hiredis_ssl.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "broker/base/mem.h"

struct rds_tls {
	SSL_CTX *ctx;
};

int rds_tls_new(struct rds_tls **ret, struct sb_err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 || SSL_CTX_set_default_verify_paths(ctx) != 1) {
		SSL_CTX_free(ctx);
		return sb_fail(err, SB_E_IO, "TLS cannot be set up");
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	*ret = sb_xcalloc(sizeof(**ret));
	(*ret)->ctx = ctx;
	return 0;
}

/* hiredis itself would verify the chain and not the name. */
int rds_tls_begin(struct rds_tls *t, redisContext *c, const char *host)
{
	SSL *ssl = SSL_new(t->ctx);

	if (!ssl)
		return -1;
	if (SSL_set1_host(ssl, host) != 1 || SSL_set_tlsext_host_name(ssl, host) != 1) {
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

#else

int rds_tls_new(struct rds_tls **ret, struct sb_err *err)
{
	*ret = NULL;
	sb_fail(err, SB_E_INVALID, "rediss:// needs TLS, which this build's hiredis does not have");
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

#endif
