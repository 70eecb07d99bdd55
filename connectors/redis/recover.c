/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at the list of what we have taken: at the beginning, after a connection was lost, when something was moved there. From its end, where the
 * oldest is, page by page. What the window does not have is taken in; nothing is read or acknowledged meanwhile, so the list stands still, and
 * how often an element was found like this is counted in Redis before it is handed over, because it may be what ends the process; but not what
 * this process itself has moved there and not heard of, which nobody has tried.
 *
 * An entry that was being acknowledged when the connection was lost is UNSURE. Are its bytes not there any more, it is acknowledged; are
 * they, it is not, unless what is there may be another one with the same bytes that was moved there and never came into the window. Those are
 * the newest in the list, and as many at most as answers were lost. Then nobody can tell, and the bytes are delivered, perhaps again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/log.h"
#include "list.h"

#define PAGE 100

static void ask_for_page(struct rds_feed *f);

size_t rds_tries_key(struct sb_slice value, char out[17])
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* the same in every process; who makes two collide shares their count */

	for (size_t i = 0; i < value.n; i++)
		h = (h ^ (unsigned char)value.p[i]) * UINT64_C(0x100000001b3);
	return (size_t)snprintf(out, 17, "%016llx", (unsigned long long)h);
}

/* ------------------------------------------------------------------------------------------------ what the window has */

static struct sb_slice bytes_of(const struct rds_entry *e)
{
	return sb_slice(e->held, e->held_n);
}

static int likely_there(const struct rds_entry *e)
{
	return e->state == RDS_UNSURE ? 0 : e->state == RDS_SETTLED ? 1 : 2;
}

static void remember(struct rds_list *l, struct rds_entry *e)
{
	e->same = sb_map_get(&l->held, bytes_of(e));
	sb_map_del(&l->held, bytes_of(e)); /* the key would be the other's */
	sb_map_put(&l->held, bytes_of(e), e);
}

/* Those that are unsure, then those that are settled: what is remembered last is found first, and of equals it is they that may be gone. */
static void remember_all(struct rds_feed *f)
{
	struct rds_list *l = f->list;

	sb_map_done(&l->held);
	l->held = (struct sb_map){ 0 };
	for (int likely = 0; likely <= 2; likely++)
		for (size_t i = 0; i < f->win.cap; i++) {
			struct rds_entry *e = &f->win.entry[i];

			if (e->state != RDS_FREE && likely_there(e) == likely)
				remember(l, e);
		}
}

/* The one that was looked at last. */
static bool may_be_unseen(const struct rds_list *l)
{
	return l->total < l->at + l->unseen;
}

static bool have(struct rds_feed *f, struct sb_slice value)
{
	struct rds_list *l = f->list;
	struct rds_entry *e = sb_map_get(&l->held, value);

	if (!e)
		return false;
	if (e->state == RDS_UNSURE && may_be_unseen(l)) {
		f->counts.in_doubt++;
		return false;
	}
	if (e->state == RDS_UNSURE)
		rds_window_move(&f->win, e, RDS_SETTLED);
	e->round = l->round;
	sb_map_del(&l->held, value);
	if (e->same)
		sb_map_put(&l->held, bytes_of(e->same), e->same);
	return true;
}

/* ------------------------------------------------------------------------------------------------ the end of it */

static void drop_acknowledged(struct rds_feed *f, struct sb_link *list)
{
	struct sb_link *link = list->next;

	while (link != list) {
		struct rds_entry *e = SB_CONTAINER(link, struct rds_entry, link);

		link = link->next;
		if (e->round == f->list->round)
			continue;
		rds_window_drop(&f->win, e);
		f->counts.acked++;
	}
}

static void look_is_done(struct rds_feed *f)
{
	drop_acknowledged(f, &f->win.unsure);
	drop_acknowledged(f, &f->win.settled);
	sb_map_done(&f->list->held);
	f->list->held = (struct sb_map){ 0 };
	f->list->unseen = 0;
	f->list->suspect = false;
	f->own = RDS_OWN_REST;
	rds_hand_all(f);
	rds_ack_all(f);
	rds_feed_go_on(f);
}

/* From the start, when half of the window is free. Those that are unsure have been looked for to the end: they must not hold up their place. */
static void look_has_no_room(struct rds_feed *f)
{
	drop_acknowledged(f, &f->win.unsure);
	f->own = RDS_OWN_NO_ROOM;
	rds_hand_all(f);
	rds_ack_all(f);
}

/* ------------------------------------------------------------------------------------------------ one that is new to us */

struct trial {
	struct rds_feed *f;
	size_t n;
	char value[];
};

static void page_is_done(struct rds_feed *f)
{
	if (f->list->trying)
		return;
	if (f->list->no_room && (f->list->last_page || sb_list_empty(&f->win.unsure)))
		look_has_no_room(f);
	else if (f->list->last_page)
		look_is_done(f);
	else
		ask_for_page(f);
}

static void take(struct rds_feed *f, struct sb_slice value, uint64_t deliveries, bool tried)
{
	struct rds_message m = { .what = RDS_ELEMENT, .key = f->key, .id = rds_list_next_id(f), .value = value };
	struct rds_entry *e = rds_take_in(f, &m, deliveries);

	if (!e)
		return;
	e->round = f->list->round;
	e->tried = tried;
}

