/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/base/diag.h"
#include "broker/base/field.h"
#include "broker/base/node.h"
#include "broker/base/template.h"

static void dump(const struct sb_node *n, struct sb_buf *out)
{
	static const char letters[] = "nbNsLM";

	if (n->key)
		sb_buf_addf(out, "%s=", n->key->text.p);
	sb_buf_addf(out, "%c", letters[n->kind]);
	if (n->kind <= SB_NODE_STRING)
		sb_buf_addf(out, "'%s'", n->text.p);
	for (size_t i = 0; i < n->n; i++) {
		sb_buf_addc(out, i ? ' ' : '(');
		dump(n->item[i], out);
	}
	if (n->n)
		sb_buf_addc(out, ')');
}

/* want: the tree; or "line:col message" of the first error. */
static const struct {
	const char *in, *want;
} yaml[] = {
	{ "a: 1\nb: [x, 'y', \"z\"]\n", "M(a=N'1' b=L(s'x' s'y' s'z'))" },
	{ "a: no\nb: on\nc: 1_000\nd: 0x1F\ne: .5\nf: 1e5\ng: -\n",
		"!7:4 this is not valid YAML: block sequence entries are not allowed in this context" },
	{ "a: no\nb: on\nc: 1_000\nd: 0x1F\ne: .5\nf: 1e5\n",
		"M(a=s'no' b=s'on' c=s'1_000' d=N'0x1F' e=N'.5' f=N'1e5')" },
	{ "a: true\nb: ~\nc:\nd: 'true'\n", "M(a=b'true' b=n'~' c=n'' d=s'true')" },
	{ "n: 12345678901234567890.123456789\n", "M(n=N'12345678901234567890.123456789')" },
	{ "", "n''" },
	{ "a: &x {k: 1}\nb: *x\n", "M(a=M(k=N'1') b=M(k=N'1'))" },
	{ "a: 1\nb: 2\na: 3\n", "!3:1 the key `a` stands here a second time" },
	{ "a: !t 1\n", "!1:4 tags are not supported, found `!t`" },
	{ "a: {<<: 1}\n", "!1:5 merge keys (`<<`) are not supported" },
	{ "? [a]\n: 1\n", "!1:3 a key must be a string, found a list" },
	{ "a: *b\n", "!1:4 the anchor `b` is not defined before this place" },
	{ "a: 1\n---\nb: 2\n", "!2:1 a second document in one file" },
	{ "a:\n\t- 1\n", "!2:1 this is not valid YAML: found a tab where spaces are needed" },
	{ "a: \"\\ud83d\"\n", "!1:7 this is not valid YAML: found invalid Unicode character escape code" },
	{ "a: \"\x7f\"\n", "!1:5 this is not valid YAML: control characters are not allowed" },
	{ "a: \"x\xc2\x85y\"\n", "!1:6 a raw U+0085 cannot be kept in YAML" },
	{ "p: |\n  {\"a\":\"\\ud83d\\ude00\"}\n", "M(p=s'{\"a\":\"\\ud83d\\ude00\"}\n')" },
};

static void first_error(const struct sb_diags *d, struct sb_buf *out)
{
	sb_buf_addf(out, "!%u:%u %s", d->item[0].err.at.line, d->item[0].err.at.col, d->item[0].err.msg);
}

static void yaml_becomes_a_tree_or_an_error_with_its_place(void **state)
{
	struct sb_buf out = SB_BUF(4096);

	(void)state;
	for (size_t i = 0; i < SB_LEN(yaml); i++) {
		struct sb_diags d = { 0 };
		struct sb_doc doc;

		sb_buf_clear(&out);
		if (sb_yaml_parse("t.yaml", sb_slice_str(yaml[i].in), &doc, &d) == 0) {
			dump(doc.root, &out);
			sb_doc_done(&doc);
		} else {
			first_error(&d, &out);
			sb_doc_done(&doc);
		}
		if (strcmp(sb_buf_cstr(&out), yaml[i].want) != 0)
			fail_msg("row %zu: %s\n gave %s", i, yaml[i].in, out.p);
		sb_diags_done(&d);
	}
	sb_buf_done(&out);
}

