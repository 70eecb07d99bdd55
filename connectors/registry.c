/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of connectors. Those with a folder here come from registry.def, which CMake writes from the sb_connector()
 * lines; `function` and `bus` live in rooms of their own. A library apart, because it points at all of them.
 */
#include "connectors/connector.h"

#define ELSEWHERE      \
	X(function)    \
	X(bus)

#define X(name) extern const struct sb_connector sb_connector_##name;
#include <registry.def>
ELSEWHERE
#undef X

#define X(name) &sb_connector_##name,
const struct sb_connector *const sb_connectors[] = {
#include <registry.def>
	ELSEWHERE NULL,
};
#undef X
