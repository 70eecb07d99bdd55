/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world as a target's dispatch sees it (sb_dispatch_env): records into the turn's append, reads from the journal, deaths to
 * the table or to the target's dead-letter target.
 */
#include "broker/shard.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/config.h"
#include "broker/deadbox.h"
#include "broker/receipt.h"

static struct sb_buf *env_frames(void *arg)
{
	return sb_shard_frames_buf(((struct sb_target_slot *)arg)->home);
}

static void env_read(void *arg, struct sb_journal_read *r)
{
	struct sb_core *core = ((struct sb_target_slot *)arg)->core;

	if (!atomic_load_explicit(&core->no_reads, memory_order_relaxed))
		sb_journal_read(core->journal, r);
}

static void env_arm(void *arg, struct sb_dispatch *d, uint64_t mono_ns)
{
	struct sb_target_slot *slot = arg;

	(void)d;
	if (slot->wish.slot && slot->wish.key <= mono_ns)
		return;
	sb_heap_remove(&slot->home->wishes, &slot->wish);
	sb_heap_push(&slot->home->wishes, &slot->wish, mono_ns);
}

static void env_delivered(void *arg, struct sb_dispatch *d, struct sb_delivery *dl)
{
	struct sb_target_slot *slot = arg;

	(void)d;
	if (dl->ticket)
		sb_receipt_delivered(dl);
	if (dl->letter.n)
		sb_shard_frames_redriven(slot->home, dl, false, sb_shard_frames_buf(slot->home)->len);
}

static void env_stuck(void *arg, struct sb_dispatch *d, struct sb_delivery *dl, enum sb_stuck why)
{
	(void)arg;
	(void)d;
	sb_receipt_stuck(dl, why);
}

/* ------------------------------------------------------------------------------------------------ failure */

static void sample(struct sb_target_slot *slot, const struct sb_delivery *dl, const char *what, enum sb_reason reason)
{
	const struct sb_sample_failure f = { .rule = dl->rule, .target = slot->name, .what = what, .reason = reason,
		.attempts = dl->attempts };

	sb_sample(&slot->home->samples, dl->ev, sb_wall_ms(slot->core->clock), &f);
}

static void env_failed(void *arg, const struct sb_delivery *dl)
{
	sample(arg, dl, "retry", dl->reason);
}

/* ------------------------------------------------------------------------------------------------ death */

static struct sb_slice message(const char *s)
{
	return s ? sb_slice_str(s) : sb_slice("", 0);
}

static void dead_record(const struct sb_target_slot *slot, const struct sb_delivery *dl, const struct sb_death *why,
	struct sb_dead_record *ret)
{
	const struct sb_event *ev = dl->ev;

	*ret = (struct sb_dead_record){
		.dno = dl->handover.dno,
		.route = dl->handover.route,
		.id = sb_slice_str(dl->id),
		.event_id = ev->id,
		.bus = sb_slice_str(ev->bus),
		.origin = sb_slice_str(ev->origin),
		.rule = sb_slice_str(dl->rule),
		.target = sb_slice_str(slot->name),
		.generation = ev->generation,
		.reason = (uint8_t)why->reason,
		.exhausted = why->exhausted,
		.attempts = dl->attempts,
		.received_ms = dl->received_ms,
		.first_attempt_ms = dl->first_attempt_ms,
		.last_attempt_ms = dl->last_attempt_ms,
		.dead_ms = sb_wall_ms(slot->core->clock),
		.message = message(dl->last_message),
		.first_message = message(dl->first_message),
		.tail = message(dl->tail),
		.event = sb_slice(ev->json, ev->n),
		.input = dl->input,
		.redrive_of = dl->letter,
		.forwarded = slot->dead_letter != NULL,
	};
}

static const char *const exhausted_names[] = { "", "MaximumRetryAttempts", "MaximumEventAgeInSeconds" };

