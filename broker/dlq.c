/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dead-letter calls of the control socket. Each is a job on the thread that owns the table; redrive is one more step:
 * letters are claimed there, become events again on their target's shard, and those that cannot be taken are let go.
 */
#include "broker/daemon.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 1000
#define REDRIVE_MAX 64
#define ANSWER_MAX (64u << 20)

struct dlq_call {
	struct sb_deadbox_job job;
	struct sb_daemon *d;
	struct sb_http_req *req;
	struct sb_letter_filter filter;
	char text[5][160]; /* what the filter points at */
	bool full, rematch;
	struct sb_buf out;
	uint64_t n, next;
	struct sb_err err;
	bool failed;
	/* redrive */
	struct sb_letter_copy {
		struct sb_slice id, event, input;
		uint64_t generation;
		const char *bus, *origin, *rule, *target; /* interned */
		bool unmade; /* its rule made no input of it: nothing has ever been sent */
	} letter[REDRIVE_MAX];
	size_t n_letters, refused;
	unsigned left;
	char why[160];
};

/* ------------------------------------------------------------------------------------------------ reading the call */

/* NULL: fine. A filter that is not understood must not widen what is touched. */
static const char *wrong_with(const char *key, const json_t *value)
{
	static const struct {
		const char *key;
		json_type type;
	} known[] = {
		{ "id", JSON_STRING }, { "target", JSON_STRING }, { "rule", JSON_STRING }, { "error", JSON_STRING },
		{ "bus", JSON_STRING }, { "older_than_ms", JSON_INTEGER }, { "newer_than_ms", JSON_INTEGER },
		{ "limit", JSON_INTEGER }, { "after", JSON_INTEGER }, { "full", JSON_TRUE }, { "rematch", JSON_TRUE },
	};
	json_type type = json_is_false(value) ? JSON_TRUE : json_typeof(value);

	for (size_t i = 0; i < SB_LEN(known); i++)
		if (strcmp(known[i].key, key) == 0)
			return type != known[i].type ? "has the wrong kind of value"
				: json_integer_value(value) < 0 ? "must not be negative" : NULL;
	return "is not known here";
}

static bool body_ok(struct sb_http_req *req, json_t *body)
{
	const char *key, *wrong;
	json_t *value;

	json_object_foreach (body, key, value) {
		wrong = wrong_with(key, value);
		if (wrong) {
			sb_http_reply_error(req, 400, "bad_request", "`%.60s` %s", key, wrong);
			return false;
		}
	}
	return true;
}

static uint64_t body_number(json_t *body, const char *key, uint64_t dflt)
{
	json_t *v = json_object_get(body, key);

	return json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v) : dflt;
}

static const char *body_text(struct dlq_call *c, json_t *body, const char *key, size_t i)
{
	const char *s = json_string_value(json_object_get(body, key));

	if (!s)
		return NULL;
	snprintf(c->text[i], sizeof(c->text[i]), "%s", s);
	return c->text[i];
}

/* NULL: the request has been answered. */
static struct dlq_call *call_new(struct sb_daemon *d, struct sb_http_req *req, json_t *body, uint64_t limit_max)
{
	struct dlq_call *c;
	uint64_t now = sb_wall_ms(d->core.clock), older = body_number(body, "older_than_ms", 0);
	uint64_t newer = body_number(body, "newer_than_ms", 0);

	if (!body_ok(req, body))
		return NULL;
	c = sb_xcalloc(sizeof(*c));
	c->d = d;
	c->req = req;
	c->filter = (struct sb_letter_filter){ .id = body_text(c, body, "id", 0), .target = body_text(c, body, "target", 1),
		.rule = body_text(c, body, "rule", 2), .error = body_text(c, body, "error", 3), .bus = body_text(c, body, "bus", 4),
		.after_rowid = body_number(body, "after", 0) };
	c->filter.limit = SB_MIN(body_number(body, "limit", SB_MIN(limit_max, (uint64_t)100)), limit_max);
	c->filter.older_than_ms = older ? SB_MAX(now, older + 1) - older : 0; /* older than time itself: none, and not any */
	c->filter.newer_than_ms = newer && newer < now ? now - newer : 0;
	c->full = json_is_true(json_object_get(body, "full"));
	c->rematch = json_is_true(json_object_get(body, "rematch"));
	sb_buf_init(&c->out, ANSWER_MAX);
	c->job.home = &d->mail;
	return c;
}

