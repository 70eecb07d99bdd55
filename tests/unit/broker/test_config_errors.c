/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "world.h"

/* `rules`: as world_rules() takes them; NULL: not bound. want: all findings, "line:col message | hint", each on a line. */
static const struct {
	const char *in, *rules, *want;
} cases[] = {
	/* names and connectors */
	{ "targets: {t: {}}", NULL, "1:11 target `t` has no connector | one of `run:`, `log:`, `bus:`\n" },
	{ "sources: {s: {source: x}}", NULL, "1:11 source `s` has no connector | one of `hook:`, `events:`, `queue:`\n" },
	{ "targets: {t: {rnu: {command: [a]}}}", NULL, "1:15 unknown key `rnu` | did you mean `run`?\n" },
	{ "targets: {t: {hook: {path: /a}}}", NULL,
		"1:15 `hook` cannot be a target | one of `run:`, `log:`, `bus:`\n" },
	{ "sources: {t: {log: {}}}", NULL, "1:15 `log` cannot be a source | one of `hook:`, `events:`, `queue:`\n" },
	{ "targets: {t: {log: {}, run: {command: [a]}}}", NULL,
		"1:24 target `t` has two connectors, `log` and `run` | make it two targets\n" },
	{ "targets: {.t: {log: {}}}", NULL,
		"1:11 `.t` is not a name | letters, digits, `.`, `_`, `-`; a letter or digit first; at most 64\n" },
	{ "targets: [a]", NULL, "1:10 expected a map of names, found a list | \n" },
	{ "targets: {t: 5}", NULL, "1:14 expected a map, found a number | \n" },
	{ "- a", NULL, "1:1 expected a map, found a list | \n" },
	{ "version: 2", NULL, "1:10 `version` is out of range | 1\n" },
	{ "target: {}", NULL, "1:1 unknown key `target` | did you mean `targets`?\n" },
	{ "buses: {a: {keep: 1}}", NULL, "1:13 unknown key `keep` | there are no keys here\n" },
	{ "metrics: {redis: {url: 'http://x'}}", NULL,
		"1:24 not the URL of a Redis: it begins with none of redis://, rediss://, unix: | write redis://host:6379/0, "
		"rediss://host:6380 or unix:/run/redis/redis.sock\n" },
	{ "metrics: {redis: {url: 'redis://x', cluster: 'a b'}}", NULL,
		"1:46 `a b` is not a name | letters, digits, `.`, `_`, `-`; a letter or digit first; at most 64\n" },
	/* what belongs to the connector and what stands beside it */
	{ "targets: {t: {run: {command: [a], timeout: 5s}}}", NULL,
		"1:35 unknown key `timeout` | it belongs one level up, beside `run:`\n" },
	{ "targets: {t: {run: {command: [a]}, max: 5}}", NULL, "1:36 unknown key `max` | it belongs under `run:`\n" },
	{ "targets: {t: {run: {command: [a]}, max_age: 5s}}", NULL,
		"1:36 unknown key `max_age` | it belongs under `retry:`\n" },
	{ "targets: {t: {run: {command: [a]}, retry: {timeout: 5s}}}", NULL,
		"1:44 unknown key `timeout` | it belongs one level up, beside `retry:`\n" },
	{ "targets: {t: {run: {}}}", NULL, "1:15 the key `command` is missing | command: What to run.\n" },
	{ "targets: {t: {run: {command: []}}}", NULL, "1:30 `command` needs at least 1 entries | \n" },
	{ "targets: {t: {run: {command: ['']}}}", NULL, "1:30 the command is empty | \n" },
	{ "targets: {t: {log: {a: 1}}}", NULL, "1:21 unknown key `a` | there are no keys here\n" },
	/* all of it in one run */
	{ "targets: {t: {run: {command: [a], max: 99}, timeout: 5}}\nsources: {s: {hook: {path: 5}, envelop: "
	  "raw}}\nlog: {level: inf}",
		NULL,
		"1:40 `max` is out of range | from 1 to 9\n1:54 `5` is not a duration | for example 250ms, 5s, 1h30m, "
		"14d\n"
		"2:28 expected a string, found a number | quotes make it a string\n2:32 unknown key `envelop` | did "
		"you mean `envelope`?\n"
		"3:14 `inf` is not a value of `level` | did you mean `info`?\n" },
	{ "shards: 1\nshards: 2\nregoin: a", NULL,
		"2:1 the key `shards` stands here a second time | first at line 1, column 1\n3:1 unknown key `regoin` "
		"| did you mean `region`?\n" },
	/* names that lead nowhere */
	{ "sources: {s: {hook: {path: /a}, bus: adit}}\nbuses: {audit: {}}", NULL,
		"1:38 there is no bus `adit` | did you mean `audit`?\n" },
	{ "targets: {t: {bus: {name: nowhere}}}", NULL,
		"1:27 there is no bus `nowhere` | add it under `buses:` in etc/signalbox.yaml\n" },
	{ "targets: {t: {log: {}, dead_letter: drad}, dead: {log: {}}}", NULL,
		"1:37 there is no target `drad` | did you mean `dead`?\n" },
	{ "targets: {t: {log: {}, dead_letter: t}}", NULL,
		"1:37 target `t` cannot be its own dead-letter target | a dead-letter target is retried without end, "
		"so nothing dies there\n" },
	{ "targets: {t: {log: {}, dead_letter: u}, u: {log: {}, dead_letter: v}, v: {log: {}}}", NULL,
		"1:37 `u` has a dead-letter target itself | a dead-letter target is retried without end, so nothing "
		"dies there\n" },
	{ "targets: {t: {log: {}, dead_letter: u}, u: {log: {a: 1}}}", NULL, /* u is wrong, not absent */
		"1:51 unknown key `a` | there are no keys here\n" },
	{ "sources: {s: {hook: {pth: /a}, bus: adit}}\nbuses: {audit: {}}", NULL, /* told beside its other errors */
		"1:15 the key `path` is missing | path: Where it listens.\n1:22 unknown key `pth` | did you mean "
		"`path`?\n"
		"1:37 there is no bus `adit` | did you mean `audit`?\n" },
	{ "targets: {t: {run: {command: [a], max_retries: 3}}}", NULL,
		"1:35 unknown key `max_retries` | it belongs under `retry:`, which stands beside `run:`\n" },
	/* policies */
	{ "targets: {t: {log: {}, retry: {base: 1h}}}", NULL,
		"1:38 `cap` is below `base` | `cap` is the longest wait, `base` the first\n" },
	{ "targets: {t: {log: {}, concurrency: 0}}", NULL, "1:37 `concurrency` is out of range | from 1 to 100000\n" },
	{ "targets: {t: {log: {}, lanes: 4}}", NULL, "1:31 warning: `lanes` does nothing without `order_by` | \n" },
	{ "targets: {t: {log: {}, on_full: refuse}}", NULL,
		"1:33 warning: `on_full` does nothing without `max_queue` | \n" },
	{ "{sources: {q: {queue: {}}}, targets: {t: {log: {}, order_by: $.detail.id}}}", NULL,
		"1:62 warning: in a group of several daemons this order ends where a part of 'q' changes hands | what is journaled "
		"here comes after what the next owner reads on; it holds with one daemon\n" },
	{ "sources: {q: {queue: {}, overflow: {topic: t}}}", NULL,
		"1:36 `queue` sources have no topic to overflow into | write `spill` or `pause`\n" },
	{ "sources: {q: {queue: {}, overflow: {topik: t}}}", NULL,
		"1:26 the key `topic` is missing | topic: Of a `kafka` source: the topic of the same cluster that gets the event, with the "
		"names of those it is owed to.\n1:37 unknown key `topik` | did you mean `topic`?\n" },
	{ "sources: {q: {queue: {}, overflow: 5}}", NULL, "1:36 expected a word or a map, found a number | \n" },
	{ "sources: {q: {queue: {}, overflow: splil}}", NULL, "1:36 `splil` is not a value of `overflow` | did you mean `spill`?\n" },
	{ "{sources: {q: {queue: {}, overflow: pause}}, targets: {t: {log: {}, order_by: $.detail.id}}}", NULL, "" },
	{ "targets: {t: {log: {}, order_by: a..b}}", NULL, "1:34 path 'a..b': column 3: expected a key | \n" },
	/* listeners */
	{ "listeners: {a: {address: 0.0.0.0:80}}", NULL,
		"1:26 listener `a` would take events from everybody who reaches 0.0.0.0:80 | add `auth: {tokens: "
		"[...]}`, or say `insecure: true`\n" },
	{ "listeners: {a: {address: 0.0.0.0:80, auth: {}}}", NULL,
		"1:38 the key `tokens` is missing | tokens: Bearer tokens; several for rotation.\n" },
	{ "listeners: {a: {address: 0.0.0.0:80, auth: {tokens: []}}}", NULL, "1:53 `tokens` has 1 to 64 entries | \n" },
	{ "listeners: {a: {address: 'localhost:1'}, b: {address: 'localhost:1'}}", NULL,
		"1:55 listener `a` has the address localhost:1 already | \n" },
	{ "listeners: {a: {address: 'localhost:0'}, b: {address: 'localhost:0'}}", NULL, "" },
	{ "listeners: {a: {address: 'localhost:1', serve: [event]}}", NULL,
		"1:49 `event` is nothing that a listener serves | did you mean `events`?\n" },
	{ "listeners: {a: {serve: []}}", NULL,
		"1:13 the key `address` is missing | address: `127.0.0.1:8480`, `[::1]:8480`, `unix:/path`; port 0: "
		"any free one.\n"
		"1:24 `serve` has 1 to 8 entries | \n" },
	{ "sources: {a: {hook: {path: /a}}, b: {hook: {path: /a}}}", NULL,
		"1:51 the path /a is taken by source `a` | first at line 1, column 28\n" },
	/* rules against buses and targets */
	{ "targets: {invoice: {log: {}}}", "default>invoice", "" },
	{ "targets: {invoice: {log: {}}}", "default>invioce other>invoice",
		"1:9 there is no target `invioce` | did you mean `invoice`?\n2:5 there is no bus `other` | add it "
		"under `buses:` in etc/signalbox.yaml\n" },
	{ "buses: {a: {}, b: {}}\ntargets: {to-a: {bus: {name: a}}, to-b: {bus: {name: b}}}", "default>to-a a>to-b",
		"" },
	{ "buses: {a: {}, b: {}}\ntargets: {to-a: {bus: {name: a}}, to-b: {bus: {name: b}}}",
		"default>to-a a>to-b b>to-a",
		"3:9 warning: an event that matches all the way round comes back to bus `a` here | it ends after 8 "
		"buses (limits.hops)\n" },
	{ "targets: {self: {bus: {name: default}}}", "default>self",
		"1:9 warning: an event that matches all the way round comes back to bus `default` here | it ends after "
		"8 buses (limits.hops)\n" },
};

