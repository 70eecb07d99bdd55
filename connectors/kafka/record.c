/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#define META_MAX (1u << 20)
#define TIME_MAX INT64_C(253402300799999) /* the last moment that has four digits for its year */

void kafka_record_init(struct kafka_record *r)
{
	*r = (struct kafka_record){ 0 };
	sb_buf_init(&r->meta, META_MAX);
	sb_buf_init(&r->position, 300);
}

void kafka_record_done(struct kafka_record *r)
{
	sb_buf_done(&r->meta);
	sb_buf_done(&r->position);
}

/* ------------------------------------------------------------------------------------------------ receipts */

/* Bijective (splitmix64's finaliser): two offsets of a partition never meet. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint64_t add_text(uint64_t h, const char *s)
{
	do
		h = mix(h + (unsigned char)*s + 1);
	while (*s++);
	return h;
}

uint64_t kafka_record_seed(const char *source, const char *topic, int32_t partition)
{
	return mix(add_text(add_text(UINT64_C(0x9e3779b97f4a7c15), source), topic) + (uint32_t)partition);
}

static void put_be(uint8_t *at, uint64_t v, unsigned bytes)
{
	while (bytes) {
		at[--bytes] = (uint8_t)v;
		v >>= 8;
	}
}

/* Version 8 (RFC 9562): 48 bits of the record's own time, so that ids sort about as they were written, then the hash. */
struct sb_uuid kafka_record_receipt(uint64_t seed, int64_t offset, uint64_t time_ms)
{
	uint64_t low = mix(seed ^ mix((uint64_t)offset)), high = mix(low + seed);
	struct sb_uuid u;

	put_be(u.b, time_ms, 6);
	put_be(u.b + 6, high, 2);
	put_be(u.b + 8, low, 8);
	u.b[6] = (uint8_t)(0x80 | (u.b[6] & 0x0f));
	u.b[8] = (uint8_t)(0x80 | (u.b[8] & 0x3f));
	return u;
}

/* ------------------------------------------------------------------------------------------------ meta */

static bool is_text(struct sb_slice s)
{
	return sb_utf8_check(s.p, s.n) == s.n;
}

/* `name` is JSON text: ,"name":value or ,"name_base64":value */
static int add_bytes(struct sb_buf *out, const char *name, struct sb_slice value)
{
	if (is_text(value))
		return sb_buf_adds(out, ",\"") < 0 || sb_buf_adds(out, name) < 0 || sb_buf_adds(out, "\":") < 0 ? -1 : sb_json_add_string(out, value);
	return sb_buf_addf(out, ",\"%s_base64\":", name) < 0 ? -1 : sb_json_add_base64(out, value);
}

/* Those headers that are text, or those that are not, as an object; nothing when there are none. */
static int add_headers(struct kafka_record *r, const char *name, bool text)
{
	struct sb_buf *out = &r->meta;
	bool any = false;
	int rc = 0;

	for (size_t i = 0; i < r->message.n_headers && rc >= 0; i++) {
		const struct sb_message_header *h = &r->header[i];

		if (!is_text(h->name) || is_text(h->value) != text)
			continue;
		if (sb_buf_addf(out, any ? "," : ",\"%s\":{", name) < 0 || sb_json_add_string(out, h->name) < 0 || sb_buf_addc(out, ':') < 0)
			return -1;
		rc = text ? sb_json_add_string(out, h->value) : sb_json_add_base64(out, h->value);
		any = true;
	}
	return any && rc >= 0 ? sb_buf_addc(out, '}') : rc;
}

static int add_meta(struct kafka_record *r, const rd_kafka_message_t *m, const char *topic)
{
	struct sb_buf *out = &r->meta;

	sb_buf_clear(out);
	if (sb_buf_adds(out, "\"kafka\":{\"topic\":\"") < 0 || sb_buf_adds(out, topic) < 0 || sb_buf_adds(out, "\",\"partition\":") < 0 ||
		sb_buf_addu(out, (uint32_t)m->partition) < 0 || sb_buf_adds(out, ",\"offset\":") < 0 || sb_buf_addu(out, (uint64_t)m->offset) < 0)
		return -1;
	if (r->message.time_ms && (sb_buf_adds(out, ",\"timestamp\":") < 0 || sb_buf_addu(out, r->message.time_ms) < 0))
		return -1;
	if (m->key && add_bytes(out, "key", sb_slice(m->key, m->key_len)) < 0)
		return -1;
	if (r->message.n_headers && (add_headers(r, "headers", true) < 0 || add_headers(r, "headers_base64", false) < 0))
		return -1;
	return sb_buf_addc(out, '}');
}

/* ------------------------------------------------------------------------------------------------ a record */

static int read_headers(struct kafka_record *r, const rd_kafka_message_t *m)
{
	rd_kafka_headers_t *headers;
	const char *name;
	const void *value;
	size_t size, n = 0;

	r->message.content_type = (struct sb_slice){ 0 };
	if (rd_kafka_message_headers(m, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
		if (rd_kafka_header_cnt(headers) > KAFKA_HEADERS_MAX)
			return -1;
		while (rd_kafka_header_get_all(headers, n, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR) {
			r->header[n].name = sb_slice_str(name);
			r->header[n].value = sb_slice(value ? value : "", value ? size : 0);
			if (strcmp(name, "content-type") == 0)
				r->message.content_type = r->header[n].value;
			n++;
		}
	}
	r->message.header = r->header;
	r->message.n_headers = n;
	return 0;
}

static void place(struct kafka_record *r, const rd_kafka_message_t *m, const char *topic)
{
	sb_buf_clear(&r->position); /* 300 bytes are enough for any topic */
	sb_buf_adds(&r->position, topic);
	sb_buf_addc(&r->position, '/');
	sb_buf_addu(&r->position, (uint32_t)m->partition);
	sb_buf_addc(&r->position, '/');
	sb_buf_addu(&r->position, (uint64_t)m->offset);
}

int kafka_record_read(struct kafka_record *r, const rd_kafka_message_t *m, const char *topic, uint64_t seed)
{
	rd_kafka_timestamp_type_t kind;
	int64_t time = rd_kafka_message_timestamp(m, &kind);

	r->message.time_ms = kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || time < 0 || time > TIME_MAX ? 0 : (uint64_t)time;
	r->message.value = sb_slice(m->payload, m->payload ? m->len : 0);
	r->message.meta = (struct sb_slice){ 0 };
	r->receipt = kafka_record_receipt(seed, m->offset, r->message.time_ms);
	r->message.receipt = &r->receipt;
	place(r, m, topic);
	if (read_headers(r, m) < 0 || add_meta(r, m, topic) < 0)
		return -1;
	r->message.meta = sb_buf_slice(&r->meta);
	return 0;
}
