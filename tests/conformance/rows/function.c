/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/proc.h"
#include "tests/conformance/folder.h"

extern const struct sb_connector sb_connector_function;

static int make(struct stage *st, struct sb_err *err)
{
	return folder_make(st, "tests/conformance/far/worker.py", err);
}

/* Nobody starts processes here. */
static void spoil(struct stage *st)
{
	sb_procs_free(st->env.procs);
	st->env.procs = NULL;
}

static const char *const wrong[] = { "{}", "{command: []}", "{command: [a], protocol: carrier-pigeon}",
	"{command: [a], workers: {min: 3, max: 2}}", "{command: [a], protocol: exec, workers: {in_flight: 2}}", NULL };

const struct row row_function = {
	.name = "function",
	.connector = &sb_connector_function,
	.conf = "{command: [DIR/program, DIR], workers: {max: 2, in_flight: 2}, kill_grace: 50ms, max_request: 1MiB}",
	.wrong = wrong,
	.make = make,
	.unmake = folder_unmake,
	.target = &(const struct target_row){
		.spoil = spoil,
		.lines = true,
		.largest = 1 << 20,
		.may = {
			[FAR_FAILS] = MAY(SB_RETRY),
			[FAR_REJECTS] = MAY(SB_REJECTED),
			[FAR_STALLS] = MAY(SB_RETRY) | MAY(SB_RELEASED), /* released: a neighbour's time was up */
			[FAR_GONE] = MAY(SB_UNREACHABLE) | MAY(SB_RETRY),
		},
		.act = folder_act,
		.collect = folder_collect_lines,
	},
};
