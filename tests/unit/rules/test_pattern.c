/* SPDX-License-Identifier: Apache-2.0 */
/* Every operator, value and array of the language as a sentence: this pattern, this event, this answer. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/base/node.h"
#include "rules/rules.h"

enum answer { NO, YES, BAD };

struct row {
	const char *pattern, *event;
	enum answer want;
};

static enum answer ask(const char *pattern, const char *event, char *why, size_t size)
{
	struct sb_diags diags = { 0 };
	struct sb_arena arena = { 0 };
	struct sb_tape_buf b = { 0 };
	struct sb_json_fault fault;
	const struct sb_pattern *p = NULL;
	struct sb_doc doc;
	enum answer r = BAD;

	if (sb_json_parse_doc("p.json", sb_slice_str(pattern), &doc, &diags) == 0)
		p = sb_pattern_compile(&arena, doc.root, &diags);
	snprintf(why, size, "%s", diags.n ? diags.item[0].err.msg : "");
	sb_doc_done(&doc);
	assert_int_equal(p == NULL, diags.errors > 0);
	if (p) {
		struct sb_tape t;

		if (sb_json_scan(event, strlen(event), &SB_JSON_LIMITS, &b, &fault) < 0)
			fail_msg("the event of a row is no JSON: %s", event);
		t = sb_tape_of(event, &b);
		r = sb_pattern_match(p, &t) ? YES : NO;
	}
	sb_tape_buf_done(&b);
	sb_arena_done(&arena);
	sb_diags_done(&diags);
	return r;
}

static void check(const char *table, const struct row *rows, size_t n)
{
	static const char *const names[] = { "no match", "match", "rejected" };
	char why[300];

	for (size_t i = 0; i < n; i++) {
		enum answer got = ask(rows[i].pattern, rows[i].event ? rows[i].event : "{}", why, sizeof(why));

		if (got != rows[i].want)
			fail_msg("%s %zu: %s on %s: %s, not %s (%s)", table, i, rows[i].pattern,
				rows[i].event ? rows[i].event : "{}", names[got], names[rows[i].want], why);
	}
}

/* The pattern of most rows: what field `a` accepts. */
#define A(list) "{\"a\":[" list "]}"
#define V(value) "{\"a\":" value "}"

static void literals(void **state)
{
	static const struct row rows[] = {
		{ A("\"x\""), V("\"x\""), YES }, { A("\"x\""), V("\"xy\""), NO }, { A("\"x\",\"y\""), V("\"y\""), YES },
		{ A("\"\""), V("\"\""), YES }, { A("\"x\""), "{\"b\":\"x\"}", NO }, { A("\"x\""), "{\"A\":\"x\"}", NO },
		{ A("5"), V("5"), YES }, { A("5"), V("5.0"), YES }, { A("5"), V("5e0"), YES }, { A("5"), V("50e-1"), YES },
		{ A("5"), V("\"5\""), NO }, { A("\"5\""), V("5"), NO }, { A("0"), V("-0"), YES }, { A("0"), V("-0.0"), YES },
		{ A("5"), V("5.1"), NO }, { A("1e400"), V("1e400"), YES }, { A("1e400"), V("10e399"), NO },
		{ A("9007199254740993"), V("9007199254740993"), YES }, { A("9007199254740993"), V("9007199254740993.0"), NO },
		{ A("9007199254740993"), V("9007199254740992"), NO },
		{ A("true"), V("true"), YES }, { A("true"), V("\"true\""), NO }, { A("false"), V("false"), YES },
		{ A("false"), V("null"), NO }, { A("null"), V("null"), YES }, { A("null"), V("\"null\""), NO },
		{ A("null"), "{}", NO }, { A("\"true\""), V("true"), NO },
		{ A("\"\\u00e9\""), V("\"\xc3\xa9\""), YES }, { A("\"\xc3\xa9\""), V("\"\\u00e9\""), YES },
		{ A("\"e\\u0301\""), V("\"\\u00e9\""), NO }, { A("\"\\ud83d\\ude00\""), V("\"\xf0\x9f\x98\x80\""), YES },
		{ A("\"a\\n\""), V("\"a\\u000a\""), YES }, { A("\"x\""), V("[\"y\",\"x\"]"), YES }, { A("\"x\""), V("[[\"x\"]]"), YES },
		{ A("\"x\""), V("{\"b\":\"x\"}"), NO }, { "{\"\\u0061\":[1]}", V("1"), YES }, { A("1"), "{\"\\u0061\":1}", YES },
		{ "[1]", NULL, BAD }, { "\"x\"", NULL, BAD }, { "{}", NULL, BAD }, { V("\"x\""), NULL, BAD }, { V("1"), NULL, BAD },
		{ V("null"), NULL, BAD }, { V("[]"), NULL, BAD }, { V("{}"), NULL, BAD }, { V("{\"b\":{}}"), NULL, BAD },
		{ A("[1]"), NULL, BAD }, { A("{}"), NULL, BAD }, { "{\"a\":[1],\"a\":[2]}", NULL, BAD }, { "{\"a\":[1]} x", NULL, BAD },
	};

	(void)state;
	check("literals", rows, SB_LEN(rows));
}

