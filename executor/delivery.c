/* SPDX-License-Identifier: Apache-2.0 */
#include "delivery.h"

/*
 * One delivery: what it holds, what that costs, and what the connector sees of it. Everything it points to is pool memory
 * or counted; the cost is asked of the pool, so that it is what the machine really spends.
 */

static void on_durable(struct sb_mail *m)
{
	struct sb_delivery *dl = SB_CONTAINER(m, struct sb_delivery, handover.mail);

	sb_dispatch_deliver(dl->dispatch, dl);
}

uint64_t sb_delivery_bytes(const struct sb_event *ev, uint32_t input_n)
{
	return (uint64_t)ev->n + input_n;
}

static size_t usable(const void *p)
{
	return p ? sb_pool_usable(p) : 0;
}

static uint32_t cost_of(const struct sb_delivery *dl)
{
	size_t n = usable(dl) + usable(dl->ev) + usable(dl->input.p) + usable(dl->letter.p) +
		   usable(dl->first_message) + usable(dl->tail) + usable(dl->bare);

	if (dl->last_message != dl->first_message)
		n += usable(dl->last_message);
	return (uint32_t)SB_MIN(n, UINT32_MAX);
}

int64_t sb_delivery_recharge(struct sb_delivery *dl)
{
	uint32_t before = dl->cost;

	dl->cost = cost_of(dl);
	return (int64_t)dl->cost - before;
}

/* By hand: this is done for every delivery, and snprintf costs more than all the rest. */
static void name_it(struct sb_delivery *dl)
{
	char digit[10], *p = dl->id + SB_UUID_TEXT;
	uint32_t v = dl->handover.ordinal;
	int n = 0;

	sb_uuid_format(&dl->ev->receipt, dl->id);
	*p++ = '.';
	do
		digit[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n)
		*p++ = digit[--n];
	*p = '\0';
}

struct sb_delivery *sb_delivery_new(/* NOLINT(readability-function-size): what an owed entry is made of */
	struct sb_dispatch *d, struct sb_event *ev, const char *rule, uint32_t ordinal, uint32_t lane, uint8_t flags,
	char *input, uint32_t input_n)
{
	struct sb_delivery *dl = sb_pool_alloc(sizeof(*dl));

	*dl = (struct sb_delivery){
		.handover = { .mail.run = on_durable, .home = sb_dispatch_home(d), .ordinal = ordinal },
		.dispatch = d,
		.flags = flags,
		.alone = flags & SB_OWED_ALONE,
		.lane = lane,
		.rule = rule,
		.ev = ev,
		.input = { input, input_n },
		.received_ms = ev->received_ms,
	};
	dl->bytes = (uint32_t)sb_delivery_bytes(ev, input_n);
	sb_list_init(&dl->link);
	name_it(dl);
	sb_delivery_recharge(dl);
	return dl;
}

struct sb_delivery *sb_delivery_from_item(struct sb_dispatch *d, struct sb_backlog_item *it)
{
	struct sb_delivery *dl =
		sb_delivery_new(d, it->ev, it->rule, it->ordinal, it->lane, it->flags, it->input, it->input_n);

	dl->handover.dno = it->dno;
	dl->handover.at = it->at;
	dl->handover.route = it->route;
	dl->letter = it->letter;
	dl->letter_owed = it->letter_owed;
	sb_delivery_recharge(dl);
	return dl;
}

void sb_backlog_item_drop(struct sb_backlog_item *it)
{
	sb_event_unref(it->ev);
	sb_pool_free(it->input);
	sb_pool_free((char *)it->letter.p);
}

void sb_delivery_unload(struct sb_delivery *dl)
{
	sb_event_unref(dl->ev);
	sb_pool_free((char *)dl->input.p);
	sb_pool_free((char *)dl->letter.p);
	sb_pool_free(dl->tail);
	dl->ev = NULL;
	dl->input = dl->letter = (struct sb_slice){ 0 };
	dl->tail = NULL;
}

void sb_delivery_load(struct sb_delivery *dl, struct sb_backlog_item *it)
{
	SB_ASSERT(!dl->ev);
	dl->ev = it->ev;
	dl->input = sb_slice(it->input, it->input_n);
	dl->letter = it->letter;
}

void sb_delivery_free(struct sb_delivery *dl)
{
	if (!dl)
		return;
	sb_delivery_unload(dl);
	if (dl->last_message != dl->first_message)
		sb_pool_free(dl->last_message);
	sb_pool_free(dl->first_message);
	sb_pool_free(dl->bare);
	sb_pool_free(dl);
}

/* ------------------------------------------------------------------------------------------------ what went wrong */

