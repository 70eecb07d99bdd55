/* SPDX-License-Identifier: Apache-2.0 */
/* The framework's side of a source: what connectors/connector.h promises to connectors. */
#include "broker/receipt.h"
#include "broker/plan.h"
#include "broker/shard.h"

#include <stdlib.h>

#include "broker/base/fault.h"

static struct sb_source_unit *unit_of(struct sb_source *s)
{
	return SB_CONTAINER(s, struct sb_source_unit, source);
}

static void emitted(struct sb_intake_group *g, bool durable, const struct sb_refusal *why)
{
	struct sb_source *s = g->arg;

	if (!durable) {
		sb_count(&unit_of(s)->slot->stat->refused, g->n);
		s->ops->refused(s, g->cookie, why);
		return;
	}
	sb_count(&unit_of(s)->slot->stat->received, g->n);
	if (s->ops->accepted)
		s->ops->accepted(s, g->cookie);
}

/* Those that were only refused with others may be offered again without them: whoever gives them up counts them. */
static void count_refused(struct sb_source_slot *slot, const struct sb_refusal *refusal, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sb_count(&slot->stat->refused, refusal[i].why != SB_REFUSE_WITH_OTHERS);
}

int sb_source_emit(struct sb_source *s, struct sb_event **ev, size_t n, uint64_t cookie, struct sb_refusal *refusal)
{
	struct sb_source_unit *u = unit_of(s);
	struct sb_intake_call call = { .ev = ev, .n = n, .done = emitted, .arg = s, .cookie = cookie };

	if (atomic_load_explicit(&u->slot->stat->paused, memory_order_relaxed)) {
		for (size_t i = 0; i < n; i++)
			refusal[i] = (struct sb_refusal){ SB_REFUSE_STOPPING, "the source is paused" };
	} else if (sb_intake(u->shard, &call, refusal) == 0) {
		return 0;
	}
	count_refused(u->slot, refusal, n);
	return -1;
}

int sb_source_hand(struct sb_source *s, struct sb_event *ev, const struct sb_held *held, struct sb_refusal *refusal)
{
	struct sb_source_slot *slot = unit_of(s)->slot;

	if (atomic_load_explicit(&slot->stat->paused, memory_order_relaxed)) {
		*refusal = (struct sb_refusal){ SB_REFUSE_STOPPING, "the source is paused" };
		return -1;
	}
	if (sb_intake_held(unit_of(s), ev, held, refusal) < 0)
		return -1; /* it stays with the source, which comes again: not refused, late */
	sb_count(&slot->stat->received, 1);
	return 0;
}

int sb_source_bury(struct sb_source *s, const struct sb_held *held, const struct sb_unreadable *what)
{
	struct sb_source_unit *u = unit_of(s);

	if (atomic_load_explicit(&u->shard->core->stopping, memory_order_relaxed))
		return -1;
	return sb_receipt_bury(u, held, what);
}

void sb_source_spill(struct sb_source *s, size_t n)
{
	sb_receipts_spill(unit_of(s), n);
}

/* "source/NAME/key": names have no slash. */
static struct sb_slice memory_key(struct sb_source *s, struct sb_slice key)
{
	struct sb_buf *out = &unit_of(s)->shard->scratch;

	sb_buf_clear(out);
	sb_buf_addf(out, "source/%s/%.*s", s->name, SB_SLICE_ARG(key));
	return sb_buf_slice(out);
}

/* The value's block: the slice, then the key's bytes, then the value's. */
static void keep_value(struct sb_core *core, struct sb_slice key, struct sb_slice value)
{
	struct sb_slice *v = sb_xmalloc(sizeof(*v) + key.n + value.n);
	char *p = (char *)(v + 1);

	memcpy(p, key.p, key.n);
	memcpy(p + key.n, value.p, value.n);
	*v = sb_slice(p + key.n, value.n);
	pthread_mutex_lock(&core->memory.lock);
	free(sb_map_del(&core->memory.value, key));
	sb_map_put(&core->memory.value, sb_slice(p, key.n), v);
	pthread_mutex_unlock(&core->memory.lock);
}

