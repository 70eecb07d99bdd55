/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/base/buf.h"
#include "broker/base/clock.h"
#include "executor/proc.h"

/* The real processes and the spawner, which is this program itself under its hidden verb. */

#define PATIENCE_S 10

struct run {                 /* one process and everything that was heard of it */
	struct sb_proc proc; /* first */
	struct sb_buf got[3];
	struct sb_err err;
	unsigned started, failed, exited, writable, ends[3];
	unsigned order, came[3]; /* 1: its first bytes came before those of the others */
	int status;
	void (*on_started)(struct run *r);
	const char *want; /* stop the loop when stdout begins with it */
};

static struct event_base *base;
static struct sb_procs *procs;
static pid_t spawner;

static struct run *run_of(struct sb_proc *p)
{
	return SB_CONTAINER(p, struct run, proc);
}

static void started(struct sb_proc *p)
{
	struct run *r = run_of(p);

	r->started++;
	if (r->on_started)
		r->on_started(r);
}

static void failed(struct sb_proc *p, const struct sb_err *err)
{
	run_of(p)->failed++;
	run_of(p)->err = *err;
	event_base_loopbreak(base);
}

static void bytes(struct sb_proc *p, enum sb_proc_stream s, const char *data, size_t n)
{
	struct run *r = run_of(p);

	assert_int_equal(r->started, 1);
	assert_int_equal(r->exited, 0);
	if (n == 0)
		r->ends[s]++;
	else if (r->came[s] == 0)
		r->came[s] = ++r->order;
	sb_buf_add(&r->got[s], data, n);
	if (r->want && r->got[SB_STREAM_STDOUT].len >= strlen(r->want))
		event_base_loopbreak(base);
}

static void writable(struct sb_proc *p)
{
	run_of(p)->writable++;
	event_base_loopbreak(base);
}

static void exited(struct sb_proc *p, int status)
{
	run_of(p)->exited++;
	run_of(p)->status = status;
	event_base_loopbreak(base);
}

static const struct sb_proc_cb cb = { started, failed, bytes, writable, exited };

static void run_init(struct run *r)
{
	*r = (struct run){ .proc.cb = &cb };
	for (unsigned i = 0; i < 3; i++)
		sb_buf_init(&r->got[i], 64 << 20);
}

static void run_done(struct run *r)
{
	for (unsigned i = 0; i < 3; i++)
		sb_buf_done(&r->got[i]);
}

static const char *text(struct run *r, enum sb_proc_stream s)
{
	return sb_buf_cstr(&r->got[s]);
}

static void spawn_at(struct run *r, const char *const *argv, const char *cwd, bool channel)
{
	static const char *const envp[] = { "PATH=/usr/bin:/bin", "COLOR=blue", NULL };
	struct sb_proc_spec spec = { .argv = argv, .envp = envp, .cwd = cwd, .channel = channel };

	procs->ops->spawn(procs, &r->proc, &spec);
}

static void spawn_sh(struct run *r, const char *script)
{
	const char *argv[] = { "sh", "-c", script, NULL };

	run_init(r);
	spawn_at(r, argv, NULL, true);
}

static void wait_for(const unsigned *what)
{
	uint64_t until = sb_mono_ns(&sb_clock_system) + PATIENCE_S * SB_NS_PER_S;
	struct timeval tick = { 0, 50000 };

	while (*what == 0 && sb_mono_ns(&sb_clock_system) < until) {
		event_base_loopexit(base, &tick);
		event_base_loop(base, EVLOOP_ONCE);
	}
	assert_int_not_equal(*what, 0);
}

static void wait_output(struct run *r, const char *want)
{
	r->want = want;
	for (unsigned i = 0; i < 200 && r->got[SB_STREAM_STDOUT].len < strlen(want); i++) {
		struct timeval tick = { 0, 50000 };

		event_base_loopexit(base, &tick);
		event_base_loop(base, EVLOOP_ONCE);
	}
	r->want = NULL;
	assert_true(r->got[SB_STREAM_STDOUT].len >= strlen(want));
}

