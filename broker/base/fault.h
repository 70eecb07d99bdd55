/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_FAULT_H
#define SB_BASE_FAULT_H

#include <stdbool.h>

/*
 * Named fault points, compiled out unless SB_FAULTS is defined (every preset but release).
 *   SB_FAULT("journal.after_write");            may kill the process here
 *   if (SB_FAULT_ERR("journal.sync")) ...       may ask the caller to fail
 * Armed by the environment: SB_FAULT=name:hit:action[,name:hit:action...], where the action happens at the hit-th
 * passage (1-based; 0: at every one) and is `kill` (SIGKILL to ourselves), `stop` (SIGSTOP), or `err`.
 */
#ifdef SB_FAULTS
bool sb_fault(const char *name);
#define SB_FAULT(name) ((void)sb_fault(name))
#define SB_FAULT_ERR(name) sb_fault(name)
#else
#define SB_FAULT(name) ((void)0)
#define SB_FAULT_ERR(name) false
#endif

/* Arms the points of a specification; replaces what was armed. 0, or -1: malformed. For tests; not thread-safe. */
int sb_fault_arm(const char *spec);

#endif
