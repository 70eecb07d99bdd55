/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include "world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ------------------------------------------------------------------------------------------------ helpers */

static struct world_delivery *item_of(struct world *w, uint64_t dno)
{
	assert_true(dno >= 1 && dno <= w->n);
	return &w->item[dno - 1];
}

/* Where its frame begins; what comes next, behind the last. */
static struct sb_position place_of(struct world *w, uint64_t dno)
{
	return (struct sb_position){ 1, dno > w->n ? dno : item_of(w, dno)->first };
}

static void trace(struct world *w, const char *what, uint64_t dno)
{
	struct {
		uint64_t a, at, dno, what;
	} mix = { w->trace, w->clock.mono, dno, (uint64_t)what[0] };

	w->trace = sb_hash(&mix, sizeof(mix));
	if (getenv("WORLD_TRACE"))
		fprintf(stderr, "%9" PRIu64 " ms  %-12s %" PRIu64 "\n", w->clock.mono / SB_NS_PER_MS, what, dno);
}

/* {"n":<dno>,"detail":"xxx..."} and, for every other one, "meta". `size` bytes of detail. */
static struct sb_event *event_new(uint64_t dno, const struct world_delivery *it)
{
	char head[64];
	int n = snprintf(head, sizeof(head), "{\"n\":%" PRIu64 ",\"detail\":\"", dno);
	const char *tail = dno % 2 ? ",\"meta\":{\"k\":1}}" : "}";
	size_t total = (size_t)n + it->size + 1 + strlen(tail);
	struct sb_event *ev = sb_pool_alloc(sizeof(*ev) + total + SB_JSON_PAD);

	memset(ev, 0, sizeof(*ev));
	atomic_init(&ev->refs, 1);
	ev->json = (char *)(ev + 1);
	memcpy(ev->json, head, (size_t)n);
	memset(ev->json + n, 'x', it->size);
	ev->json[(size_t)n + it->size] = '"';
	memcpy(ev->json + n + it->size + 1, tail, strlen(tail));
	memset(ev->json + total, 0, SB_JSON_PAD);
	ev->n = (uint32_t)total;
	ev->bare_n = (uint32_t)((size_t)n + it->size + 1);
	ev->received_ms = it->received_ms;
	memcpy(ev->receipt.b, &dno, sizeof(dno));
	return ev;
}

/* Some have an input of their own: "in <dno>", with a line end when the number says so. */
static char *input_new(uint64_t dno, const struct world_delivery *it, uint32_t *ret_n)
{
	char *p = NULL;

	*ret_n = 0;
	if (it->flags & SB_OWED_STILLBORN) {
		p = sb_pool_alloc(32);
		p[0] = SB_R_INVALID_JSON;
		*ret_n = 1 + (uint32_t)snprintf(p + 1, 31, "born dead");
		if (dno % 2 == 0) /* and has an input */
			*ret_n += 1 + (uint32_t)snprintf(p + *ret_n + 1, 16, "in %" PRIu64, dno);
	} else if (it->flags & SB_OWED_INPUT) {
		p = sb_pool_alloc(32);
		*ret_n = (uint32_t)snprintf(p, 32, "in %" PRIu64 "%s", dno, dno % 3 ? "" : "\n");
	}
	return p;
}

/* Those that must go alone are redrives of "letter <dno>". */
static struct sb_slice letter_new(uint64_t dno, const struct world_delivery *it)
{
	char *p;

	if (!(it->flags & SB_OWED_ALONE))
		return (struct sb_slice){ 0 };
	p = sb_pool_alloc(32);
	return sb_slice(p, (size_t)snprintf(p, 32, "letter %" PRIu64, dno));
}

static uint32_t route_of(uint64_t dno)
{
	return (uint32_t)dno % 17 + 1;
}

static const char *const rule = "r";

/* ------------------------------------------------------------------------------------------------ recovery, as the journal's */

bool sb_recovery_done(const struct sb_recovery *r, uint64_t dno)
{
	return item_of(SB_CONTAINER(r, struct world, rec), dno)->done;
}

