/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *id, *name, *help;
} codes[SB_E_NCODES] = {
	[SB_OK] = { "E000", "ok", "No error." },
	[SB_E_INVALID] = { "E001", "invalid-value",
		"The value is of the right kind, but outside what is accepted. The message says what it may be." },
	[SB_E_SYNTAX] = { "E002", "syntax",
		"The text cannot be parsed as YAML or JSON. The place is where the parser stopped; the mistake is there or "
		"just before it." },
	[SB_E_KIND] = { "E003", "wrong-kind",
		"Another kind of value was expected, for example a number where a string stands. Quotes turn a number into "
		"a string." },
	[SB_E_UNKNOWN_KEY] = { "E004", "unknown-key",
		"Nobody knows this key. A misspelt key would otherwise be ignored in silence, so it is an error." },
	[SB_E_MISSING] = { "E005", "missing", "A required key or value is absent." },
	[SB_E_DUPLICATE] = { "E006", "duplicate", "The same key or name stands twice. Keep one." },
	[SB_E_UNRESOLVED] = { "E007", "unresolved-name",
		"A name that refers to nothing: a bus, source, target, file or variable that is not defined." },
	[SB_E_LIMIT] = { "E008", "limit", "A documented limit was exceeded." },
	[SB_E_IO] = { "E009", "io", "The operating system refused; its reason stands in the message." },
	[SB_E_CORRUPT] = { "E010", "corrupt", "Stored data is damaged." },
	[SB_E_VERSION] = { "E011", "version",
		"Stored data was written by a version that this program does not know. It is left untouched." },
	[SB_E_BUSY] = { "E012", "busy", "Another process holds it." },
	[SB_E_FULL] = { "E013", "full", "There is no room now." },
	[SB_E_UNREACHABLE] = { "E014", "unreachable", "No connection, or no such command." },
	[SB_E_REFUSED] = { "E015", "refused", "This is not allowed." },
	[SB_E_RESTART] = { "E016", "needs-restart",
		"The change is correct but cannot be made in a running daemon. Restart it to apply the change." },
	[SB_E_PATTERN] = { "E017", "bad-pattern",
		"The event pattern is not in the language. docs/rules.md lists every operator with examples." },
};

static const char *code_row(enum sb_code code, size_t column)
{
	SB_ASSERT((unsigned)code < SB_E_NCODES);
	return column == 0 ? codes[code].id : column == 1 ? codes[code].name : codes[code].help;
}

const char *sb_code_id(enum sb_code code)
{
	return code_row(code, 0);
}

const char *sb_code_name(enum sb_code code)
{
	return code_row(code, 1);
}

const char *sb_code_help(enum sb_code code)
{
	return code_row(code, 2);
}

static void fill(struct sb_err *err, enum sb_code code, const struct sb_loc *at, const char *fmt, va_list ap)
{
	*err = (struct sb_err){ .code = code };
	if (at)
		err->at = *at;
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
}

int sb_fail(struct sb_err *err, enum sb_code code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -1;
	va_start(ap, fmt);
	fill(err, code, NULL, fmt, ap);
	va_end(ap);
	return -1;
}

int sb_fail_at(struct sb_err *err, enum sb_code code, const struct sb_loc *at, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -1;
	va_start(ap, fmt);
	fill(err, code, at, fmt, ap);
	va_end(ap);
	return -1;
}

int sb_fail_errno(struct sb_err *err, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;
	size_t n;

	if (!err)
		return -1;
	va_start(ap, fmt);
	fill(err, SB_E_IO, NULL, fmt, ap);
	va_end(ap);
	n = strlen(err->msg);
	snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", strerror(saved));
	return -1;
}

int sb_hint(struct sb_err *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -1;
	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	return -1;
}

int sb_wrap(struct sb_err *err, const char *fmt, ...)
{
	char msg[sizeof(err->msg)];
	va_list ap;
	int n;

	if (!err)
		return -1;
	va_start(ap, fmt);
	n = vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n + 2 >= sizeof(msg))
		return -1; /* the context alone fills the message: keep the cause */
	snprintf(msg + n, sizeof(msg) - (size_t)n, ": %.*s", (int)(sizeof(msg) - (size_t)n - 3), err->msg);
	memcpy(err->msg, msg, sizeof(msg));
	return -1;
}

_Noreturn void sb_assert_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "signalbox: %s:%d: assertion failed: %s\n", file, line, what);
	abort();
}
