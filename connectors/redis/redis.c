/* SPDX-License-Identifier: Apache-2.0 */
#include "redis.h"

#include <hiredis/hiredis.h>

#include "tls.h"

static void about(struct sb_buf *out)
{
	sb_buf_addf(out, "hiredis %d.%d.%d, %s", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH, rds_tls_about());
}

const struct sb_connector sb_connector_redis = {
	.type = "redis",
	.summary = "Redis: entries of streams, elements of lists, messages of channels become events; deliveries become entries",
	.about = about,
	.source = &rds_source_ops,
	.target = &rds_target_ops,
};
