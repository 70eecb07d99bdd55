/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CloudEvents 1.0 over HTTP: structured, batched, and binary. id, source, time and data have their place in the envelope,
 * type is detail-type; everything else is kept in meta.ce: specversion, subject, datacontenttype, dataschema, extensions.
 *
 * Data that is not JSON: text becomes a JSON string; bytes become their base64 text, and meta.ce.data_base64 is true (no
 * attribute can have that name). With datacontenttype this is enough to give the event back as it came.
 */
#include "batch.h"

#define MAX_ATTRIBUTES 64
#define MAX_NAME 64

enum { ID, SOURCE, TYPE, TIME, SPECVERSION, SUBJECT, CONTENT_TYPE, SCHEMA, DATA, DATA_BASE64, N_KNOWN };

static const char *const names[N_KNOWN] = { "id", "source", "type", "time", "specversion", "subject", "datacontenttype",
	"dataschema", "data", "data_base64" };

/* Those with a place of their own do not go to meta.ce. */
static bool goes_to_meta(int known)
{
	return known < 0 || (known >= SPECVERSION && known <= SCHEMA);
}

static bool is_name(struct sb_slice s)
{
	if (s.n == 0 || s.n > MAX_NAME)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9')))
			return false;
	return true;
}

static int known_name(struct sb_slice s)
{
	for (int k = 0; k < N_KNOWN; k++)
		if (sb_slice_eq_str(s, names[k]))
			return k;
	return -1;
}

static void bad_attribute(struct verdict *v, struct sb_slice name, size_t off, const char *what)
{
	batch_bad(v, "invalid_attribute", off, "'%.*s' %s", (int)SB_MIN(name.n, 40), name.p, what);
}

static void begin_meta(struct batch *b)
{
	sb_buf_clear(&b->meta);
	sb_buf_adds(&b->meta, "{\"ce\":{");
}

static int add_name(struct batch *b, struct sb_slice name)
{
	if (b->meta.p[b->meta.len - 1] != '{' && sb_buf_addc(&b->meta, ',') < 0)
		return -1;
	return sb_json_add_string(&b->meta, name) < 0 ? -1 : sb_buf_addc(&b->meta, ':');
}

static int end_meta(struct batch *b, struct sb_event_spec *spec)
{
	int rc = sb_buf_addc(&b->meta, '}');

	if (b->extra.n)
		rc |= sb_buf_addf(&b->meta, ",%.*s", SB_SLICE_ARG(b->extra));
	rc |= sb_buf_addc(&b->meta, '}');
	spec->meta = sb_buf_slice(&b->meta);
	return rc;
}

/* ------------------------------------------------------------------------------------------------ JSON format */

struct ce {
	const struct sb_tape *t;
	uint32_t node[N_KNOWN]; /* 0: absent */
	unsigned n;             /* attributes */
};

static bool is_small_integer(const struct sb_tape *t, uint32_t i)
{
	return (t->node[i].flags & SB_JSON_INTEGER) && t->node[i].len <= 11;
}

/* What an extension, or any attribute but data, may be. */
static bool check_value(const struct sb_tape *t, uint32_t key, int known, struct verdict *v)
{
	const struct sb_json_node *n = &t->node[key + 1];
	bool right = n->kind == SB_JSON_STRING;

	if (known < 0)
		right = right || n->kind == SB_JSON_TRUE || n->kind == SB_JSON_FALSE || is_small_integer(t, key + 1);
	if (!right)
		bad_attribute(v, sb_json_text(t, key), n->off, known < 0 ? "must be a string, a boolean, or a 32-bit integer" : "must be a string");
	else if (known >= 0 && n->len == 0)
		bad_attribute(v, sb_json_text(t, key), n->off, "must not be empty");
	return right && !v->code;
}

