/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_LOG_H
#define SB_BASE_LOG_H

#include <stdatomic.h>
#include <stdint.h>

#include "broker/base/err.h"
#include "broker/base/mem.h"

/*
 * Structured logs on standard error: a constant phrase and named fields.
 *   sb_log(SB_LOG_WARN, "target not opened, will retry", KS("target", name), KI("in_ms", delay), KERR(&err));
 * Pretty on a terminal, one JSON object a line elsewhere. Untrusted bytes are escaped and cut at 256 bytes a field. Each
 * call site is limited to SB_LOG_BURST lines in ten seconds; what it kept back is told in a "suppressed" field of its
 * next line. There is no log line per event. Libraries (base, rules, schemas, journal) return errors and never log.
 * Thread-safe. Standard error is written without blocking on a slow reader for more than a moment: lines that do not
 * fit are counted (sb_log_dropped).
 */
enum sb_log_level { SB_LOG_DEBUG, SB_LOG_INFO, SB_LOG_WARN, SB_LOG_ERROR };
enum sb_log_format { SB_LOG_AUTO, SB_LOG_PRETTY, SB_LOG_JSON };

enum sb_kv_kind { SB_KV_STR, SB_KV_INT, SB_KV_SLICE, SB_KV_ERR };
struct sb_kv {
	const char *key;
	enum sb_kv_kind kind;
	union {
		const char *s;
		int64_t i;
		struct sb_slice sl;
		const struct sb_err *err;
	} v;
};

#define KS(k, x) ((struct sb_kv){ (k), SB_KV_STR, { .s = (x) } })
#define KI(k, x) ((struct sb_kv){ (k), SB_KV_INT, { .i = (int64_t)(x) } })
#define KSL(k, x) ((struct sb_kv){ (k), SB_KV_SLICE, { .sl = (x) } })
#define KERR(e) ((struct sb_kv){ "error", SB_KV_ERR, { .err = (e) } })

#define SB_LOG_BURST 20

struct sb_log_site { /* one static per call site; two threads at once may let a line too many through */
	atomic_uint_fast64_t window_start_ns;
	atomic_uint in_window, suppressed;
};

void sb_log_setup(enum sb_log_format format, enum sb_log_level min);
void sb_log_emit(struct sb_log_site *site, enum sb_log_level level, const char *phrase, const struct sb_kv *kv, size_t n);
uint64_t sb_log_dropped(void);

/* With an allowance of its own: where many share a call site, none must be able to hide what another has to say. */
#define sb_log_on(site, level, phrase, ...)                                                              \
	do {                                                                                             \
		const struct sb_kv sb_log_kv_[] = { { 0 }, ##__VA_ARGS__ };                              \
		sb_log_emit((site), (level), "" phrase, sb_log_kv_ + 1, SB_LEN(sb_log_kv_) - 1);         \
	} while (0)

#define sb_log(level, phrase, ...)                                                                       \
	do {                                                                                             \
		static struct sb_log_site sb_log_site_;                                                  \
		sb_log_on(&sb_log_site_, (level), phrase, ##__VA_ARGS__);                                \
	} while (0)

#endif
