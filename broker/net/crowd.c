/* SPDX-License-Identifier: Apache-2.0 */
#include "crowd.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/map.h"

/*
 * In all: one counter that never goes above its bound, not even for a moment. By address: a table in stripes, each behind a lock of its
 * own. Both are touched when a connection is accepted and when it ends; no request takes a lock. An entry may be made by one shard and
 * given back by another, which the pool allows.
 */
#define STRIPES 16

struct crowd_addr {
	uint8_t key[CROWD_KEY];
	uint32_t n;
	unsigned stripe;
};

struct stripe {
	pthread_mutex_t lock;
	struct sb_map addrs; /* key -> struct crowd_addr * */
};

struct sb_http_crowd {
	uint32_t max, max_per_address;
	atomic_uint n;
	struct stripe stripe[STRIPES];
};

struct sb_http_crowd *sb_http_crowd_new(uint32_t max, uint32_t max_per_address)
{
	struct sb_http_crowd *c = sb_xcalloc(sizeof(*c));

	SB_ASSERT(max > 0 && max_per_address > 0);
	c->max = max;
	c->max_per_address = max_per_address;
	for (unsigned i = 0; i < STRIPES; i++) {
		pthread_mutex_init(&c->stripe[i].lock, NULL);
		c->stripe[i].addrs.max = max;
	}
	return c;
}

void sb_http_crowd_free(struct sb_http_crowd *c)
{
	for (unsigned i = 0; c && i < STRIPES; i++) {
		sb_map_done(&c->stripe[i].addrs);
		pthread_mutex_destroy(&c->stripe[i].lock);
	}
	free(c);
}

static bool take_place(struct sb_http_crowd *c)
{
	unsigned n = atomic_load_explicit(&c->n, memory_order_relaxed);

	do {
		if (n >= c->max)
			return false;
		/* relaxed: it guards nothing but itself */
	} while (!atomic_compare_exchange_weak_explicit(&c->n, &n, n + 1, memory_order_relaxed, memory_order_relaxed));
	return true;
}

static void give_place(struct sb_http_crowd *c)
{
	unsigned before = atomic_fetch_sub_explicit(&c->n, 1, memory_order_relaxed);

	SB_ASSERT(before > 0);
}

/* NULL: the address has all that it may. */
static struct crowd_addr *take_addr(struct sb_http_crowd *c, const uint8_t *key)
{
	struct sb_slice k = { (const char *)key, CROWD_KEY };
	unsigned i = (unsigned)(sb_hash(k.p, k.n) >> 32) % STRIPES;
	struct stripe *s = &c->stripe[i];
	struct crowd_addr *a;

	pthread_mutex_lock(&s->lock);
	a = sb_map_get(&s->addrs, k);
	if (!a) {
		a = sb_pool_alloc(sizeof(*a));
		memcpy(a->key, key, CROWD_KEY);
		a->n = 0;
		a->stripe = i;
		sb_map_put(&s->addrs, sb_slice((const char *)a->key, CROWD_KEY), a); /* each has a place in all: the cap holds */
	}
	if (a->n < c->max_per_address)
		a->n++;
	else
		a = NULL;
	pthread_mutex_unlock(&s->lock);
	return a;
}

static void give_addr(struct sb_http_crowd *c, struct crowd_addr *a)
{
	struct stripe *s = &c->stripe[a->stripe];
	bool last;

	pthread_mutex_lock(&s->lock);
	last = --a->n == 0;
	if (last)
		sb_map_del(&s->addrs, sb_slice((const char *)a->key, CROWD_KEY));
	pthread_mutex_unlock(&s->lock);
	if (last)
		sb_pool_free(a);
}

bool crowd_enter(struct sb_http_crowd *c, const uint8_t *key, struct crowd_addr **ret)
{
	*ret = NULL;
	if (!take_place(c))
		return false;
	if (key)
		*ret = take_addr(c, key);
	if (!key || *ret)
		return true;
	give_place(c);
	return false;
}

void crowd_leave(struct sb_http_crowd *c, struct crowd_addr *a)
{
	if (a)
		give_addr(c, a);
	give_place(c);
}

uint32_t crowd_max(const struct sb_http_crowd *c)
{
	return c->max;
}
