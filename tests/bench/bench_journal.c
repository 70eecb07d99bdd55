/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "broker/base/event.h"
#include "broker/journal/journal.h"

/*
 * Durable events of 512 bytes with one delivery and its outcome each, in groups of 1, 64 and 1,024:
 *
 *   journal   the events of a group and the outcomes of the group before, one sb_journal_pump
 *   log       write and fdatasync of as many bytes in groups of the same size into files allocated ahead: what the disk can do
 *   sqlite    the same rows in a transaction, WAL, synchronous FULL
 *
 * Rounds alternate, so that all meet the same machine; medians are printed, with the processor time an event, and the ratios.
 *
 *   bench_journal [milliseconds a round] [folder on the disk that is meant]
 */
#define EVENT_BYTES 512
#define BATCH_MAX 1024
#define ROUNDS 5
#define SEGMENT (64u << 20)

static uint64_t round_ns = 1000 * SB_NS_PER_MS;
static char folder[4000];
static struct sb_event *event;

static void die(const char *what)
{
	fprintf(stderr, "bench_journal: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	return sb_mono_ns(&sb_clock_system);
}

static void make_event(void)
{
	struct sb_buf b = SB_BUF(4096);
	struct sb_err err;

	sb_buf_adds(&b, "{\"id\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"source\":\"com.shop\",\"detail-type\":\"OrderPlaced\","
			"\"detail\":{\"note\":\"");
	while (b.len < EVENT_BYTES - 3)
		sb_buf_addc(&b, 'x');
	sb_buf_adds(&b, "\"}}");
	if (sb_event_parse(sb_buf_slice(&b), sb_name_str("default"), sb_name_str("shop"), &event, &err) < 0)
		die(err.msg);
	sb_buf_done(&b);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static char *make_dir(char out[4096])
{
	snprintf(out, 4096, "%s/bench-journal-XXXXXX", folder);
	if (!mkdtemp(out))
		die(out);
	return out;
}

/* ------------------------------------------------------------------------------------------------ journal */

static struct {
	char dir[4096];
	struct sb_journal *j;
	struct sb_mailbox home;
	struct sb_append event[BATCH_MAX], outcomes;
	struct sb_handover delivery[BATCH_MAX];
	unsigned owed; /* deliveries of the last group */
} jr;

static void came_home(struct sb_mail *m)
{
	if (SB_CONTAINER(m, struct sb_append, mail)->status != SB_APPEND_DURABLE)
		die("an append was not taken");
}

static void delivered(struct sb_mail *m)
{
	(void)m;
}

static void open_journal(void)
{
	struct sb_journal_conf conf = SB_JOURNAL_CONF;
	struct sb_owed owed = { .rule = "r", .target = "t" };
	struct sb_err err;

	conf.dir = make_dir(jr.dir);
	conf.segment_bytes = SEGMENT;
	if (sb_journal_open(&sb_vfs_system, &sb_clock_system, &conf, &jr.j, &err) < 0)
		die(err.msg);
	sb_mailbox_init(&jr.home, false);
	sb_buf_init(&jr.outcomes.frames, 1u << 20);
	for (unsigned i = 0; i < BATCH_MAX; i++) {
		sb_buf_init(&jr.event[i].frames, 1u << 20);
		sb_record_event(&jr.event[i].frames, &(struct sb_event_record){ .ev = event, .owed = &owed, .n_owed = 1 });
	}
}

static void submit(struct sb_append *a, struct sb_handover *h)
{
	a->mail.run = came_home;
	a->home = &jr.home;
	a->deliveries = h;
	sb_journal_submit(jr.j, a);
}

static void submit_outcomes(void)
{
	if (!jr.owed)
		return;
	sb_buf_clear(&jr.outcomes.frames);
	jr.outcomes.state = true;
	for (unsigned i = 0; i < jr.owed; i++)
		sb_record_result(&jr.outcomes.frames, &(struct sb_result_record){ .dno = jr.delivery[i].dno,
							      .route = jr.delivery[i].route, .attempts = 1 });
	submit(&jr.outcomes, NULL);
}

static void journal_group(unsigned batch)
{
	submit_outcomes();
	for (unsigned i = 0; i < batch; i++) {
		jr.delivery[i] = (struct sb_handover){ .mail.run = delivered, .home = &jr.home };
		submit(&jr.event[i], &jr.delivery[i]);
	}
	while (sb_journal_pump(jr.j))
		;
	sb_mailbox_drain(&jr.home);
	jr.owed = batch;
}

static void close_journal(void)
{
	sb_journal_close(jr.j);
	sb_mailbox_done(&jr.home);
	sb_buf_done(&jr.outcomes.frames);
	for (unsigned i = 0; i < BATCH_MAX; i++)
		sb_buf_done(&jr.event[i].frames);
	nftw(jr.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ------------------------------------------------------------------------------------------------ bare log */

static struct {
	char path[4096];
	int fd;
	off_t end;
	char *bytes;
	size_t n; /* of a group */
} lg;

static void open_log(void)
{
	snprintf(lg.path, sizeof(lg.path), "%s/bench-journal.log", folder);
	unlink(lg.path);
	lg.fd = open(lg.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	lg.end = 0;
	if (lg.fd < 0 || posix_fallocate(lg.fd, 0, SEGMENT) != 0 || fsync(lg.fd) < 0)
		die(lg.path);
}

static void close_log(void)
{
	close(lg.fd);
	unlink(lg.path);
}

static void log_group(unsigned batch)
{
	(void)batch;
	if (lg.end + (off_t)lg.n > (off_t)SEGMENT) {
		close_log();
		open_log();
	}
	if (pwrite(lg.fd, lg.bytes, lg.n, lg.end) != (ssize_t)lg.n || fdatasync(lg.fd) < 0)
		die(lg.path);
	lg.end += (off_t)lg.n;
}

/* As many bytes as the journal wrote for a group. */
static void size_log(size_t n)
{
	lg.n = n;
	lg.bytes = sb_xrealloc(lg.bytes, n);
	memset(lg.bytes, 'x', n);
}

/* ------------------------------------------------------------------------------------------------ SQLite */

static struct {
	char dir[4096];
	sqlite3 *db;
	sqlite3_stmt *begin, *commit, *event, *outcome;
	sqlite3_int64 last;
	unsigned owed;
} sq;

static sqlite3_stmt *prepare(const char *sql)
{
	sqlite3_stmt *s;

	if (sqlite3_prepare_v2(sq.db, sql, -1, &s, NULL) != SQLITE_OK)
		die(sqlite3_errmsg(sq.db));
	return s;
}

static void step(sqlite3_stmt *s)
{
	if (sqlite3_step(s) != SQLITE_DONE)
		die(sqlite3_errmsg(sq.db));
	sqlite3_reset(s);
}

static void open_sqlite(void)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/events.db", make_dir(sq.dir));
	if (sqlite3_open(path, &sq.db) != SQLITE_OK ||
	    sqlite3_exec(sq.db,
		    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
		    "CREATE TABLE event (id INTEGER PRIMARY KEY, text BLOB NOT NULL);"
		    "CREATE TABLE outcome (event INTEGER PRIMARY KEY, attempts INTEGER, at INTEGER, duration INTEGER)",
		    NULL, NULL, NULL) != SQLITE_OK)
		die(sqlite3_errmsg(sq.db));
	sq.begin = prepare("BEGIN IMMEDIATE");
	sq.commit = prepare("COMMIT");
	sq.event = prepare("INSERT INTO event (text) VALUES (?1)");
	sq.outcome = prepare("INSERT INTO outcome VALUES (?1, 1, 1795508393000, 230)");
}

static void sqlite_group(unsigned batch)
{
	step(sq.begin);
	for (unsigned i = 0; i < sq.owed; i++) {
		sqlite3_bind_int64(sq.outcome, 1, sq.last - sq.owed + 1 + i);
		step(sq.outcome);
	}
	for (unsigned i = 0; i < batch; i++) {
		sqlite3_bind_blob(sq.event, 1, event->json, (int)event->n, SQLITE_STATIC);
		step(sq.event);
	}
	sq.last = sqlite3_last_insert_rowid(sq.db);
	step(sq.commit);
	sq.owed = batch;
}

static void close_sqlite(void)
{
	sqlite3_stmt *const all[] = { sq.begin, sq.commit, sq.event, sq.outcome };

	for (size_t i = 0; i < SB_LEN(all); i++)
		sqlite3_finalize(all[i]);
	sqlite3_close(sq.db);
	nftw(sq.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ------------------------------------------------------------------------------------------------ the table */

struct score {
	double rate, cpu_us; /* events a second; processor an event, user and system */
};

static double cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static struct score play(void (*group)(unsigned batch), unsigned batch)
{
	uint64_t start = now_ns(), n = 0, took;
	double cpu = cpu_us();

	do {
		group(batch);
		n += batch;
		took = now_ns() - start;
	} while (took < round_ns);
	return (struct score){ (double)n / ((double)took / 1e9), (cpu_us() - cpu) / (double)n };
}

static size_t bytes_of_a_group(unsigned batch)
{
	struct sb_journal_stats before, after;

	journal_group(batch);
	sb_journal_get_stats(jr.j, &before);
	journal_group(batch);
	sb_journal_get_stats(jr.j, &after);
	return after.bytes - before.bytes;
}

static int by_rate(const void *a, const void *b)
{
	double x = ((const struct score *)a)->rate, y = ((const struct score *)b)->rate;

	return (x > y) - (x < y);
}

static struct score median(struct score s[ROUNDS])
{
	qsort(s, ROUNDS, sizeof(*s), by_rate);
	return s[ROUNDS / 2];
}

static void compare(unsigned batch)
{
	struct score journal[ROUNDS], bare[ROUNDS], sqlite[ROUNDS], j, b, s;

	size_log(bytes_of_a_group(batch));
	for (unsigned i = 0; i < ROUNDS; i++) {
		journal[i] = play(journal_group, batch);
		bare[i] = play(log_group, batch);
		sqlite[i] = play(sqlite_group, batch);
	}
	j = median(journal);
	b = median(bare);
	s = median(sqlite);
	printf("%5u %7zu  %9.0f %5.1f  %9.0f %5.1f  %9.0f %5.1f  %5.0f %%  %5.1f\n", batch, lg.n, j.rate, j.cpu_us, b.rate, b.cpu_us,
		s.rate, s.cpu_us, 100 * j.rate / b.rate, j.rate / s.rate);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const unsigned batches[] = { 1, 64, BATCH_MAX };

	if (argc > 1)
		round_ns = strtoull(argv[1], NULL, 10) * SB_NS_PER_MS;
	snprintf(folder, sizeof(folder), "%s", argc > 2 ? argv[2] : ".");
	make_event();
	open_journal();
	open_log();
	open_sqlite();
	printf("durable events of %u bytes with outcomes, medians of %u rounds\n", EVENT_BYTES, ROUNDS);
	printf("batch   bytes  journal/s    us      log/s    us   sqlite/s    us   of log  x sqlite\n");
	for (size_t i = 0; i < SB_LEN(batches); i++)
		compare(batches[i]);
	close_sqlite();
	close_log();
	close_journal();
	free(lg.bytes);
	sb_event_unref(event);
	return 0;
}
