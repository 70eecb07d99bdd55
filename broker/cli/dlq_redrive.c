/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dlq redrive and purge. A redrive goes page by page, so that --rate and Ctrl-C hold between pages; a letter that is on its way
 * is marked, so that going on, or starting again, takes none twice.
 */
#include "broker/cli/dlq.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define PAGE_MAX 64 /* the daemon takes no more at once */
#define QUIET_NS (SB_NS_PER_S / 2)

/* ------------------------------------------------------------------------------------------------ redrive */

struct progress {
	uint64_t redriven, failed, began_ns, total;
	bool shown, terminal;
	char why[200];
};

static void show_progress(struct dlq *d, struct progress *p)
{
	uint64_t done = p->redriven + p->failed, took = sb_mono_ns(&sb_clock_system) - p->began_ns;

	if (!p->terminal || took < QUIET_NS)
		return;
	fprintf(d->cli->err, "\r%" PRIu64 " of %" PRIu64 " redriven, %" PRIu64 "/s ", done, SB_MAX(p->total, done),
		done * 1000 / (took / SB_NS_PER_MS));
	fflush(d->cli->err);
	p->shown = true;
}

/* Until the next page may go. */
static void pace(const struct dlq *d, const struct progress *p)
{
	uint64_t due = d->rate ? p->began_ns + (p->redriven + p->failed) * SB_NS_PER_S / d->rate : 0;
	uint64_t now = sb_mono_ns(&sb_clock_system);

	if (due > now)
		poll(NULL, 0, (int)SB_MIN((due - now) / SB_NS_PER_MS + 1, (uint64_t)3600000));
}

static int redrive_page(struct dlq *d, struct progress *p, uint64_t *after)
{
	uint64_t page = d->rate ? SB_MIN((uint64_t)PAGE_MAX, d->rate) : PAGE_MAX;
	json_t *body, *answer = NULL;
	const char *why;
	int r;

	if (d->limit)
		page = SB_MIN(page, d->limit - p->redriven - p->failed);
	body = dlq_body(d, page, *after);
	if (sb_cli_has(d->cli, "rematch"))
		json_object_set_new(body, "rematch", json_true());
	r = sb_control_call(&d->control, "POST", "/v1/dlq/redrive", body, true, &answer);
	p->redriven += sb_json_number_of(answer, "redriven");
	p->failed += sb_json_number_of(answer, "failed");
	*after = sb_json_number_of(answer, "next");
	why = json_string_value(json_array_get(json_object_get(answer, "errors"), 0));
	if (why)
		snprintf(p->why, sizeof(p->why), "%s", why);
	json_decref(answer);
	return r;
}

static int redrive_pages(struct dlq *d, struct progress *p)
{
	uint64_t after = d->after;
	int r;

	for (;;) {
		r = redrive_page(d, p, &after);
		show_progress(d, p);
		if (r || !after || (d->limit && p->redriven + p->failed >= d->limit))
			break;
		pace(d, p);
	}
	if (p->shown)
		fputc('\n', d->cli->err);
	return r;
}

/* What failed in the middle has happened in part, so that both are told. */
static void tell_json(struct dlq *d, const struct progress *p, int r)
{
	struct sb_buf text = SB_BUF(8192);
	struct sb_err err;

	sb_buf_addf(&text, "{\"v\":1,\"redriven\":%" PRIu64 ",\"failed\":%" PRIu64, p->redriven, p->failed);
	if (p->failed && !r) {
		sb_fail(&err, SB_E_REFUSED, "%s", p->why);
		sb_cli_note(d->cli, NULL, &err);
	}
	if (p->failed || r) {
		sb_buf_addc(&text, ',');
		sb_cli_add_error(d->cli, &text);
	}
	fprintf(sb_cli_answer(d->cli), "%.*s}\n", SB_SLICE_ARG(sb_buf_slice(&text)));
	sb_buf_done(&text);
}