static void string_operators(void **state)
{
	static const struct row rows[] = {
		{ A("{\"prefix\":\"ab\"}"), V("\"abc\""), YES }, { A("{\"prefix\":\"ab\"}"), V("\"ab\""), YES },
		{ A("{\"prefix\":\"ab\"}"), V("\"a\""), NO }, { A("{\"prefix\":\"\"}"), V("\"\""), YES },
		{ A("{\"prefix\":\"\"}"), V("5"), NO }, { A("{\"prefix\":\"5\"}"), V("55"), NO },
		{ A("{\"prefix\":\"x\\\"\"}"), V("\"x\""), NO }, { A("{\"suffix\":\"\\\"\"}"), V("\"\""), NO },
		{ A("{\"suffix\":\"bc\"}"), V("\"abc\""), YES }, { A("{\"suffix\":\"bc\"}"), V("\"abd\""), NO },
		{ A("{\"suffix\":\"\"}"), V("\"\""), YES }, { A("{\"suffix\":\"\xe7\x95\x8c\"}"), V("\"\xe4\xb8\x96\xe7\x95\x8c\""), YES },
		{ A("{\"prefix\":{\"equals-ignore-case\":\"aB\"}}"), V("\"AbC\""), YES },
		{ A("{\"prefix\":{\"equals-ignore-case\":\"aB\"}}"), V("\"A\""), NO },
		{ A("{\"suffix\":{\"equals-ignore-case\":\"Bc\"}}"), V("\"abC\""), YES },
		{ A("{\"suffix\":{\"equals-ignore-case\":\"Bc\"}}"), V("\"abCd\""), NO },
		{ A("{\"equals-ignore-case\":\"Foo\"}"), V("\"fOO\""), YES }, { A("{\"equals-ignore-case\":\"Foo\"}"), V("\"fOOd\""), NO },
		{ A("{\"equals-ignore-case\":\"\"}"), V("\"\""), YES },
		{ A("{\"equals-ignore-case\":\"stra\xc3\x9f" "e\"}"), V("\"STRASSE\""), YES },
		{ A("{\"equals-ignore-case\":\"STRASSE\"}"), V("\"stra\xc3\x9f" "e\""), NO },
		{ A("{\"equals-ignore-case\":\"\xc4\xb1\"}"), V("\"I\""), YES },
		{ A("{\"equals-ignore-case\":\"\xf0\x90\x90\x80x\"}"), V("\"\xf0\x90\x90\xa8X\""), YES },
		{ A("{\"equals-ignore-case\":\"5\"}"), V("5"), NO },
		{ A("{\"wildcard\":\"*.1\"},{\"equals-ignore-case\":\"S\"}"), V("\"\xcf\x83\""), NO },
		{ A("{\"exactly\":\"10.0.0.1\"}"), V("\"10.0.0.1\""), YES }, { A("{\"exactly\":\"10.0.0.1\"}"), V("\"010.0.0.1\""), NO },
		{ A("{\"prefix\":5}"), NULL, BAD }, { A("{\"suffix\":null}"), NULL, BAD }, { A("{\"prefix\":[\"a\"]}"), NULL, BAD },
		{ A("{\"prefix\":{\"wildcard\":\"a\"}}"), NULL, BAD }, { A("{\"prefix\":{\"equals-ignore-case\":5}}"), NULL, BAD },
		{ A("{\"prefix\":{}}"), NULL, BAD }, { A("{\"equals-ignore-case\":[\"a\"]}"), NULL, BAD }, { A("{\"exactly\":5}"), NULL, BAD },
		{ A("{\"Prefix\":\"a\"}"), NULL, BAD }, { A("{\"prefix\":\"a\",\"suffix\":\"b\"}"), NULL, BAD },
		{ A("{\"prefx\":\"a\"}"), NULL, BAD }, { A("{\"regex\":\"a\"}"), NULL, BAD },
	};

	(void)state;
	check("strings", rows, SB_LEN(rows));
}

static void wildcards(void **state)
{
	static const struct { const char *pattern, *s; enum answer want; } cases[] = {
		{ "*", "", YES }, { "*", "abc", YES }, { "", "", YES }, { "", "a", NO }, { "a*", "a", YES }, { "a*", "ab\\nc", YES },
		{ "a*", "ba", NO }, { "*a", "cba", YES }, { "*a", "ab", NO }, { "a*c", "abbc", YES }, { "a*c", "abcd", NO },
		{ "a*b*c", "axbxbxc", YES }, { "a*b*c", "axc", NO }, { "*ab*ab*", "abxab", YES }, { "*ab*ab*", "abab", YES },
		{ "*ab*ab*", "abb", NO }, { "a\\\\*b", "a*b", YES }, { "a\\\\*b", "axb", NO }, { "\\\\\\\\*", "\\\\x", YES },
		{ "*.tx?", "a.tx?", YES }, { "*.tx?", "a.txt", NO }, { "**", NULL, BAD }, { "a**b", NULL, BAD },
		{ "a\\\\", NULL, BAD }, { "\\\\x", NULL, BAD }, { "*\\\\**", "a*b", YES }, { "*\\\\**", "ab", NO },
	};
	char pattern[200], event[200], why[300];

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		snprintf(pattern, sizeof(pattern), "{\"a\":[{\"wildcard\":\"%s\"}]}", cases[i].pattern);
		snprintf(event, sizeof(event), "{\"a\":\"%s\"}", cases[i].s ? cases[i].s : "");
		if (ask(pattern, event, why, sizeof(why)) != cases[i].want)
			fail_msg("row %zu: '%s' on '%s' (%s)", i, cases[i].pattern, cases[i].s, why);
	}
	assert_int_equal(ask(A("{\"wildcard\":\"*\"}"), V("5"), why, sizeof(why)), NO);
	assert_int_equal(ask(A("{\"wildcard\":5}"), "{}", why, sizeof(why)), BAD);
}

