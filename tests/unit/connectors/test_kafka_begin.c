/* SPDX-License-Identifier: Apache-2.0 */
/* Where a partition begins, and how its records are known again. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/test.h"

#include "connectors/kafka/consumer.h"
#include "connectors/kafka/record.h"

#define EARLIEST KAFKA_FROM_EARLIEST
#define LATEST KAFKA_FROM_LATEST

static const struct {
	const char *name;
	struct kafka_asked asked; /* committed, low, high */
	enum kafka_from from;
	enum kafka_out_of_range policy;
	int64_t want;
	uint64_t lost;
} rows[] = {
	{ "a new group, from the beginning", { -1, 5, 20 }, EARLIEST, KAFKA_RANGE_STOP, 5, 0 },
	{ "a new group, from the end", { -1, 5, 20 }, LATEST, KAFKA_RANGE_STOP, 20, 0 },
	{ "where it was", { 7, 5, 20 }, LATEST, KAFKA_RANGE_STOP, 7, 0 },
	{ "at the first that is left", { 5, 5, 20 }, LATEST, KAFKA_RANGE_STOP, 5, 0 },
	{ "all has been read", { 20, 5, 20 }, EARLIEST, KAFKA_RANGE_STOP, 20, 0 },
	{ "an empty topic, all has been read", { 20, 20, 20 }, EARLIEST, KAFKA_RANGE_STOP, 20, 0 },
	{ "retention was faster: stop", { 3, 5, 20 }, EARLIEST, KAFKA_RANGE_STOP, -1, 2 },
	{ "retention was faster: go on", { 3, 5, 20 }, LATEST, KAFKA_RANGE_EARLIEST, 5, 2 },
	{ "retention was faster: to the end", { 3, 5, 20 }, EARLIEST, KAFKA_RANGE_LATEST, 20, 17 },
	{ "the topic was made anew: stop", { 30, 0, 20 }, EARLIEST, KAFKA_RANGE_STOP, -1, 0 },
	{ "the topic was made anew: go on", { 30, 0, 20 }, EARLIEST, KAFKA_RANGE_EARLIEST, 0, 0 },
	{ "the topic was made anew: to the end", { 30, 0, 20 }, EARLIEST, KAFKA_RANGE_LATEST, 20, 0 },
	{ "nobody can tell what there is", { 7, -1, -1 }, EARLIEST, KAFKA_RANGE_STOP, 7, 0 },
};

static void where_a_partition_begins(void **state)
{
	(void)state;
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		uint64_t lost = 99;
		int64_t at = kafka_begin_at(&rows[i].asked, rows[i].from, rows[i].policy, &lost);

		if (at != rows[i].want || lost != rows[i].lost)
			fail_msg("%s: at %lld, %llu lost", rows[i].name, (long long)at, (unsigned long long)lost);
	}
}

static struct sb_uuid receipt_of(const char *source, const char *topic, int32_t partition, int64_t offset)
{
	return kafka_record_receipt(kafka_record_seed(source, topic, partition), offset, 1795508393000);
}

static void the_same_record_has_the_same_receipt_and_no_other(void **state)
{
	struct sb_uuid a = receipt_of("in", "t", 1, 41), b = receipt_of("in", "t", 1, 41);
	const struct sb_uuid others[] = { receipt_of("in", "t", 1, 42), receipt_of("in", "t", 2, 41), receipt_of("in", "u", 1, 41),
		receipt_of("i", "nt", 1, 41), receipt_of("other", "t", 1, 41) };

	(void)state;
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(a.b[6] >> 4, 8);
	assert_int_equal(a.b[8] >> 6, 2);
	for (size_t i = 0; i < SB_LEN(others); i++)
		assert_memory_not_equal(&a, &others[i], sizeof(a));
}

static struct kafka_claim claim(const char *name)
{
	return (struct kafka_claim){ .name = name ? strdup(name) : NULL };
}

static void a_static_member_waits_for_the_one_before_it(void **state)
{
	struct kafka_claim old = claim("me"), new = claim("me"), other = claim("you"), nobody = claim(NULL);

	(void)state;
	assert_true(kafka_claim(&old));
	assert_true(kafka_claim(&old));
	assert_false(kafka_claim(&new));
	assert_true(kafka_claim(&other));
	assert_true(kafka_claim(&nobody));
	kafka_unclaim(&nobody);
	assert_false(kafka_claim(&new));
	kafka_unclaim(&old);
	assert_true(kafka_claim(&new));
	kafka_unclaim(&new);
	kafka_unclaim(&other);
}

static void nobody_knows_the_same_member_by_another_name(void **state)
{
	struct kafka_pair pair[] = { { "group.instance.id", "me" } };
	const char *const brokers[] = { "a:1", "b:2" };
	struct kafka_source_conf c = { .group = "g", .cluster = { .brokers = { .v = (const char **)brokers, .n = 2 }, .pair = pair, .n_pairs = 1 } };
	char *first = kafka_source_identity(&c, 0), *second = kafka_source_identity(&c, 1), *same = kafka_source_identity(&c, 0);

	(void)state;
	assert_string_equal(first, same);
	assert_string_not_equal(first, second);
	c.cluster.n_pairs = 0;
	assert_null(kafka_source_identity(&c, 0));
	free(first);
	free(second);
	free(same);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(where_a_partition_begins),
		cmocka_unit_test(a_static_member_waits_for_the_one_before_it),
		cmocka_unit_test(nobody_knows_the_same_member_by_another_name),
		cmocka_unit_test(the_same_record_has_the_same_receipt_and_no_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