static int by_place(const void *a, const void *b)
{
	const struct sb_loc *x = &((const struct sb_diag *)a)->err.at, *y = &((const struct sb_diag *)b)->err.at;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->col < y->col ? -1 : x->col > y->col;
}

static void add_findings(struct sb_diags *d, struct sb_buf *out)
{
	if (d->n)
		qsort(d->item, d->n, sizeof(*d->item), by_place);
	for (size_t i = 0; i < d->n; i++)
		sb_buf_addf(out, "%u:%u %s%s | %s\n", d->item[i].err.at.line, d->item[i].err.at.col,
			d->item[i].severity == SB_SEV_WARNING ? "warning: " : "", d->item[i].err.msg,
			d->item[i].err.hint);
}

static void every_error_has_its_place_and_says_what_would_be_right(void **state)
{
	struct sb_buf out = SB_BUF(1u << 16);

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_diags d = { 0 };
		struct sb_config *c = sb_config_parse("etc/signalbox.yaml", sb_slice_str(cases[i].in), NULL, &d);

		sb_buf_clear(&out);
		if (c && cases[i].rules)
			sb_config_bind(c, world_rules(cases[i].rules), &d);
		add_findings(&d, &out);
		if (strcmp(sb_buf_cstr(&out), cases[i].want) != 0)
			fail_msg("row %zu: %s\n gave %s", i, cases[i].in, out.p);
		sb_config_unref(c);
		sb_diags_done(&d);
	}
	sb_buf_done(&out);
}

