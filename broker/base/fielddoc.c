/* SPDX-License-Identifier: Apache-2.0 */
/* A table as a page for people (Markdown) and for editors (JSON Schema, draft-07). */
#include <inttypes.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/json.h"
#include "fieldrow.h"

/* A string in place of a value: it is completed at load, so an editor cannot judge it. */
#define OR_REFERENCE ",\"pattern\":\"\\\\$\\\\{\""
#define DURATION "^(0|([0-9]+(ms|s|m|h|d))+)$|\\\\$\\\\{"
#define SIZE "^[0-9]+(B|[KMGT]iB|[kKMGT]B)?$|\\\\$\\\\{"

static const struct {
	const char *docs, *schema;
} types[] = {
	[SB_T_STR] = { "string", "\"type\":\"string\"" },
	[SB_T_SECRET] = { "secret", "\"type\":\"string\"" },
	[SB_T_FILE] = { "path", "\"type\":\"string\"" },
	[SB_T_BOOL] = { "true or false", "\"type\":[\"boolean\",\"string\"]" OR_REFERENCE },
	[SB_T_INT] = { "number", "\"type\":[\"integer\",\"string\"]" OR_REFERENCE },
	[SB_T_MS] = { "duration", "\"type\":[\"string\",\"integer\"],\"maximum\":0,\"pattern\":\"" DURATION "\"" },
	[SB_T_BYTES] = { "size", "\"type\":[\"string\",\"integer\"],\"pattern\":\"" SIZE "\"" },
	[SB_T_ENUM] = { "word", NULL },
	[SB_T_STRS] = { "list of strings", "\"type\":\"array\",\"items\":{\"type\":\"string\"}" },
	[SB_T_SECRETS] = { "list of secrets", "\"type\":\"array\",\"items\":{\"type\":\"string\"}" },
	[SB_T_NODE] = { "value", "" },
	[SB_T_TEMPLATE] = { "template", "\"type\":\"string\"" },
	[SB_T_PATH] = { "JSON path", "\"type\":\"string\"" },
	[SB_T_OBJECT] = { "map", NULL },
	[SB_T_MAP] = { "map", "\"type\":[\"object\",\"null\"]" },
	[SB_T_ENV] = { "map of variables",
		"\"type\":\"object\",\"additionalProperties\":{\"type\":[\"string\",\"number\",\"boolean\"]}" },
};

void sb_field_bound(const struct sb_field *f, int64_t v, char out[SB_TIME_TEXT])
{
	static const char *const units[] = { "", "KiB", "MiB", "GiB", "TiB" };
	unsigned u = 0;

	if (f->type == SB_T_MS) {
		sb_duration_format((uint64_t)v, out);
		return;
	}
	while (f->type == SB_T_BYTES && v && v % 1024 == 0 && u < 4) {
		v /= 1024;
		u++;
	}
	snprintf(out, SB_TIME_TEXT, "%" PRId64 "%s", v, units[u]);
}

/* ------------------------------------------------------------------------------------------------ docs */

static bool counts(enum sb_field_type t)
{
	return t == SB_T_INT || t == SB_T_MS || t == SB_T_BYTES;
}

static void docs_range(const struct sb_field *f, struct sb_buf *out)
{
	char lo[SB_TIME_TEXT], hi[SB_TIME_TEXT];

	if (!counts(f->type) || (f->min == 0 && f->max == 0))
		return;
	sb_field_bound(f, f->min, lo);
	sb_field_bound(f, f->max, hi);
	if (f->max == 0 || f->max >= INT64_MAX || (f->type != SB_T_INT && f->max == UINT32_MAX))
		sb_buf_addf(out, "%s or more", lo);
	else if (f->min == f->max)
		sb_buf_adds(out, lo);
	else
		sb_buf_addf(out, "%s to %s", lo, hi);
}

static void docs_values(const struct sb_field *f, struct sb_buf *out)
{
	size_t before = out->len;

	for (int i = 0; f->names && f->names[i]; i++)
		sb_buf_addf(out, "%s`%s`", i ? ", " : "", f->names[i]);
	docs_range(f, out);
	if (f->dflt)
		sb_buf_addf(out, "%sdefault `%s`", out->len > before ? "; " : "", f->dflt);
	if (f->required)
		sb_buf_addf(out, "%srequired", out->len > before ? "; " : "");
}

