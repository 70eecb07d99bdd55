/* SPDX-License-Identifier: Apache-2.0 */
#include "verdict.h"

#include <stdlib.h>

/*
 * An error reply begins with a word of its kind. What passes by itself (memory, a failover, a script) is tried again and counted;
 * what no repetition can heal is rejected; a login that is refused is a matter of configuration, for which no event should die.
 */
static const struct {
	const char *word;
	struct rds_verdict v;
} words[] = {
	{ "OOM", { SB_RETRY, SB_R_RESOURCE_LIMIT_EXCEEDED, RDS_GO_ON } },
	{ "MISCONF", { SB_RETRY, SB_R_RESOURCE_LIMIT_EXCEEDED, RDS_GO_ON } },
	{ "READONLY", { SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_RECONNECT } },
	{ "UNBLOCKED", { SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_RECONNECT } },
	{ "LOADING", { SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_RECONNECT } },
	{ "MASTERDOWN", { SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_RECONNECT } },
	{ "NOREPLICAS", { SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_GO_ON } },
	{ "BUSY", { SB_RETRY, SB_R_THROTTLING, RDS_GO_ON } },
	{ "TRYAGAIN", { SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_GO_ON } },
	{ "CLUSTERDOWN", { SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_GO_ON } },
	{ "MOVED", { SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_MOVED } },
	{ "ASK", { SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_GO_ON } },
	{ "NOAUTH", { SB_UNREACHABLE, SB_R_NO_PERMISSIONS, RDS_RECONNECT } },
	{ "WRONGPASS", { SB_UNREACHABLE, SB_R_NO_PERMISSIONS, RDS_RECONNECT } },
	{ "NOPERM", { SB_REJECTED, SB_R_NO_PERMISSIONS, RDS_GO_ON } },
	{ "WRONGTYPE", { SB_REJECTED, SB_R_INVALID_PARAMETER, RDS_GO_ON } },
	{ "NOGROUP", { SB_REJECTED, SB_R_NO_RESOURCE, RDS_NO_GROUP } },
	{ "CROSSSLOT", { SB_REJECTED, SB_R_INVALID_PARAMETER, RDS_GO_ON } },
	{ "ERR", { SB_REJECTED, SB_R_ERROR_FROM_TARGET, RDS_GO_ON } },
};

/* ERR says everything else: a few of these pass, too. */
static const struct {
	const char *text;
	struct rds_verdict v;
} phrases[] = {
	{ "ERR max number of clients", { SB_UNREACHABLE, SB_R_RESOURCE_LIMIT_EXCEEDED, RDS_RECONNECT } },
	{ "ERR AUTH ", { SB_UNREACHABLE, SB_R_NO_PERMISSIONS, RDS_RECONNECT } },
	{ "ERR Client sent AUTH", { SB_UNREACHABLE, SB_R_NO_PERMISSIONS, RDS_RECONNECT } },
	{ "ERR invalid password", { SB_UNREACHABLE, SB_R_NO_PERMISSIONS, RDS_RECONNECT } },
	{ "ERR DB index is out of range", { SB_UNREACHABLE, SB_R_INVALID_PARAMETER, RDS_RECONNECT } },
	{ "ERR WAIT cannot be used with replica", { SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_RECONNECT } },
	{ "ERR no such key", { SB_REJECTED, SB_R_NO_RESOURCE, RDS_NO_GROUP } },
	{ "ERR The XGROUP subcommand requires the key", { SB_REJECTED, SB_R_NO_RESOURCE, RDS_NO_GROUP } },
	{ "ERR Error running script", { SB_RETRY, SB_R_ERROR_FROM_TARGET, RDS_GO_ON } },
};

static bool begins(struct sb_slice s, const char *with)
{
	size_t n = strlen(with);

	return s.n >= n && memcmp(s.p, with, n) == 0;
}

struct rds_verdict rds_verdict_of(struct sb_slice text)
{
	for (size_t i = 0; i < SB_LEN(phrases); i++)
		if (begins(text, phrases[i].text))
			return phrases[i].v;
	for (size_t i = 0; i < SB_LEN(words); i++) {
		size_t n = strlen(words[i].word);

		if (begins(text, words[i].word) && (text.n == n || text.p[n] == ' '))
			return words[i].v;
	}
	return (struct rds_verdict){ SB_RETRY, SB_R_UNKNOWN, RDS_GO_ON }; /* a newer server's: nothing is lost by asking again */
}

int rds_moved_to(struct sb_slice text, char *host, unsigned *port)
{
	const char *where, *colon;
	unsigned long n = 0;

	if (!begins(text, "MOVED ") && !begins(text, "ASK "))
		return -1;
	where = memrchr(text.p, ' ', text.n);
	colon = memrchr(text.p, ':', text.n);
	if (colon < where || colon == where + 1 || (size_t)(colon - where) > 255)
		return -1;
	for (const char *p = colon + 1; p < text.p + text.n; p++) {
		if (*p < '0' || *p > '9' || n > 65535)
			return -1;
		n = n * 10 + (unsigned long)(*p - '0');
	}
	if (n == 0 || n > 65535)
		return -1;
	memcpy(host, where + 1, (size_t)(colon - where - 1));
	host[colon - where - 1] = '\0';
	*port = (unsigned)n;
	return 0;
}
