/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_TEST_H
#define SB_TESTS_SUPPORT_TEST_H

/* cmocka wants these before it, in this order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/base/mem.h"

#endif