const struct sb_recovered_attempt *sb_recovery_attempt(const struct sb_recovery *r, uint64_t dno)
{
	struct world *w = SB_CONTAINER(r, struct world, rec);
	const struct world_delivery *it = item_of(w, dno);
	static char message[] = "before the restart";

	if (!it->recorded)
		return NULL;
	w->rec_attempt = (struct sb_recovered_attempt){
		.dno = dno,
		.due_wall_ms = it->due_wall_ms,
		.first_wall_ms = it->received_ms,
		.attempts = it->recorded,
		.reason = (enum sb_record_reason)it->reason,
		.alone = it->alone,
		.message = message,
	};
	return &w->rec_attempt;
}

static void recover(struct world *w)
{
	w->rec.next_dno = w->n + 1;
	w->rec_target = (struct sb_recovered_target){ .name = WORLD_TARGET };
	for (uint64_t dno = 1; dno <= w->n; dno++) {
		struct world_delivery *it = item_of(w, dno);

		it->settled = it->dead = it->done;
		it->begun = it->flying = false;
		it->attempts = it->recorded;
		it->due_ns = 0;
		if (!it->ours || it->done)
			continue;
		if (w->rec_target.n++ == 0)
			w->rec_target.from = place_of(w, dno);
		w->rec_target.bytes += it->size * (w->estimate_pct ? w->estimate_pct : 100) / 100;
		if (!w->rec_target.oldest_ms || it->received_ms < w->rec_target.oldest_ms)
			w->rec_target.oldest_ms = it->received_ms;
	}
	w->first_seen = 0;
	memset(w->lane_low, 0, sizeof(w->lane_low));
	sb_map_put(&w->rec.targets, sb_slice_str(WORLD_TARGET), &w->rec_target);
	sb_dispatch_recover(w->d, &w->rec);
}

/* ------------------------------------------------------------------------------------------------ the target */

struct sb_dispatch_stats world_stats(const struct world *w)
{
	struct sb_dispatch_stats s;

	sb_dispatch_get_stats(w->d, &s);
	return s;
}

static uint64_t dno_of(const struct sb_batch *b)
{
	return SB_CONTAINER(b, struct sb_delivery, batch)->handover.dno;
}

/* Within a lane nobody overtakes: all before it had their outcome. Without lanes first attempts go by number. */
static void check_order(struct world *w, uint64_t dno, const struct world_delivery *it)
{
	if (w->policy.lanes && it->lane) {
		uint64_t *low = &w->lane_low[it->lane % WORLD_LANES];

		for (; *low + 1 < dno; (*low)++) {
			const struct world_delivery *before = &w->item[*low];

			if (before->ours && before->lane == it->lane && !before->settled && !before->damaged)
				fail_msg("%" PRIu64 " overtook %" PRIu64 " in lane %u", dno, *low + 1, it->lane);
		}
	} else if (!w->policy.lanes && !it->begun && !it->recorded) {
		if (dno <= w->first_seen)
			fail_msg("first attempt of %" PRIu64 " after that of %" PRIu64, dno, w->first_seen);
		w->first_seen = dno;
	}
}

static void check_input(uint64_t dno, const struct world_delivery *it, const struct sb_item *s)
{
	char want[64], id[64];
	struct sb_uuid u = { { 0 } };
	size_t n;

	memcpy(u.b, &dno, sizeof(dno));
	sb_uuid_format(&u, id);
	snprintf(id + SB_UUID_TEXT, sizeof(id) - SB_UUID_TEXT, ".7");
	assert_true(sb_slice_eq_str(s->delivery_id, id));
	if (it->flags & SB_OWED_INPUT) {
		n = (size_t)snprintf(want, sizeof(want), "in %" PRIu64 "%s", dno, dno % 3 ? "" : "\n");
		assert_true(sb_slice_eq(s->input, sb_slice(want, n)));
		assert_int_equal(s->input_newlines, dno % 3 == 0);
		return;
	}
	n = (size_t)snprintf(want, sizeof(want), "{\"n\":%" PRIu64 ",\"detail\":\"", dno);
	assert_int_equal(s->input.n, n + it->size + 2);
	assert_memory_equal(s->input.p, want, n);
	assert_int_equal(s->input.p[s->input.n - 1], '}');
	assert_int_equal(s->input.p[s->input.n - 2], '"');
}