static void docs_rows(const struct sb_field *rows, const char *prefix, struct sb_buf *out)
{
	for (; rows->key; rows++) {
		char path[160];

		snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", rows->key);
		sb_buf_addf(out, "| `%s` | %s%s | ", path, types[rows->type].docs, rows->type == SB_T_ENUM && rows->sub ? " or map" : "");
		docs_values(rows, out);
		sb_buf_addf(out, " | %s |\n", rows->doc ? rows->doc : "");
		if (rows->sub)
			docs_rows(rows->sub, path, out);
	}
}

void sb_fields_docs(const struct sb_field *rows, struct sb_buf *out)
{
	sb_buf_adds(out, "| key | type | values | meaning |\n|---|---|---|---|\n");
	docs_rows(rows, "", out);
}

/* ------------------------------------------------------------------------------------------------ schema */

void sb_fields_required(const struct sb_field *rows, struct sb_buf *out)
{
	bool first = true;

	sb_buf_addc(out, '[');
	for (; rows->key; rows++)
		if (rows->required) {
			sb_buf_addf(out, "%s\"%s\"", first ? "" : ",", rows->key);
			first = false;
		}
	sb_buf_addc(out, ']');
}

void sb_fields_object(const struct sb_field *rows, struct sb_buf *out)
{
	bool required = false;

	for (const struct sb_field *f = rows; f->key; f++)
		required |= f->required;
	/* nothing behind the key is an empty map, unless something in it must be said */
	sb_buf_adds(out, required ? "\"type\":\"object\"" : "\"type\":[\"object\",\"null\"]");
	sb_buf_adds(out, ",\"additionalProperties\":false,\"properties\":{");
	sb_fields_schema(rows, out);
	sb_buf_adds(out, "}");
	if (required) {
		sb_buf_adds(out, ",\"required\":");
		sb_fields_required(rows, out);
	}
}

static void schema_enum(const struct sb_field *f, struct sb_buf *out)
{
	sb_buf_adds(out, "\"anyOf\":[{\"enum\":[");
	for (int i = 0; f->names[i]; i++)
		sb_buf_addf(out, "%s\"%s\"", i ? "," : "", f->names[i]);
	sb_buf_adds(out, "]},{\"type\":\"string\"" OR_REFERENCE "}");
	if (f->sub) {
		sb_buf_adds(out, ",{");
		sb_fields_object(f->sub, out);
		sb_buf_adds(out, "}");
	}
	sb_buf_addc(out, ']');
}

static void schema_range(const struct sb_field *f, struct sb_buf *out)
{
	bool text = f->type == SB_T_STR, list = f->type == SB_T_STRS || f->type == SB_T_SECRETS;
	const char *lo = text ? "minLength" : f->type == SB_T_INT ? "minimum" : "minItems";
	const char *hi = text ? "maxLength" : f->type == SB_T_INT ? "maximum" : "maxItems";

	if ((!text && !list && f->type != SB_T_INT) || (f->min == 0 && f->max == 0))
		return;
	sb_buf_addf(out, ",\"%s\":%" PRId64, lo, f->min);
	if (f->max && f->max < INT64_MAX)
		sb_buf_addf(out, ",\"%s\":%" PRId64, hi, f->max);
}

static void schema_default(const struct sb_field *f, struct sb_buf *out)
{
	if (!f->dflt)
		return;
	sb_buf_adds(out, ",\"default\":");
	if (f->type == SB_T_INT || f->type == SB_T_BOOL)
		sb_buf_adds(out, f->dflt);
	else
		sb_json_add_string(out, sb_slice_str(f->dflt));
}

void sb_fields_schema(const struct sb_field *rows, struct sb_buf *out)
{
	for (const struct sb_field *f = rows; f->key; f++) {
		sb_buf_addf(out, "%s\"%s\":{\"description\":", f == rows ? "" : ",", f->key);
		sb_json_add_string(out, sb_slice_str(f->doc ? f->doc : ""));
		if (f->type != SB_T_NODE)
			sb_buf_addc(out, ',');
		if (f->type == SB_T_OBJECT)
			sb_fields_object(f->sub, out);
		else if (f->type == SB_T_ENUM)
			schema_enum(f, out);
		else
			sb_buf_adds(out, types[f->type].schema);
		schema_range(f, out);
		schema_default(f, out);
		sb_buf_addc(out, '}');
	}
}