static void numbers(void **state)
{
	static const struct { const char *list, *value; enum answer want; } cases[] = {
		{ "\"=\",5", "5.0", YES }, { "\"=\",5", "5.1", NO }, { "\"=\",0", "-0", YES }, { "\">\",5", "5", NO }, { "\">\",5", "6", YES },
		{ "\">=\",5", "5", YES }, { "\"<\",5", "5", NO }, { "\"<\",5", "4.999", YES }, { "\"<=\",5", "5", YES },
		{ "\">\",0,\"<\",5", "3", YES }, { "\">\",0,\"<\",5", "5", NO }, { "\">=\",0,\"<=\",5", "0", YES },
		{ "\">=\",0,\"<=\",5", "5", YES }, { "\">\",0,\"<=\",5", "0", NO }, { "\">\",-1e300", "-1e299", YES },
		{ "\">\",5", "\"6\"", NO }, { "\">\",5", "null", NO }, { "\">\",5", "9007199254740993", NO },
		{ "\">\",5", "27.807807921694092", YES }, { "\">\",5", "1e400", NO }, { "\">\",5", "[1,7]", YES }, { "\"<\",1e-320", "0", YES },
		{ "\">\",0", "4.9e-324", YES }, { "\">\",0", "5e-324", NO }, { "\">\",0", "5.684341886080802e-14", YES },
		{ "\">\",0", "5.684341886080801e-14", YES }, { "\">\",0", "5.6843418860808015e-14", NO }, { "\"<\",0", "-5.684341886080802e-14", YES },
		{ "\">\",0", "2e23", YES }, { "\">\",0", "1e23", YES }, { "\">\",0", "99999999999999990000000", NO },
		{ "", "1", BAD }, { "\"=\"", "1", BAD }, { "\">\"", "1", BAD }, { "\"!=\",1", "1", BAD }, { "5", "1", BAD }, { "\"=\",\"5\"", "1", BAD },
		{ "\"<\",5,\">\",0", "1", BAD }, { "\">\",5,\"<\",5", "1", BAD }, { "\">=\",1,\"<=\",1", "1", BAD }, { "\">\",5,\"<\",1", "1", BAD },
		{ "\">\",0,\"<\"", "1", BAD }, { "\">\",0,\"<\",5,\"<\"", "1", BAD }, { "\"=\",5,\"=\",6", "1", BAD },
		{ "\">\",0,\">\",5", "1", BAD }, { "\">\",9007199254740993", "1", BAD }, { "\">\",1e400", "1", BAD }, { "\">\",null", "1", BAD },
		{ "\"<\",5,\"<\",6", "1", BAD },
	};
	char pattern[200], event[200], why[300];

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		snprintf(pattern, sizeof(pattern), "{\"a\":[{\"numeric\":[%s]}]}", cases[i].list);
		snprintf(event, sizeof(event), "{\"a\":%s}", cases[i].value);
		if (ask(pattern, event, why, sizeof(why)) != cases[i].want)
			fail_msg("row %zu: %s on %s (%s)", i, cases[i].list, cases[i].value, why);
	}
	assert_int_equal(ask(A("{\"numeric\":5}"), "{}", why, sizeof(why)), BAD);
	assert_int_equal(ask(A("{\"numeric\":{}}"), "{}", why, sizeof(why)), BAD);
}