static void check_sent(struct world *w, struct sb_batch *b)
{
	uint64_t dno = dno_of(b);
	struct world_delivery *it = item_of(w, dno);

	assert_int_equal(b->n, 1);
	assert_false(w->paused);
	assert_int_equal(world_stats(w).held, 0);
	if (it->settled || it->flying || !it->ours)
		fail_msg("%" PRIu64 " sent, but it was settled, in flight, or not ours", dno);
	if (it->flags & SB_OWED_STILLBORN)
		fail_msg("stillborn %" PRIu64 " was sent", dno);
	if (w->clock.mono < it->due_ns)
		fail_msg("%" PRIu64 " was sent %" PRIu64 " ns before it was due", dno, it->due_ns - w->clock.mono);
	assert_int_equal(b->item->attempt, it->attempts + 1);
	assert_int_equal(b->item->deadline_mono_ns, w->clock.mono + w->policy.timeout_ms * SB_NS_PER_MS);
	check_input(dno, it, b->item);
	check_order(w, dno, it);
}

static void settle(struct world *w, struct sb_target *t, struct sb_batch *b, enum sb_outcome o)
{
	struct sb_result r = w->answer;
	struct world_delivery *it = item_of(w, dno_of(b));

	r.outcome = o;
	it->flying = false;
	trace(w, sb_outcome_name(o), dno_of(b));
	if (o == SB_RELEASED && w->set_alone)
		b->item->alone = true;
	if (o == SB_DELIVERED || o == SB_RETRY || o == SB_REJECTED)
		it->attempts++;
	sb_batch_settle(t, b, 0, &r);
}

static void on_send(struct sb_target *t, struct sb_batch *b)
{
	struct world *w = t->state;
	struct world_delivery *it = item_of(w, dno_of(b));

	check_sent(w, b);
	trace(w, "Send", dno_of(b));
	it->begun = it->flying = true;
	w->sent++;
	if (w->table) {
		settle(w, t, b, w->table[w->table_at++ % w->table_n]);
		return;
	}
	if (w->n_flight >= w->policy.concurrency)
		fail_msg("more in flight than %u", w->policy.concurrency);
	w->sent_to[w->n_flight] = t;
	w->flight[w->n_flight++] = b;
	w->max_flight = SB_MAX(w->max_flight, w->n_flight);
}

void world_settle(struct world *w, unsigned i, enum sb_outcome o)
{
	struct sb_batch *b = w->flight[i];
	struct sb_target *t = w->sent_to[i];

	assert_true(i < w->n_flight);
	w->flight[i] = w->flight[--w->n_flight];
	w->sent_to[i] = w->sent_to[w->n_flight];
	settle(w, t, b, o);
}

/* ------------------------------------------------------------------------------------------------ the environment */

static struct sb_buf *on_frames(void *arg)
{
	struct world *w = arg;

	return &w->frames;
}

static void check_belongings(const struct sb_delivery *dl, const struct world_delivery *it)
{
	uint64_t dno = dl->handover.dno;
	struct sb_slice letter = letter_new(dno, it);

	assert_true(sb_slice_eq(dl->letter, letter));
	sb_pool_free((char *)letter.p);
	assert_int_equal(dl->handover.route, route_of(dno));
	assert_int_equal(dl->handover.at.segment, 1);
	assert_int_equal(dl->handover.at.offset, it->first);
}

static void outcome(struct world *w, struct sb_delivery *dl)
{
	struct world_delivery *it = item_of(w, dl->handover.dno);

	if (it->settled)
		fail_msg("%" PRIu64 " had two outcomes", dl->handover.dno);
	if (!dl->ev)
		fail_msg("%" PRIu64 " has an outcome, but no payload", dl->handover.dno);
	check_belongings(dl, it);
	it->settled = true;
}

static void keep(char *to, size_t n, const char *text)
{
	snprintf(to, n, "%s", text ? text : "");
}

static void keep_letter(struct world *w, const struct sb_delivery *dl)
{
	keep(w->letter.first, sizeof(w->letter.first), dl->first_message);
	keep(w->letter.last, sizeof(w->letter.last), dl->last_message);
	keep(w->letter.tail, sizeof(w->letter.tail), dl->tail);
	snprintf(w->letter.input, sizeof(w->letter.input), "%.*s", (int)dl->input.n, dl->input.n ? dl->input.p : "");
	w->letter.attempts = dl->attempts;
	w->letter.first_ms = dl->first_attempt_ms;
	w->letter.last_ms = dl->last_attempt_ms;
}

