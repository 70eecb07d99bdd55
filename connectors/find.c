/* SPDX-License-Identifier: Apache-2.0 */
/* Apart from names.c: who only wants names needs no registry to link. */
#include <string.h>

#include "connectors/connector.h"

const struct sb_connector *sb_connector_find(const char *type)
{
	for (const struct sb_connector *const *c = sb_connectors; *c; c++)
		if (strcmp((*c)->type, type) == 0)
			return *c;
	return NULL;
}
