/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a power cut leaves. Of what was not durable anything may be there: nothing, all, the first few changes, or any of them;
 * a write may be there in pieces; and where a file grew, the new part may have come without its data.
 */
#include "broker/base/mem.h"
#include "tests/support/simdisk.h"

#define SECTOR 512

enum choice { KEEP_NONE, KEEP_ALL, KEEP_FIRST, KEEP_ANY, CHOICES };

struct survivors {
	enum choice choice;
	size_t first; /* KEEP_FIRST: how many */
};

struct crash {
	struct sb_rand rand;
	bool harsh;
};

static bool coin(struct crash *c)
{
	return sb_rand_below(&c->rand, 2);
}

static struct survivors choose(struct crash *c, size_t n)
{
	return (struct survivors){ (enum choice)sb_rand_below(&c->rand, CHOICES), (size_t)sb_rand_below(&c->rand, n + 1) };
}

static bool survives(struct crash *c, const struct survivors *s, size_t i)
{
	switch (s->choice) {
	case KEEP_ALL:   return true;
	case KEEP_FIRST: return i < s->first;
	case KEEP_ANY:   return coin(c);
	case KEEP_NONE:
	case CHOICES:    return false;
	}
	return false;
}

static void scribble(struct crash *c, struct sim_image *m, uint64_t from, uint64_t to)
{
	for (; from < to; from++)
		m->p[from] = (char)sb_rand_u32(&c->rand);
}

/* The file may be longer than what is known of it. */
static void grow(struct crash *c, struct sim_image *m, uint64_t size)
{
	uint64_t old = m->n;

	if (size <= old)
		return;
	sim_image_resize(m, size);
	if (c->harsh && coin(c))
		scribble(c, m, old, size);
}

/* Sectors are whole but come independently. */
static void tear_by_sector(struct crash *c, struct sim_image *m, const struct sim_change *w)
{
	for (size_t at = 0, n; at < w->n; at += n) {
		n = SB_MIN(SECTOR - (w->off + at) % SECTOR, w->n - at);
		if (coin(c))
			sim_image_write(m, w->data + at, n, w->off + at);
	}
}

/* Only what lies before, behind, or around a gap [from, to) came; the gap keeps what was there, or holds garbage. */
static void tear_by_byte(struct crash *c, struct sim_image *m, const struct sim_change *w)
{
	size_t a = (size_t)sb_rand_below(&c->rand, w->n + 1), b = (size_t)sb_rand_below(&c->rand, w->n + 1);
	size_t from = SB_MIN(a, b), to = SB_MAX(a, b);

	switch (sb_rand_below(&c->rand, 3)) {
	case 0:
		from = 0;
		break;
	case 1:
		to = w->n;
		break;
	default:
		break;
	}
	sim_image_write(m, w->data, from, w->off);
	sim_image_write(m, w->data + to, w->n - to, w->off + to);
	if (sb_rand_below(&c->rand, 4) == 0 && w->off + to <= m->n)
		scribble(c, m, w->off + from, w->off + to);
}

static void crash_write(struct crash *c, struct sim_image *m, const struct sim_change *w, bool kept)
{
	if (kept && coin(c)) {
		sim_image_write(m, w->data, w->n, w->off);
		return;
	}
	if (coin(c))
		grow(c, m, w->off + w->n);
	if (!kept)
		return;
	if (c->harsh)
		tear_by_byte(c, m, w);
	else
		tear_by_sector(c, m, w);
}

static void crash_file(struct crash *c, struct sim_inode *ino)
{
	struct survivors s;
	size_t n = 0, i = 0;

	for (const struct sim_change *w = ino->change; w; w = w->next)
		n++;
	s = choose(c, n);
	for (const struct sim_change *w = ino->change; w; w = w->next, i++) {
		/* KEEP_ALL may tear only the last one: the others were there before it was begun */
		bool kept = survives(c, &s, i), whole = s.choice == KEEP_ALL && w->next;

		if (w->data && whole)
			sim_image_write(&ino->disk, w->data, w->n, w->off);
		else if (w->data)
			crash_write(c, &ino->disk, w, kept || (s.choice == KEEP_FIRST && i == s.first));
		else if (kept)
			sim_image_resize(&ino->disk, w->off);
	}
	sim_changes_drop(ino);
	sim_image_copy(&ino->view, &ino->disk);
}

static void crash_names(struct crash *c, struct simdisk *d)
{
	struct survivors s;
	size_t n = 0, i = 0;

	for (const struct sim_move *m = d->move; m; m = m->next)
		n++;
	s = choose(c, n);
	for (const struct sim_move *m = d->move; m; m = m->next)
		if (survives(c, &s, i++))
			sim_move_apply(&d->disk, m);
	sim_names_prune(&d->disk);
	sim_moves_drop(d);
	sim_names_copy(&d->view, &d->disk);
}

void simdisk_power_off(struct simdisk *d)
{
	d->off = true;
}

void simdisk_crash(struct simdisk *d, uint64_t seed, bool harsh)
{
	struct crash c = { .harsh = harsh };

	sb_rand_seed(&c.rand, seed);
	crash_names(&c, d);
	for (struct sim_inode *ino = d->inodes; ino; ino = ino->next)
		crash_file(&c, ino);
	sim_inodes_sweep(d);
	d->life++;
	d->off = false;
	d->off_at = 0;
}
