/* SPDX-License-Identifier: Apache-2.0 */
#include "checks.h"

#include <stdlib.h>

char *large_detail(size_t bytes)
{
	size_t n = bytes > 512 ? bytes - 512 : 16; /* the envelope has its share */
	char *p = sb_xmalloc(n + 1);

	for (size_t i = 0; i < n; i++)
		p[i] = (char)('a' + i % 26);
	p[0] = p[n - 1] = '"';
	p[n] = '\0';
	return p;
}

static void is_refused(struct stage *st, const char *conf)
{
	const struct sb_err *err;

	MUST(st, stage_decode(st, conf) > 0, "this configuration was taken: %s", conf);
	err = &st->diags.item[0].err;
	MUST(st, err->code != SB_OK && err->msg[0], "%s: refused, and it does not say why", conf);
	MUST(st, err->at.line > 0, "%s: '%s', and it does not say where", conf, err->msg);
}

void wrong_configuration_is_refused(struct stage *st)
{
	is_refused(st, "{no_such_key_for_sure: 1}");
	for (const char *const *w = st->row->wrong; w && *w && !st->violations; w++)
		is_refused(st, *w);
}

void a_failed_open_says_why(struct stage *st)
{
	struct sb_err err;

	if (st->target)
		st->row->target->spoil(st);
	else
		st->row->source->spoil(st);
	MUST(st, stage_try_open(st, &err) < 0, "it opened all the same");
	stage_free(st);
	MUST(st, err.code != SB_OK && err.msg[0], "it did not open, and does not say why");
	stage_rest(st, 20);
	MUST(st, st->closed == 0 && st->emitted == 0, "something came of an open that had failed");
}
