/* SPDX-License-Identifier: Apache-2.0 */
/*
 * It fails by having no memory left, rejects by holding something else under the stream's key, stalls by being stopped, and is
 * gone by being killed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/conformance/redisfar.h"

extern const struct sb_connector sb_connector_redis;

struct side {
	struct redisfar far;
	bool stopped, rejects;
	char seen[64];
};

static int make(struct stage *st, struct sb_err *err)
{
	struct side *f = st->far = sb_xcalloc(sizeof(*f));

	snprintf(f->seen, sizeof(f->seen), "-");
	return redisfar_make(&f->far, st, err);
}

static void unmake(struct stage *st)
{
	struct side *f = st->far;

	if (f)
		redisfar_end(&f->far);
	free(f);
	st->far = NULL;
}

static void heal(struct stage *st)
{
	struct side *f = st->far;

	f->stopped = false;
	if (!f->far.pid) {
		redisfar_start(&f->far, st);
		return;
	}
	kill(f->far.pid, SIGCONT);
	redisfar_tell(&f->far, "CONFIG SET maxmemory 0");
	if (f->rejects)
		redisfar_tell(&f->far, "DEL done");
	f->rejects = false;
}

static void act(struct stage *st, enum far what)
{
	struct side *f = st->far;

	if (what == FAR_TAKES) {
		heal(st);
	} else if (what == FAR_FAILS) {
		redisfar_tell(&f->far, "CONFIG SET maxmemory 1");
	} else if (what == FAR_REJECTS) {
		redisfar_tell(&f->far, "SET done string");
		f->rejects = true;
	} else if (what == FAR_STALLS) {
		if (f->far.pid) /* gone already: 0 would be everybody */
			f->stopped = kill(f->far.pid, SIGSTOP) == 0;
	} else if (what == FAR_GONE) {
		redisfar_end(&f->far);
	}
}

static void take_entry(struct stage *st, const redisReply *entry)
{
	const redisReply *fields = entry->element[1];

	for (size_t i = 0; i + 1 < fields->elements; i += 2)
		if (strcmp(fields->element[i]->str, "event") == 0)
			stage_arrived(st, sb_slice(fields->element[i + 1]->str, fields->element[i + 1]->len));
}

static void collect(struct stage *st)
{
	struct side *f = st->far;
	char command[128];
	redisReply *r;

	if (!f->far.pid || f->stopped)
		return;
	snprintf(command, sizeof(command), "XRANGE done %s + COUNT 100", f->seen);
	r = redisfar_ask(&f->far, command);
	if (!r)
		return;
	for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i < r->elements; i++) {
		take_entry(st, r->element[i]);
		snprintf(f->seen, sizeof(f->seen), "(%s", r->element[i]->element[0]->str);
	}
	freeReplyObject(r);
}

static const char *const wrong[] = { "{}", "{url: 'http://there', stream: s}", "{url: 'redis://there'}", "{url: 'redis://there', stream: ''}",
	"{url: 'redis://there', stream: s, minid: 1h, maxlen: 5}", "{url: 'redis://there', stream: s, fields: {a: <nobody>}}", NULL };

const struct row row_redis = {
	.name = "redis",
	.connector = &sb_connector_redis,
	.conf = "{url: 'unix:DIR/redis.sock', stream: done, connect_timeout: 1s}",
	.wrong = wrong,
	.make = make,
	.unmake = unmake,
	.target =
		&(const struct target_row){
			.may = {
				[FAR_FAILS] = MAY(SB_RETRY),
				[FAR_REJECTS] = MAY(SB_REJECTED),
				[FAR_STALLS] = MAY(SB_RETRY) | MAY(SB_UNREACHABLE), /* unreachable: before it was connected */
				[FAR_GONE] = MAY(SB_UNREACHABLE) | MAY(SB_RETRY),
			},
			.act = act,
			.collect = collect,
		},
};