static void on_tried(redisAsyncContext *ac, void *reply, void *arg)
{
	struct trial *t = arg;
	struct rds_feed *f = t->f;
	const redisReply *r = reply;

	(void)ac;
	f->list->trying--;
	if (r && f->own == RDS_OWN_CLAIMING)
		take(f, sb_slice(t->value, t->n), r->type == REDIS_REPLY_INTEGER ? (uint64_t)r->integer + 1 : 1, true);
	sb_pool_free(t);
	if (r && f->own == RDS_OWN_CLAIMING)
		page_is_done(f);
}

static void try_it(struct rds_feed *f, struct sb_slice value)
{
	struct trial *t;
	struct rds_command cmd;
	char hash[17];

	if (!f->conf->max_deliveries || !f->list->suspect) {
		take(f, value, 1, false);
		return;
	}
	t = sb_pool_alloc(sizeof(*t) + value.n + 1);
	t->f = f;
	t->n = value.n;
	memcpy(t->value, value.p ? value.p : "", value.n);
	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 4, "HINCRBY");
	rds_word(&cmd, f->list->tries);
	rds_bytes(&cmd, sb_slice(hash, rds_tries_key(value, hash)));
	rds_number(&cmd, 1);
	rds_end(&cmd);
	if (rds_feed_tell(f, on_tried, t) < 0)
		sb_pool_free(t);
	else
		f->list->trying++;
}

/* ------------------------------------------------------------------------------------------------ page by page */

static bool is_skipped(const struct rds_list *l, size_t place)
{
	for (size_t i = 0; i < SB_MIN(l->n_skip, RDS_SKIPPED); i++)
		if (l->skip[i] == place)
			return true;
	return false;
}

static void on_page(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;
	struct rds_list *l = f->list;
	size_t room;

	(void)ac;
	if (!r || f->own != RDS_OWN_LISTING)
		return;
	if (r->type != REDIS_REPLY_ARRAY) {
		f->own = RDS_OWN_REST;
		f->own_again = true;
		rds_feed_refused(f, f->talk, r);
		return;
	}
	f->own = RDS_OWN_CLAIMING;
	l->last_page = r->elements < l->page;
	room = rds_window_room(&f->win, f->each);
	for (size_t i = r->elements; i > 0; i--) {
		struct sb_slice value = rds_text(r->element[i - 1]);

		l->at++;
		if (have(f, value))
			continue;
		l->no_room |= room == 0; /* and what is behind it must not come before it */
		if (l->no_room || f->closing)
			continue;
		room--;
		try_it(f, value);
	}
	page_is_done(f);
}

static void ask_for_page(struct rds_feed *f)
{
	struct rds_list *l = f->list;
	struct rds_command cmd;
	char text[32];

	while (l->page == 1 && is_skipped(l, l->at))
		l->at++;
	f->own = RDS_OWN_LISTING;
	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 4, "LRANGE");
	rds_word(&cmd, l->taken);
	for (int end = 1; end >= 0; end--) {
		snprintf(text, sizeof(text), "-%zu", end ? l->at + l->page : l->at + 1);
		rds_word(&cmd, text);
	}
	rds_end(&cmd);
	rds_feed_tell(f, on_page, f);
}

static void on_total(redisAsyncContext *ac, void *reply, void *arg)
{
	struct rds_feed *f = arg;
	const redisReply *r = reply;

	(void)ac;
	if (!r || f->own != RDS_OWN_LISTING)
		return;
	f->list->total = r->type == REDIS_REPLY_INTEGER ? (size_t)r->integer : 0; /* else the page will be refused, too */
}

/* Its answer comes before the first page's. */
static void ask_for_total(struct rds_feed *f)
{
	struct rds_command cmd;

	sb_buf_clear(&f->command);
	rds_begin(&cmd, &f->command, 2, "LLEN");
	rds_word(&cmd, f->list->taken);
	rds_end(&cmd);
	rds_feed_tell(f, on_total, f);
}

void rds_look_begin(struct rds_feed *f)
{
	struct rds_list *l = f->list;

	f->own_again = l->no_room = false;
	l->round++;
	l->at = l->trying = 0;
	if (!l->page)
		l->page = PAGE;
	remember_all(f);
	l->total = SIZE_MAX;
	f->own = RDS_OWN_LISTING;
	if (l->unseen)
		ask_for_total(f);
	ask_for_page(f);
}

void rds_look_go_on(struct rds_feed *f)
{
	if (f->own != RDS_OWN_NO_ROOM || f->win.n > f->win.cap / 2 || f->win.bytes > f->win.max_bytes / 2)
		return;
	f->own = RDS_OWN_REST;
	f->own_again = true;
}

static void skip(struct rds_feed *f)
{
	struct rds_list *l = f->list;

	l->skip[l->n_skip++ % RDS_SKIPPED] = l->at;
	sb_source_rejected(f->s, "too_large", 1);
	sb_log(SB_LOG_ERROR, "element of a list is larger than is read: it stays where it was moved to", KS("source", f->s->name),
		KS("key", l->taken), KI("place_from_the_end", l->at));
}

/* One by one from here on; and one that cannot come even so must not hold up the others. */
void rds_look_stop(struct rds_feed *f, bool flooded)
{
	if (flooded && f->own == RDS_OWN_LISTING) {
		if (f->list->page == 1)
			skip(f);
		f->list->page = 1;
	}
	f->own = RDS_OWN_REST;
	f->own_again = true;
}
