/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/sender.h"

extern const struct sb_connector sb_connector_eventbridge;

static void offer(struct stage *st, unsigned k, struct sb_slice text)
{
	senders_offer(st, k,
		&(const struct http_offer){ "/v1/cloudevents", "Content-Type: application/cloudevents+json\r\n" },
		text);
}

static void spoil(struct stage *st)
{
	senders_take_path(st, "/v1/events");
}

static const char *const bad[] = { "", "{", "[]", "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"data\":1}",
	"{\"specversion\":\"9.9\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"data\":1}",
	"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"data\":HUGE}", NULL };

const struct row row_eventbridge_cloudevents = {
	.name = "eventbridge_cloudevents",
	.connector = &sb_connector_eventbridge,
	.conf = "{}",
	.make = senders_make,
	.unmake = senders_unmake,
	.source =
		&(const struct source_row){
			.spoil = spoil,
			.wrap = "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"com.shop\",\"type\":\"t\",\"data\":"
				"@}",
			.bad = bad,
			.offer = offer,
			.leave = senders_leave,
		},
};