static void call_free(struct dlq_call *c)
{
	for (size_t i = 0; i < c->n_letters; i++) {
		free((void *)c->letter[i].id.p);
		free((void *)c->letter[i].event.p);
		free((void *)c->letter[i].input.p);
	}
	sb_buf_done(&c->out);
	free(c);
}

static void call_done(struct sb_deadbox_job *j)
{
	struct dlq_call *c = SB_CONTAINER(j, struct dlq_call, job);

	if (c->failed)
		sb_http_reply_error(c->req, 500, sb_code_name(c->err.code), "%s", c->err.msg);
	else
		sb_http_reply(c->req, 200, "application/json", NULL, sb_buf_slice(&c->out));
	call_free(c);
}

/* `c` NULL: there is nothing to do. */
static void call_start(struct dlq_call *c, void (*work)(struct sb_deadbox_job *j, struct sb_deadletters *table),
	void (*done)(struct sb_deadbox_job *j))
{
	if (!c)
		return;
	c->job.work = work;
	c->job.done = done;
	sb_deadbox_post(c->d->core.deadbox, &c->job);
}

/* ------------------------------------------------------------------------------------------------ list, count, purge */

static int list_letter(void *arg, const struct sb_letter *l)
{
	struct dlq_call *c = arg;

	if (sb_buf_adds(&c->out, c->n ? ",{" : "{") < 0 || sb_letter_json(l, c->full, &c->out) < 0 || sb_buf_addc(&c->out, '}') < 0)
		return sb_fail(&c->err, SB_E_LIMIT, "the answer is too large: ask for fewer letters");
	c->n++;
	c->next = l->rowid;
	return 0;
}

static void list_work(struct sb_deadbox_job *j, struct sb_deadletters *table)
{
	struct dlq_call *c = SB_CONTAINER(j, struct dlq_call, job);

	c->filter.redriving_too = true;
	sb_buf_adds(&c->out, "{\"v\":1,\"letters\":[");
	c->failed = sb_deadletters_each(table, &c->filter, list_letter, c, &c->err) != 0;
	sb_buf_addf(&c->out, "],\"next\":%" PRIu64 "}", c->n == c->filter.limit ? c->next : 0);
}

void sb_dlq_list(struct sb_daemon *d, struct sb_http_req *req, json_t *body)
{
	call_start(call_new(d, req, body, LIST_MAX), list_work, call_done);
}

static void count_work(struct sb_deadbox_job *j, struct sb_deadletters *table)
{
	struct dlq_call *c = SB_CONTAINER(j, struct dlq_call, job);
	struct sb_letter_count *count = NULL;
	size_t n = 0;

	c->filter.limit = 0;
	c->failed = sb_deadletters_count(table, &c->filter, &count, &n, &c->err) < 0;
	sb_buf_adds(&c->out, "{\"v\":1,\"counts\":[");
	for (size_t i = 0; i < n; i++) {
		sb_buf_adds(&c->out, i ? "," : "");
		sb_letter_count_json(&count[i], &c->out);
	}
	sb_buf_adds(&c->out, "]}");
	free(count);
}

void sb_dlq_count(struct sb_daemon *d, struct sb_http_req *req, json_t *body)
{
	call_start(call_new(d, req, body, LIST_MAX), count_work, call_done);
}

static void purge_work(struct sb_deadbox_job *j, struct sb_deadletters *table)
{
	struct dlq_call *c = SB_CONTAINER(j, struct dlq_call, job);

	c->failed = sb_deadletters_purge(table, &c->filter, &c->n, &c->err) < 0;
	sb_buf_addf(&c->out, "{\"v\":1,\"purged\":%" PRIu64 "}", c->n);
}