static void addresses(void **state)
{
	static const struct row rows[] = {
		{ A("{\"cidr\":\"10.0.0.0/8\"}"), V("\"10.1.2.3\""), YES }, { A("{\"cidr\":\"10.0.0.0/8\"}"), V("\"11.0.0.0\""), NO },
		{ A("{\"cidr\":\"10.9.9.9/8\"}"), V("\"10.1.2.3\""), YES }, { A("{\"cidr\":\"10.0.0.0/9\"}"), V("\"10.128.0.0\""), NO },
		{ A("{\"cidr\":\"0.0.0.0/0\"}"), V("\"255.255.255.255\""), YES }, { A("{\"cidr\":\"0.0.0.0/0\"}"), V("\"::1\""), NO },
		{ A("{\"cidr\":\"::/0\"}"), V("\"10.0.0.1\""), NO }, { A("{\"cidr\":\"::/0\"}"), V("\"::1\""), YES },
		{ A("{\"cidr\":\"10.0.0.0/8\"}"), V("\"0a00::1\""), NO }, { A("{\"cidr\":\"2001:db8::/32\"}"), V("\"2001:DB8:0:1::5\""), YES },
		{ A("{\"cidr\":\"2001:db8::/32\"}"), V("\"2001:db9::\""), NO }, { A("{\"cidr\":\"10.0.0.0/8\"}"), V("10"), NO }, { A("{\"cidr\":\"::/1\"}"), V("1e300"), NO },
		{ A("{\"cidr\":\"10.0.0.0/8\"}"), V("\"10.1\""), NO }, { A("{\"cidr\":\"10.0.0.0/8\"}"), V("\"10.1.2.3.4\""), NO },
		{ A("\"10.0.0.1\""), V("\"010.000.00.1\""), YES }, { A("\"::1\""), V("\"0:0:0:0:0:0:0:1\""), YES },
		{ A("\"10.0.0.1\""), V("\"0a00:0001::5\""), NO }, { A("\"a:b\""), V("\"A:b\""), NO },
		{ A("\"::ffff:0a00:0001\""), V("\"10.0.0.1\""), YES }, { A("\"::ffff:0a00:0001\""), V("\"::ffff:10.0.0.1\""), NO },
		{ A("{\"anything-but\":\"10.0.0.1\"}"), V("\"010.0.0.1\""), YES },
		{ A("{\"cidr\":\"10.0.0.0/32\"}"), NULL, BAD }, { A("{\"cidr\":\"::/128\"}"), NULL, BAD }, { A("{\"cidr\":\"10.0.0.0\"}"), NULL, BAD },
		{ A("{\"cidr\":\"10.0.0.0/\"}"), NULL, BAD }, { A("{\"cidr\":\"10.0.0.0/a\"}"), NULL, BAD }, { A("{\"cidr\":\"10.0.0/8\"}"), NULL, BAD },
		{ A("{\"cidr\":\"10.0.0.0/8/8\"}"), NULL, BAD }, { A("{\"cidr\":\"10.0.0.0/-1\"}"), NULL, BAD }, { A("{\"cidr\":5}"), NULL, BAD },
		{ A("{\"cidr\":\"10.0.0.0/0008\"}"), V("\"10.1.2.3\""), YES }, { A("{\"cidr\":\"10.0.0.0/4294967304\"}"), NULL, BAD },
		{ A("{\"cidr\":\"10.0.0.0/+8\"}"), NULL, BAD }, { A("{\"cidr\":\"10.0.0.0/-0\"}"), NULL, BAD }, { A("{\"cidr\":\"10.0.0.0/ 8\"}"), NULL, BAD },
		{ A("{\"cidr\":\"10.0.0.0/8\"}"), V("\"::ffff:0a01:0101\""), YES }, { A("{\"cidr\":\"::/0\"}"), V("\"::ffff:0a01:0101\""), NO },
		{ A("{\"cidr\":\"::ffff:0a00:0/8\"}"), V("\"10.1.2.3\""), YES }, { A("{\"cidr\":\"::ffff:0a00:0/104\"}"), NULL, BAD },
		{ A("\"0.0.0.0\""), V("\"::\""), NO },
		{ A("\"10.0.0.1\""), V("\"000000010.0.0.1\""), YES }, { A("\"10.0.0.1\""), V("\"0000000010.0.0.1\""), NO },
		{ A("\"::1\""), V("\"::00001\""), YES }, { A("\"::1\""), V("\"::10001\""), NO }, { A("\"::\""), V("\"0::0:0\""), YES },
		{ A("\"1:2:3:4:5:6:7:0\""), V("\"1:2:3:4:5:6:7::\""), YES }, { A("\"0:2:3:4:5:6:7:8\""), V("\"::2:3:4:5:6:7:8\""), YES },
		{ A("{\"cidr\":\"::/0\"}"), V("\"1:2:3:4:5:6:7:8::\""), NO }, { A("{\"cidr\":\"::/0\"}"), V("\"1::2::3\""), NO },
		{ A("{\"cidr\":\"::/0\"}"), V("\"1:2:3:4:5:6:7\""), NO }, { A("{\"cidr\":\"::/0\"}"), V("\":::\""), NO },
		{ A("{\"cidr\":\"::/0\"}"), V("\":1::\""), NO }, { A("{\"cidr\":\"::/0\"}"), V("\"1::2:\""), NO },
		{ A("{\"cidr\":\"::/0\"}"), V("\"1:2:3:4:5:6:7:8:9\""), NO }, { A("{\"cidr\":\"::/0\"}"), V("\"12345::\""), NO },
		{ A("{\"cidr\":\"10.0.0.256/8\"}"), NULL, BAD }, { A("{\"cidr\":\"\"}"), NULL, BAD },
	};

	(void)state;
	check("addresses", rows, SB_LEN(rows));
}

