/* SPDX-License-Identifier: Apache-2.0 */
#include "outlet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * O_NONBLOCK belongs to the open file, which a terminal or pipe shares with our parent and its other children: setting it
 * there would break them. So a pipe or terminal is opened once more for ourselves, a socket is sent to with MSG_DONTWAIT,
 * and a regular file does not block. Where opening again is not allowed, the descriptor is used as it is.
 */
#define MAX_REST (256u << 20)

void outlet_open(struct outlet *o, int fd)
{
	struct stat st;
	char path[32];
	int again;

	*o = (struct outlet){ .fd = fd, .rest = SB_BUF(MAX_REST) };
	pthread_mutex_init(&o->lock, NULL);
	if (fstat(fd, &st) < 0)
		return;
	o->is_socket = S_ISSOCK(st.st_mode);
	if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (again < 0)
		return;
	o->fd = again;
	o->own = true;
}

void outlet_close(struct outlet *o)
{
	if (o->own)
		close(o->fd);
	sb_buf_done(&o->rest);
	pthread_mutex_destroy(&o->lock);
}

/* Bytes written; 0: full; -1: errno. */
static ssize_t put(const struct outlet *o, const char *p, size_t n)
{
	ssize_t done;

	do
		done = o->is_socket ? send(o->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL) : write(o->fd, p, n);
	while (done < 0 && errno == EINTR);
	return done < 0 && errno == EAGAIN ? 0 : done;
}

static enum outlet_said finish(struct outlet *o)
{
	ssize_t n;

	while (o->rest.len) {
		n = put(o, o->rest.p, o->rest.len);
		if (n < 0) {
			sb_buf_clear(&o->rest);
			o->cut = true;
			return OUTLET_GONE;
		}
		if (n == 0)
			return OUTLET_PART;
		sb_buf_eat(&o->rest, (size_t)n);
	}
	return OUTLET_WRITTEN;
}

static enum outlet_said begin(struct outlet *o, struct sb_slice line)
{
	ssize_t n = put(o, line.p, line.n);

	if (n < 0)
		return OUTLET_GONE;
	if (n == 0)
		return OUTLET_FULL;
	if ((size_t)n == line.n)
		return OUTLET_WRITTEN;
	sb_buf_add(&o->rest, line.p + n, line.n - (size_t)n);
	return finish(o);
}

enum outlet_said outlet_write(struct outlet *o, struct sb_slice line)
{
	enum outlet_said said;

	pthread_mutex_lock(&o->lock);
	said = finish(o);
	if (said == OUTLET_WRITTEN)
		said = begin(o, line);
	else if (said == OUTLET_PART)
		said = OUTLET_FULL;
	pthread_mutex_unlock(&o->lock);
	return said;
}

enum outlet_said outlet_finish(struct outlet *o)
{
	enum outlet_said said;

	pthread_mutex_lock(&o->lock);
	said = finish(o);
	if (o->cut)
		said = OUTLET_GONE;
	o->cut = false;
	pthread_mutex_unlock(&o->lock);
	return said;
}
