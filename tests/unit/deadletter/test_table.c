/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/base/fault.h"
#include "broker/base/rand.h"

/* ------------------------------------------------------------------------------------------------ files */

static void a_reader_sees_what_the_writer_commits_beside_it(void **state)
{
	struct sb_deadletters *w = open_table(), *r;
	struct sb_dead_record rec = record("b.0");
	const uint64_t seq = 2;
	struct sb_err err;

	(void)state;
	store_id(w, "a.0", 1);
	r = open_with(true, &conf);
	assert_all(r, "a.0");
	store(w, &rec, seq);
	assert_all(r, "a.0 b.0");
	assert_int_equal(last_seq(r), 2);
	assert_int_equal(sb_deadletters_store(r, &rec, &seq, 1, &err), -1);
	sb_deadletters_close(w);
	assert_all(r, "a.0 b.0");
	sb_deadletters_close(r);
	r = open_with(true, &conf); /* the writer has gone and taken its WAL along */
	assert_all(r, "a.0 b.0");
	sb_deadletters_close(r);
}

static void exec_sql(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void files_that_are_not_ours_to_read_are_refused(void **state)
{
	static const struct {
		const char *sql; /* NULL: no file */
		bool read_only;
		enum sb_code code;
	} cases[] = {
		{ NULL, true, SB_E_MISSING },
		{ "CREATE TABLE t (x)", false, SB_E_CORRUPT },
		{ "PRAGMA user_version = 1", false, SB_E_CORRUPT },
		{ "CREATE TABLE t (x); PRAGMA application_id = 0x53424458; PRAGMA user_version = 2", false, SB_E_VERSION },
		{ "CREATE TABLE t (x); PRAGMA application_id = 0x53424458; PRAGMA user_version = 2", true, SB_E_VERSION },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_deadletters *d = NULL;
		struct sb_err err = { 0 };

		clean(NULL);
		scene(NULL);
		if (cases[i].sql)
			exec_sql(cases[i].sql);
		if (sb_deadletters_open(path, cases[i].read_only, &conf, &d, &err) != -1 || err.code != cases[i].code)
			fail_msg("row %zu: code %d: %s", i, (int)err.code, err.msg);
	}
}

static void a_file_that_is_no_database_is_refused(void **state)
{
	struct sb_deadletters *d = NULL;
	FILE *f = fopen(path, "w");
	struct sb_err err;

	(void)state;
	for (int i = 0; i < 1000; i++)
		fputs("this is no database. ", f);
	fclose(f);
	assert_int_equal(sb_deadletters_open(path, false, &conf, &d, &err), -1);
	assert_int_equal(err.code, SB_E_CORRUPT);
}

static void accounts_hold_when_an_operator_deletes_by_hand(void **state)
{
	struct sb_deadletters *d = open_table();

	(void)state;
	store_id(d, "a.0", 1);
	store_id(d, "b.0", 2);
	store_id(d, "c.0", 3);
	sb_deadletters_close(d);
	exec_sql("DELETE FROM letter WHERE id = 'b.0'; UPDATE letter SET state = 1 WHERE id = 'a.0'");
	d = open_table();
	assert_totals(d, 2, 1);
	sb_deadletters_close(d);
}

/* A process that is killed just before or just behind each of its commits; the next one says again what was not confirmed. */
static void crash_at(const char *fault, uint64_t want_letters)
{
	struct sb_dead_record r[2] = { record("a.0"), record("b.0") };
	const uint64_t seq[2] = { 1, 2 };
	struct sb_deadletters *d;
	struct sb_err err;
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		sb_fault_arm(fault);
		d = open_table();
		sb_deadletters_store(d, r, seq, 2, &err);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	d = open_table();
	assert_totals(d, want_letters, 0);
	assert_int_equal(last_seq(d), want_letters ? 2 : 0);
	assert_int_equal(sb_deadletters_store(d, r, seq, 2, &err), 0);
	assert_all(d, "a.0 b.0");
	sb_deadletters_close(d);
}

static void a_killed_process_leaves_all_of_a_commit_or_nothing(void **state)
{
#ifdef SB_FAULTS
	(void)state;
	crash_at("deadletter.before_commit:1:kill", 0);
	clean(NULL);
	scene(NULL);
	crash_at("deadletter.after_commit:1:kill", 2);
#else
	(void)crash_at;
	(void)state;
	skip();
#endif
}

/* Random steps beside a model of what must be there, with the table closed and opened again now and then. */
enum { MODEL_IDS = 12 };

struct model {
	bool there[MODEL_IDS], claimed[MODEL_IDS];
	uint32_t lives[MODEL_IDS];
	uint64_t seq;
};

static void model_step(struct sb_deadletters *d, struct model *m, struct sb_rand *r)
{
	size_t i = sb_rand_below(r, MODEL_IDS);
	struct sb_dead_record rec;
	char id[16], redrive[24];
	struct sb_err err;

	snprintf(id, sizeof(id), "m.%zu", i);
	rec = record(id);
	if (!m->there[i]) {
		store(d, &rec, ++m->seq);
		m->there[i] = true;
		m->lives[i] = 1;
	} else if (!m->claimed[i]) {
		assert_true(claim(d, id));
		m->claimed[i] = true;
	} else if (sb_rand_below(r, 2)) {
		snprintf(redrive, sizeof(redrive), "r.%d", (int)++m->seq);
		rec.id = sb_slice_str(redrive);
		rec.redrive_of = sb_slice_str(id);
		store(d, &rec, m->seq);
		store(d, &rec, m->seq);
		m->claimed[i] = false;
		m->lives[i]++;
	} else {
		assert_int_equal(sb_deadletters_delivered(d, sb_slice_str(id), 0, &err), 0);
		m->there[i] = m->claimed[i] = false;
	}
}

static int check_letter(void *arg, const struct sb_letter *l)
{
	const struct model *m = arg;
	char text[16];
	long i;

	copy_slice(text, sizeof(text), l->rec.id);
	i = strtol(text + 2, NULL, 10); /* "m.7" */
	assert_true(m->there[i]);
	assert_int_equal(l->redriving, m->claimed[i]);
	assert_int_equal(l->lives, m->lives[i]);
	return 0;
}

static void every_step_survives_reopening(void **state)
{
	struct sb_deadletters *d = open_table();
	struct model m = { 0 };
	struct sb_rand r;

	(void)state;
	sb_rand_seed(&r, 5);
	for (int step = 0; step < 150; step++) {
		uint64_t there = 0, claimed = 0;
		struct sb_err err;

		model_step(d, &m, &r);
		if (step % 3 == 0) {
			sb_deadletters_close(d);
			d = open_table();
		}
		for (int i = 0; i < MODEL_IDS; i++) {
			there += m.there[i];
			claimed += m.claimed[i];
		}
		assert_totals(d, there, claimed);
		assert_int_equal(last_seq(d), m.seq);
		assert_int_equal(sb_deadletters_each(d, &(struct sb_letter_filter){ .redriving_too = true }, check_letter, &m, &err), 0);
	}
	sb_deadletters_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE(a_reader_sees_what_the_writer_commits_beside_it),
		SCENE(files_that_are_not_ours_to_read_are_refused),
		SCENE(a_file_that_is_no_database_is_refused),
		SCENE(accounts_hold_when_an_operator_deletes_by_hand),
		SCENE(a_killed_process_leaves_all_of_a_commit_or_nothing),
		SCENE(every_step_survives_reopening),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
