/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One block holds an event: the struct, its tape, its text, and SB_JSON_PAD zero bytes. The envelope is written member by
 * member, and each write notes its node; the detail's nodes are copied from the tape it was scanned on and moved.
 */
#include "broker/base/event.h"

#include <pthread.h>
#include <string.h>

#include "broker/base/arena.h"
#include "broker/base/clock.h"
#include "broker/base/map.h"

/* root, 10 names and values, and room for the nodes of meta, which is scanned apart */
#define ENVELOPE_NODES 24

struct writer {
	char *p, *start;
	struct sb_json_node *node;
	uint32_t n;
};

static void put(struct writer *w, const char *s, size_t n)
{
	memcpy(w->p, s, n);
	w->p += n;
}

static struct sb_json_node *note(struct writer *w, enum sb_json_kind kind, const char *at, size_t len, uint8_t flags)
{
	struct sb_json_node *n = &w->node[w->n++];

	*n = (struct sb_json_node){
		.off = (uint32_t)(at - w->start),
		.len = (uint32_t)len,
		.next = w->n,
		.kind = (uint8_t)kind,
		.flags = flags,
		.depth = 1,
	};
	return n;
}

/* `,"name":` (no comma behind the opening brace). */
static void put_name(struct writer *w, struct sb_slice name)
{
	if (w->p[-1] != '{')
		*w->p++ = ',';
	*w->p++ = '"';
	note(w, SB_JSON_STRING, w->p, name.n, SB_JSON_KEY);
	put(w, name.p, name.n);
	put(w, "\":", 2);
}

static struct sb_slice put_string(struct writer *w, struct sb_slice name, const struct sb_event_str *v)
{
	char *at;
	bool escaped;

	put_name(w, name);
	*w->p++ = '"';
	at = w->p;
	if (v->escaped) {
		put(w, v->s.p, v->s.n);
	} else {
		struct sb_buf b = { .p = w->p - 1, .cap = SIZE_MAX / 2, .max = SIZE_MAX / 2 }; /* room was counted */

		sb_json_add_string(&b, v->s);
		w->p += b.len - 2;
	}
	escaped = memchr(at, '\\', (size_t)(w->p - at)) != NULL;
	note(w, SB_JSON_STRING, at, (size_t)(w->p - at), escaped ? SB_JSON_ESCAPED : 0);
	*w->p++ = '"';
	return sb_slice(at, (size_t)(w->p - 1 - at));
}

/* A subtree of another tape, bytes and nodes. */
static void put_subtree(struct writer *w, const struct sb_tape *t, uint32_t i)
{
	struct sb_slice raw = sb_json_raw(t, i);
	uint32_t base = w->n, top = t->node[i].depth;
	int64_t move = (w->p - w->start) - (raw.p - t->text);

	put(w, raw.p, raw.n);
	for (uint32_t k = i; k < t->node[i].next; k++) {
		struct sb_json_node *n = &w->node[w->n++];

		*n = t->node[k];
		n->off = (uint32_t)(n->off + move);
		n->next = n->next - i + base;
		n->depth = (uint16_t)(n->depth - top + 1);
	}
}

static size_t string_bytes(const struct sb_event_str *s)
{
	return s->escaped ? s->s.n : s->s.n * 6; /* \u00XX for every byte, at worst */
}

static size_t text_bytes(const struct sb_event_spec *s)
{
	size_t n = 256 + s->meta.n;

	n += string_bytes(&s->id) + string_bytes(&s->source) + string_bytes(&s->detail_type) + string_bytes(&s->account) +
	     string_bytes(&s->region) + string_bytes(&s->time);
	n += sb_json_raw(s->tape, s->detail).n;
	if (s->resources)
		n += sb_json_raw(s->tape, s->resources).n;
	return n;
}

static uint32_t subtree_nodes(const struct sb_tape *t, uint32_t i)
{
	return t->node[i].next - i;
}

static struct sb_event *event_alloc(size_t bytes, uint32_t nodes, struct writer *w)
{
	struct sb_event *ev = sb_pool_alloc(sizeof(*ev) + nodes * sizeof(struct sb_json_node) + bytes + SB_JSON_PAD);

	memset(ev, 0, sizeof(*ev));
	atomic_init(&ev->refs, 1);
	w->node = (struct sb_json_node *)(ev + 1);
	w->n = 0;
	w->p = w->start = (char *)(w->node + nodes);
	ev->json = w->start;
	return ev;
}

