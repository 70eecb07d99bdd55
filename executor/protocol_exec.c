/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <stdio.h>
#include <sys/wait.h>
#include <sysexits.h>

/* The event on stdin, nothing else; exit 0 delivered, 64 and 65 (sysexits: usage, data error) rejected, all else again. */

static int encode(const struct sb_item *it, uint64_t deadline_wall_ms, struct sb_buf *out)
{
	(void)deadline_wall_ms;
	return sb_buf_add_slice(out, it->input);
}

const struct sb_protocol sb_protocol_exec = { .one_shot = true, .encode = encode };

void sb_wait_status_text(int wait_status, char *out, size_t size)
{
	if (WIFSIGNALED(wait_status))
		snprintf(out, size, "was killed by signal %d (%s)", WTERMSIG(wait_status),
			sigdescr_np(WTERMSIG(wait_status)) ? sigdescr_np(WTERMSIG(wait_status)) : "unknown");
	else
		snprintf(out, size, "exited with status %d", WEXITSTATUS(wait_status));
}

void sb_exec_result(int wait_status, char *text, size_t size, struct sb_result *ret)
{
	int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
	size_t n;

	*ret = (struct sb_result){ .outcome = SB_DELIVERED };
	if (code == 0)
		return;
	ret->outcome = code == EX_USAGE || code == EX_DATAERR ? SB_REJECTED : SB_RETRY;
	ret->reason = SB_R_ERROR_FROM_TARGET;
	n = (size_t)snprintf(text, size, "the command ");
	sb_wait_status_text(wait_status, text + n, size - n);
	ret->message = sb_slice_str(text);
}
