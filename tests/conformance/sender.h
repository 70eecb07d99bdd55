/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CONFORMANCE_SENDER_H
#define SB_TESTS_CONFORMANCE_SENDER_H

#include "stage.h"

/*
 * The far side of a source behind HTTP: a server on a unix socket with the stage's routes, and senders that each post one
 * body and read their answer to the end. 2xx is yes, everything else no.
 */
struct http_offer {
	const char *path, *headers; /* complete lines with CRLF */
};

int senders_make(struct stage *st, struct sb_err *err);
void senders_unmake(struct stage *st);
void senders_offer(struct stage *st, unsigned k, const struct http_offer *o, struct sb_slice body);
void senders_leave(struct stage *st, unsigned k);
/* The path belongs to somebody else, so that a connector which wants it cannot open. */
void senders_take_path(struct stage *st, const char *path);

#endif