/* What a dead-letter target gets: EventBridge's attributes beside the input that could not be delivered. */
static int letter_input(struct sb_buf *out, const struct sb_target_slot *slot, const struct sb_dead_record *r,
	const struct sb_event *ev)
{
	int bad = 0;

	bad |= sb_buf_addf(out, "{\"RULE_ARN\":\"arn:aws:events:%s:%s:rule/%s/%.*s\",\"TARGET_ARN\":\"arn:aws:events:%s:%s:target/%s\",",
		slot->core->region, slot->core->account, ev->bus, SB_SLICE_ARG(r->rule), slot->core->region,
		slot->core->account, slot->name);
	bad |= sb_buf_addf(out, "\"ERROR_CODE\":\"%s\",\"ERROR_MESSAGE\":", sb_reason_name((enum sb_reason)r->reason));
	bad |= sb_json_add_string(out, r->message);
	bad |= sb_buf_addf(out, ",\"EXHAUSTED_RETRY_CONDITION\":\"%s\",\"RETRY_ATTEMPTS\":%u,\"delivery_id\":\"%.*s\",\"input\":",
		exhausted_names[r->exhausted], r->attempts ? r->attempts - 1 : 0, SB_SLICE_ARG(r->id));
	bad |= r->input.n ? sb_buf_add_slice(out, r->input) : sb_event_add_bare(ev, out);
	bad |= sb_buf_addc(out, '}');
	return bad ? -1 : 0;
}

/* `ev` comes in once more, for the dead-letter target alone. -1: the turn's append is full. */
static int owe_letter(struct sb_target_slot *slot, struct sb_event *ev, const struct sb_delivery *dl)
{
	struct sb_target_slot *to = slot->dead_letter;
	struct sb_slice input = sb_buf_slice(&slot->home->scratch);
	struct sb_owed owed = { .rule = dl->rule, .target = to->name, .flags = SB_OWED_INPUT | SB_OWED_FINAL, .input = input };
	struct sb_event_record rec = { .ev = ev, .owed = &owed, .n_owed = 1, .generation = ev->generation };
	char receipt[SB_UUID_TEXT + 1], *copy;
	struct sb_delivery *letter;

	sb_uuid_format(&dl->ev->receipt, receipt);
	rec.parent = sb_slice(receipt, SB_UUID_TEXT);
	if (sb_record_event(sb_shard_frames_buf(slot->home), &rec) < 0)
		return -1;
	copy = sb_pool_copy(input);
	sb_dispatch_reserve_always(to->dispatch, sb_delivery_bytes(ev, (uint32_t)input.n));
	letter = sb_delivery_new(to->dispatch, sb_event_ref(ev), dl->rule, 0, 0, owed.flags, copy, (uint32_t)input.n);
	sb_shard_frames_owe(slot->home, &letter->handover);
	return 0;
}

/* The letter becomes a new delivery, in the same append as the DEAD record: both are durable, or neither. */
static int forward_letter(struct sb_target_slot *slot, struct sb_delivery *dl, const struct sb_dead_record *r)
{
	struct sb_buf *scratch = &slot->home->scratch;
	struct sb_event *ev;
	struct sb_err err;
	int bad;

	sb_buf_clear(scratch);
	if (letter_input(scratch, slot, r, dl->ev) < 0 ||
	    sb_intake_again(slot->home, r->event, dl->ev->bus, dl->ev->origin, &ev, &err) < 0)
		return -1;
	ev->hops = dl->ev->hops;
	ev->generation = dl->ev->generation;
	bad = owe_letter(slot, ev, dl);
	sb_event_unref(ev);
	return bad;
}

static bool env_dead(void *arg, struct sb_dispatch *d, struct sb_delivery *dl, const struct sb_death *why)
{
	struct sb_target_slot *slot = arg;
	struct sb_dead_record rec;
	struct sb_buf *out;
	size_t before, end;
	bool bad;

	(void)d;
	SB_ASSERT(dl->ev);
	dead_record(slot, dl, why, &rec);
	if (!rec.forwarded && !sb_deadletters_room(sb_deadbox_table(slot->core->deadbox),
		    rec.event.n + rec.input.n + rec.message.n + rec.tail.n))
		return false;
	out = sb_shard_frames_buf(slot->home);
	before = out->len;
	bad = sb_record_dead(out, &rec) < 0;
	end = out->len;
	if (bad || (rec.forwarded && forward_letter(slot, dl, &rec) < 0)) {
		out->len = before; /* the turn's append is full: the next one has room */
		return false;
	}
	sb_shard_frames_dead(slot->home);
	sample(slot, dl, "dead", why->reason);
	if (dl->letter.n)
		sb_shard_frames_redriven(slot->home, dl, !rec.forwarded, end);
	return true;
}

void sb_target_env(struct sb_target_slot *slot, struct sb_dispatch_env *ret)
{
	*ret = (struct sb_dispatch_env){
		.arg = slot,
		.clock = slot->core->clock,
		.rand = &slot->home->rand,
		.home = &slot->home->mail,
		.frames = env_frames,
		.read = env_read,
		.dead = env_dead,
		.delivered = env_delivered,
		.failed = env_failed,
		.stuck = env_stuck,
		.arm = env_arm,
	};
}
