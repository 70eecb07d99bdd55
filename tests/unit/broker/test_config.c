/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/template.h"
#include "world.h"

/* The documented example, with this world's connectors. */
static const char example[] = "version: 1\n"
			      "data_dir: ./data\n"
			      "listeners:\n"
			      "  main: {address: 127.0.0.1:8480}\n"
			      "rules: rules.d\n"
			      "buses: {default: {}, audit: {}}\n"
			      "sources:\n"
			      "  shop:\n"
			      "    hook: {path: /hooks/shop}\n"
			      "    source: com.shop\n"
			      "    detail_type: <meta.http.headers.x-shop-topic>\n"
			      "targets:\n"
			      "  invoice:\n"
			      "    run: {command: [python3, functions/invoice.py], max: 4}\n"
			      "    concurrency: 4\n"
			      "    timeout: 5s\n"
			      "    retry: {max_retries: 4, base: 200ms, cap: 10s, max_age: 1h}\n"
			      "  trail:\n"
			      "    log: {}\n";

static void the_example_loads_as_it_stands(void **state)
{
	struct sb_config *c = world_config(example);

	(void)state;
	assert_non_null(c);
	assert_string_equal(c->data_dir, "etc/./data");
	assert_string_equal(c->journal.dir, "etc/./data/journal");
	assert_string_equal(c->rules_path, "etc/rules.d");
	assert_int_equal(c->n_buses, 2);
	assert_string_equal(c->bus[0].name, "default");
	assert_int_equal(c->n_listeners, 1);
	assert_int_equal(c->listener[0].serve, 15);
	assert_int_equal(c->n_sources, 2);
	assert_string_equal(c->source[0].source_tpl->text, "com.shop");
	assert_string_equal(c->source[0].detail_type_tpl->text, "<meta.http.headers.x-shop-topic>");
	assert_null(c->source[0].bus);
	assert_string_equal(((struct hook_conf *)c->source[0].conf)->path, "/hooks/shop");
	assert_string_equal(c->source[1].name, "events");
	assert_int_equal(c->n_targets, 2);
	assert_ptr_equal(c->target[0].connector, &sb_connector_run);
	assert_int_equal(((struct run_conf *)c->target[0].conf)->command.n, 2);
	assert_int_equal(c->target[0].policy.concurrency, 4);
	assert_int_equal(c->target[0].policy.timeout_ms, 5000);
	assert_int_equal(c->target[0].policy.retry.max_retries, 4);
	assert_int_equal(c->target[0].policy.retry.base_ms, 200);
	assert_int_equal(c->target[0].policy.retry.cap_ms, 10000);
	assert_int_equal(c->target[0].policy.retry.max_age_ms, 3600000);
	sb_config_unref(c);
}

static void nothing_but_defaults(void **state)
{
	struct sb_config *c = world_config("targets: {t: {log: }, b: {bus: {name: default}}}\n");
	const struct sb_target_policy *p;

	(void)state;
	assert_non_null(c);
	assert_string_equal(c->listener[0].address, "127.0.0.1:8480");
	assert_string_equal(c->data_dir, "etc/data");
	assert_true(c->shards >= 1);
	assert_int_equal(c->limits.event_bytes, 1 << 20);
	assert_int_equal(c->limits.json_depth, 1000);
	assert_int_equal(c->listener[0].http.max_body, (1 << 20) + (16 << 10));
	assert_int_equal(c->journal.segment_bytes, 64 << 20);
	assert_int_equal(c->journal.min_free_bytes, 128 << 20);
	assert_false(c->journal.stop_on_corruption);
	assert_int_equal(c->dead_letters.keep_ms, UINT64_C(14) * 86400000);
	assert_int_equal(c->drain_timeout_ms, 30000);
	assert_string_equal(c->account, "000000000000");
	p = &c->target[0].policy;
	assert_int_equal(p->concurrency, 10);
	assert_int_equal(c->target[1].policy.concurrency, 500); /* its connector's own */
	assert_int_equal(p->retry.max_retries, 185);
	assert_int_equal(p->retry.cap_ms, 16 * 60000);
	assert_int_equal(p->lanes, 0);
	assert_int_equal(p->max_retrying, 10000);
	assert_int_equal(p->cache_bytes, 8 << 20);
	assert_int_equal(p->on_full, SB_ON_FULL_DEAD_LETTER);
	sb_config_unref(c);
}

