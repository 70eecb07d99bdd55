/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_CONNECT_H
#define SB_CLI_CONNECT_H

#include "broker/config.h"
#include "connectors/probe.h"

/*
 * `check --connect`: every source and target whose connector has something to ask, and the Redis of `metrics`, each on a thread of its own
 * while others are asked. What was found stands in the order of the file.
 */
struct sb_connect_finding {
	enum sb_found found;
	char key[48];
	struct sb_err what; /* with its place in the file */
};

struct sb_connect_subject {
	struct sb_probe probe;
	const char *kind; /* "source", "target", "metrics" */
	const char *type; /* the connector */
	const struct sb_node *at;     /* what the connector owns in the file */
	void (*ask)(const void *conf, struct sb_probe *p);
	const void *conf;
	struct sb_connect_finding *finding;
	size_t n, cap;
};

struct sb_connect {
	struct sb_connect_subject *subject;
	size_t n;
	uint64_t limit_ms; /* for each */
};

/* Findings that are not good also go to `diags`. */
void sb_connect_run(struct sb_connect *c, const struct sb_config *config, uint64_t limit_ms, struct sb_diags *diags);
void sb_connect_text(const struct sb_connect *c, struct sb_buf *out);
void sb_connect_json(const struct sb_connect *c, struct sb_buf *out); /* an array */
void sb_connect_done(struct sb_connect *c);

#endif
