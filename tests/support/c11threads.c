/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C11 threads by means of POSIX threads, for builds with the thread sanitizer: it follows pthread_create and
 * pthread_mutex_lock, and knows nothing of threads and locks that a library makes through <threads.h>, as librdkafka does.
 * glibc implements the one on top of the other, in the same memory, so nothing but the names differs.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t) && sizeof(cnd_t) == sizeof(pthread_cond_t), "not glibc's");

const char *__tsan_default_suppressions(void);

/* Its own business: reference counts that the sanitizer cannot see into, because the library is not built with it. */
const char *__tsan_default_suppressions(void)
{
	return "race:librdkafka.so\nmutex:librdkafka.so\ndeadlock:librdkafka.so\nthread:librdkafka.so\n";
}

struct start {
	thrd_start_t fn;
	void *arg;
};

static int said(int rc)
{
	switch (rc) {
	case 0: return thrd_success;
	case ETIMEDOUT: return thrd_timedout;
	case EBUSY: return thrd_busy;
	case ENOMEM: return thrd_nomem;
	default: return thrd_error;
	}
}

static void *run(void *arg)
{
	struct start s = *(struct start *)arg;

	free(arg);
	return (void *)(intptr_t)s.fn(s.arg);
}

int thrd_create(thrd_t *t, thrd_start_t fn, void *arg)
{
	struct start *s = malloc(sizeof(*s));
	int rc;

	if (!s)
		return thrd_nomem;
	*s = (struct start){ fn, arg };
	rc = pthread_create(t, NULL, run, s);
	if (rc)
		free(s);
	return said(rc);
}

int thrd_join(thrd_t t, int *ret)
{
	void *r;
	int rc = pthread_join(t, &r);

	if (ret)
		*ret = (int)(intptr_t)r;
	return said(rc);
}

int mtx_init(mtx_t *m, int type)
{
	pthread_mutexattr_t a;
	int rc;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, type & mtx_recursive ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_NORMAL);
	rc = pthread_mutex_init((pthread_mutex_t *)m, &a);
	pthread_mutexattr_destroy(&a);
	return said(rc);
}

void mtx_destroy(mtx_t *m)
{
	pthread_mutex_destroy((pthread_mutex_t *)m);
}

int mtx_lock(mtx_t *m)
{
	return said(pthread_mutex_lock((pthread_mutex_t *)m));
}

int mtx_unlock(mtx_t *m)
{
	return said(pthread_mutex_unlock((pthread_mutex_t *)m));
}

int cnd_init(cnd_t *c)
{
	return said(pthread_cond_init((pthread_cond_t *)c, NULL));
}

void cnd_destroy(cnd_t *c)
{
	pthread_cond_destroy((pthread_cond_t *)c);
}

int cnd_signal(cnd_t *c)
{
	return said(pthread_cond_signal((pthread_cond_t *)c));
}

int cnd_broadcast(cnd_t *c)
{
	return said(pthread_cond_broadcast((pthread_cond_t *)c));
}

int cnd_wait(cnd_t *c, mtx_t *m)
{
	return said(pthread_cond_wait((pthread_cond_t *)c, (pthread_mutex_t *)m));
}

int cnd_timedwait(cnd_t *restrict c, mtx_t *restrict m, const struct timespec *restrict until)
{
	return said(pthread_cond_timedwait((pthread_cond_t *)c, (pthread_mutex_t *)m, until));
}