/* One member. false: v says why. */
static bool take_member(struct batch *b, struct ce *ce, uint32_t i, uint32_t key, struct verdict *v)
{
	const struct sb_tape *t = ce->t;
	struct sb_slice name = sb_json_text(t, key);
	int known = known_name(name);

	if (++ce->n > MAX_ATTRIBUTES) {
		batch_bad(v, "invalid_attribute", t->node[key].off, "more than %d attributes", MAX_ATTRIBUTES);
		return false;
	}
	if (known < 0 && !is_name(name)) {
		bad_attribute(v, name, t->node[key].off, "is no attribute: names have lower-case letters and digits");
		return false;
	}
	if (sb_json_member(t, i, name) != key + 1 || (t->node[key + 1].kind == SB_JSON_NULL && known != DATA))
		return true; /* a later one counts, or null: absent */
	if (known != DATA && !check_value(t, key, known, v))
		return false;
	if (known >= 0)
		ce->node[known] = key + 1;
	if (!goes_to_meta(known))
		return true;
	if (add_name(b, name) < 0 || sb_buf_add_slice(&b->meta, sb_json_raw(t, key + 1)) < 0)
		bad_attribute(v, name, t->node[key].off, "makes the attributes too large");
	return !v->code;
}

static bool check_required(const struct ce *ce, uint32_t i, struct verdict *v)
{
	static const int required[] = { SPECVERSION, ID, SOURCE, TYPE };

	for (size_t k = 0; k < SB_LEN(required); k++)
		if (!ce->node[required[k]]) {
			batch_bad(v, "missing_attribute", ce->t->node[i].off, "'%s' is missing", names[required[k]]);
			return false;
		}
	return true;
}

/* JSON may write '/' with a backslash before it. */
static bool is_base64(struct sb_slice s)
{
	size_t n = 0, padding = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '\\' && i + 1 < s.n && s.p[i + 1] == '/')
			c = s.p[++i];
		padding += c == '=';
		if (padding ? c != '=' : !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
						 c == '+' || c == '/'))
			return false;
		n++;
	}
	return n % 4 == 0 && padding <= 2;
}

static bool check_meaning(const struct ce *ce, struct verdict *v)
{
	const struct sb_tape *t = ce->t;
	const struct sb_json_node *n = t->node;
	uint64_t ms;

	if (!sb_json_string_eq(t, ce->node[SPECVERSION], SB_SLICE("1.0")))
		batch_bad(v, "unsupported_specversion", n[ce->node[SPECVERSION]].off, "only specversion 1.0 is spoken here");
	else if (ce->node[TIME] && sb_time_parse(t->text + n[ce->node[TIME]].off, n[ce->node[TIME]].len, &ms) < 0)
		batch_bad(v, "invalid_attribute", n[ce->node[TIME]].off, "'time' must be a time such as 2026-11-24T08:19:53Z");
	else if (ce->node[DATA] && ce->node[DATA_BASE64])
		batch_bad(v, "invalid_attribute", n[ce->node[DATA_BASE64]].off, "'data' and 'data_base64' exclude each other");
	else if (ce->node[DATA_BASE64] && !is_base64(sb_json_text(t, ce->node[DATA_BASE64])))
		batch_bad(v, "invalid_attribute", n[ce->node[DATA_BASE64]].off, "'data_base64' is not base64");
	return !v->code;
}

static struct sb_event_str escaped(const struct ce *ce, int known)
{
	uint32_t i = ce->node[known];

	return (struct sb_event_str){ i ? sb_json_text(ce->t, i) : sb_slice(NULL, 0), true };
}

static const struct sb_json_node null_node = { .off = 0, .len = 4, .next = 1, .kind = SB_JSON_NULL };
static const struct sb_tape no_data = { "null", &null_node, 1 };

static void build_structured(struct batch *b, const struct ce *ce, struct verdict *v)
{
	uint32_t data = ce->node[DATA] ? ce->node[DATA] : ce->node[DATA_BASE64];
	struct sb_event_spec spec;

	if (!batch_spec(b, ce->t, 0, &spec, v))
		return;
	spec.id = escaped(ce, ID);
	spec.source = escaped(ce, SOURCE);
	spec.detail_type = escaped(ce, TYPE);
	spec.time = escaped(ce, TIME);
	spec.tape = data ? ce->t : &no_data;
	spec.detail = data;
	if (end_meta(b, &spec) < 0)
		batch_bad(v, "invalid_attribute", 0, "the attributes are too large");
	else
		batch_build(b, &spec, v);
}

