/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BROKER_EXIT_H
#define SB_BROKER_EXIT_H

/* Frozen; docs and tests name them. Warnings never change the code unless --strict. */
enum sb_exit {
	SB_EXIT_OK = 0,
	SB_EXIT_NO = 1,          /* the answer is no: findings, no match */
	SB_EXIT_USAGE = 2,       /* usage error or unreadable input */
	SB_EXIT_CONFIG = 3,      /* configuration or rules invalid, nothing was done */
	SB_EXIT_UNREACHABLE = 4,
	SB_EXIT_REFUSED = 5,
	SB_EXIT_PARTIAL = 6,     /* some entries failed */
	SB_EXIT_TIMEOUT = 124,
};

#endif