static void event_finish(struct sb_event *ev, struct writer *w)
{
	ev->n = (uint32_t)(w->p - w->start);
	memset(w->p, 0, SB_JSON_PAD);
	ev->tape = (struct sb_tape){ ev->json, w->node, w->n };
	ev->newlines = memchr(ev->json, '\n', ev->n) || memchr(ev->json, '\r', ev->n);
}

static void put_resources(struct writer *w, const struct sb_event_spec *s)
{
	put_name(w, SB_SLICE("resources"));
	if (s->resources) {
		put_subtree(w, s->tape, s->resources);
		return;
	}
	note(w, SB_JSON_ARRAY, w->p, 2, 0);
	put(w, "[]", 2);
}

static void put_envelope(struct sb_event *ev, struct writer *w, const struct sb_event_spec *s)
{
	struct sb_event_str id = s->id, when = s->time;
	char id_text[SB_UUID_TEXT + 1], time_text[SB_TIME_TEXT];

	if (id.s.n == 0) {
		sb_uuid_format(&s->receipt, id_text);
		id = (struct sb_event_str){ sb_slice(id_text, SB_UUID_TEXT), true };
	}
	if (when.s.n == 0)
		when = (struct sb_event_str){ sb_slice(time_text, sb_time_format_s(s->received_ms, time_text)), true };
	note(w, SB_JSON_OBJECT, w->p, 0, 0)->depth = 0;
	*w->p++ = '{';
	put_string(w, SB_SLICE("version"), &(struct sb_event_str){ SB_SLICE("0"), true });
	ev->id = put_string(w, SB_SLICE("id"), &id);
	ev->source = put_string(w, SB_SLICE("source"), &s->source);
	ev->detail_type = put_string(w, SB_SLICE("detail-type"), &s->detail_type);
	put_string(w, SB_SLICE("account"), &s->account);
	put_string(w, SB_SLICE("region"), &s->region);
	put_string(w, SB_SLICE("time"), &when);
	put_resources(w, s);
	put_name(w, SB_SLICE("detail"));
	put_subtree(w, s->tape, s->detail);
	ev->bare_n = (uint32_t)(w->p - w->start);
	if (s->meta.n) {
		put_name(w, SB_SLICE("meta"));
		put(w, s->meta.p, s->meta.n);
	}
	*w->p++ = '}';
}

/* Scratch of the calling thread for what is scanned here: meta, and whole events from the journal. */
static _Thread_local struct sb_tape_buf scratch;

/* The tape of meta is made by scanning it where it now stands, and copied to the end. */
static void note_meta(struct writer *w, const struct sb_tape_buf *meta, size_t meta_off)
{
	uint32_t base = w->n;

	for (uint32_t k = 0; k < meta->n; k++) {
		struct sb_json_node *n = &w->node[w->n++];

		*n = meta->node[k];
		n->off += (uint32_t)meta_off;
		n->next += base;
		n->depth++;
	}
}

static bool string_is_text(const struct sb_event_str *v)
{
	return v->escaped || sb_utf8_check(v->s.p, v->s.n) == v->s.n;
}

/* Our own text would be refused when it is read again, so it is refused now. */
static int check_strings(const struct sb_event_spec *s, struct sb_err *err)
{
	const struct {
		const char *name;
		const struct sb_event_str *v;
	} all[] = { { "id", &s->id }, { "source", &s->source }, { "detail-type", &s->detail_type }, { "account", &s->account },
		{ "region", &s->region }, { "time", &s->time } };

	for (size_t i = 0; i < SB_LEN(all); i++)
		if (!string_is_text(all[i].v))
			return sb_fail(err, SB_E_INVALID, "%s is not valid UTF-8", all[i].name);
	return 0;
}

