/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/net/http.h"

#include <stdlib.h>

#include "broker/base/map.h"

struct route {
	sb_http_handler *call;
	void *arg;
	char path[];
};

struct sb_http_routes {
	struct sb_map map;
};

struct sb_http_routes *sb_http_routes_new(void)
{
	return sb_xcalloc(sizeof(struct sb_http_routes));
}

void sb_http_routes_free(struct sb_http_routes *r)
{
	if (!r)
		return;
	sb_map_each(&r->map, it)
		free(it->value);
	sb_map_done(&r->map);
	free(r);
}

int sb_http_route_add(struct sb_http_routes *r, const char *path, sb_http_handler *h, void *arg, struct sb_err *err)
{
	size_t n = strlen(path);
	struct route *x;

	if (path[0] != '/')
		return sb_fail(err, SB_E_INVALID, "the path '%s' does not begin with '/'", path);
	if (sb_map_get(&r->map, sb_slice(path, n)))
		return sb_fail(err, SB_E_DUPLICATE, "the path '%s' is taken", path);
	x = sb_xmalloc(sizeof(*x) + n + 1);
	*x = (struct route){ h, arg };
	memcpy(x->path, path, n + 1);
	sb_map_put(&r->map, sb_slice(x->path, n), x);
	return 0;
}

void sb_http_route_del(struct sb_http_routes *r, const char *path)
{
	free(sb_map_del(&r->map, sb_slice_str(path)));
}

bool sb_http_route_call(struct sb_http_routes *r, struct sb_http_req *req)
{
	const struct route *x = sb_map_get(&r->map, req->path);

	if (!x)
		return false;
	x->call(req, x->arg);
	return true;
}