static bool on_dead(void *arg, struct sb_dispatch *d, struct sb_delivery *dl, const struct sb_death *why)
{
	struct world *w = arg;
	struct world_delivery *it = item_of(w, dl->handover.dno);

	assert_ptr_equal(d, w->d);
	if (w->no_room || w->n_pending_dead == SB_LEN(w->pending_dead))
		return false;
	outcome(w, dl);
	trace(w, "Dead", dl->handover.dno);
	if ((it->flags & SB_OWED_FINAL) && !w->abandoned)
		fail_msg("final %" PRIu64 " died", dl->handover.dno);
	it->dead = true;
	it->reason = why->reason;
	it->exhausted = why->exhausted;
	keep_letter(w, dl);
	w->pending_dead[w->n_pending_dead++] = dl->handover.dno;
	w->dead++;
	return true;
}

static void on_delivered(void *arg, struct sb_dispatch *d, struct sb_delivery *dl)
{
	struct world *w = arg;

	assert_ptr_equal(d, w->d);
	outcome(w, dl);
	w->delivered++;
}

static void on_arm(void *arg, struct sb_dispatch *d, uint64_t at)
{
	struct world *w = arg;

	(void)d;
	w->armed_ns = SB_MIN(w->armed_ns, at);
}

static bool same_purpose(const struct sb_journal_read *a, const struct sb_journal_read *b)
{
	return a == b || (!a->only_dno == !b->only_dno && !a->lane == !b->lane);
}

static void on_read(void *arg, struct sb_journal_read *r)
{
	struct world *w = arg;

	for (unsigned i = 0; i < w->n_reading; i++)
		assert_false(same_purpose(w->reading[i], r));
	for (unsigned i = 0; i < w->n_served; i++)
		assert_false(same_purpose(w->served[i], r));
	assert_true(r->max_bytes > 0 && sb_slice_eq_str(sb_slice_str(r->target), WORLD_TARGET));
	assert_int_equal(r->from.segment, 1);
	assert_true(!r->only_dno || r->from.offset == item_of(w, r->only_dno)->first);
	w->reading[w->n_reading++] = r;
	w->reads++;
}

static bool wanted(const struct world *w, const struct sb_journal_read *r, uint64_t dno)
{
	const struct world_delivery *it = &w->item[dno - 1];

	if (!it->ours || dno < r->min_dno || (w->skips_done && it->done))
		return false;
	if (r->only_dno)
		return dno == r->only_dno;
	return !r->lane || it->lane == r->lane;
}

static void fill(struct world *w, struct sb_journal_read *r, uint64_t dno)
{
	const struct world_delivery *it = &w->item[dno - 1];
	struct sb_backlog_item *x = &r->item[r->n++];

	*x = (struct sb_backlog_item){
		.ev = event_new(dno, it),
		.dno = dno,
		.at = place_of(w, dno),
		.rule = rule,
		.lane = it->lane,
		.ordinal = 7,
		.flags = it->flags,
	};
	x->route = route_of(dno);
	x->letter = letter_new(dno, it);
	x->input = input_new(dno, it, &x->input_n);
}

static void serve(struct world *w, struct sb_journal_read *r)
{
	uint64_t dno = SB_MAX(r->from.offset, 1), scanned = 0;
	size_t bytes = 0;

	for (; dno <= w->n; dno++) {
		if ((r->until_dno && dno >= r->until_dno) || r->n == SB_READ_ITEMS || bytes >= r->max_bytes)
			break;
		if (w->scan_most && scanned >= w->scan_most && !r->only_dno)
			break;
		scanned += dno >= r->min_dno;
		w->scanned++;
		if (!wanted(w, r, dno))
			continue;
		if (w->item[dno - 1].damaged) {
			r->damaged++;
			continue;
		}
		fill(w, r, dno);
		bytes += w->item[dno - 1].size;
		if (r->only_dno)
			break;
	}
	r->from = place_of(w, dno);
	r->horizon = dno;
	r->end = dno > w->n;
}