int sb_event_build(const struct sb_event_spec *s, size_t max_bytes, struct sb_event **ret, struct sb_err *err)
{
	uint32_t nodes = ENVELOPE_NODES + subtree_nodes(s->tape, s->detail);
	size_t bytes = text_bytes(s);
	struct sb_json_fault fault;
	struct sb_event *ev;
	struct writer w;

	if (check_strings(s, err) < 0)
		return -1;
	scratch.n = 0;
	if (s->meta.n && sb_json_scan(s->meta.p, s->meta.n, &SB_JSON_LIMITS, &scratch, &fault) < 0)
		return sb_fail(err, SB_E_INVALID, "meta: %s", fault.msg);
	if (bytes > max_bytes * 6 + 4096) /* the estimate counts escapes at their worst */
		return sb_fail(err, SB_E_LIMIT, "the event is larger than %zu bytes", max_bytes);
	if (s->resources)
		nodes += subtree_nodes(s->tape, s->resources);
	ev = event_alloc(bytes, nodes + scratch.n, &w);
	put_envelope(ev, &w, s);
	if ((size_t)(w.p - w.start) > max_bytes) {
		sb_pool_free(ev);
		return sb_fail(err, SB_E_LIMIT, "the event is larger than %zu bytes", max_bytes);
	}
	if (s->meta.n)
		note_meta(&w, &scratch, (size_t)(w.p - w.start) - 1 - s->meta.n);
	w.node[0].len = (uint32_t)(w.p - w.start);
	w.node[0].next = w.n;
	ev->receipt = s->receipt;
	ev->received_ms = s->received_ms;
	ev->bus = s->bus;
	ev->origin = s->origin;
	ev->hops = s->hops;
	event_finish(ev, &w);
	*ret = ev;
	return 0;
}

static struct sb_slice member_text(const struct sb_tape *t, const char *name)
{
	uint32_t i = sb_json_member(t, 0, sb_slice_str(name));

	return i != UINT32_MAX && t->node[i].kind == SB_JSON_STRING ? sb_json_text(t, i) : sb_slice(NULL, 0);
}

/* Bytes before `,"meta":` when meta is the last member, as we write it; else before the closing brace. */
static uint32_t bare_bytes(const struct sb_tape *t)
{
	uint32_t i = sb_json_member(t, 0, SB_SLICE("meta")), end;

	if (i == UINT32_MAX || t->node[i].next != t->node[0].next)
		return t->node[0].off + t->node[0].len - 1;
	end = t->node[i - 1].off - 1; /* the quote of the name; before it a comma, or the brace when nothing else is there */
	while (t->text[end - 1] != ',' && t->text[end - 1] != '{')
		end--;
	return t->text[end - 1] == ',' ? end - 1 : end;
}

/* The envelope adds a level and nodes to what intake allows in: what was taken must be readable after a restart. */
static const struct sb_json_limits parse_limits = { .depth = 1000 + 8, .nodes = (2u << 20) + ENVELOPE_NODES };

int sb_event_parse(struct sb_slice json, const char *bus, const char *origin, struct sb_event **ret, struct sb_err *err)
{
	struct sb_json_fault fault;
	struct sb_event *ev;
	struct writer w;

	if (sb_json_scan(json.p, json.n, &parse_limits, &scratch, &fault) < 0)
		return sb_fail(err, fault.code, "offset %zu: %s", fault.off, fault.msg);
	if (scratch.node[0].kind != SB_JSON_OBJECT)
		return sb_fail(err, SB_E_KIND, "an event is a JSON object");
	ev = event_alloc(json.n, scratch.n, &w);
	put(&w, json.p, json.n);
	memcpy(w.node, scratch.node, scratch.n * sizeof(*w.node));
	w.n = scratch.n;
	event_finish(ev, &w);
	ev->bare_n = bare_bytes(&ev->tape);
	ev->id = member_text(&ev->tape, "id");
	ev->source = member_text(&ev->tape, "source");
	ev->detail_type = member_text(&ev->tape, "detail-type");
	ev->bus = bus;
	ev->origin = origin;
	*ret = ev;
	return 0;
}

void sb_event_unref(struct sb_event *ev)
{
	/* acq_rel, not release and an acquire fence: the thread sanitizer cannot see fences */
	if (ev && atomic_fetch_sub_explicit(&ev->refs, 1, memory_order_acq_rel) == 1)
		sb_pool_free(ev);
}

int sb_event_add_bare(const struct sb_event *ev, struct sb_buf *out)
{
	size_t before = out->len;

	if (sb_buf_add(out, ev->json, ev->bare_n) == 0 && sb_buf_addc(out, '}') == 0)
		return 0;
	out->len = before;
	return -1;
}

void sb_event_thread_done(void)
{
	sb_tape_buf_done(&scratch);
}

/* ------------------------------------------------------------------------------------------------ names */

static struct sb_map names;
static struct sb_arena name_arena;
static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;

const char *sb_name(struct sb_slice s)
{
	char *name;

	pthread_mutex_lock(&names_lock);
	name = sb_map_get(&names, s);
	if (!name) {
		name = sb_arena_strndup(&name_arena, s.p, s.n);
		sb_map_put(&names, sb_slice(name, s.n), name);
	}
	pthread_mutex_unlock(&names_lock);
	return name;
}

const char *sb_name_str(const char *s)
{
	return sb_name(sb_slice_str(s));
}