/* The first max bytes as a string, not cut within a UTF-8 sequence. NULL: nothing to say. */
static char *keep(struct sb_slice s, size_t max)
{
	char *p;

	if (s.n > max)
		for (s.n = max; s.n && ((unsigned char)s.p[s.n] & 0xc0) == 0x80; s.n--)
			;
	if (!s.n)
		return NULL;
	p = sb_pool_alloc(s.n + 1);
	memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

/* The last bytes count: they stand next to the failure. */
static struct sb_slice last_part(struct sb_slice s, size_t max)
{
	size_t cut = s.n > max ? s.n - max : 0;

	while (cut && cut < s.n && ((unsigned char)s.p[cut] & 0xc0) == 0x80)
		cut++;
	return sb_slice(s.p + cut, s.n - cut);
}

void sb_delivery_say(struct sb_delivery *dl, struct sb_slice message)
{
	char *text = keep(message, SB_RECORD_MESSAGE);

	if (dl->last_message != dl->first_message)
		sb_pool_free(dl->last_message);
	if (!dl->first_message)
		dl->first_message = text;
	if (text && text != dl->first_message && strcmp(text, dl->first_message) == 0) {
		sb_pool_free(text);
		text = dl->first_message;
	}
	dl->last_message = text;
}

void sb_delivery_fail(struct sb_delivery *dl, const struct sb_result *r)
{
	dl->reason = r->reason;
	sb_delivery_say(dl, r->message);
	sb_pool_free(dl->tail);
	dl->tail = keep(last_part(r->tail, SB_RECORD_TAIL), SB_RECORD_TAIL);
}

static struct sb_slice copy_slice(const char *from, size_t n)
{
	char *p;

	if (n == 0)
		return (struct sb_slice){ 0 };
	p = sb_pool_alloc(n);
	memcpy(p, from, n);
	return sb_slice(p, n);
}

/* A stillborn delivery brings reason and message in front of its input; from here on it has that alone, or none. */
void sb_delivery_stillborn(struct sb_delivery *dl)
{
	struct sb_slice all = dl->input;
	uint8_t reason = all.n ? (uint8_t)all.p[0] : SB_R_UNKNOWN;
	const char *nul = all.n > 1 ? memchr(all.p + 1, '\0', all.n - 1) : NULL, *end = all.p + all.n;

	dl->reason = reason < SB_R_NREASONS ? (enum sb_reason)reason : SB_R_UNKNOWN;
	if (all.n > 1)
		sb_delivery_say(dl, sb_slice(all.p + 1, (size_t)((nul ? nul : end) - all.p) - 1));
	dl->input = nul ? copy_slice(nul + 1, (size_t)(end - nul) - 1) : (struct sb_slice){ 0 };
	sb_pool_free((char *)all.p);
}

/* ------------------------------------------------------------------------------------------------ what is sent */

/* The event without `meta`; most events of some sources have none, and then it is the event itself. */
static struct sb_slice bare_form(struct sb_delivery *dl)
{
	const struct sb_event *ev = dl->ev;
	size_t n = sb_event_bare_bytes(ev);

	if (n == ev->n)
		return sb_slice(ev->json, n);
	dl->bare = sb_pool_alloc(n);
	memcpy(dl->bare, ev->json, ev->bare_n);
	dl->bare[ev->bare_n] = '}';
	return sb_slice(dl->bare, n);
}

static bool has_newlines(struct sb_slice s)
{
	return memchr(s.p, '\n', s.n) || memchr(s.p, '\r', s.n);
}

struct sb_batch *sb_delivery_pack(struct sb_delivery *dl, uint64_t deadline_mono_ns, uint64_t deadline_wall_ms)
{
	bool bare = dl->input.n == 0;

	dl->item = (struct sb_item){
		.delivery_id = sb_slice_str(dl->id),
		.attempt = dl->attempts + 1,
		.alone = dl->alone,
		.deadline_mono_ns = deadline_mono_ns,
		.deadline_wall_ms = deadline_wall_ms,
		.event = dl->ev,
		.input = bare ? bare_form(dl) : dl->input,
		.rule = dl->rule,
	};
	dl->item.transformed = !bare;
	dl->item.letter = (dl->flags & SB_OWED_FINAL) != 0;
	dl->item.input_newlines = bare ? dl->ev->newlines : has_newlines(dl->input);
	dl->batch = (struct sb_batch){ .n = 1, .item = &dl->item };
	return &dl->batch;
}

void sb_delivery_unpack(struct sb_delivery *dl)
{
	dl->alone = dl->alone || dl->item.alone;
	sb_pool_free(dl->bare);
	dl->bare = NULL;
}
