/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_EVENT_H
#define SB_BASE_EVENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/base/json.h"
#include "broker/base/mem.h"
#include "broker/base/uuid.h"

/*
 * An event, immutable and shared by reference count: its canonical JSON exactly as matched and delivered, and the tape
 * over it. One allocation from the pool holds all of it.
 *
 *   {"version":"0","id":…,"source":…,"detail-type":…,"account":…,"region":…,"time":…,"resources":[…],"detail":…,"meta":{…}}
 *
 * `meta` is last, so that the form which targets get is json[0 .. bare_n) and a closing brace (sb_event_bare). The bytes
 * of `detail` are as they came: no number is re-printed, no key re-ordered.
 */
struct sb_event {
	atomic_uint refs;
	uint32_t n;        /* bytes of json; SB_JSON_PAD readable zero bytes follow */
	uint32_t bare_n;   /* bytes before `,"meta":` or before the closing brace */
	uint16_t hops;     /* buses of this daemon it has been on before */
	bool newlines;     /* the text holds raw line ends (as white space); a line protocol must blank them */
	struct sb_uuid receipt; /* ours, unique: names the event in journal and delivery ids */
	uint64_t received_ms;   /* wall time of intake */
	uint64_t generation;    /* of the rules that it was matched against; 0: not yet */
	const char *bus;        /* interned name */
	const char *origin;     /* interned name of the source it came through */
	struct sb_slice id, source, detail_type; /* escaped texts inside json */
	struct sb_tape tape;
	char *json;
};

/* A string to be written into the envelope: plain UTF-8, or the already escaped text of a JSON string. */
struct sb_event_str {
	struct sb_slice s;
	bool escaped;
};

struct sb_event_spec {
	struct sb_event_str id; /* n 0: the receipt's text */
	struct sb_event_str source, detail_type;
	struct sb_event_str account, region;
	struct sb_event_str time;     /* RFC 3339, checked by the caller; n 0: received_ms */
	const struct sb_tape *tape;   /* of the text that detail and resources stand in */
	uint32_t detail;              /* node of the detail, any kind */
	uint32_t resources;           /* node of an array of strings; 0: [] */
	struct sb_slice meta;         /* JSON object text, valid and made by us; n 0: none */
	struct sb_uuid receipt;
	uint64_t received_ms;
	const char *bus, *origin;
	uint16_t hops;
};

/*
 * Writes the envelope around the detail and moves the tape of the detail along: nothing is scanned twice, except `meta`,
 * which is small. The caller owns one reference. -1: larger than max_bytes (SB_E_LIMIT), or a plain string that is no UTF-8
 * (SB_E_INVALID): what is built can always be parsed again.
 */
int sb_event_build(const struct sb_event_spec *spec, size_t max_bytes, struct sb_event **ret, struct sb_err *err);
/*
 * An event from its canonical text (journal, tests, `signalbox match`): scans it, finds id, source, detail-type and meta.
 * Accepts any JSON object; members that are absent are empty slices.
 */
int sb_event_parse(struct sb_slice json, const char *bus, const char *origin, struct sb_event **ret, struct sb_err *err);

static inline struct sb_event *sb_event_ref(struct sb_event *ev)
{
	atomic_fetch_add_explicit(&ev->refs, 1, memory_order_relaxed); /* we hold one, it cannot go away */
	return ev;
}

void sb_event_unref(struct sb_event *ev); /* NULL is fine */
/* Append the form that targets get, without meta. -1: the buffer's cap. */
int sb_event_add_bare(const struct sb_event *ev, struct sb_buf *out);

/* Gives the calling thread's scanning scratch back; call before a thread ends. */
void sb_event_thread_done(void);

static inline size_t sb_event_bare_bytes(const struct sb_event *ev)
{
	return (size_t)ev->bare_n + 1;
}

/*
 * Names that live as long as the process: buses, sources, rules, targets. Equal names give the same pointer. They come
 * from configuration and from journals written under earlier configurations, never from events. Thread-safe; takes a
 * lock, so it is called at load, never per event.
 */
const char *sb_name(struct sb_slice s);
const char *sb_name_str(const char *s);

#endif
