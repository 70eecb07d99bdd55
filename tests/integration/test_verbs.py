#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every verb answers in JSON when asked to, with and without a daemon."""
import json
import unittest

import harness

WITH_DAEMON = [
    ("check",), ("status",), ("audit",), ("dlq", "list"), ("send", "{event}"), ("pause", "target", "record"),
    ("resume", "target", "record"), ("reload",), ("dlq", "redrive", "--dry-run", "--target", "record"),
    ("dlq", "purge", "--yes", "--target", "record"), ("version",), ("help",),
]
WITHOUT_DAEMON = [("check",), ("audit",), ("dlq", "list"), ("version",), ("help",)]
NEEDS_DAEMON = [("status",), ("reload",), ("pause", "target", "record"), ("dlq", "redrive", "--target", "record")]


class Verbs(unittest.TestCase):
    def setUp(self):
        self.d = self.enterContext(harness.Daemon()).start()
        self.event = self.d.folder / "event.json"
        self.event.write_text(json.dumps(harness.order(1)))

    def run_verb(self, words, **kw):
        return self.d.cli(*[w.format(event=self.event) for w in words], "-o", "json", **kw)

    def test_with_a_daemon(self):
        for words in WITH_DAEMON:
            with self.subTest(" ".join(words)):
                json.loads(self.run_verb(words).stdout)

    def test_without_a_daemon(self):
        self.assertEqual(self.d.stop(), 0)
        for words in WITHOUT_DAEMON:
            with self.subTest(" ".join(words)):
                json.loads(self.run_verb(words).stdout)
        for words in NEEDS_DAEMON:
            with self.subTest(" ".join(words)):
                self.run_verb(words, ok=(4,))

    def test_send_to_an_unknown_bus_fails(self):
        self.event.write_text(json.dumps({**harness.order(1), "bus": "nowhere"}))
        self.assertNotEqual(self.run_verb(("send", "{event}"), ok=None).returncode, 0)


if __name__ == "__main__":
    harness.main()
