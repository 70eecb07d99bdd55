/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/buf.h"
#include "broker/cli/cli.h"
#include "connectors/connector.h"

#define ABOUT_MAX 4096

static void about_text(struct sb_buf *out)
{
	sb_buf_adds(out, "signalbox " SB_VERSION "\n");
	for (const struct sb_connector *const *c = sb_connectors; *c; c++) {
		if (!(*c)->about)
			continue;
		sb_buf_addf(out, "  %s: ", (*c)->type);
		(*c)->about(out);
		sb_buf_addc(out, '\n');
	}
}

static void about_json(struct sb_buf *out)
{
	struct sb_buf one = SB_BUF(ABOUT_MAX);
	bool first = true;

	sb_buf_adds(out, "{\"v\":1,\"version\":\"" SB_VERSION "\",\"libraries\":{");
	for (const struct sb_connector *const *c = sb_connectors; *c; c++) {
		if (!(*c)->about)
			continue;
		if (!first)
			sb_buf_addc(out, ',');
		first = false;
		sb_json_add_string(out, sb_slice_str((*c)->type));
		sb_buf_addc(out, ':');
		sb_buf_clear(&one);
		(*c)->about(&one);
		sb_json_add_string(out, sb_buf_slice(&one));
	}
	sb_buf_adds(out, "}}\n");
	sb_buf_done(&one);
}

static int run(struct sb_cli *cli)
{
	struct sb_buf text = SB_BUF(ABOUT_MAX);

	if (sb_cli_format_is(cli, "json"))
		about_json(&text);
	else
		about_text(&text);
	fwrite(text.p, 1, text.len, cli->out);
	sb_buf_done(&text);
	return SB_EXIT_OK;
}

const struct sb_cli_verb sb_cmd_version = {
	.name = "version",
	.summary = "print the version, and what the libraries at hand can do",
	.formats = "text json",
	.run = run,
};
