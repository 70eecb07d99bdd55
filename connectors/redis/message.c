/* SPDX-License-Identifier: Apache-2.0 */
#include "message.h"

#include <stdlib.h>

#include "connectors/httpsource.h"

#define HEADERS_MAX 64

void rds_reader_init(struct rds_reader *r, struct sb_source *s, struct sb_envelope_reader *envelope, const char *field)
{
	size_t most = sb_source_max_event(s) * 6 + 65536; /* a byte may take six as JSON */

	*r = (struct rds_reader){ .s = s, .envelope = envelope, .field = field };
	sb_buf_init(&r->value, most);
	sb_buf_init(&r->meta, most);
}

void rds_reader_done(struct rds_reader *r)
{
	sb_buf_done(&r->value);
	sb_buf_done(&r->meta);
}

/* ------------------------------------------------------------------------------------------------ fields of an entry */

static struct sb_slice slice_of(const redisReply *r)
{
	return r->str ? sb_slice(r->str, r->len) : sb_slice("", 0);
}

/* The fields but one as a JSON object; all of them when `but` is SIZE_MAX. */
static int add_fields(struct sb_buf *out, const redisReply *fields, size_t but)
{
	int rc = sb_buf_addc(out, '{');
	bool first = true;

	for (size_t i = 0; i + 1 < fields->elements; i += 2) {
		if (i == but)
			continue;
		if (!first)
			rc |= sb_buf_addc(out, ',');
		first = false;
		rc |= httpsource_add_value(out, slice_of(fields->element[i]));
		rc |= sb_buf_addc(out, ':');
		rc |= httpsource_add_value(out, slice_of(fields->element[i + 1]));
	}
	return rc | sb_buf_addc(out, '}');
}

static size_t find_field(const redisReply *fields, const char *name)
{
	for (size_t i = 0; i + 1 < fields->elements; i += 2)
		if (sb_slice_eq_str(slice_of(fields->element[i]), name))
			return i;
	return SIZE_MAX;
}

static size_t headers_of(const redisReply *fields, size_t but, struct sb_message_header *h, struct sb_slice *content_type)
{
	size_t n = 0;

	for (size_t i = 0; i + 1 < fields->elements && n < HEADERS_MAX; i += 2) {
		if (i == but)
			continue;
		h[n++] = (struct sb_message_header){ slice_of(fields->element[i]), slice_of(fields->element[i + 1]) };
		if (sb_slice_eq_str(slice_of(fields->element[i]), "content-type"))
			*content_type = slice_of(fields->element[i + 1]);
	}
	return n;
}

/* ------------------------------------------------------------------------------------------------ an event */

static const char *name_of(enum rds_what what)
{
	switch (what) {
	case RDS_ENTRY:     return "stream";
	case RDS_ELEMENT:   return "list";
	case RDS_PUBLISHED: return "channel";
	}
	abort();
}

static int write_meta(struct rds_reader *r, const struct rds_message *m, size_t but)
{
	struct sb_buf *out = &r->meta;
	char id[RDS_ID_TEXT];
	int rc;

	sb_buf_clear(out);
	rc = sb_buf_addf(out, "\"redis\":{\"%s\":", name_of(m->what));
	rc |= httpsource_add_value(out, sb_slice_str(m->key));
	if (m->what == RDS_ENTRY) {
		rc |= sb_buf_adds(out, ",\"id\":\"");
		rc |= sb_buf_add(out, id, rds_id_format(m->id, id));
		rc |= sb_buf_addc(out, '"');
	}
	if (but != SIZE_MAX && m->fields->elements > 2) {
		rc |= sb_buf_adds(out, ",\"fields\":");
		rc |= add_fields(out, m->fields, but);
	}
	return rc | sb_buf_addc(out, '}');
}

static int read_fields(struct rds_reader *r, const struct rds_message *m, struct sb_message *ret, struct sb_message_header *h, struct sb_err *err)
{
	size_t at = r->field ? find_field(m->fields, r->field) : SIZE_MAX;

	if (r->field && at == SIZE_MAX)
		return sb_fail(err, SB_E_MISSING, "the entry has no field `%s`", r->field);
	sb_buf_clear(&r->value);
	if (write_meta(r, m, at) < 0 || (!r->field && add_fields(&r->value, m->fields, SIZE_MAX) < 0))
		return sb_fail(err, SB_E_LIMIT, "the entry is larger than an event may be");
	ret->value = r->field ? slice_of(m->fields->element[at + 1]) : sb_buf_slice(&r->value);
	if (r->field)
		ret->n_headers = headers_of(m->fields, at, h, &ret->content_type);
	return 0;
}

static int read_value(struct rds_reader *r, const struct rds_message *m, struct sb_message *ret, struct sb_err *err)
{
	if (write_meta(r, m, SIZE_MAX) < 0)
		return sb_fail(err, SB_E_LIMIT, "its name is larger than an event may be");
	ret->value = m->value;
	return 0;
}

int rds_message_event(struct rds_reader *r, const struct rds_message *m, struct sb_event **ret, struct sb_err *err)
{
	struct sb_uuid receipt = rds_id_receipt(r->s->name, m->key, m->id);
	struct sb_message_header h[HEADERS_MAX];
	struct sb_message in = { .receipt = &receipt, .header = h, .time_ms = m->id.ms };

	r->code = "missing_field";
	if ((m->fields ? read_fields(r, m, &in, h, err) : read_value(r, m, &in, err)) == 0) {
		in.meta = sb_buf_slice(&r->meta);
		if (sb_envelope_read(r->envelope, &in, ret, err) == 0)
			return 0;
		r->code = sb_envelope_code(r->envelope);
	}
	*ret = NULL;
	sb_source_rejected(r->s, r->code, 1);
	return -1;
}

enum sb_reason rds_message_reason(const struct rds_reader *r)
{
	return strcmp(r->code, "invalid_json") == 0 ? SB_R_INVALID_JSON : SB_R_INVALID_PARAMETER;
}

struct sb_slice rds_message_bytes(struct rds_reader *r, const struct rds_message *m)
{
	if (!m->fields)
		return m->value;
	sb_buf_clear(&r->value);
	add_fields(&r->value, m->fields, SIZE_MAX);
	return sb_buf_slice(&r->value);
}
