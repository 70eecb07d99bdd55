/* SPDX-License-Identifier: Apache-2.0 */
#include "target.h"

#include <event2/event.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/base/list.h"
#include "outcome.h"
#include "probe.h"
#include "producer.h"

/*
 * One target, one producer: connections, queue and sequence numbers are nobody else's, so that a topic that is slow or
 * refused delays no other topic of the same cluster. The delivery report is the only success.
 *
 *   send() ──> librdkafka ──> report ──> outcome.c ──> settled
 *     │  ^
 *     v  │ its queue is full, or the producer is being renewed
 *   waiting
 *
 * There are two lanes, each a producer of its own: `many` sends in batches; `alone` is opened when a batch was refused for
 * what one of its records may be guilty of, and sends each of them by itself.
 *
 *   CLOSED ──open──> OPEN ──fatal error, another timeout, close()──> LEAVING ──all reports are in──> ENDING ──joined──> CLOSED
 *
 * A fatal error (sequence numbers that broker and producer do not agree on, a fenced producer) ends the producer, not the
 * target: what is under way comes back by its report, and the next send() opens a new one.
 *
 * Woken by an eventfd that librdkafka writes to when its queue is no longer empty, and by a timer while something is under
 * way: then a wake-up that was missed costs a moment, not the target.
 */
#define TICK_MS 100
#define EVENTS_MOST 256  /* in one go; then the loop gets its turn */
#define CLOSE_MS 1000    /* for reports that are on their way; whoever closes us has waited before */

enum lane_state { CLOSED, OPEN, LEAVING, ENDING };

struct lane {
	struct kafka_producer producer;
	enum lane_state state;
	bool alone;
	unsigned under_way;  /* sent, not reported */
	uint64_t timeout_ms; /* of records; librdkafka takes it only when it is opened */
};

/* One delivery that is ours. Pool memory; the opaque of its record. */
struct slot {
	struct sb_link link; /* while it waits */
	struct sb_batch *batch;
	size_t item;
	struct lane *lane;
};

struct kafka_target {
	struct sb_target *target;
	int wake_fd;
	struct event *wake, *tick;
	struct lane many, alone;
	struct sb_link waiting;
	struct kafka_encoder encoder;
	struct {
		bool down;               /* no broker can be reached */
		rd_kafka_resp_err_t why; /* the last error of a connection since it worked; 0: none */
		char text[256];
	} health;
	struct {
		uint64_t full, renewed, suspected; /* queue was full; producers replaced; records sent again alone */
	} counts;
	uint64_t purge_ns;               /* when closing: then what is left is given up */
	bool closing, purged, closed;
};

/* ------------------------------------------------------------------------------------------------ outcomes */

static void settle(struct kafka_target *k, struct slot *s, const struct sb_result *r)
{
	struct sb_batch *b = s->batch;
	size_t item = s->item;

	sb_pool_free(s);
	sb_batch_settle(k->target, b, item, r);
}

static void release(struct kafka_target *k, struct slot *s)
{
	settle(k, s, &(struct sb_result){ .outcome = SB_RELEASED });
}

static void describe(const struct kafka_target *k, rd_kafka_resp_err_t err, char *out, size_t size)
{
	const char *what = rd_kafka_err2str(err);

	if (err == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT && k->health.why)
		snprintf(out, size, "%s; %s", what, k->health.text);
	else if (err == RD_KAFKA_RESP_ERR__FATAL || err == RD_KAFKA_RESP_ERR__STATE)
		snprintf(out, size, "the producer is renewed; %s", k->health.text);
	else
		snprintf(out, size, "%s", what);
}

/* `facts`: what the caller knows of this record alone. */
static void conclude(struct kafka_target *k, struct slot *s, rd_kafka_resp_err_t err, struct kafka_facts facts)
{
	struct sb_item *item = &s->batch->item[s->item];
	struct kafka_verdict v;
	struct sb_result r;
	char message[400];

	facts.down = k->health.down;
	facts.down_why = k->health.why;
	v = kafka_outcome(err, &facts);
	r = (struct sb_result){ .outcome = v.outcome, .reason = v.reason };
	if (v.suspect) {
		item->alone = true;
		k->counts.suspected++;
	}
	if (v.outcome != SB_DELIVERED && v.outcome != SB_RELEASED) {
		describe(k, err, message, sizeof(message));
		r.message = sb_slice_str(message);
	}
	settle(k, s, &r);
}

