/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_NET_ADDRESS_H
#define SB_NET_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "broker/base/err.h"

struct address {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} u;
	socklen_t len;
};

/* "127.0.0.1:8480", "localhost:80", "[::1]:0", "unix:/path". No name is looked up. */
int address_parse(const char *text, struct address *ret, struct sb_err *err);

#endif
