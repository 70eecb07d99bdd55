/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/connector.h"

struct null_target {
	bool closed;
};

static const struct sb_field null_fields[] = { { 0 } };

static int null_open(struct sb_target *t, struct sb_err *err)
{
	(void)t;
	(void)err;
	return 0;
}

static void null_send(struct sb_target *t, struct sb_batch *b)
{
	static const struct sb_result delivered = { .outcome = SB_DELIVERED };
	size_t n = b->n; /* the batch may be gone with its last item */

	for (size_t i = 0; i < n; i++)
		sb_batch_settle(t, b, i, &delivered);
}

static void null_close(struct sb_target *t)
{
	struct null_target *n = t->state;

	if (n->closed)
		return;
	n->closed = true;
	sb_target_closed(t);
}

static void null_free(struct sb_target *t)
{
	(void)t;
}

const struct sb_connector sb_connector_null = {
	.type = "null",
	.summary = "accepts and forgets every event (load tests)",
	.target = &(const struct sb_target_ops){
		.state_size = sizeof(struct null_target),
		.fields = null_fields,
		.open = null_open,
		.send = null_send,
		.close = null_close,
		.free = null_free,
	},
};
