/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_RULES_NUMBER_H
#define SB_RULES_NUMBER_H

#include <stdbool.h>

#include "broker/base/mem.h"

/*
 * Numbers as Event Ruler compares them. A JSON number is comparable when its decimal value is exactly the shortest decimal
 * of a finite double; it then compares as that double. Any other number (9007199254740993) equals only the same text and
 * no numeric operator holds for it.
 */
bool sb_number_comparable(struct sb_slice text, double *ret);
/* YAML knows more spellings of a number than JSON; an event can only hold JSON's. */
bool sb_number_is_json(struct sb_slice text);

#endif