static int setup(void **state)
{
	struct sb_err err;
	int sock;

	(void)state;
	base = event_base_new();
	spawner = sb_spawner_start(1, -1, &sock, &err);
	if (spawner < 0)
		fail_msg("%s", err.msg);
	procs = sb_procs_new(base, sock);
	return 0;
}

static int teardown(void **state)
{
	int status;

	(void)state;
	sb_procs_free(procs);
	event_base_free(base);
	assert_int_equal(waitpid(spawner, &status, 0), spawner);
	assert_int_equal(status, 0);
	return 0;
}

static void it_gets_its_streams_and_nothing_else(void **state)
{
	struct run r;

	(void)state;
	spawn_sh(&r, "echo out; echo err >&2; echo answer >&3; env | sort; ls /proc/self/fd | tr '\\n' ' '; exit 7");
	wait_for(&r.exited);
	assert_true(WIFEXITED(r.status));
	assert_int_equal(WEXITSTATUS(r.status), 7);
	assert_string_equal(text(&r, SB_STREAM_STDERR), "err\n");
	assert_string_equal(text(&r, SB_STREAM_CHANNEL), "answer\n");
	/* the shell adds PWD; ls has opened descriptor 4 itself */
	if (!strstr(text(&r, SB_STREAM_STDOUT), "out\nCOLOR=blue\n") ||
		!strstr(text(&r, SB_STREAM_STDOUT), "\n0 1 2 3 4 "))
		fail_msg("%s", text(&r, SB_STREAM_STDOUT));
	assert_null(strstr(text(&r, SB_STREAM_STDOUT), "HOME="));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(r.ends[i], 1);
	run_done(&r);
}

static void dawdle(struct run *r)
{
	(void)r;
	usleep(100000);
}

/* The epoll set tells of the channel first here; what was printed must be known when an answer is looked at. */
static void output_is_read_before_answers(void **state)
{
	const char *argv[] = { "sh", "-c", "echo answer >&3; echo out; echo err >&2; sleep 100", NULL };
	struct run r;

	(void)state;
	run_init(&r);
	r.on_started = dawdle;
	spawn_at(&r, argv, NULL, true);
	while (r.order < 3)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(r.came[SB_STREAM_CHANNEL], 3);
	procs->ops->signal(&r.proc, SIGKILL);
	wait_for(&r.exited);
	run_done(&r);
}

static void signals_are_as_after_login(void **state)
{
	const char *argv[] = { "cat", "/proc/self/status", NULL }, *p;
	struct run r;

	(void)state;
	run_init(&r);
	spawn_at(&r, argv, NULL, false);
	wait_for(&r.exited);
	p = strstr(text(&r, SB_STREAM_STDOUT), "SigBlk:");
	assert_non_null(p);
	assert_int_equal(strtoull(p + 7, NULL, 16), 0);
	p = strstr(p, "SigIgn:");
	/* 32 and 33 are glibc's own; posix_spawn has its children ignore them */
	assert_int_equal(strtoull(p + 7, NULL, 16) & ~UINT64_C(0x180000000), 0);
	run_done(&r);
}

static void what_cannot_be_started_says_why(void **state)
{
	static const struct {
		const char *argv0, *cwd, *want;
		enum sb_code code;
	} cases[] = {
		{ "no-such-command", NULL, "cannot execute it: No such file or directory", SB_E_UNREACHABLE },
		{ "/etc/passwd", NULL, "cannot execute it: Permission denied", SB_E_REFUSED },
		{ "true", "/no/such/folder", "cannot enter its folder (cwd): No such file or directory",
			SB_E_UNREACHABLE },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		const char *argv[] = { cases[i].argv0, NULL };
		struct run r;

		run_init(&r);
		spawn_at(&r, argv, cases[i].cwd, false);
		assert_int_equal(r.failed, 0); /* never from within the call */
		wait_for(&r.failed);
		if (strcmp(r.err.msg, cases[i].want) != 0 || r.err.code != cases[i].code)
			fail_msg("row %zu: %s", i, r.err.msg);
		assert_int_equal(r.started + r.exited, 0);
		run_done(&r);
	}
}

