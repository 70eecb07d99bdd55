/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/map.h"

#include <stdlib.h>

#include "broker/base/err.h"

/* SipHash-1-3: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with one and three rounds. */
static uint64_t sip_key[2] = { 0x736967616c626f78u, 0x6d61702068617368u };

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = ROTL(v[1], 13) ^ v[0];
	v[0] = ROTL(v[0], 32);
	v[2] += v[3];
	v[3] = ROTL(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = ROTL(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = ROTL(v[1], 17) ^ v[2];
	v[2] = ROTL(v[2], 32);
}

uint64_t sb_hash(const void *p, size_t n)
{
	const unsigned char *s = p;
	uint64_t v[4] = { sip_key[0] ^ 0x736f6d6570736575u, sip_key[1] ^ 0x646f72616e646f6du,
		sip_key[0] ^ 0x6c7967656e657261u, sip_key[1] ^ 0x7465646279746573u };
	uint64_t last = (uint64_t)n << 56, word;

	for (; n >= 8; n -= 8, s += 8) {
		memcpy(&word, s, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	for (size_t i = 0; i < n; i++)
		last |= (uint64_t)s[i] << (8 * i);
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	word = v[0] ^ v[1] ^ v[2] ^ v[3];
	return word ? word : 1;
}

void sb_hash_seed(uint64_t k0, uint64_t k1)
{
	sip_key[0] = k0;
	sip_key[1] = k1;
}

static struct sb_map_slot *find(const struct sb_map *m, uint64_t hash, struct sb_slice key)
{
	size_t i = hash & (m->cap - 1);

	while (m->slot[i].hash && !(m->slot[i].hash == hash && sb_slice_eq(m->slot[i].key, key)))
		i = (i + 1) & (m->cap - 1);
	return &m->slot[i];
}

static void grow(struct sb_map *m)
{
	struct sb_map old = *m;

	m->cap = old.cap ? old.cap * 2 : 16;
	m->slot = sb_xcalloc(m->cap * sizeof(*m->slot));
	for (size_t i = 0; i < old.cap; i++)
		if (old.slot[i].hash)
			*find(m, old.slot[i].hash, old.slot[i].key) = old.slot[i];
	free(old.slot);
}

void *sb_map_get(const struct sb_map *m, struct sb_slice key)
{
	if (m->n == 0)
		return NULL;
	return find(m, sb_hash(key.p, key.n), key)->value;
}

int sb_map_put(struct sb_map *m, struct sb_slice key, void *value)
{
	uint64_t hash = sb_hash(key.p, key.n);
	struct sb_map_slot *s;

	SB_ASSERT(value);
	if (m->cap == 0 || (m->n + 1) * 4 > m->cap * 3)
		grow(m);
	s = find(m, hash, key);
	if (s->hash) {
		s->value = value;
		s->key = key; /* the old key may go away with the old value */
		return 1;
	}
	if (m->max && m->n >= m->max)
		return -1;
	*s = (struct sb_map_slot){ hash, key, value };
	m->n++;
	return 0;
}

void *sb_map_del(struct sb_map *m, struct sb_slice key)
{
	struct sb_map_slot *s;
	void *value;
	size_t hole, i;

	if (m->n == 0)
		return NULL;
	s = find(m, sb_hash(key.p, key.n), key);
	if (!s->hash)
		return NULL;
	value = s->value;
	hole = (size_t)(s - m->slot);
	for (i = (hole + 1) & (m->cap - 1); m->slot[i].hash; i = (i + 1) & (m->cap - 1)) {
		size_t home = m->slot[i].hash & (m->cap - 1);

		if (((i - home) & (m->cap - 1)) >= ((i - hole) & (m->cap - 1))) {
			m->slot[hole] = m->slot[i];
			hole = i;
		}
	}
	m->slot[hole] = (struct sb_map_slot){ 0 };
	m->n--;
	return value;
}

void sb_map_done(struct sb_map *m)
{
	free(m->slot);
	*m = (struct sb_map){ .max = m->max };
}