static void an_alias_bomb_ends_at_a_number(void **state)
{
	struct sb_buf text = SB_BUF(4096);
	struct sb_diags d = { 0 };
	struct sb_doc doc;

	(void)state;
	sb_buf_adds(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
	for (int i = 1; i < 9; i++)
		sb_buf_addf(&text, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1, i - 1, i - 1,
			i - 1, i - 1);
	assert_int_equal(sb_yaml_parse("bomb.yaml", sb_buf_slice(&text), &doc, &d), -1);
	assert_int_equal(d.item[0].err.code, SB_E_LIMIT);
	sb_diags_done(&d);
	sb_buf_clear(&text);
	for (int i = 0; i < 100; i++)
		sb_buf_addc(&text, '[');
	d = (struct sb_diags){ 0 };
	assert_int_equal(sb_yaml_parse("deep.yaml", sb_buf_slice(&text), &doc, &d), -1);
	assert_int_equal(d.item[0].err.code, SB_E_LIMIT);
	sb_diags_done(&d);
	sb_buf_done(&text);
}

static void json_becomes_the_same_tree(void **state)
{
	struct sb_buf out = SB_BUF(4096);
	struct sb_diags d = { 0 };
	struct sb_doc doc;

	(void)state;
	assert_int_equal(
		sb_json_parse_doc("t.json", SB_SLICE("{\"a\":[1.50,\"\\u00e9\",null],\n \"b\":true}"), &doc, &d), 0);
	dump(doc.root, &out);
	assert_string_equal(sb_buf_cstr(&out), "M(a=L(N'1.50' s'\xc3\xa9' n'null') b=b'true')");
	assert_int_equal(doc.root->item[1]->key->at.line, 2);
	assert_int_equal(doc.root->item[1]->key->at.col, 2);
	sb_doc_done(&doc);
	assert_int_equal(
		sb_json_parse_doc("t.json", SB_SLICE("{\"a\":1,\n\"a\":2,\"b\":{\"c\":1,\"c\":1}}"), &doc, &d), -1);
	assert_int_equal(d.errors, 2);
	assert_int_equal(d.item[0].err.at.line, 2);
	assert_non_null(doc.root); /* its other errors can be told too */
	sb_doc_done(&doc);
	sb_diags_done(&d);
	sb_buf_done(&out);
}

/* ------------------------------------------------------------------------------------------------ fields */

struct inner {
	uint64_t base;
	int64_t tries;
};
struct conf {
	const char *name, *secret;
	bool on;
	int64_t n;
	uint64_t wait, room;
	int mode;
	struct sb_strs words, env;
	struct inner retry;
	struct sb_template tpl;
	struct sb_path order;
};
static const char *const modes[] = { "fast", "slow", NULL };
static const struct sb_field inner_rows[] = {
	SB_F(MS, struct inner, base, .dflt = "1s", .min = 1, .max = 3600000, .doc = "first wait"),
	SB_F(INT, struct inner, tries, .dflt = "5", .min = 0, .max = 185),
	{ 0 },
};
static const struct sb_field rows[] = {
	SB_F(STR, struct conf, name, .required = true, .max = 8, .doc = "its name"),
	SB_F(SECRET, struct conf, secret),
	SB_F(BOOL, struct conf, on, .dflt = "true"),
	SB_F(INT, struct conf, n, .dflt = "4", .min = 1, .max = 10),
	SB_F(MS, struct conf, wait, .dflt = "250ms"),
	SB_F(BYTES, struct conf, room, .dflt = "1MiB"),
	SB_F(ENUM, struct conf, mode, .names = modes, .dflt = "slow"),
	SB_F(STRS, struct conf, words),
	SB_F(ENV, struct conf, env),
	SB_F(OBJECT, struct conf, retry, .sub = inner_rows),
	SB_F(TEMPLATE, struct conf, tpl),
	SB_F_KEY(PATH, struct conf, order, "order_by"),
	{ 0 },
};

static const char *fake_env(const char *name)
{
	return strcmp(name, "HOST") == 0    ? "db1"
	       : strcmp(name, "LINES") == 0 ? "a\nb"
	       : strcmp(name, "SEVEN") == 0 ? "7"
					    : NULL;
}

static int decode(const char *text, struct conf *c, struct sb_arena *a, struct sb_diags *d, struct sb_doc *doc)
{
	struct sb_decode dec = { .arena = a, .diags = d, .getenv = fake_env };

	*c = (struct conf){ 0 };
	sb_yaml_parse("c.yaml", sb_slice_str(text), doc, d);
	if (doc->root)
		sb_fields_decode(&dec, rows, doc->root, c, (const char *const[]){ "webhook", NULL });
	return d->errors ? -1 : 0;
}

static void a_table_fills_a_struct(void **state)
{
	struct sb_arena a = { 0 };
	struct sb_diags d = { 0 };
	struct sb_doc doc;
	struct conf c;

	(void)state;
	assert_int_equal(decode("name: 'x-${env:HOST}'\nwait: 1m30s\nroom: 2GiB\nmode: fast\nwords: [a, '$${b}']\nenv: "
				"{A: 1, B: x}\n"
				"retry: {tries: 0}\ntpl: '<$.a>'\norder_by: $.detail.id\nwebhook: {}\nsecret: "
				"'${env:NONE:-dflt}'\n",
				 &c, &a, &d, &doc),
		0);
	assert_string_equal(c.name, "x-db1");
	assert_string_equal(c.secret, "dflt");
	assert_true(c.on);
	assert_int_equal(c.n, 4);
	assert_int_equal(c.wait, 90000);
	assert_int_equal(c.room, UINT64_C(2) << 30);
	assert_int_equal(c.mode, 0);
	assert_int_equal(c.words.n, 2);
	assert_string_equal(c.words.v[1], "${b}");
	assert_string_equal(c.env.v[0], "A=1");
	assert_int_equal(c.retry.base, 1000);
	assert_int_equal(c.retry.tries, 0);
	assert_int_equal(c.tpl.n, 1);
	assert_int_equal(c.order.n, 2);
	sb_doc_done(&doc);
	sb_arena_done(&a);
	sb_diags_done(&d);
}

static void a_reference_may_stand_for_a_number_and_is_left_alone_without_the_environment(void **state)
{
	struct sb_decode dec = { .getenv = fake_env };
	struct sb_arena a = { 0 };
	struct sb_diags d = { 0 };
	struct sb_doc doc;
	struct conf c = { 0 };

	(void)state;
	dec.arena = &a;
	dec.diags = &d;
	assert_int_equal(sb_yaml_parse("c.yaml",
				 SB_SLICE("{name: '${env:HOST}', n: '${env:SEVEN}', wait: '${env:SEVEN}s', mode: "
					  "'${env:NO:-fast}'}"),
				 &doc, &d),
		0);
	assert_int_equal(sb_fields_decode(&dec, rows, doc.root, &c, NULL), 0);
	assert_int_equal(c.n, 7);
	assert_int_equal(c.wait, 7000);
	assert_int_equal(c.mode, 0);
	dec.no_env = true;
	assert_int_equal(sb_fields_decode(&dec, rows, doc.root, &c, NULL), 0);
	assert_string_equal(c.name, "${env:HOST}");
	assert_int_equal(c.n, 4);
	assert_int_equal(c.wait, 250);
	assert_int_equal(c.mode, 1);
	sb_doc_done(&doc);
	sb_arena_done(&a);
	sb_diags_done(&d);
}

static void note_path(void *arg, const struct sb_field *f, const char *path)
{
	(void)f;
	sb_buf_addf(arg, "%s ", path);
}

static void two_structs_of_a_table_are_compared_row_by_row(void **state)
{
	struct sb_arena arena = { 0 };
	struct sb_diags d = { 0 };
	struct sb_doc one, two, three;
	struct conf a, b, c;
	struct sb_buf out = SB_BUF(4096);

	(void)state;
	decode("{name: x, words: [a, b], env: {A: 1}, tpl: <$.a>, order_by: $.b, wait: 60s}", &a, &arena, &d, &one);
	decode("{name: x, words: [a, b], env: {A: 1}, tpl: <$.a>, order_by: $.b, wait: 1m}", &b, &arena, &d, &two);
	decode("{name: y, secret: s, on: false, n: 5, wait: 2m, room: 1, mode: fast, words: [a], env: {A: 2}, tpl: "
	       "<$.c>, order_by: $.d,"
	       " retry: {tries: 1}}",
		&c, &arena, &d, &three);
	assert_int_equal(d.errors, 0);
	assert_true(sb_fields_equal(rows, &a, &b));
	sb_fields_compare(rows, &a, &c, "x", note_path, &out);
	assert_string_equal(sb_buf_cstr(&out),
		"x.name x.secret x.on x.n x.wait x.room x.mode x.words x.env x.retry.tries x.tpl x.order_by ");
	sb_buf_done(&out);
	sb_doc_done(&one);
	sb_doc_done(&two);
	sb_doc_done(&three);
	sb_arena_done(&arena);
	sb_diags_done(&d);
}

static void json_in_a_block_scalar_has_its_place_in_the_file(void **state)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{ "rules:\n  - pattern: |\n      {\n        \"a\": [1,]\n      }\n", "4:17 this is not valid JSON" },
		{ "rules:\n  - pattern: |2-\n\n        {\"a\": [1,]}\n", "4:18 this is not valid JSON" },
		{ "rules:\r\n  - pattern: |\r\n      {\"a\":1, \"a\":2}\r\n",
			"3:15 the key `a` stands here a second time" },
		{ "rules:\n  - pattern: '{\"a\": [1,]}'\n", "2:14 this is not valid JSON" },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct sb_diags d = { 0 };
		struct sb_doc file, json;
		char got[400];

		assert_int_equal(sb_yaml_parse("r.yaml", sb_slice_str(cases[i].in), &file, &d), 0);
		assert_int_equal(
			sb_json_parse_node(sb_node_get(sb_node_get(file.root, "rules")->item[0], "pattern"), &json, &d),
			-1);
		snprintf(got, sizeof(got), "%u:%u %s", d.item[0].err.at.line, d.item[0].err.at.col, d.item[0].err.msg);
		if (strncmp(got, cases[i].want, strlen(cases[i].want)) != 0)
			fail_msg("row %zu: gave %s", i, got);
		sb_doc_done(&json);
		sb_doc_done(&file);
		sb_diags_done(&d);
	}
}

