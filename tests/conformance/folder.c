/* SPDX-License-Identifier: Apache-2.0 */
#include "folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/base/buf.h"

struct folder {
	char program[PATH_MAX];
	int got; /* of the file, when it is one */
	struct sb_buf text;
};

static void path_of(const struct stage *st, const char *name, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/%s", st->dir, name);
}

int folder_make(struct stage *st, const char *program, struct sb_err *err)
{
	struct folder *f = st->far = sb_xcalloc(sizeof(*f));
	char got[PATH_MAX];

	sb_buf_init(&f->text, 64 << 20);
	if (!realpath(program, f->program))
		return sb_fail_errno(err, "%s", program);
	path_of(st, "got", got);
	f->got = open(got, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	folder_act(st, FAR_TAKES);
	return f->got < 0 ? sb_fail_errno(err, "%s", got) : 0;
}

/* In one step, as somebody may be reading it. */
static void write_act(const struct stage *st, const char *word)
{
	char part[PATH_MAX], act[PATH_MAX];
	FILE *file;

	path_of(st, "act.part", part);
	path_of(st, "act", act);
	file = fopen(part, "we");
	if (!file || fputs(word, file) < 0 || fclose(file) != 0 || rename(part, act) < 0)
		perror(part);
}

void folder_act(struct stage *st, enum far f)
{
	static const char *const words[FAR_N] = { "takes", "fails", "rejects", "stalls", "gone" };
	const struct folder *d = st->far;
	char link[PATH_MAX];

	write_act(st, words[f]);
	path_of(st, "program", link);
	if (f == FAR_GONE)
		unlink(link);
	else if (access(link, X_OK) < 0 && symlink(d->program, link) < 0)
		perror(link);
}

void folder_unmake(struct stage *st)
{
	struct folder *f = st->far;

	if (!f)
		return;
	close(f->got);
	sb_buf_done(&f->text);
	free(f);
	st->far = NULL;
}

static void read_all(int fd, struct sb_buf *out)
{
	ssize_t n;

	while ((n = read(fd, sb_buf_reserve(out, 64 << 10), 64 << 10)) > 0)
		out->len += (size_t)n;
}

void folder_collect_lines(struct stage *st)
{
	struct folder *f = st->far;
	size_t from = 0;
	char *end;

	read_all(f->got, &f->text);
	while (from < f->text.len && (end = memchr(f->text.p + from, '\n', f->text.len - from))) {
		size_t n = (size_t)(end - f->text.p) - from;

		stage_arrived(st, sb_slice(f->text.p + from, n));
		from += n + 1;
	}
	sb_buf_eat(&f->text, from);
}

static void take_file(struct stage *st, const char *name)
{
	struct folder *f = st->far;
	char path[PATH_MAX];
	int fd;

	path_of(st, name, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	sb_buf_clear(&f->text);
	read_all(fd, &f->text);
	close(fd);
	unlink(path);
	stage_arrived(st, sb_buf_slice(&f->text));
}

void folder_collect_files(struct stage *st)
{
	DIR *dir = opendir(st->dir);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (strncmp(e->d_name, "got.", 4) == 0)
			take_file(st, e->d_name);
	if (dir)
		closedir(dir);
}
