/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/folder.h"

extern const struct sb_connector sb_connector_function;

static int make(struct stage *st, struct sb_err *err)
{
	return folder_make(st, "tests/conformance/far/command.sh", err);
}

static const char *const wrong[] = { "{command: [a], protocol: exec, workers: {min: 1}}", NULL };

const struct row row_function_exec = {
	.name = "function_exec",
	.connector = &sb_connector_function,
	.conf = "{command: [DIR/program, DIR], protocol: exec, kill_grace: 50ms, max_request: 1MiB}",
	.wrong = wrong,
	.make = make,
	.unmake = folder_unmake,
	.target = &(const struct target_row){
		.largest = 1 << 20,
		.many = 100,
		.may = {
			[FAR_FAILS] = MAY(SB_RETRY),
			[FAR_REJECTS] = MAY(SB_REJECTED),
			[FAR_STALLS] = MAY(SB_RETRY),
			[FAR_GONE] = MAY(SB_UNREACHABLE),
		},
		.act = folder_act,
		.collect = folder_collect_files,
	},
};