static void anything_but(void **state)
{
	static const struct row rows[] = {
		{ A("{\"anything-but\":\"x\"}"), V("\"y\""), YES }, { A("{\"anything-but\":\"x\"}"), V("\"x\""), NO },
		{ A("{\"anything-but\":\"x\"}"), V("null"), YES }, { A("{\"anything-but\":\"x\"}"), V("5"), YES },
		{ A("{\"anything-but\":\"x\"}"), V("true"), YES }, { A("{\"anything-but\":\"x\"}"), V("[\"x\",\"y\"]"), YES },
		{ A("{\"anything-but\":\"x\"}"), V("[\"x\"]"), NO }, { A("{\"anything-but\":\"x\"}"), "{}", NO },
		{ A("{\"anything-but\":\"x\"}"), V("[]"), NO }, { A("{\"anything-but\":\"x\"}"), V("{}"), NO },
		{ A("{\"anything-but\":\"x\"},{\"anything-but\":\"y\"}"), V("\"x\""), YES },
		{ A("{\"anything-but\":[\"x\",\"y\"]}"), V("\"y\""), NO }, { A("{\"anything-but\":[\"x\",\"y\"]}"), V("\"z\""), YES },
		{ A("{\"anything-but\":5}"), V("5.0"), NO }, { A("{\"anything-but\":5}"), V("\"5\""), YES },
		{ A("{\"anything-but\":[1,2]}"), V("2"), NO }, { A("{\"anything-but\":[1,2]}"), V("3"), YES },
		{ A("{\"anything-but\":{\"prefix\":\"a\"}}"), V("\"ab\""), NO }, { A("{\"anything-but\":{\"prefix\":\"a\"}}"), V("\"ba\""), YES },
		{ A("{\"anything-but\":{\"prefix\":\"a\"}}"), V("5"), YES }, { A("{\"anything-but\":{\"prefix\":[\"a\",\"b\"]}}"), V("\"ba\""), NO },
		{ A("{\"anything-but\":{\"suffix\":\"a\"}}"), V("\"ba\""), NO }, { A("{\"anything-but\":{\"suffix\":[\"a\",\"c\"]}}"), V("\"bb\""), YES },
		{ A("{\"anything-but\":{\"equals-ignore-case\":\"a\"}}"), V("\"A\""), NO },
		{ A("{\"anything-but\":{\"equals-ignore-case\":[\"a\",\"b\"]}}"), V("\"c\""), YES },
		{ A("{\"anything-but\":{\"wildcard\":\"a*c\"}}"), V("\"abc\""), NO }, { A("{\"anything-but\":{\"wildcard\":[\"a*\",\"b*\"]}}"), V("\"ca\""), YES },
		{ A("{\"anything-but\":true}"), NULL, BAD }, { A("{\"anything-but\":null}"), NULL, BAD }, { A("{\"anything-but\":[]}"), NULL, BAD },
		{ A("{\"anything-but\":9007199254740993}"), NULL, BAD }, { A("{\"anything-but\":[1,1e400]}"), NULL, BAD },
		{ A("{\"anything-but\":[\"a\",1]}"), NULL, BAD }, { A("{\"anything-but\":[1,\"a\"]}"), NULL, BAD }, { A("{\"anything-but\":[null]}"), NULL, BAD },
		{ A("{\"anything-but\":[[\"a\"]]}"), NULL, BAD }, { A("{\"anything-but\":{}}"), NULL, BAD },
		{ A("{\"anything-but\":{\"prefix\":\"\"}}"), NULL, BAD }, { A("{\"anything-but\":{\"suffix\":[\"\"]}}"), NULL, BAD },
		{ A("{\"anything-but\":{\"prefix\":[]}}"), NULL, BAD }, { A("{\"anything-but\":{\"prefix\":5}}"), NULL, BAD },
		{ A("{\"anything-but\":{\"prefix\":{\"equals-ignore-case\":\"a\"}}}"), NULL, BAD },
		{ A("{\"anything-but\":{\"numeric\":[\"=\",5]}}"), NULL, BAD }, { A("{\"anything-but\":{\"cidr\":\"10.0.0.0/8\"}}"), NULL, BAD },
		{ A("{\"anything-but\":{\"exists\":true}}"), NULL, BAD }, { A("{\"anything-but\":{\"prefix\":\"a\",\"suffix\":\"b\"}}"), NULL, BAD },
		{ A("{\"anything-but\":{\"wildcard\":\"**\"}}"), NULL, BAD },
	};

	(void)state;
	check("anything-but", rows, SB_LEN(rows));
}

static void existence(void **state)
{
	static const struct row rows[] = {
		{ A("{\"exists\":true}"), V("null"), YES }, { A("{\"exists\":true}"), V("\"\""), YES }, { A("{\"exists\":true}"), V("[]"), NO },
		{ A("{\"exists\":true}"), V("{}"), NO }, { A("{\"exists\":true}"), V("{\"b\":1}"), NO }, { A("{\"exists\":true}"), V("[{}]"), NO },
		{ A("{\"exists\":true}"), V("[[],[1]]"), YES }, { A("{\"exists\":true}"), "{}", NO },
		{ A("{\"exists\":false}"), "{}", YES }, { A("{\"exists\":false}"), V("[]"), YES }, { A("{\"exists\":false}"), V("{}"), YES },
		{ A("{\"exists\":false}"), V("{\"b\":1}"), YES }, { A("{\"exists\":false}"), V("null"), NO }, { A("{\"exists\":false}"), V("[1]"), NO },
		{ A("{\"exists\":false}"), V("[[1]]"), NO }, { A("{\"exists\":false},\"x\""), "{}", YES }, { A("{\"exists\":false},\"x\""), V("\"x\""), YES },
		{ A("{\"exists\":false},\"x\""), V("\"y\""), NO }, { A("\"x\",{\"exists\":false}"), V("[\"y\",\"x\"]"), YES },
		{ A("{\"exists\":false},{\"exists\":true}"), V("1"), YES }, { A("{\"exists\":false},{\"exists\":true}"), "{}", YES },
		{ "{\"a\":{\"b\":[{\"exists\":false}]}}", "{}", YES }, { "{\"a\":{\"b\":[{\"exists\":false}]}}", V("1"), YES },
		{ "{\"a\":{\"b\":[{\"exists\":false}]}}", V("{\"b\":1}"), NO }, { "{\"a\":{\"b\":[{\"exists\":false}]}}", V("[{\"c\":1},{\"b\":1}]"), NO },
		{ A("{\"exists\":1}"), NULL, BAD }, { A("{\"exists\":\"true\"}"), NULL, BAD }, { A("{\"exists\":null}"), NULL, BAD },
	};

	(void)state;
	check("exists", rows, SB_LEN(rows));
}