static void everything_that_can_be_said(void **state)
{
	struct sb_config *c = world_config(
		"shards: 3\n"
		"account: '000012345678'\n"
		"log: {format: json, level: debug}\n"
		"limits: {event_bytes: 2MiB, json_depth: 64, hops: 3}\n"
		"journal: {segment_bytes: 2MiB, min_free: 16MiB, on_corruption: stop}\n"
		"listeners:\n"
		"  open: {address: 0.0.0.0:80, insecure: true, serve: [health, metrics], limits: {max_body: 64KiB}}\n"
		"  closed: {address: '[::]:0', auth: {tokens: [a, b]}, allow_origins: [https://shop.example]}\n"
		"sources:\n"
		"  in: {hook: {path: /a}, bus: default, envelope: raw, auth: {tokens: [c]}}\n"
		"  post: {events: {}}\n"
		"targets:\n"
		"  a: {log: {}, order_by: $.detail.id, lanes: 8, dead_letter: b}\n"
		"  b: {log: {}, max_queue: {bytes: 1GiB, age: 1d}, on_full: refuse}\n"
		"  c: {bus: {name: default}}\n");

	(void)state;
	assert_non_null(c);
	assert_int_equal(c->shards, 3);
	assert_string_equal(c->account, "000012345678");
	assert_int_equal(c->log_level, SB_LOG_DEBUG);
	assert_int_equal(c->log_format, SB_LOG_JSON);
	assert_true(c->journal.stop_on_corruption);
	assert_int_equal(c->listener[0].serve, SB_SERVE_HEALTH | SB_SERVE_METRICS);
	assert_int_equal(c->listener[0].http.max_body, 64 << 10);
	assert_int_equal(c->listener[1].http.max_body, (2 << 20) + (16 << 10));
	assert_int_equal(c->listener[1].tokens.n, 2);
	assert_int_equal(c->n_sources, 2); /* `post` is the source of /v1/events, no other is added */
	assert_int_equal(c->source[0].envelope, SB_ENVELOPE_RAW);
	assert_ptr_equal(c->source[0].bus, c->bus[0].name);
	assert_int_equal(c->source[0].tokens.n, 1);
	assert_int_equal(c->target[0].policy.lanes, 8);
	assert_int_equal(c->target[0].order_by->n, 2);
	assert_ptr_equal(c->target[0].dead_letter, c->target[1].name);
	assert_true(c->target[1].is_dead_letter);
	assert_false(c->target[0].is_dead_letter);
	assert_int_equal(c->target[1].policy.on_full, SB_ON_FULL_REFUSE);
	assert_int_equal(c->target[1].policy.max_queue_age_ms, 86400000);
	sb_config_unref(c);
}

static void the_last_reference_frees_it(void **state)
{
	const struct sb_config *c = world_config(example), *again = sb_config_ref(c);

	(void)state;
	assert_ptr_equal(c, again);
	sb_config_unref(c);
	assert_string_equal(again->target[1].name, "trail"); /* the address sanitizer looks on */
	sb_config_unref(again);
}

/* ------------------------------------------------------------------------------------------------ reload */

static void add_diff(const struct sb_config_diff *d, struct sb_buf *out)
{
	static const char *const kinds[] = { "+", "-", "~", "!" };

	for (size_t i = 0; i < d->n_restart; i++)
		sb_buf_addf(out, "restart %s; ", d->restart[i]);
	for (size_t i = 0; i < d->n; i++)
		sb_buf_addf(out, "%s%s %s; ", kinds[d->change[i].kind], d->change[i].what, d->change[i].name);
	if (d->live)
		sb_buf_adds(out, "live; ");
	if (d->rules)
		sb_buf_adds(out, "rules; ");
}

#define BASE "targets: {t: {run: {command: [a]}}}"
#define BUS "targets: {t: {bus: {name: default}"
#define MAIN "listeners: {main: {address: 127.0.0.1:8480"