static void many_keys_are_no_slower_to_compare(void **state)
{
	struct sb_buf text = SB_BUF(4u << 20);
	struct sb_diags d = { 0 };
	struct sb_doc doc;

	(void)state;
	for (int i = 0; i < 200000; i++)
		sb_buf_addf(&text, "k%d: %d\n", i, i);
	sb_buf_adds(&text, "k7: again\n");
	assert_int_equal(sb_yaml_parse("many.yaml", sb_buf_slice(&text), &doc, &d), -1);
	assert_int_equal(d.errors, 1);
	assert_int_equal(d.item[0].err.code, SB_E_DUPLICATE);
	assert_int_equal(d.item[0].err.at.line, 200001);
	sb_doc_done(&doc);
	sb_diags_done(&d);
	sb_buf_done(&text);
}

static const struct {
	const char *in, *want; /* "line:col message | hint" of one of the errors */
} bad[] = {
	{ "nam: x\n", "1:1 the key `name` is missing | name: its name" },
	{ "name: x\nwiat: 1s\n", "2:1 unknown key `wiat` | did you mean `wait`?" },
	{ "name: x\ntries: 3\n", "2:1 unknown key `tries` | it belongs under `retry:`" },
	{ "name: 5\n", "1:7 expected a string, found a number | quotes make it a string" },
	{ "name: toolongname\n", "1:7 `name` has at most 8 characters | " },
	{ "name: x\non: 1\n", "2:5 expected true or false, found a number | " },
	{ "name: x\nn: 11\n", "2:4 `n` is out of range | from 1 to 10" },
	{ "name: x\nn: -1\n", "2:4 `n` is out of range | from 1 to 10" },
	{ "name: x\nn: 1.5\n", "2:4 `n` is a whole number | " },
	{ "name: x\nwait: 5\n", "2:7 `5` is not a duration | for example 250ms, 5s, 1h30m, 14d" },
	{ "name: x\nretry: {base: 2h}\n", "2:15 `base` is out of range | from 1ms to 1h" },
	{ "name: x\nroom: 5XB\n", "2:7 `5XB` is not a size | for example 500, 64KiB, 1MiB, 1GiB" },
	{ "name: x\nmode: fsat\n", "2:7 `fsat` is not a value of `mode` | did you mean `fast`?" },
	{ "name: x\nwords: x\n", "2:8 expected a list of strings, found a string | put it in [ ]" },
	{ "name: ${env:NONE}\n",
		"1:7 the environment variable NONE is not set | `${env:NONE:-default}` gives it a default" },
	{ "name: ${secret:x}\n", "1:7 unknown reference `${secret:x}` | `${env:NAME}`, `${env:NAME:-default}`, "
				 "`${file:PATH}`, or `$${` for a literal `${`" },
	{ "name: x\ntpl: '<$.a'\n", "2:6 template: column 1: '<' is not closed; write \\< for a literal one | " },
	{ "name: x\norder_by: '$.a['\n", "2:11 path '$.a[': column 5: expected an index or a quoted key | " },
	{ "[]\n", "1:1 expected a map, found a list | " },
	{ "name: x\non: 'true'\n", "2:5 expected true or false, found a string | leave the quotes out" },
	{ "name: x\nn: '4'\n", "2:4 expected a number, found a string | leave the quotes out" },
	{ "name: x\nn: ${env:HOST}\n", "2:4 expected a number, found a string | " },
	{ "name: x\nwait: ${env:HOST}\n", "2:7 `${env:HOST}` is not a duration | for example 250ms, 5s, 1h30m, 14d" },
	{ "name: ${env:HOST\n", "1:7 `${` is not closed | `$${` is a literal `${`" },
	{ "name: ${env:}\n", "1:7 unknown reference `${env:}` | `${env:NAME}`, `${env:NAME:-default}`, `${file:PATH}`, "
			     "or `$${` for a literal `${`" },
	{ "name: ${env:LINES}\n",
		"1:7 the environment variable LINES holds a line end | put the text into a file: `${file:PATH}`" },
	{ "name: ${file:/no/such/file}\n", "1:7 cannot read '/no/such/file': No such file or directory | " },
	{ "name: \"a\\0b\"\n", "1:7 the string holds a NUL character | " },
	{ "name: x\nmode: 5\n", "2:7 expected a word, found a number | " },
	{ "name: x\nmode: quickly\n", "2:7 `quickly` is not a value of `mode` | one of fast, slow" },
	{ "name: x\nwords: [a, 5]\n", "2:12 expected a string, found a number | quotes make it a string" },
	{ "name: x\nenv: [A]\n", "2:6 expected a map of variables, found a list | write NAME: value" },
	{ "name: x\nenv: {A-B: 1}\n", "2:7 `A-B` is not the name of a variable | " },
	{ "name: x\nretry: {on: true}\n", "2:9 unknown key `on` | it belongs one level up, beside `retry:`" },
	{ "name: x\nretry: [1]\n", "2:8 expected a map, found a list | " },
	{ "name: x\nretry: {tries: 1, tries: 2}\n",
		"2:19 the key `tries` stands here a second time | first at line 2, column 9" },
	{ "name: x\nname: y\nbla: 1\n", "3:1 unknown key `bla` | " }, /* told beside the key that stands twice */
	{ "name: x\nn: 07\n", "2:4 `07` is read as a decimal number | quotes make it a string" },
	{ "name: x\nretry: {base: 90m\n", "3:1 this is not valid YAML: did not find expected ',' or '}' | while "
					  "parsing a flow mapping that began at line 2, column 8" },
	{ "name: x\nwords: [\"\\ud83d\"]\n", "2:12 this is not valid YAML: found invalid Unicode character escape code "
					     "| YAML cannot hold surrogate escapes; write the "
					     "value as a block scalar of JSON (`pattern: |`)" },
	{ "name: x\nwait: \"a\xe2\x80\xa8\"\n", "2:9 a raw U+2028 cannot be kept in YAML | write \\u2028 in double "
						"quotes, or in a block scalar of JSON (`pattern: |`)" },
};

