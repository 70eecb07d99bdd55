/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EventBridge-shaped events: {"source":…,"detail-type":…,"detail":{…}} and optionally id, time, resources, bus. What the
 * envelope of a received event also has (version, account, region) is let through and written anew. Other members are
 * refused: a misspelt one would otherwise be lost without a word.
 */
#include "batch.h"

struct members {
	uint32_t source, detail_type, detail, id, time, resources, bus; /* nodes; 0: absent */
};

static const struct {
	const char *name;
	size_t at; /* in struct members; SIZE_MAX: overlooked */
} known[] = {
	{ "source", offsetof(struct members, source) },
	{ "detail-type", offsetof(struct members, detail_type) },
	{ "detail", offsetof(struct members, detail) },
	{ "id", offsetof(struct members, id) },
	{ "time", offsetof(struct members, time) },
	{ "resources", offsetof(struct members, resources) },
	{ "bus", offsetof(struct members, bus) },
	{ "version", SIZE_MAX },
	{ "account", SIZE_MAX },
	{ "region", SIZE_MAX },
};

static bool note_member(struct members *m, const struct sb_tape *t, uint32_t key)
{
	for (size_t k = 0; k < SB_LEN(known); k++) {
		if (!sb_json_string_eq(t, key, sb_slice_str(known[k].name)))
			continue;
		if (known[k].at != SIZE_MAX)
			*(uint32_t *)(void *)((char *)m + known[k].at) = key + 1; /* the last of duplicates counts */
		return true;
	}
	return false;
}

static bool find_members(const struct sb_tape *t, uint32_t i, struct members *m, struct verdict *v)
{
	*m = (struct members){ 0 };
	for (uint32_t k = i + 1; k < t->node[i].next; k = t->node[k + 1].next)
		if (!note_member(m, t, k)) {
			struct sb_slice name = sb_json_text(t, k);

			batch_bad(v, "unknown_member", t->node[k].off, "an event has no member '%.*s'", (int)SB_MIN(name.n, 60), name.p);
			return false;
		}
	return true;
}

/* A string of 1 to 256 bytes; absent is fine unless `required`. */
static bool check_string(const struct sb_tape *t, uint32_t event, uint32_t i, const char *name, bool required, struct verdict *v)
{
	if (i == 0) {
		if (required)
			batch_bad(v, "missing_member", t->node[event].off, "'%s' is missing", name);
		return !required;
	}
	if (t->node[i].kind != SB_JSON_STRING || t->node[i].len == 0)
		batch_bad(v, "invalid_member", t->node[i].off, "'%s' must be a string that is not empty", name);
	else if (t->node[i].len > 256)
		batch_bad(v, "invalid_member", t->node[i].off, "'%s' is longer than 256 bytes", name);
	return !v->code;
}

static bool check_detail(const struct sb_tape *t, uint32_t event, uint32_t i, struct verdict *v)
{
	if (i == 0)
		batch_bad(v, "missing_member", t->node[event].off, "'detail' is missing");
	else if (t->node[i].kind != SB_JSON_OBJECT)
		batch_bad(v, "invalid_member", t->node[i].off, "'detail' must be an object");
	return !v->code;
}

static bool check_time(const struct sb_tape *t, uint32_t i, struct verdict *v)
{
	struct sb_slice s = i ? sb_json_text(t, i) : sb_slice(NULL, 0);
	uint64_t ms;

	if (i && (t->node[i].kind != SB_JSON_STRING || sb_time_parse(s.p, s.n, &ms) < 0))
		batch_bad(v, "invalid_member", t->node[i].off, "'time' must be a time such as 2026-11-24T08:19:53Z");
	return !v->code;
}

static bool check_resources(const struct sb_tape *t, uint32_t i, struct verdict *v)
{
	bool right = true;

	if (i == 0)
		return true;
	if (t->node[i].kind != SB_JSON_ARRAY)
		right = false;
	for (uint32_t k = i + 1; right && k < t->node[i].next; k = t->node[k].next)
		right = t->node[k].kind == SB_JSON_STRING;
	if (!right)
		batch_bad(v, "invalid_member", t->node[i].off, "'resources' must be an array of strings");
	return right;
}

static struct sb_event_str escaped(const struct sb_tape *t, uint32_t i)
{
	return (struct sb_event_str){ i ? sb_json_text(t, i) : sb_slice(NULL, 0), true };
}

void batch_take_shaped(struct batch *b, const struct sb_tape *t, uint32_t i, struct verdict *v)
{
	struct sb_event_spec spec;
	struct members m;

	if (t->node[i].kind != SB_JSON_OBJECT) {
		batch_bad(v, "invalid_event", t->node[i].off, "an event must be an object");
		return;
	}
	if (!find_members(t, i, &m, v) || !check_string(t, i, m.source, "source", true, v) ||
		!check_string(t, i, m.detail_type, "detail-type", true, v) || !check_detail(t, i, m.detail, v) ||
		!check_string(t, i, m.id, "id", false, v) || !check_time(t, m.time, v) || !check_resources(t, m.resources, v) ||
		!check_string(t, i, m.bus, "bus", false, v) || !batch_spec(b, t, m.bus, &spec, v))
		return;
	spec.id = escaped(t, m.id);
	spec.source = escaped(t, m.source);
	spec.detail_type = escaped(t, m.detail_type);
	spec.time = escaped(t, m.time);
	spec.tape = t;
	spec.detail = m.detail;
	spec.resources = m.resources;
	if (b->extra.n) {
		sb_buf_clear(&b->meta);
		if (sb_buf_addf(&b->meta, "{%.*s}", SB_SLICE_ARG(b->extra)) < 0) {
			batch_bad(v, "too_large", 0, "the headers are too large");
			return;
		}
		spec.meta = sb_buf_slice(&b->meta);
	}
	batch_build(b, &spec, v);
}

int batch_read_json(struct batch *b, struct batch_fault *fault)
{
	struct sb_tape t;

	if (batch_scan(b, &t, fault) < 0)
		return -1;
	return batch_each(b, &t, batch_take_shaped, fault);
}

/* ------------------------------------------------------------------------------------------------ NDJSON */

static bool is_blank(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\r'))
		p++;
	return p == end;
}

static void take_line(struct batch *b, size_t from, size_t to, struct verdict *v)
{
	struct sb_json_fault f;
	struct sb_tape t;
	size_t end;

	if (sb_json_scan_at(b->body.p, to, from, &SB_JSON_LIMITS, &b->tape, &end, &f) < 0) {
		batch_bad(v, "invalid_json", f.off, "%s", f.msg);
		return;
	}
	if (!is_blank(b->body.p + end, b->body.p + to)) {
		batch_bad(v, "invalid_json", end, "something follows the value on its line");
		return;
	}
	t = sb_tape_of(b->body.p, &b->tape);
	batch_take_shaped(b, &t, 0, v);
}

int batch_read_lines(struct batch *b, struct batch_fault *fault)
{
	struct verdict *v;
	size_t from = 0, to;

	for (; from < b->body.n; from = to + 1) {
		const char *lf = memchr(b->body.p + from, '\n', b->body.n - from);

		to = lf ? (size_t)(lf - b->body.p) : b->body.n;
		if (is_blank(b->body.p + from, b->body.p + to))
			continue;
		v = batch_next(b);
		if (!v) {
			*fault = (struct batch_fault){ { 413, "too_large", false }, "more than 10,000 events in one request", false, 0 };
			return -1;
		}
		sb_buf_clear(&b->plain);
		take_line(b, from, to, v);
	}
	return 0;
}
