/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_HTTPSOURCE_H
#define SB_CONNECTORS_HTTPSOURCE_H

#include "broker/net/http.h"
#include "connectors/connector.h"

/*
 * What sources behind HTTP share: the answer that waits for the disk, and how a refusal is said. Their state begins with
 * a struct httpsource. The cookie of a group is its struct waiting.
 */
struct httpsource {
	struct sb_source *source;
	bool paused, closing;
	unsigned waiting; /* groups whose answer is due */
};

/* How a refusal reads for the sender. `code` is stable and documented in docs/http-api.md. */
struct said {
	unsigned status;
	const char *code;
	bool retryable;
};
struct said httpsource_said(enum sb_refuse why);

/*
 * May this request be read at all: not paused, POST, no content coding, no form. Authorisation is the caller's. Answers
 * and returns false when not.
 */
bool httpsource_admits(struct httpsource *h, struct sb_http_req *req);
/* Answers with an error and counts it. */
void httpsource_reject(struct httpsource *h, struct sb_http_req *req, const struct said *said, const char *msg);
/* An error that has a place in the body. */
void httpsource_reject_at(struct httpsource *h, struct sb_http_req *req, const struct said *said, const char *msg, size_t offset);

/*
 * Offers the group. 0: taken, and `status` with `body` is the answer once it is durable. -1: not taken, the request is
 * still unanswered, the events are still the caller's.
 */
struct httpsource_group {
	struct sb_event **ev;
	size_t n;
	struct sb_refusal *refusal; /* n of them */
};
int httpsource_emit(struct httpsource *h, struct sb_http_req *req, const struct httpsource_group *g, unsigned status,
	struct sb_slice body);

/* For the ops tables. */
void httpsource_pause(struct sb_source *s, bool on);
void httpsource_accepted(struct sb_source *s, uint64_t cookie);
void httpsource_refused(struct sb_source *s, uint64_t cookie, const struct sb_refusal *why);
void httpsource_close(struct sb_source *s); /* after the routes are gone */

/* Append a field value as a JSON string. HTTP's bytes above 127 are UTF-8 when they can be, else Latin-1. */
int httpsource_add_value(struct sb_buf *out, struct sb_slice value);

#endif
