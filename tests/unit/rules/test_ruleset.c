/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "rules/rules.h"

static struct sb_ruleset *parse(const char *name, const char *text, struct sb_diags *diags)
{
	struct sb_slice s = sb_slice_str(text);

	return sb_ruleset_parse(&name, &s, 1, diags);
}

/* All that was said, one a line. */
static void said(const struct sb_diags *diags, struct sb_buf *out)
{
	sb_buf_clear(out);
	sb_diags_format(diags, SB_DIAG_SHORT, false, out);
	sb_buf_cstr(out);
}

#define P "    pattern: {a: [1]}\n    targets: [t]\n"

static void what_is_wrong_is_told_with_its_place(void **state)
{
	static const struct {
		const char *text, *want; /* "": nothing */
	} cases[] = {
		{ "rules:\n  - name: a\n" P, "" }, { "name: a\npattern: {a: [1]}\ntargets: [t]\n", "" },
		{ "version: 1\nrules: []\n", "" }, { "", "r.yaml:1:1: warning[E005]: a file without rules\n" },
		{ "rules:\n  - name: a\n    pattern: {a: [1]}\n",
			"r.yaml:2:11: warning[E005]: the rule `a` has no targets; its matches are only counted; `state: shadow` says so\n" },
		{ "rules:\n  - name: a\n    state: shadow\n    pattern: {a: [1]}\n", "" },
		{ "rules:\n  - name: Big\n" P,
			"r.yaml:2:11: error[E001]: `Big` is not a rule's name; small letters, digits, `.`, `_`, `-`; a letter or digit first; at most 64\n" },
		{ "rules:\n  - name: a\n" P "  - name: a\n" P, "r.yaml:5:11: error[E006]: a second rule named `a`; first in r.yaml, line 2\n" },
		{ "rules:\n  - name: a\n    patern: {a: [1]}\n    targets: [t]\n",
			"r.yaml:2:5: error[E005]: the key `pattern` is missing; pattern: What an event must look like.\n"
			"r.yaml:3:5: error[E004]: unknown key `patern`; did you mean `pattern`?\n" },
		{ "rules:\n  - name: a\n    pattern: {a: x}\n    targets: [t]\n",
			"r.yaml:3:18: error[E017]: `a` must be a list of values or a map, found a string; write `[x]`\n" },
		{ "rules:\n  - name: a\n    pattern: {a: [{numerc: 1}], b: []}\n    targets: [t]\n",
			"r.yaml:3:20: error[E017]: unknown operator `numerc`; did you mean `numeric`?\n"
			"r.yaml:3:36: error[E017]: an empty list of values; one value at least; [{\"exists\": true}] for any\n" },
		{ "rules:\n  - name: a\n    pattern: |\n      {\n        \"a\": [x]\n      }\n    targets: [t]\n",
			"r.yaml:5:15: error[E002]: this is not valid JSON: expected a value\n" },
		{ "rules:\n  - name: a\n    pattern: |\n      {\"a\": \"x\"}\n    targets: [t]\n",
			"r.yaml:4:13: error[E017]: `a` must be a list of values or a map, found a string; write `[x]`\n" },
		{ "rules:\n  - name: a\n    pattern: {a: [1], a: [2]}\n    targets: [t]\n",
			"r.yaml:3:23: error[E006]: the key `a` stands here a second time; first at line 3, column 15\n" },
		{ "rules:\n  - name: a\n    pattern: {a: {b: [1]}, a.b: [2]}\n    targets: [t]\n",
			"r.yaml:3:28: error[E006]: `a.b` is constrained a second time; first at line 3, column 19; values side by side in one "
			"list are alternatives\n" },
		{ "rules:\n  - name: a\n    state: on\n" P, "r.yaml:3:12: error[E001]: `on` is not a value of `state`; one of enabled, disabled, shadow\n" },
		{ "rules:\n  - name: a\n    state: ${env:X}\n" P,
			"r.yaml:3:12: error[E001]: rules are not completed from the environment; one of enabled, disabled, shadow\n" },
		{ "rules:\n  - name: a\n    pattern: {a: [1]}\n    targets: t\n",
			"r.yaml:4:14: error[E003]: expected a list of targets, found a string; for example [invoice]\n" },
		{ "rules:\n  - name: a\n    pattern: {a: [1]}\n    targets: [5, t, t]\n",
			"r.yaml:4:15: error[E003]: expected a target's name or a map, found a number; for example `- target: invoice`\n"
			"r.yaml:4:21: error[E006]: the target `t` a second time in one rule; two rules, if it is to get two inputs\n" },
		{ "rules:\n  - name: a\n    pattern: {a: [1]}\n    targets: [{target: t, input: 1, input_path: $.a}]\n",
			"r.yaml:4:49: error[E001]: `input_path` beside `input`: a target gets one input\n" },
		{ "rules:\n  - name: a\n    pattern: {a: [1]}\n    targets: [{target: t, input_path: '$['}]\n",
			"r.yaml:4:39: error[E002]: path '$[': column 3: expected an index or a quoted key\n" },
		{ "rules: {a: 1}\n", "r.yaml:1:8: error[E003]: expected a list of rules, found a map; each begins with `- name:`\n" },
		{ "rules: [1]\n", "r.yaml:1:9: error[E003]: expected a map, found a number\n" },
		{ "version: 2\nrules: []\n", "r.yaml:1:10: error[E001]: `version` is out of range; 1\n" },
		{ "5\n", "r.yaml:1:1: error[E003]: expected a map, found a number\n" },
	};
	struct sb_buf got = SB_BUF(1u << 16);

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_diags diags = { 0 };
		struct sb_ruleset *rs = parse("r.yaml", cases[i].text, &diags);

		said(&diags, &got);
		if (strcmp(got.p, cases[i].want) != 0 || (rs == NULL) != (diags.errors > 0))
			fail_msg("row %zu: %s%s", i, cases[i].text, got.p);
		sb_ruleset_unref(rs);
		sb_diags_done(&diags);
	}
	sb_buf_done(&got);
}

