/* SPDX-License-Identifier: Apache-2.0 */
#include "entry.h"

#include <stdio.h>

#include "broker/base/field.h"
#include "command.h"

static const char *const variables[] = { "event", "id", "rule", "attempt", "target" };

int rds_entry_names(void *arg, struct sb_slice name, const struct sb_path **ret)
{
	(void)arg;
	*ret = NULL;
	for (size_t i = 0; i < SB_LEN(variables); i++)
		if (sb_slice_eq_str(name, variables[i]))
			return 0;
	return -1;
}

int rds_entry_minid(const char *text, struct rds_entry_conf *ret)
{
	const char *p = text;
	size_t dashes = 0;

	if (sb_parse_ms(text, &ret->minid_age_ms) == 0 && ret->minid_age_ms)
		return 0;
	ret->minid_age_ms = 0;
	for (; *p; p++) {
		if (*p == '-' && p > text && p[1] && dashes++ == 0)
			continue;
		if (*p < '0' || *p > '9')
			return -1;
	}
	ret->minid = text;
	return p > text ? 0 : -1;
}

/* ------------------------------------------------------------------------------------------------ values */

/* The bytes of one value: somebody else's, or its place in the scratch buffer, which may still move. */
struct value {
	struct sb_slice own;
	size_t at, n;
	bool in_scratch, missing;
};

struct render {
	const struct sb_item *item;
	const char *target;
	char attempt[16];
	struct sb_buf *scratch;
};

static struct sb_slice variable(const struct render *r, struct sb_slice name)
{
	switch (name.p[0]) {
	case 'e': return r->item->input;
	case 'i': return r->item->delivery_id;
	case 'r': return sb_slice_str(r->item->rule);
	case 'a': return sb_slice_str(r->attempt);
	default:  return sb_slice_str(r->target);
	}
}

/* 0; 1: missing; -1: cap. */
static int add_part(const struct render *r, const struct sb_template_part *part)
{
	const struct sb_template one = { .part = (struct sb_template_part *)part, .n = 1 };

	if (part->text.p || part->path)
		return sb_template_text(&one, &r->item->event->tape, r->scratch);
	return sb_buf_add_slice(r->scratch, variable(r, part->name));
}

static int render(const struct render *r, const struct sb_template *t, struct value *ret)
{
	int rc = 0;

	*ret = (struct value){ .at = r->scratch->len };
	if (t->n == 1 && !t->part->text.p && !t->part->path) {
		ret->own = variable(r, t->part->name);
		return 0;
	}
	ret->in_scratch = true;
	for (uint32_t i = 0; i < t->n && rc == 0; i++)
		rc = add_part(r, &t->part[i]);
	ret->missing = rc == 1;
	if (rc)
		r->scratch->len = ret->at;
	ret->n = r->scratch->len - ret->at;
	return rc < 0 ? -1 : 0;
}

/* ------------------------------------------------------------------------------------------------ the command */

static bool is_trimmed(const struct rds_entry_conf *c)
{
	return c->maxlen || c->minid_age_ms || c->minid;
}

static void add_trim(const struct rds_entry_conf *c, uint64_t wall_ms, struct rds_command *cmd)
{
	rds_word(cmd, c->maxlen ? "MAXLEN" : "MINID");
	rds_word(cmd, c->exact ? "=" : "~");
	if (c->maxlen)
		rds_number(cmd, c->maxlen);
	else if (c->minid_age_ms)
		rds_number(cmd, wall_ms > c->minid_age_ms ? wall_ms - c->minid_age_ms : 0);
	else
		rds_word(cmd, c->minid);
}

static int add_command(const struct rds_entry_conf *c, const struct value *v, uint64_t wall_ms, const struct sb_buf *scratch,
	struct sb_buf *out)
{
	struct rds_command cmd;
	unsigned n = 0;

	for (size_t i = 0; i < c->n; i++)
		n += !v[i].missing;
	if (n == 0)
		return 1;
	rds_begin(&cmd, out, 3 + (is_trimmed(c) ? 3 : 0) + 2 * n, "XADD");
	rds_word(&cmd, c->stream);
	if (is_trimmed(c))
		add_trim(c, wall_ms, &cmd);
	rds_word(&cmd, "*");
	for (size_t i = 0; i < c->n; i++) {
		if (v[i].missing)
			continue;
		rds_word(&cmd, c->field[i].name);
		rds_bytes(&cmd, v[i].in_scratch ? sb_slice(scratch->p + v[i].at, v[i].n) : v[i].own);
	}
	return rds_end(&cmd);
}

int rds_entry_xadd(const struct rds_entry_conf *c, const struct sb_item *item, const char *target, uint64_t wall_ms,
	struct sb_buf *scratch, struct sb_buf *out)
{
	struct render r = { .item = item, .target = target, .scratch = scratch };
	struct value v[RDS_FIELDS_MAX];

	SB_ASSERT(c->n <= RDS_FIELDS_MAX);
	snprintf(r.attempt, sizeof(r.attempt), "%u", item->attempt);
	sb_buf_clear(scratch);
	for (size_t i = 0; i < c->n; i++)
		if (render(&r, &c->field[i].value, &v[i]) < 0)
			return -1;
	return add_command(c, v, wall_ms, scratch, out);
}
