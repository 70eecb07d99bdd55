/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CONFORMANCE_CHECKS_H
#define SB_TESTS_CONFORMANCE_CHECKS_H

#include "stage.h"

/* Checks that targets and sources share, and what checks are made of. */
void wrong_configuration_is_refused(struct stage *st);
void a_failed_open_says_why(struct stage *st);

/* A JSON string that makes an input or event of about so many bytes; the caller frees it. */
char *large_detail(size_t bytes);

#endif