void batch_take_ce(struct batch *b, const struct sb_tape *t, uint32_t i, struct verdict *v)
{
	struct ce ce = { .t = t };

	if (t->node[i].kind != SB_JSON_OBJECT) {
		batch_bad(v, "invalid_event", t->node[i].off, "a CloudEvent must be an object");
		return;
	}
	begin_meta(b);
	for (uint32_t k = i + 1; k < t->node[i].next; k = t->node[k + 1].next)
		if (!take_member(b, &ce, i, k, v))
			return;
	if (!check_required(&ce, i, v) || !check_meaning(&ce, v))
		return;
	if (ce.node[DATA_BASE64]) {
		add_name(b, SB_SLICE("data_base64"));
		sb_buf_adds(&b->meta, "true");
	}
	build_structured(b, &ce, v);
}

static int expect_kind(const struct sb_tape *t, bool array, struct batch_fault *fault)
{
	static const struct said invalid = { 400, "invalid_event", false };

	if ((t->node[0].kind == SB_JSON_ARRAY) == array)
		return 0;
	*fault = (struct batch_fault){ invalid, array ? "a batch must be an array" : "an array is a batch: send application/cloudevents-batch+json",
		true, t->node[0].off };
	return -1;
}

int batch_read_ce(struct batch *b, struct batch_fault *fault)
{
	struct sb_tape t;

	if (batch_scan(b, &t, fault) < 0 || expect_kind(&t, false, fault) < 0)
		return -1;
	return batch_each(b, &t, batch_take_ce, fault);
}

int batch_read_ce_array(struct batch *b, struct batch_fault *fault)
{
	struct sb_tape t;

	if (batch_scan(b, &t, fault) < 0 || expect_kind(&t, true, fault) < 0)
		return -1;
	return batch_each(b, &t, batch_take_ce, fault);
}

/* ------------------------------------------------------------------------------------------------ binary mode */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* HTTP binding 3.1.3.2: perhaps in quotes, then percent-decoded once; the result is UTF-8. -1: it is not. */
static int decode_value(struct sb_slice s, struct sb_buf *out, struct sb_slice *ret)
{
	size_t from = out->len;
	bool quoted = s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"';

	if (quoted)
		s = sb_slice(s.p + 1, s.n - 2);
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (quoted && c == '\\' && i + 1 < s.n)
			c = s.p[++i];
		else if (c == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
			c = (char)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2]));
			i += 2;
		}
		if (sb_buf_addc(out, c) < 0)
			return -1;
	}
	*ret = sb_slice(out->p + from, out->len - from);
	return sb_utf8_check(ret->p, ret->n) == ret->n ? 0 : -1;
}

_Static_assert(N_KNOWN == BATCH_CE_KNOWN, "struct batch has room for each");

bool batch_binary_attribute(struct batch *b, struct sb_slice name, struct sb_slice value, struct verdict *v)
{
	int known = known_name(name);

	if (!is_name(name) || known == DATA || known == CONTENT_TYPE)
		bad_attribute(v, name, 0, known == CONTENT_TYPE ? "is the content type in binary mode" : "is no attribute");
	else if (++b->binary.n > MAX_ATTRIBUTES)
		bad_attribute(v, name, 0, "is one attribute too many");
	else if (known >= 0 && b->binary.value[known].p)
		bad_attribute(v, name, 0, "stands twice");
	else if (known >= 0 && value.n == 0)
		bad_attribute(v, name, 0, "must not be empty");
	else if (goes_to_meta(known) && (add_name(b, name) < 0 || sb_json_add_string(&b->meta, value) < 0))
		bad_attribute(v, name, 0, "makes the attributes too large");
	else if (known >= 0)
		b->binary.value[known] = value;
	return !v->code;
}

static bool take_header(struct batch *b, const struct sb_http_header *h, struct verdict *v)
{
	struct sb_slice name = sb_slice(h->name.p + 3, h->name.n - 3), value;

	if (decode_value(h->value, &b->plain, &value) < 0)
		bad_attribute(v, name, 0, "is not percent-encoded UTF-8");
	else
		batch_binary_attribute(b, name, value, v);
	return !v->code;
}

