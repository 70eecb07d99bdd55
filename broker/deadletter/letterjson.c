/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include "broker/base/clock.h"
#include "broker/base/json.h"

/*
 * A letter as the members of a JSON object. Two dialects in one: ours, in snake_case, and under `attributes` the message
 * attributes that EventBridge puts on what it sends to a dead-letter queue, so that tools made for those find them.
 *
 * Whatever is not JSON (invalid input is kept as it came) is shown as a string, with U+FFFD for what is no UTF-8.
 */

/* As sb_json_add_string, for bytes that nobody has checked. */
static int add_text(struct sb_buf *out, struct sb_slice t)
{
	struct sb_buf clean = SB_BUF(3 * t.n + 1);
	size_t from = 0;
	int r;

	if (sb_utf8_check(t.p, t.n) == t.n)
		return sb_json_add_string(out, t);
	while (from < t.n) {
		size_t good = sb_utf8_check(t.p + from, t.n - from);

		sb_buf_add(&clean, t.p + from, good);
		from += good;
		if (from < t.n) {
			sb_buf_adds(&clean, "\xef\xbf\xbd");
			from++;
		}
	}
	r = sb_json_add_string(out, sb_buf_slice(&clean));
	sb_buf_done(&clean);
	return r;
}

static int add_member(struct sb_buf *out, const char *name, struct sb_slice value)
{
	return sb_buf_addf(out, ",\"%s\":", name) < 0 ? -1 : add_text(out, value);
}

/* null: it never happened. */
static int add_time(struct sb_buf *out, const char *name, uint64_t ms)
{
	char text[SB_TIME_TEXT];

	if (!ms)
		return sb_buf_addf(out, ",\"%s\":null", name);
	sb_time_format(ms, text);
	return sb_buf_addf(out, ",\"%s\":\"%s\"", name, text);
}

/* JSON text on one line: raw line ends can only be white space there. */
static int add_json(struct sb_buf *out, struct sb_slice text)
{
	size_t before = out->len;

	if (sb_buf_add_slice(out, text) < 0)
		return -1;
	for (char *p = out->p + before; p < out->p + out->len; p++)
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	return 0;
}

/* ------------------------------------------------------------------------------------------------ the event */

/* What the letter's event says about itself; empty where it is no JSON object. */
struct facts {
	struct sb_tape_buf nodes;
	struct sb_tape tape;
	bool valid;
};

static void read_facts(struct sb_slice event, struct facts *ret)
{
	struct sb_json_fault fault;
	/* deeper by its envelope than what intake allows in */
	struct sb_json_limits lim = { SB_JSON_LIMITS.depth + 16, 2 * SB_JSON_LIMITS.nodes };

	*ret = (struct facts){ 0 };
	ret->valid = sb_json_scan(event.p, event.n, &lim, &ret->nodes, &fault) == 0;
	ret->tape = sb_tape_of(event.p, &ret->nodes);
}

/* The text of a string member, which is JSON's still; `dflt` where there is none. */
static struct sb_slice fact(const struct facts *f, const char *name, struct sb_slice dflt)
{
	uint32_t i = f->valid ? sb_json_member(&f->tape, 0, sb_slice_str(name)) : UINT32_MAX;

	return i != UINT32_MAX && f->tape.node[i].kind == SB_JSON_STRING ? sb_json_text(&f->tape, i) : dflt;
}

/* ------------------------------------------------------------------------------------------------ parts */

/* `scope` is what the name stands under: "rule/BUS" or "target". */
static int add_arn(struct sb_buf *out, const char *attribute, const struct facts *f, const char *scope, struct sb_slice name)
{
	struct sb_slice region = fact(f, "region", SB_SLICE("local")), account = fact(f, "account", SB_SLICE("000000000000"));
	struct sb_buf arn = SB_BUF(32 + region.n + account.n + strlen(scope) + name.n);
	int bad;

	bad = sb_buf_addf(&arn, "arn:aws:events:%.*s:%.*s:%s/", SB_SLICE_ARG(region), SB_SLICE_ARG(account), scope);
	bad |= sb_buf_add_slice(&arn, name);
	bad |= sb_buf_addf(out, "\"%s\":", attribute) || add_text(out, sb_buf_slice(&arn));
	sb_buf_done(&arn);
	return bad;
}

static int add_rule_arn(struct sb_buf *out, const struct facts *f, const struct sb_dead_record *r)
{
	struct sb_buf scope = SB_BUF(16 + r->bus.n);
	int bad = sb_buf_addf(&scope, "rule/%.*s", SB_SLICE_ARG(r->bus));

	bad |= add_arn(out, "RULE_ARN", f, bad ? "rule" : sb_buf_cstr(&scope), r->rule);
	sb_buf_done(&scope);
	return bad;
}

