/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/base/fault.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_POINTS 16

enum action { ACT_KILL, ACT_STOP, ACT_ERR };

struct point {
	char name[64];
	unsigned hit;
	enum action action;
	atomic_uint seen;
};

static struct point points[MAX_POINTS];
static atomic_uint n_points;

static int parse_action(const char *s, enum action *ret)
{
	static const char *const names[] = { [ACT_KILL] = "kill", [ACT_STOP] = "stop", [ACT_ERR] = "err" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(s, names[i]) == 0) {
			*ret = (enum action)i;
			return 0;
		}
	return -1;
}

static int parse_point(const char *s, size_t n, struct point *p)
{
	char text[96], *hit, *action, *end;

	if (n >= sizeof(text))
		return -1;
	memcpy(text, s, n);
	text[n] = '\0';
	hit = strchr(text, ':');
	action = hit ? strchr(hit + 1, ':') : NULL;
	if (!action || (size_t)(hit - text) >= sizeof(p->name))
		return -1;
	*hit++ = '\0';
	*action++ = '\0';
	memcpy(p->name, text, strlen(text) + 1);
	p->hit = (unsigned)strtoul(hit, &end, 10);
	atomic_store(&p->seen, 0);
	return *end ? -1 : parse_action(action, &p->action);
}

int sb_fault_arm(const char *spec)
{
	unsigned n = 0;

	atomic_store(&n_points, 0);
	while (spec && *spec) {
		size_t len = strcspn(spec, ",");

		if (n == MAX_POINTS || parse_point(spec, len, &points[n]) < 0)
			return -1;
		n++;
		spec += len + (spec[len] == ',');
	}
	atomic_store(&n_points, n);
	return 0;
}

#ifdef SB_FAULTS
static pthread_once_t env_once = PTHREAD_ONCE_INIT;

static void arm_from_env(void)
{
	if (sb_fault_arm(getenv("SB_FAULT")) < 0)
		fprintf(stderr, "signalbox: SB_FAULT is malformed, ignored\n");
}

static bool act(const struct point *p)
{
	switch (p->action) {
	case ACT_KILL:
		kill(getpid(), SIGKILL);
		pause();
		break;
	case ACT_STOP:
		kill(getpid(), SIGSTOP);
		break;
	case ACT_ERR:
		return true;
	}
	return false;
}

bool sb_fault(const char *name)
{
	unsigned n;

	if (atomic_load_explicit(&n_points, memory_order_relaxed) == 0)
		pthread_once(&env_once, arm_from_env);
	n = atomic_load(&n_points);
	for (unsigned i = 0; i < n; i++)
		if (strcmp(points[i].name, name) == 0) {
			unsigned seen = atomic_fetch_add(&points[i].seen, 1) + 1;

			if ((points[i].hit == 0 || points[i].hit == seen) && act(&points[i]))
				return true;
		}
	return false;
}
#endif