void sb_source_remember(struct sb_source *s, struct sb_slice key, struct sb_slice value)
{
	struct sb_shard *shard = unit_of(s)->shard;
	struct sb_slice name = memory_key(s, key);
	int rc = sb_record_position(sb_shard_frames_buf(shard), name, value);

	SB_ASSERT(rc == 0); /* a shard flushes long before its buffer's end */
	keep_value(shard->core, name, value);
}

int sb_source_remembered(struct sb_source *s, struct sb_slice key, struct sb_buf *out)
{
	struct sb_core *core = unit_of(s)->shard->core;
	struct sb_slice name = memory_key(s, key);
	const struct sb_slice *found;
	int rc;

	pthread_mutex_lock(&core->memory.lock);
	found = sb_map_get(&core->memory.value, name);
	if (!found)
		found = sb_map_get(&sb_journal_recovery(core->journal)->positions, name);
	rc = found ? sb_buf_add_slice(out, *found) : -1;
	pthread_mutex_unlock(&core->memory.lock);
	return rc;
}

void sb_core_forget(struct sb_core *core)
{
	sb_map_each (&core->memory.value, it)
		free(it->value);
	sb_map_done(&core->memory.value);
	pthread_mutex_destroy(&core->memory.lock);
}

bool sb_source_may_settle(struct sb_source *s)
{
	return !atomic_load(&unit_of(s)->shard->core->settled);
}

void sb_source_rejected(struct sb_source *s, const char *reason, uint64_t n)
{
	struct sb_source_stat *stat = unit_of(s)->slot->stat;

	for (size_t i = 0; i < SB_REJECT_REASONS; i++) {
		const char *have = NULL;

		if (atomic_compare_exchange_strong(&stat->rejected[i].reason, &have, reason) || have == reason ||
		    strcmp(have, reason) == 0) {
			sb_count(&stat->rejected[i].n, n);
			return;
		}
	}
	sb_count(&stat->rejected[SB_REJECT_REASONS - 1].n, n); /* more kinds than we keep apart */
}

const char *sb_source_bus(struct sb_source *s, struct sb_slice name)
{
	struct sb_shard *shard = unit_of(s)->shard;

	if (name.n == 0)
		return s->bus ? s->bus : shard->core->default_bus;
	return sb_map_get(&shard->plan->buses, name);
}

void sb_source_spec(struct sb_source *s, struct sb_event_spec *ret)
{
	struct sb_shard *shard = unit_of(s)->shard;
	struct sb_core *core = shard->core;

	*ret = (struct sb_event_spec){
		.account = { sb_slice_str(core->account), false },
		.region = { sb_slice_str(core->region), false },
		.received_ms = sb_wall_ms(core->clock),
		.bus = sb_source_bus(s, sb_slice(NULL, 0)),
		.origin = s->name,
	};
	ret->receipt = sb_uuid_next(&shard->uuids, ret->received_ms);
}

size_t sb_source_max_event(struct sb_source *s)
{
	return unit_of(s)->shard->core->max_event_bytes;
}

static void source_closed(struct sb_source *s)
{
	unit_of(s)->closed = true; /* it stays in the shard's list: its receipts go on until they are done */
}

int sb_shard_open_source(struct sb_shard *s, struct sb_source_unit *u, struct sb_err *err)
{
	struct sb_source *src = &u->source;

	u->shard = s;
	src->env = &s->env;
	src->closed = source_closed;
	src->owner = u;
	src->state = sb_xcalloc(src->ops->state_size);
	if (SB_FAULT_ERR("source.open") ? sb_fail(err, SB_E_UNREACHABLE, "injected") : src->ops->open(src, err) < 0) {
		sb_wrap(err, "source '%s'", src->name);
		if (src->ops->free)
			src->ops->free(src);
		free(src->state);
		src->state = NULL;
		return -1;
	}
	u->opened = true;
	sb_list_push_back(&s->units, &u->link);
	return 0;
}

void sb_shard_free_source(struct sb_source_unit *u)
{
	struct sb_source *src = &u->source;

	sb_list_unlink(&u->link);
	sb_receipts_drop(u);
	if (src->state && src->ops->free)
		src->ops->free(src);
	free(src->state);
	src->state = NULL;
}

void sb_shard_close_source(struct sb_shard *s, struct sb_source_unit *u)
{
	(void)s;
	if (u->closing)
		return;
	u->closing = true;
	u->closed = !u->opened;
	if (u->opened)
		u->source.ops->close(&u->source);
}
