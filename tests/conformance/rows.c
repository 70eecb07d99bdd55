/* SPDX-License-Identifier: Apache-2.0 */
/* rows.def is written by CMake: one line for each file in rows/. */
#include "row.h"

#define X(name) extern const struct row row_##name;
#include <rows.def>
#undef X

#define X(name) &row_##name,
const struct row *const rows[] = {
#include <rows.def>
	NULL,
};
#undef X