/* ------------------------------------------------------------------------------------------------ sending */

static void arm(struct kafka_target *k)
{
	const struct timeval tv = { .tv_usec = TICK_MS * 1000 };

	if (!event_pending(k->tick, EV_TIMEOUT, NULL))
		event_add(k->tick, &tv);
}

static int open_lane(struct kafka_target *k, struct lane *l, struct sb_err *err)
{
	const struct kafka_target_conf *c = k->target->conf;
	rd_kafka_conf_t *conf = kafka_target_rdkafka(c, k->target->timeout_ms, l->alone, err);

	if (!conf || kafka_producer_open(&l->producer, conf, c->topic, k->wake_fd, err) < 0)
		return -1;
	l->state = OPEN;
	l->timeout_ms = k->target->timeout_ms;
	return 0;
}

static void refuse(struct kafka_target *k, struct slot *s, const char *why)
{
	settle(k, s, &(struct sb_result){ .outcome = SB_UNREACHABLE, .reason = SB_R_INTERNAL_ERROR, .message = sb_slice_str(why) });
}

static void too_large(struct kafka_target *k, struct slot *s)
{
	settle(k, s, &(struct sb_result){ .outcome = SB_REJECTED, .reason = SB_R_INVALID_PARAMETER,
		.message = SB_SLICE("key, headers or value are larger than a record may be") });
}

/* False: there is no room, or no producer, now. */
static bool produce(struct kafka_target *k, struct slot *s)
{
	const struct sb_item *item = &s->batch->item[s->item];
	struct lane *l = item->alone ? &k->alone : &k->many;
	struct kafka_message m;
	struct sb_err err = { 0 };
	rd_kafka_resp_err_t rc;

	if (l->state == OPEN && l->timeout_ms != k->target->timeout_ms)
		l->state = LEAVING; /* a reload has changed it */
	if (l->state == LEAVING || l->state == ENDING)
		return false;
	if (l->state == CLOSED && open_lane(k, l, &err) < 0) {
		refuse(k, s, err.msg);
		return true;
	}
	if (kafka_encode(&k->encoder, k->target->conf, item, &m) < 0) {
		too_large(k, s);
		return true;
	}
	s->lane = l;
	rc = kafka_producer_send(&l->producer, &m, s);
	if (rc == RD_KAFKA_RESP_ERR_NO_ERROR) {
		l->under_way++;
		return true;
	}
	rd_kafka_headers_destroy(m.headers);
	if (rc == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
		k->counts.full++;
		return false;
	}
	conclude(k, s, rc, (struct kafka_facts){ .alone = true });
	return true;
}

static void send_waiting(struct kafka_target *k)
{
	struct sb_link *x;

	while (!k->closing && (x = sb_list_pop_front(&k->waiting)))
		if (!produce(k, SB_CONTAINER(x, struct slot, link))) {
			sb_list_push_front(&k->waiting, x);
			return;
		}
}

static void kafka_send(struct sb_target *t, struct sb_batch *b)
{
	struct kafka_target *k = t->state;
	size_t n = b->n; /* b is gone with the settlement of its last item, perhaps before we return */

	for (size_t i = 0; i < n; i++) {
		struct slot *s = sb_pool_alloc(sizeof(*s));

		*s = (struct slot){ .batch = b, .item = i };
		sb_list_init(&s->link);
		if (k->closing)
			release(k, s);
		else if (!sb_list_empty(&k->waiting) || !produce(k, s))
			sb_list_push_back(&k->waiting, &s->link);
	}
	arm(k);
}

/* ------------------------------------------------------------------------------------------------ events */

