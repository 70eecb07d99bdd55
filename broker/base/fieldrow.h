/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_FIELDROW_H
#define SB_BASE_FIELDROW_H

#include "broker/base/buf.h"
#include "broker/base/field.h"

/* What the files of field.h share: field.c decodes, expand.c completes strings, fieldcmp.c compares, fielddoc.c prints. */

#define SB_ROW_AT(base, f) ((void *)((char *)(base) + (f)->offset))
#define SB_ROW_GET(type, base, f) (*(const type *)(const void *)((const char *)(base) + (f)->offset))

/* Add an error about a node, with its place and path where the error has none yet. Returns -1. */
int sb_field_report(struct sb_decode *d, const struct sb_node *at, struct sb_err *err);
int sb_field_wrong_kind(struct sb_decode *d, const struct sb_node *n, const char *expected, const char *hint);
/* A string with `${…}` in it. */
bool sb_field_refers(const struct sb_node *n);
/* `path` as seen from the file that `at` stands in. */
int sb_field_path(struct sb_decode *d, const struct sb_node *at, const char *path, const char **ret);
/* A bound of a row as its user would write it: "1h", "64KiB", "10". */
void sb_field_bound(const struct sb_field *f, int64_t v, char out[SB_TIME_TEXT]);

#endif
