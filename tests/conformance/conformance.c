/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conformance NAME [CHECK]: every check on the rows of one connector, by the name of its folder, or those with CHECK in
 * their names. conformance registry: there is a row for every connector that there is. conformance suite: connectors that are
 * broken on purpose are caught.
 */
#include "tests/support/test.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/log.h"
#include "executor/proc.h"
#include "faulty.h"

#define MAX_TESTS 64
#define PATIENCE_MS 20000
#define SOON_MS 800 /* for what is expected not to come */

struct run {
	const struct row *row;
	const struct check *check;
	bool target;
	char name[160];
};

static struct run run[MAX_TESTS];
static struct CMUnitTest test[MAX_TESTS];
static size_t n_tests;
static const char *part = ""; /* only tests with this in their names */

static void on_run(void **state)
{
	const struct run *r = *state;
	char violation[400];

	check_run(r->row, r->check, r->target, PATIENCE_MS, violation);
	if (violation[0])
		fail_msg("%s: %s", r->name, violation);
}

struct twin {
	const struct run *run;
	char violation[400];
};

static void *twin_main(void *arg)
{
	struct twin *t = arg;

	check_run(t->run->row, t->run->check, t->run->target, PATIENCE_MS, t->violation);
	return NULL;
}

/* Every shard has its instances, and they know nothing of each other. */
static void on_two_shards(void **state)
{
	struct twin t[2] = { { .run = *state }, { .run = *state } };
	pthread_t thread[2];

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, twin_main, &t[i]), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < 2; i++)
		if (t[i].violation[0])
			fail_msg("%s: %s", t[i].run->name, t[i].violation);
}

static void add_test(const struct row *row, const struct check *c, bool target, bool twins)
{
	struct run *r = &run[n_tests];

	SB_ASSERT(n_tests < MAX_TESTS);
	*r = (struct run){ .row = row, .check = c, .target = target };
	snprintf(r->name, sizeof(r->name), "%s%s: %s%s", row->name, target ? "" : " (source)",
		twins ? "on two shards at once, " : "", c->name);
	if (!strstr(r->name, part))
		return;
	test[n_tests++] =
		(struct CMUnitTest){ .name = r->name, .test_func = twins ? on_two_shards : on_run, .initial_state = r };
}

static bool is_for_twins(const struct check *c)
{
	return strcmp(c->name, "every item is settled once") == 0 ||
	       strcmp(c->name, "a sender hears once, and not before it is durable") == 0;
}

static void add(const struct row *row, const struct check *c, bool target)
{
	for (; c->run; c++) {
		if (c->concerns && !c->concerns(row))
			continue;
		add_test(row, c, target, false);
		if (is_for_twins(c) && !row->single)
			add_test(row, c, target, true);
	}
}

/* Both kinds of one row, and `function_exec` with `function`. */
static bool belongs(const struct row *row, const char *name)
{
	size_t n = strlen(name);

	return strncmp(row->name, name, n) == 0 && (row->name[n] == '\0' || row->name[n] == '_');
}

static void every_connector_has_a_row(void **state)
{
	(void)state;
	for (const struct sb_connector *const *c = sb_connectors; *c; c++) {
		bool as_target = !(*c)->target, as_source = !(*c)->source;

		for (const struct row *const *r = rows; *r; r++) {
			as_target = as_target || ((*r)->connector == *c && (*r)->target);
			as_source = as_source || ((*r)->connector == *c && (*r)->source);
		}
		if (!as_target || !as_source)
			fail_msg("connector '%s' is a %s that no row in tests/conformance/rows plays", (*c)->type,
				as_target ? "source" : "target");
	}
}

/* ------------------------------------------------------------------------------------------------ the suite itself */

static const struct check *check_named(const struct faulty *f, const char *name)
{
	const struct check *c = f->target ? target_checks : source_checks;

	while (c->run && strcmp(c->name, name) != 0)
		c++;
	if (!c->run)
		fail_msg("there is no check '%s'", name);
	return c;
}

static void each_is_caught(const struct faulty *f)
{
	char violation[400];

	for (unsigned i = 1; i < f->n; i++) {
		const struct fault *x = &f->fault[i];

		if (!x->what)
			continue;

		*f->chosen = i;
		check_run(
			f->row, check_named(f, x->check), f->target, x->by_absence ? SOON_MS : PATIENCE_MS, violation);
		*f->chosen = 0;
		if (!violation[0])
			fail_msg("%s: one that %s passes '%s'", f->row->name, x->what, x->check);
		if (!strstr(violation, x->says))
			fail_msg("%s: one that %s fails because '%s'", f->row->name, x->what, violation);
	}
}

static void faulty_targets_are_caught(void **state)
{
	(void)state;
	each_is_caught(&faulty_target);
}

static void faulty_sources_are_caught(void **state)
{
	(void)state;
	each_is_caught(&faulty_push_source);
	each_is_caught(&faulty_pull_source);
}

static void add_suite(void)
{
	add(faulty_target.row, target_checks, true); /* those without a fault pass everything */
	add(faulty_push_source.row, source_checks, false);
	add(faulty_pull_source.row, source_checks, false);
	test[n_tests++] = (struct CMUnitTest)cmocka_unit_test(faulty_targets_are_caught);
	test[n_tests++] = (struct CMUnitTest)cmocka_unit_test(faulty_sources_are_caught);
}

/* ------------------------------------------------------------------------------------------------ main */

static int run_all(const char *name)
{
	if (strcmp(name, "registry") == 0)
		test[n_tests++] = (struct CMUnitTest)cmocka_unit_test(every_connector_has_a_row);
	if (strcmp(name, "suite") == 0)
		add_suite();
	for (const struct row *const *r = rows; *r; r++) {
		if (!belongs(*r, name))
			continue;
		if ((*r)->target)
			add(*r, target_checks, true);
		if ((*r)->source)
			add(*r, source_checks, false);
	}
	if (n_tests)
		return _cmocka_run_group_tests(name, test, n_tests, NULL, NULL);
	fprintf(stderr, "connector '%s' has no row: write tests/conformance/rows/%s.c\n", name, name);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], SB_SPAWNER_VERB) == 0)
		return sb_spawner_main(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	sb_log_setup(SB_LOG_JSON, SB_LOG_ERROR);
	if (argc == 3)
		part = argv[2];
	if (argc == 2 || argc == 3)
		return run_all(argv[1]);
	fprintf(stderr, "conformance NAME [CHECK] | registry | suite\n");
	return 2;
}
