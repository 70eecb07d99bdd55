/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_tables.h"

#define FILE_BYTES_MAX (4u << 20)

static int read_text(const char *file, struct sb_buf *out, struct sb_diags *diags)
{
	FILE *f = fopen(file, "re");
	struct sb_err err;
	char chunk[16384];
	size_t n = 0;

	if (!f) {
		sb_fail_errno(&err, "cannot read '%s'", file);
		if (errno == ENOENT)
			sb_hint(&err, "-c FILE names another configuration");
		sb_diag_error(diags, &err);
		return -1;
	}
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0 && sb_buf_add(out, chunk, n) == 0)
		;
	if (n == 0 && !ferror(f)) {
		fclose(f);
		return 0;
	}
	if (n)
		sb_fail(&err, SB_E_LIMIT, "'%s' is larger than 4 MiB", file);
	else
		sb_fail_errno(&err, "cannot read '%s'", file);
	sb_diag_error(diags, &err);
	fclose(f);
	return -1;
}

int sb_config_bind(struct sb_config *c, struct sb_ruleset *rules, struct sb_diags *diags)
{
	size_t errors = diags->errors;

	c->rules = rules;
	sb_config_check_rules(c, rules, diags);
	return diags->errors == errors ? 0 : -1;
}

/* Where it is named: a path alone does not tell which line is wrong. */
static bool rules_are_there(const struct sb_config *c, struct sb_diags *diags)
{
	const struct sb_node *at = c->doc.root ? sb_node_get(c->doc.root, "rules") : NULL;
	struct sb_err err;

	if (!at || access(c->rules_path, F_OK) == 0)
		return true; /* or its reader says what is wrong */
	sb_fail_at(&err, SB_E_IO, &at->at, "there is no '%s'", c->rules_path);
	sb_hint(&err, "the folder of rule files, or one of them");
	sb_diag_error(diags, &err);
	return false;
}

const struct sb_config *sb_config_load(const char *file, const struct sb_config_env *env, struct sb_diags *diags)
{
	struct sb_buf text = SB_BUF(FILE_BYTES_MAX);
	size_t errors = diags->errors;
	struct sb_ruleset *rules;
	struct sb_config *c;

	if (read_text(file, &text, diags) < 0) {
		sb_buf_done(&text);
		return NULL;
	}
	c = sb_config_read(file, sb_buf_slice(&text), env, diags);
	sb_buf_done(&text);
	/* their errors too, whatever we have found */
	rules = c->rules_path && rules_are_there(c, diags) ? sb_ruleset_load(c->rules_path, diags) : NULL;
	if (rules)
		sb_config_bind(c, rules, diags);
	if (rules && diags->errors == errors)
		return c;
	sb_config_unref(c);
	return NULL;
}
