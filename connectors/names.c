/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/connector.h"

#include <stdlib.h>

const char *sb_outcome_name(enum sb_outcome o)
{
	switch (o) {
	case SB_DELIVERED:   return "delivered";
	case SB_RETRY:       return "retry";
	case SB_UNREACHABLE: return "unreachable";
	case SB_REJECTED:    return "rejected";
	case SB_RELEASED:    return "released";
	}
	abort(); /* not an enum value: memory is corrupt */
}

static const char *const reason_names[SB_R_NREASONS] = {
	[SB_R_NONE] = "",
	[SB_R_CONNECTION_FAILURE] = "CONNECTION_FAILURE",
	[SB_R_ERROR_FROM_TARGET] = "ERROR_FROM_TARGET",
	[SB_R_INTERNAL_ERROR] = "INTERNAL_ERROR",
	[SB_R_INVALID_JSON] = "INVALID_JSON",
	[SB_R_INVALID_PARAMETER] = "INVALID_PARAMETER",
	[SB_R_NO_PERMISSIONS] = "NO_PERMISSIONS",
	[SB_R_NO_RESOURCE] = "NO_RESOURCE",
	[SB_R_RESOURCE_LIMIT_EXCEEDED] = "RESOURCE_LIMIT_EXCEEDED",
	[SB_R_SDK_CLIENT_ERROR] = "SDK_CLIENT_ERROR",
	[SB_R_THROTTLING] = "THROTTLING",
	[SB_R_TIMEOUT] = "TIMEOUT",
	[SB_R_UNKNOWN] = "UNKNOWN",
	[SB_R_LOOP_DETECTED] = "LOOP_DETECTED",
	[SB_R_QUEUE_FULL] = "QUEUE_FULL",
	[SB_R_TARGET_REMOVED] = "TARGET_REMOVED",
};

const char *sb_reason_name(enum sb_reason r)
{
	SB_ASSERT((unsigned)r < SB_R_NREASONS);
	return reason_names[r];
}

int sb_reason_parse(struct sb_slice s, enum sb_reason *ret)
{
	for (unsigned i = 1; i < SB_R_NREASONS; i++)
		if (sb_slice_eq_str(s, reason_names[i])) {
			*ret = (enum sb_reason)i;
			return 0;
		}
	return -1;
}
