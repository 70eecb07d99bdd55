/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"

#include "tls.h"

int rds_complain(struct sb_decode *d, const struct sb_node *at, const char *key, const struct sb_err *err)
{
	const struct sb_node *n = sb_node_get(at, key);
	struct sb_err placed = *err;

	n = n ? n : at;
	placed.at = n->at;
	sb_node_path(n, placed.path, sizeof(placed.path));
	sb_diag_error(d->diags, &placed);
	return -1;
}

int rds_settings_check(struct sb_decode *d, const struct sb_node *at, const struct rds_settings *s)
{
	struct rds_tls *tls = NULL;
	struct rds_url url;
	struct sb_err err;
	int rc = 0;

	if (!s->url || strstr(s->url, "${")) /* reported already, or a reference that is not looked up (--no-env) */
		return 0;
	if (rds_url_parse(s->url, &url, &err) < 0 || (url.tls && rds_tls_new(&tls, &err) < 0))
		rc = rds_complain(d, at, "url", &err);
	rds_tls_free(tls);
	return rc;
}