static void the_spec_has_a_limit(void **state)
{
	static char huge[SB_PROC_SPEC_MAX + 1];
	const char *argv[] = { "true", huge, NULL };
	struct run r;

	(void)state;
	memset(huge, 'x', sizeof(huge) - 1);
	run_init(&r);
	spawn_at(&r, argv, NULL, false);
	wait_for(&r.failed);
	assert_int_equal(r.err.code, SB_E_LIMIT);
	run_done(&r);
}

static void cat_a_lot(struct run *r)
{
	static char data[200000];

	memset(data, 'd', sizeof(data));
	r->writable = 0;
	assert_true(r->proc.procs->ops->write(&r->proc, data, sizeof(data)) < sizeof(data));
}

static void a_full_pipe_does_not_block(void **state)
{
	struct run r;

	(void)state;
	run_init(&r);
	r.on_started = cat_a_lot;
	spawn_at(&r, (const char *const[]){ "sh", "-c", "sleep 0.2; exec cat", NULL }, NULL, false);
	wait_for(&r.writable);
	procs->ops->close_stdin(&r.proc);
	wait_for(&r.exited);
	assert_true(r.got[SB_STREAM_STDOUT].len >= 65536);
	run_done(&r);
}

static void a_closed_stdin_takes_everything(void **state)
{
	static char data[200000];
	struct run r;

	(void)state;
	spawn_sh(&r, "exec 0<&-; echo closed; sleep 5");
	wait_output(&r, "closed\n");
	assert_int_equal(procs->ops->write(&r.proc, data, sizeof(data)), sizeof(data));
	procs->ops->signal(&r.proc, SIGKILL);
	wait_for(&r.exited);
	assert_int_equal(WTERMSIG(r.status), SIGKILL);
	run_done(&r);
}

/* As ps has it: 'R', 'S', 'T' ...; 0: there is none. */
static char state_of(pid_t pid)
{
	char path[64], line[256] = "";
	const char *paren;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	paren = strrchr(line, ')');
	return paren && paren[1] ? paren[2] : '\0';
}

/* A zombie that nobody reaps is dead. */
static bool lives(pid_t pid)
{
	char c = state_of(pid);

	return c && c != 'Z';
}

static void wait_death(pid_t pid, unsigned ms)
{
	for (unsigned i = 0; i < ms && lives(pid); i++)
		usleep(1000);
	assert_false(lives(pid));
}

static void a_signal_reaches_the_whole_group(void **state)
{
	struct run r;
	pid_t child;

	(void)state;
	spawn_sh(&r, "sleep 100 & echo $!; wait");
	wait_output(&r, "1\n");
	child = (pid_t)strtol(text(&r, SB_STREAM_STDOUT), NULL, 10);
	assert_true(lives(child));
	procs->ops->signal(&r.proc, SIGTERM);
	wait_for(&r.exited);
	assert_int_equal(WTERMSIG(r.status), SIGTERM);
	wait_death(child, 1000);
	run_done(&r);
}

/* A background child that holds the pipes keeps nothing from being reported, and goes with its leader. */
static void what_a_leader_leaves_behind_is_killed(void **state)
{
	static const char *const scripts[] = {
		"sleep 100 & echo $!; exit 5",
		"setsid sh -c 'echo $$; exec sleep 100' & sleep 0.2; exit 5",     /* leaves the group */
		"(setsid sh -c 'echo $$; exec sleep 100' &) ; sleep 0.2; exit 5", /* double fork */
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(scripts); i++) {
		struct run r;
		pid_t child;

		spawn_sh(&r, scripts[i]);
		wait_for(&r.exited);
		assert_int_equal(WEXITSTATUS(r.status), 5);
		child = (pid_t)strtol(text(&r, SB_STREAM_STDOUT), NULL, 10);
		assert_true(child > 1);
		wait_death(child, 1000);
		run_done(&r);
	}
}

