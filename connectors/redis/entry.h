/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_REDIS_ENTRY_H
#define SB_CONNECTORS_REDIS_ENTRY_H

#include "broker/base/template.h"
#include "connectors/connector.h"

/*
 * How a delivery becomes an entry of a stream: the XADD. Pure.
 *
 * A field's value is text with `<event>` (what the target gets), `<id>` (of the delivery, the same on every attempt), `<rule>`, `<attempt>`,
 * `<target>` and paths into the event in it. A field that has a missing value in it is left out.
 */
#define RDS_FIELDS_MAX 64

struct rds_entry_field {
	const char *name;
	struct sb_template value;
};

struct rds_entry_conf {
	const char *stream;
	struct rds_entry_field *field;
	size_t n;
	uint64_t maxlen;       /* 0: no bound */
	uint64_t minid_age_ms; /* entries older than this go; 0: see minid */
	const char *minid;     /* a fixed id; NULL: none */
	bool exact;            /* `=`: trimmed to the entry; else `~`, which is far cheaper */
};

/* The names that a field's template may use, for sb_template_compile. */
int rds_entry_names(void *arg, struct sb_slice name, const struct sb_path **ret);
/* `minid:` as it was written: an age ("24h") or an id ("1700000000000-0"). -1: neither. */
int rds_entry_minid(const char *text, struct rds_entry_conf *ret);
/* Appends the command. 0; 1: none of the fields has a value; -1: too large. `scratch` is used and grows. */
int rds_entry_xadd(const struct rds_entry_conf *c, const struct sb_item *item, const char *target, uint64_t wall_ms,
	struct sb_buf *scratch, struct sb_buf *out);

#endif
