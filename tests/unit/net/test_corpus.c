/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"

/*
 * What is refused, and with which status, in whatever two pieces it arrives. The limits are small so that the rows can be.
 * Rows may hold several requests: what follows a refusal must never be answered.
 */
static const struct sb_http_conf small = {
	.max_line = 80, .max_header_bytes = 240, .max_headers = 6, .max_body = 48, .max_connections = 16, .max_per_address = 16,
	.max_pipelined = 16, .header_ms = 5000, .body_ms = 5000, .idle_ms = 5000, .write_ms = 5000, .max_buffered = 1 << 20,
};

#define GET "GET /a HTTP/1.1\r\n"
#define G GET "Host: x\r\n"
#define P "POST /p HTTP/1.1\r\nHost: x\r\n"
#define TE P "Transfer-Encoding: chunked\r\n"
#define NEXT "GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
#define A16 "aaaaaaaaaaaaaaaa"
#define A64 A16 A16 A16 A16

struct row {
	const char *what, *text;
	size_t n;
	const char *want, *echo; /* statuses; what an answer must hold */
};
#define ROW(name, bytes, ...) { .what = name, .text = bytes, .n = sizeof(bytes) - 1, .want = __VA_ARGS__ }

static const struct row rows[] = {
	/* what is right */
	ROW("a GET", G "\r\n", "202", .echo = "GET /a "),
	ROW("two in a row", G "\r\n" NEXT, "202 202", .echo = "GET /next "),
	ROW("a body by length, and another request", P "Content-Length: 5\r\n\r\nhello" NEXT, "202 202", .echo = "POST /p hello"),
	ROW("length 0", P "Content-Length: 0\r\n\r\n" NEXT, "202 202", .echo = "GET /next"),
	ROW("leading zeros in the length", P "Content-Length: 005\r\n\r\nhello", "202", .echo = "POST /p hello"),
	ROW("no length: no body", P "\r\n" NEXT, "202 202", .echo = "GET /next"),
	ROW("one chunk", TE "\r\n5\r\nhello\r\n0\r\n\r\n" NEXT, "202 202", .echo = "POST /p hello"),
	ROW("three chunks", TE "\r\n2\r\nhe\r\n1\r\nl\r\n2\r\nlo\r\n0\r\n\r\n" NEXT, "202 202", .echo = "POST /p hello"),
	ROW("hexadecimal in both cases", TE "\r\nA\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "202", .echo = "01234567890123456789"),
	ROW("zeros before a chunk size", TE "\r\n0005\r\nhello\r\n000\r\n\r\n" NEXT, "202 202", .echo = "POST /p hello"),
	ROW("a chunk extension is overlooked", TE "\r\n5;a=b\r\nhello\r\n0;c\r\n\r\n" NEXT, "202 202", .echo = "POST /p hello"),
	ROW("trailers are dropped", TE "\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n" NEXT, "202 202", .echo = "POST /p hello"),
	ROW("an empty chunked body", TE "\r\n0\r\n\r\n" NEXT, "202 202", .echo = "GET /next"),
	ROW("line ends as data", TE "\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n" NEXT, "202 202", .echo = "POST /p \r\n\r\n"),
	ROW("a query", "GET /a?b=c&d HTTP/1.1\r\nHost: x\r\n\r\n", "202", .echo = "GET /a "),
	ROW("percent-encoding stays as it is", "GET /a%20b HTTP/1.1\r\nHost: x\r\n\r\n", "202", .echo = "GET /a%20b "),
	ROW("white space around a value", GET "Host: \t x \t\r\n\r\n", "202"),
	ROW("no white space before a value", GET "Host:x\r\n\r\n", "202"),
	ROW("an empty value", G "X-Empty:\r\n\r\n", "202"),
	ROW("bytes above 127 in a value", G "X-Name: caf\xc3\xa9\r\n\r\n", "202"),
	ROW("a tab in a value", G "X: a\tb\r\n\r\n", "202"),
	ROW("names in any case", GET "HOST: x\r\ncOnTeNt-LeNgTh: 2\r\n\r\nhi", "202", .echo = "GET /a hi"),
	ROW("odd but legal name", G "!#$%&'*+-.^_`|~1a: x\r\n\r\n", "202"),
	ROW("one empty line before a request", "\r\n" G "\r\n", "202"),
	ROW("one empty line between requests", P "Content-Length: 2\r\n\r\nhi\r\n" NEXT, "202 202", .echo = "GET /next"),
	ROW("a host with port", GET "Host: example.com:8080\r\n\r\n", "202"),
	ROW("an IPv6 host", GET "Host: [::1]:8080\r\n\r\n", "202"),
	ROW("HTTP/1.0 needs no Host and closes", "GET /a HTTP/1.0\r\n\r\n" NEXT, "202"),
	ROW("close means close", G "Connection: close\r\n\r\n" NEXT, "202"),
	ROW("close within a list", G "Connection: foo, Close\r\n\r\n" NEXT, "202"),
	ROW("keep-alive is the default", G "Connection: keep-alive\r\n\r\n" NEXT, "202 202"),
	ROW("closed is not close", G "Connection: closed\r\n\r\n" NEXT, "202 202"),
	ROW("an offer to upgrade is not taken", G "Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" NEXT, "202 202", .echo = "GET /next"),
	ROW("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "202", .echo = "OPTIONS * "),
	ROW("PUT", "PUT /a HTTP/1.1\r\nHost: x\r\n\r\n", "202"),
	ROW("PATCH", "PATCH /a HTTP/1.1\r\nHost: x\r\n\r\n", "202"),
	ROW("DELETE", "DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n", "202"),
	ROW("HEAD has no body in its answer", "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n" NEXT, "202 202", .echo = "\r\n\r\nHTTP/1.1"),
	ROW("chunked in any case", P "transfer-encoding: CHUNKED\r\n\r\n1\r\nx\r\n0\r\n\r\n", "202", .echo = "POST /p x"),

	/* cut off: nobody is answered */
	ROW("half a request line", "GET /a HT", ""),
	ROW("half a head", G, ""),
	ROW("half a body", P "Content-Length: 5\r\n\r\nhel", ""),
	ROW("half a chunk", TE "\r\n5\r\nhe", ""),
	ROW("no last chunk", TE "\r\n2\r\nhe\r\n", ""),
	ROW("no end of the trailer", TE "\r\n2\r\nhe\r\n0\r\n", ""),
	ROW("nothing at all", "", ""),
	ROW("one whole, one half", G "\r\n" GET, "202"),

	/* line ends */
	ROW("bare LF everywhere", "GET /a HTTP/1.1\nHost: x\n\n" NEXT, "400"),
	ROW("bare LF behind the request line", "GET /a HTTP/1.1\nHost: x\r\n\r\n" NEXT, "400"),
	ROW("bare LF behind a header", GET "Host: x\n\r\n" NEXT, "400"),
	ROW("bare LF at the end of the head", G "\n" NEXT, "400"),
	ROW("bare LF before the request", "\n" G "\r\n", "400"),
	ROW("bare CR in the request line", "GET /a\rHTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("bare CR between headers", GET "Host: x\rX: y\r\n\r\n", "400"),
	ROW("CR CR LF", GET "Host: x\r\r\n\r\n" NEXT, "400"),
	ROW("two empty lines before the request", "\r\n\r\n" G "\r\n", "400"),
	ROW("bare LF behind a chunk size", TE "\r\n2\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("bare LF behind a chunk", TE "\r\n2\r\nhi\n0\r\n\r\n" NEXT, "400"),
	ROW("bare LF behind the last chunk", TE "\r\n2\r\nhi\r\n0\n\r\n" NEXT, "400"),
	ROW("bare LF behind a trailer", TE "\r\n2\r\nhi\r\n0\r\nX: y\n\r\n" NEXT, "400"),
	ROW("bare LF at the end of the trailer", TE "\r\n2\r\nhi\r\n0\r\n\n" NEXT, "400"),

	/* request line */
	ROW("HTTP/0.9", "GET /a\r\n" NEXT, "400"),
	ROW("two spaces", "GET  /a HTTP/1.1\r\nHost: x\r\n\r\n" NEXT, "400"),
	ROW("a space behind the version", "GET /a HTTP/1.1 \r\nHost: x\r\n\r\n" NEXT, "400"),
	ROW("a space before the method", " GET /a HTTP/1.1\r\nHost: x\r\n\r\n" NEXT, "400"),
	ROW("a tab instead of a space", "GET\t/a HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("a space in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("no target", "GET HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("absolute form", "GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("authority form", "GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("a target without slash", "GET a HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("* with GET", "GET * HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("a fragment", "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("NUL in the target", "GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("a raw byte above 127 in the target", "GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("a method that is no token", "G@T /a HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("an unknown method", "BREW /a HTTP/1.1\r\nHost: x\r\n\r\n" NEXT, "501"),
	ROW("a method in lower case", "get /a HTTP/1.1\r\nHost: x\r\n\r\n" NEXT, "501"),
	ROW("CONNECT", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" NEXT, "501"),
	ROW("TRACE", "TRACE /a HTTP/1.1\r\nHost: x\r\n\r\n" NEXT, "501"),
	ROW("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
	ROW("HTTP/1.2", "GET /a HTTP/1.2\r\nHost: x\r\n\r\n", "505"),
	ROW("HTTP/0.9 spelled out", "GET /a HTTP/0.9\r\nHost: x\r\n\r\n", "505"),
	ROW("http/1.1", "GET /a http/1.1\r\nHost: x\r\n\r\n", "400"),
	ROW("HTTP/11", "GET /a HTTP/11\r\nHost: x\r\n\r\n", "400"),
	ROW("HTTP/1.1x", "GET /a HTTP/1.1x\r\nHost: x\r\n\r\n", "400"),
	ROW("HTTP/01.1", "GET /a HTTP/01.1\r\nHost: x\r\n\r\n", "400"),

	/* Host */
	ROW("no Host", GET "X: y\r\n\r\n" NEXT, "400"),
	ROW("no header at all", GET "\r\n" NEXT, "400"),
	ROW("two Hosts", G "Host: y\r\n\r\n" NEXT, "400"),
	ROW("the same Host twice", G "Host: x\r\n\r\n" NEXT, "400"),
	ROW("an empty Host", GET "Host:\r\n\r\n" NEXT, "400"),
	ROW("a Host with user", GET "Host: a@x\r\n\r\n", "400"),
	ROW("a Host with path", GET "Host: x/y\r\n\r\n", "400"),
	ROW("two Hosts in one line", GET "Host: x, y\r\n\r\n", "400"),

	/* header lines */
	ROW("a folded value", G "X: a\r\n b\r\n\r\n" NEXT, "400"),
	ROW("a value folded by a tab", G "X: a\r\n\tb\r\n\r\n" NEXT, "400"),
	ROW("a folded first line", GET " Host: x\r\n\r\n", "400"),
	ROW("a line of white space", G " \r\n\r\n", "400"),
	ROW("space before the colon", G "X : y\r\n\r\n" NEXT, "400"),
	ROW("tab before the colon", G "X\t: y\r\n\r\n", "400"),
	ROW("space before the colon of a length", P "Content-Length : 5\r\n\r\nhello" NEXT, "400"),
	ROW("space before the colon of an encoding", P "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\nhello" NEXT, "400"),
	ROW("no colon", G "Xyz\r\n\r\n", "400"),
	ROW("an empty name", G ": x\r\n\r\n", "400"),
	ROW("a space in a name", G "X y: z\r\n\r\n", "400"),
	ROW("a name with parentheses", G "X(y): z\r\n\r\n", "400"),
	ROW("a name above 127", G "\xc3\xa9: z\r\n\r\n", "400"),
	ROW("NUL in a name", G "X\0y: z\r\n\r\n", "400"),
	ROW("NUL in a value", G "X: a\0b\r\n\r\n" NEXT, "400"),
	ROW("CR in a value", G "X: a\rb\r\n\r\n" NEXT, "400"),
	ROW("a control character in a value", G "X: a\x01" "b\r\n\r\n", "400"),
	ROW("DEL in a value", G "X: a\x7f" "b\r\n\r\n", "400"),

	/* framing */
	ROW("two lengths that differ", P "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" NEXT, "400"),
	ROW("the same length twice", P "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" NEXT, "400"),
	ROW("a list of lengths", P "Content-Length: 5, 5\r\n\r\nhello" NEXT, "400"),
	ROW("a signed length", P "Content-Length: +5\r\n\r\nhello" NEXT, "400"),
	ROW("a negative length", P "Content-Length: -5\r\n\r\nhello" NEXT, "400"),
	ROW("a hexadecimal length", P "Content-Length: 0x5\r\n\r\nhello" NEXT, "400"),
	ROW("a length with a dot", P "Content-Length: 5.0\r\n\r\nhello" NEXT, "400"),
	ROW("a space within a length", P "Content-Length: 1 0\r\n\r\nhello" NEXT, "400"),
	ROW("an empty length", P "Content-Length:\r\n\r\nhello" NEXT, "400"),
	ROW("a length in words", P "Content-Length: five\r\n\r\nhello" NEXT, "400"),
	ROW("length, then encoding", P "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" NEXT, "400"),
	ROW("encoding, then length", TE "Content-Length: 5\r\n\r\n0\r\n\r\n" NEXT, "400"),
	ROW("encoding and length 0", TE "Content-Length: 0\r\n\r\n0\r\n\r\n" NEXT, "400"),
	ROW("a tab behind a length", P "Content-Length: 5\t\r\n\r\nhello" NEXT, "400"),
	ROW("a tab before chunked", P "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" NEXT, "400"),
	ROW("spaces around a length", P "Content-Length:   5  \r\n\r\nhello" NEXT, "202 202", .echo = "POST /p hello"),
	ROW("spaces around chunked", P "Transfer-Encoding:  chunked  \r\n\r\n0\r\n\r\n" NEXT, "202 202", .echo = "GET /next"),
	ROW("two encodings", TE "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" NEXT, "400"),
	ROW("chunked twice", P "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" NEXT, "400"),
	ROW("chunked is not last", P "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" NEXT, "400"),
	ROW("gzip below chunked", P "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" NEXT, "501"),
	ROW("identity", P "Transfer-Encoding: identity\r\n\r\n" NEXT, "400"),
	ROW("xchunked", P "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" NEXT, "400"),
	ROW("chunked in quotes", P "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" NEXT, "400"),
	ROW("a control character before chunked", P "Transfer-Encoding: \x0b" "chunked\r\n\r\n0\r\n\r\n" NEXT, "400"),
	ROW("an empty encoding", P "Transfer-Encoding:\r\n\r\n0\r\n\r\n" NEXT, "400"),
	ROW("a comma behind chunked", P "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n" NEXT, "400"),
	ROW("chunked in HTTP/1.0", "POST /p HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),

	/* chunks */
	ROW("a signed chunk size", TE "\r\n+2\r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("a negative chunk size", TE "\r\n-2\r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("a 0x chunk size", TE "\r\n0x2\r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("an empty chunk size", TE "\r\n\r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("a space before a chunk size", TE "\r\n 2\r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("a space behind a chunk size", TE "\r\n2 \r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("a chunk size with underscore", TE "\r\n0_2\r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("a chunk size that is no number", TE "\r\nzz\r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("a chunk longer than its size", TE "\r\n2\r\nhix\r\n0\r\n\r\n" NEXT, "400"),
	ROW("a chunk shorter than its size", TE "\r\n3\r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("CR in a chunk extension", TE "\r\n2;a\rb\r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("NUL in a chunk extension", TE "\r\n2;\0\r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("only an extension", TE "\r\n;a\r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("a folded trailer", TE "\r\n0\r\nX: y\r\n z\r\n\r\n" NEXT, "400"),
	ROW("a length in a trailer", TE "\r\n0\r\nContent-Length: 5\r\n\r\n" NEXT, "400"),
	ROW("an encoding in a trailer", TE "\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n" NEXT, "400"),
	ROW("a trailer without a colon", TE "\r\n0\r\nXyz\r\n\r\n" NEXT, "400"),
	ROW("NUL in a trailer", TE "\r\n0\r\nX: \0\r\n\r\n" NEXT, "400"),

	/* limits */
	ROW("a line at its limit", "GET /" A64 " HTTP/1.1\r\nHost: x\r\n\r\n", "202"),
	ROW("a line beyond its limit", "GET /" A64 A16 " HTTP/1.1\r\nHost: x\r\n\r\n" NEXT, "414"),
	ROW("an endless line", "GET /" A64 A64 A64, "414"),
	ROW("six headers", G "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n\r\n", "202"),
	ROW("seven headers", G "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\n\r\n" NEXT, "431"),
	ROW("a large header", G "A: " A64 A64 A64 A64 "\r\n\r\n" NEXT, "431"),
	ROW("an endless header", G "A: " A64 A64 A64 A64, "431"),
	ROW("headers large together", G "A: " A64 "\r\nB: " A64 "\r\nC: " A64 "\r\nD: " A64 "\r\n\r\n" NEXT, "431"),
	ROW("a body at its limit", P "Content-Length: 48\r\n\r\n" A16 A16 A16 NEXT, "202 202", .echo = "GET /next"),
	ROW("a body beyond its limit", P "Content-Length: 49\r\n\r\n" A16 A16 A16 "x" NEXT, "413"),
	ROW("a length of 2^64", P "Content-Length: 18446744073709551616\r\n\r\n" NEXT, "413"),
	ROW("a length of 2^64 + 5", P "Content-Length: 18446744073709551621\r\n\r\nhello" NEXT, "413"),
	ROW("a length of 40 digits", P "Content-Length: 1000000000000000000000000000000000000000\r\n\r\n" NEXT, "413"),
	ROW("chunks at the limit", TE "\r\n20\r\n" A16 A16 "\r\n10\r\n" A16 "\r\n0\r\n\r\n" NEXT, "202 202", .echo = "GET /next"),
	ROW("chunks beyond the limit", TE "\r\n20\r\n" A16 A16 "\r\n11\r\n" A16 "x\r\n0\r\n\r\n" NEXT, "413"),
	ROW("a chunk of 2^64", TE "\r\n10000000000000000\r\nhi\r\n0\r\n\r\n" NEXT, "413"),
	ROW("a chunk of 2^64 + 2", TE "\r\n10000000000000002\r\nhi\r\n0\r\n\r\n" NEXT, "413"),
	ROW("a chunk of 2^64 - 1", TE "\r\nffffffffffffffff\r\nhi\r\n0\r\n\r\n" NEXT, "413"),
	ROW("a long chunk line", TE "\r\n2;" A64 A64 A64 A64 "\r\nhi\r\n0\r\n\r\n" NEXT, "400"),
	ROW("many extensions", TE "\r\n1;" A64 A64 "\r\nx\r\n1;" A64 A64 "\r\nx\r\n0\r\n\r\n" NEXT, "413"),
	ROW("many trailers", TE "\r\n0\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n" NEXT, "431"),
	ROW("a large trailer", TE "\r\n0\r\nA: " A64 A64 A64 A64 "\r\n\r\n" NEXT, "431"),
	ROW("an endless trailer", TE "\r\n0\r\nA: " A64 A64 A64 A64, "431"),
	ROW("an expectation that nobody knows", P "Expect: a-miracle\r\nContent-Length: 2\r\n\r\nhi" NEXT, "417"),
};

static void run(struct loop *l, const struct row *r, size_t cut)
{
	char out[4096], got[64];
	int fd = loop_connect(l);
	size_t n;

	loop_send(l, fd, r->text, cut);
	loop_send(l, fd, r->text + cut, r->n - cut);
	shutdown(fd, SHUT_WR);
	if (!loop_read(l, fd, out, sizeof(out), 3000))
		fail_msg("'%s' cut at %zu: the connection stays open", r->what, cut);
	close(fd);
	n = strlen(out);
	loop_statuses(out, n, got, sizeof(got));
	if (strcmp(got, r->want) != 0)
		fail_msg("'%s' cut at %zu: answered \"%s\", want \"%s\"\n%s", r->what, cut, got, r->want, out);
	if (r->echo && !strstr(out, r->echo))
		fail_msg("'%s' cut at %zu: no \"%s\" in the answer\n%s", r->what, cut, r->echo, out);
}

static void every_row_has_one_verdict_wherever_it_is_cut(void **state)
{
	struct sb_http_stats st;
	struct loop l;

	(void)state;
	loop_init(&l, &small);
	for (size_t i = 0; i < SB_LEN(rows); i++)
		for (size_t cut = 0; cut <= rows[i].n; cut++)
			run(&l, &rows[i], cut);
	sb_http_server_get_stats(l.server, &st);
	assert_int_equal(st.open, 0);
	loop_done(&l);
}

static void every_row_has_one_verdict_byte_by_byte(void **state)
{
	char out[4096], got[64];
	struct loop l;

	(void)state;
	loop_init(&l, &small);
	for (size_t i = 0; i < SB_LEN(rows); i++) {
		int fd = loop_connect(&l);

		for (size_t k = 0; k < rows[i].n; k++) {
			if (send(fd, rows[i].text + k, 1, MSG_NOSIGNAL) < 0)
				break;
			event_base_loop(l.base, EVLOOP_NONBLOCK);
		}
		shutdown(fd, SHUT_WR);
		assert_true(loop_read(&l, fd, out, sizeof(out), 3000));
		close(fd);
		loop_statuses(out, strlen(out), got, sizeof(got));
		if (strcmp(got, rows[i].want) != 0)
			fail_msg("'%s' byte by byte: answered \"%s\", want \"%s\"", rows[i].what, got, rows[i].want);
	}
	loop_done(&l);
}

static void the_corpus_is_as_large_as_it_says(void **state)
{
	(void)state;
	assert_true(SB_LEN(rows) >= 150);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_corpus_is_as_large_as_it_says),
		cmocka_unit_test(every_row_has_one_verdict_wherever_it_is_cut),
		cmocka_unit_test(every_row_has_one_verdict_byte_by_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