static void on_fatal(struct kafka_target *k, struct lane *l)
{
	char why[sizeof(k->health.text)];

	if (l->state != OPEN || !rd_kafka_fatal_error(l->producer.rk, why, sizeof(why)))
		return;
	snprintf(k->health.text, sizeof(k->health.text), "%s", why);
	k->counts.renewed++;
	l->state = LEAVING;
	kafka_producer_purge(&l->producer);
}

/* Purged, and not by close(): with its producer. The report can be here before the event that tells of the fatal error. */
static bool given_up(const struct kafka_target *k, rd_kafka_resp_err_t err)
{
	return !k->closing && (err == RD_KAFKA_RESP_ERR__PURGE_QUEUE || err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT);
}

static void on_report(struct kafka_target *k, struct lane *l, const rd_kafka_message_t *m)
{
	struct kafka_facts facts = { .alone = l->alone, .sent = rd_kafka_message_status(m) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED };

	if (m->err >= 0) { /* somebody has answered */
		k->health.down = false;
		k->health.why = RD_KAFKA_RESP_ERR_NO_ERROR;
	}
	l->under_way--;
	if (given_up(k, m->err)) {
		on_fatal(k, l);
		conclude(k, m->_private, RD_KAFKA_RESP_ERR__FATAL, facts);
		return;
	}
	conclude(k, m->_private, m->err, facts);
}

static void on_error(struct kafka_target *k, struct lane *l, rd_kafka_resp_err_t err, const char *text)
{
	if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		k->health.down = true;
	else if (err == RD_KAFKA_RESP_ERR__FATAL)
		on_fatal(k, l);
	else if (kafka_is_connection_error(err)) {
		k->health.why = err;
		snprintf(k->health.text, sizeof(k->health.text), "%s", text ? text : rd_kafka_err2str(err));
	}
}

/* There is no event for a connection that is up again; the statistics know. */
static void on_statistics(struct kafka_target *k, const char *json)
{
	if (!k->health.down || !strstr(json, "\"state\":\"UP\""))
		return;
	k->health.down = false;
	k->health.why = RD_KAFKA_RESP_ERR_NO_ERROR;
	if (!k->closing)
		sb_target_reachable(k->target);
}

static void on_event(struct kafka_target *k, struct lane *l, rd_kafka_event_t *ev)
{
	const rd_kafka_message_t *m;

	switch (rd_kafka_event_type(ev)) {
	case RD_KAFKA_EVENT_DR:
		while ((m = rd_kafka_event_message_next(ev)))
			on_report(k, l, m);
		break;
	case RD_KAFKA_EVENT_ERROR: on_error(k, l, rd_kafka_event_error(ev), rd_kafka_event_error_string(ev)); break;
	case RD_KAFKA_EVENT_STATS: on_statistics(k, rd_kafka_event_stats(ev)); break;
	default: break;
	}
	rd_kafka_event_destroy(ev);
}

/* False: there is more. */
static bool drain(struct kafka_target *k, struct lane *l)
{
	rd_kafka_event_t *ev;

	for (unsigned n = 0; l->state == OPEN || l->state == LEAVING; n++) {
		if (n == EVENTS_MOST)
			return false;
		ev = kafka_producer_next(&l->producer);
		if (!ev)
			return true;
		on_event(k, l, ev);
	}
	return true;
}

/* ------------------------------------------------------------------------------------------------ life of a lane */

static void advance(struct lane *l, bool closing)
{
	if (l->state == OPEN && closing)
		l->state = LEAVING;
	if (l->state == LEAVING && l->under_way == 0) {
		l->state = ENDING;
		kafka_producer_end(&l->producer);
	}
	if (l->state == ENDING && kafka_producer_ended(&l->producer))
		l->state = CLOSED;
}

static void purge(struct lane *l)
{
	if (l->state == LEAVING)
		kafka_producer_purge(&l->producer);
}

static void finish(struct kafka_target *k)
{
	k->closed = true;
	event_del(k->wake);
	event_del(k->tick);
	sb_target_closed(k->target);
}

