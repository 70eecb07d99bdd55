/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/sender.h"

extern const struct sb_connector sb_connector_eventbridge;

static void offer(struct stage *st, unsigned k, struct sb_slice text)
{
	senders_offer(st, k, &(const struct http_offer){ "/v1/events", "Content-Type: application/json\r\n" }, text);
}

static void spoil(struct stage *st)
{
	senders_take_path(st, "/v1/cloudevents"); /* the second of its two */
}

static const char *const bad[] = { "", "{", "[]", "{\"source\":\"a\",\"detail\":{}}",
	"{\"source\":\"a\",\"detail-type\":\"\xff\",\"detail\":{}}",
	"{\"source\":\"a\",\"detail-type\":\"b\",\"detail\":{},\"bus\":\"nowhere\"}",
	"[{\"source\":\"a\",\"detail-type\":\"b\",\"detail\":{}},7]",
	"{\"source\":\"a\",\"detail-type\":\"b\",\"detail\":HUGE}", NULL };

const struct row row_eventbridge = {
	.name = "eventbridge",
	.connector = &sb_connector_eventbridge,
	.conf = "{}",
	.make = senders_make,
	.unmake = senders_unmake,
	.source =
		&(const struct source_row){
			.spoil = spoil,
			.wrap = "{\"source\":\"com.shop\",\"detail-type\":\"t\",\"detail\":@}",
			.objects = true,
			.bad = bad,
			.offer = offer,
			.leave = senders_leave,
		},
};
