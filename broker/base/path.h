/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_PATH_H
#define SB_BASE_PATH_H

#include <stdint.h>

#include "broker/base/arena.h"
#include "broker/base/json.h"

/*
 * A compiled JSON path, EventBridge's subset: `$`, `$.detail.id`, `$.detail['odd key']`, `$.resources[0]`. Without the
 * `$.` in front ("meta.http.headers.x-topic") it is the same path. A key with a dot must stand in brackets.
 */
struct sb_path_step {
	struct sb_slice key; /* p NULL: an index step */
	uint32_t index;
};

struct sb_path {
	const char *text; /* as written */
	struct sb_path_step *step;
	uint32_t n;
};

int sb_path_compile(struct sb_arena *a, struct sb_slice text, struct sb_path *ret, struct sb_err *err);
/* The node it leads to, the last of duplicate keys at each step; UINT32_MAX: nothing there. */
uint32_t sb_path_find(const struct sb_path *p, const struct sb_tape *t);

#endif