static void no_secret_is_shown(void **state)
{
	struct sb_diags d = { 0 };
	struct sb_buf out = SB_BUF(1u << 16);

	(void)state;
	setenv("SB_TEST_SECRET", "hunter2", 1);
	assert_null(sb_config_parse("c.yaml",
		SB_SLICE("targets: {t: {run: {command: [a], secret: '${env:SB_TEST_SECRET}', max: "
			 "'${env:SB_TEST_SECRET}'},\n"
			 " timeout: '${env:SB_TEST_SECRET}', on_full: '${env:SB_TEST_SECRET}', concurrency: "
			 "'${env:SB_TEST_SECRET}'}}"),
		NULL, &d));
	assert_int_equal(d.errors, 4);
	sb_diags_format(&d, SB_DIAG_LONG, false, &out);
	sb_diags_format(&d, SB_DIAG_JSON, false, &out);
	assert_null(strstr(sb_buf_cstr(&out), "hunter2"));
	sb_buf_done(&out);
	sb_diags_done(&d);
}

static void without_the_environment_references_stay(void **state)
{
	struct sb_config_env env = { .no_env = true };
	struct sb_diags d = { 0 };
	struct sb_config *c = sb_config_parse("c.yaml",
		SB_SLICE("targets: {t: {run: {command: ['${env:SB_NOT_SET}'], max: '${env:SB_NOT_SET}'}, timeout: "
			 "'${file:/none}'}}"),
		&env, &d);

	(void)state;
	assert_non_null(c);
	assert_string_equal(((struct run_conf *)c->target[0].conf)->command.v[0], "${env:SB_NOT_SET}");
	assert_int_equal(((struct run_conf *)c->target[0].conf)->max, 4);
	assert_int_equal(c->target[0].policy.timeout_ms, 30000);
	sb_config_unref(c);
	sb_diags_done(&d);
}