void sb_dlq_purge(struct sb_daemon *d, struct sb_http_req *req, json_t *body)
{
	struct dlq_call *c = call_new(d, req, body, LIST_MAX);

	if (c && !json_object_get(body, "limit"))
		c->filter.limit = 0;
	call_start(c, purge_work, call_done);
}

/* ------------------------------------------------------------------------------------------------ redrive */

static struct sb_slice copy(struct sb_slice s)
{
	return sb_slice(s.n ? sb_xstrndup(s.p, s.n) : NULL, s.n);
}

static int take_letter(void *arg, const struct sb_letter *l)
{
	struct dlq_call *c = arg;
	struct sb_letter_copy *x = &c->letter[c->n_letters];
	const struct sb_dead_record *r = &l->rec;

	if (c->n_letters == REDRIVE_MAX)
		return 1;
	*x = (struct sb_letter_copy){ copy(r->id), copy(r->event), copy(r->input), r->generation, sb_name(r->bus), sb_name(r->origin),
		sb_name(r->rule), sb_name(r->target), r->reason == SB_R_INVALID_JSON && r->attempts == 0 && r->input.n == 0 };
	c->n_letters++;
	c->next = l->rowid;
	return 0;
}

/* Reads a page, then claims each: two redrives at once must not take the same letter. */
static void claim_work(struct sb_deadbox_job *j, struct sb_deadletters *table)
{
	struct dlq_call *c = SB_CONTAINER(j, struct dlq_call, job);
	size_t kept = 0;

	c->failed = sb_deadletters_each(table, &c->filter, take_letter, c, &c->err) < 0;
	if (c->n_letters < c->filter.limit)
		c->next = 0;
	for (size_t i = 0; i < c->n_letters; i++) {
		bool claimed = false;

		if (!c->failed && sb_deadletters_claim(table, c->letter[i].id, &claimed, &c->err) < 0)
			c->failed = true;
		if (claimed) {
			struct sb_letter_copy tmp = c->letter[kept];

			c->letter[kept++] = c->letter[i];
			c->letter[i] = tmp;
		}
	}
	for (size_t i = kept; i < c->n_letters; i++) {
		free((void *)c->letter[i].id.p);
		free((void *)c->letter[i].event.p);
		free((void *)c->letter[i].input.p);
	}
	c->n_letters = kept;
}

/* Letters that no shard took are dead again. */
static void unclaim_work(struct sb_deadbox_job *j, struct sb_deadletters *table)
{
	struct dlq_call *c = SB_CONTAINER(j, struct dlq_call, job);

	for (size_t i = 0; i < c->n_letters; i++)
		if (!c->letter[i].bus) /* marked by the shard */
			sb_deadletters_unclaim(table, c->letter[i].id, &c->err);
	sb_buf_addf(&c->out, "{\"v\":1,\"redriven\":%zu,\"failed\":%zu,\"next\":%" PRIu64 ",\"errors\":[", c->n_letters - c->refused,
		c->refused, c->next);
	if (c->refused)
		sb_json_add_string(&c->out, sb_slice_str(c->why));
	sb_buf_adds(&c->out, "]}");
}

struct redrive {
	struct sb_mail mail; /* to the shard, and back */
	struct dlq_call *call;
	size_t index;
	struct sb_shard *shard;
	bool taken;
	char why[120];
};

static void redrive_back(struct sb_mail *m)
{
	struct redrive *r = SB_CONTAINER(m, struct redrive, mail);
	struct dlq_call *c = r->call;
	char letters[40];

	if (!r->taken) {
		c->letter[r->index].bus = NULL;
		c->refused++;
		snprintf(c->why, sizeof(c->why), "%s", r->why);
	}
	free(r);
	if (--c->left > 0)
		return;
	snprintf(letters, sizeof(letters), "%zu letters", c->n_letters - c->refused);
	if (c->n_letters > c->refused)
		sb_metrics_mark(c->d->metrics, "redrive", "", letters);
	call_start(c, unclaim_work, call_done);
}

