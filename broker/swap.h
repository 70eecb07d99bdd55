/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_SWAP_H
#define SB_BROKER_SWAP_H

#include "broker/config.h"

struct sb_daemon;

/*
 * Control thread: from the generation in use to that of `to`, which has been checked, and against which nothing speaks. 0: d->plan
 * is the new one; d->config is the caller's to change. -1: everything is as it was, whatever had to be opened again for it.
 */
int sb_swap(struct sb_daemon *d, const struct sb_config *to, const struct sb_config_diff *diff, struct sb_err *err);
/* What is owed to targets that are not configured becomes dead letters. */
void sb_swap_abandon_gone(struct sb_daemon *d);
/* Frees sources of generations before whose instances have closed by now. */
void sb_swap_reap(struct sb_daemon *d);

#endif