void world_serve(struct world *w, unsigned i)
{
	struct sb_journal_read *r = w->reading[i];

	assert_true(i < w->n_reading);
	w->reading[i] = w->reading[--w->n_reading];
	if (!w->disk_dead)
		serve(w, r);
	w->served[w->n_served++] = r;
}

void world_post(struct world *w, unsigned i)
{
	struct sb_journal_read *r = w->served[i];

	assert_true(i < w->n_served);
	w->served[i] = w->served[--w->n_served];
	sb_mailbox_post(r->home, &r->mail);
}

static void answer_all(struct world *w)
{
	while (w->n_reading)
		world_serve(w, 0);
	while (w->n_served)
		world_post(w, 0);
}

/* ------------------------------------------------------------------------------------------------ the journal's writer */

uint64_t world_append(struct world *w, uint32_t lane, uint8_t flags, uint32_t size)
{
	uint64_t dno = w->n + 1;
	struct world_delivery *it;
	struct sb_delivery *dl;
	uint32_t input_n;
	char *input;

	assert_true(dno <= w->most);
	it = &w->item[w->n++];
	*it = (struct world_delivery){ .lane = lane, .size = size, .flags = flags, .ours = true };
	it->first = w->event_first ? w->event_first : dno;
	it->received_ms = sb_wall_ms(&w->clock.clock);
	input = input_new(dno, it, &input_n);
	dl = sb_delivery_new(w->d, event_new(dno, it), rule, 7, lane, flags, input, input_n);
	sb_dispatch_reserve_always(w->d, sb_delivery_bytes(dl->ev, input_n));
	dl->handover.dno = dno;
	dl->handover.at = place_of(w, dno);
	dl->handover.route = route_of(dno);
	dl->handover.next = NULL;
	dl->letter = letter_new(dno, it);
	*w->mail_last = &dl->handover;
	w->mail_last = &dl->handover.next;
	return dno;
}

void world_append_other(struct world *w)
{
	assert_true(w->n < w->most);
	w->item[w->n++] = (struct world_delivery){ .size = 10 };
	w->item[w->n - 1].first = w->event_first ? w->event_first : w->n;
}

bool world_mail(struct world *w)
{
	struct sb_handover *h = w->mail_first;

	if (!h)
		return false;
	w->mail_first = h->next;
	if (!w->mail_first)
		w->mail_last = &w->mail_first;
	sb_mailbox_post(h->home, &h->mail);
	return true;
}

static void apply(struct world *w, const struct sb_frame *f)
{
	struct sb_attempt_record a;
	struct sb_result_record r;

	if (f->type == SB_REC_ATTEMPT) {
		assert_int_equal(sb_attempt_view(f->payload, &a), 0);
		item_of(w, a.dno)->recorded = a.attempts;
		item_of(w, a.dno)->alone = a.alone;
		item_of(w, a.dno)->reason = (enum sb_reason)a.reason;
		item_of(w, a.dno)->due_wall_ms = a.due_wall_ms;
		w->attempt = a;
		snprintf(w->attempt_message, sizeof(w->attempt_message), "%.*s", SB_SLICE_ARG(a.message));
		item_of(w, a.dno)->due_ns = (a.due_wall_ms - w->clock.wall) * SB_NS_PER_MS;
		return;
	}
	assert_int_equal(f->type, SB_REC_RESULT);
	assert_int_equal(sb_result_view(f->payload, &r), 0);
	w->result = r;
	assert_int_equal(r.route, route_of(r.dno));
	assert_memory_equal(r.receipt.b, &r.dno, sizeof(r.dno));
	assert_false(item_of(w, r.dno)->done);
	assert_int_equal(r.attempts, item_of(w, r.dno)->attempts);
	item_of(w, r.dno)->done = true;
}

void world_commit(struct world *w)
{
	struct sb_frame_iter it = { sb_buf_slice(&w->frames), 1 };
	struct sb_frame f;

	while (sb_frame_next(&it, &f) == 1)
		apply(w, &f);
	sb_buf_clear(&w->frames);
	for (unsigned i = 0; i < w->n_pending_dead; i++)
		item_of(w, w->pending_dead[i])->done = true;
	w->n_pending_dead = 0;
}

