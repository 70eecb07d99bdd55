#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The broker that other tests rely on: it answers when it says so, keeps what it has over kill -9, and refuses what it should."""
import sys
import unittest

import kafka


class Broker(unittest.TestCase):
    def test_records_survive_and_unknown_topics_are_refused(self):
        with kafka.Cluster() as broker:
            broker.create("orders", 2)
            broker.kcat("-P", "-t", "orders", "-p", "1", "-k", "k", "-H", "h=1", stdin=b"first\nsecond")
            with self.assertRaises(AssertionError):
                broker.create("orders")
            with self.assertRaises(AssertionError):
                broker.records("nobody-made-this")
            broker.kill()
            broker.start()
            broker.grow("orders", 3)
            broker.kcat("-P", "-t", "orders", "-p", "2", stdin=b"third")
            self.assertEqual([(r.partition, r.key, r.headers, r.value) for r in broker.records("orders")],
                             [(1, "k", {"h": "1"}, "first"), (1, "k", {"h": "1"}, "second"), (2, None, {}, "third")])

    def test_a_damaged_jar_is_seen(self):
        folder = kafka.jars()
        self.assertEqual(kafka.wrong_jars(folder), [])
        self.assertEqual(len(kafka.wrong_jars(folder / "nowhere")), len(kafka.expected()))


if __name__ == "__main__":
    try:
        kafka.jars()
    except unittest.SkipTest as why:
        print(f"SKIP: {why}")
        sys.exit(77)
    unittest.main(verbosity=2)
