/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_CLOCK_H
#define SB_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/*
 * Nothing else in the project asks the machine for the time. Delays are measured on the monotonic clock, so that a jump
 * of the wall clock neither fires nor stalls them; wall time is for what is stored, shown, or compared across a restart.
 * Thread-safe as far as the implementation is: the system clock is, the fake one belongs to one thread.
 */
struct sb_clock {
	uint64_t (*mono_ns)(const struct sb_clock *c);
	uint64_t (*wall_ms)(const struct sb_clock *c); /* milliseconds since 1970-01-01T00:00:00Z */
};

extern const struct sb_clock sb_clock_system;

/* A clock that stands still until the test moves it. */
struct sb_fake_clock {
	struct sb_clock clock;
	uint64_t mono, wall;
};

void sb_fake_clock_init(struct sb_fake_clock *f, uint64_t wall_ms);
void sb_fake_clock_advance(struct sb_fake_clock *f, uint64_t ns);

static inline uint64_t sb_mono_ns(const struct sb_clock *c)
{
	return c->mono_ns(c);
}

static inline uint64_t sb_wall_ms(const struct sb_clock *c)
{
	return c->wall_ms(c);
}

#define SB_NS_PER_MS UINT64_C(1000000)
#define SB_NS_PER_S UINT64_C(1000000000)

/* RFC 3339 in UTC with milliseconds, "2026-11-24T08:19:53.123Z"; out has room for SB_TIME_TEXT bytes. Returns its length. */
#define SB_TIME_TEXT 32
size_t sb_time_format(uint64_t wall_ms, char *out);
/* The same with whole seconds, as EventBridge writes `time`. */
size_t sb_time_format_s(uint64_t wall_ms, char *out);
/* RFC 3339 with any offset and any fraction. 0, or -1: not a time. */
int sb_time_parse(const char *s, size_t n, uint64_t *ret_wall_ms);
/* "1h30m", "250ms", "0s"; used wherever a duration is shown. out has room for SB_TIME_TEXT bytes. */
size_t sb_duration_format(uint64_t ms, char *out);

#endif
