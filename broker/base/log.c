/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "broker/base/buf.h"
#include "broker/base/clock.h"

#define LINE_MAX_BYTES 4096
#define FIELD_MAX_BYTES 256
#define WINDOW_NS (10 * SB_NS_PER_S)
#define WRITE_PATIENCE_MS 20

static enum sb_log_format log_format = SB_LOG_JSON;
static enum sb_log_level log_min = SB_LOG_INFO;
static atomic_uint_fast64_t log_dropped;

static const char *const level_name[] = { "debug", "info", "warn", "error" };
static const char *const level_pretty[] = { "DEBUG", "\033[32mINFO \033[0m", "\033[33mWARN \033[0m",
	"\033[31mERROR\033[0m" };

void sb_log_setup(enum sb_log_format format, enum sb_log_level min)
{
	log_format = format == SB_LOG_AUTO ? (isatty(STDERR_FILENO) ? SB_LOG_PRETTY : SB_LOG_JSON) : format;
	log_min = min;
}

uint64_t sb_log_dropped(void)
{
	return atomic_load_explicit(&log_dropped, memory_order_relaxed);
}

/* Escapes so that no byte of a peer reaches a terminal or breaks the JSON; invalid UTF-8 is shown byte by byte. */
static void add_escaped(struct sb_buf *b, struct sb_slice s)
{
	size_t n = SB_MIN(s.n, (size_t)FIELD_MAX_BYTES);

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\')
			sb_buf_addf(b, "\\%c", c);
		else if (c == '\n')
			sb_buf_adds(b, "\\n");
		else if (c < 0x20 || c >= 0x7f)
			sb_buf_addf(b, "\\u%04x", c);
		else
			sb_buf_addc(b, (char)c);
	}
	if (n < s.n)
		sb_buf_adds(b, "...");
}

static void add_err(struct sb_buf *b, const struct sb_err *e, bool json)
{
	add_escaped(b, sb_slice_str(e->msg));
	if (e->at.file)
		sb_buf_addf(b, json ? "\",\"at\":\"%s:%u:%u" : " at %s:%u:%u", e->at.file, e->at.line, e->at.col);
}

static void add_value(struct sb_buf *b, const struct sb_kv *kv, bool json)
{
	if (kv->kind == SB_KV_INT) {
		sb_buf_addf(b, "%" PRId64, kv->v.i);
		return;
	}
	if (json)
		sb_buf_addc(b, '"');
	if (kv->kind == SB_KV_STR)
		add_escaped(b, sb_slice_str(kv->v.s));
	else if (kv->kind == SB_KV_SLICE)
		add_escaped(b, kv->v.sl);
	else
		add_err(b, kv->v.err, json);
	if (json)
		sb_buf_addc(b, '"');
}

static void format_json(struct sb_buf *b, enum sb_log_level level, const char *phrase, const struct sb_kv *kv, size_t n)
{
	char when[SB_TIME_TEXT];

	sb_time_format(sb_wall_ms(&sb_clock_system), when);
	sb_buf_addf(b, "{\"ts\":\"%s\",\"level\":\"%s\",\"msg\":\"%s\"", when, level_name[level], phrase);
	for (size_t i = 0; i < n; i++) {
		sb_buf_addf(b, ",\"%s\":", kv[i].key);
		add_value(b, &kv[i], true);
	}
	sb_buf_addc(b, '}');
}

static void format_pretty(struct sb_buf *b, enum sb_log_level level, const char *phrase, const struct sb_kv *kv, size_t n)
{
	char when[SB_TIME_TEXT];

	sb_time_format(sb_wall_ms(&sb_clock_system), when);
	sb_buf_addf(b, "\033[2m%.12s\033[0m %s %s", when + 11, level_pretty[level], phrase);
	for (size_t i = 0; i < n; i++) {
		sb_buf_addf(b, "  \033[2m%s=\033[0m", kv[i].key);
		add_value(b, &kv[i], false);
	}
}

static void write_line(const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(STDERR_FILENO, p, n);
		struct pollfd f = { .fd = STDERR_FILENO, .events = POLLOUT };

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0 && errno == EAGAIN && poll(&f, 1, WRITE_PATIENCE_MS) > 0)
			continue;
		if (w < 0) {
			atomic_fetch_add_explicit(&log_dropped, 1, memory_order_relaxed);
			return;
		}
		p += w;
		n -= (size_t)w;
	}
}

/* true: this line may go out. */
static bool admit(struct sb_log_site *site, uint32_t *ret_suppressed)
{
	uint64_t now = sb_mono_ns(&sb_clock_system);

	*ret_suppressed = 0;
	if (now - site->window_start_ns > WINDOW_NS) {
		site->window_start_ns = now;
		site->in_window = 0;
		*ret_suppressed = site->suppressed;
		site->suppressed = 0;
	}
	if (site->in_window++ < SB_LOG_BURST)
		return true;
	site->suppressed++;
	return false;
}

void sb_log_emit(struct sb_log_site *site, enum sb_log_level level, const char *phrase, const struct sb_kv *kv, size_t n)
{
	char text[LINE_MAX_BYTES];
	struct sb_buf b = { .p = text, .cap = sizeof(text), .max = sizeof(text) };
	struct sb_kv all[24];
	uint32_t suppressed;

	if (level < log_min || !admit(site, &suppressed))
		return;
	n = SB_MIN(n, SB_LEN(all) - 1);
	memcpy(all, kv, n * sizeof(*kv));
	if (suppressed)
		all[n++] = KI("suppressed", suppressed);
	b.max -= 2; /* room for the end of a line that was cut */
	if (log_format == SB_LOG_PRETTY)
		format_pretty(&b, level, phrase, all, n);
	else
		format_json(&b, level, phrase, all, n);
	text[b.len++] = '\n';
	write_line(text, b.len);
}