static void what_is_wrong_is_said_with_its_place_and_what_would_be_right(void **state)
{
	(void)state;
	for (size_t i = 0; i < SB_LEN(bad); i++) {
		struct sb_arena a = { 0 };
		struct sb_diags d = { 0 };
		struct sb_doc doc = { 0 };
		struct conf c;
		char got[600] = "";
		bool found = false;

		decode(bad[i].in, &c, &a, &d, &doc);
		for (size_t k = 0; k < d.n; k++) {
			const struct sb_err *e = &d.item[k].err;

			snprintf(got, sizeof(got), "%u:%u %s | %s", e->at.line, e->at.col, e->msg, e->hint);
			found |= strcmp(got, bad[i].want) == 0;
		}
		if (!found)
			fail_msg("row %zu: %s\n gave %s", i, bad[i].in, got);
		sb_doc_done(&doc);
		sb_arena_done(&a);
		sb_diags_done(&d);
	}
}

static void a_diagnostic_shows_the_line_and_a_caret(void **state)
{
	static const char text[] = "name: x\nretry:\n  tires: 3\n";
	struct sb_arena a = { 0 };
	struct sb_diags d = { 0 };
	struct sb_doc doc;
	struct conf c;
	struct sb_buf out = SB_BUF(4096);

	(void)state;
	sb_diags_source(&d, "c.yaml", sb_slice_str(text));
	assert_int_equal(decode(text, &c, &a, &d, &doc), -1);
	sb_diags_format(&d, SB_DIAG_LONG, false, &out);
	assert_string_equal(sb_buf_cstr(&out), "error[E004]: unknown key `tires`\n"
					       "  --> c.yaml:3:3\n"
					       "  |\n"
					       "3 |   tires: 3\n"
					       "  |   ^^^^^ did you mean `tries`?\n"
					       "  = at    retry.tires\n"
					       "  = help  signalbox help E004\n\n");
	sb_buf_clear(&out);
	sb_diags_format(&d, SB_DIAG_SHORT, false, &out);
	assert_string_equal(sb_buf_cstr(&out), "c.yaml:3:3: error[E004]: unknown key `tires`; did you mean `tries`?\n");
	sb_buf_done(&out);
	sb_doc_done(&doc);
	sb_arena_done(&a);
	sb_diags_done(&d);
}

