/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "outlet.h"

/*
 * One line of JSON a delivery on standard output. A reader that does not keep up makes retries, never a wait. A long line
 * can leave in part; then its delivery is settled when the rest is out, and a timer looks after that.
 */
#define AGAIN_MS 20
#define MAX_LINE (128u << 20)

struct log_conf {
	int format;
};

/* A delivery whose line is out in part. The outlet has at most one. */
struct part {
	struct sb_batch *batch;
	size_t item;
};

struct log_target {
	struct sb_buf line;
	struct event *again; /* NULL: no loop to wait in */
	struct part part;    /* batch NULL: none */
	bool closed;
};

static const char *const formats[] = { "json", "input", NULL };

static const struct sb_field log_fields[] = {
	SB_F(ENUM, struct log_conf, format, .names = formats, .dflt = "json",
		.doc = "`json`: time, target, rule, delivery id and attempt around the input; `input`: what the target gets, alone."),
	{ 0 },
};

static struct outlet standard_output;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_once(void)
{
	outlet_open(&standard_output, STDOUT_FILENO);
}

/* JSON text on one line: raw line ends can only be white space there. */
static int add_input(struct sb_buf *out, const struct sb_item *item)
{
	size_t from = out->len;

	if (sb_buf_add_slice(out, item->input) < 0)
		return -1;
	if (item->input_newlines)
		for (size_t i = from; i < out->len; i++)
			if (out->p[i] == '\n' || out->p[i] == '\r')
				out->p[i] = ' ';
	return 0;
}

int log_line(const struct sb_item *item, const char *target, uint64_t wall_ms, bool full, struct sb_buf *out)
{
	char when[SB_TIME_TEXT];
	int rc = 0;

	if (full) {
		sb_time_format(wall_ms, when);
		rc |= sb_buf_addf(out, "{\"time\":\"%s\",\"target\":", when);
		rc |= sb_json_add_string(out, sb_slice_str(target));
		rc |= sb_buf_adds(out, ",\"rule\":");
		rc |= sb_json_add_string(out, sb_slice_str(item->rule));
		rc |= sb_buf_adds(out, ",\"delivery\":");
		rc |= sb_json_add_string(out, item->delivery_id);
		rc |= sb_buf_addf(out, ",\"attempt\":%u,\"input\":", item->attempt);
	}
	rc |= add_input(out, item);
	return rc | sb_buf_adds(out, full ? "}\n" : "\n");
}

static void settle(struct sb_target *t, const struct part *p, enum sb_outcome outcome, enum sb_reason reason, const char *why)
{
	struct sb_result r = { .outcome = outcome, .reason = reason, .message = sb_slice_str(why) };

	sb_batch_settle(t, p->batch, p->item, &r);
}

static void wait_again(struct log_target *l)
{
	const struct timeval tv = { .tv_usec = AGAIN_MS * 1000 };

	event_add(l->again, &tv);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct sb_target *t = arg;
	struct log_target *l = t->state;
	struct part p = l->part;
	enum outlet_said said = outlet_finish(&standard_output);

	(void)fd;
	(void)what;
	if (said == OUTLET_PART) {
		wait_again(l);
		return;
	}
	l->part = (struct part){ 0 };
	if (said == OUTLET_WRITTEN)
		settle(t, &p, SB_DELIVERED, SB_R_NONE, NULL);
	else
		settle(t, &p, SB_UNREACHABLE, SB_R_CONNECTION_FAILURE, strerror(errno));
}

/* Without a loop there is nobody to come back for the rest; the simulation's outlet is never full. */
static void hold(struct sb_target *t, const struct part *p)
{
	struct log_target *l = t->state;

	if (!l->again) {
		settle(t, p, SB_DELIVERED, SB_R_NONE, NULL);
		return;
	}
	if (l->part.batch) /* its rest is out, by somebody else's hand: else this line could not have begun */
		settle(t, &l->part, SB_DELIVERED, SB_R_NONE, NULL);
	l->part = *p;
	wait_again(l);
}

static void send_one(struct sb_target *t, struct sb_batch *b, size_t i)
{
	const struct log_conf *c = t->conf;
	struct log_target *l = t->state;
	struct part p = { b, i };

	sb_buf_clear(&l->line);
	if (log_line(&b->item[i], t->name, sb_wall_ms(t->env->clock), c->format == 0, &l->line) < 0) {
		settle(t, &p, SB_REJECTED, SB_R_INVALID_PARAMETER, "the line is larger than 128 MiB");
		return;
	}
	switch (outlet_write(&standard_output, sb_buf_slice(&l->line))) {
	case OUTLET_WRITTEN: settle(t, &p, SB_DELIVERED, SB_R_NONE, NULL); return;
	case OUTLET_PART:    hold(t, &p); return;
	case OUTLET_FULL:    settle(t, &p, SB_RETRY, SB_R_THROTTLING, "standard output is full: its reader is slow"); return;
	case OUTLET_GONE:    settle(t, &p, SB_UNREACHABLE, SB_R_CONNECTION_FAILURE, strerror(errno)); return;
	}
}

static void log_send(struct sb_target *t, struct sb_batch *b)
{
	size_t n = b->n; /* the batch may be gone with its last item */

	for (size_t i = 0; i < n; i++)
		send_one(t, b, i);
}

static int log_open(struct sb_target *t, struct sb_err *err)
{
	struct log_target *l = t->state;

	(void)err;
	sb_buf_init(&l->line, MAX_LINE);
	pthread_once(&once, open_once);
	if (t->env->base)
		l->again = evtimer_new(t->env->base, on_again, t);
	return 0;
}

static void log_close(struct sb_target *t)
{
	struct log_target *l = t->state;
	struct part p = l->part;

	if (l->closed)
		return;
	l->closed = true;
	if (l->again)
		event_del(l->again);
	l->part = (struct part){ 0 };
	if (p.batch)
		settle(t, &p, SB_RELEASED, SB_R_NONE, "shutting down");
	sb_target_closed(t);
}

static void log_free(struct sb_target *t)
{
	struct log_target *l = t->state;

	if (l->again)
		event_free(l->again);
	sb_buf_done(&l->line);
}

const struct sb_connector sb_connector_log = {
	.type = "log",
	.summary = "prints a line of JSON for every delivery on standard output",
	.target = &(const struct sb_target_ops){
		.state_size = sizeof(struct log_target),
		.conf_size = sizeof(struct log_conf),
		.fields = log_fields,
		.open = log_open,
		.send = log_send,
		.close = log_close,
		.free = log_free,
	},
};
