/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_CRC32C_H
#define SB_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli). Start with 0 and feed the result back to continue. Uses SSE4.2 where the processor has it. */
uint32_t sb_crc32c(uint32_t crc, const void *p, size_t n);
/* The table version, for tests that compare the two. */
uint32_t sb_crc32c_table(uint32_t crc, const void *p, size_t n);

#endif