static int tell(struct dlq *d, const struct progress *p, int r)
{
	struct sb_cli *cli = d->cli;

	if (r && !p->redriven && !p->failed)
		return r; /* explained already, and nothing happened */
	if (r == 0 && d->id && !p->redriven && !p->failed)
		return dlq_no_such_letter(d);
	if (sb_cli_format_is(cli, "json"))
		tell_json(d, p, r);
	else if (!cli->quiet)
		fprintf(cli->out, "%s %" PRIu64 " letter%s redriven\n", r || p->failed ? "FAILED" : "ok", p->redriven,
			p->redriven == 1 ? "" : "s");
	if (p->failed)
		fprintf(cli->err, "%" PRIu64 " could not be redriven and stay%s dead: %s\n", p->failed,
			p->failed == 1 ? "s" : "", p->why);
	return r ? r : p->failed ? SB_EXIT_PARTIAL : SB_EXIT_OK;
}

int dlq_redrive(struct dlq *d)
{
	struct progress p = { .began_ns = sb_mono_ns(&sb_clock_system) };
	int r = 0;

	if (sb_cli_has(d->cli, "dry-run"))
		return dlq_count(d);
	p.terminal = !d->cli->quiet && fileno(d->cli->err) >= 0 && isatty(fileno(d->cli->err));
	if (p.terminal)
		r = dlq_total(d, &p.total);
	if (d->limit)
		p.total = SB_MIN(p.total, d->limit);
	return r ? r : tell(d, &p, redrive_pages(d, &p));
}

/* ------------------------------------------------------------------------------------------------ purge */

/* 0, or the code to end with. */
static int confirm(struct dlq *d)
{
	char answer[16] = "";
	struct sb_err err;
	uint64_t n;
	int r;

	if (sb_cli_has(d->cli, "yes"))
		return 0;
	if (!isatty(STDIN_FILENO))
		return sb_cli_usage(d->cli, "purge deletes for ever: --yes says that this is meant, --dry-run counts");
	r = dlq_total(d, &n);
	if (r)
		return r;
	fprintf(d->cli->err,
		"Delete %" PRIu64 " dead letter%s for ever? Type yes: ", d->limit ? SB_MIN(n, d->limit) : n,
		n == 1 ? "" : "s");
	fflush(d->cli->err);
	if (fgets(answer, sizeof(answer), stdin) && strcmp(answer, "yes\n") == 0)
		return 0;
	sb_fail(&err, SB_E_REFUSED, "not confirmed, nothing is deleted");
	return sb_cli_error(d->cli, SB_EXIT_NO, &err);
}

/* The daemon takes a bounded number of them a call when there is a limit, and all of them when there is none. */
static int purge_all(struct dlq *d, uint64_t *ret_n)
{
	uint64_t n = 0;
	int r;

	*ret_n = 0;
	do {
		json_t *answer = NULL;

		r = sb_control_call(&d->control, "POST", "/v1/dlq/purge",
			dlq_body(d, d->limit ? d->limit - *ret_n : 0, 0), true, &answer);
		n = sb_json_number_of(answer, "purged");
		*ret_n += n;
		json_decref(answer);
	} while (r == 0 && n && *ret_n < d->limit);
	return r;
}

int dlq_purge(struct dlq *d)
{
	uint64_t n;
	int r;

	if (sb_cli_has(d->cli, "dry-run"))
		return dlq_count(d);
	r = confirm(d);
	if (r == 0)
		r = purge_all(d, &n);
	if (r)
		return r;
	if (n == 0 && d->id)
		return dlq_no_such_letter(d);
	if (sb_cli_format_is(d->cli, "json"))
		fprintf(sb_cli_answer(d->cli), "{\"v\":1,\"purged\":%" PRIu64 "}\n", n);
	else if (!d->cli->quiet)
		fprintf(d->cli->out, "ok %" PRIu64 " letter%s deleted\n", n, n == 1 ? "" : "s");
	return SB_EXIT_OK;
}
