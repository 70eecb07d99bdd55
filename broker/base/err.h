/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_ERR_H
#define SB_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

/*
 * Errors come in three kinds that never mix:
 *   setup, configuration, admin: int 0/-1 and a last parameter `struct sb_err *`;
 *   run-time outcomes of a delivery: closed enums (connectors/connector.h);
 *   our own bugs: SB_ASSERT, on in release, which prints and aborts.
 *
 * Library code fills an sb_err and returns; it is logged once, at the edge.
 */

/* Every code is stable: its id ("E007") is printed, documented and never reused. See err.c for the table. */
enum sb_code {
	SB_OK = 0,
	SB_E_INVALID,     /* a value is of the right kind but not acceptable */
	SB_E_SYNTAX,      /* text that cannot be parsed */
	SB_E_KIND,        /* a value of another kind was expected */
	SB_E_UNKNOWN_KEY, /* a key that nobody knows */
	SB_E_MISSING,     /* a required key or value is absent */
	SB_E_DUPLICATE,   /* the same name or key twice */
	SB_E_UNRESOLVED,  /* a name that refers to nothing */
	SB_E_LIMIT,       /* a documented limit was exceeded */
	SB_E_IO,          /* the operating system refused; errno is in the message */
	SB_E_CORRUPT,     /* stored data is damaged */
	SB_E_VERSION,     /* stored data is of a version that is not ours to read */
	SB_E_BUSY,        /* somebody else holds it */
	SB_E_FULL,        /* no room now, later perhaps */
	SB_E_UNREACHABLE, /* no connection, no such command */
	SB_E_REFUSED,     /* not allowed */
	SB_E_RESTART,     /* the change is right but needs a restart */
	SB_E_PATTERN,     /* an event pattern that the language does not accept */
	SB_E_NCODES
};

/* A place in the user's file, not in ours. Lines and columns count from 1; 0: unknown. Columns count characters. */
struct sb_loc {
	const char *file; /* lives as long as the document it came from; NULL: no file */
	unsigned line, col;
	unsigned len; /* characters to underline, 0: one */
};

/* Owned by the caller, never allocates, may be copied by value. */
struct sb_err {
	enum sb_code code;
	struct sb_loc at;
	char path[96];  /* rules[0].pattern.detail.amount[0] */
	char msg[288];  /* what was found */
	char hint[192]; /* what would be right; may be empty */
};

#define SB_PRINTF(a, b) __attribute__((format(printf, a, b)))

/* Fill `err` (may be NULL) and return -1, so that `return sb_fail(err, ...)` reads as one statement. */
int sb_fail(struct sb_err *err, enum sb_code code, const char *fmt, ...) SB_PRINTF(3, 4);
int sb_fail_at(struct sb_err *err, enum sb_code code, const struct sb_loc *at, const char *fmt, ...)
	SB_PRINTF(4, 5);
/* As sb_fail, with ": strerror(errno)" behind the message. */
int sb_fail_errno(struct sb_err *err, const char *fmt, ...) SB_PRINTF(2, 3);
/* Say what would be right. Returns -1 too, to end a statement. */
int sb_hint(struct sb_err *err, const char *fmt, ...) SB_PRINTF(2, 3);
/* Put "context: " before the message, on the way up. Returns -1. */
int sb_wrap(struct sb_err *err, const char *fmt, ...) SB_PRINTF(2, 3);

const char *sb_code_id(enum sb_code code);   /* "E007" */
const char *sb_code_name(enum sb_code code); /* "unresolved-name" */
const char *sb_code_help(enum sb_code code); /* a paragraph for `signalbox help E007` */

_Noreturn void sb_assert_failed(const char *what, const char *file, int line);
/* A peer can never reach an assert: it guards against our own bugs. On in release. */
#define SB_ASSERT(x) ((x) ? (void)0 : sb_assert_failed(#x, __FILE__, __LINE__))

#endif
