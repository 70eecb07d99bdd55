/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CONNECTORS_EVENTBRIDGE_BATCH_H
#define SB_CONNECTORS_EVENTBRIDGE_BATCH_H

#include "connectors/httpsource.h"

/* The events of one request. Reused from request to request; the memory stays. */
#define BATCH_MAX 10000

struct verdict {
	const char *code; /* NULL: nothing wrong so far */
	unsigned status;
	bool retryable;
	size_t offset;    /* in the body */
	char msg[120];
};

#define BATCH_CE_KNOWN 10
struct batch {
	struct sb_source *source;
	struct sb_slice body;
	struct sb_slice bus; /* of events that name none; n 0: the source's */
	struct sb_event **ev; /* NULL where there is none */
	struct verdict *verdict;
	size_t n, cap;
	struct sb_tape_buf tape;
	struct sb_buf meta;   /* of the event being built */
	struct {
		struct sb_slice value[BATCH_CE_KNOWN]; /* p NULL: absent */
		unsigned n;
	} binary;             /* attributes of the CloudEvent being read in binary mode */
	/* From a queue, not from HTTP: */
	struct sb_slice extra;          /* more members of meta, as JSON text; n 0: none */
	const struct sb_uuid *receipt;  /* NULL: a new one for each event */
	struct sb_slice time;           /* of events that have none; n 0: when they came */
	struct sb_buf plain;  /* decoded strings of the event being built; never moves, see BATCH_PLAIN */
};
#define BATCH_PLAIN (64u << 10)

/* What is wrong with the body as a whole. */
struct batch_fault {
	struct said said;
	const char *msg;
	bool has_offset;
	size_t offset;
};

/* Another event, good so far. NULL: BATCH_MAX are there. */
struct verdict *batch_next(struct batch *b);
void batch_bad(struct verdict *v, const char *code, size_t offset, const char *fmt, ...) SB_PRINTF(4, 5);
void batch_refused(struct verdict *v, const struct sb_refusal *why, size_t offset);
/* Envelope facts, and the bus by its name's node (0: none) of `t`. false: v says why. */
bool batch_spec(struct batch *b, const struct sb_tape *t, uint32_t bus, struct sb_event_spec *ret, struct verdict *v);
/* The event of the last batch_next. */
void batch_build(struct batch *b, const struct sb_event_spec *given, struct verdict *v);

/* Texts -> events and verdicts. -1: *fault, and nothing was taken. */
typedef int batch_reader(struct batch *b, struct batch_fault *fault);
batch_reader batch_read_json;     /* one EventBridge-shaped event, or an array of them */
batch_reader batch_read_lines;    /* NDJSON of them */
batch_reader batch_read_ce;       /* one structured CloudEvent */
batch_reader batch_read_ce_array; /* batched CloudEvents */
/* Binary mode: the headers are the attributes. */
int batch_read_ce_binary(struct batch *b, const struct sb_http_req *req, struct batch_fault *fault);

/* Scan the body as one value. -1: *fault. */
int batch_scan(struct batch *b, struct sb_tape *ret, struct batch_fault *fault);
/* Calls `take` for the root, or for each element of the root array. */
typedef void batch_take(struct batch *b, const struct sb_tape *t, uint32_t i, struct verdict *v);
int batch_each(struct batch *b, const struct sb_tape *t, batch_take *take, struct batch_fault *fault);

batch_take batch_take_shaped; /* an EventBridge-shaped event */
batch_take batch_take_ce;     /* a structured CloudEvent */

/* Binary mode, wherever the attributes stand: begin, one attribute after the other (decoded), then the body. */
void batch_binary_begin(struct batch *b, struct sb_slice content_type);
bool batch_binary_attribute(struct batch *b, struct sb_slice name, struct sb_slice value, struct verdict *v);
/* `media`: type and subtype alone, lower case. -1: *fault; else the last verdict says whether there is an event. */
int batch_binary_end(struct batch *b, const char *media, struct batch_fault *fault);

#endif
