/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CONFORMANCE_FOLDER_H
#define SB_TESTS_CONFORMANCE_FOLDER_H

#include "stage.h"

/*
 * A far side that is a program in the stage's folder: DIR/program is a link to one of far/. The file `act` tells it what to
 * do; without the link it is gone.
 */
int folder_make(struct stage *st, const char *program, struct sb_err *err);
void folder_act(struct stage *st, enum far f);
void folder_unmake(struct stage *st);
void folder_collect_lines(struct stage *st); /* of the file `got` */
void folder_collect_files(struct stage *st); /* got.*, which are taken away */

#endif
