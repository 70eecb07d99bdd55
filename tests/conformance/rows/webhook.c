/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/sender.h"

extern const struct sb_connector sb_connector_webhook;

#define PATH "/hooks/shop"

static void offer(struct stage *st, unsigned k, struct sb_slice text)
{
	senders_offer(st, k, &(const struct http_offer){ PATH, "Content-Type: application/json\r\n" }, text);
}

static void spoil(struct stage *st)
{
	senders_take_path(st, PATH);
}

static const char *const wrong[] = { "{}", "{path: hooks}", "{path: /v1/events}", "{path: /a b}",
	"{path: /h, headers: [cookie]}", "{path: /h, verify: {header: x, secrets: []}}",
	"{path: /h, verify: {header: x, secrets: [''], hmac: md5}}", NULL };

static const char *const bad[] = { "", "{", "{\"a\":1}}", "\"\xff\"", "{\"a\":1},\"b\":2", "nul", "HUGE", NULL };

const struct row row_webhook = {
	.name = "webhook",
	.connector = &sb_connector_webhook,
	.conf = "{path: " PATH "}",
	.wrong = wrong,
	.make = senders_make,
	.unmake = senders_unmake,
	.source =
		&(const struct source_row){
			.spoil = spoil,
			.wrap = "@",
			.bad = bad,
			.offer = offer,
			.leave = senders_leave,
		},
};
