/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/rulefile.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILES_MAX 10000
#define FOLDERS_DEEP 16 /* links may lead in circles */

struct finder {
	struct sb_arena *arena;
	struct sb_diags *diags;
	const char **file; /* malloc'ed */
	size_t n, cap;
};

static int refuse(struct finder *f, const char *path, struct sb_err *err)
{
	err->at = (struct sb_loc){ .file = path };
	sb_diag_error(f->diags, err);
	return -1;
}

static bool ends(const char *s, const char *with)
{
	size_t n = strlen(s), m = strlen(with);

	return n > m && strcmp(s + n - m, with) == 0;
}

static bool is_rule_file(const char *name)
{
	static const char *const endings[] = { ".yaml", ".yml", ".json" };
	char test[16];

	for (size_t i = 0; i < SB_LEN(endings); i++) {
		snprintf(test, sizeof(test), "_test%s", endings[i]);
		if (ends(name, endings[i]) && !ends(name, test))
			return true;
	}
	return false;
}

static int add_file(struct finder *f, const char *path)
{
	struct sb_err err;

	if (f->n == FILES_MAX) {
		sb_fail(&err, SB_E_LIMIT, "more than %d rule files", FILES_MAX);
		return refuse(f, path, &err);
	}
	if (f->n == f->cap) {
		f->cap = f->cap ? f->cap * 2 : 64;
		f->file = sb_xrealloc(f->file, f->cap * sizeof(*f->file));
	}
	f->file[f->n++] = path;
	return 0;
}

static int walk(struct finder *f, const char *folder, unsigned depth);

static int visit(struct finder *f, const char *folder, const char *name, unsigned depth)
{
	size_t n = strlen(folder), m = strlen(name);
	char *path = sb_arena_alloc(f->arena, n + m + 2);
	struct stat st;

	snprintf(path, n + m + 2, "%s%s%s", folder, n && folder[n - 1] == '/' ? "" : "/", name);
	if (stat(path, &st) < 0) {
		struct sb_err err;

		if (!is_rule_file(name))
			return 0; /* a link to nowhere that is not ours to read */
		sb_fail_errno(&err, "cannot read '%s'", path);
		return refuse(f, path, &err);
	}
	if (S_ISDIR(st.st_mode))
		return walk(f, path, depth + 1);
	return S_ISREG(st.st_mode) && is_rule_file(name) ? add_file(f, path) : 0;
}

static int walk(struct finder *f, const char *folder, unsigned depth)
{
	const struct dirent *e;
	struct sb_err err;
	DIR *d;
	int r = 0;

	if (depth > FOLDERS_DEEP) {
		sb_fail(&err, SB_E_LIMIT, "folders nested deeper than %d levels (a link that leads back?)",
			FOLDERS_DEEP);
		return refuse(f, folder, &err);
	}
	d = opendir(folder);
	if (!d) {
		sb_fail_errno(&err, "cannot read '%s'", folder);
		return refuse(f, folder, &err);
	}
	while (r == 0 && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.') /* also leaves out what editors put beside a file */
			r = visit(f, folder, e->d_name, depth);
	closedir(d);
	return r;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int find(struct finder *f, const char *path)
{
	struct sb_err err;
	struct stat st;

	if (stat(path, &st) < 0) {
		sb_fail_errno(&err, "cannot read '%s'", path);
		if (errno == ENOENT)
			sb_hint(&err, "`rules:` names the folder of rule files");
		return refuse(f, path, &err);
	}
	if (!S_ISDIR(st.st_mode))
		return add_file(f, sb_arena_strdup(f->arena, path));
	return walk(f, path, 0);
}

int sb_rule_files(struct sb_arena *a, const char *path, const char ***ret, size_t *ret_n, struct sb_diags *diags)
{
	struct finder f = { .arena = a, .diags = diags };
	int r = find(&f, path);

	*ret_n = f.n;
	*ret = sb_arena_alloc(a, f.n * sizeof(**ret));
	if (f.n) {
		qsort(f.file, f.n, sizeof(*f.file), by_path);
		memcpy(*ret, f.file, f.n * sizeof(**ret));
	}
	free(f.file);
	return r;
}
