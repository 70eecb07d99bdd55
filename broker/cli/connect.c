/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/connect.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/json.h"
#include "connectors/redis/probe.h"

/*
 * A subject belongs to the thread that asks it, so nothing is locked: threads take the next one by a counter, and what they have found
 * is read when all have ended.
 */
#define THREADS_MOST 16
#define FINDINGS_MOST 4096 /* of one subject: a connector says a few lines, and one for each topic or stream */

/* ------------------------------------------------------------------------------------------------ places */

/* "topics[2]" in the connector's map; the map itself when there is no such key. */
static const struct sb_node *node_of(const struct sb_node *map, const char *key)
{
	const char *bracket = strchr(key, '[');
	const struct sb_node *n;
	char name[48];
	size_t i;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(key, "["), key);
	n = sb_node_get(map, name);
	if (!n)
		return map;
	i = bracket ? strtoul(bracket + 1, NULL, 10) : 0;
	return bracket && n->kind == SB_NODE_LIST && i < n->n ? n->item[i] : n;
}

static void place(const struct sb_connect_subject *s, const char *key, struct sb_err *err)
{
	const struct sb_node *n = s->at ? node_of(s->at, key) : NULL;

	if (!n)
		return;
	err->at = n == s->at && n->key ? n->key->at : n->at;
	sb_node_path(n, err->path, sizeof(err->path));
}

static void on_found(struct sb_probe *p, enum sb_found found, const char *key, const struct sb_err *what)
{
	struct sb_connect_subject *s = SB_CONTAINER(p, struct sb_connect_subject, probe);
	struct sb_connect_finding *f;

	if (s->n == FINDINGS_MOST)
		return;
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 4;
		s->finding = sb_xrealloc(s->finding, s->cap * sizeof(*s->finding));
	}
	f = &s->finding[s->n++];
	*f = (struct sb_connect_finding){ .found = found, .what = *what };
	snprintf(f->key, sizeof(f->key), "%s", key ? key : "");
	if (found != SB_FOUND_GOOD)
		place(s, f->key, &f->what);
}

/* ------------------------------------------------------------------------------------------------ who is asked */

static const struct sb_node *own_map(const struct sb_config *config, const char *section, const char *name, const char *type)
{
	const struct sb_node *n = sb_node_get(config->doc.root, section);

	n = n ? sb_node_get(n, name) : NULL;
	return n ? sb_node_get(n, type) : NULL;
}

static struct sb_connect_subject *add(struct sb_connect *c, const char *kind, const char *name, const char *type)
{
	struct sb_connect_subject *s = &c->subject[c->n++];

	*s = (struct sb_connect_subject){ .probe = { .name = name, .found = on_found }, .kind = kind, .type = type };
	return s;
}

static void ask_metrics(const void *conf, struct sb_probe *p)
{
	const struct sb_metrics_conf *m = conf;
	const struct rds_settings at = { .url = m->url, .user = m->user, .password = m->password, .connect_timeout = m->connect_timeout_ms };
	const struct rds_question q = { .at = &at };

	rds_probe(p, &q);
}

static void gather(struct sb_connect *c, const struct sb_config *config)
{
	struct sb_connect_subject *s;

	c->subject = sb_xcalloc((config->n_sources + config->n_targets + 1) * sizeof(*c->subject));
	for (size_t i = 0; i < config->n_sources; i++) {
		const struct sb_source_conf *one = &config->source[i];

		if (!one->connector->source->probe)
			continue;
		s = add(c, "source", one->name, one->connector->type);
		s->ask = one->connector->source->probe;
		s->conf = one->conf;
		s->at = own_map(config, "sources", one->name, s->type);
	}
	for (size_t i = 0; i < config->n_targets; i++) {
		const struct sb_target_conf *one = &config->target[i];

		if (!one->connector->target->probe)
			continue;
		s = add(c, "target", one->name, one->connector->type);
		s->ask = one->connector->target->probe;
		s->conf = one->conf;
		s->at = own_map(config, "targets", one->name, s->type);
	}
	if (!config->metrics.url)
		return;
	s = add(c, "metrics", "redis", "redis");
	s->ask = ask_metrics;
	s->conf = &config->metrics;
	s->at = sb_node_get(sb_node_get(config->doc.root, "metrics"), "redis");
}