static void a_message_says_where_in_the_rule(void **state)
{
	static const char text[] = "rules:\n  - name: a\n    pattern: |\n      {\"a\": {\"b\": [{\"prefix\": 5}]}}\n    targets: [t]\n";
	struct sb_diags diags = { 0 };

	(void)state;
	assert_null(parse("r.yaml", text, &diags));
	assert_int_equal(diags.n, 1);
	assert_string_equal(diags.item[0].err.path, "rules[0].pattern.a.b[0].prefix");
	sb_diags_done(&diags);
}

static const char sample[] =
	"rules:\n"
	"  - {name: one, pattern: {a: [1]}, targets: [t, {target: u, input: {x: [1, null]}}]}\n"
	"  - {name: off, state: disabled, pattern: {a: [1]}, targets: [t]}\n"
	"  - {name: dark, state: shadow, pattern: {a: [{exists: true}]}, targets: [t]}\n"
	"  - {name: other, bus: audit, description: \"for \\\"them\\\"\", pattern: {a: [1]}, targets: [t]}\n"
	"  - name: text\n    pattern: |\n      {\"a\":\n        [2]}\n    targets: [{target: t, input_path: $.a}]\n";

static void names_of(const struct sb_ruleset *rs, const char *event, const char *bus, struct sb_buf *out)
{
	struct sb_hits hits = { 0 };
	struct sb_event *ev;
	struct sb_err err;

	assert_int_equal(sb_event_parse(sb_slice_str(event), sb_name_str(bus), "test", &ev, &err), 0);
	sb_ruleset_match(rs, ev, &hits);
	sb_ruleset_match(rs, ev, &hits); /* the second answer takes the first one's place */
	sb_buf_clear(out);
	for (size_t i = 0; i < hits.n; i++)
		sb_buf_addf(out, "%s ", hits.rule[i]->name);
	sb_buf_cstr(out);
	sb_hits_done(&hits);
	sb_event_unref(ev);
	sb_event_thread_done();
}

