/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/redis/entry.h"

#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

static const char *behind_line(const char *p, const char *end)
{
	const char *at = memchr(p, '\n', (size_t)(end - p));

	return at ? at + 1 : end;
}

/* Words of a command, as a person would type it: "XADD s * k v". */
static void words_of(const struct sb_buf *b, char *out, size_t size)
{
	const char *end = b->p + b->len, *p = behind_line(b->p, end);
	size_t n = 0;

	while (p < end) {
		size_t len = strtoul(p + 1, NULL, 10);

		p = behind_line(p, end);
		n += (size_t)snprintf(out + n, size - n, n ? " %.*s" : "%.*s", (int)len, p);
		p += len + 2;
	}
}

struct text {
	const char *name, *text;
};

static const struct text by_default[] = {
	{ "event", "<event>" }, { "id", "<id>" }, { "rule", "<rule>" }, { "attempt", "<attempt>" }, { NULL, NULL },
};
static const struct text by_path[] = {
	{ "k", "<$.detail.id>" }, { "v", "t=<$.detail-type> of <rule>" }, { NULL, NULL },
};
static const struct text with_a_gap[] = {
	{ "a", "<$.detail.nothing>" }, { "b", "x<$.detail.nothing>y" }, { "c", "<target>" }, { NULL, NULL },
};
static const struct text all_gaps[] = {
	{ "a", "<$.detail.nothing>" }, { NULL, NULL },
};

static const struct {
	const struct text *fields;
	struct rds_entry_conf conf;
	int rc;
	const char *want;
} rows[] = {
	{ by_default, { .stream = "s" }, 0, "XADD s * event {\"x\": 1} id d-1 rule r attempt 3" },
	{ by_path, { .stream = "s", .maxlen = 100 }, 0, "XADD s MAXLEN ~ 100 * k 7 v t=T of r" },
	{ by_path, { .stream = "s", .maxlen = 5, .exact = true }, 0, "XADD s MAXLEN = 5 * k 7 v t=T of r" },
	{ with_a_gap, { .stream = "s", .minid = "12-3" }, 0, "XADD s MINID ~ 12-3 * c done" },
	{ with_a_gap, { .stream = "s", .minid_age_ms = 1000 }, 0, "XADD s MINID ~ 4000 * c done" },
	{ with_a_gap, { .stream = "s", .minid_age_ms = 9000 }, 0, "XADD s MINID ~ 0 * c done" },
	{ all_gaps, { .stream = "s" }, 1, "" },
};

static void compile(struct sb_arena *a, const struct text *f, struct rds_entry_conf *c)
{
	struct sb_err err;

	c->field = sb_arena_alloc(a, 8 * sizeof(*c->field));
	for (c->n = 0; f[c->n].name; c->n++) {
		c->field[c->n].name = f[c->n].name;
		assert_int_equal(sb_template_compile(a, sb_slice_str(f[c->n].text), rds_entry_names, NULL, &c->field[c->n].value, &err), 0);
	}
}

static void test_an_entry_is_made_of_its_fields(void **state)
{
	static const char json[] = "{\"id\":\"e\",\"detail-type\":\"T\",\"source\":\"s\",\"detail\":{\"id\":7}}";
	struct sb_buf scratch = SB_BUF(4096), out = SB_BUF(4096);
	struct sb_event *ev;
	struct sb_err err;

	(void)state;
	assert_int_equal(sb_event_parse(SB_SLICE(json), "default", "test", &ev, &err), 0);
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		const struct sb_item item = { .delivery_id = SB_SLICE("d-1"), .attempt = 3, .event = ev,
			.input = SB_SLICE("{\"x\": 1}"), .rule = "r" };
		struct rds_entry_conf c = rows[i].conf;
		struct sb_arena a = { 0 };
		char said[512] = "";
		int rc;

		compile(&a, rows[i].fields, &c);
		sb_buf_clear(&out);
		rc = rds_entry_xadd(&c, &item, "done", 5000, &scratch, &out);
		if (rc == 0)
			words_of(&out, said, sizeof(said));
		if (rc != rows[i].rc || strcmp(said, rows[i].want) != 0)
			fail_msg("row %zu: %d, '%s'", i, rc, said);
		sb_arena_done(&a);
	}
	sb_buf_done(&scratch);
	sb_buf_done(&out);
	sb_event_unref(ev);
	sb_event_thread_done();
	sb_pool_thread_done();
}

static void test_what_does_not_fit_leaves_nothing(void **state)
{
	static const char json[] = "{\"detail\":{\"id\":\"0123456789012345678901234567890123456789\"}}";
	struct sb_buf scratch = SB_BUF(4096), out = SB_BUF(64), small = SB_BUF(8);
	struct rds_entry_conf c = { .stream = "s" };
	struct sb_arena a = { 0 };
	struct sb_item item = { .attempt = 1, .input = SB_SLICE(json), .rule = "r" };
	struct sb_event *ev;
	struct sb_err err;

	(void)state;
	assert_int_equal(sb_event_parse(SB_SLICE(json), "default", "test", &ev, &err), 0);
	item.event = ev;
	compile(&a, by_default, &c);
	sb_buf_adds(&out, "before");
	assert_int_equal(rds_entry_xadd(&c, &item, "t", 0, &scratch, &out), -1);
	assert_int_equal(out.len, 6);
	compile(&a, by_path, &c);
	assert_int_equal(rds_entry_xadd(&c, &item, "t", 0, &small, &out), -1);
	assert_int_equal(out.len, 6);
	sb_arena_done(&a);
	sb_buf_done(&scratch);
	sb_buf_done(&out);
	sb_buf_done(&small);
	sb_event_unref(ev);
	sb_event_thread_done();
	sb_pool_thread_done();
}

static void test_minid_is_an_age_or_an_id(void **state)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t age;
		const char *id;
	} cases[] = {
		{ "24h", 0, 86400000, NULL }, { "250ms", 0, 250, NULL }, { "1700000000000-0", 0, 0, "1700000000000-0" },
		{ "12", 0, 0, "12" }, { "", -1, 0, NULL }, { "-1", -1, 0, NULL }, { "1-", -1, 0, NULL }, { "1-2-3", -1, 0, NULL },
		{ "$", -1, 0, NULL }, { "soon", -1, 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < SB_LEN(cases); i++) {
		struct rds_entry_conf c = { 0 };
		int rc = rds_entry_minid(cases[i].text, &c);

		if (rc != cases[i].rc || (rc == 0 && (c.minid_age_ms != cases[i].age || !c.minid != !cases[i].id ||
						      (c.minid && strcmp(c.minid, cases[i].id) != 0))))
			fail_msg("row %zu: '%s' gave %d, %llu, %s", i, cases[i].text, rc, (unsigned long long)c.minid_age_ms,
				c.minid ? c.minid : "no id");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_entry_is_made_of_its_fields),
		cmocka_unit_test(test_what_does_not_fit_leaves_nothing),
		cmocka_unit_test(test_minid_is_an_age_or_an_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