static void hostile_text_does_not_reach_the_terminal(void **state)
{
	struct sb_diags d = { 0 };
	struct sb_buf line = SB_BUF(4096), out = SB_BUF(4096);
	struct sb_err err;

	(void)state;
	for (int i = 0; i < 300; i++)
		sb_buf_addc(&line, 'x');
	sb_buf_adds(&line, "\033[2J\tkey\r\n");
	sb_diags_source(&d, "c.yaml", sb_buf_slice(&line));
	sb_fail_at(&err, SB_E_UNKNOWN_KEY, &(struct sb_loc){ "c.yaml", 1, 306, 3 }, "unknown key `\033[31m\xc2\x9b`");
	sb_diag_error(&d, &err);
	sb_diags_format(&d, SB_DIAG_LONG, false, &out);
	assert_null(strpbrk(sb_buf_cstr(&out), "\033\t\r\x9b"));
	assert_non_null(strstr(out.p, "unknown key `?[31m?`\n"));
	assert_non_null(strstr(out.p, "xxx?[2J key\n"));
	assert_non_null(strstr(out.p, "  |                                                  ^^^\n"));
	sb_buf_done(&line);
	sb_buf_done(&out);
	sb_diags_done(&d);
}

static void errors_take_the_place_of_warnings_in_a_full_list(void **state)
{
	struct sb_diags d = { 0 };
	struct sb_err err;
	size_t errors = 0;

	(void)state;
	for (unsigned i = 0; i < SB_DIAG_MAX; i++) {
		sb_fail(&err, SB_E_INVALID, "warning %u", i);
		sb_diag_warning(&d, &err);
	}
	for (unsigned i = 0; i < 3; i++) {
		sb_fail(&err, SB_E_INVALID, "error %u", i);
		sb_diag_error(&d, &err);
	}
	for (size_t i = 0; i < d.n; i++)
		errors += d.item[i].severity == SB_SEV_ERROR;
	assert_int_equal(errors, 3);
	assert_int_equal(d.n, SB_DIAG_MAX);
	assert_int_equal(d.not_kept, 3);
	sb_diags_done(&d);
}