static bool check_binary(const struct batch *b, struct verdict *v)
{
	static const int required[] = { SPECVERSION, ID, SOURCE, TYPE };
	const struct sb_slice *time = &b->binary.value[TIME];
	uint64_t ms;

	for (size_t k = 0; k < SB_LEN(required); k++)
		if (!b->binary.value[required[k]].p) {
			batch_bad(v, "missing_attribute", 0, "the attribute %s is missing", names[required[k]]);
			return false;
		}
	if (!sb_slice_eq_str(b->binary.value[SPECVERSION], "1.0"))
		batch_bad(v, "unsupported_specversion", 0, "only specversion 1.0 is spoken here");
	else if (time->p && sb_time_parse(time->p, time->n, &ms) < 0)
		batch_bad(v, "invalid_attribute", 0, "'time' must be a time such as 2026-11-24T08:19:53Z");
	return !v->code;
}

static bool is_json(const char *media)
{
	size_t n = strlen(media);

	return n == 0 || strcmp(media, "application/json") == 0 || strcmp(media, "text/json") == 0 ||
	       (n > 5 && strcmp(media + n - 5, "+json") == 0);
}

/* The body as a JSON text of its own, where it is not JSON: a string. */
static void quote_data(struct batch *b, struct sb_buf *out)
{
	if (sb_utf8_check(b->body.p, b->body.n) == b->body.n) {
		sb_json_add_string(out, b->body);
		return;
	}
	sb_json_add_base64(out, b->body);
	add_name(b, SB_SLICE("data_base64"));
	sb_buf_adds(&b->meta, "true");
}

static void build_binary(struct batch *b, const struct sb_tape *data, struct verdict *v)
{
	struct sb_event_spec spec;

	if (!batch_spec(b, data, 0, &spec, v))
		return;
	spec.id.s = b->binary.value[ID];
	spec.source.s = b->binary.value[SOURCE];
	spec.detail_type.s = b->binary.value[TYPE];
	spec.time.s = b->binary.value[TIME];
	spec.tape = data;
	spec.detail = 0;
	if (end_meta(b, &spec) < 0)
		batch_bad(v, "invalid_attribute", 0, "the attributes are too large");
	else
		batch_build(b, &spec, v);
}

static int scan_data(struct batch *b, struct sb_slice text, struct sb_tape *ret, struct batch_fault *fault)
{
	struct sb_json_limits lim = SB_JSON_LIMITS;
	struct sb_json_fault f;

	lim.depth--; /* the envelope is one more */
	if (sb_json_scan(text.p, text.n, &lim, &b->tape, &f) < 0) {
		*fault = (struct batch_fault){ { 400, "invalid_json", false }, f.msg, true, f.off };
		return -1;
	}
	*ret = sb_tape_of(text.p, &b->tape);
	return 0;
}

static int take_data(struct batch *b, const char *media, struct batch_fault *fault)
{
	struct sb_buf quoted = SB_BUF(b->body.n * 6 + 16 + SB_JSON_PAD);
	struct verdict *v = &b->verdict[b->n - 1];
	struct sb_tape t = no_data;
	int rc = 0;

	if (b->body.n && is_json(media))
		rc = scan_data(b, b->body, &t, fault);
	else if (b->body.n) {
		quote_data(b, &quoted);
		memset(sb_buf_reserve(&quoted, SB_JSON_PAD), 0, SB_JSON_PAD);
		rc = scan_data(b, sb_buf_slice(&quoted), &t, fault);
	}
	if (rc == 0)
		build_binary(b, &t, v);
	sb_buf_done(&quoted);
	return rc;
}

void batch_binary_begin(struct batch *b, struct sb_slice content_type)
{
	memset(&b->binary, 0, sizeof(b->binary));
	sb_buf_clear(&b->plain);
	begin_meta(b);
	if (content_type.n) {
		add_name(b, SB_SLICE("datacontenttype"));
		httpsource_add_value(&b->meta, content_type);
	}
}

int batch_binary_end(struct batch *b, const char *media, struct batch_fault *fault)
{
	if (!check_binary(b, &b->verdict[b->n - 1]))
		return 0;
	return take_data(b, media, fault);
}

int batch_read_ce_binary(struct batch *b, const struct sb_http_req *req, struct batch_fault *fault)
{
	struct verdict *v = batch_next(b);
	char media[64];

	batch_binary_begin(b, sb_http_header(req, "content-type"));
	for (size_t i = 0; i < req->n_headers; i++)
		if (req->header[i].name.n > 3 && memcmp(req->header[i].name.p, "ce-", 3) == 0 &&
			!take_header(b, &req->header[i], v))
			return 0;
	sb_http_media_type(req, media);
	return batch_binary_end(b, media, fault);
}
