/* SPDX-License-Identifier: Apache-2.0 */
/* The plain matcher: nanoseconds an event for 1, 10 and 100 rules, and for events that are made to be slow. */
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/clock.h"
#include "rules/rules.h"

static const char order[] = "{\"version\":\"0\",\"id\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"source\":\"com."
			    "shop\",\"detail-type\":\"OrderPlaced\","
			    "\"account\":\"000000000000\",\"region\":\"local\",\"time\":\"2024-01-01T00:00:00Z\","
			    "\"resources\":[\"order/8231\"],\"detail\":"
			    "{\"id\":\"o-8231\",\"customer\":{\"id\":\"c-77\",\"country\":\"de\",\"tags\":[\"vip\","
			    "\"news\"]},\"total\":250.75,"
			    "\"currency\":\"EUR\",\"items\":[{\"sku\":\"a-1\",\"n\":2,\"price\":100},{\"sku\":\"b-9\","
			    "\"n\":1,\"price\":50.75}],"
			    "\"note\":\"leave at the door\"}}";

static struct sb_ruleset *load(const char *text)
{
	const char *name = "bench.yaml";
	struct sb_slice s = sb_slice_str(text);
	struct sb_diags diags = { 0 };
	struct sb_ruleset *rs = sb_ruleset_parse(&name, &s, 1, &diags);
	struct sb_buf out = SB_BUF(1u << 16);

	sb_diags_format(&diags, SB_DIAG_SHORT, false, &out);
	fprintf(stderr, "%.*s", (int)out.len, out.p ? out.p : "");
	sb_buf_done(&out);
	sb_diags_done(&diags);
	if (!rs)
		exit(1);
	return rs;
}

static void measure(const char *what, struct sb_ruleset *rs, const char *event, unsigned rounds)
{
	struct sb_hits hits = { 0 };
	struct sb_event *ev;
	struct sb_err err;
	uint64_t t, misses;

	if (sb_event_parse(sb_slice_str(event), sb_name_str("default"), "bench", &ev, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		exit(1);
	}
	sb_ruleset_match(rs, ev, &hits);
	misses = sb_pool_misses();
	t = sb_mono_ns(&sb_clock_system);
	for (unsigned i = 0; i < rounds; i++)
		sb_ruleset_match(rs, ev, &hits);
	t = sb_mono_ns(&sb_clock_system) - t;
	printf("%-32s %10.0f ns/event  %5u bytes  %zu matched  %lu blocks from malloc\n", what, (double)t / rounds,
		ev->n, hits.n, sb_pool_misses() - misses);
	sb_hits_done(&hits);
	sb_event_unref(ev);
	sb_ruleset_unref(rs);
}

/* One rule matches; the others want another detail-type, another total, or a customer from elsewhere. */
static struct sb_ruleset *rules(unsigned n)
{
	struct sb_buf text = SB_BUF(1u << 20);
	struct sb_ruleset *rs;

	sb_buf_adds(&text, "rules:\n");
	for (unsigned i = 0; i < n; i++) {
		sb_buf_addf(&text, "  - {name: r%u, targets: [t], pattern: {source: [com.shop], ", i);
		if (i % 3 == 0)
			sb_buf_addf(&text, "detail-type: [OrderPlaced], detail: {total: [{numeric: [\">=\", %u]}]}}}\n",
				100 + i * 1000);
		else if (i % 3 == 1)
			sb_buf_addf(&text,
				"detail-type: [OrderPaid%u], detail: {total: [{numeric: [\">=\", 100]}]}}}\n", i);
		else
			sb_buf_addf(&text,
				"detail-type: [OrderPlaced], detail: {customer: {country: [f%u], tags: [vip]}}}}\n", i);
	}
	rs = load(sb_buf_cstr(&text));
	sb_buf_done(&text);
	return rs;
}

/* Four arrays side by side, none of which has the element that is looked for. */
static char *siblings(unsigned n)
{
	struct sb_buf b = SB_BUF(1u << 20);

	sb_buf_adds(&b, "{\"last\":0");
	for (const char *a = "abcd"; *a; a++) {
		sb_buf_addf(&b, ",\"%c\":[{\"x\":0}", *a);
		for (unsigned i = 1; i < n; i++)
			sb_buf_addf(&b, ",{\"x\":%u}", i);
		sb_buf_addc(&b, ']');
	}
	sb_buf_addc(&b, '}');
	sb_buf_cstr(&b);
	return b.p;
}

int main(void)
{
	char *event = siblings(80);

	measure("1 rule", rules(1), order, 1000000);
	measure("10 rules", rules(10), order, 200000);
	measure("100 rules", rules(100), order, 20000);
	measure("4 arrays of 80, no match",
		load("rules: [{name: s, targets: [t], pattern: {a: {x: [1]}, b: {x: [2]}, c: {x: [3]}, d: {x: "
		     "[99]}}}]"),
		event, 20000);
	free(event);
	return 0;
}