/* ------------------------------------------------------------------------------------------------ asking */

struct crew {
	struct sb_connect *c;
	atomic_size_t next;
};

static void *work(void *arg)
{
	struct crew *crew = arg;
	size_t i;

	while ((i = atomic_fetch_add_explicit(&crew->next, 1, memory_order_relaxed)) < crew->c->n) {
		struct sb_connect_subject *s = &crew->c->subject[i];

		s->probe.deadline_ns = sb_mono_ns(&sb_clock_system) + crew->c->limit_ms * SB_NS_PER_MS;
		s->ask(s->conf, &s->probe);
	}
	return NULL;
}

static void tell(const struct sb_connect *c, struct sb_diags *diags)
{
	for (size_t i = 0; i < c->n; i++)
		for (size_t k = 0; k < c->subject[i].n; k++) {
			const struct sb_connect_finding *f = &c->subject[i].finding[k];

			if (f->found == SB_FOUND_WRONG)
				sb_diag_error(diags, &f->what);
			else if (f->found == SB_FOUND_DOUBTFUL)
				sb_diag_warning(diags, &f->what);
		}
}

void sb_connect_run(struct sb_connect *c, const struct sb_config *config, uint64_t limit_ms, struct sb_diags *diags)
{
	struct crew crew = { .c = c };
	pthread_t thread[THREADS_MOST];
	size_t n = 0;

	*c = (struct sb_connect){ .limit_ms = limit_ms };
	gather(c, config);
	while (n < THREADS_MOST && n < c->n && pthread_create(&thread[n], NULL, work, &crew) == 0)
		n++;
	if (n == 0)
		work(&crew); /* no thread is to be had: then one after the other */
	while (n)
		pthread_join(thread[--n], NULL);
	tell(c, diags);
}

void sb_connect_done(struct sb_connect *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->subject[i].finding);
	free(c->subject);
}

/* ------------------------------------------------------------------------------------------------ telling */

static const char *found_word(enum sb_found f)
{
	switch (f) {
	case SB_FOUND_GOOD:     return "ok";
	case SB_FOUND_DOUBTFUL: return "doubtful";
	case SB_FOUND_WRONG:    return "failed";
	}
	abort(); /* not an enum value: memory is corrupt */
}

void sb_connect_text(const struct sb_connect *c, struct sb_buf *out)
{
	int width = 0;

	for (size_t i = 0; i < c->n; i++)
		width = SB_MAX(width, (int)(strlen(c->subject[i].kind) + 1 + strlen(c->subject[i].probe.name)));
	for (size_t i = 0; i < c->n; i++) {
		const struct sb_connect_subject *s = &c->subject[i];

		for (size_t k = 0; k < s->n; k++)
			sb_buf_addf(out, "  %s %-*s  %-8s  %s\n", s->kind, width - (int)strlen(s->kind) - 1, s->probe.name,
				found_word(s->finding[k].found), s->finding[k].what.msg);
	}
	if (c->n == 0)
		sb_buf_adds(out, "  nothing here connects to anything\n");
}

void sb_connect_json(const struct sb_connect *c, struct sb_buf *out)
{
	const char *comma = "";

	sb_buf_addc(out, '[');
	for (size_t i = 0; i < c->n; i++) {
		const struct sb_connect_subject *s = &c->subject[i];

		for (size_t k = 0; k < s->n; k++) {
			sb_buf_addf(out, "%s{\"kind\":\"%s\",\"name\":\"%s\",\"connector\":\"%s\",\"found\":\"%s\",\"message\":", comma, s->kind,
				s->probe.name, s->type, found_word(s->finding[k].found));
			sb_json_add_string(out, sb_slice_str(s->finding[k].what.msg));
			sb_buf_addc(out, '}');
			comma = ",";
		}
	}
	sb_buf_addc(out, ']');
}