static const struct {
	const char *from, *to, *want;
} reloads[] = {
	{ BASE, BASE, "" },
	{ BASE, "{targets: {t: {run: {command: [a], max: 4}, concurrency: 10}}}", "" }, /* defaults, said aloud */
	{ BUS "}}", BUS ", concurrency: 500}}", "" }, /* a connector's, too */
	{ BUS "}}", BUS ", concurrency: 10}}", "~target t; " },
	{ BASE, "targets: {t: {run: {command: [b]}}}", "!target t; " },
	{ BASE, "targets: {t: {run: {command: [a], secret: s}}}", "!target t; " },
	{ BASE, "targets: {t: {log: {}}}", "!target t; " },
	{ BASE, "targets: {t: {run: {command: [a]}, retry: {base: 2s}}}", "~target t; " },
	{ BASE, "targets: {t: {run: {command: [a]}, order_by: $.id}}", "~target t; " },
	{ BASE, "targets: {u: {run: {command: [a]}}}", "-target t; +target u; " },
	{ BASE, "targets: {t: {run: {command: [a]}, dead_letter: d}, d: {log: {}}}", "~target t; +target d; " },
	{ "targets: {t: {log: {}, dead_letter: d}, d: {log: {}}}", "targets: {t: {log: {}}, d: {log: {}}}",
		"~target t; ~target d; " },
	{ "buses: {a: {}, b: {}}", "buses: {b: {}, c: {}}", "-bus a; +bus c; " },
	{ "sources: {s: {hook: {path: /a}}}", "sources: {s: {hook: {path: /b}}}", "!source s; " },
	{ "sources: {s: {hook: {path: /a}}}", "sources: {s: {hook: {path: /a}, source: x}}", "~source s; " },
	{ "sources: {s: {hook: {path: /a}}}", "", "-source s; " },
	{ "", "sources: {e: {events: {}}}", "-source events; +source e; " },
	{ "log: {level: info}", "log: {level: debug}", "live; " },
	{ "log: {level: info}", "log: {format: json}", "restart log.format; " },
	{ "drain_timeout: 1s", "drain_timeout: 2s", "live; " },
	{ "data_dir: a", "data_dir: b", "restart data_dir; " },
	{ "rules: a", "rules: b", "rules; " },
	{ "journal: {segment_bytes: 1MiB}", "dead_letters: {keep: 1d}",
		"restart journal.segment_bytes; restart dead_letters.keep; " },
	{ "", MAIN "}}", "" },
	{ MAIN "}}", "listeners: {main: {address: 127.0.0.1:8481, serve: [events]}}",
		"restart listeners.main.address; restart listeners.main.serve; " },
	{ "", "listeners: {m: {address: 127.0.0.1:8480}}", "restart listeners.main; restart listeners.m; " },
	{ "", MAIN ", limits: {idle_timeout: 1s}}}", "restart listeners.main.limits.idle_timeout; " },
};

static void a_reload_knows_what_changes_and_what_needs_a_restart(void **state)
{
	struct sb_buf out = SB_BUF(4096);

	(void)state;
	for (size_t i = 0; i < SB_LEN(reloads); i++) {
		struct sb_config *from = world_config(reloads[i].from), *to = world_config(reloads[i].to);
		struct sb_config_diff d;

		if (!from || !to)
			fail_msg("row %zu is no configuration", i);
		sb_buf_clear(&out);
		sb_config_diff(from, to, &d);
		add_diff(&d, &out);
		if (strcmp(sb_buf_cstr(&out), reloads[i].want) != 0)
			fail_msg("row %zu: %s -> %s\n gave '%s'", i, reloads[i].from, reloads[i].to, out.p);
		sb_config_diff_done(&d);
		sb_config_unref(from);
		sb_config_unref(to);
	}
	sb_buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_loads_as_it_stands),
		cmocka_unit_test(nothing_but_defaults),
		cmocka_unit_test(everything_that_can_be_said),
		cmocka_unit_test(the_last_reference_frees_it),
		cmocka_unit_test(a_reload_knows_what_changes_and_what_needs_a_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