static void who_forks_away_is_killed_while_its_leader_lives_on(void **state)
{
	struct run r;
	pid_t child;

	(void)state;
	spawn_sh(&r, "(setsid sh -c 'echo $$; exec sleep 100' &); exec sleep 100");
	wait_output(&r, "1\n");
	child = (pid_t)strtol(text(&r, SB_STREAM_STDOUT), NULL, 10);
	assert_true(child > 1);
	wait_death(child, 5000);
	assert_true(lives(r.proc.pid));
	procs->ops->signal(&r.proc, SIGKILL);
	wait_for(&r.exited);
	run_done(&r);
}

static void many_at_once(void **state)
{
	static struct run r[200];

	(void)state;
	for (size_t i = 0; i < SB_LEN(r); i++) {
		run_init(&r[i]);
		spawn_at(&r[i], (const char *const[]){ "sh", "-c", "echo $$", NULL }, NULL, i % 2);
	}
	for (size_t i = 0; i < SB_LEN(r); i++) {
		wait_for(&r[i].exited);
		assert_int_equal(r[i].status, 0);
		assert_int_equal(strtol(text(&r[i], SB_STREAM_STDOUT), NULL, 10), r[i].proc.pid);
		run_done(&r[i]);
	}
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void descriptors_come_back(void **state)
{
	unsigned before = open_fds();
	struct run r;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		spawn_sh(&r, "true");
		wait_for(&r.exited);
		run_done(&r);
		run_init(&r);
		spawn_at(&r, (const char *const[]){ "nothing-there", NULL }, NULL, true);
		wait_for(&r.failed);
		run_done(&r);
	}
	assert_int_equal(open_fds(), before);
}

/* ------------------------------------------------------------------------------------------------ the spawner dies */

static void turns(unsigned n)
{
	struct timeval tick = { 0, 1000 };

	while (n--) {
		event_base_loopexit(base, &tick);
		event_base_loop(base, EVLOOP_ONCE);
	}
}

static void kill_spawner(void)
{
	kill(spawner, SIGKILL);
	for (unsigned i = 0; i < 1000 && !procs->down; i++)
		turns(1);
	assert_true(procs->down);
}