static void rules_match_on_their_bus(void **state)
{
	static const struct { const char *event, *bus, *want; } cases[] = {
		{ "{\"a\":1}", "default", "one dark " }, { "{\"a\":1}", "audit", "other " }, { "{\"a\":1}", "nowhere", "" },
		{ "{\"a\":2}", "default", "dark text " }, { "{\"b\":2}", "default", "" },
	};
	struct sb_diags diags = { 0 };
	struct sb_ruleset *rs = parse("r.yaml", sample, &diags);
	struct sb_buf got = SB_BUF(1000);

	(void)state;
	assert_non_null(rs);
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		names_of(rs, cases[i].event, cases[i].bus, &got);
		if (strcmp(got.p, cases[i].want) != 0)
			fail_msg("row %zu: %s", i, got.p);
	}
	assert_int_equal(rs->n, 5);
	assert_ptr_equal(rs->rule[0].bus, sb_name_str("default"));
	assert_ptr_equal(rs->rule[0].target[1].target, sb_name_str("u"));
	assert_int_equal(sb_input_kind(rs->rule[0].target[0].input), SB_INPUT_EVENT);
	assert_int_equal(sb_input_kind(rs->rule[0].target[1].input), SB_INPUT_CONSTANT);
	assert_int_equal(rs->rule[3].index, 3);
	assert_int_equal(rs->rule[1].at.line, 3);
	sb_buf_done(&got);
	sb_ruleset_unref(sb_ruleset_ref(rs));
	sb_ruleset_unref(rs);
	sb_ruleset_unref(NULL);
	sb_diags_done(&diags);
}

static void the_canonical_text_gives_the_same_rules(void **state)
{
	struct sb_diags diags = { 0 };
	struct sb_ruleset *rs = parse("r.yaml", sample, &diags), *again;
	const char *name = "text.json";

	(void)state;
	assert_non_null(rs);
	again = sb_ruleset_parse(&name, &rs->text, 1, &diags);
	assert_non_null(again);
	assert_int_equal(again->n, rs->n);
	if (!sb_slice_eq(rs->text, again->text))
		fail_msg("%.*s became %.*s", SB_SLICE_ARG(rs->text), SB_SLICE_ARG(again->text));
	sb_ruleset_unref(again);
	sb_ruleset_unref(rs);
	rs = parse("r.yaml", "rules: []\n", &diags);
	assert_string_equal(rs->text.p, "{\"version\":1,\"rules\":[]}\n");
	sb_ruleset_unref(rs);
	sb_diags_done(&diags);
}

/* ------------------------------------------------------------------------------------------------ folders */

static char folder[64];