static void keys(void **state)
{
	static const struct row rows[] = {
		{ "{\"a.b\":[1]}", "{\"a\":{\"b\":1}}", YES }, { "{\"a\":{\"b\":[1]}}", "{\"a.b\":1}", YES }, { "{\"a.b\":[1]}", "{\"a.b\":1}", YES },
		{ "{\"a\":{\"b.c\":[1]}}", "{\"a.b\":{\"c\":1}}", YES }, { "{\"a.b\":[1]}", "{\"a\":{\"b\":2},\"a.b\":1}", YES },
		{ "{\"a.b\":[1]}", "{\"a.b\":1,\"a\":{\"b\":2}}", YES }, { "{\"a.b\":[2]}", "{\"a.b\":1,\"a\":{\"b\":2}}", YES },
		{ "{\"a.b\":[3]}", "{\"a.b\":1,\"a\":{\"b\":2}}", NO }, { "{\"a.b\":[{\"exists\":false}]}", "{\"a.b\":1,\"a\":{}}", NO },
		{ "{\"a.b\":[{\"exists\":false}]}", "{\"a\":{\"b\":1},\"a.b\":{}}", NO }, { "{\"a.b\":[{\"exists\":false}]}", "{\"a\":{},\"a.b\":{}}", YES },
		{ "{\"a.b\":[{\"exists\":false},3]}", "{\"a\":{\"b\":3},\"a.b\":1}", YES }, { "{\"a.b\":[{\"exists\":false},3]}", "{\"a\":{\"b\":2},\"a.b\":{}}", NO },
		{ "{\"a.b\":[1],\"a.c\":[2]}", "{\"a\":[{\"b\":1,\"c\":9}],\"a.c\":2}", YES },
		{ "{\"a.b\":[1],\"a.c\":[2]}", "{\"a\":[{\"b\":1},{\"c\":2}],\"a.c\":3}", NO },
		{ "{\"a\":[2]}", "{\"a\":1,\"a\":2}", YES }, { "{\"a\":[1]}", "{\"a\":1,\"a\":2}", NO }, { "{\"a\":[1]}", "{\"a\":1,\"\\u0061\":2}", NO },
		{ "{\"a\":{\"\":[1]}}", "{\"a\":{\"\":1}}", NO }, { "{\"ab\":[1]}", "{\"a\":{\"b\":1}}", NO }, { "{\"a.b\":[1]}", "{\"a\":1}", NO },
		{ "{\"a\":[1]}", "{\"a\":{\"b\":1}}", NO }, { "{\"a.b\":[1],\"a\":{\"b\":[1]}}", NULL, BAD },
		{ "{\"a\":{\"b\":[1]},\"a.b\":[2]}", NULL, BAD }, { "{\"a\":[1],\"a.b\":[1]}", "{\"a\":[1,{\"b\":1}]}", YES },
		{ "{\"a\":[1]}", "[{\"a\":1}]", NO }, { "{\"a\":[1]}", "1", NO },
	};

	(void)state;
	check("keys", rows, SB_LEN(rows));
}

#define XY "{\"a\":{\"x\":[1],\"y\":[2]}}"
#define X_NOT_Y "{\"a\":{\"x\":[1],\"y\":[{\"exists\":false}]}}"
#define X_NOT_B "{\"a\":{\"x\":[1],\"b\":[{\"exists\":false}]}}"
#define X_OR_NONE "{\"a\":{\"x\":[1,{\"exists\":false}],\"y\":[2,{\"exists\":false}]}}"

static void arrays(void **state)
{
	static const struct row rows[] = {
		{ XY, "{\"a\":[{\"x\":1},{\"y\":2}]}", NO }, { XY, "{\"a\":[{\"z\":1},{\"x\":1,\"y\":2}]}", YES }, { XY, "{\"a\":[[{\"x\":1,\"y\":2}]]}", YES },
		{ XY, "{\"a\":[[{\"x\":1},{\"y\":2}]]}", NO }, { XY, "{\"a\":[[{\"x\":1}],[{\"y\":2}]]}", NO },
		{ XY, "{\"a\":[{\"x\":[0,1],\"y\":[2,3]}]}", YES }, { XY, "{\"a\":[{\"x\":[[1]],\"y\":[[],[2]]}]}", YES },
		{ "{\"a\":{\"x\":[1]},\"b\":{\"y\":[2]}}", "{\"a\":[{},{\"x\":1}],\"b\":[{\"y\":2}]}", YES },
		{ "{\"a\":{\"x\":{\"p\":[1]},\"y\":{\"q\":[2]}}}", "{\"a\":[{\"x\":[{\"p\":1}],\"y\":[{},{\"q\":2}]}]}", YES },
		{ "{\"a\":{\"x\":{\"p\":[1],\"q\":[2]}}}", "{\"a\":[{\"x\":[{\"p\":1},{\"q\":2}]}]}", NO },
		{ X_NOT_Y, "{\"a\":[{\"x\":1},{\"y\":2}]}", YES }, { X_NOT_B, "{\"a\":[{\"x\":1},{\"b\":2}]}", YES },
		{ X_NOT_Y, "{\"a\":[{\"x\":1,\"y\":2}]}", NO }, { X_NOT_Y, "{\"a\":[{\"x\":1,\"y\":2},{\"x\":1}]}", YES },
		{ X_NOT_Y, "{\"a\":[{\"x\":1,\"y\":[]}]}", YES },
		{ X_OR_NONE, "{\"a\":[{\"x\":1},{\"y\":3}]}", YES }, { X_OR_NONE, "{\"a\":[{\"x\":3},{\"y\":3}]}", NO },
		{ X_OR_NONE, "{\"a\":[{\"z\":3},{}]}", YES }, { X_OR_NONE, "{\"a\":[{\"z\":3},{\"y\":3}]}", NO },
		{ X_OR_NONE, "{\"a\":[{\"x\":1,\"y\":3},{\"y\":2}]}", YES }, { X_OR_NONE, "{\"a\":[{\"x\":1,\"y\":3},{\"y\":2,\"x\":2}]}", NO },
		{ "{\"a\":[1],\"b\":[2]}", "{\"a\":[1,0],\"b\":[0,2]}", YES },
		{ "{\"a\":[\"p\",{\"exists\":false}]}", "{\"a\":[{},\"q\"]}", NO }, { "{\"a\":[\"p\",{\"exists\":false}]}", "{\"a\":[\"q\",[\"p\"]]}", YES },
		{ "{\"a\":[1]}", "{\"a\":[{\"b\":1},2]}", NO },
		{ "{\"a\":[1],\"a.b\":[{\"exists\":false}]}", "{\"a\":[1,{\"b\":2}]}", NO },
		{ "{\"a\":[1],\"a.b\":[{\"exists\":false}]}", "{\"a\":[1,{\"b\":2},[1]]}", YES },
		{ "{\"a\":{\"b\":[1]}}", "{\"a\":[1]}", NO },
	};

	(void)state;
	check("arrays", rows, SB_LEN(rows));
}