static void bury_spawner(void)
{
	int status = 0;

	for (unsigned i = 0; i < 1000 && !sb_spawner_bury(&spawner, &status); i++)
		usleep(1000);
	assert_int_equal(spawner, 0);
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void start_another(void)
{
	struct sb_err err;
	int sock;

	spawner = sb_spawner_start(1, -1, &sock, &err);
	assert_true(spawner > 0);
	sb_procs_renew(procs, sock);
}

/* Its workers, their children, and who has left their groups are dead and reaped before anybody is told. */
static void with_the_spawner_dies_all_that_it_started(void **state)
{
	static const char *const scripts[] = {
		"echo $$; exec sleep 100",
		"trap '' TERM; sleep 100 & echo $!; wait",
		"setsid sh -c 'echo $$; exec sleep 100' & sleep 100",
		"(setsid sh -c 'echo $$; exec sleep 100' &); sleep 100",
		"setsid setsid sh -c 'sleep 100 & echo $!; wait' & sleep 100",
		"echo $$; kill -STOP $$",
	};
	struct run r[SB_LEN(scripts)];
	pid_t pid[SB_LEN(scripts)];

	(void)state;
	for (size_t i = 0; i < SB_LEN(scripts); i++) {
		spawn_sh(&r[i], scripts[i]);
		wait_output(&r[i], "1\n");
		pid[i] = (pid_t)strtol(text(&r[i], SB_STREAM_STDOUT), NULL, 10);
		assert_true(lives(pid[i]));
	}
	kill_spawner();
	turns(20);
	for (size_t i = 0; i < SB_LEN(scripts); i++)
		assert_int_equal(r[i].exited, 0); /* that they are dead is not known yet */
	bury_spawner();
	for (size_t i = 0; i < SB_LEN(scripts); i++)
		if (kill(pid[i], 0) == 0 || kill(r[i].proc.pid, 0) == 0)
			fail_msg("row %zu is left", i);
	sb_procs_renew(procs, -1);
	for (size_t i = 0; i < SB_LEN(scripts); i++) {
		assert_int_equal(r[i].exited, 1);
		assert_true(r[i].proc.lost);
		run_done(&r[i]);
	}
	start_another();
}

static void what_it_said_before_is_heard(void **state)
{
	struct run r, ended;

	(void)state;
	spawn_sh(&ended, "exit 7");
	spawn_sh(&r, "echo up; read line; echo answer >&3; kill -STOP $$");
	wait_output(&r, "up\n");
	wait_for(&ended.exited);
	assert_int_equal(r.proc.procs->ops->write(&r.proc, "go\n", 3), 3);
	for (unsigned i = 0; i < 5000 && state_of(r.proc.pid) != 'T'; i++)
		usleep(1000);
	assert_int_equal(state_of(r.proc.pid), 'T'); /* the answer is in its pipe, and the loop has not turned */
	kill(spawner, SIGKILL);
	bury_spawner();
	start_another(); /* before the loop has seen the socket's end */
	assert_int_equal(r.exited, 1);
	assert_string_equal(text(&r, SB_STREAM_CHANNEL), "answer\n");
	assert_false(ended.proc.lost);
	run_done(&r);
	run_done(&ended);
}

static void what_is_asked_for_meanwhile_is_started_by_the_next_one(void **state)
{
	unsigned before = open_fds();
	struct run early, late, given_up;

	(void)state;
	kill(spawner, SIGKILL);
	bury_spawner();
	spawn_sh(&early, "echo early; echo 1 >&3"); /* the loop has not seen the socket's end yet */
	for (unsigned i = 0; i < 1000 && !procs->down; i++)
		turns(1);
	spawn_sh(&late, "echo late");
	spawn_sh(&given_up, "echo never");
	procs->ops->signal(&given_up.proc, SIGTERM);
	procs->ops->signal(&given_up.proc, SIGKILL);
	wait_for(&given_up.failed);
	assert_false(given_up.proc.lost);
	assert_int_equal(given_up.err.code, SB_E_UNREACHABLE);
	sb_procs_renew(procs, -1);
	assert_int_equal(early.failed + early.exited + late.failed + late.exited, 0);
	start_another();
	wait_for(&early.exited);
	wait_for(&late.exited);
	assert_string_equal(text(&early, SB_STREAM_STDOUT), "early\n");
	assert_string_equal(text(&early, SB_STREAM_CHANNEL), "1\n");
	assert_string_equal(text(&late, SB_STREAM_STDOUT), "late\n");
	assert_int_equal(given_up.failed, 1);
	assert_int_equal(open_fds(), before);
	run_done(&early);
	run_done(&late);
	run_done(&given_up);
}

static void a_burial_spares_whoever_is_of_our_session(void **state)
{
	pid_t other = fork();
	int status;

	(void)state;
	if (other == 0) {
		for (;;)
			pause();
	}
	kill_spawner();
	bury_spawner();
	assert_int_equal(kill(other, 0), 0);
	kill(other, SIGKILL);
	waitpid(other, &status, 0);
	start_another();
}

/* ------------------------------------------------------------------------------------------------ the daemon dies */

/* Plays a daemon with two shards: starts workers of the nasty sort, writes their pids to `out`, and waits to be killed. */
static _Noreturn void play_daemon(int out, int lock)
{
	static const char *const scripts[] = {
		"trap '' TERM HUP INT; echo $$; while :; do sleep 1; done",
		"(setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' &); sleep 100",
		"setsid setsid sh -c 'echo $$; sleep 100' & sleep 100",
		"echo $$; kill -STOP $$",
	};
	static struct run r[SB_LEN(scripts)];
	struct sb_procs *ps[2];
	int socks[2];

	base = event_base_new();
	if (sb_spawner_start(2, lock, socks, NULL) < 0)
		_exit(1);
	for (unsigned i = 0; i < 2; i++)
		ps[i] = sb_procs_new(base, socks[i]);
	for (unsigned i = 0; i < SB_LEN(r); i++) {
		procs = ps[i % 2];
		spawn_sh(&r[i], scripts[i]);
	}
	for (unsigned i = 0; i < SB_LEN(r); i++) {
		wait_output(&r[i], "1\n");
		dprintf(out, "%ld %d ", strtol(text(&r[i], SB_STREAM_STDOUT), NULL, 10), (int)r[i].proc.pid);
	}
	dprintf(out, "\n");
	for (;;)
		pause();
}

static void nobody_outlives_a_killed_daemon(void **state)
{
	char path[] = "/tmp/sb-test-lock-XXXXXX", line[512], *p = line;
	int out[2], status, lock = mkstemp(path), probe, n_pids = 0;
	ssize_t n = 0;
	pid_t daemon;

	(void)state;
	assert_int_equal(pipe(out), 0);
	assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
	daemon = fork();
	if (daemon == 0) {
		close(out[0]);
		play_daemon(out[1], lock);
	}
	close(out[1]);
	close(lock);
	while (n == 0 || line[n - 1] != '\n') {
		ssize_t got = read(out[0], line + n, sizeof(line) - 1 - (size_t)n);

		assert_true(got > 0);
		n += got;
	}
	line[n] = '\0';
	close(out[0]);
	kill(daemon, SIGKILL);
	waitpid(daemon, &status, 0);
	for (long pid = strtol(p, &p, 10); pid > 0; pid = strtol(p, &p, 10), n_pids++)
		wait_death((pid_t)pid, 1000);
	assert_int_equal(n_pids, 8);
	/* the spawner has kept the lock until all were dead, and lets go of it then */
	probe = open(path, O_RDWR | O_CLOEXEC);
	for (unsigned i = 0; i < 1000 && flock(probe, LOCK_EX | LOCK_NB) < 0; i++)
		usleep(1000);
	assert_int_equal(flock(probe, LOCK_EX | LOCK_NB), 0);
	close(probe);
	unlink(path);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_gets_its_streams_and_nothing_else, setup, teardown),
		cmocka_unit_test_setup_teardown(output_is_read_before_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(signals_are_as_after_login, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_started_says_why, setup, teardown),
		cmocka_unit_test_setup_teardown(the_spec_has_a_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_pipe_does_not_block, setup, teardown),
		cmocka_unit_test_setup_teardown(a_closed_stdin_takes_everything, setup, teardown),
		cmocka_unit_test_setup_teardown(a_signal_reaches_the_whole_group, setup, teardown),
		cmocka_unit_test_setup_teardown(what_a_leader_leaves_behind_is_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(who_forks_away_is_killed_while_its_leader_lives_on, setup, teardown),
		cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(descriptors_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(with_the_spawner_dies_all_that_it_started, setup, teardown),
		cmocka_unit_test_setup_teardown(what_it_said_before_is_heard, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_asked_for_meanwhile_is_started_by_the_next_one, setup, teardown),
		cmocka_unit_test_setup_teardown(a_burial_spares_whoever_is_of_our_session, setup, teardown),
		cmocka_unit_test(nobody_outlives_a_killed_daemon),
	};

	if (argc > 1 && strcmp(argv[1], SB_SPAWNER_VERB) == 0)
		return sb_spawner_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