/* ------------------------------------------------------------------------------------------------ time, and the whole */

static void check_memory(struct world *w)
{
	uint64_t used = world_stats(w).cache_bytes;

	w->max_cache = SB_MAX(w->max_cache, used);
	if (used > w->policy.cache_bytes + w->slack)
		fail_msg("%" PRIu64 " bytes of memory in use, %" PRIu64 " allowed", used,
			w->policy.cache_bytes + w->slack);
}

void world_run_mail(struct world *w)
{
	sb_mailbox_drain(&w->home);
	check_memory(w);
}

void world_flush(struct world *w)
{
	do {
		while (world_mail(w))
			;
		answer_all(w);
		world_run_mail(w);
		world_commit(w);
	} while (w->mail_first || w->n_reading || !sb_mailbox_empty(&w->home));
}

void world_pause(struct world *w, bool on)
{
	w->paused = on;
	sb_dispatch_pause(w->d, on);
}

void world_tick(struct world *w)
{
	if (w->armed_ns > w->clock.mono)
		return;
	w->armed_ns = UINT64_MAX;
	sb_dispatch_tick(w->d);
	check_memory(w);
}

bool world_step_time(struct world *w)
{
	if (w->armed_ns == UINT64_MAX)
		return false;
	w->clock.mono = SB_MAX(w->clock.mono, w->armed_ns);
	world_tick(w);
	return true;
}

uint64_t world_open(const struct world *w)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < w->n; i++)
		n += w->item[i].ours && !w->item[i].settled;
	return n;
}

static void start(struct world *w)
{
	struct sb_dispatch_env env = {
		.arg = w,
		.clock = &w->clock.clock,
		.rand = &w->rand,
		.home = &w->home,
		.frames = on_frames,
		.read = on_read,
		.dead = on_dead,
		.delivered = on_delivered,
		.arm = on_arm,
	};

	w->armed_ns = UINT64_MAX;
	w->d = sb_dispatch_new(&env, &w->target, &w->policy);
	w->paused = false;
}

/* What was under way dies with the process: mail, reads, attempts in flight, frames that are not durable. */
static void stop(struct world *w)
{
	struct sb_handover *h, *next;

	world_run_mail(w);
	sb_dispatch_drain(w->d);
	while (w->n_flight)
		world_settle(w, 0, SB_RELEASED);
	assert_true(sb_dispatch_idle(w->d));
	sb_dispatch_free(w->d);
	for (h = w->mail_first; h; h = next) {
		next = h->next;
		sb_delivery_free(SB_CONTAINER(h, struct sb_delivery, handover));
	}
	w->mail_first = NULL;
	w->mail_last = &w->mail_first;
	answer_all(w);
	sb_mailbox_drain(&w->home);
}

void world_restart(struct world *w)
{
	stop(w);
	sb_buf_clear(&w->frames);
	w->n_pending_dead = 0;
	trace(w, "restart", 0);
	start(w);
	recover(w);
}

void world_init(struct world *w, const struct sb_target_policy *p, uint64_t seed, uint64_t most)
{
	*w = (struct world){ .policy = *p, .most = most, .slack = 64 << 10 };
	sb_fake_clock_init(&w->clock, 1764000000000);
	w->clock.mono = 1000 * SB_NS_PER_S;
	sb_rand_seed(&w->rand, seed);
	sb_rand_seed(&w->chance, seed + 1);
	sb_mailbox_init(&w->home, false);
	sb_buf_init(&w->frames, 64 << 20);
	w->item = sb_xcalloc(most * sizeof(*w->item));
	w->mail_last = &w->mail_first;
	w->ops = (struct sb_target_ops){ .send = on_send };
	w->target =
		(struct sb_target){ .name = WORLD_TARGET, .ops = &w->ops, .state = w, .concurrency = p->concurrency };
	w->answer.message = SB_SLICE("no luck");
	start(w);
}

void world_done(struct world *w)
{
	stop(w);
	sb_mailbox_done(&w->home);
	sb_buf_done(&w->frames);
	sb_map_done(&w->rec.targets);
	free(w->item);
}