static void put(const char *name, const char *text)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/signalbox-rules-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int drop(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static int drop_folder(void **state)
{
	(void)state;
	return nftw(folder, drop, 8, FTW_DEPTH | FTW_PHYS);
}

static void a_folder_is_read_in_the_order_of_its_paths(void **state)
{
	struct sb_diags diags = { 0 };
	struct sb_ruleset *rs;
	char sub[100];

	(void)state;
	snprintf(sub, sizeof(sub), "%s/m", folder);
	assert_int_equal(mkdir(sub, 0700), 0);
	put("z.yml", "name: last\npattern: {a: [1]}\ntargets: [t]\n");
	put("m/b.yaml", "rules: [{name: second, pattern: {a: [1]}, targets: [t]}]\n");
	put("a.json", "{\"rules\":[{\"name\":\"first\",\"pattern\":{\"a\":[1]},\"targets\":[\"t\"]}]}");
	put("a_test.yaml", "cases: []\n");
	put("m/.#b.yaml", "[\n");
	put("notes.txt", "x\n");
	rs = sb_ruleset_load(folder, &diags);
	assert_non_null(rs);
	assert_int_equal(diags.n, 0);
	assert_int_equal(rs->n, 3);
	assert_string_equal(rs->rule[0].name, "first");
	assert_string_equal(rs->rule[1].name, "second");
	assert_string_equal(rs->rule[2].name, "last");
	sb_ruleset_unref(rs);
	sb_diags_done(&diags);
}

static void all_errors_of_all_files_are_told(void **state)
{
	struct sb_diags diags = { 0 };
	struct sb_ruleset *rs;
	struct sb_buf got = SB_BUF(1u << 16);
	char want[512];

	(void)state;
	put("a.yaml", "rules: [{name: x, pattern: {a: [1]}, targets: [t]}, {name: y, pattern: {a: 1}, targets: [u]}]\n");
	put("b.yaml", "rules: [{name: x, pattern: {a: [1]}, targets: [t]}]\n");
	rs = sb_ruleset_load(folder, &diags);
	assert_false(sb_ruleset_whole(rs));
	assert_int_equal(rs->n, 3);
	assert_string_equal(rs->rule[1].target[0].target, "u"); /* of the rule with the wrong pattern */
	sb_ruleset_unref(rs);
	said(&diags, &got);
	snprintf(want, sizeof(want),
		"%s/a.yaml:1:76: error[E017]: `a` must be a list of values or a map, found a number; write `[1]`\n"
		"%s/b.yaml:1:16: error[E006]: a second rule named `x`; first in %s/a.yaml, line 1\n", folder, folder, folder);
	assert_string_equal(got.p, want);
	sb_buf_done(&got);
	sb_diags_done(&diags);
}

static void an_absent_folder_is_an_error_an_empty_one_a_warning(void **state)
{
	struct sb_diags diags = { 0 };
	struct sb_ruleset *rs = sb_ruleset_load(folder, &diags);

	(void)state;
	assert_non_null(rs);
	assert_int_equal(rs->n, 0);
	assert_int_equal(diags.warnings, 1);
	sb_ruleset_unref(rs);
	rs = sb_ruleset_load("/nowhere/rules.d", &diags);
	assert_false(sb_ruleset_whole(rs));
	assert_int_equal(diags.errors, 1);
	sb_ruleset_unref(rs);
	sb_diags_done(&diags);
}

static void a_thousand_rules_are_read_in_no_time(void **state)
{
	struct sb_diags diags = { 0 };
	struct sb_buf text = SB_BUF(4u << 20);
	struct sb_ruleset *rs;
	uint64_t from;

	(void)state;
	sb_buf_adds(&text, "rules:\n");
	for (int i = 0; i < 1000; i++)
		sb_buf_addf(&text, "  - name: r%d\n    pattern:\n      source: [com.shop]\n      detail-type: [OrderPlaced, OrderPaid]\n"
			"      detail: {total: [{numeric: [\">=\", %d]}], country: [de, {prefix: a}]}\n    targets: [t, {target: u}]\n", i, i);
	sb_buf_cstr(&text);
	from = sb_mono_ns(&sb_clock_system);
	rs = parse("r.yaml", text.p, &diags);
	from = sb_mono_ns(&sb_clock_system) - from;
	assert_non_null(rs);
	assert_int_equal(rs->n, 1000);
	print_message("1,000 rules: %.1f ms\n", (double)from / 1e6);
	assert_true(from < 2000000000); /* sanitizers and busy machines; the bar is the bench's */
	sb_ruleset_unref(rs);
	sb_buf_done(&text);
	sb_diags_done(&diags);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wrong_is_told_with_its_place), cmocka_unit_test(a_message_says_where_in_the_rule),
		cmocka_unit_test(rules_match_on_their_bus), cmocka_unit_test(the_canonical_text_gives_the_same_rules),
		cmocka_unit_test_setup_teardown(a_folder_is_read_in_the_order_of_its_paths, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(all_errors_of_all_files_are_told, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(an_absent_folder_is_an_error_an_empty_one_a_warning, make_folder, drop_folder),
		cmocka_unit_test(a_thousand_rules_are_read_in_no_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
