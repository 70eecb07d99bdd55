/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"


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

const struct sb_field rds_tls_fields[] = {
	SB_F(FILE, struct rds_tls_conf, ca, .doc = "PEM file of the authorities that are trusted; absent: the system's."),
	SB_F(FILE, struct rds_tls_conf, cert, .doc = "PEM file of our certificate, where Redis wants one (`tls-auth-clients`)."),
	SB_F(FILE, struct rds_tls_conf, key, .doc = "PEM file of its key."),
	{ 0 },
};

struct rds_conn_conf rds_settings_conn(const struct rds_settings *s)
{
	return (struct rds_conn_conf){ .url = s->url, .user = s->user, .password = s->password, .connect_timeout_ms = s->connect_timeout,
		.tls = &s->tls, .sentinels = s->sentinels.v, .n_sentinels = s->sentinels.n, .master = s->master, .db = (unsigned)s->db };
}

static bool is_reference(const char *s)
{
	return strstr(s, "${") != NULL; /* that is not looked up (--no-env) */
}

static int check_url(struct sb_decode *d, const struct sb_node *at, const char *key, const char *text, bool *tls)
{
	struct rds_url url;
	struct sb_err err;

	if (is_reference(text))
		return 0;
	if (rds_url_parse(text, &url, &err) < 0)
		return rds_complain(d, at, key, &err);
	*tls |= url.tls;
	return 0;
}

static int check_tls(struct sb_decode *d, const struct sb_node *at, const struct rds_settings *s, bool wanted)
{
	bool files = s->tls.ca || s->tls.cert || s->tls.key;
	struct rds_tls *tls = NULL;
	struct sb_err err;

	if (!wanted && files && !(s->url && is_reference(s->url)))
		sb_fail(&err, SB_E_INVALID, "`tls` means nothing without rediss://");
	else if (!s->tls.cert != !s->tls.key)
		sb_fail(&err, SB_E_MISSING, "`cert` and `key` go together");
	else if (!wanted || rds_tls_new(&s->tls, &tls, &err) == 0) {
		rds_tls_free(tls);
		return 0;
	}
	return rds_complain(d, at, files ? "tls" : s->url ? "url" : "sentinels", &err);
}

/* One of the two ways to say where it is. */
static int check_way(struct sb_decode *d, const struct sb_node *at, const struct rds_settings *s)
{
	struct sb_err err;

	if (!s->url != !!s->sentinels.n)
		sb_fail(&err, s->url ? SB_E_INVALID : SB_E_MISSING, "name either a `url`, or `sentinels` and a `master`");
	else if (!s->master != !s->sentinels.n)
		sb_fail(&err, SB_E_MISSING, "`sentinels` and `master` go together");
	else if (s->url && s->db)
		sb_fail(&err, SB_E_INVALID, "the number of the database stands in the URL: redis://host/2");
	else
		return 0;
	return rds_complain(d, at, "", &err);
}

int rds_settings_check(struct sb_decode *d, const struct sb_node *at, const struct rds_settings *s)
{
	bool tls = false;
	int rc = 0;

	if (d->diags->errors && !s->url && !s->sentinels.n)
		return 0; /* reported already */
	if (check_way(d, at, s) < 0)
		return -1;
	if (s->url)
		rc |= check_url(d, at, "url", s->url, &tls);
	for (size_t i = 0; i < s->sentinels.n; i++)
		rc |= check_url(d, at, "sentinels", s->sentinels.v[i], &tls);
	return rc | check_tls(d, at, s, tls);
}
