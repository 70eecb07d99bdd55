/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/row.h"

extern const struct sb_connector sb_connector_null;

const struct row row_null = {
	.name = "null",
	.connector = &sb_connector_null,
	.conf = "{}",
	.target = &(const struct target_row){ .forgets = true },
};