static void go_back(struct redrive *r)
{
	r->mail.run = redrive_back;
	sb_mailbox_post(&r->call->d->mail, &r->mail);
}

static void redrive_stored(struct sb_intake_group *g, bool durable, const struct sb_refusal *why)
{
	struct redrive *r = g->arg;

	r->taken = durable;
	if (!durable)
		snprintf(r->why, sizeof(r->why), "%s", why->msg);
	go_back(r);
}

/*
 * What could not even be read has no target to go to, and no rule can be asked: only its source knows how events are made of such bytes.
 * And where a rule made no input, the bare event would be something that its target has never been sent.
 */
static int may_redrive(const struct sb_letter_copy *x, bool rematch, struct sb_err *err)
{
	if (!*x->target)
		return sb_fail(err, SB_E_INVALID, "source '%.60s' could make no event of it: mend it and send it again, or purge it", x->origin);
	if (x->unmade && !rematch)
		return sb_fail(err, SB_E_INVALID, "rule '%.60s' made no input of it; --rematch asks today's rules", x->rule);
	return 0;
}

static int offer_letter(struct redrive *r, struct sb_err *err)
{
	struct sb_letter_copy *x = &r->call->letter[r->index];
	struct sb_shard *s = r->shard;
	struct sb_intake_extra extra = { .redrive_of = x->id };
	struct sb_intake_only only = { .rule = x->rule, .input = x->input, .generation = x->generation };
	struct sb_intake_call call;
	struct sb_refusal refusal;
	struct sb_event *ev;

	if (may_redrive(x, r->call->rematch, err) < 0)
		return -1;
	only.target = sb_map_get(&s->plan->targets, sb_slice_str(x->target));
	if (!only.target && !r->call->rematch)
		return sb_fail(err, SB_E_UNRESOLVED, "target '%s' is not configured any more; --rematch asks today's rules", x->target);
	if (sb_intake_again(s, x->event, x->bus, x->origin, &ev, err) < 0)
		return -1;
	call = (struct sb_intake_call){ .ev = &ev, .n = 1, .extra = &extra, .only = r->call->rematch ? NULL : &only,
		.must_match = r->call->rematch, .done = redrive_stored, .arg = r };
	if (sb_intake(s, &call, &refusal) == 0)
		return 0;
	sb_event_unref(ev);
	return sb_fail(err, SB_E_FULL, "%s", refusal.msg);
}

static void redrive_on_shard(struct sb_mail *m)
{
	struct redrive *r = SB_CONTAINER(m, struct redrive, mail);
	struct sb_err err;

	if (offer_letter(r, &err) == 0)
		return;
	snprintf(r->why, sizeof(r->why), "%.*s", (int)sizeof(r->why) - 1, err.msg);
	go_back(r);
}

static void claimed(struct sb_deadbox_job *j)
{
	struct dlq_call *c = SB_CONTAINER(j, struct dlq_call, job);

	if (c->failed || c->n_letters == 0) {
		sb_buf_addf(&c->out, "{\"v\":1,\"redriven\":0,\"failed\":0,\"next\":%" PRIu64 ",\"errors\":[]}", c->next);
		call_done(j);
		return;
	}
	c->left = (unsigned)c->n_letters;
	for (size_t i = 0; i < c->n_letters; i++) {
		struct redrive *r = sb_xcalloc(sizeof(*r));

		r->mail.run = redrive_on_shard;
		r->call = c;
		r->index = i;
		r->shard = c->d->core.shard[i % c->d->core.n_shards];
		sb_mailbox_post(&r->shard->mail, &r->mail);
	}
}

void sb_dlq_redrive(struct sb_daemon *d, struct sb_http_req *req, json_t *body)
{
	call_start(call_new(d, req, body, REDRIVE_MAX), claim_work, claimed);
}
