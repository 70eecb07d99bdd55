/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard output is a named pipe while the connector looks at it first; later it keeps its own descriptor of it, as
 * there is one outlet for the whole process. A reader that goes away and comes back opens the pipe by its name.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/buf.h"
#include "tests/conformance/stage.h"

extern const struct sb_connector sb_connector_log;

static char path[64];
static int reader = -1, writer = -1, standard_output = -1;
static struct sb_buf text = SB_BUF(64 << 20); /* read, and no whole line yet */
static bool reads;

static void begin_reading(void)
{
	if (reader < 0)
		reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	reads = true;
}

static void remove_pipe(void)
{
	unlink(path);
}

static int first_make(struct sb_err *err)
{
	snprintf(path, sizeof(path), "/tmp/sb-stdout-%d", (int)getpid());
	if (mkfifo(path, 0600) < 0)
		return sb_fail_errno(err, "mkfifo");
	atexit(remove_pipe);
	begin_reading();
	writer = open(path, O_WRONLY | O_CLOEXEC);
	return writer < 0 ? sb_fail_errno(err, "%s", path) : 0;
}

static int make(struct stage *st, struct sb_err *err)
{
	(void)st;
	if (writer < 0 && first_make(err) < 0)
		return -1;
	begin_reading();
	fflush(stdout);
	standard_output = dup(STDOUT_FILENO);
	dup2(writer, STDOUT_FILENO);
	return 0;
}

static void opened(struct stage *st)
{
	(void)st;
	if (standard_output < 0)
		return;
	dup2(standard_output, STDOUT_FILENO);
	close(standard_output);
	standard_output = -1;
}

static void unmake(struct stage *st)
{
	opened(st);
	sb_buf_done(&text);
}

static void act(struct stage *st, enum far f)
{
	(void)st;
	if (f == FAR_TAKES) {
		begin_reading();
	} else if (f == FAR_STALLS) {
		reads = false;
	} else if (f == FAR_GONE) {
		close(reader);
		reader = -1;
		sb_buf_clear(&text);
	}
}

static void take_lines(struct stage *st)
{
	size_t from = 0;
	char *end;

	while (from < text.len && (end = memchr(text.p + from, '\n', text.len - from))) {
		size_t n = (size_t)(end - text.p) - from;

		stage_arrived(st, sb_slice(text.p + from, n));
		from += n + 1;
	}
	sb_buf_eat(&text, from);
}

static void collect(struct stage *st)
{
	ssize_t n;

	if (reader < 0 || !reads)
		return;
	while ((n = read(reader, sb_buf_reserve(&text, 64 << 10), 64 << 10)) > 0)
		text.len += (size_t)n;
	take_lines(st);
}

static const char *const wrong[] = { "{format: xml}", "[]", NULL };

const struct row row_log = {
	.name = "log",
	.connector = &sb_connector_log,
	.conf = "{format: input}",
	.wrong = wrong,
	.make = make,
	.opened = opened,
	.unmake = unmake,
	.single = true,
	.target =
		&(const struct target_row){
			.lines = true,
			.may = { [FAR_TAKES] = MAY(SB_RETRY), [FAR_GONE] = MAY(SB_UNREACHABLE) },
			.act = act,
			.collect = collect,
		},
};