static void or_groups(void **state)
{
	static const struct row rows[] = {
		{ "{\"$or\":[{\"a\":[1]},{\"b\":[2]}]}", "{\"a\":1}", YES }, { "{\"$or\":[{\"a\":[1]},{\"b\":[2]}]}", "{\"b\":2}", YES },
		{ "{\"$or\":[{\"a\":[1]},{\"b\":[2]}]}", "{\"b\":1}", NO }, { "{\"c\":[3],\"$or\":[{\"a\":[1]},{\"b\":[2]}]}", "{\"a\":1}", NO },
		{ "{\"c\":[3],\"$or\":[{\"a\":[1]},{\"b\":[2]}]}", "{\"a\":1,\"c\":3}", YES },
		{ "{\"d\":{\"$or\":[{\"a\":[1]},{\"b\":[2]}]}}", "{\"d\":{\"b\":2}}", YES },
		{ "{\"$or\":[{\"a\":[1]},{\"$or\":[{\"b\":[1]},{\"c\":[1]}]}]}", "{\"c\":1}", YES },
		{ "{\"d\":{\"$or\":[{\"a\":[1]},{\"b\":[1]}]},\"$or\":[{\"x\":[1]},{\"y\":[1]}]}", "{\"y\":1,\"d\":{\"b\":1}}", YES },
		{ "{\"d\":{\"$or\":[{\"a\":[1]},{\"b\":[1]}]},\"$or\":[{\"x\":[1]},{\"y\":[1]}]}", "{\"d\":{\"b\":1}}", NO },
		{ "{\"$or\":[{\"a\":[1]},{\"a\":[2],\"b\":[1]}]}", "{\"a\":2,\"b\":1}", YES },
		{ "{\"l\":{\"p\":[1],\"$or\":[{\"x\":[1]},{\"y\":[1]}]}}", "{\"l\":[{\"p\":1},{\"x\":1}]}", NO },
		{ "{\"l\":{\"p\":[1],\"$or\":[{\"x\":[1]},{\"y\":[1]}]}}", "{\"l\":[{\"p\":1,\"y\":1},{\"x\":1}]}", YES },
		{ "{\"l\":{\"n\":[{\"exists\":false}],\"$or\":[{\"x\":[1]},{\"y\":[1]}]}}", "{\"l\":[{\"n\":1},{\"y\":1}]}", YES },
		{ "{\"$or\":{\"a\":[1]}}", NULL, BAD }, { "{\"$or\":[{\"a\":[1]}]}", NULL, BAD }, { "{\"$or\":[]}", NULL, BAD },
		{ "{\"$or\":[{\"a\":[1]},1]}", NULL, BAD }, { "{\"$or\":[{\"a\":[1]},{}]}", NULL, BAD }, { "{\"$or\":\"a\"}", NULL, BAD },
		{ "{\"$or\":[{\"prefix\":[1]},{\"b\":[1]}]}", NULL, BAD }, { "{\"$or\":[{\"regex\":[1]},{\"b\":[1]}]}", NULL, BAD },
		{ "{\"prefix\":[1]}", "{\"prefix\":1}", YES }, { "{\"$or\":[{\"a\":{\"prefix\":[1]}},{\"b\":[1]}]}", NULL, BAD },
		{ "{\"$or\":[{\"$or\":[{\"a\":[1]},{\"b\":{\"<\":[1]}}]},{\"b\":[1]}]}", NULL, BAD },
		{ "{\"prefix\":{\"$or\":[{\"a\":[1]},{\"b\":[1]}]}}", "{\"prefix\":{\"b\":1}}", YES },
		{ "{\"a\":[1],\"$or\":[{\"a\":[2]},{\"b\":[1]}]}", NULL, BAD }, { "{\"$or\":[{\"a\":[2]},{\"b\":[1]}],\"a\":[1]}", NULL, BAD },
		{ "{\"a.b\":[1],\"a\":{\"$or\":[{\"b\":[2]},{\"c\":[1]}]}}", NULL, BAD },
		{ "{\"$or\":[{\"a\":{\"$or\":[{\"b\":[1]},{\"c\":[1]}]},\"a.b\":[1]},{\"x\":[1]}]}", NULL, BAD },
		{ "{\"$or\":[{\"a\":[1]},{\"a\":[2],\"$or\":[{\"b\":[1]},{\"c\":[1]}]}]}", "{\"a\":2,\"c\":1}", YES },
	};

	(void)state;
	check("$or", rows, SB_LEN(rows));
}

