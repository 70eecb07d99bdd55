/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SIMULATION_PLAY_H
#define SB_TESTS_SIMULATION_PLAY_H

#include "broker/base/rand.h"
#include "ledger.h"
#include "tests/support/fakeprocs.h"

/* The play: which events come when, what the workers do with them, and how each must end. */
struct play {
	struct sb_rand rand;
	struct ledger *ledger;
	uint64_t far_is_back_ns; /* until then the target `far` cannot be reached */
};

/* Writes the events into the ledger, in the order of their time. `seed` decides how workers start and how long they take. */
void play_init(struct play *p, struct ledger *l, uint64_t play, uint64_t seed);
struct sb_fake_act play_start(struct play *p, const char *command);
struct sb_fake_act play_request(struct play *p, const struct ledger_delivery *d, unsigned attempt);
/* The rules and targets that an event must get to; how a delivery to a target must end. */
struct play_way {
	const char *rule, *target;
};
bool play_comes_later(const struct play_way *way); /* of another: over a bus, or as its dead letter */
size_t play_ways(const char *to, const struct play_way **ret);
enum ledger_fate play_fate(const char *target);

#endif
