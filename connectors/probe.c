/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/probe.h"

#include <limits.h>
#include <stdio.h>

#include "broker/base/clock.h"
#include "broker/base/mem.h"

unsigned sb_probe_left_ms(const struct sb_probe *p)
{
	uint64_t now = sb_mono_ns(&sb_clock_system);

	return now >= p->deadline_ns ? 0 : (unsigned)SB_MIN((p->deadline_ns - now) / SB_NS_PER_MS + 1, (uint64_t)INT_MAX);
}

void sb_probe_good(struct sb_probe *p, const char *fmt, ...)
{
	struct sb_err what = { .code = SB_OK };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what.msg, sizeof(what.msg), fmt, ap);
	va_end(ap);
	p->found(p, SB_FOUND_GOOD, NULL, &what);
}

void sb_probe_doubt(struct sb_probe *p, const char *key, const struct sb_err *what)
{
	p->found(p, SB_FOUND_DOUBTFUL, key, what);
}

void sb_probe_wrong(struct sb_probe *p, const char *key, const struct sb_err *what)
{
	p->found(p, SB_FOUND_WRONG, key, what);
}