static void a_file_and_its_rules_are_told_in_one_run(void **state)
{
	char dir[] = "/tmp/sb-config-XXXXXX", file[64];
	struct sb_diags d = { 0 };
	const struct sb_config *c;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/signalbox.yaml", dir);
	assert_null(sb_config_load(file, NULL, &d));
	assert_int_equal(d.errors, 1);
	assert_non_null(strstr(d.item[0].err.msg, "No such file"));
	f = fopen(file, "w");
	fputs("targets: {t: {log: {}, timeout: 5}}", f);
	fclose(f);
	world_spec = NULL;
	assert_null(sb_config_load(file, NULL, &d));
	assert_int_equal(d.errors, 3);
	assert_string_equal(d.item[2].err.msg, "a rule is wrong");
	assert_true(strncmp(d.item[2].err.at.file, dir, strlen(dir)) ==
		    0); /* rules.d beside the file, not where we stand */
	f = fopen(file, "w");
	fputs("targets: {t: {log: {}}}", f);
	fclose(f);
	world_spec = "default>t";
	c = sb_config_load(file, NULL, &d);
	assert_non_null(c);
	assert_int_equal(c->rules->n, 1);
	assert_string_equal(c->dir, dir);
	sb_config_unref(c);
	world_spec = "default>nobody";
	assert_null(sb_config_load(file, NULL, &d));
	assert_int_equal(d.errors, 4);
	sb_diags_done(&d);
	unlink(file);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_error_has_its_place_and_says_what_would_be_right),
		cmocka_unit_test(no_secret_is_shown),
		cmocka_unit_test(a_file_and_its_rules_are_told_in_one_run),
		cmocka_unit_test(without_the_environment_references_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