static const char *exhausted_name(uint8_t exhausted)
{
	return exhausted == 1 ? "MaximumRetryAttempts" : exhausted == 2 ? "MaximumEventAgeInSeconds" : NULL;
}

/* Only what applies: a letter without a rule has no RULE_ARN, one that was rejected no exhausted condition. */
static int add_attributes(struct sb_buf *out, const struct facts *f, const struct sb_dead_record *r)
{
	const char *condition = exhausted_name(r->exhausted);
	int bad = sb_buf_adds(out, ",\"attributes\":{");

	if (r->rule.n)
		bad |= add_rule_arn(out, f, r) || sb_buf_addc(out, ',');
	if (r->target.n)
		bad |= add_arn(out, "TARGET_ARN", f, "target", r->target) || sb_buf_addc(out, ',');
	bad |= sb_buf_addf(out, "\"ERROR_CODE\":\"%s\"", letters_error_name(r->reason));
	bad |= add_member(out, "ERROR_MESSAGE", r->message);
	if (condition)
		bad |= sb_buf_addf(out, ",\"EXHAUSTED_RETRY_CONDITION\":\"%s\"", condition);
	/* the first attempt is no retry */
	bad |= sb_buf_addf(out, ",\"RETRY_ATTEMPTS\":%u}", r->attempts ? r->attempts - 1 : 0);
	return bad;
}

static int add_names(struct sb_buf *out, const struct facts *f, const struct sb_dead_record *r)
{
	struct sb_slice event_id = fact(f, "id", sb_slice(NULL, 0));
	int bad = sb_buf_adds(out, "\"id\":") || add_text(out, r->id);

	if (event_id.p)
		bad |= sb_buf_addf(out, ",\"event_id\":\"%.*s\"", SB_SLICE_ARG(event_id));
	else
		bad |= add_member(out, "event_id", r->event_id);
	bad |= add_member(out, "bus", r->bus) || add_member(out, "origin", r->origin);
	bad |= add_member(out, "rule", r->rule) || add_member(out, "target", r->target);
	return bad;
}

static int add_payload(struct sb_buf *out, const struct facts *f, const struct sb_letter *l)
{
	int bad = add_member(out, "stderr_tail", l->rec.tail);

	bad |= sb_buf_adds(out, ",\"history\":") || add_json(out, l->history);
	bad |= sb_buf_adds(out, ",\"event\":") || (f->valid ? add_json(out, l->rec.event) : add_text(out, l->rec.event));
	if (l->rec.input.n)
		bad |= sb_buf_adds(out, ",\"input\":") || add_json(out, l->rec.input);
	return bad;
}

int sb_letter_json(const struct sb_letter *l, bool full, struct sb_buf *out)
{
	const struct sb_dead_record *r = &l->rec;
	size_t before = out->len;
	struct facts f;
	int bad;

	read_facts(r->event, &f);
	bad = add_names(out, &f, r);
	bad |= sb_buf_addf(out, ",\"state\":\"%s\",\"lives\":%u", l->redriving ? "redriving" : "dead", l->lives);
	bad |= sb_buf_addf(out, ",\"attempts\":%u,\"generation\":%llu", r->attempts, (unsigned long long)r->generation);
	bad |= sb_buf_addf(out, ",\"error_code\":\"%s\"", letters_error_name(r->reason));
	bad |= add_member(out, "error", r->message) || add_member(out, "first_error", r->first_message);
	bad |= add_time(out, "received", r->received_ms) || add_time(out, "first_attempt", r->first_attempt_ms);
	bad |= add_time(out, "last_attempt", r->last_attempt_ms) || add_time(out, "died", r->dead_ms);
	bad |= add_attributes(out, &f, r);
	if (full)
		bad |= add_payload(out, &f, l);
	sb_tape_buf_done(&f.nodes);
	if (bad)
		out->len = before;
	return bad ? -1 : 0;
}

int sb_letter_count_json(const struct sb_letter_count *c, struct sb_buf *out)
{
	size_t before = out->len;
	int bad = sb_buf_adds(out, "{\"target\":");

	bad |= add_text(out, sb_slice_str(c->target));
	bad |= add_member(out, "rule", sb_slice_str(c->rule));
	bad |= add_member(out, "error", sb_slice_str(c->error));
	bad |= sb_buf_addf(out, ",\"n\":%llu,\"bytes\":%llu", (unsigned long long)c->n, (unsigned long long)c->bytes);
	bad |= sb_buf_addf(out, ",\"oldest_ms\":%llu,\"newest_ms\":%llu}", (unsigned long long)c->oldest_ms,
		(unsigned long long)c->newest_ms);
	if (bad)
		out->len = before;
	return bad ? -1 : 0;
}
