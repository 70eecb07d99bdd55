/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strings of the configuration, completed. YAML is parsed before anything is put in, so that no value can change the
 * structure; only string leaves are looked at.
 */
#include <stdlib.h>
#include <string.h>

#include "fieldrow.h"

#define EXPANDED_MAX (1u << 20)
#define PATH_MAX_BYTES 4096

bool sb_field_refers(const struct sb_node *n)
{
	return n->kind == SB_NODE_STRING && memmem(n->text.p, n->text.n, "${", 2) != NULL;
}

static int add_default(struct sb_decode *d, const struct sb_node *n, const char *var, const char *dash,
	struct sb_slice name, struct sb_buf *out)
{
	struct sb_err err;

	if (dash)
		return sb_buf_add(out, dash + 2, (size_t)(name.p + name.n - dash) - 2);
	sb_fail(&err, SB_E_UNRESOLVED, "the environment variable %s is not set", var);
	sb_hint(&err, "`${env:%s:-default}` gives it a default", var);
	return sb_field_report(d, n, &err);
}

static int expand_env(struct sb_decode *d, const struct sb_node *n, struct sb_slice name, struct sb_buf *out)
{
	const char *dash = memmem(name.p, name.n, ":-", 2), *value;
	size_t len = dash ? (size_t)(dash - name.p) : name.n;
	char var[128];
	struct sb_err err;

	if (len == 0 || len >= sizeof(var)) {
		sb_fail(&err, SB_E_INVALID, "`${env:}` needs the name of a variable");
		return sb_field_report(d, n, &err);
	}
	memcpy(var, name.p, len);
	var[len] = '\0';
	value = d->getenv ? d->getenv(var) : getenv(var);
	if (!value || (!*value && dash)) /* as in a shell: `:-` is also for an empty one */
		return add_default(d, n, var, dash, name, out);
	if (strpbrk(value, "\r\n")) {
		sb_fail(&err, SB_E_INVALID, "the environment variable %s holds a line end", var);
		sb_hint(&err, "put the text into a file: `${file:PATH}`");
		return sb_field_report(d, n, &err);
	}
	return sb_buf_adds(out, value);
}

int sb_field_path(struct sb_decode *d, const struct sb_node *at, const char *path, const char **ret)
{
	const char *slash = at && at->at.file ? strrchr(at->at.file, '/') : NULL;
	struct sb_buf out = SB_BUF(PATH_MAX_BYTES);
	struct sb_err err;
	int r = 0;

	if (path[0] != '/' && d->dir)
		r = sb_buf_addf(&out, "%s/", d->dir);
	else if (path[0] != '/' && slash)
		r = sb_buf_add(&out, at->at.file, (size_t)(slash - at->at.file) + 1);
	if (r < 0 || sb_buf_adds(&out, path) < 0) {
		sb_buf_done(&out);
		sb_fail(&err, SB_E_LIMIT, "the path is longer than %d bytes", PATH_MAX_BYTES);
		return sb_field_report(d, at, &err);
	}
	*ret = sb_arena_strndup(d->arena, out.p ? out.p : "", out.len);
	sb_buf_done(&out);
	return 0;
}

/* 0: all of it; 1: out's cap; -1: errno. */
static int read_into(const char *path, struct sb_buf *out)
{
	FILE *f = fopen(path, "re");
	char chunk[4096];
	size_t n;
	int r = 0;

	if (!f)
		return -1;
	while (r == 0 && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		r = sb_buf_add(out, chunk, n) < 0;
	if (ferror(f))
		r = -1;
	fclose(f);
	return r;
}

static int expand_file(struct sb_decode *d, const struct sb_node *n, struct sb_slice name, struct sb_buf *out)
{
	size_t before = out->len;
	const char *path = NULL;
	struct sb_err err;
	int r;

	if (sb_field_path(d, n, sb_arena_strndup(d->arena, name.p, name.n), &path) < 0)
		return -1;
	r = read_into(path, out);
	if (r < 0)
		sb_fail_errno(&err, "cannot read '%s'", path);
	else if (r)
		sb_fail(&err, SB_E_LIMIT, "'%s' is larger than 1 MiB", path);
	if (r)
		return sb_field_report(d, n, &err);
	if (out->len > before && out->p[out->len - 1] == '\n')
		out->len--; /* a secret's file usually ends with a line end that is not part of it */
	return 0;
}

static int expand_reference(struct sb_decode *d, const struct sb_node *n, struct sb_slice ref, struct sb_buf *out)
{
	bool env = ref.n > 4 && memcmp(ref.p, "env:", 4) == 0, file = ref.n > 5 && memcmp(ref.p, "file:", 5) == 0;
	struct sb_err err;

	if (!env && !file) {
		sb_fail(&err, SB_E_SYNTAX, "unknown reference `${%.*s}`", SB_SLICE_ARG(ref));
		sb_hint(&err, "`${env:NAME}`, `${env:NAME:-default}`, `${file:PATH}`, or `$${` for a literal `${`");
		return sb_field_report(d, n, &err);
	}
	if (d->no_env)
		return sb_buf_addf(out, "${%.*s}", SB_SLICE_ARG(ref));
	return env ? expand_env(d, n, sb_slice(ref.p + 4, ref.n - 4), out)
		   : expand_file(d, n, sb_slice(ref.p + 5, ref.n - 5), out);
}

/* One step: the text up to and with the next `${...}`, or the rest. Returns where to go on; NULL: reported. */
static const char *expand_step(struct sb_decode *d, const struct sb_node *n, const char *p, struct sb_buf *out)
{
	const char *end = n->text.p + n->text.n, *dollar = memmem(p, (size_t)(end - p), "${", 2), *close;
	struct sb_err err;

	if (!dollar)
		return sb_buf_add(out, p, (size_t)(end - p)) < 0 ? NULL : end;
	if (dollar > p && dollar[-1] == '$') { /* $${ */
		sb_buf_add(out, p, (size_t)(dollar - p));
		return sb_buf_addc(out, '{') < 0 ? NULL : dollar + 2;
	}
	close = memchr(dollar, '}', (size_t)(end - dollar));
	if (!close) {
		sb_fail(&err, SB_E_SYNTAX, "`${` is not closed");
		sb_hint(&err, "`$${` is a literal `${`");
		sb_field_report(d, n, &err);
		return NULL;
	}
	sb_buf_add(out, p, (size_t)(dollar - p));
	return expand_reference(d, n, sb_slice(dollar + 2, (size_t)(close - dollar - 2)), out) < 0 ? NULL : close + 1;
}

static int check_nul(struct sb_decode *d, const struct sb_node *n, struct sb_slice s)
{
	struct sb_err err;

	if (!s.n || !memchr(s.p, '\0', s.n))
		return 0;
	sb_fail(&err, SB_E_INVALID, "the string holds a NUL character");
	return sb_field_report(d, n, &err);
}

int sb_node_string(struct sb_decode *d, const struct sb_node *n, const char **ret)
{
	struct sb_buf out = SB_BUF(EXPANDED_MAX);
	const char *p = n->text.p;
	int r;

	if (n->kind != SB_NODE_STRING)
		return sb_field_wrong_kind(d, n, "a string",
			n->kind == SB_NODE_NUMBER || n->kind == SB_NODE_BOOL ? "quotes make it a string" : NULL);
	while (p && p < n->text.p + n->text.n)
		p = expand_step(d, n, p, &out);
	r = p ? check_nul(d, n, sb_buf_slice(&out)) : -1;
	if (r == 0)
		*ret = sb_arena_strndup(d->arena, out.p ? out.p : "", out.len);
	sb_buf_done(&out);
	return r;
}