/* `n` times `each`, a number in place of its `#`, between two texts. */
static char *repeat(const char *before, const char *each, unsigned n, const char *after)
{
	const char *hash = strchr(each, '#');
	struct sb_buf b = SB_BUF(1u << 20);

	sb_buf_adds(&b, before);
	for (unsigned i = 0; i < n; i++) {
		if (hash)
			sb_buf_addf(&b, "%.*s%u", (int)(hash - each), each, i);
		sb_buf_adds(&b, hash ? hash + 1 : each);
	}
	sb_buf_adds(&b, after);
	sb_buf_cstr(&b);
	return b.p;
}

static void limits(void **state)
{
	static const struct { const char *before, *each, *after; unsigned n; enum answer want; } cases[] = {
		{ "{", "\"f#\":[1],", "\"z\":[1]}", 255, NO }, { "{", "\"f#\":[1],", "\"z\":[1]}", 256, BAD },
		{ "{\"$or\":[", "{\"f#\":[1]},", "{\"z\":[1]}]}", 999, NO }, { "{\"$or\":[", "{\"f#\":[1]},", "{\"z\":[1]}]}", 1000, BAD },
		{ "{", "\"f#\":{\"$or\":[{\"a\":[1]},{\"b\":[1]}]},", "\"z\":[1]}", 9, NO },
		{ "{", "\"f#\":{\"$or\":[{\"a\":[1]},{\"b\":[1]}]},", "\"z\":[1]}", 10, BAD },
		{ "{\"a", "bbbbbbbbbb", "\":[1]}", 409, NO }, { "{\"a", "bbbbbbbbbb", "\":[1]}", 410, BAD },
	};
	char why[300];

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		char *pattern = repeat(cases[i].before, cases[i].each, cases[i].n, cases[i].after);
		enum answer got = ask(pattern, "{\"q\":1}", why, sizeof(why));

		free(pattern);
		if (got != cases[i].want)
			fail_msg("row %zu: %s (%s)", i, cases[i].each, why);
	}
}

/* ------------------------------------------------------------------------------------------------ events made to be slow */

static void hostile_events_cost_little(void **state)
{
	static const struct {
		const char *what, *pattern;
		const char *before, *open, *middle, *close, *after; /* `open` and `close` n times */
		unsigned n;
		enum answer want;
	} cases[] = {
		{ "one long array", XY, "{\"a\":[", "{\"x\":1},", "{\"y\":2}]}", "", "", 20000, NO },
		{ "an array of absences", X_OR_NONE, "{\"a\":[", "{\"x\":3},", "{\"y\":3}]}", "", "", 20000, NO },
		{ "arrays side by side", "{\"a\":{\"x\":[1]},\"b\":{\"x\":[2]}}", "{\"a\":[", "{\"x\":1},", "{}],\"b\":[", "{\"x\":1},", "{}]}", 4000, NO },
		{ "nested arrays", XY, "{\"a\":", "[", "{\"x\":1}", "]", "}", 990, NO },
		{ "paths with many spellings", "{\"a.a.a.a.a.a.a.a.a.a.a.a.x\":[1],\"a.a.a.a.a.a.a.a.a.a.a.a.y\":[2]}", "",
			"{\"a.a\":{\"a\":{},\"a.a\":{}},\"a\":", "1", "}", "", 200, NO },
		{ "keys that are the same", A("1"), "{", "\"a\":2,", "\"a\":1}", "", "", 20000, YES },
	};
	char why[300];

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		char *front = repeat(cases[i].before, cases[i].open, cases[i].n, cases[i].middle);
		char *event = repeat(front, cases[i].close, cases[i].n, cases[i].after);
		clock_t t = clock();
		enum answer got = ask(cases[i].pattern, event, why, sizeof(why));

		t = clock() - t;
		free(front);
		free(event);
		if (got != cases[i].want)
			fail_msg("%s: the answer is %d (%s)", cases[i].what, got, why);
		if (t > CLOCKS_PER_SEC)
			fail_msg("%s took %ld ms", cases[i].what, (long)(t * 1000 / CLOCKS_PER_SEC));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(literals), cmocka_unit_test(string_operators), cmocka_unit_test(wildcards), cmocka_unit_test(numbers),
		cmocka_unit_test(addresses), cmocka_unit_test(anything_but), cmocka_unit_test(existence), cmocka_unit_test(keys),
		cmocka_unit_test(arrays), cmocka_unit_test(or_groups), cmocka_unit_test(limits),
		cmocka_unit_test(hostile_events_cost_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
