/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_NODEKEYS_H
#define SB_BASE_NODEKEYS_H

#include "broker/base/map.h"
#include "broker/base/node.h"

/* The keys of one map while it is read: few are compared one by one, many go through a hash. Done by sb_map_done(&k->map). */
struct sb_node_keys {
	struct sb_map map;
};

/* `item` are the n values read so far. Returns the earlier key of the same text, or NULL. */
const struct sb_node *sb_node_keys_add(struct sb_node_keys *k, struct sb_node *const *item, size_t n, struct sb_node *key);
/* The error, with both places. */
void sb_node_key_twice(struct sb_diags *diags, const struct sb_node *key, const struct sb_node *first);

#endif