static void the_nearest_word_is_near(void **state)
{
	static const char *const words[] = { "prefix", "suffix", "numeric", "anything-but", "cidr" };
	static const struct {
		const char *in, *want;
	} cases[] = { { "numerc", "numeric" }, { "perfix", "prefix" }, { "anythingbut", "anything-but" },
		{ "xyz", NULL }, { "", NULL }, { "cdir", "cidr" } };

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		const char *got = sb_nearest(cases[i].in, words, SB_LEN(words));

		if ((!got) != (!cases[i].want) || (got && strcmp(got, cases[i].want) != 0))
			fail_msg("row %zu: %s gave %s", i, cases[i].in, got ? got : "nothing");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(yaml_becomes_a_tree_or_an_error_with_its_place),
		cmocka_unit_test(an_alias_bomb_ends_at_a_number),
		cmocka_unit_test(json_becomes_the_same_tree),
		cmocka_unit_test(a_table_fills_a_struct),
		cmocka_unit_test(a_reference_may_stand_for_a_number_and_is_left_alone_without_the_environment),
		cmocka_unit_test(two_structs_of_a_table_are_compared_row_by_row),
		cmocka_unit_test(json_in_a_block_scalar_has_its_place_in_the_file),
		cmocka_unit_test(many_keys_are_no_slower_to_compare),
		cmocka_unit_test(hostile_text_does_not_reach_the_terminal),
		cmocka_unit_test(errors_take_the_place_of_warnings_in_a_full_list),
		cmocka_unit_test(what_is_wrong_is_said_with_its_place_and_what_would_be_right),
		cmocka_unit_test(a_diagnostic_shows_the_line_and_a_caret),
		cmocka_unit_test(the_nearest_word_is_near),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
