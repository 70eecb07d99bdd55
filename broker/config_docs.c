/* SPDX-License-Identifier: Apache-2.0 */
/* The page and the schema of the whole configuration, from the tables of the framework and of every connector. */
#include <string.h>

#include "broker/base/json.h"
#include "config_tables.h"

static void section(struct sb_buf *out, const char *title, const char *text, const struct sb_field *rows)
{
	sb_buf_addf(out, "\n## %s\n\n%s\n", title, text);
	if (rows && rows->key) {
		sb_buf_addc(out, '\n');
		sb_fields_docs(rows, out);
	}
}

static void connector_docs(struct sb_buf *out, bool targets)
{
	for (const struct sb_connector *const *c = sb_connectors; *c; c++) {
		const struct sb_field *rows = targets ? ((*c)->target ? (*c)->target->fields : NULL)
						      : ((*c)->source ? (*c)->source->fields : NULL);

		if (targets ? !(*c)->target : !(*c)->source)
			continue;
		sb_buf_addf(
			out, "\n### `%s:`\n\nA %s: %s.\n", (*c)->type, targets ? "target" : "source", (*c)->summary);
		if (rows && rows->key) {
			sb_buf_addc(out, '\n');
			sb_fields_docs(rows, out);
		} else {
			sb_buf_adds(out, "\nIt has no keys of its own.\n");
		}
	}
}

void sb_config_docs(struct sb_buf *out)
{
	sb_buf_adds(out, "# Configuration\n\n"
			 "Printed by `signalbox check --print-config-docs`; do not edit. An editor that knows JSON "
			 "Schema completes and checks the\n"
			 "file with [config.schema.json](../schemas/config.schema.json).\n\n"
			 "The file is YAML 1.2 (core schema: `no` and `on` are strings) or JSON. A key that nobody "
			 "knows is an error. Durations are\n"
			 "written `250ms`, `5s`, `1h30m`, `14d`; sizes `500`, `64KiB`, `1MiB`. Paths are relative to "
			 "the file they stand in. In any\n"
			 "string `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` are completed at load, and "
			 "`$${` is a literal `${`. Secrets are never\n"
			 "shown. `signalbox check` reads everything and changes nothing; a reload (`signalbox reload`, "
			 "SIGHUP) is all or nothing.\n"
			 "It applies rules, buses, sources, targets, `log.level` and `drain_timeout`, and names what "
			 "needs a restart instead.\n");
	section(out, "The file", "The top of `signalbox.yaml`.", sb_root_fields);
	section(out, "listeners", "`listeners: {NAME: {...}}`", sb_listener_fields);
	section(out, "buses",
		"`buses: {NAME: {}}`: a bus has no keys yet. Rules and sources that name none are on `default`.", NULL);
	section(out, "sources",
		"`sources: {NAME: {CONNECTOR: {...}, ...}}`: one connector's key, and beside it the same for all of "
		"them:",
		sb_source_fields);
	connector_docs(out, false);
	section(out, "targets",
		"`targets: {NAME: {CONNECTOR: {...}, ...}}`: one connector's key, and beside it the same for all of "
		"them:",
		sb_target_fields);
	connector_docs(out, true);
}

/* ------------------------------------------------------------------------------------------------ schema */

/* A map of names whose values are `rows` and, with a connector, exactly one of their keys. */
static void named(struct sb_buf *out, const char *key, const char *doc, const struct sb_field *rows)
{
	sb_buf_addf(out, ",\"%s\":{\"description\":", key);
	sb_json_add_string(out, sb_slice_str(doc));
	sb_buf_addf(out,
		",\"type\":[\"object\",\"null\"],\"propertyNames\":{\"pattern\":\"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$\"},"
		"\"additionalProperties\":{");
	sb_fields_object(rows, out);
	sb_buf_adds(out, "}}");
}

static void connector_property(struct sb_buf *out, const struct sb_connector *c, const struct sb_field *rows)
{
	static const struct sb_field none[] = { { 0 } };

	sb_buf_addf(out, ",\"%s\":{\"description\":", c->type);
	sb_json_add_string(out, sb_slice_str(c->summary));
	sb_buf_addc(out, ',');
	sb_fields_object(rows ? rows : none, out);
	sb_buf_addc(out, '}');
}

static void with_connectors(struct sb_buf *out, const char *key, const char *doc, bool targets)
{
	bool first = true;

	sb_buf_addf(out, ",\"%s\":{\"description\":", key);
	sb_json_add_string(out, sb_slice_str(doc));
	sb_buf_addf(out,
		",\"type\":[\"object\",\"null\"],\"propertyNames\":{\"pattern\":\"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$\"},"
		"\"additionalProperties\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
	sb_fields_schema(targets ? sb_target_fields : sb_source_fields, out);
	for (const struct sb_connector *const *c = sb_connectors; *c; c++)
		if (targets ? (*c)->target != NULL : (*c)->source != NULL)
			connector_property(out, *c, targets ? (*c)->target->fields : (*c)->source->fields);
	sb_buf_adds(out, "},\"oneOf\":[");
	for (const struct sb_connector *const *c = sb_connectors; *c; c++)
		if (targets ? (*c)->target != NULL : (*c)->source != NULL) {
			sb_buf_addf(out, "%s{\"required\":[\"%s\"]}", first ? "" : ",", (*c)->type);
			first = false;
		}
	sb_buf_adds(out, "]}}");
}

/* The scalars of the root; its maps are described in full instead. */
static void root_properties(struct sb_buf *out)
{
	struct sb_field rows[32] = { { 0 } };
	size_t n = 0;

	for (const struct sb_field *f = sb_root_fields; f->key; f++)
		if (f->type != SB_T_MAP) {
			SB_ASSERT(n + 1 < SB_LEN(rows));
			rows[n++] = *f;
		}
	sb_fields_schema(rows, out);
}

static const char *root_doc(const char *key)
{
	const struct sb_field *f = sb_root_fields;

	while (strcmp(f->key, key) != 0)
		f++;
	return f->doc;
}

int sb_config_schema(struct sb_buf *out)
{
	sb_buf_adds(out, "{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"title\":\"signalbox.yaml\","
			 "\"description\":\"Printed by signalbox check --print-schema; do not edit.\","
			 "\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
	root_properties(out);
	named(out, "listeners", root_doc("listeners"), sb_listener_fields);
	named(out, "buses", root_doc("buses"), sb_bus_fields);
	with_connectors(out, "sources", root_doc("sources"), false);
	with_connectors(out, "targets", root_doc("targets"), true);
	return sb_buf_adds(out, "}}");
}
