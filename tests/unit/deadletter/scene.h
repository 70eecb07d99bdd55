/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_DEADLETTER_SCENE_H
#define SB_TESTS_DEADLETTER_SCENE_H

#include "tests/support/test.h"

#include <jansson.h>
#include <stdio.h>

#include "broker/base/buf.h"
#include "broker/deadletter/deadletter.h"

/* A table in a folder of its own, letters to put into it, and questions to ask it. Everything fails the test by itself. */
#define DAY UINT64_C(86400000)
#define NOW UINT64_C(1795508393250) /* 2026-11-24T08:19:53.250Z */

extern char path[96];
extern const struct sb_deadletters_conf conf;
extern const char event_text[];

/* Copies what a test wants to know of one letter, since its slices end with the callback. */
struct copy {
	uint32_t lives, attempts;
	bool redriving;
	uint64_t dead_ms;
	char history[8192], message[2048], tail[8192], event[256], input[64];
	json_t *json;
};

int scene(void **state);
int clean(void **state);
struct sb_deadletters *open_with(bool read_only, const struct sb_deadletters_conf *c);
struct sb_deadletters *open_table(void);
struct sb_dead_record record(const char *id);
void store(struct sb_deadletters *d, const struct sb_dead_record *r, uint64_t seq);
void store_id(struct sb_deadletters *d, const char *id, uint64_t seq);
bool claim(struct sb_deadletters *d, const char *id);
int add_id(void *arg, const struct sb_letter *l);
void assert_found(struct sb_deadletters *d, struct sb_letter_filter f, const char *want);
void assert_all(struct sb_deadletters *d, const char *want);
void assert_totals(struct sb_deadletters *d, uint64_t letters, uint64_t redriving);
uint64_t last_seq(struct sb_deadletters *d);
void copy_slice(char *to, size_t size, struct sb_slice s);
json_t *as_json(const struct sb_letter *l);
void get(struct sb_deadletters *d, const char *id, struct copy *ret);

#define SCENE(test) cmocka_unit_test_setup_teardown(test, scene, clean)

#endif
