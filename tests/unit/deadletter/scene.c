/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

#include <stdlib.h>
#include <unistd.h>

#include "connectors/connector.h"


static char dir[64];
char path[96];
const struct sb_deadletters_conf conf = { .keep_ms = 14 * DAY, .max_bytes = 1 << 20 };
const char event_text[] = "{\"version\":\"0\",\"id\":\"e-1\",\"source\":\"com.shop\",\"detail-type\":\"OrderPlaced\","
	"\"account\":\"111122223333\",\"region\":\"here\",\"detail\":{\"n\":1.50},\n\"meta\":{}}";

int scene(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/sb-deadletter-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/deadletters.db", dir);
	return 0;
}

int clean(void **state)
{
	static const char *const endings[] = { "", "-wal", "-shm" };
	char name[128];

	(void)state;
	for (size_t i = 0; i < SB_LEN(endings); i++) {
		snprintf(name, sizeof(name), "%s%s", path, endings[i]);
		unlink(name);
	}
	return rmdir(dir);
}

struct sb_deadletters *open_with(bool read_only, const struct sb_deadletters_conf *c)
{
	struct sb_deadletters *d = NULL;
	struct sb_err err;

	if (sb_deadletters_open(path, read_only, c, &d, &err) < 0)
		fail_msg("open: %s", err.msg);
	return d;
}

struct sb_deadletters *open_table(void)
{
	return open_with(false, &conf);
}

struct sb_dead_record record(const char *id)
{
	return (struct sb_dead_record){
		.dno = 7, .route = 3, .id = sb_slice_str(id), .event_id = SB_SLICE("e-1"), .bus = SB_SLICE("default"),
		.origin = SB_SLICE("shop"), .rule = SB_SLICE("big-orders"), .target = SB_SLICE("invoice"), .generation = 2,
		.reason = SB_R_ERROR_FROM_TARGET, .exhausted = 1, .attempts = 5, .received_ms = NOW - 5000,
		.first_attempt_ms = NOW - 4000, .last_attempt_ms = NOW - 1000, .dead_ms = NOW,
		.message = SB_SLICE("no \"stock\""), .first_message = SB_SLICE("busy"), .tail = SB_SLICE("Traceback\n"),
		.event = sb_slice_str(event_text), .input = SB_SLICE("{\"order\":1}"),
	};
}

void store(struct sb_deadletters *d, const struct sb_dead_record *r, uint64_t seq)
{
	struct sb_err err;

	if (sb_deadletters_store(d, r, &seq, 1, &err) < 0)
		fail_msg("store: %s", err.msg);
}

void store_id(struct sb_deadletters *d, const char *id, uint64_t seq)
{
	struct sb_dead_record r = record(id);

	store(d, &r, seq);
}

bool claim(struct sb_deadletters *d, const char *id)
{
	struct sb_err err;
	bool got;

	assert_int_equal(sb_deadletters_claim(d, sb_slice_str(id), &got, &err), 0);
	return got;
}

/* Ids that a filter finds, "a b c". */
int add_id(void *arg, const struct sb_letter *l)
{
	struct sb_buf *out = arg;

	if (out->len)
		sb_buf_addc(out, ' ');
	return sb_buf_add_slice(out, l->rec.id);
}

void assert_found(struct sb_deadletters *d, struct sb_letter_filter f, const char *want)
{
	struct sb_buf out = SB_BUF(4096);
	struct sb_err err;

	assert_int_equal(sb_deadletters_each(d, &f, add_id, &out, &err), 0);
	if (!sb_slice_eq_str(sb_buf_slice(&out), want))
		fail_msg("wanted '%s', found '%.*s'", want, (int)out.len, out.p ? out.p : "");
	sb_buf_done(&out);
}

void assert_all(struct sb_deadletters *d, const char *want)
{
	assert_found(d, (struct sb_letter_filter){ .redriving_too = true }, want);
}

/* The totals, which triggers keep, against a recount, which they do not see. */
void assert_totals(struct sb_deadletters *d, uint64_t letters, uint64_t redriving)
{
	struct sb_deadletters_stats stats;
	struct sb_letter_count *count;
	uint64_t n_sum = 0, bytes_sum = 0;
	struct sb_err err;
	size_t n;

	sb_deadletters_get_stats(d, &stats);
	assert_int_equal(sb_deadletters_count(d, &(struct sb_letter_filter){ .redriving_too = true }, &count, &n, &err), 0);
	for (size_t i = 0; i < n; i++) {
		n_sum += count[i].n;
		bytes_sum += count[i].bytes;
	}
	free(count);
	assert_int_equal(stats.letters, letters);
	assert_int_equal(stats.redriving, redriving);
	assert_int_equal(stats.letters, n_sum);
	assert_int_equal(stats.bytes, bytes_sum);
}

uint64_t last_seq(struct sb_deadletters *d)
{
	struct sb_err err;
	uint64_t seq;

	assert_int_equal(sb_deadletters_last_seq(d, &seq, &err), 0);
	return seq;
}


void copy_slice(char *to, size_t size, struct sb_slice s)
{
	snprintf(to, size, "%.*s", SB_SLICE_ARG(s));
}

json_t *as_json(const struct sb_letter *l)
{
	struct sb_buf out = SB_BUF(1 << 20);
	json_error_t error;
	json_t *json;

	sb_buf_addc(&out, '{');
	assert_int_equal(sb_letter_json(l, true, &out), 0);
	sb_buf_addc(&out, '}');
	json = json_loadb(out.p, out.len, JSON_REJECT_DUPLICATES, &error);
	if (!json)
		fail_msg("%s in %.*s", error.text, (int)out.len, out.p);
	assert_null(memchr(out.p, '\n', out.len));
	sb_buf_done(&out);
	return json;
}

static int copy_letter(void *arg, const struct sb_letter *l)
{
	struct copy *c = arg;

	c->lives = l->lives;
	c->attempts = l->rec.attempts;
	c->redriving = l->redriving;
	c->dead_ms = l->rec.dead_ms;
	copy_slice(c->history, sizeof(c->history), l->history);
	copy_slice(c->message, sizeof(c->message), l->rec.message);
	copy_slice(c->tail, sizeof(c->tail), l->rec.tail);
	copy_slice(c->event, sizeof(c->event), l->rec.event);
	copy_slice(c->input, sizeof(c->input), l->rec.input);
	c->json = as_json(l);
	return 1;
}

void get(struct sb_deadletters *d, const char *id, struct copy *ret)
{
	struct sb_letter_filter f = { .id = id, .redriving_too = true };
	struct sb_err err;

	if (sb_deadletters_each(d, &f, copy_letter, ret, &err) != 1)
		fail_msg("there is no letter %s", id);
}
