/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sb_field hook_fields[] = {
	SB_F(STR, struct hook_conf, path, .required = true, .min = 1, .max = 100, .doc = "Where it listens."),
	{ 0 },
};

static const struct sb_field run_fields[] = {
	SB_F(STRS, struct run_conf, command, .required = true, .min = 1, .doc = "What to run."),
	SB_F(INT, struct run_conf, max, .min = 1, .max = 9, .dflt = "4", .doc = "Workers."),
	SB_F(SECRET, struct run_conf, secret, .doc = "Its key."),
	{ 0 },
};

/* What no row can say: the command's first word must not be empty. */
static int run_check(struct sb_decode *d, const struct sb_node *at, void *conf)
{
	const struct run_conf *c = conf;
	const struct sb_node *n = sb_node_get(at, "command");
	struct sb_err err;

	if (c->command.v[0][0])
		return 0;
	sb_fail_at(&err, SB_E_INVALID, &n->at, "the command is empty");
	sb_diag_error(d->diags, &err);
	return -1;
}

const struct sb_connector sb_connector_hook = {
	.type = "hook",
	.summary = "takes raw JSON on a path",
	.source = &(const struct sb_source_ops){ .conf_size = sizeof(struct hook_conf), .fields = hook_fields },
};
static void settled(struct sb_source *s, uint64_t cookie, uint32_t epoch)
{
	(void)s;
	(void)cookie;
	(void)epoch;
}

static const struct sb_connector queue = {
	.type = "queue",
	.summary = "holds what it has until it is settled",
	.source = &(const struct sb_source_ops){ .settled = settled },
};
static const struct sb_connector events = {
	.type = "events",
	.summary = "takes events",
	.source = &(const struct sb_source_ops){ .conf_size = 0 },
};
const struct sb_connector sb_connector_run = {
	.type = "run",
	.summary = "runs a program",
	.target =
		&(const struct sb_target_ops){
			.conf_size = sizeof(struct run_conf), .fields = run_fields, .check = run_check },
};
static const struct sb_connector log_connector = {
	.type = "log",
	.summary = "prints",
	.target = &(const struct sb_target_ops){ .conf_size = 0 },
};
static const struct sb_connector bus = {
	.type = "bus",
	.summary = "hands on to another bus",
	.target = &(const struct sb_target_ops){ .conf_size = sizeof(struct sb_bus_target_conf),
		.fields = sb_bus_target_fields, .concurrency = 500 },
};

const struct sb_connector *const sb_connectors[] = { &sb_connector_hook, &events, &queue, &sb_connector_run, &log_connector,
	&bus, NULL };

struct sb_config *world_config(const char *text)
{
	struct sb_diags d = { 0 };
	struct sb_config *c = sb_config_parse("etc/signalbox.yaml", sb_slice_str(text), NULL, &d);
	struct sb_buf out = SB_BUF(1u << 16);

	if (!c) {
		sb_diags_format(&d, SB_DIAG_LONG, false, &out);
		fprintf(stderr, "%s", sb_buf_cstr(&out));
	}
	sb_buf_done(&out);
	sb_diags_done(&d);
	return c;
}

static struct sb_rule_target *one_target(struct sb_arena *a, struct sb_slice name, unsigned line)
{
	struct sb_rule_target *t = sb_arena_alloc(a, sizeof(*t));

	t->target = sb_name(name);
	t->at = (struct sb_loc){ "rules.d/r.yaml", line, 9, (unsigned)name.n };
	return t;
}

struct sb_ruleset *world_rules(const char *spec)
{
	struct sb_ruleset *rs = sb_xcalloc(sizeof(*rs));

	atomic_init(&rs->refs, 1);
	rs->text = sb_arena_slice(&rs->arena, sb_slice_str(spec));
	rs->rule = sb_arena_alloc(&rs->arena, 16 * sizeof(*rs->rule));
	for (const char *p = spec; *p;) {
		size_t n = strcspn(p, " "), gt = strcspn(p, ">");
		struct sb_rule *r = &rs->rule[rs->n++];

		r->name = "r";
		r->bus = sb_name(sb_slice(p, gt));
		r->at = (struct sb_loc){ "rules.d/r.yaml", (unsigned)rs->n, 5, 1 };
		r->target = one_target(&rs->arena, sb_slice(p + gt + 1, n - gt - 1), (unsigned)rs->n);
		r->n_targets = 1;
		p += n + strspn(p + n, " ");
	}
	return rs;
}

const char *world_spec;

struct sb_ruleset *sb_ruleset_load(const char *path, struct sb_diags *diags)
{
	struct sb_err err;

	if (world_spec)
		return world_rules(world_spec);
	sb_fail_at(&err, SB_E_PATTERN, &(struct sb_loc){ path, 3, 5, 1 }, "a rule is wrong");
	sb_diag_error(diags, &err);
	return NULL;
}

bool sb_ruleset_whole(const struct sb_ruleset *rs)
{
	(void)rs;
	return true;
}

void sb_ruleset_unref(struct sb_ruleset *rs)
{
	if (atomic_fetch_sub_explicit(&rs->refs, 1, memory_order_acq_rel) != 1)
		return;
	sb_arena_done(&rs->arena);
	free(rs);
}