static void turn(struct kafka_target *k)
{
	bool drained = drain(k, &k->many);

	drained &= drain(k, &k->alone);
	advance(&k->many, k->closing);
	advance(&k->alone, k->closing);
	send_waiting(k);
	if (!drained)
		event_active(k->wake, EV_READ, 0);
	if (k->closing && !k->purged && sb_mono_ns(k->target->env->clock) >= k->purge_ns) {
		k->purged = true;
		purge(&k->many);
		purge(&k->alone);
	}
	if (k->closing && !k->closed && k->many.state == CLOSED && k->alone.state == CLOSED)
		finish(k);
}

static bool is_busy(const struct lane *l)
{
	return l->under_way || l->state == LEAVING || l->state == ENDING;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct kafka_target *k = arg;

	(void)fd;
	(void)what;
	turn(k);
	if (!k->closed && (is_busy(&k->many) || is_busy(&k->alone) || !sb_list_empty(&k->waiting)))
		arm(k);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t n;
	ssize_t got = read(fd, &n, sizeof(n));

	(void)got; /* whoever woke us, the queues tell */
	(void)what;
	turn(arg);
}

/* ------------------------------------------------------------------------------------------------ life */

static int kafka_open(struct sb_target *t, struct sb_err *err)
{
	struct kafka_target *k = t->state;

	k->target = t;
	k->wake_fd = -1;
	k->alone.alone = true;
	sb_list_init(&k->waiting);
	kafka_encoder_init(&k->encoder);
	if (!t->env->base)
		return sb_fail(err, SB_E_REFUSED, "kafka: there is no event loop to run in");
	k->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (k->wake_fd < 0)
		return sb_fail_errno(err, "kafka: eventfd");
	k->wake = event_new(t->env->base, k->wake_fd, EV_READ | EV_PERSIST, on_wake, k);
	k->tick = event_new(t->env->base, -1, 0, on_tick, k);
	if (open_lane(k, &k->many, err) < 0)
		return -1;
	event_add(k->wake, NULL);
	return 0;
}

static void kafka_close(struct sb_target *t)
{
	struct kafka_target *k = t->state;
	struct sb_link *x;

	if (k->closing)
		return;
	k->closing = true;
	k->purge_ns = sb_mono_ns(t->env->clock) + CLOSE_MS * SB_NS_PER_MS;
	while ((x = sb_list_pop_front(&k->waiting)))
		release(k, SB_CONTAINER(x, struct slot, link));
	advance(&k->many, true);
	advance(&k->alone, true);
	arm(k);
}

/* Only when the daemon's patience with close() has run out is there anything left to wait for. */
static void close_now(struct lane *l)
{
	if (l->state == OPEN || l->state == LEAVING)
		kafka_producer_end(&l->producer);
	if (l->state != CLOSED)
		kafka_producer_join(&l->producer);
}

static void kafka_free(struct sb_target *t)
{
	struct kafka_target *k = t->state;

	close_now(&k->many);
	close_now(&k->alone);
	if (k->wake)
		event_free(k->wake);
	if (k->tick)
		event_free(k->tick);
	if (k->target && k->wake_fd >= 0)
		close(k->wake_fd);
	kafka_encoder_done(&k->encoder);
}

static void kafka_status(struct sb_target *t, struct sb_buf *out)
{
	const struct kafka_target *k = t->state;

	sb_buf_addf(out, "\"reachable\":%s,\"under_way\":%u,\"queue_full\":%llu,\"renewed\":%llu,\"suspected\":%llu,\"last_error\":",
		k->health.down ? "false" : "true", k->many.under_way + k->alone.under_way, (unsigned long long)k->counts.full,
		(unsigned long long)k->counts.renewed, (unsigned long long)k->counts.suspected);
	sb_json_add_string(out, sb_slice_str(k->health.text));
}

const struct sb_target_ops kafka_target_ops = {
	.state_size = sizeof(struct kafka_target),
	.conf_size = sizeof(struct kafka_target_conf),
	.fields = kafka_target_fields,
	.check = kafka_target_check,
	.probe = kafka_target_probe,
	.concurrency = 1000,
	.open = kafka_open,
	.send = kafka_send,
	.close = kafka_close,
	.free = kafka_free,
	.status = kafka_status,
};
