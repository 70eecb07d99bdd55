#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The limits of a listener: each refuses what is beyond it with its own status, is counted, and touches nobody else."""
import contextlib
import http.client
import json
import os
import re
import select
import socket
import time
import unittest

import harness

MOST = 3
BODY = json.dumps(harness.order(1)).encode()
HEAD = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GOOD = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


class Limits(unittest.TestCase):
    def daemon(self, **limits):
        """Metrics are read from a listener of their own, which is not at its limit."""
        listeners = {"main": {"address": "127.0.0.1:0", "limits": limits},
                     "ops": {"address": "127.0.0.1:0", "serve": ["metrics", "health"]}}
        d = self.enterContext(harness.Daemon(harness.simple_config(listeners=listeners))).start()
        self.shards = int(os.environ.get("SB_SHARDS", 1))
        return d

    def metric(self, d, name):
        host, _, port = d.ready()["listeners"]["ops"].rpartition(":")
        with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=harness.PATIENCE_S)) as c:
            return d.metric(name, connection=c)

    def connect(self, d, source="127.0.0.1"):
        s = socket.create_connection(d.address, timeout=harness.PATIENCE_S, source_address=(source, 0))
        self.addCleanup(s.close)
        return s

    def rest(self, s):
        """All that comes until the connection is closed."""
        text = b""
        try:
            while chunk := s.recv(65536):
                text += chunk
        except ConnectionResetError:
            pass  # closed with bytes of ours unread
        return text.decode()

    def answer(self, s):
        text = self.rest(s)
        return int(text.split()[1]), text

    def is_served(self, s):
        try:
            s.sendall(GOOD)
            return s.recv(65536).startswith(b"HTTP/1.1 202 ")
        except OSError:
            return False

    def crowd(self, d):
        """More connections than there may be, whichever shard they come to; gives those that were let in and those that were not."""
        served, refused = [], []
        for _ in range(MOST + 2 * self.shards):
            s = self.connect(d)
            (served if self.is_served(s) else refused).append(s)
        self.assertEqual(len(served), MOST)
        self.assertEqual(self.metric(d, "http_connections_refused_total"), len(refused))
        return served, refused

    def test_connections_in_all(self):
        d = self.daemon(max_connections=MOST)
        served, _ = self.crowd(d)
        self.assertTrue(all(self.is_served(s) for s in served), "those that are in go on")
        harness.wait_for("the open ones to be counted, with the one that asks",
                         lambda: self.metric(d, "http_connections_open") == len(served) + 1)
        for s in served:
            s.close()
        harness.wait_for("room", lambda: self.is_served(self.connect(d)))

    def test_who_is_too_much_is_told_so(self):
        d = self.daemon(max_connections=1)
        held = [self.connect(d) for _ in range(8 * self.shards)]
        told, _, _ = select.select(held, [], [], harness.PATIENCE_S)
        status, text = self.answer(told[0])
        self.assertEqual(status, 503)
        self.assertIn("Retry-After:", text)

    def test_connections_of_one_address(self):
        d = self.daemon(max_per_address=MOST)
        served, _ = self.crowd(d)
        self.assertTrue(self.is_served(self.connect(d, "127.0.0.2")), "another address pays for the first")
        self.assertTrue(all(self.is_served(s) for s in served))

    def drip(self, s, begin, byte):
        """Sends a byte now and then, for ever; gives the answer and how long it took to come."""
        start = time.monotonic()
        s.sendall(begin)
        while not select.select([s], [], [], 0.02)[0]:
            try:
                s.sendall(byte)
            except OSError:
                break
        took = time.monotonic() - start
        return self.answer(s)[0], took

    def test_deadlines_are_absolute(self):
        d = self.daemon(header_timeout="300ms", body_timeout="600ms")
        for begin, reason, least in [(HEAD + b"X-Slow: ", "header_timeout", 0.3),
                                     (HEAD + b"Content-Length: 1000000\r\n\r\n[", "body_timeout", 0.6)]:
            with self.subTest(reason):
                status, took = self.drip(self.connect(d), begin, b" ")
                self.assertEqual(status, 408)
                self.assertGreaterEqual(took, least * 0.95)
                self.assertLess(took, least + 10)
                self.assertEqual(self.metric(d, f'http_refused_total{{reason="{reason}"}}'), 1)
        self.assertTrue(self.is_served(self.connect(d)))

    def test_an_idle_connection_is_closed_without_a_word(self):
        d = self.daemon(idle_timeout="200ms")
        s = self.connect(d)
        self.assertTrue(self.is_served(s))
        self.assertEqual(s.recv(100), b"")

    def test_sizes_and_syntax(self):
        d = self.daemon(max_line="1KiB", max_header_bytes="4KiB", max_headers=20, max_body="8KiB")
        length = b"Content-Length: %d\r\n" % len(BODY)
        refused = {}
        for what, request, status, reason in [
            ("a long line", b"POST /" + b"x" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "line_too_long"),
            ("many headers", HEAD + b"".join(b"X-%d: 1\r\n" % n for n in range(30)) + b"\r\n", 431, "headers_too_large"),
            ("large headers", HEAD + b"X-Pad: " + b"x" * 5000 + b"\r\n\r\n", 431, "headers_too_large"),
            ("a large body", HEAD + b"Content-Length: 9000\r\n\r\n", 413, "body_too_large"),
            ("a large body in chunks", HEAD + b"Transfer-Encoding: chunked\r\n\r\n2400\r\n" + b" " * 9216, 413, "body_too_large"),
            ("bare line feeds", GOOD.replace(b"\r\n", b"\n"), 400, "bad_syntax"),
            ("a folded header", HEAD + b"X-A: 1\r\n 2\r\n" + length + b"\r\n" + BODY, 400, "bad_syntax"),
            ("a space before the colon", HEAD + b"X-A : 1\r\n" + length + b"\r\n" + BODY, 400, "bad_syntax"),
            ("NUL in a value", HEAD + b"X-A: a\0b\r\n" + length + b"\r\n" + BODY, 400, "bad_syntax"),
            ("no Host", GOOD.replace(b"Host: x\r\n", b""), 400, "bad_host"),
            ("two Hosts", GOOD.replace(b"Host: x\r\n", b"Host: x\r\nHost: y\r\n"), 400, "bad_host"),
            ("two lengths", HEAD + length + b"Content-Length: 1\r\n\r\n" + BODY, 400, "bad_framing"),
            ("a length with chunks", HEAD + length + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_framing"),
            ("a signed chunk size", HEAD + b"Transfer-Encoding: chunked\r\n\r\n+1\r\n1\r\n0\r\n\r\n", 400, "bad_framing"),
        ]:
            with self.subTest(what):
                s = self.connect(d)
                s.sendall(request + GOOD)  # what is behind it must not be taken for a request
                self.assertEqual(self.answer(s)[0], status)
                refused[reason] = refused.get(reason, 0) + 1
        for reason, n in refused.items():
            self.assertEqual(self.metric(d, f'http_refused_total{{reason="{reason}"}}'), n, reason)
        self.assertEqual(d.audit()["events"], 0)
        self.assertTrue(self.is_served(self.connect(d)))

    def test_pipelined_requests_are_answered_in_order(self):
        d = self.daemon()
        s = self.connect(d)
        wrong = GOOD.replace(b"com.shop", b"com.s\xff\xffp")
        s.sendall(GOOD + wrong + HEAD + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        text = b""
        while b"100 Continue" not in text:
            text += s.recv(65536)
        s.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))
        text = text.decode() + self.rest(s)
        self.assertEqual(re.findall(r"HTTP/1[.]1 (\d+)", text), ["202", "400", "100", "202"])
        self.assertEqual(d.audit()["events"], 2)


if __name__ == "__main__":
    harness.main()
